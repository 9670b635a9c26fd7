"""Convolution and its gradients against PyTorch."""

import numba
import numpy as np
import pytest

from nbgrad.kernels.cpu import conv

torch = pytest.importorskip("torch")
functional = torch.nn.functional

# x shape, output channels, kernel, stride, padding, dilation, groups
CASES = [
    ((1, 1, 1, 1), 1, (1, 1), (1, 1), (0, 0), (1, 1), 1),
    ((2, 3, 8, 8), 4, (3, 3), (1, 1), (1, 1), (1, 1), 1),
    ((1, 2, 1, 1), 3, (5, 3), (1, 1), (2, 1), (1, 1), 1),
    ((3, 1, 2, 3), 2, (7, 7), (2, 2), (3, 3), (1, 1), 1),
    ((0, 3, 8, 8), 4, (3, 3), (1, 1), (1, 1), (1, 1), 1),
    ((0, 4, 8, 8), 4, (3, 3), (2, 2), (1, 1), (1, 1), 4),
    ((2, 5, 7, 9), 17, (1, 1), (1, 1), (0, 0), (1, 1), 1),
    ((2, 5, 7, 9), 6, (1, 1), (2, 3), (0, 0), (1, 1), 1),
    ((2, 5, 7, 9), 6, (1, 1), (1, 1), (2, 1), (1, 1), 1),
    ((2, 3, 63, 61), 33, (3, 3), (1, 1), (1, 1), (1, 1), 1),
    ((2, 3, 33, 63), 15, (7, 7), (2, 2), (3, 3), (1, 1), 1),
    ((9, 16, 7, 7), 31, (3, 3), (1, 1), (1, 1), (1, 1), 1),
    ((5, 40, 4, 4), 29, (3, 3), (2, 2), (1, 1), (1, 1), 1),
    ((40, 33, 1, 1), 63, (3, 3), (1, 1), (1, 1), (1, 1), 1),
    ((2, 3, 11, 10), 4, (3, 2), (3, 2), (1, 0), (1, 1), 1),
    ((2, 3, 11, 10), 4, (2, 2), (3, 3), (0, 0), (1, 1), 1),
    ((2, 3, 11, 13), 4, (3, 3), (1, 1), (2, 2), (2, 2), 1),
    ((2, 3, 11, 13), 4, (3, 4), (2, 3), (2, 4), (2, 2), 1),
    ((2, 3, 12, 13), 4, (3, 3), (4, 6), (2, 4), (2, 4), 1),
    ((1, 3, 20, 20), 4, (3, 3), (1, 1), (5, 6), (1, 1), 1),
    ((2, 6, 9, 9), 8, (3, 3), (1, 1), (1, 1), (1, 1), 2),
    ((2, 6, 9, 9), 40, (3, 3), (2, 2), (1, 1), (1, 1), 2),
    ((2, 6, 9, 9), 6, (3, 3), (1, 1), (1, 1), (1, 1), 6),
    ((2, 6, 9, 14), 12, (3, 3), (2, 2), (1, 1), (1, 1), 6),
    ((2, 6, 17, 15), 12, (5, 5), (3, 2), (2, 3), (2, 1), 6),
    ((2, 6, 9, 9), 2, (3, 3), (1, 1), (1, 1), (1, 1), 2),
    ((2, 8, 7, 7), 8, (1, 1), (2, 2), (0, 0), (1, 1), 8),
    # Depthwise rows: whole registers, halves, some registers; odd planes, wide padding.
    ((3, 5, 7, 7), 5, (3, 3), (1, 1), (1, 1), (1, 1), 5),
    ((3, 5, 7, 8), 10, (3, 3), (1, 1), (0, 0), (1, 1), 5),
    ((2, 37, 9, 16), 37, (5, 5), (1, 1), (2, 2), (1, 1), 37),
    ((1, 3, 50, 40), 3, (7, 7), (1, 1), (3, 3), (1, 1), 3),
    ((2, 3, 6, 5), 3, (3, 3), (1, 1), (4, 3), (1, 1), 3),
    ((3, 5, 15, 14), 5, (3, 3), (2, 2), (1, 1), (1, 1), 5),
    ((2, 5, 14, 28), 5, (5, 5), (2, 2), (2, 2), (1, 1), 5),
    ((2, 3, 9, 75), 6, (3, 3), (2, 2), (0, 1), (1, 1), 3),
    ((2, 3, 14, 14), 3, (7, 7), (2, 2), (3, 3), (1, 1), 3),
    ((2, 3, 6, 5), 3, (3, 3), (2, 2), (3, 4), (1, 1), 3),
    ((2, 3, 30, 31), 3, (3, 3), (1, 1), (2, 2), (2, 2), 3),
    ((3, 2, 40, 40), 3, (3, 3), (1, 1), (0, 0), (1, 1), 1),
    ((2, 300, 6, 6), 20, (1, 1), (1, 1), (0, 0), (1, 1), 1),
    ((1, 32, 9, 11), 40, (3, 3), (1, 1), (1, 1), (1, 1), 1),
    ((3, 33, 8, 7), 35, (3, 3), (1, 1), (0, 2), (1, 1), 1),
    ((9, 34, 14, 13), 33, (3, 3), (1, 1), (3, 1), (1, 1), 1),
    ((2, 6, 20, 21), 300, (3, 3), (2, 2), (1, 1), (1, 1), 1),
    ((1, 40, 5, 5), 200, (3, 3), (2, 2), (1, 1), (1, 1), 1),
    ((2, 20, 12, 12), 24, (5, 5), (1, 1), (2, 2), (1, 1), 1),
    ((2, 10, 8, 8), 5, (3, 3), (2, 2), (1, 1), (1, 1), 1),
    ((2, 4, 40, 9), 7, (3, 2), (1, 1), (1, 1), (1, 1), 1),
    # Lines: rows of pixels fill registers, windows are multiplied in parts.
    ((2, 30, 1, 111), 40, (1, 9), (1, 1), (0, 4), (1, 1), 1),
    ((2, 4, 1, 125), 40, (1, 7), (1, 1), (0, 2), (1, 2), 1),
    ((3, 21, 1, 190), 9, (1, 11), (1, 2), (0, 5), (1, 1), 1),
    ((2, 5, 3, 95), 16, (2, 3), (2, 1), (1, 0), (2, 1), 1),
]
TOLERANCE = {np.float64: 1e-12, np.float32: 2e-5}


def samples(case, dtype):
    shape, o, kernel, stride, padding, dilation, groups = case
    rng = np.random.default_rng(0)
    x = rng.standard_normal(shape).astype(dtype)
    w = rng.standard_normal((o, shape[1] // groups, *kernel)).astype(dtype)
    b = rng.standard_normal(o).astype(dtype)
    return x, w, b, (stride, padding, dilation, groups)


def expected(x, w, b, how):
    """y, gy, gx, gw, gb from PyTorch in float64."""
    stride, padding, dilation, groups = how
    tensors = [torch.tensor(a.astype(np.float64), requires_grad=True) for a in (x, w, b)]
    y = functional.conv2d(*tensors, stride, padding, dilation, groups)
    gy = np.random.default_rng(1).standard_normal(y.shape).astype(x.dtype)
    y.backward(torch.tensor(gy.astype(np.float64)))
    return y.detach().numpy(), gy, *(t.grad.numpy() for t in tensors)


def check(got, want, dtype):
    assert got.dtype == dtype and got.shape == want.shape and got.flags.c_contiguous
    scale = np.abs(want).max(initial=1.0)
    np.testing.assert_allclose(got, want, rtol=0, atol=TOLERANCE[dtype] * scale)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("case", CASES, ids=str)
def test_conv2d_and_gradients(case, dtype):
    x, w, b, how = samples(case, dtype)
    y, gy, gx, gw, gb = expected(x, w, b, how)
    check(conv.conv2d(x, w, b, *how), y, dtype)
    check(conv.conv2d(x, w, None, *how), y - b[:, None, None], dtype)
    check(conv.conv2d_input(gy, w, x.shape, *how), gx, dtype)
    check(conv.conv2d_weight(gy, x, w.shape, *how), gw, dtype)
    check(conv.conv2d_bias(gy), gb, dtype)


@pytest.mark.parametrize("case", [c for c in CASES if c[0][0] > 1], ids=str)
def test_bits_do_not_depend_on_threads(case, monkeypatch):
    x, w, b, how = samples(case, np.float32)

    def results():
        y = conv.conv2d(x, w, b, *how)
        return y, conv.conv2d_input(y, w, x.shape, *how), conv.conv2d_weight(y, x, w.shape, *how)

    serial = results()
    monkeypatch.setattr("nbgrad.config.PARALLEL_THRESHOLD", 0)
    before = numba.get_num_threads()
    try:
        for threads in {1, min(2, numba.config.NUMBA_NUM_THREADS)}:
            numba.set_num_threads(threads)
            for got, want in zip(results(), serial):
                np.testing.assert_array_equal(got, want)
    finally:
        numba.set_num_threads(before)


@pytest.mark.parametrize("groups", [1, 4])
def test_operands_of_any_strides(groups):
    how = ((2, 1), (1, 2), (1, 1), groups)
    rng = np.random.default_rng(0)
    x = rng.standard_normal((9, 4, 16, 3))[::-1, :, ::2].transpose(3, 1, 0, 2)
    w = rng.standard_normal((3, 3, 4 // groups, 8)).transpose(3, 2, 1, 0)
    y = conv.conv2d(x, w, None, *how)
    np.testing.assert_array_equal(y, conv.conv2d(x.copy(), w.copy(), None, *how))
    gy = rng.standard_normal(y.shape[::-1]).T
    gx = conv.conv2d_input(gy, w, x.shape, *how)
    np.testing.assert_array_equal(gx, conv.conv2d_input(gy.copy(), w.copy(), x.shape, *how))
    gw = conv.conv2d_weight(gy, x, w.shape, *how)
    np.testing.assert_array_equal(gw, conv.conv2d_weight(gy.copy(), x.copy(), w.shape, *how))
    np.testing.assert_allclose(conv.conv2d_bias(gy), gy.sum((0, 2, 3)), rtol=1e-12)


@pytest.mark.parametrize("groups", [1, 6])
def test_uneven_padding_is_padding_then_convolution(groups):
    rng = np.random.default_rng(0)
    x, w = rng.standard_normal((2, 6, 8, 9)), rng.standard_normal((6, 6 // groups, 4, 2))
    sides, stride = (1, 2, 0, 1), (1, 1)
    padded = np.pad(x, ((0, 0), (0, 0), (1, 2), (0, 1)))
    y = conv.conv2d(x, w, None, stride, sides, (1, 1), groups)
    assert y.shape == x.shape
    np.testing.assert_array_equal(y, conv.conv2d(padded, w, None, stride, (0, 0), (1, 1), groups))
    gx = conv.conv2d_input(y, w, x.shape, stride, sides, (1, 1), groups)
    want = conv.conv2d_input(y, w, padded.shape, stride, (0, 0), (1, 1), groups)
    np.testing.assert_allclose(gx, want[:, :, 1:-2, :-1], rtol=1e-12, atol=1e-12)
    gw = conv.conv2d_weight(y, x, w.shape, stride, sides, (1, 1), groups)
    want = conv.conv2d_weight(y, padded, w.shape, stride, (0, 0), (1, 1), groups)
    np.testing.assert_allclose(gw, want, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("channels, groups", [(5, 1), (5, 5), (40, 1)])
def test_not_a_number_stays_where_its_windows_are(channels, groups):
    x = np.ones((2, channels, 20, 17), np.float32)
    x[0, 1, 6, 16] = np.nan
    w = np.ones((channels, channels // groups, 3, 3), np.float32)
    how = ((1, 1), (1, 1), (1, 1), groups)
    y = conv.conv2d(x, w, None, *how)
    want = np.zeros(y.shape, bool)
    want[0, slice(None) if groups == 1 else 1, 5:8, 15:] = True
    np.testing.assert_array_equal(np.isnan(y), want)
    x[0, 1, 6, 16] = np.inf
    gw = conv.conv2d_weight(np.ones_like(y), x, w.shape, *how)
    # The last column of the input never meets the first column of the window's taps.
    assert np.isfinite(gw[..., 0]).all() and not np.isnan(gw).any()


@pytest.mark.parametrize("width", [7, 16, 40])
@pytest.mark.parametrize("stride", [1, 2])
def test_taps_of_a_depthwise_window_meet_what_they_see(stride, width):
    how = ((stride, stride), (0, 0), (1, 1), 3)
    x, w = np.ones((2, 3, 9, width), np.float32), np.ones((3, 1, 3, 3), np.float32)
    gy = np.ones_like(conv.conv2d(x, w, None, *how))
    x[:, :, 0], x[:, :, :, 0] = np.inf, np.inf
    gw = conv.conv2d_weight(gy, x, w.shape, *how)
    assert np.isinf(gw[:, :, 0]).all() and np.isinf(gw[:, :, :, 0]).all()
    assert np.isfinite(gw[:, :, 1:, 1:]).all()
    gy[:, :, 0], gy[:, :, :, 0] = np.inf, np.inf
    gx = conv.conv2d_input(gy, w, x.shape, *how)
    assert np.isinf(gx[:, :, :3, :3]).all() and np.isfinite(gx[:, :, 3:, 3:]).all()


def test_no_channels_leave_the_bias():
    how = ((1, 1), (1, 1), (1, 1), 1)
    x, w = np.empty((2, 0, 4, 4)), np.empty((3, 0, 3, 3))
    b = np.arange(3.0)
    y = conv.conv2d(x, w, b, *how)
    np.testing.assert_array_equal(y, np.broadcast_to(b[:, None, None], (2, 3, 4, 4)))
    assert conv.conv2d_input(y, w, x.shape, *how).shape == x.shape
    assert conv.conv2d_weight(y, x, w.shape, *how).shape == w.shape
    np.testing.assert_array_equal(
        conv.conv2d(np.ones((2, 1, 4, 4)), np.empty((0, 1, 3, 3)), None, *how),
        np.empty((2, 0, 4, 4)),
    )


def test_convolution_in_float32_is_accurate_over_a_large_batch():
    rng = np.random.default_rng(0)
    x = rng.standard_normal((16, 3, 64, 64)).astype(np.float32) + 1
    gy = rng.standard_normal((16, 4, 64, 64)).astype(np.float32) + 1
    how = ((1, 1), (1, 1), (1, 1), 1)
    exact = conv.conv2d_weight(gy.astype(np.float64), x.astype(np.float64), (4, 3, 3, 3), *how)
    gw = conv.conv2d_weight(gy, x, (4, 3, 3, 3), *how)
    np.testing.assert_allclose(gw, exact, rtol=2e-5)
    np.testing.assert_allclose(conv.conv2d_bias(gy), gy.sum((0, 2, 3), dtype=np.float64), rtol=1e-7)


@pytest.mark.parametrize("shape, outputs", [((2, 128, 14, 14), 64), ((1, 512, 7, 7), 48)])
def test_winograd_errs_little_more_than_a_direct_sum(shape, outputs):
    how = ((1, 1), (1, 1), (1, 1), 1)
    x, w, _, _ = samples((shape, outputs, (3, 3), *how), np.float32)
    gy = np.random.default_rng(1).standard_normal((shape[0], outputs, *shape[2:]), np.float32)

    def results(x, w, gy):
        return (conv.conv2d(x, w, None, *how), conv.conv2d_input(gy, w, x.shape, *how),
                conv.conv2d_weight(gy, x, w.shape, *how))

    exact = results(*(a.astype(np.float64) for a in (x, w, gy)))
    tensors = [torch.tensor(a, requires_grad=True) for a in (x, w)]
    y = functional.conv2d(*tensors, padding=1)
    y.backward(torch.tensor(gy))
    direct = (y.detach().numpy(), *(t.grad.numpy() for t in tensors))
    for got, plain, want in zip(results(x, w, gy), direct, exact):
        assert np.abs(got - want).mean() < 4 * np.abs(plain - want).mean()
