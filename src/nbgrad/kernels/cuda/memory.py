"""Memory of a CUDA device: blocks that are kept when a tensor ends, and lent again.

Work on a stream happens in order, so a block that was used on one stream may be lent on it again while
that work still runs. A block that other streams used (`record`) waits until they are done with it.
"""

from __future__ import annotations

import math
from contextlib import suppress

import numpy as np

from nbgrad.errors import OutOfMemoryError
from nbgrad.kernels.cuda.array import DeviceArray
from nbgrad.kernels.cuda.provider import machine

_free: dict[tuple[int, int], list[int]] = {}
_waiting: list[tuple[Block, list[int]]] = []
found = {"allocated": 0, "reserved": 0, "peak": 0, "peak reserved": 0, "segments": 0,
         "allocations": 0, "out of memory": 0}


class Block:
    """Memory lent to the arrays that lie in it, and to their stream."""

    __slots__ = ("ptr", "size", "stream", "used_by")

    def __init__(self, ptr: int, size: int, stream: int) -> None:
        self.ptr, self.size, self.stream = ptr, size, stream
        self.used_by: set[int] | None = None

    def __del__(self) -> None:
        if self.used_by:
            with suppress(Exception):
                _wait(self)
            return
        found["allocated"] -= self.size
        _free.setdefault((self.stream, self.size), []).append(self.ptr)


def _wait(block: Block) -> None:
    """Take a block back once the other streams have passed the point they are at now."""
    kept = Block.__new__(Block)
    kept.ptr, kept.size, kept.stream, kept.used_by = block.ptr, block.size, block.stream, None
    events = []
    for stream in block.used_by or ():
        events.append(machine.make_event())
        machine.record(events[-1], stream)
    _waiting.append((kept, events))


def record(array: DeviceArray, stream: int) -> None:
    """Say that a stream other than the block's own uses it."""
    if stream != array.block.stream:
        array.block.used_by = (array.block.used_by or set()) | {stream}


def _rounded(nbytes: int) -> int:
    """Eight sizes of blocks between two powers of two, 512 bytes at least."""
    if nbytes <= 512:
        return 512
    step = max(nbytes.bit_length() - 4, 9)
    return -(-nbytes >> step) << step


def block(nbytes: int) -> Block:
    """A block of at least this many bytes on the current stream."""
    size, stream = _rounded(nbytes), machine.stream
    if _waiting:
        _collect()
    home = _free.get((stream, size))
    if home:
        ptr = home.pop()
    else:
        ptr = _fresh(size)
    found["allocated"] += size
    found["allocations"] += 1
    if found["allocated"] > found["peak"]:
        found["peak"] = found["allocated"]
    return Block(ptr, size, stream)


def _collect() -> None:
    for pair in list(_waiting):
        if all(machine.reached(e) for e in pair[1]):
            for e in pair[1]:
                machine.drop_event(e)
            _waiting.remove(pair)  # the block ends here, and goes to its list


def _fresh(size: int) -> int:
    try:
        ptr = machine.allocate(size)
    except OutOfMemoryError:
        empty_cache()
        try:
            ptr = machine.allocate(size)
        except OutOfMemoryError:
            found["out of memory"] += 1
            free, whole = machine.memory()
            raise OutOfMemoryError(
                f"CUDA out of memory. Tried to allocate {size / 2**20:.2f} MiB. GPU 0 has a total "
                f"capacity of {whole / 2**30:.2f} GiB of which {free / 2**20:.2f} MiB is free; "
                f"{found['allocated'] / 2**20:.2f} MiB is in use by tensors. Use smaller batches, or "
                "free tensors.") from None
    found["reserved"] += size
    found["segments"] += 1
    found["peak reserved"] = max(found["peak reserved"], found["reserved"])
    return ptr


def empty_cache() -> None:
    """Give the blocks that no tensor uses back to the device."""
    machine.synchronize()
    _collect()
    for (_, size), blocks in list(_free.items()):
        while blocks:
            machine.free(blocks.pop())
            found["reserved"] -= size
            found["segments"] -= 1


def empty(shape: int | tuple[int, ...], dtype) -> DeviceArray:
    """An array of this shape whose elements may be anything."""
    dtype = np.dtype(dtype)
    if type(shape) is not tuple:
        shape = (int(shape),)
    lent = block(math.prod(shape) * dtype.itemsize)
    return DeviceArray(lent, lent.ptr, dtype, shape)


def zeros(shape: int | tuple[int, ...], dtype) -> DeviceArray:
    """An array of this shape filled with zeros."""
    made = empty(shape, dtype)
    if made.size:
        machine.clear(made.ptr, made.nbytes, machine.stream)
    return made


def upload(array: np.ndarray, wait: bool = True) -> DeviceArray:
    """A copy of a NumPy array on the device."""
    source = np.ascontiguousarray(array)
    made = empty(source.shape, source.dtype)
    if source.size:
        machine.upload(made.ptr, source, machine.stream, wait)
    return made


def download(array: DeviceArray, wait: bool = True) -> np.ndarray:
    """A copy of a contiguous array in host memory."""
    out: np.ndarray = np.empty(array.shape, array.dtype)
    if out.size:
        machine.download(out, array.ptr, machine.stream, wait)
    return out
