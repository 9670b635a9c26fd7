"""Reading, writing and adding at indices.

Indices are int64 and not negative. A kernel that only moves entries sees them as unsigned
integers of their size, so that it is compiled once a size, not once a dtype.
"""

from functools import cache

import numpy as np

from nbgrad.kernels import memory
from nbgrad.kernels.cpu.index_rows import add, bits, line, lower, multiply, put, raised, written
from nbgrad.kernels.cpu.index_rows import add_rows as add_rows
from nbgrad.kernels.cpu.index_rows import look_up as look_up
from nbgrad.kernels.cpu.index_rows import put_rows as put_rows
from nbgrad.kernels.cpu.index_rows import reduce_rows as reduce_rows
from nbgrad.kernels.cpu.index_rows import take_rows as take_rows
from nbgrad.kernels.cpu.places import columns as columns
from nbgrad.kernels.cpu.places import first_out_of_range as first_out_of_range
from nbgrad.kernels.cpu.places import indices as indices
from nbgrad.kernels.cpu.places import joint_places as joint_places
from nbgrad.kernels.cpu.places import nonzero as nonzero
from nbgrad.kernels.cpu.places import settle as settle
from nbgrad.kernels.cpu.softmax import split
from nbgrad.kernels.launch import entry_point
from nbgrad.kernels.options import inline, kernel, parallel_kernel, prange, use_threads

# Indices, or columns, handled together. Threads that write at indices each own columns and go
# through the indices in order, so that no entry has two writers; and the entries of some columns
# stay in the cache while all their indices are met.
BLOCK = 1024
COLUMNS = 64


@inline
def _strips(inner):
    return (inner + COLUMNS - 1) // COLUMNS


# Along one axis: x and src are [outer, n, inner], idx tells the place on the middle axis. An index
# that is none is met as 0 and counted: unsigned, a negative one is too large.


def _gather_loop(x, idx, y):
    outer, count, inner = idx.shape
    n = np.uint64(x.shape[1])
    strips, blocks = _strips(inner), (count + BLOCK - 1) // BLOCK
    outside = 0
    for r in prange(outer * strips * blocks):
        o, left, top = r // (strips * blocks), r // blocks % strips * COLUMNS, r % blocks * BLOCK
        bottom, right = min(top + BLOCK, count), min(left + COLUMNS, inner)
        if inner == 1:
            xo, io, yo = line(x, o), line(idx, o)[top:bottom], line(y, o)[top:bottom]
            for j in range(yo.size):
                k = io[j]
                outside += k >= n
                yo[j] = xo[k if k < n else np.uint64(0)]
        else:
            xo = x[o, :, left:right]
            for j in range(top, bottom):
                io, yo = idx[o, j, left:right], y[o, j, left:right]
                for i in range(yo.size):
                    k = io[i]
                    outside += k >= n
                    yo[i] = xo[k if k < n else np.uint64(0), i]
    return outside


def _writer(write):
    """A function that does write(x, k, value) with the entries of strip r of src."""

    @inline
    def strip(r, x, idx, src):
        inner, n, outside = idx.shape[2], np.uint64(x.shape[1]), 0
        strips = _strips(inner)
        o, lo = r // strips, (r % strips) * COLUMNS
        if inner == 1:
            xo, io, so = line(x, o), line(idx, o), line(src, o)
            for j in range(io.size):
                k = io[j]
                outside += k >= n
                write(xo, k if k < n else np.uint64(0), so[j])
        else:
            hi = min(lo + COLUMNS, inner)
            xo = x[o, :, lo:hi]
            for j in range(idx.shape[1]):
                io, so = idx[o, j, lo:hi], src[o, j, lo:hi]
                for i in range(io.size):
                    k = io[i]
                    outside += k >= n
                    write(xo[k if k < n else np.uint64(0)], i, so[i])
        return outside

    return strip


_put_strip, _add_strip, _multiply_strip = _writer(put), _writer(add), _writer(multiply)
_raise_strip, _lower_strip = _writer(raised), _writer(lower)


def _scatter_loop(x, idx, src):
    outside = 0
    for r in prange(idx.shape[0] * _strips(idx.shape[2])):
        outside += _put_strip(r, x, idx, src)
    return outside


def _scatter_add_loop(x, idx, src):
    outside = 0
    for r in prange(idx.shape[0] * _strips(idx.shape[2])):
        outside += _add_strip(r, x, idx, src)
    return outside


def _scatter_prod_loop(x, idx, src):
    outside = 0
    for r in prange(idx.shape[0] * _strips(idx.shape[2])):
        outside += _multiply_strip(r, x, idx, src)
    return outside


def _scatter_amax_loop(x, idx, src):
    outside = 0
    for r in prange(idx.shape[0] * _strips(idx.shape[2])):
        outside += _raise_strip(r, x, idx, src)
    return outside


def _scatter_amin_loop(x, idx, src):
    outside = 0
    for r in prange(idx.shape[0] * _strips(idx.shape[2])):
        outside += _lower_strip(r, x, idx, src)
    return outside


# At offsets into a storage.


def _take_flat_loop(storage, offsets, y):
    for i in prange(offsets.size):
        y[i] = storage[offsets[i]]


@kernel
def _put_flat(storage, offsets, values):
    for i in range(offsets.size):
        storage[offsets[i]] = values[i]


@kernel
def _add_flat(storage, offsets, values):
    for i in range(offsets.size):
        storage[offsets[i]] += values[i]


@kernel
def _extremes(x):
    low, high = x[0], x[0]
    for i in range(x.size):
        low, high = min(low, x[i]), max(high, x[i])
    return low, high


@kernel
def _count(x, counts):
    for i in range(x.size):
        counts[np.uint64(x[i])] += 1


@kernel
def _histogram(x, low, high, counts):
    """Add 1 to the part of low … high that each entry of x lies in, if any."""
    bins = x.dtype.type(counts.size)
    for i in range(x.size):
        if x[i] >= low and x[i] <= high:
            part = np.int64((x[i] - low) * bins / (high - low))
            counts[min(part, counts.size - 1)] += 1


# Each pair is (one thread, all threads).
_gather = kernel(_gather_loop), parallel_kernel(_gather_loop)
_scatter = kernel(_scatter_loop), parallel_kernel(_scatter_loop)
_reduce = {
    "sum": (kernel(_scatter_add_loop), parallel_kernel(_scatter_add_loop)),
    "prod": (kernel(_scatter_prod_loop), parallel_kernel(_scatter_prod_loop)),
    "amax": (kernel(_scatter_amax_loop), parallel_kernel(_scatter_amax_loop)),
    "amin": (kernel(_scatter_amin_loop), parallel_kernel(_scatter_amin_loop)),
}
_take_flat = kernel(_take_flat_loop), parallel_kernel(_take_flat_loop)


def _crop(a, axis, shape):
    """The part of `a` that `shape` covers, all of it along `axis`."""
    return a[(..., *(slice(None if d == axis else n) for d, n in enumerate(shape)))]


@cache
def gather_launch(dtype):
    """A launch (x, idx, y), all (outer, n, inner), on one thread; gives the indices outside."""
    entries = np.dtype(f"u{dtype.itemsize}"), 3
    return entry_point(_gather[0], entries, (np.uint64, 3), entries)


def gather(x, axis, idx):
    """(y of idx's shape, the entries of x whose place along `axis` idx tells; indices outside).

    In the other axes idx may be smaller than x.
    """
    y = memory.empty(idx.shape, x.dtype)
    x, idx = np.atleast_1d(x), np.atleast_1d(idx)
    axis %= x.ndim
    if y.size == 0 or x.shape[axis] == 0:
        return y, y.size
    x = _crop(x, axis, idx.shape)
    arrays = bits(x), bits(idx), bits(y)
    views = (a.reshape(split(b.shape, axis)) for a, b in zip(arrays, (x, idx, idx)))
    return y, _gather[use_threads(y.size)](*views)


def _scatter_along(run, x, axis, idx, src, view):
    x, idx, src = np.atleast_1d(x), np.atleast_1d(idx), np.atleast_1d(src)
    axis %= x.ndim
    if idx.size == 0 or x.shape[axis] == 0:
        return idx.size
    inside = split(idx.shape, axis)
    src = view(_crop(src, None, idx.shape)).reshape(inside)
    idx, corner = bits(idx).reshape(inside), _crop(x, axis, idx.shape)
    run = run[use_threads(idx.size)]
    return written(lambda x: run(view(x).reshape(split(x.shape, axis)), idx, src), corner)


def scatter(x, axis, idx, src):
    """Write the corner of src that idx covers into x, in place; of equal indices the last wins.

    Returns how many indices lie outside; x is of no use then.
    """
    return _scatter_along(_scatter, x, axis, idx, src, bits)


def scatter_add(x, axis, idx, src):
    """Add the corner of src that idx covers to x, in place; returns as `scatter`."""
    return scatter_reduce(x, axis, idx, src, "sum")


def scatter_reduce(x, axis, idx, src, how):
    """Join the corner of src that idx covers to x, in place, by "sum", "prod", "amax" or "amin".

    NaN is the largest and the smallest number. Returns as `scatter`.
    """
    return _scatter_along(_reduce[how], x, axis, idx, src, np.ascontiguousarray)


def divide(x, counts):
    """x / counts in place, or what is not above it of whole numbers; a count is 1 at least."""
    counts[counts < 1] = 1
    x[...] = x / counts if x.dtype.kind == "f" else x // counts


def take_flat(storage, offsets):
    """y of offsets' shape: storage[offsets], for a 1-d storage."""
    y = memory.empty(offsets.shape, storage.dtype)
    offsets = np.ascontiguousarray(offsets).reshape(-1)
    _take_flat[use_threads(y.size)](bits(storage), offsets, bits(y).reshape(-1))
    return y


def put_flat(storage, offsets, values):
    """storage[offsets] = values in place, for a 1-d storage; of equal offsets the last wins."""
    offsets, values = np.ascontiguousarray(offsets).reshape(-1), bits(values).reshape(-1)
    written(lambda storage: _put_flat(bits(storage), offsets, values), storage)


def add_flat(storage, offsets, values):
    """storage[offsets] += values in place, for a 1-d storage."""
    offsets, values = (np.ascontiguousarray(a).reshape(-1) for a in (offsets, values))
    written(lambda storage: _add_flat(storage, offsets, values), storage)


def add_window(values, size, shape, strides, start):
    """A storage of zeros with values added where the elements of a window lie."""
    places = np.full(shape, start, np.int64)
    for axis, (n, s) in enumerate(zip(shape, strides)):
        places += (np.arange(n) * s).reshape((n,) + (1,) * (len(shape) - 1 - axis))
    storage = memory.zeros(size, values.dtype)
    add_flat(storage, places, values)
    return storage


def span(x):
    """The least and the largest of integers, or 0 and -1 of none."""
    return _extremes(np.ascontiguousarray(x).reshape(-1)) if x.size else (0, -1)


def count(x, least):
    """How often each of 0, 1, .. occurs in a vector of integers, at least `least`; None if one is
    negative."""
    low, high = span(x)
    if low < 0:
        return None
    counts = memory.zeros(max(high + 1, least), np.int64)
    _count(np.ascontiguousarray(x), counts)
    return counts


def histogram(x, low, high, bins):
    """How many entries of a vector lie in each of `bins` equal parts of low … high."""
    counts = memory.zeros(bins, np.int64)
    kind = x.dtype.type
    _histogram(np.ascontiguousarray(x), kind(low), kind(high), counts)
    return counts


def one_hot(idx, classes):
    """A 1 in the place idx tells, among `classes` zeros."""
    return (idx[..., None] == np.arange(classes)).astype(np.int64)


def put_marked(x, mask, source):
    """Write entries of a source one after the other where a mask is true; returns how many it marks.

    Nothing is written where the source has fewer.
    """
    mask = np.broadcast_to(mask, x.shape)
    marked = np.count_nonzero(mask)
    if marked <= source.size:
        x[mask] = source.reshape(-1)[:marked]
    return marked


def take_marked(x, mask, shape):
    """The entries where a mask is true in the first places of zeros of a shape."""
    out: np.ndarray = np.zeros(shape, x.dtype)
    found = x[np.broadcast_to(mask, x.shape)]
    out.reshape(-1)[:found.size] = found
    return out
