"""Reduction kernels over rows and columns, from the rows of formulas/reductions.py.

The elements of a tensor are seen as (outer, length, inner), the middle axis is reduced, and what is
last lies side by side. Partial results follow a blocking that depends on the sizes alone, so the
bits do not depend on the number of threads.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache
from math import prod
from typing import NamedTuple

import numpy as np
from numba import types

from nbgrad.devices import CPU
from nbgrad.formulas.expr import SELECT, Expr, expand, free, topological, var
from nbgrad.formulas.reductions import TABLE, Reduction
from nbgrad.kernels import source
from nbgrad.kernels.cpu.simd import LANES
from nbgrad.kernels.launch import either, entry_point
from nbgrad.kernels.layout import Layout

# A row: element i of a block of 2,048 goes to lane i mod LANES, the lanes are combined by halves,
# and the blocks' results in the dtype of totals (float64 for floats), which keeps the error below
# pairwise summation's. A long row alone is cut into slabs, which threads share. The order is written
# down, so that no compiler and no number of threads changes it. Memory is asked for two pages ahead,
# which took a third off the time of amax over rows of 64 MB, and costs arrays in the cache little.
_ROW = '''"""{name} on {compute}, along rows that are `step` apart and end at `limit`.

Written by nbgrad from formulas/reductions.py; edit the formula there, not here.
"""

import numpy as np

from nbgrad.kernels.cpu import maths as math
from nbgrad.kernels.cpu.lanes import (
    LANES, cast_lanes, choose, first, high, load, load_some, low, splat)
from nbgrad.kernels.cpu.simd import prefetch
from nbgrad.kernels.options import {decorator}{prange_import}


@{decorator}
def {name}_row(out, x, {ms}at, outer, length, step, limit, count{params}):
    n = np.{compute}(count)
{prelude}
    for o in {loop}(outer):
        {m}
        end = min(at + o * step + length, limit)
        total = np.{total}({identity})
        for start in range(at + o * step, end, 2048):
            stop = min(start + 2048, end)
            whole = stop - (stop - start) % LANES
            u = splat(np.{compute}, {identity})
            for i in range(start, whole, LANES):
                x_ = {load}
{ahead}
                v = {pre}
                u = {combine}
            if whole < stop:
                x_ = {load_some}
                v = {pre}
                u = first(stop - whole, {combine}, u)
{halves}
            total = np.{total}({combine_total})
        s = np.{compute}(total)
        out[o] = {post}
'''

# Columns: LANES neighbours together, 32 rows in the dtype of the elements.
_COLUMN = '''"""{name} on {compute}, down columns whose entries are `down` apart.

Written by nbgrad from formulas/reductions.py; edit the formula there, not here.
"""

import numpy as np

from nbgrad.kernels.cpu import maths as math
from nbgrad.kernels.cpu.lanes import LANES, cast_lanes, choose, load, load_some, splat, store
from nbgrad.kernels.cpu.simd import stack_lanes
from nbgrad.kernels.options import {decorator}{prange_import}


@{decorator}
def {name}_column(out, x, {ms}at, outer, length, inner, step, down, count{params}):
    blocks = (inner + LANES - 1) // LANES
    n = np.{compute}(count)
{prelude}
    for block in {loop}(outer * blocks):
        left = block % blocks * LANES
        width = min(LANES, inner - left)
        top = at + block // blocks * step + left
        o = block // blocks * inner + left
        {m}
        total = splat(np.{total}, {identity})
        for start in range(0, length, 32):
            u = splat(np.{compute}, {identity})
            rows = min(length - start, 32)
            if width == LANES:
                for k in range(rows):
                    i = top + (start + k) * down
                    x_ = {load}
                    v = {pre}
                    u = {combine}
            else:
                for k in range(rows):
                    i = top + (start + k) * down
                    x_ = {load_some}
                    v = {pre}
                    u = {combine}
            part = cast_lanes(u, np.{total})
            total = {combine_total}
        results = stack_lanes(np.{total})
        store(results, 0, total)
        for j in range(width):
            s = np.{compute}(results[j])
            {m_one}
            out[o + j] = {post}
'''




def _text(expr: Expr, names: dict[str, str], compute: str, lanes: bool = False) -> str:
    """An expression as one line of Python, of numbers or of lanes, constants of the compute dtype."""
    text: dict[Expr, str] = {}
    root = expand(expr)
    for node in topological([root]):
        if node.is_var:
            text[node] = names.get(node.value, node.value)
        elif node.op is None:
            text[node] = f"np.{compute}({node.value!r})"
        elif node.op is SELECT and lanes:
            text[node] = "choose({}, {}, {})".format(*(text[arg] for arg in node.args))
        else:
            assert node.op.source is not None  # operators given by a formula were expanded
            text[node] = node.op.source.format(*(text[arg] for arg in node.args))
    return text[root]


def _identity(row: Reduction, np_dtype: np.dtype) -> str:
    if row.identity not in ("lowest", "highest"):
        return repr(row.identity)
    if np_dtype.kind == "f":
        return "-math.inf" if row.identity == "lowest" else "math.inf"
    if np_dtype.kind == "b":
        return "0" if row.identity == "lowest" else "1"
    info = np.iinfo(np_dtype)
    return repr(info.min if row.identity == "lowest" else info.max)


def _wide(row: Reduction, compute: str) -> str:
    """The dtype of totals."""
    return "float64" if compute.startswith("float") and row.kind != "same" else compute


def _needs_middle(row: Reduction) -> bool:
    return "m" in free(row.pre, row.post)


def _halves(combine: Expr, compute: str, total: str) -> str:
    """Lines that combine LANES partial results `u` into `part`."""
    lines, old, count = [], "u", LANES
    while count > 1:
        count //= 2
        lines.append(f"a{count}, b{count} = low({old}), high({old})")
        value = _text(combine, {"u": f"a{count}", "v": f"b{count}"}, compute, count > 1)
        old = f"u{count}"
        lines.append(f"{old} = {value}")
    lines.append(f"part = np.{total}({old})")
    return "\n".join(" " * 12 + line for line in lines)


def emit(row: Reduction, in_dtype: np.dtype, compute: str, column: bool, parallel: bool) -> str:
    """Source of the kernel that reduces `in_dtype` elements, computing in `compute`."""
    total = _wide(row, compute)
    load = "{}" if in_dtype.name == compute else f"cast_lanes({{}}, np.{compute})"
    identity = _identity(row, in_dtype if row.kind == "same" else np.dtype(compute))
    middle = _needs_middle(row)
    one = _text(row.combine, {"u": "total", "v": "part"}, total, column)
    found = (_COLUMN if column else _ROW).format(
        name=row.name, compute=compute, total=total, identity=f"({identity})",
        decorator="parallel_kernel" if parallel else "kernel",
        prange_import=", prange" if parallel else "", loop="prange" if parallel else "range",
        params="".join(f", {p}" for p in row.params), ms="ms, " if middle else "",
        prelude="\n".join(f"    {p} = np.{compute}({p})" for p in row.params) or " ",
        load=load.format("load(x, i)"),
        load_some=load.format("load_some(x, i, width)" if column else
                              "load_some(x, whole, stop - whole)"),
        pre=_text(row.pre, {"x": "x_"}, compute, True),
        combine=_text(row.combine, {}, compute, True), combine_total=one,
        ahead=_ahead(in_dtype.itemsize), halves=_halves(row.combine, compute, total),
        m=("m = load_some(ms, o, width)" if column else "m = ms[o]") if middle else "",
        m_one="one = ms[o + j]" if middle else "",
        post=_text(row.post, {"m": "one"} if column else {}, compute))
    return "\n".join(line for line in found.split("\n") if not line or line.strip())


def _ahead(itemsize: int) -> str:
    """Lines that ask for the cache lines of LANES elements some way ahead."""
    places = range(_AHEAD, _AHEAD + LANES * itemsize, _LINE)
    return "\n".join(f"{' ' * 16}prefetch(x, i + {place // itemsize})" for place in places)


def _stage(name: str, begins: bool, ends: bool) -> Reduction:
    """A row without what is done to the elements, where it does not begin there, or to the total."""
    row = TABLE[name]
    return replace(row, pre=row.pre if begins else var("x"), post=row.post if ends else var("s"))


@cache
def _kernel(row: Reduction, in_dtype: np.dtype, compute: str, column: bool, parallel: bool):
    return source.compile_source(emit(row, in_dtype, compute, column, parallel))


_SLAB = 1 << 15
_AHEAD, _LINE = 8192, 64  # bytes


class _Way(NamedTuple):
    """A launch over `work` elements; `numbers` are the kernel's, from `at` on."""

    column: bool
    numbers: tuple[int, ...]
    results: int
    work: int


def _rows(at: int, outer: int, length: int, step: int) -> tuple[_Way, ...]:
    if outer != 1 or length <= 4 * _SLAB:
        limit = at + max(outer - 1, 0) * step + length
        work = outer * length if outer > 1 else 0  # which no threads share
        return (_Way(False, (at, outer, length, step, limit), outer, work),)
    slabs = -(-length // _SLAB)
    return (_Way(False, (at, slabs, _SLAB, _SLAB, at + length), slabs, length),
            *_rows(0, 1, slabs, slabs))


def _columns(at: int, outer: int, length: int, inner: int, step: int, down: int) -> tuple[_Way, ...]:
    work = outer * length * inner if outer > 1 or inner > LANES else 0
    return (_Way(True, (at, outer, length, inner, step, down), outer * inner, work),)


def _ways(own: Layout, reduced: tuple[int, ...], rows=_rows, columns=_columns) -> tuple:
    """The launches that reduce a layout where it lies, each what the one before left; () if none do.

    `rows` and `columns` make them.
    """
    if own.numel == 0:
        return rows(0, prod(n for k, n in enumerate(own.shape) if k not in reduced), 0, 0)
    # From the largest stride to the smallest; an axis that repeats itself is outermost.
    order = sorted((k for k, n in enumerate(own.shape) if n != 1),
                   key=lambda k: (own.strides[k] != 0, -own.strides[k]))
    kept = [k for k in order if k not in reduced]
    if kept != sorted(kept):
        return ()
    groups: list[list[int]] = []  # [whether reduced, size, stride]
    for k in order:
        size, stride = own.shape[k], own.strides[k]
        if groups and groups[-1][0] == (k in reduced) and groups[-1][2] == size * stride:
            groups[-1][1:] = groups[-1][1] * size, stride
        else:
            groups.append([k in reduced, size, stride])
    last: tuple = ()
    if len(groups) > 2 and groups[0][0]:
        (_, n, far), (_, size, stride) = groups[:2]
        if far != size * stride:
            return ()
        groups[:2] = [[False, n * size, stride]]
        results = prod(g[1] for g in groups if not g[0])
        last = columns(0, 1, n, results // n, 0, results // n)
    kinds = "".join("R" if g[0] else "K" for g in groups)
    if kinds in ("", "R", "K", "RK"):
        groups.insert(0, [False, 1, 0])
        kinds = "K" + kinds
    if kinds in ("K", "KK"):
        groups.insert(1, [True, 1, 0])
        kinds = "KR" + kinds[1:]
    if kinds not in ("KR", "KRK"):
        return ()
    (_, outer, step), (_, n, down), (_, inner, beside) = (*groups, [False, 1, 1])[:3]
    if beside != 1:
        return ()
    along = inner == 1 and (down == 1 or n == 1)
    if along:
        return (*rows(own.offset, outer, n, step), *last)
    return (*columns(own.offset, outer, n, inner, step, down), *last)


def _gathered(own: Layout, reduced: tuple[int, ...]):
    """The launches over a copy of a layout with the reduced axes last, and how to make the copy."""
    order = [k for k in range(len(own.shape)) if k not in reduced] + list(reduced)
    shape, strides = ([v[k] for k in order] for v in (own.shape, own.strides))
    n = prod(own.shape[k] for k in reduced)

    def copy(x: np.ndarray) -> np.ndarray:
        size = x.itemsize
        seen = np.ndarray(shape, x.dtype, x, own.offset * size, [s * size for s in strides])
        return np.ascontiguousarray(seen).reshape(-1)

    return _rows(0, own.numel // n, n, n), copy


def _launch(row: Reduction, in_dtype: np.dtype, compute: str, result: np.dtype, way: _Way,
            count: int, params: tuple[float, ...]) -> Callable[..., None]:
    """A function of (out, x), or (out, x, middle), over storages."""
    arrays = [(result, 1), (in_dtype, 1)] + [(np.dtype(compute), 1)] * _needs_middle(row)
    numbers = (*way.numbers, count)
    run = either(way.work, lambda parallel: entry_point(
        _kernel(row, in_dtype, compute, way.column, parallel), *arrays,
        *[types.int64] * len(numbers), *[types.float64] * len(params)))
    return lambda *arrays: run(*arrays, *numbers, *params)


def plan(name: str, own: Layout, reduced: tuple[int, ...], compute: str, result: np.dtype,
         params: tuple[float, ...] = ()) -> Callable[[np.ndarray, np.ndarray], None]:
    """The launch that reduces the axes `reduced` of a layout: a function of (out, x) over storages.

    `out` is contiguous, of the dtype `result` and of the sizes of the other axes.
    """
    if own.device is not CPU:
        from nbgrad.kernels.cuda import reductions
        return reductions.plan(name, own, reduced, compute, result, params)
    ways, copy = _ways(own, reduced), None
    if not ways or (TABLE[name].middle and len(ways) > 1 and ways[-1].results > 1):
        ways, copy = _gathered(own, reduced)
    if ways[-1].results == 0:
        return lambda out, x: None
    count = prod(own.shape[k] for k in reduced)
    run = _chain(name, own.dtype.np, compute, result, ways, count, params)
    return run if copy is None else lambda out, x: run(out, copy(x))


def _chain(name: str, in_dtype: np.dtype, compute: str, result: np.dtype, ways: tuple[_Way, ...],
           count: int, params: tuple[float, ...]) -> Callable[..., None]:
    """The launches one after the other, the middle of each result first."""
    row = TABLE[name]
    if len(ways) == 1:
        run = _launch(row, in_dtype, compute, result, ways[0], count, params)
    else:
        run = _in_stages(name, in_dtype, compute, result, ways, count, params)
    if row.middle is None:
        return run
    m_dtype, results = np.dtype(compute), ways[-1].results
    find = _chain(row.middle, in_dtype, compute, m_dtype, ways, count, ())

    def both(out: np.ndarray, x: np.ndarray) -> None:
        m = np.empty(results, m_dtype)
        find(m, x)
        run(out, x, m)

    return both


def _in_stages(name: str, in_dtype: np.dtype, compute: str, result: np.dtype,
               ways: tuple[_Way, ...], count: int, params: tuple[float, ...]) -> Callable[..., None]:
    """What a launch leaves, in the dtype of totals, is reduced by the next one."""
    wide = np.dtype(_wide(TABLE[name], compute))
    steps = []
    for way in ways:
        begins, ends = way is ways[0], way is ways[-1]
        row, own = _stage(name, begins, ends), compute if begins else wide.name
        launch = _launch(row, in_dtype if begins else wide, own, result if ends else wide, way, count,
                         params)
        steps.append((launch, way.results, own if _needs_middle(row) else None))

    def run(out: np.ndarray, x: np.ndarray, middle: np.ndarray | None = None) -> None:
        for launch, results, m_dtype in steps:
            parts = out if launch is steps[-1][0] else np.empty(results, wide)
            if middle is None or m_dtype is None:
                launch(parts, x)
            else:  # there is one result, and so one middle
                launch(parts, x, np.full(results, middle[0], m_dtype))
            x = parts

    return run
