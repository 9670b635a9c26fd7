"""What the hand-written families share: reading what a node saved, and checking arguments."""

from __future__ import annotations

import numbers
import sys
from collections import namedtuple
from typing import Any

import numpy as np

from nbgrad.engine.node import Node
from nbgrad.engine.saved import unpack
from nbgrad.kernels.layout import Layout
from nbgrad.tensor import Saved, Tensor

#: the types of Python's own numbers
NUMBERS = (int, float, bool)


def needs(node: Node) -> tuple[bool, ...]:
    """Which inputs of a node want a gradient."""
    return tuple([n is not None for n in node.next])


def saved(node: Node) -> dict[int, Tensor]:
    """The saved values of a node by their codes: input numbers, and -1, -2, … for outputs."""
    codes = node.op.saves(needs(node), node.attrs)
    return {code: v.tensor(node) if type(v) is Saved else v
            for code, v in zip(codes, unpack(node))}


def optional(tensors, given: tuple[bool, ...]) -> list:
    """The optional inputs of an op in their places, None where they were not given."""
    rest = iter(tensors)
    return [next(rest) if g else None for g in given]


def present(*tensors: Tensor | None) -> tuple[Tensor, ...]:
    """The tensors that are given."""
    return tuple([t for t in tensors if t is not None])


def expect_tensor(function: str, **arguments) -> None:
    """TypeError where an argument is not a tensor."""
    for name, value in arguments.items():
        if not isinstance(value, Tensor):
            raise TypeError(f"{function}(): argument '{name}' must be Tensor, not "
                            f"{type(value).__name__}")


def expect_float(kernel: str, own: Layout) -> None:
    """NotImplementedError in PyTorch's words for a dtype that a kernel lacks."""
    if own.dtype.category != 2:
        raise NotImplementedError(f'"{kernel}" not implemented for \'{own.dtype.legacy}\'')


def users_line() -> int:
    """The `stacklevel` of a warning, given by whom calls this, at the first line outside nbgrad."""
    level, frame = 1, sys._getframe(1)
    while frame.f_back is not None and frame.f_globals.get("__name__", "").startswith("nbgrad."):
        level, frame = level + 1, frame.f_back
    return level


def named(name: str, *fields: str) -> Any:
    """A named tuple that prints as PyTorch's return types do."""
    base: Any = namedtuple(name, fields or ["values", "indices"])  # type: ignore[misc]

    def __repr__(self) -> str:
        rows = ",\n".join(f"{field}={value!r}" for field, value in self._asdict().items())
        return f"nbgrad.return_types.{name}(\n{rows})"

    return type(name, (base,), {"__repr__": __repr__, "__slots__": ()})


def number(value):
    """A Python number from a number or a NumPy scalar; None from anything else."""
    if type(value) in NUMBERS:
        return value
    if isinstance(value, (np.generic, numbers.Real)):
        return value.item() if isinstance(value, np.generic) else float(value)
    return None
