"""Activations that the package has under their own names: rows with a param or a weight."""

from __future__ import annotations

from nbgrad.ops.apply import apply, apply_
from nbgrad.ops.elementwise import OPS
from nbgrad.ops.family import expect_float, expect_tensor, number
from nbgrad.ops.shape import reshape
from nbgrad.tensor import Tensor


def real(name: str, argument: str, value) -> float:
    """A param as a float; TypeError for what is no number."""
    found = number(value)
    if found is None:
        raise TypeError(f"{name}(): argument '{argument}' must be Number, not "
                        f"{type(value).__name__}")
    return float(found)


def _checked(name: str, kernel: str, input: Tensor) -> None:
    expect_tensor(name, input=input)
    expect_float(kernel, input._layout)


def _celu(name: str, input: Tensor, alpha: float) -> tuple[float]:
    _checked(name, "elu_cpu", input)
    if real(name, "alpha", alpha) == 0:
        raise RuntimeError("ZeroDivisionError: alpha cannot be 0 for CELU")
    return (float(alpha),)


def celu(input: Tensor, alpha: float = 1.0) -> Tensor:
    """x where positive, else alpha * (exp(x / alpha) - 1)."""
    return OPS["celu"].one(input, _celu("celu", input, alpha))


def celu_(input: Tensor, alpha: float = 1.0) -> Tensor:
    """`celu`, in place."""
    return apply_(OPS["celu"], input, (), _celu("celu_", input, alpha))


def hardshrink(input: Tensor, lambd: float = 0.5) -> Tensor:
    """x where |x| > lambd, else 0."""
    _checked("hardshrink", "hardshrink_cpu", input)
    return OPS["hardshrink"].one(input, (real("hardshrink", "lambd", lambd),))


def threshold(input: Tensor, threshold: float, value: float) -> Tensor:
    """x where it exceeds the threshold, else `value`."""
    expect_tensor("threshold", input=input)
    return OPS["threshold"].one(input, _numbers(threshold, value))


def threshold_(input: Tensor, threshold: float, value: float) -> Tensor:
    """`threshold`, in place."""
    return apply_(OPS["threshold"], input, (), _numbers(threshold, value))


def _numbers(*values) -> tuple:
    for value in values:
        real("threshold", "threshold", value)
    return values


def prelu(input: Tensor, weight: Tensor) -> Tensor:
    """x where positive, else weight * x; one weight for all, or one a channel (axis 1)."""
    expect_tensor("prelu", input=input, weight=weight)
    shape, count = input._layout.shape, weight._layout.numel
    if input.dtype is not weight.dtype:
        raise RuntimeError(f"prelu: Type promoting not supported. Got {input.dtype.legacy} and "
                           f"{weight.dtype.legacy}")
    channels = shape[1] if len(shape) > 1 else 1
    if count not in (1, channels):
        raise RuntimeError("Mismatch of parameter numbers and input channel size. Found parameter "
                           f"numbers = {count} and channel size = {channels}.")
    if len(weight._layout.shape) > 1:
        raise RuntimeError("prelu: Expected `weight` to be a scalar or 1D tensor, but got: ndim = "
                           f"{len(weight._layout.shape)}")
    expect_float("prelu_cpu", input._layout)
    w = reshape(weight, (-1,) + (1,) * max(len(shape) - 2, 0) if count > 1 else (1,) * len(shape))
    return apply(OPS["prelu"], (input, w))


FUNCTIONS = {"hardshrink": hardshrink, "prelu": prelu}
PACKAGE_ONLY = {f.__name__: f for f in (celu, celu_, threshold, threshold_)}
