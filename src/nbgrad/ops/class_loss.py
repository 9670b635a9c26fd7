"""Losses of class targets, in fused kernels."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any

import numpy as np

from nbgrad import dtypes
from nbgrad.engine.mode import state
from nbgrad.kernels.backend import Twins
from nbgrad.kernels.cpu.loss import few
from nbgrad.kernels.layout import Layout, layout
from nbgrad.ops.apply import apply
from nbgrad.ops.family import expect_float, expect_tensor, present, saved
from nbgrad.ops.loss import chosen
from nbgrad.ops.op import Op, Planned, wrap
from nbgrad.ops.shape import expand, reshape, unsqueeze
from nbgrad.ops.softmax import log_softmax, softmax
from nbgrad.tensor import Tensor

kernels, layouts = Twins("loss"), Twins("layouts")


def _arrays(target: Tensor, weight: list[Tensor]) -> tuple:
    """Targets as int64 and the class weights, or None."""
    classes = target._array()
    return (layouts.cast(classes, np.int64),
            weight[0]._array() if weight else None)


class NllLoss(Planned):
    """-weight[t] * logp[t] of every entry, reduced; outputs (loss, total weight)."""

    outputs = 2

    def __init__(self, name: str) -> None:
        self.name = name
        super().__init__()

    def run_any(self, inputs, attrs):
        logp, target, *weight = inputs
        _check_targets(logp, target, attrs)
        return wrap(kernels.nll_loss(logp._array(), *_arrays(target, weight), *attrs))

    def plan(self, attrs, logp, target, *weight):
        numbers = logp.shape[1], math.prod(logp.shape[2:])
        return _plan(few("nll_loss", logp.dtype.storage), attrs, logp, target, (), numbers)

    def saves(self, needs, attrs):
        return (*range(1, len(needs)), -2)

    def backward(self, node, grad, _):
        kept = saved(node)
        return apply(NLL_BACKWARD, present(grad, kept[1], kept[-2], kept.get(2)),
                     (*node.attrs, node.layouts[0].shape))


class NllLossBackward(Planned):
    """The gradient to logp; linear in that of the loss, so its own gradient is the loss again."""

    name = "NllLossBackward"

    def run_any(self, inputs, attrs):
        grad, target, total, *weight = inputs
        *rule, shape = attrs
        return wrap(kernels.nll_loss_backward(grad._array(), *_arrays(target, weight), *rule,
                                              total._array(), shape))

    def plan(self, attrs, grad, target, total, *weight):
        *rule, shape = attrs
        launch = few("nll_loss_backward", grad.dtype.storage)
        return _plan_back(launch, rule, layout(grad.dtype, shape), target, not weight,
                          (shape[1], math.prod(shape[2:])))

    def saves(self, needs, attrs):
        return (1, *range(3, len(needs)))

    def backward(self, node, grad):
        kept = saved(node)
        *rule, _ = node.attrs
        return apply(NLL, present(grad, kept[1], kept.get(3)), tuple(rule))[0]


class CrossEntropy(Planned):
    """The nll loss of log-softmax; outputs (loss, total weight, logsumexp in float64)."""

    outputs = 3

    def __init__(self, name: str) -> None:
        self.name = name
        super().__init__()

    def run_any(self, inputs, attrs):
        x, target, *weight = inputs
        _check_targets(x, target, attrs)
        return wrap(kernels.cross_entropy(x._array(), *_arrays(target, weight), *attrs))

    def plan(self, attrs, x, target, *weight):
        if len(x.shape) > 2:
            return False
        sums = layout(dtypes.float64, target.shape)
        return _plan(few("cross_entropy", x.dtype.storage), attrs, x, target, (sums,), x.shape[1:])

    def saves(self, needs, attrs):
        return (*range(len(needs)), -2, -3)

    def backward(self, node, grad, *_):
        kept = saved(node)
        x, target, weight = kept[0], kept[1], kept.get(2)
        if state.grad:
            g = apply(NLL_BACKWARD, present(grad, target, kept[-2].detach(), weight),
                      (*node.attrs, node.layouts[0].shape))
            return g - softmax(x, 1) * g.sum(1, True)
        return apply(CROSS_ENTROPY_BACKWARD,
                     present(grad, x, kept[-3], target, kept[-2], weight), node.attrs)


class CrossEntropyBackward(Planned):
    """The gradient of cross entropy in one kernel."""

    name = "CrossEntropyBackward"

    def run_any(self, inputs, attrs):
        grad, x, logsumexp, target, total, *weight = inputs
        return wrap(kernels.cross_entropy_backward(
            grad._array(), x._array(), logsumexp._array(), *_arrays(target, weight), *attrs,
            total._array()))

    def plan(self, attrs, grad, x, logsumexp, target, total, *weight):
        if len(x.shape) > 2:
            return False
        launch = few("cross_entropy_backward", x.dtype.storage)
        return _plan_back(launch, attrs, layout(x.dtype, x.shape), target, not weight, x.shape[1:])


def _check_targets(x: Tensor, target: Tensor, attrs: tuple) -> None:
    places = target._stored()
    _refuse(places, kernels.check_targets(places, x._layout.shape[1], attrs[0]))


def _refuse(target: Any, bad: int) -> None:
    if bad >= 0:
        raise IndexError(f"Target {layouts.number(target, bad)} is out of bounds.")


def _plan(launch, attrs: tuple, x: Layout, target: Layout, more: tuple[Layout, ...],
          numbers: tuple):
    """The plan of a loss that gives (loss, total weight, and a tensor for each of `more`)."""
    ignore, reduction = attrs
    if target.dtype is not dtypes.int64:
        return False
    results = (layout(x.dtype, target.shape if reduction == "none" else ()), layout(x.dtype, ()))
    dtype, count, mean = x.dtype.storage, target.numel, reduction == "mean"
    none = np.empty(0, dtype)

    def run(x, target, weight=none):
        outs = [*[np.empty(count) for _ in more], *[np.empty(own.numel, dtype) for own in results]]
        bad = launch(x, target, weight, np.empty(count), *outs, ignore, mean, *numbers)
        if bad >= 0:
            _refuse(target, bad)
        *more_outs, loss, total = outs
        return tuple(map(Tensor, (loss, total, *more_outs), (*results, *more)))

    return run


def _plan_back(launch, rule, own: Layout, target: Layout, alike: bool, numbers: tuple):
    """The plan of such a loss's gradient, to a tensor that lies like `own`; `alike`: no weights."""
    ignore, reduction = rule
    if target.dtype is not dtypes.int64:
        return False
    dtype, mean = own.dtype.storage, reduction == "mean"
    weights = (np.empty(0, dtype),) if alike else ()

    def run(grad, *data):
        *kept, total, weight = data + weights
        out = np.zeros(own.numel, dtype)
        launch(grad, total, mean, *kept, weight, ignore, out, *numbers)
        return Tensor(out, own)

    return run


NLL, NLL_2D, NLL_BACKWARD = NllLoss("NllLoss"), NllLoss("NllLoss2D"), NllLossBackward()
CROSS_ENTROPY, CROSS_ENTROPY_2D = CrossEntropy("NllLoss"), CrossEntropy("NllLoss2D")
CROSS_ENTROPY_BACKWARD = CrossEntropyBackward()


def _check_target_shape(x: tuple[int, ...], t: tuple[int, ...]) -> None:
    if not x:
        raise ValueError("Expected 1 or more dimensions (got 0)")
    if len(x) == 1:
        if len(t) > 1:
            raise RuntimeError("0D or 1D target tensor expected, multi-target not supported")
        if t not in ((), (1,)):
            raise ValueError("For 1D input, 1D target must have size 1, but got target size: "
                             f"{t[0]}")
    elif x[0] != (t[0] if t else 0):
        raise ValueError(f"Expected input batch_size ({x[0]}) to match target batch_size "
                         f"({t[0] if t else 0}).")
    elif len(x) == 2 and len(t) != 1:
        raise RuntimeError("0D or 1D target tensor expected, multi-target not supported")
    elif len(x) == 3 and t != x[:1] + x[2:]:
        raise RuntimeError(f"Expected target size {[x[0], x[2]]}, got {list(t)}")
    elif t != x[:1] + x[2:]:
        raise RuntimeError(f"size mismatch (got input: {list(x)} , target: {list(t)}")


@lru_cache(1024)
def _check(x: Layout, target: Layout, weight: Layout | None) -> None:
    """A class of an integer dtype for each entry, and a weight for each class."""
    _check_target_shape(x.shape, target.shape)
    dtype = target.dtype
    if dtype not in (dtypes.int64, dtypes.uint8):
        raise RuntimeError(f"expected target dtype to be Long or Byte, but got {dtype.legacy}")
    classes = x.shape[0] if len(x.shape) == 1 else x.shape[1]
    if weight is not None:
        if weight.shape != (classes,):
            raise RuntimeError(f"weight tensor should be defined either for all {classes} classes "
                               f"or no classes but got weight tensor of shape: {list(weight.shape)}")
        if weight.dtype is not x.dtype:
            raise RuntimeError(f"expected scalar type {x.dtype.legacy} but found "
                               f"{weight.dtype.legacy}")


def _class_loss(ops: tuple[Op, Op], x: Tensor, target: Tensor, weight: Tensor | None,
                ignore_index: int, reduction: str) -> Tensor:
    """Run a loss of class targets on (N, C) or (N, C, L), whatever the shape was."""
    own, shape = x._layout, target._layout.shape
    _check(own, target._layout, None if weight is None else weight._layout)
    if len(own.shape) == 1:
        x, target = unsqueeze(x, 0), reshape(target, (1,))
    elif len(own.shape) > 2:
        n, c = own.shape[:2]
        length = math.prod(own.shape[2:])
        x, target = reshape(x, (n, c, length)), reshape(target, (n, length))
    op = ops[len(own.shape) > 2]
    loss = apply(op, present(x, target, weight), (ignore_index, reduction))[0]
    return reshape(loss, shape) if reduction == "none" and len(own.shape) != 2 else loss


def nll_loss(input: Tensor, target: Tensor, weight: Tensor | None = None,
             size_average: bool | None = None, ignore_index: int = -100,
             reduce: bool | None = None, reduction: str = "mean") -> Tensor:
    """-weight[target] * input[target] of log-probabilities (N, C, ...) or (C,).

    Args:
        target: classes (N, ...), int64.
        weight: a weight for each class, (C,).
        ignore_index: a target that counts for nothing.
        reduction: "none", "sum", or "mean", which divides by the total weight.
    """
    expect_tensor("nll_loss", input=input, target=target)
    reduction = chosen(size_average, reduce, reduction)
    expect_float("nll_loss_out_frame", input._layout)
    return _class_loss((NLL, NLL_2D), input, target, weight, ignore_index, reduction)


def cross_entropy(input: Tensor, target: Tensor, weight: Tensor | None = None,
                  size_average: bool | None = None, ignore_index: int = -100,
                  reduce: bool | None = None, reduction: str = "mean",
                  label_smoothing: float = 0.0) -> Tensor:
    """The loss of logits (N, C, ...) or (C,) against classes or class probabilities.

    -weight[t] * log(softmax(input))[t], or the sum of that over classes times their probability.

    Args:
        target: classes (N, ...), int64, or probabilities of the shape of `input`.
        weight: a weight for each class, (C,).
        ignore_index: a class that counts for nothing.
        reduction: "none", "sum", or "mean", which divides by the total weight of class targets
            and by N for probabilities.
        label_smoothing: the share of the target that is spread evenly over all classes.

    Example:
        >>> import nbgrad
        >>> cross_entropy(nbgrad.zeros(2, 4), nbgrad.tensor([1, 3]))
        tensor(1.3863)
    """
    expect_tensor("cross_entropy", input=input, target=target)
    reduction = chosen(size_average, reduce, reduction)
    if not 0 <= label_smoothing <= 1:
        raise RuntimeError("label_smoothing must be between 0.0 and 1.0. Got: "
                           f"{label_smoothing:g}")
    if input._layout.shape == target._layout.shape:
        return _probability_loss(input, target, weight, reduction, label_smoothing)
    expect_float("log_softmax_lastdim_kernel_impl", input._layout)
    if label_smoothing:
        return _smoothed_loss(input, target, weight, ignore_index, reduction, label_smoothing)
    return _class_loss((CROSS_ENTROPY, CROSS_ENTROPY_2D), input, target, weight, ignore_index,
                       reduction)


def _class_axis(x: Tensor) -> int:
    return 0 if len(x._layout.shape) == 1 else 1


def _by_class(weight: Tensor, like: Tensor) -> Tensor:
    """A vector (C,) that broadcasts over the class axis."""
    return reshape(weight, (-1,) + (1,) * (len(like._layout.shape) - _class_axis(like) - 1))


def _probability_loss(x, target, weight, reduction, label_smoothing) -> Tensor:
    if target._layout.dtype.category != 2:
        raise RuntimeError("Expected floating point type for target with class probabilities, got "
                           f"{target._layout.dtype.legacy}")
    d = _class_axis(x)
    classes = x._layout.shape[d]
    if label_smoothing:
        target = target * (1 - label_smoothing) + label_smoothing / classes
    logp = log_softmax(x, d)
    loss = logp * target
    if weight is not None:
        loss = loss * _by_class(weight, x)
    if reduction == "mean":
        return loss.sum() * (-1 / max(x._layout.numel // max(classes, 1), 1))
    return -(loss.sum(d) if reduction == "none" else loss.sum())


def _smoothed_loss(x, target, weight, ignore_index, reduction, label_smoothing) -> Tensor:
    d = _class_axis(x)
    logp = log_softmax(x, d)
    nll = nll_loss(logp, target, weight, ignore_index=ignore_index, reduction=reduction)
    spread = -(logp if weight is None else logp * _by_class(weight, x)).sum(d)
    ignored = target == ignore_index
    spread = spread.masked_fill(ignored, 0.0)
    if reduction == "sum":
        spread = spread.sum()
    elif reduction == "mean":
        one = x.new_ones(()) if weight is None else weight[target.masked_fill(ignored, 0)]
        one = expand(one, target._layout.shape).masked_fill(ignored, 0.0)
        spread = spread.sum() / one.sum()
    share = label_smoothing / x._layout.shape[d]
    return nll * (1 - label_smoothing) + spread * share
