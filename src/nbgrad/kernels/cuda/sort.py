"""Sorting rows on a CUDA device: of keys and places, in shared memory, then by merging.

Keys are integers that sort as the entries do, NaN above all. Pieces of SLOTS entries, or several
shorter rows, are sorted by a bitonic network in the shared memory of a block, equal keys by their
places; sorted runs are then merged two by two, each block making SLOTS entries of the result.
"""

from __future__ import annotations

from functools import cache

import numpy as np

from nbgrad.kernels.cuda.array import DeviceArray, OnHost
from nbgrad.kernels.cuda.layouts import contiguous
from nbgrad.kernels.cuda.memory import empty
from nbgrad.kernels.cuda.provider import BLOCK, MOST_BLOCKS, SIMULATED, blocks, cuda, kernel, machine

# Entries and threads of a block that sorts.
SLOTS, THREADS = (8, 4) if SIMULATED else (2048, 512)
_LIMITS = {4: (0x7FFFFFFF, 0x7F800000), 8: (0x7FFFFFFFFFFFFFFF, 0x7FF0000000000000)}
_I64 = np.dtype(np.int64)


@kernel
def _order(bits, keys, floats, down, nan_top, rest, infinite):
    """Keys of entries given as their bits: of floats, those without the sign fall as it is set."""
    for i in range(cuda.grid(1), bits.size, cuda.gridsize(1)):
        k = np.int64(bits[i])
        nan = False
        if floats:
            size = k & rest
            nan = size > infinite
            if nan:
                k = rest
            elif size == 0:
                k = np.int64(0)
            elif k < 0:
                k = k ^ rest
        if down and not (nan and nan_top):
            k = np.int64(-1) - k
        keys[i] = k


@cache
def _order_launch(bits, keys, grid):
    return machine.launcher(_order, ((bits, 1), (keys, 1), *["int64"] * 5))(grid, BLOCK)


def orders(x: DeviceArray, down: bool, dtype=None, nan_top: bool = False) -> DeviceArray:
    """Keys of contiguous entries, turned round if `down`; those of NaN stay on top if `nan_top`."""
    floats, size = x.dtype.kind == "f", x.dtype.itemsize
    keys = empty(x.shape, dtype or (np.int64 if size == 8 else np.int32))
    bits = x.view(f"i{size}" if x.dtype.kind in "fi" else f"u{size}")
    if keys.size:
        _order_launch(bits.dtype, keys.dtype, blocks(keys.size))(
            bits, keys, int(floats), int(down), int(nan_top), *_LIMITS.get(size, (0, 0)))
    return keys


@kernel
def _pieces(keys, sorted_keys, places, n, width, pieces, count, most):
    """Sort pieces of `width` entries, a power of two, of rows of n; SLOTS / width of them a block."""
    own = cuda.shared.array(SLOTS, keys.dtype)
    at = cuda.shared.array(SLOTS, np.int32)
    tid = cuda.threadIdx.x
    each = SLOTS // width
    for b in range(cuda.blockIdx.x, (count + each - 1) // each, cuda.gridDim.x):
        for t in range(tid, SLOTS, THREADS):
            piece = b * each + t // width
            row = piece // pieces
            p = (piece - row * pieces) * width + (t & (width - 1))
            at[t] = p
            if piece < count and p < n:
                own[t] = keys[row * n + p]
            else:
                own[t] = most
        size = 2
        while size <= width:
            step = size // 2
            while step > 0:
                cuda.syncthreads()
                for q in range(tid, SLOTS // 2, THREADS):
                    i = 2 * q - (q & (step - 1))
                    j = i + step
                    later = own[i] > own[j] or (own[i] == own[j] and at[i] > at[j])
                    if later == ((i & (width - 1) & size) == 0):
                        k = own[i]
                        own[i] = own[j]
                        own[j] = k
                        p = at[i]
                        at[i] = at[j]
                        at[j] = p
                step //= 2
            size *= 2
        cuda.syncthreads()
        for t in range(tid, SLOTS, THREADS):
            piece = b * each + t // width
            row = piece // pieces
            p = (piece - row * pieces) * width + (t & (width - 1))
            if piece < count and p < n:
                sorted_keys[row * n + p] = own[t]
                places[row * n + p] = at[t]
        cuda.syncthreads()


@kernel
def _merge(keys, places, merged, merged_places, n, run, tiles, count):
    """Merge runs of `run` sorted entries of rows of n two by two; of equal keys the first stays."""
    own = cuda.shared.array(SLOTS, keys.dtype)
    cut = cuda.shared.array(2, np.int64)
    tid = cuda.threadIdx.x
    for b in range(cuda.blockIdx.x, count, cuda.gridDim.x):
        row = b // tiles
        start = (b - row * tiles) * SLOTS
        first = start // (2 * run) * (2 * run)
        left = min(run, n - first)
        right = min(run, n - first - left)
        base = row * n + first
        if tid < 2:  # how many of the entries before here, and before the end, come from the left
            d = min(start - first + tid * SLOTS, left + right)
            lo = max(0, d - right)
            hi = min(d, left)
            while lo < hi:
                middle = (lo + hi) // 2
                if keys[base + middle] <= keys[base + left + d - 1 - middle]:
                    lo = middle + 1
                else:
                    hi = middle
            cut[tid] = lo
        cuda.syncthreads()
        a = cut[0]
        m = cut[1] - a
        size = min(start - first + SLOTS, left + right) - (start - first)
        other = left + start - first - a - m  # where the right run's part stands, less m
        for t in range(tid, size, THREADS):
            own[t] = keys[base + (a if t < m else other) + t]
        cuda.syncthreads()
        for t in range(tid, size, THREADS):
            k = own[t]
            lo = m if t < m else 0
            hi = size if t < m else m
            low = lo
            while lo < hi:
                middle = (lo + hi) // 2
                if own[middle] < k or (t >= m and own[middle] == k):
                    lo = middle + 1
                else:
                    hi = middle
            # its rank among its own, and among the others
            to = row * n + start + (t if t < m else t - m) + lo - low
            merged[to] = k
            merged_places[to] = places[base + (a if t < m else other) + t]
        cuda.syncthreads()


@cache
def _sorters(dtype, grid):
    kinds = [(dtype, 1), (np.dtype(np.int32), 1)]
    return (machine.launcher(_pieces, (kinds[0], *kinds, *["int64"] * 5))(grid, THREADS),
            machine.launcher(_merge, (*kinds, *kinds, *["int64"] * 4))(grid, THREADS))


def ordered(keys: DeviceArray) -> tuple[DeviceArray, DeviceArray]:
    """(keys, their int32 places) of contiguous rows (rows, n) of keys in order."""
    rows, n = keys.shape
    if n >= 1 << 31:
        raise OnHost("sorting a row of 2^31 entries")
    found, places = empty(keys.shape, keys.dtype), empty(keys.shape, np.int32)
    if not keys.size:
        return found, places
    width = min(SLOTS, 1 << max(n - 1, 0).bit_length())
    pieces = -(-n // width)
    grid = min(-(-rows * pieces * width // SLOTS), MOST_BLOCKS)
    sort_pieces, merge = _sorters(keys.dtype, grid)
    sort_pieces(keys, found, places, n, width, pieces, rows * pieces, np.iinfo(keys.dtype).max)
    run = width
    if run < n:
        spare, spare_places = empty(keys.shape, keys.dtype), empty(keys.shape, np.int32)
    while run < n:
        merge(found, places, spare, spare_places, n, run, pieces, rows * pieces)
        found, places, spare, spare_places = spare, spare_places, found, places
        run *= 2
    return found, places


@kernel
def _pick(x, order, values, places, n, first, count):
    """The entries from rank `first` on, `count` a row, and their places."""
    for i in range(cuda.grid(1), values.size, cuda.gridsize(1)):
        row = i // count
        at = order[row * n + first + i - row * count]
        values[i] = x[row * n + at]
        places[i] = at


@cache
def _pick_launch(dtype, grid):
    return machine.launcher(_pick, ((dtype, 1), (np.dtype(np.int32), 1), (dtype, 1), (_I64, 1),
                                    *["int64"] * 3))(grid, BLOCK)


def _ranks(x: DeviceArray, down: bool, first: int, count: int):
    """(values, places) of ranks `first` to `first + count` of the rows of x."""
    x = contiguous(x)
    rows, n = x.shape
    values, places = empty((rows, count), x.dtype), empty((rows, count), np.int64)
    if values.size:
        order = ordered(orders(x, down))[1]
        bits = f"u{x.dtype.itemsize}"
        _pick_launch(np.dtype(bits), blocks(values.size))(
            x.view(bits), order, values.view(bits), places, n, first, count)
    return values, places


def sort(x, down):
    """As kernels.cpu.sort."""
    return _ranks(x, down, 0, x.shape[1])


def top(x, count, largest):
    """As kernels.cpu.sort."""
    return _ranks(x, largest, 0, count)


def ranked(x, k):
    """As kernels.cpu.sort."""
    return _ranks(x, False, k - 1, 1)


@kernel
def _middles(x, keys, order, values, places, n, skip, most):
    for row in range(cuda.grid(1), values.size, cuda.gridsize(1)):
        lo = np.int64(0)
        hi = np.int64(n)
        while lo < hi:  # the numbers before the first NaN
            middle = (lo + hi) // 2
            if keys[row * n + middle] < most:
                lo = middle + 1
            else:
                hi = middle
        if skip:
            at = max(lo - 1, 0) // 2
        else:
            at = lo if lo < n else (n - 1) // 2
        places[row] = order[row * n + at]
        values[row] = x[row * n + order[row * n + at]]


@kernel
def _commonest_of(x, order, values, places, n):
    for row in range(cuda.grid(1), values.size, cuda.gridsize(1)):
        best = np.int64(0)
        length = np.int64(0)
        longest = np.int64(0)
        for i in range(1, n):
            same = x[row * n + order[row * n + i]] == x[row * n + order[row * n + i - 1]]
            length = length + 1 if same else np.int64(0)
            if length > longest:
                longest = length
                best = np.int64(i)
        places[row] = order[row * n + best]
        values[row] = x[row * n + order[row * n + best]]


@cache
def _middles_launch(dtype, keys, grid):
    return machine.launcher(_middles, (
        (dtype, 1), (keys, 1), (np.dtype(np.int32), 1), (dtype, 1), (_I64, 1),
        *["int64"] * 3))(grid, BLOCK)


@cache
def _commonest_launch(dtype, grid):
    return machine.launcher(_commonest_of, (
        (dtype, 1), (np.dtype(np.int32), 1), (dtype, 1), (_I64, 1), "int64"))(grid, BLOCK)


def middle(x, skip):
    """As kernels.cpu.sort."""
    rows, n = x.shape
    if x.dtype.kind != "f":
        return _ranks(x, False, max(n - 1, 0) // 2, 1)
    x = contiguous(x)
    values, places = empty((rows, 1), x.dtype), empty((rows, 1), np.int64)
    if rows:
        keys, order = ordered(orders(x, False))
        _middles_launch(x.dtype, keys.dtype, blocks(rows))(
            x, keys, order, values, places, n, int(skip), _LIMITS[x.dtype.itemsize][0])
    return values, places


def commonest(x):
    """As kernels.cpu.sort."""
    x = contiguous(x)
    rows, n = x.shape
    values, places = empty((rows, 1), x.dtype), empty((rows, 1), np.int64)
    if rows:
        order = ordered(orders(x, False))[1]
        _commonest_launch(x.dtype, blocks(rows))(x, order, values, places, n)
    return values, places
