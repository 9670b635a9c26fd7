"""Matrices as products: Cholesky, QR, eigenvectors and singular values.

Forward is LAPACK's, through NumPy; the gradients are written here with ops.
"""

from __future__ import annotations

import math

import numpy as np

from nbgrad.engine.mode import state
from nbgrad.engine.node import Node
from nbgrad.kernels import lapack
from nbgrad.kernels.backend import Twins
from nbgrad.kernels.layout import broadcast_shapes
from nbgrad.ops.apply import apply
from nbgrad.ops.create import beside
from nbgrad.ops.diagonals import diag_embed, tril
from nbgrad.ops.family import expect_tensor, named, saved
from nbgrad.ops.matmul import matmul
from nbgrad.ops.op import Op
from nbgrad.ops.ranges import eye
from nbgrad.ops.shape import cat, diagonal, expand, narrow, squeeze, unsqueeze
from nbgrad.ops.solve import (
    TRIANGULAR,
    expect_matrices,
    expect_square,
    refuse,
    turned,
)
from nbgrad.tensor import Tensor

triangular = Twins("triangular")

_CholeskyEx = named("linalg_cholesky_ex", "L", "info")
_QR = named("linalg_qr", "Q", "R")
_Eigh = named("linalg_eigh", "eigenvalues", "eigenvectors")
_SVD, _TorchSVD = named("linalg_svd", "U", "S", "Vh"), named("svd", "U", "S", "V")
_Lstsq = named("linalg_lstsq", "solution", "residuals", "rank", "singular_values")

NOT_POSITIVE = ("The factorization could not be completed because the input is not "
                "positive-definite (the leading minor of order {} is not positive-definite).")


class Cholesky(Op):
    """L with L L^T = A, of which the lower triangle is read; NaN where there is none."""

    name = "LinalgCholeskyEx"

    def forward(self, a):
        try:
            return lapack.cholesky(a)
        except lapack.LinAlgError:
            out = np.full_like(a, np.nan)
            for at in np.ndindex(a.shape[:-2]):
                if _minor(a[at]) == 0:
                    out[at] = lapack.cholesky(a[at])
            return out

    def saves(self, needs, attrs):
        return (-1,)

    def backward(self, node, grad):
        # S = L^-T f(L^T gL) L^-1, where f takes the lower triangle and half the diagonal
        lower = saved(node)[-1]
        m = tril(matmul(turned(lower), grad))
        m = m - 0.5 * diag_embed(diagonal(m, 0, -2, -1))
        upper = turned(lower)
        left = apply(TRIANGULAR, (upper, m), (True, False))
        s = turned(apply(TRIANGULAR, (upper, turned(left)), (True, False)))
        return 0.5 * (s + turned(s))


class CholeskySolve(Op):
    """X with A X = B, where L L^T = A, or L^T L = A if `upper`."""

    name = "CholeskySolve"

    def forward(self, b, factor, upper):
        n = math.prod(b.shape[:-2])
        x = b.reshape(n, *b.shape[-2:])
        factor = factor.reshape(n, *factor.shape[-2:])
        other = factor.transpose(0, 2, 1)
        for f, side in ((other, False), (factor, True)) if upper else ((factor, False),
                                                                        (other, True)):
            x = triangular.solve(f, x, side, False)
        return x.reshape(b.shape)

    def saves(self, needs, attrs):
        return (1, -1)

    def backward(self, node, grad):
        # gB = A^-1 g, gA = -gB X^T, and through A = L L^T
        (upper,) = node.attrs
        factor, x = saved(node).values()
        gb = apply(CHOLESKY_SOLVE, (grad, factor), node.attrs)
        ga = matmul(gb, turned(x))
        ga = ga + turned(ga)
        return gb, -(matmul(factor, ga) if upper else matmul(ga, factor))


def _minor(a: np.ndarray) -> int:
    """The order of the first leading minor that is not positive, or 0."""
    for k in range(1, len(a) + 1):
        try:
            lapack.cholesky(a[:k, :k])
        except lapack.LinAlgError:
            return k
    return 0


class Qr(Op):
    """Q (..., m, k) with orthonormal columns and R (..., k, n) upper triangular, k = min(m, n)."""

    name = "LinalgQr"
    outputs = 2

    def forward(self, a, mode):
        if mode == "r":
            return np.zeros((0,), a.dtype), lapack.qr(a, mode)
        return tuple(lapack.qr(a, mode))

    def saves(self, needs, attrs):
        return (0, -1, -2)

    def backward(self, node, gq, gr):
        (mode,) = node.attrs
        a, q, r = saved(node).values()
        m, n = a._layout.shape[-2:]
        if mode == "r":
            raise RuntimeError("The derivative of linalg.qr depends on Q, which is not computed when "
                               "mode='r'. Please use linalg.qr(A, mode='reduced') if you are going "
                               "to require gradients")
        if mode == "complete" and m > n:
            raise RuntimeError("The QR decomposition is not differentiable when mode='complete' and "
                               "nrows > ncols.")
        gq = q.new_zeros(q._layout.shape) if gq is None else gq
        gr = r.new_zeros(r._layout.shape) if gr is None else gr
        if m >= n:
            return _qr_gradient(gq, gr, q, r)
        # A = [X Y] and R = [U V] with X = Q U and Y = Q V
        y = narrow(a, -1, m, n - m)
        gv = narrow(gr, -1, m, n - m)
        gx = _qr_gradient(gq + matmul(y, turned(gv)), narrow(gr, -1, 0, m), q, narrow(r, -1, 0, m))
        return cat([gx, matmul(q, gv)], -1)


def _qr_gradient(gq: Tensor, gr: Tensor, q: Tensor, r: Tensor) -> Tensor:
    """(gQ + Q s(M)) R^-T with M = R gR^T - gQ^T Q; s makes symmetric by the lower triangle."""
    m = matmul(r, turned(gr)) - matmul(turned(gq), q)
    s = tril(m) + turned(tril(m, -1))
    return turned(apply(TRIANGULAR, (r, turned(gq + matmul(q, s))), (True, False)))


class Eigh(Op):
    """Eigenvalues in ascending order, and eigenvectors as columns, of symmetric matrices.

    attrs (triangle, whether vectors are wanted).
    """

    name = "LinalgEigh"
    outputs = 2

    def forward(self, a, uplo, vectors):
        if not vectors:
            return lapack.eigvalsh(a, uplo), np.zeros(0, a.dtype)
        return tuple(lapack.eigh(a, uplo))

    def saves(self, needs, attrs):
        return (-1, -2)

    def backward(self, node, gw, gv):
        # V (diag(gw) + (X - X^T) / 2 E) V^T for X = V^T gV and E_ij = w_j - w_i
        w, v = saved(node).values()
        inner = None
        if gv is not None:
            ones = eye(v._layout.shape[-1], dtype=v.dtype, device=v.device)
            gaps = unsqueeze(w, -2) - unsqueeze(w, -1) + ones
            x = matmul(turned(v), gv)
            inner = 0.5 * (x - turned(x)) / gaps
        if gw is not None:
            inner = diag_embed(gw) if inner is None else inner + diag_embed(gw)
        return matmul(matmul(v, inner), turned(v))


class Svd(Op):
    """U, S and V^T with A = U diag(S) V^T, S descending; attrs (full, whether U and V are wanted)."""

    name = "LinalgSvd"
    outputs = 3

    def forward(self, a, full, vectors):
        if not vectors and a.size:
            none = np.zeros(0, a.dtype)
            return none, lapack.svd(a, compute_uv=False), none
        if a.size == 0:
            *lead, m, n = a.shape
            k = min(m, n)
            u, vt = [np.broadcast_to(np.eye(r, r if full else k, dtype=a.dtype),
                                     (*lead, r, r if full else k)) for r in (m, n)]
            return u.copy(), np.zeros((*lead, k), a.dtype), np.swapaxes(vt, -1, -2).copy()
        return tuple(lapack.svd(a, full))

    def saves(self, needs, attrs):
        return (-1, -2, -3)

    def backward(self, node, gu, gs, gvt):
        return _svd_gradient(node, gu, gs, gvt)


def _svd_gradient(node: Node, gu, gs, gvt) -> Tensor:
    # Townsend 2016, Differentiating the Singular Value Decomposition. With sk(X) = X - X^T and
    # E_ij = s_j^2 - s_i^2:
    # U (sk(U^T gU) / E S + S sk(V^T gV) / E + diag(gS)) V^T, and outside of the spans of U and V
    # (1 - U U^T) gU S^-1 V^T + U S^-1 gV^T (1 - V V^T)
    u, s, vt = saved(node).values()
    m, n = node.layouts[0].shape[-2:]
    k = min(m, n)
    if node.attrs[0]:  # of the full matrices, only what is not arbitrary
        u, vt = narrow(u, -1, 0, k), narrow(vt, -2, 0, k)
        gu = None if gu is None else narrow(gu, -1, 0, k)
        gvt = None if gvt is None else narrow(gvt, -2, 0, k)
    across, down = unsqueeze(s, -2), unsqueeze(s, -1)  # to scale columns, and rows
    inner = diag_embed(s.new_zeros(s._layout.shape) if gs is None else gs)
    outside = None
    if gu is not None or gvt is not None:
        gaps = across * across - down * down + eye(k, dtype=s.dtype, device=s.device)
    if gu is not None:
        x = matmul(turned(u), gu)
        part = (x - turned(x)) / gaps * across
        inner = inner + part
        if m > k:
            rest = (gu - matmul(u, x)) / across
            outside = matmul(rest, vt)
    if gvt is not None:
        y = matmul(vt, turned(gvt))
        part = (y - turned(y)) / gaps * down
        inner = inner + part
        if n > k:
            rest = matmul(u, (gvt - matmul(turned(y), vt)) / down)
            outside = rest if outside is None else outside + rest
    found = matmul(matmul(u, inner), vt)
    return found if outside is None else found + outside


class Pinv(Op):
    """The pseudo-inverse P; singular values of at most atol or rtol times the largest count as 0.

    Inputs are the matrices, and atol and rtol as (..., 1).
    """

    name = "LinalgPinv"

    def forward(self, a, atol, rtol):
        if a.size == 0:
            return np.swapaxes(a, -1, -2).copy()
        u, s, vt = lapack.svd(a, full_matrices=False)
        limit = _limit(s, atol, rtol)
        inverse = np.divide(1, s, out=np.zeros_like(s), where=s > limit)
        return np.swapaxes((u * inverse[..., None, :]) @ vt, -1, -2)

    def saves(self, needs, attrs):
        return (0, -1)

    def backward(self, node, grad):
        # Golub and Pereyra 1973: dP = -P dA P + P P^T dA^T (1 - A P) + (1 - P A) dA^T P^T P
        a, p = saved(node).values()
        pt, gt = turned(p), turned(grad)
        gpp = matmul(matmul(gt, p), pt)
        ppg = matmul(matmul(pt, p), gt)
        return (gpp - matmul(matmul(a, p), gpp) + ppg - matmul(matmul(ppg, p), a)
                - matmul(matmul(pt, grad), pt)), None, None


def _limit(s: np.ndarray, atol, rtol) -> np.ndarray:
    return np.maximum(atol, rtol * s.max(-1, keepdims=True, initial=0))


CHOLESKY, CHOLESKY_SOLVE, QR = Cholesky(), CholeskySolve(), Qr()
EIGH, SVD, PINV = Eigh(), Svd(), Pinv()


def cholesky_ex(A: Tensor, *, upper: bool = False, check_errors: bool = False):
    """(L, info): `cholesky`; info is 0, or the order of the first minor that is not positive."""
    expect_square("linalg.cholesky", A=A)
    lower = apply(CHOLESKY, (turned(A) if upper else A,))
    info = np.zeros(A._layout.shape[:-2], np.int32)
    found = lower._values()
    if np.isnan(found).any():
        a = A._values()
        for at in np.ndindex(info.shape):
            if np.isnan(found[at]).any():
                info[at] = _minor(np.swapaxes(a, -1, -2)[at] if upper else a[at])
    if check_errors:
        refuse("linalg.cholesky_ex", info, NOT_POSITIVE)
    return _CholeskyEx(turned(lower) if upper else lower, beside(A, info))


def cholesky(A: Tensor, *, upper: bool = False) -> Tensor:
    """L, lower triangular, with L L^T = A for symmetric positive definite A (..., n, n); or L^T.

    Args:
        upper: read the upper triangle, and return the upper factor.

    Raises:
        LinAlgError: a matrix is not positive definite.
    """
    factor, info = cholesky_ex(A, upper=upper)
    refuse("linalg.cholesky", info._values(), NOT_POSITIVE)
    return factor


def torch_cholesky(input: Tensor, upper: bool = False) -> Tensor:
    """`linalg.cholesky`, under its former name."""
    expect_square("cholesky", "cholesky_cpu", A=input)
    return cholesky(input, upper=upper)


def cholesky_solve(input: Tensor, L: Tensor, upper: bool = False) -> Tensor:
    """X with A X = input, where L L^T = A, or L^T L = A if `upper`."""
    expect_matrices("cholesky_solve", B=input)
    expect_square("cholesky_solve", L=L)
    b, lower = input._layout.shape, L._layout.shape
    lead = broadcast_shapes(b[:-2], lower[:-2])
    if b[-2] != lower[-1] or lead is None or input._layout.dtype is not L._layout.dtype:
        raise RuntimeError("Incompatible matrix sizes for cholesky_solve: each A matrix is "
                           f"{lower[-2]} by {lower[-1]} but each b matrix is {b[-2]} by {b[-1]}, "
                           f"in {list(lower)} and {list(b)}")
    return apply(CHOLESKY_SOLVE, (expand(input, lead + b[-2:]), expand(L, lead + lower[-2:])),
                 (bool(upper),))


def cholesky_inverse(L: Tensor, upper: bool = False) -> Tensor:
    """The inverse of A, where L L^T = A, or L^T L = A if `upper`."""
    expect_square("cholesky_inverse", "cholesky_inverse_out_cpu", A=L)
    shape = L._layout.shape
    return cholesky_solve(expand(eye(shape[-1], dtype=L.dtype, device=L.device), shape), L, upper)


def qr(A: Tensor, mode: str = "reduced"):
    """(Q, R) of every matrix (..., m, n): A = Q R.

    Args:
        mode: "reduced", "complete" (Q is m by m) or "r" (R only, Q is empty).
    """
    expect_matrices("linalg.qr", A=A)
    if mode not in ("reduced", "complete", "r"):
        raise RuntimeError(f"qr received unrecognized mode '{mode}' but expected one of 'reduced' "
                           "(default), 'r', or 'complete'")
    return _QR(*apply(QR, (A,), (mode,)))


def torch_qr(input: Tensor, some: bool = True):
    """`linalg.qr`, under its former name; complete if not `some`."""
    return qr(input, "reduced" if some else "complete")


def _symmetric(name: str, A: Tensor, UPLO: str) -> str:
    expect_square(name, "linalg_eigh_cpu", A=A)
    if UPLO not in ("L", "U", "l", "u"):
        raise RuntimeError(f"Expected UPLO argument to be 'L' or 'U', but got {UPLO}")
    return UPLO.upper()


def eigh(A: Tensor, UPLO: str = "L"):
    """(eigenvalues, eigenvectors) of symmetric matrices (..., n, n): A = V diag(w) V^T.

    Args:
        UPLO: which triangle is read, "L" or "U".
    """
    return _Eigh(*apply(EIGH, (A,), (_symmetric("linalg.eigh", A, UPLO), True)))


def eigvalsh(A: Tensor, UPLO: str = "L") -> Tensor:
    """The eigenvalues of symmetric matrices (..., n, n), in ascending order."""
    side = _symmetric("linalg.eigvalsh", A, UPLO)
    return apply(EIGH, (A,), (side, _recorded(A)))[0]


def svd(A: Tensor, full_matrices: bool = True, *, driver: str | None = None):
    """(U, S, Vh) of every matrix (..., m, n): A = U diag(S) Vh, S in descending order.

    Args:
        full_matrices: U m by m and Vh n by n, else m by k and k by n for k = min(m, n).
        driver: for PyTorch's other devices; must be None.
    """
    _check_driver(A, driver)
    return _SVD(*apply(SVD, (A,), (bool(full_matrices), True)))


def _check_driver(A: Tensor, driver: str | None) -> None:
    expect_matrices("linalg.svd", A=A)
    if driver is not None:
        raise RuntimeError("linalg.svd: keyword argument `driver=` is only supported on CUDA inputs "
                           "with cuSOLVER backend.")


def _recorded(t: Tensor) -> bool:
    """Whether a gradient may be asked for, which needs the vectors."""
    return bool(state.grad) and t.requires_grad


def svdvals(A: Tensor, *, driver: str | None = None) -> Tensor:
    """The singular values of every matrix, in descending order."""
    _check_driver(A, driver)
    return apply(SVD, (A,), (False, _recorded(A)))[1]


def torch_svd(input: Tensor, some: bool = True, compute_uv: bool = True):
    """(U, S, V) with input = U diag(S) V^T; zeros for U and V if not `compute_uv`."""
    expect_matrices("svd", input=input)
    u, s, vt = apply(SVD, (input,), (not some, True))
    if not compute_uv:
        m, n = input._layout.shape[-2:]
        lead = input._layout.shape[:-2]
        return _TorchSVD(u.new_zeros((*lead, m, m)), s, u.new_zeros((*lead, n, n)))
    return _TorchSVD(u, s, turned(vt))


def _tolerances(A: Tensor, atol, rtol) -> tuple:
    """atol and rtol as arrays (..., 1); rtol is max(m, n) eps if neither is given."""
    own = A._layout
    kept = np.float32 if own.dtype.half else own.dtype.np

    def array(value) -> np.ndarray:
        found = value._values() if isinstance(value, Tensor) else np.asarray(float(value))
        return np.array(found[..., None], kept)

    if rtol is None:
        given = atol is not None and (isinstance(atol, Tensor) or atol > 0)
        if own.dtype.half and not given:
            raise RuntimeError("This function doesn't handle types other than float and double")
        rtol = 0.0 if given else float(own.dtype.limits().eps) * max(own.shape[-2:])
    return array(0.0 if atol is None else atol), array(rtol)


def pinv(A: Tensor, *, atol: Tensor | float | None = None, rtol: Tensor | float | None = None,
         hermitian: bool = False) -> Tensor:
    """The pseudo-inverse (..., n, m) of every matrix (..., m, n).

    Args:
        atol, rtol: singular values of at most atol, or rtol times the largest, count as 0;
            numbers, or a tensor of one for each matrix. rtol is max(m, n) eps where neither is given.
        hermitian: take the matrices as symmetric, of which the lower triangle is read.
    """
    if hermitian:
        expect_square("linalg.pinv", A=A)
        A = tril(A) + turned(tril(A, -1))
    else:
        expect_matrices("linalg.pinv", A=A)
    return apply(PINV, (A, *[beside(A, t) for t in _tolerances(A, atol, rtol)]))


def torch_pinverse(input: Tensor, rcond: float = 1e-15) -> Tensor:
    """`linalg.pinv`, under its former name."""
    return pinv(input, rtol=rcond)


def matrix_rank(A: Tensor, tol: Tensor | float | None = None, hermitian: bool = False, *,
                atol: Tensor | float | None = None, rtol: Tensor | float | None = None) -> Tensor:
    """How many singular values exceed both atol and rtol times the largest, as int64."""
    expect_matrices("linalg.matrix_rank", A=A)
    if hermitian:
        expect_square("linalg.matrix_rank", A=A)
    if tol is not None:
        atol, rtol = tol, 0.0
    limits = _tolerances(A, atol, rtol)
    if A._layout.numel == 0:
        return A.new_zeros(A._layout.shape[:-2]).long()
    a = A._values()
    s = np.abs(lapack.eigvalsh(a)) if hermitian else lapack.svd(a, compute_uv=False)
    count = (s > _limit(s, *limits)).sum(-1)
    return beside(A, np.asarray(count, np.int64))


def lstsq(A: Tensor, B: Tensor, rcond: float | None = None, *, driver: str | None = None):
    """(solution, residuals, rank, singular_values) of the X that make A X - B smallest.

    Args:
        A: (..., m, n).
        B: (..., m, k), or (..., m).
        rcond: singular values of at most rcond times the largest count as 0; max(m, n) eps if None.
        driver: "gelsy", "gels", "gelsd" or "gelss"; the singular values are given for the last two.
    """
    expect_matrices("linalg.lstsq", A=A)
    expect_tensor("linalg.lstsq", B=B)
    if A._layout.dtype is not B._layout.dtype:
        raise RuntimeError("torch.linalg.lstsq: Expected input and other to have the same dtype, but "
                           f"got {A._layout.dtype.legacy} and {B._layout.dtype.legacy}")
    if driver not in (None, "gelsy", "gels", "gelsd", "gelss"):
        raise RuntimeError("torch.linalg.lstsq: parameter `driver` should be one of (gels, gelsy, "
                           "gelsd, gelss)")
    a, b = A._layout.shape, B._layout.shape
    vector = len(b) == 1 or (len(b) == len(a) - 1 and b == a[:-1])
    x = unsqueeze(B, -1) if vector else B
    if x.dim() < 2 or x._layout.shape[-2] != a[-2]:
        raise RuntimeError("torch.linalg.lstsq: input.size(-2) should match other.size(-2), got "
                           f"{list(a)} and {list(b)}")
    if broadcast_shapes(a[:-2], x._layout.shape[:-2]) is None:
        raise RuntimeError(f"linalg.lstsq: the leading axes of {list(a)} and {list(b)} do not "
                           "broadcast")
    solution = matmul(pinv(A, rtol=rcond), x)
    m, n = a[-2:]
    rank = matrix_rank(A, rtol=rcond)
    residuals = A.new_zeros((0,))
    if m > n and driver != "gelsy" and bool((rank == n).all()):
        rest = matmul(A, solution) - x
        residuals = (rest * rest).sum(-2)
    s = svdvals(A).detach() if driver in ("gelsd", "gelss") else A.new_zeros((0,))
    rank = rank if driver != "gels" else rank.new_zeros((0,))
    return _Lstsq(squeeze(solution, -1) if vector else solution, residuals, rank, s)


