"""How long fresh processes wait, and how much memory a training step takes."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import nullcontext

from benchmarks.peers.compare import environment
from benchmarks.peers.results import OURS, Row
from benchmarks.peers.workload import Group

STARTUP = Group("startup", "fresh processes")

#: Name, what the process does, whether nbgrad's cache of kernels is empty, what is measured.
CASES = (
    ("import", "import", False, "s"),
    ("first LeNet gradient, kernels in the cache", "gradient", False, "s"),
    ("first LeNet gradient, no kernel compiled before", "gradient", True, "s"),
    ("ResNet-18 on 224, batch 2, peak memory", "memory", False, "B"),
    ("ResNet-18 on 224, batch 2, beyond the import", "beyond", False, "B"),
)


def rows(peers: list[str], threads: int, rounds: int, small: bool) -> Iterator[Row]:
    """Every case, with a fresh process for each library in each round."""
    for name, task, cold, unit in CASES[:2] if small else CASES:
        row = Row(STARTUP, name, threads, unit)
        libraries = [OURS, *(peer for peer in peers if peer == "torch")]
        times = 1 if cold else min(rounds, 5)
        if not cold:  # fill the cache
            run(OURS, task, threads, cold)
        row.measured = {library: [] for library in libraries}
        for k in range(times):
            for library in libraries[::-1] if k % 2 else libraries:
                try:
                    row.measured[library].append(run(library, task, threads, cold))
                except RuntimeError as error:
                    row.notes[library] = f"error: {error}"
        yield row


def run(library: str, task: str, threads: int, cold: bool) -> float:
    """Seconds or bytes that a fresh process reports."""
    with tempfile.TemporaryDirectory() if cold else nullcontext() as folder:
        variables = environment(threads) | ({"NBGRAD_CACHE_DIR": folder} if folder else {})
        done = subprocess.run(
            [sys.executable, "-m", "benchmarks.peers.fresh", library, task, str(time.time())],
            env=variables, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError((done.stderr.strip().splitlines() or ["no output"])[-1])
    return json.loads(done.stdout.splitlines()[-1])
