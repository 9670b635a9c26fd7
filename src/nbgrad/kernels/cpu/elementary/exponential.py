"""exp, exp2, expm1 and tanh: e^x = 2^n e^r with |r| <= ln(2) / 2."""

import numpy as np

from nbgrad.kernels.cpu.elementary.parts import (
    LN2,
    LN2_HIGH,
    LN2_HIGH_32,
    LN2_LOW,
    LN2_LOW_32,
    LOG2E,
    ONE_32,
    SCALE,
    SCALE_32,
    TWO_32,
    f32,
    f64,
    fma,
    head_64,
    i32,
    i64,
    integer_32,
    integer_64,
    polynomial,
    power_of_two_32,
    power_of_two_64,
    scaled_32,
    scaled_64,
)
from nbgrad.kernels.options import folded

_EXP_32 = polynomial(f32, 0.5, 0.1666657699, 0.04166655462, 0.008363179053, 0.001392618359)
EXP_64 = polynomial(
    f64, 0.5, 0.16666666666666671, 0.04166666666666667, 0.0083333333333261351,
    0.0013888888888883748, 0.00019841269874820625, 2.4801587325547741e-5, 2.7557255400206424e-6,
    2.7557273643110295e-7, 2.5105217004720745e-8, 2.0914686968086877e-9)
EXP2_COEFFICIENTS = (0.693147188, 0.2402265076, 0.05550357071, 0.00961808252, 0.001339088633,
                     0.0001545318283)
EXP2_32 = polynomial(f32, *EXP2_COEFFICIENTS)
_EXP2_64 = polynomial(
    f64, 0.69314718055994531, 0.24022650695910071, 0.055504108664821627, 0.0096181291076284795,
    0.0013333558146406436, 0.00015403530393370716, 1.5252733841601815e-5, 1.3215486808727858e-6,
    1.0178057064573359e-7, 7.0548972926916273e-9, 4.4558220250149151e-10,
    2.5729344553786754e-11)
TANH_COEFFICIENTS = (-0.3333333329, 0.1333332253, -0.05396419828, 0.02181326113, -0.008504769611,
                     0.00249537956)
_TANH_32 = polynomial(f32, *TANH_COEFFICIENTS)
_TANH_64 = polynomial(
    f64, -0.33333333333333333, 0.13333333333333332, -0.053968253968252031, 0.021869488536018845,
    -0.0088632355249062387, 0.0035921279274152966, -0.0014558328521010175,
    0.00059001292388670404, -0.00023903461484050333, 9.6489230873466784e-5,
    -3.7959977297051688e-5, 1.3202184336680511e-5, -2.9300415271054604e-6)
LOG2E_32 = f32(LOG2E)


@folded
def _reduced_32(x):
    """n + SCALE and e^r - 1."""
    t = fma(x, LOG2E_32, SCALE_32)
    n = t - SCALE_32
    r = fma(-n, LN2_HIGH_32, x)
    r = fma(-n, LN2_LOW_32, r)
    return t, fma(r * r, _EXP_32(r), r)


@folded
def _reduced_64(x):
    t = fma(x, LOG2E, SCALE)
    n = t - SCALE
    r = fma(-n, LN2_HIGH, x)
    r = fma(-n, LN2_LOW, r)
    return t, fma(r * r, EXP_64(r), r)


@folded
def exp_32(x):
    x = f32(89) if x > f32(89) else x
    x = f32(-104) if x < f32(-104) else x
    t, e = _reduced_32(x)
    return scaled_32(e + ONE_32, t)


@folded
def exp_64(x):
    x = 710.0 if x > 710.0 else x
    x = -746.0 if x < -746.0 else x
    t, e = _reduced_64(x)
    return scaled_64(e + 1.0, t)


@folded
def exp2_32(x):
    x = f32(129) if x > f32(129) else x
    x = f32(-151) if x < f32(-151) else x
    t = x + SCALE_32
    r = x - (t - SCALE_32)
    return scaled_32(fma(r, EXP2_32(r), ONE_32), t)


@folded
def exp2_64(x):
    x = 1025.0 if x > 1025.0 else x
    x = -1076.0 if x < -1076.0 else x
    t = x + SCALE
    r = x - (t - SCALE)
    return scaled_64(fma(r, _EXP2_64(r), 1.0), t)


@folded
def exp2_sum_64(x, low):
    """2^(x + low), x within 1100 of zero and low far below 1; close to correct rounding.

    2^(n + r) = 2^n e^v, v = r ln 2 as an exact product of its first parts, and the rest.
    """
    t = x + SCALE
    r = x - (t - SCALE)
    r_head = head_64(r)
    v_head = r_head * LN2_HIGH
    v_rest = (r - r_head + low) * LN2 + r_head * LN2_LOW
    v = v_head + v_rest
    top = 1.0 + v_head
    y = top + ((1.0 - top) + v_head + (v_rest + v * v * EXP_64(v)))
    return scaled_64(y, t)


@folded
def expm1_32(x):
    """2^n (e^r - 1) + 2^n - 1, the last two exact where they count."""
    small = x
    x = f32(89) if x > f32(89) else x
    x = f32(-18) if x < f32(-18) else x
    t, e = _reduced_32(x)
    n = i32(integer_32(t) - i32(2 * 127))
    m = i32(100) if n > i32(100) else n
    y = scaled_32(e + (ONE_32 - power_of_two_32(i32(-m))), t)
    return small if small == 0 else y


@folded
def expm1_64(x):
    small = x
    x = 710.0 if x > 710.0 else x
    x = -38.0 if x < -38.0 else x
    t, e = _reduced_64(x)
    n = integer_64(t) - 2 * 1023
    m = i64(100) if n > i64(100) else n
    y = scaled_64(e + (1.0 - power_of_two_64(-m)), t)
    return small if small == 0 else y


@folded
def tanh_32(x):
    """1 - 2 / (e^(2|x|) + 1), for small x a polynomial."""
    a = abs(x)
    u = a * a
    far = ONE_32 - TWO_32 / (exp_32(a + a) + ONE_32)
    return np.copysign(fma(a * u, _TANH_32(u), a) if a < f32(0.55) else far, x)


@folded
def tanh_64(x):
    a = abs(x)
    u = a * a
    far = 1.0 - 2.0 / (exp_64(a + a) + 1.0)
    return np.copysign(fma(a * u, _TANH_64(u), a) if a < 0.55 else far, x)
