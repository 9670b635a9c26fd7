"""Convolutions whose groups have one channel on a side, of any window: loops over whole planes.

A plane is laid out with its padding, one block for each residue modulo the stride, so that output
pixel (i, j) meets tap t at i * pitch + j + taps[t]: every tap is then one long shifted sum over the
plane, whatever the stride. Places between the rows of the output are computed and dropped.
"""

from typing import NamedTuple

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from nbgrad.kernels.cpu.lanes import LANES, add_lanes, choose, load, splat
from nbgrad.kernels.cpu.simd import (
    aligned,
    copy_lanes,
    lanes,
    masked_load,
    vector_at,
)
from nbgrad.kernels.options import inline, kernel, parallel_kernel, prange

#: Places after a laid out plane that its last vector may overwrite: no register is longer.
SLACK = 16


class Layout(NamedTuple):
    """Where the pixels of a padded input go, so that strided windows become dense: see `lay_plane`.

    Flat, since Numba takes no nested tuple into a parallel loop.
    """

    height: int
    width: int
    stride_h: int
    stride_w: int
    first_h: np.ndarray  # input row of the first row of each residue; may lie outside
    first_w: np.ndarray
    rows: int  # of each residue
    columns: int
    plane: int  # places from one plane to the next: rows * columns where the input stays as it is


class Thin(NamedTuple):
    """A convolution that is thin on a side: channels, and whether its weight acts backwards."""

    images: int
    groups: int
    group_in: int
    group_out: int
    backwards: int
    rows: int  # of the output
    columns: int


def mask_of_bits(builder, bits, n, first=0):
    """For codegen: a mask of n lanes, the bits of an integer from `first` on."""
    bits = builder.trunc(builder.lshr(bits, bits.type(first)), ir.IntType(n))
    return builder.bitcast(bits, ir.VectorType(ir.IntType(1), n))


@intrinsic
def _copy_even(typingctx, x, xo, count, y, yo):
    """y[yo : yo + lanes] = x[xo], x[xo + 2] ... for the first `count`, then zeros."""

    def codegen(context, builder, sig, args):
        x, xo, count, y, yo = args
        place = vector_at(context, builder, sig.args[0], x, xo)
        y = vector_at(context, builder, sig.args[3], y, yo)
        size, kind = sig.args[0].dtype.bitwidth // 8, place.type.pointee
        n, zero = kind.count, kind([0.0] * kind.count)
        even = ir.VectorType(ir.IntType(32), n)(list(range(0, 2 * n, 2)))

        def store(load):
            halves = [load(builder.gep(place, [count.type(q)]), q * n) for q in range(2)]
            builder.store(builder.shuffle_vector(*halves, even), y, align=size)

        with builder.if_else(builder.icmp_signed(">", count, count.type(n))) as (whole, part):
            with whole:
                store(lambda place, _: builder.load(place, align=size))
            with part:
                last = builder.sub(builder.add(count, count), count.type(1))
                bits = builder.sub(builder.shl(count.type(1), last), count.type(1))
                store(lambda place, first: masked_load(
                    builder, place, mask_of_bits(builder, bits, n, first), zero, size))
        return context.get_dummy_value()

    i = types.intp
    return types.void(x, i, i, y, i), codegen


@inline
def lay_plane(x, xo, layout, out, oo):
    """Copy the plane of x at xo to out at oo, by residue: block (r, s), row i, column j is the
    pixel (first_h[r] + i * stride_h, first_w[s] + j * stride_w), or zero outside the plane."""
    height, width, stride_h, stride_w, first_h, first_w, rows, columns, plane = layout
    out[oo : oo + plane] = 0
    for top in first_h:
        i0, i1 = inside(top, stride_h, height, rows)
        for left in first_w:
            j0, j1 = inside(left, stride_w, width, columns)
            for i in range(i0, i1):
                source = xo + (top + i * stride_h) * width + left + j0 * stride_w
                to = oo + i * columns + j0
                j, count = 0, j1 - j0
                # Whole registers are written; the next row overwrites what hangs over.
                while stride_w == 1 and j < count:
                    copy_lanes(x, source + j, count - j, out, to + j)
                    j += lanes(x)
                while stride_w == 2 and j < count:
                    _copy_even(x, source + 2 * j, count - j, out, to + j)
                    j += lanes(x)
                while j < count:
                    copy_lanes(x, source + j * stride_w, 1, out, to + j)
                    j += 1
            oo += rows * columns


@inline
def inside(first, stride, size, count):
    # the range of i < count for which 0 <= first + i * stride < size
    begin = min(max(-(first // stride), 0), count)
    return begin, max(min(-((first - size) // stride), count), begin)


@inline
def _add_taps(w, wo, laid, taps, sums):
    # sums[p] += sum over t of w[wo + t] * laid[p + taps[t]]
    t = 0
    while t + 3 <= taps.size:
        w0, w1, w2 = w[wo + t], w[wo + t + 1], w[wo + t + 2]
        b0, b1, b2 = laid[taps[t] :], laid[taps[t + 1] :], laid[taps[t + 2] :]
        for p in range(sums.size):
            sums[p] += w0 * b0[p] + w1 * b1[p] + w2 * b2[p]
        t += 3
    while t < taps.size:
        w0, b0 = w[wo + t], laid[taps[t] :]
        for p in range(sums.size):
            sums[p] += w0 * b0[p]
        t += 1


@inline
def _close_rows(x, rows, columns, pitch, y, yo, end):
    # y[yo + i * columns + j] = x[i * pitch + j]. Whole registers are written: the next row or plane
    # overwrites what hangs over, and rows too close to `end` for that are copied singly.
    n = lanes(x)
    reach = -(-columns // n) * n
    free = min(max((end - yo - reach) // columns + 1, 0), rows)
    for i in range(free):
        for j in range(0, columns, n):
            copy_lanes(x, i * pitch + j, n, y, yo + i * columns + j)
    for i in range(free, rows):
        for j in range(columns):
            y[yo + i * columns + j] = x[i * pitch + j]


@inline
def _planes(thin):
    return thin.images * thin.groups * thin.group_out


@inline
def _forward_planes(x, w, bias, taps, layout, thin, begin, end, y):
    _, groups, group_in, group_out, backwards, rows, columns = thin
    pitch = layout.columns
    laid = aligned(layout.plane + SLACK, x)
    padded = aligned((rows - 1) * pitch + columns + SLACK, x)
    sums = padded[: padded.size - SLACK]
    for q in range(begin, end):
        o = q % (groups * group_out)
        sums[:] = bias[o] if bias.size else x.dtype.type(0)
        for c in range(group_in):
            plane = q // group_out * group_in + c
            lay_plane(x, plane * layout.height * layout.width, layout, laid, 0)
            k = o * group_in + c
            if backwards:
                k = (o // group_out * group_in + c) * group_out + o % group_out
            _add_taps(w, k * taps.size, laid, taps, sums)
        size = rows * columns
        _close_rows(padded, rows, columns, pitch, y, q * size, end * size)


@inline
def _dot(g, live, b):
    # The sum of g * b where g is a pixel of the output.
    sums, zero = splat(g, 0), g.dtype.type(0)
    for p in range(0, g.size, LANES):
        sums = sums + load(g, p) * choose(load(live, p), load(b, p), zero)
    return add_lanes(sums)


@inline
def _weight_channels(gy, x, taps, layout, thin, begin, end, gw):
    # Sums within a plane are in the dtype of x, by lanes; across planes in float64.
    images, groups, group_in, group_out, _, rows, columns = thin
    pitch = layout.columns
    places = -(-((rows - 1) * pitch + columns) // LANES) * LANES
    laid = aligned(layout.plane + LANES + SLACK, x)
    padded = np.zeros(places + SLACK, x.dtype)
    g, live = padded[:places], np.zeros(places, np.bool_)
    for i in range(rows):
        live[i * pitch : i * pitch + columns] = True
    total = np.empty(taps.size)
    for k in range(begin * group_in, end * group_in):
        o, c = k // group_in, k % group_in
        total[:] = 0
        for n in range(images):
            plane = (n * groups + o // group_out) * group_in + c
            lay_plane(x, plane * layout.height * layout.width, layout, laid, 0)
            go = (n * groups * group_out + o) * rows * columns
            for i in range(rows):
                for j in range(0, columns, lanes(x)):
                    copy_lanes(gy, go + i * columns + j, columns - j, padded, i * pitch + j)
            for t in range(taps.size):
                total[t] += _dot(g, live, laid[taps[t] :])
        for t in range(taps.size):
            gw[k * taps.size + t] = total[t]


@kernel
def forward(x, w, bias, taps, layout, thin, y):
    """y = the convolution of x and w plus bias (or an empty array), all flat."""
    _forward_planes(x, w, bias, taps, layout, thin, np.intp(0), _planes(thin), y)


@parallel_kernel
def forward_threads(x, w, bias, taps, layout, thin, y):
    """The same on all threads."""
    step = -(-_planes(thin) // 64)
    for q in prange(-(-_planes(thin) // step)):
        begin = np.intp(q) * step
        end = min(begin + step, _planes(thin))
        _forward_planes(x, w, bias, taps, layout, thin, begin, end, y)


@kernel
def weight(gy, x, taps, layout, thin, gw):
    """gw = the gradient to the weight, all flat."""
    _weight_channels(gy, x, taps, layout, thin, np.intp(0), thin.groups * thin.group_out, gw)


@parallel_kernel
def weight_threads(gy, x, taps, layout, thin, gw):
    """The same on all threads."""
    outputs = thin.groups * thin.group_out
    step = -(-outputs // 64)
    for q in prange(-(-outputs // step)):
        begin = np.intp(q) * step
        end = min(begin + step, outputs)
        _weight_channels(gy, x, taps, layout, thin, begin, end, gw)
