"""Recurrent layers over sequences, forward, and forward with backward."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from benchmarks.peers.workload import Group, Input, Workload

RECURRENT = Group("recurrent", "LSTM, GRU and RNN layers, with and without backward", 1.0, 0.8)

#: Gates of a cell.
GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}
#: Steps, sequences, inputs and units.
SIZES = ((50, 32, 64, 64), (50, 32, 128, 256), (100, 16, 128, 128), (20, 64, 256, 512),
         (100, 1, 128, 256))


def initialise(torch: Any, model: Any) -> Any:
    """The same weights in every library, uniform in +-1 / sqrt(units)."""
    rng, bound = np.random.default_rng(0), model.hidden_size ** -0.5
    with torch.no_grad():
        for p in model.parameters():
            p.copy_(torch.from_numpy(rng.uniform(-bound, bound, p.shape).astype(np.float32)))
    return model


def layer(kind: str, inputs: int, units: int, both: bool, **options) -> Callable:
    """A layer run over a sequence; if `both`, the gradients of the last weights and the input."""
    def build(torch, x, gy):
        model = initialise(torch, getattr(torch.nn, kind)(inputs, units, **options))
        x.requires_grad_(both)

        def forward():
            with torch.no_grad():
                return [model(x)[0]]

        def step():
            model.zero_grad()
            x.grad = None
            y = model(x)[0]
            y.backward(gy)
            return [y, x.grad, *[p.grad for p in model.parameters()]]

        return step if both else forward

    return build


def workloads(small: bool) -> Iterator[Workload]:
    def case(kind: str, both: bool, steps: int, count: int, inputs: int, units: int,
             directions: int = 1, **options) -> Workload:
        name = f"{kind} {steps}x{count}x{inputs}x{units}{' both' if both else ''}"
        name += "".join(f" {option}" for option in options)
        flops = 2 * steps * count * GATES[kind] * units * (inputs + units) * directions
        return Workload(RECURRENT, name, layer(kind, inputs, units, both, **options),
                        (Input((steps, count, inputs)), Input((steps, count, units * directions))),
                        "program", flops=flops * (3 if both else 1), tolerance=1e-3)

    for both in (False, True):
        for kind in GATES:
            for sizes in ((3, 2, 4, 5),) if small else SIZES:
                yield case(kind, both, *sizes)
        sizes = (3, 2, 4, 5) if small else (50, 32, 128, 128)
        yield case("LSTM", both, *sizes, directions=2, bidirectional=True)
