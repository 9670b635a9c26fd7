"""The rows of attention: scores to probabilities, and back.

A block of scores holds the rows from `start` on of some heads, `height` of each. If causal, row i
sees the first i + 1 entries only. A row that sees nothing has probabilities 0, as in PyTorch.
"""

from math import inf, log

import numpy as np

from nbgrad.kernels.cpu.lanes import LANES, elements, get, put
from nbgrad.kernels.cpu.maths import exp
from nbgrad.kernels.cpu.rows import row_max, row_sum
from nbgrad.kernels.options import inline, kernel, parallel_kernel, prange, use_threads


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


_probabilities = kernel(_probabilities_loop), parallel_kernel(_probabilities_loop)
_backward = kernel(_backward_loop), parallel_kernel(_backward_loop)


def probabilities(scores, start, height, causal, logsumexp):
    """Softmax of every row of scores (rows, n), in place; the rows' logsumexp in float64."""
    _probabilities[use_threads(scores.size)](scores, start, height, causal, logsumexp)


def backward(scores, g, logsumexp, delta, start, height, causal):
    """In place: scores to probabilities p, and g, the gradient to p, to p (g - delta)."""
    _backward[use_threads(scores.size)](scores, g, logsumexp, np.ascontiguousarray(delta), start,
                                        height, causal)
