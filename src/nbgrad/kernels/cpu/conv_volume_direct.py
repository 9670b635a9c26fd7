"""Convolutions of volumes with few outputs: the input is multiplied where it lies.

    y[o, pixels] = sum over k = (u, c, tap) of w[o, k] x[place of k at those pixels]

As in `conv_direct`, but a task lays out the planes that its outputs meet, which then stay in the
second cache, and the columns of a register tile run on over the ends of the short rows of a plane:
what they meet between two rows is dropped. Planes that lie in the padding are no part of k.
"""

from functools import lru_cache
from typing import NamedTuple

import numpy as np

from nbgrad.kernels import memory
from nbgrad.kernels.cpu.conv_windows import panel_rows, windows
from nbgrad.kernels.cpu.depthwise import Layout, inside, lay_plane
from nbgrad.kernels.cpu.simd import aligned, lanes, tile, tile_columns, tile_shape
from nbgrad.kernels.cpu.tasks import each, launch
from nbgrad.kernels.options import inline, kernel, use_threads

_PIXELS = 512  # of a task, about
_TASKS = 8  # at least so many, if that leaves a plane for each
_HELD = 1 << 18  # numbers laid out in a task, about: they stay in the second cache
_DEPTH = 192  # of k multiplied at a time: what it meets stays in the first cache


class _Shape(NamedTuple):
    """Sizes, and where what a window meets lies in the planes laid out for a task, [c][plane]."""

    outputs: int
    high: int  # outputs in a panel
    depth: int  # of the output
    height: int
    width: int
    channels: int
    planes: int  # of the input, in a channel
    held: int  # planes of a channel that the outputs of a task meet
    own_planes: int  # of the output, in a task
    own_rows: int  # multiplied at a time
    kernel: int  # planes of a window, by `stride` and `dilation`, the first `before` the input
    stride: int
    dilation: int
    before: int
    places: np.ndarray


@inline
def _multiply_rows(image, d, first, a, laid, start, bias, columns, shape, y):
    (outputs, high, depth, height, width, _, planes, _, _, own_rows,
     kernel, stride, dilation, before, places) = shape
    wide, rows = tile_columns(y), min(own_rows, height - first)
    pitch = -(-high // lanes(y)) * lanes(y)
    span, own = (rows - 1) * columns + width, rows * columns
    begin, end = inside(d * stride - before, dilation, planes, kernel)
    each_u = places.size // kernel
    sums = aligned(outputs * own, y)
    if begin == end:
        sums[:] = 0
    for k in range(begin * each_u, end * each_u, _DEPTH):
        count = min(_DEPTH, end * each_u - k)
        for j in range(0, span, wide):
            for o in range(0, outputs, high):
                tile(
                    count, a, (o // high * places.size + k) * pitch, pitch, 1,
                    laid, start + first * columns + j, places[k:], sums, o * own + j, own,
                    min(high, outputs - o), min(wide, span - j), k > begin * each_u,
                )  # fmt: skip
    for o in range(outputs):
        more = bias[o] if bias.size else y.dtype.type(0)
        for i in range(rows):
            to = (((image * outputs + o) * depth + d) * height + first + i) * width
            source = o * own + i * columns
            for j in range(width):
                y[np.uint64(to + j)] = sums[np.uint64(source + j)] + more


@inline
def _multiply_planes(t, a, x, bias, layout, shape, y):
    parts, plane = -(-shape.depth // shape.own_planes), layout.plane
    image, d0 = t // parts, t % parts * shape.own_planes
    top = min(max(d0 * shape.stride - shape.before, 0), shape.planes - shape.held)
    laid = aligned(shape.channels * shape.held * plane, y)
    for q in range(shape.channels * shape.held):
        c, z = q // shape.held, q % shape.held + top
        source = (image * shape.channels + c) * shape.planes + z
        lay_plane(x, source * layout.height * layout.width, layout, laid, q * plane)
    for d in range(d0, min(d0 + shape.own_planes, shape.depth)):
        for first in range(0, shape.height, shape.own_rows):
            start = (d * shape.stride - shape.before - top) * plane
            _multiply_rows(image, d, first, a, laid, start, bias, layout.columns, shape, y)


@kernel
def _direct(loop, a, x, bias, images, layout, shape, y):
    tasks = images * -(-shape.depth // shape.own_planes)
    each(loop, tasks, _multiply_planes, (a, x, bias, layout, shape, y))


@lru_cache(maxsize=256)
def _plan(x_shape, w_shape, out_size, high, *how) -> tuple[Layout, _Shape]:
    images, channels, planes, *size = x_shape
    depth, height, width = out_size
    (kernel, stride, dilation, before), *axes = zip(w_shape[2:], *how)
    at = windows(tuple(size), (height, width), *zip(*axes), True)
    plane, columns = at.layout.plane, at.layout.columns

    def held(own):
        return min((own - 1) * stride + (kernel - 1) * dilation + 1, planes)

    own = max(min(images * depth // _TASKS, depth), 1)
    while own > 1 and channels * held(own) * plane > _HELD:
        own -= 1
    met = np.arange(kernel)[:, None] * dilation + np.arange(channels) * held(own)
    return at.layout, _Shape(
        w_shape[0], high, depth, height, width, channels, planes, held(own), own,
        min(-(-_PIXELS // columns), height), kernel, stride, dilation, before,
        np.add.outer(met * plane, at.taps).ravel())


def _panels(w, high):
    """w (O, C, kd, kh, kw) in panels of outputs, [panel][u, c, tap][output]."""
    lanes = tile_shape(w.dtype)[1] // 2
    outputs, k = len(w), w[0].size
    out = memory.zeros((-(-outputs // high), k, -(-high // lanes) * lanes), w.dtype)
    rows = w.swapaxes(1, 2).reshape(outputs, k)
    for panel, top in zip(out, range(0, outputs, high)):
        own = rows[top : top + high]
        panel[:, : len(own)] = own.T
    return out.reshape(-1)


def forward(x, w, bias, how, y):
    """y = the convolution of x and w plus bias (or an empty array), of one group, x and y contiguous;
    how: its stride, dilation and padding before."""
    high = panel_rows(len(w))
    layout, shape = _plan(x.shape, w.shape, y.shape[2:], high, *how)
    threads = use_threads(y.size * shape.places.size // 16)
    launch(_direct, threads, _panels(w, high), x.reshape(-1), bias, len(x), layout, shape,
           y.reshape(-1))
