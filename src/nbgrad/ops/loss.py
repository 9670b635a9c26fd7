"""Losses: class targets in fused kernels, the others as formulas of rows."""

from __future__ import annotations

import math
import warnings

import numpy as np

from nbgrad import dtypes
from nbgrad.engine.mode import state
from nbgrad.kernels.cpu import loss as kernels
from nbgrad.kernels.layout import Layout
from nbgrad.ops.apply import apply
from nbgrad.ops.elementwise import OPS
from nbgrad.ops.family import expect_float, expect_tensor, present, saved
from nbgrad.ops.index import where
from nbgrad.ops.op import Op, wrap
from nbgrad.ops.shape import expand, reshape, unsqueeze
from nbgrad.ops.softmax import log_softmax, softmax
from nbgrad.tensor import Tensor


def _arrays(target: Tensor, weight: list[Tensor]) -> tuple:
    """Targets as int64 and the class weights, or None."""
    return (target._array().astype(np.int64, copy=False),
            weight[0]._array() if weight else None)


class NllLoss(Op):
    """-weight[t] * logp[t] of every entry, reduced; outputs (loss, total weight)."""

    outputs = 2

    def __init__(self, name: str) -> None:
        self.name = name
        super().__init__()

    def run(self, inputs, attrs):
        logp, target, *weight = inputs
        return wrap(kernels.nll_loss(logp._array(), *_arrays(target, weight), *attrs))

    def saves(self, needs, attrs):
        return (*range(1, len(needs)), -2)

    def backward(self, node, grad, _):
        kept = saved(node)
        return apply(NLL_BACKWARD, present(grad, kept[1], kept[-2], kept.get(2)),
                     (*node.attrs, node.layouts[0].shape))


class NllLossBackward(Op):
    """The gradient to logp; linear in that of the loss, so its own gradient is the loss again."""

    name = "NllLossBackward"

    def run(self, inputs, attrs):
        grad, target, total, *weight = inputs
        *rule, shape = attrs
        return wrap(kernels.nll_loss_backward(grad._array(), *_arrays(target, weight), *rule,
                                              total._array(), shape))

    def saves(self, needs, attrs):
        return (1, *range(3, len(needs)))

    def backward(self, node, grad):
        kept = saved(node)
        *rule, _ = node.attrs
        return apply(NLL, present(grad, kept[1], kept.get(3)), tuple(rule))[0]


class CrossEntropy(Op):
    """The nll loss of log-softmax; outputs (loss, total weight, logsumexp in float64)."""

    outputs = 3

    def __init__(self, name: str) -> None:
        self.name = name
        super().__init__()

    def run(self, inputs, attrs):
        x, target, *weight = inputs
        return wrap(kernels.cross_entropy(x._array(), *_arrays(target, weight), *attrs))

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


class CrossEntropyBackward(Op):
    """The gradient of cross entropy in one kernel."""

    name = "CrossEntropyBackward"

    def run(self, inputs, attrs):
        grad, x, logsumexp, target, total, *weight = inputs
        return wrap(kernels.cross_entropy_backward(
            grad._array(), x._array(), logsumexp._array(), *_arrays(target, weight), *attrs,
            total._array()))


class BinaryCrossEntropy(Op):
    """-(t log(x) + (1 - t) log(1 - x)), each logarithm at least -100."""

    name = "BinaryCrossEntropy"

    def forward(self, x, t):
        floor = x.dtype.type(-100)
        with np.errstate(divide="ignore"):
            return (t - 1) * np.maximum(np.log1p(-x), floor) - t * np.maximum(np.log(x), floor)

    def saves(self, needs, attrs):
        return (0, 1)

    def backward(self, node, grad):
        x, t = saved(node).values()
        gx = gt = None
        if node.next[0] is not None:
            gx = grad * (x - t) / ((1 - x) * x).clamp_min(1e-12)
        if node.next[1] is not None:
            gt = grad * ((1 - x).log().clamp_min(-100) - x.log().clamp_min(-100))
        return gx, gt


NLL, NLL_2D, NLL_BACKWARD = NllLoss("NllLoss"), NllLoss("NllLoss2D"), NllLossBackward()
CROSS_ENTROPY, CROSS_ENTROPY_2D = CrossEntropy("NllLoss"), CrossEntropy("NllLoss2D")
CROSS_ENTROPY_BACKWARD, BCE = CrossEntropyBackward(), BinaryCrossEntropy()


def _check_reduction(reduction: str) -> None:
    if reduction not in ("none", "mean", "sum"):
        raise ValueError(f"{reduction} is not a valid value for reduction")


def _reduced(loss: Tensor, reduction: str) -> Tensor:
    """The losses of all entries as `reduction` wants them."""
    _check_reduction(reduction)
    return loss if reduction == "none" else loss.mean() if reduction == "mean" else loss.sum()


def _check_target_shape(x: tuple[int, ...], t: tuple[int, ...]) -> None:
    if len(x) == 1:
        if t not in ((), (1,)):
            raise RuntimeError("0D or 1D target tensor expected, multi-target not supported")
    elif x[0] != (t[0] if t else 1):
        raise ValueError(f"Expected input batch_size ({x[0]}) to match target batch_size "
                         f"({t[0] if t else 1}).")
    elif len(x) == 2 and len(t) != 1:
        raise RuntimeError("0D or 1D target tensor expected, multi-target not supported")
    elif len(x) == 3 and t != x[:1] + x[2:]:
        raise RuntimeError(f"Expected target size {[x[0], x[2]]}, got {list(t)}")
    elif t != x[:1] + x[2:]:
        raise RuntimeError(f"size mismatch (got input: {list(x)} , target: {list(t)}")


def _check_targets(x: Layout, target: Tensor, weight: Tensor | None, ignore_index: int) -> None:
    """Classes in range, of an integer dtype, and a weight for each class."""
    dtype = target._layout.dtype
    if dtype not in (dtypes.int64, dtypes.uint8):
        raise RuntimeError(f"expected target dtype to be Long or Byte, but got {dtype.legacy}")
    classes = x.shape[0] if len(x.shape) == 1 else x.shape[1]
    if weight is not None:
        own = weight._layout
        if own.shape != (classes,):
            raise RuntimeError(f"weight tensor should be defined either for all {classes} classes "
                               f"or no classes but got weight tensor of shape: {list(own.shape)}")
        if own.dtype is not x.dtype:
            raise RuntimeError(f"expected scalar type {x.dtype.legacy} but found "
                               f"{own.dtype.legacy}")
    places = target._array()
    bad = kernels.check_targets(places, classes, ignore_index)
    if bad >= 0:
        raise IndexError(f"Target {places.reshape(-1)[bad]} is out of bounds.")


def _class_loss(ops: tuple[Op, Op], x: Tensor, target: Tensor, weight: Tensor | None,
                ignore_index: int, reduction: str) -> Tensor:
    """Run a loss of class targets on (N, C) or (N, C, L), whatever the shape was."""
    own, shape = x._layout, target._layout.shape
    _check_target_shape(own.shape, shape)
    _check_targets(own, target, weight, ignore_index)
    if len(own.shape) == 1:
        x, target = unsqueeze(x, 0), reshape(target, (1,))
    elif len(own.shape) > 2:
        n, c = own.shape[:2]
        length = math.prod(own.shape[2:])
        x, target = reshape(x, (n, c, length)), reshape(target, (n, length))
    op = ops[len(own.shape) > 2]
    loss = apply(op, present(x, target, weight), (ignore_index, reduction))[0]
    return reshape(loss, shape) if reduction == "none" and len(own.shape) != 2 else loss


def nll_loss(input: Tensor, target: Tensor, weight: Tensor | None = None, *,
             ignore_index: int = -100, reduction: str = "mean") -> Tensor:
    """-weight[target] * input[target] of log-probabilities (N, C, ...) or (C,).

    Args:
        target: classes (N, ...), int64.
        weight: a weight for each class, (C,).
        ignore_index: a target that counts for nothing.
        reduction: "none", "sum", or "mean", which divides by the total weight.
    """
    expect_tensor("nll_loss", input=input, target=target)
    _check_reduction(reduction)
    expect_float("nll_loss_out_frame", input._layout)
    return _class_loss((NLL, NLL_2D), input, target, weight, ignore_index, reduction)


def cross_entropy(input: Tensor, target: Tensor, weight: Tensor | None = None, *,
                  ignore_index: int = -100, reduction: str = "mean",
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
    _check_reduction(reduction)
    expect_float("log_softmax_lastdim_kernel_impl", input._layout)
    if not 0 <= label_smoothing <= 1:
        raise RuntimeError("label_smoothing must be between 0.0 and 1.0. Got: "
                           f"{label_smoothing:g}")
    if input._layout.shape == target._layout.shape:
        return _probability_loss(input, target, weight, reduction, label_smoothing)
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


# Losses of every entry


def _difference(input: Tensor, target: Tensor, name: str) -> Tensor:
    expect_tensor(name, input=input, target=target)
    a, b = input._layout, target._layout
    if a.shape != b.shape:
        warnings.warn(
            f"Using a target size (torch.Size({list(b.shape)})) that is different to the input "
            f"size (torch.Size({list(a.shape)})). This will likely lead to incorrect results due "
            "to broadcasting. Please ensure they have the same size.", UserWarning, stacklevel=3)
    difference = input - target
    expect_float(f"{name.removesuffix('_loss')}_cpu", difference._layout)
    return difference


def mse_loss(input: Tensor, target: Tensor, *, reduction: str = "mean") -> Tensor:
    """(input - target)^2."""
    return _reduced(_difference(input, target, "mse_loss").square(), reduction)


def l1_loss(input: Tensor, target: Tensor, *, reduction: str = "mean") -> Tensor:
    """|input - target|."""
    return _reduced(_difference(input, target, "l1_loss").abs(), reduction)


def _huber(d: Tensor, delta: float) -> Tensor:
    """d^2 / 2 within delta, delta (|d| - delta / 2) beyond: c (d - c / 2) for c = d clamped."""
    c = d.clamp(-delta, delta)
    return c * d.sub(c, alpha=0.5)


def smooth_l1_loss(input: Tensor, target: Tensor, *, reduction: str = "mean",
                   beta: float = 1.0) -> Tensor:
    """d^2 / (2 beta) where |d| < beta, else |d| - beta / 2, for d = input - target."""
    if beta < 0:
        raise RuntimeError("smooth_l1_loss does not support negative values for beta.")
    d = _difference(input, target, "smooth_l1_loss")
    return _reduced(d.abs() if beta == 0 else _huber(d, float(beta)) * (1 / beta), reduction)


def huber_loss(input: Tensor, target: Tensor, *, reduction: str = "mean", delta: float = 1.0,
               weight: Tensor | None = None) -> Tensor:
    """d^2 / 2 where |d| <= delta, else delta (|d| - delta / 2), for d = input - target."""
    if delta <= 0:
        raise RuntimeError("huber_loss does not support non-positive values for delta.")
    loss = _huber(_difference(input, target, "huber_loss"), float(delta))
    return _reduced(loss if weight is None else loss * weight, reduction)


def binary_cross_entropy(input: Tensor, target: Tensor, weight: Tensor | None = None, *,
                         reduction: str = "mean") -> Tensor:
    """-(t log(x) + (1 - t) log(1 - x)) for probabilities x, each logarithm at least -100."""
    expect_tensor("binary_cross_entropy", input=input, target=target)
    if input._layout.shape != target._layout.shape:
        raise ValueError(
            f"Using a target size (torch.Size({list(target._layout.shape)})) that is different to "
            f"the input size (torch.Size({list(input._layout.shape)})) is deprecated. Please "
            "ensure they have the same size.")
    if target._layout.dtype is not input._layout.dtype:
        raise RuntimeError(f"Found dtype {target._layout.dtype.legacy} but expected "
                           f"{input._layout.dtype.legacy}")
    expect_float("binary_cross_entropy", input._layout)
    x = input._array()
    if x.size and not (x.min() >= 0 and x.max() <= 1):
        raise RuntimeError("all elements of input should be between 0 and 1")
    loss = apply(BCE, (input, target))
    return _reduced(loss if weight is None else loss * weight, reduction)


def binary_cross_entropy_with_logits(input: Tensor, target: Tensor, weight: Tensor | None = None, *,
                                     reduction: str = "mean",
                                     pos_weight: Tensor | None = None) -> Tensor:
    """`binary_cross_entropy` of sigmoid(input), without overflow.

    Args:
        pos_weight: a factor on the term of positive targets; broadcasts.
    """
    expect_tensor("binary_cross_entropy_with_logits", input=input, target=target)
    if input._layout.shape != target._layout.shape:
        raise ValueError(f"Target size (torch.Size({list(target._layout.shape)})) must be the same "
                         f"as input size (torch.Size({list(input._layout.shape)}))")
    negative = apply(OPS["logsigmoid"], (input,))
    if pos_weight is not None:
        negative = negative * ((pos_weight - 1) * target + 1)
    loss = (1 - target) * input - negative
    return _reduced(loss if weight is None else loss * weight, reduction)


def kl_div(input: Tensor, target: Tensor, *, reduction: str = "mean",
           log_target: bool = False) -> Tensor:
    """t (log(t) - input) for log-probabilities `input` and probabilities t.

    Args:
        reduction: "none", "sum", "mean" (over all entries) or "batchmean" (the sum over N).
        log_target: whether `target` holds log(t).
    """
    expect_tensor("kl_div", input=input, target=target)
    if reduction == "mean":
        warnings.warn(
            "reduction: 'mean' divides the total loss by both the batch size and the support size."
            "'batchmean' divides only by the batch size, and aligns with the KL div math "
            "definition."
            "'mean' will be changed to behave the same as 'batchmean' in the next major release.",
            UserWarning, stacklevel=2)
    if log_target:
        loss = target.exp() * (target - input)
    else:
        # t log(t) is 0 at t = 0
        loss = target * where(target > 0, target, 1.0).log() - target * input
    if reduction == "batchmean":
        return loss.sum() / input._layout.shape[0] if input.dim() else loss.sum()
    return _reduced(loss, reduction)
