"""Where the windows of a convolution lie.

A plane is laid out with its padding, by residue modulo the stride (see `depthwise`): in it tap t
and pixel p meet at taps[t] + pixels[p], and neighbouring pixels of a row in neighbouring places.
"""

from functools import lru_cache
from typing import NamedTuple

import numpy as np

from nbgrad.kernels import memory
from nbgrad.kernels.cpu.depthwise import SLACK, Layout, inside, lay_plane
from nbgrad.kernels.cpu.simd import EIGHT, aligned, lanes, tile_shape, transpose
from nbgrad.kernels.cpu.tasks import each, launch
from nbgrad.kernels.options import inline, kernel, use_threads


def panel_rows(rows):
    """Rows of a panel of weights: those of the largest tile, or eight if that leaves nothing over."""
    most, _ = tile_shape(np.float32)
    return EIGHT if most > EIGHT and rows % EIGHT == 0 else most


class Windows(NamedTuple):
    """Where the windows lie in a plane laid out so: tap t of pixel p is at taps[t] + pixels[p]."""

    layout: Layout
    taps: np.ndarray
    pixels: np.ndarray


def _axis(size, out, kernel_size, stride, dilation, before):
    reach = [dilation * t for t in range(kernel_size)]
    residues = sorted({r % stride for r in reach})
    first = np.array([r - before for r in residues])
    slot = np.array([residues.index(r % stride) for r in reach])
    step = np.array([r // stride for r in reach])
    return first, out + reach[-1] // stride, slot, step


@lru_cache(maxsize=256)
def windows(size, out_size, kernel_size, stride, dilation, before, slack=False) -> Windows:
    """The layout of planes of `size`, `before` of which (top, left) pixels of padding lie.

    Planes that need none stay where they are, unless a register may be read past their `slack`.
    """
    axes = zip(size, out_size, kernel_size, stride, dilation, before)
    (first_h, rows, slot_h, step_h), (first_w, columns, slot_w, step_w) = (_axis(*a) for a in axes)
    block = rows * columns
    plain = not slack and stride == (1, 1) and before == (0, 0) and (rows, columns) == size
    plane = len(first_h) * len(first_w) * block + (0 if plain else SLACK)
    tap_h = slot_h * len(first_w) * block + step_h * columns
    tap_w = slot_w * block + step_w
    return Windows(
        Layout(*size, *stride, first_h, first_w, rows, columns, plane),
        np.add.outer(tap_h, tap_w).ravel(),
        np.add.outer(np.arange(out_size[0]) * columns, np.arange(out_size[1])).ravel(),
    )


@inline
def _lay_task(q, x, layout, out):
    lay_plane(x, q * layout.height * layout.width, layout, out, q * layout.plane)


@kernel
def _lay(loop, x, planes, layout, out):
    each(loop, planes, _lay_task, (x, layout, out))


@inline
def _lay_last_task(q, x, channels, layout, out):
    # As many channels of one image as a register holds: [c, place], from there [place, c]
    n, size, plane = lanes(x), layout.height * layout.width, layout.plane
    blocks = -(-channels // n)
    image, c0 = q // blocks, max(min(q % blocks * n, channels - n), 0)
    count = min(n, channels)
    laid, start = x, (image * channels + c0) * size
    if plane != layout.rows * layout.columns:
        laid = aligned(count * plane + SLACK, x)
        for c in range(count):
            lay_plane(x, start + c * size, layout, laid, c * plane)
        start = 0
    oo = image * plane * channels + c0
    place = 0
    while place + n <= plane and (place + n - 1) * channels + c0 + n <= plane * channels:
        transpose(laid, start + place, plane, count, out, oo + place * channels, channels)
        place += n
    for p in range(place, plane):
        for c in range(count):
            out[oo + p * channels + c] = laid[start + c * plane + p]


@kernel
def _lay_last(loop, x, images, channels, layout, out):
    tasks = images * -(-channels // lanes(x))
    each(loop, tasks, _lay_last_task, (x, channels, layout, out))


def laid_out(x, layout):
    """x as the windows see it, [n, c, place], flat."""
    if layout.plane == layout.rows * layout.columns:
        return x.reshape(-1)
    planes = x.shape[0] * x.shape[1]
    out = memory.empty(planes * layout.plane, x.dtype)
    launch(_lay, use_threads(out.size), x.reshape(-1), planes, layout, out)
    return out


def laid_out_last(x, layout):
    """x as the windows see it, with channels last: [n, place, c], flat."""
    images, channels = x.shape[:2]
    out = memory.empty(images * channels * layout.plane, x.dtype)
    launch(_lay_last, use_threads(out.size), x.reshape(-1), images, channels, layout, out)
    return out


@inline
def place_plane(x, xo, layout, out, oo):
    """Copy a plane laid out in x at xo back to out at oo; pixels that no window meets are zero."""
    height, width, stride_h, stride_w, first_h, first_w, rows, columns, _ = layout
    out[oo : oo + height * width] = 0
    for top in first_h:
        i0, i1 = inside(top, stride_h, height, rows)
        for left in first_w:
            j0, j1 = inside(left, stride_w, width, columns)
            for i in range(i0, i1):
                to = oo + (top + i * stride_h) * width + left + j0 * stride_w
                source = xo + i * columns + j0
                if stride_w == 1:
                    for j in range(j1 - j0):
                        out[to + j] = x[source + j]
                elif stride_w == 2:
                    for j in range(j1 - j0):
                        out[to + 2 * j] = x[source + j]
                else:
                    for j in range(j1 - j0):
                        out[to + j * stride_w] = x[source + j]
            xo += rows * columns


@inline
def _thin_task(q, x, rows, columns, height, width, stride_h, stride_w, out):
    for i in range(rows):
        source, to = (q * height + i * stride_h) * width, (q * rows + i) * columns
        if stride_w == 2:
            for j in range(columns):
                out[to + j] = x[source + 2 * j]
        else:
            for j in range(columns):
                out[to + j] = x[source + j * stride_w]


@kernel
def _thin(loop, x, rows, columns, height, width, stride_h, stride_w, out):
    planes = x.size // (height * width)
    each(loop, planes, _thin_task, (x, rows, columns, height, width, stride_h, stride_w, out))


def thin(x, stride, out):
    """out[:, :, i, j] = x[:, :, i * stride, j * stride], both contiguous."""
    threads = use_threads(out.size)
    launch(_thin, threads, x.reshape(-1), *out.shape[2:], *x.shape[2:], *stride, out.reshape(-1))


@inline
def _spread_task(q, x, rows, columns, height, width, stride_h, stride_w, out):
    oo = q * height * width
    out[oo : oo + height * width] = 0
    for i in range(rows):
        source, to = (q * rows + i) * columns, oo + i * stride_h * width
        for j in range(columns):
            out[to + j * stride_w] = x[source + j]


@kernel
def _spread(loop, x, rows, columns, height, width, stride_h, stride_w, out):
    planes = out.size // (height * width)
    each(loop, planes, _spread_task,
         (x, rows, columns, height, width, stride_h, stride_w, out))


def spread(x, stride, out):
    """out[:, :, i * stride, j * stride] = x[:, :, i, j] and zero elsewhere, both contiguous."""
    threads = use_threads(out.size)
    launch(_spread, threads, x.reshape(-1), *x.shape[2:], *out.shape[2:], *stride, out.reshape(-1))
