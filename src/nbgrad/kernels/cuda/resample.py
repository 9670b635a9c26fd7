"""Weighted sums of a few entries along an axis, on a CUDA device; as kernels/cpu/resample."""

import math
from functools import lru_cache

import numpy as np

from nbgrad.kernels.cuda.launch import launch
from nbgrad.kernels.cuda.layouts import contiguous
from nbgrad.kernels.cuda.memory import empty, upload
from nbgrad.kernels.cuda.provider import cuda, kernel

_I32 = np.dtype(np.int32)


@kernel
def _gather(x, places, weights, y, taps, length, results, inner):
    # y (outer, results, inner), x (outer, length, inner), places and weights (taps, results)
    for i in range(cuda.grid(1), y.size, cuda.gridsize(1)):
        line = i // inner
        outer = line // results
        r = line - outer * results
        base = outer * length * inner + i - line * inner
        total = x.dtype.type(0)
        for t in range(r, taps * results, results):
            p = places[t]
            if p >= 0:
                total += weights[t] * x[base + p * inner]
        y[i] = total


@lru_cache(256)
def _tables(places: bytes, weights: bytes, dtype):
    return (upload(np.frombuffer(places, np.int64).astype(np.int32)),
            upload(np.frombuffer(weights).astype(dtype)))


def gather(x, axis, table):
    """Along `axis`, the sums over t of weights[t, i] * x[places[t, i]]; a place of -1 is none.

    Args:
        table: with `places` and `weights`, arrays (taps, results) of the host.
    """
    places, weights = table.places, table.weights
    taps, results = places.shape
    out = empty((*x.shape[:axis], results, *x.shape[axis + 1:]), x.dtype)
    if out.size:
        run = launch(_gather, out.size, (x.dtype, _I32, x.dtype, x.dtype), ("int64",) * 4)
        tables = _tables(np.asarray(places, np.int64).tobytes(), weights.tobytes(), x.dtype)
        run(contiguous(x).reshape(-1), *tables, out.reshape(-1), taps, x.shape[axis], results,
            math.prod(x.shape[axis + 1:]))
    return out
