"""Tensors made from numbers, sizes and arrays."""

from __future__ import annotations

import numbers
import warnings
from typing import Any

import numpy as np

from nbgrad import devices, dtypes
from nbgrad.dtypes import dtype as DType
from nbgrad.kernels import memory
from nbgrad.kernels.layout import layout
from nbgrad.ops.op import wrap
from nbgrad.ops.shape import sizes
from nbgrad.tensor import Tensor


def tensor(data, *, dtype=None, device=None, requires_grad: bool = False) -> Tensor:
    """A leaf with a copy of `data`: a number, nested lists, a NumPy array or a tensor.

    Args:
        data: Python floats become the default float dtype, ints int64, bools bool.
        dtype: another dtype to convert to.
        device: "cpu".
        requires_grad: whether backward fills its `.grad`.

    Example:
        >>> tensor([[1., 2.], [3., 4.]])
        tensor([[1., 2.],
                [3., 4.]])
    """
    devices.resolve(device)
    if isinstance(data, Tensor):
        warnings.warn(
            "To copy construct from a tensor, it is recommended to use sourceTensor.detach().clone()"
            " or sourceTensor.detach().clone().requires_grad_(True), rather than "
            "torch.tensor(sourceTensor).", UserWarning, stacklevel=2)
    made = wrap(_array(data, dtype))
    if requires_grad and not made.is_floating_point():
        raise RuntimeError("Only Tensors of floating point and complex dtype can require gradients: "
                           f"data of dtype {made.dtype} needs dtype=nbgrad.float32, say")
    return made.requires_grad_(requires_grad)


def _array(data, dtype) -> np.ndarray:
    """A fresh array of a dtype nbgrad has."""
    if isinstance(data, Tensor):
        source = data._array()
    elif isinstance(data, np.ndarray | np.generic):
        source = np.asarray(data)
    else:
        source = _from_python(data)
        if dtype is None and source.dtype.kind == "f":
            dtype = _first_dtype(data) or dtypes.get_default_dtype()
    target = dtypes.as_dtype(dtype) if dtype is not None else dtypes.from_numpy(source.dtype)
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
        raise ValueError(f"tensor(): the nested lists have rows of different lengths ({error})") \
            from None
    if source.dtype.kind == "i":
        return source.astype(np.int64)
    if source.dtype.kind == "u":
        raise RuntimeError("Overflow when unpacking long: an integer does not fit in int64")
    if source.dtype.kind in "bf":
        return source
    if source.dtype == object:
        raise RuntimeError(f"Could not infer dtype of {_culprit(data)}")
    raise TypeError(f"new(): invalid data type {source.dtype!s}; tensors hold numbers and bools")


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
    if array.dtype != dtype.np:
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


def as_tensor(data, dtype=None, device=None) -> Tensor:
    """`data` as a tensor, over the same memory where possible."""
    devices.resolve(device)
    target = None if dtype is None else dtypes.as_dtype(dtype)
    if isinstance(data, Tensor):
        return data if target in (None, data.dtype) else data.to(target)
    if isinstance(data, np.ndarray) and target in (None, dtypes.from_numpy(data.dtype)):
        return from_numpy(data)
    return tensor(data, dtype=dtype)


def shape_of(args: tuple, size=None) -> tuple[int, ...]:
    """A shape from positional arguments, or from `size=`."""
    shape = sizes(args if size is None else (size,))
    if any(n < 0 for n in shape):
        raise RuntimeError(f"Trying to create tensor with negative dimension {min(shape)}: "
                           f"{list(shape)}")
    return shape


def _filled(shape, value, dtype: DType, device, requires_grad: bool) -> Tensor:
    devices.resolve(device)
    own = layout(dtype, shape)
    data = np.zeros(own.numel, dtype.np) if value == 0 else np.full(own.numel, value, dtype.np)
    return Tensor(data, own).requires_grad_(requires_grad)


def _dtype(dtype) -> DType:
    return dtypes.get_default_dtype() if dtype is None else dtypes.as_dtype(dtype)


def zeros(*shape, size=None, dtype=None, device=None,
          requires_grad: bool = False) -> Tensor:
    """Zeros of a shape given as numbers, a tuple or a list."""
    return _filled(shape_of(shape, size), 0, _dtype(dtype), device, requires_grad)


def ones(*shape, size=None, dtype=None, device=None, requires_grad: bool = False) -> Tensor:
    """Ones of a shape given as numbers, a tuple or a list."""
    return _filled(shape_of(shape, size), 1, _dtype(dtype), device, requires_grad)


def full(size, fill_value, *, dtype=None, device=None, requires_grad: bool = False) -> Tensor:
    """One number everywhere; its type gives the dtype."""
    own = dtypes.of_number(fill_value) if dtype is None else dtypes.as_dtype(dtype)
    return _filled(shape_of((size,)), fill_value, own, device, requires_grad)


def empty(*shape, size=None, dtype=None, device=None, requires_grad: bool = False,
          memory_format=None) -> Tensor:
    """Memory as it comes, of a shape."""
    devices.resolve(device)
    own = layout(_dtype(dtype), shape_of(shape, size))
    return Tensor(memory.empty(own.numel, own.dtype.np), own).requires_grad_(requires_grad)


def _like(value):
    def make(input: Tensor, *, dtype=None, device=None, requires_grad: bool = False,
             memory_format=None) -> Tensor:
        own = input._layout
        return _filled(own.shape, value, own.dtype if dtype is None else dtypes.as_dtype(dtype),
                       device, requires_grad)
    return make


zeros_like, ones_like, empty_like = _like(0), _like(1), _like(0)
zeros_like.__doc__ = "Zeros of the shape and dtype of another tensor."
ones_like.__doc__ = "Ones of the shape and dtype of another tensor."
empty_like.__doc__ = "A tensor of the shape and dtype of another, to be written."


def full_like(input: Tensor, fill_value, *, dtype=None, device=None,
              requires_grad: bool = False) -> Tensor:
    """One number everywhere, in the shape and dtype of another tensor."""
    own = input._layout
    return _filled(own.shape, fill_value, own.dtype if dtype is None else dtypes.as_dtype(dtype),
                   device, requires_grad)


def eye(n: int, m: int | None = None, *, dtype=None, device=None,
        requires_grad: bool = False) -> Tensor:
    """Ones on the diagonal of n rows and m columns, zeros elsewhere."""
    devices.resolve(device)
    return wrap(np.eye(n, m, dtype=_dtype(dtype).np)).requires_grad_(requires_grad)


def arange(start, end=None, step=1, *, dtype=None, device=None,
           requires_grad: bool = False) -> Tensor:
    """`start`, `start + step`, … below `end`; ints where all three are ints."""
    devices.resolve(device)
    if end is None:
        start, end = 0, start
    if step == 0:
        raise RuntimeError("step must be nonzero")
    if (end - start) * step < 0:
        raise RuntimeError("upper bound and lower bound inconsistent with step sign")
    if dtype is None:
        ints = all(isinstance(v, int) for v in (start, end, step))
        dtype = dtypes.int64 if ints else dtypes.get_default_dtype()
    count = max(0, int(np.ceil((end - start) / step)))
    values = start + step * np.arange(count, dtype=np.float64 if isinstance(step, float)
                                      or isinstance(start, float) else np.int64)
    return wrap(values.astype(dtypes.as_dtype(dtype).np)).requires_grad_(requires_grad)


def linspace(start, end, steps: int, *, dtype=None, device=None,
             requires_grad: bool = False) -> Tensor:
    """`steps` numbers from `start` to `end`, both included."""
    devices.resolve(device)
    values = np.linspace(start, end, steps, dtype=np.float64)
    return wrap(values.astype(_dtype(dtype).np)).requires_grad_(requires_grad)


def scalar_tensor(value, *, dtype=None, device=None, requires_grad: bool = False) -> Tensor:
    """A 0-dim tensor."""
    return _filled((), value, _dtype(dtype), device, requires_grad)


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


def is_tensor(value) -> bool:
    return isinstance(value, Tensor)


def _new(make):
    def method(self: Tensor, *args, dtype=None, device=None, requires_grad: bool = False) -> Tensor:
        return make(*args, dtype=self.dtype if dtype is None else dtype, device=device,
                    requires_grad=requires_grad)
    method.__doc__ = f"As `nbgrad.{make.__name__}`, with the dtype of this tensor."
    return method


METHODS = {f"new_{make.__name__}": _new(make) for make in (zeros, ones, full, empty, tensor)}
