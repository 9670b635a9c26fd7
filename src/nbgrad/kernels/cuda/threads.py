"""Kernels without a GPU: CUDA threads are coroutines, which take turns in one thread of the host.

What `cuda` means in a kernel is as in Numba's simulator. That has a thread of the host for each
thread of a block, which it polls until all meet: a hundred times slower.
"""

import contextvars
import sys
import threading
from collections import defaultdict
from itertools import product
from typing import Any

import numpy as np
from greenlet import getcurrent, greenlet
from numba.cuda.errors import normalize_kernel_dimensions
from numba.cuda.simulator.kernelapi import Dim3, FakeCUDAModule

_one_launch = threading.Lock()
#: all coroutines: where one ends, and other threads have some, greenlet 3.5 mixes up their frames
_kept: list[list[greenlet]] = []


class _Mine(threading.local):
    """The coroutines of a thread that have nothing to do."""

    def __init__(self) -> None:
        self.idle: list[greenlet] = []
        _kept.append(self.idle)


_mine = _Mine()


class Vector:
    """An array in a kernel: outside of it there is nothing to read or to write to."""

    __slots__ = ("data", "dtype", "size")

    def __init__(self, data: np.ndarray) -> None:
        self.data, self.dtype, self.size = data, data.dtype, data.size

    def __getitem__(self, i):
        if i < 0:
            raise IndexError(f"index {i} is negative")
        return self.data[i]

    def __setitem__(self, i, value) -> None:
        if i < 0:
            raise IndexError(f"index {i} is negative")
        self.data[i] = value


class Local:
    """Arrays of a thread, in which there is no number at first."""

    def array(self, size: int, dtype, alignment: int = 0) -> Vector:
        made = np.empty(size, dtype)
        made.view(np.uint8).fill(0xFF)
        return Vector(made)


class Shared(Local):
    """Arrays of a block: one for each place in a program that asks for one."""

    def __init__(self) -> None:
        self.made: dict[tuple, Vector] = {}

    def array(self, size: int, dtype, alignment: int = 0) -> Vector:
        caller = sys._getframe(1)
        place = caller.f_code, caller.f_lasti
        if place not in self.made:
            self.made[place] = super().array(size, dtype)
        return self.made[place]


class Module(FakeCUDAModule):
    """What kernels know as `cuda`, for the thread whose turn it is."""

    threadIdx: Any
    blockIdx: Any
    shared: Any
    given: dict[int, list]
    host: greenlet
    threadIdx = blockIdx = shared = None
    warpsize = 2
    local = Local()

    def __init__(self) -> None:
        super().__init__((1, 1, 1), (1, 1, 1), 0)

    def syncthreads(self) -> None:
        """Let the other threads of the block come to here."""
        self.host.switch(("block", _line()))

    def syncwarp(self, mask: int = 0) -> None:
        """Let the other threads of the warp come to here."""
        self.host.switch(("warp", _line()))

    def shfl_xor_sync(self, mask, value, lanes):
        """The value of the thread whose number in the warp differs by the bits `lanes`."""
        return self._given(value)[self.threadIdx.x % self.warpsize ^ lanes]

    def ballot_sync(self, mask, yes) -> int:
        """The threads of the warp for which it is so, as bits."""
        return sum(bool(y) << k for k, y in enumerate(self._given(yes)))

    def _given(self, value) -> list:
        """What each thread of the warp gives; kept for those that come to read it later."""
        me = self.threadIdx.x
        first, before = me - me % self.warpsize, len(self.given[me])
        self.given[me].append(value)
        self.syncwarp()
        return [self.given[k][before] for k in range(first, first + self.warpsize) if k in self.given]


def _line() -> int:
    """Where the kernel is."""
    frame: Any = sys._getframe(2)
    while frame.f_back.f_code is not _work.__code__:
        frame = frame.f_back
    return frame.f_lineno


cuda = Module()


def launch(kernel, blocks, threads, args: list) -> None:
    """Run a kernel: (blocks, threads) are numbers, or tuples of up to three."""
    grid, block = normalize_kernel_dimensions(blocks, threads)
    points = _points(block)
    idle = _mine.idle
    with _one_launch, np.errstate(all="ignore"):
        cuda.gridDim, cuda.blockDim, cuda.host = Dim3(*grid), Dim3(*block), getcurrent()
        for cuda.blockIdx in _points(grid):
            cuda.shared, cuda.given = Shared(), defaultdict(list)
            try:
                _run(kernel, args, points, idle)
            except Exception as error:
                error.add_note(f"in {kernel.__name__}, block {cuda.blockIdx}, thread {cuda.threadIdx}")
                raise


def _points(shape) -> list[Dim3]:
    """All places, the first axis moving fastest."""
    return [Dim3(*place[::-1]) for place in product(*map(range, shape[::-1]))]


def _run(kernel, args: list, points: list[Dim3], idle: list[greenlet]) -> None:
    """Run the threads of a block until they meet, then on, the last one first: so races show."""
    stops: list[tuple | None] = [None] * len(points)
    begun: dict[int, greenlet] = {}
    ready, turn = range(len(points)), 1
    try:
        while ready:
            for k in ready[::turn]:
                cuda.threadIdx = points[k]
                coroutine = begun.pop(k, None) or (idle.pop() if idle else _coroutine())
                stops[k] = coroutine.switch(kernel, args)
                if stops[k]:
                    begun[k] = coroutine
                else:
                    idle.append(coroutine)
            ready, turn = _met(stops), -turn
    except Exception:
        _kept.append([*begun.values()])
        raise


def _met(stops: list):
    """The threads that may go on: all of them or whole warps, which came to the same place."""
    if len(set(stops)) == 1:
        return range(len(stops) if stops[0] else 0)
    warps = [range(k, min(k + cuda.warpsize, len(stops))) for k in range(0, len(stops), cuda.warpsize)]
    found = [k for warp in warps for k in warp
             if stops[k] and stops[k][0] == "warp" and len({stops[j] for j in warp}) == 1]
    if not found:
        raise RuntimeError("threads of a block do not meet: they are at " + ", ".join(
            f"line {stop[1]}" if stop else "the end" for stop in stops))
    return found


def _coroutine() -> greenlet:
    made = greenlet(_work)
    made.gr_context = contextvars.copy_context()
    return made


def _work(kernel, args) -> None:
    """Run one kernel after the other, as the host says; it takes 8 us to make a coroutine."""
    while True:
        kernel(*args)
        kernel, args = cuda.host.switch()
