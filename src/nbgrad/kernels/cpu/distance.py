"""Euclidean distances between all rows of two matrices."""

import math

import numpy as np

from nbgrad.kernels import memory
from nbgrad.kernels.cpu.elementary.parts import fma
from nbgrad.kernels.cpu.lanes import LANES, elements, load, put, splat
from nbgrad.kernels.options import kernel, parallel_kernel, prange, use_threads

# Rows of the first matrix that one task has.
ROWS = 64


def _distances_loop(x, panels, out):
    # x [b, p, m], panels [b, panel, m, LANES]; two rows of x at a time against a panel of LANES of y
    batch, p, m = x.shape
    r, count, groups = out.shape[2], panels.shape[1], -(-p // ROWS)
    for task in prange(batch * count * groups):
        b, panel, group = task // groups // count, task // groups % count, task % groups
        other, found = elements(panels), elements(out)
        start, width = (b * count + panel) * m * LANES, min(r - panel * LANES, LANES)
        for i in range(group * ROWS, min(group * ROWS + ROWS, p), 2):
            j = min(i + 1, p - 1)
            total, second = splat(x, 0), splat(x, 0)
            for k in range(m):
                row = load(other, start + k * LANES)
                d, e = row - x[b, i, k], row - x[b, j, k]
                total, second = fma(d, d, total), fma(e, e, second)
            put(found, (b * p + i) * r + panel * LANES, total, width)
            put(found, (b * p + j) * r + panel * LANES, second, width)
            for q in range(i, j + 1):
                line = out[b, q, panel * LANES:panel * LANES + width]
                for f in range(width):
                    line[f] = math.sqrt(line[f])


_distances = kernel(_distances_loop), parallel_kernel(_distances_loop)


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


def distances(x, y):
    """(b, p, r): |x_i - y_j| for x (b, p, m) and y (b, r, m)."""
    x = np.ascontiguousarray(x)
    out = memory.empty((*x.shape[:2], y.shape[1]), x.dtype)
    if out.size:
        _distances[use_threads(out.size * x.shape[2])](x, _panels(y), out)
    return out
