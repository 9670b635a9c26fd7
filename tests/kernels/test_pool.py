"""Pooling kernels against torch."""

import itertools

import numpy as np
import pytest

from nbgrad import config
from nbgrad.kernels.cpu import pool

torch = pytest.importorskip("torch")
F = torch.nn.functional

# x shape, kernel, stride, padding, dilation, ceil_mode
MAX = [
    ((2, 3, 8, 9), (3, 3), (2, 2), (1, 1), (1, 1), False),
    ((1, 2, 8, 8), (2, 2), (2, 2), (0, 0), (1, 1), False),
    ((2, 1, 7, 63), (3, 2), (1, 1), (1, 1), (1, 1), False),
    ((1, 1, 6, 7), (3, 3), (2, 3), (1, 1), (1, 1), True),
    ((1, 2, 11, 10), (2, 3), (3, 1), (1, 0), (3, 2), True),
    ((1, 1, 1, 1), (1, 1), (1, 1), (0, 0), (1, 1), False),
    ((1, 1, 90, 70), (3, 3), (1, 1), (1, 1), (1, 1), False),
    ((1, 2, 61, 130), (5, 4), (2, 3), (2, 2), (1, 1), True),
    ((1, 1, 40, 9), (2, 3), (3, 5), (1, 1), (5, 2), False),
    ((2, 2, 5, 3000), (1, 2), (1, 2), (0, 1), (1, 1), False),
    ((0, 3, 4, 4), (2, 2), (2, 2), (0, 0), (1, 1), False),
]
# x shape, kernel, stride, padding, ceil_mode, count_include_pad, divisor_override
AVERAGE = [
    (shape, *window, include, divisor)
    for shape, *window in [
        ((2, 3, 8, 9), (3, 3), (2, 2), (1, 1), False),
        ((1, 2, 8, 8), (2, 2), (2, 2), (0, 0), False),
        ((1, 1, 7, 63), (3, 2), (1, 3), (1, 1), True),
        ((2, 1, 7, 7), (7, 7), (1, 1), (0, 0), False),
        ((1, 2, 10, 5), (3, 4), (3, 3), (1, 2), True),
        ((0, 3, 4, 4), (2, 2), (2, 2), (0, 0), False),
    ]
    for include, divisor in [(True, None), (False, None), (True, 5)]
]
ADAPTIVE = [((2, 3, 8, 9), (1, 1)), ((1, 2, 7, 10), (3, 4)), ((1, 1, 3, 2), (7, 5))]
ADAPTIVE += [((2, 1, 6, 6), (6, 6)), ((0, 2, 4, 4), (2, 2)), ((1, 2, 5, 5), (0, 2))]


def sample(shape, dtype=np.float32, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


def check(found, expected):
    assert found.dtype == expected.dtype and found.shape == expected.shape
    assert found.flags.c_contiguous
    tolerance = 1e-6 if found.dtype == np.float32 else 1e-13
    np.testing.assert_allclose(found, expected, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shape, kernel, stride, padding, dilation, ceil_mode", MAX)
def test_max_pool(shape, kernel, stride, padding, dilation, ceil_mode, dtype):
    x = np.round(sample(shape, dtype), 1)  # with ties
    x[..., -1:] = -np.inf
    tx = torch.tensor(x, requires_grad=True)
    arguments = kernel, stride, padding, dilation, ceil_mode
    ty, ti = F.max_pool2d(tx, *arguments, return_indices=True)
    y, idx = pool.max_pool2d(x, *arguments)
    check(y, ty.detach().numpy())
    check(idx, ti.numpy())
    check(pool.max_pool2d_gather(x, idx), y)
    gy = sample(y.shape, dtype, 1)
    ty.backward(torch.tensor(gy))
    check(pool.max_pool2d_scatter(gy, idx, x.shape), tx.grad.numpy())


def test_max_pool_takes_nan():
    x = sample((1, 2, 9, 9))
    x.reshape(-1)[::7] = np.nan
    y, idx = pool.max_pool2d(x, (3, 3), (2, 2), (1, 1), (1, 1), False)
    ty, ti = F.max_pool2d(torch.tensor(x), 3, 2, 1, return_indices=True)
    check(y, ty.numpy())
    check(idx, ti.numpy())


@pytest.mark.parametrize("shape, kernel, stride, padding, dilation, ceil_mode", MAX)
def test_max_pool_of_minus_infinity(shape, kernel, stride, padding, dilation, ceil_mode):
    window = kernel, stride, padding, dilation, ceil_mode
    x = np.full(shape, -np.inf, np.float32)
    ty, ti = F.max_pool2d(torch.tensor(x), *window, return_indices=True)
    y, idx = pool.max_pool2d(x, *window)
    check(y, ty.numpy())
    check(idx, ti.numpy())


def test_max_pool_window_of_padding_only():
    y, idx = pool.max_pool2d(sample((1, 1, 1, 1)), (2, 2), (1, 1), (1, 1), (2, 2), False)
    assert y.item() == -np.inf and idx.item() == 0


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shape, kernel, stride, padding, ceil_mode, include, divisor", AVERAGE)
def test_average_pool(shape, kernel, stride, padding, ceil_mode, include, divisor, dtype):
    x = sample(shape, dtype)
    tx = torch.tensor(x, requires_grad=True)
    arguments = kernel, stride, padding, ceil_mode, include, divisor
    ty = F.avg_pool2d(tx, *arguments)
    check(pool.avg_pool2d(x, *arguments), ty.detach().numpy())
    gy = sample(tuple(ty.shape), dtype, 1)
    ty.backward(torch.tensor(gy))
    check(pool.avg_pool2d_adjoint(gy, shape, *arguments), tx.grad.numpy())


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shape, size", ADAPTIVE)
def test_adaptive_average_pool(shape, size, dtype):
    x = sample(shape, dtype)
    tx = torch.tensor(x, requires_grad=True)
    ty = F.adaptive_avg_pool2d(tx, size)
    check(pool.adaptive_avg_pool2d(x, size), ty.detach().numpy())
    gy = sample(tuple(ty.shape), dtype, 1)
    if ty.numel():
        ty.backward(torch.tensor(gy))
        check(pool.adaptive_avg_pool2d_adjoint(gy, shape), tx.grad.numpy())


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shape", [(2, 3, 7, 7), (1, 1, 1), (5, 3, 5), (2, 60, 71), (0, 2, 3, 3)])
def test_plane_means(shape, dtype):
    x = sample(shape, dtype) + 3
    expected = x.astype(np.longdouble).mean((-2, -1), keepdims=True).astype(dtype)
    check(pool.plane_means(x), expected)
    gy = sample(expected.shape, dtype, 1)
    expected = np.broadcast_to((gy / (shape[-1] * shape[-2])).astype(dtype), shape)
    np.testing.assert_allclose(pool.plane_means_adjoint(gy, shape), expected, rtol=1e-6)


def test_output_size():
    x = torch.zeros(1, 1, 1)
    sizes = range(1, 3), range(1, 3), range(2), range(1, 3), (False, True), range(4, 9)
    for kernel, stride, padding, dilation, ceil_mode, size in itertools.product(*sizes):
        if padding <= kernel // 2:
            y = F.max_pool1d(x.expand(1, 1, size), kernel, stride, padding, dilation, ceil_mode)
            found = pool.pool_output_size(size, kernel, stride, padding, dilation, ceil_mode)
            assert found == y.shape[2]


def test_any_strides():
    x = sample((9, 8, 3, 2)).transpose(3, 2, 1, 0)[..., ::-1]
    window = (3, 3), (2, 2), (1, 1)
    for run in (
        lambda x: pool.max_pool2d(x, *window, (1, 1), False)[0],
        lambda x: pool.avg_pool2d(x, *window, False, True, None),
        lambda x: pool.avg_pool2d_adjoint(x, (2, 3, 16, 18), (2, 2), (2, 2), (0, 0), 0, 1, None),
    ):
        np.testing.assert_array_equal(run(x), run(x.copy()))


def test_same_bits_for_any_thread_count(monkeypatch):
    def everything():
        x, window = sample((3, 5, 16, 33)), ((3, 3), (2, 2), (1, 1))
        y, idx = pool.max_pool2d(x, *window, (1, 1), False)
        yield from (y, idx, pool.max_pool2d_gather(x, idx))
        yield pool.max_pool2d_scatter(y, idx, x.shape)
        yield from (pool.plane_means(x), pool.plane_means_adjoint(pool.plane_means(x), x.shape))
        yield pool.avg_pool2d(x, *window, False, False, None)
        yield pool.avg_pool2d_adjoint(y, x.shape, *window, False, False, None)

    results = []
    for threshold in (1, 10**9):
        monkeypatch.setattr(config, "PARALLEL_THRESHOLD", threshold)
        results.append([array.tobytes() for array in everything()])
    assert results[0] == results[1]
