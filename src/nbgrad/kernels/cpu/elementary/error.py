"""erf: x + x P(x^2) for small x; 1 - 2^g(|x|), or 1 - e^-x^2 Q, for others. erfc, the normal CDF."""

import math

import numpy as np

from nbgrad.kernels.cpu.elementary.exponential import EXP2_32, EXP_64, exp_64
from nbgrad.kernels.cpu.elementary.parts import (
    HALF_POWER_32,
    LN2_HIGH,
    LN2_LOW,
    LOG2E,
    ONE_32,
    POWER_32,
    SCALE,
    estrin_polynomial,
    f32,
    f64,
    fma,
    head_64,
    polynomial,
    raised_32,
    scaled_64,
    split_polynomial,
)
from nbgrad.kernels.options import folded

_ERF_32 = split_polynomial(
    f32, 0.1283791653, -0.3761261684, 0.1128334364, -0.02683271413, 0.005109931534,
    -0.0006714455005)
_ERF_EXP2 = split_polynomial(
    f32, 0.6931471806, 0.240223488, 0.0555038099, 0.009666387855, 0.001338132167)
_ERF_64 = split_polynomial(
    f64, 0.12837916709551257, -0.37612638903183748, 0.11283791670954851, -0.026866170645071348,
    0.005223977624762383, -0.00085483269774930389, 0.00012055330984893973,
    -1.4925592110777727e-5, 1.646094820172705e-6, -1.6349742033253073e-7,
    1.4655833830026539e-8, -1.1357241854894664e-9, 5.930188044732211e-11)
_ERFC_32 = split_polynomial(
    f32, 0.0004045803948, -1.630363947, -0.9118803104, -0.1585075862, 0.0379573126,
    -0.006814389329, 0.0008506804354, -6.531247906e-5, 2.308630109e-6)
_NORMAL_32 = estrin_polynomial(
    f32, -1.151104166, -0.4592214298, -0.05243804956, 0.006938387822, 1.189717587e-5,
    -0.0002887337182, 8.032290529e-5, -1.188504913e-5, 9.720761247e-7, -3.448919962e-8)
_ERFC_64 = split_polynomial(
    f64, 0.21080636406114358, -0.37173673394897335, 0.25171319321744932, -0.12503305237882931,
    0.039922539075582651, -0.0039937011658594801, -0.0026423659641916838,
    0.00087591545022177197, 0.00022838037632433616, -0.00012887717389712936,
    -3.4182204033856166e-5, 1.8614495548725537e-5, 7.5523463034434365e-6, -2.298411274395551e-6,
    -1.801068466532531e-6, 7.8948417006378646e-8, 3.4276118120881494e-7, 6.764914156069416e-8)
_ERFC_FAR_64 = polynomial(
    f64, -0.035243750637047494, 0.45690623913286464, -0.43222820395532569, 0.12339017588761383,
    0.039648571727854288, -0.017581172652078078, -0.01027169168867666, 0.00096155924762114409,
    0.0026560528948368925, 0.00083790392411952876, -0.0003031255731519179,
    -0.00038325722732214681, -0.00012514569776422939, 3.958834312019828e-5, 6.06570684673219e-5,
    3.2816686556892098e-5, 8.0154405971273857e-6, -3.8062528970241281e-5, 8.9870813889758653e-6,
    4.5444974256688995e-5, -0.00010827057869594023, 0.00010309833252271205,
    -4.4622257530102708e-5, 7.3591491706549286e-6)
ROOT_HALF = math.sqrt(0.5)


@folded
def erf_32(x):
    """2^g has a small exponent: written without the care of exp2."""
    a = abs(x)
    u = a * a
    near = fma(a, _ERF_32(u), a)
    g = _ERFC_32(f32(4) if a > f32(4) else a)
    t = g + POWER_32
    r = g - (t - POWER_32)
    far = fma(-fma(r, _ERF_EXP2(r), ONE_32), raised_32(t), ONE_32)
    return np.copysign(near if a < f32(0.75) else far, x)


@folded
def erf_64(x):
    a = abs(x)
    u = a * a
    near = fma(a, _ERF_64(u), a)
    b = 6.0 if a > 6.0 else a
    far = fma(-exp_64(-(b * b)), _ERFC_64((b - 2.5) / (b + 2.5)), 1.0)
    return np.copysign(near if a < 1.0 else far, x)


@folded
def erfc_64(x):
    """1 - x - x P(x^2) for small x; for others (1 + w) e^-x^2 / 2|x|.

    x^2 is the square of a head, which is exact, and a rest. e^-x^2 = 2^n (1 + r + r^2 E(r)), and all
    that is small beside 1 + r is added up before it is added to that.
    """
    a = abs(x)
    top = 1.0 - x
    near = top + fma(-x, _ERF_64(x * x), (1.0 - top) - x)
    b = 28.0 if a > 28.0 else a
    head = head_64(b)
    square = head * head
    t = fma(-square, LOG2E, SCALE)
    n = t - SCALE
    high = fma(-n, LN2_HIGH, -square)
    low = fma(-n, LN2_LOW, (head - b) * (head + b))
    r = high + low
    bent = r * r * EXP_64(r)
    w = _ERFC_FAR_64((b - 1.5) / (b + 1.5))
    rest = fma(r + bent, w, (low - (r - high)) + bent + w)
    grown = 1.0 + r
    far = scaled_64((grown + ((1.0 - grown) + r + rest)) / (b + b), t)
    far = 2.0 - far if x < 0 else far
    return near if a < 0.75 else far


@folded
def normal_cdf_32(x):
    """2^n 2^r = 2^n + 2^n r E(r) is the part below -|x|; its exponent is 0, and so is 2^n, from 11 on.

    Q(|x|) = 2^(|x| P(|x|)) / 2: without cancellation below zero, and 1 - 2^n is exact above.
    """
    a = abs(x)
    a = f32(10.92) if a > f32(10.92) else a
    g = a * _NORMAL_32(a)
    t = g + HALF_POWER_32
    r = g - (t - HALF_POWER_32)
    low = raised_32(t)
    high = ONE_32 - low
    w = low * r
    above = -w
    return fma(w if x < 0 else above, EXP2_32(r), low if x < 0 else high)


@folded
def normal_cdf_64(x):
    return 0.5 * (1.0 + erf_64(x * ROOT_HALF))
