"""Rows copied in another order: backwards, or chosen from a table with others around them."""

import numpy as np

from nbgrad.kernels import memory
from nbgrad.kernels.options import folded, kernel, parallel_kernel, prange, use_threads

# Numbers repeated together, and how often at most.
BLOCK, FEW = 512, 16


def _backwards_loop(x, y):
    n = x.shape[1]
    last = np.uint64(n - 1)  # an index that cannot be negative is not looked at twice
    for r in prange(x.shape[0]):
        from_row, to_row = x[r], y[r]
        for j in range(n):
            to_row[j] = from_row[last - np.uint64(j)]


def _framed_loop(x, rows, columns, start, end, y):
    # [row, column]; y[r, j] = x[rows[r], columns[j]], and from start to end columns count up by one
    width = end - start
    first = columns[start] if width > 0 else 0
    for r in prange(y.shape[0]):
        from_row, to_row = x[rows[r]], y[r]
        for j in range(start):
            to_row[j] = from_row[columns[j]]
        middle, inside = from_row[first:first + width], to_row[start:end]
        for j in range(width):
            inside[j] = middle[j]
        for j in range(end, y.shape[1]):
            to_row[j] = from_row[columns[j]]


@folded
def _side_by_side(x, times, y):
    """y[i * times + k] = x[i], for `times` that is known when it is compiled."""
    for i in range(x.size):
        v, at = x[i], np.uint64(i * times)
        for k in range(times):
            y[at + np.uint64(k)] = v


def _each_loop(x, times, y):
    # y[i * times + k] = x[i], a block of x at a time: y is then in the first cache
    for b in prange(-(-x.size // BLOCK)):
        row = x[b * BLOCK:min(b * BLOCK + BLOCK, x.size)]
        to = y[b * BLOCK * times:]
        if times == 2:
            _side_by_side(row, 2, to)
        elif times == 3:
            _side_by_side(row, 3, to)
        elif times == 4:
            _side_by_side(row, 4, to)
        else:
            for k in range(times):
                for i in range(row.size):
                    to[np.uint64(i * times + k)] = row[i]


def _each_adjoint_loop(gy, gx):
    n, times = gy.shape
    for b in prange(-(-n // BLOCK)):
        lo, hi = b * BLOCK, min(b * BLOCK + BLOCK, n)
        for i in range(lo, hi):
            gx[i] = gy[i, 0]
        for k in range(1, times):
            for i in range(lo, hi):
                gx[i] += gy[i, k]


_backwards = kernel(_backwards_loop), parallel_kernel(_backwards_loop)
_framed = kernel(_framed_loop), parallel_kernel(_framed_loop)
_each = kernel(_each_loop), parallel_kernel(_each_loop)
_each_adjoint = kernel(_each_adjoint_loop), parallel_kernel(_each_adjoint_loop)
_BITS = {1: np.uint8, 2: np.uint16, 4: np.uint32, 8: np.uint64}


def backwards(x, axes):
    """x (…) with its last `axes` axes walked backwards."""
    x = np.ascontiguousarray(x)
    y = memory.empty(x.shape, x.dtype)
    if x.size:
        bits, rows = _BITS[x.itemsize], int(np.prod(x.shape[:x.ndim - axes]))
        _backwards[use_threads(x.size)](x.view(bits).reshape(rows, -1), y.view(bits).reshape(rows, -1))
    return y


def framed(x, places):
    """y[i, j, …] = x[places[0][i], places[1][j], …]; of the last axis, most are neighbours.

    Places are vectors of int64, inside.
    """
    x = np.ascontiguousarray(x)
    y = memory.empty(tuple([len(p) for p in places]), x.dtype)
    if y.size:
        *outer, columns = places
        rows = np.zeros(1, np.int64)
        for n, p in zip(x.shape, outer):
            rows = (rows[:, None] * n + p).reshape(-1)
        breaks = np.flatnonzero(np.diff(columns) != 1) + 1
        edges = np.concatenate(([0], breaks, [len(columns)]))
        widest = int(np.argmax(np.diff(edges)))
        bits = _BITS[x.itemsize]
        _framed[use_threads(y.size)](
            x.view(bits).reshape(-1, x.shape[-1]), rows, columns, int(edges[widest]),
            int(edges[widest + 1]), y.view(bits).reshape(-1, len(columns)))
    return y


def each(x, times):
    """(..., n * times): every number of x (..., n) a few times, at most FEW, in a row."""
    y = memory.empty((*x.shape[:-1], x.shape[-1] * times), x.dtype)
    if y.size:
        bits = _BITS[x.itemsize]
        x, to = np.ascontiguousarray(x).view(bits), y.view(bits)
        _each[use_threads(y.size)](x.reshape(-1), times, to.reshape(-1))
    return y


def each_adjoint(gy, times):
    """(..., n): the sums of every `times` neighbours of gy (..., n * times)."""
    gx = memory.empty((*gy.shape[:-1], gy.shape[-1] // times), gy.dtype)
    if gx.size:
        gy = np.ascontiguousarray(gy)
        _each_adjoint[use_threads(gy.size)](gy.reshape(-1, times), gx.reshape(-1))
    return gx
