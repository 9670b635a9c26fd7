"""The gradient of a convolution to its input: a matrix product whose rows are added where they go.

    d[(c, t), p] = sum over o of w[o, c, t] gy[o, p],    gx[c, place of tap t at pixel p] += d

The weight is packed as it lies: row o of it is column o of the first factor. A task owns some
channels of some images, so nothing it adds to is anybody else's. It walks over the pixels a block
at a time: the block of gy is packed, multiplied into d, and d is added to planes laid out by
residue modulo the stride (see `conv_windows`), where the pixels of a row meet a tap in neighbouring
places. Weight, block and d share the second cache. Last the planes are copied to gx.
"""

from functools import lru_cache
from typing import NamedTuple

import numpy as np

from nbgrad.kernels.cpu.conv_windows import place_plane, windows
from nbgrad.kernels.cpu.depthwise import SLACK
from nbgrad.kernels.cpu.simd import (
    add_lanes,
    aligned,
    copy_lanes,
    lanes,
    tile,
    tile_columns,
    tile_rows,
    tile_shape,
)
from nbgrad.kernels.cpu.tasks import each, launch
from nbgrad.kernels.options import inline, kernel, use_threads

_BLOCK = 128  # pixels multiplied at a time
_ROWS = 256  # of d, at most
_DEPTH = 256  # rows of a packed panel of gy, which stays in the first cache
_PIXELS = 512  # images smaller than this share a task
_TASKS = 8  # aim at this many, so that threads have something to share


class _Cut(NamedTuple):
    """The shape of the product, and what a task owns of it."""

    images: int
    groups: int
    outputs: int  # of a group
    inputs: int  # of a group
    width: int  # of gy
    own_images: int
    own_channels: int
    depth: int


def _cut(images, groups, outputs, inputs, taps, pixels, width, dtype):
    own_images = max(1, min(images, _PIXELS // pixels))
    blocks = -(-inputs // max(_ROWS // taps, 1))
    others = -(-images // own_images) * groups
    most = max(inputs * taps // (3 * tile_shape(dtype)[0]), 1)
    blocks = max(blocks, min(-(-_TASKS // others), most))
    depth = -(-outputs // -(-outputs // _DEPTH))
    own_channels = -(-inputs // blocks)
    return _Cut(images, groups, outputs, inputs, width, own_images, own_channels, depth)


@inline
def _pack_weight(w, start, step, count, rows, out):
    # [panel of rows][o][row], from w[start + o * step + row]; panels lie a row of o further apart
    # than they are long, as a power of two would share cache sets
    high, n = tile_rows(w), lanes(w)
    pitch = -(-high // n) * n
    for k in range(count):
        at = k * pitch
        for i in range(0, rows, high):
            for r in range(0, high, n):
                copy_lanes(w, start + k * step + i + r, max(rows - i - r, 0), out, at + r)
            at += (count + 1) * pitch


@inline
def _pack_pixels(gy, start, image_step, pixels, count, first, columns, out, pitch):
    # [panel of columns][o][column]: column j is pixel j % pixels of image j // pixels. Whole
    # registers are written; what hangs over is overwritten next, or lies past the panel.
    wide, n = tile_columns(gy), lanes(gy)
    for k in range(count):
        j = 0
        while j < columns:
            image, p = (first + j) // pixels, (first + j) % pixels
            source = start + image * image_step + k * pixels + p
            stop = min(columns, j + pixels - p)
            while j < stop:
                run = min(stop - j, wide - j % wide)
                copy_lanes(gy, source, run, out, (j // wide * (count + 1) + k) * pitch + j % wide)
                run = min(run, n)
                source += run
                j += run


@inline
def _find_runs(pixels, width, layout, channels, first, columns, starts, places):
    # The columns of d cut where they leave a row of gy: run r begins in column starts[r], and its
    # first pixel meets tap t of channel 0 in places[r] + taps[t].
    j = r = 0
    while j < columns:
        image, p = (first + j) // pixels, (first + j) % pixels
        starts[r] = j
        places[r] = image * channels * layout.plane + p // width * layout.columns + p % width
        j += width - p % width
        r += 1
    starts[r] = columns
    return r


@inline
def _add_product(d, block, channels, taps, plane, runs, starts, places, out):
    # Channels innermost: an add waits for the one before where their places overlap.
    n = lanes(d)
    for s in range(taps.size):
        for r in range(runs):
            for c in range(channels):
                source, to = (c * taps.size + s) * block, c * plane + taps[s] + places[r]
                for j in range(starts[r], starts[r + 1], n):
                    left = starts[r + 1] - j
                    add_lanes(d, source + j, left, out, to + j - starts[r])


@inline
def _scatter_task(t, gy, w, taps, pixels, layout, cut, gx):
    images, groups, outputs, inputs, width, own_images, own_channels, depth = cut
    high, wide, n = tile_rows(gx), tile_columns(gx), lanes(gx)
    a_pitch, b_pitch, plane = -(-high // n) * n, wide + n, layout.plane

    parts = -(-inputs // own_channels)
    t, c0 = t // parts, t % parts * own_channels
    n0, g = t // groups * own_images, t % groups
    held, channels = min(own_images, images - n0), min(own_channels, inputs - c0)
    rows, columns = channels * taps.size, held * pixels
    panels, block = -(-rows // high), min(_BLOCK, -(-columns // wide) * wide)

    a = aligned(panels * a_pitch * (depth + 1), gx)
    b = aligned(block // wide * b_pitch * (depth + 1), gx)
    b[:] = 0
    d = aligned(rows * block, gx)
    planes = aligned(held * channels * plane + SLACK, gx)
    planes[:] = 0
    starts, places = np.empty(block + 1, np.int64), np.empty(block, np.int64)

    step = inputs * taps.size
    for first in range(0, columns, block):
        some = min(block, columns - first)
        for k0 in range(0, outputs, depth):
            count = min(depth, outputs - k0)
            if first == 0 or depth < outputs:
                source = (g * outputs + k0) * step + c0 * taps.size
                _pack_weight(w, source, step, count, rows, a)
            source = ((n0 * groups + g) * outputs + k0) * pixels
            _pack_pixels(
                gy, source, groups * outputs * pixels, pixels, count, first, some, b, b_pitch
            )
            for j in range(0, some, wide):
                for i in range(0, rows, high):
                    tile(
                        count, a, i // high * (count + 1) * a_pitch, a_pitch, 1,
                        b, j // wide * (count + 1) * b_pitch, b_pitch, d, i * block + j, block,
                        min(high, rows - i), min(wide, some - j), k0 > 0,
                    )  # fmt: skip
        runs = _find_runs(pixels, width, layout, channels, first, some, starts, places)
        _add_product(d, block, channels, taps, plane, runs, starts, places, planes)
    size = layout.height * layout.width
    for image in range(held):
        for c in range(channels):
            to = (((n0 + image) * groups + g) * inputs + c0 + c) * size
            place_plane(planes, (image * channels + c) * plane, layout, gx, to)


@kernel
def _scatter(loop, gy, w, taps, pixels, layout, cut, gx):
    parts = -(-cut.inputs // cut.own_channels)
    tasks = -(-cut.images // cut.own_images) * cut.groups * parts
    each(loop, tasks, _scatter_task, (gy, w, taps, pixels, layout, cut, gx))


@lru_cache(maxsize=256)
def _plan(gy_shape, w_shape, x_size, groups, dtype, *how):
    images, channels, height, width = gy_shape
    at = windows(x_size, (height, width), w_shape[2:], *how)
    cut = _cut(images, groups, channels // groups, w_shape[1], at.taps.size, height * width, width,
               dtype)
    return at.taps, height * width, at.layout, cut


def scatter(gy, w, groups, how, gx):
    """gx = the gradient to the input, all contiguous; how: stride, dilation and padding before."""
    plan = _plan(gy.shape, w.shape, gx.shape[2:], groups, gx.dtype, *how)
    threads = use_threads(gy.size * w.size // (w.shape[0] * 16))
    launch(_scatter, threads, gy.reshape(-1), w.reshape(-1), *plan, gx.reshape(-1))
