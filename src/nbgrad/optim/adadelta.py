"""Adadelta: steps as large as those before."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from nbgrad.formulas.updates import adadelta
from nbgrad.optim.optimizer import Optimizer, advance, refuse_negative, refuse_recording
from nbgrad.tensor import Tensor


class Adadelta(Optimizer):
    """Gradients times the ratio of the running means of the steps' and the gradients' squares.

    Args:
        params: parameters, (name, parameter) pairs or groups (dicts).
        rho: how much of the running means is kept.
        maximize: climb instead of descend.
        foreach, capturable: choose an implementation in PyTorch; without effect here.
    """

    def __init__(self, params: Iterable, lr: float = 1.0, rho: float = 0.9, eps: float = 1e-6,
                 weight_decay: float = 0, foreach: bool | None = None, *, capturable: bool = False,
                 maximize: bool = False, differentiable: bool = False) -> None:
        refuse_negative(lr=lr, eps=eps, weight_decay=weight_decay)
        if not 0 <= rho <= 1:
            raise ValueError(f"Invalid rho value: {rho}")
        refuse_recording(self, differentiable)
        super().__init__(params, {
            "lr": lr, "rho": rho, "eps": eps, "weight_decay": weight_decay, "maximize": maximize,
            "capturable": capturable, "foreach": foreach, "differentiable": differentiable})

    def update(self, p: Tensor, group: dict[str, Any]) -> None:
        rho = float(group["rho"])
        advance(self.state[p])
        self.run(adadelta, p, (
            float(group["weight_decay"]), -1.0 if group["maximize"] else 1.0, float(group["lr"]),
            rho, 1 - rho, float(group["eps"])))
