"""sin and cos: x = n pi / 2 + r with |r| <= pi / 4; n says which of sin r and cos r, and its sign.

Good to |x| = 2^20: larger arguments need more digits of pi than the three parts hold.
"""

import math

from nbgrad.kernels.cpu.elementary.parts import (
    HALF_32,
    ONE_32,
    ROUND,
    f32,
    f64,
    fma,
    integer_64,
    polynomial,
)
from nbgrad.kernels.options import folded

SIN_32 = -0.1666666666, 0.008333331874, -0.0001984008626, 2.724986466e-6
COS_32 = 0.04166666666, -0.001388888767, 2.480059998e-5, -2.730090817e-7
SIN_64 = (
    -0.16666666666666667, 0.0083333333333333315, -0.0001984126984126506, 2.7557319219335453e-6,
    -2.5052106231157905e-8, 1.6058531414589011e-10, -7.5866850700912672e-13)
COS_64 = (
    0.041666666666666667, -0.0013888888888888888, 2.4801587301584644e-5, -2.755731922140076e-7,
    2.0876755790363396e-9, -1.1470460773969325e-11, 4.7458652037874551e-14)
_sin_32, _cos_32 = polynomial(f32, *SIN_32), polynomial(f32, *COS_32)
_sin_64, _cos_64 = polynomial(f64, *SIN_64), polynomial(f64, *COS_64)
# pi / 2 in three parts, of 33 bits but for the last; their sums are exact to 118 bits
PIO2_A, PIO2_B, PIO2_C = 1.57079632673412561417, 6.07710050630396597660e-11, 2.02226624879595063154e-21


@folded
def _quadrant(x):
    """n, r and what r lost to rounding."""
    t = fma(x, 2 / math.pi, ROUND)
    n = t - ROUND
    w = fma(-n, PIO2_A, x)
    r = fma(-n, PIO2_B, w)
    low = fma(-n, PIO2_C, fma(-n, PIO2_B, w - r))
    total = r + low
    return integer_64(t), total, low - (total - r)


@folded
def circle_32(n, r):
    """sin(n pi / 2 + r)."""
    u = r * r
    sine = fma(r * u, _sin_32(u), r)
    cosine = ONE_32 - fma(-(u * u), _cos_32(u), HALF_32 * u)
    y = sine if (n & 1) == 0 else cosine
    return y if (n & 2) == 0 else -y


@folded
def circle_64(n, r, low):
    """sin(n pi / 2 + r + low)."""
    u = r * r
    sine = fma(r * u, _sin_64(u), low * fma(-0.5, u, 1.0)) + r
    cosine = 1.0 - fma(r, low, fma(-(u * u), _cos_64(u), 0.5 * u))
    y = sine if (n & 1) == 0 else cosine
    return y if (n & 2) == 0 else -y


@folded
def sin_32(x):
    n, r, _ = _quadrant(f64(x))
    return x if x == 0 else circle_32(n, f32(r))


@folded
def cos_32(x):
    n, r, _ = _quadrant(f64(x))
    return circle_32(n + 1, f32(r))


@folded
def sin_64(x):
    n, r, low = _quadrant(x)
    return x if x == 0 else circle_64(n, r, low)


@folded
def cos_64(x):
    n, r, low = _quadrant(x)
    return circle_64(n + 1, r, low)
