"""The matrix product behind a convolution and the gradient to its weight: gathered while packed.

    out[m, j] = sum over k of A[m, k] * b[rows[k] + cols[j]]

- forward: A is the weight, rows are taps (c, u, v), columns are output pixels (n, i, j);
- gradient to the weight: A is gy, rows are output pixels, columns are taps, with channels last in b
  so that columns are neighbours there; or as they lie in the weight, where pixels are so few that
  putting the result in that order would take longer.

b is the input laid out as in `conv_windows`, so no matrix of windows ever exists.
"""

from functools import lru_cache
from typing import NamedTuple

import numpy as np

from nbgrad.kernels import memory
from nbgrad.kernels.cpu.conv_windows import laid_out, laid_out_last, windows
from nbgrad.kernels.cpu.simd import (
    aligned,
    copy_lanes,
    lanes,
    prefetch,
    tile,
    tile_columns,
    tile_rows,
    tile_shape,
    transpose,
)
from nbgrad.kernels.cpu.tasks import each, launch
from nbgrad.kernels.options import inline, kernel, use_threads

_SHALLOW = 4  # outputs for each pixel, from which the gradient to the weight is made as it lies
_DEPTH = 288  # rows of a packed panel: 288 x 32 floats stay in the first-level cache
_PANELS = 8  # at most this many panels of columns in a task
_BLOCK = 1 << 14  # numbers of b packed at a time: long rows of it are read in long pieces
_SLAB = 3  # panels of rows in a task that packs them itself
_TASKS = 8  # aim at this many tasks, so that threads have something to share


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
    # out[oo + k * pitch + i] = A[top + i, k0 + k], where rows past the last one repeat it, or are zero
    _, m, _, size, outer, group = left
    high, n, pitch = tile_rows(a), lanes(a), _left_pitch(a)
    k = k0
    while size == 1 and k < k1:
        for i in range(0, high, n):
            source, at = g * group + k * outer + top + i, oo + (k - k0) * pitch + i
            copy_lanes(a, source, max(m - top - i, 0), out, at)
        k += 1
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
def _pack_left_panel(t, a, left, depth, out):
    # one range of k of one panel; t counts the row panels of all groups, range by range
    high, pitch = tile_rows(a), _left_pitch(a)
    panels = -(-left.rows // high)
    g, i, k0 = t // panels % left.groups, t % panels, t // (panels * left.groups) * depth
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
def _pack_right(b, bo, rows, count, cols, columns, starts, out, oo, pitch):
    # out[oo + panel * count * pitch + k * pitch + column] = b[bo + rows[k] + cols[j]], for column j
    # of a block, a run of at most a register of neighbouring columns at a time. Whole registers are
    # written: what hangs over is overwritten next, or lies past the panel.
    n, wide = lanes(b), tile_columns(b)
    furthest = runs = 0
    for k in range(count):
        furthest = max(furthest, rows[k])
    for j in range(columns):
        if j % wide == 0 or cols[j] != cols[j - 1] + 1 or j == starts[runs - 1] + n:
            starts[runs] = j
            runs += 1
    starts[runs] = columns
    # Rows of b are read in long pieces where the block is wide.
    pieces, some = (count, 1) if columns > wide else (1, count)
    for piece in range(pieces):
        for r in range(runs):
            j = starts[r]
            source, at = bo + cols[j], oo + (j // wide * count + piece) * pitch + j % wide
            found = starts[r + 1] - j if source + furthest + n > b.size else n
            for k in range(piece, piece + some):
                copy_lanes(b, source + rows[k], found, out, at)
                at += pitch
            if some == 1:
                prefetch(b, source + rows[piece] + columns)


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
    block: int  # column panels packed at a time
    first: int  # what is packed before all tasks: 0 nothing, 1 A, 2 b


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
def _pack_right_panel(t, b, right, groups, depth, whole, out, pitch):
    # one range of k of one panel; t counts the column panels of all groups, range by range
    wide = tile_columns(b)
    panels = -(-right.columns // wide)
    g, first, k0 = t // panels % groups, t % panels * wide, t // (panels * groups) * depth
    rows, cols = np.empty(depth, np.int64), np.empty(wide, np.int64)
    starts = np.empty(wide + 1, np.int64)
    n, count = min(wide, right.columns - first), min(depth, whole - k0)
    _walk(right.cols, right.col_step, first, n, cols)
    _walk(right.rows, right.row_step, k0, count, rows)
    at = ((g * whole + k0) * panels + first // wide * count) * pitch
    _pack_right(b, g * right.group, rows, count, cols, n, starts, out, at, pitch)


@inline
def _multiply_task(t, a, packed_a, b, packed_b, bias, left, right, out, cut, y):
    groups, m, whole = left.groups, left.rows, left.depth
    rows, row_step, cols, col_step, columns, b_group = right
    ld, size, outer = out
    depth, ranges, chunks, slab, stretch, block, packed_first = cut
    high, wide = tile_rows(y), tile_columns(y)
    a_pitch, b_pitch = _left_pitch(y), wide + lanes(y)

    stretches, slabs = -(-columns // (wide * stretch)), -(-m // (high * slab))
    t, begin = t // stretches, t % stretches * stretch * wide
    t, top = t // slabs, t % slabs * slab * high
    g, chunk = t // chunks, t % chunks
    end, own = min(begin + stretch * wide, columns), min(m - top, slab * high)
    yo = ((chunk * groups + g) * m + top) * ld
    k_begin = chunk * ranges * depth

    from_rows, from_cols = np.empty(depth, np.int64), np.empty(wide * block, np.int64)
    starts = np.empty(wide * block + 1, np.int64)
    if packed_first != 1:
        packed_a = aligned(-(-own // high) * a_pitch * depth, y)
    if packed_first != 2:
        packed_b = aligned(block * depth * b_pitch, y)
        packed_b[:] = 0
    # Columns that lie apart in y are summed here first, [panel of columns][m][column].
    apart = aligned(stretch * own * wide if columns > size else 0, y)
    for k0 in range(k_begin, min(k_begin + ranges * depth, whole), depth):
        count = min(depth, whole - k0)
        _walk(rows, row_step, k0, count, from_rows)
        ao = (_left_place(left, g, k0, high) + top // high * count) * a_pitch
        if packed_first != 1:
            ao = 0
            for i in range(0, own, high):
                at = i // high * count * a_pitch
                _pack_left(a, left, g, top + i, k0, k0 + count, packed_a, at)
        for first in range(begin, end, wide * block):
            some = min(wide * block, end - first)
            bo = ((g * whole + k0) * -(-columns // wide) + first // wide * count) * b_pitch
            if packed_first != 2:
                bo = 0
                _walk(cols, col_step, first, some, from_cols)
                _pack_right(
                    b, g * b_group, from_rows, count, from_cols, some, starts, packed_b, 0, b_pitch
                )
            for j in range(first, first + some, wide):
                n, together = min(wide, end - j), j % size + min(wide, end - j) <= size
                for i in range(0, own, high):
                    ai, high_i = ao + i // high * count * a_pitch, min(high, own - i)
                    if together:
                        tile(
                            count, packed_a, ai, a_pitch, 1, packed_b, bo, b_pitch,
                            y, yo + i * ld + j // size * outer + j % size, ld, high_i, n, k0 > k_begin,
                        )  # fmt: skip
                    else:
                        tile(
                            count, packed_a, ai, a_pitch, 1, packed_b, bo, b_pitch,
                            apart, (j - begin) * own + i * wide, wide, high_i, n, k0 > k_begin,
                        )  # fmt: skip
                bo += count * b_pitch
    if bias.size or columns > size:
        _close_columns(apart, bias, g * m + top, begin, end, own, out, y, yo)


@kernel
def _multiply(loop, a, b, bias, left, right, out, cut, y):
    b_pitch = tile_columns(y) + lanes(y)
    rows = -(-left.rows // tile_rows(y)) * left.groups if cut.first == 1 else 0
    columns = -(-right.columns // tile_columns(y)) * left.groups if cut.first == 2 else 0
    packed_a = aligned(rows * _left_pitch(y) * left.depth, y)
    packed_b = aligned(columns * b_pitch * left.depth, y)
    ranges = -(-left.depth // cut.depth)
    each(loop, rows * ranges, _pack_left_panel, (a, left, cut.depth, packed_a))
    each(
        loop, columns * ranges, _pack_right_panel,
        (b, right, left.groups, cut.depth, left.depth, packed_b, b_pitch),
    )  # fmt: skip
    stretches = -(-right.columns // (tile_columns(y) * cut.stretch))
    tasks = stretches * -(-left.rows // (tile_rows(y) * cut.slab)) * left.groups * cut.chunks
    each(
        loop, tasks, _multiply_task, (a, packed_a, b, packed_b, bias, left, right, out, cut, y)
    )


def _cut(left, right, dtype, chunked=False):
    high, wide = tile_shape(dtype)
    depth = -(-left.depth // -(-left.depth // _DEPTH))
    ranges = -(-left.depth // depth)
    panels, slab = -(-right.columns // wide), -(-left.rows // high)
    block = max(1, min(_PANELS, _BLOCK // (depth * wide)))
    if chunked and ranges >= 16 and left.rows * right.columns <= 65536:
        per_chunk = -(-ranges // _TASKS)
        return _Cut(depth, per_chunk, -(-ranges // per_chunk), slab, panels, block, 0)
    if not chunked and left.rows > right.columns:
        return _Cut(depth, ranges, 1, _SLAB, panels, 1, 2)
    stretch = min(max(-(-panels * left.groups // _TASKS), 1), _PANELS)
    tasks = left.groups * -(-panels // stretch)
    slabs = min(-(-_TASKS // tasks), -(-slab // 8))
    return _Cut(depth, ranges, 1, -(-slab // slabs), stretch, min(block, stretch), 1)


def _product(a, b, bias, left, right, out, cut, y):
    work = left.groups * left.rows * left.depth * right.columns // 16
    threads = use_threads(work)
    launch(_multiply, threads, a.reshape(-1), b, bias, left, right, out, cut, y.reshape(-1))


@lru_cache(maxsize=256)
def _forward_plan(x_shape, w_shape, out_size, groups, dtype, *how):
    images, channels, *size = x_shape
    outputs, inputs, *kernel_size = w_shape
    outputs //= groups
    at = windows(tuple(size), out_size, tuple(kernel_size), *how)
    plane, pixels, depth = at.layout.plane, at.pixels.size, inputs * at.taps.size
    left = _Left(groups, outputs, depth, depth, 0, outputs * depth)
    rows = np.add.outer(np.arange(inputs) * plane, at.taps).ravel()
    right = _Right(rows, 0, at.pixels, channels * plane, images * pixels, inputs * plane)
    out, cut = _Out(pixels, pixels, groups * outputs * pixels), _cut(left, right, dtype)
    return at.layout, left, right, out, cut


def forward(x, w, bias, groups, how, y):
    """y = the convolution of x and w plus bias (or an empty array), all contiguous; how: its stride,
    dilation and padding before."""
    layout, *plan = _forward_plan(x.shape, w.shape, y.shape[2:], groups, x.dtype, *how)
    _product(w, laid_out(x, layout), bias, *plan, y)


@lru_cache(maxsize=256)
def _backward_plan(gy_shape, w_shape, groups, dtype):
    images, channels, height, width = gy_shape
    outputs, inputs, pixels = w_shape[0] // groups, w_shape[1], height * width
    left = _Left(groups, inputs, outputs, 1, inputs, outputs * inputs)
    rows, cols = np.arange(outputs) * pixels, np.arange(pixels)
    right = _Right(rows, 0, cols, channels * pixels, images * pixels, outputs * pixels)
    out = _Out(pixels, pixels, groups * inputs * pixels)
    return left, right, out, _cut(left, right, dtype)


def backward(gy, w, groups, gx):
    """gx = the gradient to the input of a convolution with 1 x 1 weights and stride one."""
    plan = _backward_plan(gy.shape, w.shape, groups, gy.dtype)
    _product(w, gy.reshape(-1), np.empty(0, gy.dtype), *plan, gx)


@inline
def _finish_row(o, parts, outputs, group_in, order, gw):
    # gw[o, c, order[t]] = sum of the chunks parts[:, o, t, c]; order is a range if inputs fill a panel
    n, size = lanes(gw), order.size
    row = group_in * size
    straight = group_in >= tile_columns(gw) and parts.size == outputs * row
    whole = group_in // n * n if straight else 0
    turned = np.empty(row + n if whole else 0, gw.dtype)
    for c in range(0, whole, n):
        # Whole registers are written: what hangs over an input's taps is overwritten by the next.
        for t in range((size - 1) // n * n, -1, -n):
            source = o * row + t * group_in + c
            transpose(parts, source, group_in, min(size - t, n), turned, c * size + t, size)
    for p in range(whole * size):
        gw[o * row + p] = turned[p]
    for t in range(size):
        source = o * row + t * group_in
        place = o * row + order[t]
        for c in range(whole, group_in):
            total = parts[source + c]
            for q in range(source + c + outputs * row, parts.size, outputs * row):
                total += parts[q]
            gw[place + c * size] = total


@kernel
def _finish(loop, parts, outputs, group_in, order, gw):
    each(loop, outputs, _finish_row, (parts, outputs, group_in, order, gw))


def shallow(gy_shape, groups):
    """Whether an output has so few pixels that its gradient to the weight is mostly writing it."""
    images, outputs, height, width = gy_shape
    return images * height * width * _SHALLOW <= outputs // groups


@lru_cache(maxsize=256)
def _weight_plan(x_shape, gy_shape, w_shape, groups, dtype, *how):
    images, channels, *size = x_shape
    outputs, inputs, *kernel_size = w_shape
    at = windows(tuple(size), gy_shape[2:], tuple(kernel_size), *how)
    own, pixels, columns = outputs // groups, at.pixels.size, at.taps.size * inputs
    plane, last, order = at.layout.plane, channels, np.arange(at.taps.size)
    if at.taps.size > 1 and shallow(gy_shape, groups):
        last, order = 1, None
        cols = np.add.outer(np.arange(inputs) * plane, at.taps).ravel()
    else:
        if inputs < tile_shape(dtype)[1]:  # let neighbours in the layout be neighbours in the product
            order = np.argsort(at.taps)
        cols = np.add.outer(at.taps[order] * channels, np.arange(inputs)).ravel()
    left = _Left(groups, own, images * pixels, pixels, outputs * pixels, own * pixels)
    right = _Right(at.pixels * last, channels * plane, cols, 0, columns,
                   inputs if order is not None else inputs * plane)
    cut = _cut(left, right, dtype, chunked=order is not None)
    return at.layout, order, left, right, _Out(columns, columns, 0), cut


def weight(gy, x, groups, how, gw):
    """gw = the gradient to the weight, all contiguous."""
    outputs, inputs = gw.shape[:2]
    layout, order, *plan = _weight_plan(x.shape, gy.shape, gw.shape, groups, x.dtype, *how)
    none = np.empty(0, x.dtype)
    if order is None:
        _product(gy, laid_out(x, layout), none, *plan, gw)
        return
    chunks = plan[-1].chunks
    straight = chunks == order.size == 1
    parts = gw if straight else memory.empty(chunks * gw.size, x.dtype)
    _product(gy, laid_out_last(x, layout), none, *plan, parts)
    if not straight:
        threads = use_threads(parts.size)
        launch(_finish, threads, parts, outputs, inputs, order, gw.reshape(-1))
