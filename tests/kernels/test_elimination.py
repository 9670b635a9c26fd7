"""Small linear systems, and their gradients from what elimination left, against NumPy."""

import numpy as np
import pytest

from nbgrad import config
from nbgrad.kernels.cpu import elimination

SHAPES = [(3, 1, 1), (2, 8, 3), (1, 32, 32), (2, 63, 1), (5, 2, 4), (0, 2, 2), (2, 0, 3), (2, 3, 0)]


def system(shape, dtype):
    s, n, k = shape
    random = np.random.default_rng(1)
    return [random.standard_normal(size).astype(dtype) for size in ((s, n, n), (s, n, k), (s, n, k))]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_against_numpy(shape, dtype, monkeypatch):
    a, b, g = system(shape, dtype)
    x, left = elimination.solve(a, b)
    found = x, *elimination.backward(g, x, left)
    assert all(t.dtype == dtype and t.flags.c_contiguous for t in found)
    exact = [t.astype(float) for t in (a, b, g)]
    expected = np.linalg.solve(exact[0], exact[1])
    gb = np.linalg.solve(exact[0].swapaxes(1, 2), exact[2])
    for own, other in zip(found, (expected, -gb @ expected.swapaxes(1, 2), gb), strict=True):
        scale = np.abs(other).max(initial=1)
        np.testing.assert_allclose(own, other, rtol=0,
                                   atol=scale * (1e-11 if dtype == np.float64 else 2e-3))
    turned = a.transpose(0, 2, 1)
    np.testing.assert_array_equal(elimination.solve(turned, b)[0],
                                  elimination.solve(turned.copy(), b)[0])
    monkeypatch.setattr(config, "PARALLEL_THRESHOLD", 1)
    again, left = elimination.solve(a, b)
    for own, other in zip((again, *elimination.backward(g, again, left)), found, strict=True):
        np.testing.assert_array_equal(own, other)


def test_rows_change_places_and_singular_matrices_give_nan():
    a = np.array([[[0, 1], [1, 0]], [[1, 2], [2, 4]], [[2, 0], [0, 4]]], float)
    x, left = elimination.solve(a, np.ones((3, 2, 1)))
    np.testing.assert_array_equal(x[:, :, 0], [[1, 1], [np.nan, np.nan], [0.5, 0.25]])
    _, gb = elimination.backward(np.array([[[1.0], [2.0]]] * 3), x, left)
    np.testing.assert_array_equal(gb[:, :, 0], [[2, 1], [np.nan, np.nan], [0.5, 0.5]])


def test_numbers_of_rows_that_are_none_are_not_followed():
    a, b, g = system((1, 3, 1), np.float32)
    x, left = elimination.solve(a, b)
    for wrong in (np.nan, np.inf, -7e18, 3):
        left[:, :, -1] = wrong
        elimination.backward(g, x, left)
