"""Whole rows read, written and joined at a vector of indices.

Indices are int64, inside and not negative. A kernel that only moves entries sees them as unsigned
integers of their size, so that it is compiled once a size, not once a dtype.
"""

from functools import cache

import numpy as np
from numba import types

from nbgrad.kernels import memory
from nbgrad.kernels.cpu.copy import write
from nbgrad.kernels.cpu.lanes import elements, move
from nbgrad.kernels.launch import entry_point
from nbgrad.kernels.options import (
    get_num_threads,
    inline,
    kernel,
    parallel_kernel,
    prange,
    use_threads,
)

# Entries that one task reads; entries of a row from which on it pays that every thread which
# writes looks at all indices, each for those of its own rows: so no entry has two writers, and what
# is written to it keeps its order.
SPAN, WIDE = 8192, 16


@inline
def line(a, o):
    """a[o, :, 0] of an array whose last axis has one entry, as a vector without gaps."""
    return a.reshape(-1)[o * a.shape[1]:(o + 1) * a.shape[1]]


@inline
def _step(inner):
    """How many rows one task reads."""
    return max(1, SPAN // max(inner, 1))


def _take_rows_loop(x, idx, y):
    outer, count, inner = y.shape
    n, step = x.shape[1], _step(inner)
    blocks = (count + step - 1) // step
    for r in prange(outer * blocks):
        o, lo = r // blocks, (r % blocks) * step
        part = idx[lo:lo + step]
        if inner == 1:
            xo, yo = line(x, o), line(y, o)[lo:lo + part.size]
            for j in range(part.size):
                yo[j] = xo[part[j]]
        else:
            rows, to = elements(x), elements(y)
            for j in range(part.size):
                k = o * n + np.int64(part[j])
                move(to, (o * count + lo + j) * inner, rows, k * inner, inner)


def _look_up_loop(x, offset, n, inner, idx, y):
    # rows of `inner` entries of a storage, the first of n at `offset`
    outside, step = 0, _step(inner)
    for block in prange((idx.size + step - 1) // step):
        for j in range(block * step, min((block + 1) * step, idx.size)):
            k = idx[j] + n if idx[j] < 0 else idx[j]
            if 0 <= k < n:
                idx[j] = k
                move(elements(y), j * inner, elements(x), offset + k * inner, inner)
            else:
                outside += 1
    return outside


@inline
def put(x, k, value):
    x[k] = value


@inline
def add(x, k, value):
    x[k] += value


@inline
def multiply(x, k, value):
    x[k] *= value


@inline
def raised(x, k, value):
    x[k] = value if (value > x[k]) | (value != value) else x[k]


@inline
def lower(x, k, value):
    x[k] = value if (value < x[k]) | (value != value) else x[k]


# Rows v [outer, indices, inner] into those of x; task t has a share of the rows of one x[o].


@inline
def _share(t, parts, n):
    """Which x[o] task t has, from which of its n rows on, and how many of them."""
    first = n * (t % parts) // parts
    return t // parts, np.uint64(first), np.uint64(n * (t % parts + 1) // parts - first)


def _row_writer(write):
    """A function that does write(x, k, value) with the entries of the rows of task t."""

    @inline
    def part(t, parts, x, idx, v):
        o, first, count = _share(t, parts, x.shape[1])
        if v.shape[2] == 1:
            xo, vo = line(x, o), line(v, o)
            for j in range(idx.size):
                write(xo, idx[j], vo[j])
        else:
            for j in range(idx.size):
                if idx[j] - first < count:
                    from_row, to_row = v[o, j], x[o, idx[j]]
                    for i in range(to_row.size):
                        write(to_row, i, from_row[i])

    return part


_add_row, _multiply_row = _row_writer(add), _row_writer(multiply)
_raise_row, _lower_row = _row_writer(raised), _row_writer(lower)


def _put_rows_loop(x, idx, v, parts):
    inner = v.shape[2]
    for t in prange(v.shape[0] * parts):
        o, first, count = _share(t, parts, x.shape[1])
        if inner == 1:
            xo, vo = line(x, o), line(v, o)
            for j in range(idx.size):
                xo[idx[j]] = vo[j]
        else:
            to, rows = elements(x), elements(v)
            for j in range(idx.size):
                if idx[j] - first < count:
                    k = o * x.shape[1] + np.int64(idx[j])
                    move(to, k * inner, rows, (o * idx.size + j) * inner, inner)


def _fill_rows_loop(x, idx, value, parts):
    for t in prange(x.shape[0] * parts):
        o, first, count = _share(t, parts, x.shape[1])
        v = value[0]
        if x.shape[2] == 1:
            xo = line(x, o)
            for j in range(idx.size):
                xo[idx[j]] = v
        else:
            for j in range(idx.size):
                if idx[j] - first < count:
                    row = x[o, idx[j]]
                    for i in range(row.size):
                        row[i] = v


def _add_rows_loop(x, idx, v, parts):
    for t in prange(v.shape[0] * parts):
        _add_row(t, parts, x, idx, v)


def _multiply_rows_loop(x, idx, v, parts):
    for t in prange(v.shape[0] * parts):
        _multiply_row(t, parts, x, idx, v)


def _raise_rows_loop(x, idx, v, parts):
    for t in prange(v.shape[0] * parts):
        _raise_row(t, parts, x, idx, v)


def _lower_rows_loop(x, idx, v, parts):
    for t in prange(v.shape[0] * parts):
        _lower_row(t, parts, x, idx, v)


# Each pair is (one thread, all threads).
_take_rows = kernel(_take_rows_loop), parallel_kernel(_take_rows_loop)
_look_up = kernel(_look_up_loop), parallel_kernel(_look_up_loop)
_put_rows = kernel(_put_rows_loop), parallel_kernel(_put_rows_loop)
_fill_rows = kernel(_fill_rows_loop), parallel_kernel(_fill_rows_loop)
_reduce_rows = {
    "sum": (kernel(_add_rows_loop), parallel_kernel(_add_rows_loop)),
    "prod": (kernel(_multiply_rows_loop), parallel_kernel(_multiply_rows_loop)),
    "amax": (kernel(_raise_rows_loop), parallel_kernel(_raise_rows_loop)),
    "amin": (kernel(_lower_rows_loop), parallel_kernel(_lower_rows_loop)),
}


def bits(a):
    """A contiguous array as unsigned integers."""
    return np.ascontiguousarray(a).view(f"u{a.itemsize}")


def written(run, x, *arguments):
    """Call run(x, ...), which needs contiguous x, on x of any strides."""
    if x.flags.c_contiguous:
        return run(x, *arguments)
    copy = np.ascontiguousarray(x)
    found = run(copy, *arguments)
    write(x, copy)
    return found


# Launches see entries as bits, and checked indices as unsigned: only their sizes count.


def _kind(dtype, rank):
    return np.dtype(f"u{dtype.itemsize}"), rank


_INDEX = np.dtype(np.uint64), 1


@cache
def _take_launch(threads, dtype):
    return entry_point(_take_rows[threads], _kind(dtype, 3), _INDEX, _kind(dtype, 3))


@cache
def _put_launch(threads, dtype):
    return entry_point(_put_rows[threads], _kind(dtype, 3), _INDEX, _kind(dtype, 3), types.int64)


@cache
def _fill_launch(threads, dtype):
    return entry_point(_fill_rows[threads], _kind(dtype, 3), _INDEX, _kind(dtype, 1), types.int64)


@cache
def _reduce_launch(how, threads, dtype):
    return entry_point(_reduce_rows[how][threads], (dtype, 3), _INDEX, (dtype, 3), types.int64)


@cache
def look_up_launch(threads, dtype):
    """The launch (storage, offset, n, inner, idx, entries) of `look_up`."""
    return entry_point(_look_up[threads], _kind(dtype, 1), *[types.int64] * 3, (np.int64, 1),
                       _kind(dtype, 1))


def take_rows(x, idx):
    """y (outer, k, inner) with y[:, j] = x[:, idx[j]], for x (outer, n, inner) and idx (k,)."""
    y = memory.empty((x.shape[0], len(idx), x.shape[2]), x.dtype)
    x, idx = np.ascontiguousarray(x), np.ascontiguousarray(idx)
    _take_launch(use_threads(y.size), y.dtype)(x, idx, y)
    return y


def look_up(storage, offset, n, inner, idx):
    """(entries, indices outside): rows idx (k,) of the n rows of `inner` entries from `offset` on.

    Negative indices count from the end; they are replaced by what they stand for.
    """
    y = memory.empty(idx.size * inner, storage.dtype)
    run = look_up_launch(use_threads(y.size), y.dtype)
    return y, run(storage, offset, n, inner, idx, y)


def add_rows(gy, idx, n):
    """gx (outer, n, inner) with gx[:, idx[j]] += gy[:, j], for gy (outer, k, inner)."""
    gx = memory.zeros((gy.shape[0], n, gy.shape[2]), gy.dtype)
    reduce_rows(gx, idx, gy, "sum")
    return gx


def _parts(threads, x):
    """In how many parts of rows each x[o] is written to."""
    few = threads and x.shape[2] >= WIDE
    return -(-get_num_threads() // max(x.shape[0], 1)) if few else 1


def reduce_rows(x, idx, v, how):
    """v[:, j] joined to x[:, idx[j]] in place by "sum", "prod", "amax" or "amin".

    x is (outer, n, inner) and v (outer, k, inner); NaN is the largest and the smallest number.
    """
    threads = use_threads(v.size)
    written(_reduce_launch(how, threads, x.dtype), x, np.ascontiguousarray(idx),
           np.ascontiguousarray(v, x.dtype), _parts(threads, x))


def put_rows(x, idx, v):
    """x[:, idx[j]] = v[:, j] in place, for x (outer, n, inner) and v (outer, k, inner)."""
    threads = use_threads(v.size)
    launch = _put_launch
    if v.size and not any(v.strides):  # one number, spread out
        launch, v = _fill_launch, v[0, 0, :1]
    written(launch(threads, x.dtype), x, np.ascontiguousarray(idx),
           np.ascontiguousarray(v, x.dtype), _parts(threads, x))
