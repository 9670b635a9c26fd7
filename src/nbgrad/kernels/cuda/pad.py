"""Padding on a CUDA device; as kernels/cpu/pad."""

import math
from functools import lru_cache

import numpy as np

from nbgrad.kernels.cpu.pad import places, ranges
from nbgrad.kernels.cuda.launch import launch
from nbgrad.kernels.cuda.layouts import contiguous, copy, narrowed
from nbgrad.kernels.cuda.memory import empty, upload, zeros
from nbgrad.kernels.cuda.pool import split
from nbgrad.kernels.cuda.provider import cuda, kernel

_I32 = np.dtype(np.int32)


@kernel
def _fill(y, value):
    value = y.dtype.type(value)
    for i in range(cuda.grid(1), y.size, cuda.gridsize(1)):
        y[i] = value


@kernel
def _framed(x, y, table, size, deep, high, wide):
    # table: where the entries of each axis are taken from, in elements
    for i in range(cuda.grid(1), y.size, cuda.gridsize(1)):
        volume = i // (deep * high * wide)
        iz, iy, ix = split(np.uint32(i - volume * (deep * high * wide)), np.uint32(high),
                           np.uint32(wide))
        y[i] = x[volume * size + table[iz] + table[deep + iy] + table[deep + high + ix]]


@kernel
def _framed_adjoint(gy, gx, starts, table, size, deep, high, wide):
    # starts: for each axis where the places of each of its entries begin in `table`
    for i in range(cuda.grid(1), gx.size, cuda.gridsize(1)):
        volume = i // (deep * high * wide)
        iz, iy, ix = split(np.uint32(i - volume * (deep * high * wide)), np.uint32(high),
                           np.uint32(wide))
        total = gx.dtype.type(0)
        for z in range(starts[iz], starts[iz + 1]):
            for y in range(starts[deep + 1 + iy], starts[deep + 2 + iy]):
                line = volume * size + table[z] + table[y]
                for x in range(starts[deep + high + 2 + ix], starts[deep + high + 3 + ix]):
                    total += gy[line + table[x]]
        gx[i] = total


@lru_cache(256)
def _tables(mode, shape, pairs):
    """The axes of the volumes, padded and not, and the tables of `_framed` and its adjoint."""
    most = min(len(shape) - 1, 3)
    shape, pairs = (1,) * (3 - most) + shape[-most:], ((0, 0),) * (3 - most) + pairs[-most:]
    axes = [places(mode, n, a, b) for n, (a, b) in zip(shape, pairs)]
    padded = tuple(map(len, axes))
    table = [p * math.prod(shape[k + 1:]) for k, p in enumerate(axes)]
    starts, back, before = [], [], 0
    for k, (n, p) in enumerate(zip(shape, axes)):
        starts.append(before + np.searchsorted(np.sort(p), np.arange(n + 1)))
        back.append(np.argsort(p, kind="stable") * math.prod(padded[k + 1:]))
        before += len(p)
    return shape, padded, *[upload(np.concatenate(t).astype(np.int32)) for t in (table, starts, back)]


def padded(x, pairs, value):
    """A constant around x."""
    shape = tuple([n + a + b for n, (a, b) in zip(x.shape, pairs)])
    if value == 0:
        out = zeros(shape, x.dtype)
    else:
        out = empty(shape, x.dtype)
        if out.size:
            whole = x.dtype.kind in "iu"
            launch(_fill, out.size, (x.dtype,), ("int64" if whole else "float64",))(
                out.reshape(-1), int(value) if whole else float(value))
    found = [ranges(n, a, b) for n, (a, b) in zip(x.shape, pairs)]
    copy(narrowed(out, [to for to, _ in found]), narrowed(x, [part for _, part in found]))
    return out


def own_entries(x, pairs, mode):
    """x's own entries around it; no number is negative."""
    y = empty(tuple([n + a + b for n, (a, b) in zip(x.shape, pairs)]), x.dtype)
    if y.size:
        shape, padded, table, _, _ = _tables(mode, x.shape, pairs)
        run = launch(_framed, y.size, (x.dtype, y.dtype, _I32), ("int64",) * 4)
        run(contiguous(x).reshape(-1), y.reshape(-1), table, math.prod(shape), *padded)
    return y


def own_entries_adjoint(grad, shape, pairs, mode):
    """The adjoint: what was copied outside is added where it came from."""
    gx = empty(tuple(shape), grad.dtype)
    if gx.size:
        own, padded, _, starts, table = _tables(mode, tuple(shape), pairs)
        run = launch(_framed_adjoint, gx.size, (grad.dtype, gx.dtype, _I32, _I32), ("int64",) * 4)
        run(contiguous(grad).reshape(-1), gx.reshape(-1), starts, table, math.prod(padded), *own)
    return gx
