"""Matrix products on a CUDA device: which kernel multiplies operands of these sizes and strides."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import numpy as np

from nbgrad import config
from nbgrad.kernels.cuda import cublas
from nbgrad.kernels.cuda.array import DeviceArray, OnHost
from nbgrad.kernels.cuda.launch import launch as over
from nbgrad.kernels.cuda.memory import empty
from nbgrad.kernels.cuda.provider import BLOCK, SIMULATED, blocks, cuda, kernel, machine
from nbgrad.kernels.cuda.tiles import Operand, Spec, adding, conversions, cut, slab
from nbgrad.kernels.cuda.tiles import launch as in_tiles

#: Blocks that keep a device busy, numbers of a sum that are worth one, threads that share a short sum.
_BUSY, _PART, _FEW = (4, 8, 2) if SIMULATED else (528, 4096, 32)


@cache
def _none(dtype: np.dtype) -> DeviceArray:
    """The bias of a product without one."""
    return empty(0, dtype)


def launch(p) -> Callable[..., None]:
    """`run(out, a, b)`, with a bias `run(bias, out, a, b)`, for a kernels.matmul._Product."""
    if p.k == 0:
        return _only_bias(p)
    if p.dtype.category != 2:
        return _integers(p)
    if 1 in (p.m, p.n) and len(p.sizes) <= 2 and not p.dtype.half:
        return _with_vector(p)
    if config.CUDA_MATMUL == "cublas":
        return cublas.launch(p, None if p.bias is None else _only_bias(p))
    return _matrices(p)


def _last(p, run: Callable) -> Callable[..., None]:
    """`run(out, a, b, bias)` as the plan's launch."""
    if p.bias is None:
        none = _none(p.dtype.storage)
        return lambda out, a, b: run(out, a, b, none)
    return lambda bias, out, a, b: run(out, a, b, bias)


def _cut_sum(p, run: Callable, slabs: int, period: int) -> Callable[..., None]:
    """The launch where `run(parts, a, b)` makes the parts of sums: they are added in order."""
    size, dtype = p.matrices * p.m * p.n, p.dtype.storage
    add, none, at = adding(dtype, size, slabs, 1, period), _none(dtype), p.bias_at

    def launch(*args) -> None:
        *bias, out, a, b = args
        parts = empty(slabs * size, dtype)
        run(parts, a, b)
        add(out, parts, bias[0].part(at, at + period) if bias else none)

    return launch


def _two_axes(p) -> tuple[int, list[int], list[int]]:
    """The size of the inner axis of a stack, and the steps of A and B on the outer and the inner."""
    a, b = ([0] * (2 - len(p.sizes)) + own.stack for own in (p.a, p.b))
    return p.sizes[-1], a, b


# Matrices by matrices


@cache
def _spec(storage: str, a_along: bool, b_along: bool, rank: int, bias: bool, far: bool) -> Spec:
    load, store = conversions(storage)
    axes = [(f"n{d}", f"a{d}_", f"b{d}_") for d in range(rank)]
    start = ["rest = index(z % count)", "a_z, b_z = a_at, b_at"]
    for n, step, other in reversed(axes):
        start += [f"a_z = index(a_z + rest % {n} * {step})", f"b_z = index(b_z + rest % {n} * {other})",
                  f"rest = index(rest // {n})"]
    start += ["first = u32(z // count * slab)", "depth = u32(min(slab, k - first))"]
    a = Operand(a_along, (("at", "index(a_z + {} * a_step)"),), (("go", "index({} * a_stride)"),),
                load.format("a[index({at} + {go})]"))
    b = Operand(b_along, (("at", "index(b_z + {} * b_step)"),), (("go", "index({} * b_stride)"),),
                load.format("b[index({at} + {go})]"))
    column = (("j", "{}"), *((("bias", load.format("bias[bias_at + {}]")),) if bias else ()))
    return Spec("matmul", storage, ("out", "a", "b", *(("bias",) if bias else ())),
                ("k", "slab", "count", "bias_at", "a_at", "a_step", "a_stride", "b_at", "b_step",
                 "b_stride", *(name for axis in axes for name in axis)),
                tuple(start), a, b, column, "index(index(z * m + {i}) * n + {j})",
                store.format("{c} + {bias}" if bias else "{c}"), far)


def _reach(lines, sizes: list[int], count: int, k: int) -> int:
    """The number of the last element that is read."""
    stack = sum((n - 1) * s for n, s in zip(sizes, lines.stack))
    return lines.offset + stack + (count - 1) * lines.step + (k - 1) * lines.stride


def _matrices(p) -> Callable[..., None]:
    name, dtype = p.dtype.name, p.dtype.storage
    tile, length = cut(p.m, p.n, p.k, p.matrices, name)
    length = p.k if p.dtype.half else length
    slabs = -(-p.k // length)
    far = max(_reach(p.a, p.sizes, p.m, p.k), _reach(p.b, p.sizes, p.n, p.k),
              slabs * p.matrices * p.m * p.n) >= 1 << 32
    bias = p.bias is not None and slabs == 1
    spec = _spec(name, p.a.stride < p.a.step, p.b.stride < p.b.step, len(p.sizes), bias, far)
    stack = [n for axis in zip(p.sizes, p.a.stack, p.b.stack) for n in axis]
    run = in_tiles(spec, tile, p.m, p.n, slabs * p.matrices, [(dtype, 1)] * len(spec.arrays), (
        p.k, length, p.matrices, p.bias_at, p.a.offset, p.a.step, p.a.stride,
        p.b.offset, p.b.step, p.b.stride, *stack))
    if slabs > 1:
        return _cut_sum(p, run, slabs, p.n)
    return (lambda bias, out, a, b: run(out, a, b, bias)) if bias else run


# Matrices by vectors


@kernel
def vectors(out, a, b, bias, size, m, k, slab, lanes, along, a_at, a_step, a_stride, b_at, b_stride,
            bias_at, bias_step, inner, a_outer, a_inner, b_outer, b_inner):
    """Sums of products of lines of A and a vector, or parts of such sums, a slab of each.

    `lanes` threads share a sum and add theirs up as a tree. Threads side by side are those of one sum
    if `along`, else those of sums side by side. Line r of all is line r % m of matrix r // m.
    """
    shared = cuda.shared.array(BLOCK, out.dtype)
    t, sums = cuda.threadIdx.x, BLOCK // lanes
    lane = t % lanes if along else t // sums
    line = t // lanes if along else t % sums
    pieces = size * ((k + slab - 1) // slab)
    for first in range(cuda.blockIdx.x * sums, pieces, cuda.gridDim.x * sums):
        total = out.dtype.type(0)
        other, third, fourth = total, total, total
        piece = first + line
        part = piece // size
        q = (piece - part * size) // m
        i = piece - part * size - q * m
        if piece < pieces:
            o = q // inner
            q -= o * inner
            p = part * slab
            end = min(p + slab, k)
            p += lane
            x = np.uint64(a_at + i * a_step + o * a_outer + q * a_inner + p * a_stride)
            y = np.uint64(b_at + o * b_outer + q * b_inner + p * b_stride)
            dx, dy = np.uint64(lanes * a_stride), np.uint64(lanes * b_stride)
            while p + 3 * lanes < end:
                total += a[x] * b[y]
                other += a[x + dx] * b[y + dy]
                third += a[x + dx + dx] * b[y + dy + dy]
                fourth += a[x + dx + dx + dx] * b[y + dy + dy + dy]
                x, y = x + np.uint64(4) * dx, y + np.uint64(4) * dy
                p += 4 * lanes
            while p < end:
                total += a[x] * b[y]
                x, y = x + dx, y + dy
                p += lanes
        shared[lane * sums + line] = (total + other) + (third + fourth)
        cuda.syncthreads()
        half = lanes // 2
        while half > 0:
            if lane < half:
                shared[lane * sums + line] += shared[(lane + half) * sums + line]
            cuda.syncthreads()
            half //= 2
        if lane == 0 and piece < pieces:
            total = shared[line]
            if bias.size > 0:
                total += bias[bias_at + i * bias_step]
            out[piece] = total
        cuda.syncthreads()


def _with_vector(p) -> Callable[..., None]:
    columns = p.n == 1
    own = p if columns else p.turned()  # then A is the matrix, by lines, and B the vectors
    along = own.a.stride <= own.a.step
    size, one = own.matrices * own.m, (p.dtype.storage, 1)
    lanes = BLOCK if along and p.k > 2 * BLOCK else min(_FEW, BLOCK) if along else max(BLOCK // _FEW, 2)
    count = -(-size * lanes // BLOCK)
    length = slab(p.k, min(_BUSY // count, p.k // _PART))
    slabs = -(-p.k // length)
    inner, a, b = _two_axes(own)
    numbers = (size, own.m, p.k, length, lanes, along, own.a.offset, own.a.step, own.a.stride,
               own.b.offset, own.b.stride, p.bias_at, 0 if columns else 1, inner, *a, *b)
    bound = machine.launcher(vectors, (one, one, one, one, *["int64"] * len(numbers)))(
        blocks(size * slabs, BLOCK // lanes), BLOCK)

    none = _none(p.dtype.storage)

    def run(out, a, b, bias=none) -> None:
        bound(out, *((a, b) if columns else (b, a)), bias, *numbers)

    return _cut_sum(p, run, slabs, p.n) if slabs > 1 else _last(p, run)


# What is left


@kernel
def only_bias(out, bias, n, bias_at):
    """Rows of the bias, or of zeros."""
    for r in range(cuda.grid(1), out.size, cuda.gridsize(1)):
        if bias.size > 0:
            out[r] = bias[bias_at + r % n]
        else:
            out[r] = 0


def _only_bias(p) -> Callable[..., None]:
    dtype = p.dtype.storage
    bound = over(only_bias, p.matrices * p.m * p.n, (dtype, dtype), ("int64", "int64"))
    return _last(p, lambda out, a, b, bias: bound(out, bias, p.n, p.bias_at))


@kernel
def integers(out, a, b, bias, m, n, k, a_at, a_step, a_stride, b_at, b_step, b_stride, bias_at, inner,
             a_outer, a_inner, b_outer, b_inner):
    """Products of matrices of whole numbers."""
    for r in range(cuda.grid(1), out.size, cuda.gridsize(1)):
        i, j = r // n % m, r % n
        q = r // (m * n)
        x = a_at + i * a_step + q // inner * a_outer + q % inner * a_inner
        y = b_at + j * b_step + q // inner * b_outer + q % inner * b_inner
        total = out.dtype.type(0)
        if bias.size > 0:
            total += bias[bias_at + j]
        for p in range(k):
            total += a[x + p * a_stride] * b[y + p * b_stride]
        out[r] = total


def _integers(p) -> Callable[..., None]:
    if len(p.sizes) > 2:
        raise OnHost("a product of whole numbers in such a stack")
    inner, a, b = _two_axes(p)
    numbers = (p.m, p.n, p.k, p.a.offset, p.a.step, p.a.stride, p.b.offset, p.b.step, p.b.stride,
               p.bias_at, inner, *a, *b)
    bound = over(integers, p.matrices * p.m * p.n, (p.dtype.storage,) * 4, ("int64",) * len(numbers))
    return _last(p, lambda out, a, b, bias: bound(out, a, b, bias, *numbers))
