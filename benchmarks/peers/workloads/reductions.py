"""Reductions of a matrix to a number, along its rows and along its columns."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from benchmarks.peers.workload import Group, Input, Workload

REDUCTIONS = Group("reductions", "reductions", 1.0, 0.8)

SHAPES = ((64, 1000), (1000, 1000), (16_000, 1000))
OVER = {"all": (0, 1), "rows": 1, "columns": 0}


def reduce(name: str, dim: tuple[int, ...] | int) -> Callable:
    if name == "argmax" and dim == (0, 1):
        return lambda torch, x: torch.argmax(x)
    return lambda torch, x: getattr(torch, name)(x, dim=dim)


def workloads(small: bool) -> Iterator[Workload]:
    for name in ("sum", "mean", "amax", "argmax", "var", "logsumexp"):
        for over, dim in OVER.items():
            function = reduce(name, dim)
            for m, n in ((30, 20),) if small else SHAPES:
                yield Workload(REDUCTIONS, f"{name} {m}x{n} {over}", function, (Input((m, n)),),
                               bytes=4 * m * n, tolerance=3e-4)
            m, n = (30, 20) if small else SHAPES[1]
            if name != "argmax":
                yield Workload(REDUCTIONS, f"{name} {m}x{n} {over} +backward", function,
                               (Input((m, n)),), "both", bytes=12 * m * n, tolerance=3e-4)
