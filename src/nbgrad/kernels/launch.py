"""Launches: kernels called by their machine code, and the tables that keep them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numba import types
from numba.np.numpy_support import from_dtype

from nbgrad import config
from nbgrad.kernels.options import in_turn, use_threads

_MOST = 4096


def entry_point(kernel, *arguments) -> Callable[..., None]:
    """The machine code of a kernel, called without a look at the arguments' types.

    A third of the cost of a small op is Numba finding out what it was called with. Who keeps the
    launch in a table, by the layouts of its operands, knows that already.

    Args:
        arguments: for each argument of the kernel a pair (NumPy dtype, rank) of a C-contiguous,
            aligned, writable array, or a Numba type such as `types.int64`.

    A kernel that is plain Python, as under NUMBA_DISABLE_JIT, is given back as it is.
    """
    if hasattr(kernel, "kernel"):
        return in_turn(entry_point(kernel.kernel, *arguments))
    if not hasattr(kernel, "overloads"):
        return kernel
    signature = tuple([types.Array(from_dtype(np.dtype(a[0])), a[1], "C") if type(a) is tuple else a
                       for a in arguments])
    kernel.compile(signature)
    return kernel.overloads[signature].entry_point


def either(work: int, make: Callable[[bool], Callable]) -> Callable:
    """The serial launch; for large work, serial or parallel by the number of threads at the call.

    Args:
        work: as for `use_threads`.
        make: makes the parallel launch if given True, each at most once.
    """
    if work < config.PARALLEL_THRESHOLD:
        return make(False)
    launches: dict[bool, Callable] = {}

    def run(*args) -> None:
        parallel = use_threads(work)
        if parallel not in launches:
            launches[parallel] = make(parallel)
        launches[parallel](*args)

    return run


def remember(table: dict, key: Any, value: Any) -> Any:
    """Keep a value in a table, emptied first where it has grown too long; returns the value."""
    if len(table) >= _MOST:
        table.clear()
    table[key] = value
    return value
