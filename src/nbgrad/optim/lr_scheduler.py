"""Learning rates that change from epoch to epoch."""

from __future__ import annotations

import math
import warnings
from collections import Counter
from collections.abc import Callable, Iterable
from types import FunctionType
from typing import Any

from nbgrad.optim.optimizer import Optimizer


class LRScheduler:
    """The base of all schedulers; a new one gives `get_lr`: the rates of `self.last_epoch`.

    Rates follow from the present ones of the groups, so that rates set by hand stay.
    """

    def __init__(self, optimizer: Optimizer, last_epoch: int = -1) -> None:
        if not isinstance(optimizer, Optimizer):
            raise TypeError(f"{type(optimizer).__name__} is not an Optimizer")
        for k, group in enumerate(optimizer.param_groups):
            if last_epoch == -1:
                group.setdefault("initial_lr", group["lr"])
            elif "initial_lr" not in group:
                raise KeyError(f"param 'initial_lr' is not specified in param_groups[{k}] when "
                               "resuming scheduler with last_epoch >= 0.\nLoad the state of the "
                               "optimizer first, or leave last_epoch out for a fresh run.")
        self.optimizer = optimizer
        self.base_lrs = [group["initial_lr"] for group in optimizer.param_groups]
        self.last_epoch = last_epoch
        self._step_count = 0
        self.step()

    def get_lr(self) -> list[float]:
        """The rates of all groups at `last_epoch`."""
        raise NotImplementedError

    def get_last_lr(self) -> list[float]:
        """The rates that the last step set."""
        return self._last_lr

    def step(self) -> None:
        """Go to the next epoch; call it after `optimizer.step()`."""
        if self._step_count == 1 and not self.optimizer.steps \
                and type(self.optimizer).step is Optimizer.step:
            warnings.warn(_TOO_EARLY, UserWarning, stacklevel=2)
        self._step_count += 1
        self.last_epoch += 1
        for group, lr in zip(self.optimizer.param_groups, self.get_lr()):
            group["lr"] = lr
        self._last_lr = self._rates

    @property
    def _rates(self) -> list[float]:
        return [group["lr"] for group in self.optimizer.param_groups]

    def state_dict(self) -> dict[str, Any]:
        """All that the scheduler remembers, without the optimizer."""
        return {name: value for name, value in vars(self).items() if name != "optimizer"}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from `state_dict()` of another scheduler."""
        vars(self).update(state_dict)


_TOO_EARLY = (
    "Detected call of `lr_scheduler.step()` before `optimizer.step()`. You should call them in the "
    "opposite order: `optimizer.step()` before `lr_scheduler.step()`, or the first value of the "
    "learning rate schedule is skipped."
)


class StepLR(LRScheduler):
    """Multiplies the rates by `gamma` every `step_size` epochs."""

    def __init__(self, optimizer: Optimizer, step_size: int, gamma: float = 0.1,
                 last_epoch: int = -1) -> None:
        self.step_size, self.gamma = step_size, gamma
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[float]:
        now = self.last_epoch and self.last_epoch % self.step_size == 0
        return [lr * self.gamma if now else lr for lr in self._rates]


class MultiStepLR(LRScheduler):
    """Multiplies the rates by `gamma` at each of `milestones`."""

    def __init__(self, optimizer: Optimizer, milestones: Iterable[int], gamma: float = 0.1,
                 last_epoch: int = -1) -> None:
        self.milestones, self.gamma = Counter(milestones), gamma
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[float]:
        times = self.milestones.get(self.last_epoch, 0)
        return [lr * self.gamma ** times for lr in self._rates]


class ExponentialLR(LRScheduler):
    """Multiplies the rates by `gamma` every epoch."""

    def __init__(self, optimizer: Optimizer, gamma: float, last_epoch: int = -1) -> None:
        self.gamma = gamma
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[float]:
        return [lr * self.gamma if self.last_epoch else lr for lr in self._rates]


class CosineAnnealingLR(LRScheduler):
    """Half a cosine from the first rates down to `eta_min` in `T_max` epochs, and up again.

    With h(t) = 1 + cos(pi t / T_max) the rate above `eta_min` goes like h, so each epoch
    multiplies it by h(t) / h(t - 1); from the bottom, where h is 0, it restarts by adding.
    """

    def __init__(self, optimizer: Optimizer, T_max: int, eta_min: float = 0.0,
                 last_epoch: int = -1) -> None:
        self.T_max, self.eta_min = T_max, eta_min
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[float]:
        t, low = self.last_epoch, self.eta_min
        if t == 0:
            return self._rates
        if self._step_count == 1:
            return [low + (base - low) * self._height(t) / 2 for base in self.base_lrs]
        if (t - 1 - self.T_max) % (2 * self.T_max) == 0:
            rise = (1 - math.cos(math.pi / self.T_max)) / 2
            return [lr + (base - low) * rise for lr, base in zip(self._rates, self.base_lrs)]
        ratio = self._height(t) / self._height(t - 1)
        return [low + (lr - low) * ratio for lr in self._rates]

    def _height(self, t: int) -> float:
        return 1 + math.cos(math.pi * t / self.T_max)


class LambdaLR(LRScheduler):
    """The first rates times `lr_lambda(epoch)`, or times a function for each group."""

    def __init__(self, optimizer: Optimizer,
                 lr_lambda: Callable[[int], float] | list[Callable[[int], float]],
                 last_epoch: int = -1) -> None:
        groups = len(optimizer.param_groups)
        self.lr_lambdas = (list(lr_lambda) if isinstance(lr_lambda, list | tuple)
                           else [lr_lambda] * groups)
        if len(self.lr_lambdas) != groups:
            raise ValueError(f"Expected {groups} lr_lambdas, but got {len(self.lr_lambdas)}")
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[float]:
        return [base * f(self.last_epoch) for base, f in zip(self.base_lrs, self.lr_lambdas)]

    def state_dict(self) -> dict[str, Any]:
        """What the scheduler remembers; functions are left out, objects' attributes kept."""
        kept = [None if isinstance(f, FunctionType) else dict(getattr(f, "__dict__", {}))
                for f in self.lr_lambdas]
        return super().state_dict() | {"lr_lambdas": kept}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        own = self.lr_lambdas
        for f, kept in zip(own, state_dict["lr_lambdas"]):
            if kept is not None:
                vars(f).update(kept)
        super().load_state_dict({k: v for k, v in state_dict.items() if k != "lr_lambdas"})
