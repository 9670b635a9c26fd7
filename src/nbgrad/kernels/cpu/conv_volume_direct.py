"""Convolutions of volumes with few outputs: the input is multiplied where it lies.

    y[o, pixels] = sum over k = (u, c, tap) of w[o, k] x[place of k at those pixels]

As in `conv_direct`, but the columns of a register tile run on over the ends of the short rows of a
plane: what they meet between two rows is dropped. Planes that lie in the padding are no part of k.
"""

from functools import lru_cache
from typing import NamedTuple

import numpy as np

from nbgrad.kernels import memory
from nbgrad.kernels.cpu.conv_windows import Windows, laid_out, windows
from nbgrad.kernels.cpu.depthwise import inside
from nbgrad.kernels.cpu.simd import aligned, lanes, tile, tile_columns, tile_rows, tile_shape
from nbgrad.kernels.cpu.tasks import each, launch
from nbgrad.kernels.options import inline, kernel, use_threads

_PIXELS = 512  # of a task, about
_DEPTH = 192  # of k multiplied at a time: what it meets stays in the first cache


class _Shape(NamedTuple):
    """Sizes, and where in a volume what a window meets lies."""

    outputs: int
    depth: int  # of the output
    height: int
    width: int
    planes: int  # of the input, in a channel
    volume: int  # places of all channels
    plane: int  # places of a plane
    columns: int
    own_rows: int  # of the output, in a task
    kernel: int  # planes of a window, by `stride` and `dilation`, the first `before` the input
    stride: int
    dilation: int
    before: int
    places: np.ndarray


@inline
def _multiply_rows(t, a, x, bias, shape, y):
    (outputs, depth, height, width, planes, volume, plane, columns, own_rows,
     kernel, stride, dilation, before, places) = shape
    high, wide = tile_rows(y), tile_columns(y)
    pitch, parts = -(-high // lanes(y)) * lanes(y), -(-height // own_rows)
    first, q = t % parts * own_rows, t // parts
    image, d = q // depth, q % depth
    rows = min(own_rows, height - first)
    span, own = (rows - 1) * columns + width, rows * columns
    start = image * volume + (d * stride - before) * plane + first * columns
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
                    x, start + j, places[k:], sums, o * own + j, own,
                    min(high, outputs - o), min(wide, span - j), k > begin * each_u,
                )  # fmt: skip
    for o in range(outputs):
        more = bias[o] if bias.size else y.dtype.type(0)
        for i in range(rows):
            to = (((image * outputs + o) * depth + d) * height + first + i) * width
            source = o * own + i * columns
            for j in range(width):
                y[np.uint64(to + j)] = sums[np.uint64(source + j)] + more


@kernel
def _direct(loop, a, x, bias, images, shape, y):
    tasks = images * shape.depth * -(-shape.height // shape.own_rows)
    each(loop, tasks, _multiply_rows, (a, x, bias, shape, y))


@lru_cache(maxsize=256)
def _plan(x_shape, w_shape, out_size, stride, dilation, before) -> tuple[Windows, _Shape]:
    channels, planes, *size = x_shape
    depth, height, width = out_size
    rules = [rule[1:] for rule in (w_shape[2:], stride, dilation, before)]
    at = windows(tuple(size), (height, width), *rules, True)
    plane, columns = at.layout.plane, at.layout.columns
    met = np.arange(w_shape[2])[:, None] * dilation[0] + np.arange(channels) * planes
    return at, _Shape(
        w_shape[0], depth, height, width, planes, channels * planes * plane, plane, columns,
        min(-(-_PIXELS // columns), height), w_shape[2], stride[0], dilation[0], before[0],
        np.add.outer(met * plane, at.taps).ravel())


def _panels(w):
    """w (O, C, kd, kh, kw) in panels of outputs, [panel][u, c, tap][output]."""
    high, columns = tile_shape(w.dtype)
    outputs, lanes, k = len(w), columns // 2, w[0].size
    out = memory.zeros((-(-outputs // high), k, -(-high // lanes) * lanes), w.dtype)
    rows = w.swapaxes(1, 2).reshape(outputs, k)
    for panel, top in zip(out, range(0, outputs, high)):
        own = rows[top : top + high]
        panel[:, : len(own)] = own.T
    return out.reshape(-1)


def forward(x, w, bias, how, y):
    """y = the convolution of x and w plus bias (or an empty array), of one group, x and y contiguous;
    how: its stride, dilation and padding before."""
    n, c, d, *plane = x.shape
    at, shape = _plan(x.shape[1:], w.shape, y.shape[2:], *how)
    threads = use_threads(y.size * shape.places.size // 16)
    laid = laid_out(x.reshape(n, c * d, *plane), at.layout)
    launch(_direct, threads, _panels(w), laid, bias, n, shape, y.reshape(-1))
