"""Euclidean distances between all rows of two matrices."""

import math

import numpy as np

from nbgrad.kernels import memory
from nbgrad.kernels.options import kernel, parallel_kernel, prange, use_threads

# Rows of the second matrix handled together.
BLOCK = 256


def _distances_loop(x, yt, out):
    # x [b, p, m], yt [b, m, r], one task per row of x
    batch, p, m = x.shape
    r = yt.shape[2]
    for task in prange(batch * p):
        b, i = task // p, task % p
        for lo in range(0, r, BLOCK):
            found = out[b, i, lo:min(lo + BLOCK, r)]
            found[:] = 0
            for k in range(m):
                own, other = x[b, i, k], yt[b, k, lo:lo + found.size]
                for j in range(found.size):
                    d = own - other[j]
                    found[j] += d * d
            for j in range(found.size):
                found[j] = math.sqrt(found[j])


_distances = kernel(_distances_loop), parallel_kernel(_distances_loop)


def distances(x, y):
    """(b, p, r): |x_i - y_j| for x (b, p, m) and y (b, r, m)."""
    x, yt = np.ascontiguousarray(x), np.ascontiguousarray(y.transpose(0, 2, 1))
    out = memory.empty((*x.shape[:2], y.shape[1]), x.dtype)
    if out.size:
        _distances[use_threads(out.size * x.shape[2])](x, yt, out)
    return out
