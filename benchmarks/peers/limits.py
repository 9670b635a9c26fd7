"""What the machine could do: arithmetic and memory traffic a second, measured on the spot."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from time import perf_counter
from typing import Any

import llvmlite.binding as llvm
import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from nbgrad.kernels.options import kernel

TRIALS, STEPS, FLOATS = 20, 1_000_000, 32 * 2**20

#: Enough independent sums to hide the latency of an FMA, few enough for sixteen registers.
CHAINS, LANES = 12, 16 if llvm.get_host_cpu_features().get("avx512f") else 8


@intrinsic
def multiply_add(typingctx, steps, factor):
    """Vectors of sums, each multiplied by `factor` and added to, so many times."""
    def codegen(context, builder, sig, args):
        vector = ir.VectorType(ir.FloatType(), LANES)
        lane = ir.IntType(32)

        def splat(x):
            made = vector(ir.Undefined)
            for k in range(LANES):
                made = builder.insert_element(made, x, lane(k))
            return made

        x, one = splat(args[1]), vector([1.0] * LANES)
        sums = [cgutils.alloca_once_value(builder, vector([float(k)] * LANES))
                for k in range(CHAINS)]
        with cgutils.for_range(builder, args[0]):
            for place in sums:
                product = builder.fmul(builder.load(place), x, flags=("contract",))
                builder.store(builder.fadd(product, one, flags=("contract",)), place)
        total = builder.load(sums[0])
        for place in sums[1:]:
            total = builder.fadd(total, builder.load(place))
        return builder.extract_element(total, lane(0))

    return types.float32(types.int64, types.float32), codegen


@kernel
def chains(steps, factor):
    return multiply_add(steps, factor)


@kernel
def update(a, b, s):
    for i in range(a.size):
        a[i] += s * b[i]


def measure(threads: int) -> dict[str, float]:
    """FLOP/s of fused multiply-adds, and bytes/s of copying or adding, the best of some trials."""
    a, b = (np.ones(FLOATS, np.float32) for _ in range(2))
    parts = [slice(k * FLOATS // threads, (k + 1) * FLOATS // threads) for k in range(threads)]
    half, tiny = np.float32(0.5), np.float32(1e-6)

    with ThreadPoolExecutor(threads, initializer=_on_any_core) as pool:
        def best(task: Callable[[slice], Any]) -> float:
            return min(_seconds(pool, task, parts) for _ in range(TRIALS))

        flops = 2 * CHAINS * LANES * STEPS * threads / best(lambda _: chains(STEPS, half))
        copied = 2 * a.nbytes / best(lambda part: np.copyto(a[part], b[part]))
        added = 3 * a.nbytes / best(lambda part: update(a[part], b[part], tiny))
    return {"flops": flops, "bandwidth": max(copied, added)}


def _on_any_core() -> None:
    """Free this thread from the core that its maker is bound to."""
    if hasattr(os, "sched_setaffinity"):
        with suppress(OSError):
            os.sched_setaffinity(0, range(os.cpu_count() or 1))


def _seconds(pool: ThreadPoolExecutor, task: Callable[[slice], Any], parts: list[slice]) -> float:
    start = perf_counter()
    list(pool.map(task, parts))
    return perf_counter() - start
