"""RMSprop: steps divided by a running mean of squares."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from nbgrad.formulas.updates import rmsprop, rmsprop_both, rmsprop_centered, rmsprop_momentum
from nbgrad.optim.optimizer import Optimizer, advance, refuse_negative, refuse_recording
from nbgrad.tensor import Tensor


class RMSprop(Optimizer):
    """Gradients divided by the root of the running mean `v` of their squares.

    `v = alpha * v + (1 - alpha) * g ** 2`, `p -= lr * g / (sqrt(v) + eps)`.

    Args:
        params: parameters, (name, parameter) pairs or groups (dicts).
        alpha: how much of the running means is kept.
        momentum: keep this share of the steps so far.
        centered: take the square of the running mean of the gradient from `v`.
        maximize: climb instead of descend.
        foreach, capturable: choose an implementation in PyTorch; without effect here.
    """

    def __init__(self, params: Iterable, lr: float = 1e-2, alpha: float = 0.99, eps: float = 1e-8,
                 weight_decay: float = 0, momentum: float = 0, centered: bool = False,
                 capturable: bool = False, foreach: bool | None = None, maximize: bool = False,
                 differentiable: bool = False) -> None:
        refuse_negative(lr=lr, eps=eps, momentum=momentum, weight_decay=weight_decay, alpha=alpha)
        refuse_recording(self, differentiable)
        super().__init__(params, {
            "lr": lr, "momentum": momentum, "alpha": alpha, "eps": eps, "centered": centered,
            "weight_decay": weight_decay, "capturable": capturable, "foreach": foreach,
            "maximize": maximize, "differentiable": differentiable})

    def update(self, p: Tensor, group: dict[str, Any]) -> None:
        alpha, mu = float(group["alpha"]), float(group["momentum"])
        numbers: tuple[float, ...] = (
            float(group["weight_decay"]), -1.0 if group["maximize"] else 1.0, float(group["lr"]),
            alpha, 1 - alpha, float(group["eps"]))
        if mu > 0:
            row, numbers = rmsprop_both if group["centered"] else rmsprop_momentum, (*numbers, mu)
        else:
            row = rmsprop_centered if group["centered"] else rmsprop
        advance(self.state[p])
        self.run(row, p, numbers)
