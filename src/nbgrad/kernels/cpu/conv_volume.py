"""Convolution in three dimensions, and its gradients, by the kernels for two.

The kd planes that a window meets are taken for channels of one picture: x (N, C, D, H, W) becomes
(N * OD, C * kd, H, W), and the weight (O, C / groups, kd, kh, kw) is one for that as it lies.
Windows of one pixel, kh = kw = 1, are left where they are: (N, C, D, H * W) is a picture too.

stride, padding and dilation are triples, and padding six numbers (front, back, top, bottom, left,
right) where the sides differ; only front, top and left matter to a gradient.
"""

import numpy as np

from nbgrad.kernels import memory
from nbgrad.kernels.cpu import conv, conv_direct
from nbgrad.kernels.cpu.columns import taps

# Numbers in a window and outputs, at most, and pixels in a row, at least, with which planes taken for
# channels are multiplied where they lie: more of them than in a picture pays here.
_WINDOW, _OUTPUTS, _WIDTH = 512, 64, 16


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


def _as_plane(w):
    o, c, *size = w
    return o, c * size[0], *size[1:]


def _direct(outputs, window, out_size, groups):
    few = 0 < outputs <= _OUTPUTS and 0 < window <= _WINDOW
    return few and groups == 1 and out_size[0] > 0 and out_size[1] >= _WIDTH


def _convolve(x, w, bias, stride, sides, dilation, groups):
    """`conv.conv2d` of the planes that windows meet."""
    size, before = w.shape[2:], sides[::2]
    out_size = tuple(map(_size, x.shape[2:], size, stride, before, sides[1::2], dilation))
    plain = size in ((1, 1), (3, 3)) and stride == (1, 1)
    if plain or not len(x) or not _direct(len(w), w[0].size, out_size, groups):
        return conv.conv2d(x, w, bias, stride, sides, dilation, groups)
    y = memory.empty((len(x), len(w), *out_size), x.dtype)
    bias = np.empty(0, x.dtype) if bias is None else np.ascontiguousarray(bias)
    conv_direct.forward(x, w, bias, groups, (stride, dilation, before), y)
    return y


def _convolve_input(gy, w, x_shape, stride, sides, dilation, groups):
    """`conv.conv2d_input` of them: with a stride, a convolution of gy for each residue of a pixel."""
    axes = zip(x_shape[2:], w.shape[2:], stride, dilation, sides[::2])
    high, wide = (list(conv.phases(*axis)) for axis in axes)
    taps = -(-w.shape[2] // stride[0]) * -(-w.shape[3] // stride[1])
    size = min(phase.count for phase in high), min(phase.count for phase in wide)
    if stride == (1, 1) or not gy.size or not _direct(x_shape[1], w.shape[0] * taps, size, groups):
        return conv.conv2d_input(gy, w, x_shape, stride, sides, dilation, groups)
    gx, none = memory.empty(x_shape, gy.dtype), np.empty(0, gy.dtype)
    for h in high:
        for v in wide:
            met = np.ascontiguousarray(w[:, :, h.taps, v.taps][:, :, ::-1, ::-1].swapaxes(0, 1))
            if not met.size:
                gx[:, :, h.pixels, v.pixels] = 0
                continue
            part = memory.empty((*x_shape[:2], h.count, v.count), gy.dtype)
            how = (1, 1), (h.dilation, v.dilation), (h.before, v.before)
            conv_direct.forward(gy, met, none, groups, how, part)
            gx[:, :, h.pixels, v.pixels] = part
    return gx


def conv3d(x, w, bias, stride, padding, dilation, groups):
    """Convolution of x (N, C, D, H, W) and w (O, C / groups, kd, kh, kw), plus bias (O,) or None."""
    x, w, sides = np.ascontiguousarray(x), np.ascontiguousarray(w), _sides(padding)
    size = w.shape[2:]
    windows = _size(x.shape[2], size[0], stride[0], *sides[:2], dilation[0])
    if _flat(size, stride, sides):
        rules = _line_rules(stride, sides, dilation)
        y = conv.conv2d(_rows(x), w.reshape(*w.shape[:3], 1), bias, *rules, groups)
        return y.reshape(*y.shape[:3], *x.shape[3:])
    seen = _pictures(x, size[0], windows, stride[0], sides[0], dilation[0])
    rules = _plane_rules(stride, sides, dilation)
    y = _convolve(seen, w.reshape(_as_plane(w.shape)), bias, *rules, groups)
    return _swapped(y.reshape(x.shape[0], windows, *y.shape[1:]))


def conv3d_input(gy, w, x_shape, stride, padding, dilation, groups):
    """Gradient to x of `conv3d`, and so the transposed convolution of gy (N, O, OD, OH, OW)."""
    gy, w, sides = np.ascontiguousarray(gy), np.ascontiguousarray(w), _sides(padding)
    n, c, d, *plane = x_shape
    if _flat(w.shape[2:], stride, sides) and tuple(plane) == gy.shape[3:]:
        rules = _line_rules(stride, sides, dilation)
        rows = n, c, d, plane[0] * plane[1]
        gx = conv.conv2d_input(_rows(gy), w.reshape(*w.shape[:3], 1), rows, *rules, groups)
        return gx.reshape(x_shape)
    windows, kernel = gy.shape[2], w.shape[2]
    seen = n * windows, c * kernel, *plane
    rules = _plane_rules(stride, sides, dilation)
    w = w.reshape(_as_plane(w.shape))
    g = _convolve_input(_merged(_swapped(gy)), w, seen, *rules, groups)
    return _pictures_adjoint(g, x_shape, kernel, windows, stride[0], sides[0], dilation[0])


def conv3d_weight(gy, x, w_shape, stride, padding, dilation, groups):
    """Gradient to w of `conv3d`, from gy (N, O, OD, OH, OW) and x (N, C, D, H, W)."""
    gy, x, sides = np.ascontiguousarray(gy), np.ascontiguousarray(x), _sides(padding)
    if _flat(w_shape[2:], stride, sides) and x.shape[3:] == gy.shape[3:]:
        rules = _line_rules(stride, sides, dilation)
        gw = conv.conv2d_weight(_rows(gy), _rows(x), (*w_shape[:3], 1), *rules, groups)
        return gw.reshape(w_shape)
    seen = _pictures(x, w_shape[2], gy.shape[2], stride[0], sides[0], dilation[0])
    rules = _plane_rules(stride, sides, dilation)
    gw = conv.conv2d_weight(_merged(_swapped(gy)), seen, _as_plane(w_shape), *rules, groups)
    return gw.reshape(w_shape)
