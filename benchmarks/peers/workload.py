"""What a workload is: work stated once, for every library that is to do it."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, NamedTuple

import numpy as np

#: What is timed: a call, without or with the graph recorded; the backward pass alone; a call and
#: its backward pass; or what `function` returns, which is then a program with a state of its own.
Mode = Literal["forward", "record", "backward", "both", "program"]


class Group(NamedTuple):
    """Workloads that are judged together: peer time / nbgrad time, on average and at the least."""

    name: str
    title: str
    goal: float | None = None
    floor: float | None = None


class Input(NamedTuple):
    """An array to make; `transposed` has its columns contiguous instead of its rows.

    "positive" numbers lie around one, "small" ones below a thousandth; "distinct" ones differ, so
    that there is one way to sort them; an "index" is less than `high`, and "places" are different
    ones.
    """

    shape: tuple[int, ...]
    kind: Literal["normal", "positive", "small", "ones", "distinct", "index", "places"] = "normal"
    high: int = 0
    transposed: bool = False

    def array(self, rng: np.random.Generator) -> np.ndarray:
        """The values: the same for every library, since `rng` is seeded by the workload."""
        shape = self.shape[::-1] if self.transposed else self.shape
        if self.kind == "index":
            made = rng.integers(0, self.high, shape)
        elif self.kind == "places":
            made = rng.permutation(self.high)[:int(np.prod(shape))].reshape(shape)
        elif self.kind == "distinct":
            made = rng.permutation(int(np.prod(shape))).astype(np.float32).reshape(shape)
        elif self.kind == "ones":
            made = np.ones(shape, np.float32)
        elif self.kind == "normal":
            made = rng.standard_normal(shape, np.float32)
        else:
            made = rng.random(shape, np.float32)
            made = made + np.float32(0.5) if self.kind == "positive" else made * np.float32(1e-3)
        return made.T if self.transposed else made


@dataclass(frozen=True)
class Workload:
    """Work in a library that is given as an argument.

    Args:
        group: whose goal it shares.
        name: unique in its group.
        function: `function(torch, *tensors)` returns a tensor; in mode "program" a callable to
            time, which returns the tensors to compare.
        inputs: arrays to make.
        mode: what is timed.
        wrt: places of the inputs that get a gradient; None is all that are floats.
        flops: floating-point operations of one call, 0 if they are not what limits it.
        bytes: memory one call must at least read and write, 0 if that is not what limits it.
        tolerance: how far results may lie apart, relative to their size.
        eager: many small calls rather than one that a compiler could take whole.
        drawn: the result is random; of two, shape, mean and size are compared, not the numbers.
    """

    group: Group
    name: str
    function: Callable[..., Any]
    inputs: tuple[Input, ...] = ()
    mode: Mode = "forward"
    wrt: tuple[int, ...] | None = None
    flops: float = 0
    bytes: float = 0
    tolerance: float = 1e-4
    eager: bool = False
    drawn: bool = False

    @property
    def key(self) -> str:
        return f"{self.group.name}/{self.name}"

    @cached_property
    def gradients(self) -> tuple[int, ...]:
        """Places of the inputs that get a gradient."""
        if self.wrt is not None:
            return self.wrt
        return tuple(k for k, made in enumerate(self.inputs) if made.kind not in ("index", "places"))

    def arrays(self) -> list[np.ndarray]:
        """The inputs' values."""
        rng = np.random.default_rng(zlib.crc32(self.key.encode()))
        return [made.array(rng) for made in self.inputs]

    def seed(self, shape: Sequence[int]) -> np.ndarray:
        """The gradient of the result that a backward pass starts from."""
        rng = np.random.default_rng(zlib.crc32(self.key.encode()) + 1)
        return rng.standard_normal(tuple(shape), np.float32)


def select(workloads: Iterable[Workload], only: Iterable[str]) -> list[Workload]:
    """Those that one of `only` names: GROUP, or GROUP/PART with a part of the workload's name.

    A group's name may be cut short at a hyphen. Without `only`, all.
    """
    wanted = [selection.partition("/") for selection in only]

    def named(workload: Workload) -> bool:
        group = workload.group.name
        return any((group == start or group.startswith(f"{start}-")) and part in workload.name
                   for start, _, part in wanted)

    return [w for w in workloads if not wanted or named(w)]
