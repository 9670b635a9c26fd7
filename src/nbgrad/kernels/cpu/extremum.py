"""The largest or smallest entry along an axis, and where it is first."""

from functools import cache

import numpy as np
from numba import types

from nbgrad.kernels import memory
from nbgrad.kernels.cpu.maths import order_down, order_top
from nbgrad.kernels.launch import entry_point
from nbgrad.kernels.options import folded, inline, kernel, parallel_kernel, prange, use_threads

# Entries whose largest is sought before it is known which of them it is, twice; columns together.
BLOCK = 1024
PART = 64
COLUMNS = 128


@folded
def _key(x, down):
    """Grows with x, or falls if `down`; largest for NaN."""
    return order_down(x) if down else order_top(x)


@inline
def _largest(x, down):
    """The largest key of a row; a loop for each direction, since a choice within would be slow."""
    best = _key(x[0], down)
    if down:
        for i in range(x.size):
            k = order_down(x[i])
            best = k if k > best else best
    else:
        for i in range(x.size):
            k = order_top(x[i])
            best = k if k > best else best
    return best


def _rows_loop(x, values, indices, n, down):
    for o in prange(indices.size):
        row = x[o * n : (o + 1) * n]
        best, at = _largest(row[:BLOCK], down), 0
        for lo in range(BLOCK, n, BLOCK):
            k = _largest(row[lo : lo + BLOCK], down)
            if k > best:
                best, at = k, lo
        while _largest(row[at : at + PART], down) != best:
            at += PART
        while _key(row[at], down) != best:
            at += 1
        values[o] = row[at]
        indices[o] = at


def _columns_loop(x, down, values, indices):
    outer, n, inner = x.shape
    blocks = (inner + COLUMNS - 1) // COLUMNS
    for r in prange(outer * blocks):
        o, lo = r // blocks, (r % blocks) * COLUMNS
        hi = min(lo + COLUMNS, inner)
        value, at = values[o, lo:hi], indices[o, lo:hi]
        first = x[o, 0, lo:hi]
        for j in range(value.size):
            value[j] = first[j]
            at[j] = 0
        for i in range(1, n):
            row = x[o, i, lo:hi]
            for j in range(value.size):
                better = _key(row[j], down) > _key(value[j], down)
                value[j] = row[j] if better else value[j]
                at[j] = i if better else at[j]


# Each pair is (one thread, all threads).
_rows = kernel(_rows_loop), parallel_kernel(_rows_loop)
_columns = kernel(_columns_loop), parallel_kernel(_columns_loop)


@cache
def rows_launch(dtype):
    """A launch (vector of rows of n, values, indices, n, whether smallest) on one thread."""
    return entry_point(_rows[0], (dtype, 1), (dtype, 1), (np.int64, 1), types.int64, types.boolean)


def extremum(x, largest):
    """(values, indices) of the largest (or smallest) along the middle axis of x (outer, n, inner).

    Of equal entries the first counts; a NaN is beyond all numbers.
    """
    outer, n, inner = x.shape
    values, indices = (memory.empty((outer, inner), d) for d in (x.dtype, np.int64))
    if values.size:
        down, threads = not largest, use_threads(x.size)
        if inner == 1:
            _rows[threads](x.reshape(-1), values.reshape(-1), indices.reshape(-1), n, down)
        else:
            _columns[threads](x, down, values, indices)
    return values, indices
