"""Sorting along an axis, and picking by rank."""

from __future__ import annotations

from math import prod

from nbgrad import dtypes
from nbgrad.kernels.backend import Twins
from nbgrad.ops.apply import apply
from nbgrad.ops.family import named, saved
from nbgrad.ops.op import Op
from nbgrad.ops.reductions import _RESULTS
from nbgrad.ops.scatter import PUT_AT
from nbgrad.ops.shape import axis, unsqueeze
from nbgrad.tensor import Tensor

kernels, layouts = Twins("sort"), Twins("layouts")


class Pick(Op):
    """Entries chosen along an axis, and their places; `choose` finds them in rows."""

    outputs = 2

    def __init__(self, name: str, choose) -> None:
        self.name, self.choose = name, choose
        super().__init__()

    def forward(self, x, d, *options):
        moved = layouts.moved(x, d, -1)
        outer = moved.shape[:-1]
        rows = layouts.contiguous(moved).reshape(prod(outer), moved.shape[-1])
        found = [layouts.contiguous(layouts.moved(a.reshape(*outer, a.shape[1]), -1, d))
                 for a in self.choose(rows, *options)]
        return tuple(found if x.shape else [a.reshape(()) for a in found])

    def saves(self, needs, attrs):
        return (-2,)

    def backward(self, node, grad, _):
        return apply(PUT_AT, (grad, saved(node)[-2]), (node.attrs[0], node.layouts[0].shape))


class Kthvalue(Pick):
    """The entry of a rank; its axis is dropped unless kept."""

    def forward(self, x, d, k, keep):
        found = super().forward(x, d, k)
        return found if keep or not x.shape else tuple(
            [a.reshape(x.shape[:d] + x.shape[d:][1:]) for a in found])

    def backward(self, node, grad, _):
        d, _k, keep = node.attrs
        at, shape = saved(node)[-2], node.layouts[0].shape
        if not keep and shape:
            grad, at = unsqueeze(grad, d), unsqueeze(at.detach(), d)
        return apply(PUT_AT, (grad, at), (d, shape))


SORT, STABLE = Pick("SortBackward0", kernels.sort), Pick("SortBackward1", kernels.sort)
TOPK, KTHVALUE = Pick("Topk", kernels.top), Kthvalue("Kthvalue", kernels.ranked)
_KTHVALUE = named("kthvalue")


def sort(input: Tensor, dim: int = -1, descending: bool = False, *, stable: bool | None = None):
    """(values, indices) of the entries along `dim` in order; NaN is larger than any number.

    Args:
        stable: equal entries keep their order, as they do here always.

    Example:
        >>> import nbgrad
        >>> nbgrad.sort(nbgrad.tensor([3.0, 1.0, 2.0])).indices
        tensor([1, 2, 0])
    """
    op = SORT if stable is None else STABLE
    return _RESULTS["sort"](*apply(op, (input,), (axis(input, dim), bool(descending))))


def argsort(input: Tensor, dim: int = -1, descending: bool = False, *,
            stable: bool | None = None) -> Tensor:
    """The places of the entries along `dim` in order."""
    return sort(input.detach(), dim, descending).indices


def msort(input: Tensor) -> Tensor:
    """The entries in order along the first axis."""
    return sort(input, 0).values


def topk(input: Tensor, k: int, dim: int = -1, largest: bool = True, sorted: bool = True):
    """(values, indices) of the `k` largest (or smallest) entries along `dim`, in order.

    Of equal entries the first are taken; the result is in order whatever `sorted` says.

    Example:
        >>> import nbgrad
        >>> nbgrad.topk(nbgrad.tensor([3.0, 1.0, 2.0]), 2).values
        tensor([3., 2.])
    """
    if not isinstance(k, int):
        raise TypeError(f"topk(): argument 'k' (position 2) must be int, not {type(k).__name__}")
    d = axis(input, dim)
    shape = input._layout.shape
    if not 0 <= k <= (shape[d] if shape else 1):
        raise RuntimeError("selected index k out of range")
    if input._layout.dtype is dtypes.bool_:
        raise RuntimeError("topk does not support bool dtypes on CPU")
    return _RESULTS["topk"](*apply(TOPK, (input,), (d, k if shape else 1, bool(largest))))


def kthvalue(input: Tensor, k: int, dim: int = -1, keepdim: bool = False):
    """(values, indices) of the `k`-th smallest entries along `dim`, counted from 1."""
    d = axis(input, dim)
    shape = input._layout.shape
    if shape and shape[d] == 0:
        raise IndexError(f"kthvalue(): Expected reduction dim {d} to have non-zero size.")
    if not 1 <= k <= (shape[d] if shape else 1):
        raise RuntimeError(f"kthvalue(): selected number k out of range for dimension {d}")
    if input._layout.dtype is dtypes.bool_:
        raise NotImplementedError("\"kthvalue_cpu\" not implemented for 'Bool'")
    return _KTHVALUE(*apply(KTHVALUE, (input,), (d, k, bool(keepdim))))


FUNCTIONS = {f.__name__: f for f in (sort, argsort, msort, topk, kthvalue)}
