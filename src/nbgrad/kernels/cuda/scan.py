"""Scans along the middle axis of arrays (outer, n, inner) on a CUDA device.

Long axes are cut into chunks, each scanned by a block; the chunks' totals are scanned in the same
way, and are what the chunks start from. The cuts depend on the shape alone, so that the same numbers
give the same bits. Floats are accumulated in float64.
"""

from functools import cache

import numpy as np

from nbgrad.kernels.cuda import maths as math
from nbgrad.kernels.cuda.array import DeviceArray
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
from nbgrad.kernels.cuda.sort import orders

SUM, PRODUCT, RECURRENCE, LOGSUMEXP, EXTREME, FIRST_EXTREME = range(6)
# Entries of a thread; of a block; columns that keep the device busy, and axes too short for a block.
ITEMS = 2 if SIMULATED else 4
CHUNK = BLOCK * ITEMS
MANY, SHORT = (8, 3) if SIMULATED else (1 << 15, 32)


@inline
def _joined_floats(how, s, t, g):
    """What came before, and an entry, or two totals: t follows s, g is the factor of t."""
    if how == SUM:
        return s + t
    if how == PRODUCT:
        return s * t
    if how == RECURRENCE:
        return t + g * s
    low = t if s > t else s
    high = s if s > t else t
    if low == high and math.isinf(low):
        return high
    return high + math.log1p(math.exp(low - high))


@inline
def _joined_ints(how, s, t, g):
    if how == SUM:
        return s + t
    if how == PRODUCT:
        return s * t
    return t if t >= s else s


@inline
def _factor_floats(how, s, f, t, g):
    return f * g


@inline
def _factor_ints(how, s, f, t, g):
    """The place of the larger key, of the later one of equal keys."""
    return g if t >= s else f


def _kernels(joined, factor, number):
    """(a block for each chunk, a thread for each column), accumulated in a type."""

    @kernel
    def chunks_of(x, a, carry, carried, y, ya, how, start, back, n, inner, chunks, totals):
        values = cuda.shared.array(CHUNK, number)
        factors = cuda.shared.array(CHUNK, number)
        ends = cuda.shared.array(BLOCK, number)
        end_factors = cuda.shared.array(BLOCK, number)
        tid = cuda.threadIdx.x
        pairs = how == RECURRENCE or how >= EXTREME
        for b in range(cuda.blockIdx.x, x.size // n * chunks, cuda.gridDim.x):
            column = b // chunks
            chunk = b - column * chunks
            o = column // inner
            base = o * n * inner + column - o * inner
            for k in range(tid, CHUNK, BLOCK):
                p = chunk * CHUNK + k
                values[k] = start
                factors[k] = 1
                if p < n:
                    place = base + (n - 1 - p if back else p) * inner
                    values[k] = x[place]
                    if how == FIRST_EXTREME:
                        factors[k] = p
                    elif pairs:
                        factors[k] = a[place]
            cuda.syncthreads()
            s = values[tid * ITEMS]
            f = factors[tid * ITEMS]
            for k in range(tid * ITEMS + 1, tid * ITEMS + ITEMS):
                t = values[k]
                g = factors[k]
                if pairs:
                    f = factor(how, s, f, t, g)
                s = joined(how, s, t, g)
                values[k] = s
                factors[k] = f
            ends[tid] = s
            end_factors[tid] = f
            step = 1
            while step < BLOCK:  # totals of twice as many threads each time
                cuda.syncthreads()
                s = ends[tid]
                f = end_factors[tid]
                if tid >= step:
                    t = s
                    g = f
                    if pairs:
                        f = factor(how, ends[tid - step], end_factors[tid - step], t, g)
                    s = joined(how, ends[tid - step], t, g)
                cuda.syncthreads()
                ends[tid] = s
                end_factors[tid] = f
                step *= 2
            cuda.syncthreads()
            if totals:
                if tid == BLOCK - 1:
                    place = (o * chunks + chunk) * inner + column - o * inner
                    y[place] = s
                    if pairs:
                        ya[place] = f
            else:
                s = number(start)
                f = number(1)
                if chunk > 0:
                    place = (o * chunks + chunk - 1) * inner + column - o * inner
                    s = carry[place]
                    if pairs:
                        f = carried[place]
                if tid > 0:
                    if pairs:
                        f = factor(how, s, f, ends[tid - 1], end_factors[tid - 1])
                    s = joined(how, s, ends[tid - 1], end_factors[tid - 1])
                for k in range(tid * ITEMS, tid * ITEMS + ITEMS):
                    t = values[k]
                    g = factors[k]
                    if pairs:
                        factors[k] = factor(how, s, f, t, g)
                    values[k] = joined(how, s, t, g)
                cuda.syncthreads()
                for k in range(tid, CHUNK, BLOCK):
                    p = chunk * CHUNK + k
                    if p < n:
                        place = base + (n - 1 - p if back else p) * inner
                        y[place] = values[k]
                        if how >= EXTREME:
                            ya[place] = factors[k]
            cuda.syncthreads()

    @kernel
    def columns_of(x, a, y, ya, how, start, back, n, inner):
        for column in range(cuda.grid(1), x.size // n, cuda.gridsize(1)):
            o = column // inner
            base = o * n * inner + column - o * inner
            s = number(start)
            f = number(1)
            for p in range(n):
                place = base + (n - 1 - p if back else p) * inner
                t = number(x[place])
                g = number(1)
                if how == FIRST_EXTREME:
                    g = number(p)
                elif how == RECURRENCE or how >= EXTREME:
                    g = number(a[place])
                if how >= EXTREME:
                    f = factor(how, s, f, t, g)
                    ya[place] = f
                s = joined(how, s, t, g)
                y[place] = s

    return chunks_of, columns_of


_of_floats = _kernels(_joined_floats, _factor_floats, np.float64)
_of_ints = _kernels(_joined_ints, _factor_ints, np.int64)


def _family(dtype):
    if dtype.kind == "f":
        return _of_floats, np.dtype(np.float64), "float64"
    return _of_ints, np.dtype(np.int64), "int64"


@cache
def _chunks_launch(dtype, to, grid):
    (kernel, _), wide, number = _family(dtype)
    arrays = [(d, 1) for d in (dtype, dtype, wide, wide, to, wide)]
    return machine.launcher(kernel, (*arrays, "int64", number, *["int64"] * 5))(grid, BLOCK)


@cache
def _columns_launch(dtype, grid):
    (_, kernel), wide, number = _family(dtype)
    arrays = [(d, 1) for d in (dtype, dtype, dtype, wide)]
    return machine.launcher(kernel, (*arrays, "int64", number, *["int64"] * 3))(grid, BLOCK)


def _scan(x: DeviceArray, a: DeviceArray, y: DeviceArray, ya: DeviceArray, how: int, start,
          back: bool) -> None:
    """Scan contiguous x (outer, n, inner), and a where `how` needs it, into y and ya."""
    outer, n, inner = x.shape
    columns = outer * inner
    wide = _family(x.dtype)[1]
    if n <= SHORT or (columns >= MANY and inner >= 8 and how != EXTREME):
        _columns_launch(x.dtype, blocks(columns))(x, a, y, ya, how, start, back, n, inner)
        return
    chunks = -(-n // CHUNK)
    carry = carried = empty(0, wide)
    if chunks > 1:
        shape = (outer, chunks, inner)
        totals, factors = empty(shape, wide), empty(shape, wide)
        grid = min(columns * chunks, MOST_BLOCKS)
        _chunks_launch(x.dtype, wide, grid)(x, a, carry, carried, totals, factors, how, start, back, n,
                                            inner, chunks, 1)
        carry, carried = empty(shape, wide), empty(shape, wide)
        _scan(totals, factors, carry, carried, min(how, EXTREME), start, False)
    _chunks_launch(x.dtype, y.dtype, min(columns * chunks, MOST_BLOCKS))(
        x, a, carry, carried, y, ya, how, start, back, n, inner, chunks, 0)


def _run(x, a, how, start, back):
    x = contiguous(x)
    y = empty(x.shape, x.dtype)
    if y.size:
        _scan(x, contiguous(a), y, empty(0, _family(x.dtype)[1]), how, start, bool(back))
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
