"""Reduction kernels over rows and columns, from the rows of formulas/reductions.py.

An input is seen as (outer, n, inner) and the middle axis is reduced. Partial sums follow a
blocking that depends on n alone, so the bits do not depend on the number of threads.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np

from nbgrad.formulas.expr import var
from nbgrad.formulas.reductions import TABLE, Reduction
from nbgrad.kernels import memory, source
from nbgrad.kernels.cpu.simd import LANES
from nbgrad.kernels.options import use_threads

# A row: element i of a block of 2,048 goes to lane i mod LANES, the lanes are combined by halves,
# and the blocks' results in `total` (float64 for floats), which keeps the error below pairwise
# summation's. The order is written down, so that no compiler and no number of threads changes it.
_ROW = '''"""{name} on {compute}, along rows of (outer, n).

Written by nbgrad from formulas/reductions.py; edit the formula there, not here.
"""

import numpy as np

from nbgrad.kernels.cpu import maths as math
from nbgrad.kernels.cpu.simd import LANES, stack_lanes
from nbgrad.kernels.options import {decorator}, inline{prange_import}


@{decorator}
def {kernel}(out, x, ms, count{params}):
    outer, length = x.shape
    n = np.{compute}(count)
{prelude}
    for o in {loop}(outer):
        m = ms[o]
        total = np.{total}({identity})
        for start in range(0, length, 2048):
            u = block(x[o, start:start + 2048], m{params})
            total = np.{total}({combine_total})
        s = {finish}(total)
        out[o] = {post}


@inline
def block(x, m{params}):
    lanes = stack_lanes(np.{part})
    for i in range(LANES):
        lanes[i] = {identity}
    whole = x.size // LANES * LANES
    for start in range(0, whole, LANES):
        part = x[start:start + LANES]
        for i in range(LANES):
            x_ = {load_lane}
            v = {pre}
            u = lanes[i]
            lanes[i] = {combine}
    for i in range(whole, x.size):
        x_ = {load}
        v = {pre}
        u = lanes[i - whole]
        lanes[i - whole] = {combine}
{halves}
    return lanes[0]
'''

_HALF = '''    for i in range({half}):
        u, v = lanes[i], lanes[i + {half}]
        lanes[i] = {combine}'''

# Columns: 256 neighbours together, so that memory is read in order, 32 rows in the dtype of `part`.
_COLUMN = '''"""{name} on {compute}, along the middle axis of (outer, n, inner).

Written by nbgrad from formulas/reductions.py; edit the formula there, not here.
"""

import numpy as np

from nbgrad.kernels.cpu import maths as math
from nbgrad.kernels.options import {decorator}{prange_import}


@{decorator}
def {kernel}(out, x, ms, count{params}):
    outer, length, inner = x.shape
    n = np.{compute}(count)
    blocks = (inner + 255) // 256
{prelude}
    for block in {loop}(outer * blocks):
        o = block // blocks
        low = block % blocks * 256
        width = min(256, inner - low)
        middle = ms[o, low:low + width]
        total, part = np.empty(width, np.{total}), np.empty(width, np.{part})
        total[:] = {identity}
        for start in range(0, length, 32):
            part[:] = {identity}
            for i in range(start, min(start + 32, length)):
                row = x[o, i, low:low + width]
                for j in range(width):
                    x_ = {load_column}
                    m = middle[j]
                    u = part[j]
                    v = {pre}
                    part[j] = {combine}
            for j in range(width):
                u, v = total[j], part[j]
                total[j] = {combine}
        for j in range(width):
            m = middle[j]
            s = {finish}(total[j])
            out[o, low + j] = {post}
'''


def _text(expr, names: dict[str, str], compute: str) -> str:
    """An expression as one line of Python, constants typed to the compute dtype."""
    body = source.Body("", (expr,), ("x",), (), ("{}",), ("{}",), compute, "")
    constants, shared, (value,) = source.statements(body)
    for line in reversed(shared):
        name, _, term = line.partition(" = ")
        value = source.replace_name(value, name, f"({term})")
    for line in constants:
        name, _, literal = line.partition(" = ")
        value = source.replace_name(value, name, literal)
    for name, replacement in names.items():
        value = source.replace_name(value, name, replacement)
    return value


def _identity(row: Reduction, np_dtype: np.dtype) -> str:
    if row.identity not in ("lowest", "highest"):
        return repr(row.identity)
    if np_dtype.kind == "f":
        return "-math.inf" if row.identity == "lowest" else "math.inf"
    if np_dtype.kind == "b":
        return "0" if row.identity == "lowest" else "1"
    info = np.iinfo(np_dtype)
    return repr(info.min if row.identity == "lowest" else info.max)


#: Floats are compared as integers; see kernels.cpu.maths.
_KEYS = {"float32": "int32", "float64": "int64"}


def _wide(row: Reduction, compute: str) -> str:
    """The dtype of totals."""
    return "float64" if compute.startswith("float") and row.kind != "same" else compute


def emit(row: Reduction, in_dtype: np.dtype, compute: str, column: bool, parallel: bool) -> str:
    """Source of the kernel that reduces `in_dtype` elements, computing in `compute`."""
    load = "x[i]" if in_dtype.name == compute else f"np.{compute}(x[i])"
    combine = _text(row.combine, {}, compute)
    identity = _identity(row, in_dtype if row.kind == "same" else np.dtype(compute))
    pre, finish = _text(row.pre, {}, compute), f"np.{compute}"
    part, total = compute, _wide(row, compute)
    if row.kind == "same" and compute in _KEYS:
        part = total = _KEYS[compute]
        identity = _identity(row, np.dtype(part))
        pre = f"math.order_{'top' if row.identity == 'lowest' else 'bottom'}({pre})"
        finish = "math.unorder"
    return (_COLUMN if column else _ROW).format(
        name=row.name, kernel=f"{row.name}_{'column' if column else 'row'}", compute=compute,
        part=part, total=total, identity=f"np.{part}({identity})", finish=finish, pre=pre,
        decorator="parallel_kernel" if parallel else "kernel",
        prange_import=", prange" if parallel else "", loop="prange" if parallel else "range",
        params="".join(f", {p}" for p in row.params),
        prelude="\n".join(f"    {p} = np.{compute}({p})" for p in row.params),
        load=load, load_lane=load.replace("x[i]", "part[i]"),
        load_column=load.replace("x[i]", "row[j]"),
        halves="\n".join(_HALF.format(half=LANES >> k, combine=combine)
                         for k in range(1, LANES.bit_length())),
        combine=combine,
        combine_total=_text(row.combine, {"u": "total", "v": "u"}, compute),
        post=_text(row.post, {}, compute))


_STAGES = {
    "whole": lambda row: row,
    "slabs": lambda row: replace(row, post=var("s")),
    "total": lambda row: replace(row, pre=var("x")),
}


@cache
def _kernel(name: str, stage: str, in_dtype: np.dtype, compute: str, column: bool, parallel: bool):
    row = _STAGES[stage](TABLE[name])
    return source.compile_source(emit(row, in_dtype, compute, column, parallel))


def reduce(name: str, x: np.ndarray, compute: str, result: np.dtype, m: np.ndarray | None = None,
           params: tuple = ()) -> np.ndarray:
    """Reduce the middle axis of a contiguous (outer, n, inner) array -> (outer, inner).

    `m` is a contiguous (outer, inner) array of per-result values of the compute dtype, for the
    reductions whose `pre` or `post` mentions it.
    """
    outer, n, inner = x.shape
    out = memory.empty((outer, inner), result)
    if out.size == 0:
        return out
    if m is None:
        m = np.zeros((outer, inner), compute)
    threads = use_threads(x.size)
    if inner > 1:
        _kernel(name, "whole", x.dtype, compute, True, threads)(out, x, m, n, *params)
    elif outer == 1 and n > 4 * _SLAB:
        _long_row(name, x.reshape(n), compute, out, m, threads, params)
    else:
        run = _kernel(name, "whole", x.dtype, compute, False, threads and outer > 1)
        run(out.reshape(outer), x.reshape(outer, n), m.reshape(outer), n, *params)
    return out


_SLAB = 1 << 15


def _long_row(name, x, compute, out, m, threads, params) -> None:
    """Reduce slabs of a fixed length side by side, then the slabs' totals."""
    wide = np.dtype(_wide(TABLE[name], compute))
    slabs = x.size // _SLAB
    totals = memory.empty(slabs + (x.size % _SLAB > 0), wide)
    ms = np.full(totals.size, m[0, 0])
    cut = slabs * _SLAB
    first = _kernel(name, "slabs", x.dtype, compute, False, threads)
    first(totals[:slabs], x[:cut].reshape(slabs, _SLAB), ms, x.size, *params)
    if cut < x.size:
        first(totals[slabs:], x[cut:].reshape(1, -1), ms, x.size, *params)
    last = _kernel(name, "total", wide, wide.name, False, False)
    last(out.reshape(1), totals.reshape(1, -1), m.reshape(1).astype(wide), x.size, *params)
