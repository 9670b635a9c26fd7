"""Places of values among sorted boundaries, by halving."""

import numpy as np

from nbgrad.kernels import memory
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
