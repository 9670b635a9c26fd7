"""Optimizer kernels: a parameter and its states move in one pass, in place."""

from __future__ import annotations

from functools import cache

import numpy as np

from nbgrad.formulas.updates import Update
from nbgrad.kernels import source
from nbgrad.kernels.options import use_threads


def step(row: Update, arrays: tuple[np.ndarray, ...], scalars: tuple[float, ...]) -> None:
    """Run `row` on `row.arrays`, all of one shape and dtype, and write what it moves.

    Arrays may have any strides, and contiguous ones may be given flat: those that are not
    contiguous go through a copy.
    """
    flat = [a.ravel() for a in arrays]  # a view if contiguous, else a copy
    kernel(row, flat[0].dtype, use_threads(flat[0].size))(*flat, *scalars)
    for k, name in enumerate(row.arrays):
        if name in row.new and not arrays[k].flags.c_contiguous:
            arrays[k][...] = flat[k].reshape(arrays[k].shape)


@cache
def kernel(row: Update, dtype: np.dtype, parallel: bool):
    return source.compile_source(emit(row, dtype.name, parallel))


def emit(row: Update, compute: str, parallel: bool) -> str:
    """Source of the kernel over flat arrays.

    What is written bears the name of what is read: two names for one array would look like an
    overlap to the compiler and cost the vector loop.
    """
    body = source.Body(row.name, tuple(row.new.values()), row.arrays, row.scalars,
                       ("{}",) * len(row.arrays), ("{}",) * len(row.new), compute,
                       "formulas/updates.py")
    constants, shared, values = source.statements(body)
    decorator, loop, imports = source.loop("p", "cpu", parallel)
    head = source.HEADER.format(
        title=f"{row.name} on {compute}, contiguous, in place.",
        equation=f"{', '.join(row.new)} <- step({', '.join(row.arrays)})",
        origin=body.origin, imports=imports)
    loads = [f"{n}_ = {n}[i]" for n in row.arrays]
    writes = [f"{n}[i] = {v}" for n, v in zip(row.new, values)]
    return (
        head + f"@{decorator}\ndef {row.name}({', '.join((*row.arrays, *row.scalars))}):\n"
        + source.block(source.prelude(body, constants), 1)
        + f"    for i in {loop}:\n"
        + source.block(loads + shared + writes, 2)
    )
