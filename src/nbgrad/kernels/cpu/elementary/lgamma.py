"""log |Gamma(x)|, computed in double precision for every dtype.

Where |Gamma(z)| is 1 the result is 0, and beside z it is -log1p(1 / |Gamma(x)| - 1), for which x - z
must be a factor of that difference. 1 / Gamma is entire, so that a short polynomial gives it. From 0.7
to 2.5, and from -2.86 to -2.3, both zeros of the difference are taken out of the polynomial. Beside
-3, -4, ..., which have a zero each on the left and on the right, 1 / Gamma is a product, and its
difference x - z times a divided difference, which follows the factors of the product.
"""

import math

import numpy as np

from nbgrad.kernels.cpu.elementary.circle import sin_64
from nbgrad.kernels.cpu.elementary.gamma import rest
from nbgrad.kernels.cpu.elementary.logarithm import log2_sum_64
from nbgrad.kernels.cpu.elementary.parts import LN2, LN2_HIGH, LN2_LOW, f64, fma, head_64, polynomial
from nbgrad.kernels.options import folded

#: (1 / Gamma(x) - 1) / ((x - 1) (x - 2)) - _MOST around _MIDDLE
_GAMMA_64 = (
    -0.00064761261865662109, 0.18603556067405433, -0.01502058444451133, -0.017964563299801952,
    0.0075476502721567866, -0.00086896546320454687, -0.00026930574325775028, 0.00012551622363684554,
    -1.8897892749552572e-5, -9.7225723130520219e-7, 9.8945840691209873e-7, -1.9119019600493822e-7,
    9.7469474702411497e-9, 3.2600370326806853e-9, -1.1792093728755878e-9, 4.3117355799685399e-12,
    -3.5238958130794734e-11, -1.0143580616513652e-11, -2.2373501910733307e-13)
_MIDDLE, _MOST = 2.25, -0.375
#: (-1 / Gamma(x) - 1) / ((x - z) (x - z')) - _DIP_MOST around _DIP, z and z' the zeros from -3 to -2
_GAMMA_DIP_64 = (
    0.039816033115007866, 5.2088331657103166, -0.40105550473337855, -2.1470001347216326,
    1.1375738841930756, -0.018829356274870351, -0.17501420166467661, 0.063487561355085553,
    -0.0028666737639707087, -0.0044770231898142095, 0.0014997456949192946, -0.00013392587434738536,
    -3.9650097565516959e-5, 2.1111214504911567e-5, -7.1296528403467766e-7)
_DIP, _DIP_MOST, _DIP_LEFT, _DIP_RIGHT = -2.3125, -4.5, -2.86, -2.3
_ZERO, _ZERO_LOW = -2.4570247382208006, -3.7075610815513266e-17
_OTHER, _OTHER_LOW = -2.7476826467274127, 9.055340329338315e-17
#: The zeros below -3 in two parts: on the left of -3, on the right and the left of -4, ..., of -17
_ZEROS = np.array((
    (-3.14358088834998, -2.1818179852331714e-16), (-3.955294284858598, -1.999428391746348e-17),
    (-4.039361839740537, 2.1143995503980602e-16), (-4.991544640560048, 1.5174411760571722e-16),
    (-5.0082181683225935, -4.3926353491015815e-17), (-5.998607480080875, -3.311862478893795e-16),
    (-6.001385294453155, 6.415847287933042e-17), (-6.999801507890638, 1.0550130037400023e-17),
    (-7.000198333407325, 2.504354173632409e-16), (-7.999975197095821, -5.261737128572354e-17),
    (-8.000024800270682, -4.354586297860107e-16), (-8.999997244250977, -2.2185620509727132e-16),
    (-9.000002755714823, -9.491348611623208e-17), (-9.99999972442663, 4.883037618642443e-16),
    (-10.000000275573013, -3.4909708332642057e-16), (-10.99999997494789, 1.9843998306985407e-16),
    (-11.000000025052106, -6.850849812286175e-16), (-11.999999997912324, -1.0020693920103036e-16),
    (-12.000000002087676, 1.2222548112048185e-16), (-12.99999999983941, 6.747262033096337e-16),
    (-13.00000000016059, -6.745919484964342e-16), (-13.99999999998853, 8.094860741926607e-16),
    (-14.00000000001147, -8.094853704222662e-16), (-14.999999999999236, 8.82932241476868e-16),
    (-15.000000000000764, -8.829322382710274e-16), (-15.999999999999952, -1.668613399265054e-16),
    (-16.000000000000046, -1.6094954994609367e-15), (-16.999999999999996, -7.412564244549576e-16),
    (-17.000000000000004, 7.412564244550028e-16),
))
#: B_2k / (2k (2k - 1)), of the series for large x
_STIRLING = (1 / 12, -1 / 360, 1 / 1260, -1 / 1680, 1 / 1188, -691 / 360360, 1 / 156)
_gamma, _gamma_dip = polynomial(f64, *_GAMMA_64), polynomial(f64, *_GAMMA_DIP_64)


@folded
def lgamma_64(x):
    if not abs(x) < math.inf:
        return abs(x)
    if x >= 10.0:
        return _far(x)
    if x > 0.0:
        return _stepped(x)
    u = rest(x)
    if u == 0.0:
        return math.inf
    if u < -0.5:
        u += 1.0
    if x < -17.5:
        return _reflected(x, u)
    steps = _DIP_LEFT < x < _DIP_RIGHT or (x < -1.5 and u > 0.25)
    return _stepped(x) if steps else _beside(x, u)


@folded
def _log(x):
    """log x as a head and a rest."""
    head, low = log2_sum_64(x)
    return head * LN2_HIGH, head * LN2_LOW + low * LN2


@folded
def _minus_log(t, v):
    """-log(t + t v), with what that sum loses."""
    w = t + t * v
    return -(math.log(w) + ((t - w) + t * v) / w)


@folded
def _growth(x):
    """x (log x - 1) as a head and a rest; and log x."""
    log, low = _log(x)
    slope = head_64(log - 1.0)
    x_head = head_64(x)
    return x_head * slope, (x - x_head) * slope + x * ((log - 1.0 - slope) + low), log + low


@folded
def _series(x):
    w = 1.0 / (x * x)
    y = 0.0
    for k in range(len(_STIRLING) - 1, -1, -1):
        y = y * w + _STIRLING[k]
    return y / x


@folded
def _far(x):
    """Stirling's series."""
    head, low, log = _growth(x)
    return head + (low + (0.5 * math.log(2 * math.pi) - 0.5 * log + _series(x)))


@folded
def _reflected(x, u):
    """log(pi / |x sin pi u|) - log Gamma(-x)."""
    head, low, log = _growth(-x)
    sine, sine_low = _log(sin_64(math.pi * abs(u)))
    total = head + sine
    lost = (head - total) + sine
    return -(total + (low + lost + sine_low + 0.5 * log + _series(-x) - 0.5 * math.log(math.pi / 2)))


@folded
def _stepped(x):
    """By steps of 1 to a polynomial, over the factors of Gamma that these pass."""
    up, down, gone = 1.0, 1.0, 0.0
    while x > 2.5:
        x -= 1.0
        up *= x
    while x < _DIP_LEFT or _DIP_RIGHT < x < 0.7:
        down, missed = _product(down, x, 0.0, 1.0, 0.0)
        gone = gone * x + missed
        x += 1.0
    if x > 0.0:
        a, b = x - 1.0, x - 2.0
        q, lost = _product(a, b, a * (x - (b + 2.0)), _MOST, _gamma(x - _MIDDLE))
    else:
        a, b = x - _ZERO, x - _OTHER
        q, lost = _product(a, b, -(_ZERO_LOW * b + _OTHER_LOW * a), _DIP_MOST, _gamma_dip(x - _DIP))
    if down != 1.0:
        return _minus_log(abs(down), q + gone / down)
    return math.log(up) - (math.log1p(q) + lost / (1.0 + q))


@folded
def _product(a, b, low, most, p):
    """(a b + low) (most + p) as a sum and what that lost; `most` has few bits, p is smaller."""
    a_head, b_head = head_64(a), head_64(b)
    head = a_head * b_head * most
    tail = (a_head * (b - b_head) + (a - a_head) * b + low) * most + (a * b + low) * p
    q = head + tail
    return q, tail - (q - head)


@folded
def _beside(x, u):
    """x = u - n, |u| <= 1/2: 1 / |Gamma(x)| is n! |u| (1 + v) with

        1 + v(u) = (1 - u) (1 - u / 2) ... (1 - u / n) / Gamma(1 + u),

    and less its value 1 at u0 it is n! (u - u0) (1 + v(u0) + u s), s = (v(u) - v(u0)) / (u - u0).
    """
    n = u - x
    zero = low = u0 = 0.0
    if x < -3.0:
        k = 2 * int(n) - 6 - (1 if u > 0.0 else 0)
        zero, low = _ZEROS[k, 0], _ZEROS[k, 1]
        u0 = (zero + n) + low
    v, s = 0.0, 0.0
    for k in range(len(_GAMMA_64) - 1, -1, -1):
        s = fma(s, u + (1.0 - _MIDDLE), v)
        v = fma(v, u0 + (1.0 - _MIDDLE), _GAMMA_64[k])
    v += _MOST
    s = s * (u - 1.0) + v
    v = v * (u0 - 1.0)
    s = s * u + v
    v = v * u0
    factorial, j = 1.0, 1.0
    while j <= n:
        part = 1.0 / j
        s -= (u * s + (1.0 + v)) * part
        v -= u0 * part * (1.0 + v)
        factorial *= j
        j += 1.0
    if x < -3.0:
        gap, over = factorial * (x - zero), v + u * s
        q = gap + (gap * over - factorial * low * (1.0 + over))
        if abs(q) < 0.25:
            return -math.log1p(q if u > 0.0 else -q)
    return _minus_log(factorial * abs(u), v + (u - u0) * s)
