"""Vectorised functions against wider floats: at most 2 units in the last place, special values too."""

import itertools
import math
from fractions import Fraction

import numpy as np
import pytest
from scipy import special

import nbgrad
from nbgrad.kernels.cpu import maths
from nbgrad.kernels.options import kernel

rng = np.random.default_rng(0)
COUNT = 20_000
#: name: the range of arguments for float32 and for float64
RANGES = {
    "exp": ((-104, 89), (-746, 710)),
    "exp2": ((-150, 128.5), (-1075, 1024.5)),
    "expm1": ((-20, 89), (-40, 710)),
    "tanh": ((-11, 11), (-23, 23)),
    "log": ((0, 4), (0, 4)),
    "log2": ((0, 4), (0, 4)),
    "log10": ((0, 4), (0, 4)),
    "log1p": ((-1, 4), (-1, 4)),
    "erf": ((-4.5, 4.5), (-6.5, 6.5)),
    "near_sin": ((-(2**20), 2**20), (-(2**20), 2**20)),
    "near_cos": ((-(2**20), 2**20), (-(2**20), 2**20)),
}
WIDER = {np.float32: np.float64, np.float64: np.longdouble}


def looped(name):
    function = getattr(maths, name)

    @kernel
    def loop(out, x):
        for i in range(out.size):
            out[i] = function(x[i])

    return loop


def reference(name, x):
    if name == "erf":  # SciPy has no wider one: its own error of a unit is added to the bound
        return special.erf(x.astype(np.float64)).astype(x.dtype)
    return getattr(np, name.removeprefix("near_"))(x)


def arguments(name, dtype):
    """All over the range, around 0 and 1, and of every size."""
    low, high = RANGES[name][dtype is np.float64]
    most = math.log(high)
    sizes = np.exp(rng.uniform(-80, most if name != "log" else 80, COUNT))
    x = np.concatenate([
        rng.uniform(low, high, COUNT), rng.uniform(max(low, -1), 1, COUNT),
        1 + rng.uniform(-1e-3, 1e-3, COUNT), sizes, -sizes if low < -1 else sizes])
    return x.astype(dtype)


@np.errstate(all="ignore")
def assert_close(found, exact, bound, *args):
    """Equal where the result is no number, elsewhere within `bound` units in the last place."""
    rounded = exact.astype(found.dtype)
    finite = np.isfinite(rounded)
    np.testing.assert_array_equal(found[~finite], rounded[~finite])
    unit = np.spacing(np.maximum(np.abs(rounded), np.finfo(found.dtype).tiny))
    error = np.where(finite, np.abs(found.astype(exact.dtype) - exact) / unit, 0)
    worst = error.argmax()
    assert error[worst] <= bound, (*(x[worst] for x in args), error[worst])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", RANGES)
def test_two_units_in_the_last_place(name, dtype):
    x = arguments(name, dtype)
    found = np.empty_like(x)
    looped(name)(found, x)
    with np.errstate(all="ignore"):
        exact = reference(name, x.astype(WIDER[dtype]))
    assert_close(found, exact, 3 if name == "erf" and dtype is np.float64 else 2, x)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", RANGES)
def test_special_values(name, dtype):
    tiny = np.finfo(dtype).smallest_subnormal
    x = np.array([0.0, -0.0, np.inf, -np.inf, np.nan, tiny, -tiny, 1.0, -1.0], dtype)
    found = np.empty_like(x)
    looped(name)(found, x)
    with np.errstate(all="ignore"):
        exact = reference(name, x)
    np.testing.assert_array_max_ulp(found[np.isfinite(exact)], exact[np.isfinite(exact)], 2)
    np.testing.assert_array_equal(found[~np.isfinite(exact)], exact[~np.isfinite(exact)])
    zero = exact == 0
    np.testing.assert_array_equal(np.signbit(found[zero]), np.signbit(exact[zero]))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_sigmoid(dtype):
    x = rng.uniform(*((-87, 20) if dtype is np.float32 else (-700, 40)), 4 * COUNT).astype(dtype)
    found = nbgrad.sigmoid(nbgrad.from_numpy(x)).numpy()
    assert_close(found, 1 / (1 + np.exp(-x.astype(WIDER[dtype]))), 2, x)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_normal_cdf(dtype):
    """Two units above zero, below it an absolute error of as much; and so is gelu, x times this."""
    special_values = [0, -0.0, 11, -11, 1e30, -1e30]
    x = np.append(rng.uniform(-9, 9, 4 * COUNT), special_values).astype(dtype)
    found = np.empty_like(x)
    looped("normal_cdf")(found, x)
    exact, above = special.ndtr(x.astype(np.float64)), ~(x < 0)
    gelu = nbgrad.nn.functional.gelu(nbgrad.from_numpy(x)).numpy()
    # SciPy has no wider one: its own error of a unit is added to the bound
    for y, right in ((found, exact), (gelu, x * exact)):
        assert_close(y[above], right[above], 2 if dtype is np.float32 else 3, x[above])
        assert (abs(y - right) <= np.finfo(dtype).eps * np.maximum(1, -x))[~above].all()
    ends = np.array([np.inf, -np.inf, np.nan], dtype)
    looped("normal_cdf")(found[:3], ends)
    np.testing.assert_array_equal(found[:3], np.array([1, 0, np.nan], dtype))


@kernel
def powers(out, a, b):
    for i in range(out.size):
        out[i] = maths.pow(a[i], b[i])


def bases_and_exponents(dtype):
    """Of every size, subnormal and near 1 too, with results up to the largest and the smallest."""
    info = np.finfo(dtype)
    low, high = math.log(info.smallest_subnormal), math.log(info.max)
    logs = np.concatenate([
        rng.uniform(low, high, COUNT), rng.uniform(-0.4, 0.4, COUNT), rng.uniform(-20, 20, COUNT),
        rng.choice([-1, 1], COUNT) * np.exp(rng.uniform(math.log(info.eps), 0, COUNT))])
    results = rng.uniform(low, high, logs.size)
    results[::4] = rng.uniform(0.995 * high, high, results[::4].size)
    results[1::4] = rng.uniform(low, 0.95 * low, results[1::4].size)
    a = np.exp(logs).astype(dtype)
    a[a == 1] = 2
    exponents = results / np.log(a.astype(np.float64))
    b = np.clip(exponents, info.min, info.max).astype(dtype)
    return np.append(a, np.exp(rng.uniform(-20, 20, COUNT)).astype(dtype)), \
        np.append(b, rng.uniform(-5, 5, COUNT).astype(dtype))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_powers(dtype):
    a, b = bases_and_exponents(dtype)
    found = np.empty_like(a)
    powers(found, a, b)
    with np.errstate(all="ignore"):
        exact = a.astype(WIDER[dtype]) ** b.astype(WIDER[dtype])
    assert_close(found, exact, 2, a, b)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_whole_powers_are_whole(dtype):
    bases, exponents = np.arange(-40, 41) / 4, np.arange(-8, 30)
    cases = [(x, n, Fraction(x) ** int(n)) for x in bases[bases != 0] for n in exponents]
    a, b, exact = (np.array(column, dtype) for column in zip(
        *((x, n, float(y)) for x, n, y in cases if Fraction(float(dtype(float(y)))) == y)))
    found = np.empty_like(a)
    powers(found, a, b)
    np.testing.assert_array_equal(found, exact)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_powers_of_special_values(dtype):
    values = [0, -0.0, 1, -1, 2, -2, 0.5, -0.5, 3, -3, 1e10, -1e10, 1e-30, 2**25 + 2, np.inf, -np.inf,
              np.nan]
    a, b = np.array(list(itertools.product(values, values)), dtype).T.copy()
    found = np.empty_like(a)
    powers(found, a, b)
    with np.errstate(all="ignore"):
        exact = a**b
    np.testing.assert_allclose(found, exact, rtol=4 * np.finfo(dtype).eps)
    np.testing.assert_array_equal(np.signbit(found[exact == 0]), np.signbit(exact[exact == 0]))


@pytest.mark.parametrize("size", [1, 63, 5000, 100_000])
@pytest.mark.parametrize("name", ["sin", "cos"])
def test_arguments_of_any_size(name, size):
    """A block with a large argument is computed by the function that knows all digits of pi."""
    x = rng.uniform(-10, 10, size).astype(np.float32)
    x[::1500] = 1e30
    x[-1] = np.inf
    t = nbgrad.from_numpy(x)
    with np.errstate(invalid="ignore"):
        exact = getattr(np, name)(x.astype(np.float64)).astype(np.float32)
    np.testing.assert_allclose(getattr(t, name)().numpy(), exact, rtol=3e-7)
    strided = nbgrad.from_numpy(np.stack([x, x], 1))[:, 1]
    np.testing.assert_allclose(getattr(strided, name)().numpy(), exact, rtol=3e-7)
    getattr(t, f"{name}_")()
    np.testing.assert_allclose(t.numpy(), exact, rtol=3e-7)
