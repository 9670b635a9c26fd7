"""Distances between all rows of two matrices."""

import math

import numpy as np

from nbgrad.kernels import memory
from nbgrad.kernels.cpu.elementary.parts import fma
from nbgrad.kernels.cpu.lanes import LANES, choose, elements, get, load, put, splat
from nbgrad.kernels.options import folded, kernel, parallel_kernel, prange, use_threads

# Rows of the first matrix that one task has; rows of the second whose terms are added up together.
ROWS, BLOCK = 64, 256


def _measure(joined):
    """A function that fills task t's part of `out` with the sums of joined(x_ik - y_jk, sum)."""

    @folded
    def fill(t, x, panels, out, root):
        # x [b, p, m], panels [b, panel, m, LANES]; two rows of x at a time against LANES rows of y
        p, m = x.shape[1:]
        r, count, groups = out.shape[2], panels.shape[1], -(-p // ROWS)
        b, panel, group = t // groups // count, t // groups % count, t % groups
        other, found = elements(panels), elements(out)
        start, width = (b * count + panel) * m * LANES, min(r - panel * LANES, LANES)
        for i in range(group * ROWS, min(group * ROWS + ROWS, p), 2):
            j = min(i + 1, p - 1)
            total, second = splat(x, 0), splat(x, 0)
            for k in range(m):
                row = load(other, start + k * LANES)
                total, second = joined(row - x[b, i, k], total), joined(row - x[b, j, k], second)
            put(found, (b * p + i) * r + panel * LANES, total, width)
            put(found, (b * p + j) * r + panel * LANES, second, width)
            for q in range(i, j + 1 if root else i):
                line = out[b, q, panel * LANES:panel * LANES + width]
                for f in range(width):
                    line[f] = math.sqrt(line[f])

    return fill


_fill_2 = _measure(folded(lambda d, total: fma(d, d, total)))
_fill_1 = _measure(folded(lambda d, total: total + abs(d)))


def _distances_loop(x, panels, out):
    for t in prange(out.shape[0] * panels.shape[1] * -(-out.shape[1] // ROWS)):
        _fill_2(t, x, panels, out, True)


def _distances_1_loop(x, panels, out):
    for t in prange(out.shape[0] * panels.shape[1] * -(-out.shape[1] // ROWS)):
        _fill_1(t, x, panels, out, False)


def _signs_loop(g, x, y, gx):
    # a row of gx in lanes, over a block of rows of y at a time
    batch, p, m = x.shape
    r = y.shape[1]
    for t in prange(batch * p):
        b, i = t // p, t % p
        of_y, own, found = elements(y), elements(x), elements(gx)
        for k in range(0, m, LANES):
            at, width = t * m + k, m - k
            u, total = get(own, at, width), splat(x, 0)
            for lo in range(0, r, BLOCK):
                part = splat(x, 0)
                for j in range(lo, min(lo + BLOCK, r)):
                    v, c = get(of_y, (b * r + j) * m + k, width), g[b, i, j]
                    part = part + choose(u > v, c, choose(u < v, splat(x, -c), 0))
                total = total + part
            put(found, at, total, width)


# Each pair is (one thread, all threads).
_distances = {2: (kernel(_distances_loop), parallel_kernel(_distances_loop)),
              1: (kernel(_distances_1_loop), parallel_kernel(_distances_1_loop))}
_signs = kernel(_signs_loop), parallel_kernel(_signs_loop)


def _panels(y):
    """LANES rows of y (b, r, m) at a time, side by side: (b, panels, m, LANES)."""
    b, r, m = y.shape
    count = -(-r // LANES)
    out = np.zeros((b, count, m, LANES), y.dtype)
    whole = r // LANES
    full = y[:, :whole * LANES].reshape(b, whole, LANES, m)
    out[:, :whole] = full.swapaxes(2, 3)
    if whole < count:
        out[:, whole, :, :r - whole * LANES] = y[:, whole * LANES:].swapaxes(1, 2)
    return out


def distances(x, y, p):
    """(b, p, r): the 1- or 2-norms of x_i - y_j for x (b, p, m) and y (b, r, m)."""
    x = np.ascontiguousarray(x)
    out = memory.empty((*x.shape[:2], y.shape[1]), x.dtype)
    if out.size:
        _distances[p][use_threads(out.size * x.shape[2])](x, _panels(y), out)
    return out


def signed_sums(g, x, y):
    """gx (b, p, m): sum_j g_ij sign(x_i - y_j) for g (b, p, r), x (b, p, m) and y (b, r, m)."""
    g, x, y = (np.ascontiguousarray(a) for a in (g, x, y))
    gx = memory.empty(x.shape, x.dtype)
    if gx.size:
        _signs[use_threads(g.size * x.shape[2])](g, x, y, gx)
    return gx
