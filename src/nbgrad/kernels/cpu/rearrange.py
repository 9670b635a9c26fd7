"""Rows copied in another order: backwards, or chosen from a table with others around them."""

import numpy as np

from nbgrad.kernels import memory
from nbgrad.kernels.options import kernel, parallel_kernel, prange, use_threads


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


_backwards = kernel(_backwards_loop), parallel_kernel(_backwards_loop)
_framed = kernel(_framed_loop), parallel_kernel(_framed_loop)
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
