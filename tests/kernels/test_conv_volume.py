"""Convolutions of volumes and windows as columns, against torch."""

import numpy as np
import pytest

from nbgrad import config
from nbgrad.kernels.cpu import columns, conv_volume

torch = pytest.importorskip("torch")
F = torch.nn.functional

# x, w, stride, padding, dilation, groups
CASES = [
    ((2, 3, 5, 6, 7), (4, 3, 3, 3, 3), (1, 1, 1), (1, 1, 1), (1, 1, 1), 1),
    ((2, 4, 7, 6, 8), (6, 2, 3, 2, 3), (2, 1, 2), (1, 0, 2), (2, 1, 1), 2),
    ((1, 3, 4, 4, 4), (3, 1, 2, 3, 3), (1, 1, 1), (0, 0, 0), (1, 1, 1), 3),
    ((2, 3, 4, 5, 5), (4, 3, 1, 1, 1), (1, 1, 1), (0, 0, 0), (1, 1, 1), 1),
    ((2, 3, 4, 5, 5), (4, 3, 1, 1, 1), (2, 2, 2), (0, 0, 0), (1, 1, 1), 1),
    ((2, 3, 6, 5, 5), (4, 3, 3, 1, 1), (2, 1, 1), (1, 0, 0), (1, 1, 1), 1),
    ((2, 3, 4, 5, 5), (4, 3, 1, 3, 3), (1, 1, 1), (0, 1, 1), (1, 1, 1), 1),
    ((0, 3, 4, 5, 5), (4, 3, 3, 1, 2), (1, 1, 1), (0, 0, 0), (1, 1, 1), 1),
    ((1, 2, 2, 5, 5), (4, 2, 3, 3, 3), (3, 3, 3), (2, 2, 2), (1, 1, 1), 1),
    ((1, 1, 1, 2, 2), (1, 1, 3, 3, 3), (1, 1, 1), (3, 3, 3), (3, 3, 3), 1),
    # wide enough to be multiplied where they lie
    ((2, 3, 5, 34, 37), (4, 3, 3, 3, 3), (2, 2, 2), (1, 1, 1), (1, 1, 1), 1),
    ((1, 3, 4, 33, 50), (5, 3, 2, 4, 3), (2, 2, 3), (0, 1, 1), (1, 2, 1), 1),
    ((1, 2, 3, 20, 34), (3, 2, 2, 2, 1), (1, 1, 2), (0, 0, 0), (1, 1, 1), 1),
    ((2, 16, 4, 34, 63), (15, 16, 3, 3, 3), (1, 2, 2), (2, 1, 0), (2, 1, 1), 1),
    ((1, 2, 2, 9, 20), (3, 2, 2, 3, 3), (2, 2, 2), (3, 1, 1), (2, 1, 1), 1),
    ((1, 2, 5, 1050, 17), (3, 2, 2, 2, 2), (3, 2, 2), (0, 1, 1), (1, 1, 3), 1),
    ((2, 5, 4, 9, 31), (6, 5, 3, 3, 3), (1, 1, 1), (1, 1, 1), (1, 1, 1), 1),
    ((3, 2, 1, 14, 15), (16, 2, 3, 3, 3), (1, 1, 1), (3, 1, 1), (1, 1, 1), 1),
    ((1, 7, 9, 10, 16), (8, 7, 2, 3, 3), (1, 1, 1), (2, 1, 1), (3, 1, 1), 1),
    ((2, 3, 7, 24, 25), (5, 3, 4, 4, 4), (2, 2, 2), (1, 1, 1), (1, 1, 1), 1),
    ((1, 2, 3, 6, 16), (3, 2, 2, 2, 2), (1, 1, 1), (2, 2, 3), (1, 1, 1), 1),
]


def sample(shape, dtype=np.float32, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


def check(found, expected):
    assert found.dtype == expected.dtype and found.shape == expected.shape
    tolerance = 1e-4 if found.dtype == np.float32 else 1e-11
    np.testing.assert_allclose(found, expected, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("x, w, stride, padding, dilation, groups", CASES)
def test_convolution_and_its_gradients(x, w, stride, padding, dilation, groups, dtype):
    x, w, bias = sample(x, dtype), sample(w, dtype, 1), sample(w[0], dtype, 2)
    how = stride, padding, dilation, groups
    tensors = [torch.tensor(a, requires_grad=True) for a in (x, w)]
    expected = F.conv3d(*tensors, torch.tensor(bias), *how)
    gy = sample(tuple(expected.shape), dtype, 3)
    expected.backward(torch.tensor(gy))
    results = []
    for swap in (lambda a: a, lambda a: a.swapaxes(0, 3).copy().swapaxes(0, 3)):
        mine = [swap(a) for a in (x, w, gy)]
        results.append([conv_volume.conv3d(*mine[:2], bias, *how),
                        conv_volume.conv3d_input(mine[2], mine[1], x.shape, *how),
                        conv_volume.conv3d_weight(mine[2], mine[0], w.shape, *how)])
    for found, right in zip(results[0], (expected.detach(), *(t.grad for t in tensors))):
        check(found, right.numpy())
    for found, other in zip(*results):
        np.testing.assert_array_equal(found, other)


@pytest.mark.parametrize("shape, rules", [
    ((2, 3, 5, 6), ((2, 3), (1, 2), (0, 0), (1, 1))),
    ((1, 2, 7, 63), ((3, 2), (2, 3), (2, 1), (1, 4))),
    ((1, 1, 1, 1), ((1, 1), (1, 1), (0, 0), (1, 1))),
    ((2, 1, 2, 2), ((3, 3), (3, 1), (2, 2), (2, 1))),
])
def test_columns(shape, rules):
    kernel, stride, padding, dilation = rules
    x = sample(shape)
    how = {"dilation": dilation, "padding": padding, "stride": stride}
    expected = F.unfold(torch.tensor(x), kernel, **how)
    check(columns.unfold(x, *rules), expected.numpy())
    g = sample(tuple(expected.shape), seed=1)
    back = F.fold(torch.tensor(g), shape[2:], kernel, **how).numpy()
    check(columns.fold(g, shape[2:], *rules), back)


@pytest.mark.parametrize("stride", [1, 2])
def test_same_bits_for_any_thread_count(stride, monkeypatch):
    x, w = sample((2, 16, 5, 16, 16)), sample((20, 16, 3, 3, 3))
    how = (stride,) * 3, (1,) * 3, (1,) * 3, 1
    results = []
    for threshold in (1, 10**9):
        monkeypatch.setattr(config, "PARALLEL_THRESHOLD", threshold)
        y = conv_volume.conv3d(x, w, None, *how)
        results.append([y.tobytes(), conv_volume.conv3d_input(y, w, x.shape, *how).tobytes(),
                        conv_volume.conv3d_weight(y, x, w.shape, *how).tobytes()])
    assert results[0] == results[1]


@pytest.mark.parametrize("stride", [1, 2])
def test_taps_of_a_window_meet_what_they_see(stride):
    x, how = np.ones((2, 3, 5, 9, 33), np.float32), ((stride,) * 3, (0, 0, 0), (1, 1, 1), 1)
    gy = np.ones_like(conv_volume.conv3d(x, np.ones((4, 3, 3, 3, 3), np.float32), None, *how))
    x[:, :, 0], x[..., 0, :], x[..., 0] = np.inf, np.inf, np.inf
    gw = conv_volume.conv3d_weight(gy, x, (4, 3, 3, 3, 3), *how)
    assert np.isfinite(gw[:, :, 1:, 1:, 1:]).all() and not np.isnan(gw).any()
    for first in (gw[:, :, 0], gw[..., 0, :], gw[..., 0]):
        assert np.isinf(first).all()
