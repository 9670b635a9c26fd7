"""Elementwise kernels: which loop fits the operands' layouts, resolved once into a plan."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import NamedTuple

import numpy as np
from numba import types

from nbgrad.devices import CPU
from nbgrad.dtypes import dtype as DType
from nbgrad.formulas.expr import Expr, expand, topological
from nbgrad.kernels import source
from nbgrad.kernels.launch import either, entry_point
from nbgrad.kernels.layout import (
    FEW,
    Layout,
    common,
    expanded_strides,
    geometry,
    layout,
    places,
    tiles,
)


class Plan(NamedTuple):
    """A resolved launch: `run(*outputs, *inputs, *params)` over storages.

    `layouts`, `size` and `np_dtypes` describe the outputs to allocate.
    """

    run: Callable[..., None]
    layouts: tuple[Layout, ...]
    size: int
    np_dtypes: tuple[np.dtype, ...]


class Spec(NamedTuple):
    """What to compute: expressions of inputs and params, and the dtypes to load, compute, store.

    `into` is source.Body's: where given, the outputs are these arrays, some of them inputs.
    """

    name: str
    outputs: tuple[Expr, ...]
    inputs: tuple[str, ...]
    params: tuple[str, ...]
    kind: str
    compute: DType
    results: tuple[DType, ...]
    origin: str = "formulas/elementwise.py"
    into: tuple[str, ...] = ()


def body(spec: Spec, dtypes: tuple[DType, ...]) -> source.Body:
    """The body of the kernel for inputs of these dtypes."""
    compute = compute_name(spec)
    loads = []
    for name, d in zip(spec.inputs, dtypes):
        load, known = (_HALVES[d.name][0], "float32") if d.half else ("{}", d.name)
        truth = spec.kind == "logical" or (spec.kind == "where" and name == "c")
        if truth:
            loads.append("{}" if d.name == "bool" else f"({load} != 0)")
        else:
            loads.append(load if known == compute else f"np.{compute}({load})")
    stores = tuple(_store(r, spec.kind, compute) for r in spec.results)
    return source.Body(spec.name, spec.outputs, spec.inputs, spec.params, tuple(loads), stores,
                       compute, spec.origin, spec.into)


def _store(result: DType, kind: str, compute: str) -> str:
    """The template that turns a value into an element of a dtype."""
    if result.half:
        return _HALVES[result.name][1]
    if result.name == "bool" and kind not in ("bool", "logical"):
        return "({}) != 0"
    if compute == "int64" and result.category == 1 and result.name != compute:
        return f"np.{result.name}({{}})"  # the low bits, also where Python's numbers would refuse
    # What a machine makes of a float outside the range of a small integer is its own affair.
    return "np.int32({})" if result.name in _SMALL and compute.startswith("float") else "{}"


_SMALL = {"uint8", "int8", "int16"}
#: How 16-bit floats are read and written.
_HALVES = {"float16": ("math.from_half({})", "math.to_half(np.float32({}))"),
           "bfloat16": ("math.from_bfloat16({})", "math.to_bfloat16(np.float32({}))")}


def compute_name(spec: Spec) -> str:
    """Integers compute in int64 (stores wrap around), or in float64 if a constant is no integer."""
    if spec.compute.category == 2:
        return "float32" if spec.compute.half else spec.compute.name
    whole = all(isinstance(n.value, int) or float(n.value).is_integer()
                for n in topological(map(expand, spec.outputs)) if n.is_const)
    return "int64" if whole else "float64"


@cache
def kernel_flat(body: source.Body, scalars: frozenset[str], parallel: bool):
    return source.compile_source(source.flat(body, scalars, parallel))


@cache
def kernel_strided(body: source.Body, steps: str, parallel: bool):
    return source.compile_source(source.strided(body, steps, parallel))


@cache
def kernel_listed(body: source.Body):
    return source.compile_source(source.listed(body))


@cache
def kernel_tiled(body: source.Body, steps: str, parallel: bool):
    return source.compile_source(source.tiled(body, steps, parallel))


def plan(spec: Spec, shape: tuple[int, ...], inputs: tuple[Layout, ...],
         out: tuple[Layout, ...] | None = None, whole: bool = False) -> Plan:
    """The launch for inputs of these layouts, broadcast to `shape`.

    Args:
        out: layouts to write into (an in-place op); fresh dense ones where None.
        whole: that the storages written into hold nothing but the outputs' elements.

    An input named in `spec.into` is given to `plan`, and not again to `run`.
    """
    place = common(*inputs, *(out or ()))
    if place is not CPU:
        if any(o.device is CPU for o in out or ()):
            raise RuntimeError("Expected all tensors to be on the same device, but found at least two "
                               f"devices, cpu and {place}!")
        return _on_cuda(spec, shape, inputs, out, whole, place)
    made = body(spec, tuple(l.dtype for l in inputs))
    read = tuple(l for n, l in zip(spec.inputs, inputs) if n not in spec.into)
    strides = _common_strides(shape, inputs, out)
    np_dtypes = tuple(r.storage for r in spec.results)
    if strides is not None:
        fresh = tuple(layout(r, shape, strides) for r in spec.results)
        scalars = frozenset(
            n for n, l in zip(spec.inputs, inputs) if l.numel == 1 and l.shape != shape)
        target = out or fresh
        size = target[0].numel
        operands = (*np_dtypes, *(l.dtype.storage for l in read))
        run = either(size, lambda parallel: resolve(
            kernel_flat(made, scalars, parallel), spec, operands))
        partly = target if out and not whole else ()
        run = _with_offsets(run, partly, read, len(spec.results))
        return Plan(run, target, size, np_dtypes)
    target = out or tuple(layout(r, shape) for r in spec.results)
    size = target[0].numel
    kernel, table = _walk(spec, made, shape, target, read) if size else (_nothing, None)
    return Plan(lambda *args: kernel(*args, table), target, size, np_dtypes)


def _walk(spec: Spec, made: source.Body, shape, target, read) -> tuple[Callable, np.ndarray]:
    """The kernel for operands that lie in different ways, and the table that says how."""
    strides = [t.strides for t in target] + [
        expanded_strides(l.shape, l.strides, shape) for l in read]
    walked = shape, strides, [l.offset for l in (*target, *read)]
    operands, size = tuple(l.dtype.storage for l in (*target, *read)), target[0].numel
    if size <= FEW:
        table = places(*walked)
        return resolve(kernel_listed(made), spec, operands, (table.dtype, 1)), table
    found = tiles(*walked)
    make = kernel_strided if found is None else kernel_tiled
    table, steps = found or geometry(*walked)
    rows = int(table[1]) * (1 if found is None else int(table[2]) // source.TILE)
    return either(size, lambda parallel: resolve(
        make(made, steps, parallel and rows > 1), spec, operands, (table.dtype, 1))), table


def _on_cuda(spec, shape, inputs, out, whole, place) -> Plan:
    from nbgrad.kernels.cuda import elementwise
    return elementwise.plan(spec, shape, inputs, out, whole, place)


def resolve(kernel, spec: Spec, storages: tuple[np.dtype, ...], *more):
    """The machine code of a kernel of storages, params and what more it takes.

    Among integers a param may be an int or a float: there the call says which.
    """
    if spec.params and spec.compute.category != 2:
        return kernel
    return entry_point(kernel, *[(d, 1) for d in storages], *[types.float64] * len(spec.params),
                       *more)


def _nothing(*args) -> None:
    """The launch over no elements."""


def _common_strides(shape, inputs, out) -> tuple[int, ...] | None:
    """The strides that all operands of more than one element share, if they are dense."""
    full = [l for l in (*(out or ()), *inputs) if l.shape == shape]
    if any(l.shape != shape and l.numel != 1 for l in inputs):
        return None
    if not full:
        return layout(inputs[0].dtype, shape).strides
    first = full[0]
    for l in full:
        if not l.dense or (l.strides != first.strides and not (l.contiguous and first.contiguous)):
            return None
    return layout(first.dtype, shape).strides if first.contiguous else first.strides


def _with_offsets(run, out: tuple[Layout, ...], inputs: tuple[Layout, ...], outputs: int):
    """`run` on storages cut to where the operands lie; `run` itself if they lie at the start.

    The loop's length is the output's, so an output that is part of a storage is cut to size.
    """
    cuts = [slice(l.offset, l.offset + l.numel) for l in out] or [slice(None)] * outputs
    cuts += [slice(l.offset, None) for l in inputs]
    if not out and not any(l.offset for l in inputs):
        return run
    count = len(cuts)
    return lambda *args: run(*(a[c] for a, c in zip(args, cuts)), *args[count:])
