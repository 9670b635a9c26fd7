"""Stochastic gradient descent."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from nbgrad.formulas.updates import sgd, sgd_momentum, sgd_nesterov
from nbgrad.optim.optimizer import Optimizer, refuse_negative
from nbgrad.tensor import Tensor


class SGD(Optimizer):
    """Stochastic gradient descent with momentum.

    `g += weight_decay * p`, `b = momentum * b + (1 - dampening) * g` (`b = g` at first), and
    `p -= lr * b`, or with `nesterov` `p -= lr * (g + momentum * b)`.

    Args:
        params: parameters, (name, parameter) pairs or groups (dicts).
        maximize: climb instead of descend.
        foreach, fused: choose an implementation in PyTorch; without effect here.

    Example:
        >>> optimizer = SGD(model.parameters(), lr=0.1, momentum=0.9)
        >>> optimizer.zero_grad()
        >>> loss(model(x), target).backward()
        >>> optimizer.step()
    """

    def __init__(self, params: Iterable, lr: float = 1e-3, momentum: float = 0,
                 dampening: float = 0, weight_decay: float = 0, nesterov: bool = False, *,
                 maximize: bool = False, foreach: bool | None = None,
                 differentiable: bool = False, fused: bool | None = None) -> None:
        refuse_negative(lr=lr, momentum=momentum, weight_decay=weight_decay)
        if nesterov and (momentum <= 0 or dampening != 0):
            raise ValueError("Nesterov momentum requires a momentum and zero dampening")
        if differentiable:
            raise NotImplementedError("SGD(differentiable=True): steps are not recorded")
        super().__init__(params, {
            "lr": lr, "momentum": momentum, "dampening": dampening, "weight_decay": weight_decay,
            "nesterov": nesterov, "maximize": maximize, "foreach": foreach,
            "differentiable": differentiable, "fused": fused})

    def update_all(self, params: list[Tensor], group: dict[str, Any]) -> None:
        numbers = (float(group["lr"]), float(group["weight_decay"]),
                   -1.0 if group["maximize"] else 1.0)
        mu = float(group["momentum"])
        if mu == 0:
            for p in params:
                self.run(sgd, p, numbers)
            return
        row = sgd_nesterov if group["nesterov"] else sgd_momentum
        first, later = (*numbers, mu, 1.0), (*numbers, mu, 1.0 - group["dampening"])
        for p in params:
            started = self.state[p].get("momentum_buffer") is not None
            self.run(row, p, later if started else first)
