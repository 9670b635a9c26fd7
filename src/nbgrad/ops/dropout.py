"""Dropout: random entries or channels put out, and the others scaled.

No mask is kept: it is made anew from (seed, offset) wherever it is needed.
"""

from __future__ import annotations

import math
import warnings

from nbgrad.kernels.backend import Twins
from nbgrad.ops.apply import apply, apply_
from nbgrad.ops.family import expect_tensor, users_line
from nbgrad.ops.generator import default_generator
from nbgrad.ops.op import Op
from nbgrad.tensor import Tensor

kernels = Twins("random")
write = Twins("layouts").write


class Dropout(Op):
    """Entries zeroed with probability p, the others scaled; attrs (p, scale, seed, offset).

    The gradient is the op itself.
    """

    name = "NativeDropout"
    label = "dropout_"

    def forward(self, x, p, scale, seed, offset):
        return kernels.dropout(x, p, scale, seed, offset)

    def run_into(self, target, others, attrs) -> None:
        x = target._array()
        write(x, self.forward(x, *attrs))

    def backward(self, node, grad):
        return apply(DROPOUT, (grad,), node.attrs)


class AlphaDropout(Dropout):
    """The same, with -`low` in the place of what is put out, before scale and shift keep mean and
    variance; attrs as Dropout's."""

    name = "AlphaDropout"
    label = "alpha_dropout_"

    def forward(self, x, p, scale, seed, offset):
        return kernels.alpha_dropout(x, p, scale, LOW, seed, offset)


DROPOUT, ALPHA_DROPOUT = Dropout(), AlphaDropout()

#: where SELU goes far left, negated
LOW = 1.7580993408473766


def _alpha_scale(p: float) -> float:
    return 1 / math.sqrt((LOW * LOW * p + 1) * (1 - p)) if p < 1 else 0.0


def _idle(name: str, input: Tensor, p: float, training: bool) -> bool:
    """Whether nothing is to be done; wrong arguments are refused."""
    expect_tensor(name, input=input)
    if not 0 <= p <= 1:
        raise ValueError(f"dropout probability has to be between 0 and 1, but got {p}")
    if not training or p == 0 or not input._layout.numel:
        return True
    if input._layout.dtype.category != 2:
        raise RuntimeError("result type Float can't be cast to the desired output type "
                           f"{input._layout.dtype.legacy}")
    return False


def dropout(input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
    """In training, entries zeroed with probability `p` and the others scaled by 1 / (1 - p).

    Example:
        >>> import nbgrad
        >>> dropout(nbgrad.ones(3), 0.5, training=False)
        tensor([1., 1., 1.])
    """
    if _idle("dropout", input, p, training):
        return input
    attrs = (float(p), 1 / (1 - p) if p < 1 else 0.0, *default_generator.take(input._layout.numel))
    return apply_(DROPOUT, input, (), attrs) if inplace else apply(DROPOUT, (input,), attrs)


def alpha_dropout(input: Tensor, p: float = 0.5, training: bool = False,
                  inplace: bool = False) -> Tensor:
    """Dropout that keeps mean and variance of what SELU makes: entries put out become its limit."""
    if _idle("alpha_dropout", input, p, training):
        return input
    op = ALPHA_DROPOUT if p < 1 else DROPOUT
    attrs = (float(p), _alpha_scale(p), *default_generator.take(input._layout.numel))
    return apply_(op, input, (), attrs) if inplace else apply(op, (input,), attrs)


def _kept_channels(input: Tensor, p: float, batched: bool) -> Tensor:
    """A one for every channel that stays, a zero for those put out: (N, C, 1, …) or (C, 1, …)."""
    shape = input._layout.shape
    if len(shape) < 1 + batched:
        raise RuntimeError("Feature dropout requires at least 2 dimensions in the input")
    channels = shape[:1 + batched]
    ones = input.new_ones(channels + (1,) * (len(shape) - len(channels)))
    return apply(DROPOUT, (ones,), (float(p), 1.0, *default_generator.take(ones._layout.numel)))


def _feature(input: Tensor, p: float, inplace: bool, batched: bool = True) -> Tensor:
    mask = _kept_channels(input, p, batched) * (1 / (1 - p) if p < 1 else 0.0)
    return input.mul_(mask) if inplace else input * mask


def feature_alpha_dropout(input: Tensor, p: float = 0.5, training: bool = False,
                          inplace: bool = False) -> Tensor:
    """`alpha_dropout` of whole channels of (N, C, …)."""
    if _idle("feature_alpha_dropout", input, p, training):
        return input
    if p == 1:
        return _feature(input, p, inplace)
    scale = _alpha_scale(p)
    kept = _kept_channels(input, p, True)
    shift = (kept - (1 - p)) * (LOW * scale)
    kept = kept * scale
    return input.mul_(kept).add_(shift) if inplace else input * kept + shift


def dropout1d(input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
    """`dropout` of whole channels of (N, C, L) or (C, L)."""
    expect_tensor("dropout1d", input=input)
    if 0 <= p <= 1 and input.dim() not in (2, 3):
        raise RuntimeError(f"dropout1d: Expected 2D or 3D input, but received a {input.dim()}D input. "
                           "Note that dropout1d exists to provide channel-wise dropout on inputs with "
                           "1 spatial dimension, a channel dimension, and an optional batch dimension "
                           "(i.e. 2D or 3D inputs).")
    if _idle("dropout1d", input, p, training):
        return input
    return _feature(input, p, inplace, input.dim() == 3)


def dropout2d(input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
    """`dropout` of whole channels of (N, C, H, W); three axes are taken for (N, C, L)."""
    idle = _idle("dropout2d", input, p, training)
    _warn_of_rank("dropout2d", input, (3, 4))
    if input.dim() == 3:
        warnings.warn("dropout2d: Received a 3D input to dropout2d and assuming that channel-wise 1D "
                      "dropout behavior is desired - input is interpreted as shape (N, C, L), where C "
                      "is the channel dim. This behavior will change in a future release to interpret "
                      "the input as one without a batch dimension, i.e. shape (C, H, W). To maintain "
                      "the 1D channel-wise dropout behavior, please switch to using dropout1d "
                      "instead.", UserWarning, stacklevel=users_line())
    return input if idle else _feature(input, p, inplace)


def dropout3d(input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
    """`dropout` of whole channels of (N, C, D, H, W) or (C, D, H, W)."""
    idle = _idle("dropout3d", input, p, training)
    _warn_of_rank("dropout3d", input, (4, 5))
    return input if idle else _feature(input, p, inplace, input.dim() == 5)


def _warn_of_rank(name: str, input: Tensor, ranks: tuple[int, int]) -> None:
    if input.dim() not in ranks:
        warnings.warn(f"{name}: Received a {input.dim()}-D input to {name}, which is deprecated and "
                      "will result in an error in a future release. To retain the behavior and silence "
                      f"this warning, please use dropout instead. Note that {name} exists to provide "
                      "channel-wise dropout on inputs with a channel dimension, and an optional batch "
                      f"dimension (i.e. {ranks[0]}D or {ranks[1]}D inputs).", UserWarning,
                      stacklevel=users_line())


def _by_train(function, name: str):
    def call(input: Tensor, p: float, train: bool, inplace: bool = False) -> Tensor:
        try:
            return function(input, p, train, inplace)
        except ValueError as error:
            raise RuntimeError(*error.args) from None

    def call_(input: Tensor, p: float, train: bool) -> Tensor:
        return call(input, p, train, True)

    call.__name__, call_.__name__ = name, f"{name}_"
    call.__doc__, call_.__doc__ = function.__doc__, f"`{name}`, in place."
    return {name: call, f"{name}_": call_}


PACKAGE_ONLY = (_by_train(dropout, "dropout") | _by_train(alpha_dropout, "alpha_dropout")
                | _by_train(feature_alpha_dropout, "feature_alpha_dropout"))
