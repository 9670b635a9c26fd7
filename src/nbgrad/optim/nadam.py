"""NAdam: Adam with Nesterov's momentum."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

from nbgrad.formulas.updates import nadam
from nbgrad.ops.create import tensor
from nbgrad.optim.optimizer import (
    Optimizer,
    advance,
    refuse_betas,
    refuse_negative,
    refuse_recording,
)
from nbgrad.tensor import Tensor


class NAdam(Optimizer):
    """Adam that looks ahead along its momentum, as Nesterov's does.

    Args:
        params: parameters, (name, parameter) pairs or groups (dicts).
        momentum_decay: how quickly the momentum grows to `beta1`.
        decoupled_weight_decay: shrink the parameter instead of changing the gradient.
        maximize: climb instead of descend.
        foreach, capturable: choose an implementation in PyTorch; without effect here.
    """

    def __init__(self, params: Iterable, lr: float = 2e-3,
                 betas: tuple[float, float] = (0.9, 0.999), eps: float = 1e-8,
                 weight_decay: float = 0, momentum_decay: float = 4e-3,
                 decoupled_weight_decay: bool = False, *, foreach: bool | None = None,
                 maximize: bool = False, capturable: bool = False,
                 differentiable: bool = False) -> None:
        refuse_negative(lr=lr, eps=eps, weight_decay=weight_decay, momentum_decay=momentum_decay)
        refuse_betas(betas)
        refuse_recording(self, differentiable)
        super().__init__(params, {
            "lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay,
            "momentum_decay": momentum_decay, "decoupled_weight_decay": decoupled_weight_decay,
            "maximize": maximize, "foreach": foreach, "capturable": capturable,
            "differentiable": differentiable})

    def update(self, p: Tensor, group: dict[str, Any]) -> None:
        state = self.state[p]
        lr, decay, (beta1, beta2) = float(group["lr"]), float(group["weight_decay"]), group["betas"]
        t, apart = advance(state), group["decoupled_weight_decay"]
        mu, after = [beta1 * (1 - 0.5 * 0.96 ** (k * group["momentum_decay"])) for k in (t, t + 1)]
        if "mu_product" not in state:
            state["mu_product"] = tensor(1.0, device="cpu")
        product = state["mu_product"]
        product.data.mul_(mu)
        done = float(product)
        root = math.sqrt(1 - beta2 ** t)
        self.run(nadam, p, (
            0.0 if apart else decay, -1.0 if group["maximize"] else 1.0,
            1 - lr * decay if apart else 1.0, 1 - beta1, beta2, 1 - beta2,
            lr * (1 - mu) / (1 - done) * root, lr * after / (1 - done * after) * root,
            float(group["eps"]) * root))
