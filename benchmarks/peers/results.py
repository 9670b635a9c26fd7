"""What was measured: times, their ratios, and how a group of them does."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cache
from math import exp, log
from pathlib import Path
from statistics import median
from typing import Literal, NamedTuple

from benchmarks.peers.workload import Group

#: What is compared, and the peer that goals and floors are meant for.
OURS, JUDGE = "nbgrad", "torch"


class Ratio(NamedTuple):
    """Peer / nbgrad over the rounds: more than one says that nbgrad needs less."""

    median: float
    least: float
    most: float


@dataclass
class Row:
    """A workload's measurements by library: seconds a call in each round, or bytes.

    A library without any has a note: missing, wrong, or the error.
    """

    group: Group
    name: str
    threads: int
    unit: Literal["s", "B"] = "s"
    flops: float = 0
    bytes: float = 0
    measured: dict[str, list[float]] = field(default_factory=dict)
    notes: dict[str, str] = field(default_factory=dict)

    def ratio(self, peer: str) -> Ratio | None:
        """The ratio of each round's two measurements; None if they were not made."""
        if peer == OURS or not self.measured.get(OURS) or not self.measured.get(peer):
            return None
        ratios = [b / a for a, b in zip(self.measured[OURS], self.measured[peer])]
        return Ratio(median(ratios), min(ratios), max(ratios))


    def share(self, library: str, limits: dict[str, float]) -> tuple[float, str] | None:
        """How much of the machine's limit a library reaches, and whether of FMAs or of memory.

        None where nothing of the machine is known to limit it. What fits into the cache is not
        limited by memory.
        """
        if not limits:
            return None
        memory = self.bytes / limits["bandwidth"] if self.bytes > cache_size() else 0.0
        least, which = max((self.flops / limits["flops"], "fma"), (memory, "mem"))
        return (least / median(self.measured[library]), which) if least else None


@cache
def cache_size() -> int:
    """Bytes of the processor's largest cache; 32 MiB where the system does not tell."""
    found = Path("/sys/devices/system/cpu/cpu0/cache").glob("index*/size")
    sizes = [path.read_text().strip() for path in found]
    return max((int(size[:-1]) * 1024 for size in sizes if size.endswith("K")), default=2**25)


class Summary(NamedTuple):
    """How a group does beside a peer: geometric mean and least of its ratios."""

    group: Group
    peer: str
    threads: int
    mean: float
    least: float
    worst: str
    count: int
    unmeasured: int

    @property
    def goal(self) -> float | None:
        return self.group.goal if self.peer == JUDGE else None

    @property
    def floor(self) -> float | None:
        return self.group.floor if self.peer == JUDGE else None

    @property
    def met(self) -> bool | None:
        """Whether goal and floor are reached, and by all workloads; None where there is no goal."""
        if self.goal is None:
            return None
        return not self.unmeasured and self.mean >= self.goal and self.least >= (self.floor or 0)


def summarise(rows: Iterable[Row], peer: str) -> Summary | None:
    """Sum up the rows of one group; None where the peer has no part in it."""
    rows = list(rows)
    ratios = {row.name: ratio.median for row in rows if (ratio := row.ratio(peer))}
    unmeasured = sum(peer in row.notes or OURS in row.notes for row in rows)
    if not ratios:
        return None
    worst = min(ratios, key=ratios.__getitem__)
    mean = exp(sum(map(log, ratios.values())) / len(ratios))
    return Summary(rows[0].group, peer, rows[0].threads, mean, ratios[worst], worst, len(ratios),
                   unmeasured)
