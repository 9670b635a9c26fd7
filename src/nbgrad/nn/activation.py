"""Activations as modules: one line of table each."""

from __future__ import annotations

from typing import Any, ClassVar

from nbgrad.nn import functional as F
from nbgrad.nn import init
from nbgrad.nn.module import Module
from nbgrad.nn.parameter import Parameter
from nbgrad.ops.create import empty
from nbgrad.tensor import Tensor

_REQUIRED = object()


class Activation(Module):
    """Calls a function of `nbgrad.nn.functional` with options given once.

    A subclass names the function and its options with their defaults, in the order of the
    constructor.
    """

    function: ClassVar[str]
    defaults: ClassVar[dict[str, Any]]

    def __init_subclass__(cls, function: str | None = None, **defaults: Any) -> None:
        super().__init_subclass__()
        if function is not None:
            cls.function, cls.defaults = function, defaults

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__()
        names = list(self.defaults)
        if len(args) > len(names):
            raise TypeError(f"{type(self).__name__}() takes {len(names)} options "
                            f"({', '.join(names)}), but {len(args)} were given")
        given = dict(zip(names, args))
        for name in kwargs:
            if name not in names or name in given:
                raise TypeError(f"{type(self).__name__}() got an unexpected or repeated argument "
                                f"{name!r}; it takes ({', '.join(names)})")
        for name, value in (self.defaults | given | kwargs).items():
            if value is _REQUIRED:
                raise TypeError(f"{type(self).__name__}() missing required argument {name!r}")
            setattr(self, name, value)

    def options(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self.defaults}

    def forward(self, x: Tensor) -> Tensor:
        return getattr(F, self.function)(x, **self.options())

    def extra_repr(self) -> str:
        options = self.options()
        inplace = ["inplace=True"] if options.pop("inplace", False) else []
        return ", ".join([f"{name}={value!r}" for name, value in options.items()] + inplace)


class ReLU(Activation, function="relu", inplace=False):
    """`max(x, 0)`."""


class LeakyReLU(Activation, function="leaky_relu", negative_slope=0.01, inplace=False):
    """`x` where positive, else `negative_slope * x`."""


class RReLU(Activation, function="rrelu", lower=1 / 8, upper=1 / 3, inplace=False):
    """`x` where positive, else `a * x`; in training, a is drawn for each x from lower … upper."""

    def forward(self, x: Tensor) -> Tensor:
        return F.rrelu(x, training=self.training, **self.options())


class ELU(Activation, function="elu", alpha=1.0, inplace=False):
    """`x` where positive, else `alpha * (exp(x) - 1)`."""


class SELU(Activation, function="selu", inplace=False):
    """ELU with the two constants that keep mean 0 and variance 1 (Klambauer et al. 2017)."""


class CELU(Activation, function="celu", alpha=1.0, inplace=False):
    """`x` where positive, else `alpha * (exp(x / alpha) - 1)`."""


class GELU(Activation, function="gelu", approximate="none"):
    """`x` times the normal distribution function of `x`; approximate="tanh" for its old form."""


class SiLU(Activation, function="silu", inplace=False):
    """`x * sigmoid(x)`."""


class Mish(Activation, function="mish", inplace=False):
    """`x * tanh(softplus(x))`."""


class Sigmoid(Activation, function="sigmoid"):
    """`1 / (1 + exp(-x))`."""


class LogSigmoid(Activation, function="logsigmoid"):
    """`log(sigmoid(x))`."""


class Tanh(Activation, function="tanh"):
    """`tanh(x)`."""


class Tanhshrink(Activation, function="tanhshrink"):
    """`x - tanh(x)`."""


class Softsign(Activation, function="softsign"):
    """`x / (1 + |x|)`."""


class Softplus(Activation, function="softplus", beta=1.0, threshold=20.0):
    """`log(1 + exp(beta * x)) / beta`, or `x` where `beta * x` is beyond the threshold."""


class Threshold(Activation, function="threshold", threshold=_REQUIRED, value=_REQUIRED,
                inplace=False):
    """`x` where above the threshold, else `value`."""


class Hardtanh(Activation, function="hardtanh", min_val=-1.0, max_val=1.0, inplace=False):
    """`x` cut to `min_val` and `max_val`."""


class Softmax(Activation, function="softmax", dim=None):
    """`exp(x)` divided by its sum along `dim`."""


class LogSoftmax(Activation, function="log_softmax", dim=None):
    """`x` less the logarithm of the sum of `exp(x)` along `dim`."""


class Softmin(Activation, function="softmin", dim=None):
    """Softmax of `-x` along `dim`."""


class Softmax2d(Module):
    """Softmax over the channels of (N, C, H, W) or (C, H, W)."""

    def forward(self, x: Tensor) -> Tensor:
        if x.dim() not in (3, 4):
            raise ValueError(f"Softmax2d: expected input to be 3D or 4D, got {x.dim()}D instead")
        return F.softmax(x, -3)


class GLU(Activation, function="glu", dim=-1):
    """`a * sigmoid(b)`, where a and b are the halves of `x` along `dim`."""


class _Quiet(Activation):
    """Prints without the names of its options."""

    def extra_repr(self) -> str:
        return ", ".join(f"{v!r}" for name, v in self.options().items() if name != "inplace")


class Hardswish(_Quiet, function="hardswish", inplace=False):
    """`x * relu6(x + 3) / 6`."""


class Hardsigmoid(_Quiet, function="hardsigmoid", inplace=False):
    """`relu6(x + 3) / 6`."""


class Hardshrink(_Quiet, function="hardshrink", lambd=0.5):
    """`x` where farther from zero than `lambd`, else 0."""


class Softshrink(_Quiet, function="softshrink", lambd=0.5):
    """`x` moved towards zero by `lambd`, at most to zero."""


class ReLU6(Activation, function="relu6", inplace=False):
    """`x` cut to 0 and 6."""


class PReLU(Module):
    """`x` where positive, else `weight * x`, with a weight learnt for all or for each channel."""

    def __init__(self, num_parameters: int = 1, init: float = 0.25, device=None,
                 dtype=None) -> None:
        super().__init__()
        self.num_parameters, self.init = num_parameters, init
        self.weight = Parameter(empty(num_parameters, device=device, dtype=dtype))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Set the weight to its first value."""
        init.constant_(self.weight, self.init)

    def forward(self, x: Tensor) -> Tensor:
        return F.prelu(x, self.weight)

    def extra_repr(self) -> str:
        return f"num_parameters={self.num_parameters}"
