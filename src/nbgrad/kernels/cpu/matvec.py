"""Products with vectors: each number of the matrix is read once, along its rows.

A matrix is a vector of memory and a table of integers, as kernels/matmul.py writes it. Sums are cut
into blocks by their length only, so neither threads nor the number of rows changes a bit of them.
"""

import numpy as np

from nbgrad.kernels.cpu.dot import dot
from nbgrad.kernels.cpu.simd import wide_vectors
from nbgrad.kernels.options import inline, kernel, parallel_kernel, prange

#: Terms of a dot product that are added in lanes; the sums of such blocks are added in float64.
_BLOCK = 4096
#: A block of a sum of rows: its columns stay in the first cache while its rows stream by.
_ROWS, _COLUMNS = 256, 2048


@inline
def starts(table, at, q):
    """Where the matrices number q of two stacks start.

    table[at:] is both offsets, the number of axes of the stack, and for each axis from the last to
    the first its size and the steps of both operands.
    """
    first, second, last = table[at], table[at + 1], at + 3 * table[at + 2]
    for k in range(at + 3, last, 3):
        i = q % table[k]
        q //= table[k]
        first += i * table[k + 1]
        second += i * table[k + 2]
    return first + q * table[last + 1], second + q * table[last + 2]


def _dots(table, bias, c, w, x):
    # c[q, j] = bias[j] + sum over p of w[q, j, p] x[q, p], p the innermost axis of both
    count, n, k, step, bias_at, bias_step = table[:6]
    blocks, lines = -(-k // _BLOCK), max(1, _BLOCK // k)
    groups = -(-n // lines)
    parts = np.empty(count * n * blocks)
    for u in prange(count * groups * blocks):
        v, p = u // blocks, u % blocks
        q, j = v // groups, v % groups * lines
        depth = min(_BLOCK, k - p * _BLOCK)
        wo, xo = starts(table, 6, q)
        wo += p * _BLOCK
        xo += p * _BLOCK
        for i in range(j, min(j + lines, n)):
            parts[(q * n + i) * blocks + p] = dot(depth, w, wo + i * step, x, xo)
    for u in range(count * n):
        total = parts[u * blocks]
        for p in range(1, blocks):
            total += parts[u * blocks + p]
        c[u] = total + bias[bias_at + u % n * bias_step] if bias.size else total


@kernel
def _sum_rows(y, k, w, wo, step, x, xo, stride):
    # y[j] = sum over p < k of x[xo + p * stride] w[wo + p * step + j]
    wide_vectors()
    n = y.size
    for j in range(n):
        y[j] = 0
    for p in range(0, k // 4 * 4, 4):
        at, o = wo + p * step, xo + p * stride
        x0, x1, x2, x3 = x[o], x[o + stride], x[o + 2 * stride], x[o + 3 * stride]
        w0, w1 = w[at : at + n], w[at + step : at + step + n]
        w2, w3 = w[at + 2 * step : at + 2 * step + n], w[at + 3 * step : at + 3 * step + n]
        for j in range(n):
            y[j] += (x0 * w0[j] + x1 * w1[j]) + (x2 * w2[j] + x3 * w3[j])
    for p in range(k // 4 * 4, k):
        at, x0 = wo + p * step, x[xo + p * stride]
        w0 = w[at : at + n]
        for j in range(n):
            y[j] += x0 * w0[j]


def _sums(table, bias, c, w, x):
    # c[q, j] = bias[j] + sum over p of x[q, p] w[q, p, j], j the innermost axis of w
    count, n, k, step, stride, bias_at, bias_step = table[:7]
    chunks, pieces = -(-k // _ROWS), -(-n // _COLUMNS)
    parts = c if chunks == 1 else np.empty(count * chunks * n, c.dtype)
    for u in prange(count * chunks * pieces):
        v, j = u // pieces, u % pieces * _COLUMNS
        q, p = v // chunks, v % chunks * _ROWS
        wo, xo = starts(table, 7, q)
        y = parts[v * n + j : v * n + min(n, j + _COLUMNS)]
        _sum_rows(y, min(_ROWS, k - p), w, wo + p * step + j, step, x, xo + p * stride, stride)
    for q in range(count):
        y = c[q * n : (q + 1) * n]
        for v in range(chunks if chunks > 1 else 0):
            part = parts[(q * chunks + v) * n : (q * chunks + v + 1) * n]
            for j in range(n):
                y[j] = y[j] + part[j] if v else part[j]
        if bias.size:
            for j in range(n):
                y[j] += bias[bias_at + j * bias_step]


def _outer(table, c, a, b):
    # c[i, j] = a[i] b[j], b without gaps
    m, n, ao, step, bo = table[:5]
    for i in prange(m):
        x, row, y = a[ao + i * step], c[i * n : (i + 1) * n], b[bo : bo + n]
        for j in range(n):
            row[j] = x * y[j]


#: For one thread, and for all.
dots = kernel(_dots), parallel_kernel(_dots)
sums = kernel(_sums), parallel_kernel(_sums)
outer = kernel(_outer), parallel_kernel(_outer)
