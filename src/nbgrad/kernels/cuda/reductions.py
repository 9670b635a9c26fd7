"""Reductions on a CUDA device: the launches for a layout, over rows and down columns."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from math import prod
from typing import NamedTuple

import numpy as np

from nbgrad.formulas.reductions import TABLE, Reduction
from nbgrad.kernels import reductions as shared
from nbgrad.kernels import source
from nbgrad.kernels.cuda import totals
from nbgrad.kernels.cuda.array import DeviceArray
from nbgrad.kernels.cuda.blocks import THREADS, WARP, grid, group_for, power, slabs_for
from nbgrad.kernels.cuda.layouts import contiguous
from nbgrad.kernels.cuda.memory import empty
from nbgrad.kernels.cuda.provider import machine
from nbgrad.kernels.layout import Layout


class _Way(NamedTuple):
    """A launch of so many blocks; `numbers` are the kernel's, from `at` on."""

    column: bool
    group: int
    numbers: tuple[int, ...]
    results: int
    blocks: int


def _rows(at: int, outer: int, length: int, step: int) -> tuple[_Way, ...]:
    group = group_for(length, totals.EACH)
    if group > WARP and length < 4 * totals.EACH * THREADS and outer >= 32 * 132:
        group = WARP  # rows enough, and too short for a block
    slabs = slabs_for(outer, length, 8 * THREADS) if group == THREADS else 1
    way = _Way(False, group, (at, outer, length, step, slabs, max(-(-length // slabs), 1)),
               outer * slabs, grid(outer * slabs, group))
    return (way,) if slabs == 1 else (way, *_rows(0, outer, slabs, slabs))


def _columns(at: int, outer: int, length: int, inner: int, step: int,
             down: int) -> tuple[_Way, ...]:
    width = min(power(inner), WARP)
    while width < min(inner, THREADS) and THREADS // width > max(length // 4, 1):
        width *= 2  # no more threads down a column than have something to do
    tiles = -(-inner // width)
    slabs = slabs_for(outer * tiles, length, 2 * totals.EACH * (THREADS // width))
    way = _Way(True, width, (at, outer, length, inner, step, down, slabs, -(-length // slabs)),
               outer * slabs * inner, grid(outer * slabs * tiles))
    if slabs == 1:
        return (way,)
    return (way, *_columns(0, outer, slabs, inner, slabs * inner, inner))


@cache
def _kernel(row: Reduction, in_dtype: np.dtype, compute: str, column: bool, group: int):
    return source.compile_source(
        totals.emit(row, in_dtype, compute, column, group, THREADS, WARP))


def plan(name: str, own: Layout, reduced: tuple[int, ...], compute: str, result: np.dtype,
         params: tuple[float, ...] = ()) -> Callable[..., None]:
    """As kernels.reductions.plan, for a layout on a device."""
    order = [k for k in range(len(own.shape)) if k not in reduced] + list(reduced)
    count = prod(own.shape[k] for k in reduced)
    ways = shared._ways(own, reduced, _rows, _columns)
    if ways:
        if ways[-1].results == 0:
            return lambda out, x: None
        return _chain(name, own.dtype.np, compute, result, ways, count, params)
    shape, strides = (tuple([v[k] for k in order]) for v in (own.shape, own.strides))
    run = _chain(name, own.dtype.np, compute, result, _rows(0, own.numel // count, count, count),
                 count, params)
    return lambda out, x: run(out, contiguous(x.window(shape, strides, own.offset)).reshape(-1))


def _chain(name: str, in_dtype: np.dtype, compute: str, result: np.dtype, ways: tuple[_Way, ...],
           count: int, params: tuple[float, ...]) -> Callable[..., None]:
    """The launches one after the other, the middle of each result first."""
    row = TABLE[name]
    run = _in_stages(name, in_dtype, compute, result, ways, count, params)
    if row.middle is None:
        return run
    m_dtype, results = np.dtype(compute), ways[-1].results
    find = _chain(row.middle, in_dtype, compute, m_dtype, ways, count, ())

    def both(out: DeviceArray, x: DeviceArray) -> None:
        m = empty(results, m_dtype)
        find(m, x)
        run(out, x, m)

    return both


def _in_stages(name: str, in_dtype: np.dtype, compute: str, result: np.dtype,
               ways: tuple[_Way, ...], count: int, params: tuple[float, ...]) -> Callable[..., None]:
    """What a launch leaves, in the dtype of totals, is reduced by the next one."""
    wide = np.dtype(shared._wide(TABLE[name], compute))
    results = ways[-1].results
    steps = []
    for way in ways:
        begins, ends = way is ways[0], way is ways[-1]
        row, own = shared._stage(name, begins, ends), compute if begins else wide.name
        middle = shared._needs_middle(row)
        from_dtype, to_dtype = in_dtype if begins else wide, result if ends else wide
        numbers = (*way.numbers, results, count)
        launch = machine.launcher(
            _kernel(row, from_dtype, own, way.column, way.group),
            ((to_dtype, 1), (from_dtype, 1), *[(np.dtype(compute), 1)] * middle,
             *["int64"] * len(numbers), *["float64"] * len(params)))(way.blocks, THREADS)
        steps.append((launch, way.results, middle, (*numbers, *params)))

    def run(out: DeviceArray, x: DeviceArray, *middle: DeviceArray) -> None:
        for launch, size, wanted, numbers in steps[:-1]:
            parts = empty(size, wide)
            launch(parts, x, *middle * wanted, *numbers)
            x = parts
        launch, _, wanted, numbers = steps[-1]
        launch(out, x, *middle * wanted, *numbers)

    return run
