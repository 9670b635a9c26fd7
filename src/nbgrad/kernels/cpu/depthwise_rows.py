"""Depthwise convolutions with windows of 3x3, 5x5 or 7x7, strides of 1 or 2 and any padding.

Groups have one input channel; the gradient to the input takes one output channel, too.
"""

from functools import cache, lru_cache
from typing import NamedTuple

import numpy as np
from numba import types

from nbgrad.kernels.cpu.depthwise_registers import Shape, correlate, fold, gather, scatter
from nbgrad.kernels.cpu.simd import aligned, lanes, tile_shape
from nbgrad.kernels.launch import entry_point
from nbgrad.kernels.options import inline, kernel, parallel_kernel, prange, use_threads

_WINDOWS = ((1, 3, 3), (1, 5, 5), (1, 7, 7))
#: Rows whose products a lane adds in the dtype of x; the sums of more rows are added in float64.
_RUN = 512
#: Channels whose gradients to the weight are summed together.
_CHANNELS = 32
#: Pieces of work for threads to share.
_TASKS = 64


@inline
def _share(fit):
    return max(len(fit) - 1, 1)


@inline
def _starts(q, r, shape):
    # of planes of x: a division takes as long as a row
    size = shape.height * shape.width
    if shape.repeat == 1:
        return q * size, r * size
    return q // shape.repeat * size, r // shape.repeat * size


@inline
def _following(o, step, channels):
    return o + step if o + step < channels else o + step - channels


@inline
def _forward_planes(x, w, bias, turned, side, stride, fit, shape, begin, end, y):
    zero, size, taps, n = x.dtype.type(0), shape.rows * shape.columns, len(side) ** 2, lanes(x)
    o = begin % shape.channels
    for q in range(begin, end, _share(fit)):
        r, p = min(q + 1, end - 1), _following(o, 1, shape.channels)
        b = (bias[o], bias[p]) if bias.size else (zero, zero)
        xs, ws, ys = _starts(q, r, shape), (o * taps, p * taps), (q * size, r * size)
        for j in range(0, n if len(fit) > 1 else shape.columns, n):
            gather(side, stride, fit, shape, end - q, j, x, xs, w, ws, turned, b, y, ys)
        o = _following(o, _share(fit), shape.channels)


@inline
def _adjoint_planes(gy, w, side, stride, fit, shape, begin, end, gx):
    size, whole = shape.rows * shape.columns, shape.height * shape.width
    taps, n, first = len(side) ** 2, lanes(gx), shape.left // len(stride)
    last = first + n if len(fit) > 1 else -(-(shape.width + shape.left) // len(stride))
    o = begin % shape.channels
    for q in range(begin, end, _share(fit)):
        r, p = min(q + 1, end - 1), _following(o, 1, shape.channels)
        ys, ws, xs = (q * size, r * size), (o * taps, p * taps), (q * whole, r * whole)
        for j in range(first, last, n):
            scatter(side, stride, fit, shape, end - q, j, gy, ys, w, ws, gx, xs)
        o = _following(o, _share(fit), shape.channels)


@inline
def _weight_channels(gy, x, side, stride, fit, shape, begin, end, gw):
    # Images pass by the sums of some channels, so that planes are read in the order of memory.
    size, taps, share, n = shape.rows * shape.columns, len(side) ** 2, _share(fit), lanes(gw)
    images = shape.planes // shape.channels
    run = max(_RUN // (shape.rows * -(-shape.columns // n)), 1)
    units, folded = -(-(end - begin) // share), -(-taps * share // n) * n
    sums, totals = aligned(units * taps * n, x), np.zeros(units * folded)
    sums[:] = 0
    for image in range(images):
        for unit in range(units):
            c, place = begin + unit * share, unit * taps * n
            q = image * shape.channels + c
            r = min(q + 1, image * shape.channels + end - 1)
            xs, ys = _starts(q, r, shape), (q * size, r * size)
            for j in range(0, n if len(fit) > 1 else shape.columns, n):
                correlate(side, stride, fit, shape, end - c, j, x, xs, gy, ys, sums, place)
            if (image + 1) % run == 0 or image + 1 == images:
                fold(side, fit, sums, place, totals, unit * folded)
    for c in range(begin, end):
        start = (c - begin) // share * folded + (c - begin) % share
        for t in range(taps):
            gw[c * taps + t] = totals[start + t * share]


@kernel
def _forward(x, w, bias, turned, side, stride, fit, shape, y):
    _forward_planes(x, w, bias, turned, side, stride, fit, shape, np.intp(0), shape.planes, y)


@parallel_kernel
def _forward_threads(x, w, bias, turned, side, stride, fit, shape, y):
    step = _step(fit, shape)
    for q in prange(-(-shape.planes // step)):
        begin = np.intp(q) * step
        end = min(begin + step, shape.planes)
        _forward_planes(x, w, bias, turned, side, stride, fit, shape, begin, end, y)


@inline
def _step(fit, shape):
    return -(-shape.planes // (_TASKS * _share(fit))) * _share(fit)


@kernel
def _adjoint(gy, w, side, stride, fit, shape, gx):
    _adjoint_planes(gy, w, side, stride, fit, shape, np.intp(0), shape.planes, gx)


@parallel_kernel
def _adjoint_threads(gy, w, side, stride, fit, shape, gx):
    step = _step(fit, shape)
    for q in prange(-(-shape.planes // step)):
        begin = np.intp(q) * step
        end = min(begin + step, shape.planes)
        _adjoint_planes(gy, w, side, stride, fit, shape, begin, end, gx)


@kernel
def _weight(gy, x, side, stride, fit, shape, gw):
    for begin in range(0, shape.channels, _CHANNELS):
        end = min(begin + _CHANNELS, shape.channels)
        _weight_channels(gy, x, side, stride, fit, shape, begin, end, gw)


@parallel_kernel
def _weight_threads(gy, x, side, stride, fit, shape, gw):
    for q in prange(-(-shape.channels // _CHANNELS)):
        begin = np.intp(q) * _CHANNELS
        end = min(begin + _CHANNELS, shape.channels)
        _weight_channels(gy, x, side, stride, fit, shape, begin, end, gw)


class _Plan(NamedTuple):
    """The constants of a kernel, as tuples of such lengths, and the shape."""

    side: tuple[int, ...]
    stride: tuple[int, ...]
    fit: tuple[int, ...]
    shape: Shape


def _fit(dtype, first, centre, stride, width, columns) -> int:
    # How many rows a register holds: of what comes out, and of what the tap in the middle sees
    # from `first` on, which must be all there is.
    n = tile_shape(dtype)[1] // 2
    start = first + centre * stride
    for fit in (2, 1):
        if start <= 0 and width <= start + n // fit * stride and columns <= n // fit:
            return fit
    return 0


@lru_cache(maxsize=256)
def _plan(adjoint, x_shape, channels, side, stride, before, out_size, dtype) -> _Plan:
    images, c, height, width = x_shape
    shape = Shape(images * channels, channels, channels // c, height, width, *out_size, *before)
    centre, left = side // 2 // stride, before[1]
    if adjoint:
        first = left // stride
        reach = -(-(width + left) // stride) - first
        fit = _fit(dtype, first, -centre, 1, out_size[1], reach)
    else:
        fit = _fit(dtype, -left, centre, stride, width, out_size[1])
    return _Plan((0,) * side, (0,) * stride, (0,) * (1 + fit), shape)


_FORWARD, _ADJOINT = (_forward, _forward_threads), (_adjoint, _adjoint_threads)
_WEIGHT = _weight, _weight_threads


@cache
def _launch(kernels, threads, sizes, dtype):
    numbers, shape = (dtype, 1), types.NamedUniTuple(types.intp, len(Shape._fields), Shape)
    inputs = [numbers, numbers, numbers, types.boolean][: 4 if kernels is _FORWARD else 2]
    constants = [types.UniTuple(types.intp, size) for size in sizes]
    return entry_point(kernels[threads], *inputs, *constants, shape, numbers)


def _run(kernels, plan, inputs, *rest):
    *flags, out = rest
    shape = plan.shape
    work = shape.planes * max(shape.height * shape.width, shape.rows * shape.columns)
    threads = use_threads(work * len(plan.side) ** 2 // 16)
    launch = _launch(kernels, threads, tuple(map(len, plan[:3])), out.dtype)
    inputs = [np.ascontiguousarray(x).reshape(-1) for x in inputs]
    launch(*inputs, *flags, *plan, out.reshape(-1))


def takes(w_shape, stride, dilation, groups) -> bool:
    """Whether the convolution is one of these."""
    return (groups > 1 and w_shape[1:] in _WINDOWS and stride in ((1, 1), (2, 2))
            and dilation == (1, 1))


def forward(x, w, bias, stride, before, y):
    """y (N, O, OH, OW) = `conv2d` of x (N, C, H, W), w (O, 1, side, side), bias (O,) or (0,)."""
    channels, _, side, _ = w.shape
    plan = _plan(False, x.shape, channels, side, stride[0], before, y.shape[2:], x.dtype)
    _run(_FORWARD, plan, (x, w, bias), False, y)


def input_gradient(gy, w, stride, before, gx):
    """gx = the gradient to x of `conv2d`, of as many channels as gy."""
    channels, _, side, _ = w.shape
    if stride == (1, 1):
        before = tuple(side - 1 - p for p in before)
        plan = _plan(False, gy.shape, channels, side, 1, before, gx.shape[2:], gy.dtype)
        _run(_FORWARD, plan, (gy, w, np.empty(0, gy.dtype)), True, gx)
    else:
        plan = _plan(True, gx.shape, channels, side, stride[0], before, gy.shape[2:], gy.dtype)
        _run(_ADJOINT, plan, (gy, w), gx)


def weight_gradient(gy, x, stride, before, gw):
    """gw = the gradient to w of `conv2d`."""
    channels, _, side, _ = gw.shape
    plan = _plan(False, x.shape, channels, side, stride[0], before, gy.shape[2:], x.dtype)
    _run(_WEIGHT, plan, (gy, x), gw)
