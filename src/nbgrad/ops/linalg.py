"""Norms and products of vectors and matrices."""

from __future__ import annotations

import math
import warnings
from itertools import pairwise

import numpy as np

from nbgrad.kernels.layout import broadcast_shapes
from nbgrad.ops import decompose, reductions, solve
from nbgrad.ops.create import beside
from nbgrad.ops.decompose import svdvals
from nbgrad.ops.dims import Sizes, axis
from nbgrad.ops.family import expect_tensor, users_line
from nbgrad.ops.index import index_select
from nbgrad.ops.matmul import matmul
from nbgrad.ops.shape import cat, expand, movedim, squeeze, unsqueeze
from nbgrad.ops.shape import diagonal as _diagonal
from nbgrad.ops.solve import expect_square, inv, refuse_half
from nbgrad.ops.vector_norm import norm as reduce_norm
from nbgrad.tensor import Tensor

INF = math.inf


def _float(name: str, t: Tensor, dtype=None) -> Tensor:
    """A floating point tensor, as `dtype` where that is wide enough."""
    own = t._layout.dtype
    if own.category != 2:
        raise RuntimeError(f"{name}: Expected a floating point or complex tensor as input. Got "
                           f"{own.legacy}")
    if dtype is None or dtype is own:
        return t
    if dtype.category != 2:
        raise RuntimeError(f"{name}: dtype should be floating point or complex, but got "
                           f"{dtype.legacy}")
    if dtype.itemsize < own.itemsize:
        raise RuntimeError(f"{name}: the dtype of the input ({own.legacy}) should be convertible "
                           f"without narrowing to the specified dtype ({dtype.legacy})")
    return t.to(dtype)


def vector_norm(x: Tensor, ord: float = 2, dim=None, keepdim: bool = False, *,
                dtype=None) -> Tensor:
    """(sum |x|^ord)^(1 / ord) over `dim`, all axes where None; inf: the largest, 0: how many."""
    if isinstance(ord, str):
        raise TypeError("linalg_vector_norm(): argument 'ord' (position 2) must be Number, not str")
    return reduce_norm(_float("linalg.vector_norm", x, dtype), ord, dim, keepdim)


def matrix_norm(A: Tensor, ord="fro", dim: Sizes = (-2, -1), keepdim: bool = False, *,
                dtype=None) -> Tensor:
    """A norm of matrices, which lie along the two axes `dim`.

    Args:
        ord: "fro" (of all entries), "nuc" (the sum of singular values), 2 and -2 (the largest and
            the smallest), inf and -inf (of the rows' sums of |x|), 1 and -1 (the columns').
    """
    if A.dim() < 2:
        raise RuntimeError("linalg.matrix_norm: The input tensor A must have at least 2 dimensions.")
    if isinstance(dim, int):
        raise TypeError("linalg_matrix_norm() received an invalid combination of arguments: dim must "
                        "be a tuple of two ints")
    if len(dim) != 2:
        raise RuntimeError(f"linalg.matrix_norm: dim must be a 2-tuple. Got {len(dim)}")
    A = _float("linalg.matrix_norm", A, dtype)
    rows, columns = axis(A, dim[0]), axis(A, dim[1])
    if rows == columns:
        raise RuntimeError(f"linalg.matrix_norm: dims must be different. Got {tuple(dim)}")
    if ord == "fro":
        return reduce_norm(A, 2, (rows, columns), keepdim)
    if ord == "nuc" or (not isinstance(ord, str) and abs(ord) == 2):
        refuse_half("linalg.matrix_norm", A)
        s = svdvals(movedim(A, (rows, columns), (-2, -1)))
        found = s.sum(-1) if ord == "nuc" else _extreme(s, -1, ord > 0)
        if not keepdim:
            return found
        for d in sorted((rows, columns)):
            found = unsqueeze(found, d)
        return found
    if isinstance(ord, str) or abs(ord) not in (1, INF):
        raise RuntimeError(f"linalg.matrix_norm: Order {ord} not supported.")
    summed, other = (rows, columns) if abs(ord) == 1 else (columns, rows)
    sums = reduce_norm(A, 1, summed, True)
    found = _extreme(sums, other, ord > 0, True)
    return found if keepdim else squeeze(found, (rows, columns))


def _extreme(t: Tensor, dim: int, largest: bool, keepdim: bool = False) -> Tensor:
    """The largest or smallest along `dim`; the largest of none is 0."""
    if largest and t._layout.shape[dim] == 0:
        return t.sum(dim, keepdim)
    return (reductions.amax if largest else reductions.amin)(t, dim, keepdim)


def norm(A: Tensor, ord=None, dim=None, keepdim: bool = False, *, dtype=None) -> Tensor:
    """`vector_norm`, or `matrix_norm` of two axes where an `ord` is given.

    Args:
        ord: of the norm; the 2-norm of all entries where None.
        dim: the axes; where None and an `ord` is given, `A` must be a vector or a matrix.
    """
    axes = None if dim is None else (dim,) if isinstance(dim, int) else tuple(dim)
    if axes is not None and len(axes) not in (1, 2):
        raise RuntimeError("linalg.norm: If dim is specified, it must be of length 1 or 2. Got "
                           f"{list(axes)}")
    if ord is not None and axes is None and A.dim() not in (1, 2):
        raise RuntimeError("linalg.norm: If dim is not specified but ord is, the input must be 1D or "
                           f"2D. Got {A.dim()}D.")
    if isinstance(ord, str) or (ord is not None and (len(axes) if axes else A.dim()) == 2):
        return matrix_norm(A, ord, axes or (-2, -1), keepdim, dtype=dtype)
    A = _float("linalg.vector_norm", A, dtype)
    return reduce_norm(A, 2 if ord is None else ord, axes, keepdim)


def cond(A: Tensor, p=None) -> Tensor:
    """The condition number: the norm of A times that of its inverse, by default the 2-norm."""
    if p is None or p in (2, -2):
        s = svdvals(A)
        small, large = s[..., -1], s[..., 0]
        return small / large if p == -2 else large / small
    expect_square(f"linalg.cond(ord={p})", A=A)
    return matrix_norm(A, p) * matrix_norm(inv(A), p)


def vecdot(x: Tensor, y: Tensor, *, dim: int = -1) -> Tensor:
    """The sum of x * y along `dim`."""
    a, b = x._layout, y._layout
    if a.dtype.category != 2:
        raise RuntimeError("linalg.vecdot: Expected a floating point or complex tensor as input. Got "
                           f"{a.dtype.legacy}")
    if a.dtype is not b.dtype:
        raise RuntimeError("linalg.vecdot: Expected x and y to have the same dtype, but found x of "
                           f"type {a.dtype.legacy} and y of type {b.dtype.legacy} instead")
    return (x * y).sum(dim)


def _cross(x: Tensor, y: Tensor, d: int) -> Tensor:
    if x._layout.dtype.category == 0:
        raise NotImplementedError("\"cross\" not implemented for 'Bool'")
    if x._layout.dtype is not y._layout.dtype:
        raise RuntimeError(f"expected scalar type {x._layout.dtype.legacy} but found "
                           f"{y._layout.dtype.legacy}")
    first, second = [beside(x, np.array(order)) for order in ((1, 2, 0), (2, 0, 1))]
    return (index_select(x, d, first) * index_select(y, d, second)
            - index_select(x, d, second) * index_select(y, d, first))


def linalg_cross(input: Tensor, other: Tensor, *, dim: int = -1) -> Tensor:
    """The cross product of vectors of length 3 along `dim`."""
    if input.dim() != other.dim():
        raise RuntimeError("linalg.cross: inputs must have the same number of dimensions.")
    m, n = [t.size(axis(t, dim)) if t.dim() else 1 for t in (input, other)]
    if m != 3 or n != 3:
        raise RuntimeError(f"linalg.cross: inputs dimension {dim} must have length 3. Got {m} and {n}")
    shape = broadcast_shapes(input._layout.shape, other._layout.shape)
    if shape is None:
        raise RuntimeError(f"The size of tensor a {list(input._layout.shape)} must match the size of "
                           f"tensor b {list(other._layout.shape)}")
    return _cross(expand(input, shape), expand(other, shape), axis(input, dim))


def cross(input: Tensor, other: Tensor, dim: int | None = None) -> Tensor:
    """The cross product of vectors of length 3 along `dim`, the first axis of size 3 where None."""
    if dim is None:
        shape = input._layout.shape
        if 3 not in shape:
            raise RuntimeError("no dimension of size 3 in input")
        warnings.warn("Using torch.cross without specifying the dim arg is deprecated.\nPlease "
                      "either pass the dim explicitly or simply use torch.linalg.cross.",
                      UserWarning, stacklevel=users_line())
        dim = shape.index(3)
    return linalg_cross(input, other, dim=dim)


def diagonal(A: Tensor, *, offset: int = 0, dim1: int = -2, dim2: int = -1) -> Tensor:
    """The diagonals of matrices, by default of the last two axes, as the last axis."""
    return _diagonal(A, offset, dim1, dim2)


def multi_dot(tensors) -> Tensor:
    """The product of several matrices, in the order that takes the fewest multiplications.

    Args:
        tensors: matrices; the first and the last may be vectors, a row and a column.
    """
    given = list(tensors)
    if len(given) < 2:
        raise RuntimeError(f"multi_dot(): expected at least 2 tensors but got {len(given)}")
    expect_tensor("multi_dot", **{f"tensors[{k}]": t for k, t in enumerate(given)})
    for k, t in enumerate(given):
        ends = k in (0, len(given) - 1)
        if t.dim() not in ((1, 2) if ends else (2,)):
            which = "the first tensor" if k == 0 else "the last tensor" if ends else f"tensor {k}"
            raise RuntimeError(f"multi_dot(): {which} must be {'1D or ' if ends else ''}2D but got "
                               f"{t.dim()}D")
        if t._layout.dtype is not given[0]._layout.dtype:
            raise RuntimeError("multi_dot(): all tensors must have be the same dtype but tensor 0 is "
                               f"{given[0]._layout.dtype.name} and tensor {k} "
                               f"{t._layout.dtype.name}")
    row, column = given[0].dim() == 1, given[-1].dim() == 1
    parts = list(given)
    parts[0] = unsqueeze(parts[0], 0) if row else parts[0]
    parts[-1] = unsqueeze(parts[-1], 1) if column else parts[-1]
    for k, (a, b) in enumerate(pairwise(parts)):
        if a._layout.shape[1] != b._layout.shape[0]:
            raise RuntimeError(f"multi_dot(): tensors {k} and {k + 1} with shapes "
                               f"{list(given[k]._layout.shape)} and "
                               f"{list(given[k + 1]._layout.shape)} cannot be multiplied")
    product = _chain(parts, _splits([p._layout.shape[0] for p in parts]
                                    + [parts[-1]._layout.shape[1]]), 0, len(parts) - 1)
    product = squeeze(product, -1) if column else product
    return squeeze(product, 0) if row else product


def _splits(sizes: list[int]) -> dict[tuple[int, int], int]:
    """Where to part every run of matrices of these sizes, by dynamic programming."""
    n = len(sizes) - 1
    cost = {(i, i): 0 for i in range(n)}
    best = {}
    for length in range(1, n):
        for i in range(n - length):
            j = i + length
            cost[i, j], best[i, j] = min(
                (cost[i, k] + cost[k + 1, j] + sizes[i] * sizes[k + 1] * sizes[j + 1], k)
                for k in range(i, j))
    return best


def _chain(parts: list[Tensor], best: dict, i: int, j: int) -> Tensor:
    if i == j:
        return parts[i]
    k = best[i, j]
    return matmul(_chain(parts, best, i, k), _chain(parts, best, k + 1, j))


def chain_matmul(*matrices: Tensor) -> Tensor:
    """`linalg.multi_dot` of matrices given one by one."""
    expect_tensor("chain_matmul", **{f"matrices[{k}]": t for k, t in enumerate(matrices)})
    for t in matrices:
        if t.dim() != 2:
            raise RuntimeError(f"Tensor dimension is {t.dim()}, expected 2 instead.")
    return matrices[0] if len(matrices) == 1 else multi_dot(matrices)


def vander(x: Tensor, *, N: int | None = None) -> Tensor:
    """Powers 0 to N - 1 of every entry of vectors (..., n): (..., n, N)."""
    own = x._layout.dtype
    if own.category == 0 or own.half:
        raise RuntimeError("linalg.vander supports floating point, complex, and integer tensors, but "
                           f"got {own.legacy}")
    n = N if N is not None else x._layout.shape[-1] if x._layout.shape else 1
    if n <= 1:
        raise RuntimeError(f"N must be greater than 1, got {n}")
    spread = expand(unsqueeze(x, -1), (*x._layout.shape, n - 1))
    powers = spread.cumprod(-1)
    return cat([x.new_ones((*x._layout.shape, 1)).to(powers.dtype), powers], -1)


#: under PyTorch's names outside of `linalg`
FUNCTIONS = {
    "cross": cross, "matrix_power": solve.matrix_power, "matrix_exp": solve.matrix_exp,
    "inverse": solve.inv, "det": solve.det, "slogdet": solve.slogdet, "logdet": solve.logdet,
    "triangular_solve": solve.triangular_solve, "cholesky": decompose.torch_cholesky,
    "cholesky_solve": decompose.cholesky_solve, "cholesky_inverse": decompose.cholesky_inverse,
    "qr": decompose.torch_qr, "svd": decompose.torch_svd, "pinverse": decompose.torch_pinverse,
}
PACKAGE_ONLY = {"chain_matmul": chain_matmul}
