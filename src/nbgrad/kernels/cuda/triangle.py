"""Triangles of matrices on a CUDA device."""

from functools import cache

import numpy as np

from nbgrad.kernels.cuda.layouts import contiguous
from nbgrad.kernels.cuda.memory import empty
from nbgrad.kernels.cuda.provider import BLOCK, blocks, cuda, kernel, machine


@kernel
def _triangle(x, y, rows, columns, diagonal, lower):
    for i in range(cuda.grid(1), x.size, cuda.gridsize(1)):
        row = i // columns
        beyond = i - row * columns - row % rows - diagonal
        y[i] = x[i] if (beyond <= 0 if lower else beyond >= 0) else 0


@cache
def _launch(size, grid):
    array = np.dtype(f"u{size}"), 1
    return machine.launcher(_triangle, (array, array, *["int64"] * 4))(grid, BLOCK)


def triangle(x, diagonal, lower):
    """As kernels.cpu.triangle."""
    x = contiguous(x)
    y = empty(x.shape, x.dtype)
    if x.size:
        rows, columns = x.shape[-2:]
        bits = f"u{x.dtype.itemsize}"
        diagonal = min(max(diagonal, -rows), columns)
        _launch(x.dtype.itemsize, blocks(x.size))(x.view(bits), y.view(bits), rows, columns, diagonal,
                                                  int(lower))
    return y
