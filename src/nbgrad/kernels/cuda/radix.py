"""Sorting long rows of keys on a CUDA device, some bits at a time, the last ones first.

A pass counts the digits of every tile of a row, scans the counts to find where each tile's entries of
each digit go, and moves them there; equal digits stay in order, so that places do.
"""

from functools import cache

import numpy as np

from nbgrad.kernels.cuda.array import DeviceArray
from nbgrad.kernels.cuda.blocks import THREADS, WARP, WARPS, before, meet, vote
from nbgrad.kernels.cuda.memory import empty
from nbgrad.kernels.cuda.provider import MOST_BLOCKS, SIMULATED, cuda, inline, kernel, machine
from nbgrad.kernels.cuda.scan import cumsum

#: Bits of a digit, of which there are as many as threads of a block; entries of a thread, of a tile.
BITS, EACH = (2, 2) if SIMULATED else (8, 8)
DIGITS, TILE = THREADS, THREADS * EACH
_COUNTERS = WARPS * DIGITS
_I32 = np.dtype(np.int32)
_ALL = np.uint32((1 << WARP) - 1)  # threads of a warp


@inline
def _digit(key, shift, flip):
    return np.uint32(np.uint32((key >> shift) & (DIGITS - 1)) ^ flip)


@kernel
def _count(keys, counts, n, tiles, shift, flip):
    """counts[row, digit, tile]."""
    own = cuda.shared.array(DIGITS, np.int32)
    some = cuda.local.array(EACH, keys.dtype)
    tid, flip = np.uint32(cuda.threadIdx.x), np.uint32(flip)
    for b in range(cuda.blockIdx.x, counts.size // DIGITS, cuda.gridDim.x):
        row = b // tiles
        tile = b - row * tiles
        start, size = np.uint64(row * n + tile * TILE), np.uint32(min(n - tile * TILE, TILE))
        for k in range(EACH):
            some[k] = keys[start + min(np.uint32(tid + k * THREADS), np.uint32(size - 1))]
        own[tid] = 0
        cuda.syncthreads()
        for k in range(EACH):
            if tid + k * THREADS < size:
                cuda.atomic.add(own, _digit(some[k], shift, flip), np.int32(1))
        cuda.syncthreads()
        counts[np.uint64((row * DIGITS + tid) * tiles + tile)] = own[tid]


@inline
def _rank(counters, warp, lane, digit):
    """How many entries of a warp so far, and now in threads before this one, have the same digit."""
    same = _ALL
    for k in range(BITS):
        on = np.uint32((digit >> k) & 1)
        votes = vote(on != 0)
        same = np.uint32(same & (votes if on else ~votes))
    before = np.int32(cuda.popc(np.uint32(same & ((1 << lane) - 1))))
    at = np.uint32(warp * DIGITS + digit)
    count = counters[at]
    meet()
    if before == 0:
        counters[at] = count + np.int32(cuda.popc(same))
    meet()
    return np.int32(count + before)


@kernel(launch_bounds=(THREADS, 3))
def _move(keys, places, ends, to_keys, to_places, n, tiles, shift, flip, first):
    """Move entries to where those of their digit go: first in shared memory, so that neighbours are
    written together. `ends` are the sums of the counts so far; the `first` pass counts the places.
    """
    own = cuda.shared.array(TILE, keys.dtype)
    counters = cuda.shared.array(_COUNTERS, np.int32)
    starts = cuda.shared.array(DIGITS, np.int32)
    bases = cuda.shared.array(DIGITS, np.int32)
    sums = cuda.shared.array(WARPS, np.int32)
    some = cuda.local.array(EACH, keys.dtype)
    ranks = cuda.local.array(EACH, np.int32)
    targets = cuda.local.array(EACH, np.int32)
    tid, flip = np.uint32(cuda.threadIdx.x), np.uint32(flip)
    lane, warp = np.uint32(tid % WARP), np.uint32(tid // WARP)
    begin = np.uint32(warp * WARP * EACH + lane)
    for b in range(cuda.blockIdx.x, ends.size // DIGITS, cuda.gridDim.x):
        row = b // tiles
        tile = b - row * tiles
        start, size = np.uint64(row * n + tile * TILE), np.uint32(min(n - tile * TILE, TILE))
        for k in range(EACH):
            some[k] = keys[start + min(np.uint32(begin + k * WARP), np.uint32(size - 1))]
        for w in range(WARPS):
            counters[np.uint32(w * DIGITS + tid)] = 0
        cuda.syncthreads()
        for k in range(EACH):
            digit = _digit(some[k], shift, flip)
            if begin + k * WARP >= size:
                digit = np.uint32(DIGITS - 1)  # what is not there comes last
            ranks[k] = _rank(counters, warp, lane, digit)
        cuda.syncthreads()
        total = np.int32(0)  # of the warps before, for the digit that is this thread's number
        for w in range(WARPS):
            at = np.uint32(w * DIGITS + tid)
            count = counters[at]
            counters[at] = total
            total = np.int32(total + count)
        smaller = before(total, sums, tid)
        starts[tid] = smaller
        at = (row * DIGITS + tid) * tiles + tile
        bases[tid] = (ends[np.uint64(at - 1)] if tid + tile > 0 else 0) - smaller
        cuda.syncthreads()
        for k in range(EACH):
            digit = _digit(some[k], shift, flip)
            if begin + k * WARP >= size:
                digit = np.uint32(DIGITS - 1)
            ranks[k] += starts[digit] + counters[np.uint32(warp * DIGITS + digit)]
            own[np.uint32(ranks[k])] = some[k]
        cuda.syncthreads()
        for k in range(EACH):
            t = np.uint32(tid + k * THREADS)
            if t < size:
                key = own[t]
                targets[k] = bases[_digit(key, shift, flip)] + t
                to_keys[np.uint64(row * n + targets[k])] = key
        cuda.syncthreads()
        for k in range(EACH):
            t = min(np.uint32(begin + k * WARP), np.uint32(size - 1))
            at = np.uint32(ranks[k])
            own[at] = tile * TILE + t if first else places[start + t]
        cuda.syncthreads()
        for k in range(EACH):
            t = np.uint32(tid + k * THREADS)
            if t < size:
                to_places[np.uint64(row * n + targets[k])] = own[t]
        cuda.syncthreads()


@cache
def _passes(dtype, grid: int):
    one = (dtype, 1), (_I32, 1)
    return (machine.launcher(_count, (*one, *["int64"] * 4))(grid, THREADS),
            machine.launcher(_move, (*one, one[1], *one, *["int64"] * 5))(grid, THREADS))


def ordered(keys: DeviceArray, bits: int | None) -> tuple[DeviceArray, DeviceArray]:
    """(keys, their int32 places) of contiguous rows (rows, n) in order.

    Args:
        bits: of keys that are not negative; None if they may be.
    """
    rows, n = keys.shape
    tiles = -(-n // TILE)
    count, move = _passes(keys.dtype, min(rows * tiles, MOST_BLOCKS))
    counts = empty((rows, DIGITS * tiles, 1), _I32)
    wide = bits or 8 * keys.dtype.itemsize
    spare = [(empty(keys.shape, keys.dtype), empty(keys.shape, _I32)) for _ in range(2)]
    places = spare[1][1]
    for shift in range(0, wide, BITS):
        to_keys, to_places = spare[shift // BITS % 2]
        flip = DIGITS // 2 if bits is None and shift + BITS >= wide else 0  # the sign
        count(keys, counts, n, tiles, shift, flip)
        move(keys, places, cumsum(counts, False), to_keys, to_places, n, tiles, shift, flip,
             int(shift == 0))
        keys, places = to_keys, to_places
    return keys, places
