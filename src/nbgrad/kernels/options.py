"""How kernels are compiled: the only file that spells njit, cuda.jit and their flags.

Nothing is compiled before its first call. `kernel` loops run on one thread, `parallel_kernel`
adds threads through `prange`, `inline` marks scalar helpers that kernels call.
"""

import os
from contextlib import suppress
from typing import Any

import numba

from nbgrad import config
from nbgrad.kernels.cache import KernelCache

# A thread that waits for the others spins, by default for milliseconds: on a machine that is busy
# with other work that made a training step 20 times slower. Some ten microseconds are enough.
os.environ.setdefault("GOMP_SPINCOUNT", "10000")

# NaN and infinities are data: no set may ever hold nnan or ninf.
EXACT = frozenset({"contract"})
SUM = frozenset({"contract", "nsz", "reassoc"})

prange = numba.prange


def _compile(function, fastmath: frozenset, **flags):
    dispatcher = numba.njit(fastmath=set(fastmath), error_model="numpy", nogil=True, **flags)(function)
    if config.CACHE_DIR is not None and os.path.exists(function.__code__.co_filename):
        with suppress(OSError):  # the kernel then lives in memory only
            dispatcher._cache = KernelCache(
                function, f"{sorted(fastmath)}{sorted(flags.items())}", config.CACHE_DIR)
    return dispatcher


def kernel(function=None, *, fastmath: frozenset = EXACT):
    """Compile a CPU kernel for one thread."""
    if function is None:
        return lambda f: kernel(f, fastmath=fastmath)
    return _compile(function, fastmath)


def parallel_kernel(function=None, *, fastmath: frozenset = EXACT):
    """Compile a CPU kernel whose `prange` loops run on all threads."""
    if function is None:
        return lambda f: parallel_kernel(f, fastmath=fastmath)
    return _compile(function, fastmath, parallel=True)


def inline(function=None, *, fastmath: frozenset = EXACT):
    """Compile a scalar helper that is folded into the kernels calling it, and never stored alone."""
    if function is None:
        return lambda f: inline(f, fastmath=fastmath)
    return numba.njit(fastmath=set(fastmath), error_model="numpy", nogil=True)(function)


def folded(function):
    """As `inline`, for functions of any size: what a loop calls must be folded in to vectorise."""
    return numba.njit(fastmath=set(EXACT), error_model="numpy", nogil=True, forceinline=True)(function)


def use_threads(work: int) -> bool:
    """True when `work` (elements touched, or a comparable count) is worth more than one thread."""
    return work >= config.PARALLEL_THRESHOLD and numba.get_num_threads() > 1


def cuda_kernel(function):
    """Compile a CUDA kernel; the CUDA target is imported when the first one is made."""
    from numba import cuda

    return cuda.jit(function)


def set_num_threads(count: int) -> None:
    """Run parallel kernels on this many threads, at most the number the process started with.

    Raises:
        RuntimeError: fewer than one thread.
    """
    if count < 1:
        raise RuntimeError("set_num_threads expects a positive integer")
    most: Any = numba.config
    numba.set_num_threads(min(count, most.NUMBA_NUM_THREADS))


def get_num_threads() -> int:
    """The number of threads that parallel kernels run on."""
    return numba.get_num_threads()
