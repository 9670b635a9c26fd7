"""Elements written elsewhere unchanged: into another dtype or tensor, or one number everywhere."""

from __future__ import annotations

import numpy as np

from nbgrad import devices, dtypes
from nbgrad.devices import CPU
from nbgrad.dtypes import dtype as DType
from nbgrad.formulas.elementwise import TABLE
from nbgrad.kernels import memory
from nbgrad.kernels.backend import resolve
from nbgrad.kernels.cuda.bounds import hand_on
from nbgrad.kernels.layout import broadcast_shapes, layout
from nbgrad.ops.apply import apply, apply_
from nbgrad.ops.axis_order import in_rows
from nbgrad.ops.elementwise import OPS, Elementwise, check_writable, reduce_to, write
from nbgrad.ops.family import expect_tensor, number
from nbgrad.ops.op import Op
from nbgrad.ops.views import CONTIGUOUS
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


class ToDevice(Op):
    """A copy of the elements on another device."""

    name = "ToCopy"

    def run(self, inputs, attrs) -> Tensor:
        (t,) = inputs
        place, wait = attrs
        own = t._layout
        if not own.dense:
            return self.run((CONTIGUOUS.run((t,), ()),), attrs)
        found = layout(own.dtype, own.shape, own.strides, 0, place)
        part = t._data[own.offset:own.offset + own.numel]
        if own.device is CPU:
            return Tensor(memory.on(place).upload(part, wait), found)
        return Tensor(memory.on(own.device).download(part, wait), found)

    def backward(self, node, grad):
        return apply(self, (grad,), (node.layouts[0].device, True))


TO_DEVICE = ToDevice()


def to(input: Tensor, *args, dtype=None, device=None, non_blocking: bool = False,
       copy: bool = False, memory_format=None) -> Tensor:
    """The tensor in another dtype or on another device: `to(dtype)`, `to(device)`, `to(other)`.

    The tensor itself is returned where nothing changes and `copy` is false. With `non_blocking`, a
    copy from pinned memory to a CUDA device, or from there into new pinned memory, is not waited for.
    """
    for a in args:
        if isinstance(a, Tensor):
            dtype, device = a.dtype, a.device
        elif isinstance(a, DType) or a in (float, int, bool):
            dtype = a
        elif isinstance(a, (str, devices.device)) or type(a) is int:
            device = a
        elif not isinstance(a, bool):
            raise TypeError(f"to() received an invalid argument: {a!r}")
    flags = [a for a in args if a is True or a is False]
    if flags:
        non_blocking, copy = (*flags, copy)[:2]
    place = input._layout.device if device is None else resolve(device)
    target = input._layout.dtype if dtype is None else dtypes.as_dtype(dtype)
    rows = memory_format is not None and in_rows(input._layout, memory_format)
    if rows and not input._layout.contiguous:
        input, copy = apply(CONTIGUOUS, (input,)), False
    if target is not input._layout.dtype:
        input, copy = _cast(input, target), False
    if place is not input._layout.device:
        return apply(TO_DEVICE, (input,), (place, not non_blocking))
    return OPS["clone"].one(input) if copy else input


def _cast(t: Tensor, dtype: DType) -> Tensor:
    made = apply(CASTS[dtype], (t,))
    if made._layout.device is not CPU and dtype is dtypes.int64 and t._layout.dtype.category == 1:
        hand_on(made._data, t._data)
    return made


def cpu(input: Tensor, memory_format=None) -> Tensor:
    """The tensor in host memory; itself if it is there."""
    return input if input._layout.device is CPU else apply(TO_DEVICE, (input,), (CPU, True))


def cuda(input: Tensor, device=None, non_blocking: bool = False, memory_format=None) -> Tensor:
    """The tensor on a CUDA device; itself if it is there."""
    if device is not None and devices.device(device).type != "cuda":
        raise RuntimeError("Invalid device, must be cuda device")
    return to(input, device="cuda" if device is None else device, non_blocking=non_blocking,
              memory_format=memory_format)


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
        if other.device is not own.device:
            wait = not attrs
            same = (own.dtype, own.shape) == (other.dtype, other.shape)
            if same and own.contiguous and other.contiguous:
                return _move(target, source, wait)
            source = TO_DEVICE.run((source,), (own.device, wait or own.device is CPU))
        write(target._data, own, source)

    def backward(self, node, grad):
        old, new = node.next
        return (None if old is None else grad.new_zeros(grad.shape),
                None if new is None else reduce_to(grad.to(node.layouts[1].device), node.layouts[1]))


class Fill(Op):
    """In place: one number everywhere."""

    def __init__(self, name: str = "Fill") -> None:
        self.name = name
        super().__init__()

    def run_into(self, target, others, attrs) -> None:
        own, value = target._layout, attrs[0]
        if own.device is CPU:
            target._stored()[...] = own.dtype.stored(value)
        else:
            one = np.full(1, own.dtype.stored(value), own.dtype.storage)
            write(target._data, own, Tensor(one, layout(own.dtype, ())))

    def backward(self, node, grad):
        return None if node.next[0] is None else grad.new_zeros(grad.shape)


def _move(target: Tensor, source: Tensor, wait: bool) -> None:
    """Copy contiguous elements from one device into those on another."""
    own, other = target._layout, source._layout
    to = target._data[own.offset:own.offset + own.numel]
    given = source._data[other.offset:other.offset + other.numel]
    if own.device is CPU:
        memory.on(other.device).fetch(to, given, wait)
    else:
        memory.on(own.device).send(to, given, wait)


COPY, FILL, ZERO = Copy(), Fill(), Fill("Zero")


def copy_(input: Tensor, src, non_blocking: bool = False) -> Tensor:
    """Write the elements of `src`, broadcast and converted, in place.

    Args:
        non_blocking: do not wait for a copy between a CUDA device and pinned memory.
    """
    if not isinstance(src, Tensor):
        return fill_(input, src)
    return apply_(COPY, input, (src,), (True,) if non_blocking else ())


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
