"""Windows on arrays of a device, and copies from one to another."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from nbgrad import dtypes
from nbgrad.devices import gpu
from nbgrad.formulas.elementwise import TABLE
from nbgrad.kernels.cuda import memory
from nbgrad.kernels.cuda.array import DeviceArray
from nbgrad.kernels.cuda.bounds import hand_on
from nbgrad.kernels.elementwise import Plan, Spec, plan
from nbgrad.kernels.layout import expanded_strides, layout

#: 16-bit floats are copied as the bits they are
_BITS = {np.dtype(np.uint16): np.dtype(np.int16)}


def contiguous(x: DeviceArray) -> DeviceArray:
    """x if its elements lie in row-major order without gaps, else a copy of which that is true."""
    if x.contiguous:
        return x
    made = memory.empty(x.shape, x.dtype)
    copy(made, x)
    return hand_on(made, x)


def narrowed(x: DeviceArray, ranges) -> DeviceArray:
    """Elements `start` to `stop` along each axis."""
    steps = x.steps()
    return x.window(tuple([max(b - a, 0) for a, b in ranges]), steps,
                    sum([a * s for (a, _), s in zip(ranges, steps)]))


def copy(to: DeviceArray, x: DeviceArray) -> None:
    """The elements of x into an array of the same shape, in its dtype; strides may be any."""
    if to.size:
        bits, kind = _BITS.get(x.dtype, x.dtype), _BITS.get(to.dtype, to.dtype)
        steps = x.steps()
        _copying(bits, kind, x.shape, to.steps(), steps).run(
            _memory(to, kind), _memory(x, bits, _before(x.shape, steps)))


def _before(shape, strides) -> int:
    """How far the elements reach before the first one, where strides are negative."""
    return -sum([(n - 1) * s for n, s in zip(shape, strides) if s < 0])


def _memory(x: DeviceArray, dtype: np.dtype, before: int = 0) -> DeviceArray:
    """The memory in which the elements lie, as a vector."""
    size = 1 + sum([(n - 1) * abs(s) for n, s in zip(x.shape, x.steps())])
    return DeviceArray(x.block, x.ptr - before * dtype.itemsize, dtype, (size,))


@lru_cache(4096)
def _copying(dtype: np.dtype, to_dtype: np.dtype, shape, to_strides, strides) -> Plan:
    known, to = dtypes.from_numpy(dtype), dtypes.from_numpy(to_dtype)
    row, place = TABLE["clone"], gpu(0)
    spec = Spec("copy", (row.formula,), row.inputs, (), "arith", known, (to,))
    return plan(spec, shape, (layout(known, shape, strides, _before(shape, strides), place),),
                (layout(to, shape, to_strides, 0, place),))


# As kernels.cpu.layouts, where ops take them from.


def copied(x: DeviceArray, dtype=None) -> DeviceArray:
    """A fresh contiguous copy, in a dtype if one is given."""
    made = memory.empty(x.shape, dtype or x.dtype)
    copy(made, x)
    return made


def cast(x: DeviceArray, dtype) -> DeviceArray:
    """The array in a dtype, itself where it has that."""
    if x.dtype == dtype:
        return x
    made = copied(x, dtype)
    return hand_on(made, x) if made.dtype == np.int64 else made


def write(x: DeviceArray, values: DeviceArray) -> None:
    """x[...] = values."""
    copy(x, spread(values, x.shape))


def moved(x: DeviceArray, source: int, to: int) -> DeviceArray:
    """A view with one axis in another place; a number is a vector of one entry."""
    if not x.shape:
        return x.window((1,), (1,), 0)
    order = list(range(x.ndim))
    order.insert(to % x.ndim, order.pop(source))
    steps = x.steps()
    return x.window(tuple([x.shape[k] for k in order]), tuple([steps[k] for k in order]), 0)


def spread(x: DeviceArray, shape: tuple[int, ...]) -> DeviceArray:
    """A view that is broadcast to a shape."""
    return x if x.shape == shape else x.window(
        shape, expanded_strides(x.shape, x.steps(), shape), 0)


def crop(x: DeviceArray, shape: tuple[int, ...]) -> DeviceArray:
    """The corner of an array that a shape covers."""
    return x if x.shape == shape else x.window(shape, x.steps(), 0)


def zeros(like: DeviceArray, shape, dtype=None) -> DeviceArray:
    """Zeros where another array lies, of its dtype unless another is given."""
    return memory.zeros(shape, dtype or like.dtype)


def filled(like: DeviceArray, shape, value) -> DeviceArray:
    """An array that holds one number, of the dtype of another."""
    return memory.upload(np.full(shape, value, like.dtype))


def clear(x: DeviceArray, row: int) -> None:
    """x[row] = 0."""
    width = x.size // x.shape[0]
    part = x.reshape(-1).part(row * width, (row + 1) * width)
    if width:
        copy(part, spread(filled(x, (1,), 0), (width,)))


def number(x: DeviceArray, place: int) -> int | float | bool:
    """The Python number at a place on the elements of an array."""
    return memory.download(contiguous(x).reshape(-1).part(place, place + 1)).item()


def changed(x: DeviceArray, shape, change) -> None:
    """Call `change` on x in a shape, or on a copy without gaps that is then written back."""
    if x.contiguous:
        change(x.reshape(shape))
    else:
        whole = copied(x)
        change(whole.reshape(shape))
        copy(x, whole)
