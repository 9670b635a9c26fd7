"""Scans along the middle axis of arrays (outer, n, inner) on a CUDA device.

Axes are cut into chunks where that takes more threads than there are columns: chunks are first joined
to one total each, the totals are scanned, and the chunks then start from what came before them. A
chunk belongs to a block where `inner` is small, which goes through it tile by tile, and otherwise to a
thread beside those of the next columns. The cuts depend on the shape alone, so that the same numbers
give the same bits. Floats are accumulated in float64.
"""

from functools import cache

import numpy as np

from nbgrad.kernels.cuda import maths as math
from nbgrad.kernels.cuda.array import DeviceArray
from nbgrad.kernels.cuda.blocks import THREADS, WARP, WARPS, exchange
from nbgrad.kernels.cuda.keys import orders
from nbgrad.kernels.cuda.layouts import contiguous
from nbgrad.kernels.cuda.memory import empty
from nbgrad.kernels.cuda.provider import (
    BLOCK,
    MOST_BLOCKS,
    SIMULATED,
    blocks,
    cuda,
    inline,
    kernel,
    machine,
)

SUM, PRODUCT, RECURRENCE, LOGSUMEXP, EXTREME, FIRST_EXTREME = range(6)
# Entries of a thread at a time, and of a block.
ITEMS = 2 if SIMULATED else 4
TILE = THREADS * ITEMS
# Where `inner` is as large, or n as small, chunks belong to threads.
WIDE, SHORT = (3, 3) if SIMULATED else (8, 32)
# Threads that keep the device busy and the least chunk of one; blocks, and theirs.
MANY, LEAST, MANY_BLOCKS, LEAST_TILES = (8, 2, 4, 1) if SIMULATED else (1 << 17, 64, 1056, 4)


@inline
def _joined_floats(how, s, f, t, g):
    """Two entries or totals (value, factor), the first before the second: an entry again."""
    if how == SUM:
        return s + t, f
    if how == PRODUCT:
        return s * t, f
    if how == RECURRENCE:
        return t + g * s, f * g
    low = t if s > t else s
    high = s if s > t else t
    if low == high and math.isinf(low):
        return high, f
    return high + math.log1p(math.exp(low - high)), f


@inline
def _joined_ints(how, s, f, t, g):
    """The same; of extremes the larger key and its place, the later one of equal keys."""
    if how == SUM:
        return s + t, f
    if how == PRODUCT:
        return s * t, f
    return (t, g) if t >= s else (s, f)


@inline
def _column(b, n, inner, chunks, back):
    """Of chunk b of all, counted in (outer, chunks, inner): its number in the column, where the column
    starts, and the step along it."""
    row = b // inner
    o = row // chunks
    base = o * n * inner + b - row * inner
    return row - o * chunks, base + (n - 1) * inner if back else base, -inner if back else inner


@cache
def _kernels(how: int, floats: bool):
    """(a block for each chunk, a thread for each chunk)."""
    joined, number = (_joined_floats, np.float64) if floats else (_joined_ints, np.int64)
    pairs, places = how == RECURRENCE or how >= EXTREME, how >= EXTREME
    paired = TILE if pairs else 1

    @kernel
    def tiles_of(x, a, carry, carried, y, ya, start, back, n, inner, length, chunks, totals):
        own = cuda.shared.array(TILE, x.dtype, alignment=16)
        own_factors = cuda.shared.array(paired, a.dtype, alignment=16)
        ends = cuda.shared.array(WARPS, number)
        end_factors = cuda.shared.array(WARPS, number)
        values = cuda.local.array(ITEMS, number)
        factors = cuda.local.array(ITEMS, number)
        tid = np.uint32(cuda.threadIdx.x)
        for b in range(cuda.blockIdx.x, x.size // n * chunks, cuda.gridDim.x):
            chunk, base, step = _column(b, n, inner, chunks, back)
            s, f = number(start), number(1)
            if chunk > 0 and not totals:
                s = carry[b - inner]
                if pairs:
                    f = carried[b - inner]
            end = min((chunk + 1) * length, n)
            tile = chunk * length
            jump = np.uint64(step * THREADS)
            while tile < end:
                left, at = np.uint32(min(end - tile, TILE)), np.uint64(base + (tile + tid) * step)
                for k in range(ITEMS):
                    t = np.uint32(tid + k * THREADS)
                    own[t] = start
                    if pairs:
                        own_factors[t] = 1
                    if t < left:
                        place = at + np.uint64(k) * jump
                        own[t] = x[place]
                        if pairs:
                            own_factors[t] = tile + t if how == FIRST_EXTREME else a[place]
                cuda.syncthreads()
                v, g = number(start), number(1)
                for k in range(ITEMS):
                    t = np.uint32(tid * ITEMS + k)
                    v, g = joined(how, v, g, number(own[t]), number(own_factors[t] if pairs else 1))
                    values[k] = v
                    factors[k] = g
                before, before_factor = number(start), number(1)  # of the warp, before this thread
                lanes = 1
                while lanes < WARP:
                    t = exchange(v, lanes)
                    h = exchange(g, lanes) if pairs else g
                    if tid & lanes:
                        before, before_factor = joined(how, t, h, before, before_factor)
                        v, g = joined(how, t, h, v, g)
                    else:
                        v, g = joined(how, v, g, t, h)
                    lanes *= 2
                if tid % WARP == 0:
                    ends[tid // WARP] = v
                    end_factors[tid // WARP] = g
                cuda.syncthreads()
                v, g = s, f
                for k in range(WARPS):
                    if k == tid // WARP:
                        v, g = s, f
                    s, f = joined(how, s, f, ends[k], end_factors[k])
                if not totals:
                    v, g = joined(how, v, g, before, before_factor)
                    for k in range(ITEMS):
                        t = np.uint32(tid * ITEMS + k)
                        result, factor = joined(how, v, g, values[k], factors[k])
                        own[t] = result
                        if places:
                            own_factors[t] = factor
                    cuda.syncthreads()
                    for k in range(ITEMS):
                        t = np.uint32(tid + k * THREADS)
                        if t < left:
                            place = at + np.uint64(k) * jump
                            y[place] = own[t]
                            if places:
                                ya[place] = own_factors[t]
                tile += TILE
            if totals and tid == 0:
                y[b] = s
                if pairs:
                    ya[b] = f

    @kernel
    def columns_of(x, a, carry, carried, y, ya, start, back, n, inner, length, chunks, totals):
        values = cuda.local.array(ITEMS, number)
        factors = cuda.local.array(ITEMS, number)
        for b in range(cuda.grid(1), x.size // n * chunks, cuda.gridsize(1)):
            chunk, base, step = _column(b, n, inner, chunks, back)
            s, f = number(start), number(1)
            if chunk > 0 and not totals:
                s = carry[b - inner]
                if pairs:
                    f = carried[b - inner]
            end = min((chunk + 1) * length, n)
            p = chunk * length
            while p < end:
                for k in range(ITEMS):  # memory answers all at once
                    place = np.uint64(base + min(p + k, end - 1) * step)
                    values[k] = x[place]
                    factors[k] = 1
                    if how == FIRST_EXTREME:
                        factors[k] = p + k
                    elif pairs:
                        factors[k] = a[place]
                for k in range(ITEMS):
                    if p + k < end:
                        s, f = joined(how, s, f, values[k], factors[k])
                        if not totals:
                            place = np.uint64(base + (p + k) * step)
                            y[place] = s
                            if places:
                                ya[place] = f
                p += ITEMS
            if totals:
                y[b] = s
                if pairs:
                    ya[b] = f

    return tiles_of, columns_of


@cache
def _launch(how: int, dtype, to, tiled: bool, grid: int):
    floats = dtype.kind == "f"
    wide, number = (np.dtype(np.float64), "float64") if floats else (np.dtype(np.int64), "int64")
    found, threads = (_kernels(how, floats)[0], THREADS) if tiled else (_kernels(how, floats)[1], BLOCK)
    arrays = [(d, 1) for d in (dtype, dtype, wide, wide, to, wide)]
    return machine.launcher(found, (*arrays, number, *["int64"] * 6))(grid, threads)


def _scan(x: DeviceArray, a: DeviceArray, y: DeviceArray, ya: DeviceArray, how: int, start,
          back: bool) -> None:
    """Scan contiguous x (outer, n, inner), and a where `how` needs it, into y and ya."""
    outer, n, inner = x.shape
    columns, tiled = outer * inner, inner < WIDE and n > SHORT
    if tiled:
        parts = max(1, min(MANY_BLOCKS // columns, n // (TILE * LEAST_TILES)))
        length = -(-n // (parts * TILE)) * TILE
    else:
        length = -(-n // max(1, min(MANY // columns, n // LEAST)))
    chunks = -(-n // length)
    grid = min(columns * chunks, MOST_BLOCKS) if tiled else blocks(columns * chunks)
    wide = np.dtype(np.float64 if x.dtype.kind == "f" else np.int64)
    carry = carried = empty(0, wide)
    if chunks > 1:
        shape = (outer, chunks, inner)
        totals, factors = empty(shape, wide), empty(shape, wide)
        _launch(how, x.dtype, wide, tiled, grid)(x, a, carry, carried, totals, factors, start, back, n,
                                                 inner, length, chunks, 1)
        carry, carried = empty(shape, wide), empty(shape, wide)
        _scan(totals, factors, carry, carried, min(how, EXTREME), start, False)
    _launch(how, x.dtype, y.dtype, tiled, grid)(x, a, carry, carried, y, ya, start, back, n, inner,
                                                length, chunks, 0)


def _run(x, a, how, start, back):
    x = contiguous(x)
    y = empty(x.shape, x.dtype)
    if y.size:
        wide = np.float64 if x.dtype.kind == "f" else np.int64
        _scan(x, contiguous(a), y, empty(0, wide), how, start, bool(back))
    return y


def cumsum(x, back):
    """As kernels.cpu.scan."""
    return _run(x, x, SUM, 0, back)


def cumprod(x, back):
    """As kernels.cpu.scan."""
    return _run(x, x, PRODUCT, 1, back)


def recurrence(x, a, back):
    """As kernels.cpu.scan."""
    return _run(x, a, RECURRENCE, 0, back)


def logcumsumexp(x):
    """As kernels.cpu.scan."""
    return _run(x, x, LOGSUMEXP, -np.inf, False)


_LEAST = np.iinfo(np.int64).min


@kernel
def _fetch(x, places, y, n, inner):
    """y[o, i, c] = x[o, places[o, i, c], c]."""
    for k in range(cuda.grid(1), y.size, cuda.gridsize(1)):
        row = k // inner
        y[k] = x[((row // n) * n + places[k]) * inner + k - row * inner]


@cache
def _fetch_launch(dtype, grid):
    return machine.launcher(_fetch, ((dtype, 1), (np.dtype(np.int64), 1), (dtype, 1),
                                     "int64", "int64"))(grid, BLOCK)


def cumulative_extreme(x, largest):
    """As kernels.cpu.scan."""
    x = contiguous(x)
    _, n, inner = x.shape
    values, indices = empty(x.shape, x.dtype), empty(x.shape, np.int64)
    if x.size:
        keys = orders(x, not largest, np.int64, True)
        _scan(keys, keys, empty(x.shape, np.int64), indices, FIRST_EXTREME, _LEAST, False)
        _fetch_launch(x.dtype, blocks(x.size))(x, indices, values, n, inner)
    return values, indices
