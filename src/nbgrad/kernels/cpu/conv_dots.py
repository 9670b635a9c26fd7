"""The gradient of a convolution to its weight where inputs are few, as in the first layer of a net.

    gw[o, (c, t)] = sum over pixels p of gy[o, p] * x[c, place of tap t at p]

Both factors lie in memory with pixels side by side, so registers hold pixels and nothing is packed
or transposed: a square of outputs and taps is accumulated in registers, a register each, over the
pixels of a block that stays in the caches. Blocks add up in lanes, lanes and chunks of the batch in
float64. The chunks depend on the shape alone.
"""

from functools import cache, lru_cache
from typing import NamedTuple

import numpy as np
from numba import types
from numba.extending import intrinsic

from nbgrad.kernels.cpu.conv_windows import laid_out, windows
from nbgrad.kernels.cpu.simd import (
    aligned,
    lanes,
    lanes_below,
    masked_load,
    register_count,
    tile_shape,
    vector_at,
)
from nbgrad.kernels.cpu.tasks import each, launch
from nbgrad.kernels.options import inline, kernel, use_threads

_BLOCK = 64  # registers of pixels in a block
_CHUNKS = 8


@cache
def _side() -> int:
    """Outputs, and taps, of a square: its sums fill the registers, but for a few."""
    return 5 if register_count() == 32 else 3


@intrinsic
def side(typingctx, like):
    """The same in a kernel."""
    return types.intp(like), lambda context, *_: context.get_constant(types.intp, _side())


@intrinsic
def _add_square(typingctx, g, g_rows, x, x_taps, steps, begin, end, sums, so):
    """sums[so:] += the products of side() rows of g with as many shifts of x, in lanes.

    Step s multiplies steps[s, 2] pixels, from g_rows[i] + steps[s, 0] and x_taps[j] + steps[s, 1].
    """

    def codegen(context, builder, sig, args):
        g, g_rows, x, x_taps, steps, begin, end, sums, so = args
        i64, size, n = begin.type, sig.args[0].dtype.bitwidth // 8, _side()

        def number(q, array, at):
            place = context.make_array(sig.args[q])(context, builder, array).data
            return builder.load(builder.gep(place, [at]))

        rows = [number(1, g_rows, i64(i)) for i in range(n)]
        taps = [number(3, x_taps, i64(j)) for j in range(n)]
        kind = vector_at(context, builder, sig.args[0], g, so).type.pointee
        zero, entry = kind([0.0] * kind.count), builder.block
        loop, done = builder.append_basic_block("loop"), builder.append_basic_block("done")
        builder.branch(loop)
        builder.position_at_end(loop)
        s = builder.phi(i64)
        total = [[builder.phi(kind) for _ in taps] for _ in rows]
        at_g, at_x, count = (
            number(4, steps, builder.add(builder.mul(s, i64(3)), i64(q))) for q in range(3))
        mask = lanes_below(builder, count, kind.count)

        def load(q, array, at):
            place = vector_at(context, builder, sig.args[q], array, at)
            return masked_load(builder, place, mask, zero, size)

        right = [load(2, x, builder.add(at_x, tap)) for tap in taps]
        new = []
        for row, line in zip(rows, total):
            left = load(0, g, builder.add(at_g, row))
            new.append([builder.fadd(z, builder.fmul(left, y, flags=("contract",)),
                                     flags=("contract",)) for y, z in zip(right, line)])
        following = builder.add(s, i64(1))
        s.add_incoming(begin, entry)
        s.add_incoming(following, loop)
        for line, news in zip(total, new):
            for phi, z in zip(line, news):
                phi.add_incoming(zero, entry)
                phi.add_incoming(z, loop)
        builder.cbranch(builder.icmp_signed("<", following, end), loop, done)
        builder.position_at_end(done)
        for q, z in enumerate(z for line in new for z in line):
            place = vector_at(
                context, builder, sig.args[7], sums, builder.add(so, i64(q * kind.count)))
            builder.store(builder.fadd(builder.load(place, align=size), z), place, align=size)
        return context.get_dummy_value()

    i = types.intp
    return types.void(g, g_rows, x, x_taps, steps, i, i, sums, i), codegen


class _Shape(NamedTuple):
    """Sizes; `rows` and `taps` are gy's and x's places of output o and tap (c, t) in an image."""

    images: int
    chunks: int
    g_image: int
    x_image: int
    rows: np.ndarray
    taps: np.ndarray
    steps: np.ndarray  # flat (step, 3): see `_add_square`


@inline
def _chunk_task(t, gy, x, shape, parts):
    # parts[t] = the sum over the t-th part of the steps of all images
    images, chunks, g_image, x_image, rows, taps, steps = shape
    n, q = lanes(gy), side(gy)
    own, across, down = steps.size // 3, -(-taps.size // q), -(-rows.size // q)
    sums = aligned(down * across * q * q * n, gy)
    sums[:] = 0
    g_rows, x_taps = np.empty(q, np.int64), np.empty(q, np.int64)
    step, last = images * own * t // chunks, images * own * (t + 1) // chunks
    while step < last:
        image, first = step // own, step % own
        end = min(min(first + _BLOCK, own), first + last - step)
        for i in range(down):
            for k in range(q):  # what is past the end repeats the last
                g_rows[k] = image * g_image + rows[min(i * q + k, rows.size - 1)]
            for j in range(across):
                for k in range(q):
                    x_taps[k] = image * x_image + taps[min(j * q + k, taps.size - 1)]
                at = (i * across + j) * q * q * n
                _add_square(gy, g_rows, x, x_taps, steps, first, end, sums, at)
        step += end - first
    for o in range(rows.size):
        for k in range(taps.size):
            at = ((o // q * across + k // q) * q * q + o % q * q + k % q) * n
            total = 0.0
            for p in range(at, at + n):
                total += sums[p]
            parts[(t * rows.size + o) * taps.size + k] = total


@kernel
def _dots(loop, gy, x, shape, parts, gw):
    each(loop, shape.chunks, _chunk_task, (gy, x, shape, parts))
    for k in range(gw.size):
        total = 0.0
        for t in range(shape.chunks):
            total += parts[t * gw.size + k]
        gw[k] = total


def _steps(height, width, pitch, count):
    """Where each register of pixels of an image begins in gy and in x, and how many are in it."""
    i, j = np.divmod(np.arange(height * -(-width // count)), -(-width // count))
    return np.stack([i * width + j * count, i * pitch + j * count,
                     np.minimum(width - j * count, count)], 1).ravel()


@lru_cache(maxsize=256)
def _plan(x_shape, gy_shape, w_shape, dtype, *how):
    images, outputs, height, width = gy_shape
    at = windows(x_shape[2:], (height, width), w_shape[2:], *how)
    channels, plane = x_shape[1], at.layout.plane
    steps = _steps(height, width, at.layout.columns, tile_shape(dtype)[1] // 2)
    chunks = max(1, min(_CHUNKS, images * steps.size // (6 * _BLOCK)))
    return at.layout, _Shape(
        images, chunks, outputs * height * width, channels * plane,
        np.arange(outputs) * height * width,
        np.add.outer(np.arange(channels) * plane, at.taps).ravel(), steps)


def weight(gy, x, how, gw):
    """gw = the gradient to the weight, all contiguous; how: stride, dilation and padding before."""
    layout, shape = _plan(x.shape, gy.shape, gw.shape, x.dtype, *how)
    parts = np.empty(shape.chunks * gw.size)
    launch(_dots, use_threads(gy.size * shape.taps.size // 8), gy.reshape(-1), laid_out(x, layout),
           shape, parts, gw.reshape(-1))
