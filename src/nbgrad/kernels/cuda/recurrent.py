"""One layer of a recurrent network in one direction, on a CUDA device.

Arrays are those of kernels/cpu/recurrent.py. A block makes a tile of a step: some rows of the batch
and the gates of some units. Its warps share the sums over the states before, or have units of their
own; what they found meets in shared memory, where a thread has all gates of a unit and makes the state
of them. Where weights are few, a block has all units, so that it goes through all steps by itself:
rows know nothing of each other. Otherwise a step is a launch. Where tiles are few and sums long, blocks
have slabs of the sums, and the last one that is done adds these up, in their order.
"""

from functools import cache
from typing import NamedTuple

import numpy as np

from nbgrad.kernels.cuda import maths as math
from nbgrad.kernels.cuda.array import DeviceArray, OnHost
from nbgrad.kernels.cuda.blocks import THREADS, WARPS
from nbgrad.kernels.cuda.launch import launch
from nbgrad.kernels.cuda.layouts import contiguous, copied
from nbgrad.kernels.cuda.memory import empty, upload, zeros
from nbgrad.kernels.cuda.provider import SIMULATED, cuda, inline, kernel, machine
from nbgrad.kernels.cuda.recurrent_sums import ACROSS, COLUMNS, NEAR, TILES, WIDE, Tile, products

i32 = np.int32
TANH, RELU, GRU, LSTM = range(4)
#: mode -> its kind of cell, and the number of its gates
KINDS = {"RNN_TANH": (TANH, 1), "RNN_RELU": (RELU, 1), "GRU": (GRU, 3), "LSTM": (LSTM, 4)}
#: Weights that one block may read in every step; blocks that keep a device busy; the least slab.
WHOLE, BUSY, SLAB = (100, 12, 4) if SIMULATED else (1 << 16, 132, 256)


@inline
def _sigmoid(x):
    one = type(x)(1)
    return one / (one + math.exp(-x))


@inline
def _goes_on(lengths, i, s):
    """Whether row i has a step s."""
    return lengths.size == 0 or s < lengths[i]


@inline
def _cell(kind, g, bias, a, e, h, q, width, before, now):
    """The state of a unit from its sums g: gates at q, `width` from one to the next."""
    q1, q2, q3 = np.uint64(q + width), np.uint64(q + 2 * width), np.uint64(q + 3 * width)
    q, before, now = np.uint64(q), np.uint64(before), np.uint64(now)
    if kind == TANH:
        h[now] = math.tanh(a[q] + g[0])
    elif kind == RELU:
        x = a[q] + g[0]
        h[now] = type(x)(0) if x < 0 else x
    elif kind == GRU:
        r, z = _sigmoid(a[q] + g[0]), _sigmoid(a[q1] + g[1])
        u = g[2] + bias
        n = math.tanh(a[q2] + r * u)
        a[q] = r
        a[q1] = z
        a[q2] = n
        e[now] = u
        h[now] = n + z * (h[before] - n)
    else:
        i, f = _sigmoid(a[q] + g[0]), _sigmoid(a[q1] + g[1])
        n, o = math.tanh(a[q2] + g[2]), _sigmoid(a[q3] + g[3])
        c = f * e[before] + i * n
        a[q] = i
        a[q1] = f
        a[q2] = n
        a[q3] = o
        e[now] = c
        h[now] = o * math.tanh(c)


@inline
def _cell_back(kind, g, gh, gc, a, e, h, ga, gb, q, width, k, before, now):
    """From the gradient g to a unit's state those of its gates' sums; see kernels/cpu/recurrent.py."""
    one = type(g)(1)
    q1, q2, q3 = np.uint64(q + width), np.uint64(q + 2 * width), np.uint64(q + 3 * width)
    q, before, now = np.uint64(q), np.uint64(before), np.uint64(now)
    if kind == TANH:
        y = h[now]
        ga[q] = g * (one - y * y)
    elif kind == RELU:
        ga[q] = g if h[now] > 0 else type(g)(0)
    elif kind == GRU:
        y, x, u = a[q], a[q1], a[q2]
        gn = g * (one - x) * (one - u * u)
        gr = gn * e[now] * y * (one - y)
        gz = g * (h[before] - u) * x * (one - x)
        ga[q] = gr
        gb[q] = gr
        ga[q1] = gz
        gb[q1] = gz
        ga[q2] = gn
        gb[q2] = gn * y
        gh[k] = g * x
    else:
        i, f, n, o = a[q], a[q1], a[q2], a[q3]
        y = math.tanh(e[now])
        c = gc[k] + g * o * (one - y * y)
        ga[q] = c * n * i * (one - i)
        ga[q1] = c * e[before] * f * (one - f)
        ga[q2] = c * i * (one - n * n)
        ga[q3] = g * y * o * (one - o)
        gc[k] = c * f


@inline
def _place(across, slabs):
    """The block's tile and slab, and where the tile lies: how far down, and how far across."""
    block = i32(cuda.blockIdx.x)
    tile = i32(block // slabs)
    down = i32(tile // across)
    return tile, i32(block - tile * slabs), down, i32(tile - down * across)


@cache
def _forward(kind: int, gates: int, tiles: Tile):
    rows, space, whole = tiles.rows, tiles.space, tiles.whole
    size, units = WARPS * space, COLUMNS if gates == 1 else ACROSS
    pace = 1 if gates == 1 else NEAR  # from a unit's columns to the next one's
    sums, joined = products(gates, tiles)

    @kernel(launch_bounds=(THREADS, tiles.beside))
    def recurrent(w, rest, lengths, a, e, h, parts, tickets, start, stop, steps, n, width, back, ways,
                  slabs):
        own = cuda.shared.array(size, h.dtype, 16)
        ticket = cuda.shared.array(1, np.int32)
        g = cuda.local.array(gates, h.dtype)
        steps, n, width, back = i32(steps), i32(n), i32(width), i32(back)
        ways, slabs = (i32(ways), i32(1)) if whole else (i32(WARPS), i32(slabs))
        tile, slab, i0, j0 = _place(i32(1) if whole else i32((width + units - 1) // units), slabs)
        i0, j0 = i32(i0 * rows), i32(j0 * units)
        for t in range(i32(start), i32(stop) if whole else i32(start + 1)):
            s = i32(steps - 1 - t if back else t)
            before, now = i32(s + back), i32(s + 1 - back)
            if _goes_on(lengths, i0, s):
                for j in range(j0, width if whole else i32(j0 + 1), i32(WARPS // ways * units)):
                    sums(own, h, np.uint64((before * n + i0) * width), np.uint32(n - i0), w, j,
                         np.uint32(width), np.uint32(width), ways, slab, slabs)
                    mine = slabs == 1 or joined(own, ticket, parts, tickets, tile, slab, slabs)
                    for p in range(i32(cuda.threadIdx.x),
                                   i32(WARPS // ways * rows * units if mine else 0), THREADS):
                        u, i, m = p % units, p // units % rows, p // (units * rows)
                        at = np.uint32(m * ways * space + i * WIDE + u * pace)
                        for k in range(gates):
                            g[k] = own[at + np.uint32(k)]
                            for v in range(1, ways if slabs == 1 else 1):
                                g[k] += own[at + np.uint32(v * space + k)]
                        u, i = j + m * units + u, i0 + i
                        if i < n and u < width and _goes_on(lengths, i, s):
                            bias = rest[u] if rest.size > 0 else h.dtype.type(0)
                            _cell(kind, g, bias, a, e, h, (s * n + i) * gates * width + u, width,
                                  (before * n + i) * width + u, (now * n + i) * width + u)
                    cuda.syncthreads()

    return recurrent


@cache
def _backward(kind: int, gates: int, tiles: Tile):
    rows, space, whole = tiles.rows, tiles.space, tiles.whole
    size = WARPS * space
    sums, joined = products(1, tiles)

    @kernel(launch_bounds=(THREADS, tiles.beside))
    def recurrent_backward(w, lengths, gy, gh, gc, a, e, h, ga, gb, parts, tickets, start, stop, steps,
                           n, width, back, ways, slabs):
        own = cuda.shared.array(size, h.dtype, 16)
        ticket = cuda.shared.array(1, np.int32)
        steps, n, width, back = i32(steps), i32(n), i32(width), i32(back)
        ways, slabs = (i32(ways), i32(1)) if whole else (i32(WARPS), i32(slabs))
        tile, slab, i0, j0 = _place(i32(1) if whole else i32((width + COLUMNS - 1) // COLUMNS), slabs)
        i0, j0 = i32(i0 * rows), i32(j0 * COLUMNS)
        row = i32(gates * width)
        for t in range(i32(start), i32(stop) if whole else i32(start + 1)):
            s = i32(t if back else steps - 1 - t)
            before, now, later = i32(s + back), i32(s + 1 - back), i32(s + 1 - 2 * back)
            some = t > 0 and _goes_on(lengths, i0, later)
            if some or (t < steps and _goes_on(lengths, i0, s)):
                for j in range(j0, width if whole else i32(j0 + 1), i32(WARPS // ways * COLUMNS)):
                    mine = slab == 0
                    if some:
                        sums(own, gb, np.uint64((later * n + i0) * row), np.uint32(n - i0), w, j,
                             np.uint32(width), np.uint32(row), ways, slab, slabs)
                        mine = slabs == 1 or joined(own, ticket, parts, tickets, tile, slab, slabs)
                    for p in range(i32(cuda.threadIdx.x),
                                   i32(WARPS // ways * rows * COLUMNS if mine else 0), THREADS):
                        u, i, m = p % COLUMNS, p // COLUMNS % rows, p // (COLUMNS * rows)
                        at = np.uint32(m * ways * space + i * WIDE + u)
                        u, i = j + m * COLUMNS + u, i0 + i
                        if i < n and u < width:
                            k = np.uint64(i * width + u)
                            g = gh[k]
                            if some and _goes_on(lengths, i, later):
                                g = g if kind == GRU else h.dtype.type(0)
                                for v in range(ways if slabs == 1 else 1):
                                    g += own[at + np.uint32(v * space)]
                            if t < steps and _goes_on(lengths, i, s):
                                _cell_back(kind, g + gy[np.uint64((s * n + i) * width + u)], gh, gc,
                                           a, e, h, ga, gb, (s * n + i) * row + u, width, k,
                                           (before * n + i) * width + u, (now * n + i) * width + u)
                            else:
                                gh[k] = g
                    cuda.syncthreads()

    return recurrent_backward


@kernel
def _in_slots(states, own, lengths, slot, n, put):
    """own[i] to or from the slot of row i, which is its length where there are lengths."""
    width = own.size // n
    for k in range(cuda.grid(1), own.size, cuda.gridsize(1)):
        i = k // width
        at = np.uint64((lengths[i] if lengths.size > 0 else slot) * own.size + k)
        if put:
            states[at] = own[k]
        else:
            own[k] = states[at]


@kernel
def _add_biases(own, hidden, total, common):
    for k in range(cuda.grid(1), total.size, cuda.gridsize(1)):
        total[k] = own[k] + hidden[k] if k < common else own[k]


class _Cut(NamedTuple):
    """How the work is cut: tiles, blocks, warps that share a sum and slabs, and memory for these."""

    tile: Tile
    grid: int
    ways: int = WARPS
    slabs: int = 1
    tickets: int = 0
    parts: int = 0


@cache
def _cut(dtype: np.dtype, n: int, width: int, gates: int, k: int) -> _Cut:
    """For sums of k products, so many `gates` of them for a unit. By sizes alone, as are results."""
    weights = gates * width * k
    if weights >= 1 << 32:
        raise OnHost("a recurrent layer of 2^32 weights")
    whole, small, large = TILES["simulated" if SIMULATED else dtype.name]
    across = -(-width // (COLUMNS if gates == 1 else ACROSS))
    if weights <= WHOLE:
        ways = 1
        while 2 * ways * across <= WARPS:
            ways *= 2
        return _Cut(whole, -(-n // whole.rows), ways)
    tile = small if n <= small.rows else large
    count = -(-n // tile.rows) * across
    slabs = max(1, min(BUSY // count, k // SLAB))
    if slabs == 1:
        return _Cut(tile, count)
    return _Cut(tile, count * slabs, WARPS, slabs, count, count * slabs * tile.rows * COLUMNS)


@cache
def _launch(make, kind: int, gates: int, tile: Tile, dtypes: tuple[np.dtype, ...], grid: int):
    return machine.launcher(make(kind, gates, tile), (
        *[(d, 1) for d in dtypes], *["int64"] * 8))(grid, THREADS)


def _run(make, mode: str, cut: _Cut, arrays: tuple, turns: int, *sizes: int) -> None:
    """Launch a kernel on arrays, and on memory of its own, for all turns."""
    dtype = arrays[0].dtype
    arrays = (*arrays, empty(cut.parts, dtype), zeros(cut.tickets, np.int32))
    run = _launch(make, *KINDS[mode], cut.tile, tuple([a.dtype for a in arrays]), cut.grid)
    each = turns if cut.tile.whole else 1
    for t in range(0, turns, each):
        run(*arrays, t, t + each, *sizes, cut.ways, cut.slabs)


def _lengths(sizes: tuple[int, ...], n: int) -> DeviceArray:
    """How many steps each row has, or nothing where all rows have all steps."""
    if sizes[-1] == n:
        return empty(0, np.int64)
    return upload(np.searchsorted(-np.array(sizes), -np.arange(n)).astype(np.int64))


def _move(states: DeviceArray, own: DeviceArray, lengths: DeviceArray, slot: int, put: bool) -> None:
    if own.size:
        launch(_in_slots, own.size, (own.dtype, own.dtype, lengths.dtype), ("int64",) * 3)(
            states, own, lengths, slot, own.shape[0], int(put))


def biases(own, hidden, mode):
    """As kernels.cpu.recurrent."""
    kind, gates = KINDS[mode]
    common = own.size // gates * 2 if kind == GRU else own.size
    total = empty(own.shape, own.dtype)
    own, hidden = contiguous(own), contiguous(hidden)
    launch(_add_biases, total.size, (total.dtype,) * 3, ("int64",))(own, hidden, total, common)
    return total, hidden.part(common, hidden.size)


def forward(a, w, start, bias, mode, back, sizes):
    """As kernels.cpu.recurrent."""
    kind, gates = KINDS[mode]
    (n, width), steps = start[0].shape, len(sizes)
    lengths, none = _lengths(sizes, n), empty(0, a.dtype)
    h = (zeros if lengths.size else empty)((steps + 1, n, width), a.dtype)
    e = empty(h.shape, a.dtype) if kind >= GRU else none
    first, last = (steps, 0) if back else (0, steps)
    for states, own in zip((h, e), start):
        _move(states, contiguous(own), lengths if back else empty(0, np.int64), first, True)
    if a.size:
        _run(_forward, mode, _cut(a.dtype, n, width, gates, width),
             (contiguous(w), none if bias is None else bias, lengths, a, e, h), steps,
             steps, n, width, int(back))
    found = [empty((n, width), a.dtype) for _ in start]
    for states, own in zip((h, e), found):
        _move(states, own, empty(0, np.int64) if back else lengths, last, False)
    return h.window((steps, n, width), None, 0 if back else n * width), *found, a, e, h


def backward(a, w, e, h, gy, ends, mode, back, sizes):
    """As kernels.cpu.recurrent."""
    kind, gates = KINDS[mode]
    steps, (n, width) = len(sizes), h.shape[1:]
    lengths = _lengths(sizes, n)
    gy = zeros((steps, n, width), a.dtype) if gy is None else contiguous(gy)
    ends = [zeros((n, width), a.dtype) if g is None else copied(g) for g in ends]
    make = zeros if lengths.size else empty
    ga = make(a.shape, a.dtype)
    gb = make(a.shape, a.dtype) if kind == GRU else ga
    if a.size:
        _run(_backward, mode, _cut(a.dtype, n, width, 1, gates * width),
             (contiguous(w.transpose(1, 0)), lengths, gy, ends[0], ends[-1], a, e, h, ga, gb),
             steps + 1, steps, n, width, int(back))
    return ga, gb, *ends
