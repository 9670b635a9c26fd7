"""The loss of sequences whose alignment with their labels is not known."""

from __future__ import annotations

import numpy as np

from nbgrad.kernels.backend import Twins
from nbgrad.kernels.layout import common
from nbgrad.ops.apply import apply
from nbgrad.ops.create import beside
from nbgrad.ops.dims import Sizes
from nbgrad.ops.family import expect_float, expect_tensor, saved
from nbgrad.ops.loss import reduced
from nbgrad.ops.op import Op
from nbgrad.ops.shape import reshape, unsqueeze
from nbgrad.tensor import Tensor

kernels = Twins("ctc")


class CtcLoss(Op):
    """Minus the log-probability of each target; attrs (blank, zero_infinity, most); and alpha.

    Inputs are log-probabilities (T, N, C), the labels of all targets in one vector, and for each
    sample where its labels start, its time steps and its number of labels, `most` at the most.
    """

    name = "CtcLoss"
    outputs = 2

    def forward(self, *arrays_and_attrs):
        return kernels.ctc(*arrays_and_attrs)

    def saves(self, needs, attrs):
        return (0, 1, 2, 3, 4, -2)

    def backward(self, node, grad, _):
        logp, *rest, alpha = saved(node).values()
        grad = apply(CTC_BACKWARD, (grad, logp, *rest, alpha), node.attrs[:2])
        return grad, None, None, None, None


class CtcLossBackward(Op):
    """The gradient to log-probabilities, which has none itself, as in PyTorch."""

    name = "CtcLossBackward"

    def forward(self, g, logp, targets, starts, times, lengths, alpha, blank, zero_infinity):
        return kernels.ctc_backward(g, logp, targets, starts, times, lengths, blank, alpha,
                                    zero_infinity)


CTC, CTC_BACKWARD = CtcLoss(), CtcLossBackward()


def _lengths(given, name: str, batch: int, most: int | None) -> np.ndarray:
    """Lengths, one for each sample, as an array."""
    if isinstance(given, Tensor):
        if given._layout.dtype.category != 1:
            raise RuntimeError(f"{name} must be integral")
        given = given._values()
    elif not isinstance(given, (tuple, list)):
        raise TypeError(f"ctc_loss(): argument '{name}' must be tuple of ints, not "
                        f"{type(given).__name__}")
    found = np.array(given, np.int64).reshape(-1)
    if found.size != batch:
        raise RuntimeError(f"{name} must be of size batch_size")
    for n in found:
        if n < 0 or (most is not None and n > most):
            bound = "at least 0" if n < 0 else f"at most {most}"
            raise RuntimeError(f"Expected {name} to have value {bound}, but got value {n}")
    return found


def _labels(targets: Tensor, lengths: np.ndarray, classes: int) -> tuple[np.ndarray, np.ndarray]:
    """The labels in one vector, and where those of each sample start."""
    labels = targets._values()
    if labels.ndim == 1:
        if labels.size != lengths.sum():
            raise RuntimeError(f"Expected tensor to have size {lengths.sum()} at dimension 0, but "
                               f"got size {labels.size} for argument #2 'targets'")
        starts = np.cumsum(lengths) - lengths
        used = labels
    elif labels.ndim == 2:
        most = int(lengths.max(initial=0))
        if labels.shape[0] != lengths.size or labels.shape[1] < most:
            k = int(labels.shape[0] == lengths.size)
            raise RuntimeError(
                f"Expected tensor to have size {'at least ' if k else ''}"
                f"{most if k else lengths.size} at dimension {k}, but got size {labels.shape[k]} for "
                "argument #2 'targets'")
        starts = np.arange(lengths.size) * labels.shape[1]
        used = labels[np.arange(labels.shape[1]) < lengths[:, None]]
    else:
        raise RuntimeError(f"Expected 1- or 2-dimensional tensor, but got {labels.ndim}-dimensional "
                           "tensor for argument #2 'targets'")
    if used.size and not (used.min() >= 0 and used.max() < classes):
        raise RuntimeError(f"ctc_loss: targets must be labels from 0 to {classes - 1}, got "
                           f"{int(used.min())} to {int(used.max())}")
    return np.ascontiguousarray(labels, np.int64).reshape(-1), starts.astype(np.int64)


def ctc_loss(log_probs: Tensor, targets: Tensor, input_lengths: Tensor | Sizes,
             target_lengths: Tensor | Sizes, blank: int = 0, reduction: str = "mean",
             zero_infinity: bool = False) -> Tensor:
    """Minus the log of the summed probability of all alignments of sequences with their targets.

    Args:
        log_probs: log-softmax of a classifier over time (T, N, C), or (T, C).
        targets: labels (N, S), or those of all samples in one vector; or (S,).
        input_lengths, target_lengths: how much of each sample counts, (N,).
        blank: the class that stands for no label.
        reduction: "none", "sum", or "mean" of the losses by their targets' lengths.
        zero_infinity: whether a target without any alignment counts for nothing.
    """
    expect_tensor("ctc_loss", log_probs=log_probs, targets=targets)
    if reduction not in ("none", "mean", "sum"):
        raise ValueError(f"{reduction} is not a valid value for reduction")
    batched = log_probs.dim() == 3
    logp = log_probs if batched else unsqueeze(log_probs, 1)
    if logp.dim() != 3:
        raise RuntimeError(f"Expected 3-dimensional tensor, but got {logp.dim()}-dimensional tensor "
                           "for argument #1 'log_probs'")
    expect_float("ctc_loss_cpu", logp._layout)
    steps, batch, classes = logp._layout.shape
    if logp._layout.numel == 0:
        raise RuntimeError("log_probs tensor must not be empty")
    if not 0 <= blank < classes:
        raise RuntimeError("blank must be in label range")
    common(log_probs._layout, targets._layout)
    times = _lengths(input_lengths, "input_lengths", batch, steps)
    lengths = _lengths(target_lengths, "target_lengths", batch, None)
    labels, starts = _labels(targets, lengths, classes)
    loss = apply(CTC, (logp, *[beside(logp, a) for a in (labels, starts, times, lengths)]),
                 (int(blank), bool(zero_infinity), int(lengths.max())))[0]
    if reduction == "mean":
        loss = loss / beside(logp, np.maximum(lengths, 1)).to(logp.dtype)
    return reduced(loss if batched else reshape(loss, ()), reduction)
