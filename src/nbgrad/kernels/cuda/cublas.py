"""Matrix products by NVIDIA's cuBLAS through nvmath-python, where the user prefers it.

float32 is multiplied as float32, never as TF32; 16-bit floats are added up in float32 throughout.
cuBLAS gives the same bits in every run if no handle serves two streams.
"""

from __future__ import annotations

import ctypes
import threading
from collections import defaultdict
from collections.abc import Callable
from typing import Any, NamedTuple

from nbgrad.kernels.cuda import memory
from nbgrad.kernels.cuda.array import DeviceArray
from nbgrad.kernels.cuda.layouts import contiguous
from nbgrad.kernels.cuda.provider import machine

#: cudaDataType, cublasComputeType_t, and 0 and 1 of the type that alpha and beta then have
_TYPES: dict[str, tuple[int, int, Any]] = {
    "float32": (0, 68, (ctypes.c_float * 2)(0, 1)),  # CUDA_R_32F, CUBLAS_COMPUTE_32F
    "float64": (1, 70, (ctypes.c_double * 2)(0, 1)),  # CUDA_R_64F, CUBLAS_COMPUTE_64F
    "float16": (2, 68, (ctypes.c_float * 2)(0, 1)),  # CUDA_R_16F
    "bfloat16": (14, 68, (ctypes.c_float * 2)(0, 1)),  # CUDA_R_16BF
}
_FULL_SUMS = 16  # CUBLAS_MATH_DISALLOW_REDUCED_PRECISION_REDUCTION, beside CUBLAS_DEFAULT_MATH
_ANY = -1  # CUBLAS_GEMM_DEFAULT: the algorithm is cuBLAS's choice


def bindings() -> Any:
    """cuBLAS as nvmath-python binds it; RuntimeError says what is missing."""
    try:
        from nvmath.bindings import cublas
    except ImportError as error:
        raise RuntimeError("cuBLAS needs nvmath-python: pip install 'nbgrad[cublas]' "
                           f"({error})") from None
    return cublas


# Handles

_idle: defaultdict[int, list[int]] = defaultdict(list)


class _Handles(dict):
    """A thread's handles by stream; a later thread takes over those of one that has ended."""

    def __missing__(self, stream: int) -> int:
        try:
            self[stream] = _idle[stream].pop()
        except IndexError:
            self[stream] = _opened(stream)
        return self[stream]

    def __del__(self, idle=_idle) -> None:
        for stream, handle in self.items():
            idle[stream].append(handle)


class _Thread(threading.local):
    def __init__(self) -> None:
        self.handles = _Handles()


_mine = _Thread()


def _opened(stream: int) -> int:
    """A handle with a workspace of its own, for one stream."""
    api = bindings()
    try:
        handle = api.create()
    except api.cuBLASError:  # what nbgrad keeps for later may be the memory that is missing
        memory.empty_cache()
        handle = api.create()
    api.set_stream(handle, stream)
    api.set_math_mode(handle, _FULL_SUMS)
    return handle


# Products


class _Operand(NamedTuple):
    """An operand as cuBLAS reads it: from `at`, `across` from one line, or column, to the next."""

    lines: bool  # whether the entries of a line lie side by side; else those of a column do
    across: int
    step: int  # from one matrix of a stack to the next
    at: int
    read: Callable[[DeviceArray], DeviceArray]


def _operand(own, sizes: list[int], count: int, k: int) -> _Operand:
    """How `count` lines of length k are read: where they lie, or from a copy."""
    whole = own.stack[-1]
    if all(s == n * t for s, n, t in zip(own.stack, sizes[1:], own.stack[1:])):
        if own.stride == 1 and (count == 1 or own.step >= k):
            return _Operand(True, max(own.step, k), whole, own.offset, lambda x: x)
        if own.step == 1 and (k == 1 or own.stride >= count):
            return _Operand(False, max(own.stride, count), whole, own.offset, lambda x: x)
    shape, strides = (*sizes, count, k), (*own.stack, own.step, own.stride)
    return _Operand(True, k, count * k, 0,
                    lambda x: contiguous(x.window(shape, strides, own.offset)))


def launch(p, fill: Callable | None) -> Callable[..., None]:
    """`run(out, a, b)` for a kernels.matmul._Product; with a bias `run(bias, out, a, b)`.

    Args:
        fill: with a bias, `fill(bias, out, a, b)`, which writes it into every row of the output.
    """
    api, count, m, n, k = bindings(), p.matrices, p.m, p.n, p.k
    a, b = _operand(p.a, p.sizes, m, k), _operand(p.b, p.sizes, n, k)
    kind, compute, numbers = _TYPES[p.dtype.name]
    zero = ctypes.addressof(numbers)
    one = zero + ctypes.sizeof(numbers) // 2
    beta = zero if fill is None else one
    # Rows of C are columns of its transpose B' A', and cuBLAS counts by columns. Lines of B are its
    # columns, so they are the rows of B'; those of A are the columns of A'.
    tb, ta = int(b.lines), int(not a.lines)
    itemsize = p.dtype.itemsize

    def run(out: DeviceArray, x: DeviceArray, y: DeviceArray) -> None:
        x, y = a.read(x), b.read(y)
        first, second = y.ptr + b.at * itemsize, x.ptr + a.at * itemsize
        handle = _mine.handles[machine.stream]
        if count == 1:
            api.gemm_ex_64(handle, tb, ta, n, m, k, one, first, kind, b.across, second, kind, a.across,
                           beta, out.ptr, kind, n, compute, _ANY)
        else:
            api.gemm_strided_batched_ex_64(
                handle, tb, ta, n, m, k, one, first, kind, b.across, b.step, second, kind, a.across,
                a.step, beta, out.ptr, kind, n, m * n, count, compute, _ANY)

    def biased(bias: DeviceArray, out: DeviceArray, x: DeviceArray, y: DeviceArray) -> None:
        fill(bias, out, x, y)  # type: ignore[misc]
        run(out, x, y)

    return biased if fill else run
