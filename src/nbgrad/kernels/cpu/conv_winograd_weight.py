"""The gradient of a 3 x 3 convolution of stride one to its weight, by the tiles of `conv_winograd`.

The derivative of y = A' [(G w G') * (B' x B)] A to w, summed over all tiles:

    gw = G' S G,    S[place, o, c] = sum over tiles of (A gy A')[place, o] (B' x B)[place, c].

Both factors are made for a few tiles at a time, in panels of channels with tiles as rows, from
arrays with channels last; the 16 products of a panel of outputs and one of inputs add up in a block
of S that stays in one place.
"""

from typing import NamedTuple

import numpy as np

from nbgrad.kernels import memory
from nbgrad.kernels.cpu.conv_windows import laid_out_last, windows
from nbgrad.kernels.cpu.conv_winograd import of_input, two_sided
from nbgrad.kernels.cpu.simd import (
    aligned,
    aligned_start,
    lanes,
    tile,
    tile_columns,
    tile_rows,
    tile_shape,
    transpose,
)
from nbgrad.kernels.cpu.tasks import each, launch
from nbgrad.kernels.options import inline, kernel, use_threads

_TILES = 128  # made at a time
_PIECES = 4  # of them, made by tasks of their own
_PANELS = 4  # of outputs that a panel of inputs meets while it is in the first cache

_of_gradient = two_sided([[1, 0], [1, 1], [1, -1], [0, -1]])
_of_sum = two_sided([[1, 0.5, 0.5, 0], [0, 0.5, -0.5, 0], [0, 0.5, 0.5, 1]])


class _Shape(NamedTuple):
    """Arrays with channels last, [image, place, channel], and the tiles in them."""

    inputs: int
    outputs: int
    x_plane: int  # places of an image
    gy_plane: int
    across: int  # pixels.size: tiles of an image
    tiles: int  # of all images
    room: int  # rows from one place of a panel to the next: a power of two would share cache sets


@inline
def _make_panel(x, steps, channels, plane, pixels, shape, begin, end, c0, width, out, oo, of):
    # out[place][tile][channel], tiles begin .. end, channels c0 .. c0 + width
    n = lanes(x)
    for k in range(begin, end):
        start = (k // shape.across * plane + pixels[k % shape.across]) * channels + c0
        at = oo + (k - begin) * width
        for r in range(0, width, n):
            if c0 + r < channels:
                of(x, start + r, steps, n, out, at + r, shape.room * width)


@inline
def _piece(t, begin, end):
    count = end - begin
    return begin + t % _PIECES * count // _PIECES, begin + (t % _PIECES + 1) * count // _PIECES


@inline
def _make_gradient(t, gy, steps, pixels, shape, begin, end, u):
    high, n, panel = tile_rows(gy), lanes(gy), t // _PIECES
    pitch, (first, last) = -(-high // n) * n, _piece(t, begin, end)
    at = (panel * 16 * shape.room + first - begin) * pitch
    _make_panel(gy, steps, shape.outputs, shape.gy_plane, pixels, shape, first, last, panel * high,
                pitch, u, at, _of_gradient)


@inline
def _make_input(t, x, steps, pixels, shape, begin, end, v):
    wide, panel, (first, last) = tile_columns(x), t // _PIECES, _piece(t, begin, end)
    at = (panel * 16 * shape.room + first - begin) * wide
    _make_panel(x, steps, shape.inputs, shape.x_plane, pixels, shape, first, last, panel * wide,
                wide, v, at, of_input)


@inline
def _finish(s, so, shape, i, j, gw):
    # gw of one block of S: nine registers of inputs, transposed to nine taps of each input. True if
    # it is finite.
    n, high, wide = lanes(s), tile_rows(s), tile_columns(s)
    taps = aligned((9 + n) * n, s)
    turned = aligned(9 * n + 3 * n, s)
    spoiled = np.zeros(n, s.dtype)
    for r in range(min(high, shape.outputs - i * high)):
        for c in range(j * wide, min((j + 1) * wide, shape.inputs), n):
            some = min(n, shape.inputs - c)
            _of_sum(s, so + r * wide + c - j * wide, high * wide, n, taps, 0, n)
            for t in range(9):
                for p in range(some):
                    spoiled[p] += taps[t * n + p] - taps[t * n + p]
            for t in range(8 // n * n, -1, -n):
                # what hangs over an input's nine is overwritten by the next
                transpose(taps, t * n, n, min(9 - t, n), turned, t, 9)
            to = ((i * high + r) * shape.inputs + c) * 9
            for p in range(9 * some):
                gw[to + p] = turned[p]
    return spoiled.sum() == 0


@inline
def _multiply(t, v, u, shape, begin, end, s, fine, gw):
    # Adds to the blocks of S of the outputs' panels i0 .. and the inputs' panel j, [panel][place];
    # s holds them all if tiles come in more than one part.
    n, high, wide = lanes(gw), tile_rows(gw), tile_columns(gw)
    pitch, room = -(-high // n) * n, shape.room
    size, rows, columns = 16 * high * wide, -(-shape.outputs // high), -(-shape.inputs // wide)
    parts = -(-rows // _PANELS)
    i0, i1, j = t % parts * rows // parts, (t % parts + 1) * rows // parts, t // parts
    first = (j * rows + i0) * size
    if end - begin == shape.tiles:
        s, first = aligned(_PANELS * size, gw), 0
    for q in range(16):
        for i in range(i0, i1):
            tile(
                end - begin, u, (i * 16 + q) * room * pitch, pitch, 1,
                v, (j * 16 + q) * room * wide, wide,
                s, first + (i - i0) * size + q * high * wide, wide, high, wide, begin > 0,
            )  # fmt: skip
    if end == shape.tiles:
        for i in range(i0, i1):
            fine[i * columns + j] = _finish(s, first + (i - i0) * size, shape, i, j, gw)


@kernel
def _weight(loop, gy, x, gy_steps, x_steps, gy_pixels, x_pixels, shape, u, v, s, fine, gw):
    u, v, s = u[aligned_start(u) :], v[aligned_start(v) :], s[aligned_start(s) :]
    rows, columns = -(-shape.outputs // tile_rows(s)), -(-shape.inputs // tile_columns(s))
    for begin in range(0, shape.tiles, _TILES):
        end = min(begin + _TILES, shape.tiles)
        each(loop, rows * _PIECES, _make_gradient, (gy, gy_steps, gy_pixels, shape, begin, end, u))
        each(loop, columns * _PIECES, _make_input, (x, x_steps, x_pixels, shape, begin, end, v))
        tasks = -(-rows // _PANELS) * columns
        each(loop, tasks, _multiply, (v, u, shape, begin, end, s, fine, gw))


def weight(gy, x, before, gw):
    """gw = the gradient to the weight, all contiguous; False if it is not finite: not to be used."""
    images, outputs, *size = gy.shape
    inputs = x.shape[1]
    across = tuple(-(-s // 2) for s in size)
    of_x = windows(x.shape[2:], across, (4, 4), (2, 2), (1, 1), before)
    of_gy = windows(tuple(size), across, (2, 2), (2, 2), (1, 1), (0, 0))
    tiles, high, wide = images * of_x.pixels.size, *tile_shape(x.dtype)
    lane = wide // 2
    rows, columns, pitch = -(-outputs // high), -(-inputs // wide), -(-high // lane) * lane
    room = min(_TILES, tiles) + 1
    shape = _Shape(inputs, outputs, of_x.layout.plane, of_gy.layout.plane, of_x.pixels.size, tiles,
                   room)
    u = memory.empty(rows * 16 * room * pitch + 64, x.dtype)
    v = memory.empty(columns * 16 * room * wide + 64, x.dtype)
    held = rows * columns * 16 * high * wide if tiles > _TILES else 0
    s = memory.empty(held + 64, x.dtype)
    fine = np.empty(rows * columns, np.bool_)
    launch(_weight, use_threads(gy.size * inputs // 4), laid_out_last(gy, of_gy.layout),
           laid_out_last(x, of_x.layout), of_gy.taps * outputs, of_x.taps * inputs, of_gy.pixels,
           of_x.pixels, shape, u, v, s, fine, gw.reshape(-1))
    return fine.all()
