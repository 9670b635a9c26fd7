"""Pinned memory of the host, from and to which a device copies while the host goes on.

It is dear to make, so it is kept and lent again. A copy that runs holds its memory until an event says
that it is done.
"""

from __future__ import annotations

import ctypes
import math
import threading
from collections import deque

import numpy as np

from nbgrad.kernels.cuda.provider import machine

_free: dict[int, list[int]] = {}
_flying: deque[tuple[int, tuple]] = deque()
_lock = threading.RLock()


class Loan:
    """Holds a block for the arrays over it."""

    __slots__ = ("home", "ptr")

    def __init__(self, ptr: int, home: list[int]) -> None:
        self.ptr, self.home = ptr, home

    def __del__(self) -> None:
        self.home.append(self.ptr)


def empty(shape: tuple[int, ...], dtype) -> np.ndarray:
    """A pinned array whose elements may be anything."""
    dtype = np.dtype(dtype)
    nbytes = math.prod(shape) * dtype.itemsize
    size = max(1 << max(nbytes - 1, 0).bit_length(), 512)
    collect()
    home = _free.setdefault(size, [])
    try:
        ptr = home.pop()
    except IndexError:
        ptr = machine.allocate_host(size)
    raw = (ctypes.c_char * size).from_address(ptr)
    raw.loan = Loan(ptr, home)  # type: ignore[attr-defined]
    made: np.ndarray = np.ndarray(shape, dtype, raw)
    return made


def pinned(array: np.ndarray) -> bool:
    """Whether an array lies in pinned memory, ours or another library's."""
    return machine.is_pinned(array.ctypes.data)


def keep(stream: int, *held) -> None:
    """Hold what a copy that was just started on a stream reads and writes until it is done."""
    collect()
    event = machine.make_event()
    machine.record(event, stream)
    _flying.append((event, held))


def collect() -> None:
    """Let go of what copies held that are done."""
    with _lock:
        for _ in range(len(_flying)):
            event, held = _flying.popleft()
            if machine.reached(event):
                machine.drop_event(event)
            else:
                _flying.append((event, held))


def empty_cache() -> None:
    """Give the pinned memory that no array uses back to the system."""
    collect()
    for blocks in list(_free.values()):
        while blocks:
            machine.free_host(blocks.pop())
