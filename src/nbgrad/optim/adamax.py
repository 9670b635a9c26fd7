"""Adamax: Adam by the largest gradient."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from nbgrad.formulas.updates import adamax
from nbgrad.optim.optimizer import (
    Optimizer,
    advance,
    refuse_betas,
    refuse_negative,
    refuse_recording,
)
from nbgrad.tensor import Tensor


class Adamax(Optimizer):
    """Adam with the largest gradient, which fades by `beta2`, in the place of the root of squares.

    Args:
        params: parameters, (name, parameter) pairs or groups (dicts).
        maximize: climb instead of descend.
        foreach, capturable: choose an implementation in PyTorch; without effect here.
    """

    def __init__(self, params: Iterable, lr: float = 2e-3,
                 betas: tuple[float, float] = (0.9, 0.999), eps: float = 1e-8,
                 weight_decay: float = 0, foreach: bool | None = None, *, maximize: bool = False,
                 differentiable: bool = False, capturable: bool = False) -> None:
        refuse_negative(lr=lr, eps=eps, weight_decay=weight_decay)
        refuse_betas(betas)
        refuse_recording(self, differentiable)
        super().__init__(params, {
            "lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay, "foreach": foreach,
            "maximize": maximize, "differentiable": differentiable, "capturable": capturable})

    def update(self, p: Tensor, group: dict[str, Any]) -> None:
        beta1, beta2 = map(float, group["betas"])
        t = advance(self.state[p])
        self.run(adamax, p, (
            float(group["weight_decay"]), -1.0 if group["maximize"] else 1.0, 1 - beta1, beta2,
            float(group["lr"]) / (1 - beta1 ** t), float(group["eps"])))
