"""Small systems of linear equations, solved by elimination with the largest pivot of each column.

LAPACK through NumPy takes longer to be called than for the arithmetic of a few small matrices, and
does not give away what is left of them, from which the transposed system is soon solved.
"""

from functools import cache

import numpy as np

from nbgrad.kernels import memory
from nbgrad.kernels.launch import entry_point
from nbgrad.kernels.options import inline, kernel, parallel_kernel, prange, use_threads

#: Rows up to which a matrix is small; rows and columns of b up to which what is left is worth keeping.
SMALL, KEPT = 32, (48, 4)

# Loops over a row start at 0, and the row that is taken from others is an array of its own: else they
# would not become vector loops.


@inline
def _eliminate(m, s, row):
    # a and b side by side, then a column that numbers the rows that changed places
    n, last = m.shape[1], m.shape[2] - 1
    for p in range(n):
        best, most = p, abs(m[s, p, p])
        for i in range(p + 1, n):
            if abs(m[s, i, p]) > most:
                best, most = i, abs(m[s, i, p])
        m[s, p, last] = best
        if most == 0:
            m[s] = np.nan
            return
        for j in range(last):
            row[s, j] = m[s, best, j]
        if best != p:
            for j in range(last):
                m[s, best, j] = m[s, p, j]
            for j in range(last):
                m[s, p, j] = row[s, j]
        pivot, q = row[s, p], p + 1
        for i in range(q, n):
            w = m[s, i, p] / pivot
            m[s, i, p] = w
            for j in range(last - q):
                m[s, i, q + j] -= w * row[s, q + j]


def _solve_loop(a, b, x, m, row):
    # matrices a [s, n, n], b and x [s, n, k], m [s, n, n + k + 1]
    n, k = b.shape[1:]
    for s in prange(a.shape[0]):
        for i in range(n):
            for j in range(n):
                m[s, i, j] = a[s, i, j]
            for j in range(k):
                m[s, i, n + j] = b[s, i, j]
        _eliminate(m, s, row)
        for p in range(n - 1, -1, -1):
            for j in range(k):
                x[s, p, j] = m[s, p, n + j] / m[s, p, p]
            for i in range(p):
                w = m[s, i, p]
                for j in range(k):
                    m[s, i, n + j] -= w * x[s, p, j]


def _backward_loop(m, x, y, ga):
    # x and y [s, k, n]; y is the gradient to x, then to b
    count, k, n = y.shape
    for s in prange(count):
        ga[s] = 0
        for c in range(k):
            for p in range(n):
                w = y[s, c, p] / m[s, p, p]
                y[s, c, p] = w
                for j in range(n - p - 1):
                    y[s, c, p + 1 + j] -= w * m[s, p, p + 1 + j]
            for p in range(n - 1, 0, -1):
                w = y[s, c, p]
                for j in range(p):
                    y[s, c, j] -= w * m[s, p, j]
            for p in range(n - 1, -1, -1):
                w = m[s, p, n + k]
                other = int(w) if 0 <= w < n else p  # it may be NaN, or what a hook made of it
                y[s, c, p], y[s, c, other] = y[s, c, other], y[s, c, p]
            for i in range(n):
                w = y[s, c, i]
                for j in range(n):
                    ga[s, i, j] -= w * x[s, c, j]


# One thread, all threads.
_solve = kernel(_solve_loop), parallel_kernel(_solve_loop)
_backward = kernel(_backward_loop), parallel_kernel(_backward_loop)


@cache
def _launch(kernels, threads, dtype, *ranks):
    return entry_point(kernels[threads], *[(dtype, rank) for rank in ranks])


def solve(a, b):
    """x (s, n, k) with a x = b, for a (s, n, n) and b (s, n, k), and what is left, for `backward`.

    x is NaN where a is singular.
    """
    s, n, k = b.shape
    x, m, row = [memory.empty(shape, b.dtype) for shape in (b.shape, (s, n, n + k + 1), (s, n + k))]
    threads = use_threads(a.size * (n + k))
    _launch(_solve, threads, b.dtype, 3, 3, 3, 3, 2)(
        np.ascontiguousarray(a), np.ascontiguousarray(b), x, m, row)
    return x, m


def backward(g, x, m):
    """The gradients to a and b, for the gradient g (s, n, k) to x, and x and m of `solve`."""
    y = memory.empty((g.shape[0], g.shape[2], g.shape[1]), g.dtype)
    y[...] = g.swapaxes(1, 2)
    ga = memory.empty((g.shape[0], g.shape[1], g.shape[1]), g.dtype)
    threads = use_threads(ga.size * 3 * g.shape[2])
    _launch(_backward, threads, g.dtype, 3, 3, 3, 3)(
        m, np.ascontiguousarray(x.swapaxes(1, 2)), y, ga)
    return ga, np.ascontiguousarray(y.swapaxes(1, 2))
