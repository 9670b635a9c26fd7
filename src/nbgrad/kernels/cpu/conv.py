"""Convolution in two dimensions, its gradient to the input and its gradient to the weight.

The three are one closed family: each one's gradients are the other two. All of them are matrix
products whose second operand is gathered while it is packed, so no matrix of windows ever exists:

    out[m, j] = sum over k of A[m, k] * b[rows[k] + cols[j]]

- forward: A is the weight, rows are taps (c, u, v), columns are output pixels (n, i, j);
- gradient to the input: the forward of gy, once for each residue of the pixel modulo the stride;
- gradient to the weight: A is gy, rows are output pixels, columns are taps (channels last in b).

b is the input laid out with its padding and by residue modulo the stride (see `depthwise`), in
which tap t and pixel p meet at taps[t] + pixels[p]. `padding` is (h, w), or (top, bottom, left,
right) where the sides differ; only top and left matter to a gradient, whose shapes are given.
"""

from functools import lru_cache
from math import gcd
from typing import NamedTuple

import numpy as np

from nbgrad.kernels import memory
from nbgrad.kernels.cpu import depthwise
from nbgrad.kernels.cpu.depthwise import SLACK, Layout, Thin, lay_plane
from nbgrad.kernels.cpu.rows import channel_total, entry
from nbgrad.kernels.cpu.simd import (
    aligned,
    copy_lanes,
    lanes,
    tile,
    tile_columns,
    tile_rows,
    tile_shape,
    transpose,
)
from nbgrad.kernels.options import inline, kernel, parallel_kernel, prange, use_threads

_DEPTH = 288  # rows of a packed panel: 288 x 32 floats stay in the first-level cache
_PANELS = 8  # at most this many panels of columns in a task
_TASKS = 8  # aim at this many tasks, so that threads have something to share


class _Windows(NamedTuple):
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
def _windows(size, out_size, kernel_size, stride, dilation, before) -> _Windows:
    axes = zip(size, out_size, kernel_size, stride, dilation, before)
    (first_h, rows, slot_h, step_h), (first_w, columns, slot_w, step_w) = (_axis(*a) for a in axes)
    block = rows * columns
    plain = stride == (1, 1) and before == (0, 0) and (rows, columns) == size
    plane = len(first_h) * len(first_w) * block + (0 if plain else SLACK)
    tap_h = slot_h * len(first_w) * block + step_h * columns
    tap_w = slot_w * block + step_w
    return _Windows(
        Layout(*size, *stride, first_h, first_w, rows, columns, plane),
        np.add.outer(tap_h, tap_w).ravel(),
        np.add.outer(np.arange(out_size[0]) * columns, np.arange(out_size[1])).ravel(),
    )


@kernel
def _lay(x, planes, layout, out):
    size = layout.height * layout.width
    for q in range(planes):
        lay_plane(x, q * size, layout, out, q * layout.plane)


@parallel_kernel
def _lay_threads(x, planes, layout, out):
    size = layout.height * layout.width
    for q in prange(planes):
        lay_plane(x, np.intp(q) * size, layout, out, np.intp(q) * layout.plane)


@inline
def _lay_last_task(x, q, channels, layout, out):
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
def _lay_last(x, images, channels, layout, out):
    for q in range(images * -(-channels // lanes(x))):
        _lay_last_task(x, q, channels, layout, out)


@parallel_kernel
def _lay_last_threads(x, images, channels, layout, out):
    for q in prange(images * -(-channels // lanes(x))):
        _lay_last_task(x, np.intp(q), channels, layout, out)


def _laid_out(x, layout):
    """x as the windows see it, [n, c, place], flat."""
    if layout.plane == layout.rows * layout.columns:
        return x.reshape(-1)
    planes = x.shape[0] * x.shape[1]
    out = memory.empty(planes * layout.plane, x.dtype)
    lay = _lay_threads if use_threads(out.size) else _lay
    lay(x.reshape(-1), planes, layout, out)
    return out


def _laid_out_last(x, layout):
    """x as the windows see it, with channels last: [n, place, c], flat."""
    images, channels = x.shape[:2]
    out = memory.empty(images * channels * layout.plane, x.dtype)
    lay = _lay_last_threads if use_threads(out.size) else _lay_last
    lay(x.reshape(-1), images, channels, layout, out)
    return out


class _Left(NamedTuple):
    """A[m, k] = a[k // size * outer + m * size + k % size], groups `group` places apart."""

    groups: int
    rows: int
    depth: int
    size: int
    outer: int
    group: int


@inline
def _pack_left(a, left, g, top, k0, k1, out, oo):
    # out[oo + k * pitch + i] = A[top + i, k0 + k], with rows past the last one repeating it
    _, m, _, size, outer, group = left
    high, n, pitch = tile_rows(a), lanes(a), _left_pitch(a)
    k = k0
    while k < k1:
        run = min(k1 - k, size - k % size)
        source = g * group + k // size * outer + k % size
        done = run // n * n
        for i in range(0, high, n):
            first = min(top + i, m - 1)
            rows = min(m - first, n)
            for p in range(0, done, n):
                at = oo + (k - k0 + p) * pitch + i
                transpose(a, source + first * size + p, size, rows, out, at, pitch)
        for p in range(done, run):
            at = oo + (k - k0 + p) * pitch
            for i in range(high):
                out[at + i] = a[source + min(top + i, m - 1) * size + p]
        k += run


@inline
def _left_pitch(a):
    return -(-tile_rows(a) // lanes(a)) * lanes(a)


@inline
def _left_place(left, g, k0, high):
    # of the panels packed for all tasks, [group][range of k][row panel][k][row]
    return (g * left.depth + k0) * -(-left.rows // high)


@inline
def _pack_left_panel(a, left, t, depth, out):
    # every range of k of one panel; t counts the row panels of all groups
    high, pitch = tile_rows(a), _left_pitch(a)
    panels = -(-left.rows // high)
    g, i = t // panels, t % panels
    for k0 in range(0, left.depth, depth):
        k1 = min(k0 + depth, left.depth)
        oo = (_left_place(left, g, k0, high) + i * (k1 - k0)) * pitch
        _pack_left(a, left, g, i * high, k0, k1, out, oo)


@inline
def _walk(table, step, first, count, out):
    # out[i] = place number first + i, where the table repeats itself `step` further on
    q, base = first % table.size, first // table.size * step
    for i in range(count):
        out[i] = base + table[q]
        q += 1
        if q == table.size:
            q = 0
            base += step


@inline
def _pack_right(b, bo, rows, count, cols, columns, out, pitch):
    # out[k, j] = b[bo + rows[k] + cols[j]], a run of neighbouring columns at a time. Whole
    # registers are written: what hangs over is overwritten next, or lies past the last column.
    n = lanes(b)
    furthest = 0
    for k in range(count):
        furthest = max(furthest, rows[k])
    j = 0
    while j < columns:
        stop = j + 1
        while stop < min(columns, j + n) and cols[stop] == cols[stop - 1] + 1:
            stop += 1
        x = bo + cols[j]
        found = n if x + furthest + n <= b.size else stop - j
        for k in range(count):
            copy_lanes(b, x + rows[k], found, out, k * pitch + j)
        j = stop


class _Right(NamedTuple):
    """b[rows[k] + cols[j]] for k < depth and j < columns, groups `group` places apart."""

    rows: np.ndarray  # repeated, row_step further on, when k runs past its end; so are cols
    row_step: int
    cols: np.ndarray
    col_step: int
    columns: int
    group: int


class _Out(NamedTuple):
    """y[m * ld + j // size * outer + j % size], groups of m one after another."""

    ld: int
    size: int
    outer: int


class _Cut(NamedTuple):
    """How the product is cut into tasks, by its shape alone: the bits never depend on threads."""

    depth: int  # k is summed in ranges this long
    ranges: int  # consecutive ranges summed by one task; further tasks fill further copies of y
    chunks: int
    slab: int  # row panels in a task
    stretch: int  # column panels in a task


@inline
def _close_columns(apart, bias, channel, begin, end, own, out, y, yo):
    # Put the panels of columns that were summed apart where they belong; add the bias.
    ld, size, outer = out
    wide = tile_columns(y)
    places = np.empty(wide, np.int64)
    for first in range(begin, end, wide):
        n = min(wide, end - first)
        for j in range(n):
            places[j] = yo + (first + j) // size * outer + (first + j) % size
        for i in range(own):
            if first % size + n > size:
                source = (first - begin) * own + i * wide
                for j in range(n):
                    y[places[j] + i * ld] = apart[source + j]
            if bias.size:
                for j in range(n):
                    y[places[j] + i * ld] += bias[channel + i]


@inline
def _multiply_task(a, packed, b, bias, left, right, out, cut, t, y):
    groups, m, whole = left.groups, left.rows, left.depth
    rows, row_step, cols, col_step, columns, b_group = right
    ld, size, outer = out
    depth, ranges, chunks, slab, stretch = cut
    high, wide = tile_rows(y), tile_columns(y)
    a_pitch, b_pitch = _left_pitch(y), wide + lanes(y)

    stretches, slabs = -(-columns // (wide * stretch)), -(-m // (high * slab))
    t, begin = t // stretches, t % stretches * stretch * wide
    t, top = t // slabs, t % slabs * slab * high
    g, chunk = t // chunks, t % chunks
    end, own = min(begin + stretch * wide, columns), min(m - top, slab * high)
    yo = ((chunk * groups + g) * m + top) * ld
    k_begin = chunk * ranges * depth

    panel = aligned(depth * b_pitch, y)
    panel[:] = 0
    from_rows, from_cols = np.empty(depth, np.int64), np.empty(wide, np.int64)
    if chunks > 1:  # no other task needs these rows of A: pack them here
        packed = aligned((own + high) * a_pitch * depth, y)
    # Columns that lie apart in y are summed here first, [panel of columns][m][column].
    apart = aligned(stretch * own * wide if columns > size else 0, y)
    for k0 in range(k_begin, min(k_begin + ranges * depth, whole), depth):
        count = min(depth, whole - k0)
        _walk(rows, row_step, k0, count, from_rows)
        ao = (_left_place(left, g, k0, high) + top // high * count) * a_pitch
        if chunks > 1:
            ao = 0
            for i in range(0, own, high):
                _pack_left(a, left, g, top + i, k0, k0 + count, packed, i // high * count * a_pitch)
        for first in range(begin, end, wide):
            n = min(wide, end - first)
            _walk(cols, col_step, first, n, from_cols)
            _pack_right(b, g * b_group, from_rows, count, from_cols, n, panel, b_pitch)
            to, co, c_ld = y, yo + first // size * outer + first % size, ld
            if first % size + n > size:
                to, co, c_ld = apart, (first - begin) * own, wide
            for i in range(0, own, high):
                tile(
                    count, packed, ao + i // high * count * a_pitch, a_pitch, 1,
                    panel, 0, b_pitch, to, co + i * c_ld, c_ld, min(high, own - i), n, k0 > k_begin,
                )  # fmt: skip
    if bias.size or columns > size:
        _close_columns(apart, bias, g * m + top, begin, end, own, out, y, yo)


@inline
def _task_count(left, right, cut, y):
    stretches = -(-right.columns // (tile_columns(y) * cut.stretch))
    slabs = -(-left.rows // (tile_rows(y) * cut.slab))
    return stretches * slabs * left.groups * cut.chunks


@kernel
def _multiply(a, b, bias, left, right, out, cut, y):
    panels = -(-left.rows // tile_rows(y)) * left.groups if cut.chunks == 1 else 0
    packed = aligned(panels * _left_pitch(y) * left.depth, y)
    for t in range(panels):
        _pack_left_panel(a, left, t, cut.depth, packed)
    for t in range(_task_count(left, right, cut, y)):
        _multiply_task(a, packed, b, bias, left, right, out, cut, t, y)


@parallel_kernel
def _multiply_threads(a, b, bias, left, right, out, cut, y):
    panels = -(-left.rows // tile_rows(y)) * left.groups if cut.chunks == 1 else 0
    packed = aligned(panels * _left_pitch(y) * left.depth, y)
    for t in prange(panels):
        _pack_left_panel(a, left, np.intp(t), cut.depth, packed)
    for t in prange(_task_count(left, right, cut, y)):
        _multiply_task(a, packed, b, bias, left, right, out, cut, np.intp(t), y)


def _cut(left, right, dtype, chunked=False):
    high, wide = tile_shape(dtype)
    depth = -(-left.depth // -(-left.depth // _DEPTH))
    ranges = -(-left.depth // depth)
    panels, slab = -(-right.columns // wide), -(-left.rows // high)
    if chunked and ranges >= 16 and left.rows * right.columns <= 65536:
        per_chunk = -(-ranges // _TASKS)
        return _Cut(depth, per_chunk, -(-ranges // per_chunk), slab, panels)
    stretch = min(max(-(-panels * left.groups // _TASKS), 1), _PANELS)
    tasks = left.groups * -(-panels // stretch)
    slabs = min(-(-_TASKS // tasks), -(-slab // 8))
    return _Cut(depth, ranges, 1, -(-slab // slabs), stretch)


def _product(a, b, bias, left, right, out, cut, y):
    work = left.groups * left.rows * left.depth * right.columns // 16
    multiply = _multiply_threads if use_threads(work) else _multiply
    multiply(a.reshape(-1), b, bias, left, right, out, cut, y.reshape(-1))


def _correlate(x, w, bias, out_size, stride, before, dilation, groups, backwards=False):
    """y[n, o, i, j] = bias[o] + sum over c, u, v of w[o, c, u, v] x[n, c, h, v], where
    h = i * stride + u * dilation - before, and likewise v.

    Read `backwards`, w has its input and output channels exchanged and its taps in reverse.
    """
    n, c, *size = x.shape
    group_out, group_in = w.shape[0] // groups, w.shape[1]
    if backwards:
        group_out, group_in = group_in, group_out
    y = memory.empty((n, groups * group_out, *out_size), x.dtype)
    if y.size == 0 or w.size == 0:
        y[:] = 0 if bias is None else bias[:, None, None]
        return y
    x, w = np.ascontiguousarray(x), np.ascontiguousarray(w)
    bias = np.empty(0, x.dtype) if bias is None else np.ascontiguousarray(bias)
    at = _windows(tuple(size), out_size, w.shape[2:], stride, dilation, before)
    taps = at.taps[::-1].copy() if backwards else at.taps
    if groups > 1 and (group_in == 1 or group_out == 1):
        thin = Thin(n, groups, group_in, group_out, backwards, *out_size)
        threads = use_threads(y.size * taps.size * group_in // 4)
        forward = depthwise.forward_threads if threads else depthwise.forward
        forward(x.reshape(-1), w.reshape(-1), bias, taps, at.layout, thin, y.reshape(-1))
        return y
    plane, pixels, depth = at.layout.plane, at.pixels.size, group_in * taps.size
    left = _Left(groups, group_out, depth, depth, 0, group_out * depth)
    if backwards:
        left = _Left(groups, group_out, depth, taps.size, group_out * taps.size, group_out * depth)
    rows = np.add.outer(np.arange(group_in) * plane, taps).ravel()
    right = _Right(rows, 0, at.pixels, c * plane, n * pixels, group_in * plane)
    out, cut = _Out(pixels, pixels, groups * group_out * pixels), _cut(left, right, x.dtype)
    _product(w, _laid_out(x, at.layout), bias, left, right, out, cut, y)
    return y


def _sides(padding):
    return (padding[0], padding[0], padding[1], padding[1]) if len(padding) == 2 else padding


def conv2d(x, w, bias, stride, padding, dilation, groups):
    """Convolution of x (N, C, H, W) and w (O, C / groups, kh, kw), plus bias (O,) or None."""
    top, bottom, left, right = _sides(padding)
    padded = (x.shape[2] + top + bottom, x.shape[3] + left + right)
    out_size = tuple(
        (p - d * (k - 1) - 1) // s + 1 for p, d, k, s in zip(padded, dilation, w.shape[2:], stride)
    )
    return _correlate(x, w, bias, out_size, stride, (top, left), dilation, groups)


class _Phase(NamedTuple):
    """The pixels of one residue of an axis of the input, and the window on gy they come from."""

    pixels: slice
    count: int
    taps: slice
    dilation: int
    before: int


def _phases(size, kernel_size, stride, dilation, before):
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


def conv2d_input(gy, w, x_shape, stride, padding, dilation, groups):
    """Gradient to x of `conv2d`, and so the transposed convolution of gy (N, O, OH, OW)."""
    top, _, left, _ = _sides(padding)
    axes = zip(x_shape[2:], w.shape[2:], stride, dilation, (top, left))
    phases_h, phases_w = (list(_phases(*axis)) for axis in axes)
    gy = np.ascontiguousarray(gy)
    if gy.size == 0 or w.size == 0:
        return memory.zeros(x_shape, gy.dtype)
    gx = None if stride == (1, 1) else memory.empty(x_shape, gy.dtype)
    for h in phases_h:
        for v in phases_w:
            taps, count = w[:, :, h.taps, v.taps], (h.count, v.count)
            before, apart = (h.before, v.before), (h.dilation, v.dilation)
            part = 0
            if taps.size:
                part = _correlate(gy, taps, None, count, (1, 1), before, apart, groups, True)
            if gx is None:
                return part
            gx[:, :, h.pixels, v.pixels] = part
    return gx


@inline
def _finish_row(parts, o, outputs, group_in, order, gw):
    # gw[o, c, order[t]] = sum of the chunks parts[:, o, t, c]
    row = group_in * order.size
    for t in range(order.size):
        source = o * row + t * group_in
        place = o * row + order[t]
        for c in range(group_in):
            total = parts[source + c]
            for q in range(source + c + outputs * row, parts.size, outputs * row):
                total += parts[q]
            gw[place + c * order.size] = total


@kernel
def _finish(parts, outputs, group_in, order, gw):
    for o in range(outputs):
        _finish_row(parts, o, outputs, group_in, order, gw)


@parallel_kernel
def _finish_threads(parts, outputs, group_in, order, gw):
    for o in prange(outputs):
        _finish_row(parts, np.intp(o), outputs, group_in, order, gw)


def conv2d_weight(gy, x, w_shape, stride, padding, dilation, groups):
    """Gradient to w of `conv2d`, from gy (N, O, OH, OW) and x (N, C, H, W)."""
    n, c, *size = x.shape
    o, group_in, *kernel_size = w_shape
    top, _, left, _ = _sides(padding)
    gw = memory.empty(w_shape, x.dtype)
    if gy.size == 0 or gw.size == 0:
        gw[:] = 0
        return gw
    gy, x = np.ascontiguousarray(gy), np.ascontiguousarray(x)
    at = _windows(tuple(size), gy.shape[2:], tuple(kernel_size), stride, dilation, (top, left))
    group_out = o // groups
    if groups > 1 and (group_in == 1 or group_out == 1):
        thin = Thin(n, groups, group_in, group_out, False, *gy.shape[2:])
        threads = use_threads(gy.size * at.taps.size * group_in // 4)
        weight = depthwise.weight_threads if threads else depthwise.weight
        weight(gy.reshape(-1), x.reshape(-1), at.taps, at.layout, thin, gw.reshape(-1))
        return gw
    pixels, columns = at.pixels.size, at.taps.size * group_in
    order = np.argsort(at.taps)  # neighbours in the layout are neighbours in the product
    cols = np.add.outer(at.taps[order] * c, np.arange(group_in)).ravel()
    left = _Left(groups, group_out, n * pixels, pixels, o * pixels, group_out * pixels)
    right = _Right(at.pixels * c, c * at.layout.plane, cols, 0, columns, group_in)
    cut = _cut(left, right, x.dtype, chunked=True)
    parts = memory.empty((cut.chunks, o, columns), x.dtype)
    b, bias = _laid_out_last(x, at.layout), np.empty(0, x.dtype)
    _product(gy, b, bias, left, right, _Out(columns, columns, 0), cut, parts)
    finish = _finish_threads if use_threads(parts.size) else _finish
    finish(parts.reshape(-1), o, group_in, order, gw.reshape(-1))
    return gw


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
