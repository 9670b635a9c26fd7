"""Indices looked at before they are used: whether all are inside, and where a mask is true."""

from functools import cache

import numpy as np
from numba import types

from nbgrad.kernels import memory
from nbgrad.kernels.cpu.layouts import copied
from nbgrad.kernels.launch import entry_point
from nbgrad.kernels.options import kernel, parallel_kernel, prange, use_threads

# Indices, or entries of a mask, that are handled together.
PART = 8192


@kernel
def _first_outside(idx, low, high):
    for start in range(0, idx.size, PART):
        part, outside = idx[start : start + PART], 0
        for i in range(part.size):
            outside += (part[i] < low) | (part[i] >= high)
        if outside:
            for i in range(part.size):
                if part[i] < low or part[i] >= high:
                    return start + i
    return -1


@kernel
def _extent(x):
    low = high = x[0]
    for i in range(x.size):
        low, high = min(low, x[i]), max(high, x[i])
    second, last = high, low
    for i in range(x.size):
        second = min(second, x[i] if x[i] != low else high)
        last = max(last, x[i] if x[i] != high else low)
    return np.int64(low), np.int64(second), np.int64(last), np.int64(high)


@kernel
def _settle(idx, n):
    outside = 0
    for i in range(idx.size):
        k = idx[i] + n if idx[i] < 0 else idx[i]
        inside = (k >= 0) & (k < n)
        idx[i] = k if inside else idx[i]
        outside += not inside
    return outside


def _counts_loop(mask, counts):
    # counts[b]: the nonzero entries of block b
    for b in prange(counts.size):
        part, count = mask[b * PART:(b + 1) * PART], 0
        for i in range(part.size):
            count += part[i]
        counts[b] = count


def _places_loop(mask, starts, shape, out):
    # the index of each nonzero entry into a row of `out`; those of block b from starts[b] on
    last = shape.size - 1
    for b in prange(starts.size):
        lo, hi = b * PART, min((b + 1) * PART, mask.size)
        r, first, count = lo // shape[last], lo % shape[last], starts[b]
        columns = np.empty(PART + 1, np.int64)
        while lo < hi:
            part, found = mask[lo:min(hi, lo + shape[last] - first)], 0
            for i in range(part.size):  # written always, kept where it counts: no branch to guess
                columns[found] = first + i
                found += part[i]
            rows, rest = out[count:count + found], r
            for d in range(last - 1, -1, -1):
                for k in range(found):
                    rows[k, d] = rest % shape[d]
                rest //= shape[d]
            for k in range(found):
                rows[k, last] = columns[k]
            lo, r, first, count = lo + part.size, r + 1, 0, count + found


@kernel
def _marked(mask, places):
    count = 0
    for i in range(mask.size):
        places[count] = i
        count += mask[i]
    return count


@kernel
def _joined(i, j, m, n):
    # i becomes the places on both axes
    outside = 0
    for k in range(i.size):
        u = i[k] + m if i[k] < 0 else i[k]
        v = j[k] + n if j[k] < 0 else j[k]
        outside += not ((u >= 0) & (u < m) & (v >= 0) & (v < n))
        i[k] = u * n + v
    return outside


# Each pair is (one thread, all threads).
_counts = kernel(_counts_loop), parallel_kernel(_counts_loop)
_places = kernel(_places_loop), parallel_kernel(_places_loop)


@cache
def _settle_launch():
    return entry_point(_settle, (np.int64, 1), types.int64)


@cache
def _marked_launch():
    return entry_point(_marked, (np.uint8, 1), (np.int64, 1))


@cache
def _joined_launch():
    return entry_point(_joined, (np.int64, 1), (np.int64, 1), types.int64, types.int64)


def joined(i, j, m, n):
    """How many of the pairs lie outside (m, n); i, to be written to, becomes places i * n + j."""
    return _joined_launch()(i.reshape(-1), np.ascontiguousarray(j).reshape(-1), m, n)


def settle(idx, n):
    """How many of the indices lie outside an axis of n; negative ones are made to count from 0."""
    return _settle_launch()(idx.reshape(-1), n)


def first_out_of_range(idx, low, high):
    """Flat position of the first index that is not in [low, high), or -1."""
    return _first_outside(np.ascontiguousarray(idx).reshape(-1), low, high)


def extent(x):
    """The lowest, the lowest but for that, the highest but one and the highest of integers.

    Where all are equal, the second is larger than any number and the third smaller.
    """
    low, second, last, high = _extent(np.ascontiguousarray(x).reshape(-1))
    return (low, second, last, high) if low != high else (low, 1 << 63, -1 << 63, high)


def indices(x):
    """A copy as int64, for `settle` to write to."""
    return copied(x, np.int64)


def nonzero(mask):
    """Indices (count, ndim) of the entries that are not zero, row by row."""
    mask = mask if mask.dtype == np.bool_ else mask != 0
    if mask.ndim == 0 or mask.size == 0:
        return memory.empty((np.count_nonzero(mask), mask.ndim), np.int64)
    flat, threads = np.ascontiguousarray(mask).reshape(-1).view(np.uint8), use_threads(mask.size)
    starts = np.empty(-(-flat.size // PART), np.int64)
    _counts[threads](flat, starts)
    ends = np.cumsum(starts)
    out = memory.empty((ends[-1], mask.ndim), np.int64)
    _places[threads](flat, ends - starts, np.array(mask.shape), out)
    return out


def marked(mask):
    """Where the flat mask is true, as a vector."""
    flat = np.ascontiguousarray(mask).reshape(-1)
    if flat.size > PART:
        return nonzero(flat).reshape(-1)
    places = np.empty(flat.size + 1, np.int64)
    return places[:_marked_launch()(flat.view(np.uint8), places)]


def columns(found):
    """The columns of indices (count, rank), each without gaps."""
    return [np.ascontiguousarray(found[:, k]) for k in range(found.shape[1])]


def joint_places(first, rest, sizes):
    """A vector of places on several axes taken as one, from indices on each, and all sizes but one."""
    if not rest:
        return first.reshape(-1)
    places = memory.empty(first.shape, np.int64)
    places[...] = first
    for i, n in zip(rest, sizes):
        places *= n
        places += i
    return places.reshape(-1)
