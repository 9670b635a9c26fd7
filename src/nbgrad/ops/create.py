"""Tensors made from numbers, sizes and arrays."""

from __future__ import annotations

import math
import numbers
import warnings
from typing import Any

import numpy as np

from nbgrad import devices, dtypes
from nbgrad.dtypes import dtype as DType
from nbgrad.kernels import memory
from nbgrad.kernels.backend import resolve
from nbgrad.kernels.layout import Layout, layout
from nbgrad.ops import foreign
from nbgrad.ops.axis_order import like, permuted
from nbgrad.ops.dims import sizes
from nbgrad.ops.factory import check_place, default, dtype_of, factory, place_of
from nbgrad.ops.family import expect_tensor, users_line
from nbgrad.ops.op import wrap
from nbgrad.ops.pin import pin_memory as pin
from nbgrad.tensor import Tensor


def tensor(data, *, dtype=None, device=None, requires_grad: bool = False,
           pin_memory: bool = False) -> Tensor:
    """A leaf with a copy of `data`: a number, nested lists, a NumPy array or a tensor.

    Args:
        data: Python floats become the default float dtype, ints int64, bools bool.
        dtype: another dtype to convert to.
        device: "cpu" or "cuda".
        requires_grad: whether backward fills its `.grad`.
        pin_memory: whether it lies in pinned memory, for copies to a CUDA device.

    Example:
        >>> tensor([[1., 2.], [3., 4.]])
        tensor([[1., 2.],
                [3., 4.]])
    """
    check_place("tensor", None, pin_memory)
    place = place_of(device, (data,))
    if isinstance(data, Tensor):
        warnings.warn(
            "To copy construct from a tensor, it is recommended to use sourceTensor.detach().clone()"
            " or sourceTensor.detach().clone().requires_grad_(True), rather than "
            "torch.tensor(sourceTensor).", UserWarning, stacklevel=users_line())
    if foreign.is_interface(data):
        return as_tensor(data, dtype, device).clone().requires_grad_(requires_grad)
    try:
        made = wrap(_array(data, dtype))
    except dtypes.InHalf as found:
        made = wrap(_array(data, dtypes.float32)).to(found.dtype)
    made = made if place is devices.CPU else made.to(place)
    made = pin(made) if pin_memory else made
    if requires_grad and not made.is_floating_point():
        raise RuntimeError("Only Tensors of floating point and complex dtype can require gradients: "
                           f"data of dtype {made.dtype} needs dtype=nbgrad.float32, say")
    return made.requires_grad_(requires_grad)


def _array(data, dtype) -> np.ndarray:
    """A fresh array of a dtype nbgrad has."""
    if isinstance(data, Tensor):
        source, dtype = data._values(), dtype or data.dtype
    elif isinstance(data, np.ndarray | np.generic):
        source = np.asarray(data)
    else:
        source = _from_python(data)
        if dtype is None and source.dtype.kind == "f":
            dtype = _first_dtype(data) or dtypes.get_default_dtype()
    target = dtypes.from_numpy(source.dtype) if dtype is None else dtype_of("tensor", dtype)
    if target.category == 1 and not isinstance(data, Tensor | np.ndarray):
        _check_range(source, target)
    return np.array(source, dtype=target.np, order="C", copy=True)


def _check_range(source: np.ndarray, target: DType) -> None:
    """Refuse Python numbers that an integer dtype does not hold; unsigned ones take negatives."""
    limit: Any = np.iinfo(target.np)  # type: ignore[type-var]
    low = limit.min or -limit.max
    if source.size and not (source.min() >= low and source.max() <= limit.max):
        raise RuntimeError(f"value cannot be converted to type {target.name} without overflow: "
                           f"{target.name} holds {limit.min} to {limit.max}")


def _from_python(data) -> np.ndarray:
    if isinstance(data, (list, tuple)) and any(isinstance(v, Tensor) for v in data):
        data = [v.tolist() if isinstance(v, Tensor) else v for v in data]
    try:
        source = np.asarray(data)
    except ValueError as error:
        if _mixed(data):
            raise TypeError("tensor(): the nested lists hold numbers beside lists") from None
        raise ValueError(f"tensor(): the nested lists have rows of different lengths ({error})") \
            from None
    if source.dtype.kind == "i":
        return source.astype(np.int64)
    if source.dtype.kind == "u":
        raise ValueError("Overflow when unpacking long long: an integer does not fit in int64")
    if source.dtype.kind in "bf":
        return source
    if source.dtype == object:
        raise RuntimeError(f"Could not infer dtype of {_culprit(data)}")
    raise TypeError(f"new(): invalid data type {source.dtype!s}; tensors hold numbers and bools")


def _mixed(data) -> bool:
    nested = [v for v in data if isinstance(v, (list, tuple))]
    return 0 < len(nested) < len(data) or any(map(_mixed, nested))


def _first_dtype(data) -> DType | None:
    """The dtype of the first entry of nested lists; None for a Python number."""
    while isinstance(data, (list, tuple)):
        if not data:
            return None
        data = data[0]
    if isinstance(data, Tensor):
        return data.dtype
    return dtypes.from_numpy(data.dtype) if isinstance(data, np.generic | np.ndarray) else None


def _culprit(data) -> str:
    while isinstance(data, (list, tuple)) and data:
        odd = [v for v in data if not isinstance(v, numbers.Number)]
        data = odd[0] if odd else data[0]
    return type(data).__name__


def from_numpy(array: np.ndarray) -> Tensor:
    """A tensor over the memory of a NumPy array; a read-only array is copied.

    Raises:
        TypeError: not an array, or of a dtype nbgrad lacks.
        ValueError: a negative stride.

    Example:
        >>> a = np.zeros(3, np.float32)
        >>> from_numpy(a).add_(1)
        tensor([1., 1., 1.])
        >>> a
        array([1., 1., 1.], dtype=float32)
    """
    if not isinstance(array, np.ndarray):
        raise TypeError(f"expected np.ndarray (got {type(array).__name__})")
    dtype = dtypes.from_numpy(array.dtype)
    if dtype is dtypes.float16:
        array = array.astype(np.float16, copy=False).view(np.uint16)
    elif array.dtype != dtype.np:
        array = array.astype(dtype.np)
    if any(s < 0 for s in array.strides):
        raise ValueError(
            "At least one stride in the given numpy array is negative, and tensors with negative "
            "strides are not currently supported. (You can probably work around this by making a "
            "copy of your array  with array.copy().)")
    size = dtype.itemsize
    if not array.flags.writeable or not array.flags.aligned or any(s % size for s in array.strides):
        array = array.copy()
    if array.flags.c_contiguous:
        return Tensor(array.reshape(-1), layout(dtype, array.shape))
    strides = tuple(s // size for s in array.strides)
    own = layout(dtype, array.shape, strides)
    storage = np.lib.stride_tricks.as_strided(array, (own.span,), (size,))
    return Tensor(storage, own)


def beside(like: Tensor, array: np.ndarray) -> Tensor:
    """A tensor with the values of a NumPy array, on the device of another tensor."""
    made, place = from_numpy(array), like._layout.device
    return made if place is devices.CPU else made.to(place)


def as_tensor(data, dtype=None, device=None) -> Tensor:
    """`data` as a tensor, over the same memory where possible.

    An object with `__cuda_array_interface__`, such as a CuPy array, becomes one on its device.
    """
    place = place_of(device, (data,))
    target = None if dtype is None else dtype_of("as_tensor", dtype)
    if isinstance(data, Tensor):
        return data.to(place, data.dtype if target is None else target)
    if foreign.is_interface(data):
        made = foreign.from_interface(data, resolve("cuda"))
        return made.to(made.device if device is None else place, target or made.dtype)
    if place is not devices.CPU:
        return as_tensor(data, target, devices.CPU).to(place)
    if isinstance(data, np.ndarray) and target in (None, dtypes.from_numpy(data.dtype)):
        return from_numpy(data)
    return tensor(data, dtype=dtype, device=place)


def asarray(obj, *, dtype=None, device=None, copy: bool | None = None,
            requires_grad: bool = False) -> Tensor:
    """`obj` as a tensor: over the same memory where possible, or always (not) where `copy` says."""
    made = as_tensor(obj, dtype, device)
    shared = made is obj or (isinstance(obj, np.ndarray) and made._layout.device is devices.CPU
                             and np.may_share_memory(made._array(), obj)) or foreign.is_interface(obj)
    if copy is False and not shared:
        raise ValueError("can't alias tensor with dtype or object that is no array: pass copy=None")
    if isinstance(obj, Tensor):
        made = made if requires_grad else made.detach() if made.requires_grad else made
    if copy and shared:
        made = made.detach().clone().contiguous()
    return made.requires_grad_() if requires_grad else made


def frombuffer(buffer, *, dtype, count: int = -1, offset: int = 0,
               requires_grad: bool = False) -> Tensor:
    """A vector over the memory of an object such as a bytearray.

    Args:
        count: elements, all there are where negative.
        offset: bytes to leave out at the start.
    """
    found = dtype_of("frombuffer", dtype)
    try:
        made = from_numpy(np.frombuffer(buffer, found.np, count, offset))
    except TypeError:
        raise ValueError("object does not implement Python buffer protocol.") from None
    return made.requires_grad_() if requires_grad else made


def shape_of(args: tuple, size=None, name: str = "zeros") -> tuple[int, ...]:
    """A shape from positional arguments, or from `size=`."""
    if not args and size is None:
        raise TypeError(f'{name}() missing 1 required positional arguments: "size"')
    if len(args) == 1 and type(args[0]) is bool:
        raise TypeError(f"{name}(): argument 'size' (position 1) must be tuple of ints, not bool")
    shape = sizes(args, size)
    if any(n < 0 for n in shape):
        raise RuntimeError(f"Trying to create tensor with negative dimension {min(shape)}: "
                           f"{list(shape)}")
    return shape


def filled(own: Layout, value) -> Tensor:
    """A tensor that lies like `own`, with one number everywhere."""
    dtype = own.dtype
    if own.device is not devices.CPU:
        made = _fresh(own)
        made.data.fill_(value)  # no write that a version counts
        return made
    data = (np.zeros(own.numel, dtype.storage) if value == 0
            else np.full(own.numel, dtype.stored(value), dtype.storage))
    return Tensor(data, own)


@factory
def zeros(*shape, size=None, dtype=None) -> Tensor:
    """Zeros of a shape given as numbers, a tuple or a list."""
    return filled(here(default(dtype), shape_of(shape, size)), 0)


@factory
def ones(*shape, size=None, dtype=None) -> Tensor:
    """Ones of a shape given as numbers, a tuple or a list."""
    return filled(here(default(dtype), shape_of(shape, size)), 1)


@factory
def empty(*shape, size=None, dtype=None, memory_format=None) -> Tensor:
    """Memory as it comes, of a shape."""
    own = here(default(dtype), shape_of(shape, size))
    return _fresh(own if memory_format is None else like(own, own.dtype, memory_format))


@factory
def full(size, fill_value, *, dtype=None) -> Tensor:
    """One number everywhere; its type gives the dtype."""
    value, given = _number("full", fill_value)
    if not isinstance(size, (tuple, list)):
        raise TypeError("full(): argument 'size' (position 1) must be tuple of ints, not "
                        f"{type(size).__name__}")
    own = here(given if dtype is None else dtype, shape_of((size,)))
    return filled(own, _within(value, own.dtype))


@factory
def scalar_tensor(s, *, dtype=None) -> Tensor:
    """A 0-dim tensor."""
    return filled(here(default(dtype), ()), _number("scalar_tensor", s)[0])


@factory
def empty_strided(size, stride, *, dtype=None) -> Tensor:
    """Memory as it comes, of a shape and with strides in elements."""
    shape, strides = shape_of((), size), sizes((), stride)
    if len(shape) != len(strides) or any(s < 0 for s in strides):
        raise RuntimeError(f"empty_strided: strides {list(strides)} do not fit the shape {list(shape)}")
    return _fresh(here(default(dtype), shape, strides))


@factory
def empty_permuted(size, physical_layout, *, dtype=None) -> Tensor:
    """Memory as it comes, of a shape whose axes lie in the order given, the outermost first."""
    shape, order = shape_of((), size), sizes((), physical_layout)
    if sorted(order) != list(range(len(shape))):
        raise RuntimeError("Number of dimensions in size does not match the length of the "
                           f"physical_layout, or it has duplicate dims: {list(shape)}, {list(order)}")
    return _fresh(permuted(default(dtype), shape, order))


def _fresh(own: Layout) -> Tensor:
    return Tensor(memory.on(own.device).empty(own.span, own.dtype.storage), own)


def here(dtype: DType, shape: tuple[int, ...], strides: tuple[int, ...] | None = None) -> Layout:
    """The layout of a new tensor, on the device where new tensors lie."""
    return layout(dtype, shape, strides, 0, devices.default())


def _number(name: str, value) -> tuple:
    """A number and the dtype it stands for."""
    if isinstance(value, Tensor) and not value._layout.shape:
        return value.item(), value._layout.dtype
    if isinstance(value, (str, bytes)) or not isinstance(value, numbers.Number):
        raise TypeError(f"{name}(): the value must be Number, not {type(value).__name__}")
    return value, dtypes.of_number(value)


def _within(value, dtype: DType):
    """A number as an integer dtype stores it; RuntimeError where that does not hold it."""
    if dtype.category != 1:
        return value
    whole = np.asarray(math.trunc(value))
    _check_range(whole, dtype)
    return int(whole) % 256 if dtype is dtypes.uint8 else int(whole)


def _like(name: str, value, what: str):
    def function(input: Tensor, *, dtype=None, memory_format=None) -> Tensor:
        expect_tensor(name, input=input)
        own = like(input._layout, dtype or input._layout.dtype, memory_format)
        return _fresh(own) if value is None else filled(own, value)

    function.__name__ = function.__qualname__ = name
    function.__doc__ = f"{what} of the shape and dtype of another tensor."
    return factory(function)


zeros_like, ones_like = _like("zeros_like", 0, "Zeros"), _like("ones_like", 1, "Ones")
empty_like = _like("empty_like", None, "Memory as it comes,")


@factory
def full_like(input: Tensor, fill_value, *, dtype=None, memory_format=None) -> Tensor:
    """One number everywhere, in the shape and dtype of another tensor."""
    expect_tensor("full_like", input=input)
    own = like(input._layout, dtype or input._layout.dtype, memory_format)
    return filled(own, _within(_number("full_like", fill_value)[0], own.dtype))


def _legacy(dtype: DType):
    def make(*args) -> Tensor:
        if len(args) == 1 and not isinstance(args[0], int):
            return tensor(args[0], dtype=dtype)
        return zeros(*args, dtype=dtype) if args else zeros(0, dtype=dtype)

    make.__name__ = f"{dtype.legacy}Tensor"
    make.__doc__ = f"A {dtype.name} tensor from data, or of a size (legacy)."
    return make


setattr(Tensor, "_legacy", staticmethod(_legacy(dtypes.float32)))  # noqa: B010
LEGACY = {f"{d.legacy}Tensor": _legacy(d) for d in dtypes.ALL}


def _new(make):
    def method(self: Tensor, *args, dtype=None, device=None, **options) -> Tensor:
        own = self._layout
        return make(*args, dtype=own.dtype if dtype is None else dtype,
                    device=own.device if device is None else device, **options)

    method.__doc__ = f"As `nbgrad.{make.__name__}`, with the dtype of this tensor."
    return method


METHODS = {f"new_{make.__name__}": _new(make)
           for make in (zeros, ones, full, empty, empty_strided, tensor)}
PACKAGE_ONLY = {f.__name__: f for f in (
    tensor, from_numpy, as_tensor, asarray, frombuffer, zeros, ones, full, empty, scalar_tensor,
    empty_strided, empty_permuted, zeros_like, ones_like, empty_like, full_like)} | LEGACY
