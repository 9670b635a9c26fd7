"""The largest or smallest entry along an axis on a CUDA device, and where it is first."""

from functools import cache

import numpy as np

from nbgrad.kernels.cuda.blocks import (
    THREADS,
    WARP,
    WARPS,
    exchange,
    grid,
    group_for,
    power,
    slabs_for,
    sync,
)
from nbgrad.kernels.cuda.bounds import tell
from nbgrad.kernels.cuda.layouts import contiguous
from nbgrad.kernels.cuda.memory import empty
from nbgrad.kernels.cuda.provider import cuda, inline, kernel, machine

#: Entries a thread reads at once.
EACH = 4


@inline
def beats(a, i, b, j, down):
    """Whether entry a at place i comes before b at j: a NaN is beyond all numbers."""
    if a != a:
        return b == b or i < j
    if a == b:
        return i < j
    return a < b if down else a > b


@cache
def _rows(group: int, down: bool, later: bool, number):
    """Parts of rows, a group of threads each; `later` where the entries' places were found before.

    Entries are compared as `number`s.
    """
    rows = THREADS // group

    @kernel
    def extremum_rows(x, places, values, indices, count, n, slabs, slab):
        tops = cuda.shared.array(WARPS, number)
        tops_at = cuda.shared.array(WARPS, np.int64)
        thread = np.int64(cuda.threadIdx.x)
        lane = thread % group
        for r0 in range(cuda.blockIdx.x * rows, count * slabs, cuda.gridDim.x * rows):
            r = r0 + thread // group
            best, at = number(0), np.int64(0)
            if r < count * slabs:
                o = r // slabs
                first = (r - o * slabs) * slab
                end = min(first + slab, n)
                best = number(x[np.uint64(o * n + first)])
                at = places[np.uint64(o * n + first)] if later else first
                for j in range(first + lane, end, group * EACH):
                    for k in range(EACH):
                        i = j + k * group
                        if i < end:
                            v = number(x[np.uint64(o * n + i)])
                            p = places[np.uint64(o * n + i)] if later else i
                            if beats(v, p, best, at, down):
                                best, at = v, p
            lanes = min(group, WARP) // 2
            while lanes > 0:
                v, p = exchange(best, lanes), exchange(at, lanes)
                if beats(v, p, best, at, down):
                    best, at = v, p
                lanes //= 2
            if group > WARP:
                if thread % WARP == 0:
                    tops[thread // WARP] = best
                    tops_at[thread // WARP] = at
                sync()
                for k in range(WARPS):
                    if beats(tops[k], tops_at[k], best, at, down):
                        best, at = tops[k], tops_at[k]
                sync()
            if lane == 0 and r < count * slabs:
                values[np.uint64(r)] = best
                indices[np.uint64(r)] = at

    return extremum_rows


@cache
def _columns(width: int, down: bool, later: bool, number):
    """Parts of columns of x (outer, n, inner), `width` of them side by side a block."""
    height = THREADS // width

    @kernel
    def extremum_columns(x, places, values, indices, outer, n, inner, slabs, slab):
        tops = cuda.shared.array(THREADS, number)
        tops_at = cuda.shared.array(THREADS, np.int64)
        thread = np.int64(cuda.threadIdx.x)
        beside, below = thread % width, thread // width
        tiles = (inner + width - 1) // width
        for b in range(cuda.blockIdx.x, outer * slabs * tiles, cuda.gridDim.x):
            r = b // tiles
            j = (b - r * tiles) * width + beside
            o = r // slabs
            first = (r - o * slabs) * slab
            best, at = number(0), np.int64(0)
            if j < inner:
                top = o * n * inner + j
                end = min(first + slab, n)
                best = number(x[np.uint64(top + first * inner)])
                at = places[np.uint64(top + first * inner)] if later else first
                for i0 in range(first + below, end, height * EACH):
                    for k in range(EACH):
                        i = i0 + k * height
                        if i < end:
                            v = number(x[np.uint64(top + i * inner)])
                            p = places[np.uint64(top + i * inner)] if later else i
                            if beats(v, p, best, at, down):
                                best, at = v, p
            tops[thread] = best
            tops_at[thread] = at
            sync()
            if below == 0 and j < inner:
                for k in range(1, height):
                    v, p = tops[beside + k * width], tops_at[beside + k * width]
                    if beats(v, p, best, at, down):
                        best, at = v, p
                values[np.uint64(r * inner + j)] = best
                indices[np.uint64(r * inner + j)] = at
            sync()

    return extremum_columns


@cache
def _launch(dtype, outer: int, n: int, inner: int, down: bool, later: bool):
    """(launch of (x, places, values, indices), the number of parts of a row or column)."""
    number = dtype.type if dtype.kind == "f" else np.int64
    numbers: tuple[int, ...]
    if inner == 1:
        group = group_for(n, EACH)
        slabs = slabs_for(outer, n, 8 * THREADS) if group == THREADS else 1
        slab = -(-n // slabs)
        slabs = -(-n // slab)  # none of them empty
        made, count = _rows(group, down, later, number), grid(outer * slabs, group)
        numbers = (outer, n, slabs, slab)
    else:
        width = min(power(inner), WARP)
        while width < min(inner, THREADS) and THREADS // width > max(n // 4, 1):
            width *= 2
        tiles = -(-inner // width)
        slabs = slabs_for(outer * tiles, n, 2 * EACH * (THREADS // width))
        slab = -(-n // slabs)
        slabs = -(-n // slab)
        made, count = _columns(width, down, later, number), grid(outer * slabs * tiles)
        numbers = (outer, n, inner, slabs, slab)
    place = (np.dtype(np.int64), 1)
    run = machine.launcher(made, ((dtype, 1), place, (dtype, 1), place, *["int64"] * len(numbers)))(
        count, THREADS)
    return lambda *arrays: run(*arrays, *numbers), slabs


def extremum(x, largest):
    """(values, indices) of the largest (or smallest) along the middle axis of x (outer, n, inner).

    Of equal entries the first counts; a NaN is beyond all numbers.
    """
    outer, n, inner = x.shape
    found, places, length = contiguous(x), None, n
    if not outer * inner:
        return empty((outer, inner), x.dtype), empty((outer, inner), np.int64)
    while True:
        run, parts = _launch(x.dtype, outer, n, inner, not largest, places is not None)
        values, indices = (empty((outer, parts, inner), d) for d in (x.dtype, np.int64))
        run(found, indices if places is None else places, values, indices)
        if parts == 1:
            return values.reshape(outer, inner), tell(indices, 0, length - 1).reshape(outer, inner)
        found, places, n = values, indices, parts
