"""The functions of `nn`: layers without their parameters, activations and losses."""

from __future__ import annotations

import warnings

from nbgrad.ops import pad as _pad
from nbgrad.ops.apply import apply, apply_
from nbgrad.ops.conv import conv1d, conv2d, conv_transpose2d
from nbgrad.ops.elementwise import OPS
from nbgrad.ops.embedding import embedding, one_hot
from nbgrad.ops.family import expect_float, expect_tensor
from nbgrad.ops.loss import (
    binary_cross_entropy,
    binary_cross_entropy_with_logits,
    cross_entropy,
    huber_loss,
    kl_div,
    l1_loss,
    mse_loss,
    nll_loss,
    smooth_l1_loss,
)
from nbgrad.ops.matmul import linear
from nbgrad.ops.norm import batch_norm, group_norm, instance_norm, layer_norm, rms_norm
from nbgrad.ops.pool import adaptive_avg_pool2d, avg_pool2d, max_pool2d
from nbgrad.ops.random import dropout, dropout2d
from nbgrad.ops.reductions import norm as _norm
from nbgrad.ops.shape import axis, chunk, permute, reshape
from nbgrad.ops.softmax import log_softmax as _log_softmax
from nbgrad.ops.softmax import softmax as _softmax
from nbgrad.tensor import Tensor

pad = _pad.pad

__all__ = [
    "adaptive_avg_pool2d", "avg_pool2d", "batch_norm", "binary_cross_entropy",
    "binary_cross_entropy_with_logits", "celu", "conv1d", "conv2d", "conv_transpose2d",
    "cosine_similarity", "cross_entropy", "dropout", "dropout2d", "elu", "elu_", "embedding",
    "gelu", "glu", "group_norm", "hardshrink", "hardsigmoid", "hardswish", "hardtanh", "hardtanh_",
    "huber_loss", "instance_norm", "kl_div", "l1_loss", "layer_norm", "leaky_relu", "leaky_relu_",
    "linear", "log_softmax", "logsigmoid", "max_pool2d", "mish", "mse_loss", "nll_loss",
    "normalize", "one_hot", "pad", "prelu", "relu", "relu6", "relu_", "rms_norm", "selu", "selu_",
    "sigmoid", "silu", "smooth_l1_loss", "softmax", "softmin", "softplus", "softshrink", "softsign",
    "tanh", "tanhshrink", "threshold", "threshold_", "unfold",
]


def _row(name: str, input: Tensor, attrs: tuple = (), inplace: bool = False) -> Tensor:
    """Run an elementwise row, in place if asked."""
    expect_tensor(name, input=input)
    return apply_(OPS[name], input, (), attrs) if inplace else OPS[name].one(input, attrs)


def relu(input: Tensor, inplace: bool = False) -> Tensor:
    """max(x, 0); the gradient at 0 is 0."""
    return _row("relu", input, (), inplace)


def relu_(input: Tensor) -> Tensor:
    """`relu`, in place."""
    return _row("relu", input, (), True)


def hardtanh(input: Tensor, min_val: float = -1.0, max_val: float = 1.0,
             inplace: bool = False) -> Tensor:
    """x between `min_val` and `max_val`, else the bound it passed."""
    if min_val > max_val:
        raise ValueError("min_val cannot be greater than max_val")
    return _row("hardtanh", input, (min_val, max_val), inplace)


def hardtanh_(input: Tensor, min_val: float = -1.0, max_val: float = 1.0) -> Tensor:
    """`hardtanh`, in place."""
    return hardtanh(input, min_val, max_val, True)


def relu6(input: Tensor, inplace: bool = False) -> Tensor:
    """min(max(x, 0), 6)."""
    return _row("hardtanh", input, (0, 6), inplace)


def leaky_relu(input: Tensor, negative_slope: float = 0.01, inplace: bool = False) -> Tensor:
    """x where positive, else negative_slope * x."""
    expect_tensor("leaky_relu", input=input)
    expect_float("leaky_relu_cpu", input._layout)
    return _row("leaky_relu", input, (float(negative_slope),), inplace)


def leaky_relu_(input: Tensor, negative_slope: float = 0.01) -> Tensor:
    """`leaky_relu`, in place."""
    return leaky_relu(input, negative_slope, True)


def _float_row(name: str, input: Tensor, attrs: tuple = (), inplace: bool = False,
               kernel: str | None = None) -> Tensor:
    """Run a row that PyTorch defines for floats alone."""
    expect_tensor(name, input=input)
    expect_float(kernel or f"{name}_cpu", input._layout)
    return _row(name, input, attrs, inplace)


def elu(input: Tensor, alpha: float = 1.0, inplace: bool = False) -> Tensor:
    """x where positive, else alpha * (exp(x) - 1)."""
    return _float_row("elu", input, (float(alpha),), inplace)


def elu_(input: Tensor, alpha: float = 1.0) -> Tensor:
    """`elu`, in place."""
    return elu(input, alpha, True)


def selu(input: Tensor, inplace: bool = False) -> Tensor:
    """`elu` with the scale and alpha that keep mean 0 and variance 1."""
    return _float_row("selu", input, (), inplace, "elu_cpu")


def selu_(input: Tensor) -> Tensor:
    """`selu`, in place."""
    return selu(input, True)


def celu(input: Tensor, alpha: float = 1.0, inplace: bool = False) -> Tensor:
    """x where positive, else alpha * (exp(x / alpha) - 1)."""
    if alpha == 0:
        raise RuntimeError("ZeroDivisionError: alpha cannot be 0 for CELU")
    return _float_row("celu", input, (float(alpha),), inplace, "elu_cpu")


def gelu(input: Tensor, approximate: str = "none") -> Tensor:
    """x times the normal distribution function of x, or its approximation by "tanh"."""
    if approximate not in ("none", "tanh"):
        raise RuntimeError("approximate argument must be either none or tanh.")
    name = "gelu" if approximate == "none" else "gelu_tanh"
    return _float_row(name, input, (), False, "GeluKernelImpl")


def silu(input: Tensor, inplace: bool = False) -> Tensor:
    """x * sigmoid(x)."""
    return _float_row("silu", input, (), inplace)


def mish(input: Tensor, inplace: bool = False) -> Tensor:
    """x * tanh(softplus(x))."""
    return _float_row("mish", input, (), inplace)


def softplus(input: Tensor, beta: float = 1.0, threshold: float = 20.0) -> Tensor:
    """log(1 + exp(beta * x)) / beta; x itself where beta * x exceeds the threshold."""
    return _float_row("softplus", input, (float(beta), float(threshold)))


def softsign(input: Tensor) -> Tensor:
    """x / (1 + |x|)."""
    return _row("softsign", input)


def hardsigmoid(input: Tensor, inplace: bool = False) -> Tensor:
    """x / 6 + 1 / 2, between 0 and 1."""
    return _float_row("hardsigmoid", input, (), inplace)


def hardswish(input: Tensor, inplace: bool = False) -> Tensor:
    """x * hardsigmoid(x)."""
    return _float_row("hardswish", input, (), inplace)


def hardshrink(input: Tensor, lambd: float = 0.5) -> Tensor:
    """x where |x| > lambd, else 0."""
    return _float_row("hardshrink", input, (float(lambd),))


def softshrink(input: Tensor, lambd: float = 0.5) -> Tensor:
    """x moved towards 0 by lambd, and 0 where |x| <= lambd."""
    if lambd < 0:
        raise RuntimeError(f"lambda must be in range [0, 3.40282e+38] for input dtype "
                           f"{input.dtype.legacy}, but found {lambd:g}")
    return _float_row("softshrink", input, (float(lambd),))


def tanhshrink(input: Tensor) -> Tensor:
    """x - tanh(x)."""
    return _row("tanhshrink", input)


def threshold(input: Tensor, threshold: float, value: float, inplace: bool = False) -> Tensor:
    """x where it exceeds the threshold, else `value`."""
    return _row("threshold", input, (threshold, value), inplace)


def threshold_(input: Tensor, threshold: float, value: float) -> Tensor:
    """`threshold`, in place."""
    return _row("threshold", input, (threshold, value), True)


def logsigmoid(input: Tensor) -> Tensor:
    """log(sigmoid(x)), without overflow."""
    return _float_row("logsigmoid", input, (), False, "log_sigmoid_cpu")


def sigmoid(input: Tensor) -> Tensor:
    """1 / (1 + exp(-x))."""
    return _row("sigmoid", input)


def tanh(input: Tensor) -> Tensor:
    """The hyperbolic tangent."""
    return _row("tanh", input)


def prelu(input: Tensor, weight: Tensor) -> Tensor:
    """x where positive, else weight * x; one weight for all, or one a channel (axis 1)."""
    expect_tensor("prelu", input=input, weight=weight)
    shape, count = input._layout.shape, weight._layout.numel
    channels = shape[1] if len(shape) > 1 else 1
    if count not in (1, channels):
        raise RuntimeError("Mismatch of parameter numbers and input channel size. Found parameter "
                           f"numbers = {count} and channel size = {channels}.")
    if len(weight._layout.shape) > 1:
        raise RuntimeError("prelu: Expected `weight` to be a scalar or 1D tensor, but got: ndim = "
                           f"{len(weight._layout.shape)}")
    w = reshape(weight, (-1,) + (1,) * max(len(shape) - 2, 0) if count > 1 else (1,) * len(shape))
    return apply(OPS["prelu"], (input, w))


def glu(input: Tensor, dim: int = -1) -> Tensor:
    """a * sigmoid(b), where a and b are the halves of the input along `dim`."""
    expect_tensor("glu", input=input)
    d = axis(input, dim)
    n = input._layout.shape[d]
    if n % 2:
        raise RuntimeError(f"Halving dimension must be even, but dimension {d} is size {n}")
    a, b = chunk(input, 2, d)
    return a * sigmoid(b)


def _implicit_dim(name: str, input: Tensor, dim: int | None, depth: int = 3) -> int:
    if dim is not None:
        return dim
    warnings.warn(f"Implicit dimension choice for {name} has been deprecated. Change the call to "
                  "include dim=X as an argument.", UserWarning, stacklevel=depth)
    return 0 if input.dim() in (0, 1, 3) else 1


def softmax(input: Tensor, dim: int | None = None, dtype=None) -> Tensor:
    """exp(x) / sum(exp(x)) along `dim`."""
    return _softmax(input, _implicit_dim("softmax", input, dim), dtype)


def log_softmax(input: Tensor, dim: int | None = None, dtype=None) -> Tensor:
    """log(softmax(x)) along `dim`, without overflow."""
    return _log_softmax(input, _implicit_dim("log_softmax", input, dim), dtype)


def softmin(input: Tensor, dim: int | None = None, dtype=None) -> Tensor:
    """softmax(-x) along `dim`."""
    return _softmax(-input, _implicit_dim("softmin", input, dim), dtype)


def normalize(input: Tensor, p: float = 2.0, dim: int = 1, eps: float = 1e-12) -> Tensor:
    """x divided by its p-norm along `dim`, or by eps where that is larger."""
    return input / _norm(input, p, dim, True).clamp_min(eps)


def cosine_similarity(x1: Tensor, x2: Tensor, dim: int = 1, eps: float = 1e-8) -> Tensor:
    """The sum of x1 * x2 along `dim` over the product of their norms, each at least eps."""
    lengths = [_norm(x, 2, dim, True).clamp_min(eps) for x in (x1, x2)]
    return (x1 / lengths[0] * (x2 / lengths[1])).sum(dim)


def unfold(input: Tensor, kernel_size, dilation=1, padding=0, stride=1) -> Tensor:
    """The windows of (N, C, H, W) or (C, H, W) as columns: (N, C * kh * kw, windows)."""
    pairs = [(v, v) if isinstance(v, int) else tuple(v)
             for v in (kernel_size, dilation, padding, stride)]
    (kh, kw), (dh, dw), (ph, pw), (sh, sw) = pairs
    batched = input.dim() == 4
    x = pad(input if batched else input.unsqueeze(0), (pw, pw, ph, ph))
    x = x.unfold(2, dh * (kh - 1) + 1, sh).unfold(3, dw * (kw - 1) + 1, sw)[..., ::dh, ::dw]
    n, c, oh, ow = x._layout.shape[:4]
    columns = reshape(permute(x, 0, 1, 4, 5, 2, 3), (n, c * kh * kw, oh * ow))
    return columns if batched else columns.squeeze(0)
