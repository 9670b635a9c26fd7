"""Pooling, lookups, scans and sorting, forward and backward."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from benchmarks.peers.workload import Group, Input, Mode, Workload

INDEXING = Group("indexing", "pooling, lookups, cumsum, sort, topk, with backward", 1.0, 0.7)
LOOKUPS = Group("lookups", "entries read, written and added at indices or masks", 1.0, 0.8)

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


#: What is read of, or written to, a matrix at indices of its rows or columns; `new` is as many rows
#: or columns as there are indices.
READ: dict[str, Callable] = {
    "index_select": lambda x, index, dim: x.index_select(dim, index),
    "index_fill": lambda x, index, dim: x.index_fill(dim, index, 2.0),
}
WRITTEN: dict[str, Callable] = {
    "index_add": lambda x, index, new, dim: x.index_add(dim, index, new),
    "index_copy": lambda x, index, new, dim: x.index_copy(dim, index, new),
}

#: The same at places in a matrix taken as a vector.
READ_AT: dict[str, Callable] = {
    "take": lambda x, places: x.take(places),
    "x[i, j]": lambda x, places: x[places // x.shape[1], places % x.shape[1]],
}
WRITTEN_AT: dict[str, Callable] = {
    "put": lambda x, places, new: x.put(places, new),
    "put accumulate": lambda x, places, new: x.put(places, new, True),
    "index_put": lambda x, places, new: x.view(-1).index_put((places,), new),
    "index_put accumulate": lambda x, places, new: x.view(-1).index_put((places,), new, True),
    "scatter_reduce amax": lambda x, places, new: x.view(-1).scatter_reduce(0, places, new, "amax"),
}

MASKED: dict[str, Callable] = {
    "x[mask]": lambda torch, x, y: x[y > 0],
    "masked_fill": lambda torch, x, y: x.masked_fill(y > 0, 1.0),
    "masked_scatter": lambda torch, x, y: x.masked_scatter(y > 0, y.detach()),
    "where": lambda torch, x, y: torch.where(y > 0, x, y.detach()),
}

FOUND: dict[str, Callable] = {
    "nonzero": lambda torch, x, index: torch.nonzero(x > 0),
    "bincount": lambda torch, x, index: torch.bincount(index),
}


def lookups(small: bool) -> Iterator[Workload]:
    def work(name: str, function: Callable, *inputs: Input, mode: Mode = "both",
             wrt: tuple[int, ...] | None = None) -> Workload:
        return Workload(LOOKUPS, name, function, inputs, mode, wrt, tolerance=3e-4)

    few = Input((4, 3)), Input((5,), "index", 4)
    for mode in ("forward", "both"):
        yield work(f"x[i] 5 of 4x3 {mode}", lambda torch, x, i: x[i], *few, mode=mode)
    m, n, k = (12, 20, 6) if small else (1000, 1000, 500)
    x, index = Input((m, n)), Input((k,), "places", m)
    for dim, new in ((0, Input((k, n))), (1, Input((m, k)))):
        for functions, inputs in ((READ, (x, index)), (WRITTEN, (x, index, new))):
            for name, along in functions.items():
                yield work(f"{name} {k} of {m}x{n} dim {dim}",
                           lambda torch, *xs, f=along, d=dim: f(*xs, d), *inputs)
    count = 15 if small else 100_000
    places = Input((count,), "places", m * n)
    for functions, inputs in ((READ_AT, (x, places)), (WRITTEN_AT, (x, places, Input((count,))))):
        for name, at in functions.items():
            yield work(f"{name} {count:,} of {m}x{n}", lambda torch, *xs, f=at: f(*xs), *inputs)
    for name, masked in MASKED.items():
        yield work(f"{name} {m}x{n}", masked, x, x, wrt=(0,))
    for name, found in FOUND.items():
        yield work(f"{name} {m}x{n}", found, x, Input((m * n,), "index", n), mode="forward")


def workloads(small: bool) -> Iterator[Workload]:
    yield from lookups(small)

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
