"""The inverse of erf, computed in double precision for every dtype."""

import math

from nbgrad.kernels.cpu.elementary.error import erfc_64
from nbgrad.kernels.options import folded

_A = 0.147
_HALF_ROOT_PI = math.sqrt(math.pi) / 2


@folded
def erfinv_64(y):
    """Winitzki's approximation, good to 2e-3, and two steps of Halley, close to 1 three, which cube it.

    With f = (erf x - y) / erf' x a step is x - f / (1 + x f).
    """
    a = abs(y)
    if not a < 1:
        return math.copysign(math.inf, y) if a == 1 else math.nan
    fall = math.log1p(-a) + math.log1p(a)
    t = 2 / (math.pi * _A) + 0.5 * fall
    x = math.sqrt(-fall / _A / (math.sqrt(t * t - fall / _A) + t))
    for _ in range(2 if a < 1 - 1e-12 else 3):
        gap = math.erf(x) - a if a < 0.5 else (1 - a) - erfc_64(x)
        f = gap * _HALF_ROOT_PI * math.exp(x * x)
        x -= f / (1 + x * f)
    return math.copysign(x, y)
