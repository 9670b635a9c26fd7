"""Losses of every entry of a tensor against a target of its shape."""

from __future__ import annotations

import math
import warnings

from nbgrad.dtypes import float32
from nbgrad.engine.mode import no_grad
from nbgrad.formulas.elementwise import TABLE
from nbgrad.formulas.expr import var
from nbgrad.formulas.row import Row
from nbgrad.ops.apply import apply
from nbgrad.ops.elementwise import OPS, Elementwise, refuse_cast
from nbgrad.ops.family import expect_float, saved, users_line
from nbgrad.ops.mask import where
from nbgrad.ops.op import Op
from nbgrad.ops.reductions import amax, amin
from nbgrad.ops.shape import unsqueeze
from nbgrad.tensor import Tensor


def chosen(size_average: bool | None, reduce: bool | None, reduction: str) -> str:
    """The reduction: "none", "mean" or "sum"; also from what PyTorch's functions took before."""
    if size_average is not None or reduce is not None:
        reduction = "none" if reduce is False else "sum" if size_average is False else "mean"
        warnings.warn("size_average and reduce args will be deprecated, please use "
                      f"reduction='{reduction}' instead.", UserWarning, stacklevel=users_line())
    if reduction not in ("none", "mean", "sum"):
        raise ValueError(f"{reduction} is not a valid value for reduction")
    return reduction


def reduced(loss: Tensor, reduction: str) -> Tensor:
    """The losses of all entries as `reduction` wants them."""
    return loss if reduction == "none" else loss.mean() if reduction == "mean" else loss.sum()


def _weighted(loss: Tensor, weight: Tensor | None, input: Tensor) -> Tensor:
    """The losses times a weight for every entry of the input."""
    if weight is None:
        return loss
    if weight._layout.shape != input._layout.shape:
        raise ValueError("Weights and input must have the same size.")
    return loss * weight


def _mean_by_weight(loss: Tensor, weight: Tensor | None, input: Tensor, reduction: str) -> Tensor:
    """`reduced`, with a weight for every entry; the mean is by the weights' sum."""
    loss = _weighted(loss, weight, input)
    if weight is not None and reduction == "mean":
        return loss.sum() / weight.sum()
    return reduced(loss, reduction)


_x, _t = map(var, "xt")
_log, _log1p, _maximum = (TABLE[name] for name in ("log", "log1p", "maximum"))
_LOSS = Elementwise(Row("bce", (_t - 1) * _maximum(_log1p(-_x), -100) - _t * _maximum(_log(_x), -100),
                        inputs="x t", kind="float"))


class BinaryCrossEntropy(Op):
    """-(t log(x) + (1 - t) log(1 - x)), each logarithm at least -100."""

    name = "BinaryCrossEntropy"

    def run(self, inputs, attrs):
        return _LOSS.run(inputs, ())

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


BCE = BinaryCrossEntropy()


def _difference(input: Tensor, target: Tensor, name: str) -> Tensor:
    a, b = input._layout, target._layout
    if a.shape != b.shape:
        warnings.warn(
            f"Using a target size (torch.Size({list(b.shape)})) that is different to the input "
            f"size (torch.Size({list(a.shape)})). This will likely lead to incorrect results due "
            "to broadcasting. Please ensure they have the same size.", UserWarning,
            stacklevel=users_line())
    if name != "l1_loss":  # which PyTorch has for integers too
        expect_float(f"{name.removesuffix('_loss')}_cpu", b if a.dtype.category < 2 else a)
    return input - target


def mse_loss(input: Tensor, target: Tensor, size_average: bool | None = None,
             reduce: bool | None = None, reduction: str = "mean",
             weight: Tensor | None = None) -> Tensor:
    """(input - target)^2."""
    reduction = chosen(size_average, reduce, reduction)
    return _mean_by_weight(_difference(input, target, "mse_loss").square(), weight, input, reduction)


def l1_loss(input: Tensor, target: Tensor, size_average: bool | None = None,
            reduce: bool | None = None, reduction: str = "mean",
            weight: Tensor | None = None) -> Tensor:
    """|input - target|."""
    reduction = chosen(size_average, reduce, reduction)
    return _mean_by_weight(_difference(input, target, "l1_loss").abs(), weight, input, reduction)


def _huber(d: Tensor, delta: float) -> Tensor:
    """d^2 / 2 within delta, delta (|d| - delta / 2) beyond: c (d - c / 2) for c = d clamped."""
    c = d.clamp(-delta, delta)
    return c * d.sub(c, alpha=0.5)


def smooth_l1_loss(input: Tensor, target: Tensor, size_average: bool | None = None,
                   reduce: bool | None = None, reduction: str = "mean",
                   beta: float = 1.0) -> Tensor:
    """d^2 / (2 beta) where |d| < beta, else |d| - beta / 2, for d = input - target."""
    if beta < 0:
        raise RuntimeError("smooth_l1_loss does not support negative values for beta.")
    reduction = chosen(size_average, reduce, reduction)
    d = _difference(input, target, "smooth_l1_loss" if beta else "l1_loss")
    return reduced(d.abs() if beta == 0 else _huber(d, float(beta)) * (1 / beta), reduction)


def huber_loss(input: Tensor, target: Tensor, reduction: str = "mean", delta: float = 1.0,
               weight: Tensor | None = None) -> Tensor:
    """d^2 / 2 where |d| <= delta, else delta (|d| - delta / 2), for d = input - target."""
    if delta <= 0:
        raise RuntimeError("huber_loss does not support non-positive values for delta.")
    reduction = chosen(None, None, reduction)
    d = _difference(input, target, "huber_loss")
    refuse_cast(d._layout.dtype, input._layout.dtype)
    return reduced(_weighted(_huber(d, float(delta)), weight, input), reduction)


def binary_cross_entropy(input: Tensor, target: Tensor, weight: Tensor | None = None,
                         size_average: bool | None = None, reduce: bool | None = None,
                         reduction: str = "mean") -> Tensor:
    """-(t log(x) + (1 - t) log(1 - x)) for probabilities x, each logarithm at least -100."""
    if input._layout.shape != target._layout.shape:
        raise ValueError(
            f"Using a target size (torch.Size({list(target._layout.shape)})) that is different to "
            f"the input size (torch.Size({list(input._layout.shape)})) is deprecated. Please "
            "ensure they have the same size.")
    if target._layout.dtype is not input._layout.dtype:
        raise RuntimeError(f"Found dtype {target._layout.dtype.legacy} but expected "
                           f"{input._layout.dtype.legacy}")
    expect_float("binary_cross_entropy", input._layout)
    x = input.detach()
    if x.numel() and not (amin(x).item() >= 0 and amax(x).item() <= 1):
        raise RuntimeError("all elements of input should be between 0 and 1")
    loss = apply(BCE, (input, target))
    reduction = chosen(size_average, reduce, reduction)
    return reduced(loss if weight is None else loss * weight, reduction)


def binary_cross_entropy_with_logits(input: Tensor, target: Tensor, weight: Tensor | None = None,
                                     size_average: bool | None = None, reduce: bool | None = None,
                                     reduction: str = "mean",
                                     pos_weight: Tensor | None = None) -> Tensor:
    """`binary_cross_entropy` of sigmoid(input), without overflow.

    Args:
        pos_weight: a factor on the term of positive targets; broadcasts.
    """
    if input._layout.shape != target._layout.shape:
        raise ValueError(f"Target size (torch.Size({list(target._layout.shape)})) must be the same "
                         f"as input size (torch.Size({list(input._layout.shape)}))")
    expect_float("log_sigmoid_cpu", input._layout)
    refuse_cast(input._layout.dtype, target._layout.dtype)
    negative = apply(OPS["logsigmoid"], (input,))
    if pos_weight is not None:
        negative = negative * ((pos_weight - 1) * target + 1)
    loss = (1 - target) * input - negative
    reduction = chosen(size_average, reduce, reduction)
    return reduced(loss if weight is None else loss * weight, reduction)


def kl_div(input: Tensor, target: Tensor, size_average: bool | None = None,
           reduce: bool | None = None, reduction: str = "mean",
           log_target: bool = False) -> Tensor:
    """t (log(t) - input) for log-probabilities `input` and probabilities t.

    Args:
        reduction: "none", "sum", "mean" (over all entries) or "batchmean" (the sum over N).
        log_target: whether `target` holds log(t).
    """
    if input._layout.dtype.category < 2 or target._layout.dtype.category < 2:
        raise RuntimeError("kl_div: Integral inputs not supported.")
    batch = reduction == "batchmean"
    reduction = chosen(size_average, reduce, "sum" if batch else reduction)
    if reduction == "mean":
        warnings.warn(
            "reduction: 'mean' divides the total loss by both the batch size and the support size."
            "'batchmean' divides only by the batch size, and aligns with the KL div math "
            "definition."
            "'mean' will be changed to behave the same as 'batchmean' in the next major release.",
            UserWarning, stacklevel=users_line())
    if log_target:
        loss = target.exp() * (target - input)
    else:
        # t log(t) is 0 at t = 0
        loss = target * where(target > 0, target, 1.0).log() - target * input
    if batch and input.dim():
        return loss.sum() / input._layout.shape[0]
    return reduced(loss, reduction)


def soft_margin_loss(input: Tensor, target: Tensor, size_average: bool | None = None,
                     reduce: bool | None = None, reduction: str = "mean") -> Tensor:
    """log(1 + exp(-t x)) for targets t of 1 and -1."""
    reduction = chosen(size_average, reduce, reduction)
    product = target * input
    refuse_cast(float32, product._layout.dtype)
    if product._layout.shape != input._layout.shape:
        raise RuntimeError(f"output with shape {list(input._layout.shape)} doesn't match the "
                           f"broadcast shape {list(product._layout.shape)}")
    return reduced(-apply(OPS["logsigmoid"], (product,)), reduction)


def hinge_embedding_loss(input: Tensor, target: Tensor, margin: float = 1.0,
                         size_average: bool | None = None, reduce: bool | None = None,
                         reduction: str = "mean") -> Tensor:
    """x where the target is 1, max(0, margin - x) where it is -1."""
    reduction = chosen(size_average, reduce, reduction)
    far = where(target != 1, (margin - input).clamp_min(0), 0)
    return reduced(far + where(target != -1, input, 0), reduction)


def margin_ranking_loss(input1: Tensor, input2: Tensor, target: Tensor, margin: float = 0.0,
                        size_average: bool | None = None, reduce: bool | None = None,
                        reduction: str = "mean") -> Tensor:
    """max(0, -t (x1 - x2) + margin): t is 1 where x1 should be the larger, else -1."""
    reduction = chosen(size_average, reduce, reduction)
    shapes = [t._layout.shape for t in (input1, input2, target)]
    if len({len(shape) for shape in shapes}) > 1:
        raise RuntimeError("margin_ranking_loss : All input tensors should have same dimension but "
                           f"got sizes: input1: {shapes[0]}, input2: {shapes[1]}, target: "
                           f"{shapes[2]} ")
    return reduced((-target * (input1 - input2) + float(margin)).clamp_min(0), reduction)


def poisson_nll_loss(input: Tensor, target: Tensor, log_input: bool = True, full: bool = False,
                     size_average: bool | None = None, eps: float = 1e-8,
                     reduce: bool | None = None, reduction: str = "mean") -> Tensor:
    """exp(x) - t x, or x - t log(x + eps), for counts t of rate exp(x), or x.

    Args:
        log_input: whether `input` is the logarithm of the rate.
        full: add Stirling's t log(t) - t + log(2 pi t) / 2 where t > 1.
    """
    reduction = chosen(size_average, reduce, reduction)
    loss = input.exp() - target * input if log_input else input - target * (input + eps).log()
    if full:
        stirling = target * target.log() - target + 0.5 * (2 * math.pi * target).log()
        loss = loss + stirling.masked_fill(target <= 1, 0)
    return reduced(loss, reduction)


def gaussian_nll_loss(input: Tensor, target: Tensor, var: Tensor | float, full: bool = False,
                      eps: float = 1e-6, reduction: str = "mean") -> Tensor:
    """(log(var) + (x - t)^2 / var) / 2, where var is at least eps.

    Args:
        var: of the shape of `input`, or 1 along one axis, or without the last; or one number.
        full: add log(2 pi) / 2.
    """
    if isinstance(var, float):
        var = input.new_full(input._layout.shape, var)
    if (var < 0).any():
        raise ValueError("var has negative entry/entries")
    own, shape = input._layout.shape, var._layout.shape
    if own != shape and own[:-1] == shape:
        var = unsqueeze(var, -1)
    elif own != shape and not (len(own) == len(shape) and
                               sum(n for m, n in zip(own, shape) if m != n) == 1):
        raise ValueError("var is of incorrect size")
    reduction = chosen(None, None, reduction)
    var = var.clone()
    with no_grad():
        var.clamp_(min=eps)
    loss = 0.5 * (var.log() + (input - target).square() / var)
    return reduced(loss + 0.5 * math.log(2 * math.pi) if full else loss, reduction)
