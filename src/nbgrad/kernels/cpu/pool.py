"""Max pooling, and its adjoint: entries added where the largest were.

x is (N, C, H, W) or (N, C, D, H, W); kernel, stride, padding and dilation are numbers an axis.
"""

import math
from functools import lru_cache

import numpy as np

from nbgrad.kernels import memory
from nbgrad.kernels.cpu.columns import taps
from nbgrad.kernels.options import folded, inline, kernel, parallel_kernel, prange, use_threads

# Places of windows, side by side in memory, that are handled together.
BAND = 2048


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


@inline
def _largest(best, at, lo, hi, step):
    """The largest of columns and its place, the first of equal ones, the last NaN."""
    top, place = best[lo], at[lo] + lo
    ix = lo + step
    while ix < hi:
        v = best[ix]
        if not v < top:
            k = at[ix] + ix
            if v > top or (v != v and (top == top or k > place)) or (v == top and k < place):
                top, place = v, k
        ix += step
    return top, place


def _lines_loop(x, y, idx, rows, columns):
    # rows and columns [3, windows]: first line, line after the last, step.
    planes, oh, ow = y.shape
    width = x.shape[2]
    for p in prange(planes):
        best, at = np.empty(width, x.dtype), np.empty(width, np.int32)
        for oy in range(oh):
            iy = rows[0, oy]
            for ix in range(width):
                best[ix], at[ix] = x[p, iy, ix], iy * width
            iy += rows[2, oy]
            while iy < rows[1, oy]:
                _larger(x[p, iy], np.int32(iy * width), best, at)
                iy += rows[2, oy]
            for ox in range(ow):
                top, place = _largest(best, at, columns[0, ox], columns[1, ox], columns[2, ox])
                y[p, oy, ox], idx[p, oy, ox] = top, place


@folded
def _largest_met(x, step, best):
    """best[i] = max(best[i], x[i * step])."""
    for i in range(best.size):
        v = x[np.uint64(i * step)]
        best[i] = v if (v > best[i]) | (v != v) else best[i]


@folded
def _largest_pair(x, best):
    """best[i] = max(best[i], x[2 * i], x[2 * i + 1]): all is loaded, nothing left out."""
    for i in range(best.size):
        u, v = x[np.uint64(2 * i)], x[np.uint64(2 * i + 1)]
        v = v if (v > u) | (v != v) else u
        best[i] = v if (v > best[i]) | (v != v) else best[i]


def _values_loop(x, met, stride, y):
    # met[u]: the windows from and to whose tap u is inside, where the first one meets the line, and
    # whether they meet two neighbours there
    for r in prange(x.shape[0]):
        y[r] = -np.inf
        for u in range(met.shape[0]):
            first, last, place, two = met[u]
            line, best = x[r, place:], y[r, first:last]
            if stride == 1:
                _largest_met(line, 1, best)
            elif two:
                _largest_pair(line, best)
            else:
                _largest_met(line, stride, best)


def _scatter_loop(gy, idx, gx):
    for p in prange(gy.shape[0]):
        for o in range(gy.shape[1]):
            gx[p, idx[p, o]] += gy[p, o]


def _gather_loop(x, idx, y):
    for p in prange(idx.shape[0]):
        for o in range(idx.shape[1]):
            y[p, o] = x[p, idx[p, o]]


def _place_loop(x, idx, y):
    for p in prange(idx.shape[0]):
        for o in range(idx.shape[1]):
            y[p, idx[p, o]] = x[p, o]


# Each pair is (one thread, all threads).
_max = kernel(_max_loop), parallel_kernel(_max_loop)
_values = kernel(_values_loop), parallel_kernel(_values_loop)
_lines_max = kernel(_lines_loop), parallel_kernel(_lines_loop)
_scatter = kernel(_scatter_loop), parallel_kernel(_scatter_loop)
_gather = kernel(_gather_loop), parallel_kernel(_gather_loop)
_place = kernel(_place_loop), parallel_kernel(_place_loop)


def _planes(x):
    n, c, h, w = x.shape
    return np.ascontiguousarray(x).reshape(n * c, h, w)


def _flat(x):
    """[planes or volumes, their entries]."""
    n, c, *size = x.shape
    return np.ascontiguousarray(x).reshape(n * c, math.prod(size))


@lru_cache(maxsize=512)
def _lines(size, kernel, stride, padding, dilation, ceil_mode):
    """First line inside, line after the last and step of each window, [3, windows]."""
    count = pool_output_size(size, kernel, stride, padding, dilation, ceil_mode)
    start = np.arange(count) * stride - padding
    stop = np.minimum(start + dilation * (kernel - 1) + 1, size)
    start += np.maximum(-(start // dilation), 0) * dilation
    return np.stack([np.minimum(start, size - 1), stop, np.full_like(stop, dilation)])


@lru_cache(maxsize=512)
def _adaptive_lines(size, windows):
    """The same for windows that divide `size` evenly, overlapping where they must."""
    i = np.arange(windows)
    return np.stack([i * size // windows, -(-(i + 1) * size // windows), np.ones_like(i)])


def _plane_max(x, rows, columns):
    size = *x.shape[:2], rows.shape[1], columns.shape[1]
    y, idx = memory.empty(size, x.dtype), memory.empty(size, np.int64)
    if y.size:
        run = _lines_max[use_threads(x.size)]
        run(_planes(x), _planes(y), _planes(idx), rows, columns)
    return y, idx


def _volume_max(x, within, along):
    """Largest entries of volumes, from those `within` each plane those `along` the depth.

    The first of equal entries is in the first plane that has one, and there the first.
    """
    n, c, d, h, w = x.shape
    y, at = within(x.reshape(n, c * d, h, w))
    oh, ow = y.shape[2:]
    at = at.reshape(n, c, d, oh * ow)
    at += np.arange(d)[:, None] * (h * w)
    y, deep = along(y.reshape(n, c, d, oh * ow))
    size = n, c, y.shape[2], oh, ow
    return y.reshape(size), max_pool_gather(at, deep).reshape(size)


def max_pool(x, kernel, stride, padding, dilation, ceil_mode):
    """(y, idx): the largest entry of each window and its flat position in the plane or volume.

    The first of equal entries is taken; NaN is larger than any number.
    """
    rules = kernel, stride, padding, dilation
    if x.ndim == 5:
        within = [rule[1:] for rule in rules]
        along = [(rule[0], none) for rule, none in zip(rules, (1, 1, 0, 1))]
        return _volume_max(x, lambda t: max_pool(t, *within, ceil_mode),
                           lambda t: max_pool(t, *along, ceil_mode))
    if x.dtype.kind != "f":
        return _plane_max(x, *(_lines(*rule, ceil_mode) for rule in zip(x.shape[2:], *rules)))
    size = *x.shape[:2], *(pool_output_size(*r, ceil_mode) for r in zip(x.shape[2:], *rules))
    y, idx = memory.empty(size, x.dtype), memory.empty(size, np.int64)
    if y.size:
        run = _max[use_threads(y.size * kernel[0] * kernel[1])]
        if x.shape[2] == 1 == size[2]:  # lines: all are rows of one plane
            lines = [np.ascontiguousarray(t).reshape(1, -1, t.shape[3]) for t in (x, y, idx)]
            run(*lines, *[(none, rule[1]) for rule, none in zip(rules, (1, 1, 0, 1))])
            lines[2] -= np.arange(lines[0].shape[1])[:, None] * x.shape[3]
        else:
            run(_planes(x), _planes(y), _planes(idx), *rules)
    return y, idx


def _in_pairs(met):
    """Taps (first window, last window, place), neighbours that the same windows meet as one."""
    found = []
    for first, last, place in met:
        if found and found[-1] == (first, last, place - 1, False):
            found[-1] = first, last, place - 1, True
        else:
            found.append((first, last, place, False))
    return found


def max_pool_values(x, kernel, stride, padding, dilation, ceil_mode):
    """The largest entry of each window of x (..., L) of floats, for one number each."""
    size = x.shape[-1]
    count = pool_output_size(size, kernel, stride, padding, dilation, ceil_mode)
    y = memory.empty((*x.shape[:-1], count), x.dtype)
    if y.size:
        met = [(inside.start, inside.stop, places.start) for _, inside, places in taps(
            kernel, count, size, stride, padding, dilation)]
        met = np.array(_in_pairs(met) if stride == 2 else [(*tap, False) for tap in met])
        run = _values[use_threads(y.size * kernel)]
        run(np.ascontiguousarray(x).reshape(-1, size), met, stride, y.reshape(-1, count))
    return y


def adaptive_max_pool(x, size):
    """(y, idx) of `max_pool` for as many windows an axis as `size` says, which cover x."""
    n, c, *own = x.shape
    if set(size) == {1}:
        line = np.ascontiguousarray(x).reshape(n, c, 1, math.prod(own))
        y, idx = _plane_max(line, _adaptive_lines(1, 1), _adaptive_lines(math.prod(own), 1))
        return y.reshape(n, c, *size), idx.reshape(n, c, *size)
    lines = [_adaptive_lines(n, windows) for n, windows in zip(x.shape[2:], size)]
    if x.ndim == 4:
        return _plane_max(x, *lines)
    each = _adaptive_lines(math.prod(size[1:]), math.prod(size[1:]))
    return _volume_max(x, lambda t: _plane_max(t, *lines[1:]),
                       lambda t: _plane_max(t, lines[0], each))


def max_pool_scatter(gy, idx, x_shape, rules=None):
    """gx of shape x_shape: each gy is added at its idx.

    `rules`, those of the pooling that gave idx, tell a device where to look.
    """
    gx = memory.zeros(x_shape, gy.dtype)
    _scatter[use_threads(gy.size)](_flat(gy), _flat(idx), _flat(gx))
    return gx


def max_pool_gather(x, idx):
    """y of idx's shape: the entries of x at idx."""
    y = memory.empty(idx.shape, x.dtype)
    _gather[use_threads(y.size)](_flat(x), _flat(idx), _flat(y))
    return y


def max_unpool(x, idx, y_shape):
    """y of shape y_shape: zeros, but each x at its idx; the last of those that share one."""
    y = memory.zeros(y_shape, x.dtype)
    _place[use_threads(x.size)](_flat(x), _flat(idx), _flat(y))
    return y
