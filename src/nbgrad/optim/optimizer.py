"""Optimizer: groups of parameters with their options, and a state for each parameter."""

from __future__ import annotations

import warnings
from collections import defaultdict
from collections.abc import Callable, Iterable
from copy import deepcopy
from itertools import chain
from typing import Any

from nbgrad.devices import CPU
from nbgrad.engine.mode import enable_grad, no_grad
from nbgrad.engine.provenance import here
from nbgrad.formulas.updates import Update
from nbgrad.kernels import updates
from nbgrad.kernels.layout import common
from nbgrad.ops.create import tensor
from nbgrad.tensor import Tensor


class Optimizer:
    """The base of all optimizers; a new one overrides `update`, or `update_all`.

    Args:
        params: tensors, (name, tensor) pairs, or dicts with "params" and options of their own.
        defaults: options of the groups that do not give them.
    """

    def __init__(self, params: Iterable, defaults: dict[str, Any]) -> None:
        if isinstance(params, Tensor):
            raise TypeError("params argument given to the optimizer should be an iterable of "
                            f"Tensors or dicts, but got {describe(params)}")
        self.defaults = defaults
        self.state: defaultdict[Tensor, dict[str, Any]] = defaultdict(dict)
        self.param_groups: list[dict[str, Any]] = []
        self.steps = 0  # lr_scheduler asks whether any was made
        self._waiting: dict[tuple, list] = {}  # vectors of parameters on a device, for each step
        self._writer: Any = None  # what messages call the last step, and the line that made it
        groups = list(params)
        if not groups:
            raise ValueError("optimizer got an empty parameter list")
        for group in groups if isinstance(groups[0], dict) else [{"params": groups}]:
            self.add_param_group(group)

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Optimize more parameters, with options of their own."""
        if not isinstance(param_group, dict):
            raise TypeError(f"param_group must be a dict, but got {type(param_group)}")
        given = param_group["params"]
        if isinstance(given, set):
            raise TypeError("optimizer parameters need to be organized in ordered collections, but "
                            "the ordering of tensors in sets will change between runs. Please use "
                            "a list instead.")
        given = [given] if isinstance(given, Tensor) else list(given)
        group = {**param_group, "params": given}
        if given and isinstance(given[0], tuple):
            group["param_names"] = [name for name, _ in given]
            given = group["params"] = [p for _, p in given]
        known = {id(p) for other in self.param_groups for p in other["params"]}
        for p in given:
            if not isinstance(p, Tensor):
                raise TypeError(f"optimizer can only optimize Tensors, but one of the params is "
                                f"{describe(p)}")
            if not (p.is_leaf or p.retains_grad):
                raise ValueError("can't optimize a non-leaf Tensor")
            if id(p) in known:
                raise ValueError("some parameters appear in more than one parameter group")
        if len({id(p) for p in given}) != len(given):
            warnings.warn("optimizer contains a parameter group with duplicate parameters; in "
                          "future, this will cause an error", UserWarning, stacklevel=3)
        self.param_groups.append(self.defaults | group)

    def step(self, closure: Callable[[], Any] | None = None):
        """Move every parameter that has a gradient; returns what `closure` returned.

        Args:
            closure: computes the loss anew and calls backward on it.
        """
        loss = None
        if closure is not None:
            with enable_grad():
                loss = closure()
        self._writer = f"{type(self).__name__}.step", here(2)
        with no_grad():
            for group in self.param_groups:
                params = [p for p in group["params"] if p.grad is not None]
                if params:
                    self.update_all(params, group)
                    self._finish()
        self.steps += 1
        return loss

    def update_all(self, params: list[Tensor], group: dict[str, Any]) -> None:
        """Move parameters of a group, each by its gradient."""
        for p in params:
            self.update(p, group)

    def update(self, p: Tensor, group: dict[str, Any]) -> None:
        """Move one parameter by its gradient."""
        raise NotImplementedError(f"{type(self).__name__}.update")

    def run(self, row: Update, p: Tensor, scalars: tuple[float, ...]) -> None:
        """Run the row of a step on `p`, its gradient and its states, in place.

        On a CUDA device that is done for many parameters together, once all of a group are known.
        """
        own = p._layout
        tensors, arrays = [p], [p._data]
        if row.states:
            state = self.state[p]
            for name in row.states:
                held = state.get(name)
                if held is None:
                    held = state[name] = p.new_zeros(p.shape)
                tensors.append(held)
                arrays.append(held._data)
        grad = p.grad
        assert grad is not None
        tensors.append(grad)
        arrays.append(grad._data)
        counter = p._count()
        counter.writing()
        for t, array in zip(tensors, arrays):
            # layouts are interned: the same one is the same dtype, shape and strides
            if t._layout is not own or array.size != own.numel or not own.dense or own.dtype.half:
                _step(row, tensors, scalars)
                break
        else:
            if own.device is CPU:
                updates.step_flat(row, arrays, scalars)
            else:
                self._waiting.setdefault((row, own.dtype, scalars), []).append(arrays)
        counter.count += 1
        counter.writer = self._writer

    def _finish(self) -> None:
        """Take the steps of parameters on a device that `run` was asked for."""
        while self._waiting:
            (row, _, scalars), parameters = self._waiting.popitem()
            updates.step_many(row, parameters, scalars)

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget the gradients of all parameters, or fill them with zeros."""
        clear([p for group in self.param_groups for p in group["params"]], set_to_none)

    def state_dict(self) -> dict[str, Any]:
        """`state` and `param_groups` with numbers in the place of parameters."""
        numbers: dict[int, int] = {}
        groups = []
        for group in self.param_groups:
            for p in group["params"]:
                numbers.setdefault(id(p), len(numbers))
            rest = {k: v for k, v in group.items() if k != "params"}
            groups.append(rest | {"params": [numbers[id(p)] for p in group["params"]]})
        state = {numbers.get(id(p), p): value for p, value in self.state.items()}
        return {"state": state, "param_groups": groups}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from `state_dict()` of an optimizer over parameters in the same order.

        States are copied and take the dtype and the device of their parameter.
        """
        saved = state_dict["param_groups"]
        if len(saved) != len(self.param_groups):
            raise ValueError("loaded state dict has a different number of parameter groups")
        if any(len(s["params"]) != len(g["params"]) for s, g in zip(saved, self.param_groups)):
            raise ValueError("loaded state dict contains a parameter group that doesn't match the "
                             "size of optimizer's group")
        by_number = dict(zip(chain.from_iterable(s["params"] for s in saved),
                             chain.from_iterable(g["params"] for g in self.param_groups)))
        state: defaultdict[Tensor, dict[str, Any]] = defaultdict(dict)
        for number, values in state_dict["state"].items():
            p = by_number.get(_number(number))
            state[number if p is None else p] = {
                name: _copied(name, value, p) for name, value in values.items()}
        self.state = state
        self.param_groups = [
            {"params": g["params"]} | deepcopy({k: v for k, v in s.items() if k != "params"})
            for s, g in zip(saved, self.param_groups)]

    def __getstate__(self) -> dict[str, Any]:
        return vars(self) | {"_writer": None}

    def __repr__(self) -> str:
        lines = []
        for k, group in enumerate(self.param_groups):
            lines += [f"Parameter Group {k}"]
            lines += [f"    {name}: {group[name]}" for name in sorted(group) if name != "params"]
        return f"{type(self).__name__} (\n" + "\n".join(lines) + "\n)"


def describe(value: Any) -> str:
    if isinstance(value, Tensor):
        return f"nbgrad.{value.dtype.legacy}Tensor"
    return type(value).__name__


def clear(params: Iterable[Tensor], set_to_none: bool) -> None:
    """Forget gradients, or fill them with zeros."""
    for p in params:
        if p.grad is None:
            continue
        if set_to_none:
            p.grad = None
        else:
            with no_grad():
                p.grad.detach_().zero_()


def refuse_negative(**options: float) -> None:
    """Refuse options below zero, and NaN."""
    for name, value in options.items():
        if not value >= 0:
            what = {"lr": "learning rate", "eps": "epsilon value"}.get(name, f"{name} value")
            raise ValueError(f"Invalid {what}: {value}")


def refuse_betas(betas: tuple[float, float]) -> None:
    """Refuse rates of running means outside [0, 1)."""
    for k, beta in enumerate(betas):
        if not 0 <= beta < 1:
            raise ValueError(f"Invalid beta parameter at index {k}: {beta}")


def refuse_recording(optimizer: Optimizer, differentiable: bool) -> None:
    """Refuse PyTorch's option to record steps."""
    if differentiable:
        raise NotImplementedError(
            f"{type(optimizer).__name__}(differentiable=True): steps are not recorded")


def advance(state: dict[str, Any]) -> float:
    """Count one more step of a parameter; returns their number."""
    step = state.get("step")
    if step is None:
        step = state["step"] = tensor(0.0, device="cpu")
    if type(step) is not Tensor:  # a number, as PyTorch once kept it
        state["step"] = step + 1
        return float(step + 1)
    array, at = step._data, step._layout.offset
    array[at] += 1
    return array.item(at)


def _number(key: Any) -> Any:
    """The number of a parameter: a file that keeps names keeps it as text."""
    return int(key) if isinstance(key, str) and key.isdigit() else key


def _copied(name: str, value: Any, p: Tensor | None) -> Any:
    if not isinstance(value, Tensor):
        return deepcopy(value)
    copy = value.detach().clone()
    if name in ("step", "mu_product"):  # numbers, which the host computes with
        return copy.cpu()
    if p is not None:
        copy = copy.to(p.device, p.dtype if copy.is_floating_point() else None)
    return copy


def _step(row: Update, tensors: list[Tensor], scalars: tuple[float, ...]) -> None:
    """Run a row on tensors of any layout; 16-bit floats, all but the gradient, by way of float32."""
    wide = [t.detach().float() if t._layout.dtype.half else t for t in tensors]
    if common(*[t._layout for t in tensors]) is CPU:
        updates.step(row, [t._array() for t in wide], scalars)
    else:
        wide = [t.detach().contiguous() for t in wide]
        updates.step_many(row, [[t._array().reshape(-1) for t in wide]], scalars)
    for t, moved in zip(tensors[:-1], wide):
        if moved._data is not t._data:
            t.data.copy_(moved)
