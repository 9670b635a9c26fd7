"""Optimizer kernels: a parameter and its states move in one pass, in place."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache

import numpy as np
from numba import types

from nbgrad.formulas.updates import Update
from nbgrad.kernels import source
from nbgrad.kernels.launch import entry_point
from nbgrad.kernels.options import use_threads


def step(row: Update, arrays: Sequence[np.ndarray], scalars: tuple[float, ...]) -> None:
    """Run `row` on `row.arrays`, all of one shape and dtype, and write what it moves.

    Arrays may have any strides: those that are not contiguous go through a copy.
    """
    flat = [a.ravel() for a in arrays]  # a view if contiguous, else a copy
    step_flat(row, flat, scalars)
    for k, name in enumerate(row.arrays):
        if name in row.new and not arrays[k].flags.c_contiguous:
            arrays[k][...] = flat[k].reshape(arrays[k].shape)


def step_flat(row: Update, arrays: Sequence[np.ndarray], scalars: tuple[float, ...]) -> None:
    """The same for contiguous vectors of one dtype and length; the scalars are floats."""
    first = arrays[0]
    _launch(row, first.dtype, use_threads(first.size))(*arrays, *scalars)


def step_many(row: Update, parameters: Sequence[Sequence], scalars: tuple[float, ...]) -> None:
    """The same for parameters on a CUDA device, each given by its vectors."""
    from nbgrad.kernels.cuda import updates
    updates.step(row, parameters, scalars)


@cache
def _launch(row: Update, dtype: np.dtype, parallel: bool) -> Callable[..., None]:
    vectors, numbers = [(dtype, 1)] * len(row.arrays), [types.float64] * len(row.scalars)
    return entry_point(kernel(row, dtype, parallel), *vectors, *numbers)


@cache
def kernel(row: Update, dtype: np.dtype, parallel: bool):
    return source.compile_source(source.flat(body(row, dtype.name), parallel=parallel))


def body(row: Update, compute: str) -> source.Body:
    """What a step does to one element: it reads every array and writes all but the gradient."""
    return source.Body(row.name, tuple(row.new.values()), row.arrays, row.scalars,
                       ("{}",) * len(row.arrays), ("{}",) * len(row.new), compute,
                       "formulas/updates.py", tuple(row.new))
