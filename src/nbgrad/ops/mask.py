"""Where a condition holds: choosing, filling, picking, and the places themselves."""

from __future__ import annotations

import numpy as np

from nbgrad import dtypes
from nbgrad.kernels.backend import Twins
from nbgrad.kernels.layout import broadcast_shapes
from nbgrad.ops.apply import apply
from nbgrad.ops.change import Change, both, into
from nbgrad.ops.elementwise import OPS, with_number
from nbgrad.ops.family import expect_tensor, saved
from nbgrad.ops.getitem import getitem, number_as
from nbgrad.ops.op import Op, wrap
from nbgrad.ops.shape import expand, reshape, unbind
from nbgrad.tensor import Tensor

kernels = Twins("index")


def where(condition: Tensor, input: Tensor | complex | None = None,
          other: Tensor | complex | None = None):
    """`input` where the condition holds, else `other`; the indices where it holds, if alone."""
    if input is None:
        return nonzero(condition, as_tuple=True)
    if other is None:
        raise TypeError("where() takes a condition alone, or three arguments")
    if not isinstance(condition, Tensor):
        expect_tensor("where", condition=condition)
    if condition._layout.dtype not in (dtypes.bool_, dtypes.uint8):
        raise RuntimeError("where expected condition to be a boolean tensor, but got a tensor with "
                           f"dtype {condition._layout.dtype.legacy}")
    if not isinstance(input, Tensor) and not isinstance(other, Tensor):
        common = max((dtypes.of_number(input), dtypes.of_number(other)), key=lambda d: d.category)
        input = condition.new_full((), input, dtype=common)
    if not isinstance(input, Tensor):
        return apply(with_number("where", "p"), (condition, other), (input,))  # type: ignore
    if not isinstance(other, Tensor):
        return apply(with_number("where", "q"), (condition, input), (other,))
    return apply(OPS["where"], (condition, input, other))


def _boolean(mask: Tensor, name: str) -> Tensor:
    if mask._layout.dtype is not dtypes.bool_:
        raise RuntimeError(f"{name} only supports boolean masks, but got mask with dtype "
                           f"{mask.dtype}")
    return mask


def masked_fill(input: Tensor, mask: Tensor, value: Tensor | complex) -> Tensor:
    """A copy with `value`, a number or 0-dim tensor, where the mask is true."""
    expect_tensor("masked_fill", input=input, mask=mask)
    _boolean(mask, "masked_fill")
    if isinstance(value, Tensor):
        if value.dim():
            raise RuntimeError(f"masked_fill_ only supports a 0-dimensional value tensor, but got "
                               f"tensor with {value.dim()} dimension(s).")
        return apply(OPS["where"], (mask, value.to(input.dtype), input))
    if isinstance(value, complex):
        raise RuntimeError("value cannot be converted to a real type without overflow")
    if not isinstance(value, (bool, int, float, np.number)):
        raise TypeError(f"masked_fill(): argument 'value' must be Number, not "
                        f"{type(value).__name__}")
    value = number_as(input._layout.dtype, value)
    return apply(with_number("where", "p"), (mask, input), (value,))


def masked_fill_(input: Tensor, mask: Tensor, value) -> Tensor:
    """Write `value` where the mask is true, in place."""
    return input.copy_(masked_fill(input, mask, value))


def _together(input: Tensor, mask: Tensor) -> tuple[int, ...]:
    """The shape that a tensor and a mask are broadcast to."""
    shape = broadcast_shapes(input._layout.shape, mask._layout.shape)
    if shape is None:
        raise RuntimeError(f"The size of the tensor {list(input.shape)} must match the size of the "
                           f"mask {list(mask.shape)}, or be broadcast to it")
    return shape


def masked_select(input: Tensor, mask: Tensor) -> Tensor:
    """The entries where the mask is true, as a vector; both are broadcast."""
    expect_tensor("masked_select", input=input, mask=mask)
    _boolean(mask, "masked_select")
    shape = _together(input, mask)
    return getitem(reshape(expand(input, shape), -1), reshape(expand(mask, shape), -1))


class MaskedScatter(Change):
    """Entries of a source, one after the other, written where a mask is true."""

    name, label = "MaskedScatter", "masked_scatter_"

    def change(self, array, source, mask):
        count = kernels.put_marked(array, mask, source)
        if count > source.size:
            raise RuntimeError("masked_scatter: expected self and source to have same dtypes and "
                               f"source to have at least {count} elements, but it has "
                               f"{source.size}")

    def saves(self, needs, attrs):
        return (2,)

    def backward(self, node, grad):
        mask, own, gs = saved(node)[2], None, None
        if node.next[0] is not None:
            own = masked_fill(grad, mask, 0)
        if node.next[1] is not None:
            gs = apply(PICK, (grad, mask), (node.layouts[1].shape,))
        return own, gs, None


class Pick(Op):
    """The entries where a mask is true in the first places of zeros of a shape."""

    name = "MaskedScatterBackward"

    def forward(self, x, mask, shape):
        return kernels.take_marked(x, mask, shape)

    def saves(self, needs, attrs):
        return (1,)

    def backward(self, node, grad):
        shape = node.layouts[0].shape
        return apply(MASKED_SCATTER, (grad.new_zeros(shape), grad, saved(node)[1])), None


MASKED_SCATTER, PICK = MaskedScatter(), Pick()


def _masked_scatter(run, input: Tensor, mask: Tensor, source: Tensor) -> Tensor:
    """A copy with the entries of `source`, one after the other, where the mask is true."""
    expect_tensor("masked_scatter", input=input, mask=mask, source=source)
    if source._layout.dtype is not input._layout.dtype:
        raise RuntimeError("masked_scatter: expected self and source to have same dtypes but got "
                           f"{input._layout.dtype.legacy} and {source._layout.dtype.legacy}")
    if mask._layout.dtype is not dtypes.bool_:
        raise RuntimeError("masked_scatter_ only supports boolean masks, but got mask with dtype "
                           f"{mask._layout.dtype.legacy}")
    shape = _together(input, mask)
    if run is into and shape != input._layout.shape:
        raise RuntimeError(f"output with shape {list(input.shape)} doesn't match the broadcast "
                           f"shape {list(shape)}")
    return run(MASKED_SCATTER, (input if run is into else expand(input, shape), source, mask))


masked_scatter, masked_scatter_ = both(_masked_scatter)


def _numbers(t: Tensor) -> np.ndarray:
    return (t.detach().float() if t._layout.dtype.half else t)._stored()


def nonzero(input: Tensor, *, as_tuple: bool = False):
    """Indices of the entries that are not zero: (count, rank), or a tuple of vectors."""
    expect_tensor("nonzero", input=input)
    if not isinstance(as_tuple, bool):
        raise TypeError("nonzero(): argument 'as_tuple' must be bool, not "
                        f"{type(as_tuple).__name__}")
    array = _numbers(input)
    found = wrap(kernels.nonzero(array.reshape(1) if as_tuple and not array.shape else array))
    return unbind(found, 1) if as_tuple else found


def argwhere(input: Tensor) -> Tensor:
    """Indices of the entries that are not zero, as (count, rank)."""
    return nonzero(input)


def nonzero_static(input: Tensor, *, size: int, fill_value: int = -1) -> Tensor:
    """The first `size` rows of `nonzero`, with rows of `fill_value` where there are fewer."""
    expect_tensor("nonzero_static", input=input)
    for name, value in (("size", size), ("fill_value", fill_value)):
        if not isinstance(value, int):
            raise TypeError(f"nonzero_static(): argument '{name}' must be int, not "
                            f"{type(value).__name__}")
    if size < 0:
        raise RuntimeError("nonzero_static: 'size' must be an non-negative integer")
    found = wrap(kernels.nonzero(_numbers(input)))
    out = found.new_full((size, found.size(1)), fill_value)
    count = min(size, found.size(0))
    out[:count] = found[:count]
    return out


FUNCTIONS = {f.__name__: f for f in (where, masked_fill, masked_select, masked_scatter, nonzero,
                                     argwhere, nonzero_static)}
METHODS = {"masked_fill_": masked_fill_, "masked_scatter_": masked_scatter_,
           "where": lambda self, condition, other: where(condition, self, other)}
