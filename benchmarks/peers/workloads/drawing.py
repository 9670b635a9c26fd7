"""Random numbers, which no two libraries share: what is compared is their mean and size."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from benchmarks.peers.workload import Group, Input, Workload

DRAWING = Group("drawing", "random numbers", 1.0, 0.8)

#: By the number of entries.
COUNTED: dict[str, Callable] = {
    "rand": lambda torch, n: torch.rand(n),
    "randn": lambda torch, n: torch.randn(n),
    "randn float64": lambda torch, n: torch.randn(n, dtype=torch.float64),
    "randint": lambda torch, n: torch.randint(0, 1000, (n,)),
    "randperm": lambda torch, n: torch.randperm(n),
}

#: In place, in a tensor that is there.
WRITTEN: dict[str, Callable] = {
    "uniform_": lambda x: x.uniform_(-1, 1),
    "normal_": lambda x: x.normal_(1, 2),
    "random_": lambda x: x.random_(0, 10),
    "bernoulli_": lambda x: x.bernoulli_(0.3),
    "exponential_": lambda x: x.exponential_(2.0),
    "log_normal_": lambda x: x.log_normal_(0.0, 0.25),
    "geometric_": lambda x: x.geometric_(0.3),
}


def dropout(torch, x):
    return torch.nn.functional.dropout(x, 0.1)


def bernoulli(torch, x):
    p = x / 2
    return lambda: torch.bernoulli(p)


def multinomial(count: int, replacement: bool) -> Callable:
    return lambda torch, weights: torch.multinomial(weights, count, replacement)


def workloads(small: bool) -> Iterator[Workload]:
    def drawn(name: str, count: int, function: Callable, *inputs: Input, mode="forward") -> Workload:
        # means of so many numbers lie about 1 / sqrt(count) apart
        return Workload(DRAWING, name, function, inputs, mode, tolerance=8 * count ** -0.5,
                        drawn=True)

    for count in (5000,) if small else (1000, 1_000_000):
        for name, make in COUNTED.items():
            yield drawn(f"{name} {count:,}", count, lambda torch, f=make, n=count: f(torch, n))
        x = Input((count,), "positive")
        for name, write in WRITTEN.items():
            yield drawn(f"{name} {count:,}", count, lambda torch, x, f=write: f(x), x)
        yield drawn(f"bernoulli {count:,}", count, bernoulli, x, mode="program")
        yield drawn(f"dropout {count:,}", count, dropout, x, mode="both")
    rows, n = (50, 200) if small else (64, 10_000)
    weights = Input((rows, n), "positive")
    yield drawn(f"multinomial 1 of {rows}x{n}", rows, multinomial(1, False), weights)
    for kind, replacement in (("", True), (" different", False)):
        yield drawn(f"multinomial 100{kind} of {rows}x{n}", 100 * rows,
                    multinomial(100, replacement), weights)
