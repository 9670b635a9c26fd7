"""Rows copied in another order: backwards, or chosen from a table with others around them."""

import math
from functools import cache, lru_cache

import numpy as np
from numba import types

from nbgrad.kernels import memory
from nbgrad.kernels.cpu.lanes import elements, move
from nbgrad.kernels.launch import entry_point
from nbgrad.kernels.options import folded, inline, kernel, parallel_kernel, prange, use_threads

# Numbers copied in one task; numbers repeated together, and how often at most.
LONG, BLOCK, FEW = 8192, 512, 16


@inline
def _block(t, blocks):
    """The row, and the first place in it, of task t."""
    task = np.int64(t)
    return (task, np.int64(0)) if blocks == 1 else (task // blocks, task % blocks * LONG)


def _walked_loop(x, rows, ahead, y):
    # y[rows[r]] = x[r], walked ahead or backwards, a block of a row at a time: memory is fetched
    # sooner in the order of places than in another
    n = x.shape[1]
    blocks = -(-n // LONG)
    for t in prange(rows.size * blocks):
        r, lo = _block(t, blocks)
        hi = min(lo + LONG, n)
        if ahead:
            move(elements(y), rows[r] * n + lo, elements(x), r * n + lo, hi - lo)
        else:
            from_row, to_row = x[r, lo:hi], y[rows[r], n - hi:n - lo]
            last = np.uint64(hi - lo - 1)  # an index that cannot be negative is not looked at twice
            for j in range(from_row.size):
                to_row[last - np.uint64(j)] = from_row[j]


def _framed_loop(x, rows, columns, start, end, y):
    # [row, column]; y[r, j] = x[rows[r], columns[j]], and from start to end columns count up by one
    width = end - start
    first = columns[start] if width > 0 else 0
    for r in prange(y.shape[0]):
        from_row, to_row = x[rows[r]], y[r]
        for j in range(start):
            to_row[j] = from_row[columns[j]]
        move(to_row, start, from_row, first, width)
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


def _each_row_loop(x, times, y):
    # y[r * times + k] = x[r]
    n = x.shape[1]
    blocks = -(-n // LONG)
    for t in prange(x.shape[0] * blocks):
        r, lo = _block(t, blocks)
        for k in range(times):
            move(elements(y), (r * times + k) * n + lo, elements(x), r * n + lo, min(LONG, n - lo))


def _each_row_adjoint_loop(gy, times, gx):
    n = gx.shape[1]
    blocks = -(-n // LONG)
    for t in prange(gx.shape[0] * blocks):
        r, lo = _block(t, blocks)
        to, first = gx[r, lo:lo + LONG], gy[r * times, lo:lo + LONG]
        for i in range(to.size):
            to[i] = first[i]
        for k in range(1, times):
            row = gy[r * times + k, lo:lo + LONG]
            for i in range(to.size):
                to[i] += row[i]


def _each_adjoint_loop(gy, gx):
    n, times = gy.shape
    for b in prange(-(-n // BLOCK)):
        lo, hi = b * BLOCK, min(b * BLOCK + BLOCK, n)
        for i in range(lo, hi):
            gx[i] = gy[i, 0]
        for k in range(1, times):
            for i in range(lo, hi):
                gx[i] += gy[i, k]


_walked = kernel(_walked_loop), parallel_kernel(_walked_loop)
_framed = kernel(_framed_loop), parallel_kernel(_framed_loop)
_each = kernel(_each_loop), parallel_kernel(_each_loop)
_each_adjoint = kernel(_each_adjoint_loop), parallel_kernel(_each_adjoint_loop)
_each_row = kernel(_each_row_loop), parallel_kernel(_each_row_loop)
_each_row_adjoint = kernel(_each_row_adjoint_loop), parallel_kernel(_each_row_adjoint_loop)
_BITS = {1: np.uint8, 2: np.uint16, 4: np.uint32, 8: np.uint64}


@cache
def _walk_launch(threads, size):
    both = np.dtype(f"u{size}"), 2
    return entry_point(_walked[threads], both, (np.int64, 1), types.boolean, both)


#: rows of which the order is kept for the next call, and how many orders
_KEPT = 1 << 16, 16


def _order(shape, axes):
    """The rows in their new order, and whether each is walked ahead."""
    return (_kept_order if math.prod(shape[:-1]) <= _KEPT[0] else _new_order)(shape, tuple(axes))


def _new_order(shape, axes):
    ahead, lead = len(shape) - 1 not in axes, len(shape)
    while lead and (lead - 1 not in axes) == ahead:  # walked alike, they are one axis
        lead -= 1
    rows = np.arange(math.prod(shape[:lead])).reshape(shape[:lead])
    turned = [slice(None, None, -1 if axis in axes else 1) for axis in range(lead)]
    return rows[(*turned,)].ravel(), ahead


_kept_order = lru_cache(_KEPT[1])(_new_order)


def flipped(x, axes):
    """x with some axes walked backwards."""
    y = memory.empty(x.shape, x.dtype)
    if x.size:
        rows, ahead = _order(x.shape, axes)
        x = np.ascontiguousarray(x).reshape(rows.size, -1)
        _walk_launch(use_threads(x.size), x.itemsize)(x, rows, ahead, y.reshape(x.shape))
    return y


def rolled(x, shifts, axes):
    """x with some axes turned."""
    return np.roll(x, shifts, axes)


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


def each(x, times, axis):
    """Every entry along an axis of x a few times, at most FEW, in a row."""
    y = memory.empty((*x.shape[:axis], x.shape[axis] * times, *x.shape[axis + 1:]), x.dtype)
    if y.size:
        bits, inner = _BITS[x.itemsize], math.prod(x.shape[axis + 1:])
        x, to = np.ascontiguousarray(x).view(bits), y.view(bits)
        if inner == 1:
            _each[use_threads(y.size)](x.reshape(-1), times, to.reshape(-1))
        else:
            _each_row[use_threads(y.size)](x.reshape(-1, inner), times, to.reshape(-1, inner))
    return y


def each_adjoint(gy, times, axis):
    """The sums of every `times` neighbours along an axis of gy."""
    gx = memory.empty((*gy.shape[:axis], gy.shape[axis] // times, *gy.shape[axis + 1:]), gy.dtype)
    if gx.size:
        gy, inner = np.ascontiguousarray(gy), math.prod(gy.shape[axis + 1:])
        if inner == 1:
            _each_adjoint[use_threads(gy.size)](gy.reshape(-1, times), gx.reshape(-1))
        else:
            _each_row_adjoint[use_threads(gy.size)](gy.reshape(-1, inner), times,
                                                    gx.reshape(-1, inner))
    return gx
