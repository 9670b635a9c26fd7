"""a^b = 2^(b log2 |a|), and the sign of an odd power."""

import math

import numpy as np

from nbgrad.kernels.cpu.elementary.exponential import exp2_sum_64
from nbgrad.kernels.cpu.elementary.logarithm import log2_sum_64, log_64
from nbgrad.kernels.cpu.elementary.parts import (
    HALF_32,
    INF_32,
    LN2,
    LOG2E,
    NAN_32,
    ONE_32,
    ROUND,
    TWO_32,
    f32,
    f64,
    fma,
    head_64,
    integer_64,
    polynomial,
    power_of_two_64,
)
from nbgrad.kernels.options import folded

_POW_EXP = polynomial(f64, 0.5, 0.1666657699, 0.04166655462, 0.008363179053, 0.001392618359)


@folded
def pow_32(a, b):
    """exp(b log |a|) in float64, and the sign of an odd power."""
    z = f64(b) * log_64(abs(f64(a)))
    z = 110.0 if z > 110.0 else z
    z = -110.0 if z < -110.0 else z
    t = fma(z, LOG2E, ROUND)
    r = fma(-(t - ROUND), LN2, z)
    y = f32((fma(r * r, _POW_EXP(r), r) + 1.0) * power_of_two_64(integer_64(t)))
    y = ONE_32 if abs(a) == ONE_32 else y
    whole = np.floor(b) == b
    odd = whole & (np.floor(b * HALF_32) * TWO_32 != b)
    y = np.copysign(y, a) if odd else y
    y = NAN_32 if (a < 0) & (not whole) & (abs(a) < INF_32) else y
    y = a + b if (a != a) | (b != b) else y
    return ONE_32 if (a == ONE_32) | (b == 0) else y


@folded
def pow_64(a, b):
    """2^(b log2 |a|), the product in two parts, and the sign of an odd power."""
    size = abs(a)
    high, low = log2_sum_64(size)
    c = 2.0**66 if b > 2.0**66 else b
    c = -(2.0**66) if b < -(2.0**66) else c
    c_head = head_64(c)
    z = c_head * high
    rest = (c - c_head) * high + c * low
    z = z if size < math.inf else b * size
    z = -math.inf * b if a == 0 else z
    far = not abs(z) < 1100.0
    z = np.copysign(1100.0, z) if far else z
    y = exp2_sum_64(z, 0.0 if far else rest)
    whole = np.floor(b) == b
    odd = whole & (np.floor(b * 0.5) * 2.0 != b)
    y = np.copysign(y, a) if odd else y
    y = math.nan if (a < 0) & (not whole) & (size < math.inf) else y
    y = a + b if (a != a) | (b != b) else y
    return 1.0 if (a == 1.0) | (b == 0) else y
