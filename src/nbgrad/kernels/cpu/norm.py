"""Batch and layer normalisation, and their gradients.

Every sum is taken in an order fixed by the shape; see kernels.cpu.rows.
"""

from functools import cache
from math import prod, sqrt

import numpy as np
from numba import types

from nbgrad.kernels import memory
from nbgrad.kernels.cpu.lanes import LANES, add_lanes, elements, first, get, put, splat
from nbgrad.kernels.cpu.rows import (
    BLOCK,
    centred,
    centred_product,
    centred_square,
    channel_total,
    channel_totals,
    entry,
    moments,
    row_moments,
)
from nbgrad.kernels.launch import entry_point
from nbgrad.kernels.options import folded, kernel, parallel_kernel, prange, use_threads

# Channels of (N, C) handled together; the most blocks that rows of a layer norm are cut into, and
# rows summed in their own dtype.
COLUMNS = 64
BLOCKS = 16
SLAB = 32


@folded
def _scale_row(x, lo, hi, mean, a, b, y):
    """y = (x - mean) a + b."""
    for j in range(lo, hi, LANES):
        put(y, j, (get(x, j, hi - j) - mean) * a + b, hi - j)


# Batch norm of x (N, C, L): one channel after the other.

_channel_sum = channel_total(entry)
_channel_spread = channel_totals(centred, centred_square)
_channel_sums = channel_totals(entry, centred_product)


def _train_loop(x, w, b, eps, y, mean, var):
    n, channels, length = x.shape
    count = n * length
    cast = x.dtype.type
    for c in prange(channels):
        near = cast(_channel_sum(x, x, c, 0) / count)
        shift, spread = _channel_spread(x, x, c, near)
        exact, spread = moments(near, shift / count, spread / count)
        m, v = cast(exact), cast(spread)
        mean[c], var[c] = m, v
        a = cast(1 / cast(sqrt(v + cast(eps)))) * w[c]
        xs, ys = elements(x), elements(y)
        for i in range(n):
            at = (i * channels + c) * length
            _scale_row(xs, at, at + length, m, a, b[c], ys)


def _apply_loop(x, mean, scale, shift, y):
    n, channels, length = x.shape
    for r in prange(n * channels):
        c, at = r % channels, r * length
        _scale_row(elements(x), at, at + length, mean[c], scale[c], shift[c], elements(y))


def _backward_loop(gy, x, mean, invstd, w, train, need_gx, gx, gw, gb):
    n, channels, length = x.shape
    count = n * length
    cast = x.dtype.type
    for c in prange(channels):
        m = mean[c]
        sum_g, sum_gx = _channel_sums(gy, x, c, m)
        gb[c] = sum_g
        gw[c] = sum_gx * invstd[c]
        if need_gx:
            # gx = w / std * (gy - mean(gy) - (x - mean) / var * mean(gy * (x - mean)))
            a = w[c] * invstd[c]
            k = cast(sum_gx * invstd[c] * invstd[c] / count)
            mean_g = cast(sum_g / count)
            xs, gs, out = elements(x), elements(gy), elements(gx)
            for i in range(n):
                lo = (i * channels + c) * length
                hi = lo + length
                if train:
                    for j in range(lo, hi, LANES):
                        centred_x = get(xs, j, hi - j) - m
                        put(out, j, ((get(gs, j, hi - j) - mean_g) - centred_x * k) * a, hi - j)
                else:
                    for j in range(lo, hi, LANES):
                        put(out, j, get(gs, j, hi - j) * a, hi - j)


# The same for x (N, C), where a channel is a column: a block of columns at a time.


def _stats_columns_loop(x, mean, var):
    n, channels = x.shape
    for block in prange((channels + COLUMNS - 1) // COLUMNS):
        lo = block * COLUMNS
        hi = min(lo + COLUMNS, channels)
        m, s = np.zeros(hi - lo), np.zeros(hi - lo)
        for i in range(n):
            xr = x[i, lo:hi]
            for c in range(m.size):
                m[c] += xr[c]
        m /= n
        for i in range(n):
            xr = x[i, lo:hi]
            for c in range(m.size):
                d = xr[c] - m[c]
                s[c] += d * d
        for c in range(m.size):
            mean[lo + c] = m[c]
            var[lo + c] = s[c] / n


def _apply_columns_loop(x, mean, scale, shift, y):
    for i in prange(x.shape[0]):
        xr, yr = x[i], y[i]
        for c in range(xr.size):
            yr[c] = (xr[c] - mean[c]) * scale[c] + shift[c]


def _backward_columns_loop(gy, x, mean, invstd, w, train, need_gx, gx, gw, gb):
    n, channels = x.shape
    for block in prange((channels + COLUMNS - 1) // COLUMNS):
        lo = block * COLUMNS
        hi = min(lo + COLUMNS, channels)
        m, s = mean[lo:hi], invstd[lo:hi]
        sum_g, sum_gx = np.zeros(m.size), np.zeros(m.size)
        for i in range(n):
            g, xr = gy[i, lo:hi], x[i, lo:hi]
            for c in range(m.size):
                sum_g[c] += g[c]
                sum_gx[c] += g[c] * (np.float64(xr[c]) - m[c])
        a, k, mean_g = w[lo:hi] * s, np.empty_like(m), np.empty_like(m)
        for c in range(m.size):
            gb[lo + c] = sum_g[c]
            gw[lo + c] = sum_gx[c] * s[c]
            k[c] = sum_gx[c] * s[c] * s[c] / n
            mean_g[c] = sum_g[c] / n
        if need_gx:
            for i in range(n):
                g, xr, out = gy[i, lo:hi], x[i, lo:hi], gx[i, lo:hi]
                if train:
                    for c in range(m.size):
                        out[c] = ((g[c] - mean_g[c]) - (xr[c] - m[c]) * k[c]) * a[c]
                else:
                    for c in range(m.size):
                        out[c] = g[c] * a[c]


# Layer norm of rows of n entries, which lie in vectors one after the other.


def _layer_loop(x, w, b, eps, y, mean, invstd, n):
    cast = x.dtype.type
    for r in prange(mean.size):
        at = r * n
        xs, ys, ws, bs = elements(x), elements(y), elements(w), elements(b)
        exact, var = row_moments(xs, at, at + n)
        m = cast(exact)
        s = cast(1.0 / sqrt(var + eps))
        mean[r] = m
        invstd[r] = s
        for j in range(0, n, LANES):
            k = n - j
            put(ys, at + j, (get(xs, at + j, k) - m) * s * get(ws, j, k) + get(bs, j, k), k)


@folded
def _add_row(gy, x, at, n, m, s, w, sums):
    """Add a row's shares to gw and gb, sums (2, n); the sums of g w and of g w (x - m) s."""
    total, dot = 0.0, 0.0
    for start in range(0, n, BLOCK):
        u, v = splat(x, 0), splat(x, 0)
        stop = min(start + BLOCK, n)
        for j in range(start, stop, LANES):
            k = stop - j
            g, normal = get(gy, at + j, k), (get(x, at + j, k) - m) * s
            put(sums, j, get(sums, j, k) + g * normal, k)
            put(sums, n + j, get(sums, n + j, k) + g, k)
            h = g * get(w, j, k)  # zero beyond the end
            u = u + h
            v = first(k, v + h * normal, v)
        total += add_lanes(u)
        dot += add_lanes(v)
    return total, dot


def _layer_backward_loop(gy, x, mean, invstd, w, need_gx, gx, partial, gw, gb, rows):
    # partial [blocks, 2, n]: the share of gw and gb of each block of rows, in float64 over slabs
    # of SLAB rows.
    blocks, _, n = partial.shape
    cast = x.dtype.type
    for block in prange(blocks):
        sums = np.empty((2, n), w.dtype)
        first_row, last_row = rows * block // blocks, rows * (block + 1) // blocks
        for start in range(first_row, last_row, SLAB):
            sums[:] = 0
            gs, xs, ws, out = elements(gy), elements(x), elements(w), elements(gx)
            for r in range(start, min(start + SLAB, last_row)):
                at, m, s = r * n, mean[r], invstd[r]
                total, dot = _add_row(gs, xs, at, n, m, s, ws, elements(sums))
                if need_gx:
                    # gx = (h - mean(h) - n mean(h n)) / std for h = g w, n = (x - mean) / std
                    mean_h, f = cast(total / n), cast(dot / n * s)
                    for j in range(0, n, LANES):
                        k = n - j
                        h = get(gs, at + j, k) * get(ws, j, k)
                        put(out, at + j, ((h - mean_h) - (get(xs, at + j, k) - m) * f) * s, k)
            for i in range(2):
                for j in range(n):
                    partial[block, i, j] += sums[i, j]
    for j in range(n):
        total, dot = 0.0, 0.0
        for block in range(blocks):
            dot += partial[block, 0, j]
            total += partial[block, 1, j]
        gw[j] = dot
        gb[j] = total


# Each pair is (one thread, all threads).
_train = kernel(_train_loop), parallel_kernel(_train_loop)
_apply = kernel(_apply_loop), parallel_kernel(_apply_loop)
_backward = kernel(_backward_loop), parallel_kernel(_backward_loop)
_stats_columns = kernel(_stats_columns_loop), parallel_kernel(_stats_columns_loop)
_apply_columns = kernel(_apply_columns_loop), parallel_kernel(_apply_columns_loop)
_backward_columns = kernel(_backward_columns_loop), parallel_kernel(_backward_columns_loop)
_layer = kernel(_layer_loop), parallel_kernel(_layer_loop)
_layer_backward = kernel(_layer_backward_loop), parallel_kernel(_layer_backward_loop)


def _channels(x):
    """x (N, C, ...) as contiguous (N, C, L), or (N, C) where L is one."""
    n, channels, length = x.shape[0], x.shape[1], prod(x.shape[2:])
    return np.ascontiguousarray(x).reshape((n, channels, length) if length != 1 else (n, channels))


def _vector(v, n, dtype, default):
    return np.full(n, default, dtype) if v is None else np.ascontiguousarray(v)


def batch_norm(x, w, b, eps):
    """(y, mean, biased variance) of x (N, C, ...), each channel normalised; w, b (C,) or None."""
    channels = x.shape[1]
    mean, var = (memory.empty(channels, x.dtype) for _ in range(2))
    flat, threads = _channels(x), use_threads(x.size)
    if flat.ndim == 2:
        _stats_columns[threads](flat, mean, var)
        return batch_norm_apply(x, mean, inverse(var, eps), w, b), mean, var
    y = memory.empty(flat.shape, x.dtype)
    w, b = _vector(w, channels, x.dtype, 1), _vector(b, channels, x.dtype, 0)
    _train[threads](flat, w, b, float(eps), y, mean, var)
    return y.reshape(x.shape), mean, var


def inverse(var, eps):
    """1 / std."""
    with np.errstate(all="ignore"):
        return 1 / np.sqrt(var + eps)


def batch_norm_apply(x, mean, invstd, w, b):
    """(x - mean) * invstd * w + b for x (N, C, ...) and vectors (C,); w and b may be None."""
    y = memory.empty(x.shape, x.dtype)
    scale = np.ascontiguousarray(invstd if w is None else invstd * w)
    shift = _vector(b, len(scale), x.dtype, 0)
    flat = _channels(x)
    run = _apply if flat.ndim == 3 else _apply_columns
    run[use_threads(x.size)](flat, np.ascontiguousarray(mean), scale, shift, y.reshape(flat.shape))
    return y


def batch_norm_backward(gy, x, mean, invstd, w, train, need_gx):
    """(gx or None, gw, gb); with `train` the statistics are functions of x, else constants."""
    gx = memory.empty(x.shape, x.dtype) if need_gx else None
    x, gy = _channels(x), _channels(gy)
    out = x if gx is None else gx.reshape(x.shape)  # x is then left alone
    w = _vector(w, x.shape[1], x.dtype, 1)
    gw, gb = memory.empty(w.shape, x.dtype), memory.empty(w.shape, x.dtype)
    mean, invstd = np.ascontiguousarray(mean), np.ascontiguousarray(invstd)
    run = (_backward if x.ndim == 3 else _backward_columns)[use_threads(2 * x.size)]
    run(gy, x, mean, invstd, w, train, need_gx, out, gw, gb)
    return gx, gw, gb


def layer_norm(x, w, b, eps):
    """(y, mean, invstd) of x (rows, n), each row normalised; w and b are (n,) or None."""
    rows, n = x.shape
    y = memory.empty(x.shape, x.dtype)
    mean, invstd = memory.empty(rows, x.dtype), memory.empty(rows, x.dtype)
    w, b = _vector(w, n, x.dtype, 1), _vector(b, n, x.dtype, 0)
    _layer[use_threads(x.size)](np.ravel(x), w, b, float(eps), y.reshape(-1), mean, invstd, n)
    return y, mean, invstd


def layer_norm_backward(gy, x, mean, invstd, w, need_gx):
    """(gx or None, gw, gb) of `layer_norm`, for gy and x (rows, n)."""
    rows, n = x.shape
    w = _vector(w, n, x.dtype, 1)
    gx = memory.empty(x.shape, x.dtype) if need_gx else None
    gw, gb = memory.empty(n, x.dtype), memory.empty(n, x.dtype)
    gy, x, mean, invstd = map(np.ravel, (gy, x, mean, invstd))
    out = x if gx is None else gx.reshape(-1)  # x is then left alone
    run = _layer_backward[use_threads(2 * x.size)]
    run(gy, x, mean, invstd, w, need_gx, out, partial_sums(rows, n), gw, gb, rows)
    return gx, gw, gb


def partial_sums(rows, n):
    """Zeros for what blocks of rows add to gw and gb."""
    return memory.zeros((max(1, min(BLOCKS, rows // 16)), 2, n), np.float64)


@cache
def few_rows(dtype, backward):
    """The launch of a layer norm, or of its gradient, on one thread over vectors."""
    x, n = (dtype, 1), types.int64
    if backward:
        return entry_point(_layer_backward[0], x, x, x, x, x, types.boolean, x, (np.float64, 3), x, x,
                           n)
    return entry_point(_layer[0], x, x, x, types.float64, x, x, x, n)
