"""Pooling kernels against torch."""

import itertools

import numpy as np
import pytest

from nbgrad import config
from nbgrad.kernels.cpu import pool, pool_average

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
    y, idx = pool.max_pool(x, *arguments)
    check(y, ty.detach().numpy())
    check(idx, ti.numpy())
    check(pool.max_pool_gather(x, idx), y)
    gy = sample(y.shape, dtype, 1)
    ty.backward(torch.tensor(gy))
    check(pool.max_pool_scatter(gy, idx, x.shape), tx.grad.numpy())


def test_max_pool_takes_nan():
    x = sample((1, 2, 9, 9))
    x.reshape(-1)[::7] = np.nan
    y, idx = pool.max_pool(x, (3, 3), (2, 2), (1, 1), (1, 1), False)
    ty, ti = F.max_pool2d(torch.tensor(x), 3, 2, 1, return_indices=True)
    check(y, ty.numpy())
    check(idx, ti.numpy())


@pytest.mark.parametrize("shape, kernel, stride, padding, dilation, ceil_mode", MAX)
def test_max_pool_of_minus_infinity(shape, kernel, stride, padding, dilation, ceil_mode):
    window = kernel, stride, padding, dilation, ceil_mode
    x = np.full(shape, -np.inf, np.float32)
    ty, ti = F.max_pool2d(torch.tensor(x), *window, return_indices=True)
    y, idx = pool.max_pool(x, *window)
    check(y, ty.numpy())
    check(idx, ti.numpy())


def test_max_pool_window_of_padding_only():
    y, idx = pool.max_pool(sample((1, 1, 1, 1)), (2, 2), (1, 1), (1, 1), (2, 2), False)
    assert y.item() == -np.inf and idx.item() == 0


def with_nan(shape, seed=0):
    x = np.round(sample(shape, seed=seed), 0)
    x.reshape(-1)[::7] = np.nan
    x.reshape(-1)[3::5] = -np.inf
    return x


@pytest.mark.parametrize("shape, kernel, stride, padding, dilation, ceil_mode", [
    ((2, 3, 5, 6, 7), (2, 3, 2), (1, 2, 2), (1, 1, 0), (1, 1, 2), False),
    ((1, 2, 7, 5, 33), (3, 1, 3), (2, 1, 3), (1, 0, 1), (2, 1, 1), True),
    ((1, 1, 1, 1, 1), (1, 1, 1), (1, 1, 1), (0, 0, 0), (1, 1, 1), False),
])
def test_max_pool_of_volumes(shape, kernel, stride, padding, dilation, ceil_mode):
    window = kernel, stride, padding, dilation, ceil_mode
    for x in (np.round(sample(shape), 0), with_nan(shape), np.full(shape, -np.inf, np.float32)):
        ty, ti = F.max_pool3d(torch.tensor(x), *window, return_indices=True)
        y, idx = pool.max_pool(x, *window)
        check(y, ty.numpy())
        check(idx, ti.numpy())


@pytest.mark.parametrize("shape, kernel, stride, padding, dilation, ceil_mode", MAX)
def test_max_pool_of_integers(shape, kernel, stride, padding, dilation, ceil_mode):
    x = np.random.default_rng(0).integers(-3, 3, shape) + 2**60
    arguments = kernel, stride, padding, dilation, ceil_mode
    ty, ti = F.max_pool2d(torch.tensor(x), *arguments, return_indices=True)
    y, idx = pool.max_pool(x, *arguments)
    check(y, ty.numpy())
    check(idx, ti.numpy())


@pytest.mark.parametrize("shape, size", [
    ((2, 3, 8, 9), (3, 4)), ((1, 2, 7, 130), (1, 1)), ((1, 1, 5, 63), (5, 7)), ((1, 2, 3, 3), (5, 4)),
    ((2, 1, 5, 8, 9), (2, 3, 4)), ((1, 2, 3, 4, 5), (1, 1, 1)), ((0, 2, 4, 4), (2, 2)),
])
def test_adaptive_max_pool(shape, size):
    for x in (np.round(sample(shape), 1), with_nan(shape)):
        ty, ti = getattr(F, f"adaptive_max_pool{len(size)}d")(torch.tensor(x), size, True)
        y, idx = pool.adaptive_max_pool(x, size)
        check(y, ty.numpy())
        check(idx, ti.numpy())


def test_max_pool_values():
    x = with_nan((5, 63))
    for window in itertools.product((1, 2, 3), (1, 2, 3), (0, 1), (1, 2), (False, True)):
        if window[2] <= window[0] // 2:
            expected = F.max_pool1d(torch.tensor(x), *window).numpy()
            check(pool.max_pool_values(x, *window), expected)


def test_unpool_keeps_the_last():
    x, idx = sample((2, 1, 3, 2)), np.zeros((2, 1, 3, 2), np.int64)
    y = pool.max_unpool(x, idx, (2, 1, 4, 4))
    expected = np.zeros((2, 1, 4, 4), np.float32)
    expected[:, 0, 0, 0] = x[:, 0, 2, 1]
    check(y, expected)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shape, kernel, stride, padding, ceil_mode, include, divisor", AVERAGE)
def test_average_pool(shape, kernel, stride, padding, ceil_mode, include, divisor, dtype):
    x = sample(shape, dtype)
    tx = torch.tensor(x, requires_grad=True)
    arguments = kernel, stride, padding, ceil_mode, include, divisor
    ty = F.avg_pool2d(tx, *arguments)
    check(pool_average.avg_pool(x, *arguments), ty.detach().numpy())
    gy = sample(tuple(ty.shape), dtype, 1)
    ty.backward(torch.tensor(gy))
    check(pool_average.avg_pool_adjoint(gy, shape, *arguments), tx.grad.numpy())


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shape, size", ADAPTIVE)
def test_adaptive_average_pool(shape, size, dtype):
    x = sample(shape, dtype)
    tx = torch.tensor(x, requires_grad=True)
    ty = F.adaptive_avg_pool2d(tx, size)
    check(pool_average.adaptive_avg_pool(x, size), ty.detach().numpy())
    gy = sample(tuple(ty.shape), dtype, 1)
    if ty.numel():
        ty.backward(torch.tensor(gy))
        check(pool_average.adaptive_avg_pool_adjoint(gy, shape), tx.grad.numpy())


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
        lambda x: pool.max_pool(x, *window, (1, 1), False)[0],
        lambda x: pool_average.avg_pool(x, *window, False, True, None),
        lambda x: pool_average.avg_pool_adjoint(x, (2, 3, 16, 18), (2, 2), (2, 2), (0, 0), 0, 1, None),
    ):
        np.testing.assert_array_equal(run(x), run(x.copy()))


def test_same_bits_for_any_thread_count(monkeypatch):
    def everything():
        x, window = sample((3, 5, 16, 33)), ((3, 3), (2, 2), (1, 1))
        y, idx = pool.max_pool(x, *window, (1, 1), False)
        yield from (y, idx, pool.max_pool_gather(x, idx))
        yield pool.max_pool_scatter(y, idx, x.shape)
        yield pool.max_unpool(y, idx, x.shape)
        yield from pool.adaptive_max_pool(x, (5, 4))
        yield pool_average.adaptive_avg_pool(x, (5, 1))
        yield pool_average.avg_pool(x, *window, False, False, None)
        yield pool_average.avg_pool_adjoint(y, x.shape, *window, False, False, None)

    results = []
    for threshold in (1, 10**9):
        monkeypatch.setattr(config, "PARALLEL_THRESHOLD", threshold)
        results.append([array.tobytes() for array in everything()])
    assert results[0] == results[1]
