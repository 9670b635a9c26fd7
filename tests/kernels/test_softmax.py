"""Softmax kernels against torch."""

import numpy as np
import pytest

from nbgrad import config
from nbgrad.kernels.cpu import softmax

torch = pytest.importorskip("torch")

CASES = [((), 0), ((0,), 0), ((3, 0), 1), ((0, 3), 1), ((5, 0, 3), 0), ((1,), 0), ((63,), 0)]
CASES += [((7, 63), 1), ((63, 7), 0), ((4, 1000), -1), ((2, 5, 3), 1), ((3, 1, 2, 257), 0)]


def sample(shape, dtype, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype) * dtype(4)


def closeness(dtype):
    return {"rtol": 3e-6, "atol": 1e-6} if dtype == np.float32 else {"rtol": 1e-13, "atol": 1e-14}


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shape, axis", CASES)
@pytest.mark.parametrize("name", ["softmax", "log_softmax"])
def test_against_torch(name, shape, axis, dtype):
    x, gy = sample(shape, dtype), sample(shape, dtype, 1)
    tx = torch.tensor(x, requires_grad=True)
    ty = getattr(torch, name)(tx, axis)
    ty.backward(torch.tensor(gy))
    y = getattr(softmax, name)(x, axis)
    gx = getattr(softmax, f"{name}_backward")(gy, y, axis)
    assert y.dtype == gx.dtype == dtype and y.shape == gx.shape == shape
    np.testing.assert_allclose(y, ty.detach().numpy(), **closeness(dtype))
    np.testing.assert_allclose(gx, tx.grad.numpy(), rtol=1e-4, atol=30 * closeness(dtype)["atol"])


@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("name", ["softmax", "log_softmax"])
@pytest.mark.parametrize("values", [(-np.inf, -np.inf), (np.nan, 1), (1, np.nan), (np.inf, 0)])
@pytest.mark.parametrize("also", [(-np.inf, 2e4), (88, -1e30)])
def test_special_values(name, axis, values, also):
    x = np.array([values, also], np.float32)
    x = x.T if axis == 0 else x
    y = getattr(softmax, name)(x, axis)
    np.testing.assert_allclose(y, getattr(torch, name)(torch.tensor(x), axis).numpy(), rtol=1e-6)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_any_strides(axis):
    x = sample((6, 5, 8), np.float32).transpose(2, 0, 1)[::2, ::-1]
    y = softmax.softmax(x, axis)
    assert y.flags.c_contiguous
    np.testing.assert_array_equal(y, softmax.softmax(x.copy(), axis))


@pytest.mark.parametrize("shape, axis", [((9, 333), 1), ((3, 9, 333), 1)])
@pytest.mark.parametrize("name", ["softmax", "log_softmax"])
def test_same_bits_for_any_thread_count(name, shape, axis, monkeypatch):
    results = []
    for threshold in (1, 10**9):
        monkeypatch.setattr(config, "PARALLEL_THRESHOLD", threshold)
        y = getattr(softmax, name)(sample(shape, np.float32), axis)
        gx = getattr(softmax, f"{name}_backward")(sample(shape, np.float32, 1), y, axis)
        results.append((y.tobytes(), gx.tobytes()))
    assert results[0] == results[1]
