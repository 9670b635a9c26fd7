"""Sums and maxima over a row: what norms, softmax and losses are made of.

Sums are taken in the row's dtype over blocks of BLOCK entries, where a register holds many partial
sums and none adds more than some dozens, and in float64 over the blocks. The sum of a block is a
function of its own, so that all kernels add in one order.
"""

from nbgrad.kernels.cpu.maths import exp, order, unorder
from nbgrad.kernels.cpu.simd import own_code
from nbgrad.kernels.options import SUM, inline

BLOCK = 1024


@inline(fastmath=SUM)
def _sum(x):
    own_code()
    s = x.dtype.type(0)
    for i in range(x.size):
        s += x[i]
    return s


@inline(fastmath=SUM)
def _dot(x, y):
    own_code()
    s = x.dtype.type(0)
    for i in range(x.size):
        s += x[i] * y[i]
    return s


@inline(fastmath=SUM)
def _spread(x, mean):
    own_code()
    s = x.dtype.type(0)
    for i in range(x.size):
        d = x[i] - mean
        s += d * d
    return s


@inline(fastmath=SUM)
def _centred_dot(g, x, mean):
    own_code()
    s = x.dtype.type(0)
    for i in range(x.size):
        s += g[i] * (x[i] - mean)
    return s


@inline(fastmath=SUM)
def _exp_sum(x, m):
    own_code()
    s = x.dtype.type(0)
    for i in range(x.size):
        s += exp(x[i] - m)
    return s


@inline(fastmath=SUM)
def _exp_into(x, m, y):
    own_code()
    s = x.dtype.type(0)
    for i in range(x.size):
        e = exp(x[i] - m)
        y[i] = e
        s += e
    return s


@inline
def row_sum(x):
    """sum(x), in float64."""
    s = 0.0
    for k in range(0, x.size, BLOCK):
        s += _sum(x[k : k + BLOCK])
    return s


@inline
def row_dot(x, y):
    """sum(x * y), in float64."""
    s = 0.0
    for k in range(0, x.size, BLOCK):
        s += _dot(x[k : k + BLOCK], y[k : k + BLOCK])
    return s


@inline
def row_spread(x, mean):
    """sum((x - mean)^2), in float64; mean in the dtype of x."""
    s = 0.0
    for k in range(0, x.size, BLOCK):
        s += _spread(x[k : k + BLOCK], mean)
    return s


@inline
def row_centred_dot(g, x, mean):
    """sum(g * (x - mean)), in float64; mean in the dtype of x."""
    s = 0.0
    for k in range(0, x.size, BLOCK):
        s += _centred_dot(g[k : k + BLOCK], x[k : k + BLOCK], mean)
    return s


@inline
def row_exp_sum(x, m):
    """sum(exp(x - m)), in float64."""
    s = 0.0
    for k in range(0, x.size, BLOCK):
        s += _exp_sum(x[k : k + BLOCK], m)
    return s


@inline
def row_exp_into(x, m, y):
    """y = exp(x - m), and its sum in float64."""
    s = 0.0
    for k in range(0, x.size, BLOCK):
        s += _exp_into(x[k : k + BLOCK], m, y[k : k + BLOCK])
    return s


@inline
def row_max(x):
    """Largest entry of a row; a NaN may be missed, for it reaches the result through exp.

    Compared as integers, which a register at a time can do without promises about NaN.
    """
    m = order(x[0])
    for i in range(x.size):
        k = order(x[i])
        m = k if k > m else m
    return unorder(m)


@inline
def column_max(x, lo, hi):
    """Largest entry of each column lo..hi of x (n, inner)."""
    m = x[0, lo:hi].copy()
    for i in range(x.shape[0]):
        row = x[i, lo:hi]
        for j in range(m.size):
            m[j] = row[j] if row[j] > m[j] else m[j]
    return m
