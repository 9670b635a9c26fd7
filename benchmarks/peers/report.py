"""The table and the JSON file of a comparison."""

from __future__ import annotations

import json
import os
import platform
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.peers.results import OURS, Row, Summary, summarise

NAME, FIRST = 50, 14
SECONDS = ((1, "s"), (1e-3, "ms"), (1e-6, "us"), (1e-9, "ns"))
BYTES = ((2**30, "GiB"), (2**20, "MiB"), (2**10, "KiB"), (1, "B"))


def amount(value: float, unit: str) -> str:
    """Seconds or bytes with a fitting prefix: '12.3 ms'."""
    scales = SECONDS if unit == "s" else BYTES
    size, label = next((scale for scale in scales if value >= scale[0]), scales[-1])
    return f"{value / size:.3g} {label}"


def machine(limits: dict[str, float], threads: int) -> str:
    """What it is measured on, and what that could do."""
    name = f"{processor()}, {threads} thread{'s' * (threads > 1)}"
    return name if not limits else (f"{name}: at most {limits['flops'] / 1e9:.0f} GFLOP/s, "
                                    f"{limits['bandwidth'] / 1e9:.0f} GB/s")


def heading(peers: list[str]) -> str:
    """The line above a table."""
    cells = "".join(f"{peer:>{FIRST}}  ratio (least-most)" for peer in peers)
    return f"{'':{NAME}}{'nbgrad':>9} {'of limit':>9}{cells}"


def line(row: Row, peers: list[str], limits: dict[str, float]) -> str:
    """A workload: nbgrad's time and its share of the machine's limit, then each peer's."""
    text = f"  {row.name:{NAME - 3}} "
    if OURS in row.notes:
        return text + row.notes[OURS]
    if not row.measured.get(OURS):
        return text + "; ".join(f"{peer} {note}" for peer, note in row.notes.items())
    share = row.share(OURS, limits)
    reached = f"{share[0]:.0%} {share[1]}" if share else ""
    text += f"{amount(median(row.measured[OURS]), row.unit):>9} {reached:>9}"
    for peer in peers:
        if ratio := row.ratio(peer):
            spread = f"({ratio.least:.2f}-{ratio.most:.2f})"
            text += (f"{amount(median(row.measured[peer]), row.unit):>{FIRST}}"
                     f"{ratio.median:7.2f} {spread:12}")
        else:
            text += f"{row.notes.get(peer, '-'):>{FIRST}}{'':20}"
    return text.rstrip()


def verdict(summary: Summary) -> str:
    """A group beside a peer: what was reached, and what was to be reached."""
    goal, floor = (f"({value})" if value else "" for value in (summary.goal, summary.floor))
    judged = {None: "", True: "met", False: "missed"}[summary.met]
    text = (f"{summary.group.name:18} {summary.peer:13} {summary.threads:7} "
            f"{summary.mean:6.2f} {goal:6} {summary.least:6.2f} {floor:6} {judged:7} {summary.worst}")
    return text + f"; {summary.unmeasured} not measured" * bool(summary.unmeasured)


def processor() -> str:
    """The CPU's name, where the system tells it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((text.partition(":")[2].strip() for text in lines if text.startswith("model name")),
                platform.processor())


@dataclass
class Document:
    """All that was measured, and where."""

    settings: dict[str, Any]
    versions: dict[str, str] = field(default_factory=dict)
    limits: dict[int, dict[str, float]] = field(default_factory=dict)
    rows: list[Row] = field(default_factory=list)

    @property
    def summaries(self) -> list[Summary]:
        """Of each group beside each peer; none if times were of no interest."""
        groups: dict[Any, list[Row]] = {}
        for row in self.rows:
            groups.setdefault((row.threads, row.group), []).append(row)
        found = [summarise(rows, peer) for rows in groups.values() for peer in self.versions]
        return [] if self.settings["quick"] else list(filter(None, found))

    @property
    def failed(self) -> bool:
        """Whether some result is wrong or some workload failed; what is missing is no failure."""
        return any(note.startswith(("wrong", "error"))
                   for row in self.rows for note in row.notes.values())

    def data(self) -> dict[str, Any]:
        """As plain data."""
        return {
            "date": datetime.now(UTC).isoformat(timespec="seconds"),
            "machine": {"processor": processor(), "cores": os.cpu_count(),
                        "system": platform.platform(), "python": platform.python_version()},
            "versions": self.versions,
            "settings": self.settings,
            "limits": {str(threads): found for threads, found in self.limits.items()},
            "groups": [summary._asdict() | {"group": summary.group.name, "title": summary.group.title,
                                            "goal": summary.goal, "floor": summary.floor,
                                            "met": summary.met}
                       for summary in self.summaries],
            "rows": [asdict(row) | {"group": row.group.name, "ratios": _ratios(row),
                                    "shares": {library: row.share(library, self.limits[row.threads])
                                               for library in row.measured}}
                     for row in self.rows],
        }

    def write(self, path: Path) -> None:
        """Store as JSON."""
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(self.data(), indent=1) + "\n")


def _ratios(row: Row) -> dict[str, dict[str, float]]:
    return {peer: ratio._asdict() for peer in row.measured if (ratio := row.ratio(peer))}


def summary(document: Document) -> str:
    """How every group does, or how many workloads agree if times were of no interest."""
    if document.summaries:
        head = f"{'time of peer / nbgrad':18}{'':11} threads   mean (goal)   least (floor)        worst"
        return "\n".join([head, *map(verdict, document.summaries)])
    agree = sum(bool(row.measured) for row in document.rows)
    return f"{agree} of {len(document.rows)} workloads run and agree"
