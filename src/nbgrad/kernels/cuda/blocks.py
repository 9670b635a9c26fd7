"""Totals over the threads of a warp or a block, and how rows are dealt out to groups of threads.

A group is a power of two of neighbouring threads, at most a block of THREADS, that has a row to
itself. All threads of a block must come along where threads meet: the loops over rows run equally
often for all, and a group without a row adds nothing.
"""

from functools import cache

import numpy as np

from nbgrad.kernels.cuda.provider import MOST_BLOCKS, SIMULATED, cuda, inline

#: Threads of a block, and of a warp; tiny ones in the simulator.
THREADS, WARP = (4, cuda.warpsize) if SIMULATED else (256, 32)
WARPS = THREADS // WARP


@inline
def sync():
    """Wait for the other threads of the block."""
    cuda.syncthreads()


@inline
def exchange(value, lanes):
    """The value of the thread whose number in the warp differs by the bits `lanes`."""
    return cuda.shfl_xor_sync(np.uint32(0xFFFFFFFF), value, lanes)


@inline
def meet():
    """Wait for the other threads of the warp."""
    cuda.syncwarp()


@inline
def vote(yes):
    """The threads of the warp for which it is so, as bits."""
    return np.uint32(cuda.ballot_sync(np.uint32(0xFFFFFFFF), yes))


@inline
def before(value, sums, tid):
    """The sum of the int32 values of the threads of the block before this one; `sums`: of each warp."""
    found, own, lane = np.int32(0), np.int32(value), np.uint32(tid % WARP)
    lanes = 1
    while lanes < WARP:
        other = np.int32(exchange(own, lanes))
        if lane & lanes:
            found = np.int32(found + other)
        own = np.int32(own + other)
        lanes *= 2
    if lane == 0:
        sums[np.uint32(tid // WARP)] = own
    cuda.syncthreads()
    for w in range(WARPS):
        if w < tid // WARP:
            found = np.int32(found + sums[w])
    return found


@cache
def total_of(group: int):
    """A function of (value, scratch, thread): the sum over the threads of a group, for each of them.

    `scratch` is shared memory of WARPS values, which groups within a warp leave alone.
    """
    if group <= WARP:
        @inline
        def total(value, scratch, thread):
            lanes = group // 2
            while lanes > 0:
                value += exchange(value, lanes)
                lanes //= 2
            return value
    else:
        @inline
        def total(value, scratch, thread):
            lanes = WARP // 2
            while lanes > 0:
                value += exchange(value, lanes)
                lanes //= 2
            if thread % WARP == 0:
                scratch[thread // WARP] = value
            sync()
            value = scratch[0]
            for k in range(1, WARPS):
                value += scratch[k]
            sync()
            return value
    return total


@cache
def largest_of(group: int):
    """As total_of, for the largest value; a NaN may be missed."""
    if group <= WARP:
        @inline
        def largest(value, scratch, thread):
            lanes = group // 2
            while lanes > 0:
                other = exchange(value, lanes)
                value = other if other > value else value
                lanes //= 2
            return value
    else:
        @inline
        def largest(value, scratch, thread):
            lanes = WARP // 2
            while lanes > 0:
                other = exchange(value, lanes)
                value = other if other > value else value
                lanes //= 2
            if thread % WARP == 0:
                scratch[thread // WARP] = value
            sync()
            value = scratch[0]
            for k in range(1, WARPS):
                other = scratch[k]
                value = other if other > value else value
            sync()
            return value
    return largest


def power(n: int) -> int:
    """The smallest power of two that is at least n."""
    return 1 << max(n - 1, 0).bit_length()


def group_for(n: int, each: int = 4) -> int:
    """Threads for a row of n: about one for `each` entries; no more than a warp if that may do."""
    wanted = power(-(-n // each))
    return min(wanted, WARP) if n <= 32 * WARP else THREADS


def grid(rows: int, group: int = THREADS) -> int:
    """Blocks for so many rows, a group of threads each."""
    return max(1, min(-(-rows * group // THREADS), MOST_BLOCKS))


def slabs_for(rows: int, length: int, least: int) -> int:
    """In how many parts the rows of a length are cut, none shorter than `least`, to employ a GPU.

    By the sizes alone, so that results do not depend on the device.
    """
    if SIMULATED:
        return max(1, min(3, length // 8)) if rows < 4 else 1
    return max(1, min(1056 // max(rows, 1), length // least))
