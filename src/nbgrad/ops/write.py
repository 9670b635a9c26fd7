"""Elements written elsewhere unchanged: into another dtype or tensor, or one number everywhere."""

from __future__ import annotations

from nbgrad import devices, dtypes
from nbgrad.dtypes import dtype as DType
from nbgrad.formulas.elementwise import TABLE
from nbgrad.kernels.layout import broadcast_shapes
from nbgrad.ops.apply import apply, apply_
from nbgrad.ops.elementwise import OPS, Elementwise, check_writable, reduce_to, write
from nbgrad.ops.family import expect_tensor, number
from nbgrad.ops.op import Op
from nbgrad.tensor import Tensor


class Cast(Elementwise):
    """Conversion to another dtype; the gradient is converted back."""

    def __init__(self, dtype: DType) -> None:
        super().__init__(TABLE["clone"])
        self.dtype = dtype
        self.name = "ToCopy"
        Op.__init__(self)

    def result(self, layouts, numbers=()):
        return layouts[0].dtype, self.dtype

    def backward(self, node, grad):
        return apply(CASTS[node.layouts[0].dtype], (grad,))


CASTS = {d: Cast(d) for d in dtypes.ALL}


def to(input: Tensor, *args, dtype=None, device=None, non_blocking: bool = False,
       copy: bool = False, memory_format=None) -> Tensor:
    """The tensor in another dtype or on another device: `to(dtype)`, `to(device)`, `to(other)`.

    The tensor itself is returned where nothing changes and `copy` is false.
    """
    for a in args:
        if isinstance(a, Tensor):
            dtype, device = a.dtype, a.device
        elif isinstance(a, DType) or a in (float, int, bool):
            dtype = a
        elif isinstance(a, (str, devices.device)):
            device = a
        elif not isinstance(a, bool):
            raise TypeError(f"to() received an invalid argument: {a!r}")
    devices.resolve(device)
    target = input._layout.dtype if dtype is None else dtypes.as_dtype(dtype)
    if target is input._layout.dtype:
        return OPS["clone"].one(input) if copy else input
    return apply(CASTS[target], (input,))


class Copy(Op):
    """In place: another tensor's elements, broadcast and converted."""

    name = "CopyBackwards"
    label = "copy_"

    def run_into(self, target, others, attrs) -> None:
        (source,) = others
        own, other = target._layout, source._layout
        if own.shape != other.shape and broadcast_shapes(own.shape, other.shape) != own.shape:
            raise RuntimeError(f"The size of tensor a ({list(own.shape)}) must match the size "
                               f"of tensor b ({list(other.shape)}): copy_ broadcasts the source "
                               "to the target's shape")
        check_writable(own)
        if source._data is target._data and own is not other:
            source = source.detach().clone()
        write(target._data, own, source)

    def backward(self, node, grad):
        old, new = node.next
        return (None if old is None else grad.new_zeros(grad.shape),
                None if new is None else reduce_to(grad, node.layouts[1]))


class Fill(Op):
    """In place: one number everywhere."""

    def __init__(self, name: str = "Fill") -> None:
        self.name = name
        super().__init__()

    def run_into(self, target, others, attrs) -> None:
        target._stored()[...] = target._layout.dtype.stored(attrs[0])

    def backward(self, node, grad):
        return None if node.next[0] is None else grad.new_zeros(grad.shape)


COPY, FILL, ZERO = Copy(), Fill(), Fill("Zero")


def copy_(input: Tensor, src, non_blocking: bool = False) -> Tensor:
    """Write the elements of `src`, broadcast and converted, in place."""
    if not isinstance(src, Tensor):
        return fill_(input, src)
    return apply_(COPY, input, (src,))


def fill_(input: Tensor, value) -> Tensor:
    """Write one number everywhere, in place."""
    if isinstance(value, Tensor):
        if value.dim():
            raise RuntimeError(f"fill_ only supports 0-dimension value tensor but got tensor with "
                               f"{value.dim()} dimensions.")
        return apply_(COPY, input, (value,))
    filled = number(value)
    if filled is None:
        raise TypeError(f"fill_(): argument 'value' must be Number, not {type(value).__name__}")
    return apply_(FILL, input, (), (filled,))


def zero_(input: Tensor) -> Tensor:
    """Write zeros, in place."""
    return apply_(ZERO, input, (), (0,))


def fill(input: Tensor, value) -> Tensor:
    """A copy of the tensor's shape and dtype with one value everywhere."""
    expect_tensor("fill", input=input)
    return fill_(OPS["clone"].one(input), value)
