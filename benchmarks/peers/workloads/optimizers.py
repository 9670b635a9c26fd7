"""Optimizer steps over the parameters of ResNet-18."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from math import prod

from benchmarks.peers.workload import Group, Input, Workload

OPTIMIZERS = Group("optimizers", "an optimizer step over 11 million parameters", 1.5, 1.2)


def resnet18_shapes() -> list[tuple[int, ...]]:
    """The 62 parameters: convolutions, each with the two of its batch norm, and the last layer."""
    convolutions = [(64, 3, 7, 7)]
    for k, width in enumerate((64, 128, 256, 512)):
        before = width // 2 if k else width
        convolutions += [(width, before, 3, 3), *[(width, width, 3, 3)] * 3]
        convolutions += [(width, before, 1, 1)] if k else []
    norms = [shape for w in convolutions for shape in (w, w[:1], w[:1])]
    return [*norms, (1000, 512), (1000,)]


#: The state that a step reads and writes beside parameter and gradient, in arrays of their size.
CASES: dict[str, tuple[Callable, int]] = {
    "SGD with momentum": (lambda torch, p: torch.optim.SGD(p, lr=1e-3, momentum=0.9), 1),
    "AdamW": (lambda torch, p: torch.optim.AdamW(p, lr=1e-3), 2),
    "AdamW, fused": (lambda torch, p: torch.optim.AdamW(p, lr=1e-3, fused=True), 2),
}


def program(optimizer: Callable) -> Callable:
    def build(torch, *tensors):
        half = len(tensors) // 2
        parameters = [p.requires_grad_() for p in tensors[:half]]
        for p, g in zip(parameters, tensors[half:]):
            p.grad = g
        step = optimizer(torch, parameters).step

        def run():
            step()
            return parameters

        return run

    return build


def workloads(small: bool) -> Iterator[Workload]:
    shapes = [(10, 20), (20,), (7, 3)] if small else resnet18_shapes()
    parameters = sum(map(prod, shapes))
    for name, (optimizer, state) in CASES.items():
        yield Workload(OPTIMIZERS, f"{name}, {parameters:,}", program(optimizer),
                       tuple(map(Input, shapes)) * 2, "program",
                       bytes=4 * parameters * (3 + 2 * state))
