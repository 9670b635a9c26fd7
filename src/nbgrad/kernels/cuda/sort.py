"""Sorting rows on a CUDA device: of keys, which are integers that sort as the entries do, and places.

Rows of up to SLOTS entries are sorted by a block each, or several by one; longer ones by radix.py.
"""

from __future__ import annotations

from functools import cache

import numpy as np

from nbgrad.kernels.cuda import radix, select
from nbgrad.kernels.cuda.array import DeviceArray, OnHost
from nbgrad.kernels.cuda.blocks import WARP, exchange, power
from nbgrad.kernels.cuda.bounds import tell
from nbgrad.kernels.cuda.keys import LIMITS, orders
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

# Threads of a block that sorts, and their entries.
THREADS = 4 if SIMULATED else 512
SLOTS = 4 * THREADS
_I64 = np.dtype(np.int64)


@inline
def _in_order(keys, places, i, j, up):
    """Two of a thread's own entries turned round if they do not rise, or fall if not `up`."""
    later = keys[i] > keys[j] or (keys[i] == keys[j] and places[i] > places[j])
    if later == up:
        keys[i], keys[j] = keys[j], keys[i]
        places[i], places[j] = places[j], places[i]


@kernel
def _short(keys, sorted_keys, sorted_places, n, width, most):
    """Sort rows of n <= width, a power of two, SLOTS / width of them a block, by a bitonic network.

    A thread has four neighbours in registers; entries of other threads come from the warp, those
    farther away from shared memory.
    """
    own = cuda.shared.array(SLOTS, keys.dtype, alignment=16)
    at = cuda.shared.array(SLOTS, np.int32, alignment=16)
    some = cuda.local.array(4, keys.dtype)
    places = cuda.local.array(4, np.int32)
    tid, width = np.uint32(cuda.threadIdx.x), np.uint32(width)
    each = np.uint32(SLOTS // width)
    rows = keys.size // n
    for b in range(cuda.blockIdx.x, (rows + each - 1) // each, cuda.gridDim.x):
        for k in range(4):
            t = np.uint32(tid + k * THREADS)
            row, p = b * each + t // width, np.uint32(t & (width - 1))
            own[t] = most
            if row < rows and p < n:
                own[t] = keys[np.uint64(row * n + p)]
        cuda.syncthreads()
        for k in range(4):
            t = np.uint32(4 * tid + k)
            some[k] = own[t]
            places[k] = t & (width - 1)
        size = np.uint32(2)
        while size <= width:
            step = np.uint32(size >> 1)
            up = np.uint32(4 * tid) & size & (width - 1) == 0
            while step > 0:
                if step == 1:
                    _in_order(some, places, 0, 1, up)
                    _in_order(some, places, 2, 3, up if size != 2 or width == 2 else False)
                elif step == 2:
                    _in_order(some, places, 0, 2, up)
                    _in_order(some, places, 1, 3, up)
                else:
                    far = step >= 4 * WARP
                    if far:
                        cuda.syncthreads()
                        for k in range(4):
                            t = np.uint32(4 * tid + k)
                            own[t] = some[k]
                            at[t] = places[k]
                        cuda.syncthreads()
                    low = (np.uint32(4 * tid) & step == 0) == up  # keeps the first of two
                    for k in range(4):
                        if far:
                            t = np.uint32((4 * tid + k) ^ step)
                            key = own[t]
                            place = at[t]
                        else:
                            key = exchange(some[k], step >> 2)
                            place = exchange(places[k], step >> 2)
                        later = some[k] > key or (some[k] == key and places[k] > place)
                        if later == low:
                            some[k] = key
                            places[k] = place
                step >>= 1
            size <<= 1
        cuda.syncthreads()
        for k in range(4):
            t = np.uint32(4 * tid + k)
            own[t] = some[k]
            at[t] = places[k]
        cuda.syncthreads()
        for k in range(4):
            t = np.uint32(tid + k * THREADS)
            row, p = b * each + t // width, np.uint32(t & (width - 1))
            if row < rows and p < n:
                sorted_keys[np.uint64(row * n + p)] = own[t]
                sorted_places[np.uint64(row * n + p)] = at[t]
        cuda.syncthreads()


@cache
def _short_launch(dtype, grid):
    kinds = [(dtype, 1), (np.dtype(np.int32), 1)]
    return machine.launcher(_short, (kinds[0], *kinds, *["int64"] * 3))(grid, THREADS)


def ordered(keys: DeviceArray, bits: int | None = None) -> tuple[DeviceArray, DeviceArray]:
    """(keys, their int32 places) of contiguous rows (rows, n) of keys in order.

    Args:
        bits: of keys that are not negative, where that is known.
    """
    rows, n = keys.shape
    if n >= 1 << 31:
        raise OnHost("sorting a row of 2^31 entries")
    if n > SLOTS:
        return radix.ordered(keys, bits)
    found, places = empty(keys.shape, keys.dtype), empty(keys.shape, np.int32)
    if keys.size:
        width = power(n)
        grid = min(-(-rows * width // SLOTS), MOST_BLOCKS)
        _short_launch(keys.dtype, grid)(keys, found, places, n, width, np.iinfo(keys.dtype).max)
    return found, places


@kernel
def _pick(x, order, values, places, n, length, first, count):
    """The entries from rank `first` on, `count` a row, and places; rows of `order` have `length`."""
    for i in range(cuda.grid(1), values.size, cuda.gridsize(1)):
        row = i // count
        at = order[row * length + first + i - row * count]
        values[i] = x[row * n + at]
        places[i] = at


@cache
def _pick_launch(dtype, grid):
    return machine.launcher(_pick, ((dtype, 1), (np.dtype(np.int32), 1), (dtype, 1), (_I64, 1),
                                    *["int64"] * 4))(grid, BLOCK)


def _picked(x: DeviceArray, order: DeviceArray, first: int, count: int):
    """(values, places) of ranks `first` to `first + count` of the rows of x, whose order is given."""
    rows, n = x.shape
    values, places = empty((rows, count), x.dtype), empty((rows, count), np.int64)
    bits = f"u{x.dtype.itemsize}"
    _pick_launch(np.dtype(bits), blocks(values.size))(
        x.view(bits), order, values.view(bits), places, n, order.shape[1], first, count)
    return values, places


def _ranks(x: DeviceArray, down: bool, first: int, count: int):
    """The same, found by sorting them, or so many or one alone by their digits."""
    x = contiguous(x)
    rows, n = x.shape
    if not rows * count:
        return empty((rows, count), x.dtype), empty((rows, count), np.int64)
    if select.pays(n, count) and (first == 0 or count == 1):
        values, places = select.chosen(x, down, first + count, select.RANK if first else select.FIRST)
        if values is None:
            some, at = _picked(x, ordered(places, n.bit_length())[0], 0, count)
            order = ordered(orders(some, down))[1]
            values, places = (_picked(a, order, 0, count)[0] for a in (some, at))
    else:
        values, places = _picked(x, ordered(orders(x, down))[1], first, count)
    return values, tell(places, 0, n - 1)


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
    if rows and select.pays(n, 1):
        values, places = select.chosen(x, False, 1, select.OF_NUMBERS if skip else select.MEDIAN)
        return values, tell(places, 0, n - 1)
    values, places = empty((rows, 1), x.dtype), empty((rows, 1), np.int64)
    if rows:
        keys, order = ordered(orders(x, False))
        _middles_launch(x.dtype, keys.dtype, blocks(rows))(
            x, keys, order, values, places, n, int(skip), LIMITS[x.dtype.itemsize][0])
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
