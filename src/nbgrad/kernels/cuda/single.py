"""Functions of float32 numbers for rows, to two units in the last place where libdevice's miss that.

exp, exp2 and tanh of libdevice take `ex2.approx` of the hardware, and its error with it. The formulas
here are those of kernels/cpu/elementary, arithmetic alone. What is seldom used is computed in double
precision. tools/cuda_accuracy.py measures them.
"""

import math

import numpy as np

from nbgrad.kernels.cpu.elementary import exponential, logarithm
from nbgrad.kernels.cuda.provider import inline, libdevice

fma = libdevice.fmaf
_ZERO, _ONE, _TWO, _HALF = map(np.float32, (0, 1, 2, 0.5))
# 1.5 * 2^23 rounds what is added to it; twice the bias of exponents is in the low bits
_SCALE = np.float32(1.5 * 2**23 + 2 * 127)
_LOG2E = np.float32(1 / math.log(2))
_LOG2E_LOW = np.float32(1 / math.log(2) - float(_LOG2E))
_LOG10E = np.float32(1 / math.log(10))
_LOG10E_LOW = np.float32(1 / math.log(10) - float(_LOG10E))
# log10 2, the first part of 11 bits: products with exponents are exact
_LOG10_2 = np.float32(0.301025390625)
_LOG10_2_LOW = np.float32(math.log10(2) - 0.301025390625)
# pi / 2 in three parts
_PIO2_A, _PIO2_B, _PIO2_C = map(np.float32, (
    1.5707963705062866, -4.371138828673793e-08, -1.7151245100058819e-15))
_ROUND, _PER_TURN = np.float32(1.5 * 2**23), np.float32(2 / math.pi)
_ROOT_BITS = np.int32(0x3F3504F3)  # of sqrt(1/2)


def _polynomial(coefficients):
    """c0 + c1 x + c2 x^2 + ..., by Horner's scheme."""
    names = {f"c{k}": np.float32(c) for k, c in enumerate(coefficients)}
    *lower, text = names
    for name in reversed(lower):
        text = f"fma({text}, x, {name})"
    return inline(eval(f"lambda x: {text}", names | {"fma": fma}))


_exp2_part = _polynomial(exponential.EXP2_COEFFICIENTS)
_tanh_part = _polynomial(exponential.TANH_COEFFICIENTS)
_sinh_part = _polynomial([1 / math.factorial(k) for k in (3, 5, 7, 9, 11)])
_TAN_32 = (0.3333333398, 0.133332308, 0.05399449655, 0.0216208769, 0.0099630254, 0.001183918525,
           0.003843972281)
_tan_part = _polynomial(_TAN_32)
_log_part = _polynomial(logarithm.LOG_COEFFICIENTS)


@inline
def _scaled(y, t):
    """2^n y of t = n + _SCALE, in two steps, which reach subnormal and largest results."""
    whole = libdevice.float_as_int(t)
    half = np.int32(whole >> np.int32(1))
    rest = np.int32(whole - half)
    return (y * libdevice.int_as_float(np.int32(half << np.int32(23)))
            * libdevice.int_as_float(np.int32(rest << np.int32(23))))


@inline
def _split(c):
    """t = n + _SCALE and r with n + r = c log2 e, |r| <= 1/2."""
    t = fma(c, _LOG2E, _SCALE)
    n = t - _SCALE
    return t, fma(c, _LOG2E_LOW, fma(c, _LOG2E, -n))


@inline
def exp(x):
    c = x if x < np.float32(89) else np.float32(89)
    t, r = _split(c if c > np.float32(-104) else np.float32(-104))
    y = _scaled(fma(r, _exp2_part(r), _ONE), t)
    return y if x == x else x


@inline
def exp2(x):
    c = x if x < np.float32(129) else np.float32(129)
    c = c if c > np.float32(-151) else np.float32(-151)
    t = c + _SCALE
    r = c - (t - _SCALE)
    y = _scaled(fma(r, _exp2_part(r), _ONE), t)
    return y if x == x else x


@inline
def _reciprocal(x):
    """1 / x for x that is neither very small nor very large: a step from what the hardware gives."""
    y = libdevice.fast_fdividef(_ONE, x)
    return fma(y, fma(-x, y, _ONE), y)


@inline
def tanh(x):
    """1 - 2 / (e^(2|x|) + 1), for small x a polynomial."""
    a = abs(x)
    a = np.float32(10) if a > np.float32(10) else a
    u = a * a
    t, r = _split(a + a)
    power = libdevice.int_as_float(np.int32(libdevice.float_as_int(t) - np.int32(127)) << np.int32(23))
    far = _ONE - _TWO * _reciprocal(fma(power, fma(r, _exp2_part(r), _ONE), _ONE))
    return math.copysign(fma(a * u, _tanh_part(u), a) if a < np.float32(0.55) else far, x)


@inline
def _grown(a):
    """e^a = 2^n (high + low), t = n + _SCALE, and e^-a over 2^n."""
    t, r = _split(a)
    part = r * _exp2_part(r)
    high = _ONE + part
    low = part - (high - _ONE)
    n = libdevice.float_as_int(t) - libdevice.float_as_int(_SCALE)
    n = np.int32(n if n < 60 else 60)
    power = libdevice.int_as_float(np.int32(np.int32(127 - 2 * n) << np.int32(23)))
    return high, low, t, _reciprocal(high) * power


@inline
def cosh(x):
    a = abs(x)
    a = np.float32(92) if a > np.float32(92) else a
    high, low, t, fall = _grown(a)
    return _scaled(_HALF * (high + (low + fall)), t)


@inline
def sinh(x):
    """(e^a - e^-a) / 2, for small a the series."""
    a = abs(x)
    a = np.float32(92) if a > np.float32(92) else a
    high, low, t, fall = _grown(a)
    u = a * a
    near = fma(a * u, _sinh_part(u), a)
    return math.copysign(near if a < _ONE else _scaled(_HALF * (high + (low - fall)), t), x)


@inline
def atanh(x):
    """log(1 + 2a + 2a^2 / (1 - a)) / 2."""
    a = abs(x)
    twice = a + a
    y = _HALF * math.log1p(fma(twice, a / (_ONE - a), twice))
    return math.copysign(y, x) if a <= _ONE else np.float32(math.nan)


@inline
def log10(x):
    """n log10 2 + (log(1 + f) - f) log10 e + f log10 e, the largest term last."""
    tiny = x < np.float32(2.0**-126)
    bits = np.int32(libdevice.float_as_int(x * np.float32(2.0**23) if tiny else x) - _ROOT_BITS)
    n = np.float32(np.int32(bits >> np.int32(23))) - (np.float32(23) if tiny else _ZERO)
    f = libdevice.int_as_float(np.int32(np.int32(bits & np.int32(0x7FFFFF)) + _ROOT_BITS)) - _ONE
    s = f * f
    bent = fma(f * s, _log_part(f), -_HALF * s)
    low = fma(n, _LOG10_2_LOW, fma(bent, _LOG10E, f * _LOG10E_LOW))
    y = fma(n, _LOG10_2, fma(f, _LOG10E, low))
    y = x if x == np.float32(math.inf) else y
    y = np.float32(-math.inf) if x == _ZERO else y
    return y if x >= _ZERO else np.float32(math.nan)


@inline
def tan(x):
    """tan r or -1 / tan r, x = n pi / 2 + r; in double precision where n has more than 12 bits."""
    if abs(x) > np.float32(8192):
        return np.float32(libdevice.tan(np.float64(x)))
    t = fma(x, _PER_TURN, _ROUND)
    n = t - _ROUND
    w = fma(-n, _PIO2_A, x)  # exact
    p = libdevice.fmul_rn(n, _PIO2_B)
    r = w - p
    v = r - w
    lost = (w - (r - v)) - (p + v) - fma(n, _PIO2_C, fma(n, _PIO2_B, -p))
    u = r * r
    bent = fma(r * u, _tan_part(u), fma(u, lost, lost))
    high = r + bent
    low = bent - (high - r)
    turned = libdevice.fast_fdividef(-_ONE, high)
    turned = fma(turned, fma(turned, low, fma(turned, high, _ONE)), turned)
    y = turned if libdevice.float_as_int(t) & np.int32(1) else high
    return x if x == _ZERO else y
