"""Places among sorted boundaries, and distinct entries, on a CUDA device."""

from functools import cache

import numpy as np

from nbgrad.kernels.cuda.index import nonzero_places, put_flat, take_flat
from nbgrad.kernels.cuda.layouts import contiguous
from nbgrad.kernels.cuda.memory import empty
from nbgrad.kernels.cuda.provider import BLOCK, blocks, cuda, kernel, machine
from nbgrad.kernels.cuda.scan import cumsum
from nbgrad.kernels.cuda.sort import sort

_I64 = np.dtype(np.int64)


@kernel
def _search(bounds, values, places, n, each, right):
    for i in range(cuda.grid(1), values.size, cuda.gridsize(1)):
        v = values[i]
        base = i // each * n
        lo = np.int64(0)
        hi = np.int64(n)
        while lo < hi:
            middle = (lo + hi) // 2
            b = bounds[base + middle]
            # NaN, which compares with nothing, goes to the end
            if (b > v) if right else (b >= v):
                hi = middle
            else:
                lo = middle + 1
        places[i] = lo


@cache
def _search_launch(bounds, values, grid):
    return machine.launcher(_search, ((bounds, 1), (values, 1), (_I64, 1),
                                      *["int64"] * 3))(grid, BLOCK)


def search(bounds, values, right):
    """As kernels.cpu.search."""
    places = empty(values.shape, np.int64)
    if places.size:
        bounds, values = contiguous(bounds), contiguous(values)
        rows, n = bounds.shape
        _search_launch(bounds.dtype, values.dtype, blocks(places.size))(
            bounds, values, places, n, places.size // rows, int(right))
    return places


@kernel
def _starts(x, starts):
    for i in range(cuda.grid(1), x.size, cuda.gridsize(1)):
        starts[i] = 1 if i == 0 or x[i] != x[i - 1] else 0


@kernel
def _runs(starts, ranks, counts, n):
    """Lengths of runs by where they start; ranks counted from 0."""
    for i in range(cuda.grid(1), max(ranks.size, starts.size), cuda.gridsize(1)):
        if i < ranks.size:
            ranks[i] -= 1
        if i < starts.size:
            end = starts[i + 1] if i + 1 < starts.size else n
            counts[i] = end - starts[i]


@cache
def _starts_launch(dtype, grid):
    return machine.launcher(_starts, ((dtype, 1), (_I64, 1)))(grid, BLOCK)


@cache
def _runs_launch(grid):
    return machine.launcher(_runs, ((_I64, 1), (_I64, 1), (_I64, 1), "int64"))(grid, BLOCK)


def consecutive(x):
    """As kernels.cpu.search."""
    if not x.size:
        return x, empty(0, np.int64), empty(0, np.int64)
    x = contiguous(x)
    first = empty(x.size, np.int64)
    _starts_launch(x.dtype, blocks(x.size))(x, first)
    ranks = cumsum(first.reshape(1, -1, 1), False).reshape(-1)
    starts = nonzero_places(first)
    counts = empty(starts.size, np.int64)
    _runs_launch(blocks(x.size))(starts, ranks, counts, x.size)
    return take_flat(x, starts), ranks, counts


def distinct(x):
    """As kernels.cpu.search."""
    values, places = (a.reshape(-1) for a in sort(x.reshape(1, -1), False))
    values, ranks, counts = consecutive(values)
    inverse = empty(x.size, np.int64)
    put_flat(inverse, places, ranks)
    return values, inverse, counts
