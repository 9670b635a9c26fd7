"""Small linear systems against NumPy."""

import numpy as np
import pytest

from nbgrad import config
from nbgrad.kernels.cpu import elimination


@pytest.mark.parametrize("shape", [(3, 1, 1), (2, 8, 3), (1, 32, 32), (0, 2, 2), (2, 0, 3), (2, 3, 0)])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_against_numpy(shape, dtype, monkeypatch):
    s, n, k = shape
    random = np.random.default_rng(1)
    a, b = random.standard_normal((s, n, n)), random.standard_normal((s, n, k))
    a, b = a.astype(dtype), b.astype(dtype)
    x = elimination.solve(a, b)
    assert x.dtype == dtype
    np.testing.assert_allclose(x, np.linalg.solve(a, b), rtol=1e-4,
                               atol=1e-12 if dtype == np.float64 else 1e-4)
    turned = a.transpose(0, 2, 1)
    np.testing.assert_array_equal(elimination.solve(turned, b), elimination.solve(turned.copy(), b))
    monkeypatch.setattr(config, "PARALLEL_THRESHOLD", 1)
    np.testing.assert_array_equal(elimination.solve(a, b), x)


def test_rows_change_places_and_singular_matrices_give_nan():
    a = np.array([[[0, 1], [1, 0]], [[1, 2], [2, 4]], [[2, 0], [0, 4]]], float)
    x = elimination.solve(a, np.ones((3, 2, 1)))
    np.testing.assert_array_equal(x[:, :, 0], [[1, 1], [np.nan, np.nan], [0.5, 0.25]])
