"""Automatic differentiation: `backward`, `grad`, grad modes and custom functions."""

import warnings as _warnings

from nbgrad.autograd import functional, graph
from nbgrad.autograd.api import backward, grad
from nbgrad.autograd.explain import explain
from nbgrad.autograd.function import Function, once_differentiable
from nbgrad.autograd.gradcheck import GradcheckError, gradcheck, gradgradcheck
from nbgrad.autograd.nonfinite import detect_nonfinite
from nbgrad.engine import mode as grad_mode
from nbgrad.engine.mode import (
    detect_anomaly,
    enable_grad,
    inference_mode,
    is_nan_safe,
    no_grad,
    set_detect_anomaly,
    set_grad_enabled,
    set_nan_safe,
)
from nbgrad.engine.mode import state as _state
from nbgrad.tensor import Tensor as _Tensor

__all__ = ["Function", "GradcheckError", "Variable", "backward", "detect_anomaly",
           "detect_nonfinite", "enable_grad", "explain", "functional", "grad", "grad_mode", "gradcheck",
           "gradgradcheck", "graph", "inference_mode", "is_anomaly_enabled", "is_nan_safe",
           "no_grad", "once_differentiable", "set_detect_anomaly", "set_grad_enabled",
           "set_nan_safe"]


def is_anomaly_enabled() -> bool:
    """True while operations remember where they were recorded."""
    return _state.anomaly


class _VariableType(type):
    def __instancecheck__(cls, value) -> bool:
        return isinstance(value, _Tensor)


class Variable(metaclass=_VariableType):
    """The old name of a tensor in a graph: `Variable(t, requires_grad=True)` returns a Tensor."""

    def __new__(cls, data=None, requires_grad: bool = False, volatile: bool | None = None):
        if volatile is not None:
            _warnings.warn("volatile was removed (Variable.volatile is always False), use `with "
                           "torch.no_grad():` instead.", UserWarning, stacklevel=2)
        if data is None:
            from nbgrad.ops.create import empty

            data = empty(0)
        made = data.detach()
        return made.requires_grad_(True) if requires_grad else made
