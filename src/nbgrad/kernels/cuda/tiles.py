"""Products in tiles on a CUDA device: the source of a kernel, wherever its operands are read from.

C[i, j] = sum over p of A[i, p] * B[p, j]. A block of threads makes a tile of C, with `deep` entries of
the sum at a time in shared memory while the next ones are read; a thread keeps its part of the tile
in registers. The first entries are those that are left over, so that only they are checked.
"""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

import numpy as np

from nbgrad.kernels import source
from nbgrad.kernels.cuda.provider import BLOCK, SIMULATED, blocks, cuda, kernel, machine
from nbgrad.kernels.source import block


class Tile(NamedTuple):
    """Rows and columns of a tile, entries of the sum in memory at once, rows and columns a thread.

    What a thread has lies in runs of `run` numbers, which are read from shared memory at once; the
    threads of a warp lie `across` side by side. There are threads for all rows and for all columns.
    """

    rows: int
    columns: int
    deep: int
    high: int
    wide: int
    run: int
    across: int = 8
    warp: int = 32

    @property
    def threads(self) -> int:
        return self.rows // self.high * (self.columns // self.wide)


def tiles(storage: str) -> tuple[Tile, ...]:
    """The tiles for numbers of a dtype, the largest first."""
    if SIMULATED:
        return Tile(8, 8, 4, 2, 2, 2, 2, 4), Tile(4, 8, 4, 2, 2, 1, 2, 4), Tile(4, 4, 4, 2, 2, 2, 2, 4)
    if storage == "float64":
        return Tile(64, 64, 8, 8, 4, 2), Tile(64, 32, 8, 4, 4, 2), Tile(32, 32, 8, 4, 4, 2)
    return Tile(128, 128, 8, 8, 8, 4), Tile(64, 64, 16, 8, 4, 4), Tile(32, 32, 16, 4, 4, 4)


class Operand(NamedTuple):
    """How a thread reads A, by rows, or B, by columns: pieces of Python.

    `line` are names of what is found once for line {}, `depth` of what is found for entry {} of the
    sum, and `value` is an element by those names, `{there}` among them: whether it is `inside`. What is
    not counts as zero, and something else is read meanwhile, so that no load waits for a decision.
    Threads side by side read `along` the sum or across lines.
    """

    along: bool
    line: tuple[tuple[str, str], ...]
    depth: tuple[tuple[str, str], ...]
    value: str
    inside: str = ""


class Spec(NamedTuple):
    """What `emit` puts together: names of arrays and whole numbers, operands, and pieces of Python.

    `start` sets for part z of the work what operands read, and `first` and `depth`: where in the sum
    it begins and how far it goes. `column` are names of what is found once for column {} of the
    result, `place` is where row {i} of that goes, and `value` what is stored for a sum {c}.
    """

    name: str
    storage: str
    arrays: tuple[str, ...]
    numbers: tuple[str, ...]
    start: tuple[str, ...]
    a: Operand
    b: Operand
    column: tuple[tuple[str, str], ...]
    place: str
    value: str
    far: bool = False  # some element has a number of more than 32 bits


_TEXT = '''"""{name} in tiles of {rows} x {columns}, {deep} deep, on {storage}, for CUDA."""
import numpy as np

from nbgrad.kernels.cuda import maths as math
from nbgrad.kernels.cuda.provider import cuda, kernel

u32, i32, index, number = np.uint32, np.int32, np.{index}, np.{number}


@kernel{options}
def {name}({args}):
'''


@cache
def compiled(spec: Spec, tile: Tile):
    return source.compile_source(emit(spec, tile))


def launch(spec: Spec, tile: Tile, m: int, n: int, parts: int, signature, numbers):
    """`run(*arrays)` for so many parts of m rows and n columns each."""
    bind = machine.launcher(compiled(spec, tile), (*signature, *["int64"] * (2 + len(numbers))))
    run = bind(-(-m // tile.rows) * -(-n // tile.columns) * parts, tile.threads)
    return lambda *arrays: run(*arrays, m, n, *numbers)


def _names(pairs, side: str, number) -> dict[str, str]:
    return {name: f"{side}_{name}{number}" for name, _ in pairs}


def _found(pairs, side: str, number, at: str) -> list[str]:
    """Lines that set the names of an operand's line or depth."""
    return [f"{side}_{name}{number} = {text.format(at)}" for name, text in pairs]


class _Side:
    """One operand: the lines it takes to read a step of its sum and to put it into shared memory."""

    def __init__(self, name: str, own: Operand, lines: int, end: str, first: str, tile: Tile) -> None:
        self.name, self.own, self.lines, self.deep = name, own, lines, tile.deep
        self.end, self.first = end, first
        self.width = lines + tile.run  # so that a column of shared memory meets several banks
        self.size = tile.deep * self.width
        self.count = lines * tile.deep // tile.threads
        self.skip = tile.threads // (tile.deep if own.along else lines)

    def setup(self) -> list[str]:
        """What stays the same over all steps: the thread's place, and its lines."""
        s, near = self.name, self.deep if self.own.along else self.lines
        out = [f"{s}_near, {s}_away = t % u32({near}), t // u32({near})"]
        for k in range(self.count if self.own.along else 1):
            line = f"{s}_away + u32({k * self.skip})" if self.own.along else f"{s}_near"
            out += [f"{s}_i = u32({self.first} + u32({line}))",
                    f"{s}_i = {s}_i if {s}_i < {self.end} else u32({self.end} - u32(1))",
                    *_found(self.own.line, s, k, f"index({s}_i)")]
        return out

    def _in_step(self, k: int) -> str:
        s = self.name
        return f"{s}_near" if self.own.along else f"u32({s}_away + u32({k * self.skip}))"

    def read(self, start: str, checked: bool) -> list[str]:
        """Read the thread's entries of the step that begins at `start`."""
        s, out = self.name, []
        for k in range(self.count):
            if k == 0 or not self.own.along:
                out.append(f"{s}_p = {self._in_step(k)}")
                if checked:
                    out += [f"{s}_in = {s}_p < some",
                            f"{s}_p = {s}_p if {s}_in else u32(some - u32(1))"]
                out.append(f"{s}_p = u32({start} + {s}_p)")
                out += _found(self.own.depth, s, "", f"index({s}_p)")
            known = {**_names(self.own.line, s, k if self.own.along else 0),
                     **_names(self.own.depth, s, ""), "there": f"{s}_there{k}"}
            checks = [f"{s}_in"] if checked else []
            if self.own.inside:
                out.append(f"{s}_there{k} = {self.own.inside.format(**known)}")
                checks.append(f"{s}_there{k}")
            out.append(f"{s}_x{k} = {self.own.value.format(**known)}")
            if checks:
                out.append(f"{s}_x{k} = {s}_x{k} if {' and '.join(checks)} else zero")
        return out

    def write(self, half: str) -> list[str]:
        """Put them into half 0 or 1 of the shared memory, an entry of the sum after the other."""
        s, W = self.name, self.width
        p, line = ("near", "away") if self.own.along else ("away", "near")
        place = f"{s}_{p} * u32({W}) + {s}_{line}"
        step = self.skip if self.own.along else self.skip * W
        return [f"{s}_to = u32({half} * u32({self.size}) + u32({place}))",
                *[f"s{s}[{s}_to + u32({k * step})] = {s}_x{k}" for k in range(self.count)]]

    def load(self, p: int, parts: int, each: int, run: int) -> list[str]:
        """The thread's numbers of entry p from shared memory."""
        s = self.name
        return [f"{s}{k} = s{s}[{s}_at + u32({p * self.width + k // run * run * parts + k % run})]"
                for k in range(each)]


def emit(spec: Spec, tile: Tile) -> str:
    """A kernel (*arrays, m, n, *numbers) of a block for each tile of each part."""
    rows, columns, deep, high, wide, run, across, warp = tile
    down, right = rows // high, columns // wide
    numbers = ("m", "n", *spec.numbers)
    sides = (_Side("a", spec.a, rows, "m", "top", tile), _Side("b", spec.b, columns, "n", "left", tile))
    sums = [(i, j) for i in range(high) for j in range(wide)]
    before = [
        *[f"{n} = index({n})" for n in numbers],
        "t = u32(cuda.threadIdx.x)",
        *[f"s{s.name} = cuda.shared.array({2 * s.size}, number, 16)" for s in sides],
        "zero = number(0)",
        f"w, l = t // u32({warp}), t % u32({warp})",
        f"r = u32(w // u32({right // across}) * u32({warp // across}) + l // u32({across}))",
        f"q = u32(w % u32({right // across}) * u32({across}) + l % u32({across}))",
        f"across = u32((n + u32({columns - 1})) // u32({columns}))",
        f"tiles = u32(across * u32((m + u32({rows - 1})) // u32({rows})))",
        "z, place = index(u32(cuda.blockIdx.x) // tiles), u32(cuda.blockIdx.x) % tiles",
        f"top, left = u32(place // across * u32({rows})), u32(place % across * u32({columns}))",
    ]
    part = [
        *spec.start,
        f"steps = u32((depth + u32({deep - 1})) // u32({deep}))",
        f"some = u32(depth - u32(steps - u32(1)) * u32({deep}))",
        *[line for s in sides for line in s.setup()],
        *[line for s in sides for line in s.read("first", True)],
        *[line for s in sides for line in s.write("u32(0)")],
        "cuda.syncthreads()",
        *[f"c{i}_{j} = zero" for i, j in sums],
        "half, start, last = u32(0), u32(first + some), u32(first + depth)",
        "more = True",
        "while more:",
        "    more = start < last",
        "    if more:",
        *["        " + line for s in sides for line in s.read("start", False)],
        f"        start = u32(start + u32({deep}))",
        *[f"    {s}_at = u32(half * u32({side.size}) + {at} * u32({run}))"
          for s, side, at in zip("ab", sides, "rq")],
    ]
    for p in range(deep):
        part += ["    " + line for line in (*sides[0].load(p, down, high, run),
                                            *sides[1].load(p, right, wide, run),
                                            *[f"c{i}_{j} += a{i} * b{j}" for i, j in sums])]
    part += [
        "    half = half ^ u32(1)",
        "    if more:",
        *["        " + line for s in sides for line in s.write("half")],
        "    cuda.syncthreads()",
    ]
    for j in range(wide):
        part += [f"j = u32(left + q * u32({run}) + u32({j // run * run * right + j % run}))",
                 f"out{j} = j < n", f"j = j if out{j} else u32(n - u32(1))",
                 *_found(spec.column, "to", j, "index(j)")]
    for i in range(high):
        part += [f"i = index(top + r * u32({run}) + u32({i // run * run * down + i % run}))",
                 "if i < m:"]
        for j in range(wide):
            known = {name: f"to_{name}{j}" for name, _ in spec.column}
            part += [f"    if out{j}:",
                     f"        {spec.arrays[0]}[{spec.place.format(i='i', **known)}] = "
                     + spec.value.format(c=f"c{i}_{j}", i="i", **known)]
    wanted = (384 if spec.storage == "float64" else 512) // tile.threads
    text = _TEXT.format(
        name=spec.name, rows=rows, columns=columns, deep=deep, storage=spec.storage,
        index="uint64" if spec.far else "uint32",
        number="float64" if spec.storage == "float64" else "float32",
        options=f"(launch_bounds=({tile.threads}, {wanted}))",
        args=", ".join((*spec.arrays, *numbers)))
    return text + block(before + part, 1)


def conversions(storage: str) -> tuple[str, str]:
    """Python that turns what is stored into a number to compute with, and back."""
    if storage in ("float16", "bfloat16"):
        name = "half" if storage == "float16" else storage
        return f"math.from_{name}({{}})", f"math.to_{name}({{}})"
    return "{}", "{}"


def cut(m: int, n: int, k: int, parts: int, storage: str) -> tuple[Tile, int]:
    """The tile for such products, and how long the slabs are that a sum is cut into.

    By sizes alone, so that a result has the same bits on every device.
    """
    *larger, least = tiles(storage)
    for tile in larger:
        count = -(-m // tile.rows) * -(-n // tile.columns) * parts
        slabs = min(_BLOCKS // count, k // _SLAB)
        if 2 * m > tile.rows and 2 * n > tile.columns and (count >= _BLOCKS // 2 or slabs > 1):
            return tile, slab(k, slabs)
    count = -(-m // least.rows) * -(-n // least.columns) * parts
    return least, slab(k, min(_BLOCKS // count, k // _SLAB))


#: So many blocks keep a device busy; so much of a sum is worth a block of its own.
_BLOCKS, _SLAB = (4, 8) if SIMULATED else (264, 512)


def slab(k: int, slabs: int) -> int:
    """The length of slabs, of which there are about so many."""
    return -(-k // max(slabs, 1))


@kernel
def add_slabs(out, parts, bias, size, slabs, run, period):
    """out[i] = the sum of parts[s * size + i] over s, plus bias[i // run % period] if there is one."""
    size, run, period = np.int64(size), np.int64(run), np.int64(period)
    for i in range(cuda.grid(1), size, cuda.gridsize(1)):
        total = parts[i]
        for s in range(1, slabs):
            total += parts[s * size + i]
        if bias.size > 0:
            total += bias[i // run % period]
        out[i] = total


def adding(dtype, size: int, slabs: int, run: int = 1, period: int = 1):
    """`run(out, parts, bias)` that adds up slabs."""
    one = (np.dtype(dtype), 1)
    bound = machine.launcher(add_slabs, (one, one, one, *["int64"] * 4))(blocks(size), BLOCK)
    return lambda out, parts, bias: bound(out, parts, bias, size, slabs, run, period)
