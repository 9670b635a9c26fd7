"""Indices looked at before they are used, on a CUDA device: inside or not, and where a mask is true."""

import math
from functools import cache

import numpy as np

from nbgrad.kernels.cuda import bounds
from nbgrad.kernels.cuda.array import DeviceArray
from nbgrad.kernels.cuda.blocks import THREADS, WARP, WARPS, largest_of, total_of, vote
from nbgrad.kernels.cuda.layouts import contiguous, copied
from nbgrad.kernels.cuda.memory import download, empty, zeros
from nbgrad.kernels.cuda.provider import BLOCK, MOST_BLOCKS, SIMULATED, blocks, cuda, kernel, machine
from nbgrad.kernels.cuda.scan import cumsum

_I64 = np.dtype(np.int64)
# Entries of a mask that a thread counts, and a block.
EACH = 2 if SIMULATED else 16
PART = THREADS * EACH
_total, _largest = total_of(THREADS), largest_of(THREADS)
_LARGEST = np.iinfo(np.int64).max


@kernel
def _first_outside(idx, found, low, high, skip):
    """found[0]: how far before the end the first index stands that is outside and not `skip`."""
    for i in range(cuda.grid(1), idx.size, cuda.gridsize(1)):
        if (idx[i] < low or idx[i] >= high) and idx[i] != skip:
            cuda.atomic.max(found, 0, np.int64(idx.size - i))


@kernel
def _extent(x, found, skip, skips):
    """found[0]: one more than the largest number, or 0; found[1]: how far the least is below zero.

    Numbers equal to `skip` do not count if it `skips`.
    """
    tops = cuda.shared.array(WARPS, np.int64)
    tid = np.uint32(cuda.threadIdx.x)
    high, low = np.int64(0), np.int64(0)
    for i in range(cuda.grid(1), x.size, cuda.gridsize(1)):
        v = np.int64(x[i])
        if skips == 0 or v != skip:
            high = max(high, min(v, _LARGEST - 1) + 1)
            low = max(low, -max(v, -_LARGEST))
    high = _largest(high, tops, tid)
    low = _largest(low, tops, tid)
    if tid == 0:
        cuda.atomic.max(found, 0, high)
        cuda.atomic.max(found, 1, low)


@kernel
def _from_start(idx, n):
    """Indices that count from the end made to count from the start."""
    for i in range(cuda.grid(1), idx.size, cuda.gridsize(1)):
        if idx[i] < 0:
            idx[i] += n


@kernel
def _counts(mask, counts):
    """How many entries of a block's part are not zero."""
    sums = cuda.shared.array(WARPS, np.int32)
    tid = np.uint32(cuda.threadIdx.x)
    for b in range(cuda.blockIdx.x, counts.size, cuda.gridDim.x):
        start, size = np.uint64(b * PART), np.uint32(min(mask.size - b * PART, PART))
        count = np.int32(0)
        for k in range(EACH):
            t = np.uint32(tid + k * THREADS)
            value = mask[start + min(t, np.uint32(size - 1))]
            count = np.int32(count + (1 if value != 0 and t < size else 0))
        count = _total(count, sums, tid)
        if tid == 0:
            counts[b] = count


@kernel
def _marked(mask, counts, ends, places):
    """The places of a part's entries that are not zero; those of the parts so far end at ends[b].

    A warp looks at neighbours together, and votes; what it writes are neighbours too.
    """
    sums = cuda.shared.array(WARPS, np.int32)
    votes = cuda.local.array(EACH, np.uint32)
    tid = np.uint32(cuda.threadIdx.x)
    lane, warp = np.uint32(tid % WARP), np.uint32(tid // WARP)
    below = np.uint32((1 << lane) - 1)
    begin = np.uint32(warp * WARP * EACH + lane)
    for b in range(cuda.blockIdx.x, counts.size, cuda.gridDim.x):
        start, size = b * PART, np.uint32(min(mask.size - b * PART, PART))
        count = np.int32(0)
        for k in range(EACH):
            t = np.uint32(begin + k * WARP)
            value = mask[np.uint64(start + min(t, np.uint32(size - 1)))]
            votes[k] = vote(value != 0 and t < size)
            count = np.int32(count + cuda.popc(votes[k]))
        if lane == 0:
            sums[warp] = count
        cuda.syncthreads()
        to = ends[b] - counts[b]
        for w in range(WARPS):
            if w < warp:
                to += sums[w]
        for k in range(EACH):
            if (votes[k] >> lane) & 1:
                before = cuda.popc(np.uint32(votes[k] & below))
                places[np.uint64(to + before)] = start + begin + k * WARP
            to += cuda.popc(votes[k])
        cuda.syncthreads()


@kernel
def _coordinates(places, out, rank, d, step, size):
    for i in range(cuda.grid(1), places.size, cuda.gridsize(1)):
        out[i * rank + d] = places[i] // step % size


@kernel
def _onward(places, others, n):
    """Places on one axis more."""
    for i in range(cuda.grid(1), places.size, cuda.gridsize(1)):
        places[i] = places[i] * n + others[i]


@kernel
def _walked(places, step, size, stride, start):
    """What one axis adds to the places of a window's elements."""
    for i in range(cuda.grid(1), places.size, cuda.gridsize(1)):
        places[i] += start + i // step % size * stride


_KERNELS = {"coordinates": (_coordinates, 2, 4), "onward": (_onward, 2, 1), "walked": (_walked, 1, 4),
            "from start": (_from_start, 1, 1)}


@cache
def _launch(name, grid):
    function, arrays, numbers = _KERNELS[name]
    return machine.launcher(function, (*[(_I64, 1)] * arrays, *["int64"] * numbers))(grid, BLOCK)


@cache
def _of_any(function, dtype, numbers, grid, threads=BLOCK):
    return machine.launcher(function, ((dtype, 1), (_I64, 1), *["int64"] * numbers))(grid, threads)


def span(x, skip=None):
    """(lowest, highest) of integers that are not `skip`, but for 0 and -1 at least; this waits."""
    found = zeros(2, np.int64)
    if x.size:
        _of_any(_extent, x.dtype, 2, blocks(x.size, 8 * THREADS), THREADS)(
            contiguous(x), found, skip or 0, int(skip is not None))
    high, low = download(found).tolist()
    return -low, high - 1


def all_inside(idx, low, high, skip=None) -> bool:
    """Whether all integers but those equal to `skip` lie in [low, high)."""
    if not idx.size or bounds.known(idx, low, high, skip):
        return True
    lowest, highest = span(idx, skip)
    bounds.learn(idx, lowest, highest, skip)
    return low <= lowest and highest < high


def first_out_of_range(idx, low, high, skip=None):
    """As kernels.cpu.places; those equal to `skip` are passed over."""
    if all_inside(idx, low, high, skip):
        return -1
    found = zeros(1, np.int64)
    _of_any(_first_outside, idx.dtype, 3, blocks(idx.size))(
        contiguous(idx), found, low, high, low if skip is None else skip)
    back = int(download(found)[0])
    return idx.size - back if back else -1


def indices(x):
    """As kernels.cpu.places."""
    made = bounds.hand_on(copied(x, np.int64), x)
    if x.size and made.block.bounds is None:
        found = span(x)
        bounds.learn(x, *found)
        bounds.tell(made, *found)
    return made


def settle(idx, n):
    """As kernels.cpu.places, but for the number of those outside."""
    if not all_inside(idx, -n, n):
        return idx.size
    if idx.size and not bounds.known(idx, 0, n):
        _launch("from start", blocks(idx.size))(idx, n)
        bounds.tell(idx, 0, n - 1)
    return 0


@cache
def _marked_launches(dtype, grid):
    return (machine.launcher(_counts, ((dtype, 1), (_I64, 1)))(grid, THREADS),
            machine.launcher(_marked, ((dtype, 1), (_I64, 1), (_I64, 1), (_I64, 1)))(grid, THREADS))


def nonzero_places(x: DeviceArray) -> DeviceArray:
    """Where a contiguous array is not zero, as a vector of places on its elements."""
    if not x.size:
        return empty(0, np.int64)
    x = x.view(np.uint8) if x.dtype == np.bool_ else x
    parts = -(-x.size // PART)
    counts = empty(parts, np.int64)
    count, write = _marked_launches(x.dtype, min(parts, MOST_BLOCKS))
    count(x, counts)
    ends = cumsum(counts.reshape(1, -1, 1), False).reshape(-1)
    places = empty(int(download(ends.part(parts - 1, parts))[0]), np.int64)
    if places.size:
        write(x, counts, ends, places)
    return bounds.tell(places, 0, x.size - 1)


def nonzero(mask):
    """As kernels.cpu.places."""
    places = nonzero_places(contiguous(mask))
    rank = mask.ndim
    if rank == 1:
        return places.reshape(-1, 1)
    out = empty((places.size, rank), np.int64)
    step = mask.size
    for d, n in enumerate(mask.shape):
        if out.size:
            step //= n
            _launch("coordinates", blocks(places.size))(places, out, rank, d, step, n)
    return out


def columns(found):
    """As kernels.cpu.places."""
    count, rank = found.shape
    if rank == 1:
        return [found.reshape(count)]
    return [copied(found.window((count,), (rank,), k)) for k in range(rank)]


def joint_places(first, rest, sizes):
    """As kernels.cpu.places."""
    if not rest:
        return contiguous(first).reshape(-1)
    places = copied(first).reshape(-1)
    for i, n in zip(rest, sizes):
        if places.size:
            _launch("onward", blocks(places.size))(places, contiguous(i), n)
    return places


def strided_places(shape, strides, start: int) -> DeviceArray:
    """The places of the elements of a window, in order."""
    places = zeros(math.prod(shape), np.int64)
    step = places.size
    for d, (n, s) in enumerate(zip(shape or (1,), strides or (0,))):
        if places.size:
            step //= n
            _launch("walked", blocks(places.size))(places, step, n, s, 0 if d else start)
    return places
