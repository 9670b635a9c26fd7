"""Convolution in two dimensions, its gradient to the input and its gradient to the weight.

The three are one closed family: each one's gradients are the other two. How each is computed:

- groups of one channel on a side: `depthwise_rows` for the common windows, `depthwise` for others;
- 3 x 3 weights, stride one, many channels: `conv_winograd`;
- else the gradient to the input by a product that is added where it goes, `conv_scatter`, and the
  others by a gathered product, `conv_product`;
- with small windows or long rows the forward pass by `conv_direct`, and with stride one the gradient
  to the input; with few channels, as in the first layer of a net, that to the weight by `conv_dots`.

`padding` is (h, w), or (top, bottom, left, right) where the sides differ; only top and left matter
to a gradient, whose shapes are given.
"""

from math import gcd, prod
from typing import NamedTuple

import numpy as np

from nbgrad.kernels import memory
from nbgrad.kernels.cpu import (
    conv_direct,
    conv_dots,
    conv_product,
    conv_winograd_weight,
    depthwise,
    depthwise_rows,
)
from nbgrad.kernels.cpu.conv_scatter import scatter
from nbgrad.kernels.cpu.conv_windows import spread, thin, windows
from nbgrad.kernels.cpu.conv_winograd import winograd
from nbgrad.kernels.cpu.depthwise import Thin
from nbgrad.kernels.cpu.rows import channel_total, entry
from nbgrad.kernels.options import kernel, use_threads

# Input channels of small windows, or output channels, with which pixels fill registers better than
# channels do
_FEW, _NARROW = 6, 24


def _sides(padding):
    return (padding[0], padding[0], padding[1], padding[1]) if len(padding) == 2 else padding


def _is_narrow(w_shape):
    """Whether pixels fill registers better than channels do."""
    return w_shape[0] <= _NARROW or (w_shape[1] <= _FEW and prod(w_shape[1:]) <= conv_direct.WINDOW)


def _is_thin(w_shape, groups):
    return groups > 1 and (w_shape[1] == 1 or w_shape[0] == groups)


def _suits_winograd(w_shape, stride, dilation, groups, out_shape, channels=16, least=8):
    # A tile is 2 x 2 outputs. Its 16 products a channel stand against 9 an output, transforming it
    # against few channels, and transforming the weight against few tiles.
    if w_shape[2:] != (3, 3) or not stride == dilation == (1, 1) or groups > 1:
        return False
    tiles = out_shape[0] * -(-out_shape[2] // 2) * -(-out_shape[3] // 2)
    pixels = out_shape[0] * out_shape[2] * out_shape[3]
    return min(w_shape[:2]) >= channels and tiles >= least and pixels >= 2 * tiles


def _passed(size, stride):
    """How many pixels 1 x 1 windows meet."""
    return tuple(-(-n // s) for n, s in zip(size, stride))


def _met(x, size, stride, padding):
    """What windows meet of x, and the stride there: 1 x 1 windows pass over rows and columns."""
    if size != (1, 1) or stride == (1, 1) or any(padding):
        return x, stride
    out = memory.empty((*x.shape[:2], *_passed(x.shape[2:], stride)), x.dtype)
    thin(np.ascontiguousarray(x), stride, out)
    return out, (1, 1)


def conv2d(x, w, bias, stride, padding, dilation, groups):
    """Convolution of x (N, C, H, W) and w (O, C / groups, kh, kw), plus bias (O,) or None."""
    top, bottom, left, right = _sides(padding)
    padded = (x.shape[2] + top + bottom, x.shape[3] + left + right)
    out_size = tuple(
        (p - d * (k - 1) - 1) // s + 1 for p, d, k, s in zip(padded, dilation, w.shape[2:], stride)
    )
    y = memory.empty((x.shape[0], w.shape[0], *out_size), x.dtype)
    if y.size == 0 or w.size == 0:
        y[:] = 0 if bias is None else bias[:, None, None]
        return y
    x, stride = _met(x, w.shape[2:], stride, padding)
    x, w = np.ascontiguousarray(x), np.ascontiguousarray(w)
    bias = np.empty(0, x.dtype) if bias is None else np.ascontiguousarray(bias)
    if _suits_winograd(w.shape, stride, dilation, groups, y.shape, 16, 16) and winograd(
        x, w, bias, (top, left), False, y
    ):
        return y
    how = stride, dilation, (top, left)
    if depthwise_rows.takes(w.shape, stride, dilation, groups):
        depthwise_rows.forward(x, w, bias, stride, (top, left), y)
        return y
    if _is_thin(w.shape, groups):
        at = windows(x.shape[2:], out_size, w.shape[2:], *how)
        _thin_forward(x, w, bias, at, groups, False, y)
    elif conv_direct.suits(w.shape, out_size, x.dtype):
        conv_direct.forward(x, w, bias, groups, how, y)
    else:
        conv_product.forward(x, w, bias, groups, how, y)
    return y


def conv2d_input(gy, w, x_shape, stride, padding, dilation, groups):
    """Gradient to x of `conv2d`, and so the transposed convolution of gy (N, O, OH, OW)."""
    top, _, left, _ = _sides(padding)
    if gy.size == 0 or w.size == 0:
        return memory.zeros(x_shape, gy.dtype)
    size, gy, gx = w.shape[2:], np.ascontiguousarray(gy), memory.empty(x_shape, gy.dtype)
    if depthwise_rows.takes(w.shape, stride, dilation, groups) and w.shape[0] == groups:
        depthwise_rows.input_gradient(gy, w, stride, (top, left), gx)
        return gx
    if _is_thin(w.shape, groups):
        _thin_input(gy, w, stride, (top, left), dilation, groups, gx)
        return gx
    w = np.ascontiguousarray(w)
    if _suits_winograd(w.shape, stride, dilation, groups, x_shape) and winograd(
        gy, w, np.empty(0, gy.dtype), (2 - top, 2 - left), True, gx
    ):
        return gx
    if size == (1, 1) and not (top or left) and _passed(gx.shape[2:], stride) == gy.shape[2:]:
        met = gx if stride == (1, 1) else memory.empty((*gx.shape[:2], *gy.shape[2:]), gy.dtype)
        conv_product.backward(gy, w, groups, met)
        if met is not gx:
            spread(met, stride, gx)
    elif groups == 1 and stride == (1, 1) and conv_direct.suits(
        (w.shape[1], w.shape[0], *size), x_shape[2:], gx.dtype
    ):
        before = tuple(d * (k - 1) - b for d, k, b in zip(dilation, size, (top, left)))
        turned = np.ascontiguousarray(w.swapaxes(0, 1)[:, :, ::-1, ::-1])
        conv_direct.forward(gy, turned, np.empty(0, gy.dtype), 1, (stride, dilation, before), gx)
    else:
        scatter(gy, w, groups, (stride, dilation, (top, left)), gx)
    return gx


def conv2d_weight(gy, x, w_shape, stride, padding, dilation, groups):
    """Gradient to w of `conv2d`, from gy (N, O, OH, OW) and x (N, C, H, W)."""
    top, _, left, _ = _sides(padding)
    gw = memory.empty(w_shape, x.dtype)
    if gy.size == 0 or gw.size == 0:
        gw[:] = 0
        return gw
    x, stride = _met(x, w_shape[2:], stride, padding)
    gy, x = np.ascontiguousarray(gy), np.ascontiguousarray(x)
    suits = _suits_winograd(w_shape, stride, dilation, groups, gy.shape, 32)
    if suits and not conv_product.shallow(gy.shape, groups) and (
        conv_winograd_weight.weight(gy, x, (top, left), gw)
    ):
        return gw
    how = stride, dilation, (top, left)
    if depthwise_rows.takes(w_shape, stride, dilation, groups):
        depthwise_rows.weight_gradient(gy, x, stride, (top, left), gw)
        return gw
    if _is_thin(w_shape, groups):
        at = windows(x.shape[2:], gy.shape[2:], gw.shape[2:], *how)
        _thin_weight(gy, x, at, groups, gw)
    elif groups == 1 and _is_narrow(w_shape) and conv_dots.suits(gy.shape, w_shape, x.dtype):
        how = tuple((flat, *rule) for flat, rule in zip((1, 1, 0), how))
        conv_dots.weight(gy[:, :, None], x[:, :, None], how, gw[:, :, None])
    else:
        conv_product.weight(gy, x, groups, how, gw)
    return gw


def _thin_forward(x, w, bias, at, groups, backwards, y):
    group_in, group_out = w.shape[1], w.shape[0] // groups
    if backwards:
        group_in, group_out = group_out, group_in
    thin = Thin(x.shape[0], groups, group_in, group_out, backwards, *y.shape[2:])
    taps = at.taps[::-1].copy() if backwards else at.taps
    threads = use_threads(y.size * taps.size * group_in // 4)
    forward = depthwise.forward_threads if threads else depthwise.forward
    forward(x.reshape(-1), w.reshape(-1), bias, taps, at.layout, thin, y.reshape(-1))


def _thin_weight(gy, x, at, groups, gw):
    group_in, group_out = gw.shape[1], gw.shape[0] // groups
    thin = Thin(x.shape[0], groups, group_in, group_out, False, *gy.shape[2:])
    threads = use_threads(gy.size * at.taps.size * group_in // 4)
    weight = depthwise.weight_threads if threads else depthwise.weight
    weight(gy.reshape(-1), x.reshape(-1), at.taps, at.layout, thin, gw.reshape(-1))


class _Phase(NamedTuple):
    """The pixels of one residue of an axis of the input, and the window on gy they come from."""

    pixels: slice
    count: int
    taps: slice
    dilation: int
    before: int


def phases(size, kernel_size, stride, dilation, before):
    """The residues of an axis of the input modulo the stride."""
    # Pixel r + stride * i and tap u meet output i + (r + before - u * dilation) / stride, for the u
    # that divide: first, first + skip, ... Read backwards they are a dilated window on gy.
    skip = stride // gcd(stride, dilation)
    apart = dilation // gcd(stride, dilation)
    for r in range(min(stride, size)):
        hits = (u for u in range(skip) if (r + before - u * dilation) % stride == 0)
        first = next(hits, kernel_size)
        taps = range(first, kernel_size, skip)
        yield _Phase(
            slice(r, None, stride),
            -(-(size - r) // stride),
            slice(first, None, skip),
            apart,
            (len(taps) - 1) * apart - (r + before - first * dilation) // stride,
        )


def _thin_input(gy, w, stride, before, dilation, groups, gx):
    # A convolution of gy for each residue of the pixel modulo the stride.
    axes = zip(gx.shape[2:], w.shape[2:], stride, dilation, before)
    phases_h, phases_w = (list(phases(*axis)) for axis in axes)
    for h in phases_h:
        for v in phases_w:
            taps, count = np.ascontiguousarray(w[:, :, h.taps, v.taps]), (h.count, v.count)
            if taps.size == 0:
                gx[:, :, h.pixels, v.pixels] = 0
                continue
            apart = (h.dilation, v.dilation)
            at = windows(
                gy.shape[2:], count, taps.shape[2:], (1, 1), apart, (h.before, v.before)
            )
            whole = stride == (1, 1)
            part = gx if whole else memory.empty((*gx.shape[:2], *count), gx.dtype)
            _thin_forward(gy, taps, np.empty(0, gx.dtype), at, groups, True, part)
            if not whole:
                gx[:, :, h.pixels, v.pixels] = part


_channel_sum = channel_total(entry)


@kernel
def _bias(gy, gb):
    for o in range(gb.size):
        gb[o] = _channel_sum(gy, gy, o, 0)


def conv2d_bias(gy):
    """Gradient to the bias: gy (N, O, OH, OW) summed over all but its channels."""
    gb = memory.zeros(gy.shape[1], gy.dtype)
    if gy.size:
        _bias(np.ascontiguousarray(gy).reshape(*gy.shape[:2], -1), gb)
    return gb
