"""Diagonals and triangles of matrices."""

from __future__ import annotations

import numpy as np

from nbgrad import dtypes
from nbgrad.kernels.backend import Twins
from nbgrad.ops.apply import apply, apply_
from nbgrad.ops.dims import axis, whole
from nbgrad.ops.factory import place_of
from nbgrad.ops.op import Op, wrap
from nbgrad.ops.shape import diagonal, ravel
from nbgrad.ops.views import DIAGONAL, Embed
from nbgrad.tensor import Tensor

triangle, write = Twins("triangle").triangle, Twins("layouts").write


class DiagEmbed(Embed):
    """Zeros with the input on a diagonal."""

    name = "DiagEmbed"


class Triangle(Op):
    """The entries of (…, rows, columns) on one side of a diagonal, zeros elsewhere; its own adjoint."""

    def __init__(self, name: str, lower: bool) -> None:
        self.name, self.lower = name, lower
        super().__init__()

    def forward(self, x, k):
        return triangle(x, k, self.lower)

    def run_into(self, target, others, attrs) -> None:
        x = target._array()
        write(x, self.forward(x, *attrs))

    def backward(self, node, grad):
        return apply(self, (grad,), node.attrs)


DIAG_EMBED, TRIL, TRIU = DiagEmbed(), Triangle("Tril", True), Triangle("Triu", False)


def diag_embed(input: Tensor, offset: int = 0, dim1: int = -2, dim2: int = -1) -> Tensor:
    """Matrices over the axes `dim1` and `dim2` with the last axis of (…, n) on a diagonal."""
    a, b = axis(input, dim1, 1), axis(input, dim2, 1)
    if a == b:
        raise RuntimeError(f"diagonal dimensions cannot be identical {dim1}, {dim2}")
    k = whole(offset, "offset")
    *rest, n = input._layout.shape
    for d in sorted((a, b)):
        rest.insert(d, n + abs(k))
    return apply(DIAG_EMBED, (input,), (DIAGONAL, tuple(rest), (k, a, b)))


def diag(input: Tensor, diagonal: int = 0) -> Tensor:
    """The matrix with a vector (n,) on a diagonal, or a copy of the diagonal of (rows, columns)."""
    if input.dim() == 1:
        return diag_embed(input, diagonal)
    if input.dim() != 2:
        raise RuntimeError(f"diag(): Supports 1D or 2D tensors. Got {input.dim()}D")
    return _diagonal(input, diagonal).clone()


_diagonal = diagonal


def diagflat(input: Tensor, offset: int = 0) -> Tensor:
    """The matrix with all elements of the tensor on a diagonal."""
    return diag_embed(ravel(input), offset)


def trace(input: Tensor) -> Tensor:
    """The sum over the diagonal of (rows, columns)."""
    if input.dim() != 2:
        raise RuntimeError(f"trace: expected a matrix, but got tensor with dim {input.dim()}")
    if input.dtype is dtypes.bool_:
        raise NotImplementedError("\"trace\" not implemented for 'Bool'")
    return _diagonal(input).sum()


def _side(op: Triangle):
    name = op.label.removesuffix("_") if op.label else ""
    side = "below" if op.lower else "above"

    def check(input: Tensor, diagonal: int) -> tuple:
        if input.dim() < 2:
            raise RuntimeError(f"{name}: input tensor must have at least 2 dimensions")
        return (whole(diagonal, "diagonal"),)

    def function(input: Tensor, diagonal: int = 0) -> Tensor:
        return apply(op, (input,), check(input, diagonal))

    def function_(input: Tensor, diagonal: int = 0) -> Tensor:
        return apply_(op, input, (), check(input, diagonal))

    function.__name__, function_.__name__ = name, f"{name}_"
    function.__doc__ = (f"The entries of (…, rows, columns) on and {side} a diagonal, zeros "
                        "elsewhere.")
    function_.__doc__ = f"`{name}`, in place."
    return function, function_


tril, tril_ = _side(TRIL)
triu, triu_ = _side(TRIU)


def _indices(name: str, take):
    def function(row: int, col: int, offset: int = 0, *, dtype=dtypes.int64, layout=None,
                 device=None, pin_memory: bool = False) -> Tensor:
        place = place_of(device)
        row, col, offset = whole(row, "row"), whole(col, "col"), whole(offset, "offset")
        if row < 0 or col < 0:
            raise RuntimeError(f"{'row' if row < 0 else 'col'} must be non-negative, "
                               f"got{min(row, col)}")
        found = dtypes.as_dtype(dtype)
        if found not in (dtypes.int64, dtypes.int32):
            raise NotImplementedError(f"\"{name}\" not implemented for '{found.legacy}'")
        return wrap(np.stack(take(row, offset, col)).astype(found.np)).to(place)

    function.__name__ = name
    function.__doc__ = (f"Rows and columns (2, count) of the entries that `{name[:4]}` keeps of "
                        "(row, col).")
    return function


tril_indices = _indices("tril_indices", np.tril_indices)
triu_indices = _indices("triu_indices", np.triu_indices)

FUNCTIONS = {f.__name__: f for f in (diag, diag_embed, diagflat, trace, tril, triu)}
METHODS = {"tril_": tril_, "triu_": triu_}
PACKAGE_ONLY = {"tril_indices": tril_indices, "triu_indices": triu_indices}
