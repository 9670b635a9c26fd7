"""log, log2, log10 and log1p: log x = n ln 2 + log(1 + f)."""

import math

from nbgrad.kernels.cpu.elementary.parts import (
    HALF_32,
    INF_32,
    LN2_HIGH,
    LN2_HIGH_32,
    LN2_LOW,
    LN2_LOW_32,
    LOG2E,
    NAN_32,
    ONE_32,
    f32,
    f64,
    fma,
    head_64,
    split_32,
    split_64,
    split_polynomial,
)
from nbgrad.kernels.options import folded

LOG_COEFFICIENTS = (0.3333333117, -0.2499999698, 0.2000071719, -0.1666780184, 0.1424900291,
                    -0.1242566068, 0.1168598989, -0.1148020545, 0.06970549027)
_LOG_32 = split_polynomial(f32, *LOG_COEFFICIENTS)
_LOG_64 = split_polynomial(
    f64, 0.66666666666666697, 0.39999999999899158, 0.28571428626132818, 0.22222211109119373,
    0.18182890995435937, 0.15331659453768518, 0.14617217629634764)
_LOG2_SUM_64 = split_polynomial(
    f64, 0.6, 0.42857142857144053, 0.33333333332481409, 0.27272727503637533, 0.23076892385204066,
    0.20002210225656333, 0.17559269242985303, 0.17585659350827311)
SMALLEST_32, SMALLEST = f32(2.0**-126), 2.0**-1022
# log2 e, its 2 / 3, log10 e and log10 2 in two parts, the first of 40 bits for the last, else of 21
LOG2E_HIGH, LOG2E_LOW = 1.4426946640014648, 3.768874985636099e-07
SLOPE_HIGH, SLOPE_LOW = 0.9617962837219238, 4.102040517767816e-07
LOG10E_HIGH, LOG10E_LOW = 0.4342944622039795, 1.9699272335463627e-08
LOG10_2_HIGH, LOG10_2_LOW = 0.30102999566361177, 3.694239077158931e-13


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
    n, f = split_32(x * f32(2.0**23) if tiny else x)
    n = n - f32(23) if tiny else n
    s = f * f
    y = fma(f * s, _LOG_32(f), n * LN2_LOW_32)
    y = fma(-HALF_32, s, y) + f
    return _log_special_32(x, fma(n, LN2_HIGH_32, y))


@folded
def log_64(x):
    """log(1 + f) = 2 atanh(s), s = f / (2 + f), arranged around f - f^2 / 2."""
    tiny = x < SMALLEST
    n, f = split_64(x * 2.0**54 if tiny else x)
    n = n - 54.0 if tiny else n
    s = f / (2.0 + f)
    u = s * s
    h = 0.5 * f * f
    y = fma(s, fma(u, _LOG_64(u), h), n * LN2_LOW)
    return _log_special_64(x, fma(n, LN2_HIGH, y - h + f))


@folded
def _log_base_64(x, base_high, base_low, n_high, n_low):
    """log(1 + f) and n times constants in two parts, so that powers of the base come out whole."""
    tiny = x < SMALLEST
    n, f = split_64(x * 2.0**54 if tiny else x)
    n = n - 54.0 if tiny else n
    s = f / (2.0 + f)
    u = s * s
    h = 0.5 * f * f
    high = head_64(f - h)
    low = fma(s, fma(u, _LOG_64(u), h), (f - high) - h)
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
def log2_sum_64(x):
    """log2 x as a head and a rest, together to 64 bits; x positive.

    log2(1 + f) = SLOPE s (3 + s^2 + s^4 P(s^2)), s = f / (2 + f). Whatever is large is a product of
    heads or a difference without rounding, so that fma can change nothing.
    """
    tiny = x < SMALLEST
    n, f = split_64(x * 2.0**54 if tiny else x)
    n = n - 54.0 if tiny else n
    d = 2.0 + f
    d_head = head_64(d)
    s = f / d
    s_head = head_64(s)
    s_rest = (f - s_head * d_head - s_head * (f - (d_head - 2.0))) / d
    u = s * s
    lost = u * u * _LOG2_SUM_64(u) + s_rest * (s_head + s)
    t_head = head_64(3.0 + s_head * s_head + lost)
    t_rest = lost - (t_head - 3.0 - s_head * s_head)
    y = s_head * t_head
    lost = s_rest * t_head + s * t_rest
    y_head = head_64(y + lost)
    y_rest = lost - (y_head - y)
    z = SLOPE_HIGH * y_head
    lost = SLOPE_LOW * y_head + (SLOPE_HIGH + SLOPE_LOW) * y_rest
    head = head_64(n + z + lost)
    return head, lost - (head - n - z)


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
