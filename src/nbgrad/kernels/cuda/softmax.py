"""Softmax and log-softmax along one axis on a CUDA device, and their gradients.

A group of threads holds its row in registers, so that it is read once. Longer rows, and columns, are
read twice: the maximum and the sum that belongs to it are found together.
"""

from functools import cache

import numpy as np

from nbgrad.kernels.cpu.softmax import split
from nbgrad.kernels.cuda import maths as math
from nbgrad.kernels.cuda.blocks import (
    THREADS,
    WARP,
    WARPS,
    grid,
    largest_of,
    power,
    sync,
    total_of,
)
from nbgrad.kernels.cuda.layouts import contiguous
from nbgrad.kernels.cuda.memory import empty
from nbgrad.kernels.cuda.provider import SIMULATED, cuda, inline, kernel, machine

#: Entries of a row that a thread holds at most, and entries it reads at once from longer ones.
HELD, EACH = (4, 2) if SIMULATED else (16, 8)


@inline
def steady(m):
    """What is subtracted under the exponential where the largest entry is m, so far."""
    return m if m - m == 0 else type(m)(0)


@inline
def growing(x, at, far, left, m, s):
    """(m, s) for the largest entry m and the sum s of exp(entry - m) with EACH entries more.

    They lie `far` apart from `at` on; `left` of them, or all if these are more, count.
    """
    new = m
    for k in range(EACH):
        if k < left:
            v = x[np.uint64(at + k * far)]
            new = v if v > new else new
    base = steady(new)
    s *= np.float64(math.exp(steady(m) - base)) if m - m == 0 else np.float64(1)
    part = x.dtype.type(0)
    for k in range(EACH):
        if k < left:
            part += math.exp(x[np.uint64(at + k * far)] - base)
    return new, s + np.float64(part)


@inline
def joined(m, s, largest):
    """The sum that belongs to the largest entry of several threads."""
    if m - m == 0:
        return s * np.float64(math.exp(m - steady(largest)))
    return s - s if m > 0 else s  # infinity less infinity; a thread of no numbers has the sum 0


@cache
def held_rows(group: int, held: int, logarithm: bool):
    """Rows of at most group * held entries."""
    largest, total = largest_of(group), total_of(group)
    rows = THREADS // group

    @kernel
    def softmax_held(x, y, count, n):
        cast = x.dtype.type
        own = cuda.local.array(held, x.dtype)
        tops = cuda.shared.array(WARPS, x.dtype)
        sums = cuda.shared.array(WARPS, np.float64)
        thread = np.int64(cuda.threadIdx.x)
        lane = thread % group
        for r0 in range(cuda.blockIdx.x * rows, count, cuda.gridDim.x * rows):
            r = r0 + thread // group
            at, left = r * n + lane, n - lane if r < count else 0
            m = cast(-math.inf)
            for k in range(held):
                own[k] = x[np.uint64(at + k * group)] if k * group < left else cast(-math.inf)
                m = own[k] if own[k] > m else m
            m = largest(m, tops, thread)
            part = cast(0)
            for k in range(held):
                if k * group < left:
                    e = math.exp(own[k] - m)
                    part += e
                    if not logarithm:
                        own[k] = e
            s = total(np.float64(part), sums, thread)
            scale = cast(math.log(s)) if logarithm else cast(1 / s)
            for k in range(held):
                if k * group < left:
                    y[np.uint64(at + k * group)] = (
                        (own[k] - m) - scale if logarithm else own[k] * scale)

    return softmax_held


@cache
def long_rows(logarithm: bool):
    """A block a row."""
    largest, total = largest_of(THREADS), total_of(THREADS)

    @kernel
    def softmax_long(x, y, count, n):
        cast = x.dtype.type
        tops = cuda.shared.array(WARPS, x.dtype)
        sums = cuda.shared.array(WARPS, np.float64)
        thread = np.int64(cuda.threadIdx.x)
        for r in range(cuda.blockIdx.x, count, cuda.gridDim.x):
            at = r * n
            mine, s = cast(-math.inf), np.float64(0)
            for j in range(thread, n, THREADS * EACH):
                left = (n - j + THREADS - 1) // THREADS
                mine, s = growing(x, at + j, THREADS, left, mine, s)
            m = largest(mine, tops, thread)
            s = total(joined(mine, s, m), sums, thread)
            scale = cast(math.log(s)) if logarithm else cast(1 / s)
            for j in range(thread, n, THREADS):
                v = x[np.uint64(at + j)] - m
                y[np.uint64(at + j)] = v - scale if logarithm else math.exp(v) * scale

    return softmax_long


@cache
def columns(width: int, logarithm: bool):
    """Columns of x (outer, n, inner), `width` of them side by side a block."""
    height = THREADS // width

    @kernel
    def softmax_columns(x, y, outer, n, inner):
        cast = x.dtype.type
        tops = cuda.shared.array(THREADS, x.dtype)
        sums = cuda.shared.array(THREADS, np.float64)
        thread = np.int64(cuda.threadIdx.x)
        beside, below = thread % width, thread // width
        tiles = (inner + width - 1) // width
        for b in range(cuda.blockIdx.x, outer * tiles, cuda.gridDim.x):
            o = b // tiles
            j = (b - o * tiles) * width + beside
            at = o * n * inner + j
            end = n if j < inner else 0
            m, s = cast(-math.inf), np.float64(0)
            for i in range(below, end, height * EACH):
                left = (end - i + height - 1) // height
                m, s = growing(x, at + i * inner, height * inner, left, m, s)
            tops[thread] = m
            sums[thread] = s
            sync()
            for k in range(height):
                m = tops[beside + k * width] if tops[beside + k * width] > m else m
            s = np.float64(0)
            for k in range(height):
                s += joined(tops[beside + k * width], sums[beside + k * width], m)
            sync()
            scale = cast(math.log(s)) if logarithm else cast(1 / s)
            for i in range(below, end, height):
                v = x[np.uint64(at + i * inner)] - m
                y[np.uint64(at + i * inner)] = v - scale if logarithm else math.exp(v) * scale

    return softmax_columns


@inline
def _slope(g, y, s, logarithm):
    return g - math.exp(y) * s if logarithm else y * (g - s)


@cache
def held_rows_backward(group: int, held: int, logarithm: bool):
    """Rows of at most group * held entries."""
    total = total_of(group)
    rows = THREADS // group

    @kernel
    def softmax_backward_held(g, y, gx, count, n):
        cast = y.dtype.type
        gs = cuda.local.array(held, y.dtype)
        ys = cuda.local.array(held, y.dtype)
        sums = cuda.shared.array(WARPS, np.float64)
        thread = np.int64(cuda.threadIdx.x)
        lane = thread % group
        for r0 in range(cuda.blockIdx.x * rows, count, cuda.gridDim.x * rows):
            r = r0 + thread // group
            at, left = r * n + lane, n - lane if r < count else 0
            part = cast(0)
            for k in range(held):
                gs[k] = cast(0)
                ys[k] = cast(0)
                if k * group < left:
                    gs[k] = g[np.uint64(at + k * group)]
                    ys[k] = y[np.uint64(at + k * group)]
                part += gs[k] if logarithm else gs[k] * ys[k]
            s = cast(total(np.float64(part), sums, thread))
            for k in range(held):
                if k * group < left:
                    gx[np.uint64(at + k * group)] = _slope(gs[k], ys[k], s, logarithm)

    return softmax_backward_held


@cache
def long_rows_backward(logarithm: bool):
    """A block a row."""
    total = total_of(THREADS)

    @kernel
    def softmax_backward_long(g, y, gx, count, n):
        cast = y.dtype.type
        sums = cuda.shared.array(WARPS, np.float64)
        thread = np.int64(cuda.threadIdx.x)
        for r in range(cuda.blockIdx.x, count, cuda.gridDim.x):
            at, s = r * n, np.float64(0)
            for j in range(thread, n, THREADS * EACH):
                part = cast(0)
                for k in range(EACH):
                    if j + k * THREADS < n:
                        i = np.uint64(at + j + k * THREADS)
                        part += g[i] if logarithm else g[i] * y[i]
                s += np.float64(part)
            t = cast(total(s, sums, thread))
            for j in range(thread, n, THREADS):
                i = np.uint64(at + j)
                gx[i] = _slope(g[i], y[i], t, logarithm)

    return softmax_backward_long


@cache
def columns_backward(width: int, logarithm: bool):
    """Columns of y (outer, n, inner), `width` of them side by side a block."""
    height = THREADS // width

    @kernel
    def softmax_backward_columns(g, y, gx, outer, n, inner):
        cast = y.dtype.type
        sums = cuda.shared.array(THREADS, np.float64)
        thread = np.int64(cuda.threadIdx.x)
        beside, below = thread % width, thread // width
        tiles = (inner + width - 1) // width
        for b in range(cuda.blockIdx.x, outer * tiles, cuda.gridDim.x):
            o = b // tiles
            j = (b - o * tiles) * width + beside
            at = o * n * inner + j
            end = n if j < inner else 0
            s = np.float64(0)
            for i in range(below, end, height * EACH):
                part = cast(0)
                for k in range(EACH):
                    if i + k * height < end:
                        p = np.uint64(at + (i + k * height) * inner)
                        part += g[p] if logarithm else g[p] * y[p]
                s += np.float64(part)
            sums[thread] = s
            sync()
            s = sums[beside]
            for k in range(1, height):
                s += sums[beside + k * width]
            sync()
            t = cast(s)
            for i in range(below, end, height):
                p = np.uint64(at + i * inner)
                gx[p] = _slope(g[p], y[p], t, logarithm)

    return softmax_backward_columns


def held_for(n: int, most: int = HELD) -> tuple[int, int]:
    """(threads, entries each) for rows of n that threads can hold; (0, 0) for longer ones."""
    for group, limit in ((WARP, WARP * most), (THREADS, THREADS * most)):
        if n <= limit:
            group = min(group, power(n))
            return group, power(-(-n // group))
    return 0, 0


def width_for(outer: int, n: int, inner: int) -> int:
    """How many columns a block has: few where few columns are long."""
    width = min(power(inner), WARP)
    while width < THREADS and (n < 2 * THREADS // width or outer * inner >= 1024 * THREADS):
        width *= 2
    return width


@cache
def _launch(dtype, arrays: int, outer: int, n: int, inner: int, logarithm: bool):
    """A function of arrays: inputs, then the output."""
    group, held = held_for(n, HELD if arrays == 2 else HELD // 2)
    numbers: tuple[int, ...] = (outer, n)
    count = grid(outer, group or THREADS)
    if inner > 1:
        width = width_for(outer, n, inner)
        made = (columns if arrays == 2 else columns_backward)(width, logarithm)
        numbers, count = (outer, n, inner), grid(outer * -(-inner // width))
    elif group:
        made = (held_rows if arrays == 2 else held_rows_backward)(group, held, logarithm)
    else:
        made = (long_rows if arrays == 2 else long_rows_backward)(logarithm)
    run = machine.launcher(made, ((dtype, 1),) * arrays + ("int64",) * len(numbers))(count, THREADS)
    return lambda *given: run(*given, *numbers)


def _run(arrays, axis, logarithm):
    out = empty(arrays[0].shape, arrays[0].dtype)
    if out.size:
        run = _launch(out.dtype, len(arrays) + 1, *split(out.shape, axis), logarithm)
        run(*[contiguous(a) for a in arrays], out)
    return out


def softmax(x, axis):
    """exp(x) / sum(exp(x)) along `axis`."""
    return _run((x,), axis, False)


def log_softmax(x, axis):
    """x - log(sum(exp(x))) along `axis`."""
    return _run((x,), axis, True)


def softmax_backward(gy, y, axis):
    """y * (gy - sum(gy * y)) along `axis`, where y is the softmax."""
    return _run((gy, y), axis, False)


def log_softmax_backward(gy, y, axis):
    """gy - exp(y) * sum(gy) along `axis`, where y is the log-softmax."""
    return _run((gy, y), axis, True)
