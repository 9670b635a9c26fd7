"""Inverses, determinants and systems of linear equations."""

from __future__ import annotations

import math

import numpy as np

from nbgrad.engine.mode import state
from nbgrad.errors import LinAlgError
from nbgrad.kernels import lapack
from nbgrad.kernels.backend import Twins
from nbgrad.kernels.layout import broadcast_shapes
from nbgrad.ops.apply import apply
from nbgrad.ops.create import beside
from nbgrad.ops.family import expect_float, expect_tensor, named, needs, saved
from nbgrad.ops.matmul import matmul
from nbgrad.ops.op import Op
from nbgrad.ops.ranges import eye
from nbgrad.ops.shape import expand, squeeze, transpose, unsqueeze
from nbgrad.tensor import Tensor

elimination = Twins("elimination")
triangular = Twins("triangular")

#: what PyTorch refuses in 16 bits; where it only lacks a kernel, this computes in float32
_SINGLE_OR_DOUBLE = {"linalg.inv", "linalg.inv_ex", "linalg.slogdet", "logdet", "linalg.pinv",
                     "linalg.lstsq"}


def refuse_half(name: str, t: Tensor) -> None:
    """RuntimeError for 16-bit floats."""
    if t.dtype.half:
        raise RuntimeError(f"{name}: Low precision dtypes not supported. Got {t.dtype.legacy}")


def expect_matrices(name: str, kernel: str | None = None, **tensors: Tensor) -> None:
    """Floating point matrices, or stacks of them; `kernel` is what PyTorch says it lacks."""
    expect_tensor(name, **tensors)
    for key, t in tensors.items():
        own = t._layout
        if len(own.shape) < 2:
            raise RuntimeError(f"{name}: The input tensor {key} must have at least 2 dimensions.")
        if kernel is not None:
            expect_float(kernel, own)
        if own.dtype.category != 2:
            raise RuntimeError(f"{name}: Expected a floating point or complex tensor as input. Got "
                               f"{own.dtype.legacy}")
        if name in _SINGLE_OR_DOUBLE:
            refuse_half(name, t)


def expect_square(name: str, kernel: str | None = None, **tensors: Tensor) -> None:
    """`expect_matrices` with as many rows as columns."""
    expect_tensor(name, **tensors)
    for key, t in tensors.items():
        shape = t._layout.shape
        if len(shape) > 1 and shape[-1] != shape[-2]:
            raise RuntimeError(f"{name}: {key} must be batches of square matrices, but they are "
                               f"{shape[-2]} by {shape[-1]} matrices")
    expect_matrices(name, kernel, **tensors)


def turned(t: Tensor) -> Tensor:
    """The transposed matrices."""
    return transpose(t, -2, -1)


def zero_pivots(a: np.ndarray) -> np.ndarray:
    """For each matrix the number, from 1, of the first pivot that is 0; else 0."""
    found = np.zeros(a.shape[:-2], np.int32)
    for at in np.ndindex(found.shape):
        rest = np.array(a[at])
        for k in range(len(rest)):
            p = k + int(np.argmax(np.abs(rest[k:, k])))
            rest[[k, p]] = rest[[p, k]]
            if rest[k, k] == 0:
                found[at] = k + 1
                break
            rest[k + 1:, k:] -= np.outer(rest[k + 1:, k] / rest[k, k], rest[k, k:])
    return found


def refuse(name: str, info: np.ndarray, message: str) -> None:
    """LinAlgError for the first matrix whose `info` is not 0; {} in the message stands for it."""
    if np.count_nonzero(info):
        bad = np.flatnonzero(info)
        which = f"(Batch element {bad[0]}): " if info.ndim else ""
        raise LinAlgError(f"{name}: {which}" + message.format(info.reshape(-1)[bad[0]]))


SINGULAR = ("The diagonal element {} is zero, the inversion could not be completed because the "
            "input matrix is singular.")
NO_SOLUTION = "The solver failed because the input matrix is singular."


class Inverse(Op):
    """A^-1; NaN for a matrix that has none."""

    name = "LinalgInvEx"

    def forward(self, a):
        return lapack.inv(a)

    def saves(self, needs, attrs):
        return (-1,)

    def backward(self, node, grad):
        y = turned(saved(node)[-1])
        return -matmul(matmul(y, grad), y)


class Solve(Op):
    """X with A X = B, for A (..., n, n) and B (..., n, k); NaN where A is singular."""

    name = "LinalgSolveEx"

    def forward(self, a, b):
        if max(b.shape[-2:]) <= elimination.SMALL:
            return elimination.solve(_stack(a), _stack(b))[0].reshape(b.shape)
        return lapack.solve(a, b)

    def saves(self, needs, attrs):
        return (0, -1)

    def backward(self, node, grad, *_):
        kept = saved(node)
        gb = _solution(turned(kept[0]), grad)
        ga = matmul(-gb, turned(kept[-1])) if needs(node)[0] else None
        return ga, gb


class Eliminate(Solve):
    """`Solve` for few rows and columns, and what is left of A, from which backward goes on."""

    outputs = 2

    def forward(self, a, b):
        x, left = elimination.solve(_stack(a), _stack(b))
        return x.reshape(b.shape), left

    def saves(self, needs, attrs):
        return (0, -1, -2)

    def backward(self, node, grad, *_):
        if state.grad:
            return super().backward(node, grad)
        kept = saved(node)
        return apply(ELIMINATE_BACKWARD, (grad, kept[-1], kept[-2]))


class EliminateBackward(Op):
    """The gradients to A and B."""

    name = "LinalgSolveExBackward"
    outputs = 2

    def forward(self, grad, x, left):
        ga, gb = elimination.backward(_stack(grad), _stack(x), left)
        lead = grad.shape[:-2]
        return ga.reshape(*lead, *ga.shape[1:]), gb.reshape(grad.shape)


def _stack(a: np.ndarray) -> np.ndarray:
    """Matrices (..., m, n) along one axis."""
    return a if a.ndim == 3 else a.reshape(math.prod(a.shape[:-2]), *a.shape[-2:])


def _solution(a: Tensor, b: Tensor) -> Tensor:
    rows, columns = b._layout.shape[-2:]
    if rows <= elimination.KEPT[0] and columns <= elimination.KEPT[1]:
        return apply(ELIMINATE, (a, b))[0]
    return apply(SOLVE, (a, b))


class Triangular(Op):
    """X with A X = B for a triangular A; attrs (upper, unit): unit takes the diagonal as ones."""

    name = "LinalgSolveTriangular"

    def forward(self, a, b, upper, unit):
        shape = b.shape
        n = math.prod(shape[:-2])
        return triangular.solve(a.reshape(n, *a.shape[-2:]), b.reshape(n, *shape[-2:]), upper,
                                unit).reshape(shape)

    def saves(self, needs, attrs):
        return (0, -1)

    def backward(self, node, grad):
        upper, unit = node.attrs
        kept = saved(node)
        gb = apply(TRIANGULAR, (turned(kept[0]), grad), (not upper, unit))
        ga = None
        if needs(node)[0]:
            full = -matmul(gb, turned(kept[-1]))
            ga = full.triu(int(unit)) if upper else full.tril(-int(unit))
        return ga, gb


class Slogdet(Op):
    """The sign of the determinant, and the logarithm of its absolute value."""

    name = "LinalgSlogdet"
    outputs = 2

    def forward(self, a):
        sign, logarithm = lapack.slogdet(a)
        return np.asarray(sign, a.dtype), np.asarray(logarithm, a.dtype)

    def saves(self, needs, attrs):
        return (0,)

    def backward(self, node, _, grad):
        a = saved(node)[0]
        if grad is None:
            return a.new_zeros(a._layout.shape)
        return _last(grad) * turned(apply(INVERSE, (a,)))


class Det(Op):
    """The determinant; its gradient is the matrix of cofactors."""

    name = "LinalgDet"

    def forward(self, a):
        return np.asarray(lapack.det(a), a.dtype)

    def saves(self, needs, attrs):
        return (0, -1)

    def backward(self, node, grad):
        kept = saved(node)
        a = kept[0]
        if state.grad:
            return _last(grad * kept[-1]) * turned(apply(INVERSE, (a,)))
        return _last(grad) * beside(a, _cofactors(a._values())).to(a.dtype)


def _cofactors(a: np.ndarray) -> np.ndarray:
    """det(A) A^-T, which exists for singular matrices too: from singular values."""
    if a.size == 0:
        return np.zeros_like(a)
    u, s, vt = lapack.svd(a)
    n = s.shape[-1]
    others = np.where(np.eye(n, dtype=bool), 1, s[..., None, :]).prod(-1)
    side = lapack.det(u) * lapack.det(vt)
    return np.ascontiguousarray(side[..., None, None] * ((u * others[..., None, :]) @ vt), a.dtype)


def _last(t: Tensor) -> Tensor:
    """Numbers (...) that broadcast over matrices (..., m, n)."""
    return unsqueeze(unsqueeze(t, -1), -1)


INVERSE, SOLVE, TRIANGULAR, SLOGDET, DET = Inverse(), Solve(), Triangular(), Slogdet(), Det()
ELIMINATE, ELIMINATE_BACKWARD = Eliminate(), EliminateBackward()
_InvEx = named("linalg_inv_ex", "inverse", "info")
_SolveEx = named("linalg_solve_ex", "result", "info")
_Slogdet = named("linalg_slogdet", "sign", "logabsdet")
_TriangularSolve = named("triangular_solve", "solution", "cloned_coefficient")


def inv_ex(A: Tensor, *, check_errors: bool = False):
    """(inverse, info): info is 0, or the number of the first pivot that is 0."""
    expect_square("linalg.inv_ex", A=A)
    inverse = apply(INVERSE, (A,))
    info = _info(A, inverse)
    if check_errors:
        refuse("linalg.inv_ex", info, SINGULAR)
    return _InvEx(inverse, beside(A, info))


def _info(A: Tensor, found: Tensor) -> np.ndarray:
    """For each matrix the number of the first pivot that is 0, else 0; `found` has NaN for it."""
    if np.count_nonzero(np.isnan(found._values())):
        return zero_pivots(A._values())
    return np.zeros(A._layout.shape[:-2], np.int32)


def inv(A: Tensor) -> Tensor:
    """The inverse of every matrix (..., n, n).

    Raises:
        LinAlgError: a matrix is singular.
    """
    expect_square("linalg.inv", A=A)
    inverse = apply(INVERSE, (A,))
    refuse("linalg.inv", _info(A, inverse), SINGULAR)
    return inverse


def solve_ex(A: Tensor, B: Tensor, *, left: bool = True, check_errors: bool = False):
    """(X, info): `solve`, where info is 0, or the number of the first pivot that is 0."""
    found, info = _solved(A, B, left)
    if check_errors:
        refuse("torch.linalg.solve", info, NO_SOLUTION)
    return _SolveEx(found, beside(A, info))


def _solved(A: Tensor, B: Tensor, left: bool) -> tuple[Tensor, np.ndarray]:
    """X, and for each matrix the number of the first pivot that is 0, else 0."""
    expect_square("linalg.solve", A=A)
    expect_tensor("linalg.solve", B=B)
    a, b = A._layout, B._layout
    if a.dtype is not b.dtype:
        raise RuntimeError(f"linalg.solve: Expected A and B to have the same dtype, but found A of "
                           f"type {a.dtype.legacy} and B of type {b.dtype.legacy} instead")
    vector = len(b.shape) == 1 or (len(b.shape) == len(a.shape) - 1 and b.shape == a.shape[:-1])
    if vector and not left:
        raise RuntimeError("linalg.solve: Vector broadcasting of the left hand side is not supported "
                           "for left=False.")
    x = unsqueeze(B, -1) if vector else B
    expect_matrices("linalg.solve", B=x)
    first, x = _paired("linalg.solve", A, x if left else turned(x))
    found = _solution(first if left else turned(first), x)
    info = _info(first, found)
    found = found if left else turned(found)
    return squeeze(found, -1) if vector else found, info


def _paired(name: str, a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """A (..., n, n) and B (..., n, k) with the same leading axes."""
    m, n = a._layout.shape, b._layout.shape
    if m[-2] != n[-2]:
        raise RuntimeError(f"{name}: Incompatible shapes of A and B for the equation AX = B "
                           f"({m[-2]}x{m[-1]} and {n[-2]}x{n[-1]})")
    if m[:-2] == n[:-2]:
        return a, b
    lead = broadcast_shapes(m[:-2], n[:-2])
    if lead is None:
        raise RuntimeError(f"The size of tensor a {list(m[:-2])} must match the size of tensor b "
                           f"{list(n[:-2])} in their leading axes")
    return expand(a, lead + m[-2:]), expand(b, lead + n[-2:])


def solve(A: Tensor, B: Tensor, *, left: bool = True) -> Tensor:
    """X with A X = B, or X A = B if not `left`.

    Args:
        A: (..., n, n).
        B: (..., n, k), or vectors (..., n); or one vector (n,).

    Raises:
        LinAlgError: a matrix is singular.
    """
    found, info = _solved(A, B, left)
    refuse("torch.linalg.solve", info, NO_SOLUTION)
    return found


def solve_triangular(A: Tensor, B: Tensor, *, upper: bool, left: bool = True,
                     unitriangular: bool = False) -> Tensor:
    """X with A X = B, or X A = B if not `left`, reading one triangle of A only.

    Args:
        A: (..., n, n).
        B: (..., n, k), or (..., k, n) if not `left`.
        upper: whether the upper triangle is read.
        unitriangular: take the diagonal as ones.
    """
    expect_square("linalg.solve_triangular", "triangular_solve_cpu", A=A)
    expect_matrices("linalg.solve_triangular", B=B)
    if A._layout.dtype is not B._layout.dtype:
        raise RuntimeError("linalg.solve_triangular: Expected A and B to have the same dtype, but "
                           f"found A of type {A._layout.dtype.legacy} and B of type "
                           f"{B._layout.dtype.legacy} instead")
    if left:
        a, b = _paired("linalg.solve_triangular", A, B)
        return apply(TRIANGULAR, (a, b), (bool(upper), bool(unitriangular)))
    a, b = _paired("linalg.solve_triangular", turned(A), turned(B))
    return turned(apply(TRIANGULAR, (a, b), (not upper, bool(unitriangular))))


def triangular_solve(input: Tensor, A: Tensor, upper: bool = True, transpose: bool = False,
                     unitriangular: bool = False):
    """(X, A) with A X = input, or A^T X = input, for a triangular A."""
    expect_tensor("triangular_solve", input=input, A=A)
    if input._layout.dtype is not A._layout.dtype:
        raise RuntimeError("Expected b and A to have the same dtype, but found b of type "
                           f"{input._layout.dtype.legacy} and A of type {A._layout.dtype.legacy}")
    expect_square("triangular_solve", "triangular_solve_cpu", A=A)
    a = turned(A) if transpose else A
    x = solve_triangular(a, input, upper=bool(upper) != bool(transpose),
                         unitriangular=unitriangular)
    return _TriangularSolve(x, A.clone())


def det(A: Tensor) -> Tensor:
    """The determinant of every matrix (..., n, n)."""
    expect_square("linalg.det", A=A)
    return apply(DET, (A,))


def slogdet(A: Tensor):
    """(sign, logabsdet) of the determinant of every matrix (..., n, n)."""
    expect_square("linalg.slogdet", A=A)
    return _Slogdet(*apply(SLOGDET, (A,)))


def logdet(A: Tensor) -> Tensor:
    """The logarithm of the determinant of every matrix (..., n, n); NaN where that is negative."""
    expect_square("logdet", A=A)
    sign, logarithm = apply(SLOGDET, (A,))
    return logarithm + sign.detach().log()


def matrix_power(A: Tensor, n: int) -> Tensor:
    """A multiplied by itself n times; for negative n, of its inverse."""
    expect_tensor("linalg.matrix_power", A=A)
    if not isinstance(n, int):
        raise TypeError(f"linalg_matrix_power(): argument 'n' must be int, not {type(n).__name__}")
    shape = A._layout.shape
    if len(shape) < 2:
        raise RuntimeError("linalg.matrix_power: The input tensor A must have at least 2 dimensions.")
    if shape[-1] != shape[-2]:
        raise RuntimeError("linalg.matrix_power: A must be batches of square matrices, but they are "
                           f"{shape[-2]} by {shape[-1]} matrices")
    if n == 0:
        # joined to the graph of A, as in PyTorch
        identity = eye(shape[-1], dtype=A.dtype, device=A.device)
        return A.masked_fill(A == A, 0).masked_fill(A != A, 0) + identity
    if n < 0:
        A, n = inv(A), -n
    result, square = None, A
    while n:
        if n & 1:
            result = square if result is None else matmul(result, square)
        n >>= 1
        square = matmul(square, square) if n else square
    assert result is not None
    return result if result is not A else A.clone()


_PADE = (64764752532480000.0, 32382376266240000.0, 7771770303897600.0, 1187353796428800.0,
         129060195264000.0, 10559470521600.0, 670442572800.0, 33522128640.0, 1323241920.0,
         40840800.0, 960960.0, 16380.0, 182.0, 1.0)


def matrix_exp(A: Tensor) -> Tensor:
    """exp of every matrix (..., n, n): Pade's approximation of order 13 of A / 2^s, squared s times."""
    expect_square("linalg.matrix_exp", A=A)
    if A._layout.numel == 0:
        return A.clone()
    if A.dtype.half:
        return matrix_exp(A.float()).to(A.dtype)
    largest = float(np.abs(A._values()).sum(-2).max())
    s = max(0, math.ceil(math.log2(largest / 5.37))) if 0 < largest < math.inf else 0
    a = A * 2.0 ** -s
    identity = eye(A._layout.shape[-1], dtype=A.dtype, device=A.device)
    a2 = matmul(a, a)
    a4 = matmul(a2, a2)
    a6 = matmul(a4, a2)
    b = _PADE
    u = matmul(a, matmul(a6, a6 * b[13] + a4 * b[11] + a2 * b[9])
               + a6 * b[7] + a4 * b[5] + a2 * b[3] + identity * b[1])
    v = (matmul(a6, a6 * b[12] + a4 * b[10] + a2 * b[8])
         + a6 * b[6] + a4 * b[4] + a2 * b[2] + identity * b[0])
    r = apply(SOLVE, (v - u, v + u))
    for _ in range(s):
        r = matmul(r, r)
    return r


