"""Scan kernels against NumPy."""

import numpy as np
import pytest

from nbgrad import config
from nbgrad.kernels.cpu import scan

SHAPES = [(1, 1, 1), (1, 63, 1), (5, 7, 1), (4, 9, 1), (2, 7, 3), (1, 5, 64), (3, 6, 131), (0, 3, 2),
          (2, 0, 3), (2, 3, 0), (1, 3000, 1), (2, 700, 2)]
DTYPES = [np.float32, np.float64, np.int64]


def sample(shape, dtype, seed=0):
    return np.asarray(np.random.default_rng(seed).standard_normal(shape) * 2).astype(dtype)


def turned(x, back):
    return x[:, ::-1] if back else x


def check(found, expected):
    assert found.dtype == expected.dtype and found.shape == expected.shape
    np.testing.assert_allclose(found, expected, 1e-6 if found.dtype == np.float32 else 1e-12, 1e-6)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("back", [False, True])
@pytest.mark.parametrize("shape", SHAPES)
def test_sums_and_products(shape, back, dtype):
    x = sample(shape, dtype)
    wide = turned(x, back).astype(np.int64 if dtype == np.int64 else np.longdouble)
    check(scan.cumsum(x, back), turned(wide.cumsum(1), back).astype(dtype))
    x = np.where(np.abs(x) < 1, x + 1, 1).astype(dtype)
    wide = turned(x, back).astype(wide.dtype)
    with np.errstate(over="ignore"):
        check(scan.cumprod(x, back), turned(wide.cumprod(1), back).astype(dtype))


@pytest.mark.parametrize("dtype", DTYPES[:2])
@pytest.mark.parametrize("back", [False, True])
@pytest.mark.parametrize("shape", SHAPES)
def test_recurrence(shape, back, dtype):
    x, a = sample(shape, dtype), np.tanh(sample(shape, dtype, 1))
    expected, state = np.empty(shape, np.float64), np.zeros((shape[0], shape[2]))
    for i in range(shape[1])[:: -1 if back else 1]:
        expected[:, i] = state = x[:, i] + a[:, i].astype(np.float64) * state
    check(scan.recurrence(x, a, back), expected.astype(dtype))


@pytest.mark.parametrize("dtype", DTYPES[:2])
@pytest.mark.parametrize("shape", SHAPES)
def test_logcumsumexp(shape, dtype):
    x = sample(shape, dtype) * 20
    check(scan.logcumsumexp(x), np.logaddexp.accumulate(x.astype(np.float64), 1).astype(dtype))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES)
def test_cumulative_extremes(shape, dtype):
    x = np.round(sample(shape, dtype))  # with ties
    for largest, best in ((True, np.maximum), (False, np.minimum)):
        values, places = scan.cumulative_extreme(x, largest)
        check(values, best.accumulate(x, 1))
        np.testing.assert_array_equal(np.take_along_axis(x, places, 1), values)
        last = np.where(x == values, np.arange(shape[1])[:, None], -1)
        np.testing.assert_array_equal(places, np.maximum.accumulate(last, 1))


@pytest.mark.parametrize("shape", [(3, 40, 130), (40, 90, 1)])
def test_same_bits_for_any_thread_count(shape, monkeypatch):
    x, a = sample(shape, np.float32), sample(shape, np.float32, 1)
    results = []
    for threshold in (1, 10**9):
        monkeypatch.setattr(config, "PARALLEL_THRESHOLD", threshold)
        arrays = (scan.cumsum(x, False), scan.cumprod(x, True), scan.recurrence(x, a, True),
                  scan.logcumsumexp(x), *scan.cumulative_extreme(x, True))
        results.append([array.tobytes() for array in arrays])
    assert results[0] == results[1]
