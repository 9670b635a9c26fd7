"""Convolutions with 3 x 3 weights and stride one by Winograd's F(2 x 2, 3 x 3).

Two by two outputs come from four by four inputs with 16 products a channel instead of 36:

    y = A' [(G w G') * (B' x B)] A,    * elementwise, summed over the channels

so that for each of the 16 places of a tile there is a matrix product over channels,

    M[place, o, tile] = sum over c of U[place, o, c] V[place, c, tile].

Tiles are flat over (image, row of tiles, column). Some rows of tiles, as many as leave V in the
second cache, are transformed, then each pair of a panel of outputs and a panel of tiles is
multiplied in all 16 places and transformed back. The input is laid out by residue modulo two, where
neighbouring tiles have their pixels side by side.

The transforms add and subtract numbers that a direct sum never brings together, which turns an
infinity into a NaN and carries a NaN to its neighbours: a result that is not finite is reported,
and the caller computes it directly.
"""

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

_VALUES = 1 << 18  # numbers in the part of V that is made at a time: a second-level cache


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
    step: int  # rows of tiles transformed at a time
    room: int  # rows from one place of U and V to the next: a power of two would share cache sets
    backwards: int  # w has input and output exchanged, and its taps in reverse


@inline
def _transform_weight(panel, w, shape, u):
    # U[panel of outputs][place][c][output]. The nine taps of one channel of a panel of outputs lie
    # in rows of w: transposed, a tap is a register.
    n, high = lanes(w), tile_rows(w)
    pitch, top = -(-high // n) * n, panel * high
    o_step, c_step = shape.inputs * 9, 9
    if shape.backwards:
        o_step, c_step = 9, shape.outputs * 9
    turned = aligned((9 + 3 * n) * n, w)
    order = np.empty(9, np.int64)
    for t in range(9):
        order[t] = (n + (8 - t if shape.backwards else t)) * n
    for c in range(shape.inputs):
        for r in range(0, pitch, n):
            first = min(top + r, shape.outputs - 1)
            rows = min(shape.outputs - first, n)
            start = first * o_step + c * c_step
            for t in range(0, 9, n):
                # not past the end of w: then the same taps lie further on in the rows read
                source = min(start + t, w.size - (rows - 1) * o_step - n)
                transpose(w, source, o_step, rows, turned, (n + source - start) * n, n)
            at = (panel * 16 * shape.room + c) * pitch + r
            _of_weight(turned, 0, order, n, u, at, shape.room * pitch)


@inline
def _transform_input(c, x, shape, begin, end, v):
    # V[panel of tiles][place][c][tile] of the rows of tiles begin .. end
    n, wide, across = lanes(x), tile_columns(x), shape.tile_columns
    columns = across + 1
    taps = np.empty(16, np.int64)
    laid = aligned(4 * (min(end - begin, shape.tile_rows) + 1) * columns + SLACK, x)
    row = begin
    while row < end:
        image, i = row // shape.tile_rows, row % shape.tile_rows
        count = min(shape.tile_rows - i, end - row)
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
            j = 0
            while j < across:
                at = (row + k - begin) * across + j
                some = min(min(n, across - j), wide - at % wide)
                to = (at // wide * 16 * shape.room + c) * wide + at % wide
                of_input(laid, k * columns + j, taps, some, v, to, shape.room * wide)
                j += some
        row += count


@inline
def _multiply(t, u, v, bias, shape, begin, tiles, fine, y):
    # One panel of outputs and one of tiles, the first of them tile `first` after row `begin`
    blocks = -(-tiles // tile_columns(y))
    panel, first = t // blocks, t % blocks * tile_columns(y)
    n, high, wide = lanes(y), tile_rows(y), tile_columns(y)
    pitch, depth, across = -(-high // n) * n, shape.inputs, shape.tile_columns
    outputs, columns = min(high, shape.outputs - panel * high), min(wide, tiles - first)
    size = high * wide
    # scratch: M, then the four outputs of each tile, then lanes that are NaN if one is not finite
    s = aligned(16 * size + 4 * wide + n, y)
    out, bad = 16 * size, 16 * size + 4 * wide
    for q in range(bad, bad + n):
        s[q] = 0
    for q in range(16):
        tile(
            depth, u, (panel * 16 + q) * shape.room * pitch, pitch, 1,
            v, (first // wide * 16 + q) * shape.room * wide, wide, s, q * size, wide, outputs, columns,
            False,
        )  # fmt: skip
    for i in range(outputs):
        o = panel * high + i
        shift = bias[o] if bias.size else y.dtype.type(0)
        for j in range(0, columns, n):
            _of_output(s, i * wide + j, size, n, s, out + j, wide)
        j = 0
        while j < columns:
            at = begin * across + first + j
            row, q = at // across, at % across
            image, r = row // shape.tile_rows, 2 * (row % shape.tile_rows)
            some = min(min(n, across - q), columns - j)
            yo = ((image * shape.outputs + o) * shape.rows + r) * shape.columns + 2 * q
            count = min(2 * some, shape.columns - 2 * q)
            _store_pairs(s, out + j, wide, shift, count, y, yo, bad)
            if r + 1 < shape.rows:
                yo += shape.columns
                _store_pairs(s, out + j + 2 * wide, wide, shift, count, y, yo, bad)
            j += some
    if s[bad : bad + n].sum() != 0:
        fine[t] = False


@kernel
def _winograd(loop, x, w, bias, shape, u, v, fine, y):
    u, v = u[aligned_start(u) :], v[aligned_start(v) :]
    panels, wide = -(-shape.outputs // tile_rows(y)), tile_columns(y)
    each(loop, panels, _transform_weight, (w, shape, u))
    total = shape.images * shape.tile_rows
    for begin in range(0, total, shape.step):
        end = min(begin + shape.step, total)
        tiles = (end - begin) * shape.tile_columns
        blocks = -(-tiles // wide)
        if tiles % wide:
            v[(blocks - 1) * 16 * shape.room * wide : blocks * 16 * shape.room * wide] = 0
        each(loop, shape.inputs, _transform_input, (x, shape, begin, end, v))
        each(loop, panels * blocks, _multiply, (u, v, bias, shape, begin, tiles, fine, y))


def winograd(x, w, bias, before, backwards, y):
    """y = the convolution of x and w plus bias (or an empty array), all contiguous; False if that
    is not finite, and so not to be used."""
    images, outputs, *size = y.shape
    rows, columns = (-(-s // 2) for s in size)
    step = min(max(_VALUES // (16 * x.shape[1] * columns), 1), images * rows)
    room = x.shape[1] + 1
    shape = _Shape(images, x.shape[1], outputs, *x.shape[2:], *size, *before, rows, columns, step,
                   room, backwards)
    high, wide = tile_shape(x.dtype)
    lane = wide // 2
    panels, blocks = -(-outputs // high), -(-step * columns // wide)
    u = memory.empty(panels * 16 * room * -(-high // lane) * lane + 64, x.dtype)
    v = memory.empty(blocks * 16 * room * wide + 64, x.dtype)
    fine = np.ones(panels * blocks, np.bool_)
    threads = use_threads(y.size * x.shape[1] // 4)
    launch(_winograd, threads, x.reshape(-1), w.reshape(-1), bias, shape, u, v, fine, y.reshape(-1))
    return fine.all()
