"""Adam with weight decay apart from the gradient (AdamW) or in it (Adam)."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

from nbgrad.formulas.updates import adam, amsgrad
from nbgrad.optim.optimizer import (
    Optimizer,
    advance,
    refuse_betas,
    refuse_negative,
    refuse_recording,
)
from nbgrad.tensor import Tensor


class Adam(Optimizer):
    """Steps of about `lr`, whatever the gradient's scale.

    `m` and `v` are running means of the gradient and its square, divided by `1 - beta ** t`;
    `p -= lr * m / (sqrt(v) + eps)`. Weight decay is added to the gradient.

    Args:
        params: parameters, (name, parameter) pairs or groups (dicts).
        amsgrad: divide by the largest `v` so far.
        maximize: climb instead of descend.
        decoupled_weight_decay: shrink the parameter by `1 - lr * weight_decay` instead, as AdamW.
        foreach, capturable, fused: choose an implementation in PyTorch; without effect here.
    """

    def __init__(self, params: Iterable, lr: float = 1e-3,
                 betas: tuple[float, float] = (0.9, 0.999), eps: float = 1e-8,
                 weight_decay: float = 0, amsgrad: bool = False, *, foreach: bool | None = None,
                 maximize: bool = False, capturable: bool = False, differentiable: bool = False,
                 fused: bool | None = None, decoupled_weight_decay: bool = False) -> None:
        refuse_negative(lr=lr, eps=eps, weight_decay=weight_decay)
        refuse_betas(betas)
        refuse_recording(self, differentiable)
        super().__init__(params, {
            "lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay, "amsgrad": amsgrad,
            "maximize": maximize, "foreach": foreach, "capturable": capturable,
            "differentiable": differentiable, "fused": fused,
            "decoupled_weight_decay": decoupled_weight_decay})

    def update_all(self, params: list[Tensor], group: dict[str, Any]) -> None:
        row = amsgrad if group["amsgrad"] else adam
        known: dict[float, tuple[float, ...]] = {}
        for p in params:
            t = advance(self.state[p])
            numbers = known.get(t)
            if numbers is None:
                numbers = known[t] = _numbers(t, group)
            self.run(row, p, numbers)


def _numbers(t: float, group: dict[str, Any]) -> tuple[float, ...]:
    """The scalars of the row at step `t`."""
    lr, decay, (beta1, beta2) = group["lr"], float(group["weight_decay"]), group["betas"]
    lr, beta1, beta2 = float(lr), float(beta1), float(beta2)
    root = math.sqrt(1 - beta2 ** t)
    apart = group["decoupled_weight_decay"]
    return (0.0 if apart else decay, -1.0 if group["maximize"] else 1.0,
            1.0 - lr * decay if apart else 1.0, beta1, 1 - beta1, beta2, 1 - beta2,
            lr * root / (1 - beta1 ** t), float(group["eps"]) * root)


class AdamW(Adam):
    """Adam with the weight decay apart: the parameter shrinks by `1 - lr * weight_decay` first.

    Args: as of Adam.

    Example:
        >>> optimizer = AdamW(model.parameters(), lr=3e-4, weight_decay=0.05)
    """

    def __init__(self, params: Iterable, lr: float = 1e-3,
                 betas: tuple[float, float] = (0.9, 0.999), eps: float = 1e-8,
                 weight_decay: float = 1e-2, amsgrad: bool = False, **options: Any) -> None:
        super().__init__(params, lr, betas, eps, weight_decay, amsgrad,
                         decoupled_weight_decay=True, **options)
