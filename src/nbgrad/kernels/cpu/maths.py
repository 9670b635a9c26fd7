"""The standard library's `math` for kernels: the common functions again, without a branch or a call.

A loop that calls libm handles one element at a time. These functions are arithmetic and selects
only, folded into the loops that call them, so that LLVM computes a register of elements at once.
Where none is given here, the name is the one of `math`. Largest errors in units in the last place
are below two: tests/kernels/test_maths.py measures them. The polynomials are fitted by
tools/fit_polynomials.py.

Three tricks recur:

- Adding 1.5 * 2^(p - 1), p the bits of a mantissa, rounds to an integer and leaves that integer
  in the low bits of the sum, with no conversion that a NaN or an infinity would break.
- 2^n is made by writing n + bias into the exponent's bits; twice 2^(n / 2) reaches subnormal and
  largest results too.
- x * ln 2 and x * pi / 2 are taken in parts with zeros at the end, whose products with small
  integers are exact (Cody and Waite 1980).
"""

import math
from math import *  # noqa: F403

import numpy as np
from numba import types
from numba.extending import overload

from nbgrad.kernels.options import folded

f32, f64, i32, i64 = np.float32, np.float64, np.int32, np.int64


def polynomial(dtype, *coefficients):
    """c0 + c1 x + c2 x^2 + ..., by Horner's scheme."""
    text = f"c{len(coefficients) - 1}"
    for k in range(len(coefficients) - 2, -1, -1):
        text = f"({text} * x + c{k})"
    return folded(eval(f"lambda x: {text}", {f"c{k}": dtype(c) for k, c in enumerate(coefficients)}))


_EXP_32 = polynomial(f32, 0.5, 0.1666657699, 0.04166655462, 0.008363179053, 0.001392618359)
_EXP_64 = polynomial(
    f64, 0.5, 0.16666666666666671, 0.04166666666666667, 0.0083333333333261351,
    0.0013888888888883748, 0.00019841269874820625, 2.4801587325547741e-5, 2.7557255400206424e-6,
    2.7557273643110295e-7, 2.5105217004720745e-8, 2.0914686968086877e-9)
_EXP2_32 = polynomial(f32, 0.693147188, 0.2402265076, 0.05550357071, 0.00961808252,
                      0.001339088633, 0.0001545318283)
_EXP2_64 = polynomial(
    f64, 0.69314718055994531, 0.24022650695910071, 0.055504108664821627, 0.0096181291076284795,
    0.0013333558146406436, 0.00015403530393370716, 1.5252733841601815e-5, 1.3215486808727858e-6,
    1.0178057064573359e-7, 7.0548972926916273e-9, 4.4558220250149151e-10,
    2.5729344553786754e-11)
_TANH_32 = polynomial(
    f32, -0.3333333329, 0.1333332253, -0.05396419828, 0.02181326113, -0.008504769611,
    0.00249537956)
_TANH_64 = polynomial(
    f64, -0.33333333333333333, 0.13333333333333332, -0.053968253968252031, 0.021869488536018845,
    -0.0088632355249062387, 0.0035921279274152966, -0.0014558328521010175,
    0.00059001292388670404, -0.00023903461484050333, 9.6489230873466784e-5,
    -3.7959977297051688e-5, 1.3202184336680511e-5, -2.9300415271054604e-6)
_LOG_32 = polynomial(
    f32, 0.3333333117, -0.2499999698, 0.2000071719, -0.1666780184, 0.1424900291, -0.1242566068,
    0.1168598989, -0.1148020545, 0.06970549027)
_LOG_64 = polynomial(
    f64, 0.66666666666666697, 0.39999999999899158, 0.28571428626132818, 0.22222211109119373,
    0.18182890995435937, 0.15331659453768518, 0.14617217629634764)
_POW_EXP = polynomial(f64, 0.5, 0.1666657699, 0.04166655462, 0.008363179053, 0.001392618359)
_SIN_32 = polynomial(f32, -0.1666666666, 0.008333331874, -0.0001984008626, 2.724986466e-6)
_COS_32 = polynomial(f32, 0.04166666666, -0.001388888767, 2.480059998e-5, -2.730090817e-7)
_SIN_64 = polynomial(
    f64, -0.16666666666666667, 0.0083333333333333315, -0.0001984126984126506,
    2.7557319219335453e-6, -2.5052106231157905e-8, 1.6058531414589011e-10,
    -7.5866850700912672e-13)
_COS_64 = polynomial(
    f64, 0.041666666666666667, -0.0013888888888888888, 2.4801587301584644e-5,
    -2.755731922140076e-7, 2.0876755790363396e-9, -1.1470460773969325e-11,
    4.7458652037874551e-14)
_ERF_32 = polynomial(
    f32, 0.1283791653, -0.3761261684, 0.1128334364, -0.02683271413, 0.005109931534,
    -0.0006714455005)
_ERF_EXP2 = polynomial(
    f32, 0.6931471806, 0.240223488, 0.0555038099, 0.009666387855, 0.001338132167)
_ERF_64 = polynomial(
    f64, 0.12837916709551257, -0.37612638903183748, 0.11283791670954851, -0.026866170645071348,
    0.005223977624762383, -0.00085483269774930389, 0.00012055330984893973,
    -1.4925592110777727e-5, 1.646094820172705e-6, -1.6349742033253073e-7,
    1.4655833830026539e-8, -1.1357241854894664e-9, 5.930188044732211e-11)
_ERFC_32 = polynomial(
    f32, 0.0004045803948, -1.630363947, -0.9118803104, -0.1585075862, 0.0379573126,
    -0.006814389329, 0.0008506804354, -6.531247906e-5, 2.308630109e-6)
_ERFC_64 = polynomial(
    f64, 0.21080636406114358, -0.37173673394897335, 0.25171319321744932, -0.12503305237882931,
    0.039922539075582651, -0.0039937011658594801, -0.0026423659641916838,
    0.00087591545022177197, 0.00022838037632433616, -0.00012887717389712936,
    -3.4182204033856166e-5, 1.8614495548725537e-5, 7.5523463034434365e-6, -2.298411274395551e-6,
    -1.801068466532531e-6, 7.8948417006378646e-8, 3.4276118120881494e-7, 6.764914156069416e-8)

INF_32, NAN_32 = f32(math.inf), f32(math.nan)
ONE_32, TWO_32, HALF_32 = f32(1), f32(2), f32(0.5)
LOG2E, LOG2E_32 = 1 / math.log(2), f32(1 / math.log(2))
LN2, LN2_32 = math.log(2), f32(math.log(2))
# ln 2 in two parts, the first of 9 and of 32 bits
LN2_HIGH_32, LN2_LOW_32 = f32(0.693359375), f32(-2.12194440e-4)
LN2_HIGH, LN2_LOW = 0.693147180369123816490, 1.90821492927058770002e-10
# pi / 2 in three parts, of 33 bits but for the last; their sums are exact to 118 bits
PIO2_A, PIO2_B, PIO2_C = 1.57079632673412561417, 6.07710050630396597660e-11, 2.02226624879595063154e-21
# log2 e, log10 e and log10 2 in two parts, the first of 21, 21 and 40 bits
LOG2E_HIGH, LOG2E_LOW = 1.4426946640014648, 3.768874985636099e-07
LOG10E_HIGH, LOG10E_LOW = 0.4342944622039795, 1.9699272335463627e-08
LOG10_2_HIGH, LOG10_2_LOW = 0.30102999566361177, 3.694239077158931e-13
HIGH_BITS = i64(-(2**32))
ROUND_32, ROUND = f32(1.5 * 2**23), 1.5 * 2.0**52
ROUND_BITS_32, ROUND_BITS = i32(0x4B400000), i64(0x4338000000000000)
# The bits of sqrt(1/2): mantissas are taken from there to sqrt(2)
ROOT_32, ROOT = i32(0x3F3504F3), i64(0x3FE6A09E667F3BCD)
SMALLEST_32, SMALLEST = f32(2.0**-126), 2.0**-1022


# Building blocks: an integer from a rounded sum, and a power of two from an integer


@folded
def _integer_32(t):
    return i32(f32(t).view(i32) - ROUND_BITS_32)


@folded
def _integer_64(t):
    return f64(t).view(i64) - ROUND_BITS


@folded
def _power_32(n):
    return i32(i32(n + i32(127)) << i32(23)).view(f32)


@folded
def _power_64(n):
    return i64((n + 1023) << 52).view(f64)


@folded
def _scaled_32(x, n):
    half = i32(n >> i32(1))
    return x * _power_32(half) * _power_32(i32(n - half))


@folded
def _scaled_64(x, n):
    half = n >> 1
    return x * _power_64(half) * _power_64(n - half)


@folded
def _split_32(x):
    """x = 2^n (1 + f), f from sqrt(1/2) - 1 to sqrt(2) - 1; x normal and positive."""
    bits = i32(f32(x).view(i32) - ROOT_32)
    mantissa = i32(i32(bits & i32(0x7FFFFF)) + ROOT_32).view(f32)
    return f32(i32(bits >> i32(23))), mantissa - ONE_32


@folded
def _split_64(x):
    bits = f64(x).view(i64) - ROOT
    mantissa = i64((bits & i64(0xFFFFFFFFFFFFF)) + ROOT).view(f64)
    return f64(bits >> 52), mantissa - 1.0


@folded
def order_32(x):
    """An integer that sorts as x does; the same function leads back."""
    bits = f32(x).view(i32)
    return i32(bits ^ i32(i32(bits >> i32(31)) & i32(0x7FFFFFFF)))


@folded
def order_64(x):
    bits = f64(x).view(i64)
    return bits ^ ((bits >> 63) & i64(0x7FFFFFFFFFFFFFFF))


@folded
def unorder_32(k):
    return i32(order_32(i32(k).view(f32))).view(f32)


@folded
def unorder_64(k):
    return i64(order_64(i64(k).view(f64))).view(f64)


# Exponentials: e^x = 2^n e^r with |r| <= ln(2) / 2


@folded
def _reduced_32(x):
    """n, r and e^r - 1."""
    t = x * LOG2E_32 + ROUND_32
    n = t - ROUND_32
    r = x - n * LN2_HIGH_32
    r = r - n * LN2_LOW_32
    return _integer_32(t), r * r * _EXP_32(r) + r


@folded
def _reduced_64(x):
    t = x * LOG2E + ROUND
    n = t - ROUND
    r = x - n * LN2_HIGH
    r = r - n * LN2_LOW
    return _integer_64(t), r * r * _EXP_64(r) + r


@folded
def exp_32(x):
    x = f32(89) if x > f32(89) else x
    x = f32(-104) if x < f32(-104) else x
    n, e = _reduced_32(x)
    return _scaled_32(e + ONE_32, n)


@folded
def exp_64(x):
    x = 710.0 if x > 710.0 else x
    x = -746.0 if x < -746.0 else x
    n, e = _reduced_64(x)
    return _scaled_64(e + 1.0, n)


@folded
def exp2_32(x):
    x = f32(129) if x > f32(129) else x
    x = f32(-151) if x < f32(-151) else x
    t = x + ROUND_32
    r = x - (t - ROUND_32)
    return _scaled_32(r * _EXP2_32(r) + ONE_32, _integer_32(t))


@folded
def expm1_32(x):
    """2^n (e^r - 1) + 2^n - 1, the last two exact where they count."""
    small = x
    x = f32(89) if x > f32(89) else x
    x = f32(-18) if x < f32(-18) else x
    n, e = _reduced_32(x)
    m = i32(100) if n > i32(100) else n
    y = _scaled_32(e + (ONE_32 - _power_32(i32(-m))), n)
    return small if small == 0 else y


@folded
def expm1_64(x):
    small = x
    x = 710.0 if x > 710.0 else x
    x = -38.0 if x < -38.0 else x
    n, e = _reduced_64(x)
    m = i64(100) if n > i64(100) else n
    y = _scaled_64(e + (1.0 - _power_64(-m)), n)
    return small if small == 0 else y


@folded
def exp2_64(x):
    x = 1025.0 if x > 1025.0 else x
    x = -1076.0 if x < -1076.0 else x
    t = x + ROUND
    r = x - (t - ROUND)
    return _scaled_64(r * _EXP2_64(r) + 1.0, _integer_64(t))


@folded
def tanh_32(x):
    """1 - 2 / (e^(2|x|) + 1), for small x a polynomial."""
    a = abs(x)
    u = a * a
    far = ONE_32 - TWO_32 / (exp_32(a + a) + ONE_32)
    return np.copysign(a * u * _TANH_32(u) + a if a < f32(0.55) else far, x)


@folded
def tanh_64(x):
    a = abs(x)
    u = a * a
    far = 1.0 - 2.0 / (exp_64(a + a) + 1.0)
    return np.copysign(a * u * _TANH_64(u) + a if a < 0.55 else far, x)


# Logarithms: log x = n ln 2 + log(1 + f)


@folded
def _log_special_32(x, y):
    """log x where it is no number, else y."""
    y = x if x == INF_32 else y
    y = -INF_32 if x == 0 else y
    return y if x >= 0 else NAN_32


@folded
def _log_special_64(x, y):
    y = x if x == math.inf else y
    y = -math.inf if x == 0 else y
    return y if x >= 0 else math.nan


@folded
def log_32(x):
    tiny = x < SMALLEST_32
    n, f = _split_32(x * f32(2.0**23) if tiny else x)
    n = n - f32(23) if tiny else n
    s = f * f
    y = f * s * _LOG_32(f) + n * LN2_LOW_32
    y = y - HALF_32 * s + f
    return _log_special_32(x, y + n * LN2_HIGH_32)


@folded
def log_64(x):
    """log(1 + f) = 2 atanh(s), s = f / (2 + f), arranged around f - f^2 / 2."""
    tiny = x < SMALLEST
    n, f = _split_64(x * 2.0**54 if tiny else x)
    n = n - 54.0 if tiny else n
    s = f / (2.0 + f)
    u = s * s
    h = 0.5 * f * f
    y = s * (h + u * _LOG_64(u)) + n * LN2_LOW
    return _log_special_64(x, (y - h + f) + n * LN2_HIGH)


@folded
def _log_base_64(x, base_high, base_low, n_high, n_low):
    """log(1 + f) and n times constants in two parts, so that powers of the base come out whole."""
    tiny = x < SMALLEST
    n, f = _split_64(x * 2.0**54 if tiny else x)
    n = n - 54.0 if tiny else n
    s = f / (2.0 + f)
    u = s * s
    h = 0.5 * f * f
    high = i64(f64(f - h).view(i64) & HIGH_BITS).view(f64)
    low = (f - high) - h + s * (h + u * _LOG_64(u))
    y = high * base_high
    top = n * n_high + y
    rest = (n * n_high - top) + y + (low + high) * base_low + low * base_high + n * n_low
    return _log_special_64(x, top + rest)


@folded
def log2_64(x):
    return _log_base_64(x, LOG2E_HIGH, LOG2E_LOW, 1.0, 0.0)


@folded
def log10_64(x):
    return _log_base_64(x, LOG10E_HIGH, LOG10E_LOW, LOG10_2_HIGH, LOG10_2_LOW)


@folded
def log2_32(x):
    return f32(log_64(f64(x)) * LOG2E)


@folded
def log10_32(x):
    return f32(log_64(f64(x)) * (1 / math.log(10)))


@folded
def log1p_32(x):
    """log u and a correction for what 1 + x lost."""
    u = ONE_32 + x
    lost = (x - (u - ONE_32)) / u
    y = log_32(u)
    y = y + lost if (u > 0) & (u < INF_32) else y
    return x if u == ONE_32 else y


@folded
def log1p_64(x):
    u = 1.0 + x
    lost = (x - (u - 1.0)) / u
    y = log_64(u)
    y = y + lost if (u > 0) & (u < math.inf) else y
    return x if u == 1.0 else y


# Powers


@folded
def pow_32(a, b):
    """exp(b log |a|) in float64, and the sign of an odd power."""
    z = f64(b) * log_64(abs(f64(a)))
    z = 110.0 if z > 110.0 else z
    z = -110.0 if z < -110.0 else z
    t = z * LOG2E + ROUND
    r = z - (t - ROUND) * LN2
    y = f32((r * r * _POW_EXP(r) + r + 1.0) * _power_64(_integer_64(t)))
    y = ONE_32 if abs(a) == ONE_32 else y
    whole = np.floor(b) == b
    odd = whole & (np.floor(b * HALF_32) * TWO_32 != b)
    y = np.copysign(y, a) if odd else y
    y = NAN_32 if (a < 0) & (not whole) & (abs(a) < INF_32) else y
    y = a + b if (a != a) | (b != b) else y
    return ONE_32 if (a == ONE_32) | (b == 0) else y


# Sine and cosine: x = n pi / 2 + r with |r| <= pi / 4; n says which of sin r and cos r, and its sign

#: Larger arguments need more digits of pi than the parts hold.
SIN_LIMIT = 2.0**20


@folded
def _quadrant(x):
    """n, r and what r lost to rounding."""
    t = x * (2 / math.pi) + ROUND
    n = t - ROUND
    w = x - n * PIO2_A
    r = w - n * PIO2_B
    low = (w - r) - n * PIO2_B - n * PIO2_C
    total = r + low
    return _integer_64(t), total, low - (total - r)


@folded
def _circle_32(n, r):
    """sin(n pi / 2 + r)."""
    u = r * r
    sine = r * u * _SIN_32(u) + r
    cosine = ONE_32 - (HALF_32 * u - u * u * _COS_32(u))
    y = sine if (n & 1) == 0 else cosine
    return y if (n & 2) == 0 else -y


@folded
def _circle_64(n, r, low):
    u = r * r
    sine = r * u * _SIN_64(u) + low * (1.0 - 0.5 * u) + r
    cosine = 1.0 - (0.5 * u - u * u * _COS_64(u) + r * low)
    y = sine if (n & 1) == 0 else cosine
    return y if (n & 2) == 0 else -y


@folded
def sin_32(x):
    n, r, _ = _quadrant(f64(x))
    return x if x == 0 else _circle_32(n, f32(r))


@folded
def cos_32(x):
    n, r, _ = _quadrant(f64(x))
    return _circle_32(n + 1, f32(r))


@folded
def sin_64(x):
    n, r, low = _quadrant(x)
    return x if x == 0 else _circle_64(n, r, low)


@folded
def cos_64(x):
    n, r, low = _quadrant(x)
    return _circle_64(n + 1, r, low)


# Error function: x + x P(x^2) for small x; 1 - 2^g(|x|), or 1 - e^-x^2 Q, for others


@folded
def erf_32(x):
    """2^-g has a small exponent: written without the care of exp2."""
    a = abs(x)
    u = a * a
    near = a * _ERF_32(u) + a
    g = _ERFC_32(f32(4) if a > f32(4) else a)
    t = g + ROUND_32
    r = g - (t - ROUND_32)
    far = ONE_32 - (r * _ERF_EXP2(r) + ONE_32) * _power_32(_integer_32(t))
    return np.copysign(near if a < f32(0.75) else far, x)


@folded
def erf_64(x):
    a = abs(x)
    u = a * a
    near = a * _ERF_64(u) + a
    b = 6.0 if a > 6.0 else a
    far = 1.0 - exp_64(-(b * b)) * _ERFC_64((b - 2.5) / (b + 2.5))
    return np.copysign(near if a < 1.0 else far, x)


def _kernels_only(*args):
    raise NotImplementedError("this function exists inside kernels only")


def _vectorised(plain, chosen):
    """A function that kernels take from `chosen` by the dtype of its first argument.

    Plain Python, and the simulator of CUDA, call `plain`.
    """
    options = {"forceinline": True, "error_model": "numpy"}

    def one(x):
        return plain(x)

    def two(a, b):
        return plain(a, b)

    @overload(one, jit_options=options)
    def of_one(x):
        f = chosen[x]
        return lambda x: f(x)

    @overload(two, jit_options=options)
    def of_two(a, b):
        f = chosen[a]
        return lambda a, b: f(a, b)

    return two if plain is math.pow else one


def _floats(for_32, for_64):
    return {types.float32: for_32, types.float64: for_64}


exp = _vectorised(math.exp, _floats(exp_32, exp_64))
exp2 = _vectorised(math.exp2, _floats(exp2_32, exp2_64))
expm1 = _vectorised(math.expm1, _floats(expm1_32, expm1_64))
tanh = _vectorised(math.tanh, _floats(tanh_32, tanh_64))
log = _vectorised(math.log, _floats(log_32, log_64))
log2 = _vectorised(math.log2, _floats(log2_32, log2_64))
log10 = _vectorised(math.log10, _floats(log10_32, log10_64))
log1p = _vectorised(math.log1p, _floats(log1p_32, log1p_64))
pow = _vectorised(math.pow, _floats(pow_32, math.pow))
erf = _vectorised(math.erf, _floats(erf_32, erf_64))
near_sin = _vectorised(math.sin, _floats(sin_32, sin_64))
near_cos = _vectorised(math.cos, _floats(cos_32, cos_64))
order = _vectorised(_kernels_only, _floats(order_32, order_64))
unorder = _vectorised(_kernels_only, {types.int32: unorder_32, types.int64: unorder_64})
