"""Adagrad: steps divided by the root of the sum of all squares."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from nbgrad.formulas.updates import adagrad
from nbgrad.ops.create import tensor
from nbgrad.optim.optimizer import Optimizer, advance, refuse_negative, refuse_recording
from nbgrad.tensor import Tensor


class Adagrad(Optimizer):
    """Gradients divided by the root of the sum of their squares so far.

    `s += g ** 2`, `p -= lr / (1 + (t - 1) * lr_decay) * g / (sqrt(s) + eps)` at step t.

    Args:
        params: parameters, (name, parameter) pairs or groups (dicts).
        initial_accumulator_value: what the sums start from.
        maximize: climb instead of descend.
        foreach, fused: choose an implementation in PyTorch; without effect here.
    """

    def __init__(self, params: Iterable, lr: float = 1e-2, lr_decay: float = 0,
                 weight_decay: float = 0, initial_accumulator_value: float = 0, eps: float = 1e-10,
                 foreach: bool | None = None, *, maximize: bool = False,
                 differentiable: bool = False, fused: bool | None = None) -> None:
        refuse_negative(lr=lr, lr_decay=lr_decay, weight_decay=weight_decay,
                        initial_accumulator_value=initial_accumulator_value, eps=eps)
        refuse_recording(self, differentiable)
        super().__init__(params, {
            "lr": lr, "lr_decay": lr_decay, "eps": eps, "weight_decay": weight_decay,
            "initial_accumulator_value": initial_accumulator_value, "foreach": foreach,
            "maximize": maximize, "differentiable": differentiable, "fused": fused})
        for group in self.param_groups:
            for p in group["params"]:
                self._start(p, group)

    def _start(self, p: Tensor, group: dict[str, Any]) -> None:
        self.state[p] = {"step": tensor(0.0, device="cpu"), "sum": p.new_full(
            p.shape, float(group["initial_accumulator_value"]))}

    def update(self, p: Tensor, group: dict[str, Any]) -> None:
        if "sum" not in self.state[p]:
            self._start(p, group)
        t = advance(self.state[p])
        self.run(adagrad, p, (
            float(group["weight_decay"]), -1.0 if group["maximize"] else 1.0,
            float(group["lr"]) / (1 + (t - 1) * float(group["lr_decay"])), float(group["eps"])))
