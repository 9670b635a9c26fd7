"""Sums of products for a step of a recurrent layer on a CUDA device: few rows, and many columns.

tiles.py has a block make a tile together; here each warp makes all of a tile, from a part of the sums,
with shared memory of its own: so even a step of a small batch reads its weights with all the threads
there are, and no warp waits for another one before all parts are added.
"""

from functools import cache
from typing import NamedTuple

import numpy as np

from nbgrad.kernels.cuda.blocks import THREADS, WARP, WARPS, meet
from nbgrad.kernels.cuda.provider import SIMULATED, cuda, inline

# Threads of a warp side by side in a tile, and below each other; those that read along a sum, and the
# lines that they read at once; columns of a thread, and of a tile; entries of a sum taken at a time.
ACROSS, ALONG = (2, 2) if SIMULATED else (8, 8)
DOWN, LINES, NEAR, TOGETHER = WARP // ACROSS, WARP // ALONG, 4, 2
COLUMNS = ACROSS * NEAR
#: From row to row in shared memory: NEAR more, so that threads meet in fewer of its banks.
WIDE = COLUMNS + NEAR


class Tile(NamedTuple):
    """Rows of a thread, entries of a sum in shared memory at once, blocks of a processor at once.

    And whether a block makes the `whole` layer for its rows, rather than one tile in one step.
    """

    high: int
    deep: int
    beside: int
    whole: bool

    @property
    def rows(self) -> int:
        return DOWN * self.high

    @property
    def space(self) -> int:
        """Numbers of a warp in shared memory: what it multiplies, and then what it has found."""
        return max(self.deep * (self.rows + NEAR + WIDE), self.rows * WIDE)


#: For a whole layer, and for a step of few rows and of many.
TILES = {"float32": (Tile(2, 16, 2, True), Tile(2, 16, 2, False), Tile(8, 8, 2, False)),
         "float64": (Tile(2, 8, 1, True), Tile(2, 8, 1, False), Tile(4, 8, 1, False)),
         "simulated": (Tile(1, 4, 1, True), Tile(1, 4, 1, False), Tile(2, 2, 1, False))}


@cache
def products(gates: int, tile: Tile):
    """(sums, joined) for tiles of `high` rows a thread, and of all gates of some units."""
    high, deep, rows, space = tile.high, tile.deep, tile.rows, tile.space
    tall, run = rows + NEAR, min(high, NEAR)
    units = COLUMNS if gates == 1 else ACROSS
    own_columns = NEAR if gates == 1 else gates
    reads_x, reads_w = rows // LINES, COLUMNS // LINES
    all_x, all_w, all_sums = deep // ALONG * reads_x, deep // ALONG * reads_w, high * own_columns

    @inline
    def below(i):
        """How far a thread's row i lies below its first one."""
        return i // run * run * DOWN + i % run

    @inline
    def fetch(x, x_at, left, w, first, width, k, p, end, near, away, xs, ws):
        """Read a thread's numbers of the rows of x and of the columns from entry p of the sum on."""
        for d in range(deep // ALONG):
            q = np.uint32(p + near + d * ALONG)
            q = q if q < end else np.uint32(end - 1)
            for m in range(reads_x):
                i = np.uint32(away + m * LINES)
                i = i if i < left else np.uint32(left - 1)
                xs[d * reads_x + m] = x[x_at + np.uint64(np.uint32(i * k + q))]
            for m in range(reads_w):
                c = np.uint32(away + m * LINES)
                line = np.uint32(first + (c if gates == 1 else c // np.uint32(NEAR)))
                line = line if line < width else np.uint32(width - 1)
                if gates > 1:
                    gate = np.uint32(c % np.uint32(NEAR))
                    gate = gate if gate < gates else np.uint32(gates - 1)
                    line = np.uint32(line + gate * width)
                ws[d * reads_w + m] = w[np.uint32(line * k + q)]

    @inline
    def put(own, base, p, end, near, away, xs, ws):
        """Put them into shared memory, an entry of the sum after the other; zeros after the end."""
        zero = own.dtype.type(0)
        for d in range(deep // ALONG):
            inside = p + near + d * ALONG < end  # not asked before: that would wait for memory
            to = np.uint32(base + (near + d * ALONG) * tall + away)
            for m in range(reads_x):
                own[to + np.uint32(m * LINES)] = xs[d * reads_x + m] if inside else zero
            to = np.uint32(base + deep * tall + (near + d * ALONG) * WIDE + away)
            for m in range(reads_w):
                own[to + np.uint32(m * LINES)] = ws[d * reads_w + m] if inside else zero

    @inline
    def sums(own, x, x_at, left, w, first, width, k, ways, slab, slabs):
        """Leave what each warp adds up of x[i] . w[gate, unit] in its part of shared memory.

        Rows of x are k long and begin at x_at, `left` of them; lines of w, too: one for each unit,
        from `first` on, of the first gate, then of the next ones.
        """
        xs = cuda.local.array(all_x, x.dtype)
        ws = cuda.local.array(all_w, x.dtype)
        found = cuda.local.array(all_sums, x.dtype)
        some = cuda.local.array(high, x.dtype)
        lane, warp = np.uint32(cuda.threadIdx.x % WARP), np.uint32(cuda.threadIdx.x // WARP)
        near, away = np.uint32(lane % ALONG), np.uint32(lane // ALONG)
        r, q = np.uint32(lane // ACROSS), np.uint32(lane % ACROSS)
        base = np.uint32(warp * space)
        first = np.uint32(first + warp // ways * units)
        length = np.uint32((k + slabs - 1) // slabs)
        p, end = np.uint32(slab * length), np.uint32(min(k, (slab + 1) * length))
        p = np.uint32(p + warp % ways * deep)
        for m in range(all_sums):
            found[m] = 0
        more, ready = p < end and first < width, False
        while more or ready:
            if more:
                fetch(x, x_at, left, w, first, width, k, p, end, near, away, xs, ws)
            if ready:
                from_x, from_w = np.uint32(base + r * run), np.uint32(base + deep * tall + q * NEAR)
                while from_x < base + deep * tall:
                    for v in range(TOGETHER):
                        for i in range(high):
                            some[i] = own[from_x + np.uint32(v * tall + below(i))]
                        for c in range(own_columns):
                            y = own[from_w + np.uint32(v * WIDE + c)]
                            for i in range(high):
                                found[i * own_columns + c] += some[i] * y
                    from_x = np.uint32(from_x + TOGETHER * tall)
                    from_w = np.uint32(from_w + TOGETHER * WIDE)
            meet()
            ready = more
            if more:
                put(own, base, p, end, near, away, xs, ws)
            p = np.uint32(p + ways * deep)
            more = ready and p < end
            meet()
        for i in range(high):
            row = np.uint32(r * run + below(i))
            for c in range(own_columns):
                own[np.uint32(base + row * WIDE + q * NEAR + c)] = found[i * own_columns + c]
        cuda.syncthreads()

    @inline
    def joined(own, ticket, parts, tickets, place, slab, slabs):
        """Whether this block is the last one of a tile: it then has the sums over all slabs."""
        size = rows * COLUMNS
        for p in range(cuda.threadIdx.x, size, THREADS):
            at = np.uint32(p // COLUMNS * WIDE + p % COLUMNS)
            total = own[at]
            for k in range(1, WARPS):
                total += own[at + np.uint32(k * space)]
            parts[np.uint64((place * slabs + slab) * size + p)] = total
        cuda.threadfence()
        cuda.syncthreads()
        if cuda.threadIdx.x == 0:
            ticket[0] = cuda.atomic.add(tickets, place, np.int32(1))
        cuda.syncthreads()
        last = ticket[0] == slabs - 1
        if last:
            cuda.threadfence()
            for p in range(cuda.threadIdx.x, size, THREADS):
                at = np.uint64(place * slabs * size + p)
                total = parts[at]
                for k in range(1, slabs):
                    total += parts[at + np.uint64(k * size)]
                own[np.uint32(p // COLUMNS * WIDE + p % COLUMNS)] = total
            if cuda.threadIdx.x == 0:
                tickets[place] = 0
        cuda.syncthreads()
        return last

    return sums, joined
