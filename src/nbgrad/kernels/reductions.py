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
from nbgrad.kernels.options import kernel, use_threads

# A row: blocks of 1,024 elements are summed by the vector unit in the compute dtype, and the
# blocks' totals in `wide` (float64 for floats), which keeps the error below pairwise summation's.
# A block is a function of its own, optimised before it is linked in: compiled within their loops,
# one thread and many would add in different orders.
_ROW = '''"""{name} on {compute}, along rows of (outer, n).

Written by nbgrad from formulas/reductions.py; edit the formula there, not here.
"""

import numpy as np

from nbgrad.kernels.cpu import maths as math
from nbgrad.kernels.options import {decorator}, inline, SUM{prange_import}


@{decorator}
def {kernel}(out, x, ms, count{params}):
    outer, length = x.shape
    n = np.{compute}(count)
{prelude}
    for o in {loop}(outer):
        m = ms[o]
        total = np.{wide}({identity})
        for start in range(0, length, 1024):
            u = block(x[o, start:start + 1024], m{params})
            total = np.{wide}({combine_wide})
        s = np.{compute}(total)
        out[o] = {post}


@inline(fastmath=SUM)
def block(x, m{params}):
    u = np.{compute}({identity})
    for i in range(x.size):
        x_ = {load}
        v = {pre}
        u = np.{compute}({combine})
    return u
'''

# A column: 64 neighbouring columns are summed together, so that memory is read in order.
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
    blocks = (inner + 63) // 64
{prelude}
    for block in {loop}(outer * blocks):
        o = block // blocks
        low = block % blocks * 64
        width = min(64, inner - low)
        total = np.empty(64, np.{wide})
        total[:] = np.{wide}({identity})
        for i in range(length):
            for j in range(width):
                x_ = {load_column}
                m = ms[o, low + j]
                u = total[j]
                v = np.{wide}({pre})
                total[j] = {combine}
        for j in range(width):
            m = ms[o, low + j]
            s = np.{compute}(total[j])
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


def _wide(row: Reduction, compute: str) -> str:
    """The dtype of totals."""
    return "float64" if compute.startswith("float") and row.kind != "same" else compute


def emit(row: Reduction, in_dtype: np.dtype, compute: str, column: bool, parallel: bool) -> str:
    """Source of the kernel that reduces `in_dtype` elements, computing in `compute`."""
    load = "x[o, i, low + j]" if column else "x[i]"
    if in_dtype.name != compute:
        load = f"np.{compute}({load})"
    return (_COLUMN if column else _ROW).format(
        name=row.name, kernel=f"{row.name}_{'column' if column else 'row'}", compute=compute,
        wide=_wide(row, compute),
        identity=_identity(row, in_dtype if row.kind == "same" else np.dtype(compute)),
        decorator="parallel_kernel" if parallel else "kernel",
        prange_import=", prange" if parallel else "", loop="prange" if parallel else "range",
        params="".join(f", {p}" for p in row.params),
        prelude="\n".join(f"    {p} = np.{compute}({p})" for p in row.params),
        load=load, load_column=load,
        pre=_text(row.pre, {}, compute), combine=_text(row.combine, {}, compute),
        combine_wide=_text(row.combine, {"u": "total", "v": "u"}, compute),
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


@kernel
def _arg(values, indices, x, largest):
    outer, n, inner = x.shape
    for o in range(outer):
        for j in range(inner):
            best, at = x[o, 0, j], 0
            for i in range(1, n):
                v = x[o, i, j]
                better = v > best if largest else v < best
                if best == best and (better or v != v):
                    best, at = v, i
            values[o, j] = best
            indices[o, j] = at


def extremum(x: np.ndarray, largest: bool) -> tuple[np.ndarray, np.ndarray]:
    """The largest (or smallest) of the middle axis of (outer, n, inner), and its first index."""
    shape = (x.shape[0], x.shape[2])
    values, indices = memory.empty(shape, x.dtype), memory.empty(shape, np.int64)
    _arg(values, indices, x, largest)
    return values, indices
