"""The gradient of a convolution to its weight, where rows of pixels fill registers.

    gw[o, (c, u, t)] = sum over pixels p of gy[o, p] * x[c, place of plane u and tap t at p]

Both factors lie in memory with pixels side by side, so registers hold pixels and nothing is packed
or transposed: a square of outputs and taps is accumulated in registers, a register each, over the
pixels of a block that stays in the caches. Their lanes add up in a tree, blocks and chunks of the
batch in float64. The chunks depend on the shape alone. Planes that lie in the padding are left out.
"""

import math
from functools import cache, lru_cache
from typing import NamedTuple

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from nbgrad.kernels import memory
from nbgrad.kernels.cpu.columns import taps
from nbgrad.kernels.cpu.conv_windows import laid_out, windows
from nbgrad.kernels.cpu.depthwise import lay_plane, mask_of_bits
from nbgrad.kernels.cpu.simd import (
    aligned,
    ask,
    lanes,
    masked_load,
    prefetch,
    register_count,
    tile_shape,
    vector_at,
)
from nbgrad.kernels.cpu.tasks import each, launch
from nbgrad.kernels.options import inline, kernel, use_threads

_BLOCK = 64  # registers of pixels in a block
_CHUNKS = 8
_SUMS = 1 << 18  # of a chunk, at most


@cache
def _square() -> tuple[int, int]:
    """Outputs, and taps, of a square: its sums fill the registers, but for a few."""
    return (4, 6) if register_count() == 32 else (3, 3)


def _side(q):
    @intrinsic
    def side(typingctx, like):
        return types.intp(like), lambda context, *_: context.get_constant(types.intp, _square()[q])

    return side


high, wide = _side(0), _side(1)


def _add_lanes(builder, registers):
    """As few registers as hold the sums of the lanes of each of these, in their order."""
    kind = registers[0].type
    n, numbers = kind.count, ir.VectorType(ir.IntType(32), kind.count)
    even, odd = (numbers(list(range(q, 2 * n, 2))) for q in range(2))
    registers = registers + [kind([0.0] * n)] * (-len(registers) % n)
    for _ in range(n.bit_length() - 1):
        registers = [
            builder.fadd(builder.shuffle_vector(x, y, even), builder.shuffle_vector(x, y, odd))
            for x, y in zip(registers[::2], registers[1::2])]
    return registers


@intrinsic
def _dot_square(typingctx, g, go, rows, ro, x, xo, taps, to, steps, begin, end, x_next, sums):
    """sums = the dot products of high() rows of g with wide() shifts of x, row by row.

    Step s multiplies the pixels that are bits of steps[s, 2], from g[go + rows[ro + i] + steps[s, 0]]
    and x[xo + taps[to + j] + steps[s, 1]], and asks for what lies at x[x_next + steps[s, 1]].
    """

    def codegen(context, builder, sig, args):
        g, go, _, ro, _, _, _, to, _, begin, end, x_next, sums = args
        i64, size = begin.type, sig.args[0].dtype.bitwidth // 8

        def data(q):
            return context.make_array(sig.args[q])(context, builder, args[q]).data

        def starts(q, table, first, count):
            offsets = [builder.load(builder.gep(data(table), [builder.add(first, i64(k))]))
                       for k in range(count)]
            return [builder.gep(data(q), [builder.add(args[q + 1], z)]) for z in offsets]

        lefts, rights = starts(0, 2, ro, _square()[0]), starts(4, 6, to, _square()[1])
        kind = vector_at(context, builder, sig.args[0], g, go).type.pointee
        zero, entry = kind([0.0] * kind.count), builder.block
        loop, done = builder.append_basic_block("loop"), builder.append_basic_block("done")
        builder.branch(loop)
        builder.position_at_end(loop)
        s = builder.phi(i64)
        total = [[builder.phi(kind) for _ in rights] for _ in lefts]
        at = builder.gep(data(8), [builder.mul(s, i64(3))])
        at_g, at_x, bits = (builder.load(builder.gep(at, [i64(q)])) for q in range(3))
        mask = mask_of_bits(builder, bits, kind.count)

        def load(start, offset):
            place = builder.bitcast(builder.gep(start, [offset]), kind.as_pointer())
            return masked_load(builder, place, mask, zero, size)

        ask(builder, builder.gep(data(4), [builder.add(x_next, at_x)]))
        right = [load(start, at_x) for start in rights]
        new = []
        for start, line in zip(lefts, total):
            left = load(start, at_g)
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
        for q, z in enumerate(_add_lanes(builder, [z for line in new for z in line])):
            place = vector_at(context, builder, sig.args[12], sums, i64(q * kind.count))
            builder.store(z, place, align=size)
        return context.get_dummy_value()

    i = types.intp
    return types.void(g, i, rows, i, x, i, taps, i, steps, i, i, i, sums), codegen


class _Shape(NamedTuple):
    """Sizes; `rows` and `taps` are gy's and x's places of outputs and numbers of a window in an
    image, cut into squares whose last ones repeat themselves."""

    images: int
    chunks: int
    outputs: int
    depth: int  # of the output
    planes: int  # of the input, in a channel
    reach: int  # of a window, in planes
    stride: int
    before: int
    g_image: int
    x_image: int
    rows: np.ndarray
    taps: np.ndarray
    first: np.ndarray  # step from which on, and up to which, the taps of a square lie in the input
    last: np.ndarray
    places: np.ndarray  # of the numbers of a window among those of squares
    steps: np.ndarray  # flat (step, 3): see `_dot_square`


@inline
def _lays(layout, shape):
    # Whether tasks lay out planes themselves, a few of a volume, which then stay in the caches.
    return shape.planes > 1 and layout.plane != layout.rows * layout.columns


@inline
def _lay_planes(x, image, begin, end, layout, shape, laid):
    # What steps begin .. end of an image meet, in its place among all planes.
    per, size = shape.steps.size // (3 * shape.depth), layout.height * layout.width
    top = begin // per * shape.stride - shape.before
    stop = (end - 1) // per * shape.stride - shape.before + shape.reach
    all_planes = laid.size // layout.plane
    for q in range(all_planes):
        if top <= q % shape.planes < stop:
            lay_plane(x, (image * all_planes + q) * size, layout, laid, q * layout.plane)


@inline
def _chunk_task(t, gy, x, layout, shape, parts):
    # parts[t] = the sums over the t-th part of the steps of all images, [square][output][tap]
    images, chunks, g_image, x_image = shape.images, shape.chunks, shape.g_image, shape.x_image
    rows, taps, first, last, steps = shape.rows, shape.taps, shape.first, shape.last, shape.steps
    q, r, own = high(gy), wide(gy), steps.size // 3
    down, across, size = rows.size // q, taps.size // r, q * r
    to, sums = t * down * across * size, aligned(size + lanes(gy), gy)
    parts[to : to + down * across * size] = 0
    start, stop = images * own * t // chunks, images * own * (t + 1) // chunks
    step, laid, lays = start, x, _lays(layout, shape)
    if lays:
        laid = aligned(x_image, x)
    while step < stop:
        image, begin = step // own, step % own
        end, xo = min(min(begin + _BLOCK, own), begin + stop - step), image * x_image
        if lays:
            xo = 0
            if begin == 0 or step == start:
                _lay_planes(x, image, begin, min(own, begin + stop - step), layout, shape, laid)
        for i in range(down):
            # Meanwhile the rows of gy that come next are asked for, at last those of the next block.
            ahead, registers = image * g_image, q * (end - begin)
            if i + 1 == down:
                ahead += steps[3 * min(end, own - 1)] - steps[3 * begin]
            for j in range(across):
                for p in range(registers * j // across, registers * (j + 1) // across):
                    row = rows[(i + 1) % down * q + p % q]
                    prefetch(gy, ahead + row + steps[3 * (begin + p // q)])
                lo, hi = max(begin, first[j]), min(end, last[j])
                if lo < hi:
                    x_next = xo + taps[min((j + 1) * r, taps.size - 1)]
                    _dot_square(gy, image * g_image, rows, i * q, laid, xo, taps, j * r, steps, lo, hi,
                                x_next, sums)
                    at = to + (i * across + j) * size
                    for p in range(size):
                        parts[at + p] += sums[p]
        step += end - begin


@inline
def _add_chunks(o, shape, parts, gw):
    q, r, places = high(gw), wide(gw), shape.places
    line, whole = shape.taps.size * q, shape.rows.size * shape.taps.size
    for k in range(places.size):
        total = 0.0
        for at in range(o // q * line + o % q * r + places[k], parts.size, whole):
            total += parts[at]
        gw[o * places.size + k] = total


@kernel
def _dots(loop, gy, x, layout, shape, parts, gw):
    each(loop, shape.chunks, _chunk_task, (gy, x, layout, shape, parts))
    each(loop, shape.outputs, _add_chunks, (shape, parts, gw))


def _steps(depth, height, width, plane, pitch, count):
    """Where each register of pixels of an image begins in gy and in x, and which numbers are in it."""
    d, i, j = np.indices((depth, height, -(-width // count))).reshape(3, -1)
    inside = np.minimum(width - j * count, count)
    return np.stack([(d * height + i) * width + j * count, d * plane + i * pitch + j * count,
                     (1 << inside) - 1], 1)


def _squares(lines, side):
    """Lines, each filled up to whole squares with its last number."""
    return np.pad(lines, ((0, 0), (0, -lines.shape[1] % side)), "edge")


@lru_cache(maxsize=256)
def _plan(x_shape, gy_shape, w_shape, dtype, *how):
    images, channels, planes, *size = x_shape
    outputs, depth, *out_size = gy_shape[1:]
    pixels = depth * math.prod(out_size)
    (kernel, stride, dilation, before), *axes = zip(w_shape[2:], *how)
    at = windows(tuple(size), tuple(out_size), *zip(*axes))
    lane, (q, r), plane = tile_shape(dtype)[1] // 2, _square(), at.layout.plane
    steps = _steps(depth, *out_size, stride * plane, at.layout.columns, lane)
    rows = _squares(np.arange(outputs)[None] * pixels, q)
    # Squares have taps of one plane of the window: [u][c, t], in gw [c][u][t]
    met = np.arange(kernel)[:, None] * dilation - before + np.arange(channels) * planes
    order = np.argsort(at.taps)
    met = _squares(np.add.outer(met * plane, at.taps[order]).reshape(kernel, -1), r)
    slots = np.arange(met.size).reshape(kernel, -1)[:, : channels * at.taps.size]
    slots = slots.reshape(kernel, channels, -1)[..., np.argsort(order)].swapaxes(0, 1).ravel()
    found = [inside for _, inside, _ in taps(kernel, depth, planes, stride, before, dilation)]
    first, last = (np.repeat([getattr(s, end) * len(steps) // depth for s in found], met.shape[1] // r)
                   for end in ("start", "stop"))
    return at.layout, _Shape(
        images, max(1, min(_CHUNKS, images * len(steps) // _BLOCK)), outputs, depth, planes,
        (kernel - 1) * dilation + 1, stride, before, outputs * pixels, channels * planes * plane,
        rows.ravel(), met.ravel(), first, last, slots // r * q * r + slots % r, steps.ravel())


def suits(gy_shape, w_shape, dtype):
    """Whether rows of pixels fill registers well, and sums of chunks of the batch are not too many."""
    width, lane = gy_shape[-1], tile_shape(dtype)[1] // 2
    return 4 * width >= 3 * lane * -(-width // lane) and 0 < math.prod(w_shape) <= _SUMS


def weight(gy, x, how, gw):
    """gw (O, C, kd, kh, kw) = the gradient to the weight of one group, from gy (N, O, OD, OH, OW) and
    x (N, C, D, H, W), all contiguous; how: stride, dilation and padding before, triples."""
    n, c, d, *plane = x.shape
    layout, shape = _plan(x.shape, gy.shape, gw.shape, x.dtype, *how)
    parts = memory.empty(shape.chunks * shape.rows.size * shape.taps.size, np.float64)
    threads = use_threads(gy.size * shape.taps.size // 8)
    if d == 1:
        x = laid_out(x.reshape(n, c, *plane), layout)
    launch(_dots, threads, gy.reshape(-1), x.reshape(-1), layout, shape, parts, gw.reshape(-1))
