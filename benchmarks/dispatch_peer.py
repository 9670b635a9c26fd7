"""Time a chain of 10,000 `y = y * w` on 32 floats in nbgrad and in PyTorch, and print a table.

Each library runs in a process of its own, on one thread; the processes take turns, so that a
busy moment of the machine hits both.

    python benchmarks/dispatch_peer.py [--rounds 20]
"""

import argparse
import importlib
import os
import statistics
import subprocess
import sys
from time import perf_counter

LENGTH = 10_000
PEERS = ("nbgrad", "torch")
ONE_THREAD = dict.fromkeys(
    ("NUMBA_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")


def measure(torch) -> tuple[float, float]:
    """Microseconds an op, forward and backward."""
    x, w, grad = torch.ones(32), torch.ones(32, requires_grad=True), torch.ones(32)
    y = x
    start = perf_counter()
    for _ in range(LENGTH):
        y = y * w
    middle = perf_counter()
    y.backward(grad)
    end = perf_counter()
    return (middle - start) / LENGTH * 1e6, (end - middle) / LENGTH * 1e6


def serve(name: str) -> None:
    """Measure once for every line read, after two rounds of warming up."""
    torch = importlib.import_module(name)
    if name == "torch":
        torch.set_num_threads(1)
    measure(torch), measure(torch)
    print(torch.__version__, flush=True)
    for _ in sys.stdin:
        print(*measure(torch), flush=True)


class Peer:
    """A library in its own process."""

    def __init__(self, name: str) -> None:
        self.name, self.rounds = name, []
        self.process = subprocess.Popen(
            [sys.executable, __file__, "--serve", name], text=True, env=os.environ | ONE_THREAD,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.version = self.answer()

    def answer(self) -> str:
        line = self.process.stdout.readline().strip()
        if not line:
            sys.exit(f"{self.name} cannot be timed here: its process ended")
        return line

    def run(self) -> None:
        print(file=self.process.stdin, flush=True)
        self.rounds.append([float(number) for number in self.answer().split()])

    def stop(self) -> None:
        self.process.stdin.close()
        self.process.stdout.close()
        self.process.wait()

    def medians(self) -> list[float]:
        return [statistics.median(column) for column in zip(*self.rounds, strict=True)]


def compare(rounds: int) -> None:
    peers = [Peer(name) for name in PEERS]
    for k in range(rounds):
        for peer in peers if k % 2 else peers[::-1]:
            peer.run()
    for peer in peers:
        peer.stop()
    print(f"us an op, median of {rounds} rounds of {LENGTH:,} ops on 32 floats, 1 thread")
    print(f"{'':18}{'forward':>9}{'backward':>10}{'sum':>8}")
    for peer in peers:
        forward, backward = peer.medians()
        print(f"{peer.name + ' ' + peer.version:18}{forward:9.2f}{backward:10.2f}"
              f"{forward + backward:8.2f}")
    ours, theirs = (peer.medians() for peer in peers)
    ratios = [a / b for a, b in zip([*ours, sum(ours)], [*theirs, sum(theirs)], strict=True)]
    print(f"{'ratio':18}{ratios[0]:9.2f}{ratios[1]:10.2f}{ratios[2]:8.2f}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--serve", choices=PEERS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        serve(options.serve)
    else:
        compare(options.rounds)
