"""Pooling: each op's gradient is its adjoint, whose gradient is the op again."""

from __future__ import annotations

from nbgrad.kernels.cpu import pool as kernels
from nbgrad.ops.apply import apply
from nbgrad.ops.family import expect_float, expect_tensor, saved
from nbgrad.ops.op import Op
from nbgrad.ops.shape import squeeze, unsqueeze
from nbgrad.tensor import Tensor


class MaxPool2d(Op):
    """The largest entry of each window, and its place in the plane."""

    name = "MaxPool2DWithIndices"
    outputs = 2

    def forward(self, x, *attrs):
        return kernels.max_pool2d(x, *attrs)

    def saves(self, needs, attrs):
        return (-2,)

    def backward(self, node, grad, _):
        return apply(SCATTER, (grad, saved(node)[-2]), (node.layouts[0].shape,))


class Scatter(Op):
    """Entries added at their places in planes of zeros."""

    name = "MaxPool2DWithIndicesBackward"

    def forward(self, gy, places, x_shape):
        return kernels.max_pool2d_scatter(gy, places, x_shape)

    def saves(self, needs, attrs):
        return (1,)

    def backward(self, node, grad):
        return apply(GATHER, (grad, saved(node)[1])), None


class Gather(Op):
    """The entries of planes at given places."""

    name = "Gather"

    def forward(self, x, places):
        return kernels.max_pool2d_gather(x, places)

    def saves(self, needs, attrs):
        return (1,)

    def backward(self, node, grad):
        return apply(SCATTER, (grad, saved(node)[1]), (node.layouts[0].shape,)), None


class AvgPool2d(Op):
    """The mean of each window."""

    name = "AvgPool2D"

    def forward(self, x, *attrs):
        return kernels.avg_pool2d(x, *attrs)

    def backward(self, node, grad):
        return apply(AVERAGE_ADJOINT, (grad,), (node.layouts[0].shape, *node.attrs))


class AvgPool2dAdjoint(Op):
    name = "AvgPool2DBackward"

    def forward(self, gy, x_shape, *attrs):
        return kernels.avg_pool2d_adjoint(gy, x_shape, *attrs)

    def backward(self, node, grad):
        return apply(AVERAGE, (grad,), node.attrs[1:])


class AdaptiveAvgPool2d(Op):
    """The means of a given number of windows that cover the input."""

    name = "AdaptiveAvgPool2D"

    def forward(self, x, size):
        return kernels.adaptive_avg_pool2d(x, size)

    def backward(self, node, grad):
        return apply(ADAPTIVE_ADJOINT, (grad,), (node.layouts[0].shape,))


class AdaptiveAvgPool2dAdjoint(Op):
    name = "AdaptiveAvgPool2DBackward"

    def forward(self, gy, x_shape):
        return kernels.adaptive_avg_pool2d_adjoint(gy, x_shape)

    def backward(self, node, grad):
        return apply(ADAPTIVE, (grad,), (node.layouts[0].shape[2:],))


class PlaneMean(Op):
    """The means of whole planes."""

    name = "MeanBackward1"  # which PyTorch takes for this, and the name of the node says so

    def forward(self, x):
        return kernels.plane_means(x)

    def backward(self, node, grad):
        return apply(PLANE_ADJOINT, (grad,), (node.layouts[0].shape,))


class PlaneMeanAdjoint(Op):
    name = "MeanBackward1Backward"

    def forward(self, gy, x_shape):
        return kernels.plane_means_adjoint(gy, x_shape)

    def backward(self, node, grad):
        return apply(PLANE_MEAN, (grad,))


MAX, SCATTER, GATHER = MaxPool2d(), Scatter(), Gather()
AVERAGE, AVERAGE_ADJOINT = AvgPool2d(), AvgPool2dAdjoint()
ADAPTIVE, ADAPTIVE_ADJOINT = AdaptiveAvgPool2d(), AdaptiveAvgPool2dAdjoint()
PLANE_MEAN, PLANE_ADJOINT = PlaneMean(), PlaneMeanAdjoint()


def _pair(value, function: str, name: str) -> tuple[int, int]:
    found = (value, value) if isinstance(value, int) else tuple(map(int, value))
    found = found * 2 if len(found) == 1 else found
    if len(found) != 2:
        raise RuntimeError(f"{function}: {name} must either be a single int, or a tuple of two "
                           "ints")
    return found


def _planes(x: Tensor, function: str) -> tuple[Tensor, bool]:
    """The input as (N, C, H, W), and whether it had a batch axis."""
    expect_tensor(function, input=x)
    shape = x._layout.shape
    if len(shape) not in (3, 4):
        raise RuntimeError("non-empty 3D or 4D (batch mode) tensor expected for input")
    if 0 in shape[-3:]:
        raise RuntimeError("Expected 3D or 4D (batch mode) tensor with optional 0 dim batch size "
                           f"for input, but got:{list(shape)}")
    expect_float(function, x._layout)
    return (x, True) if len(shape) == 4 else (unsqueeze(x, 0), False)


def _windows(x: Tensor, function: str, kernel, stride, padding, dilation, ceil_mode: bool):
    """Kernel, stride, padding and dilation as checked pairs."""
    kernel = _pair(kernel, function, "kernel_size")
    stride = kernel if stride is None or stride == () else _pair(stride, function, "stride")
    padding = _pair(padding, function, "padding")
    dilation = _pair(dilation, function, "dilation")
    if min(stride) <= 0:
        raise RuntimeError("stride should not be zero")
    if min(kernel) <= 0:
        raise RuntimeError(f"kernel size should be greater than zero, but got kH: {kernel[0]} kW: "
                           f"{kernel[1]}")
    if min(dilation) <= 0:
        raise RuntimeError("dilation should be greater than zero, but got dilationH: "
                           f"{dilation[0]} dilationW: {dilation[1]}")
    for k, p, d in zip(kernel, padding, dilation):
        if p < 0:
            raise RuntimeError(f"pad must be non-negative, but got pad: {p}")
        if p > (d * (k - 1) + 1) // 2:
            raise RuntimeError("pad should be at most half of effective kernel size, but got "
                               f"pad={p}, kernel_size={k} and dilation={d}")
    c, h, w = x._layout.shape[1:]
    out = [kernels.pool_output_size(n, k, s, p, d, ceil_mode)
           for n, k, s, p, d in zip((h, w), kernel, stride, padding, dilation)]
    if min(out) < 1:
        out = [max(n, 0) for n in out]
        raise RuntimeError(f"Given input size: ({c}x{h}x{w}). Calculated output size: "
                           f"({c}x{out[0]}x{out[1]}). Output size is too small")
    return kernel, stride, padding, dilation


def max_pool2d(input: Tensor, kernel_size, stride=None, padding=0, dilation=1,
               ceil_mode: bool = False, return_indices: bool = False):
    """The largest entry of each window of (N, C, H, W) or (C, H, W); the first of equal ones.

    Args:
        stride: as `kernel_size` where None.
        padding: of minus infinity, on each side.
        ceil_mode: also windows that reach over the end.
        return_indices: return (values, their flat places in the H * W plane).

    Example:
        >>> import nbgrad
        >>> max_pool2d(nbgrad.arange(16.).view(1, 1, 4, 4), 2)
        tensor([[[[ 5.,  7.],
                  [13., 15.]]]])
    """
    x, batched = _planes(input, "max_pool2d")
    rules = _windows(x, "max_pool2d", kernel_size, stride, padding, dilation, ceil_mode)
    y, places = apply(MAX, (x,), (*rules, bool(ceil_mode)))
    if not batched:
        y, places = squeeze(y, 0), squeeze(places, 0)
    return (y, places) if return_indices else y


def avg_pool2d(input: Tensor, kernel_size, stride=None, padding=0, ceil_mode: bool = False,
               count_include_pad: bool = True, divisor_override: int | None = None) -> Tensor:
    """The mean of each window of (N, C, H, W) or (C, H, W), padded with zeros.

    Args:
        count_include_pad: whether the padding counts in the divisor.
        divisor_override: another divisor.
    """
    x, batched = _planes(input, "avg_pool2d")
    rules = _windows(x, "avg_pool2d", kernel_size, stride, padding, 1, ceil_mode)
    if divisor_override == 0:
        raise RuntimeError("divisor must be not zero")
    y = apply(AVERAGE, (x,), (*rules[:3], bool(ceil_mode), bool(count_include_pad),
                              divisor_override))
    return y if batched else squeeze(y, 0)


def adaptive_avg_pool2d(input: Tensor, output_size) -> Tensor:
    """The means of `output_size` windows that cover (N, C, H, W) or (C, H, W) evenly.

    Args:
        output_size: a number or a pair; None keeps the size of that axis.
    """
    expect_tensor("adaptive_avg_pool2d", input=input)
    shape = input._layout.shape
    if len(shape) not in (3, 4):
        raise RuntimeError("adaptive_avg_pool2d(): Expected 3D or 4D tensor, but got "
                           f"{list(shape)}")
    for k in range(len(shape) - 3, len(shape)):
        if shape[k] == 0:
            raise RuntimeError(
                "adaptive_avg_pool2d(): Expected input to have non-zero size for non-batch "
                f"dimensions, but input has sizes {list(shape)} with dimension {k} being empty")
    size = (output_size,) * 2 if isinstance(output_size, int) or output_size is None \
        else tuple(output_size)
    if len(size) != 2:
        raise RuntimeError("adaptive_avg_pool2d: output_size must be 2")
    size = tuple(n if asked is None else int(asked) for n, asked in zip(shape[-2:], size))
    if min(size) < 0:
        raise RuntimeError("adaptive_avg_pool2d: elements of output_size must be greater than or "
                           f"equal to 0 but received {{{size[0]}, {size[1]}}}")
    expect_float("adaptive_avg_pool2d", input._layout)
    if size == (1, 1):
        return apply(PLANE_MEAN, (input,))
    x = input if len(shape) == 4 else unsqueeze(input, 0)
    y = apply(ADAPTIVE, (x,), (size,))
    return y if len(shape) == 4 else squeeze(y, 0)


FUNCTIONS = {f.__name__: f for f in (max_pool2d, avg_pool2d, adaptive_avg_pool2d)}
