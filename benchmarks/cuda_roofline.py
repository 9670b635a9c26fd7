"""What a GPU's limits leave of a kernel's speed: computed from the assembler's figures, not measured.

    python tools/compile_cuda.py --out benchmarks/results/cuda-kernels.json
    python benchmarks/cuda_roofline.py benchmarks/results/cuda-kernels.json

Occupancy is how many threads a multiprocessor holds, by registers, shared memory and block size, of
those it could hold. Memory needs `bandwidth x latency` bytes under way at every moment (Little's law);
a kernel that only streams has (threads held) x (bytes a thread asks for at once) under way, and reaches
that share of the bandwidth at most. A kernel of products has to issue an FMA a scheduler and clock,
each of which takes 4 clocks: it reaches (warps a scheduler) x (independent FMAs) / 4, at most all.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Device:
    """Limits of a GPU; sizes in bytes, rates a second, latency in seconds."""

    name: str
    processors: int
    registers: int
    shared: int
    threads: int
    blocks: int
    bandwidth: float
    latency: float
    flops: float

    @property
    def under_way(self) -> float:
        """Bytes that a multiprocessor must have asked for, to use its part of the bandwidth."""
        return self.bandwidth * self.latency / self.processors


# NVIDIA H100 Tensor Core GPU Architecture, 2022; the latency of a load from memory by microbenchmarks
# (Luo et al., Benchmarking and Dissecting the Nvidia Hopper GPU Architecture, 2024).
H100 = Device("H100 SXM", 132, 65536, 227 << 10, 2048, 32, 3.35e12, 4.8e-7, 66.9e12)

#: Numbers that a thread of a kernel of products adds to at once, in its smallest tiles.
TILED = {"emitted.matmul": 32, "emitted.convolution": 32}
#: Elements that a thread of a streaming kernel loads before it computes.
TOGETHER = 4


def threads_of(row: dict) -> int:
    count = 1
    for n in row["threads"] if isinstance(row["threads"], list) else [row["threads"]]:
        count *= n
    return count


def occupancy(row: dict, device: Device, figures: str = "sm_90") -> float:
    """Threads held of those that could be; registers are given out in eights, to warps."""
    found, threads = row[figures], threads_of(row)
    warps = -(-threads // 32)
    registers = -(-max(found["registers"], 16) // 8) * 8 * 32 * warps
    held = min(device.registers // registers, device.threads // (32 * warps), device.blocks)
    if found["shared"]:
        held = min(held, device.shared // (found["shared"] + 1024))
    return held * 32 * warps / device.threads


def share(row: dict, device: Device) -> tuple[str, float]:
    """What bounds a kernel, and the share of that bound it can reach."""
    held = occupancy(row, device) * device.threads
    for name, sums in TILED.items():
        if name in row["kernel"]:
            return "arithmetic", min(1.0, held / 32 / 4 * sums / 4)
    sizes = [int(a[1:-2]) for a in row["arguments"].split() if a.endswith("[]")][1:] or [4]
    together = TOGETHER if row["kernel"].endswith("_flat") else 1
    return "memory", min(1.0, held * sum(sizes) * together / device.under_way)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("figures", type=Path, help="what tools/compile_cuda.py --out wrote")
    rows = json.loads(parser.parse_args().figures.read_text())
    print(f"{H100.name}, computed: {H100.under_way / 1024:.0f} KiB must be under way in each of "
          f"{H100.processors} multiprocessors")
    print(f"{'kernel':44} {'arguments':32} {'registers':>9} {'occupancy':>9} {'bound':>10} share")
    seen = set()
    for row in rows:
        bound, reached = share(row, H100)
        line = (f"{row['kernel']:44} {row['arguments'][:32]:32} {row['sm_90']['registers']:9} "
                f"{occupancy(row, H100):9.0%} {bound:>10} {reached:6.0%}")
        if line not in seen:
            seen.add(line)
            print(line)


if __name__ == "__main__":
    main()
