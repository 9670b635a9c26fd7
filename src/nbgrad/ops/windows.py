"""Other windows on a tensor's storage: any strides, or its bits as another dtype."""

from __future__ import annotations

import numpy as np

from nbgrad.devices import CPU
from nbgrad.dtypes import dtype as DType
from nbgrad.kernels.cuda.bounds import expose
from nbgrad.kernels.layout import layout
from nbgrad.ops.apply import view
from nbgrad.ops.dims import sizes, whole
from nbgrad.ops.views import AS_STRIDED
from nbgrad.tensor import Tensor


def view_dtype(t: Tensor, dtype: DType) -> Tensor:
    """The same memory read as another dtype; no gradient passes."""
    own = t._layout
    shape, strides, offset = list(own.shape), list(own.strides), own.offset
    names = f"to view {own.dtype.legacy} as {dtype.legacy} (different element sizes)"
    more, less = dtype.itemsize // own.dtype.itemsize, own.dtype.itemsize // dtype.itemsize
    if more != 1 or less != 1:
        if not shape:
            raise RuntimeError(f"self.dim() cannot be 0 {names}")
        if strides[-1] != 1:
            raise RuntimeError(f"self.stride(-1) must be 1 {names}, but got {strides[-1]}")
    if less > 1:
        shape[-1] *= less
        strides, offset = [s * less for s in strides[:-1]] + [1], offset * less
    elif more > 1:
        for name, value in (("size(-1)", shape[-1]), ("storage_offset()", offset), *(
                (f"stride({k})", s) for k, s in enumerate(strides[:-1]))):
            if value % more:
                raise RuntimeError(f"self.{name} must be divisible by {more} {names}, but got "
                                   f"{value}")
        shape[-1] //= more
        strides, offset = [s // more for s in strides[:-1]] + [1], offset // more
    size = t._data.nbytes // dtype.itemsize * dtype.itemsize
    data = t._data.view(np.uint8)[:size].view(dtype.storage)
    if own.device is not CPU and 2 in (dtype.category, own.dtype.category):
        expose(t._data)  # optimizers write to floats, and tell nobody
    made = Tensor(data, layout(dtype, tuple(shape), tuple(strides), offset,
                               t._layout.device))
    made._counter = t._count()
    return made


def check_window(t: Tensor, shape, strides, storage_offset: int | None) -> int:
    """The offset of a window on the storage of `t`, once it is seen to lie inside."""
    offset = t._layout.offset if storage_offset is None else whole(storage_offset, "storage_offset")
    if len(shape) != len(strides):
        raise RuntimeError(f"mismatch in length of strides and shape: {strides} for {shape}")
    if any(s < 0 for s in strides):
        raise RuntimeError(f"as_strided: Negative strides are not supported at the moment, got "
                           f"strides: {list(strides)}")
    if any(n < 0 for n in shape) or offset < 0:
        raise RuntimeError(f"as_strided: size {list(shape)} and storage offset {offset} must not be "
                           "negative")
    end = offset + 1 + sum((n - 1) * s for n, s in zip(shape, strides)) if 0 not in shape else 0
    if end > t._data.size:
        raise RuntimeError(f"setStorage: sizes {list(shape)}, strides {list(strides)}, storage offset "
                           f"{offset}, requiring a storage size of {end} are out of bounds for "
                           f"storage of size {t._data.size}")
    return offset


def as_strided(input: Tensor, size, stride, storage_offset: int | None = None) -> Tensor:
    """Any window on the storage: `size`, `stride` and offset in elements, checked against it."""
    shape, strides = sizes((tuple(size),)), sizes((tuple(stride),))
    offset = check_window(input, shape, strides, storage_offset)
    return view(AS_STRIDED, input, (shape, strides, offset - input._layout.offset))
