"""Losses as modules."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

from nbgrad.nn import functional as F
from nbgrad.nn.module import Module
from nbgrad.ops.loss import chosen
from nbgrad.tensor import Tensor


class _Loss(Module):
    """Calls a loss of `nbgrad.nn.functional`.

    Args:
        reduction: "mean", "sum" or "none".
        size_average, reduce: what PyTorch used before `reduction`; both False means "none".
    """

    function: ClassVar[str]

    def __init_subclass__(cls, function: str | None = None) -> None:
        super().__init_subclass__()
        if function is not None:
            cls.function = function

    def __init__(self, size_average: bool | None = None, reduce: bool | None = None,
                 reduction: str = "mean") -> None:
        super().__init__()
        self.reduction = chosen(size_average, reduce, reduction)

    def options(self) -> dict[str, Any]:
        """What is passed to the function besides input, target and reduction."""
        return {}

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        return getattr(F, self.function)(input, target, reduction=self.reduction, **self.options())


class L1Loss(_Loss, function="l1_loss"):
    """`|x - y|`."""


class MSELoss(_Loss, function="mse_loss"):
    """`(x - y) ** 2`."""


class SmoothL1Loss(_Loss, function="smooth_l1_loss"):
    """`(x - y) ** 2 / (2 beta)` where `|x - y| < beta`, else `|x - y| - beta / 2`."""

    def __init__(self, size_average: bool | None = None, reduce: bool | None = None,
                 reduction: str = "mean", beta: float = 1.0) -> None:
        super().__init__(size_average, reduce, reduction)
        self.beta = beta

    def options(self) -> dict[str, Any]:
        return {"beta": self.beta}


class HuberLoss(_Loss, function="huber_loss"):
    """`(x - y) ** 2 / 2` where `|x - y| < delta`, else `delta * (|x - y| - delta / 2)`."""

    def __init__(self, reduction: str = "mean", delta: float = 1.0) -> None:
        super().__init__(reduction=reduction)
        self.delta = delta

    def options(self) -> dict[str, Any]:
        return {"delta": self.delta}


class KLDivLoss(_Loss, function="kl_div"):
    """`y * (log y - x)` for log-probabilities x; with `log_target` y is one as well."""

    def __init__(self, size_average: bool | None = None, reduce: bool | None = None,
                 reduction: str = "mean", log_target: bool = False) -> None:
        super().__init__(size_average, reduce, "mean" if reduction == "batchmean" else reduction)
        self.reduction = "batchmean" if reduction == "batchmean" else self.reduction
        self.log_target = log_target

    def options(self) -> dict[str, Any]:
        return {"log_target": self.log_target}


class _WeightedLoss(_Loss):
    """A loss with a weight for each class or element, kept as a buffer."""

    weight: Tensor | None

    def __init__(self, weight: Tensor | None = None, size_average: bool | None = None,
                 reduce: bool | None = None, reduction: str = "mean") -> None:
        super().__init__(size_average, reduce, reduction)
        self.register_buffer("weight", weight)

    def options(self) -> dict[str, Any]:
        return {"weight": self.weight}


class BCELoss(_WeightedLoss, function="binary_cross_entropy"):
    """`-(y log x + (1 - y) log(1 - x))` for probabilities x; logarithms stop at -100."""


class BCEWithLogitsLoss(_WeightedLoss, function="binary_cross_entropy_with_logits"):
    """BCELoss of `sigmoid(x)`, in its precise form; `pos_weight` multiplies the y part."""

    pos_weight: Tensor | None

    def __init__(self, weight: Tensor | None = None, size_average: bool | None = None,
                 reduce: bool | None = None, reduction: str = "mean",
                 pos_weight: Tensor | None = None) -> None:
        super().__init__(weight, size_average, reduce, reduction)
        self.register_buffer("pos_weight", pos_weight)

    def options(self) -> dict[str, Any]:
        return {"weight": self.weight, "pos_weight": self.pos_weight}


class NLLLoss(_WeightedLoss, function="nll_loss"):
    """Minus the log-probability of the target class; targets `ignore_index` do not count."""

    def __init__(self, weight: Tensor | None = None, size_average: bool | None = None,
                 ignore_index: int = -100, reduce: bool | None = None,
                 reduction: str = "mean") -> None:
        super().__init__(weight, size_average, reduce, reduction)
        self.ignore_index = ignore_index

    def options(self) -> dict[str, Any]:
        return {"weight": self.weight, "ignore_index": self.ignore_index}


class CrossEntropyLoss(_WeightedLoss, function="cross_entropy"):
    """NLLLoss of `log_softmax(x)`: the usual loss of a classifier's logits.

    Args:
        weight: a weight for each class.
        ignore_index: targets with this value do not count.
        reduction: "mean" (by the weights of the counted), "sum" or "none".
        label_smoothing: how much of each target is spread over all classes.

    Shape: logits (N, C, ...), targets (N, ...) of classes or (N, C, ...) of probabilities.
    """

    def __init__(self, weight: Tensor | None = None, size_average: bool | None = None,
                 ignore_index: int = -100, reduce: bool | None = None, reduction: str = "mean",
                 label_smoothing: float = 0.0) -> None:
        super().__init__(weight, size_average, reduce, reduction)
        self.ignore_index, self.label_smoothing = ignore_index, label_smoothing

    def options(self) -> dict[str, Any]:
        return {"weight": self.weight, "ignore_index": self.ignore_index,
                "label_smoothing": self.label_smoothing}


class SoftMarginLoss(_Loss, function="soft_margin_loss"):
    """`log(1 + exp(-y x))` for targets y of 1 and -1."""


class MultiLabelMarginLoss(_Loss, function="multilabel_margin_loss"):
    """The sum over target classes y and other classes j of `max(0, 1 - x_y + x_j) / C`.

    Shape: scores (N, C) or (C,), targets of the same shape: classes up to the first -1.
    """


class MultiLabelSoftMarginLoss(_WeightedLoss, function="multilabel_soft_margin_loss"):
    """The mean over classes of BCEWithLogitsLoss, for targets of 0 and 1."""


class HingeEmbeddingLoss(_Loss, function="hinge_embedding_loss"):
    """`x` where the target is 1, `max(0, margin - x)` where it is -1."""

    def __init__(self, margin: float = 1.0, size_average: bool | None = None,
                 reduce: bool | None = None, reduction: str = "mean") -> None:
        super().__init__(size_average, reduce, reduction)
        self.margin = margin

    def options(self) -> dict[str, Any]:
        return {"margin": self.margin}


class MultiMarginLoss(_WeightedLoss, function="multi_margin_loss"):
    """The mean over classes j other than the target y of `max(0, margin - x_y + x_j) ** p`."""

    def __init__(self, p: int = 1, margin: float = 1.0, weight: Tensor | None = None,
                 size_average: bool | None = None, reduce: bool | None = None,
                 reduction: str = "mean") -> None:
        super().__init__(weight, size_average, reduce, reduction)
        if p not in (1, 2):
            raise ValueError("only p == 1 and p == 2 supported")
        if weight is not None and weight.dim() != 1:
            raise ValueError("weight must be one-dimensional")
        self.p, self.margin = p, margin

    def options(self) -> dict[str, Any]:
        return {"p": self.p, "margin": self.margin, "weight": self.weight}


class PoissonNLLLoss(_Loss, function="poisson_nll_loss"):
    """`exp(x) - y x`, or `x - y log(x + eps)`: counts y of rate exp(x), or x.

    Args:
        log_input: whether x is the logarithm of the rate.
        full: add Stirling's approximation of `log(y!)`.
    """

    def __init__(self, log_input: bool = True, full: bool = False,
                 size_average: bool | None = None, eps: float = 1e-8, reduce: bool | None = None,
                 reduction: str = "mean") -> None:
        super().__init__(size_average, reduce, reduction)
        self.log_input, self.full, self.eps = log_input, full, eps

    def options(self) -> dict[str, Any]:
        return {"log_input": self.log_input, "full": self.full, "eps": self.eps}


class GaussianNLLLoss(_Loss):
    """`(log(var) + (x - y) ** 2 / var) / 2`, with var at least `eps`."""

    def __init__(self, *, full: bool = False, eps: float = 1e-6, reduction: str = "mean") -> None:
        super().__init__(reduction=reduction)
        self.full, self.eps = full, eps

    def forward(self, input: Tensor, target: Tensor,  # type: ignore[override]
                var: Tensor | float) -> Tensor:
        return F.gaussian_nll_loss(input, target, var, self.full, self.eps, self.reduction)


class _PairLoss(_Loss):
    """A loss of two inputs and a target that says how they should stand, with a margin."""

    def __init__(self, margin: float = 0.0, size_average: bool | None = None,
                 reduce: bool | None = None, reduction: str = "mean") -> None:
        super().__init__(size_average, reduce, reduction)
        self.margin = margin

    def forward(self, input1: Tensor, input2: Tensor,  # type: ignore[override]
                target: Tensor) -> Tensor:
        return getattr(F, self.function)(input1, input2, target, self.margin,
                                         reduction=self.reduction)


class MarginRankingLoss(_PairLoss, function="margin_ranking_loss"):
    """`max(0, -y (x1 - x2) + margin)`: y is 1 where x1 should be the larger, else -1."""


class CosineEmbeddingLoss(_PairLoss, function="cosine_embedding_loss"):
    """`1 - cos(x1, x2)` where the target is 1, `max(0, cos(x1, x2) - margin)` where it is -1."""


class TripletMarginLoss(_Loss):
    """`max(0, d(anchor, positive) - d(anchor, negative) + margin)`, d the p-norm distance.

    Args:
        swap: take the positive's distance to the negative where it is the smaller.
    """

    def __init__(self, margin: float = 1.0, p: float = 2.0, eps: float = 1e-6, swap: bool = False,
                 size_average: bool | None = None, reduce: bool | None = None,
                 reduction: str = "mean") -> None:
        super().__init__(size_average, reduce, reduction)
        if margin <= 0:
            raise ValueError(f"TripletMarginLoss: expected margin to be greater than 0, got {margin}")
        self.margin, self.p, self.eps, self.swap = margin, p, eps, swap

    def forward(self, anchor: Tensor, positive: Tensor,  # type: ignore[override]
                negative: Tensor) -> Tensor:
        return F.triplet_margin_loss(anchor, positive, negative, self.margin, self.p, self.eps,
                                     self.swap, reduction=self.reduction)


class TripletMarginWithDistanceLoss(_Loss):
    """TripletMarginLoss with any distance of two tensors."""

    def __init__(self, *, distance_function: Callable[[Tensor, Tensor], Tensor] | None = None,
                 margin: float = 1.0, swap: bool = False, reduction: str = "mean") -> None:
        super().__init__(reduction=reduction)
        if margin <= 0:
            raise ValueError("TripletMarginWithDistanceLoss: expected margin to be greater than 0, "
                             f"got {margin}")
        self.distance_function = distance_function or F.pairwise_distance
        self.margin, self.swap = margin, swap

    def forward(self, anchor: Tensor, positive: Tensor,  # type: ignore[override]
                negative: Tensor) -> Tensor:
        return F.triplet_margin_with_distance_loss(
            anchor, positive, negative, distance_function=self.distance_function,
            margin=self.margin, swap=self.swap, reduction=self.reduction)


class CTCLoss(_Loss):
    """Minus the log of the summed probability of all alignments of sequences with their labels.

    Args:
        blank: the class that stands for no label.
        zero_infinity: whether a target without any alignment counts for nothing.

    Shape: log-probabilities (T, N, C), labels (N, S) or in one vector, two lengths (N,).
    """

    def __init__(self, blank: int = 0, reduction: str = "mean",
                 zero_infinity: bool = False) -> None:
        super().__init__(reduction=reduction)
        self.blank, self.zero_infinity = blank, zero_infinity

    def forward(self, log_probs: Tensor, targets: Tensor,  # type: ignore[override]
                input_lengths, target_lengths) -> Tensor:
        return F.ctc_loss(log_probs, targets, input_lengths, target_lengths, self.blank,
                          self.reduction, self.zero_infinity)
