"""Pooling, lookups, scans and sorting, forward and backward."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from benchmarks.peers.workload import Group, Input, Workload

INDEXING = Group("indexing", "pooling, lookups, cumsum, sort, topk, with backward", 1.0, 0.7)

POOLS: dict[str, tuple[tuple[int, ...], Callable]] = {
    "max_pool2d 3/2": ((8, 64, 112, 112),
                       lambda torch, x: torch.nn.functional.max_pool2d(x, 3, 2, padding=1)),
    "max_pool2d 2": ((64, 16, 28, 28), lambda torch, x: torch.nn.functional.max_pool2d(x, 2)),
    "avg_pool2d 2": ((64, 16, 28, 28), lambda torch, x: torch.nn.functional.avg_pool2d(x, 2)),
    "adaptive_avg_pool2d 1": ((8, 512, 7, 7),
                              lambda torch, x: torch.nn.functional.adaptive_avg_pool2d(x, 1)),
}


def embedding(torch, index, weight):
    return torch.nn.functional.embedding(index, weight)


def gather(dim: int) -> Callable:
    return lambda torch, x, index: torch.gather(x, dim, index)


def scatter_add(dim: int) -> Callable:
    return lambda torch, x, index, source: torch.scatter_add(x, dim, index, source)


def cumsum(dim: int) -> Callable:
    return lambda torch, x: torch.cumsum(x, dim=dim)


def sort(torch, x):
    return torch.sort(x, dim=-1)[0]


def topk(torch, x):
    return torch.topk(x, 10, dim=-1)[0]


def workloads(small: bool) -> Iterator[Workload]:
    def both(name: str, function: Callable, *inputs: Input) -> Workload:
        return Workload(INDEXING, name, function, inputs, "both", tolerance=3e-4)

    def named(name: str, shape: tuple[int, ...]) -> str:
        return f"{name} {'x'.join(map(str, shape))}"

    for name, (shape, function) in POOLS.items():
        shape = (2, 3, 8, 8) if small else shape
        yield both(named(name, shape), function, Input(shape))
    for words, width, count in ((30, 8, 12),) if small else ((10_000, 128, 4096), (50_000, 64, 512)):
        yield both(f"embedding of {count} in {words}x{width}", embedding,
                   Input((count,), "index", words), Input((words, width)))
    m, n = (12, 20) if small else (1000, 1000)
    x, index = Input((m, n)), Input((m, n), "index", min(m, n))
    for dim in (0, 1):
        yield both(named(f"gather dim {dim}", (m, n)), gather(dim), x, index)
        yield both(named(f"scatter_add dim {dim}", (m, n)), scatter_add(dim), x, index, x)
        yield both(named(f"cumsum dim {dim}", (m, n)), cumsum(dim), x)
    for shape in ((12, 20),) if small else ((1000, 1000), (1_000_000,)):
        yield both(named("sort", shape), sort, Input(shape, "distinct"))
        yield both(named("topk 10", shape), topk, Input(shape, "distinct"))
