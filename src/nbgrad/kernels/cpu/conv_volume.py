"""Convolution in three dimensions, and its gradients, by the kernels for two.

The kd planes that a window meets are taken for channels of one picture: x (N, C, D, H, W) becomes
(N * OD, C * kd, H, W), and the weight (O, C / groups, kd, kh, kw) is one for that as it lies.
Windows of one pixel, kh = kw = 1, are left where they are: (N, C, D, H * W) is a picture too.
With few outputs the volume itself is left where it is, see `conv_volume_direct`, and the gradient to
the input is one such convolution, or one for each residue of a pixel modulo the stride. So it is in
the gradient to the weight, see `conv_dots`.

stride, padding and dilation are triples, and padding six numbers (front, back, top, bottom, left,
right) where the sides differ; only front, top and left matter to a gradient.
"""

import math
from itertools import chain, product
from typing import NamedTuple

import numpy as np

from nbgrad.kernels import memory
from nbgrad.kernels.cpu import conv, conv_dots, conv_volume_direct
from nbgrad.kernels.cpu.columns import taps
from nbgrad.kernels.cpu.tasks import each, launch
from nbgrad.kernels.options import inline, kernel, use_threads

# Numbers in a window and outputs, at most, and pixels in a row, at least, with which a volume is
# multiplied where it lies: more of them than in a picture pays here.
_WINDOW, _OUTPUTS, _WIDTH = 1024, 64, 8
_MANY = 32  # with more channels than so, planes are transformed, if they may


def _size(n, kernel, stride, before, after, dilation):
    return (n + before + after - dilation * (kernel - 1) - 1) // stride + 1


def _sides(padding):
    return padding if len(padding) == 6 else tuple(p for p in padding for _ in range(2))


def _flat(size, stride, sides):
    """Whether windows are lines along the depth that every pixel has."""
    return size[1:] == stride[1:] == (1, 1) and not any(sides[2:])


def _rows(x):
    """(N, C, D, H, W) as (N, C, D, H * W)."""
    return x.reshape(*x.shape[:3], x.shape[3] * x.shape[4])


def _line_rules(stride, sides, dilation):
    return (stride[0], 1), (*sides[:2], 0, 0), (dilation[0], 1)


def _plane_rules(stride, sides, dilation):
    return stride[1:], sides[2:], dilation[1:]


def _swapped(x):
    """(N, C, D, H, W) as (N * D, C, H, W), or from (N, D, C, H, W) to what it came from."""
    n, c, d, *plane = x.shape
    out = memory.empty((n, d, c, *plane), x.dtype)
    np.copyto(out, x.swapaxes(1, 2))
    return out


def _merged(x):
    """The first two axes as one."""
    return x.reshape(x.shape[0] * x.shape[1], *x.shape[2:])


def _pictures(x, kernel, windows, stride, before, dilation):
    """The planes that every window meets, (N * windows, C * kernel, H, W), zeros where it has none."""
    n, c, d, *plane = x.shape
    if kernel == 1 == stride and windows == d and not before:
        return _merged(_swapped(x))
    out = memory.empty((n, windows, c, kernel, *plane), x.dtype)
    for u, inside, met in taps(kernel, windows, d, stride, before, dilation):
        out[:, : inside.start, :, u] = 0
        out[:, inside.stop :, :, u] = 0
        if inside.start < inside.stop:
            out[:, inside, :, u] = x[:, :, met].swapaxes(1, 2)
    return out.reshape(n * windows, c * kernel, *plane)


def _pictures_adjoint(g, x_shape, kernel, windows, stride, before, dilation):
    """gx of shape x_shape: every plane of g (N * windows, C * kernel, H, W) added where it is from."""
    n, c, d, *plane = x_shape
    if kernel == 1 == stride and windows == d and not before:
        return _swapped(g.reshape(n, d, c, *plane))
    g, gx = g.reshape(n, windows, c, kernel, *plane), memory.zeros(x_shape, g.dtype)
    for u, inside, met in taps(kernel, windows, d, stride, before, dilation):
        if inside.start < inside.stop:
            gx[:, :, met] += g[:, inside, :, u].swapaxes(1, 2)
    return gx


def _none(x):
    """No bias."""
    return np.empty(0, x.dtype)


def _as_plane(w):
    o, c, *size = w
    return o, c * size[0], *size[1:]


def _transforms(size, stride, outputs):
    """Whether planes are convolved in a way that is faster yet."""
    if size[1:] == (3, 3):
        return stride[1:] == (1, 1) and outputs > _MANY
    return size[1:] == stride[1:] == (1, 1)


def _direct(outputs, window, out_size, groups):
    few = 0 < outputs <= _OUTPUTS and 0 < window <= _WINDOW
    return few and groups == 1 and min(out_size) > 0 and out_size[2] >= _WIDTH


class _Parts(NamedTuple):
    """How a volume is put together of parts, each of some pixels of the planes that windows met."""

    planes: int  # of the volume
    height: int
    width: int
    windows: int  # along the depth, of `kernel` planes, by `stride` and `dilation`
    kernel: int
    stride: int
    before: int
    dilation: int
    high: int  # of a part: its pixel (i, j) is (top + i * down, left + j * right)
    wide: int
    top: int
    down: int
    left: int
    right: int


@inline
def _add_plane(t, g, parts, gx):
    (planes, height, width, windows, kernel, stride, before, dilation,
     high, wide, top, down, left, right) = parts
    q, d, size = t // planes, t % planes, high * wide
    sums = np.zeros(size, gx.dtype)
    for u in range(kernel):
        at = d + before - u * dilation
        if at >= 0 and at % stride == 0 and at // stride < windows:
            source = ((q * kernel + u) * windows + at // stride) * size
            sums += g[source : source + size]
    for i in range(high):
        to = (t * height + top + i * down) * width + left
        for j in range(wide):
            gx[np.uint64(to + j * right)] = sums[np.uint64(i * wide + j)]


@kernel
def _add_part(loop, g, volumes, parts, gx):
    each(loop, volumes * parts.planes, _add_plane, (g, parts, gx))


def _phased_input(gy, w, phases, depth, gx):
    """The gradient to the input as a convolution of gy for each residue of a pixel of a plane."""
    n, c, *size = gx.shape
    windows, kernel = gy.shape[2], w.shape[2]
    turned = w.reshape(_as_plane(w.shape)).swapaxes(0, 1)[:, :, None]
    for high, wide in product(*phases):
        met = turned[..., high.taps, wide.taps][..., ::-1, ::-1]
        if not met.size:
            gx[..., high.pixels, wide.pixels] = 0
            continue
        g = memory.empty((n, c * kernel, windows, high.count, wide.count), gy.dtype)
        how = (1, 1, 1), (1, high.dilation, wide.dilation), (0, high.before, wide.before)
        conv_volume_direct.forward(gy, met, _none(gy), how, g)
        pixels = (axis.pixels.indices(gx.size)[::2] for axis in (high, wide))
        parts = _Parts(*size, windows, kernel, *depth, high.count, wide.count, *chain(*pixels))
        launch(_add_part, use_threads(g.size), g.reshape(-1), n * c, parts, gx.reshape(-1))


def conv3d(x, w, bias, stride, padding, dilation, groups):
    """Convolution of x (N, C, D, H, W) and w (O, C / groups, kd, kh, kw), plus bias (O,) or None."""
    x, w, sides = np.ascontiguousarray(x), np.ascontiguousarray(w), _sides(padding)
    size = w.shape[2:]
    if _flat(size, stride, sides):
        rules = _line_rules(stride, sides, dilation)
        y = conv.conv2d(_rows(x), w.reshape(*w.shape[:3], 1), bias, *rules, groups)
        return y.reshape(*y.shape[:3], *x.shape[3:])
    out_size = tuple(map(_size, x.shape[2:], size, stride, sides[::2], sides[1::2], dilation))
    direct = _direct(len(w), w[0].size, out_size, groups)
    if len(x) and direct and not _transforms(size, stride, len(w)):
        y = memory.empty((len(x), len(w), *out_size), x.dtype)
        bias = _none(x) if bias is None else np.ascontiguousarray(bias)
        conv_volume_direct.forward(x, w, bias, (stride, dilation, sides[::2]), y)
        return y
    seen = _pictures(x, size[0], out_size[0], stride[0], sides[0], dilation[0])
    rules = _plane_rules(stride, sides, dilation)
    y = conv.conv2d(seen, w.reshape(_as_plane(w.shape)), bias, *rules, groups)
    return _swapped(y.reshape(x.shape[0], out_size[0], *y.shape[1:]))


def conv3d_input(gy, w, x_shape, stride, padding, dilation, groups):
    """Gradient to x of `conv3d`, and so the transposed convolution of gy (N, O, OD, OH, OW)."""
    gy, w, sides = np.ascontiguousarray(gy), np.ascontiguousarray(w), _sides(padding)
    n, c, d, *plane = x_shape
    if _flat(w.shape[2:], stride, sides) and tuple(plane) == gy.shape[3:]:
        rules = _line_rules(stride, sides, dilation)
        rows = n, c, d, plane[0] * plane[1]
        gx = conv.conv2d_input(_rows(gy), w.reshape(*w.shape[:3], 1), rows, *rules, groups)
        return gx.reshape(x_shape)
    if stride[1:] != (1, 1) and gy.size:
        axes = zip(plane, w.shape[3:], stride[1:], dilation[1:], sides[2::2])
        phases = [list(conv.phases(*axis)) for axis in axes]
        least = (gy.shape[2], *(min((phase.count for phase in axis), default=0) for axis in phases))
        window = len(w) * math.prod(-(-k // s) for k, s in zip(w.shape[3:], stride[1:]))
        if _direct(c * w.shape[2], window, least, groups):
            gx = memory.empty(x_shape, gy.dtype)
            _phased_input(gy, w, phases, (stride[0], sides[0], dilation[0]), gx)
            return gx
    if stride == (1, 1, 1) and gy.size and not _transforms(w.shape[2:], stride, c) and _direct(
        c, w[:, 0].size, (d, *plane), groups
    ):
        gx, turned = memory.empty(x_shape, gy.dtype), w.swapaxes(0, 1)[..., ::-1, ::-1, ::-1]
        before = tuple(r * (k - 1) - b for r, k, b in zip(dilation, w.shape[2:], sides[::2]))
        conv_volume_direct.forward(gy, turned, _none(gy), (stride, dilation, before), gx)
        return gx
    windows, kernel = gy.shape[2], w.shape[2]
    seen = n * windows, c * kernel, *plane
    rules = _plane_rules(stride, sides, dilation)
    w = w.reshape(_as_plane(w.shape))
    g = conv.conv2d_input(_merged(_swapped(gy)), w, seen, *rules, groups)
    return _pictures_adjoint(g, x_shape, kernel, windows, stride[0], sides[0], dilation[0])


def conv3d_weight(gy, x, w_shape, stride, padding, dilation, groups):
    """Gradient to w of `conv3d`, from gy (N, O, OD, OH, OW) and x (N, C, D, H, W)."""
    gy, x, sides = np.ascontiguousarray(gy), np.ascontiguousarray(x), _sides(padding)
    if _flat(w_shape[2:], stride, sides) and x.shape[3:] == gy.shape[3:]:
        rules = _line_rules(stride, sides, dilation)
        gw = conv.conv2d_weight(_rows(gy), _rows(x), (*w_shape[:3], 1), *rules, groups)
        return gw.reshape(w_shape)
    transforms = _transforms(w_shape[2:], stride, min(w_shape[:2]))
    if groups == 1 and not transforms and gy.size and conv_dots.suits(gy.shape, w_shape, x.dtype):
        gw = memory.empty(w_shape, x.dtype)
        conv_dots.weight(gy, x, (stride, dilation, sides[::2]), gw)
        return gw
    seen = _pictures(x, w_shape[2], gy.shape[2], stride[0], sides[0], dilation[0])
    rules = _plane_rules(stride, sides, dilation)
    gw = conv.conv2d_weight(_merged(_swapped(gy)), seen, _as_plane(w_shape), *rules, groups)
    return gw.reshape(w_shape)
