"""Max and average pooling over planes, and their adjoints.

x is (N, C, H, W); kernel, stride, padding and dilation are pairs (vertical, horizontal).
"""

from functools import lru_cache

import numpy as np

from nbgrad.kernels import memory
from nbgrad.kernels.cpu.simd import stack_lanes
from nbgrad.kernels.options import folded, inline, kernel, parallel_kernel, prange, use_threads

# Places of windows, side by side in memory, that are handled together.
BAND = 2048
# Entries of a plane that are added in its dtype, in WIDE sums side by side.
BLOCK = 2048
WIDE = 16


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
def _deal(x, stride, place, step, y):
    """Entry i of a row goes to y[(place + i) // stride + (place + i) % stride * step]."""
    hand = place % stride
    to = place // stride + hand * step
    for i in range(x.size):
        y[to] = x[i]
        hand += 1
        to += step
        if hand == stride:
            hand = 0
            to += 1 - stride * step


@inline
def _larger(x, place, best, at):
    """best = max(best, x), NaN being larger than all, and at = place where that is x."""
    for f in range(best.size):
        v = x[f]
        wins = (v > best[f]) | (v != v)
        best[f] = v if wins else best[f]
        at[f] = place if wins else at[f]


@inline
def _max_band(x, y, idx, top, kernel, stride, padding, dilation):
    """Some rows of windows of a plane, the first of which starts in row `top`, if that is inside.

    Rows and columns, with the padding, are dealt out by their remainders by the strides. Then the
    entries that a tap of the kernel meets, window by window and row by row, are one run of
    memory, with some in between that belong to no window.
    """
    rows, ow = y.shape
    height, width = x.shape
    down, right = (kernel[0] - 1) * dilation[0], (kernel[1] - 1) * dilation[1]
    across = ow + right // stride[1]
    part, size = (rows + down // stride[0]) * across, (rows - 1) * across + ow
    lowest = x.dtype.type(-np.inf)
    dealt = np.empty(stride[0] * stride[1] * part, x.dtype)
    dealt[:] = lowest
    best, at = np.empty(size, x.dtype), np.empty(size, np.int32)
    best[:] = lowest
    at[:] = -1
    inside = min(width, across * stride[1] - padding[1])
    for f in range(part // across * stride[0]):
        if top + f >= 0 and top + f < height:
            lo = f % stride[0] * stride[1] * part + f // stride[0] * across
            _deal(x[top + f, :inside], stride[1], padding[1], part, dealt[lo:])
    for ky in range(0, down + 1, dilation[0]):
        for kx in range(0, right + 1, dilation[1]):
            lo = (ky % stride[0] * stride[1] + kx % stride[1]) * part
            lo += ky // stride[0] * across + kx // stride[1]
            _larger(dealt[lo : lo + size], np.int32(ky * width + kx), best, at)
    for i in range(rows):
        first = top + i * stride[0]
        for j in range(ow):
            k, left = at[i * across + j], j * stride[1] - padding[1]
            y[i, j] = best[i * across + j]
            idx[i, j] = first * width + left + k
            if k < 0:  # none is above minus infinity: the first one inside
                line = _first_inside(first, dilation[0], height) * width
                idx[i, j] = line + _first_inside(left, dilation[1], width)


def _max_loop(x, y, idx, kernel, stride, padding, dilation):
    planes, oh, ow = y.shape
    band = max(1, BAND // (ow + (kernel[1] - 1) * dilation[1] // stride[1]))
    bands = (oh + band - 1) // band
    for r in prange(planes * bands):
        p, lo = r // bands, r % bands * band
        hi, top = min(lo + band, oh), lo * stride[0] - padding[0]
        _max_band(x[p], y[p, lo:hi], idx[p, lo:hi], top, kernel, stride, padding, dilation)


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


@folded
def _sum(x):
    lanes = stack_lanes(x)
    for j in range(WIDE):
        lanes[j] = 0
    whole = x.size // WIDE * WIDE
    for i in range(0, whole, WIDE):
        part = x[i : i + WIDE]
        for j in range(WIDE):
            lanes[j] += part[j]
    rest = x.dtype.type(0)
    for i in range(whole, x.size):
        rest += x[i]
    for j in range(8):
        lanes[j] += lanes[j + 8]
    for j in range(4):
        lanes[j] += lanes[j + 4]
    return (lanes[0] + lanes[2]) + (lanes[1] + lanes[3]) + rest


def _means_loop(x, y):
    planes, size = x.shape
    for p in prange(planes):
        s = 0.0
        for k in range(0, size, BLOCK):
            s += _sum(x[p, k : k + BLOCK])
        y[p] = s / size


def _spread_loop(gy, gx):
    planes, size = gx.shape
    for p in prange(planes):
        row, g = gx[p], gx.dtype.type(gy[p] / size)
        for i in range(size):
            row[i] = g


# Each pair is (one thread, all threads).
_max = kernel(_max_loop), parallel_kernel(_max_loop)
_scatter = kernel(_scatter_loop), parallel_kernel(_scatter_loop)
_gather = kernel(_gather_loop), parallel_kernel(_gather_loop)
_average = kernel(_average_loop), parallel_kernel(_average_loop)
_average_adjoint = kernel(_average_adjoint_loop), parallel_kernel(_average_adjoint_loop)
_means = kernel(_means_loop), parallel_kernel(_means_loop)
_spread = kernel(_spread_loop), parallel_kernel(_spread_loop)


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


def plane_means(x):
    """y (..., 1, 1), the mean of every plane of x (..., H, W)."""
    y = memory.empty((*x.shape[:-2], 1, 1), x.dtype)
    if y.size:
        planes = np.ascontiguousarray(x).reshape(y.size, -1)
        _means[use_threads(x.size)](planes, y.reshape(-1))
    return y


def plane_means_adjoint(gy, x_shape):
    """gx of shape x_shape: each gy (..., 1, 1), over the size of a plane, in all of its plane."""
    gx = memory.empty(x_shape, gy.dtype)
    if gx.size:
        gy = np.ascontiguousarray(gy).reshape(-1)
        _spread[use_threads(gx.size)](gy, gx.reshape(gy.size, -1))
    return gx
