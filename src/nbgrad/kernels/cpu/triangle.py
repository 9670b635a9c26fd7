"""Triangles of matrices: copies with zeros on one side of a diagonal."""

import numpy as np

from nbgrad.kernels import memory
from nbgrad.kernels.options import kernel, parallel_kernel, prange, use_threads


def _triangle_loop(x, y, rows, diagonal, lower):
    # [matrix row, column], one task a row
    cols = x.shape[1]
    zero = x.dtype.type(0)
    for r in prange(x.shape[0]):
        cut = min(max(r % rows + diagonal, 0), cols)
        from_row, to_row = x[r], y[r]
        if lower:
            for j in range(cut):
                to_row[j] = from_row[j]
            rest = to_row[cut:]
            for j in range(cols - cut):
                rest[j] = zero
        else:
            for j in range(cut):
                to_row[j] = zero
            rest, source = to_row[cut:], from_row[cut:]
            for j in range(cols - cut):
                rest[j] = source[j]


_loops = kernel(_triangle_loop), parallel_kernel(_triangle_loop)
_BITS = {1: np.uint8, 2: np.uint16, 4: np.uint32, 8: np.uint64}


def triangle(x, diagonal, lower):
    """The entries of x (…, rows, columns) on and below a diagonal, or on and above it."""
    x = np.ascontiguousarray(x)
    y = memory.empty(x.shape, x.dtype)
    if x.size:
        rows, cols = x.shape[-2:]
        diagonal = min(max(diagonal, -rows), cols)
        bits = _BITS[x.itemsize]
        _loops[use_threads(x.size)](x.view(bits).reshape(-1, cols), y.view(bits).reshape(-1, cols),
                                    rows, diagonal + 1 if lower else diagonal, lower)
    return y
