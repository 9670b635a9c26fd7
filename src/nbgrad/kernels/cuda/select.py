"""The entries of rows that come first in order, or that of one rank, on a CUDA device, without sorting.

Keys are unsigned integers that sort as the entries do. The digits of the key sought are found one after
the other, the first ones first: how many keys begin with what is known so far and go on with each digit
tells the next one. Then all smaller keys are taken, and of equal ones the first. A block does that for
a row of up to ROOM entries; longer rows are cut into parts, a block each, whose counts are added up.
"""

from __future__ import annotations

from functools import cache

import numpy as np

from nbgrad.kernels.cuda.array import DeviceArray
from nbgrad.kernels.cuda.blocks import THREADS, WARPS, before, power, slabs_for
from nbgrad.kernels.cuda.keys import LIMITS, key_of
from nbgrad.kernels.cuda.memory import empty, zeros
from nbgrad.kernels.cuda.provider import MOST_BLOCKS, SIMULATED, cuda, inline, kernel, machine

#: Bits of a digit, of which there are as many as threads of a block; entries a thread reads at once;
#: counters of a digit, for the threads of a warp not to wait for each other.
BITS, EACH, COPIES = (2, 2, 2) if SIMULATED else (8, 8, 8)
#: Bytes of keys of a row that one block has to itself; entries found that one block puts in order.
ROOM, MOST = (64, 4) if SIMULATED else (1 << 14, 1024)
#: Shorter rows are rather sorted, several by one block.
FEW = 5 if SIMULATED else 128
_TILE, _COUNTERS = THREADS * EACH, THREADS * COPIES
_I32, _I64, _U64 = np.dtype(np.int32), np.dtype(np.int64), np.dtype(np.uint64)


@inline
def _clear(counters, tid):
    for c in range(COPIES):
        counters[np.uint32(tid + c * THREADS)] = 0
    cuda.syncthreads()


@inline
def _total(counters, tid):
    """How often the digit was counted that is this thread's number."""
    cuda.syncthreads()
    count = np.int32(0)
    for c in range(COPIES):
        count = np.int32(count + counters[np.uint32(tid * COPIES + c)])
    return count


@inline
def _choose(count, rank, sums, chosen, tid):
    """chosen: the digit of the key of a rank from 1 on, its rank among those, how many they are."""
    smaller = before(count, sums, tid)
    if smaller < rank and rank <= smaller + count:
        chosen[0] = tid
        chosen[1] = rank - smaller
        chosen[2] = count
    cuda.syncthreads()


@inline
def _sort(keys, places, size, tid):
    """Put a power of two of (key, place) in order, by a bitonic network."""
    run = np.uint32(2)
    while run <= size:
        step = np.uint32(run >> 1)
        while step > 0:
            cuda.syncthreads()
            for t in range(tid, size >> 1, THREADS):
                i = np.uint32(2 * t - (t & (step - 1)))
                j = np.uint32(i + step)
                later = keys[i] > keys[j] or (keys[i] == keys[j] and places[i] > places[j])
                if later == (i & run == 0):
                    keys[i], keys[j] = keys[j], keys[i]
                    places[i], places[j] = places[j], places[i]
            step >>= 1
        run <<= 1
    cuda.syncthreads()


#: What is sought, as kernels are told: the first k entries, or `only` that of rank k, the median, which
#: is NaN where there is one, or that of the numbers.
FIRST, RANK, MEDIAN, OF_NUMBERS = range(4)


@inline
def _middle(n, missing, only):
    """The rank of a median among n entries, of which so many are NaN."""
    if only == OF_NUMBERS:
        return np.int32(max(n - missing - 1, 0) // 2 + 1)
    return np.int32(n - missing + 1 if missing else (n + 1) // 2)


@inline
def _counted(value, sums, tid):
    """The sums of int32 values over the threads before this one, and over all of the block."""
    earlier = before(value, sums, tid)
    total = np.int32(0)
    for w in range(WARPS):
        total = np.int32(total + sums[w])
    cuda.syncthreads()
    return earlier, total


@inline
def _taken(inside, rest, prefix, alike, seen, rank, only, sums, tid):
    """Whether an entry is sought, whose key begins with `rest`, and how many had `prefix` so far.

    Entries of lower places were asked for before, or are by threads before this one. Where no choice is
    made among those that begin with `prefix`, which are then `alike`, nobody counts them.
    """
    same = np.int32(1 if inside and rest == prefix else 0)
    nth = seen
    if not alike:
        earlier, total = _counted(same, sums, tid)
        nth, seen = np.int32(seen + earlier), np.int32(seen + total)
    if only:
        took = same == 1 and (alike or nth == rank - 1)
    else:
        took = inside and (rest < prefix or (same == 1 and (alike or nth < rank)))
    return took, seen


@cache
def _short(number, room: int, most: int):
    key = key_of(number)

    @kernel(launch_bounds=(THREADS, 2 if number is np.uint64 else 3))
    def select_rows(x, values, places, n, k, only, bits, floats, down, sign, infinite, ones):
        """A block for each row."""
        own = cuda.shared.array(room, number)
        found = cuda.shared.array(most, number)
        at = cuda.shared.array(most, np.int32)
        counters = cuda.shared.array(_COUNTERS, np.int32)
        sums = cuda.shared.array(WARPS, np.int32)
        chosen = cuda.shared.array(4, np.int32)
        tid = np.uint32(cuda.threadIdx.x)
        copy = np.uint32(tid % COPIES)
        size = np.uint32(n)
        results = np.uint32(1 if only else k)
        for row in range(cuda.blockIdx.x, x.size // n, cuda.gridDim.x):
            start = np.uint64(row * n)
            missing = np.int32(0)
            for i in range(tid, size, THREADS):
                mine = key(x[start + i], floats, down, sign, infinite, ones)
                own[i] = mine
                missing = np.int32(missing + (1 if mine == number(ones) else 0))
            prefix, shift = number(0), np.uint32(bits)
            rank, equal = np.int32(k), np.int32(n)
            if only >= MEDIAN:
                rank = _middle(n, _counted(missing, sums, tid)[1], only)
            while shift > 0 and equal != (1 if only else rank):
                shift = np.uint32(shift - BITS)
                _clear(counters, tid)
                for i in range(tid, size, THREADS):
                    rest = number(own[i] >> shift)
                    if number(rest >> number(BITS)) == prefix:
                        digit = np.uint32(rest & (THREADS - 1))
                        cuda.atomic.add(counters, np.uint32(digit * COPIES + copy), np.int32(1))
                _choose(_total(counters, tid), rank, sums, chosen, tid)
                prefix = number(number(prefix << number(BITS)) | number(chosen[0]))
                rank, equal = chosen[1], chosen[2]
            alike = equal == (1 if only else rank)  # no choice among equal keys
            if tid == 0:
                chosen[3] = 0
            for i in range(tid, most, THREADS):
                found[i] = number(ones)
                at[i] = np.int32(0x7FFFFFFF)
            cuda.syncthreads()
            seen = np.int32(0)
            for first in range(0, size, THREADS):
                i = np.uint32(first + tid)
                mine = own[i] if i < size else number(ones)
                rest = number(mine >> shift)
                took, seen = _taken(i < size, rest, prefix, alike, seen, rank, only, sums, tid)
                if took:
                    to = np.uint32(cuda.atomic.add(chosen, 3, np.int32(1)))
                    found[to] = mine
                    at[to] = i
            _sort(found, at, np.uint32(most), tid)
            for j in range(tid, results, THREADS):
                to = np.uint64(row * results + j)
                places[to] = at[j]
                values[to] = x[start + np.uint64(at[j])]
            cuda.syncthreads()

    return select_rows


@inline
def _state(states, counts, missing, row, rows, turn, k, n, bits, only, sums, chosen, tid):
    """(first digits, bits that follow them, rank among the keys that begin so, how many these are).

    It is that of the turn before, and what was counted then.
    """
    prefix, shift = np.uint64(0), np.uint64(bits)
    rank, equal = np.int32(k), np.int32(n)
    if turn > 0:
        at = np.uint64(4 * ((turn - 1) * rows + row))
        prefix, shift = states[at], states[at + np.uint64(1)]
        rank, equal = np.int32(states[at + np.uint64(2)]), np.int32(states[at + np.uint64(3)])
        if turn == 1 and only >= MEDIAN:
            rank = _middle(n, missing[row], only)
        if equal != (1 if only else rank):
            count = counts[np.uint64(((turn - 1) * rows + row) * THREADS + tid)]
            _choose(count, rank, sums, chosen, tid)
            prefix = (prefix << np.uint64(BITS)) | np.uint64(chosen[0])
            shift = shift - np.uint64(BITS)
            rank, equal = chosen[1], chosen[2]
    return prefix, shift, rank, equal


@cache
def _long(number):
    key = key_of(number)

    @kernel
    def select_digit(x, states, counts, parted, missing, n, k, only, parts, slab, turn, bits, floats,
                     down, sign, infinite, ones):
        """A block counts a digit in each part of a row; in the last turn, for the part alone, too."""
        counters = cuda.shared.array(_COUNTERS, np.int32)
        sums = cuda.shared.array(WARPS, np.int32)
        chosen = cuda.shared.array(3, np.int32)
        some = cuda.local.array(EACH, x.dtype)
        tid = np.uint32(cuda.threadIdx.x)
        copy = np.uint32(tid % COPIES)
        rows = x.size // n
        for b in range(cuda.blockIdx.x, rows * parts, cuda.gridDim.x):
            row = b // parts
            part = b - row * parts
            prefix, left, rank, equal = _state(states, counts, missing, row, rows, turn, k, n, bits,
                                               only, sums, chosen, tid)
            if part == 0 and tid == 0:
                at = np.uint64(4 * (turn * rows + row))
                states[at], states[at + np.uint64(1)] = prefix, left
                states[at + np.uint64(2)], states[at + np.uint64(3)] = np.uint64(rank), np.uint64(equal)
            if equal != (1 if only else rank):
                known, shift = number(prefix), np.uint32(left - np.uint64(BITS))
                gone = np.int32(0)
                _clear(counters, tid)
                start = np.uint64(row * n + part * slab)
                size = np.uint32(min(n - part * slab, slab))
                for first in range(0, size, _TILE):
                    for e in range(EACH):
                        i = np.uint32(first + tid + e * THREADS)
                        some[e] = x[start + min(i, np.uint32(size - 1))]
                    for e in range(EACH):
                        i = np.uint32(first + tid + e * THREADS)
                        mine = key(some[e], floats, down, sign, infinite, ones)
                        rest = number(mine >> shift)
                        gone = np.int32(gone + (1 if i < size and mine == number(ones) else 0))
                        if i < size and number(rest >> number(BITS)) == known:
                            digit = np.uint32(rest & (THREADS - 1))
                            cuda.atomic.add(counters, np.uint32(digit * COPIES + copy), np.int32(1))
                count = _total(counters, tid)
                if count > 0:
                    cuda.atomic.add(counts, np.uint64((turn * rows + row) * THREADS + tid), count)
                if shift == 0:
                    parted[np.uint64(b * THREADS + tid)] = count
                if turn == 0 and only >= MEDIAN:
                    gone = _counted(gone, sums, tid)[1]
                    if tid == 0:
                        cuda.atomic.add(missing, np.uint64(row), gone)
            cuda.syncthreads()

    @kernel
    def select_parts(x, states, counts, parted, missing, taken, places, n, k, only, parts, slab, turn,
                     bits, floats, down, sign, infinite, ones):
        """The places of what is sought, in any order."""
        sums = cuda.shared.array(WARPS, np.int32)
        chosen = cuda.shared.array(3, np.int32)
        some = cuda.local.array(EACH, x.dtype)
        tid = np.uint32(cuda.threadIdx.x)
        rows = x.size // n
        results = 1 if only else k
        for b in range(cuda.blockIdx.x, rows * parts, cuda.gridDim.x):
            row = b // parts
            part = b - row * parts
            prefix, left, rank, equal = _state(states, counts, missing, row, rows, turn, k, n, bits,
                                               only, sums, chosen, tid)
            known, shift = number(prefix), np.uint32(left)
            alike = equal == (1 if only else rank)
            seen = np.int32(0)
            if not alike:  # the equal keys of the parts before
                digit = np.int64(known & number(THREADS - 1))
                for p in range(tid, part, THREADS):
                    seen = np.int32(seen + parted[np.uint64((row * parts + p) * THREADS + digit)])
                seen = _counted(seen, sums, tid)[1]
            start = np.uint64(row * n + part * slab)
            size = np.uint32(min(n - part * slab, slab))
            for first in range(0, size, _TILE):
                for e in range(EACH):
                    i = np.uint32(first + tid + e * THREADS)
                    some[e] = x[start + min(i, np.uint32(size - 1))]
                for e in range(EACH):
                    i = np.uint32(first + tid + e * THREADS)
                    rest = number(key(some[e], floats, down, sign, infinite, ones) >> shift)
                    took, seen = _taken(i < size, rest, known, alike, seen, rank, only, sums, tid)
                    if took:
                        to = np.int64(cuda.atomic.add(taken, np.uint64(row), np.int32(1)))
                        places[np.uint64(row * results + to)] = np.int32(part * slab + i)
            cuda.syncthreads()

    return select_digit, select_parts


@cache
def _arranged(number, most: int):
    key = key_of(number)

    @kernel(launch_bounds=(THREADS, 4))
    def arrange_found(x, found, values, places, n, k, floats, down, sign, infinite, ones):
        """Entries at places in order, and these places, a block for each row."""
        keys = cuda.shared.array(most, number)
        at = cuda.shared.array(most, np.int32)
        tid = np.uint32(cuda.threadIdx.x)
        for row in range(cuda.blockIdx.x, x.size // n, cuda.gridDim.x):
            start, to = np.uint64(row * n), np.uint64(row * k)
            for j in range(tid, most, THREADS):
                keys[j] = number(ones)
                at[j] = np.int32(0x7FFFFFFF)
                if j < k:
                    at[j] = found[to + j]
                    keys[j] = key(x[start + np.uint64(at[j])], floats, down, sign, infinite, ones)
            _sort(keys, at, np.uint32(most), tid)
            for j in range(tid, k, THREADS):
                places[to + j] = at[j]
                values[to + j] = x[start + np.uint64(at[j])]
            cuda.syncthreads()

    return arrange_found


@cache
def _launch(made, arrays: tuple, numbers: int, grid: int):
    return machine.launcher(made, (*[(a, 1) for a in arrays], *["int64"] * numbers))(grid, THREADS)


def pays(n: int, k: int) -> bool:
    """Whether k entries of n are found sooner than all are sorted."""
    return FEW < n < 1 << 31 and 4 * k <= n


def chosen(x: DeviceArray, down: bool, k: int, only: int = FIRST) -> tuple:
    """(values, int64 places) of what is sought in contiguous rows (rows, n), of equal entries the
    first, in order. Of many, (None, int32 places in any order)."""
    rows, n = x.shape
    number, results = np.uint64 if x.dtype.itemsize == 8 else np.uint32, 1 if only else k
    values, places = empty((rows, results), x.dtype), empty((rows, results), np.int64)
    own, to = (a.view(f"u{x.dtype.itemsize}") for a in (x, values))
    numbers, grid, kind = _key_numbers(x.dtype, down), min(rows, MOST_BLOCKS), own.dtype
    if n * np.dtype(number).itemsize <= ROOM:
        made = _short(number, max(power(n), ROOM // 16), max(power(results), MOST // 32))
        _launch(made, (kind, kind, _I64), 9, grid)(
            own, to, places, n, k, only, 8 * kind.itemsize, *numbers)
        return values, places
    found = _places(own, number, n, k, only, numbers)
    if results > MOST:
        return None, found
    made = _arranged(number, max(power(results), MOST // 32))
    _launch(made, (kind, _I32, kind, _I64), 7, grid)(own, found, to, places, n, results, *numbers)
    return values, places


def _key_numbers(dtype: np.dtype, down: bool) -> tuple[int, ...]:
    """What `key_of` asks for: (floats, down, sign, infinite, ones)."""
    bits, floats = 8 * dtype.itemsize, dtype.kind == "f"
    sign, ones = 1 << bits - 1 if dtype.kind in "fi" else 0, (1 << bits) - 1
    if bits == 64:
        sign, ones = -sign, -1  # as the numbers of launches are signed
    return int(floats), int(down), sign, LIMITS[dtype.itemsize][1] if floats else 0, ones


def _places(x, number, n: int, k: int, only: int, numbers: tuple) -> DeviceArray:
    """The places of what is sought in long rows, in any order."""
    bits = 8 * x.dtype.itemsize
    rows, turns = x.size // n, bits // BITS
    parts = slabs_for(rows, n, 2 * _TILE)
    slab = -(-n // parts)
    parts = -(-n // slab)
    grid = min(rows * parts, MOST_BLOCKS)
    counted = zeros((turns * THREADS + 2) * rows, np.int32)
    counts, missing, taken = counted[:-2 * rows], counted[-2 * rows:-rows], counted[-rows:]
    states, parted = empty(4 * turns * rows, np.uint64), empty(rows * parts * THREADS, np.int32)
    digit, gather = _long(number)
    for turn in range(turns):
        _launch(digit, (x.dtype, _U64, _I32, _I32, _I32), 12, grid)(
            x, states, counts, parted, missing, n, k, only, parts, slab, turn, bits, *numbers)
    found = empty((rows, 1 if only else k), np.int32)
    _launch(gather, (x.dtype, _U64, _I32, _I32, _I32, _I32, _I32), 12, grid)(
        x, states, counts, parted, missing, taken, found, n, k, only, parts, slab, turns, bits,
        *numbers)
    return found
