"""Group norm kernels against torch."""

import numpy as np
import pytest

from nbgrad import config
from nbgrad.kernels.cpu import group_norm as kernels

torch = pytest.importorskip("torch")

SHAPES = [((2, 6, 5, 7), 3), ((3, 4), 2), ((1, 8, 63), 1), ((2, 4, 2500), 4), ((0, 4, 3), 2)]


def run(x, w, b, gy, groups):
    y, mean, inverse = kernels.group_norm(x, groups, w, b, 1e-5)
    return y, *kernels.group_norm_backward(gy, x, mean, inverse, w, groups, True)


def draw(shape, dtype):
    normal = np.random.default_rng(3).standard_normal
    return [normal(s).astype(dtype) for s in (shape, shape[1], shape[1], shape)]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shape, groups", SHAPES)
def test_group_norm_and_its_gradients(shape, groups, dtype):
    x, w, b, gy = draw(shape, dtype)
    x += 3
    x[:1] = 2  # whose variance is zero
    tensors = [torch.tensor(a, requires_grad=True) for a in (x, w, b)]
    y = torch.nn.functional.group_norm(tensors[0], groups, *tensors[1:])
    y.backward(torch.tensor(gy))
    tolerance = 2e-5 if dtype == np.float32 else 1e-10
    for found, t in zip(run(x, w, b, gy, groups), (y.detach(), *(t.grad for t in tensors))):
        assert found.dtype == dtype and found.flags.c_contiguous
        scale = max(1, np.abs(t.numpy()).max(initial=0))
        np.testing.assert_allclose(found, t.numpy(), rtol=tolerance, atol=tolerance * scale)


def test_same_bits_for_any_thread_count(monkeypatch):
    x, w, b, gy = draw((3, 8, 9, 11), np.float32)
    results = []
    for threshold in (1, 10**9):
        monkeypatch.setattr(config, "PARALLEL_THRESHOLD", threshold)
        results.append([a.tobytes() for a in run(x, w, b, gy, 4)])
    assert results[0] == results[1]
