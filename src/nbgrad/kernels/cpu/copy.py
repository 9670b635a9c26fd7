"""Arrays without gaps copied on all threads, which memory serves twice as fast as one."""

from functools import cache

import numpy as np

from nbgrad.kernels.cpu.lanes import elements, move
from nbgrad.kernels.launch import entry_point
from nbgrad.kernels.options import parallel_kernel, prange, use_threads

# Bytes that one task copies.
PART = 1 << 16


@parallel_kernel
def _copy(x, y):
    for t in prange(-(-x.size // PART)):
        lo = t * PART
        move(elements(y), lo, elements(x), lo, min(PART, x.size - lo))


@cache
def _launch():
    return entry_point(_copy, (np.uint8, 1), (np.uint8, 1))


def write(y, x):
    """y[...] = x for arrays of one shape that do not overlap, of any strides and dtypes."""
    if (y.dtype == x.dtype and y.flags.c_contiguous and x.flags.c_contiguous
            and use_threads(y.size)):
        _launch()(x.reshape(-1).view(np.uint8), y.reshape(-1).view(np.uint8))
    else:
        y[...] = x
