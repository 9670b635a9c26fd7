"""Triangular systems, solved by substitution."""

import numpy as np

from nbgrad.kernels import lapack, memory
from nbgrad.kernels.options import kernel

# Rows that are solved together; what they owe to the others is one product of matrices.
BLOCK = 64


@kernel
def _substitute(a, x, upper, unit):
    # a [b, n, n], x [b, n, k] in place
    batch, n, k = x.shape
    for b in range(batch):
        for step in range(n):
            i = n - 1 - step if upper else step
            row = x[b, i]
            for j in range(i + 1, n) if upper else range(i):
                w, other = a[b, i, j], x[b, j]
                for l in range(k):
                    row[l] -= w * other[l]
            if not unit:
                d = a[b, i, i]
                for l in range(k):
                    row[l] /= d


def solve(a, b, upper, unit):
    """x with a x = b, for a (n, m, m), of which the one triangle is read, and b (n, m, k)."""
    x = memory.empty(b.shape, b.dtype)
    x[...] = b
    m = a.shape[1]
    starts = range(0, m, BLOCK)
    for lo in reversed(starts) if upper else starts:
        own = slice(lo, min(lo + BLOCK, m))
        done = slice(own.stop, m) if upper else slice(0, lo)
        if done.stop > done.start:
            x[:, own] -= lapack.matmul(a[:, own, done], x[:, done])
        part = np.ascontiguousarray(x[:, own])
        _substitute(np.ascontiguousarray(a[:, own, own]), part, upper, unit)
        x[:, own] = part
    return x
