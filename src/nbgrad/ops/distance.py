"""Distances between points."""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np

from nbgrad.devices import CPU
from nbgrad.kernels.backend import Twins
from nbgrad.kernels.layout import broadcast_shapes
from nbgrad.ops.apply import apply
from nbgrad.ops.create import beside
from nbgrad.ops.elementwise import promote
from nbgrad.ops.family import expect_tensor, needs, saved
from nbgrad.ops.index import index_select
from nbgrad.ops.mask import where
from nbgrad.ops.matmul import bmm
from nbgrad.ops.op import Op
from nbgrad.ops.shape import expand, reshape, transpose, unsqueeze
from nbgrad.ops.vector_norm import norm
from nbgrad.tensor import Tensor

kernels = Twins("distance")


class SignedSums(Op):
    """sum_j g_ij sign(x_i - y_j) for g (b, p, r), x (b, p, m) and y (b, r, m)."""

    name = "CdistBackwardBackward"

    def forward(self, g, x, y):
        return kernels.signed_sums(g, x, y)

    def saves(self, needs, attrs):
        return (1, 2)

    def backward(self, node, grad):
        kept = saved(node)
        signs = (unsqueeze(kept[1], 2) - unsqueeze(kept[2], 1)).sign()
        return (unsqueeze(grad, 2) * signs).sum(-1), None, None


class Distances(Op):
    """The p-norms of x_i - y_j for x (b, p, m) and y (b, r, m); attrs (p,), which is 1 or 2."""

    name = "CdistBackward"

    def forward(self, x, y, p):
        return kernels.distances(x, y, p)

    def saves(self, needs, attrs):
        return (0, 1, -1) if attrs == (2,) else (0, 1)

    def backward(self, node, grad):
        if node.attrs == (1,):
            x, y = (saved(node)[k] for k in (0, 1))
            first, second = needs(node)
            return (apply(SIGNED_SUMS, (grad, x, y)) if first else None,
                    apply(SIGNED_SUMS, (transpose(grad, 1, 2), y, x)) if second else None)
        # With c = g / |x_i - y_j|, gx_i = sum_j c_ij (x_i - y_j): a product of matrices
        kept = saved(node)
        x, y, distance = kept[0], kept[1], kept[-1]
        same = distance == 0
        c = where(same, 0.0, grad / where(same, 1.0, distance))
        first, second = needs(node)
        gx = x * c.sum(2, True) - bmm(c, y) if first else None
        turned = transpose(c, 1, 2)
        gy = y * turned.sum(2, True) - bmm(turned, x) if second else None
        return gx, gy


DISTANCES, SIGNED_SUMS = Distances(), SignedSums()
_MODES = ("use_mm_for_euclid_dist_if_necessary", "use_mm_for_euclid_dist",
          "donot_use_mm_for_euclid_dist")


def cdist(x1: Tensor, x2: Tensor, p: float = 2.0, compute_mode: str | None = _MODES[0]) -> Tensor:
    """The p-norm distance of every row of x1 (..., P, M) to every row of x2 (..., R, M).

    Args:
        compute_mode: accepted for PyTorch's sake; differences are always taken themselves.
    """
    expect_tensor("cdist", x1=x1, x2=x2)
    if compute_mode is not None and compute_mode not in _MODES:
        raise ValueError(f"{compute_mode} is not a valid value for compute_mode")
    for k, x in ((1, x1), (2, x2)):
        if x.dim() < 2:
            raise RuntimeError("cdist only supports at least 2D tensors, "
                               f"X{k} got: {x.dim()}D")
    a, b = x1._layout, x2._layout
    if a.shape[-1] != b.shape[-1]:
        raise RuntimeError(f"X1 and X2 must have the same number of columns. X1: {a.shape[-1]} X2: "
                           f"{b.shape[-1]}")
    for k, own in ((1, a), (2, b)):
        if own.dtype.category != 2:
            raise RuntimeError(f"cdist only supports floating-point dtypes, X{k} got: "
                               f"{own.dtype.legacy}")
    if p < 0:
        raise RuntimeError("cdist only supports non-negative p values")
    lead = broadcast_shapes(a.shape[:-2], b.shape[:-2])
    if lead is None:
        raise RuntimeError(f"cdist: the leading axes of X1 {list(a.shape)} and X2 {list(b.shape)} do "
                           "not broadcast")
    if a.dtype is not b.dtype:
        raise RuntimeError(f"expected scalar type {a.dtype.legacy} but found {b.dtype.legacy}")
    count = math.prod(lead)
    x = reshape(expand(x1, lead + a.shape[-2:]), (count, *a.shape[-2:]))
    y = reshape(expand(x2, lead + b.shape[-2:]), (count, *b.shape[-2:]))
    if p == 2 or a.shape[-1] == 0 or (p == 1 and a.device is CPU):
        found = apply(DISTANCES, (x, y), (1 if p == 1 else 2,))
    else:
        found = norm(unsqueeze(x, 2) - unsqueeze(y, 1), p, -1)
    return reshape(found, (*lead, a.shape[-2], b.shape[-2]))


def pairwise_distance(x1: Tensor, x2: Tensor, p: float = 2.0, eps: float = 1e-6,
                      keepdim: bool = False) -> Tensor:
    """The p-norm of x1 - x2 + eps over the last axis, for x1 and x2 (..., M)."""
    expect_tensor("pairwise_distance", x1=x1, x2=x2)
    return norm(x1 - x2 + float(eps), p, -1, keepdim)


@lru_cache(8)
def _pairs(n: int) -> np.ndarray:
    """Where the pairs i < j lie in a flat matrix (n, n)."""
    return np.flatnonzero(np.triu(np.ones((n, n), bool), 1))


def pdist(input: Tensor, p: float = 2.0) -> Tensor:
    """The p-norm distances between the rows of (N, M), each pair once: (N (N - 1) / 2,)."""
    expect_tensor("pdist", input=input)
    own = input._layout
    if len(own.shape) != 2:
        raise RuntimeError(f"pdist only supports 2D tensors, got: {len(own.shape)}D")
    if own.dtype.category != 2:
        raise RuntimeError("pdist only supports floating-point dtypes")
    if p < 0:
        raise RuntimeError("pdist only supports non-negative p values")
    if p == 2:
        return index_select(reshape(cdist(input, input), -1), 0, beside(input, _pairs(own.shape[0])))
    first, second = [beside(input, i.astype(np.int64)) for i in np.triu_indices(own.shape[0], 1)]
    return norm(index_select(input, 0, first) - index_select(input, 0, second), p, -1)


def cosine_similarity(x1: Tensor, x2: Tensor, dim: int = 1, eps: float = 1e-8) -> Tensor:
    """The sum of x1 * x2 along `dim` over the product of their norms, each at least eps."""
    expect_tensor("cosine_similarity", x1=x1, x2=x2)
    common = promote((x1._layout, x2._layout))
    if common.category != 2:
        raise RuntimeError("expected common dtype to be floating point, yet common dtype is "
                           f"{common.legacy}")
    shape = broadcast_shapes(x1._layout.shape, x2._layout.shape)
    if shape is None:
        raise RuntimeError(f"The size of tensor a {list(x1._layout.shape)} must match the size of "
                           f"tensor b {list(x2._layout.shape)}")
    x, y = [expand(t.to(common), shape) for t in (x1, x2)]
    lengths = [norm(t, 2, dim, True).clamp_min(eps) for t in (x, y)]
    return (x / lengths[0] * (y / lengths[1])).sum(dim)


PACKAGE_ONLY = {f.__name__: f for f in (cdist, pairwise_distance, pdist, cosine_similarity)}
