"""Op: what an operation must say to be run, recorded and gone back through."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Literal

import numpy as np

from nbgrad import config, dtypes
from nbgrad.devices import CPU, device, gpu
from nbgrad.engine.node import Node
from nbgrad.kernels.cuda.array import DeviceArray
from nbgrad.kernels.launch import remember
from nbgrad.kernels.layout import Layout, common, layout
from nbgrad.tensor import Tensor

_BITS = dtypes.float16.storage.num


class Op:
    """An operation on tensors.

    `run` computes, `saves` says what backward will read (indices of inputs; -1, -2, … for the
    outputs) given which inputs need a gradient, and `backward` is written with ops, so that it
    can itself be recorded. `name` is PyTorch's for the class of its nodes, without "Backward0".
    """

    name: str
    node: type[Node]
    outputs = 1
    numbers = 0  # operands given as Python numbers, which are no inputs
    label: str | None = None  # how messages name the in-place form

    def __init__(self) -> None:
        words = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", self.name.removesuffix("Backward0"))
        self.label = self.label or f"{words.lower()}_"
        self.node = node_class(self.name, op=self, back=self.backward, outputs=self.outputs)

    def run(self, inputs: tuple[Tensor, ...], attrs: tuple):
        """Compute the result, a Tensor or a tuple of them, without recording anything."""
        for t in inputs:
            if t._layout.device is not CPU:
                place = common(*[t._layout for t in inputs])
                return _settled(wrap(self.forward(*[t._array() for t in inputs], *attrs)), place)
        return wrap(self.forward(*[t._array() for t in inputs], *attrs))

    def forward(self, *arrays_and_attrs):
        """Compute on arrays: NumPy arrays in, a fresh contiguous array (or several) out."""
        raise NotImplementedError(self.name)

    def run_into(self, target: Tensor, others: tuple[Tensor, ...], attrs: tuple) -> None:
        """Compute into the memory of `target`, which is the first input."""
        raise NotImplementedError(f"{self.name} has no in-place form")

    def saves(self, needs: tuple[bool, ...], attrs: tuple) -> tuple[int, ...]:
        return ()

    def backward(self, node: Node, *grads):
        """The gradient of every input, or None where none is needed."""
        raise RuntimeError(f"{node.name()}: derivative not implemented")


class Planned(Op):
    """An op that is settled once for the layouts of its few elements and its attrs.

    What an op of a small net costs is Python that finds out shapes, dtypes and kernels, and they
    are the same at every step.
    """

    def __init__(self) -> None:
        self.plans: dict[tuple, Callable | Literal[False]] = {}
        super().__init__()

    def run(self, inputs, attrs):
        key = (attrs, *[t._layout for t in inputs])
        plan = self.plans.get(key)
        if plan is None:
            plan = all(map(_is_small, key[1:])) and self.plan(attrs, *key[1:])
            remember(self.plans, key, plan)
        return plan(*[t._data for t in inputs]) if plan else self.run_any(inputs, attrs)

    def run_any(self, inputs: tuple[Tensor, ...], attrs: tuple):
        """`run` for inputs of any number, layout and device."""
        return super().run(inputs, attrs)

    def plan(self, attrs: tuple, *layouts: Layout) -> Callable | Literal[False]:
        """From the storages of contiguous inputs, which may be longer than these, to the result."""
        raise NotImplementedError(self.name)


def _is_small(own: Layout) -> bool:
    return (own.contiguous and 0 < own.numel < config.PARALLEL_THRESHOLD and own.offset == 0
            and own.device is CPU and not own.dtype.half)


def cut(data: np.ndarray, count: int) -> np.ndarray:
    """The storage of a tensor of so many elements, which lie at its start."""
    return data if data.size == count else data[:count]


def planned(launch: Callable, *results: Layout, numbers: tuple = ()) -> Callable:
    """The plan that calls a launch on the inputs, fresh results of these layouts, and numbers."""
    sizes = [(own.numel, own.dtype.storage) for own in results]
    if len(results) == 1:
        (own,), ((size, dtype),) = results, sizes

        def run(*data):
            out = np.empty(size, dtype)
            launch(*data, out, *numbers)
            return Tensor(out, own)
    else:
        def run(*data):
            outs = [np.empty(size, dtype) for size, dtype in sizes]
            launch(*data, *outs, *numbers)
            return tuple(map(Tensor, outs, results))

    return run


def node_class(name: str, slots: tuple[str, ...] = (), **attributes) -> type[Node]:
    """The class of an op's nodes, named as PyTorch names it."""
    suffix = "" if name.endswith(("0", "1", "2", "s")) and "Backward" in name else "Backward0"
    return type(f"{name}{suffix}", (Node,), {"__slots__": slots} | attributes)


def wrap(result):
    """A Tensor, or a tuple of them, from fresh arrays."""
    if type(result) is tuple:
        return tuple([wrap(r) for r in result])
    if type(result) is DeviceArray:
        own = layout(_dtype_of(result), result.shape, device=gpu(0))
        return Tensor(result.reshape(-1), own)
    key = (result.dtype.num, result.shape)
    own = _fresh.get(key) or remember(_fresh, key, layout(_dtype_of(result), result.shape))
    return Tensor(result.ravel(), own)


#: the layouts of results on the CPU, by NumPy's number of a dtype and the shape
_fresh: dict[tuple, Layout] = {}


def _dtype_of(result) -> dtypes.dtype:
    if result.dtype.num == _BITS:  # of 16-bit floats, which nothing else is stored in
        raise dtypes.InHalf(dtypes.float16)
    return dtypes.from_numpy(result.dtype)


def _settled(found, place: device):
    """Results on a device, also those that no kernel was needed for."""
    if type(found) is tuple:
        return tuple([_settled(t, place) for t in found])
    return found if found._layout.device is place else found.to(place)
