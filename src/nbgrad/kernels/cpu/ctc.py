"""Connectionist temporal classification: the sum over all alignments, in log-space.

logp is [T, N, C]. A target y of S labels becomes z = blank y1 blank y2 ... blank of 2 S + 1. An
alignment walks z, from its first or second entry to its last or last but one; a step stays, goes on
by one, or by two where that skips a blank between different labels. alpha[n, t, s + 2] is the log
of the probability of all walks that are at s at time t (the two entries in front are impossible).
Log-probabilities are kept in float64.
"""

import math

import numpy as np

from nbgrad.kernels import memory
from nbgrad.kernels.cpu.maths import exp, log
from nbgrad.kernels.options import inline, kernel, parallel_kernel, prange, use_threads

FRONT = 2


@inline
def _log_sums(stay, step, jump, skip, out):
    """log(e^stay + e^step + e^(jump + skip)), entry by entry."""
    for s in range(skip.size):
        a, b, c = stay[s], step[s], jump[s] + skip[s]
        m = max(a, max(b, c))
        m = m if m > -math.inf else 0.0  # without a branch: log(0) is -inf
        out[s] = m + log(exp(a - m) + exp(b - m) + exp(c - m))


@inline
def _extended(targets, start, length, blank, labels, skip):
    """Fill the labels z, and `skip`: 0 where z may be reached by a step of two, else -inf."""
    for s in range(2 * length + 1):
        labels[s] = targets[start + s // 2] if s % 2 else blank
        skip[s] = -math.inf
        if s % 2 and s > 1 and labels[s] != labels[s - 2]:
            skip[s] = 0.0


def _forward_loop(logp, targets, starts, times, lengths, blank, alpha):
    for n in prange(logp.shape[1]):
        size, last = 2 * lengths[n] + 1, times[n] - 1
        labels, skip = np.empty(size, np.int64), np.empty(size)
        _extended(targets, starts[n], lengths[n], blank, labels, skip)
        alpha[n] = -math.inf
        for s in range(min(2, size) if last >= 0 else 0):
            alpha[n, 0, FRONT + s] = logp[0, n, labels[s]]
        for t in range(1, last + 1):
            before, now = alpha[n, t - 1], alpha[n, t]
            _log_sums(before[2:], before[1:], before, skip, now[FRONT:])
            for s in range(size):
                now[FRONT + s] += logp[t, n, labels[s]]


def _backward_loop(g, logp, targets, starts, times, lengths, blank, alpha, loss, zero_infinity,
                   glogp):
    # glogp holds exp(logp)
    for n in prange(logp.shape[1]):
        size, last, classes = 2 * lengths[n] + 1, times[n] - 1, logp.shape[2]
        glogp[last + 1:, n] = 0
        if zero_infinity and loss[n] == math.inf:
            glogp[:, n] = 0
            continue
        labels, skip = np.empty(size, np.int64), np.empty(size)
        _extended(targets, starts[n], lengths[n], blank, labels, skip)
        # beta is alpha of the walks from s on, with two impossible entries behind
        beta, after = np.full(size + 2, -math.inf), np.full(size + 2, -math.inf)
        jump = np.full(size, -math.inf)
        jump[:size - 2] = skip[2:]
        share, part = np.empty(classes), np.empty(size)
        for t in range(last, -1, -1):
            share[:] = 0
            if t == last:
                beta[max(size - 2, 0):size] = 0
            else:
                _log_sums(after, after[1:], after[2:], jump, beta)
            walks = alpha[n, t, FRONT:FRONT + size]
            for s in range(size):
                part[s] = exp(walks[s] + beta[s] + loss[n])
            for s in range(size):
                share[labels[s]] += part[s]
                beta[s] += logp[t, n, labels[s]]
            beta, after = after, beta
            for c in range(classes):
                # where there is no alignment, the share of each is 0 / 0
                found = share[c] if loss[n] < math.inf else math.nan
                glogp[t, n, c] = (glogp[t, n, c] - found) * g[n]


_forward = kernel(_forward_loop), parallel_kernel(_forward_loop)
_backward = kernel(_backward_loop), parallel_kernel(_backward_loop)


def ctc(logp, targets, starts, times, lengths, blank, zero_infinity, most):
    """(loss, alpha): minus the log-probability of each target [N], and alpha for `ctc_backward`.

    targets are the labels of all samples in one vector, those of sample n from starts[n] on; `most`
    is the largest of their lengths.
    """
    logp = np.ascontiguousarray(logp)
    alpha = memory.empty((logp.shape[1], logp.shape[0], FRONT + 2 * most + 1), np.float64)
    _forward[use_threads(8 * alpha.size)](logp, targets, starts, times, lengths, blank, alpha)
    loss = _losses(alpha, times, lengths).astype(logp.dtype)
    return np.where(np.isinf(loss), 0, loss) if zero_infinity else loss, alpha


def ctc_backward(g, logp, targets, starts, times, lengths, blank, alpha, zero_infinity):
    """glogp: as if logp were a log-softmax, through which this gradient passes unchanged."""
    logp = np.ascontiguousarray(logp)
    glogp = np.exp(logp, out=memory.empty(logp.shape, logp.dtype))
    loss = _losses(alpha, times, lengths)
    _backward[use_threads(8 * alpha.size)](
        np.ascontiguousarray(g, np.float64), logp, targets, starts, times, lengths, blank, alpha,
        loss, zero_infinity, glogp)
    return glogp


def _losses(alpha, times, lengths):
    """Minus the log-probability of ending at the last entry or the last but one, in float64."""
    n = np.arange(times.size)
    last, end = np.maximum(times - 1, 0), FRONT + 2 * lengths
    found = -np.logaddexp(alpha[n, last, end], alpha[n, last, end - 1])
    return np.where((times == 0) & (lengths == 0), 0.0, found)
