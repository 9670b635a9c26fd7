"""Tensors of numbers in a row, and the identity matrix."""

from __future__ import annotations

import math
import warnings

import numpy as np

from nbgrad import dtypes
from nbgrad.dtypes import dtype as DType
from nbgrad.ops.dims import whole
from nbgrad.ops.factory import default, factory
from nbgrad.ops.family import number, users_line
from nbgrad.ops.op import wrap
from nbgrad.tensor import Tensor


def _numbers(name: str, *values) -> list:
    """Python numbers from numbers and 0-dim tensors."""
    found = []
    for v in values:
        if isinstance(v, Tensor) and v._layout.shape:
            raise RuntimeError(f"{name} only supports 0-dimensional start and end tensors, but got one "
                               f"with {v.dim()} dimension(s).")
        n = v.item() if isinstance(v, Tensor) else number(v)
        if n is None:
            raise TypeError(f"{name}() received an invalid combination of arguments: expected "
                            f"numbers, got {type(v).__name__}")
        found.append(n)
    return found


def _check_span(start, end, step) -> None:
    if step == 0:
        raise RuntimeError("step must be nonzero")
    if not (math.isfinite(start) and math.isfinite(end)):
        raise RuntimeError(f"unsupported range: {start} -> {end}")
    if (end - start) * step < 0:
        raise RuntimeError("upper bound and lower bound inconsistent with step sign")


def _steps(start, step, count: int, dtype: DType) -> Tensor:
    exact = all(isinstance(v, int) for v in (start, step))
    values = np.arange(count, dtype=np.int64 if exact else np.float64)
    values = start + step * values if (start, step) != (0, 1) else values
    return wrap(values.astype(dtype.np, copy=False))


@factory
def arange(start=None, end=None, step=1, *, dtype=None) -> Tensor:
    """`start`, `start + step`, … below `end`; ints where all three are ints."""
    if start is None or end is None:
        start, end = 0, start if end is None else end
    start, end, step = _numbers("arange", start, end, step)
    ints = all(isinstance(v, int) for v in (start, end, step))
    found = dtype or (dtypes.int64 if ints else dtypes.get_default_dtype())
    if found is dtypes.bool_:
        raise NotImplementedError("\"arange_cpu\" not implemented for 'Bool'")
    _check_span(start, end, step)
    if found.category == 1 and not ints:
        start, end, step = int(start), int(end), int(step)
        _check_span(start, end, step)
        ints = True
    count = -(-(end - start) // step) if ints else math.ceil((end - start) / step)
    return _steps(start, step, count, found)


@factory
def range(start=0, end=None, step=1, *, dtype=None) -> Tensor:
    """`start`, `start + step`, … up to `end`, which is included (deprecated: use arange)."""
    warnings.warn("torch.range is deprecated and will be removed in a future release because its "
                  "behavior is inconsistent with Python's range builtin. Instead, use torch.arange, "
                  "which produces values in [start, end).", UserWarning, stacklevel=users_line())
    if end is None:
        start, end = 0, start
    start, end, step = _numbers("range", start, end, step)
    _check_span(start, end, step)
    return _steps(start, step, math.floor((end - start) / step) + 1, default(dtype))


def _spaced(name: str, start, end, steps) -> np.ndarray:
    start, end = _numbers(name, start, end)
    count = whole(steps, "steps")
    if count < 0:
        raise RuntimeError("number of steps must be non-negative")
    return np.linspace(start, end, count, dtype=np.float64)


@factory
def linspace(start, end, steps: int, *, dtype=None) -> Tensor:
    """`steps` numbers from `start` to `end`, both included."""
    return wrap(_spaced("linspace", start, end, steps).astype(default(dtype).np))


@factory
def logspace(start, end, steps: int, base: float = 10.0, *, dtype=None) -> Tensor:
    """`base` to the powers of `steps` numbers from `start` to `end`, both included."""
    return wrap(np.power(float(base), _spaced("logspace", start, end, steps)).astype(default(dtype).np))


@factory
def eye(n: int, m: int | None = None, *, dtype=None) -> Tensor:
    """Ones on the diagonal of n rows and m columns, zeros elsewhere."""
    rows = whole(n, "n")
    columns = rows if m is None else whole(m, "m")
    for name, value in (("n", rows), ("m", columns)):
        if value < 0:
            raise RuntimeError(f"{name} must be greater or equal to 0, got {value}")
    return wrap(np.eye(rows, columns, dtype=default(dtype).np))


PACKAGE_ONLY = {f.__name__: f for f in (arange, range, linspace, logspace, eye)}
