"""A process that does workloads in one library, as it is asked to through a pipe."""

from __future__ import annotations

import importlib
import os
import pickle
import sys
from time import perf_counter
from typing import Any

from benchmarks.peers.agreement import sample
from benchmarks.peers.libraries import LIBRARIES, Job
from benchmarks.peers.limits import measure


class Worker:
    """A library and the workload it has in hand."""

    def __init__(self, library: str, threads: int, device: str, module: str, small: bool) -> None:
        name, adapter = LIBRARIES[library]
        self.library, self.threads = adapter(name, threads, device), threads
        listed = importlib.import_module(module).workloads(small)
        self.workloads = {workload.key: workload for workload in listed}
        self.job: Job | None = None

    def limits(self) -> dict[str, float]:
        """What the machine can do on these threads; nothing is known of a GPU."""
        return measure(self.threads) if self.library.device == "cpu" else {}

    def prepare(self, key: str) -> tuple[str, Any]:
        """Make the workload, warm it up, and answer with samples of what it computes."""
        self.job = None
        workload = self.workloads[key]
        if not self.library.takes(workload):
            return "skipped", None
        try:
            self.job = self.library.job(workload)
            self.once()
            result = self.once()
            return "ready", [sample(array) for array in self.library.arrays(result)]
        except (AttributeError, NotImplementedError) as error:
            return "missing", _line(error)
        except Exception as error:
            return "error", _line(error)

    def once(self) -> Any:
        call, before = self.job
        result = call() if before is None else call(before())
        self.library.wait(result)
        return result

    def calibrate(self, seconds: float) -> tuple[int, float]:
        """How many calls fill that time, and about how long one takes."""
        calls = 1
        while (taken := self.seconds(calls)) < seconds / 4:
            calls = min(10 * calls, max(calls + 1, int(calls * seconds / max(taken, 1e-7))))
        return max(1, round(calls * seconds / taken)), taken / calls

    def round(self, calls: int) -> float:
        """Seconds a call; a first one, not timed, brings the work back into the caches."""
        if calls > 4:
            self.once()
        return self.seconds(calls) / calls

    def seconds(self, calls: int) -> float:
        """Time of so many calls."""
        (call, before), wait = self.job, self.library.wait
        if before is None:
            start = perf_counter()
            for _ in range(calls):
                result = call()
            wait(result)
            return perf_counter() - start
        total = 0.0
        for _ in range(calls):
            given = before()
            wait(given)
            start = perf_counter()
            result = call(given)
            wait(result)
            total += perf_counter() - start
            del given, result
        return total


def _line(error: Exception) -> str:
    """An error in one line."""
    text = str(error).strip().splitlines() or [""]
    return f"{type(error).__name__}: {text[0]}"[:200]


def serve() -> None:
    """Answer requests, each a method's name and its arguments, until the pipe ends."""
    # Only answers may go into the pipe: what libraries print goes to the terminal.
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    library, threads, device, module, small = sys.argv[1:]
    worker = Worker(library, int(threads), device, module, small == "small")
    answer: Any = worker.library.version
    while True:
        pickle.dump(answer, answers)
        answers.flush()
        try:
            method, *arguments = pickle.load(sys.stdin.buffer)
        except EOFError:
            return
        try:
            answer = getattr(worker, method)(*arguments)
        except Exception as error:
            answer = error


if __name__ == "__main__":
    serve()
