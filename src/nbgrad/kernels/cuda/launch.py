"""Launches of kernels over many elements, resolved once."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

from nbgrad.kernels.cuda.provider import BLOCK, Kernel, blocks, machine


def launch(kernel: Kernel, work: int, arrays: tuple, numbers: tuple[str, ...] = ()) -> Callable:
    """`run(*arrays, *numbers)` with a thread for each of so many elements, or a few elements each.

    Args:
        arrays: the NumPy dtypes of the vectors that the kernel takes.
        numbers: "int64" or "float64" for each number after them.
    """
    return _sized(kernel, arrays, numbers, blocks(work))


@cache
def _sized(kernel: Kernel, arrays: tuple, numbers: tuple[str, ...], count: int) -> Callable:
    return _loaded(kernel, arrays, numbers)(count, BLOCK)


@cache
def _loaded(kernel: Kernel, arrays: tuple, numbers: tuple[str, ...]) -> Callable:
    return machine.launcher(kernel, (*[(d, 1) for d in arrays], *numbers))
