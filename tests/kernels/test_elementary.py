"""Functions of float64 that kernels for CUDA share with the CPU's, against mpmath."""

import math
from itertools import pairwise

import mpmath as mp
import numpy as np
import pytest

from nbgrad.kernels.cpu.elementary.error import erfc_64
from nbgrad.kernels.cpu.elementary.gamma import polygamma_64
from nbgrad.kernels.cpu.elementary.inverse import erfinv_64
from nbgrad.kernels.cpu.elementary.lgamma import lgamma_64
from nbgrad.kernels.options import folded, kernel

rng = np.random.default_rng(0)
COUNT = 150


def log_gamma(x):
    return mp.log(abs(mp.gamma(x)))


def spread(*ends):
    """Numbers all over the intervals between neighbours of `ends`."""
    return np.concatenate([rng.uniform(low, high, COUNT) for low, high in pairwise(ends)])


def beside(points, *steps):
    """Each point, which is no float64, at both sides and so many units in the last place away."""
    nearest = np.array([float(p) for p in points])
    return np.concatenate([nearest + k * s * np.spacing(nearest) for k in steps for s in (-1, 1)])


with mp.workdps(40):
    ZEROS = [mp.findroot(log_gamma, -n + side / mp.factorial(n), solver="newton", df=mp.digamma)
             for n in range(2, 18) for side in (-1, 1) if (n, side) != (2, 1)]
WHOLE = np.arange(-40, 3) + rng.choice([-1, 1], (3, 43)) * np.array([[1e-3], [1e-6], [1e-12]])


@folded
def trigamma(x):
    return polygamma_64(1.0, x)


#: name: the function, the exact one, arguments, the largest error in units in the last place
CASES = {
    "erfc": (erfc_64, mp.erfc, spread(-7, -0.75, 0, 0.45, 0.5, 0.75, 1, 2, 5, 26.5), 2),
    "erfinv": (erfinv_64, mp.erfinv, np.append(spread(-1, 0, 0.4, 0.5, 0.6, 1), 1 - 2.0**-53), 2),
    "lgamma": (lgamma_64, log_gamma, np.concatenate([
        spread(-1e3, -40, -17.5, -10, -5, -4, -3.5, -3.25, -3, -2.86, -2.7, -2.5, -2.3, -2, -1.75, -1.5,
               -1, -0.5, 0, 0.5, 0.7, 0.85, 1.1, 1.5, 1.9, 2.1, 2.5, 3.5, 10, 11, 100, 1e6),
        beside(ZEROS, 0, 1, 5, 1000, 1e6), beside([1, 2], 1, 100, 1e9), WHOLE.reshape(-1),
        10.0 ** rng.uniform(-300, 300, COUNT)]), 2.5),
    "lgamma beside zeros": (lgamma_64, log_gamma, np.concatenate([
        float(z) + (float(z) - round(float(z))) * rng.uniform(-0.5, 0.5, COUNT) for z in ZEROS]), 2),
    "trigamma": (trigamma, lambda x: mp.polygamma(1, x), spread(-1e-3, 0, 1), 6),
}


def found(function, x):
    @kernel
    def loop(out, x):
        for i in range(out.size):
            out[i] = function(x[i])

    out = np.empty_like(x)
    loop(out, x)
    return out


@pytest.mark.parametrize("name", CASES)
def test_units_in_the_last_place(name):
    function, exact, x, bound = CASES[name]
    x = x[(x != np.rint(x)) | (x > 0)]
    with mp.workdps(40):
        right = [exact(mp.mpf(float(v))) for v in x]
        gaps = [float(abs(mp.mpf(float(y)) - r)) for y, r in zip(found(function, x), right)]
    errors = gaps / np.spacing(np.abs(np.array([float(r) for r in right])))
    worst = np.nanargmax(np.where(np.isnan(errors), np.inf, errors))
    assert errors[worst] <= bound, (x[worst], errors[worst])


INF, NAN = math.inf, math.nan


@pytest.mark.parametrize("function, x, right", [
    (erfc_64, [INF, -INF, NAN, 0, -0.0, 30, 1e300, -30], [0, 2, NAN, 1, 1, 0, 0, 2]),
    (erfinv_64, [1, -1, 0, -0.0, 1.5, NAN], [INF, -INF, 0, -0.0, NAN, NAN]),
    (lgamma_64, [INF, -INF, NAN, 0, -0.0, -1, -3, -20, -1e300, 1, 2, 1e306],
     [INF, INF, NAN, INF, INF, INF, INF, INF, INF, 0, 0, INF]),
])
def test_special_values(function, x, right):
    y = found(function, np.array(x, np.float64))
    np.testing.assert_array_equal(y, right)
    zero = y == 0
    np.testing.assert_array_equal(np.signbit(y[zero]), np.signbit(np.array(right, np.float64)[zero]))
