"""What a kernel's machine code does where it spends its time: bytes, operations, instructions, waits.

nvdisasm (`pip install nvidia-cuda-nvdisasm`) writes the code out; loops are found as what can be
reached from itself. The hottest is the one with most bytes and operations if every loop goes round
TURNS times. Of several ways the longest is taken; functions that are called do not count.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sysconfig
import tempfile
from collections import Counter
from collections.abc import Iterator
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

#: How often a loop goes round: a tree over the 256 threads of a block.
TURNS = 8

#: Clocks from an instruction to the first that can use its result, by the first letters of its name;
#: Luo et al., Dissecting the NVIDIA Hopper Architecture through Microbenchmarking, 2024.
WAITS = {"LDG": 479, "LD.": 479, "ATOMG": 479, "LDL": 33, "LDS": 29, "ATOMS": 29, "LDC": 29,
         "SHFL": 24, "MUFU": 18, "S2": 20, "BAR": 30, "D": 8, "F2F": 14, "I2F": 14, "F2I": 14, "": 4}


class Instruction(NamedTuple):
    address: int
    guard: str
    name: str
    operands: tuple[str, ...]


class Loop(NamedTuple):
    """Blocks of code, among them those of inner loops."""

    blocks: frozenset[int]
    depth: int
    inner: tuple[Loop, ...]


_LINE = re.compile(r"/\*([0-9a-f]{4,})\*/\s+(?:@(!?U?P\w+)\s+)?([A-Z][\w.]*)\s*(.*?)\s*;")


def nvdisasm() -> str:
    packages = Path(sysconfig.get_paths()["purelib"])
    found = shutil.which("nvdisasm") or next(packages.glob("nvidia/*/bin/nvdisasm"), None)
    if found is None:
        raise FileNotFoundError("nvdisasm: pip install nvidia-cuda-nvdisasm")
    return str(found)


def disassembled(cubin: bytes) -> str:
    """Machine code as text."""
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(cubin)
        file.flush()
        return subprocess.run([nvdisasm(), "-c", file.name], capture_output=True, text=True,
                              check=True).stdout


def parsed(text: str) -> tuple[list[Instruction], dict[str, int]]:
    """The instructions, and which of them each label stands before."""
    code: list[Instruction] = []
    labels: dict[str, int] = {}
    for line in text.splitlines():
        if label := re.match(r"\s*(\.L\w+):", line):
            labels[label[1]] = len(code)
        elif found := _LINE.search(line):
            address, guard, name, rest = found.groups()
            operands = tuple([part.strip() for part in rest.split(",")]) if rest else ()
            code.append(Instruction(int(address, 16), guard or "", name, operands))
    return code, labels


Blocks = dict[int, range]
After = dict[int, set[int]]


def flow(code: list[Instruction], labels: dict[str, int]) -> tuple[Blocks, After]:
    """Blocks, by their first instruction, and the blocks that may follow each."""
    follows: list[set[int]] = []
    for k, one in enumerate(code):
        after = {k + 1}
        kind = one.name.split(".")[0]
        if kind in ("EXIT", "RET", "BRX") and not one.guard:
            after = set()
        elif kind == "BRA" and not one.name.startswith("BRA.DIV"):
            target = re.sub(r"[`()]", "", one.operands[-1])
            after = {labels[target]} if target in labels else set()
            if one.guard or len(one.operands) > 1:
                after.add(k + 1)
        follows.append({n for n in after if n < len(code)})
    starts = {0} | {n for k, after in enumerate(follows) if after != {k + 1} for n in (*after, k + 1)}
    starts |= {n for after in follows for n in after if n in labels.values()}
    edges = sorted(s for s in starts if s < len(code)) + [len(code)]
    blocks = {a: range(a, b) for a, b in pairwise(edges)}
    return blocks, {a: follows[block[-1]] for a, block in blocks.items()}


def reached(start: int, after: After, among: frozenset[int]) -> set[int]:
    """The blocks that may come after `start`."""
    found: set[int] = set()
    todo = list(after[start] & among)
    while todo:
        block = todo.pop()
        if block not in found:
            found.add(block)
            todo += after[block] & among
    return found


def loops(blocks: frozenset[int], after: After, depth: int = 1) -> tuple[Loop, ...]:
    """The outermost loops among blocks, each with those inside it."""
    ahead = {b: reached(b, after, blocks) for b in blocks}
    found, seen = [], set()
    for b in sorted(blocks):
        if b in ahead[b] and b not in seen:
            own = frozenset(n for n in ahead[b] if b in ahead[n])
            seen |= own
            within = {n: after[n] - {b} for n in own}  # the way back to its first block makes it a loop
            found.append(Loop(own, depth, loops(own, within, depth + 1)))
    return tuple(found)


def every(loop: Loop) -> Iterator[Loop]:
    yield loop
    for inner in loop.inner:
        yield from every(inner)


def hottest(code: list[Instruction], labels: dict[str, int]) -> list[Instruction]:
    """What a thread does in one turn of its hottest loop; inner ones go round TURNS times."""
    blocks, after = flow(code, labels)
    reachable = frozenset({0} | reached(0, after, frozenset(blocks)))

    def turn(loop: Loop, turns: int = TURNS) -> list[Instruction]:
        first, part_of = min(loop.blocks), {b: part for part in loop.inner for b in part.blocks}

        @cache
        def longest(b: int) -> list[Instruction]:
            part = part_of.get(b)
            own = turn(part) * turns if part else [code[k] for k in blocks[b]]
            ahead = {n for a in (part.blocks if part else [b]) for n in after[a]} & loop.blocks
            ways = [longest(n) for n in ahead - {first} if not part or n not in part.blocks]
            return own + max(ways, key=len, default=[])

        return longest(first)

    def heat(loop: Loop) -> int:
        done = work(turn(loop, turns=0))
        return (done["loaded"] + done["stored"] + done["flops"]) * TURNS ** loop.depth

    return turn(max(every(Loop(reachable, 0, loops(reachable, after))), key=heat))


#: Instructions by the unit that does them, which takes so many threads of them a clock: CUDA
#: Programming Guide, throughput of native arithmetic instructions, compute capability 9.0.
UNITS = {
    "float": (128, r"F(FMA|ADD|MUL)|H(FMA|ADD|MUL)"), "double": (64, r"D(FMA|ADD|MUL|SETP|MNMX)"),
    "integer": (64, r"I(ADD|ABS|MNMX|SETP)|LOP|SHF$|LEA|PRMT|SEL|F(SEL|SETP|MNMX|CHK)|PLOP|VI|BMSK|"
                    r"P2R|R2P"),
    "multiply": (64, r"IMAD|IDP"), "special": (16, r"MUFU|F2F|F2I|I2F|FRND|POPC|FLO|BREV"),
    "exchange": (32, r"SHFL|VOTE|MATCH|REDUX"),
}


def width(name: str) -> int:
    """Bytes that a load or store moves for a thread."""
    for part in name.split(".")[1:]:
        if part in ("U8", "S8", "U16", "S16", "64", "128"):
            return {"8": 1, "16": 2, "64": 8, "128": 16}[part.lstrip("US")]
    return 4


def work(code: list[Instruction]) -> dict[str, int]:
    """What so much code does for a thread: bytes, operations, and instructions by unit.

    What is loaded again from one place counts once: it lies in the cache.
    """
    done = dict.fromkeys(("loaded", "stored", "in_shared", "flops", "issued", *UNITS), 0)
    version: Counter = Counter()
    loaded = set()
    for one in code:
        kind = one.name.split(".")[0]
        done["issued"] += kind != "NOP"
        if operation := re.match(r"[FDH](FMA|ADD|MUL)|MUFU", kind):
            done["flops"] += (2 if operation[1] == "FMA" else 1) << (kind[0] == "H")
        if kind in ("LDG", "LD"):
            place = (one.operands[-1], *[version[r] for r in _registers(one.operands[-1])])
            done["loaded"] += 0 if place in loaded else width(one.name)
            loaded.add(place)
        elif kind in ("STG", "ST", "RED", "ATOMG", "ATOM"):
            done["stored"] += width(one.name)
        elif kind in ("LDS", "STS", "ATOMS"):
            done["in_shared"] += width(one.name)
        for unit, (_, names) in UNITS.items():
            done[unit] += re.match(names, kind) is not None
        version.update(_written(one))
    return done


def _registers(text: str) -> list[str]:
    """The registers an operand names, and the second of a pair."""
    found = []
    for name, number, pair in re.findall(r"\b(U?[RP])(\d+)(\.64)?", text):
        found += [f"{name}{number}", *([f"{name}{int(number) + 1}"] if pair else [])]
    return found


def _written(one: Instruction) -> list[str]:
    """The registers that an instruction sets."""
    kind = one.name.split(".")[0]
    nothing = ("ST", "RED", "BRA", "BAR", "EXIT", "BSYNC", "BSSY", "CALL")
    if kind.startswith(nothing) or not one.operands:
        return []
    found = _registers(one.operands[0])
    for operand in one.operands[1:]:
        if not re.fullmatch(r"U?P\w+", operand):
            break
        found += _registers(operand)
    if found and found[0][0] != "P":
        base = re.match(r"(U?R)(\d+)", found[0])
        wide = "WIDE" in one.name or kind[0] == "D"
        words = width(one.name) // 4 if kind.startswith("LD") or kind == "S2R" else 2 if wide else 1
        found += [f"{base[1]}{int(base[2]) + k}" for k in range(1, words)] if base else []
    return found


def alone(code: list[Instruction], turns: int = 2) -> int:
    """Clocks that a warp takes for one turn when no other is there: it waits for what it has not yet.

    Instructions begin in order, one a clock at most; the last turn counts, into which loads of the one
    before it may reach.
    """
    ready: dict[str, int] = {}
    now = before = 0
    for _ in range(turns):
        before = now
        for one in code:
            written = _written(one)
            read = [r for text in (one.guard, *one.operands[bool(written):]) for r in _registers(text)]
            now = max([now + 1, *[ready.get(r, 0) for r in read]])
            wait = next(clocks for start, clocks in WAITS.items() if one.name.startswith(start))
            if one.name.startswith("BAR"):
                now += wait
            ready |= dict.fromkeys(written, now + wait)
    return now - before


def summaries(cubin: bytes) -> dict[str, dict[str, int]]:
    """By kernel, the work of one turn of its hottest loop, and the clocks a warp alone takes for it."""
    found = {}
    _, *parts = re.split(r"^\.text\.(\S+):$", disassembled(cubin), flags=re.M)
    for name, text in zip(parts[::2], parts[1::2]):
        code = hottest(*parsed(text))
        found[name] = work(code) | {"alone": alone(code)}
    return found
