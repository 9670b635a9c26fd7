"""Losses that ask for a margin between classes, or between points."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from nbgrad import dtypes
from nbgrad.engine.mode import state
from nbgrad.kernels.backend import Twins
from nbgrad.kernels.layout import common
from nbgrad.ops.apply import apply
from nbgrad.ops.create import beside
from nbgrad.ops.distance import pairwise_distance
from nbgrad.ops.elementwise import OPS
from nbgrad.ops.family import expect_float, expect_tensor, present, saved
from nbgrad.ops.loss import chosen, reduced
from nbgrad.ops.mask import where
from nbgrad.ops.op import Op
from nbgrad.ops.scatter import gather
from nbgrad.ops.shape import reshape, unsqueeze
from nbgrad.tensor import Tensor

kernels, first_out_of_range = Twins("loss"), Twins("index").first_out_of_range


def _rows(x: Tensor) -> tuple[int, int]:
    """The samples and classes of (N, C), (C,) or ()."""
    shape = x._layout.shape
    if len(shape) > 2 or 0 in shape[-1:]:
        raise RuntimeError("Expected non-empty vector or matrix with optional 0-dim batch size, but "
                           f"got: {list(shape)}")
    return (shape[0] if len(shape) == 2 else 1), (shape[-1] if shape else 1)


def _expect_long(target: Tensor) -> None:
    if target._layout.dtype is not dtypes.int64:
        raise RuntimeError(f"expected scalar type Long but found {target._layout.dtype.legacy}")


class MultiMargin(Op):
    """The loss of x (N, C) and targets (N,), perhaps with weights (C,); attrs (margin, squared,
    reduction)."""

    name = "MultiMarginLoss"

    def forward(self, x, target, *weight_and_attrs):
        *weight, margin, squared, reduction = weight_and_attrs
        return kernels.multi_margin(x, target, weight[0] if weight else None, margin, squared,
                                    reduction)

    def saves(self, needs, attrs):
        return tuple(range(len(needs)))

    def backward(self, node, grad):
        kept = saved(node)
        margin, squared, reduction = node.attrs
        x, target, weight = kept[0], kept[1], kept.get(2)
        if not state.grad:
            return apply(MULTI_MARGIN_BACKWARD, present(grad, x, target, weight), node.attrs)
        idx = unsqueeze(target, 1)
        short = apply(OPS["relu"], (margin - gather(x, 1, idx) + x,)).scatter(1, idx, 0)
        slope = 2 * short if squared else (short > 0).to(x.dtype)
        n, classes = x._layout.shape
        scale = grad / (classes * n if reduction == "mean" else classes)
        scale = unsqueeze(scale if weight is None else scale * weight[target], -1)
        return (slope - slope.new_zeros((n, classes)).scatter(1, idx, slope.sum(1, True))) * scale


class MultiMarginBackward(Op):
    """Its gradient in one kernel."""

    name = "MultiMarginLossBackward"

    def forward(self, grad, x, target, *weight_and_attrs):
        *weight, margin, squared, reduction = weight_and_attrs
        return kernels.multi_margin_backward(grad, x, target, weight[0] if weight else None, margin,
                                             squared, reduction)


MULTI_MARGIN, MULTI_MARGIN_BACKWARD = MultiMargin(), MultiMarginBackward()


def multi_margin_loss(input: Tensor, target: Tensor, p: int = 1, margin: float = 1.0,
                      weight: Tensor | None = None, size_average: bool | None = None,
                      reduce: bool | None = None, reduction: str = "mean") -> Tensor:
    """The mean over classes j other than t of max(0, margin - x_t + x_j)^p.

    Args:
        input: (N, C) or (C,).
        target: classes (N,) or (), int64.
        p: 1 or 2.
        weight: a factor for each target class, (C,).
    """
    expect_tensor("multi_margin_loss", input=input, target=target)
    reduction = chosen(size_average, reduce, reduction)
    if p not in (1, 2):
        raise ValueError("only p == 1 and p == 2 supported")
    if weight is not None and weight.dim() != 1:
        raise ValueError("weight must be one-dimensional")
    n, classes = _rows(input)
    if target._layout.numel != n or target.dim() > 1:
        raise RuntimeError("multi_margin_loss: target tensor should be 1-D with size equal to the "
                           f"number of input samples (batch size). Expected target size [{n}], but "
                           f"got {list(target._layout.shape)}. Input has shape "
                           f"{list(input._layout.shape)}.")
    if weight is not None and weight._layout.shape != (classes,):
        raise RuntimeError(f"inconsistent weight size, expected {classes} but got "
                           f"{list(weight._layout.shape)}")
    expect_float("multi_margin_loss_cpu_kernel", input._layout)
    _expect_long(target)
    if weight is not None and weight._layout.dtype is not input._layout.dtype:
        raise RuntimeError(f"expected scalar type {input._layout.dtype.legacy} but found "
                           f"{weight._layout.dtype.legacy}")
    if first_out_of_range(target._stored(), 0, classes) >= 0:
        raise RuntimeError("target out of range")
    loss = apply(MULTI_MARGIN, present(reshape(input, (n, classes)), reshape(target, (n,)), weight),
                 (float(margin), p == 2, reduction))
    return reshape(loss, target._layout.shape) if reduction == "none" else loss


def multilabel_margin_loss(input: Tensor, target: Tensor, size_average: bool | None = None,
                           reduce: bool | None = None, reduction: str = "mean") -> Tensor:
    """The sum over target classes t and other classes j of max(0, 1 - x_t + x_j) / C.

    Args:
        input: (N, C) or (C,).
        target: of the same shape, int64: the target classes up to the first -1.
    """
    expect_tensor("multilabel_margin_loss", input=input, target=target)
    reduction = chosen(size_average, reduce, reduction)
    n, classes = _rows(input)
    if target._layout.shape != input._layout.shape:
        raise RuntimeError(f"inconsistent target size: {list(target._layout.shape)} for input of "
                           f"size: {list(input._layout.shape)}")
    expect_float("multilabel_margin_loss_forward_out_frame", input._layout)
    _expect_long(target)
    common(input._layout, target._layout)
    t = target._values().reshape(n, classes)
    if t.size and not (t.min() >= -1 and t.max() < classes):
        raise RuntimeError("argument #2 'target' is out of range")
    counts = np.logical_and.accumulate(t >= 0, 1)
    most = int(counts.sum(1).max(initial=0))
    counts, t = counts[:, :most], np.where(counts, t, 0)[:, :most]
    others = np.ones((n, classes), bool)
    row, column = np.nonzero(counts)
    others[row, t[row, column]] = False
    x = reshape(input, (n, classes))
    wanted = unsqueeze(gather(x, 1, beside(x, np.ascontiguousarray(t))), 2)
    short = apply(OPS["relu"], (1 - wanted + unsqueeze(x, 1),))
    counted = beside(x, counts[:, :, None] & others[:, None, :])
    loss = where(counted, short, 0).sum((1, 2)) / classes
    return reduced(reshape(loss, input._layout.shape[:-1]), reduction)


def multilabel_soft_margin_loss(input: Tensor, target: Tensor, weight: Tensor | None = None,
                                size_average: bool | None = None, reduce: bool | None = None,
                                reduction: str = "mean") -> Tensor:
    """The mean over classes of -(t log(sigmoid(x)) + (1 - t) log(sigmoid(-x))).

    Args:
        input, target: (..., C).
        weight: a factor that broadcasts, such as (C,).
    """
    expect_tensor("multilabel_soft_margin_loss", input=input, target=target)
    reduction = chosen(size_average, reduce, reduction)
    expect_float("log_sigmoid_cpu", input._layout)
    row = OPS["logsigmoid"]
    loss = -(target * apply(row, (input,)) + (1 - target) * apply(row, (-input,)))
    loss = loss if weight is None else loss * weight
    return reduced(loss.mean(-1), reduction)


def cosine_embedding_loss(input1: Tensor, input2: Tensor, target: Tensor, margin: float = 0.0,
                          size_average: bool | None = None, reduce: bool | None = None,
                          reduction: str = "mean") -> Tensor:
    """1 - cos(x1, x2) where the target is 1, max(0, cos(x1, x2) - margin) where it is -1.

    Args:
        input1, input2: (N, D) with targets (N,), or (D,) with a target ().
    """
    expect_tensor("cosine_embedding_loss", input1=input1, input2=input2, target=target)
    reduction = chosen(size_average, reduce, reduction)
    d = target.dim()
    if d > 1:
        raise RuntimeError("0D or 1D target tensor expected, multi-target not supported")
    if input1.dim() != d + 1 or input2.dim() != d + 1:
        raise RuntimeError(f"{d}D target tensor expects {d + 1}D input tensors, but found inputs "
                           f"with sizes {list(input1._layout.shape)} and "
                           f"{list(input2._layout.shape)}.")
    squares = [(x * x).sum(d) + 1e-12 for x in (input1, input2)]
    cosine = (input1 * input2).sum(d) / (squares[0] * squares[1]).sqrt()
    near = where(target == 1, 1 - cosine, 0)
    return reduced(near + where(target == -1, (cosine - margin).clamp_min(0), 0), reduction)


def triplet_margin_loss(anchor: Tensor, positive: Tensor, negative: Tensor, margin: float = 1.0,
                        p: float = 2, eps: float = 1e-6, swap: bool = False,
                        size_average: bool | None = None, reduce: bool | None = None,
                        reduction: str = "mean") -> Tensor:
    """max(0, d(anchor, positive) - d(anchor, negative) + margin), d the p-norm distance.

    Args:
        anchor, positive, negative: points (..., D).
        swap: take the positive's distance to the negative where it is the smaller.
    """
    def distance(x: Tensor, y: Tensor) -> Tensor:
        return pairwise_distance(x, y, p, eps)

    return triplet_margin_with_distance_loss(
        anchor, positive, negative, distance_function=distance, margin=margin, swap=swap,
        reduction=chosen(size_average, reduce, reduction))


def triplet_margin_with_distance_loss(
        anchor: Tensor, positive: Tensor, negative: Tensor, *,
        distance_function: Callable[[Tensor, Tensor], Tensor] | None = None, margin: float = 1.0,
        swap: bool = False, reduction: str = "mean") -> Tensor:
    """`triplet_margin_loss` with any distance of two tensors, by default `pairwise_distance`."""
    expect_tensor("triplet_margin_loss", anchor=anchor, positive=positive, negative=negative)
    reduction = chosen(None, None, reduction)
    if not margin > 0:
        raise ValueError(f"margin must be greater than 0, got {margin}")
    ranks = [t.dim() for t in (anchor, positive, negative)]
    if len(set(ranks)) > 1:
        raise RuntimeError("The anchor, positive, and negative tensors are expected to have the same "
                           f"number of dimensions, but got: anchor {ranks[0]}D, positive "
                           f"{ranks[1]}D, and negative {ranks[2]}D inputs")
    distance = distance_function or pairwise_distance
    near, far = distance(anchor, positive), distance(anchor, negative)
    if swap:
        far = apply(OPS["minimum"], (far, distance(positive, negative)))
    return reduced((margin + near - far).clamp_min(0), reduction)
