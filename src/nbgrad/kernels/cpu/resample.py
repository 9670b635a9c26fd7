"""Weighted sums of a few entries along an axis, and the adjoint.

y[o, i, l] = sum_t weight[i, t] * x[o, place[i, t], l], for arrays (outer, n, inner).
"""

import numpy as np

from nbgrad.kernels import memory
from nbgrad.kernels.options import kernel, parallel_kernel, prange, use_threads


def _gather_loop(x, places, weights, y):
    outer, n, inner = y.shape
    for o in prange(outer):
        if inner == 1:
            for i in range(n):
                total = weights[i, 0] * x[o, places[i, 0], 0]
                for t in range(1, weights.shape[1]):
                    total += weights[i, t] * x[o, places[i, t], 0]
                y[o, i, 0] = total
            continue
        for i in range(n):
            out, w, first = y[o, i], weights[i, 0], x[o, places[i, 0]]
            for l in range(inner):
                out[l] = w * first[l]
            for t in range(1, weights.shape[1]):
                w, other = weights[i, t], x[o, places[i, t]]
                for l in range(inner):
                    out[l] += w * other[l]


def _scatter_loop(gy, places, weights, gx):
    outer, n, inner = gy.shape
    for o in prange(outer):
        gx[o] = 0
        for i in range(n):
            for t in range(weights.shape[1]):
                w = weights[i, t]
                if inner == 1:
                    gx[o, places[i, t], 0] += w * gy[o, i, 0]
                else:
                    out, g = gx[o, places[i, t]], gy[o, i]
                    for l in range(inner):
                        out[l] += w * g[l]


_gather = kernel(_gather_loop), parallel_kernel(_gather_loop)
_scatter = kernel(_scatter_loop), parallel_kernel(_scatter_loop)


def _run(run, x, axis, length, places, weights):
    shape = (*x.shape[:axis], length, *x.shape[axis + 1:])
    out = memory.empty(shape, x.dtype)
    if out.size and x.size:
        inner = int(np.prod(shape[axis + 1:], dtype=np.int64))
        x = np.ascontiguousarray(x).reshape(-1, x.shape[axis], inner)
        run[use_threads(max(out.size, x.size) * weights.shape[1])](
            x, places, weights.astype(x.dtype), out.reshape(-1, length, inner))
    return out


def gather(x, axis, places, weights):
    """Along `axis`, the sums over t of weights[i, t] * x[places[i, t]]."""
    return _run(_gather, x, axis, places.shape[0], places, weights)


def scatter(gy, axis, length, places, weights):
    """The adjoint: weights[i, t] * gy[i] added at places[i, t] along an axis of `length`."""
    return _run(_scatter, gy, axis, length, places, weights)
