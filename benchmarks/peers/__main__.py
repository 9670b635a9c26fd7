"""The command line: python -m benchmarks.peers [--only GROUP[/PART]] [--peer NAME] ..."""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path

from benchmarks.peers import chart, report, startup
from benchmarks.peers.compare import ROOT, Comparison, Settings, installed
from benchmarks.peers.libraries import LIBRARIES, Torch
from benchmarks.peers.results import OURS, Row
from benchmarks.peers.workload import Workload, select


def listed(text: str) -> list[str]:
    return [part for part in text.split(",") if part]


def parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.peers",
        description="Time nbgrad side by side with its peers, after checking that results agree.")
    parser.add_argument("--only", type=listed, default=[], metavar="GROUP[/PART],...",
                        help="groups, or those of their workloads whose name has PART in it")
    parser.add_argument("--peer", type=listed, metavar="NAME,...",
                        default=[name for name in LIBRARIES if name != OURS],
                        help="of torch, torch.compile, jax, autograd; all that are installed")
    parser.add_argument("--threads", type=listed, default=["1"], metavar="N,...",
                        help="threads of every library (1); one comparison for each number")
    parser.add_argument("--rounds", type=int, default=7, help="turns of each library (7)")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--quick", action="store_true",
                        help="all once and in small: does it run, do results agree?")
    parser.add_argument("--workloads", default=Settings().module, metavar="MODULE",
                        help="a module of your own with a function workloads(small)")
    parser.add_argument("--out", type=Path, metavar="FILE.json",
                        help="where results go, and beside it the chart (benchmarks/results)")
    parser.add_argument("--list", action="store_true", help="print what there is, and time nothing")
    given = parser.parse_args(arguments)
    if unknown := set(given.peer) - (LIBRARIES.keys() - {OURS}):
        parser.error(f"no such peer: {', '.join(sorted(unknown))}")
    if given.device == "cuda" and not importlib.import_module("nbgrad").cuda.is_available():
        parser.error("nbgrad finds no CUDA device here: python -m nbgrad doctor says why")
    return given


def destination(given: argparse.Namespace) -> Path:
    """A file for each selection, so that a part does not overwrite the whole."""
    words = ["peers", *["cuda"] * (given.device == "cuda"), *["quick"] * given.quick, *given.only]
    name = "-".join("".join(c if c.isalnum() else "-" for c in word) for word in words)
    return given.out or ROOT / "benchmarks" / "results" / f"{name}.json"


def say(text: str) -> None:
    print(text, flush=True)


def measured(comparison: Comparison, workloads: list[Workload], peers: list[str], fresh: bool,
             rounds: int) -> Iterator[Row]:
    """Rows as they come."""
    for workload in workloads:
        yield comparison.measure(workload, rounds)
    if fresh:
        yield from startup.rows(peers, comparison.threads, rounds, comparison.settings.small)


def compare(document: report.Document, comparison: Comparison, rows: Iterator[Row],
            peers: list[str]) -> None:
    """Print and keep the rows as they come."""
    threads = comparison.threads
    document.versions, document.limits[threads] = comparison.versions, comparison.limits
    say(f"\n{report.machine(comparison.limits, threads)}")
    say("  ".join(f"{name} {version}" for name, version in comparison.versions.items()))
    for name, reason in comparison.unusable.items():
        say(f"{name}: skipped, {reason}")
    say(f"\n{report.heading(peers)}")
    for group, members in groupby(rows, key=lambda row: row.group):
        say(f"\n{group.name}: {group.title}")
        comparison.find_limits()
        for row in members:
            say(report.line(row, peers, comparison.limits))
            document.rows.append(row)


def main(arguments: list[str] | None = None) -> int:
    """Compare, print, store; 1 if some result is wrong or some workload failed."""
    given = parse(arguments)
    everything = importlib.import_module(given.workloads).workloads(given.quick)
    workloads = select(everything, given.only)
    own = given.workloads != Settings().module
    cpu = given.device == "cpu"
    fresh = cpu and ("startup" in given.only or not (given.only or own))
    if not workloads and not fresh:
        groups = dict.fromkeys(workload.group.name for workload in everything)
        say(f"no workload is called {','.join(given.only)}; groups are {', '.join(groups)}, startup")
        return 2
    if given.list:
        say("\n".join(workload.key for workload in workloads))
        return 0
    peers = []
    for peer in given.peer:
        if not installed(peer):
            say(f"{peer}: not installed, skipped")
        elif not (cpu or issubclass(LIBRARIES[peer][1], Torch)):
            say(f"{peer}: compared on the CPU only, skipped")
        else:
            peers.append(peer)
    rounds = 1 if given.quick else given.rounds
    document = report.Document({"rounds": rounds, "quick": given.quick, "device": given.device,
                                "only": given.only})
    try:
        for threads in map(int, given.threads):
            settings = Settings(given.device, given.workloads, given.quick)
            with Comparison(peers, threads, settings) as comparison:
                rows = measured(comparison, workloads, peers, fresh, rounds)
                compare(document, comparison, rows, peers)
    except KeyboardInterrupt:
        say("interrupted: what follows is what was measured before")
    say(f"\n{report.summary(document)}")
    path = destination(given)
    document.write(path)
    if document.summaries:
        chart.draw(document.data(), path.with_suffix(".png"))
    say(f"\n{path}")
    return int(document.failed)


if __name__ == "__main__":
    sys.exit(main())
