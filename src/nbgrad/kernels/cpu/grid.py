"""Images and volumes read at places between their entries, and the two adjoints of that.

Along an axis, a place is a sum of `taps` neighbours (1, 2 or 4) whose weights are polynomials in its
distance t to the first of them; in all, of taps^axes corners whose weights are products:

    y[c, p] = sum_k weight[k, p] x[c, entry[k, p]]

`x` is (N, C, *sizes), `grid` (N, P, axes) with coordinates from -1 to 1, that of the last axis first.
`orders` says for each axis how many times the weights are differentiated by the coordinate.
"""

import math
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from nbgrad.kernels import memory
from nbgrad.kernels.options import inline, kernel, parallel_kernel, prange, use_threads

# Places, and channels, that are handled together.
BLOCK, CHANNELS = 256, 8
MODES, PADDINGS = ("nearest", "bilinear", "bicubic"), ("zeros", "border", "reflection")

# Of each tap, the weight's coefficients of 1, t, t^2, t^3; the cubics are Keys' for a = -3/4.
_A = -0.75
_WEIGHTS = {
    "nearest": [[1, 0, 0, 0]],
    "bilinear": [[1, -1, 0, 0], [0, 1, 0, 0]],
    "bicubic": [[0, _A, -2 * _A, _A], [1, 0, -_A - 3, _A + 2],
                [0, -_A, 2 * _A + 3, -_A - 2], [0, 0, _A, -_A]],
}


class Rule(NamedTuple):
    """How coordinates are read."""

    mode: int
    padding: int
    align: bool


@inline
def _reflect(x, slope, low, span):
    """Coordinates folded at `low` and low + span, and their derivatives."""
    one, two = x.dtype.type(1), x.dtype.type(2)
    for p in range(x.size):
        away = x[p] - low
        sign = -one if away < 0 else one
        away *= sign
        turns = np.floor(away / span)
        away -= turns * span
        odd = turns - two * np.floor(turns / two) == one
        x[p] = (span - away if odd else away) + low
        slope[p] = -sign if odd else sign


@inline
def _clip(x, slope, last):
    """Coordinates between 0 and last, 0 for NaN, and their derivatives."""
    one, zero = x.dtype.type(1), x.dtype.type(0)
    for p in range(x.size):
        v, inside = x[p], (x[p] > zero) & (x[p] < last)
        v = v if v > zero else zero
        x[p] = v if v < last else last
        slope[p] *= one if inside else zero


@inline
def _bring_inside(x, slope, n, rule):
    """Coordinates brought inside an axis as the padding says, and their derivatives."""
    slope[:] = 1
    if rule.padding == 2 and not (rule.align and n == 1):
        low, span = (0.0, n - 1) if rule.align else (-0.5, n)
        _reflect(x, slope, x.dtype.type(low), x.dtype.type(span))
    if rule.padding > 0:
        _clip(x, slope, x.dtype.type(n - 1))


@inline
def _along(u, n, order, polynomials, rule, entry, weight):
    """The entries [tap, place] of an axis that coordinates u meet, -1 outside, and their weights."""
    one, size, taps = weight.dtype.type(1), u.size, entry.shape[0]
    x, slope, t = np.empty((3, size), weight.dtype)
    scale = weight.dtype.type((n - 1 if rule.align else n) / 2)
    shift = weight.dtype.type(0.0 if rule.align else 0.5)
    for p in range(size):
        x[p] = (u[p] + one) * scale - shift
    slope[:] = 1
    if taps < 4:
        _bring_inside(x, slope, n, rule)
    for p in range(size):
        first = np.rint(x[p]) if taps == 1 else np.floor(x[p])
        t[p] = x[p] - first
        x[p] = first if taps < 4 else first - one
    last, at = weight.dtype.type(n - 1), np.empty(size, weight.dtype)
    for k in range(taps):
        c0, c1, c2, c3 = polynomials[k]
        e, w, step = entry[k, :size], weight[k, :size], weight.dtype.type(k)
        for p in range(size):
            factor = slope[p] if order % 2 == 1 else slope[p] * slope[p] if order > 0 else one
            w[p] = (((c3 * t[p] + c2) * t[p] + c1) * t[p] + c0) * factor
            at[p] = x[p] + step
        if taps == 4:
            _bring_inside(at, slope, n, rule)
            slope[:] = 1
        for p in range(size):
            met = at[p] >= 0 and at[p] <= last
            e[p] = min(np.int64(at[p] if met else -one), n - 1)  # floats may round n - 1 up


@inline
def _corners(grid, sizes, orders, polynomials, rule, entry, weight, at, by):
    """entry and weight [corner, place] of places grid [place, axis]; at and by are for one axis."""
    size, axes = grid.shape
    taps = at.shape[0]
    for d in range(axes):
        n = sizes[d]
        _along(grid[:, axes - 1 - d], n, orders[d], polynomials[d], rule, at, by)
        for k in range(taps ** axes):
            t = k // taps ** d % taps
            e, w, a, b = entry[k, :size], weight[k, :size], at[t, :size], by[t, :size]
            for p in range(size if d == 0 else 0):
                e[p] = a[p]
                w[p] = b[p]
            for p in range(size if d > 0 else 0):
                outside = e[p] < 0 or a[p] < 0
                e[p] = -1 if outside else e[p] * n + a[p]
            for p in range(size if d > 0 else 0):
                w[p] *= b[p]


@inline
def _tables(taps, axes, like):
    """Room for the corners of a block of places, and for the taps of one axis."""
    count = taps ** axes
    entry, weight = np.empty((count, BLOCK), np.int64), np.empty((count, BLOCK), like.dtype)
    return entry, weight, np.empty((taps, BLOCK), np.int64), np.empty((taps, BLOCK), like.dtype)


def _nearest_loop(x, grid, sizes, orders, polynomials, rule, y):
    batch, places, axes = grid.shape
    blocks = -(-places // BLOCK)
    for task in prange(batch * blocks):
        entry, weight, at, by = _tables(1, axes, y)
        n, lo = task // blocks, task % blocks * BLOCK
        hi = min(lo + BLOCK, places)
        _corners(grid[n, lo:hi], sizes, orders, polynomials, rule, entry, weight, at, by)
        e, w, none = entry[0], weight[0], y.dtype.type(0)
        for c in range(y.shape[1]):
            row, out = x[n, c], y[n, c, lo:hi]
            for p in range(out.size):
                out[p] = w[p] * row[np.uint64(e[p])] if e[p] >= 0 else none


def _sample_loop(x, grid, sizes, orders, polynomials, rule, y):
    batch, places, axes = grid.shape
    taps = polynomials.shape[1]
    blocks = -(-places // BLOCK)
    for task in prange(batch * blocks):
        entry, weight, at, by = _tables(taps, axes, y)
        n, lo = task // blocks, task % blocks * BLOCK
        hi = min(lo + BLOCK, places)
        _corners(grid[n, lo:hi], sizes, orders, polynomials, rule, entry, weight, at, by)
        for c in range(0, y.shape[1], 2):  # two at a time; the last of an odd number is its own twin
            d = min(c + 1, y.shape[1] - 1)
            row, other, out, beside = x[n, c], x[n, d], y[n, c, lo:hi], y[n, d, lo:hi]
            for p in range(out.size):
                out[p] = beside[p] = 0
            for start in range(0, entry.shape[0], 4):
                e, w = entry[start:start + 4], weight[start:start + 4]
                for p in range(out.size):
                    s, t = out[p], beside[p]
                    for k in range(4):
                        if e[k, p] >= 0:
                            i = np.uint64(e[k, p])
                            s += w[k, p] * row[i]
                            t += w[k, p] * other[i]
                    out[p], beside[p] = s, t


def _spread_loop(gy, grid, sizes, orders, polynomials, rule, gx):
    batch, places, axes = grid.shape
    taps, channels = polynomials.shape[1], gx.shape[1]
    groups = -(-channels // CHANNELS)
    for task in prange(batch * groups):
        entry, weight, at, by = _tables(taps, axes, gx)
        n, first = task // groups, task % groups * CHANNELS
        for lo in range(0, places, BLOCK):
            hi = min(lo + BLOCK, places)
            _corners(grid[n, lo:hi], sizes, orders, polynomials, rule, entry, weight, at, by)
            for c in range(first, min(first + CHANNELS, channels)):
                row, g = gx[n, c], gy[n, c, lo:hi]
                if taps == 1:
                    e, w = entry[0], weight[0]
                    for p in range(g.size):
                        if e[p] >= 0:
                            row[np.uint64(e[p])] += w[p] * g[p]
                    continue
                for start in range(0, entry.shape[0], 4):
                    e, w = entry[start:start + 4], weight[start:start + 4]
                    for p in range(g.size):
                        for k in range(4):
                            if e[k, p] >= 0:
                                row[np.uint64(e[k, p])] += w[k, p] * g[p]


def _slope_loop(gy, x, grid, sizes, orders, polynomials, steeper, rule, ggrid):
    batch, places, axes = grid.shape
    taps = polynomials.shape[1]
    blocks = -(-places // BLOCK)
    for task in prange(batch * blocks):
        entry, weight, at, by = _tables(taps, axes, gy)
        n, lo = task // blocks, task % blocks * BLOCK
        hi = min(lo + BLOCK, places)
        _corners(grid[n, lo:hi], sizes, orders, polynomials, rule, entry, weight, at, by)
        dots, total = np.zeros_like(weight), np.empty(BLOCK, weight.dtype)
        for c in range(gy.shape[1]):
            row, g = x[n, c], gy[n, c, lo:hi]
            for start in range(0, entry.shape[0], 4):
                e, dot = entry[start:start + 4], dots[start:start + 4]
                for p in range(g.size):
                    for k in range(4):
                        if e[k, p] >= 0:
                            dot[k, p] += g[p] * row[np.uint64(e[k, p])]
        raised, chosen = orders.copy(), polynomials.copy()
        for d in range(axes):
            raised[d], chosen[d] = orders[d] + 1, steeper[d]
            _corners(grid[n, lo:hi], sizes, raised, chosen, rule, entry, weight, at, by)
            raised[d], chosen[d] = orders[d], polynomials[d]
            total[:] = 0
            for k in range(taps ** axes):
                e, w, dot = entry[k], weight[k], dots[k]
                for p in range(total.size):
                    if e[p] >= 0:
                        total[p] += w[p] * dot[p]
            for p in range(hi - lo):
                ggrid[n, lo + p, axes - 1 - d] = total[p]


# Each pair is (one thread, all threads).
_nearest = kernel(_nearest_loop), parallel_kernel(_nearest_loop)
_sample = kernel(_sample_loop), parallel_kernel(_sample_loop)
_spread = kernel(_spread_loop), parallel_kernel(_spread_loop)
_slope = kernel(_slope_loop), parallel_kernel(_slope_loop)


@lru_cache(512)
def polynomials_of(sizes, dtype, orders, mode, align):
    """Coefficients [axis, tap, power] of the weights, differentiated by the coordinate."""
    found = np.zeros((len(sizes), len(_WEIGHTS[mode]), 4), dtype)
    for d, (n, order) in enumerate(zip(sizes, orders)):
        scale = (n - 1 if align else n) / 2
        for k, weight in enumerate(_WEIGHTS[mode]):
            of_t = np.polynomial.Polynomial(weight).deriv(order) * scale ** order
            found[d, k, :of_t.coef.size] = of_t.coef
    return found


def _flat(x):
    """(N, C, entries or places)."""
    return np.ascontiguousarray(x).reshape(*x.shape[:2], math.prod(x.shape[2:]))


def _how(grid, sizes, orders, mode, padding, align):
    """What all kernels take of the options."""
    found = polynomials_of(sizes, grid.dtype, orders, mode, align)
    rule = Rule(MODES.index(mode), PADDINGS.index(padding), align)
    return np.ascontiguousarray(grid), np.array(sizes), np.array(orders), found, rule


def sample(x, grid, *how):
    """(N, C, P): x (N, C, *sizes) at the places grid (N, P, axes); `how` is (orders, mode, padding,
    align)."""
    y = memory.empty((*x.shape[:2], grid.shape[1]), x.dtype)
    if y.size:
        run = (_nearest if how[1] == "nearest" else _sample)[use_threads(y.size * 4)]
        run(_flat(x), *_how(grid, x.shape[2:], *how), y)
    return y


def spread(gy, grid, x_shape, *how):
    """gx of shape x_shape for gy (N, C, P): added where `sample` reads, as often as it weighs."""
    gx = memory.zeros(x_shape, gy.dtype)
    if gy.size and gx.size:
        run = _spread[use_threads(gy.size * 4)]
        run(_flat(gy), *_how(grid, x_shape[2:], *how), _flat(gx))
    return gx


def slope(gy, x, grid, orders, *how):
    """ggrid (N, P, axes): the sum over channels of gy (N, C, P) times the derivative of `sample`."""
    *common, rule = _how(grid, x.shape[2:], orders, *how)
    steeper = _how(grid, x.shape[2:], tuple([m + 1 for m in orders]), *how)[3]
    if not grid.size or not steeper.any():
        return memory.zeros(grid.shape, x.dtype)
    ggrid = memory.empty(grid.shape, x.dtype)
    run = _slope[use_threads(gy.size * 4)]
    run(_flat(gy), _flat(x), *common, steeper, rule, ggrid)
    return ggrid
