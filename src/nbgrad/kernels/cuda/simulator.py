"""A device that is none: memory of the host, kernels run thread by thread."""

import ctypes
import itertools
import threading
import time
from collections import defaultdict, deque
from collections.abc import Callable

import numpy as np

from nbgrad.kernels.cuda.array import refuse_host
from nbgrad.kernels.cuda.threads import Vector, launch


class _Thread(threading.local):
    stream = 0


class Simulator:
    """What driver.Driver does, without a GPU.

    Where it is `late`, a stream does its work only when someone waits for it, and no more than is
    waited for. So what forgets to wait reads memory that was not written to yet.
    """

    count = 1
    late = False

    def __init__(self) -> None:
        self._given: defaultdict[int, deque[Callable[[], object]]] = defaultdict(deque)
        self._points: dict[int, tuple[int, int]] = {}  # event: its stream, and the work before it
        self._counts: defaultdict[int, int] = defaultdict(int)  # stream: work that it was given
        self._lock = threading.RLock()
        self._held: dict[int, np.ndarray] = {}
        self._pinned: dict[int, int] = {}
        self._handles = itertools.count(16, 16)  # as addresses are: 1 and 2 name default streams
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
        made = np.full(nbytes + 64, 0xFF, np.uint8)
        start = -made.ctypes.data % 64
        self._held[made.ctypes.data + start] = made
        return made.ctypes.data + start

    def free(self, ptr: int) -> None:
        self.synchronize()
        del self._held[ptr]

    def spoil(self, ptr: int, nbytes: int) -> None:
        """Fill memory that nobody may read before it is written to: NaN in floats."""
        self._give(self.stream, lambda: ctypes.memset(ptr, 0xFF, nbytes))

    def upload(self, ptr: int, array: np.ndarray, stream: int = 0, wait: bool = True) -> None:
        start, nbytes = array.ctypes.data, array.nbytes
        late = self.late and not self.is_pinned(start)  # other memory the driver reads at once
        source = array.tobytes() if late else start
        self._give(stream, lambda: ctypes.memmove(ptr, source, nbytes))
        if wait:
            self.synchronize(stream)

    def download(self, array: np.ndarray, ptr: int, stream: int = 0, wait: bool = True) -> None:
        start, nbytes = array.ctypes.data, array.nbytes
        self._give(stream, lambda: ctypes.memmove(start, ptr, nbytes))
        if wait or not self.is_pinned(start):
            self.synchronize(stream)

    def copy(self, to: int, source: int, nbytes: int, stream: int = 0) -> None:
        self._give(stream, lambda: ctypes.memmove(to, source, nbytes))

    def clear(self, ptr: int, nbytes: int, stream: int = 0) -> None:
        self._give(stream, lambda: ctypes.memset(ptr, 0, nbytes))

    def allocate_host(self, nbytes: int) -> int:
        ptr = self.allocate(nbytes)
        self._pinned[ptr] = nbytes
        return ptr

    def free_host(self, ptr: int) -> None:
        self.free(ptr)
        del self._pinned[ptr]

    def is_pinned(self, ptr: int) -> bool:
        return any(start <= ptr < start + size for start, size in list(self._pinned.items()))

    # streams and events

    @property
    def stream(self) -> int:
        return self._mine.stream

    @stream.setter
    def stream(self, stream: int) -> None:
        self._mine.stream = stream

    def _give(self, stream: int, work: Callable[[], object]) -> None:
        """Let a stream do something, now or late."""
        with self._lock:
            if not self.late:
                work()
                return
            self._given[stream].append(work)
            self._counts[stream] += 1

    def _reach(self, stream: int, point: int) -> None:
        """Let a stream do what it was given up to a point, and what that waits for."""
        with self._lock:
            given = self._given[stream]
            while given and self._done(stream) < point:
                given.popleft()()

    def _done(self, stream: int) -> int:
        return self._counts[stream] - len(self._given[stream])

    def synchronize(self, stream: int | None = None) -> None:
        for which in list(self._given) if stream is None else [stream]:
            self._reach(which, self._counts[which])

    def make_stream(self, priority: int = 0) -> int:
        return next(self._handles)

    def priorities(self) -> tuple[int, int]:
        return 0, -5

    def finished(self, stream: int) -> bool:
        return not self._given[stream]

    def make_event(self, timing: bool = False) -> int:
        return next(self._handles)

    def drop_event(self, event: int) -> None:
        self._times.pop(event, None)
        self._points.pop(event, None)

    def record(self, event: int, stream: int) -> None:
        self._give(stream, lambda: self._times.__setitem__(event, time.perf_counter()))
        self._points[event] = stream, self._counts[stream]

    def wait(self, stream: int, event: int) -> None:
        if event in self._points:
            point = self._points[event]
            self._give(stream, lambda: self._reach(*point))

    def reached(self, event: int) -> bool:
        stream, point = self._points.get(event, (0, 0))
        return self._done(stream) >= point

    def wait_for(self, event: int) -> None:
        self._reach(*self._points.get(event, (0, 0)))

    def elapsed(self, start: int, end: int) -> float:
        return (self._times[end] - self._times[start]) * 1000

    # kernels

    def launcher(self, kernel, signature: tuple):
        """A function of (blocks, threads) that gives the launch."""
        def bind(blocks, threads):
            def run(*args) -> None:
                taken = [f(a) for f, a in zip(given, args, strict=True)]  # holds no memory
                self._give(self.stream, lambda: launch(kernel.function, blocks, threads, taken))

            return run

        given = [_vector(s[0]) if type(s) is tuple else np.dtype(s).type for s in signature]
        return bind


def _vector(dtype):
    """A function of an array on the device: the vector a kernel is given, which wants this dtype."""
    def of(array) -> Vector:
        refuse_host((array,))
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
