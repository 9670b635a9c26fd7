"""A device that is none: memory of the host, kernels run by Numba's simulator thread by thread."""

import ctypes

import numpy as np


class Simulator:
    """What driver.Driver does, without a GPU."""

    count = 1

    def check(self) -> None:
        """There is nothing that could be missing."""

    def name(self, index: int) -> str:
        return "Numba's CUDA simulator"

    def capability(self, index: int) -> tuple[int, int]:
        return (9, 0)

    def memory(self) -> tuple[int, int]:
        """Bytes free and in all."""
        return 1 << 33, 1 << 34

    # memory

    def allocate(self, nbytes: int) -> int:
        self._held = getattr(self, "_held", {})
        made = np.full(nbytes + 64, 0xFF, np.uint8)  # NaN in floats
        start = -made.ctypes.data % 64
        self._held[made.ctypes.data + start] = made
        return made.ctypes.data + start

    def free(self, ptr: int) -> None:
        del self._held[ptr]

    def upload(self, ptr: int, array: np.ndarray, stream: int = 0, wait: bool = True) -> None:
        ctypes.memmove(ptr, array.ctypes.data, array.nbytes)

    def download(self, array: np.ndarray, ptr: int, stream: int = 0, wait: bool = True) -> None:
        ctypes.memmove(array.ctypes.data, ptr, array.nbytes)

    def copy(self, to: int, source: int, nbytes: int, stream: int = 0) -> None:
        ctypes.memmove(to, source, nbytes)

    def clear(self, ptr: int, nbytes: int, stream: int = 0) -> None:
        ctypes.memset(ptr, 0, nbytes)

    def pinned(self, nbytes: int) -> np.ndarray:
        return np.empty(nbytes, np.uint8)

    # streams and events

    stream = 0  # the current one

    def synchronize(self, stream: int | None = None) -> None:
        """Everything has run already."""

    def make_stream(self, priority: int = 0) -> int:
        self._streams = getattr(self, "_streams", 0) + 1
        return self._streams

    def drop_stream(self, stream: int) -> None:
        pass

    def make_event(self, timing: bool = False) -> int:
        return self.make_stream()

    def drop_event(self, event: int) -> None:
        pass

    def record(self, event: int, stream: int) -> None:
        pass

    def wait(self, stream: int, event: int) -> None:
        pass

    def reached(self, event: int) -> bool:
        return True

    def wait_for(self, event: int) -> None:
        pass

    def elapsed(self, start: int, end: int) -> float:
        return 0.0

    # kernels

    def launcher(self, kernel, signature: tuple):
        """A function of (blocks, threads) that gives the launch."""
        found = kernel.dispatcher()
        kernel_of[kernel.function.__qualname__] = signature

        def bind(blocks, threads):
            def run(*args) -> None:
                from numba.cuda.simulator.cudadrv.devicearray import FakeCUDAArray
                with np.errstate(all="ignore"):
                    found[blocks, threads](*[
                        FakeCUDAArray(_host(a)) if hasattr(a, "fields") else k(a)
                        for a, k in zip(args, kinds)])

            return run

        kinds = [None if type(s) is tuple else np.int64 if "int" in str(s) else np.float64
                 for s in signature]
        return bind


#: the signature that each kernel was last launched with, for who checks that all compile
kernel_of: dict[str, tuple] = {}


def _host(array) -> np.ndarray:
    """The memory of a vector as a NumPy array."""
    if array.size == 0:
        return np.empty(0, array.dtype)
    raw = (ctypes.c_char * array.nbytes).from_address(array.ptr)
    return np.frombuffer(raw, array.dtype)
