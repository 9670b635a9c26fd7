"""RAdam: Adam that trusts its spread when that is known."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

from nbgrad.formulas.updates import radam, radam_early
from nbgrad.optim.optimizer import (
    Optimizer,
    advance,
    refuse_betas,
    refuse_negative,
    refuse_recording,
)
from nbgrad.tensor import Tensor


class RAdam(Optimizer):
    """Adam whose first steps are not divided by the spread, which few gradients do not tell.

    Args:
        params: parameters, (name, parameter) pairs or groups (dicts).
        decoupled_weight_decay: shrink the parameter instead of changing the gradient.
        maximize: climb instead of descend.
        foreach, capturable: choose an implementation in PyTorch; without effect here.
    """

    def __init__(self, params: Iterable, lr: float = 1e-3,
                 betas: tuple[float, float] = (0.9, 0.999), eps: float = 1e-8,
                 weight_decay: float = 0, decoupled_weight_decay: bool = False, *,
                 foreach: bool | None = None, maximize: bool = False, capturable: bool = False,
                 differentiable: bool = False) -> None:
        refuse_negative(lr=lr, eps=eps, weight_decay=weight_decay)
        refuse_betas(betas)
        refuse_recording(self, differentiable)
        super().__init__(params, {
            "lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay, "maximize": maximize,
            "foreach": foreach, "capturable": capturable,
            "decoupled_weight_decay": decoupled_weight_decay, "differentiable": differentiable})

    def update(self, p: Tensor, group: dict[str, Any]) -> None:
        lr, decay, (beta1, beta2) = float(group["lr"]), float(group["weight_decay"]), group["betas"]
        t, apart = advance(self.state[p]), group["decoupled_weight_decay"]
        most = 2 / (1 - beta2) - 1
        rho = most - 2 * t * beta2 ** t / (1 - beta2 ** t)
        rate, row = lr / (1 - beta1 ** t), radam_early
        if rho > 5:
            row = radam
            rate *= math.sqrt((rho - 4) * (rho - 2) * most / ((most - 4) * (most - 2) * rho)
                              * (1 - beta2 ** t))
        self.run(row, p, (
            0.0 if apart else decay, -1.0 if group["maximize"] else 1.0,
            1 - lr * decay if apart else 1.0, 1 - beta1, beta2, 1 - beta2, rate,
            float(group["eps"])))
