"""Max pooling on a CUDA device, and its adjoint; as kernels/cpu/pool.

Planes are volumes of depth 1. What windows meet is told by a table of int32, see `_table`.
"""

import math
from functools import lru_cache

import numpy as np

from nbgrad.kernels.cpu.pool import pool_output_size
from nbgrad.kernels.cuda.bounds import tell
from nbgrad.kernels.cuda.launch import launch
from nbgrad.kernels.cuda.layouts import contiguous
from nbgrad.kernels.cuda.memory import empty, upload, zeros
from nbgrad.kernels.cuda.provider import cuda, inline, kernel

_I64 = np.dtype(np.int64)
_I32 = np.dtype(np.int32)
#: Elements of a launch, whose places are 32-bit numbers.
_MOST = 1 << 30


@inline
def split(i, rows, columns):
    """Element i of planes of `rows` lines of `columns`: its plane, row and column."""
    line = np.uint32(i // columns)
    plane = np.uint32(line // rows)
    return (np.int32(plane), np.int32(line - np.uint32(plane * rows)),
            np.int32(i - np.uint32(line * columns)))


@kernel
def _max(x, y, idx, table, deep, high, wide, od, oh, ow, lowest):
    # table: first line, line after the last and step of the windows along each axis
    deep, high, wide = np.int32(deep), np.int32(high), np.int32(wide)
    od, oh, ow = np.int32(od), np.int32(oh), np.int32(ow)
    rows, columns = np.int32(3 * od), np.int32(3 * od + 3 * oh)
    low = x.dtype.type(lowest)
    count, step = np.uint32(y.size), np.uint32(cuda.gridsize(1))
    i = np.uint32(cuda.grid(1))
    while i < count:
        lines, oy, ox = split(i, np.uint32(oh), np.uint32(ow))
        p = np.int32(lines // od)
        oz = np.int32(lines - p * od)
        z0, z1, dz = table[oz], table[od + oz], table[2 * od + oz]
        y0, y1, dy = table[rows + oy], table[rows + oh + oy], table[rows + 2 * oh + oy]
        x0, x1, dx = table[columns + ox], table[columns + ow + ox], table[columns + 2 * ow + ox]
        while z0 < 0:
            z0 = np.int32(z0 + dz)
        while y0 < 0:
            y0 = np.int32(y0 + dy)
        while x0 < 0:
            x0 = np.int32(x0 + dx)
        base = np.int32(p * np.int32(deep * np.int32(high * wide)))
        at = np.int32((min(z0, deep - 1) * high + min(y0, high - 1)) * wide + min(x0, wide - 1))
        best = x[base + at] if z0 < deep and y0 < high and x0 < wide else low
        iz = z0
        while iz < z1:
            iy = y0
            while iy < y1:
                line = np.int32(np.int32(iz * high + iy) * wide)
                ix = x0
                while ix < x1:
                    v = x[np.int32(base + np.int32(line + ix))]
                    if v > best or v != v:
                        best, at = v, np.int32(line + ix)
                    ix = np.int32(ix + dx)
                iy = np.int32(iy + dy)
            iz = np.int32(iz + dz)
        y[i], idx[i] = best, np.int64(at)
        i = np.uint32(i + step)


@kernel
def _max_adjoint(gy, idx, gx, table, deep, high, wide, od, oh, ow):
    # each entry of gx asks the windows that may have met it, told by the table: along each axis the
    # first one and the one after the last
    deep, high, wide = np.int32(deep), np.int32(high), np.int32(wide)
    od, oh, ow = np.int32(od), np.int32(oh), np.int32(ow)
    rows, columns = np.int32(2 * deep), np.int32(2 * deep + 2 * high)
    count, step = np.uint32(gx.size), np.uint32(cuda.gridsize(1))
    i = np.uint32(cuda.grid(1))
    while i < count:
        lines, iy, ix = split(i, np.uint32(high), np.uint32(wide))
        p = np.int32(lines // deep)
        iz = np.int32(lines - p * deep)
        own = np.int64((iz * high + iy) * wide + ix)
        base = np.int32(p * np.int32(od * np.int32(oh * ow)))
        total = gx.dtype.type(0)
        for oz in range(table[iz], table[deep + iz]):
            for oy in range(table[rows + iy], table[rows + high + iy]):
                line = np.int32(base + np.int32(np.int32(oz * oh + oy) * ow))
                for ox in range(table[columns + ix], table[columns + wide + ix]):
                    at = np.int32(line + ox)
                    if idx[at] == own:
                        total += gy[at]
        gx[i] = total
        i = np.uint32(i + step)


@kernel
def _scatter(gy, idx, gx, each, size):
    # a thread a plane, so that entries are added in one order
    for p in range(cuda.grid(1), gx.size // size, cuda.gridsize(1)):
        for o in range(p * each, (p + 1) * each):
            gx[p * size + idx[o]] += gy[o]


@kernel
def _gather(x, idx, y, each, size):
    for i in range(cuda.grid(1), y.size, cuda.gridsize(1)):
        y[i] = x[i // each * size + idx[i]]


@kernel
def _claim(idx, last, each, size):
    # the last of the entries that share a place gets it; numbered from 1
    for i in range(cuda.grid(1), idx.size, cuda.gridsize(1)):
        plane = i // each
        cuda.atomic.max(last, plane * size + idx[i], np.int32(i - plane * each + 1))


@kernel
def _place(x, idx, last, y, each, size):
    for i in range(cuda.grid(1), x.size, cuda.gridsize(1)):
        plane = i // each
        at = plane * size + idx[i]
        if last[at] == i - plane * each + 1:
            y[at] = x[i]


def _lines(size, kernel, stride, padding, dilation, ceil_mode):
    """First line, line after the last inside and step of each window, [3, windows]."""
    count = pool_output_size(size, kernel, stride, padding, dilation, ceil_mode)
    start = np.arange(count) * stride - padding
    stop = np.minimum(start + dilation * (kernel - 1) + 1, size)
    return np.stack([start, stop, np.full_like(stop, dilation)])


def even_lines(size, windows):
    """The same for windows that divide `size` evenly, overlapping where they must."""
    i = np.arange(windows)
    return np.stack([i * size // windows, -(-(i + 1) * size // windows), np.ones_like(i)])


def covering(lines, size):
    """For each of `size` lines the first window that reaches over it, and the one after the last.

    `lines`: first line and line after the last of each window, neither ever decreasing.
    """
    i = np.arange(size)
    return np.stack([np.searchsorted(lines[1], i, "right"), np.searchsorted(lines[0], i, "right")])


def _axes(size, rules):
    """What windows meet along each axis of a volume; `rules` are max_pool's or adaptive_max_pool's."""
    if len(rules) == 1:
        lines = [even_lines(n, windows) for n, windows in zip(size, rules[0])]
    else:
        *each, ceil_mode = rules
        lines = [_lines(*rule, ceil_mode) for rule in zip(size, *each)]
    return lines if len(lines) == 3 else [even_lines(1, 1), *lines]


def table_of(lines):
    """Tables of several axes, one after the other on the device."""
    return upload(np.concatenate([np.ravel(t) for t in lines]).astype(np.int32))


@lru_cache(256)
def _tables(size, rules):
    """The number of windows along each axis, and the tables of `_max` and `_max_adjoint`."""
    lines = _axes(size, rules)
    volume = (1,) * (3 - len(size)) + size
    spans = [covering(t, n) for t, n in zip(lines, volume)]
    return tuple([t.shape[1] for t in lines]), table_of(lines), table_of(spans)


def parts(planes, *sizes):
    """Ranges of planes, of which those of `sizes` elements fill a launch at most."""
    most = max(_MOST // max(sizes), 1)
    return [(a, min(a + most, planes)) for a in range(0, planes, most)]


def _pool(x, rules):
    n, c, *size = x.shape
    windows, table, _ = _tables(tuple(size), rules)
    shape = n, c, *windows[3 - len(size):]
    y, idx = empty(shape, x.dtype), empty(shape, np.int64)
    if not y.size:
        return y, idx
    flat, to, at = contiguous(x).reshape(-1), y.reshape(-1), idx.reshape(-1)
    volume, each, made = (1,) * (3 - len(size)) + tuple(size), math.prod(size), math.prod(windows)
    lowest, kind = (-math.inf, "float64") if x.dtype.kind == "f" else (
        int(np.iinfo(x.dtype).min), "int64")
    for a, b in parts(n * c, each, made):
        run = launch(_max, (b - a) * made, (x.dtype, x.dtype, _I64, _I32), ("int64",) * 6 + (kind,))
        run(flat.part(a * each, b * each), to.part(a * made, b * made), at.part(a * made, b * made),
            table, *volume, *windows, lowest)
    return y, tell(idx, 0, each - 1)


def max_pool(x, kernel, stride, padding, dilation, ceil_mode):
    """(y, idx): the largest entry of each window and its flat position in the plane or volume.

    The first of equal entries is taken; NaN is larger than any number.
    """
    return _pool(x, (kernel, stride, padding, dilation, ceil_mode))


def max_pool_values(x, kernel, stride, padding, dilation, ceil_mode):
    """The largest entry of each window of x (..., L) of floats, for one number each."""
    lines = contiguous(x).reshape(1, -1, 1, x.shape[-1])
    y, _ = max_pool(lines, (1, kernel), (1, stride), (0, padding), (1, dilation), ceil_mode)
    return y.reshape(*x.shape[:-1], y.shape[-1])


def adaptive_max_pool(x, size):
    """(y, idx) of `max_pool` for as many windows an axis as `size` says, which cover x."""
    return _pool(x, (tuple(size),))


def _flat(*arrays):
    return [contiguous(a).reshape(-1) for a in arrays]


def max_pool_scatter(gy, idx, x_shape, rules=None):
    """gx of shape x_shape: each gy is added at its idx.

    `rules` are those after x of the pooling that gave idx, if it is known.
    """
    size, each = math.prod(x_shape[2:]), math.prod(gy.shape[2:])
    planes = x_shape[0] * x_shape[1]
    if not gy.size:
        return zeros(x_shape, gy.dtype)
    if rules is None:
        gx = zeros(x_shape, gy.dtype)
        run = launch(_scatter, planes, (gy.dtype, _I64, gy.dtype), ("int64", "int64"))
        run(*_flat(gy, idx, gx), each, size)
        return gx
    gx = empty(x_shape, gy.dtype)
    windows, _, table = _tables(tuple(x_shape[2:]), rules)
    volume = (1,) * (5 - len(x_shape)) + tuple(x_shape[2:])
    gy, idx, to = _flat(gy, idx, gx)
    for a, b in parts(planes, each, size):
        run = launch(_max_adjoint, (b - a) * size, (gy.dtype, _I64, gy.dtype, _I32), ("int64",) * 6)
        run(gy.part(a * each, b * each), idx.part(a * each, b * each), to.part(a * size, b * size),
            table, *volume, *windows)
    return gx


def max_pool_gather(x, idx):
    """y of idx's shape: the entries of x at idx."""
    y = empty(idx.shape, x.dtype)
    if y.size:
        run = launch(_gather, y.size, (x.dtype, _I64, x.dtype), ("int64", "int64"))
        run(*_flat(x, idx, y), math.prod(idx.shape[2:]), math.prod(x.shape[2:]))
    return y


def max_unpool(x, idx, y_shape):
    """y of shape y_shape: zeros, but each x at its idx; the last of those that share one."""
    y = zeros(y_shape, x.dtype)
    if x.size:
        last = zeros(y.size, np.int32)
        each, size = math.prod(x.shape[2:]), math.prod(y_shape[2:])
        x, idx, to = _flat(x, idx, y)
        launch(_claim, x.size, (_I64, _I32), ("int64", "int64"))(idx, last, each, size)
        run = launch(_place, x.size, (x.dtype, _I64, _I32, x.dtype), ("int64", "int64"))
        run(x, idx, last, to, each, size)
    return y
