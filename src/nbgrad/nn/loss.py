"""Losses as modules."""

from __future__ import annotations

from typing import Any, ClassVar

from nbgrad.nn import functional as F
from nbgrad.nn.module import Module
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
        if size_average is not None or reduce is not None:
            reduction = ("none" if reduce is False else
                         "sum" if size_average is False else "mean")
        if reduction not in ("mean", "sum", "none"):
            raise ValueError(f"{reduction} is not a valid value for reduction")
        self.reduction = reduction

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
