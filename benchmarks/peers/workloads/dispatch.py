"""What an op costs beside its arithmetic: a chain of 10,000 ops on 32 floats."""

from __future__ import annotations

from collections.abc import Iterator

from benchmarks.peers.workload import Group, Input, Workload

FORWARD = Group("dispatch-forward", "10,000 tiny ops recorded", 0.9)
BACKWARD = Group("dispatch-backward", "the backward pass of 10,000 tiny ops", 2.5)
BOTH = Group("dispatch-both", "10,000 tiny ops, forward and backward", 1.6)

LENGTH = 10_000


def chain(length: int):
    """`y = y * w`, over and over; w is ones, so that y stays what it was."""
    def function(torch, x, w):
        y = x
        for _ in range(length):
            y = y * w
        return y

    return function


def workloads(small: bool) -> Iterator[Workload]:
    length = 100 if small else LENGTH
    for group, mode in ((FORWARD, "record"), (BACKWARD, "backward"), (BOTH, "both")):
        yield Workload(group, f"{length:,} mul", chain(length), (Input((32,)), Input((32,), "ones")),
                       mode, wrt=(1,), eager=True)
