"""Reading, writing and joining at indices on a CUDA device.

Who writes to an entry is settled before anybody does, so that the same numbers give the same bits:
of equal indices the last one writes, and they are joined in order, by the one thread that has a run
of the sorted indices. Entries that are only moved are seen as unsigned integers of their size.
"""

from functools import cache

import numpy as np

from nbgrad import config
from nbgrad.kernels.cpu.softmax import split
from nbgrad.kernels.cuda.array import DeviceArray
from nbgrad.kernels.cuda.blocks import power
from nbgrad.kernels.cuda.bounds import hand_on
from nbgrad.kernels.cuda.layouts import changed, contiguous, crop, spread
from nbgrad.kernels.cuda.memory import empty, zeros
from nbgrad.kernels.cuda.places import (  # noqa: F401
    columns,
    first_out_of_range,
    indices,
    joint_places,
    nonzero,
    nonzero_places,
    settle,
    span,
    strided_places,
)
from nbgrad.kernels.cuda.provider import BLOCK, SIMULATED, blocks, cuda, inline, kernel, machine
from nbgrad.kernels.cuda.sort import ordered

_I64, _I32 = np.dtype(np.int64), np.dtype(np.int32)
_HOW = {"sum": 0, "prod": 1, "amax": 2, "amin": 3, "put": 4}
#: Numbers that a block counts in its own memory.
BINS = 4 if SIMULATED else 4096
# So few indices are gone through by a thread a column, as are those of so many columns.
FEW, MANY = (2, 64) if SIMULATED else (16, 1 << 15)


@inline
def _joined(how, a, b):
    if how == 0:
        return a + b
    if how == 1:
        return a * b
    if how == 2:
        return b if (b > a) | (b != b) else a
    return b if (b < a) | (b != b) else a


@kernel
def _take(x, idx, y, rows, n, count, inner, shift):
    """Rows of y, each by 2^shift neighbouring threads, which load four elements before they store."""
    rows, count, inner = np.uint64(rows), np.uint64(count), np.uint64(inner)
    lanes = np.uint64(1) << np.uint64(shift)
    row = np.uint64(cuda.grid(1)) >> np.uint64(shift)
    while row < rows:
        o = row // count if rows != count else np.uint64(0)
        start = (o * np.uint64(n) + np.uint64(idx[row - o * count])) * inner
        to = row * inner
        c = np.uint64(cuda.threadIdx.x) & (lanes - np.uint64(1))
        while c + np.uint64(3) * lanes < inner:
            first, second = x[start + c], x[start + c + lanes]
            third, fourth = x[start + c + np.uint64(2) * lanes], x[start + c + np.uint64(3) * lanes]
            y[to + c], y[to + c + lanes] = first, second
            y[to + c + np.uint64(2) * lanes], y[to + c + np.uint64(3) * lanes] = third, fourth
            c += np.uint64(4) * lanes
        while c < inner:
            y[to + c] = x[start + c]
            c += lanes
        row += np.uint64(cuda.gridsize(1)) >> np.uint64(shift)


@kernel
def _gather(x, idx, y, n, count, inner):
    for i in range(cuda.grid(1), y.size, cuda.gridsize(1)):
        row = i // inner
        y[i] = x[(row // count * n + idx[i]) * inner + i - row * inner]


@inline
def _target(idx, i, n, count, inner, whole):
    """Where entry i of values (outer, count, inner) goes; `whole` if each has an index of its own."""
    row = i // inner
    o = row // count
    return (o * n + idx[i if whole else row - o * count]) * inner + i - row * inner


@kernel
def _claim(idx, last, n, count, inner, whole):
    """The last of equal indices, counted from 1."""
    for i in range(cuda.grid(1), idx.size, cuda.gridsize(1)):
        if whole:
            cuda.atomic.max(last, _target(idx, i, n, count, inner, True), np.int64(i + 1))
        else:
            cuda.atomic.max(last, idx[i], np.int64(i + 1))


@kernel
def _put(x, idx, last, values, n, count, inner, whole):
    for i in range(cuda.grid(1), values.size, cuda.gridsize(1)):
        to = _target(idx, i, n, count, inner, whole)
        if whole:
            if last[to] == i + 1:
                x[to] = values[i]
        else:
            j = i // inner % count
            if last[idx[j]] == j + 1:
                x[to] = values[i]


@kernel
def _in_turn(x, idx, values, n, count, inner, whole, how):
    """A thread for each column goes through all indices."""
    for c in range(cuda.grid(1), values.size // count, cuda.gridsize(1)):
        o = c // inner
        for j in range(count):
            i = (o * count + j) * inner + c - o * inner
            to = (o * n + idx[i if whole else j]) * inner + c - o * inner
            if how == 4:
                x[to] = values[i]
            else:
                x[to] = _joined(how, x[to], values[i])


@kernel
def _aims(idx, aims, n, count, inner, whole):
    for i in range(cuda.grid(1), idx.size, cuda.gridsize(1)):
        aims[i] = _target(idx, i, n, count, inner, True) if whole else idx[i]


@kernel
def _runs(x, aims, order, values, n, inner, outer, how):
    """A thread joins, in order, what goes to one entry: a run of the sorted aims."""
    count = aims.size
    width = outer * inner
    for i in range(cuda.grid(1), values.size, cuda.gridsize(1)):
        s = i // width
        aim = aims[s]
        if s == 0 or aims[s - 1] != aim:
            c = i - s * width
            o = c // inner
            c -= o * inner
            to = (o * n + aim) * inner + c
            total = x[to]
            while s < count and aims[s] == aim:
                total = _joined(how, total, values[(o * count + order[s]) * inner + c])
                s += 1
            x[to] = total


@kernel
def _add_at_once(x, idx, values, n, count, inner, whole):
    """Additions in any order, which may give other bits each time."""
    for i in range(cuda.grid(1), values.size, cuda.gridsize(1)):
        cuda.atomic.add(x, _target(idx, i, n, count, inner, whole), values[i])


_KERNELS = {"take": (_take, "uiu", 5), "gather": (_gather, "uiu", 3), "claim": (_claim, "ii", 4),
            "put": (_put, "uiiu", 4), "turn": (_in_turn, "did", 5), "aims": (_aims, "ik", 4),
            "runs": (_runs, "dkjd", 4), "add": (_add_at_once, "did", 4)}


@cache
def _launch(name: str, dtype, grid: int, keys=_I64):
    """The launch of a kernel for entries of a dtype, and places in another."""
    function, arrays, numbers = _KERNELS[name]
    kinds = {"u": np.dtype(f"u{dtype.itemsize}"), "d": dtype, "i": _I64, "k": keys, "j": _I32}
    return machine.launcher(function, (*((kinds[a], 1) for a in arrays),
                                       *["int64"] * numbers))(grid, BLOCK)


def _bits(x: DeviceArray) -> DeviceArray:
    return x.view(f"u{x.dtype.itemsize}")


def _widened(inner: int, *arrays: DeviceArray) -> tuple:
    """(inner, arrays) with rows seen as fewer and larger numbers, where they can be."""
    own = arrays[0].dtype.itemsize
    for size in (8, 4, 2):
        if size > own and inner * own % size == 0 and all(a.ptr % size == 0 for a in arrays):
            return inner * own // size, *[a.reshape(-1).view(f"u{size}") for a in arrays]
    return inner, *map(_bits, arrays)


def take_rows(x, idx):
    """As kernels.cpu.index."""
    outer, n, inner = x.shape
    y = empty((outer, idx.size, inner), x.dtype)
    if y.size:
        width, source, to = _widened(inner, contiguous(x), y)
        _take_rows(source, contiguous(idx), to, n, idx.size, width)
    return hand_on(y, x)


def _take_rows(x, idx, y, n, count, inner) -> None:
    """Rows of x at indices into y, as unsigned integers."""
    rows, lanes = y.size // inner, min(power(-(-inner // 4)), BLOCK)
    _launch("take", y.dtype, blocks(rows * lanes))(
        x, idx, y, rows, n, count, inner, lanes.bit_length() - 1)


def look_up(storage, offset, n, inner, idx):
    """As kernels.cpu.index."""
    outside = settle(idx, n)
    if outside or not idx.size * inner:
        return empty(idx.size * inner, storage.dtype), outside
    x = storage.part(offset, offset + n * inner).reshape(1, n, inner)
    return take_rows(x, idx).reshape(-1), 0


def add_rows(gy, idx, n):
    """As kernels.cpu.index."""
    gx = zeros((gy.shape[0], n, gy.shape[2]), gy.dtype)
    reduce_rows(gx, idx, gy, "sum")
    return gx


def reduce_rows(x, idx, v, how):
    """As kernels.cpu.index."""
    _join(x, idx, v, x.shape, idx.size, False, how)


def put_rows(x, idx, v):
    """As kernels.cpu.index."""
    _join(x, idx, v, x.shape, idx.size, False, "put")


def _join(x, idx, v, shape, count: int, whole: bool, how: str) -> None:
    """Join v (outer, count, inner), contiguous or not, to x of `shape` (outer, n, inner)."""
    if v.size and count:
        idx, v = contiguous(idx), contiguous(v)
        changed(x, shape, lambda x: _join_flat(x, idx, v, shape, count, whole, how))


def _join_flat(x, idx, v, shape, count, whole, how) -> None:
    outer, n, inner = shape
    width = v.size // count
    if how == "sum" and not config.DETERMINISTIC and x.dtype.name in _ATOMIC:
        _launch("add", x.dtype, blocks(v.size))(x, idx, v, n, count, inner, int(whole))
    elif how == "put" and count > 1:
        last = zeros(x.size if whole else n, np.int64)
        _launch("claim", _I64, blocks(idx.size))(idx, last, n, count, inner, int(whole))
        _launch("put", x.dtype, blocks(v.size))(_bits(x), idx, last, _bits(v), n, count, inner,
                                                int(whole))
    elif count <= FEW or width >= MANY:
        if how == "put":
            x, v = _bits(x), _bits(v)
        _launch("turn", x.dtype, blocks(width))(x, idx, v, n, count, inner, int(whole), _HOW[how])
    else:
        aims = empty((1, idx.size), _I32 if x.size < 1 << 31 else _I64)
        _launch("aims", _I64, blocks(idx.size), aims.dtype)(idx, aims, n, count, inner, int(whole))
        aims, order = ordered(aims, max((x.size if whole else n) - 1, 1).bit_length())
        if whole:
            outer, n, inner = 1, x.size, 1
        _launch("runs", x.dtype, blocks(v.size), aims.dtype)(x, aims, order, v, n, inner, outer,
                                                             _HOW[how])


_ATOMIC = {"float32", "float64", "int32", "int64"}


def gather(x, axis, idx):
    """As kernels.cpu.index."""
    y = hand_on(empty(idx.shape, x.dtype), x)
    if not x.shape:
        x = x.window((1,), (1,), 0)
    shape = idx.shape or (1,)
    axis %= x.ndim
    n = x.shape[axis]
    if y.size == 0 or n == 0 or first_out_of_range(idx, 0, n) >= 0:
        return y, y.size
    x = contiguous(crop(x, shape[:axis] + (n,) + shape[axis + 1:]))
    _, count, inner = split(shape, axis)
    _launch("gather", x.dtype, blocks(y.size))(_bits(x), contiguous(idx), _bits(y), n, count, inner)
    return y, 0


def _scatter(x, axis, idx, src, how):
    if not x.shape:
        x = x.window((1,), (1,), 0)
    shape = idx.shape or (1,)
    axis %= x.ndim
    n = x.shape[axis]
    if idx.size == 0 or n == 0:
        return idx.size
    if first_out_of_range(idx, 0, n) >= 0:
        return 1
    corner = crop(x, shape[:axis] + (n,) + shape[axis + 1:])
    src = crop(src, shape) if src.shape else spread(src, shape)
    outer, count, inner = split(shape, axis)
    _join(corner, idx, src, (outer, n, inner), count, True, how)
    return 0


def scatter(x, axis, idx, src):
    """As kernels.cpu.index."""
    return _scatter(x, axis, idx, src, "put")


def scatter_add(x, axis, idx, src):
    """As kernels.cpu.index."""
    return _scatter(x, axis, idx, src, "sum")


def scatter_reduce(x, axis, idx, src, how):
    """As kernels.cpu.index."""
    return _scatter(x, axis, idx, src, how)


@kernel
def _divide(x, counts):
    for i in range(cuda.grid(1), x.size, cuda.gridsize(1)):
        x[i] = x[i] / max(counts[i], x.dtype.type(1))


@kernel
def _divide_whole(x, counts):
    for i in range(cuda.grid(1), x.size, cuda.gridsize(1)):
        x[i] = x[i] // max(counts[i], x.dtype.type(1))


@cache
def _divide_launch(dtype, grid):
    function = _divide if dtype.kind == "f" else _divide_whole
    return machine.launcher(function, ((dtype, 1), (dtype, 1)))(grid, BLOCK)


def divide(x, counts):
    """As kernels.cpu.index."""
    if x.size:
        changed(x, (-1,), lambda x: _divide_launch(x.dtype, blocks(x.size))(x, counts.reshape(-1)))


def take_flat(storage, offsets):
    """As kernels.cpu.index."""
    return take_rows(storage.reshape(1, -1, 1), offsets.reshape(-1)).reshape(offsets.shape)


def put_flat(storage, offsets, values):
    """As kernels.cpu.index."""
    _flat(storage, offsets, values, "put")


def add_flat(storage, offsets, values):
    """As kernels.cpu.index."""
    _flat(storage, offsets, values, "sum")


def _flat(storage, offsets, values, how) -> None:
    _join(storage, offsets, values, (1, storage.size, 1), offsets.size, False, how)


def add_window(values, size, shape, strides, start):
    """As kernels.cpu.index."""
    storage = zeros(size, values.dtype)
    add_flat(storage, strided_places(shape, strides, start), contiguous(values).reshape(-1))
    return storage


# How often


# A block counts in its own memory if there are few numbers, of which each may be very frequent.


@inline
def _clear(own, counts):
    if counts.size <= BINS:
        for k in range(cuda.threadIdx.x, counts.size, BLOCK):
            own[k] = 0
        cuda.syncthreads()


@inline
def _one_more(own, counts, k):
    if counts.size <= BINS:
        cuda.atomic.add(own, k, np.int32(1))
    else:
        cuda.atomic.add(counts, k, np.int64(1))


@inline
def _add_up(own, counts):
    if counts.size <= BINS:
        cuda.syncthreads()
        for k in range(cuda.threadIdx.x, counts.size, BLOCK):
            if own[k] != 0:
                cuda.atomic.add(counts, k, np.int64(own[k]))


@kernel
def _count(x, counts):
    own = cuda.shared.array(BINS, np.int32)
    _clear(own, counts)
    for i in range(cuda.grid(1), x.size, cuda.gridsize(1)):
        _one_more(own, counts, np.int64(x[i]))
    _add_up(own, counts)


@kernel
def _histogram(x, counts, low, high):
    own = cuda.shared.array(BINS, np.int32)
    kind = x.dtype.type
    lo = kind(low)
    hi = kind(high)
    _clear(own, counts)
    for i in range(cuda.grid(1), x.size, cuda.gridsize(1)):
        if x[i] >= lo and x[i] <= hi:
            part = np.int64((x[i] - lo) * kind(counts.size) / (hi - lo))
            _one_more(own, counts, min(part, counts.size - 1))
    _add_up(own, counts)


@kernel
def _one_hot(idx, y, classes):
    for i in range(cuda.grid(1), y.size, cuda.gridsize(1)):
        y[i] = 1 if idx[i // classes] == i % classes else 0


@cache
def _of_numbers(function, dtype, grid, *numbers):
    return machine.launcher(function, ((dtype, 1), (_I64, 1), *numbers))(grid, BLOCK)


def count(x, least):
    """As kernels.cpu.index."""
    low, high = span(x)
    if low < 0:
        return None
    counts = zeros(max(high + 1, least), np.int64)
    if x.size:
        _of_numbers(_count, x.dtype, blocks(x.size))(contiguous(x), counts)
    return counts


def histogram(x, low, high, bins):
    """As kernels.cpu.index."""
    counts = zeros(bins, np.int64)
    if x.size:
        _of_numbers(_histogram, x.dtype, blocks(x.size), "float64", "float64")(
            contiguous(x), counts, float(low), float(high))
    return counts


def one_hot(idx, classes):
    """As kernels.cpu.index."""
    y = empty((*idx.shape, classes), np.int64)
    if y.size:
        _of_numbers(_one_hot, idx.dtype, blocks(y.size), "int64")(contiguous(idx), y, classes)
    return y


# By a mask


def put_marked(x, mask, source):
    """As kernels.cpu.index."""
    places = nonzero_places(contiguous(spread(mask, x.shape)).reshape(-1))
    if 0 < places.size <= source.size:
        source = contiguous(source).reshape(-1).part(0, places.size)
        changed(x, (-1,), lambda x: put_flat(x, places, source))
    return places.size


def take_marked(x, mask, shape):
    """As kernels.cpu.index."""
    places = nonzero_places(contiguous(spread(mask, x.shape)).reshape(-1))
    out = zeros(shape, x.dtype)
    if places.size:
        to = _bits(out).reshape(-1).part(0, places.size)
        _take_rows(_bits(contiguous(x)), places, to, x.size, to.size, 1)
    return out
