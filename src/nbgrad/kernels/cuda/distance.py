"""Distances between all rows of two matrices, on a CUDA device; as kernels/cpu/distance.

A block has TILE rows of x and TILE of y, of which it reads DEPTH numbers at a time into shared memory,
side by side; a thread adds up EACH x EACH of its distances.
"""

from functools import cache

from nbgrad.kernels.cpu.distance import BLOCK as PART
from nbgrad.kernels.cuda import maths as math
from nbgrad.kernels.cuda.blocks import sync
from nbgrad.kernels.cuda.launch import launch
from nbgrad.kernels.cuda.layouts import contiguous
from nbgrad.kernels.cuda.memory import empty
from nbgrad.kernels.cuda.provider import SIMULATED, blocks, cuda, inline, kernel, machine

SIDE, EACH, DEPTH = (2, 4, 2) if SIMULATED else (16, 4, 16)
THREADS, TILE = SIDE * SIDE, SIDE * EACH
#: Numbers between two depths in shared memory: neighbours of a row then lie in different banks.
WIDE = TILE + 1
_SHARED, _SUMS = DEPTH * WIDE, EACH * EACH


@inline
def _read(x, start, rows, m, depth, shared, tid):
    """Numbers depth, depth + 1, ... of TILE rows of x from number `start` on; zeros beyond them."""
    for e in range(tid, TILE * DEPTH, THREADS):
        row, k = e // DEPTH, e % DEPTH
        inside = row < rows and depth + k < m
        shared[k * WIDE + row] = x[start + row * m + depth + k] if inside else x.dtype.type(0)


@cache
def _tiles(squares: bool):
    """The 2-norms of differences if `squares`, else the 1-norms."""
    @kernel
    def distances(x, y, out, batch, p, r, m):
        ours = cuda.shared.array(_SHARED, out.dtype)
        theirs = cuda.shared.array(_SHARED, out.dtype)
        sums = cuda.local.array(_SUMS, out.dtype)
        own = cuda.local.array(EACH, out.dtype)
        tid = cuda.threadIdx.x
        row, column = tid // SIDE, tid % SIDE
        across, down = (r + TILE - 1) // TILE, (p + TILE - 1) // TILE
        for tile in range(cuda.blockIdx.x, batch * across * down, cuda.gridDim.x):
            b, i, j = tile // (across * down), tile // across % down * TILE, tile % across * TILE
            for e in range(_SUMS):
                sums[e] = 0
            for depth in range(0, m, DEPTH):
                _read(x, (b * p + i) * m, p - i, m, depth, ours, tid)
                _read(y, (b * r + j) * m, r - j, m, depth, theirs, tid)
                sync()
                for k in range(DEPTH):
                    for u in range(EACH):
                        own[u] = ours[k * WIDE + row + SIDE * u]
                    for v in range(EACH):
                        other = theirs[k * WIDE + column + SIDE * v]
                        for u in range(EACH):
                            d = own[u] - other
                            sums[u * EACH + v] += d * d if squares else abs(d)
                sync()
            for u in range(EACH):
                for v in range(EACH):
                    at, to = i + row + SIDE * u, j + column + SIDE * v
                    if at < p and to < r:
                        total = sums[u * EACH + v]
                        out[(b * p + at) * r + to] = math.sqrt(total) if squares else total

    return distances


@kernel
def _signs(g, x, y, gx, p, r, m):
    for at in range(cuda.grid(1), gx.size, cuda.gridsize(1)):
        row, k = at // m, at % m
        own, start = x[at], row // p * r * m + k
        total = x.dtype.type(0)
        for low in range(0, r, PART):
            part = x.dtype.type(0)
            for j in range(low, min(low + PART, r)):
                other, c = y[start + j * m], g[row * r + j]
                part += c if own > other else -c if own < other else x.dtype.type(0)
            total += part
        gx[at] = total


@cache
def _launch(dtype, squares: bool, grid: int):
    return machine.launcher(_tiles(squares), ((dtype, 1),) * 3 + ("int64",) * 4)(grid, THREADS)


def distances(x, y, p):
    """As kernels.cpu.distance."""
    (batch, rows, m), columns = x.shape, y.shape[1]
    out = empty((batch, rows, columns), x.dtype)
    tiles = batch * -(-rows // TILE) * -(-columns // TILE)
    if tiles:
        _launch(x.dtype, p == 2, blocks(tiles, 1))(
            contiguous(x), contiguous(y), out, batch, rows, columns, m)
    return out


def signed_sums(g, x, y):
    """As kernels.cpu.distance."""
    gx = empty(x.shape, x.dtype)
    if gx.size:
        launch(_signs, gx.size, (x.dtype,) * 4, ("int64",) * 3)(
            contiguous(g), contiguous(x), contiguous(y), gx, x.shape[1], y.shape[1], x.shape[2])
    return gx
