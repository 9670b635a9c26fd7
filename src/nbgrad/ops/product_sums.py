"""Sums of a tensor and a product, as formulas; and all such sums in place."""

from __future__ import annotations

from collections.abc import Callable

from nbgrad.ops.dims import axis
from nbgrad.ops.elementwise import refuse_cast
from nbgrad.ops.matmul import addmm, baddbmm, bmm, check_addmv, mv, outer
from nbgrad.ops.pointwise import check_factor
from nbgrad.ops.shape import expand
from nbgrad.ops.write import copy_, fill
from nbgrad.tensor import Tensor


def _added(input: Tensor, product: Tensor, beta, alpha) -> Tensor:
    for name, v in (("beta", beta), ("alpha", alpha)):
        check_factor(v, input, product, name=name)
    if input._layout.shape != product._layout.shape:
        input = expand(input, product._layout.shape)
    product = product if alpha == 1 else product * alpha
    if beta == 0:  # a NaN of the input counts for nothing
        return fill(input, 0) + product
    return (input if beta == 1 else input * beta) + product


def addmv(input: Tensor, mat: Tensor, vec: Tensor, *, beta=1, alpha=1) -> Tensor:
    """beta * input + alpha * mat @ vec."""
    own, a, v = input._layout.shape, mat._layout.shape, vec._layout.shape
    check_addmv(input._layout, mat._layout, vec._layout)
    if len(a) == 2 and len(v) == 1 and (a[1] != v[0] or own not in ((), (1,), a[:1])):
        raise RuntimeError(f"size mismatch, got input ({own[0] if own else 1}), mat "
                           f"({a[0]}x{a[1]}), vec ({v[0]})")
    return _added(input, mv(mat, vec), beta, alpha)


def addbmm(input: Tensor, batch1: Tensor, batch2: Tensor, *, beta=1, alpha=1) -> Tensor:
    """beta * input + alpha * the sum of all products of two stacks, (b, m, k) and (b, k, n)."""
    axis(batch1, 1)
    axis(batch2, 2)
    if input._layout.dtype is not batch1._layout.dtype:
        raise RuntimeError("self and mat2 must have the same dtype, but got "
                           f"{input._layout.dtype.legacy} and {batch1._layout.dtype.legacy}")
    return _added(input, bmm(batch1, batch2).sum(0), beta, alpha)


def addr(input: Tensor, vec1: Tensor, vec2: Tensor, *, beta=1, alpha=1) -> Tensor:
    """beta * input + alpha * outer(vec1, vec2)."""
    for name, t in (("vec1", vec1), ("vec2", vec2)):
        if len(t._layout.shape) != 1:
            raise RuntimeError(f"addr: Expected 1-D argument {name}, but got "
                               f"{len(t._layout.shape)}-D")
    return _added(input, outer(vec1, vec2), beta, alpha)


def _in_place(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """A sum with a product, written over what is added to."""

    def change(input: Tensor, first: Tensor, second: Tensor, *, beta=1, alpha=1) -> Tensor:
        made = function(input, first, second, beta=beta, alpha=alpha)
        if made._layout.shape != input._layout.shape:
            raise RuntimeError(f"{change.__name__}: the product has shape {list(made.shape)}, which "
                               f"does not fit into {list(input.shape)}")
        refuse_cast(made._layout.dtype, input._layout.dtype)
        return copy_(input, made)

    change.__name__ = change.__qualname__ = f"{function.__name__}_"
    change.__doc__ = f"`{function.__name__}`, in place."
    return change


FUNCTIONS = {f.__name__: f for f in (addmv, addbmm, addr)}
METHODS = {f"{f.__name__}_": _in_place(f) for f in (addmm, addmv, addbmm, baddbmm, addr)}
FUNCTIONS["addmv_"] = METHODS["addmv_"]
