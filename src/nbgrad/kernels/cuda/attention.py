"""Attention on a CUDA device: tiles of scores stay in registers, and never reach the device's memory.

A block has a tile of queries and passes over tiles of keys. It keeps each row's largest score and the
sum of exponentials that belongs to it, and scales what it has added up so far when a larger one comes
(Milakov and Gimelshein, Online normalizer calculation for softmax, 2018; Dao et al., FlashAttention,
2022). Gradients compute the scores again, from q, k and the logsumexp. Queries are cut into blocks, and
for the gradients to keys and values the keys are (Dao, FlashAttention-2, 2023), so no two blocks add to
one place.

Products are those of kernels/cuda/tiles.py: C[i, j] += A[p, i] * B[p, j], an entry of the sum after
the other in shared memory, a rectangle of C in a thread's registers. A thread has rows of every tile
together with neighbours of its warp alone, and they tell each other maxima and sums.
"""

from __future__ import annotations

import math
from functools import cache, lru_cache
from typing import NamedTuple

import numpy as np

from nbgrad.kernels import source
from nbgrad.kernels.cuda.array import DeviceArray
from nbgrad.kernels.cuda.blocks import THREADS, WARP, grid, total_of
from nbgrad.kernels.cuda.layouts import contiguous, copy, crop
from nbgrad.kernels.cuda.memory import empty, upload, zeros
from nbgrad.kernels.cuda.provider import SIMULATED, cuda, kernel, machine
from nbgrad.kernels.cuda.tiles import Tile
from nbgrad.kernels.source import block

#: Head dimensions are filled up to a multiple of `_UNIT`; of so many entries at once, `_NEAR`
#: neighbouring threads read a line, and so many steps of a sum are one step of a loop.
_UNIT, _NEAR, _STEPS = (4, 2, 2) if SIMULATED else (32, 8, 4)
#: The widest heads; fewer queries than that, or fewer blocks, take longer than products and a softmax.
_WIDEST, _SHORT, _FEW = (16, 2, 1) if SIMULATED else (128, 32, 128)
#: The column and the row of a thread among those of its warp, by its number there, and the bits of
#: that number which the column is. A pair of rows changes with every second thread: then a warp's
#: loads of 16 bytes from shared memory meet in pairs.
_COLUMN, _ROW, _BITS = ("l & u32(1)", "u32(0)", (1,)) if SIMULATED else (
    "l & u32(1) | l >> u32(1) & u32(6)", "l >> u32(1) & u32(1) | l >> u32(3) & u32(2)", (1, 4, 8))


#: Numbers that kernels take; with a mask also how far it is from one matrix, query and key to the next.
_NUMBERS: tuple[str, ...] = ("length", "seen", "causal")
_STRIDES = "m_step", "l_step", "s_step"


class Spec(NamedTuple):
    """What a kernel is made for: numbers of a dtype, heads of a width, and a mask if there is one."""

    storage: str
    width: int
    masked: bool

    @property
    def tile(self) -> Tile:
        deep = 2 * _UNIT if self.width % (2 * _UNIT) == 0 and self.storage == "float32" else _UNIT
        if SIMULATED:
            return Tile(4, 8, deep, 2, 4, 2, 2, 2)
        if self.storage == "float64":
            return Tile(32, 32, deep, 2, 4, 2)
        return Tile(64, 64, deep, 4, 8, 4)


_TEXT = '''"""Attention, {name}: {rows} x {columns} scores, heads of {width}, on {storage}, for CUDA."""
import numpy as np

from nbgrad.kernels.cuda import maths as math
from nbgrad.kernels.cuda.provider import cuda, kernel

u32, u64, number = np.uint32, np.uint64, np.{storage}


@kernel(launch_bounds=({threads}, {held}))
def attention_{name}({args}):
'''


def _apart(k: int, run: int, parts: int) -> int:
    """How far a thread's k-th line is from its first: so many threads have runs in turn."""
    return k // run * run * parts + k % run


class _Writer:
    """The pieces that the kernels are put together from, as lines of Python."""

    def __init__(self, spec: Spec) -> None:
        self.spec, tile = spec, spec.tile
        self.rows, self.columns, self.deep, self.high, self.wide, self.run, self.right, self.warp = tile
        self.tile, self.down = tile, self.rows // self.high
        self.chunks, self.each = spec.width // self.deep, self.deep // self.right
        #: numbers in shared memory from one entry of the sum to the next, so many that threads which
        #: write side by side meet different banks
        self.a_width, self.b_width = self.rows + self.run, self.columns + self.run
        self.v_width = self.deep + _NEAR
        self.bits = spec.storage[-2:]
        self.scores = [(i, j) for i in range(self.high) for j in range(self.wide)]

    def begin(self, count: str, place: str) -> list[str]:
        """The block's head z and its tile's first line `top`, of `count` lines; the thread's place."""
        a = max(self.deep, self.columns) * self.a_width
        b = max(self.deep * self.b_width, self.columns * self.v_width)
        return [
            *[f"{n} = u32({n})" for n in _NUMBERS],
            *[f"{n} = u64({n})" for n in _STRIDES if self.spec.masked],
            f"sa = cuda.shared.array({a}, number, 16)", f"sb = cuda.shared.array({b}, number, 16)",
            "zero, low, all_ = number(0), number(-math.inf), u32(0xFFFFFFFF)",
            "scale, log2e = number(scale), number(1.4426950408889634)",
            "t = u32(cuda.threadIdx.x)",
            f"w, l = t // u32({self.warp}), t % u32({self.warp})",
            f"r, q_ = u32(w * u32({self.warp // self.right}) + ({_ROW})), u32({_COLUMN})",
            f"near, away = t % u32({_NEAR}), t // u32({_NEAR})",
            f"tiles = u32((u32({count}) + u32({self.rows - 1})) // u32({self.rows}))",
            "z, place = u64(u32(cuda.blockIdx.x) // tiles), u32(u32(cuda.blockIdx.x) % tiles)",
            f"top = u32({place} * u32({self.rows}))",
            *(["m_z = u64(which[z] * m_step)"] if self.spec.masked else []),
        ]

    def line(self, i: int) -> str:
        """The thread's i-th row of a tile."""
        return f"u32(r * u32({self.run}) + u32({_apart(i, self.run, self.down)}))"

    def column(self, j: int) -> str:
        """The thread's j-th column of a tile."""
        return f"u32(q_ * u32({self.run}) + u32({_apart(j, self.run, self.right)}))"

    def load(self, side: str, array: str, first: str, limit: str, chunk: int,
             turned: bool = True) -> list[str]:
        """Put lines of an array (z, limit, width) into shared memory, those from `first` on.

        Turned, the array's columns are the entries of the sum. Else its lines are, and zeros stand for
        those behind the last.
        """
        count = self.rows if side == "a" else self.columns
        skip, groups = self.tile.threads // _NEAR, self.deep // _NEAR
        step = {"a": self.a_width, "b": self.b_width}[side] if turned else self.v_width
        out, into = [], []
        for k in range(count // skip):
            out += [f"line = u32({first} + away + u32({k * skip}))", f"inside = line < {limit}",
                    f"line = cuda.selp(inside, line, u32({limit} - u32(1)))",
                    f"at = u64(u64(z * {limit} + line) * u64({self.spec.width}) + near)"]
            for g in range(groups):
                value = f"{array}[at + u64({chunk * self.deep + g * _NEAR})]"
                value += " * scale" if array == "q" else ""
                out.append(f"x{k}_{g} = {value if turned else f'cuda.selp(inside, {value}, zero)'}")
                at = g * _NEAR * step + k * skip if turned else k * skip * step + g * _NEAR
                into.append(f"s{side}[to + u64({at})] = x{k}_{g}")
        to = f"near * u64({step}) + away" if turned else f"away * u64({step}) + near"
        return [*out, f"to = u64({to})", *into]

    def put(self, sums: str) -> list[str]:
        """Put a tile of scores where A is: its columns are the next product's entries of the sum."""
        width = self.a_width
        out = [f"to = u64(q_ * u64({self.run * width}) + r * u64({self.run}))"]
        for j in range(self.wide):
            for i in range(self.high):
                at = _apart(j, self.run, self.right) * width + _apart(i, self.run, self.down)
                out.append(f"sa[to + u64({at})] = {sums}{i}_{j}")
        return out

    def product(self, sums: str, wide: int, width: int, depth: int) -> list[str]:
        """sums += A B, as both lie in shared memory."""
        run, step = self.run, []
        for s, far, parts, each in (("a", self.a_width, self.down, self.high),
                                    ("b", width, self.right, wide)):
            step += [f"{s}_to = u64({s}_at) + u64(p) * u64({far})",
                     *[f"{s}{k} = s{s}[{s}_to + u64({_apart(k, run, parts)})]" for k in range(each)]]
        step += [f"{sums}{i}_{j} += a{i} * b{j}" for i in range(self.high) for j in range(wide)]
        return [f"a_at, b_at = u32(r * u32({run})), u32(q_ * u32({run}))",
                f"end = u32(a_at + u32({depth * self.a_width}))",
                "while a_at < end:",
                f"    for p in range({_STEPS}):", *["        " + line for line in step],
                f"    a_at = u32(a_at + u32({_STEPS * self.a_width}))",
                f"    b_at = u32(b_at + u32({_STEPS * width}))"]

    def zeros(self, sums: str, wide: int) -> list[str]:
        return [f"{sums}{i}_{j} = zero" for i in range(self.high) for j in range(wide)]

    def scored(self, sums: str, a: tuple[str, str, str], b: tuple[str, str, str]) -> list[str]:
        """sums = the tile's products of lines of two arrays, both (array, first line, limit)."""
        out = self.zeros(sums, self.wide)
        for c in range(self.chunks):
            out += ["cuda.syncthreads()", *self.load("a", *a, c), *self.load("b", *b, c),
                    "cuda.syncthreads()",
                    *self.product(sums, self.wide, self.b_width, self.deep)]
        return out

    def spread(self, into: str, sums: str, b: tuple[str, str, str]) -> list[str]:
        """into{chunk}_ += the tile of scores times lines of an array."""
        out = []
        for c in range(self.chunks):
            out += ["cuda.syncthreads()", *(self.put(sums) if c == 0 else ()),
                    *self.load("b", *b, c, False), "cuda.syncthreads()",
                    *self.product(f"{into}{c}_", self.each, self.v_width, self.columns)]
        return out

    def mask(self, turned: bool) -> list[str]:
        """Add the mask to scores c, whose rows are the queries, or the keys if turned."""
        if not self.spec.masked:
            return []
        axes = ("l_step", "length"), ("s_step", "seen")
        (row, rows), (column, columns) = reversed(axes) if turned else axes
        out = []
        for i in range(self.high):
            out += [f"line = u32(top + {self.line(i)})",
                    f"line = cuda.selp(line < {rows}, line, u32({rows} - u32(1)))",
                    f"at{i} = u64(m_z + u64(line) * {row})"]
        for j in range(self.wide):
            out += [f"line = u32(first + {self.column(j)})",
                    f"line = cuda.selp(line < {columns}, line, u32({columns} - u32(1)))",
                    f"to = u64(u64(line) * {column})",
                    *[f"c{i}_{j} = c{i}_{j} + mask[u64(at{i} + to)]" for i in range(self.high)]]
        return out

    def unseen(self, sums: str, value: str) -> list[str]:
        """Give scores a value where the keys, which are columns, are not seen by the queries."""
        out = [f"if u32(first + u32({self.columns})) > sure:"]
        for i in range(self.high):
            out += ["    end = seen", "    if causal:",
                    f"        end = u32(top + u32({self.line(i)} + u32(1)))",
                    "        end = cuda.selp(end < seen, end, seen)"]
            for j in range(self.wide):
                test = f"u32(first + {self.column(j)}) < end"
                out += [f"    {s}{i}_{j} = cuda.selp({test}, {s}{i}_{j}, {value})" for s in sums]
        return out

    def keys(self) -> list[str]:
        """How far a tile of queries sees, and how far all of them see."""
        return ["stop, sure = seen, seen", "if causal:",
                f"    stop, sure = u32(top + u32({self.rows})), u32(top + u32(1))",
                "    stop = cuda.selp(stop < seen, stop, seen)",
                "    sure = cuda.selp(sure < seen, sure, seen)"]

    def over(self, start: str, stop: str, lines: list[str]) -> list[str]:
        """A loop over tiles from line `start` to line `stop`."""
        return [f"first = u32({start})", f"while first < {stop}:",
                *["    " + line for line in lines], f"    first = u32(first + u32({self.columns}))"]

    def store(self, array: str, sums: str, limit: str, times: str) -> list[str]:
        """Put the block's lines of a result where they belong."""
        out = []
        for i in range(self.high):
            out += [f"line = u32(top + {self.line(i)})", f"if line < {limit}:",
                    f"    to = u64(u64(z * {limit} + line) * u64({self.spec.width})"
                    f" + q_ * u64({self.run}))"]
            for c in range(self.chunks):
                for j in range(self.each):
                    at = c * self.deep + _apart(j, self.run, self.right)
                    out.append(f"    {array}[to + u64({at})] = {sums}{c}_{i}_{j} * {times.format(i=i)}")
        return out


def _forward(w: _Writer) -> tuple[tuple[str, ...], list[str], int]:
    largest, exp2 = f"math.largest_{w.bits}", f"math.exp2_{w.bits}"
    body = [*w.scored("c", ("q", "top", "length"), ("k", "first", "seen")),
            *w.mask(False), *w.unseen("c", "low")]
    for i in range(w.high):
        body += [f"new = c{i}_0", *[f"new = {largest}(new, c{i}_{j})" for j in range(1, w.wide)],
                 *[f"new = {largest}(new, cuda.shfl_xor_sync(all_, new, {bits}))" for bits in _BITS],
                 f"new = {largest}(m{i}, new * log2e)",
                 "base = cuda.selp(new > low, new, zero)",
                 *[f"c{i}_{j} = {exp2}(c{i}_{j} * log2e - base)" for j in range(w.wide)],
                 f"shrink = {exp2}(m{i} - base)", f"m{i} = new",
                 f"s{i} = s{i} * shrink + ({' + '.join(f'c{i}_{j}' for j in range(w.wide))})",
                 *[f"o{c}_{i}_{j} = o{c}_{i}_{j} * shrink" for c in range(w.chunks)
                   for j in range(w.each)]]
    body += w.spread("o", "c", ("v", "first", "seen"))
    # the last rows of a causal triangle have most to do, and begin first
    lines = [*w.begin("length", "(tiles - u32(1) - place)"), *w.keys(),
             *[line for c in range(w.chunks) for line in w.zeros(f"o{c}_", w.each)],
             *[f"m{i} = low" for i in range(w.high)], *[f"s{i} = zero" for i in range(w.high)],
             *w.over("0", "stop", body)]
    for i in range(w.high):
        lines += [*[f"s{i} += cuda.shfl_xor_sync(all_, s{i}, {bits})" for bits in _BITS],
                  f"line = u32(top + {w.line(i)})",
                  "if q_ == u32(0) and line < length:",
                  f"    found = np.float64(m{i}) * np.float64({math.log(2)!r}) + math.log(s{i})",
                  f"    found = cuda.selp(s{i} != zero, found, np.float64(math.inf))",
                  "    logsumexp[u64(z * length + line)] = found",
                  f"s{i} = cuda.selp(s{i} != zero, number(1) / s{i}, zero)"]
    lines += w.store("out", "o", "length", "s{i}")
    plain = w.spec.width <= 2 * _UNIT and not w.spec.masked
    return ("out", "logsumexp", "q", "k", "v"), lines, 3 if plain else 2


def _queries(w: _Writer) -> tuple[tuple[str, ...], list[str], int]:
    body = [*w.scored("g", ("g", "top", "length"), ("v", "first", "seen")),
            *w.scored("c", ("q", "top", "length"), ("k", "first", "seen")), *w.mask(False),
            *[f"c{i}_{j} = math.exp2_{w.bits}(c{i}_{j} * log2e - m{i}) * (g{i}_{j} - s{i})"
              for i, j in w.scores],
            *w.unseen("c", "zero"), *w.spread("o", "c", ("k", "first", "seen"))]
    lines = [*w.begin("length", "(tiles - u32(1) - place)"), *w.keys(),
             *[line for c in range(w.chunks) for line in w.zeros(f"o{c}_", w.each)]]
    for i in range(w.high):
        lines += _row(str(i), f"u32(top + {w.line(i)})")
    return (("gq", "g", "q", "k", "v", "logsumexp", "delta"),
            [*lines, *w.over("0", "stop", body), *w.store("gq", "o", "length", "scale")], 2)


def _row(k: str, line: str) -> list[str]:
    """What is known of a query: its sum's binary logarithm, and its gradient times its output."""
    return [f"line = {line}", "line = cuda.selp(line < length, line, u32(length - u32(1)))",
            f"m{k} = number(logsumexp[u64(z * length + line)] * np.float64(1.4426950408889634))",
            f"s{k} = delta[u64(z * length + line)]"]


def _keys(w: _Writer) -> tuple[tuple[str, ...], list[str], int]:
    body = [*w.scored("c", ("k", "top", "seen"), ("q", "first", "length")), *w.mask(True),
            *w.scored("g", ("v", "top", "seen"), ("g", "first", "length"))]
    for j in range(w.wide):
        body += [*_row("", f"u32(first + {w.column(j)})"),
                 *[line for i in range(w.high) for line in (
                     f"c{i}_{j} = math.exp2_{w.bits}(c{i}_{j} * log2e - m)",
                     f"g{i}_{j} = c{i}_{j} * (g{i}_{j} - s)")]]
    body += [f"if first < sure or u32(first + u32({w.columns})) > length:"]
    for i, j in w.scores:
        body += [f"    line = u32(first + {w.column(j)})",
                 f"    inside = (causal == u32(0)) | (u32(top + {w.line(i)}) <= line)",
                 "    inside = inside & (line < length)",
                 *[f"    {s}{i}_{j} = cuda.selp(inside, {s}{i}_{j}, zero)" for s in "cg"]]
    body += [*w.spread("v", "c", ("g", "first", "length")),
             *w.spread("k", "g", ("q", "first", "length"))]
    return (("gk", "gv", "g", "q", "k", "v", "logsumexp", "delta"), [
        *w.begin("seen", "place"), "start, sure = u32(0), u32(0)", "if causal:",
        f"    start, sure = u32(top // u32({w.columns}) * u32({w.columns})), u32(top + u32({w.rows}))",
        *[line for c in range(w.chunks) for s in "kv" for line in w.zeros(f"{s}{c}_", w.each)],
        *w.over("start", "length", body), *w.store("gk", "k", "seen", "number(1)"),
        *w.store("gv", "v", "seen", "number(1)")], 2)


_KINDS = {"forward": _forward, "queries": _queries, "keys": _keys}


def emit(name: str, spec: Spec) -> tuple[str, tuple[str, ...], tuple[str, ...]]:
    """A kernel's source, the arrays it takes and the whole numbers; the scale comes last."""
    arrays, lines, held = _KINDS[name](_Writer(spec))
    numbers, tile = _NUMBERS, spec.tile
    if spec.masked:
        arrays, numbers = (*arrays, "mask", "which"), (*numbers, *_STRIDES)
    text = _TEXT.format(
        name=name, rows=tile.rows, columns=tile.columns, width=spec.width, storage=spec.storage,
        threads=tile.threads, held=held,
        args=", ".join((*arrays, *numbers, "scale")))
    return text + block(lines, 1), arrays, numbers


_WIDE = {"logsumexp": np.float64, "which": np.int64}


@cache
def _loaded(name: str, spec: Spec):
    text, arrays, numbers = emit(name, spec)
    own = np.dtype(spec.storage)
    kinds = [(np.dtype(_WIDE.get(a, own)), 1) for a in arrays]
    return machine.launcher(source.compile_source(text), (*kinds, *["int64"] * len(numbers), "float64"))


@lru_cache(4096)
def _bound(name: str, spec: Spec, n: int, length: int, seen: int):
    lines = seen if name == "keys" else length
    return _loaded(name, spec)(n * -(-lines // spec.tile.rows), spec.tile.threads)


@lru_cache(256)
def _places(which: tuple[int, ...], stream: int) -> DeviceArray:
    """Which mask is for each head, there once work given to this stream later begins."""
    return upload(np.array(which, np.int64))


def _filled(x: DeviceArray, width: int) -> DeviceArray:
    """Lines of a width, with zeros behind what there is of them."""
    if x.shape[2] == width:
        return x
    made = zeros((*x.shape[:2], width), x.dtype)
    copy(crop(made, x.shape), x)
    return made


def _cut(x: DeviceArray, width: int) -> DeviceArray:
    """The beginnings of lines."""
    return contiguous(crop(x, (*x.shape[:2], width)))


class _Call:
    """Operands as the kernels take them."""

    def __init__(self, q, k, v, mask, causal, scale) -> None:
        self.width = -(-max(q.shape[2], v.shape[2]) // _UNIT) * _UNIT
        self.operands = tuple([_filled(x, self.width) for x in (q, k, v)])
        self.sizes = *q.shape[:2], k.shape[1]
        self.numbers: tuple = (*self.sizes[1:], int(causal))
        self.mask: tuple = ()
        if mask is not None:
            added, which = mask
            steps = added.steps()
            size = 1 + sum([(m - 1) * s for m, s in zip(added.shape, steps)])
            vector = DeviceArray(added.block, added.ptr, added.dtype, (size,))
            self.mask, self.numbers = (vector, _places(which, machine.stream)), (*self.numbers, *steps)
        self.spec, self.scale = Spec(str(q.dtype), self.width, bool(self.mask)), scale

    def run(self, name: str, outputs: tuple, first: tuple = (), last: tuple = ()) -> None:
        """Launch a kernel, which takes arrays before and after q, k and v."""
        arrays = [x.reshape(-1) for x in (*outputs, *first, *self.operands, *last)]
        _bound(name, self.spec, *self.sizes)(*arrays, *self.mask, *self.numbers, self.scale)


def takes(n: int, length: int, e: int, d: int) -> bool:
    """As kernels.attention.takes: a block has a whole tile of queries, and there must be many."""
    return max(e, d) <= _WIDEST and length >= _SHORT and n * -(-length // 64) >= _FEW


def attend(q, k, v, mask, causal, scale):
    """As kernels.attention.attend."""
    call, lines = _Call(q, k, v, mask, causal, scale), q.shape[:2]
    out, logsumexp = empty((*lines, call.width), q.dtype), empty(lines, np.float64)
    call.run("forward", (out, logsumexp))
    return _cut(out, v.shape[2]), logsumexp


def attend_backward(g, q, k, v, out, logsumexp, mask, causal, scale):
    """As kernels.attention.attend_backward."""
    call, delta = _Call(q, k, v, mask, causal, scale), _dots(g, out)
    grads = gq, gk, gv = [empty(x.shape, x.dtype) for x in call.operands]
    first, last = (_filled(g, call.width),), (logsumexp, delta)
    call.run("queries", (gq,), first, last)
    call.run("keys", (gk, gv), first, last)
    return tuple([_cut(made, x.shape[2]) for made, x in zip(grads, (q, k, v))])


_total = total_of(WARP)


@kernel
def dots(out, a, b, width):
    """out[r] = the sum of a[r, j] * b[r, j], by a warp."""
    thread = np.int64(cuda.threadIdx.x)
    scratch = cuda.shared.array(1, out.dtype)
    rows = THREADS // WARP
    for first in range(cuda.blockIdx.x * rows, out.size, cuda.gridDim.x * rows):
        r = first + thread // WARP
        total = out.dtype.type(0)
        if r < out.size:
            for j in range(thread % WARP, width, WARP):
                total += a[r * width + j] * b[r * width + j]
        total = _total(total, scratch, thread)
        if r < out.size and thread % WARP == 0:
            out[r] = total


@lru_cache(4096)
def _dotting(dtype: np.dtype, rows: int):
    return machine.launcher(dots, ((dtype, 1),) * 3 + ("int64",))(grid(rows, WARP), THREADS)


def _dots(a: DeviceArray, b: DeviceArray) -> DeviceArray:
    """The rows' sums of products."""
    out = empty(a.shape[0] * a.shape[1], a.dtype)
    _dotting(a.dtype, out.size)(out, a.reshape(-1), b.reshape(-1), a.shape[2])
    return out
