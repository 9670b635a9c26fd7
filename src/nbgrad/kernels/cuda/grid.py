"""Images and volumes read at places between their entries, on a CUDA device; as kernels/cpu/grid.

Tables (batch, corners, places) tell of every place the entries it is a sum of, -1 outside, and their
weights. Gradients to images are added by entry, in the order of the sorted table.
"""

import math as host
from functools import lru_cache

import numpy as np

from nbgrad.kernels.cpu.grid import MODES, PADDINGS, polynomials_of
from nbgrad.kernels.cuda import maths as math
from nbgrad.kernels.cuda.launch import launch
from nbgrad.kernels.cuda.layouts import contiguous
from nbgrad.kernels.cuda.memory import empty, upload, zeros
from nbgrad.kernels.cuda.provider import cuda, inline, kernel
from nbgrad.kernels.cuda.sort import ordered

_I32 = np.dtype(np.int32)
#: sizes and orders of three axes; taps, padding and align
_RULES = ("int64",) * 9


@inline
def _bring_inside(x, n, padding, align):
    """A coordinate brought inside an axis as the padding says, and its derivative."""
    one, zero, two = type(x)(1), type(x)(0), type(x)(2)
    slope = one
    if padding == 2 and not (align == 1 and n == 1):
        low, span = (zero, type(x)(n - 1)) if align == 1 else (type(x)(-0.5), type(x)(n))
        away = x - low
        sign = -one if away < zero else one
        away *= sign
        turns = type(x)(math.floor_64(np.float64(away / span)))
        away -= turns * span
        odd = turns - two * type(x)(math.floor_64(np.float64(turns / two))) == one
        x = (span - away if odd else away) + low
        slope = -sign if odd else sign
    if padding > 0:
        last = type(x)(n - 1)
        slope *= one if x > zero and x < last else zero
        x = x if x > zero else zero
        x = x if x < last else last
    return x, slope


@inline
def _tap(u, n, order, polynomials, first, k, taps, padding, align):
    """The entry of an axis that tap k of coordinate u meets, -1 outside, and its weight."""
    one, zero = type(u)(1), type(u)(0)
    x = (u + one) * (type(u)(n - align) * type(u)(0.5)) - (zero if align == 1 else type(u)(0.5))
    slope = one
    if taps < 4:
        x, slope = _bring_inside(x, n, padding, align)
    wide = np.float64(x)
    base = type(u)(math.rint_64(wide) if taps == 1 else math.floor_64(wide))
    t, c = x - base, 4 * (first + k)
    factor = one
    if order > 0:
        factor = slope if order % 2 == 1 else slope * slope
    weight = ((polynomials[c + 3] * t + polynomials[c + 2]) * t + polynomials[c + 1]) * t
    weight = (weight + polynomials[c]) * factor
    at = base + type(u)(k)
    if taps == 4:
        at, slope = _bring_inside(at - one, n, padding, align)
    entry = np.int64(-1)
    if at >= zero and at <= type(u)(n - 1):
        entry = min(np.int64(at), n - 1)
    return entry, weight


@inline
def _corner(grid, place, axes, k, raised, polynomials, steeper, n0, n1, n2, o0, o1, o2, taps, padding,
            align):
    """Entry and weight of corner k of a place; differentiated once more along axis `raised`."""
    entry, weight = np.int64(0), grid.dtype.type(1)
    for d in range(axes):
        n = n0 if d == 0 else n1 if d == 1 else n2
        order = o0 if d == 0 else o1 if d == 1 else o2
        u = grid[place * axes + axes - 1 - d]
        if d == raised:
            e, w = _tap(u, n, order + 1, steeper, d * taps, k % taps, taps, padding, align)
        else:
            e, w = _tap(u, n, order, polynomials, d * taps, k % taps, taps, padding, align)
        entry = np.int64(-1) if e < 0 or entry < 0 else entry * n + e
        weight *= w
        k = k // taps
    return entry, weight


@kernel
def _tables(grid, polynomials, entry, weight, places, axes, corners, n0, n1, n2, o0, o1, o2, taps,
            padding, align):
    for i in range(cuda.grid(1), entry.size, cuda.gridsize(1)):
        line = i // places
        n, k = line // corners, line % corners
        e, w = _corner(grid, n * places + i % places, axes, k, -1, polynomials, polynomials, n0, n1, n2,
                       o0, o1, o2, taps, padding, align)
        entry[i], weight[i] = e, w


@kernel
def _sample(x, entry, weight, y, places, corners, channels, size):
    for i in range(cuda.grid(1), y.size, cuda.gridsize(1)):
        plane = i // places
        at = plane // channels * corners * places + i % places
        total = y.dtype.type(0)
        for _ in range(corners):
            e = entry[at]
            if e >= 0:
                total += weight[at] * x[plane * size + e]
            at += places
        y[i] = total


@kernel
def _spread(gy, entry, order, weight, gx, places, corners, channels, size):
    # entry: sorted, of each image; the thread at the first of equal ones adds them all
    count = corners * places
    for i in range(cuda.grid(1), gy.size * corners, cuda.gridsize(1)):
        plane = i // count
        row, s = plane // channels * count, i % count
        e = entry[row + s]
        if e >= 0 and (s == 0 or entry[row + s - 1] != e):
            total = gx.dtype.type(0)
            while s < count and entry[row + s] == e:
                k = order[row + s]
                total += weight[row + k] * gy[plane * places + k % places]
                s += 1
            gx[plane * size + e] = total


@kernel
def _dots(gy, x, entry, dots, places, corners, channels, size):
    # what each corner would add to the loss for a weight of one
    for i in range(cuda.grid(1), entry.size, cuda.gridsize(1)):
        n, e, total = i // (corners * places), entry[i], dots.dtype.type(0)
        if e >= 0:
            for c in range(n * channels, (n + 1) * channels):
                total += gy[c * places + i % places] * x[c * size + e]
        dots[i] = total


@kernel
def _slope(grid, polynomials, steeper, dots, ggrid, places, axes, corners, n0, n1, n2, o0, o1, o2, taps,
           padding, align):
    for i in range(cuda.grid(1), ggrid.size, cuda.gridsize(1)):
        place, d = i // axes, axes - 1 - i % axes
        at = place // places * corners * places + place % places
        total = ggrid.dtype.type(0)
        for k in range(corners):
            e, w = _corner(grid, place, axes, k, d, polynomials, steeper, n0, n1, n2, o0, o1, o2, taps,
                           padding, align)
            if e >= 0:
                total += w * dots[at + k * places]
        ggrid[i] = total


@lru_cache(256)
def _polynomials(sizes, dtype, orders, mode, align):
    return upload(polynomials_of(sizes, dtype, orders, mode, align).reshape(-1))


def _rule(sizes, orders, mode, padding, align):
    """(taps, corners) and what kernels take of the options."""
    taps, more = 1 << MODES.index(mode), (1,) * (3 - len(sizes))
    return taps ** len(sizes), (*sizes, *more, *orders, *(0 for _ in more), taps,
                                PADDINGS.index(padding), int(align))


def _corners(grid, sizes, orders, mode, padding, align):
    """Entries and weights (batch, corners * places), and the number of corners."""
    n, places, axes = grid.shape
    corners, rule = _rule(sizes, orders, mode, padding, align)
    entry = empty((n, corners * places), np.int32)
    weight = empty(entry.shape, grid.dtype)
    if entry.size:
        table = _polynomials(tuple(sizes), grid.dtype, orders, mode, align)
        run = launch(_tables, entry.size, (grid.dtype, grid.dtype, _I32, grid.dtype),
                     ("int64",) * 3 + _RULES)
        run(_flat(grid), table, entry.reshape(-1), weight.reshape(-1), places, axes, corners, *rule)
    return entry, weight, corners


def _flat(x):
    return contiguous(x).reshape(-1)


def sample(x, grid, *how):
    """(N, C, P): x (N, C, *sizes) at the places grid (N, P, axes); `how` is (orders, mode, padding,
    align)."""
    places = grid.shape[1]
    y = empty((*x.shape[:2], places), x.dtype)
    if y.size:
        entry, weight, corners = _corners(grid, x.shape[2:], *how)
        run = launch(_sample, y.size, (x.dtype, _I32, x.dtype, x.dtype), ("int64",) * 4)
        run(_flat(x), _flat(entry), _flat(weight), _flat(y), places, corners, x.shape[1],
            host.prod(x.shape[2:]))
    return y


def spread(gy, grid, x_shape, *how):
    """gx of shape x_shape for gy (N, C, P): added where `sample` reads, as often as it weighs."""
    gx = zeros(tuple(x_shape), gy.dtype)
    if gy.size and gx.size:
        entry, weight, corners = _corners(grid, x_shape[2:], *how)
        entry, order = ordered(entry)
        run = launch(_spread, gy.size * corners, (gy.dtype, _I32, _I32, gy.dtype, gy.dtype),
                     ("int64",) * 4)
        run(_flat(gy), _flat(entry), _flat(order), _flat(weight), _flat(gx), gy.shape[2], corners,
            gy.shape[1], host.prod(x_shape[2:]))
    return gx


def slope(gy, x, grid, orders, *how):
    """ggrid (N, P, axes): the sum over channels of gy (N, C, P) times the derivative of `sample`."""
    sizes, (mode, _, align) = tuple(x.shape[2:]), how
    raised = tuple([m + 1 for m in orders])
    if not grid.size or not polynomials_of(sizes, grid.dtype, raised, mode, align).any():
        return zeros(grid.shape, x.dtype)
    entry, _, corners = _corners(grid, sizes, orders, *how)
    dots, ggrid = empty(entry.shape, x.dtype), empty(grid.shape, x.dtype)
    run = launch(_dots, entry.size, (x.dtype, x.dtype, _I32, x.dtype), ("int64",) * 4)
    places, axes = grid.shape[1:]
    run(_flat(gy), _flat(x), _flat(entry), _flat(dots), places, corners, x.shape[1], host.prod(sizes))
    tables = [_polynomials(sizes, grid.dtype, o, mode, align) for o in (orders, raised)]
    run = launch(_slope, ggrid.size, (x.dtype,) * 5, ("int64",) * 3 + _RULES)
    run(_flat(grid), *tables, _flat(dots), _flat(ggrid), places, axes, corners,
        *_rule(sizes, orders, *how)[1])
    return ggrid
