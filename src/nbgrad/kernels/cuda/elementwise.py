"""Elementwise kernels on a CUDA device: the launch for operands of given layouts."""

from __future__ import annotations

from functools import cache

from nbgrad.devices import CPU, device
from nbgrad.kernels import elementwise as shared
from nbgrad.kernels import source
from nbgrad.kernels.cuda import loops
from nbgrad.kernels.cuda.memory import upload
from nbgrad.kernels.cuda.provider import BLOCK, blocks, machine
from nbgrad.kernels.elementwise import Plan, Spec
from nbgrad.kernels.layout import Layout, expanded_strides, layout, walk

_NARROW = 1 << 31


@cache
def kernel_flat(body: source.Body, scalars: frozenset[str]):
    return source.compile_source(loops.flat(body, scalars))


@cache
def kernel_strided(body: source.Body, rank: int, wide: bool):
    return source.compile_source(loops.strided(body, rank, wide))


def plan(spec: Spec, shape: tuple[int, ...], inputs: tuple[Layout, ...],
         out: tuple[Layout, ...] | None, whole: bool, place: device) -> Plan:
    """As kernels.elementwise.plan, on the device `place`."""
    body = shared.body(spec, tuple(l.dtype for l in inputs))
    read = tuple(l for n, l in zip(spec.inputs, inputs) if n not in spec.into)
    np_dtypes = tuple(r.storage for r in spec.results)
    strides = shared._common_strides(shape, inputs, out)
    target = out or tuple(layout(r, shape, strides, 0, place) for r in spec.results)
    size = target[0].numel
    if size == 0:
        return Plan(shared._nothing, target, 0, np_dtypes)
    arrays = [*((d, 1) for d in np_dtypes), *((l.dtype.storage, 1) for l in read)]
    params = [_number(spec)] * len(spec.params)
    if strides is not None:
        scalars = frozenset(
            n for n, l in zip(spec.inputs, inputs) if l.numel == 1 and l.shape != shape)
        run = machine.launcher(kernel_flat(body, scalars), (*arrays, *params))(
            -(-size // (BLOCK * loops.TOGETHER)), BLOCK)
        run = shared._with_offsets(run, target if out and not whole else (), read, len(spec.results))
    else:
        run = _strided(body, shape, target, read, (*arrays, *params))
    run = _uploaded(run, len(spec.results), read)
    return Plan(_whole(run, len(params)) if "int64" in params else run, target, size, np_dtypes)


def _number(spec: Spec) -> str:
    """The type of the params: floats, or whole numbers where the kernel computes with those."""
    return "int64" if shared.compute_name(spec) == "int64" else "float64"


def _whole(run, params: int):
    """`run` with its params made whole, as the kernel would make them."""
    return lambda *args: run(*args[:-params], *map(int, args[-params:]))


def _strided(body: source.Body, shape, target, read, signature):
    operands = (*target, *read)
    sizes, steps = walk(shape, [t.strides for t in target] + [
        expanded_strides(l.shape, l.strides, shape) for l in read])
    numbers = [target[0].numel, *sizes]
    for own, step in zip(operands, steps):
        numbers += [own.offset, *step]
    wide = max(own.offset + own.span for own in operands) >= _NARROW or numbers[0] >= _NARROW
    kernel = kernel_strided(body, len(sizes), wide)
    run = machine.launcher(kernel, (*signature, *["int64"] * len(numbers)))(
        blocks(-(-numbers[0] // loops.TOGETHER)), BLOCK)
    return lambda *args: run(*args, *numbers)


def _uploaded(run, outputs: int, read: tuple[Layout, ...]):
    """`run` where some inputs are numbers that lie on the host."""
    hosts = [outputs + k for k, l in enumerate(read) if l.device is CPU]
    if not hosts:
        return run

    def moved(*args) -> None:
        there = list(args)
        for k in hosts:
            there[k] = upload(args[k])
        run(*there)

    return moved
