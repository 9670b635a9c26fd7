"""Op: what an operation must say to be run, recorded and gone back through."""

from __future__ import annotations

import re

import numpy as np

from nbgrad import dtypes
from nbgrad.devices import CPU, device, gpu
from nbgrad.engine.node import Node
from nbgrad.kernels.cuda.array import DeviceArray
from nbgrad.kernels.layout import common, layout
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


def node_class(name: str, slots: tuple[str, ...] = (), **attributes) -> type[Node]:
    """The class of an op's nodes, named as PyTorch names it."""
    suffix = "" if name.endswith(("0", "1", "2", "s")) and "Backward" in name else "Backward0"
    return type(f"{name}{suffix}", (Node,), {"__slots__": slots} | attributes)


def wrap(result):
    """A Tensor, or a tuple of them, from fresh arrays."""
    if type(result) is tuple:
        return tuple([wrap(r) for r in result])
    if result.dtype.num == _BITS:  # of 16-bit floats, which nothing else is stored in
        raise dtypes.InHalf(dtypes.float16)
    if type(result) is DeviceArray:
        own = layout(dtypes.from_numpy(result.dtype), result.shape, device=gpu(0))
        return Tensor(result.reshape(-1), own)
    if not result.flags.c_contiguous:
        result = np.ascontiguousarray(result)
    return Tensor(result.reshape(-1), layout(dtypes.from_numpy(result.dtype), result.shape))


def _settled(found, place: device):
    """Results on a device, also those that no kernel was needed for."""
    if type(found) is tuple:
        return tuple([_settled(t, place) for t in found])
    return found if found._layout.device is place else found.to(place)
