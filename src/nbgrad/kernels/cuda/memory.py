"""Arrays in the memory of a CUDA device: made, and copied from and to the host."""

from __future__ import annotations

import math

import numpy as np

from nbgrad.kernels.cuda import bounds, host
from nbgrad.kernels.cuda.allocator import Allocator, Block
from nbgrad.kernels.cuda.array import DeviceArray
from nbgrad.kernels.cuda.provider import SIMULATED, machine

allocator = Allocator(machine)


def empty(shape: int | tuple[int, ...], dtype) -> DeviceArray:
    """An array of this shape whose elements may be anything."""
    dtype = np.dtype(dtype)
    if not isinstance(shape, tuple):
        shape = (int(shape),)
    nbytes = math.prod(shape) * dtype.itemsize
    lent = allocator.lend(nbytes)
    if SIMULATED:
        machine.spoil(lent.ptr, nbytes)
    return DeviceArray(lent, lent.ptr, dtype, shape)


def zeros(shape: int | tuple[int, ...], dtype) -> DeviceArray:
    """An array of this shape filled with zeros."""
    made = empty(shape, dtype)
    if made.size:
        machine.clear(made.ptr, made.nbytes, machine.stream)
    return made


def copied(array: DeviceArray) -> DeviceArray:
    """A copy of a vector."""
    made = empty(array.shape, array.dtype)
    if made.size:
        machine.copy(made.ptr, array.ptr, made.nbytes, machine.stream)
    return made


def upload(array: np.ndarray, wait: bool = True) -> DeviceArray:
    """A copy of a NumPy array on the device."""
    made, array = empty(array.shape, array.dtype), np.ascontiguousarray(array)
    if array.dtype.kind in "iu":
        if not wait and host.pinned(array):  # it may be written to before it is read: see bounds.py
            array, given = host.empty(array.shape, array.dtype), array
            array[...] = given
        bounds.tell_of(made, array)
    send(made, array, wait)
    return made


def send(to: DeviceArray, array: np.ndarray, wait: bool = True) -> None:
    """Copy a contiguous NumPy array into a contiguous array of the device.

    The driver has read pageable memory when it returns. Pinned memory it reads later: `wait` for
    that, or the array is held until then, and must not be written to.
    """
    if not array.size:
        return
    stream, later = machine.stream, host.pinned(array)
    machine.upload(to.ptr, array, stream, wait and later)
    if later and not wait:
        host.keep(stream, array, to)


def download(array: DeviceArray, wait: bool = True) -> np.ndarray:
    """A copy of a contiguous array in host memory; pinned memory where it is not waited for."""
    make = np.empty if wait else host.empty
    out: np.ndarray = make(array.shape, array.dtype)
    fetch(out, array, wait)
    return out


def fetch(to: np.ndarray, array: DeviceArray, wait: bool = True) -> None:
    """Copy a contiguous array of the device into a contiguous NumPy array.

    Without `wait`, and into pinned memory, the elements are there once the stream is past this point.
    """
    if not array.size:
        return
    stream, later = machine.stream, not wait and host.pinned(to)
    machine.download(to, array.ptr, stream, not later)
    if later:
        host.keep(stream, array, to)


def record(array: DeviceArray, stream: int) -> None:
    """Say that a stream uses an array, so that its memory is not lent before that work is done."""
    if type(array.block) is Block:
        allocator.record(array.block, stream)


def stats() -> dict[str, int]:
    """Bytes and counts under PyTorch's names."""
    host.collect()
    return allocator.stats()


def empty_cache() -> None:
    """Give the memory that no tensor uses back to the device, and pinned memory to the system."""
    allocator.empty_cache()
    host.empty_cache()
