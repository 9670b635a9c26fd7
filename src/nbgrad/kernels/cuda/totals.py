"""The loops around a reduction's row on a CUDA device, as kernels/reductions has them for the CPU.

A thread combines EACH elements in their own dtype, and these in the dtype of totals (float64 for
floats); the threads' totals meet in pairs. So the order depends on the sizes alone, and the error is
that of the CPU's kernels.
"""

from __future__ import annotations

import numpy as np

from nbgrad.formulas.reductions import Reduction
from nbgrad.kernels import reductions as shared

#: Elements a thread reads at once.
EACH = 8

_HEADER = '''"""{name} on {compute}, {title}, for CUDA.

Written by nbgrad from formulas/reductions.py; edit the formula there, not here.
"""

import numpy as np

from nbgrad.kernels.cuda import maths as math
from nbgrad.kernels.cuda.blocks import exchange, sync
from nbgrad.kernels.cuda.provider import cuda, kernel

'''

# Part r of the rows: slab r % slabs of row r // slabs, for a group of threads.
_ROW = '''
@kernel
def {name}_row(out, x, {ms}at, outer, length, step, slabs, slab, period, count{params}):
    n = np.{compute}(count)
{prelude}
    thread = np.int64(cuda.threadIdx.x)
    lane = thread % {group}
{shared}
    parts = outer * slabs
    for r0 in range(cuda.blockIdx.x * {rows}, parts, cuda.gridDim.x * {rows}):
        r = r0 + thread // {group}
        o = r // slabs
        first = (r - o * slabs) * slab
        i = at + o * step + first + lane
        end = at + o * step + min(first + slab, length) if r < parts else i
        {m}
        total = np.{total}({identity})
        while i + {reach} < end:
            u = np.{compute}({identity})
{reads}
            part = np.{total}(u)
            total = {join}
            i += {stride}
        if i < end:
            u = np.{compute}({identity})
{rest}
            part = np.{total}(u)
            total = {join}
{meet}
        if lane == 0 and r < parts:
            s = np.{compute}(total)
            out[np.uint64(r)] = {post}
'''

# Columns: {width} of them side by side, {height} threads down each.
_COLUMN = '''
@kernel
def {name}_column(out, x, {ms}at, outer, length, inner, step, down, slabs, slab, period, count{params}):
    n = np.{compute}(count)
{prelude}
    thread = np.int64(cuda.threadIdx.x)
    beside, below = thread % {width}, thread // {width}
    totals = cuda.shared.array({threads}, np.{total})
    tiles = (inner + {width} - 1) // {width}
    for b in range(cuda.blockIdx.x, outer * slabs * tiles, cuda.gridDim.x):
        r = b // tiles
        j = (b - r * tiles) * {width} + beside
        o = r // slabs
        first = (r - o * slabs) * slab
        row, end = first + below, min(first + slab, length)
        total = np.{total}({identity})
        if j < inner:
            {m}
            i = at + o * step + row * down + j
            while row + {reach} < end:
                u = np.{compute}({identity})
{reads}
                part = np.{total}(u)
                total = {join}
                i += {stride} * down
                row += {stride}
            if row < end:
                u = np.{compute}({identity})
{rest}
                part = np.{total}(u)
                total = {join}
        totals[thread] = total
        sync()
        far = {height} // 2
        while far > 0:
            if below < far:
                part = totals[thread + far * {width}]
                total = {join}
                totals[thread] = total
            sync()
            far //= 2
        if below == 0 and j < inner:
            {m}
            s = np.{compute}(total)
            out[np.uint64(r * inner + j)] = {post}
        sync()
'''


def emit(row: Reduction, in_dtype: np.dtype, compute: str, column: bool, group: int, threads: int,
         warp: int) -> str:
    """Source of the kernel that reduces `in_dtype` elements, computing in `compute`.

    `group` threads take a row; or that many neighbouring columns are a block's.
    """
    total = shared._wide(row, compute)
    identity = shared._identity(row, in_dtype if row.kind == "same" else np.dtype(compute))
    middle = shared._needs_middle(row)
    join = shared._text(row.combine, {"u": "total", "v": "part"}, total)
    pre = shared._text(row.pre, {"x": "x_"}, compute)
    load = "{}" if in_dtype.name == compute else f"np.{compute}({{}})"
    height = threads // group
    far, times = (height, " * down") if column else (group, "")
    result = "r * inner + j" if column else "r"
    place = f"({result.replace('r', 'o', 1)}) % period"
    combined = shared._text(row.combine, {}, compute)
    reads, rest = [], []

    def at_of(k: int) -> str:
        return f"i + {k * far}{times}" if k else "i"

    for k in range(EACH):
        reads += [f"x_ = {load.format(f'x[np.uint64({at_of(k)})]')}", f"v = {pre}", f"u = {combined}"]
    inside = [f"{'row' if column else 'i'} + {k * far} < end" for k in range(EACH)]
    for k in range(EACH):  # no read waits for a choice: what lies beyond the end is not used
        at = f"{at_of(k)} if {inside[k]} else i" if k else "i"
        rest.append(f"x{k} = {load.format(f'x[np.uint64({at})]')}")
    for k in range(EACH):
        rest += [f"x_ = x{k}", f"v = {pre}",
                 f"u = {combined} if {inside[k]} else u" if k else f"u = {combined}"]
    indent = " " * (16 if column else 12)
    text = (_HEADER + (_COLUMN if column else _ROW)).format(
        name=row.name, compute=compute, total=total, identity=identity,
        title="down columns" if column else "along rows", join=join,
        params="".join(f", {p}" for p in row.params), ms="ms, " if middle else "",
        prelude="\n".join(f"    {p} = np.{compute}({p})" for p in row.params),
        m=f"m = np.{compute}(ms[np.uint64({place})])" if middle else "",
        post=shared._text(row.post, {}, compute), rest="\n".join(indent + line for line in rest),
        reads="\n".join(indent + line for line in reads), reach=(EACH - 1) * far, stride=EACH * far,
        group=group, rows=height, width=group, height=height, threads=threads,
        shared="" if column or group <= warp else
        f"    totals = cuda.shared.array({threads // warp}, np.{total})",
        meet="" if column else _meet(group, warp, threads, total, join))
    return "\n".join(line.rstrip() for line in text.split("\n")).replace("\n\n\n\n", "\n\n\n")


def _meet(group: int, warp: int, threads: int, total: str, join: str) -> str:
    """Lines that combine the totals of a group's threads, by pairs and then by warps."""
    lines, lanes = [], min(group, warp) // 2
    while lanes:
        lines += [f"part = exchange(total, {lanes})", f"total = {join}"]
        lanes //= 2
    if group > warp:
        lines += [f"if thread % {warp} == 0:", f"    totals[thread // {warp}] = total", "sync()",
                  "total = totals[0]", f"for k in range(1, {threads // warp}):",
                  "    part = totals[k]", f"    total = {join}", "sync()"]
    return "\n".join(" " * 8 + line for line in lines)
