"""Batch and layer normalisation, and their gradients.

Every sum is taken in an order fixed by the shape; see kernels.cpu.rows.
"""

from math import prod, sqrt

import numpy as np

from nbgrad.kernels import memory
from nbgrad.kernels.cpu.rows import (
    centred,
    centred_product,
    centred_square,
    channel_total,
    entry,
    moments,
    row_centred_dot,
    row_moments,
    row_sum,
)
from nbgrad.kernels.options import kernel, parallel_kernel, prange, use_threads

# Channels of (N, C) handled together; the most blocks that rows of a layer norm are cut into, and
# rows summed in their own dtype.
COLUMNS = 64
BLOCKS = 16
SLAB = 32


# Batch norm of x (N, C, L): one channel after the other.

_channel_sum, _channel_shift, _channel_spread, _channel_centred_dot = map(
    channel_total, (entry, centred, centred_square, centred_product))


def _stats_loop(x, mean, var):
    n, channels, length = x.shape
    count = n * length
    cast = x.dtype.type
    for c in prange(channels):
        near = cast(_channel_sum(x, x, c, 0) / count)
        shift, spread = _channel_shift(x, x, c, near), _channel_spread(x, x, c, near)
        mean[c], var[c] = moments(near, shift / count, spread / count)


def _apply_loop(x, mean, scale, shift, y):
    n, channels, length = x.shape
    for r in prange(n * channels):
        i, c = r // channels, r % channels
        xr, yr = x[i, c], y[i, c]
        m, a, b = mean[c], scale[c], shift[c]
        for j in range(length):
            yr[j] = (xr[j] - m) * a + b


def _backward_loop(gy, x, mean, invstd, w, train, need_gx, gx, gw, gb):
    n, channels, length = x.shape
    count = n * length
    cast = x.dtype.type
    for c in prange(channels):
        m = mean[c]
        sum_g = _channel_sum(gy, gy, c, 0)
        sum_gx = _channel_centred_dot(gy, x, c, m)
        gb[c] = sum_g
        gw[c] = sum_gx * invstd[c]
        if need_gx:
            # gx = w / std * (gy - mean(gy) - (x - mean) / var * mean(gy * (x - mean)))
            a = w[c] * invstd[c]
            k = cast(sum_gx * invstd[c] * invstd[c] / count)
            mean_g = cast(sum_g / count)
            for i in range(n):
                g, xr, out = gy[i, c], x[i, c], gx[i, c]
                if train:
                    for j in range(length):
                        out[j] = ((g[j] - mean_g) - (xr[j] - m) * k) * a
                else:
                    for j in range(length):
                        out[j] = g[j] * a


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


# Layer norm of x (rows, n).


def _layer_loop(x, w, b, eps, y, mean, invstd):
    rows, n = x.shape
    cast = x.dtype.type
    for r in prange(rows):
        xr, yr = x[r], y[r]
        exact, var = row_moments(xr)
        m = cast(exact)
        s = cast(1.0 / sqrt(var + eps))
        mean[r] = m
        invstd[r] = s
        for j in range(n):
            yr[j] = (xr[j] - m) * s * w[j] + b[j]


def _layer_backward_loop(gy, x, mean, invstd, w, need_gx, gx, partial):
    # partial [blocks, 2, n]: the share of gw and gb of each block of rows, in float64 over slabs
    # of SLAB rows.
    rows, n = x.shape
    blocks = partial.shape[0]
    cast = x.dtype.type
    for block in prange(blocks):
        gn, gw, gb = np.empty_like(w), np.empty_like(w), np.empty_like(w)
        first_row, last_row = rows * block // blocks, rows * (block + 1) // blocks
        for start in range(first_row, last_row, SLAB):
            gw[:] = 0
            gb[:] = 0
            for r in range(start, min(start + SLAB, last_row)):
                g, xr, m, s = gy[r], x[r], mean[r], invstd[r]
                for j in range(n):
                    gw[j] += g[j] * ((xr[j] - m) * s)
                    gb[j] += g[j]
                    gn[j] = g[j] * w[j]
                if need_gx:
                    out = gx[r]
                    mean_g = cast(row_sum(gn) / n)
                    k = cast(row_centred_dot(gn, xr, m) / n * s * s)
                    for j in range(n):
                        out[j] = ((gn[j] - mean_g) - (xr[j] - m) * k) * s
            for j in range(n):
                partial[block, 0, j] += gw[j]
                partial[block, 1, j] += gb[j]


# Each pair is (one thread, all threads).
_stats = kernel(_stats_loop), parallel_kernel(_stats_loop)
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


def batch_norm_stats(x):
    """Mean and biased variance of each channel of x (N, C, ...), both (C,)."""
    x = _channels(x)
    mean, var = (memory.empty(x.shape[1], x.dtype) for _ in range(2))
    run = _stats if x.ndim == 3 else _stats_columns
    run[use_threads(x.size)](x, mean, var)
    return mean, var


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
    x = np.ascontiguousarray(x)
    rows, n = x.shape
    y = memory.empty(x.shape, x.dtype)
    mean, invstd = memory.empty(rows, x.dtype), memory.empty(rows, x.dtype)
    w, b = _vector(w, n, x.dtype, 1), _vector(b, n, x.dtype, 0)
    _layer[use_threads(x.size)](x, w, b, float(eps), y, mean, invstd)
    return y, mean, invstd


def layer_norm_backward(gy, x, mean, invstd, w, need_gx):
    """(gx or None, gw, gb) of `layer_norm`, for gy and x (rows, n)."""
    gy, x = np.ascontiguousarray(gy), np.ascontiguousarray(x)
    rows, n = x.shape
    w = _vector(w, n, x.dtype, 1)
    gx = memory.empty(x.shape, x.dtype) if need_gx else None
    partial = memory.zeros((max(1, min(BLOCKS, rows // 16)), 2, n), np.float64)
    mean, invstd = np.ascontiguousarray(mean), np.ascontiguousarray(invstd)
    out = x if gx is None else gx  # x is then left alone
    _layer_backward[use_threads(2 * x.size)](gy, x, mean, invstd, w, need_gx, out, partial)
    gw, gb = partial.sum(0).astype(x.dtype)
    return gx, gw, gb
