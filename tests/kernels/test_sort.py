"""Sort kernels against NumPy."""

import numpy as np
import pytest

from nbgrad import config
from nbgrad.kernels.cpu import sort

DTYPES = [np.float32, np.float64, np.bool_, np.uint8, np.int8, np.int16, np.int32, np.int64]
SHAPES = [(1, 1), (3, 2), (2, 48), (2, 49), (17, 63), (2, 1000), (1, 8191), (2, 8192), (1, 70001),
          (0, 3), (3, 0)]


def sample(shape, dtype, seed=0):
    rng = np.random.default_rng(seed)
    if np.dtype(dtype).kind == "f":
        return (rng.standard_normal(shape) * 10.0 ** rng.integers(-9, 9, shape)).astype(dtype)
    return rng.integers(-(2**63), 2**63 - 1, shape).astype(dtype)


def ordered(x, down):
    """Values and places in order, equal entries in theirs."""
    places = np.argsort(x, 1, kind="stable")
    if down:
        n = x.shape[1]
        places = n - 1 - np.argsort(x[:, ::-1], 1, kind="stable")[:, ::-1]
    return np.take_along_axis(x, places, 1), places


def check(found, expected):
    for a, b in zip(found, expected, strict=True):
        assert a.flags.c_contiguous
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES)
def test_rows(shape, dtype):
    numbers = sample(shape, dtype)
    for x in (numbers,) if dtype == np.bool_ else (numbers, numbers % 3):
        for down in (False, True):
            expected = ordered(x, down)
            check(sort.sort(x, down), expected)
            for count in {0, min(1, shape[1]), min(64, shape[1]), min(65, shape[1])}:
                check(sort.top(x, count, down), [a[:, :count] for a in expected])


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int64])
@pytest.mark.parametrize("n", [40, 200, 9000])
def test_rows_that_are_in_order(n, dtype):
    for x in (np.arange(n), -np.arange(n), np.zeros(n), np.arange(n) // 50, np.arange(n) % 7):
        x = np.array([x], dtype)
        for down in (False, True):
            check(sort.sort(x, down), ordered(x, down))
            check(sort.top(x, 10, down), [a[:, :10] for a in ordered(x, down)])


@pytest.mark.parametrize("dtype", [np.float32, np.int64])
def test_same_bits_for_any_thread_count(dtype, monkeypatch):
    x = sample((37, 300), dtype)
    results = []
    for threshold in (1, 10**9):
        monkeypatch.setattr(config, "PARALLEL_THRESHOLD", threshold)
        found = *sort.sort(x, False), *sort.sort(x, True), *sort.top(x, 7, True)
        results.append([array.tobytes() for array in found])
    assert results[0] == results[1]
