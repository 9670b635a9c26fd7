"""The functions of `nn`: layers without their parameters, activations and losses."""

from __future__ import annotations

import warnings

from nbgrad.ops import pad as _pad
from nbgrad.ops.activations import celu as _celu
from nbgrad.ops.activations import celu_, hardshrink, prelu, real, threshold_
from nbgrad.ops.activations import threshold as _threshold
from nbgrad.ops.apply import apply_
from nbgrad.ops.arguments import checked
from nbgrad.ops.attention import multi_head_attention_forward, scaled_dot_product_attention
from nbgrad.ops.bag import embedding_bag
from nbgrad.ops.class_loss import cross_entropy, nll_loss
from nbgrad.ops.conv import (
    conv1d,
    conv2d,
    conv3d,
    conv_transpose1d,
    conv_transpose2d,
    conv_transpose3d,
)
from nbgrad.ops.ctc import ctc_loss
from nbgrad.ops.distance import cosine_similarity, pairwise_distance, pdist
from nbgrad.ops.dropout import (
    alpha_dropout,
    dropout,
    dropout1d,
    dropout2d,
    dropout3d,
    feature_alpha_dropout,
)
from nbgrad.ops.einsum import bilinear
from nbgrad.ops.elementwise import OPS
from nbgrad.ops.embedding import embedding, one_hot
from nbgrad.ops.family import expect_float, expect_tensor
from nbgrad.ops.fold import fold, unfold
from nbgrad.ops.grid import affine_grid, grid_sample
from nbgrad.ops.loss import (
    binary_cross_entropy,
    binary_cross_entropy_with_logits,
    gaussian_nll_loss,
    hinge_embedding_loss,
    huber_loss,
    kl_div,
    l1_loss,
    margin_ranking_loss,
    mse_loss,
    poisson_nll_loss,
    smooth_l1_loss,
    soft_margin_loss,
)
from nbgrad.ops.margin_loss import (
    cosine_embedding_loss,
    multi_margin_loss,
    multilabel_margin_loss,
    multilabel_soft_margin_loss,
    triplet_margin_loss,
    triplet_margin_with_distance_loss,
)
from nbgrad.ops.matmul import linear
from nbgrad.ops.noise import gumbel_softmax, rrelu, rrelu_
from nbgrad.ops.norm import batch_norm, group_norm, instance_norm, layer_norm, rms_norm
from nbgrad.ops.pool import (
    avg_pool1d,
    avg_pool2d,
    avg_pool3d,
    lp_pool1d,
    lp_pool2d,
    lp_pool3d,
    max_pool1d,
    max_pool1d_with_indices,
    max_pool2d,
    max_pool2d_with_indices,
    max_pool3d,
    max_pool3d_with_indices,
)
from nbgrad.ops.pool_adaptive import (
    adaptive_avg_pool1d,
    adaptive_avg_pool2d,
    adaptive_avg_pool3d,
    adaptive_max_pool1d,
    adaptive_max_pool1d_with_indices,
    adaptive_max_pool2d,
    adaptive_max_pool2d_with_indices,
    adaptive_max_pool3d,
    adaptive_max_pool3d_with_indices,
)
from nbgrad.ops.rearrange import channel_shuffle, pixel_shuffle, pixel_unshuffle
from nbgrad.ops.resample import (
    interpolate,
    local_response_norm,
    upsample,
    upsample_bilinear,
    upsample_nearest,
)
from nbgrad.ops.shape import axis, chunk
from nbgrad.ops.softmax import log_softmax as _log_softmax
from nbgrad.ops.softmax import softmax as _softmax
from nbgrad.ops.unpool import max_unpool1d, max_unpool2d, max_unpool3d
from nbgrad.ops.vector_norm import norm as _norm
from nbgrad.tensor import Tensor

pad = _pad.pad

__all__ = [
    "adaptive_avg_pool1d", "adaptive_avg_pool2d", "adaptive_avg_pool3d", "adaptive_max_pool1d",
    "adaptive_max_pool1d_with_indices", "adaptive_max_pool2d", "adaptive_max_pool2d_with_indices",
    "adaptive_max_pool3d", "adaptive_max_pool3d_with_indices", "affine_grid", "alpha_dropout",
    "avg_pool1d", "avg_pool2d", "avg_pool3d", "batch_norm", "bilinear", "binary_cross_entropy",
    "binary_cross_entropy_with_logits", "celu", "channel_shuffle", "conv1d", "conv2d", "conv3d",
    "conv_transpose1d", "conv_transpose2d", "conv_transpose3d", "cosine_embedding_loss",
    "cosine_similarity", "cross_entropy", "ctc_loss", "dropout", "dropout1d", "dropout2d",
    "dropout3d", "elu", "elu_", "embedding", "embedding_bag", "feature_alpha_dropout", "fold",
    "gaussian_nll_loss", "gelu", "glu", "grid_sample", "group_norm", "gumbel_softmax", "hardshrink",
    "hardsigmoid",
    "hardswish", "hardtanh", "hardtanh_", "hinge_embedding_loss", "huber_loss", "instance_norm",
    "interpolate", "kl_div", "l1_loss", "layer_norm", "leaky_relu", "leaky_relu_", "linear",
    "local_response_norm", "log_softmax", "logsigmoid", "lp_pool1d", "lp_pool2d", "lp_pool3d",
    "margin_ranking_loss", "max_pool1d", "max_pool1d_with_indices", "max_pool2d",
    "max_pool2d_with_indices", "max_pool3d", "max_pool3d_with_indices", "max_unpool1d",
    "max_unpool2d", "max_unpool3d", "mish", "mse_loss", "multi_head_attention_forward",
    "multi_margin_loss", "multilabel_margin_loss", "multilabel_soft_margin_loss", "nll_loss",
    "normalize", "one_hot", "pad", "pairwise_distance", "pdist", "pixel_shuffle", "pixel_unshuffle",
    "poisson_nll_loss", "prelu", "relu", "relu6", "relu_", "rms_norm", "rrelu", "rrelu_",
    "scaled_dot_product_attention", "selu", "selu_", "sigmoid", "silu", "smooth_l1_loss",
    "soft_margin_loss", "softmax", "softmin", "softplus", "softshrink", "softsign", "tanh",
    "tanhshrink", "threshold", "threshold_", "triplet_margin_loss",
    "triplet_margin_with_distance_loss", "unfold", "upsample",
    "upsample_bilinear", "upsample_nearest",
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
    if isinstance(input, Tensor) and min_val < 0 and not input.dtype.is_signed:
        raise RuntimeError("cannot do hardtanh on an unsigned type with negative limits")
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
    return _row("leaky_relu", input, (real("leaky_relu", "negative_slope", negative_slope),), inplace)


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
    return _float_row("elu", input, (real("elu", "alpha", alpha),), inplace)


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
    return celu_(input, alpha) if inplace else _celu(input, alpha)


def gelu(input: Tensor, *, approximate: str = "none") -> Tensor:
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
    numbers = real("softplus", "beta", beta), real("softplus", "threshold", threshold)
    return _float_row("softplus", input, numbers)


def softsign(input: Tensor) -> Tensor:
    """x / (1 + |x|)."""
    return _row("softsign", input)


def hardsigmoid(input: Tensor, inplace: bool = False) -> Tensor:
    """x / 6 + 1 / 2, between 0 and 1."""
    return _float_row("hardsigmoid", input, (), inplace)


def hardswish(input: Tensor, inplace: bool = False) -> Tensor:
    """x * hardsigmoid(x)."""
    return _float_row("hardswish", input, (), inplace)


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
    return (threshold_ if inplace else _threshold)(input, threshold, value)


def logsigmoid(input: Tensor) -> Tensor:
    """log(sigmoid(x)), without overflow."""
    return _float_row("logsigmoid", input, (), False, "log_sigmoid_cpu")


def sigmoid(input: Tensor) -> Tensor:
    """1 / (1 + exp(-x))."""
    return _row("sigmoid", input)


def tanh(input: Tensor) -> Tensor:
    """The hyperbolic tangent."""
    return _row("tanh", input)


def glu(input: Tensor, dim: int = -1) -> Tensor:
    """a * sigmoid(b), where a and b are the halves of the input along `dim`."""
    expect_tensor("glu", input=input)
    expect_float("glu_cpu", input._layout)
    if not input._layout.shape:
        raise RuntimeError("glu does not support scalars because halving size must be even")
    expect_float("glu_cpu", input._layout)
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


for _name in __all__:
    _function = globals()[_name]
    if _function.__module__ not in (__name__, "nbgrad.ops.matmul"):  # rows and linear are quick
        globals()[_name] = checked(_name, _function)
