"""Distances of rows, and the adjoint of the 1-norm's, against NumPy."""

import numpy as np
import pytest

import nbgrad as torch
from nbgrad.kernels.cpu import distance

SIZES = [(1, 1, 1, 1), (2, 3, 5, 4), (1, 63, 65, 70), (1, 130, 300, 129), (2, 0, 3, 4), (1, 3, 2, 0)]


@pytest.mark.parametrize("dtype, tolerance", [(np.float64, 1e-12), (np.float32, 2e-5)])
@pytest.mark.parametrize("sizes", SIZES, ids=str)
def test_against_numpy(sizes, dtype, tolerance):
    b, p, r, m = sizes
    rng = np.random.default_rng(0)
    x, y, g = (rng.integers(-4, 5, shape).astype(dtype) / 3
               for shape in ((b, p, m), (b, r, m), (b, p, r)))
    d = x[:, :, None] - y[:, None]
    for power, norms in ((1, np.abs(d).sum(-1)), (2, np.sqrt((d * d).sum(-1)))):
        np.testing.assert_allclose(distance.distances(x, y, power), norms, tolerance, tolerance)
    sums = (g[..., None] * np.sign(d)).sum(2)
    turned = np.asfortranarray(g)
    np.testing.assert_allclose(distance.signed_sums(turned, x, y), sums, tolerance, 10 * tolerance)


def test_nan_is_kept_and_has_no_sign():
    x, y = np.array([[[np.nan, 2.0]]]), np.array([[[1.0, 5.0], [1.0, 2.0]]])
    assert np.isnan(distance.distances(x, y, 1)).all()
    np.testing.assert_array_equal(distance.signed_sums(np.ones((1, 1, 2)), x, y), [[[0, -1]]])


def test_second_gradient_of_the_1_norm():
    x, y = (torch.randn(n, 3, dtype=torch.float64, requires_grad=True) for n in (4, 5))
    assert torch.autograd.gradgradcheck(lambda x, y: torch.cdist(x, y, 1.0).square(), (x, y))
