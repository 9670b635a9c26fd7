"""A device that is none: memory of the host, kernels run thread by thread."""

import ctypes
import itertools
import threading
import time

import numpy as np

from nbgrad.kernels.cuda.threads import Vector, launch


class _Thread(threading.local):
    stream = 0


class Simulator:
    """What driver.Driver does, without a GPU."""

    count = 1

    def __init__(self) -> None:
        self._held: dict[int, np.ndarray] = {}
        self._pinned: dict[int, int] = {}
        self._handles = itertools.count(1)
        self._times: dict[int, float] = {}
        self._mine = _Thread()

    def check(self) -> None:
        """There is nothing that could be missing."""

    def name(self) -> str:
        return "Numba's CUDA simulator"

    def capability(self) -> tuple[int, int]:
        return (9, 0)

    def memory(self) -> tuple[int, int]:
        """Bytes free and in all."""
        return 1 << 33, 1 << 34

    def attribute(self, which: str) -> int:
        return {"WARP_SIZE": 32, "MULTIPROCESSOR_COUNT": 1}.get(which, 0)

    # memory

    def allocate(self, nbytes: int) -> int:
        made = np.empty(nbytes + 64, np.uint8)
        start = -made.ctypes.data % 64
        self._held[made.ctypes.data + start] = made
        return made.ctypes.data + start

    def free(self, ptr: int) -> None:
        del self._held[ptr]

    def spoil(self, ptr: int, nbytes: int) -> None:
        """Fill memory that nobody may read before it is written to: NaN in floats."""
        ctypes.memset(ptr, 0xFF, nbytes)

    def upload(self, ptr: int, array: np.ndarray, stream: int = 0, wait: bool = True) -> None:
        ctypes.memmove(ptr, array.ctypes.data, array.nbytes)

    def download(self, array: np.ndarray, ptr: int, stream: int = 0, wait: bool = True) -> None:
        ctypes.memmove(array.ctypes.data, ptr, array.nbytes)

    def copy(self, to: int, source: int, nbytes: int, stream: int = 0) -> None:
        ctypes.memmove(to, source, nbytes)

    def clear(self, ptr: int, nbytes: int, stream: int = 0) -> None:
        ctypes.memset(ptr, 0, nbytes)

    def allocate_host(self, nbytes: int) -> int:
        ptr = self.allocate(nbytes)
        self._pinned[ptr] = nbytes
        return ptr

    def free_host(self, ptr: int) -> None:
        del self._pinned[ptr]
        self.free(ptr)

    def is_pinned(self, ptr: int) -> bool:
        return any(start <= ptr < start + size for start, size in list(self._pinned.items()))

    # streams and events

    @property
    def stream(self) -> int:
        return self._mine.stream

    @stream.setter
    def stream(self, stream: int) -> None:
        self._mine.stream = stream

    def synchronize(self, stream: int | None = None) -> None:
        """Everything has run already."""

    def make_stream(self, priority: int = 0) -> int:
        return next(self._handles)

    def priorities(self) -> tuple[int, int]:
        return 0, -5

    def finished(self, stream: int) -> bool:
        return True

    def make_event(self, timing: bool = False) -> int:
        return next(self._handles)

    def drop_event(self, event: int) -> None:
        self._times.pop(event, None)

    def record(self, event: int, stream: int) -> None:
        self._times[event] = time.perf_counter()

    def wait(self, stream: int, event: int) -> None:
        pass

    def reached(self, event: int) -> bool:
        return True

    def wait_for(self, event: int) -> None:
        pass

    def elapsed(self, start: int, end: int) -> float:
        return (self._times[end] - self._times[start]) * 1000

    # kernels

    def launcher(self, kernel, signature: tuple):
        """A function of (blocks, threads) that gives the launch."""
        def bind(blocks, threads):
            return lambda *args: launch(kernel.function, blocks, threads, [
                f(a) for f, a in zip(given, args, strict=True)])

        given = [_vector(s[0]) if type(s) is tuple else np.dtype(s).type for s in signature]
        return bind


def _vector(dtype):
    """A function of an array on the device: the vector a kernel is given, which wants this dtype."""
    def of(array) -> Vector:
        if array.dtype != dtype:
            raise TypeError(f"a kernel for {np.dtype(dtype)} is given {array.dtype}")
        return Vector(_host(array))

    return of


def _host(array) -> np.ndarray:
    """The memory of a vector as a NumPy array."""
    if array.size == 0:
        return np.empty(0, array.dtype)
    raw = (ctypes.c_char * array.nbytes).from_address(array.ptr)
    return np.frombuffer(raw, array.dtype)
