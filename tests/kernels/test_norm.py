"""Normalisation kernels against torch."""

import numpy as np
import pytest

from nbgrad import config
from nbgrad.kernels.cpu import norm

torch = pytest.importorskip("torch")
F = torch.nn.functional

CLOSE = {np.float32: {"rtol": 2e-5, "atol": 2e-5}, np.float64: {"rtol": 1e-11, "atol": 1e-12}}
BATCH = [(4, 3, 5, 7), (2, 1, 1, 3), (1, 5, 63), (9, 130, 1), (9, 130), (2, 3, 1, 1), (33, 1)]
LAYER = [(4, 63), (1, 1), (100, 8), (3, 1000), (2, 2)]


def sample(shape, dtype, seed=0):
    return (np.random.default_rng(seed).standard_normal(shape) * 2 + 1).astype(dtype)


def torch_gradients(function, gy, *inputs):
    inputs = [torch.tensor(x, requires_grad=True) for x in inputs]
    y = function(*inputs)
    gradients = torch.autograd.grad(y, inputs, torch.tensor(gy))
    return [t.detach().numpy() for t in (y, *gradients)]


@pytest.mark.parametrize("dtype", CLOSE)
@pytest.mark.parametrize("train", [True, False])
@pytest.mark.parametrize("shape", BATCH)
def test_batch_norm(shape, train, dtype):
    x, gy = sample(shape, dtype), sample(shape, dtype, 1)
    w, b = sample(shape[1], dtype, 2), sample(shape[1], dtype, 3)
    axes = (0, *range(2, x.ndim))
    y, mean, var = norm.batch_norm(x, w, b, 1e-5)
    np.testing.assert_allclose(mean, x.mean(axes, np.float64), **CLOSE[dtype])
    np.testing.assert_allclose(var, x.var(axes, np.float64), **CLOSE[dtype])
    if not train:
        mean, var = sample(shape[1], dtype, 4), np.abs(sample(shape[1], dtype, 5))
    invstd = (1 / np.sqrt(var + 1e-5)).astype(dtype)

    def reference(x, w, b):
        statistics = () if train else (torch.tensor(mean), torch.tensor(var))
        return F.batch_norm(x, *(statistics or (None, None)), w, b, train, eps=1e-5)

    applied = norm.batch_norm_apply(x, mean, invstd, w, b)
    if train:
        np.testing.assert_allclose(applied, y, **CLOSE[dtype])
    found = (applied, *norm.batch_norm_backward(gy, x, mean, invstd, w, train, True))
    for mine, theirs in zip(found, torch_gradients(reference, gy, x, w, b), strict=True):
        assert mine.dtype == dtype and mine.shape == theirs.shape
        np.testing.assert_allclose(mine, theirs, **CLOSE[dtype])
    without = norm.batch_norm_backward(gy, x, mean, invstd, w, train, False)
    assert without[0] is None
    np.testing.assert_array_equal(without[1:], found[2:])


@pytest.mark.parametrize("dtype", CLOSE)
@pytest.mark.parametrize("shape", LAYER)
def test_layer_norm(shape, dtype):
    x, gy = sample(shape, dtype), sample(shape, dtype, 1)
    w, b = sample(shape[1], dtype, 2), sample(shape[1], dtype, 3)
    y, mean, invstd = norm.layer_norm(x, w, b, 1e-5)
    np.testing.assert_allclose(mean, x.mean(1, np.float64), **CLOSE[dtype])
    found = (y, *norm.layer_norm_backward(gy, x, mean, invstd, w, True))
    expected = torch_gradients(lambda x, w, b: F.layer_norm(x, shape[1:], w, b), gy, x, w, b)
    for mine, theirs in zip(found, expected, strict=True):
        assert mine.dtype == dtype and mine.shape == theirs.shape
        np.testing.assert_allclose(mine, theirs, **CLOSE[dtype])
    assert norm.layer_norm_backward(gy, x, mean, invstd, w, False)[0] is None


def test_no_weights_are_ones_and_zeros():
    x, gy = sample((6, 4, 3), np.float32), sample((6, 4, 3), np.float32, 1)
    rows, grows = x[..., 0], gy[..., 0]
    _, mean, var = norm.batch_norm(x, None, None, 1e-5)
    of_rows = norm.layer_norm(rows, None, None, 0.1)[1:]

    def everything(w, b):
        yield norm.batch_norm_apply(x, mean, var, w, b)
        yield norm.batch_norm_backward(gy, x, mean, var, w, True, True)[0]
        yield norm.layer_norm(rows, w, b, 0.1)[0]
        yield norm.layer_norm_backward(grows, rows, *of_rows, w, True)[0]

    given = everything(np.ones(4, np.float32), np.zeros(4, np.float32))
    for found, expected in zip(everything(None, None), given, strict=True):
        np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("shape", [(500, 3), (20, 3, 25)])
def test_statistics_keep_digits_far_from_zero(shape):
    x = (sample(shape, np.float64) + 1e4).astype(np.float32)
    axes = (0, *range(2, x.ndim))
    _, mean, var = norm.batch_norm(x, None, None, 1e-5)
    np.testing.assert_allclose(mean, x.mean(axes, np.float64), rtol=1e-7)
    np.testing.assert_allclose(var, x.var(axes, np.float64), rtol=1e-6)


@pytest.mark.parametrize("value", [0.1, 1234.567, 10000.3, -3e7])
@pytest.mark.parametrize("shape", [(8, 3, 49), (2, 4, 3136), (3, 2, 5000), (100, 3), (7, 2, 1)])
def test_what_is_constant_has_itself_for_mean_and_no_variance(shape, value):
    x = np.full(shape, value, np.float32)
    _, mean, var = norm.batch_norm(x, None, None, 1e-5)
    assert (mean == x.flat[0]).all() and (var == 0).all()
    rows = x.reshape(-1, shape[-1])
    y, mean, invstd = norm.layer_norm(rows, None, None, 1e-5)
    assert (mean == x.flat[0]).all() and (y == 0).all()
    np.testing.assert_allclose(invstd, 1e-5**-0.5, rtol=1e-6)


@pytest.mark.parametrize("shape", [(0, 3, 2), (2, 0, 4), (0, 3), (2, 3, 0)])
def test_empty_batch_norm(shape):
    x, v = np.ones(shape, np.float32), np.ones(shape[1], np.float32)
    assert norm.batch_norm(x, v, v, 1e-5)[1].shape == v.shape
    assert norm.batch_norm_apply(x, v, v, v, v).shape == shape
    gx, gw, gb = norm.batch_norm_backward(x, x, v, v, v, False, True)
    assert gx.shape == shape and not gw.any() and not gb.any()


@pytest.mark.parametrize("rows, n", [(0, 3), (3, 0)])
def test_empty_layer_norm(rows, n):
    x, w = np.ones((rows, n), np.float32), np.ones(n, np.float32)
    y, mean, invstd = norm.layer_norm(x, w, w, 1e-5)
    gx, gw, gb = norm.layer_norm_backward(x, x, mean, invstd, w, True)
    assert y.shape == gx.shape == (rows, n) and not gw.any() and not gb.any()


def test_any_strides():
    x = sample((8, 6, 4), np.float32).transpose(2, 1, 0)[:, ::-1]
    _, mean, var = norm.batch_norm(x, None, None, 1e-5)
    np.testing.assert_array_equal(mean, norm.batch_norm(x.copy(), None, None, 1e-5)[1])
    y = norm.batch_norm_apply(x, mean[::-1], var[::-1], None, None)
    expected = norm.batch_norm_apply(x.copy(), mean[::-1].copy(), var[::-1].copy(), None, None)
    assert y.flags.c_contiguous
    np.testing.assert_array_equal(y, expected)


@pytest.mark.parametrize("shape", [(5, 6, 101), (131, 130)])
def test_same_bits_for_any_thread_count(shape, monkeypatch):
    def everything():
        x, gy = sample(shape, np.float32), sample(shape, np.float32, 1)
        _, mean, var = norm.batch_norm(x, None, None, 1e-5)
        yield from (mean, var, norm.batch_norm_apply(x, mean, var, None, None))
        yield from norm.batch_norm_backward(gy, x, mean, var, None, True, True)
        if x.ndim == 2:
            yield from norm.layer_norm(x, None, None, 0.1)
            _, mean, invstd = norm.layer_norm(x, None, None, 0.1)
            yield from norm.layer_norm_backward(gy, x, mean, invstd, None, True)

    results = []
    for threshold in (1, 10**9):
        monkeypatch.setattr(config, "PARALLEL_THRESHOLD", threshold)
        results.append([array.tobytes() for array in everything()])
    assert results[0] == results[1]
