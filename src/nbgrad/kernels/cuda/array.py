"""Arrays on a CUDA device: memory, shape and strides; what kernels' launches are given."""

from __future__ import annotations

import math

import numpy as np
from numpy.lib.mixins import NDArrayOperatorsMixin

from nbgrad.kernels.layout import contiguous_strides


class OnHost(NotImplementedError):
    """What has no CUDA kernel met an array on a device; `apply` then runs it on the host."""

    def __init__(self, what: str = "this") -> None:
        super().__init__(f"{what} has no CUDA kernel: move the tensors with .cpu() first")


class Mixed(NotImplementedError):
    """A kernel of a device met an array of the host; `apply` then moves numbers of the host there."""

    def __init__(self) -> None:
        super().__init__("Expected all tensors to be on the same device, but found at least two "
                         "devices, cuda:0 and cpu!")


def refuse_host(args: tuple) -> None:
    """Refuse arrays of the host among the arguments of what runs on a device."""
    for a in args:
        if isinstance(a, np.ndarray):
            raise Mixed


class DeviceArray(NDArrayOperatorsMixin):
    """A window on memory of a device, as a NumPy array is one on memory of the host.

    It has a shape and strides (in elements) and makes views; it computes nothing. NumPy functions
    and operators on it raise OnHost, so that no copy to the host is made unseen.
    """

    __slots__ = ("__weakref__", "block", "dtype", "fields", "ptr", "shape", "size", "strides")

    def __init__(self, block, ptr: int, dtype: np.dtype, shape: tuple[int, ...],
                 strides: tuple[int, ...] | None = None) -> None:
        self.block = block  # keeps the memory
        self.ptr, self.dtype, self.shape = ptr, dtype, shape
        size = self.size = shape[0] if len(shape) == 1 else math.prod(shape)
        self.strides = strides
        # a one-dimensional array as Numba's kernels take it: meminfo, parent, items, bytes an item,
        # address, shape, strides
        self.fields = (0, 0, size, dtype.itemsize, ptr, size, dtype.itemsize)

    @property
    def ndim(self) -> int:
        return len(self.shape)

    @property
    def nbytes(self) -> int:
        return self.size * self.dtype.itemsize

    @property
    def contiguous(self) -> bool:
        if self.strides is None or self.size == 0:
            return True
        step = 1
        for n, s in zip(reversed(self.shape), reversed(self.strides)):
            if n != 1 and s != step:
                return False
            step *= n
        return True

    def steps(self) -> tuple[int, ...]:
        """The strides in elements, also where they are those of a contiguous array."""
        if self.strides is not None:
            return self.strides
        return contiguous_strides(self.shape)

    def reshape(self, *shape) -> DeviceArray:
        """The elements in another shape: a view if they are contiguous, else a copy, as in NumPy."""
        wanted = list(shape[0] if len(shape) == 1 and isinstance(shape[0], (tuple, list)) else shape)
        if -1 in wanted:
            rest = math.prod(n for n in wanted if n != -1)
            wanted[wanted.index(-1)] = self.size // rest if rest else 0
        if math.prod(wanted) != self.size:
            raise ValueError(f"cannot reshape {self.shape} into {tuple(wanted)}")
        if not self.contiguous:
            from nbgrad.kernels.cuda.layouts import copied  # launches kernels, which take arrays
            return copied(self).reshape(wanted)
        return DeviceArray(self.block, self.ptr, self.dtype, tuple(wanted))

    def window(self, shape: tuple[int, ...], strides: tuple[int, ...], offset: int) -> DeviceArray:
        """A window on a vector, strides and offset in elements."""
        return DeviceArray(self.block, self.ptr + offset * self.dtype.itemsize, self.dtype, shape,
                           strides)

    def transpose(self, *order: int) -> DeviceArray:
        """A view with the axes in another order."""
        steps = self.steps()
        return DeviceArray(self.block, self.ptr, self.dtype, tuple([self.shape[k] for k in order]),
                           tuple([steps[k] for k in order]))

    def part(self, start: int, stop: int) -> DeviceArray:
        """Elements `start` to `stop` of a vector."""
        return DeviceArray(self.block, self.ptr + start * self.dtype.itemsize, self.dtype,
                           (stop - start,))

    def __getitem__(self, key) -> DeviceArray:
        if type(key) is slice and len(self.shape) == 1 and key.step in (None, 1):
            start, stop, _ = key.indices(self.size)
            return self.part(start, max(start, stop))
        raise OnHost("an index into device memory")

    def view(self, dtype) -> DeviceArray:
        """The same contiguous bytes as another dtype."""
        dtype = np.dtype(dtype)
        if not self.contiguous:
            raise OnHost("a view of strided memory")
        if dtype.itemsize == self.dtype.itemsize:
            return DeviceArray(self.block, self.ptr, dtype, self.shape)
        return DeviceArray(self.block, self.ptr, dtype, (self.nbytes // dtype.itemsize,))

    @property
    def __array_interface__(self):
        raise OnHost("a NumPy function")

    def __array__(self, dtype=None, copy=None):
        raise OnHost

    def __array_ufunc__(self, *args, **kwargs):
        raise OnHost

    def __array_function__(self, *args, **kwargs):
        raise OnHost

    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)
        raise OnHost(f"'{name}' of an array on a device")

    def __setitem__(self, key, value) -> None:
        raise OnHost("a write by index")

    def __len__(self) -> int:
        return self.shape[0]

    @property
    def _numba_type_(self):
        raise OnHost("a CPU kernel")

    def __repr__(self) -> str:
        return f"DeviceArray({self.dtype}, {self.shape}, at {self.ptr:#x})"
