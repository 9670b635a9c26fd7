"""Sums and maxima over rows: what norms, softmax and losses are made of.

A sum is taken in LANES partial sums side by side, entry i of a row in lane i mod LANES, which are
added up by halves after about BLOCK entries, and in float64 over the blocks. The order is written
down, so it is the same in every kernel, on every CPU and for any number of threads, and a lane
adds few numbers.
"""

from nbgrad.kernels.cpu.maths import exp, order, unorder
from nbgrad.kernels.cpu.simd import LANES, stack_lanes
from nbgrad.kernels.options import folded, inline

BLOCK = 2048
# Entries of the end of a row that are added together.
PART = 16


@folded
def add_lanes(lanes):
    """The sum of the lanes, by halves; loops of fixed length, which need no loop."""
    for j in range(32):
        lanes[j] += lanes[j + 32]
    for j in range(16):
        lanes[j] += lanes[j + 16]
    for j in range(8):
        lanes[j] += lanes[j + 8]
    for j in range(4):
        lanes[j] += lanes[j + 4]
    return (lanes[0] + lanes[2]) + (lanes[1] + lanes[3])


def _adder(term):
    """A function that adds term(x, y, number) of the entries of two rows to lanes."""

    @folded
    def add(lanes, x, y, number):
        whole, parts = x.size // LANES * LANES, x.size // PART * PART
        for i in range(0, whole, LANES):
            xs, ys = x[i : i + LANES], y[i : i + LANES]
            for j in range(LANES):
                lanes[j] += term(xs[j], ys[j], number)
        for i in range(whole, parts, PART):
            xs, ys, some = x[i : i + PART], y[i : i + PART], lanes[i - whole : i - whole + PART]
            for j in range(PART):
                some[j] += term(xs[j], ys[j], number)
        for i in range(parts, x.size):
            lanes[i - whole] += term(x[i], y[i], number)

    return add


def _total(term):
    """A function of rows x, y and a number: sum(term(x, y, number)), in float64."""
    add = _adder(term)

    @inline
    def block(x, y, number):
        lanes = stack_lanes(x)
        for j in range(LANES):
            lanes[j] = 0
        add(lanes, x, y, number)
        return add_lanes(lanes)

    @inline
    def total(x, y, number):
        s = 0.0
        for k in range(0, x.size, BLOCK):
            s += block(x[k : k + BLOCK], y[k : k + BLOCK], number)
        return s

    return total


def channel_total(term):
    """The same over x[:, c] and y[:, c] of arrays (N, C, L): short rows share their lanes."""
    add, row_total = _adder(term), _total(term)

    @inline
    def block(x, y, c, start, stop, number):
        lanes = stack_lanes(x)
        for j in range(LANES):
            lanes[j] = 0
        for k in range(start, stop):
            add(lanes, x[k, c], y[k, c], number)
        return add_lanes(lanes)

    @inline
    def total(x, y, c, number):
        rows, s = x.shape[0], 0.0
        if x.shape[2] >= BLOCK:
            for k in range(rows):
                s += row_total(x[k, c], y[k, c], number)
        else:
            step = min(LANES, max(1, BLOCK // max(1, x.shape[2])))
            for k in range(0, rows, step):
                s += block(x, y, c, k, min(k + step, rows), number)
        return s

    return total


# Terms: of an entry, of two, and of two with a number, which is in the dtype of the entries.
entry = folded(lambda x, y, number: x)
product = folded(lambda x, y, number: x * y)
centred = folded(lambda x, y, mean: x - mean)
centred_square = folded(lambda x, y, mean: (x - mean) * (x - mean))
centred_product = folded(lambda g, x, mean: g * (x - mean))
_exponential = folded(lambda x, y, m: exp(x - m))

_sum, _dot, _exp_sum = map(_total, (entry, product, _exponential))
_shift, _spread = map(_total, (centred, centred_square))
#: sum(g * (x - mean))
row_centred_dot = _total(centred_product)


@inline
def row_sum(x):
    """sum(x), in float64."""
    return _sum(x, x, 0)


@inline
def row_dot(x, y):
    """sum(x * y), in float64."""
    return _dot(x, y, 0)


@inline
def row_moments(x):
    """The mean and the variance of a row, in float64."""
    near = x.dtype.type(row_sum(x) / x.size)
    return moments(near, _shift(x, x, near) / x.size, _spread(x, x, near) / x.size)


@inline
def moments(near, shift, spread):
    """The same from a number near the mean and the means of x - near and of its square.

    Sums of small differences are exact where the sum of the entries was rounded; of entries that
    are all equal, the mean is the entry and the variance zero.
    """
    var = spread - shift * shift
    return near + shift, 0.0 if var < 0 else var


@inline
def row_exp_sum(x, m):
    """sum(exp(x - m)), in float64."""
    return _exp_sum(x, x, m)


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
