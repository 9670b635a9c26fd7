"""Softmax and log-softmax along one axis, and their gradients."""

from math import prod

import numpy as np
from numba import types

from nbgrad.kernels import memory
from nbgrad.kernels.cpu.lanes import LANES, elements, get, put
from nbgrad.kernels.cpu.maths import exp, log
from nbgrad.kernels.cpu.rows import column_max, row_dot, row_exp_sum, row_max, row_sum
from nbgrad.kernels.launch import entry_point
from nbgrad.kernels.options import kernel, parallel_kernel, prange, use_threads

# Columns handled together where the axis is not the last.
BLOCK = 128


# Rows lie in vectors, one after the other; columns in arrays (outer, n, inner).


def _rows_loop(x, y, n, logarithm):
    rows = y.size // n
    cast = x.dtype.type
    for o in prange(rows):
        lo, hi, xs, ys = o * n, (o + 1) * n, elements(x), elements(y)
        m = row_max(xs, lo, hi)
        if logarithm:
            s = cast(log(row_exp_sum(xs, lo, hi, m)))
            for i in range(lo, hi, LANES):
                put(ys, i, (get(xs, i, hi - i) - m) - s, hi - i)
        else:
            for i in range(lo, hi, LANES):
                put(ys, i, exp(get(xs, i, hi - i) - m), hi - i)
            s = cast(1 / row_sum(ys, lo, hi))
            for i in range(lo, hi, LANES):
                put(ys, i, get(ys, i, hi - i) * s, hi - i)


def _columns_loop(x, y, logarithm):
    outer, n, inner = x.shape
    blocks = (inner + BLOCK - 1) // BLOCK
    for r in prange(outer * blocks):
        o, lo = r // blocks, (r % blocks) * BLOCK
        hi = min(lo + BLOCK, inner)
        m = column_max(x[o], lo, hi)
        s = np.zeros(m.size)
        for i in range(n):
            xr, yr = x[o, i, lo:hi], y[o, i, lo:hi]
            for j in range(m.size):
                yr[j] = exp(xr[j] - m[j])
            for j in range(m.size):
                s[j] += yr[j]
        t = np.empty_like(m)
        for j in range(m.size):
            t[j] = log(s[j]) if logarithm else s[j]
        for i in range(n):
            xr, yr = x[o, i, lo:hi], y[o, i, lo:hi]
            if logarithm:
                for j in range(m.size):
                    yr[j] = (xr[j] - m[j]) - t[j]
            else:
                for j in range(m.size):
                    yr[j] /= t[j]


def _rows_backward_loop(gy, y, gx, n, logarithm):
    rows = gx.size // n
    cast = y.dtype.type
    for o in prange(rows):
        lo, hi, gs, ys, out = o * n, (o + 1) * n, elements(gy), elements(y), elements(gx)
        if logarithm:
            s = cast(row_sum(gs, lo, hi))
            for i in range(lo, hi, LANES):
                put(out, i, get(gs, i, hi - i) - exp(get(ys, i, hi - i)) * s, hi - i)
        else:
            s = cast(row_dot(gs, ys, lo, hi))
            for i in range(lo, hi, LANES):
                put(out, i, get(ys, i, hi - i) * (get(gs, i, hi - i) - s), hi - i)


def _columns_backward_loop(gy, y, gx, logarithm):
    outer, n, inner = y.shape
    blocks = (inner + BLOCK - 1) // BLOCK
    for r in prange(outer * blocks):
        o, lo = r // blocks, (r % blocks) * BLOCK
        hi = min(lo + BLOCK, inner)
        s = np.zeros(hi - lo)
        for i in range(n):
            g, yr = gy[o, i, lo:hi], y[o, i, lo:hi]
            if logarithm:
                for j in range(s.size):
                    s[j] += g[j]
            else:
                for j in range(s.size):
                    s[j] += np.float64(g[j]) * np.float64(yr[j])
        t = s.astype(y.dtype)
        for i in range(n):
            g, yr, out = gy[o, i, lo:hi], y[o, i, lo:hi], gx[o, i, lo:hi]
            if logarithm:
                for j in range(t.size):
                    out[j] = g[j] - exp(yr[j]) * t[j]
            else:
                for j in range(t.size):
                    out[j] = yr[j] * (g[j] - t[j])


# Each pair is (one thread, all threads).
_rows = kernel(_rows_loop), parallel_kernel(_rows_loop)
_columns = kernel(_columns_loop), parallel_kernel(_columns_loop)
_rows_backward = kernel(_rows_backward_loop), parallel_kernel(_rows_backward_loop)
_columns_backward = kernel(_columns_backward_loop), parallel_kernel(_columns_backward_loop)


def split(shape, axis):
    """`shape` seen from `axis`, as (outer, n, inner); a scalar is one entry."""
    if not shape:
        return 1, 1, 1
    axis %= len(shape)
    return prod(shape[:axis]), shape[axis], prod(shape[axis + 1 :])


def rows_launch(dtype, backward):
    """A launch (vectors read, vector written, n, whether logarithms) over rows on one thread."""
    run, vectors = (_rows_backward, 3) if backward else (_rows, 2)
    return entry_point(run[0], *[(dtype, 1)] * vectors, types.int64, types.boolean)


def _run(rows, columns, arrays, axis, logarithm):
    out = memory.empty(arrays[0].shape, arrays[0].dtype)
    if out.size:
        outer, n, inner = split(out.shape, axis)
        threads = use_threads(out.size)
        if inner == 1:
            rows[threads](*[np.ravel(a) for a in (*arrays, out)], n, logarithm)
        else:
            columns[threads](*[np.ascontiguousarray(a).reshape(outer, n, inner)
                               for a in (*arrays, out)], logarithm)
    return out


def softmax(x, axis):
    """exp(x) / sum(exp(x)) along `axis`."""
    return _run(_rows, _columns, (x,), axis, False)


def log_softmax(x, axis):
    """x - log(sum(exp(x))) along `axis`."""
    return _run(_rows, _columns, (x,), axis, True)


def softmax_backward(gy, y, axis):
    """y * (gy - sum(gy * y)) along `axis`, where y is the softmax."""
    return _run(_rows_backward, _columns_backward, (gy, y), axis, False)


def log_softmax_backward(gy, y, axis):
    """gy - exp(y) * sum(gy) along `axis`, where y is the log-softmax."""
    return _run(_rows_backward, _columns_backward, (gy, y), axis, True)
