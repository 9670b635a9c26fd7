"""Convolutions whose windows are small: the input is multiplied where it lies, nothing is gathered.

    y[o, pixels] = sum over k = (c, tap) of w[o, k] x[place of k at those pixels]

In the planes of `conv_windows` the pixels of a row meet a tap in neighbouring places, which are the
columns of a register tile; the rows of its second factor are found by a table of offsets. Windows
of a few numbers leave that factor in the first cache, and packing it would cost as much as
multiplying. Of larger ones a part is multiplied at a time.
"""

from functools import lru_cache
from typing import NamedTuple

import numpy as np

from nbgrad.kernels.cpu.conv_windows import Windows, laid_out, panel_rows, windows
from nbgrad.kernels.cpu.simd import (
    aligned,
    lanes,
    tile,
    tile_columns,
    tile_shape,
    transpose,
)
from nbgrad.kernels.cpu.tasks import each, launch
from nbgrad.kernels.options import inline, kernel, use_threads

#: Numbers in a window, at most: in any, and where rows of pixels fill registers.
WINDOW, LARGE = 192, 1024
_PIXELS = 1024  # of a task, about
_DEPTH = 192  # of k multiplied at a time: what it meets stays in the first cache


class _Shape(NamedTuple):
    """Sizes, and where in the planes of a group the numbers of a window lie."""

    groups: int
    outputs: int  # of a group
    high: int  # outputs in a panel
    height: int  # of the output
    width: int
    columns: int  # of a plane
    planes: int  # places of a group's planes
    own_rows: int  # of the output, in a task
    places: np.ndarray


@inline
def _pack(w, shape, out):
    # out[group][panel of outputs][k][output]
    n, high, depth = lanes(w), shape.high, shape.places.size
    pitch, at = -(-high // n) * n, 0
    for g in range(shape.groups):
        for top in range(0, shape.outputs, high):
            for r in range(0, pitch, n):
                first = min(top + r, shape.outputs - 1)
                rows, source = shape.outputs - first, (g * shape.outputs + first) * depth
                for k in range(0, depth // n * n, n):
                    transpose(w, source + k, depth, rows, out, at + k * pitch + r, pitch)
                for k in range(depth // n * n, depth):
                    for i in range(n):
                        place = source + min(i, rows - 1) * depth + k
                        out[at + k * pitch + r + i] = w[place]
            at += depth * pitch


@inline
def _multiply_rows(t, a, x, bias, shape, y):
    groups, outputs, high, height, width, columns, planes, own_rows, places = shape
    n, wide, depth = lanes(y), tile_columns(y), places.size
    pitch, parts = -(-high // n) * n, -(-height // own_rows)
    q, first = t // parts, t % parts * own_rows
    last = min(first + own_rows, height)
    ao, yo = q % groups * -(-outputs // high) * pitch * depth, q * outputs * height * width
    for i in range(first, last):
        for j in range(0, width, wide):
            for k in range(0, depth, _DEPTH):
                own = places[k : k + _DEPTH]
                for o in range(0, outputs, high):
                    tile(
                        own.size, a, ao + (o // high * depth + k) * pitch, pitch, 1,
                        x, q * planes + i * columns + j, own,
                        y, yo + (o * height + i) * width + j, height * width,
                        min(high, outputs - o), min(wide, width - j), k > 0,
                    )  # fmt: skip
    if bias.size:
        for o in range(outputs):
            start = yo + o * height * width
            for p in range(start + first * width, start + last * width):
                y[p] += bias[q % groups * outputs + o]


@kernel
def _direct(loop, x, w, bias, images, shape, y):
    n, high = lanes(y), shape.high
    a = aligned(
        shape.groups * -(-shape.outputs // high) * -(-high // n) * n * shape.places.size, y
    )
    _pack(w, shape, a)
    tasks = images * shape.groups * -(-shape.height // shape.own_rows)
    each(loop, tasks, _multiply_rows, (a, x, bias, shape, y))


@lru_cache(maxsize=256)
def _plan(x_size, w_shape, out_size, groups, *how) -> tuple[Windows, _Shape]:
    at = windows(x_size, out_size, w_shape[2:], *how, True)
    outputs, inputs, (height, width) = w_shape[0] // groups, w_shape[1], out_size
    plane = at.layout.plane
    own_rows = min(-(-_PIXELS // width), height)
    return at, _Shape(
        groups, outputs, panel_rows(outputs), height, width, at.layout.columns, inputs * plane,
        own_rows, np.add.outer(np.arange(inputs) * plane, at.taps).ravel())


def suits(w_shape, out_size, dtype):
    """Whether windows are small, but more than a pixel, which is cheaply gathered; or not so small,
    where rows of pixels fill registers."""
    taps, lane = w_shape[2] * w_shape[3], tile_shape(dtype)[1] // 2
    window, width = w_shape[1] * taps, out_size[1]
    filled = 8 * width > 7 * lane * -(-width // lane)
    return taps > 1 and width >= 8 and window <= (LARGE if filled else WINDOW)


def forward(x, w, bias, groups, how, y):
    """y = the convolution of x and w plus bias (or an empty array), all contiguous; how: its stride,
    dilation and padding before."""
    at, shape = _plan(x.shape[2:], w.shape, y.shape[2:], groups, *how)
    threads = use_threads(y.size * shape.places.size // 16)
    launch(_direct, threads, laid_out(x, at.layout), w.reshape(-1), bias, x.shape[0], shape,
           y.reshape(-1))
