"""Padding: zeros or another constant around a tensor, or its own entries."""

from __future__ import annotations

import numpy as np

from nbgrad.ops.apply import apply
from nbgrad.ops.create import from_numpy
from nbgrad.ops.family import expect_tensor
from nbgrad.ops.index import index_select
from nbgrad.ops.op import Op
from nbgrad.tensor import Tensor


class ConstantPad(Op):
    """A constant around x; attrs (pairs (before, after) an axis, value); negative ones cut off."""

    name = "ConstantPadNd"

    def forward(self, x, pairs, value):
        out = np.full([n + a + b for n, (a, b) in zip(x.shape, pairs)], value, x.dtype)
        inside = tuple([slice(max(a, 0), m - max(b, 0)) for m, (a, b) in zip(out.shape, pairs)])
        taken = tuple([slice(max(-a, 0), n - max(-b, 0)) for n, (a, b) in zip(x.shape, pairs)])
        out[inside] = x[taken]
        return out

    def backward(self, node, grad):
        pairs, _ = node.attrs
        return apply(CONSTANT_PAD, (grad,), (tuple([(-a, -b) for a, b in pairs]), 0))


CONSTANT_PAD = ConstantPad()


def _reflect(n: int, before: int, after: int) -> np.ndarray:
    places = np.abs(np.arange(-before, n + after))
    return np.minimum(places, 2 * (n - 1) - places)


def _replicate(n: int, before: int, after: int) -> np.ndarray:
    return np.clip(np.arange(-before, n + after), 0, n - 1)


def _circular(n: int, before: int, after: int) -> np.ndarray:
    first, rest = max(-before, 0), n + min(before, 0) + min(after, 0)
    return first + np.arange(-max(before, 0), rest + max(after, 0)) % rest


_PLACES = {"reflect": _reflect, "replicate": _replicate, "circular": _circular}


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
    sides = tuple(int(p) for p in pad)
    shape = input._layout.shape
    rank = len(shape)
    if len(sides) % 2:
        raise RuntimeError("Padding length must be divisible by 2")
    if len(sides) > 2 * rank:
        raise RuntimeError("Padding length should be less than or equal to two times the input "
                           f"dimension but got padding length {len(sides)} and input of dimension "
                           f"{rank}")
    pairs = ((0, 0),) * (rank - len(sides) // 2) + tuple(zip(sides[-2::-2], sides[::-2]))
    if mode == "constant":
        if any(n + a + b < 0 or n + min(a, 0) + min(b, 0) < 0 for n, (a, b) in zip(shape, pairs)):
            raise RuntimeError(f"pad: the result of padding {list(shape)} by {list(sides)} has a "
                               "negative dimension: narrow(): length must be non-negative.")
        return apply(CONSTANT_PAD, (input,), (pairs, 0 if value is None else value))
    if mode not in _PLACES:
        raise NotImplementedError(f"Unrecognised padding mode {mode}")
    if value is not None and value != 0:
        raise RuntimeError(f'Padding mode "{mode}" doesn\'t take in value argument')
    return _own_entries(input, sides, pairs, mode)


def _own_entries(x: Tensor, sides, pairs, mode: str) -> Tensor:
    shape = x._layout.shape
    if len(sides) not in (2, 4, 6) or len(shape) - len(sides) // 2 not in (1, 2):
        raise NotImplementedError(
            f"Padding size {len(sides)} is not supported for {len(shape)}D input tensor.\n"
            "Supported combinations for non-constant padding:\n"
            "  - 2D or 3D input: padding size = 2 (pads last dimension)\n"
            "  - 3D or 4D input: padding size = 4 (pads last 2 dimensions)\n"
            "  - 4D or 5D input: padding size = 6 (pads last 3 dimensions)")
    for d, (n, (a, b)) in enumerate(zip(shape, pairs)):
        if mode == "reflect" and max(a, b) >= n:
            raise RuntimeError(
                "Argument #4: Padding size should be less than the corresponding input dimension, "
                f"but got: padding ({a}, {b}) at dimension {d} of input {list(shape)}")
        if mode == "circular" and max(a, b) > n:
            raise RuntimeError("Padding value causes wrapping around more than once.")
        if n + a + b < (1 if (a or b) else 0) or (n == 0 and (a or b)):
            raise RuntimeError(f"pad: padding ({a}, {b}) leaves nothing of dimension {d} of input "
                               f"{list(shape)}")
        if a or b:
            places = _PLACES[mode](n, a, b)
            x = index_select(x, d, from_numpy(places.astype(np.int64)))
    return x


FUNCTIONS: dict = {}
