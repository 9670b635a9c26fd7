"""Weighted sums of a few entries along an axis.

y[o, i, l] = sum_t weight[t, i] * x[o, place[t, i], l], for arrays (outer, n, inner); a place of -1 is
none.
"""

import math

import numpy as np

from nbgrad.kernels import memory
from nbgrad.kernels.options import inline, kernel, parallel_kernel, prange, use_threads

# Results along the last axis that are worth a loop of their own.
ROOM = 512


@inline
def _lines(x, places, weights, y):
    """The sums of one line, two taps at a time."""
    taps = places.shape[0]
    for i in range(y.size):
        y[i] = 0
    for t in range(0, taps, 2):
        u = min(t + 1, taps - 1)
        p, q, v, w = places[t], places[u], weights[t], weights[u]
        for i in range(y.size):
            s = y[i]
            if p[i] >= 0:
                s += v[i] * x[np.uint64(p[i])]
            if u > t and q[i] >= 0:
                s += w[i] * x[np.uint64(q[i])]
            y[i] = s


def _gather_loop(x, places, weights, y):
    outer, n, inner = y.shape
    for o in prange(outer):
        if inner == 1:
            _lines(x[o].reshape(-1), places, weights, y[o].reshape(-1))
            continue
        for i in range(n):
            out, w, first = y[o, i], weights[0, i], x[o, max(places[0, i], 0)]
            if places[0, i] < 0:
                out[:] = 0
            else:
                for l in range(inner):
                    out[l] = w * first[l]
            for t in range(1, places.shape[0]):
                if places[t, i] >= 0:
                    w, other = weights[t, i], x[o, places[t, i]]
                    for l in range(inner):
                        out[l] += w * other[l]


_gather = kernel(_gather_loop), parallel_kernel(_gather_loop)


def _several(places, weights, length, times):
    """The tables of so many lines of `length` one behind the other."""
    first = np.arange(times)[:, None] * length
    places = np.where(places[:, None] < 0, -1, places[:, None] + first)
    return places.reshape(len(places), -1), np.tile(weights, times)


def gather(x, axis, table):
    """Along `axis`, the sums over t of weights[t, i] * x[places[t, i]]; a place of -1 is none.

    Args:
        table: with `places` and `weights`, arrays (taps, results) of the host.
    """
    places, weights = table.places, table.weights
    taps, results = places.shape
    shape = (*x.shape[:axis], results, *x.shape[axis + 1:])
    out = memory.empty(shape, x.dtype)
    if out.size:
        length, inner = x.shape[axis], math.prod(shape[axis + 1:])
        weights = weights.astype(x.dtype)
        if inner == 1 and results < ROOM:  # as many short lines at a time as there is room for
            times = math.gcd(out.size // results, 1 << (ROOM // results).bit_length())
            places, weights = _several(places, weights, length, times)
            length, results = length * times, results * times
        x = np.ascontiguousarray(x).reshape(-1, length, inner)
        run = _gather[use_threads(max(out.size, x.size) * taps)]
        run(x, places, weights, out.reshape(-1, results, inner))
    return out
