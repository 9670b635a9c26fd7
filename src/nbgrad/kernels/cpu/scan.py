"""Scans: running sums and their kin, along the middle axis of arrays (outer, n, inner).

A scan joins each entry to what came before it, from the last entry to the first if `back`. Floats
are accumulated in float64.
"""

import math

import numpy as np

from nbgrad.kernels import memory
from nbgrad.kernels.cpu.maths import order_down, order_top
from nbgrad.kernels.cpu.simd import LANES, stack_lanes
from nbgrad.kernels.options import inline, kernel, parallel_kernel, prange, use_threads

# Rows together, whose chains of additions overlap; of columns there are LANES.
ROWS = 4


@inline
def _blocks(x):
    """How many groups of rows, or of columns, an array has."""
    outer, _, inner = x.shape
    if inner == 1:
        return (outer + ROWS - 1) // ROWS
    return outer * ((inner + LANES - 1) // LANES)


def _scan(join):
    """A function that scans a group r of rows or columns; join(s, x, a) follows s."""

    @inline
    def rows(x, a, y, top, start, back):
        # Rows past the last one repeat it.
        last, n = x.shape[0] - 1, x.shape[1]
        p, q, r, s = top, min(top + 1, last), min(top + 2, last), min(top + 3, last)
        at_p = at_q = at_r = at_s = start
        for k in range(n):
            i = n - 1 - k if back else k
            at_p, at_q = join(at_p, x[p, i], a[p, i]), join(at_q, x[q, i], a[q, i])
            at_r, at_s = join(at_r, x[r, i], a[r, i]), join(at_s, x[s, i], a[s, i])
            y[p, i], y[q, i], y[r, i], y[s, i] = at_p, at_q, at_r, at_s

    @inline
    def columns(x, a, y, starts, back):
        n, width = x.shape
        at = stack_lanes(starts)
        for j in range(width):
            at[j] = starts[0]
        for k in range(n):
            i = n - 1 - k if back else k
            xi, ai, yi = x[i], a[i], y[i]
            for j in range(width):
                at[j] = join(at[j], xi[j], ai[j])
                yi[j] = at[j]

    @inline
    def scan(x, a, y, r, starts, back):
        inner = x.shape[2]
        if inner == 1:
            rows(x[:, :, 0], a[:, :, 0], y[:, :, 0], r * ROWS, starts[0], back)
        else:
            strips = (inner + LANES - 1) // LANES
            o, lo = r // strips, r % strips * LANES
            hi = min(lo + LANES, inner)
            columns(x[o, :, lo:hi], a[o, :, lo:hi], y[o, :, lo:hi], starts, back)

    return scan


@inline
def _add_exponents(s, x, a):
    low, high = (x, s) if s > x else (s, x)
    if low == high and math.isinf(low):
        return high
    return high + math.log1p(math.exp(low - high))


_sum = _scan(inline(lambda s, x, a: s + x))
_product = _scan(inline(lambda s, x, a: s * x))
_recurrence = _scan(inline(lambda s, x, a: x + a * s))
_logsumexp = _scan(_add_exponents)


def _cumsum_loop(x, a, y, starts, back):
    for r in prange(_blocks(x)):
        _sum(x, a, y, r, starts, back)


def _cumprod_loop(x, a, y, starts, back):
    for r in prange(_blocks(x)):
        _product(x, a, y, r, starts, back)


def _recurrence_loop(x, a, y, starts, back):
    for r in prange(_blocks(x)):
        _recurrence(x, a, y, r, starts, back)


def _logcumsumexp_loop(x, a, y, starts, back):
    for r in prange(_blocks(x)):
        _logsumexp(x, a, y, r, starts, back)


def _extreme_loop(x, down, values, indices):
    outer, n, inner = x.shape
    for r in prange(outer * inner):
        o, j = r // inner, r % inner
        at = 0
        for i in range(n):
            v, best = x[o, i, j], x[o, at, j]
            if (order_down(v) >= order_down(best)) if down else (order_top(v) >= order_top(best)):
                at = i
            values[o, i, j] = x[o, at, j]
            indices[o, i, j] = at


# Each pair is (one thread, all threads).
_cumsum = kernel(_cumsum_loop), parallel_kernel(_cumsum_loop)
_cumprod = kernel(_cumprod_loop), parallel_kernel(_cumprod_loop)
_recur = kernel(_recurrence_loop), parallel_kernel(_recurrence_loop)
_logcumsumexp = kernel(_logcumsumexp_loop), parallel_kernel(_logcumsumexp_loop)
_extreme = kernel(_extreme_loop), parallel_kernel(_extreme_loop)


def _run(pair, x, a, start, back):
    y = memory.empty(x.shape, x.dtype)
    if y.size:
        starts = np.array([start], np.int64 if x.dtype.kind == "i" else np.float64)
        pair[use_threads(x.size)](x, a, y, starts, back)
    return y


def cumsum(x, back):
    """y[:, i] = x[:, 0] + ... + x[:, i], for contiguous x of floats or int64."""
    return _run(_cumsum, x, x, 0, back)


def cumprod(x, back):
    """y[:, i] = x[:, 0] * ... * x[:, i], for contiguous x of floats or int64."""
    return _run(_cumprod, x, x, 1, back)


def recurrence(x, a, back):
    """y[:, i] = x[:, i] + a[:, i] * y[:, i - 1], for contiguous x and a of floats."""
    return _run(_recur, x, a, 0, back)


def logcumsumexp(x):
    """y[:, i] = log(exp(x[:, 0]) + ... + exp(x[:, i])), for contiguous x of floats."""
    return _run(_logcumsumexp, x, x, -np.inf, False)


def cumulative_extreme(x, largest):
    """(values, indices) of the largest (or smallest) so far; of equal ones the last, NaN first."""
    values, indices = memory.empty(x.shape, x.dtype), memory.empty(x.shape, np.int64)
    if x.size:
        _extreme[use_threads(x.size)](x, not largest, values, indices)
    return values, indices
