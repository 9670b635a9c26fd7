"""Negative log-likelihood of class targets, alone and fused with log-softmax.

logp and x are (N, C) or (N, C, L), target (N,) or (N, L), weight (C,) or None. An entry whose
target is `ignore_index` has loss, weight and gradient zero. "mean" divides by the total weight.
"""

from functools import cache
from math import log, prod

import numpy as np
from numba import types

from nbgrad.kernels import memory
from nbgrad.kernels.cpu.lanes import LANES, elements, get, put
from nbgrad.kernels.cpu.maths import exp
from nbgrad.kernels.cpu.rows import column_max, row_exp_sum, row_max
from nbgrad.kernels.cpu.softmax import BLOCK
from nbgrad.kernels.launch import entry_point
from nbgrad.kernels.options import inline, kernel, parallel_kernel, prange, use_threads


@kernel
def _first_invalid(target, classes, ignore):
    for i in range(target.size):
        t = target[i]
        if t != ignore and (t < 0 or t >= classes):
            return i
    return -1


@inline
def _weight(weight, target, ignore):
    """Weight of a target: no weights at all mean one each."""
    if target == ignore:
        return 0.0
    return np.float64(weight[target]) if weight.size else 1.0


# Where L is one, and for nll_loss always, the kernels read vectors: entry i = n L + l has its class c
# at (n C + c) L + l.


def _nll_loop(logp, target, weight, ignore, loss, classes, length):
    for i in prange(loss.size):
        t = target[i]
        loss[i] = 0.0
        if t != ignore:
            n, l = i // length, i % length
            loss[i] = -_weight(weight, t, ignore) * logp[(n * classes + t) * length + l]


@inline
def _incoming(gy, i, total, mean):
    """The gradient to the loss of entry i, of the gradient to all losses or to what they became."""
    g = np.float64(gy[np.int64(i) if gy.size > 1 else 0])
    return g / np.float64(total[0]) if mean else g


def _nll_backward_loop(gy, total, mean, target, weight, ignore, glogp, classes, length):
    for i in prange(glogp.size // (classes * length) * length):
        t = target[i]
        if t != ignore:
            n, l = i // length, i % length
            share = _weight(weight, t, ignore) * _incoming(gy, i, total, mean)
            glogp[(n * classes + t) * length + l] = -share


@kernel
def _reduce(loss, target, weight, ignore, mean, result, total):
    """The losses as they are returned: each, or their sum or mean; and the sum of the weights."""
    losses = weights = 0.0
    for i in range(loss.size):
        losses += loss[i]
        weights += _weight(weight, target[i], ignore)
    total[0] = weights
    if result.size == loss.size and not mean:
        for i in range(loss.size):
            result[i] = loss[i]
    else:
        result[0] = losses / weights if mean else losses


# logsumexp is kept in float64, since x - logsumexp cancels where x is large; it is subtracted as
# two numbers of the dtype of x.


def _cross_entropy_rows_loop(x, target, weight, ignore, loss, logsumexp, classes):
    for n in prange(loss.size):
        lo, hi, t = n * classes, (n + 1) * classes, target[n]
        xs = elements(x)
        m = row_max(xs, lo, hi)
        logsumexp[n] = m + log(row_exp_sum(xs, lo, hi, m))
        loss[n] = 0.0
        if t != ignore:
            loss[n] = _weight(weight, t, ignore) * (logsumexp[n] - x[lo + t])


def _cross_entropy_columns_loop(x, target, weight, ignore, loss, logsumexp):
    batch, classes, length = x.shape
    blocks = (length + BLOCK - 1) // BLOCK
    for r in prange(batch * blocks):
        n, lo = r // blocks, (r % blocks) * BLOCK
        hi = min(lo + BLOCK, length)
        m = column_max(x[n], lo, hi)
        s = np.zeros(m.size)
        for c in range(classes):
            xr = x[n, c, lo:hi]
            for l in range(m.size):
                s[l] += exp(xr[l] - m[l])
        for l in range(m.size):
            t = target[n, lo + l]
            total = m[l] + log(s[l])
            logsumexp[n, lo + l] = total
            loss[n, lo + l] = 0.0
            if t != ignore:
                loss[n, lo + l] = _weight(weight, t, ignore) * (total - x[n, t, lo + l])


def _cross_entropy_backward_rows_loop(gy, total, mean, x, logsumexp, target, weight, ignore, gx,
                                      classes):
    cast = x.dtype.type
    for n in prange(gx.size // classes):
        lo, hi, t = n * classes, (n + 1) * classes, target[n]
        if t == ignore:
            gx[lo:hi] = 0
            continue
        g = cast(_incoming(gy, n, total, mean) * _weight(weight, t, ignore))
        high = cast(logsumexp[n])
        low = cast(logsumexp[n] - high)
        xs, out = elements(x), elements(gx)
        for i in range(lo, hi, LANES):
            put(out, i, exp((get(xs, i, hi - i) - high) - low) * g, hi - i)
        gx[lo + t] -= g


def _cross_entropy_backward_columns_loop(gy, total, mean, x, logsumexp, target, weight, ignore, gx):
    batch, classes, length = x.shape
    blocks = (length + BLOCK - 1) // BLOCK
    for r in prange(batch * blocks):
        n, lo = r // blocks, (r % blocks) * BLOCK
        hi = min(lo + BLOCK, length)
        g = np.empty(hi - lo, x.dtype)
        high, low = np.empty_like(g), np.empty_like(g)
        for l in range(g.size):
            high[l] = logsumexp[n, lo + l]
            low[l] = logsumexp[n, lo + l] - high[l]
            incoming = _incoming(gy, n * length + lo + l, total, mean)
            g[l] = incoming * _weight(weight, target[n, lo + l], ignore)
        for c in range(classes):
            xr, out = x[n, c, lo:hi], gx[n, c, lo:hi]
            for l in range(g.size):
                out[l] = exp((xr[l] - high[l]) - low[l]) * g[l]
        for l in range(g.size):
            t = target[n, lo + l]
            if t != ignore:
                gx[n, t, lo + l] -= g[l]
            else:
                gx[n, :, lo + l] = 0


# Of every class but the target t what is above zero of z = (margin - x[t]) + x[j], or its square.


def _margin_loop(x, target, weight, margin, squared, loss):
    rows, classes = x.shape
    for n in prange(rows):
        t, total = target[n], 0.0
        shift = margin - x[n, t]
        for j in range(classes):
            z = shift + x[n, j]
            if z > 0 and j != t:
                total += z * z if squared else z
        loss[n] = _weight(weight, t, -1) * total / classes


def _margin_backward_loop(gy, x, target, weight, margin, squared, gx):
    cast = x.dtype.type
    zero, one, two = cast(0), cast(1), cast(2)
    rows, classes = x.shape
    for n in prange(rows):
        t, total = target[n], 0.0
        shift = margin - x[n, t]
        g = cast(gy[n] * _weight(weight, t, -1) / classes)
        for j in range(classes):
            z = shift + x[n, j]
            slope = (two * z if squared else one) if z > 0 and j != t else zero
            gx[n, j] = slope * g
            total += slope
        gx[n, t] = -total * g


# Each pair is (one thread, all threads).
_margin = kernel(_margin_loop), parallel_kernel(_margin_loop)
_margin_backward = kernel(_margin_backward_loop), parallel_kernel(_margin_backward_loop)
_serial_nll, _serial_rows = kernel(_nll_loop), kernel(_cross_entropy_rows_loop)
_nll = _serial_nll, parallel_kernel(_nll_loop)
_nll_backward = kernel(_nll_backward_loop), parallel_kernel(_nll_backward_loop)
_rows = _serial_rows, parallel_kernel(_cross_entropy_rows_loop)
_columns = kernel(_cross_entropy_columns_loop), parallel_kernel(_cross_entropy_columns_loop)
_rows_backward = (
    kernel(_cross_entropy_backward_rows_loop),
    parallel_kernel(_cross_entropy_backward_rows_loop),
)
_columns_backward = (
    kernel(_cross_entropy_backward_columns_loop),
    parallel_kernel(_cross_entropy_backward_columns_loop),
)


@kernel
def _nll_few(logp, target, weight, loss, result, total, ignore, mean, classes, length):
    """All of `nll_loss` in one call, if the classes are right; else where the first wrong one is."""
    bad = _first_invalid(target[:loss.size], classes, ignore)
    if bad < 0:
        _serial_nll(logp, target, weight, ignore, loss, classes, length)
        _reduce(loss, target, weight, ignore, mean, result, total)
    return bad


@kernel
def _cross_entropy_few(x, target, weight, loss, logsumexp, result, total, ignore, mean, classes):
    """The same for `cross_entropy`."""
    bad = _first_invalid(target[:loss.size], classes, ignore)
    if bad < 0:
        _serial_rows(x, target, weight, ignore, loss, logsumexp, classes)
        _reduce(loss, target, weight, ignore, mean, result, total)
    return bad


@cache
def few(what, dtype):
    """The launch on one thread, over vectors of few elements, of the function of that name."""
    x, t, f8, flag, n = (dtype, 1), (np.int64, 1), (np.float64, 1), types.boolean, types.int64
    if what == "nll_loss":
        return entry_point(_nll_few, x, t, x, f8, x, x, n, flag, n, n)
    if what == "cross_entropy":
        return entry_point(_cross_entropy_few, x, t, x, f8, f8, x, x, n, flag, n)
    if what == "nll_loss_backward":
        return entry_point(_nll_backward[0], x, x, flag, t, x, n, x, n, n)
    return entry_point(_rows_backward[0], x, x, flag, x, f8, t, x, n, x, n)


def _weights(weight, dtype):
    return np.empty(0, dtype) if weight is None else np.ascontiguousarray(weight)


def _reduced(loss, target, weight, ignore, reduction, dtype):
    """(loss, total weight) as they are returned, from the float64 loss of each entry."""
    result = memory.empty(loss.shape if reduction == "none" else (), dtype)
    total = np.empty((), dtype)
    _reduce(loss.reshape(-1), target.reshape(-1), weight, ignore, reduction == "mean",
            result.reshape(-1), total.reshape(-1))
    return result, total


def check_targets(target, n_classes, ignore_index):
    """Flat position of the first target that is no class and not ignored, or -1."""
    return _first_invalid(np.ravel(target), n_classes, ignore_index)


def nll_loss(logp, target, weight, ignore_index, reduction):
    """(loss, total_weight): -weight[target] * logp[target], reduced."""
    n, classes = logp.shape[:2]
    target, weight = np.ascontiguousarray(target), _weights(weight, logp.dtype)
    loss = memory.empty(target.shape, np.float64)
    _nll[use_threads(target.size)](np.ravel(logp), target.reshape(-1), weight, ignore_index,
                                   loss.reshape(-1), classes, target.size // max(n, 1))
    return _reduced(loss, target, weight, ignore_index, reduction, logp.dtype)


def nll_loss_backward(gy, target, weight, ignore_index, reduction, total_weight, shape):
    """glogp of `shape`, for gy shaped as the loss."""
    glogp = memory.zeros(shape, gy.dtype)
    if glogp.size:
        _nll_backward[use_threads(target.size)](
            np.ravel(gy), np.ravel(total_weight), reduction == "mean", np.ravel(target),
            _weights(weight, glogp.dtype), ignore_index, glogp.reshape(-1), shape[1], prod(shape[2:]))
    return glogp


def cross_entropy(x, target, weight, ignore_index, reduction):
    """(loss, total_weight, logsumexp): nll_loss of log_softmax(x) over the classes.

    logsumexp is float64, shaped as target.
    """
    x, target = np.ascontiguousarray(x), np.ascontiguousarray(target)
    weight, threads = _weights(weight, x.dtype), use_threads(x.size)
    loss, logsumexp = (memory.empty(target.shape, np.float64) for _ in range(2))
    if x.ndim == 2:
        _rows[threads](x.reshape(-1), target, weight, ignore_index, loss, logsumexp, x.shape[1])
    elif target.size:
        _columns[threads](x, target, weight, ignore_index, loss, logsumexp)
    return *_reduced(loss, target, weight, ignore_index, reduction, x.dtype), logsumexp


def cross_entropy_backward(gy, x, logsumexp, target, weight, ignore_index, reduction, total_weight):
    """gx, for gy shaped as the loss."""
    gx = memory.empty(x.shape, x.dtype)
    if not gx.size:
        return gx
    threads, incoming = use_threads(x.size), (np.ravel(gy), np.ravel(total_weight), reduction == "mean")
    x, target = np.ascontiguousarray(x), np.ascontiguousarray(target)
    weight = _weights(weight, x.dtype)
    if x.ndim == 2:
        _rows_backward[threads](*incoming, x.reshape(-1), logsumexp, target, weight, ignore_index,
                                gx.reshape(-1), x.shape[1])
    else:
        _columns_backward[threads](*incoming, x, logsumexp, target, weight, ignore_index, gx)
    return gx


def multi_margin(x, target, weight, margin, squared, reduction):
    """weight[t] times the mean of max(0, margin - x[t] + x[j]) (or its square) over j, reduced."""
    loss = memory.empty(x.shape[0], np.float64)
    _margin[use_threads(x.size)](*_margin_arguments(x, target, weight, margin), squared, loss)
    if reduction == "none":
        return loss.astype(x.dtype)
    total = loss.sum()
    if reduction == "mean":
        total = total / loss.size if loss.size else np.nan
    return np.array(total, x.dtype)


def multi_margin_backward(gy, x, target, weight, margin, squared, reduction):
    """gx, for gy shaped as the loss."""
    gx = memory.empty(x.shape, x.dtype)
    gy = np.full(len(x), np.asarray(gy, np.float64))
    if reduction == "mean":
        gy /= max(len(x), 1)
    _margin_backward[use_threads(x.size)](gy, *_margin_arguments(x, target, weight, margin), squared,
                                          gx)
    return gx


def _margin_arguments(x, target, weight, margin):
    return (np.ascontiguousarray(x), np.ascontiguousarray(target), _weights(weight, x.dtype),
            x.dtype.type(margin))
