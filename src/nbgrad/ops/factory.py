"""The keywords that every function making a tensor takes."""

from __future__ import annotations

import functools

from nbgrad import devices, dtypes
from nbgrad.dtypes import dtype as DType
from nbgrad.kernels.backend import resolve
from nbgrad.ops.family import expect_tensor
from nbgrad.ops.out import fit, with_keywords
from nbgrad.ops.pin import available
from nbgrad.ops.pin import pin_memory as pin
from nbgrad.ops.write import copy_
from nbgrad.tensor import Tensor


def factory(function):
    """Gives a function of sizes or numbers and `dtype` (None for its default) the other keywords.

    They are `out`, `layout`, `device`, `requires_grad` and `pin_memory`.
    """
    name = function.__name__

    @functools.wraps(function)
    def make(*args, out: Tensor | None = None, dtype=None, layout=None, device=None,
             requires_grad: bool = False, pin_memory: bool = False, **options) -> Tensor:
        if layout is not None or pin_memory:
            check_place(name, layout, pin_memory)
        place = None
        if device is not None or devices.default() is not devices.CPU:
            place = place_of(device, args)
        asked = None if dtype is None else dtype_of(name, dtype)
        if out is not None:
            expect_tensor(name, out=out)
            with out._layout.device:
                made = _made(function, args, asked or out._layout.dtype, options)
            return _into(name, out, asked, made)
        if place is None:
            made = _made(function, args, asked, options)
        else:
            with place:
                made = _made(function, args, asked, options)
            if made._layout.device is not place:
                made = made.to(place)
        if pin_memory:
            made = pin(made)
        return made.requires_grad_() if requires_grad else made

    return with_keywords(make, function, make)


def _made(function, args: tuple, dtype: DType | None, options: dict) -> Tensor:
    """What the function makes; in 16-bit floats by way of float32 where it does not know them."""
    try:
        return function(*args, dtype=dtype, **options)
    except dtypes.InHalf as found:
        wide = [t.float() if isinstance(t, Tensor) and t.dtype.half else t for t in args]
        return function(*wide, dtype=dtypes.float32, **options).to(found.dtype)


def _into(name: str, out: Tensor, asked: DType | None, made: Tensor) -> Tensor:
    if asked not in (None, out._layout.dtype):
        raise RuntimeError(f"dtype {asked.legacy} does not match dtype of out parameter "
                           f"({out._layout.dtype.legacy})")
    fit(out, made._layout.shape)
    return copy_(out, made)


def place_of(device, args: tuple = ()) -> devices.device:
    """The device asked for, that of the first tensor among the arguments, or the default."""
    if device is None:
        for t in args:
            if isinstance(t, Tensor):
                return t._layout.device
        device = devices.default()
    return resolve(device)


def check_place(name: str, layout, pin_memory: bool) -> None:
    """Refuse memory that this build does not have."""
    if layout not in (None, "strided"):
        raise TypeError(f"{name}(): argument 'layout' must be torch.layout, not "
                        f"{type(layout).__name__}: tensors are nbgrad.strided")
    if pin_memory and not available():
        raise RuntimeError("pin_memory=True requires a CUDA or other accelerator backend; no pinned "
                           "memory allocator is available on this system.")


def dtype_of(name: str, dtype) -> DType:
    """The dtype an argument stands for: Python's float is float64, as in NumPy."""
    if isinstance(dtype, DType):
        return dtype
    if dtype is float:
        return dtypes.float64
    if isinstance(dtype, str):
        raise TypeError(f"{name}(): argument 'dtype' must be torch.dtype, not str")
    return dtypes.as_dtype(dtype)


def default(dtype: DType | None) -> DType:
    """The dtype asked for, or the default one of floats."""
    return dtypes.get_default_dtype() if dtype is None else dtype
