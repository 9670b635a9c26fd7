"""Convolutions with 3 x 3 weights and stride one by Winograd's F(2 x 2, 3 x 3).

Two by two outputs come from four by four inputs with 16 products a channel instead of 36:

    y = A' [(G w G') * (B' x B)] A,    * elementwise, summed over the channels

so that for each of the 16 places of a tile there is a matrix product over channels,

    M[place, o, tile] = sum over c of U[place, o, c] V[place, c, tile].

Tiles are flat over (image, row of tiles, column). Each pair of a panel of outputs and a panel of
tiles is multiplied in all 16 places and transformed back. The larger of U and V is made in parts
that stay in the second cache of the thread that meets them with all of the other: many tiles come
a slab at a time, many weights a panel of outputs at a time. The input is laid out by residue modulo
two, where neighbouring tiles have their pixels side by side.

The transforms add and subtract numbers that a direct sum never brings together, which turns an
infinity into a NaN and carries a NaN to its neighbours: a result that is not finite is reported,
and the caller computes it directly.
"""

from functools import lru_cache
from typing import NamedTuple

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from nbgrad.kernels import memory
from nbgrad.kernels.cpu.depthwise import SLACK, Layout, lay_plane
from nbgrad.kernels.cpu.simd import (
    aligned,
    aligned_start,
    lanes,
    lanes_below,
    masked_store,
    tile,
    tile_columns,
    tile_rows,
    tile_shape,
    transpose,
    vector_at,
)
from nbgrad.kernels.cpu.tasks import each, launch
from nbgrad.kernels.options import inline, kernel, use_threads

_VALUES = 1 << 18  # numbers in a slab of V, at most: a second-level cache
_TASKS = 8  # aim at this many slabs, so that threads have something to share


def two_sided(matrix):
    """An intrinsic of Y = T X T' for a small matrix T, on grids whose entries are registers.

    y[yo + q * y_step :][:count] is entry q of Y, x[xo + q * x_step :] entry q of X; x_step may be
    a table, where q * x_step is x_step[q].
    """
    sides, entries = len(matrix), len(matrix[0])

    def combine(builder, row, line):
        total = line[0].type([-0.0] * line[0].type.count)
        for factor, x in zip(row, line):
            if abs(factor) not in (0, 1):
                x = builder.fmul(x, x.type([abs(factor)] * x.type.count))
            if factor:
                total = (builder.fadd if factor > 0 else builder.fsub)(total, x)
        return total

    @intrinsic
    def transform(typingctx, x, xo, x_step, count, y, yo, y_step):
        def codegen(context, builder, sig, args):
            x, xo, x_step, count, y, yo, y_step = args
            i64, size = xo.type, sig.args[0].dtype.bitwidth // 8
            if isinstance(sig.args[2], types.Array):
                table = context.make_array(sig.args[2])(context, builder, x_step).data
            grid = []
            for q in range(entries**2):
                if isinstance(sig.args[2], types.Array):
                    step = builder.load(builder.gep(table, [i64(q)]))
                else:
                    step = builder.mul(x_step, i64(q))
                place = vector_at(context, builder, sig.args[0], x, builder.add(xo, step))
                grid.append(builder.load(place, align=size))
            half = [combine(builder, row, grid[q::entries]) for row in matrix
                    for q in range(entries)]
            mask = lanes_below(builder, count, grid[0].type.count)
            for q in range(sides**2):
                start = q // sides * entries
                z = combine(builder, matrix[q % sides], half[start : start + entries])
                at = builder.add(yo, builder.mul(y_step, i64(q)))
                masked_store(builder, z, vector_at(context, builder, sig.args[4], y, at), mask, size)
            return context.get_dummy_value()

        i = types.intp
        table = x_step if isinstance(x_step, types.Array) else i
        return types.void(x, i, table, i, y, i, i), codegen

    return transform


of_input = two_sided([[1, 0, -1, 0], [0, 1, 1, 0], [0, -1, 1, 0], [0, 1, 0, -1]])
_of_weight = two_sided([[1, 0, 0], [0.5, 0.5, 0.5], [0.5, -0.5, 0.5], [0, 0, 1]])
_of_output = two_sided([[1, 1, 1, 0], [0, 1, -1, -1]])


@intrinsic
def _store_pairs(typingctx, x, xo, x_step, shift, count, y, yo, bad):
    """y[yo + 2 * j + h] = x[xo + h * x_step + j] + shift, 2 * j + h < count, j < lanes; x[bad :] are
    lanes of zeros, which become NaN where that is not finite."""

    def codegen(context, builder, sig, args):
        x, xo, x_step, shift, count, y, yo, bad = args
        size = sig.args[0].dtype.bitwidth // 8

        def load(array_type, array, at):
            return builder.load(vector_at(context, builder, array_type, array, at), align=size)

        pair = [load(sig.args[0], x, at) for at in (xo, builder.add(xo, x_step))]
        n = pair[0].type.count
        zeros, i32 = ir.VectorType(ir.IntType(32), n)([0] * n), ir.IntType(32)
        first = builder.insert_element(pair[0].type(ir.Undefined), shift, i32(0))
        shift = builder.shuffle_vector(first, first, zeros)
        pair = [builder.fadd(z, shift) for z in pair]
        place = vector_at(context, builder, sig.args[0], x, bad)
        bad = builder.load(place, align=size)
        for half in range(2):
            order = [q // 2 + half * n // 2 + q % 2 * n for q in range(n)]
            z = builder.shuffle_vector(*pair, ir.VectorType(i32, n)(order))
            mask = lanes_below(builder, count, n, half * n)
            at = builder.add(yo, yo.type(half * n))
            masked_store(builder, z, vector_at(context, builder, sig.args[5], y, at), mask, size)
            nothing = z.type([0.0] * n)
            bad = builder.fadd(bad, builder.select(mask, builder.fsub(z, z), nothing))
        builder.store(bad, place, align=size)
        return context.get_dummy_value()

    i = types.intp
    return types.void(x, i, i, x.dtype, i, y, i, i), codegen


class _Shape(NamedTuple):
    """A convolution cut into tiles."""

    images: int
    inputs: int
    outputs: int
    height: int  # of the input
    width: int
    rows: int  # of the output
    columns: int
    before_h: int
    before_w: int
    tile_rows: int
    tile_columns: int
    tiles: int
    slabs: int  # many tiles are made in so many parts; 0 if panels of outputs are made at a time
    room: int  # rows from one place of U and V to the next: a power of two would share cache sets
    backwards: int  # w has input and output exchanged, and its taps in reverse


@inline
def _transform_weight(panel, w, shape, u, uo):
    # U[place][c][output] of one panel of outputs, from uo. Transposed, a tap of one channel of the
    # outputs is a register. Rows of w that hold all channels of an output are transposed a register
    # of neighbouring channels at a time, 9 * lanes numbers that leave no gaps.
    n, high = lanes(w), tile_rows(w)
    pitch, top = -(-high // n) * n, panel * high
    turned = aligned((9 * n + 3 * n) * n, w)
    order = np.empty(9, np.int64)
    for t in range(9):
        order[t] = (8 - t if shape.backwards else t) * n
    o_step, c_step, together = shape.inputs * 9, 9, n
    if shape.backwards:
        o_step, c_step, together = 9, shape.outputs * 9, 1
    for r in range(0, pitch, n):
        first = min(top + r, shape.outputs - 1)
        rows = min(shape.outputs - first, n)
        for c0 in range(0, shape.inputs, together):
            start, count = first * o_step + c0 * c_step, min(together, shape.inputs - c0)
            for t in range(0, 9 * count, n):
                # not past the end of w: then the same taps lie further on in the rows read
                source = min(start + t, w.size - (rows - 1) * o_step - n)
                transpose(w, source, o_step, rows, turned, (2 * n + source - start) * n, n)
            for c in range(count):
                at = uo + (c0 + c) * pitch + r
                _of_weight(turned, (2 * n + 9 * c) * n, order, n, u, at, shape.room * pitch)


@inline
def _transform_input(c, x, shape, begin, end, v):
    # V[panel of tiles][place][c][tile] of the tiles begin .. end
    n, wide, across = lanes(x), tile_columns(x), shape.tile_columns
    columns = across + 1
    taps = np.empty(16, np.int64)
    rows_most = min(-(-end // across) - begin // across, shape.tile_rows)
    laid = aligned(4 * (rows_most + 1) * columns + SLACK, x)
    row, stop = begin // across, -(-end // across)
    while row < stop:
        image, i = row // shape.tile_rows, row % shape.tile_rows
        count = min(shape.tile_rows - i, stop - row)
        block = (count + 1) * columns
        for t in range(16):
            taps[t] = (t // 4 % 2 * 2 + t % 2) * block + t // 8 * columns + t % 4 // 2
        first_h, first_w = np.empty(2, np.int64), np.empty(2, np.int64)
        for h in range(2):
            first_h[h], first_w[h] = 2 * i + h - shape.before_h, h - shape.before_w
        layout = Layout(shape.height, shape.width, 2, 2, first_h, first_w, count + 1, columns,
                        4 * block + SLACK)
        plane = (image * shape.inputs + c) * shape.height * shape.width
        lay_plane(x, plane, layout, laid, 0)
        for k in range(count):
            start = (row + k) * across
            j, last = max(begin - start, 0), min(end - start, across)
            while j < last:
                at = start + j - begin
                some = min(min(n, last - j), wide - at % wide)
                to = (at // wide * 16 * shape.room + c) * wide + at % wide
                of_input(laid, k * columns + j, taps, some, v, to, shape.room * wide)
                j += some
        row += count


@inline
def _multiply(u, uo, v, vo, bias, shape, panel, first, s, y):
    # One panel of outputs and one of tiles, from tile `first`: True if it is finite. Scratch s: M,
    # then the four outputs of each tile, then lanes that are NaN if one is not finite.
    n, high, wide = lanes(y), tile_rows(y), tile_columns(y)
    pitch, across = -(-high // n) * n, shape.tile_columns
    outputs, columns = min(high, shape.outputs - panel * high), min(wide, shape.tiles - first)
    size = high * wide
    out, bad = 16 * size, 16 * size + 4 * wide
    for q in range(bad, bad + n):
        s[q] = 0
    for q in range(16):
        tile(
            shape.inputs, u, uo + q * shape.room * pitch, pitch, 1,
            v, vo + q * shape.room * wide, wide, s, q * size, wide, outputs, columns, False,
        )  # fmt: skip
    for i in range(outputs):
        o = panel * high + i
        shift = bias[o] if bias.size else y.dtype.type(0)
        for j in range(0, columns, n):
            _of_output(s, i * wide + j, size, n, s, out + j, wide)
        j = 0
        while j < columns:
            row, q = (first + j) // across, (first + j) % across
            image, r = row // shape.tile_rows, 2 * (row % shape.tile_rows)
            some = min(min(n, across - q), columns - j)
            yo = ((image * shape.outputs + o) * shape.rows + r) * shape.columns + 2 * q
            count = min(2 * some, shape.columns - 2 * q)
            _store_pairs(s, out + j, wide, shift, count, y, yo, bad)
            if r + 1 < shape.rows:
                yo += shape.columns
                _store_pairs(s, out + j + 2 * wide, wide, shift, count, y, yo, bad)
            j += some
    return s[bad : bad + n].sum() == 0


@inline
def _scratch(y):
    return aligned(16 * tile_rows(y) * tile_columns(y) + 4 * tile_columns(y) + lanes(y), y)


@inline
def _weight_panel(t, w, shape, u):
    pitch = -(-tile_rows(u) // lanes(u)) * lanes(u)
    _transform_weight(t, w, shape, u, t * 16 * shape.room * pitch)


@inline
def _slab(t, x, u, bias, shape, fine, y):
    # all outputs of some panels of tiles
    n, high, wide = lanes(y), tile_rows(y), tile_columns(y)
    pitch = -(-high // n) * n
    all_blocks = -(-shape.tiles // wide)
    begin = t * all_blocks // shape.slabs * wide
    end = min((t + 1) * all_blocks // shape.slabs * wide, shape.tiles)
    panels, blocks = -(-shape.outputs // high), -(-(end - begin) // wide)
    v, s, good = aligned(blocks * 16 * shape.room * wide, y), _scratch(y), True
    v[(blocks - 1) * 16 * shape.room * wide :] = 0
    for c in range(shape.inputs):
        _transform_input(c, x, shape, begin, end, v)
    for i in range(panels):
        for j in range(blocks):
            good &= _multiply(u, i * 16 * shape.room * pitch, v, j * 16 * shape.room * wide,
                              bias, shape, i, begin + j * wide, s, y)
    fine[t] = good


@inline
def _outputs(t, w, v, bias, shape, fine, y):
    # all tiles of one panel of outputs
    n, high, wide = lanes(y), tile_rows(y), tile_columns(y)
    u, s, good = aligned(16 * shape.room * -(-high // n) * n, y), _scratch(y), True
    _transform_weight(t, w, shape, u, 0)
    for first in range(0, shape.tiles, wide):
        good &= _multiply(u, 0, v, first * 16 * shape.room, bias, shape, t, first, s, y)
    fine[t] = good


@kernel
def _winograd(loop, x, w, bias, shape, made, fine, y):
    made = made[aligned_start(made) :]
    if shape.slabs > 0:
        each(loop, -(-shape.outputs // tile_rows(y)), _weight_panel, (w, shape, made))
        each(loop, fine.size, _slab, (x, made, bias, shape, fine, y))
    else:
        wide = tile_columns(y)
        made[shape.tiles // wide * wide * 16 * shape.room :] = 0
        each(loop, shape.inputs, _transform_input, (x, shape, 0, shape.tiles, made))
        each(loop, fine.size, _outputs, (w, made, bias, shape, fine, y))


@lru_cache(maxsize=256)
def _plan(x_shape, y_shape, before, backwards, dtype):
    """The shape of the work, how many numbers are made beforehand, and in how many tasks the rest."""
    images, outputs, *size = y_shape
    inputs, (rows, columns) = x_shape[1], (-(-s // 2) for s in size)
    tiles, room = images * rows * columns, inputs + 1
    high, wide = tile_shape(dtype)
    lane = wide // 2
    panels, blocks = -(-outputs // high), -(-tiles // wide)
    u, v = panels * 16 * room * -(-high // lane) * lane, blocks * 16 * room * wide
    slabs = min(blocks, -(-v // (_TASKS * _VALUES)) * _TASKS) if v > u else 0
    shape = _Shape(images, inputs, outputs, *x_shape[2:], *size, *before, rows, columns, tiles,
                   slabs, room, backwards)
    return shape, (u if slabs else v) + 64, slabs or panels


def winograd(x, w, bias, before, backwards, y):
    """y = the convolution of x and w plus bias (or an empty array), all contiguous; False if that
    is not finite, and so not to be used."""
    shape, size, tasks = _plan(x.shape, y.shape, before, backwards, x.dtype)
    made, fine = memory.empty(size, x.dtype), np.empty(tasks, np.bool_)
    threads = use_threads(y.size * x.shape[1] // 4)
    launch(_winograd, threads, x.reshape(-1), w.reshape(-1), bias, shape, made, fine, y.reshape(-1))
    return fine.all()
