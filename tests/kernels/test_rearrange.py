"""Triangles and rows in another order against NumPy."""

from itertools import combinations

import numpy as np
import pytest

from nbgrad.kernels.cpu import rearrange, triangle

SHAPES = [(0, 3), (3, 0), (1, 1), (2, 3), (63, 5), (2, 4, 7), (2, 300, 250)]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.int16, np.bool_])
def test_against_numpy(shape, dtype):
    x = (np.random.default_rng(0).standard_normal(shape) * 9).astype(dtype)
    for k in (-99, -2, 0, 1, 99):
        np.testing.assert_array_equal(triangle.triangle(x, k, True), np.tril(x, k))
        np.testing.assert_array_equal(triangle.triangle(x, k, False), np.triu(x, k))
    for count in range(x.ndim + 1):
        for axes in combinations(range(x.ndim), count):
            np.testing.assert_array_equal(rearrange.flipped(x, axes), np.flip(x, axes))


@pytest.mark.parametrize("shape", [s for s in SHAPES if 0 not in s], ids=str)
@pytest.mark.parametrize("mode", ["edge", "wrap"])
def test_frames(shape, mode):
    x = np.random.default_rng(0).standard_normal(shape)
    places = [np.arange(-2, n + 3) for n in shape]
    places = [p % n if mode == "wrap" else np.clip(p, 0, n - 1) for p, n in zip(places, shape)]
    np.testing.assert_array_equal(rearrange.framed(x, places), np.pad(x, [(2, 3)] * x.ndim, mode))


@pytest.mark.parametrize("n", [0, 1, 511, 512, 513, 40_000])
@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.int16, np.bool_])
@pytest.mark.parametrize("times", [1, 2, 3, 4, 5, rearrange.FEW])
def test_each_a_few_times(n, dtype, times):
    x = (np.random.default_rng(0).standard_normal((2, n)) * 9).astype(dtype)
    for axis in range(2):
        y = rearrange.each(x, times, axis)
        np.testing.assert_array_equal(y, np.repeat(x, times, axis))
        if x.dtype.kind == "f":
            np.testing.assert_allclose(rearrange.each_adjoint(y, times, axis), x * times, rtol=1e-6)
