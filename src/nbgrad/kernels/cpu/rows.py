"""Sums and maxima over rows: what norms, softmax and losses are made of.

A sum is taken in LANES partial sums side by side, entry i of a row in lane i mod LANES, which are
added up by halves after about BLOCK entries, and in float64 over the blocks. The order is written
down, so it is the same in every kernel, on every CPU and for any number of threads, and a lane
adds few numbers. A row is given as an array, or better its `elements`, and the places, among all
of them, where the row begins and ends.
"""

from math import inf

from nbgrad.kernels.cpu.lanes import (
    LANES,
    add_lanes,
    as_element,
    choose,
    elements,
    first,
    load,
    load_some,
    max_lanes,
    splat,
)
from nbgrad.kernels.cpu.maths import exp
from nbgrad.kernels.options import folded

BLOCK = 2048


def _adder(one, two):
    """A function that adds one(x, y, number) and two(x, y, number) to lanes, over two rows."""

    @folded
    def add(s, t, x, y, lo, hi, number):
        whole = hi - (hi - lo) % LANES
        for i in range(lo, whole, LANES):
            u, v = load(x, i), load(y, i)
            s = s + one(u, v, number)
            t = t + two(u, v, number)
        if whole < hi:
            u, v = load_some(x, whole, hi - whole), load_some(y, whole, hi - whole)
            s = first(hi - whole, s + one(u, v, number), s)
            t = first(hi - whole, t + two(u, v, number), t)
        return s, t

    return add


def _totals(one, two):
    """A function of rows x, y and a number: the sums of one(x, y, number) and two, in float64."""
    add = _adder(one, two)

    @folded
    def totals(x, y, lo, hi, number):
        s, t = 0.0, 0.0
        for start in range(lo, hi, BLOCK):
            u, v = add(splat(x, 0), splat(x, 0), x, y, start, min(start + BLOCK, hi), number)
            s += add_lanes(u)
            t += add_lanes(v)
        return s, t

    return totals


def channel_totals(one, two):
    """The same over x[:, c] and y[:, c] of arrays (N, C, L): short rows share their lanes."""
    add = _adder(one, two)

    @folded
    def totals(x, y, c, number):
        rows, channels, length = x.shape
        x, y = elements(x), elements(y)
        step = min(LANES, max(1, BLOCK // max(1, length)))
        s, t = 0.0, 0.0
        for start in range(0, rows, step):
            for lo in range(0, length, BLOCK):
                u, v = splat(x, 0), splat(x, 0)
                for k in range(start, min(start + step, rows)):
                    at = (k * channels + c) * length
                    hi = at + min(lo + BLOCK, length)
                    u, v = add(u, v, x, y, at + lo, hi, number)
                s += add_lanes(u)
                t += add_lanes(v)
        return s, t

    return totals


# Terms: of an entry, of two, and of two with a number, which is in the dtype of the entries.
entry = folded(lambda x, y, number: x)
product = folded(lambda x, y, number: x * y)
centred = folded(lambda x, y, mean: x - mean)
centred_square = folded(lambda x, y, mean: (x - mean) * (x - mean))
centred_product = folded(lambda g, x, mean: g * (x - mean))
_exponential = folded(lambda x, y, m: exp(x - m))
_nothing = folded(lambda x, y, number: x)  # a second sum that nobody reads is not taken

_sum, _dot, _exp_sum = (_totals(term, _nothing) for term in (entry, product, _exponential))
_spread = _totals(centred, centred_square)


def channel_total(term):
    """`channel_totals` of one term."""
    totals = channel_totals(term, _nothing)
    return folded(lambda x, y, c, number: totals(x, y, c, number)[0])


@folded
def row_sum(x, lo, hi):
    """sum(x), in float64."""
    return _sum(x, x, lo, hi, 0)[0]


@folded
def row_dot(x, y, lo, hi):
    """sum(x * y), in float64."""
    return _dot(x, y, lo, hi, 0)[0]


@folded
def row_exp_sum(x, lo, hi, m):
    """sum(exp(x - m)), in float64."""
    return _exp_sum(x, x, lo, hi, m)[0]


@folded
def row_moments(x, lo, hi):
    """The mean and the variance of a row, in float64."""
    n = hi - lo
    near = as_element(x, row_sum(x, lo, hi) / n)
    shift, spread = _spread(x, x, lo, hi, near)
    return moments(near, shift / n, spread / n)


@folded
def moments(near, shift, spread):
    """The same from a number near the mean and the means of x - near and of its square.

    Sums of small differences are exact where the sum of the entries was rounded; of entries that
    are all equal, the mean is the entry and the variance zero.
    """
    var = spread - shift * shift
    return near + shift, 0.0 if var < 0 else var


@folded
def row_max(x, lo, hi):
    """Largest entry of a row; a NaN may be missed, for it reaches the result through exp."""
    whole = hi - (hi - lo) % LANES
    m = splat(x, -inf)
    for i in range(lo, whole, LANES):
        v = load(x, i)
        m = choose(v > m, v, m)
    if whole < hi:
        v = load_some(x, whole, hi - whole)
        m = first(hi - whole, choose(v > m, v, m), m)
    return max_lanes(m)


@folded
def column_max(x, lo, hi):
    """Largest entry of each column lo..hi of x (n, inner)."""
    m = x[0, lo:hi].copy()
    for i in range(x.shape[0]):
        row = x[i, lo:hi]
        for j in range(m.size):
            m[j] = row[j] if row[j] > m[j] else m[j]
    return m
