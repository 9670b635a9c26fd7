"""Elementwise ops: in the cache and beyond, contiguous, transposed, broadcast, in place."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from benchmarks.peers.workload import Group, Input, Workload

ELEMENTWISE = Group("elementwise", "elementwise ops", 1.0, 0.8)
FRESH = Group("elementwise-fresh", "elementwise ops on 16 million, into fresh memory", 1.5, 1.0)

BINARY: dict[str, Callable] = {
    "add": lambda torch, a, b: torch.add(a, b),
    "mul": lambda torch, a, b: torch.mul(a, b),
    "div": lambda torch, a, b: torch.div(a, b),
}
UNARY: dict[str, Callable] = {
    "exp": lambda torch, x: torch.exp(x),
    "log": lambda torch, x: torch.log(x),
    "tanh": lambda torch, x: torch.tanh(x),
    "sigmoid": lambda torch, x: torch.sigmoid(x),
    "erf": lambda torch, x: torch.erf(x),
    "gelu": lambda torch, x: torch.nn.functional.gelu(x),
    "sin": lambda torch, x: torch.sin(x),
    "pow": lambda torch, x: torch.pow(x, 2.5),
    "sqrt": lambda torch, x: torch.sqrt(x),
}

#: Steps that can be taken on one array for long without leaving the ordinary numbers: b is small.
#: Each with the arrays it reads or writes.
IN_PLACE: dict[str, tuple[Callable, int]] = {
    "add_": (lambda torch, x, b: lambda: x.add_(b), 3),
    "tanh_": (lambda torch, x, b: lambda: x.tanh_(), 2),
    "sigmoid_": (lambda torch, x, b: lambda: x.sigmoid_(), 2),
    "erf_": (lambda torch, x, b: lambda: x.erf_(), 2),
    "sin_": (lambda torch, x, b: lambda: x.sin_(), 2),
    "sqrt_": (lambda torch, x, b: lambda: x.sqrt_(), 2),
    "exp_ log_": (lambda torch, x, b: lambda: x.exp_().log_(), 4),
    "pow_ pow_": (lambda torch, x, b: lambda: x.pow_(2.5).pow_(0.4), 4),
    "mul_ div_": (lambda torch, x, b: lambda: x.mul_(b).div_(b), 6),
}


def workloads(small: bool) -> Iterator[Workload]:
    large = 1000 if small else 16_000_000
    for size in (100,) if small else (1_000, 30_000, 1_000_000):
        for name, function in (BINARY | UNARY).items():
            inputs = (Input((size,), "positive"),) * (1 + (name in BINARY))
            yield Workload(ELEMENTWISE, f"{name} {size:,}", function, inputs)
    size = 100 if small else 300_000
    for name, function in (BINARY | UNARY).items():
        inputs = (Input((size,), "positive"),) * (1 + (name in BINARY))
        yield Workload(ELEMENTWISE, f"{name} {size:,} +backward", function, inputs, "both")
    shape = (30, 20) if small else (1000, 1000)
    for name, function in (BINARY | UNARY).items():
        first = Input(shape, "positive", transposed=True)
        inputs = (first, Input(shape, "positive")) if name in BINARY else (first,)
        yield Workload(ELEMENTWISE, f"{name} {shape[0]}x{shape[1]} transposed", function, inputs)
    rows, columns = (30, 20) if small else (4096, 256)
    for name, function in BINARY.items():
        for label, other in (("row", (columns,)), ("column", (rows, 1))):
            yield Workload(ELEMENTWISE, f"{name} {rows}x{columns} and a {label}", function,
                           (Input((rows, columns), "positive"), Input(other, "positive")))
    for name, (build, arrays) in IN_PLACE.items():
        yield Workload(ELEMENTWISE, f"{name} {large:,} in place", build,
                       (Input((large,), "positive"), Input((large,), "small")), "program",
                       bytes=4 * arrays * large, tolerance=1e-3)
    for name, function in (BINARY | UNARY).items():
        count = 1 + (name in BINARY)
        yield Workload(FRESH, f"{name} {large:,}", function, (Input((large,), "positive"),) * count,
                       bytes=4 * (count + 1) * large)
