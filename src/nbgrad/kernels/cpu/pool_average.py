"""Average pooling, and its adjoints.

x is (N, C, H, W) or (N, C, D, H, W); kernel, stride and padding are numbers an axis.
"""

from functools import lru_cache

import numpy as np

from nbgrad.kernels import memory
from nbgrad.kernels.cpu.pool import pool_output_size
from nbgrad.kernels.options import inline, kernel, parallel_kernel, prange, use_threads


@inline
def _means(line, columns, rows, y):
    """Sums of a line over windows, over the number of their columns times `rows`."""
    # an index that cannot be negative is not looked at twice
    for ox in range(y.size):
        lo, hi = columns[0, ox], columns[1, ox]
        t = 0.0
        if hi - lo >= 8:
            a, b, c, d = 0.0, 0.0, 0.0, 0.0
            while lo + 4 <= hi:
                i = np.uint64(lo)
                a += line[i]
                b += line[i + np.uint64(1)]
                c += line[i + np.uint64(2)]
                d += line[i + np.uint64(3)]
                lo += 4
            t = (a + b) + (c + d)
        for ix in range(lo, hi):
            t += line[np.uint64(ix)]
        y[ox] = t / (rows * columns[2, ox])


@inline
def _spread(gy, columns, rows, line):
    """The adjoint: a line that is each entry, over its divisor, in its window, and else zero."""
    for ix in range(line.size):
        line[ix] = 0
    for ox in range(gy.size):
        t = line.dtype.type(gy[ox] / (rows * columns[2, ox]))
        for ix in range(columns[0, ox], columns[1, ox]):
            line[np.uint64(ix)] += t


def _average_loop(x, y, rows, columns):
    # rows and columns [3, windows]: first line, line after the last, divisor.
    planes, oh, _ = y.shape
    width = x.shape[2]
    for p in prange(planes):
        s = np.empty(width)
        for oy in range(oh):
            lo, hi = rows[0, oy], rows[1, oy]
            if hi == lo + 1:
                _means(x[p, lo], columns, rows[2, oy], y[p, oy])
                continue
            s[:] = 0.0
            for iy in range(lo, hi):
                row = x[p, iy]
                for ix in range(width):
                    s[ix] += row[ix]
            _means(s, columns, rows[2, oy], y[p, oy])


def _average_adjoint_loop(gy, gx, rows, columns):
    planes, oh, _ = gy.shape
    width = gx.shape[2]
    for p in prange(planes):
        s, done = np.empty(width, gx.dtype), 0
        for oy in range(oh):
            lo, hi = rows[0, oy], rows[1, oy]
            gx[p, done:lo] = 0
            if hi == lo + 1 and done <= lo:
                _spread(gy[p, oy], columns, rows[2, oy], gx[p, lo])
            else:
                _spread(gy[p, oy], columns, rows[2, oy], s)
                for iy in range(lo, hi):
                    row = gx[p, iy]
                    if iy < done:  # windows overlap
                        for ix in range(width):
                            row[ix] += s[ix]
                    else:
                        for ix in range(width):
                            row[ix] = s[ix]
            done = max(done, hi)
        gx[p, done:] = 0


# Each pair is (one thread, all threads).
_average = kernel(_average_loop), parallel_kernel(_average_loop)
_average_adjoint = kernel(_average_adjoint_loop), parallel_kernel(_average_adjoint_loop)


def _planes(x):
    n, c, h, w = x.shape
    return np.ascontiguousarray(x).reshape(n * c, h, w)


@lru_cache(maxsize=512)
def _windows(size, kernel, stride, padding, ceil_mode, count_include_pad):
    """First line, line after the last and divisor of each window, [3, windows]."""
    start = np.arange(pool_output_size(size, kernel, stride, padding, 1, ceil_mode)) * stride
    start -= padding
    stop = np.minimum(start + kernel, size + padding)
    lo, hi = np.maximum(start, 0), np.minimum(stop, size)
    return np.stack([lo, hi, stop - start if count_include_pad else hi - lo])


@lru_cache(maxsize=512)
def _adaptive_windows(size, windows):
    """The same for windows that divide `size` evenly, overlapping where they must."""
    i = np.arange(windows)
    lo, hi = i * size // windows, -(-(i + 1) * size // windows)
    return np.stack([lo, hi, hi - lo])


def average_windows(x_shape, kernel, stride, padding, ceil_mode, count_include_pad, divisor):
    """First line, line after the last and divisor of the windows along each axis."""
    rules = zip(x_shape[2:], kernel, stride, padding)
    axes = [_windows(*rule, ceil_mode, count_include_pad) for rule in rules]
    if divisor is None:
        return axes
    axes = [lines.copy() for lines in axes]
    for lines, by in zip(axes, (divisor, 1, 1)):
        lines[2] = by
    return axes


def _each(size):
    return _adaptive_windows(size, size)


def _run_average(x, first, *rest):
    """Means over windows on every axis: first those within planes, then those along the depth."""
    n, c = x.shape[:2]
    if len(rest) == 2:
        d, h, w = x.shape[2:]
        y = _run_average(x.reshape(n, c * d, h, w), *rest)
        oh, ow = y.shape[2:]
        y = _run_average(y.reshape(n, c, d, oh * ow), first, _each(oh * ow))
        return y.reshape(*y.shape[:3], oh, ow)
    y = memory.empty((n, c, first.shape[1], rest[0].shape[1]), x.dtype)
    if y.size:
        _average[use_threads(x.size)](_planes(x), _planes(y), first, *rest)
    return y


def _run_average_adjoint(gy, x_shape, first, *rest):
    if len(rest) == 2:
        n, c, d, h, w = x_shape
        oh, ow = gy.shape[3:]
        gy = gy.reshape(*gy.shape[:3], oh * ow)
        gy = _run_average_adjoint(gy, (n, c, d, oh * ow), first, _each(oh * ow))
        return _run_average_adjoint(gy.reshape(n, c * d, oh, ow), (n, c * d, h, w), *rest).reshape(
            x_shape)
    gx = memory.empty(x_shape, gy.dtype)
    _average_adjoint[use_threads(gx.size)](_planes(gy), _planes(gx), first, *rest)
    return gx


def avg_pool(x, kernel, stride, padding, ceil_mode, count_include_pad, divisor_override):
    """Mean of each window; the divisor is its size with or without padding, or the given one."""
    rule = kernel, stride, padding, ceil_mode, count_include_pad, divisor_override
    return _run_average(x, *average_windows(x.shape, *rule))


def avg_pool_adjoint(
    gy, x_shape, kernel, stride, padding, ceil_mode, count_include_pad, divisor_override
):
    """gx of shape x_shape: each gy over its divisor, added to all of its window."""
    rule = kernel, stride, padding, ceil_mode, count_include_pad, divisor_override
    return _run_average_adjoint(gy, x_shape, *average_windows(x_shape, *rule))


def adaptive_avg_pool(x, size):
    """Mean of each of as many windows an axis as `size` says, which cover x."""
    return _run_average(x, *map(_adaptive_windows, x.shape[2:], size))


def adaptive_avg_pool_adjoint(gy, x_shape):
    """gx of shape x_shape for gy (N, C, *size)."""
    return _run_average_adjoint(gy, x_shape, *map(_adaptive_windows, x_shape[2:], gy.shape[2:]))
