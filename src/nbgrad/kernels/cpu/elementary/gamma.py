"""The derivatives of log gamma: sums up to a large argument, and there the asymptotic series.

They are computed in double precision for every dtype.
"""

import math

import numpy as np

from nbgrad.kernels.options import folded

#: B_2k / (2k), of psi(x) = ln x - 1 / 2x - sum of these over x^2k
_PSI = (1 / 12, -1 / 120, 1 / 252, -1 / 240, 1 / 132, -691 / 32760, 1 / 12, -3617 / 8160)
#: B_2k / (2k)!, of Euler and Maclaurin's sum
_SUM = (1 / 12, -1 / 720, 1 / 30240, -1 / 1209600, 1 / 47900160, -691 / 1307674368000,
        1 / 74724249600, -3617 / 10670622842880000, 43867 / 5109094217170944000)
_FAR = 10.0


@folded
def rest(x):
    """What is left of a negative number without its whole part, in (-1, 0]."""
    return x - np.float64(np.int64(x)) if x > -(2.0**52) else 0.0


@folded
def digamma_64(x):
    """psi(x) = psi(x + n) - sum of 1 / (x + k); to the left of 0, psi(1 - x) - pi / tan(pi x)."""
    if x == 0:
        return math.copysign(math.inf, -x)
    reflected = 0.0
    if x < 0:
        r = rest(x)
        if r == 0:
            return math.nan
        if r < -0.5:
            r += 1.0
        reflected = -math.pi / math.tan(math.pi * r)
        x = 1 - x
    total = 0.0
    while x < _FAR:
        total += 1 / x
        x += 1
    w = 1 / (x * x)
    series = 0.0
    for k in range(len(_PSI) - 1, -1, -1):
        series = (series + _PSI[k]) * w
    return math.log(x) - 0.5 / x - series - total + reflected


@folded
def _zeta(s, x):
    """The sum of (x + k)^-s from k = 0 on, for x > 0, by Euler and Maclaurin from where x is large."""
    total = 0.0
    while x < _FAR + s:
        term = x ** -s
        total += term
        x += 1
        if term < 1e-18 * total:
            return total
    last = x ** -s
    total += x ** (1 - s) / (s - 1) + 0.5 * last
    factor = s * last / x
    for k in range(len(_SUM)):
        total += _SUM[k] * factor
        factor *= (s + 2 * k + 1) * (s + 2 * k + 2) / (x * x)
    return total


@folded
def polygamma_64(n, x):
    """(-1)^(n + 1) n! zeta(n + 1, x); psi for n = 0.

    To the left of 0 the terms on both sides of it are summed outwards.
    """
    if n == 0:
        return digamma_64(x)
    s = n + 1
    sign = 1.0 if n % 2 == 1 else -1.0
    if x > 0:
        return sign * math.gamma(s) * _zeta(s, x)
    if not x > -math.inf:
        return math.nan
    r = rest(x)
    if r == 0:
        return sign * math.inf
    return sign * math.gamma(s) * (_zeta(s, 1 + r) + sign * (_zeta(s, -r) - _zeta(s, 1 - x)))
