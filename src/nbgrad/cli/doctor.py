"""What kernels run on here: a line each on the machine, the threads, the cache, and a gradient."""

from __future__ import annotations

import os
import platform
import re
import time
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import llvmlite
import numba
import numpy as np
from numba.core.registry import cpu_target

import nbgrad
from nbgrad import config
from nbgrad.kernels import cache, memory, options
from nbgrad.kernels.backend import machine
from nbgrad.kernels.cpu import simd
from nbgrad.ops import create

_TELLING = re.compile(r"\+((?:sse4\.2|avx|fma|f16c|amx|neon|sve|bf16)[^,]*)")


def run() -> int:
    """Print the report. A line that cannot be had says why."""
    for name, line in LINES.items():
        try:
            text = line()
        except Exception as error:
            text = f"error: {type(error).__name__}: {' '.join(str(error).split())}"
        print(f"{name:<14}{text}", flush=True)
    return 0


def _versions() -> str:
    return (f"nbgrad {nbgrad.__version__}, Python {platform.python_version()}, NumPy {np.__version__}, "
            f"Numba {numba.__version__}, llvmlite {llvmlite.__version__}")


def _system() -> str:
    return f"{platform.platform()}, {os.cpu_count()} processors"


def _cpu() -> str:
    _, name, features = cpu_target.target_context.codegen().magic_tuple()
    return " with ".join(filter(None, [name, ", ".join(_TELLING.findall(features))]))


def _vectors() -> str:
    settings: Any = numba.config
    if settings.DISABLE_JIT:
        return "off, by NUMBA_DISABLE_JIT"
    rows, columns = simd.tile_shape(np.float32)
    return f"{16 * columns} bits; matrix products by tiles of {rows} x {columns} float32"


def _threads() -> str:
    count = options.get_num_threads()
    if count == 1:
        return "one"
    layer = numba.threading_layer()
    turns = "; Python threads take turns, on OpenMP they would not" if layer == "workqueue" else ""
    return f"{count} on {layer}, for work of {config.PARALLEL_THRESHOLD} or more elements{turns}"


def _pool() -> str:
    if memory.LIMIT == 0:
        return "off, by NBGRAD_POOL_MB=0"
    return f"keeps up to {memory.LIMIT >> 20} MB of large blocks for the next tensor"


def _cuda() -> str:
    """The device, or what keeps one from being used, and what to do about it."""
    try:
        here = machine()
        here.check()
    except RuntimeError as error:
        return f"none, {_package()}: {error}"
    free, whole = (n / 2**30 for n in here.memory())
    major, minor = here.capability()
    return (f"{here.name()}, compute capability {major}.{minor}, {whole:.1f} GiB of which "
            f"{free:.1f} GiB are free, {_package()}")


def _package() -> str:
    try:
        found = f"numba-cuda {version('numba-cuda')}"
    except PackageNotFoundError:
        return "numba-cuda is not installed"
    if np.lib.NumpyVersion(np.__version__) >= "2.5.0":
        return f"{found} does not work with NumPy {np.__version__} (pip install 'numpy<2.5')"
    return found


def _gradient() -> str:
    start = time.perf_counter()
    values = np.arange(2.0 * config.PARALLEL_THRESHOLD)
    x = create.tensor(values, requires_grad=True)
    (x * x).sum().backward()
    right = x.grad is not None and np.array_equal(x.grad.numpy(), 2 * values)
    return f"{'right' if right else 'WRONG'}, after {time.perf_counter() - start:.2f} s"


def _cache() -> str:
    if config.CACHE_DIR is None:
        return ("none: no folder can be written, and every process compiles anew "
                "(NBGRAD_CACHE_DIR names another)")
    files = list(Path(config.CACHE_DIR, "compiled").glob("*.bin"))
    size = sum(file.stat().st_size for file in files) / 1e6
    found = cache.stats()
    sealed = "" if os.access(config.CACHE_DIR, os.W_OK) else ", read-only"
    return (f"{config.CACHE_DIR}: {len(files)} kernels, {size:.1f} MB{sealed}; this process found "
            f"{found['hits']} and compiled {found['misses']}")


LINES: dict[str, Callable[[], str]] = {
    "versions": _versions, "system": _system, "CPU": _cpu, "vectors": _vectors, "threads": _threads,
    "memory pool": _pool, "CUDA": _cuda, "gradient": _gradient, "kernel cache": _cache}
