"""Sorting rows: a radix sort of packed keys; for the largest few, a list of those so far.

Keys are integers that sort as the entries do, with NaN above all numbers. A key of 32 bits stands
above the entry's place in one word of 64; keys of 64 bits are sorted by their lower half first.
"""

import numpy as np

from nbgrad.kernels import memory
from nbgrad.kernels.cpu.maths import order_top
from nbgrad.kernels.options import folded, inline, kernel, parallel_kernel, prange, use_threads

u64, i64 = np.uint64, np.int64
HALF, LOW, SIGN = u64(32), u64(0xFFFFFFFF), u64(1 << 63)
# Rows of up to SHORT entries are sorted by insertion; from LONG on, digits have 11 bits and not 8.
SHORT, LONG = 48, 8192
# Groups of rows, each with a scratch of its own that stays in the cache.
GROUPS = 16
# Entries compared at once with the last of the largest so far, and the longest list of those.
PART, FEW = 64, 64


@folded
def _word(x, down, wide, high):
    """The key of x as an unsigned number, turned round if `down`; half of it if it is wide."""
    k = i64(order_top(x))
    k = i64(-1) - k if down else k
    if wide:
        bits = u64(k) ^ SIGN
        return bits >> HALF if high else bits & LOW
    return u64(k + i64(1 << 31)) & LOW


@inline
def _insertion(p):
    for i in range(1, p.size):
        w, j = p[i], i
        while j > 0 and p[j - 1] >> HALF > w >> HALF:
            p[j] = p[j - 1]
            j -= 1
        p[j] = w


@inline
def _radix(p, q, counts):
    """p in the order of its upper halves, in p or in q; the other is scratch."""
    bits = u64(11 if p.size >= LONG else 8)
    size = u64(1) << bits
    digits, mask = (31 + bits) // bits, size - u64(1)
    counts[: digits * size] = 0
    for i in range(p.size):
        for d in range(digits):
            counts[u64(d) * size + (p[i] >> (HALF + u64(d) * bits) & mask)] += 1
    for d in range(digits):
        own, shift = counts[d * size : (d + 1) * size], HALF + u64(d) * bits
        if own[p[0] >> shift & mask] == p.size:
            continue
        total = 0
        for k in range(own.size):
            own[k], total = total, total + own[k]
        for i in range(p.size):
            w = p[i]
            k = w >> shift & mask
            q[u64(own[k])] = w
            own[k] += 1
        p, q = q, p
    return p, q


@inline
def _sorted(p, q, counts):
    if p.size <= SHORT:
        _insertion(p)
        return p, q
    return _radix(p, q, counts)


@inline
def _order(x, down, p, q, counts):
    """Words whose lower halves are the places of a row's entries, in order."""
    wide = x.itemsize == 8
    for i in range(x.size):
        p[i] = _word(x[i], down, wide, False) << HALF | u64(i)
    p, q = _sorted(p, q, counts)
    if wide:
        for i in range(x.size):
            at = p[i] & LOW
            p[i] = _word(x[at], down, wide, True) << HALF | at
        p, q = _sorted(p, q, counts)
    return p


def _sort_loop(x, down, scratch, values, indices):
    rows, groups = x.shape[0], scratch.shape[0]
    for g in prange(groups):
        counts = np.empty(3 << 11, np.uint32)
        for o in range(rows * g // groups, rows * (g + 1) // groups):
            p = _order(x[o], down, scratch[g, 0], scratch[g, 1], counts)
            for i in range(p.size):
                at = p[i] & LOW
                values[o, i] = x[o, at]
                indices[o, i] = at


@inline
def _insert(keys, at, last, key, i):
    """Put a key, and where it is, in the place it has among the falling ones before `last`."""
    j = last
    while j > 0 and keys[j - 1] < key:
        keys[j], at[j] = keys[j - 1], at[j - 1]
        j -= 1
    keys[j], at[j] = key, i


def _few_loop(x, flip, keys, values, indices):
    rows, n = x.shape
    count, number = indices.shape[1], keys.dtype.type
    for o in prange(rows):
        own, at = keys[o], indices[o]
        for i in range(count):
            _insert(own, at, i, number(order_top(x[o, i]) ^ flip), i)
        for lo in range(count, n, PART):
            part = x[o, lo : lo + PART]
            top = own[count - 1]
            for i in range(part.size):
                k = number(order_top(part[i]) ^ flip)
                top = k if k > top else top
            if top > own[count - 1]:
                for i in range(part.size):
                    k = number(order_top(part[i]) ^ flip)
                    if k > own[count - 1]:
                        _insert(own, at, count - 1, k, lo + i)
        for j in range(count):
            values[o, j] = x[o, at[j]]


# Each pair is (one thread, all threads).
_sort = kernel(_sort_loop), parallel_kernel(_sort_loop)
_few = kernel(_few_loop), parallel_kernel(_few_loop)


def sort(x, down):
    """(values, places) of the rows of contiguous x (rows, n) in order; equal entries keep theirs.

    NaN is larger than any number. Rows have less than 2^32 entries.
    """
    rows, n = x.shape
    values, indices = memory.empty(x.shape, x.dtype), memory.empty(x.shape, np.int64)
    if x.size:
        scratch = memory.empty((min(rows, GROUPS), 2, n), np.uint64)
        _sort[use_threads(x.size) and rows > 1](x, down, scratch, values, indices)
    return values, indices


def top(x, count, largest):
    """(values, places) of the `count` largest (or smallest) of the rows of contiguous x, in order.

    Of equal entries the first count.
    """
    if count > FEW:
        return tuple(np.ascontiguousarray(a[:, :count]) for a in sort(x, largest))
    rows = x.shape[0]
    values, indices = (memory.empty((rows, count), d) for d in (x.dtype, np.int64))
    if values.size:
        number = np.int32 if x.dtype == np.float32 else np.int64
        keys = memory.empty((rows, count), number)
        _few[use_threads(x.size) and rows > 1](x, number(0 if largest else -1), keys, values, indices)
    return values, indices


def ranked(x, k):
    """(values, places) of the k-th smallest of the rows of contiguous x, counted from 1, as columns."""
    return tuple(a[:, k - 1:k] for a in sort(x, False))


def _at(found, at):
    return tuple(np.take_along_axis(a, at[:, None], 1) for a in found)


def middle(x, skip):
    """(values, places) of the lower of the middle entries of rows; NaN comes first, or not at all."""
    n = x.shape[1]
    nans = np.isnan(x).sum(1) if x.dtype.kind == "f" else np.zeros(len(x), np.int64)
    at = np.maximum(n - nans - 1, 0) // 2 if skip else np.where(nans > 0, n - nans, (n - 1) // 2)
    return _at(sort(x, False), at)


def commonest(x):
    """(values, places) of the smallest of the commonest entries of rows, its last place."""
    found, n = sort(x, False), x.shape[1]
    values = found[0]
    starts = np.ones(values.shape, bool)
    starts[:, 1:] = values[:, 1:] != values[:, :-1]
    first = np.maximum.accumulate(np.where(starts, np.arange(n), 0), 1)
    return _at(found, np.argmax(np.arange(n) - first, 1))
