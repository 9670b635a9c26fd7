"""Group normalisation and its gradients.

x is [groups of all samples, channels of a group, entries of a channel]; w and b are [groups of a
sample, channels of a group].
"""

from math import prod, sqrt

import numpy as np

from nbgrad.kernels import memory
from nbgrad.kernels.cpu.lanes import LANES, elements, get, put
from nbgrad.kernels.cpu.rows import centred_product, channel_totals, entry, row_moments
from nbgrad.kernels.options import kernel, parallel_kernel, prange, use_threads

_channel_sums = channel_totals(entry, centred_product)


def _forward_loop(x, w, b, eps, y, mean, inverse):
    rows, channels, length = x.shape
    cast = x.dtype.type
    for r in prange(rows):
        xs, ys, at = elements(x), elements(y), r * channels * length
        exact, var = row_moments(xs, at, at + channels * length)
        m, s = cast(exact), cast(1.0 / sqrt(var + eps))
        mean[r], inverse[r] = m, s
        for c in range(channels):
            lo = at + c * length
            a, shift = s * w[r % w.shape[0], c], b[r % w.shape[0], c]
            for j in range(lo, lo + length, LANES):
                k = lo + length - j
                put(ys, j, (get(xs, j, k) - m) * a + shift, k)


def _backward_loop(gy, x, mean, inverse, w, need_gx, gx, shares):
    # shares [rows, channels, 2]: each sample's part of gw and gb. For h = g w and n = (x - mean) /
    # std, gx = (h - mean(h) - n mean(h n)) / std.
    rows, channels, length = x.shape
    cast = x.dtype.type
    for r in prange(rows):
        m, s = mean[r], inverse[r]
        one = x[r : r + 1], gy[r : r + 1]
        sum_h, sum_hn = 0.0, 0.0
        for c in range(channels):
            total, dot = _channel_sums(one[1], one[0], c, m)
            dot *= s
            shares[r, c, 0], shares[r, c, 1] = dot, total
            sum_h += total * w[r % w.shape[0], c]
            sum_hn += dot * w[r % w.shape[0], c]
        if need_gx:
            count = channels * length
            k, shift = cast(sum_hn / count * s * s), cast(sum_h / count * s)
            xs, gs, out = elements(x), elements(gy), elements(gx)
            for c in range(channels):
                lo = (r * channels + c) * length
                hi, a = lo + length, s * w[r % w.shape[0], c]
                for j in range(lo, hi, LANES):
                    centred = get(xs, j, hi - j) - m
                    put(out, j, (get(gs, j, hi - j) * a - shift) - centred * k, hi - j)


# Each pair is (one thread, all threads).
_forward = kernel(_forward_loop), parallel_kernel(_forward_loop)
_backward = kernel(_backward_loop), parallel_kernel(_backward_loop)


def _grouped(x, groups):
    n, c = x.shape[:2]
    return np.ascontiguousarray(x).reshape(n * groups, c // groups, prod(x.shape[2:]))


def _scales(v, groups, channels, dtype, default):
    v = np.full(channels, default, dtype) if v is None else np.ascontiguousarray(v)
    return v.reshape(groups, channels // groups)


def group_norm(x, groups, w, b, eps):
    """(y, mean, 1 / std) of x (N, C, ...), each group of channels normalised; w, b (C,) or None."""
    n, channels = x.shape[:2]
    y = memory.empty(x.shape, x.dtype)
    mean, inverse = (memory.empty((n, groups), x.dtype) for _ in range(2))
    w, b = _scales(w, groups, channels, x.dtype, 1), _scales(b, groups, channels, x.dtype, 0)
    if x.size:
        run = _forward[use_threads(x.size)]
        run(_grouped(x, groups), w, b, float(eps), _grouped(y, groups), mean.reshape(-1),
            inverse.reshape(-1))
    else:
        mean[:], inverse[:] = 0, np.nan
    return y, mean, inverse


def group_norm_backward(gy, x, mean, inverse, w, groups, need_gx):
    """(gx or None, gw, gb) of `group_norm`."""
    n, channels = x.shape[:2]
    gx = memory.empty(x.shape, x.dtype) if need_gx else None
    w = _scales(w, groups, channels, x.dtype, 1)
    shares = memory.zeros((n * groups, channels // groups, 2), np.float64)
    if x.size:
        rows = _grouped(x, groups)
        run = _backward[use_threads(2 * x.size)]
        run(_grouped(gy, groups), rows, np.ascontiguousarray(mean).reshape(-1),
            np.ascontiguousarray(inverse).reshape(-1), w, need_gx,
            _grouped(gx, groups) if need_gx else rows, shares)  # x is then left alone
    gw, gb = shares.reshape(n, channels, 2).sum(0).astype(x.dtype).T.copy()
    return gx, gw, gb
