"""Average pooling on a CUDA device, and its adjoints; as kernels/cpu/pool_average.

Planes are volumes of depth 1.
"""

import math
from functools import lru_cache

import numpy as np

from nbgrad.kernels.cpu.pool_average import average_windows
from nbgrad.kernels.cuda.launch import launch
from nbgrad.kernels.cuda.layouts import contiguous
from nbgrad.kernels.cuda.memory import empty
from nbgrad.kernels.cuda.pool import covering, even_lines, parts, split, table_of
from nbgrad.kernels.cuda.provider import cuda, kernel

_I32 = np.dtype(np.int32)


@kernel
def _average(x, y, table, deep, high, wide, od, oh, ow):
    # table: first line, line after the last and divisor of the windows along each axis
    deep, high, wide = np.int32(deep), np.int32(high), np.int32(wide)
    od, oh, ow = np.int32(od), np.int32(oh), np.int32(ow)
    rows, columns = np.int32(3 * od), np.int32(3 * od + 3 * oh)
    count, step = np.uint32(y.size), np.uint32(cuda.gridsize(1))
    i = np.uint32(cuda.grid(1))
    while i < count:
        lines, oy, ox = split(i, np.uint32(oh), np.uint32(ow))
        p = np.int32(lines // od)
        oz = np.int32(lines - p * od)
        base = np.int32(p * np.int32(deep * np.int32(high * wide)))
        total = np.float64(0)
        for iz in range(table[oz], table[od + oz]):
            for iy in range(table[rows + oy], table[rows + oh + oy]):
                line = np.int32(base + np.int32(np.int32(iz * high + iy) * wide))
                for ix in range(table[columns + ox], table[columns + ow + ox]):
                    total += x[np.int32(line + ix)]
        by = (np.int64(table[2 * od + oz]) * np.int64(table[rows + 2 * oh + oy])
              * np.int64(table[columns + 2 * ow + ox]))
        y[i] = total / by
        i = np.uint32(i + step)


@kernel
def _average_adjoint(gy, gx, windows, table, deep, high, wide, od, oh, ow):
    # each entry of gx asks the windows over it, told by `table`: along each axis the first one and
    # the one after the last; `windows` is what _average takes
    deep, high, wide = np.int32(deep), np.int32(high), np.int32(wide)
    od, oh, ow = np.int32(od), np.int32(oh), np.int32(ow)
    rows, columns = np.int32(2 * deep), np.int32(2 * deep + 2 * high)
    by_row, by_column = np.int32(3 * od + 2 * oh), np.int32(3 * od + 3 * oh + 2 * ow)
    count, step = np.uint32(gx.size), np.uint32(cuda.gridsize(1))
    i = np.uint32(cuda.grid(1))
    while i < count:
        lines, iy, ix = split(i, np.uint32(high), np.uint32(wide))
        p = np.int32(lines // deep)
        iz = np.int32(lines - p * deep)
        base = np.int32(p * np.int32(od * np.int32(oh * ow)))
        total = np.float64(0)
        for oz in range(table[iz], table[deep + iz]):
            for oy in range(table[rows + iy], table[rows + high + iy]):
                line = np.int32(base + np.int32(np.int32(oz * oh + oy) * ow))
                by = np.int64(windows[2 * od + oz]) * np.int64(windows[by_row + oy])
                for ox in range(table[columns + ix], table[columns + wide + ix]):
                    total += gy[np.int32(line + ox)] / (by * np.float64(windows[by_column + ox]))
        gx[i] = total
        i = np.uint32(i + step)


@lru_cache(256)
def _tables(size, rules):
    """The number of windows along each axis, and the tables of `_average` and `_average_adjoint`.

    `rules` are avg_pool's or adaptive_avg_pool's.
    """
    if len(rules) == 1:
        lines = [even_lines(n, windows) for n, windows in zip(size, rules[0])]
        for t in lines:
            t[2] = t[1] - t[0]
    else:
        lines = average_windows((1, 1, *size), *rules)
    if len(size) == 2:
        lines = [even_lines(1, 1), *lines]
    volume = (1,) * (3 - len(size)) + size
    spans = [covering(t, n) for t, n in zip(lines, volume)]
    return tuple([t.shape[1] for t in lines]), table_of(lines), table_of(spans)


def _pool(x, rules):
    n, c, *size = x.shape
    windows, table, _ = _tables(tuple(size), rules)
    y = empty((n, c, *windows[3 - len(size):]), x.dtype)
    if not y.size:
        return y
    flat, to = contiguous(x).reshape(-1), y.reshape(-1)
    volume, each, made = (1,) * (3 - len(size)) + tuple(size), math.prod(size), math.prod(windows)
    for a, b in parts(n * c, each, made):
        run = launch(_average, (b - a) * made, (x.dtype, x.dtype, _I32), ("int64",) * 6)
        run(flat.part(a * each, b * each), to.part(a * made, b * made), table, *volume, *windows)
    return y


def _pool_adjoint(gy, x_shape, rules):
    n, c, *size = x_shape
    windows, table, spans = _tables(tuple(size), rules)
    gx = empty(tuple(x_shape), gy.dtype)
    if not gx.size:
        return gx
    flat, to = contiguous(gy).reshape(-1), gx.reshape(-1)
    volume, each, made = (1,) * (3 - len(size)) + tuple(size), math.prod(size), math.prod(windows)
    for a, b in parts(n * c, each, made):
        run = launch(_average_adjoint, (b - a) * each, (gy.dtype, gy.dtype, _I32, _I32),
                     ("int64",) * 6)
        run(flat.part(a * made, b * made), to.part(a * each, b * each), table, spans, *volume,
            *windows)
    return gx


def avg_pool(x, kernel, stride, padding, ceil_mode, count_include_pad, divisor_override):
    """Mean of each window; the divisor is its size with or without padding, or the given one."""
    return _pool(x, (kernel, stride, padding, ceil_mode, count_include_pad, divisor_override))


def avg_pool_adjoint(
    gy, x_shape, kernel, stride, padding, ceil_mode, count_include_pad, divisor_override
):
    """gx of shape x_shape: each gy over its divisor, added to all of its window."""
    return _pool_adjoint(gy, x_shape, (kernel, stride, padding, ceil_mode, count_include_pad,
                                       divisor_override))


def adaptive_avg_pool(x, size):
    """Mean of each of as many windows an axis as `size` says, which cover x."""
    return _pool(x, (tuple(size),))


def adaptive_avg_pool_adjoint(gy, x_shape):
    """gx of shape x_shape for gy (N, C, *size)."""
    return _pool_adjoint(gy, x_shape, (tuple(gy.shape[2:]),))
