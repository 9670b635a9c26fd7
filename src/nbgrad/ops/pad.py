"""Padding: zeros or another constant around a tensor, or its own entries."""

from __future__ import annotations

from typing import Any

import numpy as np

from nbgrad import dtypes
from nbgrad.dtypes import dtype as DType
from nbgrad.kernels.backend import Twins
from nbgrad.kernels.cpu.pad import places
from nbgrad.ops.apply import apply
from nbgrad.ops.create import from_numpy
from nbgrad.ops.dims import sizes
from nbgrad.ops.family import expect_tensor, number
from nbgrad.ops.index import index_select
from nbgrad.ops.op import Op
from nbgrad.ops.shape import narrow
from nbgrad.tensor import Tensor

kernels = Twins("pad")


class ConstantPad(Op):
    """A constant around x; attrs (pairs (before, after) an axis, value); negative ones cut off."""

    name = "ConstantPadNd"

    def forward(self, x, pairs, value):
        return kernels.padded(x, pairs, value)

    def backward(self, node, grad):
        pairs, _ = node.attrs
        return apply(CONSTANT_PAD, (grad,), (tuple([(-a, -b) for a, b in pairs]), 0))


CONSTANT_PAD = ConstantPad()


class OwnPad(Op):
    """The tensor's own entries around it; attrs (pairs (before, after), mode), none negative."""

    name = "OwnPad"

    def forward(self, x, pairs, mode):
        return kernels.own_entries(x, pairs, mode)

    def backward(self, node, grad):
        return apply(OWN_PAD_BACKWARD, (grad,), (node.layouts[0].shape, *node.attrs))


class OwnPadBackward(Op):
    """The adjoint of OwnPad: what was copied outside is added where it came from."""

    name = "OwnPadBackward"

    def forward(self, grad, shape, pairs, mode):
        return kernels.own_entries_adjoint(grad, shape, pairs, mode)

    def backward(self, node, grad):
        return apply(OWN_PAD, (grad,), node.attrs[1:])


OWN_PAD, OWN_PAD_BACKWARD = OwnPad(), OwnPadBackward()


MODES = ("constant", "reflect", "replicate", "circular")


def pad(input: Tensor, pad, mode: str = "constant", value: float | None = None) -> Tensor:
    """The tensor with entries added around it, or cut off where a number is negative.

    Args:
        pad: (before, after) of the last axis, then of the last but one, and so on.
        mode: "constant", or the tensor's own entries: "reflect" (without the edge), "replicate"
            (the edge), "circular" (from the other side).
        value: the constant, 0 where None.

    Example:
        >>> import nbgrad
        >>> pad(nbgrad.ones(2), (1, 2), value=5.)
        tensor([5., 1., 1., 5., 5.])
    """
    expect_tensor("pad", input=input)
    if not isinstance(pad, (tuple, list)):
        raise TypeError("pad(): argument 'pad' (position 2) must be tuple of ints, not "
                        f"{type(pad).__name__}")
    sides = sizes((), pad)
    if mode == "constant":
        return constant_pad_nd(input, sides, 0 if value is None else value)
    if mode not in MODES:
        raise NotImplementedError(f"Unrecognised padding mode {mode}")
    if value is not None and value != 0:
        raise RuntimeError(f'Padding mode "{mode}" doesn\'t take in value argument')
    if mode != "circular" and input.dtype is dtypes.bool_:
        name = "reflection" if mode == "reflect" else "replication"
        raise NotImplementedError(f"\"{name}_pad{len(sides) // 2}d\" not implemented for 'Bool'")
    return _own_entries(input, sides, _pairs(input, sides), mode)


def constant_pad_nd(input: Tensor, pad, value=0) -> Tensor:
    """The tensor with a constant around it, or cut off where a number of `pad` is negative."""
    expect_tensor("constant_pad_nd", input=input)
    sides = sizes((), pad)
    pairs, shape = _pairs(input, sides), input._layout.shape
    if any(n + a + b < 0 or n + min(a, 0) + min(b, 0) < 0 for n, (a, b) in zip(shape, pairs)):
        raise RuntimeError(f"pad: the result of padding {list(shape)} by {list(sides)} has a "
                           "negative dimension: narrow(): length must be non-negative.")
    return apply(CONSTANT_PAD, (input,), (pairs, _held(value, input._layout.dtype)))


def _held(value, dtype: DType):
    """A number as a dtype holds it; RuntimeError where it does not."""
    found = number(value)
    if found is None:
        raise TypeError(f"pad(): argument 'value' must be a number, not {type(value).__name__}")
    if dtype.category != 1:
        return found
    limit: Any = np.iinfo(dtype.name)
    if not limit.min <= found <= limit.max:
        raise RuntimeError(f"value cannot be converted to type {dtype.name} without overflow")
    return int(found)


def _pairs(x: Tensor, sides: tuple[int, ...]) -> tuple[tuple[int, int], ...]:
    """(before, after) for every axis."""
    rank = x.dim()
    if len(sides) % 2:
        raise RuntimeError(f"Padding length must be divisible by 2, got {len(sides)}")
    if len(sides) > 2 * rank:
        raise RuntimeError("Padding length should be less than or equal to two times the input "
                           f"dimension but got padding length {len(sides)} and input of dimension "
                           f"{rank}")
    return ((0, 0),) * (rank - len(sides) // 2) + tuple(zip(sides[-2::-2], sides[::-2]))


def _own_entries(x: Tensor, sides: tuple[int, ...], pairs, mode: str) -> Tensor:
    shape = x._layout.shape
    if len(sides) not in (2, 4, 6) or len(shape) - len(sides) // 2 not in (1, 2):
        raise NotImplementedError(
            f"Padding size {len(sides)} is not supported for {len(shape)}D input tensor.\n"
            "Supported combinations for non-constant padding:\n"
            "  - 2D or 3D input: padding size = 2 (pads last dimension)\n"
            "  - 3D or 4D input: padding size = 4 (pads last 2 dimensions)\n"
            "  - 4D or 5D input: padding size = 6 (pads last 3 dimensions)")
    if mode != "circular" and 0 in shape[len(shape) - len(sides) // 2 - 1:]:
        raise RuntimeError("Expected a tensor with possibly 0 batch size and other non-zero "
                           f"dimensions for input, but got {list(shape)}")
    for d, (n, (a, b)) in enumerate(zip(shape, pairs)):
        if mode == "reflect" and max(a, b) >= n and (a or b):
            raise RuntimeError(
                "Argument #4: Padding size should be less than the corresponding input dimension, "
                f"but got: padding ({a}, {b}) at dimension {d} of input {list(shape)}")
        rest = n + min(a, 0) + min(b, 0)
        if mode == "circular" and rest < 0:
            raise RuntimeError("Negative padding value is resulting in an empty dimension")
        if mode == "circular" and max(a, b) > rest:
            raise RuntimeError("Padding value causes wrapping around more than once.")
        if mode != "circular" and (a or b) and n + a + b < 1:
            raise RuntimeError(f"pad: padding ({a}, {b}) leaves nothing of dimension {d} of input "
                               f"{list(shape)}")
        if min(a, b) < 0:
            x = _cut(x, d, n, a, b, mode)
    return apply(OWN_PAD, (x,), (tuple([(max(a, 0), max(b, 0)) if mode != "reflect" or min(a, b) >= 0
                                        else (0, 0) for a, b in pairs]), mode))


def _cut(x: Tensor, d: int, n: int, a: int, b: int, mode: str) -> Tensor:
    """An axis of which a negative number of entries is added; a reflected one is finished here."""
    if mode == "reflect":
        return index_select(x, d, from_numpy(places(mode, n, a, b)).to(x.device))
    start = max(-a, 0)
    return narrow(x, d, start, n - start - max(-b, 0))


FUNCTIONS: dict = {}
PACKAGE_ONLY = {"constant_pad_nd": constant_pad_nd}
