"""Small systems of linear equations, solved by elimination with the largest pivot of each column.

LAPACK through NumPy takes longer to be called than for the arithmetic of a few small matrices.
"""

from functools import cache

import numpy as np

from nbgrad.kernels import memory
from nbgrad.kernels.launch import entry_point
from nbgrad.kernels.options import inline, kernel, parallel_kernel, prange, use_threads

#: Rows up to which a matrix is small.
SMALL = 32


@inline
def _eliminate(a, x):
    """Solve a x = b for a (n, n), which is overwritten, and b (n, k) given in x; NaN if singular."""
    n, k = x.shape
    for p in range(n):
        best = p
        for i in range(p + 1, n):
            if abs(a[i, p]) > abs(a[best, p]):
                best = i
        pivot = a[best, p]
        if pivot == 0:
            x[:] = np.nan
            return
        if best != p:
            for j in range(p, n):
                a[p, j], a[best, j] = a[best, j], a[p, j]
            for j in range(k):
                x[p, j], x[best, j] = x[best, j], x[p, j]
        for i in range(p + 1, n):
            w = a[i, p] / pivot
            for j in range(p + 1, n):
                a[i, j] -= w * a[p, j]
            for j in range(k):
                x[i, j] -= w * x[p, j]
    for p in range(n - 1, -1, -1):
        for j in range(k):
            x[p, j] /= a[p, p]
        for i in range(p):
            for j in range(k):
                x[i, j] -= a[i, p] * x[p, j]


def _solve_loop(a, b, x):
    # matrices [s, n, n] and [s, n, k], in float64 while they are worked on
    for s in prange(a.shape[0]):
        left, right = a[s].astype(np.float64), b[s].astype(np.float64)
        _eliminate(left, right)
        x[s] = right


# One thread, all threads.
_solve = kernel(_solve_loop), parallel_kernel(_solve_loop)


@cache
def _launch(threads, dtype):
    return entry_point(_solve[threads], *[(dtype, 3)] * 3)


def solve(a, b):
    """x (s, n, k) with a x = b, for a (s, n, n) and b (s, n, k); NaN where a is singular."""
    x = memory.empty(b.shape, b.dtype)
    work = a.size * (a.shape[2] + b.shape[2])
    _launch(use_threads(work), b.dtype)(np.ascontiguousarray(a), np.ascontiguousarray(b), x)
    return x
