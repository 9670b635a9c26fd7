"""Places among sorted boundaries, and distinct entries, on a CUDA device."""

from functools import cache

import numpy as np

from nbgrad.kernels.cuda.array import OnHost
from nbgrad.kernels.cuda.bounds import tell
from nbgrad.kernels.cuda.index import nonzero_places, put_flat, take_rows
from nbgrad.kernels.cuda.keys import orders
from nbgrad.kernels.cuda.layouts import cast, contiguous, moved
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
        tell(places, 0, n)
    return places


@kernel
def _starts(x, starts, width):
    """Whether rows differ from the one before."""
    for i in range(cuda.grid(1), starts.size, cuda.gridsize(1)):
        k = np.int64(0)
        while i > 0 and k < width and x[i * width + k] == x[(i - 1) * width + k]:
            k += 1
        starts[i] = 1 if i == 0 or k < width else 0


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
    return machine.launcher(_starts, ((dtype, 1), (_I64, 1), "int64"))(grid, BLOCK)


@cache
def _runs_launch(grid):
    return machine.launcher(_runs, ((_I64, 1), (_I64, 1), (_I64, 1), "int64"))(grid, BLOCK)


def _consecutive(rows):
    """Of contiguous rows (n, width): those that differ from the one before, ranks, and counts."""
    n, width = rows.shape
    first = empty(n, np.int64)
    _starts_launch(rows.dtype, blocks(n))(rows, first, width)
    ranks = cumsum(first.reshape(1, -1, 1), False).reshape(-1)
    starts = nonzero_places(first)
    counts = empty(starts.size, np.int64)
    _runs_launch(blocks(n))(starts, ranks, counts, n)
    return take_rows(rows.reshape(1, n, width), starts), ranks, counts


def consecutive(x):
    """As kernels.cpu.search."""
    if not x.size:
        return x, empty(0, np.int64), empty(0, np.int64)
    values, ranks, counts = _consecutive(contiguous(x).reshape(-1, 1))
    return values.reshape(-1), ranks, counts


def distinct(x):
    """As kernels.cpu.search."""
    values, places = (a.reshape(-1) for a in sort(x.reshape(1, -1), False))
    values, ranks, counts = consecutive(values)
    inverse = empty(x.size, np.int64)
    put_flat(inverse, places, ranks)
    return values, inverse, counts


@kernel
def _merge(keys, order, merged, width, length):
    """Runs of so many numbers of rows in order, merged by twos; at first, rows are in their own order.

    A row goes as far beyond its place in its run as rows of the other run come before it.
    """
    for i in range(cuda.grid(1), merged.size, cuda.gridsize(1)):
        run = i // length
        later = run % 2 == 1
        other = (run - 1 if later else run + 1) * length
        own = i if length == 1 else np.int64(order[i])
        lo, hi = other, min(other + length, merged.size)
        while lo < hi:
            middle = (lo + hi) // 2
            a = (middle if length == 1 else np.int64(order[middle])) * width
            b = own * width
            k = np.int64(1)
            while k < width and keys[a] == keys[b]:
                a, b, k = a + 1, b + 1, k + 1
            if keys[a] < keys[b] or (later and keys[a] == keys[b]):
                lo = middle + 1
            else:
                hi = middle
        merged[i + lo - (run * length if later else other)] = own


@cache
def _merge_launch(dtype, grid):
    one = np.dtype(np.int32), 1
    return machine.launcher(_merge, ((dtype, 1), one, one, "int64", "int64"))(grid, BLOCK)


def _in_order(rows):
    """The numbers of contiguous rows (n, width) in the order of their entries, the first one first."""
    n, width = rows.shape
    if n >= 1 << 31:
        raise OnHost("sorting 2^31 rows")
    keys, order, length = orders(rows, False), empty(n, np.int32), 1
    run = _merge_launch(keys.dtype, blocks(n))
    while length == 1 or length < n:
        merged = empty(n, np.int32)
        run(keys, order, merged, width, length)
        order, length = merged, 2 * length
    return cast(order, np.int64)


def _rows(x, d):
    """The parts of an array along axis d as contiguous rows, and a function that makes them parts."""
    lines = contiguous(moved(x, d, 0))
    n, *rest = lines.shape
    return (lines.reshape(n, lines.size // max(n, 1)),
            lambda rows: contiguous(moved(rows.reshape(-1, *rest), 0, d)))


def consecutive_parts(x, d):
    """As kernels.cpu.search."""
    if not x.size:
        return x, empty(0, np.int64), empty(0, np.int64)
    rows, parts = _rows(x, d)
    values, ranks, counts = _consecutive(rows)
    return parts(values), ranks, counts


def distinct_parts(x, d):
    """As kernels.cpu.search."""
    if not x.size:
        return consecutive_parts(x, d)
    rows, parts = _rows(x, d)
    if rows.shape[1] == 1:
        values, inverse, counts = distinct(rows.reshape(-1))
        return parts(values), inverse, counts
    order = _in_order(rows)
    values, ranks, counts = _consecutive(take_rows(rows.reshape(1, *rows.shape), order).reshape(
        rows.shape))
    inverse = empty(order.size, np.int64)
    put_flat(inverse, order, ranks)
    return parts(values), inverse, counts
