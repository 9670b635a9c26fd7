"""The rows of attention: scores to probabilities, and back.

A block of scores holds the rows from `start` on of some heads, `height` of each. If causal, row i
sees the first i + 1 entries only. A row that sees nothing has probabilities 0, as in PyTorch.
"""

from functools import cache
from math import inf, log

import numpy as np
from numba import types

from nbgrad.kernels.cpu.lanes import LANES, elements, get, put
from nbgrad.kernels.cpu.maths import exp
from nbgrad.kernels.cpu.rows import row_max, row_sum
from nbgrad.kernels.launch import entry_point
from nbgrad.kernels.options import folded, inline, kernel, parallel_kernel, prange, use_threads


@inline
def _has_nan(row):
    """Whether a row has a NaN, which its maximum does not show."""
    found = 0
    for i in range(row.size):
        found += row[i] != row[i]
    return found > 0


def _probabilities_loop(scores, start, height, causal, logsumexp):
    rows, n = scores.shape
    cast = scores.dtype.type
    for r in prange(rows):
        xs = elements(scores)
        lo = r * n
        hi = lo + (min(n, start + r % height + 1) if causal else n)
        m = row_max(xs, lo, hi) if hi > lo else cast(-inf)
        logsumexp[r] = inf
        scores[r, hi - lo:] = 0
        if m == -inf and not _has_nan(scores[r, :hi - lo]):
            scores[r] = 0
            continue
        for i in range(lo, hi, LANES):
            put(xs, i, exp(get(xs, i, hi - i) - m), hi - i)
        total = row_sum(xs, lo, hi)
        logsumexp[r] = m + log(total)
        s = cast(1 / total)
        for i in range(lo, hi, LANES):
            put(xs, i, get(xs, i, hi - i) * s, hi - i)


def _backward_loop(scores, g, logsumexp, delta, start, height, causal):
    # scores become probabilities p, and g, the gradient to p, becomes that to the scores
    rows, n = scores.shape
    cast = scores.dtype.type
    for r in prange(rows):
        xs, gs = elements(scores), elements(g)
        lo = r * n
        hi = lo + (min(n, start + r % height + 1) if causal else n)
        high = cast(logsumexp[r])
        low = cast(logsumexp[r] - high)
        if high == inf:
            low = cast(0)
        d = cast(delta[r])
        for i in range(lo, hi, LANES):
            p = exp((get(xs, i, hi - i) - high) - low)
            put(xs, i, p, hi - i)
            put(gs, i, p * (get(gs, i, hi - i) - d), hi - i)
        scores[r, hi - lo:] = 0
        g[r, hi - lo:] = 0


# Few heads with few rows, of which calls of other kernels would cost more than the arithmetic: all
# of it at once, by loops over rows.


@folded
def _row(q, turned, last, s):
    """The scores of a row q with the first `last` keys, which are columns of `turned`."""
    s[:last] = 0
    for e in range(q.size):
        a, keys = q[e], turned[e]
        for j in range(last):
            s[j] += a * keys[j]


@folded
def _turn(x, y):
    for i in range(x.shape[0]):
        for j in range(x.shape[1]):
            y[j, i] = x[i, j]


@folded
def _add_rows(weights, last, rows, y):
    """y += the sum of the first `last` rows times their weights."""
    for j in range(last):
        a, row = weights[j], rows[j]
        for d in range(y.size):
            y[d] += a * row[d]


@kernel
def _small(q, k, v, causal, out, logsumexp):
    heads, length, width = q.shape
    seen = k.shape[1]
    s, turned = np.empty(seen, q.dtype), np.empty((width, seen), q.dtype)
    for h in range(heads):
        _turn(k[h], turned)
        for i in range(length):
            last = min(seen, i + 1) if causal else seen
            _row(q[h, i], turned, last, s)
            m, odd, total = q.dtype.type(-inf), 0, 0.0
            for j in range(last):
                m = s[j] if s[j] > m else m
                odd += s[j] != s[j]
            out[h, i] = 0
            logsumexp[h, i] = inf
            if m == -inf and odd == 0:
                continue
            for j in range(last):
                s[j] = exp(s[j] - m)
            for j in range(last):
                total += s[j]
            logsumexp[h, i] = m + log(total)
            share = q.dtype.type(1 / total)
            for j in range(last):
                s[j] *= share
            _add_rows(s, last, v[h], out[h, i])


@kernel
def _small_backward(g, q, k, v, out, logsumexp, causal, gq, gk, gv):
    heads, length, width = q.shape
    seen, depth = v.shape[1:]
    cast = q.dtype.type
    p, gp = np.empty(seen, q.dtype), np.empty(seen, q.dtype)
    keys, values = np.empty((width, seen), q.dtype), np.empty((depth, seen), q.dtype)
    gq[:], gk[:], gv[:] = 0, 0, 0
    for h in range(heads):
        _turn(k[h], keys)
        _turn(v[h], values)
        for i in range(length):
            if logsumexp[h, i] == inf:
                continue
            last = min(seen, i + 1) if causal else seen
            _row(q[h, i], keys, last, p)
            _row(g[h, i], values, last, gp)
            high, delta = cast(logsumexp[h, i]), cast(0)
            low = cast(logsumexp[h, i] - high)
            for d in range(depth):
                delta += g[h, i, d] * out[h, i, d]
            for j in range(last):
                p[j] = exp((p[j] - high) - low)
                gp[j] = p[j] * (gp[j] - delta)
            _add_rows(gp, last, k[h], gq[h, i])
            for j in range(last):
                for e in range(width):
                    gk[h, j, e] += gp[j] * q[h, i, e]
                for d in range(depth):
                    gv[h, j, d] += p[j] * g[h, i, d]


_probabilities = kernel(_probabilities_loop), parallel_kernel(_probabilities_loop)
_backward = kernel(_backward_loop), parallel_kernel(_backward_loop)


def probabilities(scores, start, height, causal, logsumexp):
    """Softmax of every row of scores (rows, n), in place; the rows' logsumexp in float64."""
    _probabilities[use_threads(scores.size)](scores, start, height, causal, logsumexp)


def backward(scores, g, logsumexp, delta, start, height, causal):
    """In place: scores to probabilities p, and g, the gradient to p, to p (g - delta)."""
    _backward[use_threads(scores.size)](scores, g, logsumexp, np.ascontiguousarray(delta), start,
                                        height, causal)


@cache
def _launch(run, dtype, *arguments):
    return entry_point(run, *[(dtype, 3) if a is None else a for a in arguments])


def small(q, k, v, causal, out, logsumexp):
    """Attention without a mask, for few multiplications; arrays as in kernels/attention.py."""
    _launch(_small, q.dtype, None, None, None, types.boolean, None, _SUMS)(
        q, k, v, causal, out, logsumexp)


def small_backward(g, q, k, v, out, logsumexp, causal, gq, gk, gv):
    """Its gradients to q, k and v."""
    _launch(_small_backward, q.dtype, None, None, None, None, None, _SUMS, types.boolean, None,
            None, None)(g, q, k, v, out, logsumexp, causal, gq, gk, gv)


_SUMS = np.float64, 2
