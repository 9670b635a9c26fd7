"""The p-norm over axes."""

from __future__ import annotations

import math

from nbgrad import dtypes
from nbgrad.dtypes import dtype as DType
from nbgrad.ops.apply import apply
from nbgrad.ops.dims import Dims
from nbgrad.ops.elementwise import OPS
from nbgrad.ops.reductions import Reduce, amax, amin, axes
from nbgrad.tensor import Tensor

NORMS = {1.0: Reduce("norm1", "Norm"), 2.0: Reduce("norm2", "LinalgVectorNorm"),
         0.0: Reduce("norm0", "Norm")}
NORM_P = Reduce("normp", "Norm")


def norm(input: Tensor, p: float | str | None = "fro", dim: Dims | None = None,
         keepdim: bool = False, dtype: DType | None = None) -> Tensor:
    """The p-norm over `dim`: (sum |x|^p)^(1/p); maximum for p = inf, count of nonzeros for 0."""
    for d in (input._layout.dtype, dtypes.as_dtype(dtype or input._layout.dtype)):
        if d.category < 2:
            raise RuntimeError(f"linalg.vector_norm: Expected a floating point or complex tensor as "
                               f"input. Got {d.legacy}")
    input = input if dtype is None else input.to(dtype)
    if isinstance(p, str) and p != "fro":
        raise RuntimeError(f"linalg.matrix_norm: Order {p} not supported.")
    order = 2.0 if p in ("fro", None) else float(p)
    reduced = axes(input, dim)
    if math.isinf(order) or order < 0:
        empty = [k for k in reduced if input._layout.shape[k] == 0]
        if empty:
            raise RuntimeError(f"linalg.vector_norm cannot compute the {order} norm on the dimension "
                               f"{empty[0]} because this dimension is empty and the operation does "
                               "not have an identity")
    if math.isinf(order):
        absolute = apply(OPS["abs"], (input,))
        return amax(absolute, reduced, keepdim) if order > 0 else amin(absolute, reduced, keepdim)
    op = NORMS.get(order)
    return apply(op, (input,), (reduced, keepdim)) if op else \
        apply(NORM_P, (input,), (reduced, keepdim, order))


FUNCTIONS = {"norm": norm}
