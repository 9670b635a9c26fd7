"""Max and average pooling over planes, and their adjoints.

x is (N, C, H, W); kernel, stride, padding and dilation are pairs (vertical, horizontal).
"""

from functools import lru_cache

import numpy as np

from nbgrad.kernels import memory
from nbgrad.kernels.options import inline, kernel, parallel_kernel, prange, use_threads

# Windows in a row below which they are taken one by one.
SHORT = 32


def pool_output_size(size, kernel, stride, padding, dilation, ceil_mode):
    """Number of windows along one dimension; none may start in the right padding."""
    span = size + 2 * padding - dilation * (kernel - 1) - 1
    count = (span + (stride - 1 if ceil_mode else 0)) // stride + 1
    return count - 1 if ceil_mode and (count - 1) * stride >= size + padding else count


@inline
def _first_inside(start, step, size):
    """First of start, start + step, ... that is not negative, and below size."""
    if start < 0:
        start += -(start // step) * step
    return min(start, size - 1)


@inline
def _take_larger(x, stride, first, y, idx):
    """y[o] = max(y[o], x[o * stride]) with its index, counted from `first`; NaN wins."""
    for o in range(y.size):
        v = x[o * stride]
        wins = v > y[o] or v != v
        y[o] = v if wins else y[o]
        idx[o] = first + o * stride if wins else idx[o]


@inline
def _max_row(x, y, idx, top, kernel, stride, padding, dilation):
    """One row of windows of a plane; each tap of the kernel updates the whole row."""
    height, width = x.shape
    ow = y.size
    first = _first_inside(top, dilation[0], height) * width
    for o in range(ow):
        y[o] = -np.inf
        idx[o] = first + _first_inside(o * stride[1] - padding[1], dilation[1], width)
    for ky in range(kernel[0]):
        iy = top + ky * dilation[0]
        if iy < 0 or iy >= height:
            continue
        row = x[iy]
        for kx in range(kernel[1]):
            left = kx * dilation[1] - padding[1]
            lo = max(0, (stride[1] - 1 - left) // stride[1])
            hi = min(ow, (width - 1 - left) // stride[1] + 1)
            if lo >= hi:
                continue
            start = left + lo * stride[1]
            tap, base = row[start:], iy * width + start
            # The constants let the compiler vectorise the usual strides.
            if stride[1] == 1:
                _take_larger(tap, 1, base, y[lo:hi], idx[lo:hi])
            elif stride[1] == 2:
                _take_larger(tap, 2, base, y[lo:hi], idx[lo:hi])
            else:
                _take_larger(tap, stride[1], base, y[lo:hi], idx[lo:hi])


@inline
def _taps(start, size, count, step):
    """The first tap of a window that is not negative, and the one after the last below size."""
    first = 0 if start >= 0 else (step - 1 - start) // step
    last = start + (count - 1) * step
    return first, count if last < size else count - (last - size) // step - 1


@inline
def _max_short_row(x, y, idx, top, kernel, stride, padding, dilation):
    """The same, window by window: for rows that would not fill the registers.

    An unsigned index is one that cannot count from the end.
    """
    height, width = x.shape
    first_y, stop_y = _taps(top, height, kernel[0], dilation[0])
    line = _first_inside(top, dilation[0], height) * width
    for o in range(y.size):
        left = o * stride[1] - padding[1]
        first_x, stop_x = _taps(left, width, kernel[1], dilation[1])
        best, at = y.dtype.type(-np.inf), line + _first_inside(left, dilation[1], width)
        for ky in range(first_y, stop_y):
            iy = np.uint64(top + ky * dilation[0])
            for kx in range(first_x, stop_x):
                ix = np.uint64(left + kx * dilation[1])
                v = x[iy, ix]
                wins = v > best or v != v
                best = v if wins else best
                at = np.int64(iy) * width + np.int64(ix) if wins else at
        y[o] = best
        idx[o] = at


def _max_loop(x, y, idx, kernel, stride, padding, dilation):
    planes, oh, ow = y.shape
    for r in prange(planes * oh):
        p, oy = r // oh, r % oh
        top = oy * stride[0] - padding[0]
        if ow < SHORT:
            _max_short_row(x[p], y[p, oy], idx[p, oy], top, kernel, stride, padding, dilation)
        else:
            _max_row(x[p], y[p, oy], idx[p, oy], top, kernel, stride, padding, dilation)


def _scatter_loop(gy, idx, gx):
    for p in prange(gy.shape[0]):
        for o in range(gy.shape[1]):
            gx[p, idx[p, o]] += gy[p, o]


def _gather_loop(x, idx, y):
    for p in prange(idx.shape[0]):
        for o in range(idx.shape[1]):
            y[p, o] = x[p, idx[p, o]]


def _average_loop(x, y, rows, columns):
    # rows and columns [3, windows]: first line, line after the last, divisor.
    planes, oh, ow = y.shape
    width = x.shape[2]
    for p in prange(planes):
        s = np.empty(width)
        for oy in range(oh):
            s[:] = 0.0
            for iy in range(rows[0, oy], rows[1, oy]):
                for ix in range(width):
                    s[ix] += x[p, iy, ix]
            for ox in range(ow):
                t = 0.0
                for ix in range(columns[0, ox], columns[1, ox]):
                    t += s[ix]
                y[p, oy, ox] = t / (rows[2, oy] * columns[2, ox])


def _average_adjoint_loop(gy, gx, rows, columns):
    planes, oh, ow = gy.shape
    width = gx.shape[2]
    for p in prange(planes):
        s = np.empty(width, gx.dtype)
        for oy in range(oh):
            s[:] = 0
            for ox in range(ow):
                t = gx.dtype.type(gy[p, oy, ox] / (rows[2, oy] * columns[2, ox]))
                for ix in range(columns[0, ox], columns[1, ox]):
                    s[ix] += t
            for iy in range(rows[0, oy], rows[1, oy]):
                for ix in range(width):
                    gx[p, iy, ix] += s[ix]


# Each pair is (one thread, all threads).
_max = kernel(_max_loop), parallel_kernel(_max_loop)
_scatter = kernel(_scatter_loop), parallel_kernel(_scatter_loop)
_gather = kernel(_gather_loop), parallel_kernel(_gather_loop)
_average = kernel(_average_loop), parallel_kernel(_average_loop)
_average_adjoint = kernel(_average_adjoint_loop), parallel_kernel(_average_adjoint_loop)


def _planes(x):
    n, c, h, w = x.shape
    return np.ascontiguousarray(x).reshape(n * c, h, w)


def _lines(x):
    n, c, h, w = x.shape
    return np.ascontiguousarray(x).reshape(n * c, h * w)


def max_pool2d(x, kernel, stride, padding, dilation, ceil_mode):
    """(y, idx): the largest entry of each window and its flat position in the H * W plane.

    The first of equal entries is taken; NaN is larger than any number.
    """
    rules = zip(x.shape[2:], kernel, stride, padding, dilation)
    size = *x.shape[:2], *(pool_output_size(*rule, ceil_mode) for rule in rules)
    y, idx = memory.empty(size, x.dtype), memory.empty(size, np.int64)
    if y.size:
        run = _max[use_threads(y.size * kernel[0] * kernel[1])]
        run(_planes(x), _planes(y), _planes(idx), kernel, stride, padding, dilation)
    return y, idx


def max_pool2d_scatter(gy, idx, x_shape):
    """gx of shape x_shape: each gy is added at its idx."""
    gx = memory.zeros(x_shape, gy.dtype)
    _scatter[use_threads(gy.size)](_lines(gy), _lines(idx), _lines(gx))
    return gx


def max_pool2d_gather(x, idx):
    """y of idx's shape: the entries of x at idx."""
    y = memory.empty(idx.shape, x.dtype)
    _gather[use_threads(y.size)](_lines(x), _lines(idx), _lines(y))
    return y


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


def _average_windows(x_shape, kernel, stride, padding, ceil_mode, count_include_pad, divisor):
    rules = zip(x_shape[2:], kernel, stride, padding)
    rows, columns = (_windows(*rule, ceil_mode, count_include_pad) for rule in rules)
    if divisor is not None:
        rows, columns = rows.copy(), columns.copy()
        rows[2], columns[2] = divisor, 1
    return rows, columns


def _run_average(x, rows, columns):
    y = memory.empty((*x.shape[:2], rows.shape[1], columns.shape[1]), x.dtype)
    if y.size:
        _average[use_threads(x.size)](_planes(x), _planes(y), rows, columns)
    return y


def _run_average_adjoint(gy, x_shape, rows, columns):
    gx = memory.zeros(x_shape, gy.dtype)
    _average_adjoint[use_threads(gx.size)](_planes(gy), _planes(gx), rows, columns)
    return gx


def avg_pool2d(x, kernel, stride, padding, ceil_mode, count_include_pad, divisor_override):
    """Mean of each window; the divisor is its size with or without padding, or the given one."""
    rule = kernel, stride, padding, ceil_mode, count_include_pad, divisor_override
    return _run_average(x, *_average_windows(x.shape, *rule))


def avg_pool2d_adjoint(
    gy, x_shape, kernel, stride, padding, ceil_mode, count_include_pad, divisor_override
):
    """gx of shape x_shape: each gy over its divisor, added to all of its window."""
    rule = kernel, stride, padding, ceil_mode, count_include_pad, divisor_override
    return _run_average_adjoint(gy, x_shape, *_average_windows(x_shape, *rule))


def adaptive_avg_pool2d(x, size):
    """Mean of each of size = (oh, ow) windows that cover x."""
    return _run_average(x, *map(_adaptive_windows, x.shape[2:], size))


def adaptive_avg_pool2d_adjoint(gy, x_shape):
    """gx of shape x_shape for gy (N, C, oh, ow)."""
    return _run_average_adjoint(gy, x_shape, *map(_adaptive_windows, x_shape[2:], gy.shape[2:]))
