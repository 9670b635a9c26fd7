"""What a GPU's limits leave of a kernel's speed: computed from its machine code, not measured.

    python tools/compile_cuda.py --out benchmarks/results/cuda-kernels.json
    python benchmarks/cuda_roofline.py > benchmarks/results/cuda-roofline.md

Of every kernel the gate knows one turn of its hottest loop: bytes, floating point operations,
instructions by the unit that does them, and the clocks that a warp by itself takes, waiting for memory
where it must. A multiprocessor holds so many warps, by registers, shared memory and threads a block.
They stand in line before its units:

    memory        bytes, through the multiprocessor's part of the bandwidth
    issue         instructions, four warps' a clock
    shared        bytes to and from shared memory, 128 a clock
    float, ...    instructions of a unit, by the threads it takes a clock

and wait for what they have asked for the rest of the time, all at once (Little's law). How long a turn
takes then is found by mean value analysis of that closed network of queues. The roofline is what the
larger of bytes and operations takes at the device's peak; the share of it that a turn's time leaves is
what is expected of the kernel. Every load counts as one from memory, unless that address was just read.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass
from pathlib import Path

#: Threads whose instructions a unit takes a clock, as tools/machine_code.py has them.
UNITS = {"float": 128, "double": 64, "integer": 64, "multiply": 64, "special": 16, "exchange": 32}


@dataclass(frozen=True)
class Device:
    """Limits of a GPU; sizes in bytes, rates a second."""

    name: str
    processors: int
    registers: int
    shared: int
    threads: int
    blocks: int
    bandwidth: float
    clock: float

    @property
    def flops(self) -> float:
        """Of float32, by FMAs."""
        return self.processors * 2 * UNITS["float"] * self.clock

    @property
    def bytes_a_clock(self) -> float:
        """Each multiprocessor's part of the bandwidth."""
        return self.bandwidth / self.processors / self.clock


# NVIDIA H100 Tensor Core GPU Architecture, 2022.
H100 = Device("H100 SXM", 132, 65536, 227 << 10, 2048, 32, 3.35e12, 1.98e9)
#: The part of a memory's bandwidth that is left by refreshing it, and by turns from reading to writing.
STREAMED = 0.92


@dataclass(frozen=True)
class Expected:
    """What a kernel is expected to do: `share` of the roofline, bytes and operations a second."""

    occupancy: float
    intensity: float
    bound: str
    share: float
    bandwidth: float
    flops: float


def warps_held(row: dict, device: Device) -> int:
    """Warps on a multiprocessor; registers are given out in eights, to warps."""
    warps = -(-row["threads"] // 32)
    registers = -(-max(row["registers"], 16) // 8) * 8 * 32 * warps
    held = min(device.registers // registers, device.threads // (32 * warps), device.blocks)
    if row["shared"]:
        held = min(held, device.shared // (row["shared"] + 1024))
    return held * warps


def clocks(row: dict, warps: int, device: Device) -> tuple[float, str]:
    """Clocks between two turns of so many warps, and the unit that is busy most, or "waiting"."""
    service = {"memory": 32 * (row["loaded"] + row["stored"]) / device.bytes_a_clock / STREAMED,
               "issue": row["issued"] / 4, "shared": 32 * row["in_shared"] / 128,
               **{unit: 32 * row[unit] / rate for unit, rate in UNITS.items()}}
    away = max(row["alone"] - sum(service.values()), 0)
    queue = dict.fromkeys(service, 0.0)
    a_clock = 0.0
    for n in range(1, warps + 1):
        time = {unit: own * (1 + queue[unit]) for unit, own in service.items()}
        a_clock = n / max(away + sum(time.values()), 1)
        queue = {unit: a_clock * t for unit, t in time.items()}
    most = max(service, key=lambda unit: service[unit])
    return 1 / a_clock, most if a_clock * service[most] > 0.5 else "waiting"


def expected(row: dict, device: Device = H100) -> Expected:
    warps, moved = warps_held(row, device), row["loaded"] + row["stored"]
    taken, bound = clocks(row, warps, device)
    peak = 2 * (UNITS["double"] if row["double"] > row["float"] else UNITS["float"])
    ideal = 32 * max(moved / device.bytes_a_clock, row["flops"] / peak)
    each = 32 * device.processors * device.clock / taken
    return Expected(32 * warps / device.threads, row["flops"] / moved if moved else float("inf"), bound,
                    ideal / taken, each * moved, each * row["flops"])


def read(file: Path) -> list[dict]:
    """Rows of the gate's table, registers those of sm_90."""
    content = json.loads(file.read_text())
    rows = [dict(zip(content["columns"], row)) for row in content["rows"]]
    which = content["architectures"].index("sm_90")
    return [row | {"registers": row["registers"] if type(row["registers"]) is int
                   else row["registers"][which]} for row in rows]


_SQUARE = 8192 ** 2
#: Calls measured on an H100 (cuda-h100.md): microseconds, and kernels with the numbers that a thread
#: takes or multiplies a turn, and how many there are in all. A star: its kernels have changed since.
MEASURED = {
    "add": (266, ("emitted.add_flat", 4, _SQUARE)),
    "add transposed": (730, ("emitted.add_strided", 4, _SQUARE)),
    "gelu": (209, ("emitted.gelu_flat", 4, _SQUARE)),
    "sum rows": (96, ("emitted.sum_row", 8, _SQUARE)),
    "sum columns": (100, ("emitted.sum_column f8[] f4[]", 8, _SQUARE)),
    "amax rows": (95, ("emitted.amax_row", 8, _SQUARE)),
    "var rows": (189, ("emitted.mean_row", 8, _SQUARE), ("emitted.var_row", 8, _SQUARE)),
    # its second loop reads and writes, at the pace of the first, it is assumed
    "softmax rows": (283, ("softmax.softmax_long", 8, 3 * _SQUARE)),
    "log_softmax": (199, ("softmax.softmax_held", 4, 65536 * 1024)),
    "layer_norm": (267, ("norm.layer_held", 4, 65536 * 1024)),
    "batch_norm": (343, ("moments.channel_sums", 16, 64 * 256 * 56 * 56),
                   ("moments.scaled", 16, 64 * 256 * 56 * 56)),
    "max_pool": (269, ("pool._max", 1, 9 * 64 * 64 * 56 * 56)),
    "matmul 4096": (3423, ("emitted.matmul", 512, 4096 ** 3)),
    "matmul 4096 A B^T": (3559, ("emitted.matmul", 512, 4096 ** 3)),
    "* conv 64x56, 3x3": (558, ("emitted.convolution", 512, 64 * 56 * 56 * 64 * 64 * 9)),
    "* conv 256x14, 3x3": (610, ("emitted.convolution", 512, 64 * 14 * 14 * 256 * 256 * 9)),
    "* conv 256x56, 1x1": (232, ("emitted.convolution", 512, 64 * 56 * 56 * 64 * 256)),
    "* matvec": (222, ("matmul.vectors", 4, _SQUARE)),
    "* cumsum rows": (2632, ("scan.tiles_of", 4, _SQUARE)),
    "* rand": (319, ("random._uniform32", 4, 1 << 26)),
    "* randn": (332, ("random._normal32", 4, 1 << 26)),
    "* dropout": (480, ("random._dropout", 4, 1 << 26)),
}


def microseconds(row: dict, each: int, count: int, device: Device = H100) -> float:
    """What a launch over `count` numbers takes, of which a thread takes `each` a turn."""
    taken, _ = clocks(row, warps_held(row, device), device)
    return count / each / 32 / device.processors * taken / device.clock * 1e6


def compared(rows: list[dict]) -> list[str]:
    """Lines of a table: what is expected of calls, and what was measured."""
    lines = ["| call | expected | measured | measured / expected |", "| --- | --- | --- | --- |"]
    for name, (measured, *launches) in MEASURED.items():
        call, total = name.removeprefix("* "), 0.0
        for kernel, each, count in launches:
            own = [r for r in rows if call in r["calls"].split("; ")
                   and f"{r['kernel']} {r['arguments']}".startswith(kernel)]
            total += max((microseconds(r, each, count) for r in own), default=float("nan"))
        lines.append(f"| {name} | {total:,.0f} us | {measured:,} us | {measured / total:.2f} |")
    return lines


def listed(rows: list[dict]) -> list[str]:
    """Lines of a table: each kernel as most of its signatures have it, and the shares of all."""
    lines = ["| kernel | registers | occupancy | bytes, FLOPs a turn | FLOPs / byte | bound | share |",
             "| --- | --- | --- | --- | --- | --- | --- |"]
    for name in sorted({row["kernel"] for row in rows}):
        own = [row for row in rows if row["kernel"] == name]
        row = max(own, key=lambda r: r["signatures"])
        e, shares = expected(row), [round(100 * expected(r).share) for r in own]
        several = f"{min(shares)} to {max(shares)}" if min(shares) < max(shares) else f"{shares[0]}"
        lines.append(f"| {name} | {row['registers']} | {e.occupancy:.0%} | "
                     f"{row['loaded'] + row['stored']}, {row['flops']} | {e.intensity:.2f} | "
                     f"{e.bound} | {several}% |")
    return lines


_PAGE = """# What an H100's limits leave of each kernel: computed, not measured

Printed by `python benchmarks/cuda_roofline.py`, which says how it is computed: from the machine code
for sm_90 in `cuda-kernels.json`, for {device} with {processors} multiprocessors at {clock:.2f} GHz,
{bandwidth:.2f} TB/s and {flops:.1f} TFLOP/s of float32.

## Beside what was measured

The figures of `cuda-h100.md`. A star: its kernels have changed since, so that what is measured is of
others.

{compared}

Where it fails: it takes neighbouring threads to read neighbouring numbers (add transposed), all bytes
to come from memory (layer norm reads its weights from a cache, convolutions their tables), every loop
to go round often (not the windows of a pool, nor rows of 3,136 in batch norm, which an unrolled loop is
too long for), and the clock to stay at its highest (products).

## Every kernel

A turn of the hottest loop, for a thread. The share is of the roofline: of the bandwidth, or of the
arithmetic where that takes longer; a range where signatures differ.

{listed}
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("figures", type=Path, nargs="?", help="what tools/compile_cuda.py --out wrote",
                        default=Path(__file__).parent / "results" / "cuda-kernels.json")
    rows = read(parser.parse_args().figures)
    print(_PAGE.format(device=H100.name, processors=H100.processors, clock=H100.clock / 1e9,
                       bandwidth=H100.bandwidth / 1e12, flops=H100.flops / 1e12,
                       compared="\n".join(compared(rows)), listed="\n".join(listed(rows))), end="")


if __name__ == "__main__":
    main()
