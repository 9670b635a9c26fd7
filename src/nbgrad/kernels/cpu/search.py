"""Places of values among sorted boundaries, by halving, and runs of equal entries."""

import numpy as np

from nbgrad.kernels import memory
from nbgrad.kernels.cpu.sort import sort
from nbgrad.kernels.options import kernel, parallel_kernel, prange, use_threads

# Values handled by one thread.
BLOCK = 512


def _search_loop(bounds, values, right, places):
    rows, n = bounds.shape
    count = values.size
    for b in prange((count + BLOCK - 1) // BLOCK):
        for i in range(b * BLOCK, min((b + 1) * BLOCK, count)):
            v, row = values[i], bounds[i // (count // rows)]
            lo, hi = 0, n
            while lo < hi:
                middle = (lo + hi) // 2
                # NaN, which compares with nothing, goes to the end
                if (row[middle] > v) if right else (row[middle] >= v):
                    hi = middle
                else:
                    lo = middle + 1
            places[i] = lo


# One thread, all threads.
_search = kernel(_search_loop), parallel_kernel(_search_loop)


def search(bounds, values, right):
    """Places (k,) of values (k,), the same number for each row of ascending bounds (rows, n).

    A place is how many bounds are less than the value, or, if `right`, not greater.
    """
    places = memory.empty(values.shape, np.int64)
    if places.size:
        arrays = np.ascontiguousarray(bounds), np.ascontiguousarray(values)
        _search[use_threads(16 * values.size)](*arrays, right, places)
    return places


def runs(differ, n):
    """Where runs of equals start, the number of each entry's run, and how long they are.

    `differ` says of all entries but the first whether they differ from the one before.
    """
    first = np.concatenate([np.ones(min(n, 1), bool), differ])
    starts = np.flatnonzero(first)
    return starts, np.cumsum(first) - 1, np.diff(starts, append=n)


def consecutive(x):
    """(the entries of a vector that differ from the one before, each entry's run, their lengths)."""
    starts, ranks, counts = runs(x[1:] != x[:-1], x.size)
    return x[starts], ranks, counts


def consecutive_parts(x, d):
    """As `consecutive` for the parts of an array along axis d."""
    lines = np.moveaxis(x, d, 0)
    starts, ranks, counts = runs((lines[1:] != lines[:-1]).any(tuple(range(1, x.ndim))), len(lines))
    return np.moveaxis(lines[starts], 0, d), ranks, counts


def distinct_parts(x, d):
    """As `distinct` for the parts of an array along axis d."""
    values, inverse, counts = np.unique(x, return_inverse=True, return_counts=True, axis=d)
    return values, inverse.reshape(-1), counts


def distinct(x):
    """(the distinct entries of a vector in order, each entry's place among them, how often each is)."""
    values, places = (a.reshape(-1) for a in sort(np.ascontiguousarray(x).reshape(1, -1), False))
    values, ranks, counts = consecutive(values)
    inverse = np.empty(x.size, np.int64)
    inverse[places] = ranks
    return values, inverse, counts
