"""Measure side by side: a process for each library, and rounds in which they take turns."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from threading import Timer
from typing import Any, NamedTuple

from benchmarks.peers.agreement import difference
from benchmarks.peers.libraries import LIBRARIES
from benchmarks.peers.results import OURS, Row
from benchmarks.peers.workload import Workload

ROOT = Path(__file__).parents[2]

#: Seconds of a round, of all rounds of a slow workload, and until an answer is given up.
ROUND, ENOUGH, PATIENCE = 0.02, 2.0, 300

THREADS = ("NUMBA_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


class Settings(NamedTuple):
    """What a process is started with, beside its library and its number of threads."""

    device: str = "cpu"
    module: str = "benchmarks.peers.workloads"
    small: bool = False


class Ended(Exception):
    """A process that is no longer there."""


def installed(library: str) -> bool:
    """Whether the module of a library can be found."""
    return find_spec(LIBRARIES[library][0]) is not None


def environment(threads: int) -> dict[str, str]:
    """The environment of a process on so many threads; modules are found from where we are.

    Bytecode may be written, or a checkout would be compiled at every start; installed peers are not.
    Threads are bound to cores: those of two processes that take turns else end up on one core.
    """
    path = os.pathsep.join(filter(None, [str(ROOT), os.getcwd(), os.environ.get("PYTHONPATH")]))
    return os.environ | dict.fromkeys(THREADS, str(threads)) | {
        "PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "", "OMP_PROC_BIND": "true"}


class Process:
    """A library in its own process, started again if it ends."""

    def __init__(self, library: str, threads: int, settings: Settings) -> None:
        self.library, self.threads, self.settings = library, threads, settings
        self.start()

    def start(self) -> None:
        """Start the process and wait until the library is imported."""
        device, module, small = self.settings
        self.process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.peers.worker", self.library, str(self.threads),
             device, module, "small" if small else "full"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment(self.threads),
            start_new_session=True)  # Ctrl-C is for us
        self.version = self.answer()

    def ask(self, method: str, *arguments: Any) -> Any:
        """What a method of the worker returns.

        Raises:
            Ended: the process has died, or has not answered in time; a new one is started.
        """
        try:
            pickle.dump((method, *arguments), self.process.stdin)
            self.process.stdin.flush()
            answer = self.answer()
        except (Ended, BrokenPipeError) as error:
            self.start()
            raise Ended(str(error)) from error
        if isinstance(answer, Exception):
            raise answer
        return answer

    def answer(self) -> Any:
        watch = Timer(PATIENCE, self.process.kill)
        watch.start()
        try:
            return pickle.load(self.process.stdout)
        except (EOFError, pickle.UnpicklingError):
            self.stop()
            raise Ended(f"the process of {self.library} ended with {self.process.returncode}") from None
        finally:
            watch.cancel()

    def stop(self) -> None:
        with suppress(BrokenPipeError):
            self.process.stdin.close()
        self.process.stdout.close()
        self.process.wait()


class Comparison:
    """nbgrad and its peers on so many threads."""

    def __init__(self, peers: list[str], threads: int, settings: Settings) -> None:
        self.threads, self.settings = threads, settings
        self.processes = {OURS: Process(OURS, threads, settings)}
        self.limits: dict[str, float] = {}
        self.find_limits()
        self.unusable: dict[str, str] = {}
        for name in peers:
            try:
                self.processes[name] = Process(name, threads, settings)
            except Ended as error:
                self.unusable[name] = str(error)

    def __enter__(self) -> Comparison:
        return self

    def __exit__(self, error: type[BaseException] | None, *_: object) -> None:
        for process in self.processes.values():
            if error is not None:
                process.process.kill()
            process.stop()

    @property
    def versions(self) -> dict[str, str]:
        return {name: process.version for name, process in self.processes.items()}

    def find_limits(self) -> None:
        """Measure what the machine can do; the most ever seen counts, for others may use it too."""
        for name, value in self.processes[OURS].ask("limits").items():
            self.limits[name] = max(value, self.limits.get(name, 0.0))

    def measure(self, workload: Workload, rounds: int) -> Row:
        """Compare results, then time those libraries that agree with nbgrad."""
        row = Row(workload.group, workload.name, self.threads, flops=workload.flops,
                  bytes=workload.bytes)
        try:
            agreeing = self.agreeing(workload, row)
            if agreeing:
                self.time([OURS, *agreeing], rounds, row)
        except Exception as error:
            row.notes[OURS] = f"error: {error}"
            row.measured.clear()
        return row

    def agreeing(self, workload: Workload, row: Row) -> list[str]:
        """Peers whose results are nbgrad's; the row tells of the others."""
        results = {}
        for name, process in self.processes.items():
            try:
                state, answer = process.ask("prepare", workload.key)
            except Ended as error:
                state, answer = "error", error
            if state == "ready":
                results[name] = answer
            elif state != "skipped":
                row.notes[name] = f"{state}: {answer}"
        ours = results.pop(OURS, None)
        if ours is None:
            return []
        for name, theirs in results.items():
            if found := difference(ours, theirs, workload.tolerance, workload.drawn):
                row.notes[name] = f"wrong: {found}"
        return [name for name in results if name not in row.notes]

    def time(self, names: list[str], rounds: int, row: Row) -> None:
        """Let the processes take turns, each other round the other way around."""
        calls = dict.fromkeys(names, 1)
        if not self.settings.small:
            for name in names:
                calls[name], seconds = self.processes[name].ask("calibrate", ROUND)
                rounds = min(rounds, max(3, int(ENOUGH / seconds)))
        row.measured = {name: [] for name in names}
        for k in range(rounds):
            for name in names[::-1] if k % 2 else names:
                row.measured[name].append(self.processes[name].ask("round", calls[name]))
