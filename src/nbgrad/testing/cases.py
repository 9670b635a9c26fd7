"""Calls that an op is tested by: written once in PyTorch's words, run by both libraries."""

from __future__ import annotations

import importlib.util
import warnings
import zlib
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np

Draw = Callable[[np.random.Generator], np.ndarray]
#: An operand: a shape to fill with normal numbers, how to draw it, or the array itself.
Operand = tuple | Draw | np.ndarray | list

OPERANDS = "abcdefgh"


class Case(NamedTuple):
    """A call, such as `Case("torch.roll(a, 2, dims=1)", (3, 4))`; operands are a, b, c, …

    In the text `torch` is the library, `F` its nn.functional and `nn` its modules.
    """

    call: str
    operands: tuple[Operand, ...] = ()
    differentiable: bool = True
    twice: bool = True  # whether second gradients are compared
    dtypes: bool = True  # whether it is tried with operands of other dtypes
    strided: bool = True  # whether it is tried with operands that are views


def case(call: str, *operands: Operand, **options) -> Case:
    """A `Case` whose operands are listed."""
    return Case(call, operands, **options)


def ints(*shape: int, low: int = 0, high: int = 5) -> Draw:
    """int64 operand of a shape, low <= number < high."""
    return lambda random: np.asarray(random.integers(low, high, shape))


def bools(*shape: int) -> Draw:
    """bool operand of a shape."""
    return lambda random: np.asarray(random.random(shape) < 0.5)


def uniform(*shape: int, low: float = 0.0, high: float = 1.0) -> Draw:
    """Float operand of a shape, low <= number < high."""
    return lambda random: np.asarray(random.uniform(low, high, shape))


def distinct(*shape: int) -> Draw:
    """Float operand without equal numbers, well apart: for ops that choose among them."""
    def draw(random: np.random.Generator) -> np.ndarray:
        count = int(np.prod(shape))
        return (random.permutation(count).reshape(shape) - count / 2) * 0.37 + 0.1

    return draw


def positive(n: int, *batch: int) -> Draw:
    """Symmetric positive definite matrices (*batch, n, n), well conditioned."""
    def draw(random: np.random.Generator) -> np.ndarray:
        a = random.standard_normal((*batch, n, n))
        return a @ np.swapaxes(a, -1, -2) + n * np.eye(n)

    return draw


def arrays(found: Case) -> list[np.ndarray]:
    """The operands of a case, the same at every call."""
    random = np.random.default_rng(zlib.crc32(found.call.encode()))
    drawn: list[Any] = []
    for operand in found.operands:
        if callable(operand):
            drawn.append(operand(random))
        elif isinstance(operand, tuple):
            drawn.append(np.asarray(random.standard_normal(operand)))
        else:
            drawn.append(np.asarray(operand))
    return drawn


def tables(folder: Path) -> list[ModuleType]:
    """The modules of a folder, each with its CASES and ERRORS."""
    found = []
    for path in sorted(folder.glob("*.py")):
        spec = importlib.util.spec_from_file_location(f"cases_{path.stem}", path)
        assert spec is not None and spec.loader is not None
        found.append(importlib.util.module_from_spec(spec))
        spec.loader.exec_module(found[-1])
    return found


def evaluate(library: Any, call: str, operands: list) -> list:
    """The results of a call."""
    scope = dict(zip(OPERANDS, operands), torch=library, F=library.nn.functional, nn=library.nn)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        made = eval(call, scope)
    return list(made) if isinstance(made, (tuple, list)) else [made]
