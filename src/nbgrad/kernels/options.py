"""How CPU kernels are compiled: the only file that spells njit and its flags.

Nothing is compiled before its first call. `kernel` loops run on one thread, `parallel_kernel`
adds threads through `prange`, `inline` marks scalar helpers that kernels call.

Large work runs on all threads. Not in a forked child, which has its parent's threads in name only
and where GNU OpenMP ends the process; and one call at a time on Numba's workqueue, the layer of
machines without OpenMP, which ends the process when a second Python thread enters.
"""

import os
import threading
from contextlib import suppress
from functools import cache, partial
from typing import Any

import numba

from nbgrad import config
from nbgrad.kernels.cache import KernelCache
from nbgrad.kernels.helpers import helper

# A thread that waits for the others spins, by default for milliseconds: on a machine that is busy
# with other work that made a training step 20 times slower. Some ten microseconds are enough.
os.environ.setdefault("GOMP_SPINCOUNT", "10000")

prange = numba.prange

_settings: Any = numba.config
_most = _count = _settings.NUMBA_NUM_THREADS
_turn = threading.RLock()


class _Mine(threading.local):
    """The number that this Python thread was last given here; Numba keeps one for each."""

    count = _most


_mine = _Mine()

# No fastmath flags. nnan and ninf: NaN and infinities are data. reassoc and contract: the order of a
# sum, and which of two products is fused into it, would differ between loops, and so between one
# thread and two; kernels say both themselves (cpu/lanes, elementary.parts.fma).
# Nothing is called from C: without the wrappers for that, compiling takes a twentieth less time.
_flags = {"error_model": "numpy", "nogil": True, "no_cfunc_wrapper": True}
_jit: Any = partial(numba.njit, **_flags)


def _compile(function, **flags):
    dispatcher = _jit(**flags)(function)
    if config.CACHE_DIR is not None and os.path.exists(function.__code__.co_filename):
        with suppress(OSError):  # the kernel then lives in memory only
            dispatcher._cache = KernelCache(function, str(sorted(flags.items())), config.CACHE_DIR)
    return dispatcher


def kernel(function):
    """Compile a CPU kernel for one thread."""
    return _compile(function)


def parallel_kernel(function):
    """Compile a CPU kernel whose `prange` loops run on all threads."""
    return in_turn(_compile(function, parallel=True))


def in_turn(run):
    """A kernel that runs on all threads, one call at a time where threads must take turns."""

    def launch(*args):
        if not _takes_turns():
            return run(*args)
        with _turn:
            return run(*args)

    launch.kernel = run  # type: ignore[attr-defined]
    return launch


@cache
def _takes_turns() -> bool:
    numba.get_num_threads()  # the layer is chosen when the threads start
    return numba.threading_layer() == "workqueue"


def inline(function):
    """Compile a scalar helper that is folded into the kernels calling it, and never stored alone.

    Numba tells functions of one name apart by a number that counts up in each process. So helpers
    that a factory makes would meet under one symbol when kernels that two processes stored are
    loaded by a third, and the first one loaded would be called by both: these are never called.
    """
    return folded(function) if "<locals>" in function.__qualname__ else helper(function, **_flags)


def folded(function):
    """As `inline`, for functions of any size: what a loop calls must be folded in to vectorise."""
    return helper(function, forceinline=True, **_flags)


def use_threads(work: int) -> bool:
    """True when `work` (elements touched, or a comparable count) is worth more than one thread."""
    return work >= config.PARALLEL_THRESHOLD and get_num_threads() > 1


def set_num_threads(count: int) -> None:
    """Run parallel kernels on this many threads, at most the number the process started with.

    The number holds in every Python thread that was given none of its own through Numba. A forked
    child stays at one.

    Raises:
        RuntimeError: fewer than one thread.
    """
    global _count
    if count < 1:
        raise RuntimeError("set_num_threads expects a positive integer")
    _count = min(count, _most)
    if _most > 1:
        _mine.count = _count
        numba.set_num_threads(_count)


def get_num_threads() -> int:
    """The number of threads that parallel kernels run on."""
    if _most == 1:
        return 1
    own = numba.get_num_threads()
    if own == _mine.count != _count:
        own = _mine.count = _count
        numba.set_num_threads(own)
    return own


def _forked() -> None:
    global _most, _count
    _most = _count = 1


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forked)
