"""Pooling: each op's gradient is its adjoint, whose gradient is the op again.

Ops take planes (N, C, H, W) or volumes (N, C, D, H, W); lines are planes of height 1.
"""

from __future__ import annotations

from collections.abc import Callable
from math import prod

from nbgrad.engine.mode import state
from nbgrad.kernels.backend import Twins
from nbgrad.ops.apply import apply
from nbgrad.ops.conv import each_axis
from nbgrad.ops.family import expect_float, expect_tensor, saved
from nbgrad.ops.op import Op
from nbgrad.ops.shape import squeeze, unsqueeze
from nbgrad.tensor import Tensor

kernels = Twins("pool")
averages = Twins("pool_average")


class MaxPool(Op):
    """The largest entry of each window, and its place in the plane or volume."""

    outputs = 2

    def __init__(self, name: str, pool: Callable) -> None:
        self.name, self.pool = name, pool
        super().__init__()

    def forward(self, x, *attrs):
        return self.pool(x, *attrs)

    def saves(self, needs, attrs):
        return (-2,)

    def backward(self, node, grad, _):
        return apply(SCATTER, (grad, saved(node)[-2]), (node.layouts[0].shape, node.attrs))


class LineMax(Op):
    """The largest entries of lines, without the places that a gradient would need."""

    name = "MaxPool1D"

    def forward(self, x, *attrs):
        return kernels.max_pool_values(x, *attrs)


class Scatter(Op):
    """Entries added at their places in planes or volumes of zeros.

    attrs (shape, rules of the pooling that gave the places, or None)
    """

    name = "MaxPool2DWithIndicesBackward"

    def forward(self, gy, places, x_shape, rules):
        return kernels.max_pool_scatter(gy, places, x_shape, rules)

    def saves(self, needs, attrs):
        return (1,)

    def backward(self, node, grad):
        return apply(GATHER, (grad, saved(node)[1]), node.attrs[1:]), None


class Gather(Op):
    """The entries of planes or volumes at given places; attrs (rules,) as Scatter's."""

    name = "Gather"

    def forward(self, x, places, rules):
        return kernels.max_pool_gather(x, places)

    def saves(self, needs, attrs):
        return (1,)

    def backward(self, node, grad):
        return apply(SCATTER, (grad, saved(node)[1]), (node.layouts[0].shape, *node.attrs)), None


class AvgPool(Op):
    """The mean of each window."""

    def __init__(self, name: str) -> None:
        self.name, self.adjoint = name, AvgPoolAdjoint(f"{name}Backward", self)
        super().__init__()

    def forward(self, x, *attrs):
        return averages.avg_pool(x, *attrs)

    def backward(self, node, grad):
        return apply(self.adjoint, (grad,), (node.layouts[0].shape, *node.attrs))


class AvgPoolAdjoint(Op):
    def __init__(self, name: str, pool: AvgPool) -> None:
        self.name, self.pool = name, pool
        super().__init__()

    def forward(self, gy, x_shape, *attrs):
        return averages.avg_pool_adjoint(gy, x_shape, *attrs)

    def backward(self, node, grad):
        return apply(self.pool, (grad,), node.attrs[1:])


# By the number of dimensions pooled over.
MAX = {n: MaxPool(f"MaxPool{n}DWithIndices", kernels.max_pool) for n in (2, 3)}
AVERAGE = {n: AvgPool(f"AvgPool{n}D") for n in (2, 3)}
LINE_MAX, SCATTER, GATHER = LineMax(), Scatter(), Gather()

_COUNTS = {1: "one int", 2: "two ints", 3: "three ints"}
_AXES = {2: "HW", 3: "THW"}


def numbers(value, rank: int, function: str, name: str) -> tuple[int, ...]:
    """An option as a number for each axis."""
    found = each_axis(value, rank)
    if len(found) != rank:
        raise RuntimeError(f"{function}: {name} must either be a single int, or a tuple of "
                           f"{_COUNTS[rank]}")
    return found


def _batched(x: Tensor, rank: int, function: str) -> tuple[Tensor, bool]:
    """The input as (N, C, H, W) or (N, C, D, H, W), and whether it had a batch axis."""
    expect_tensor(function, input=x)
    shape = x._layout.shape
    dims = f"{rank + 1}D or {rank + 2}D (batch mode) tensor"
    if len(shape) not in (rank + 1, rank + 2):
        raise RuntimeError(f"non-empty {dims} expected for input")
    if 0 in shape[-rank - 1:]:
        raise RuntimeError(f"Expected {dims} with optional 0 dim batch size for input, but got:"
                           f"{list(shape)}")
    return (x, True) if len(shape) == rank + 2 else (unsqueeze(x, 0), False)


def line(x: Tensor, function: str) -> Tensor:
    """(N, C, L) or (C, L) as planes of height 1."""
    expect_tensor(function, input=x)
    if len(x._layout.shape) not in (2, 3):
        raise RuntimeError(f"{function}: Expected 2D or 3D (batch mode) tensor with optional 0 dim "
                           f"batch size for input, but got:{list(x._layout.shape)}")
    return unsqueeze(x, -2)


def line_option(value, function: str, name: str, alone: int = 1) -> tuple[int, ...]:
    """An option of lines as one of planes."""
    return alone, *numbers(value, 1, function, name)


def unlined(found):
    """What lines give, where planes gave it."""
    return tuple([squeeze(t, -2) for t in found]) if isinstance(found, tuple) else squeeze(found, -2)


def check_not_empty(x: Tensor, rank: int, function: str) -> None:
    """RuntimeError where an axis other than the batch's is empty."""
    shape = x._layout.shape
    for k in range(len(shape) - rank - 1, len(shape)):
        if shape[k] == 0:
            raise RuntimeError(
                f"{function}(): Expected input to have non-zero size for non-batch dimensions, but "
                f"input has sizes {list(shape)} with dimension {k} being empty")


def _named(axes: str, numbers: tuple[int, ...], before: str) -> str:
    return " ".join(f"{before}{axis}: {n}" for axis, n in zip(axes, numbers))


def _windows(x: Tensor, function: str, kernel, stride, padding, dilation, ceil_mode: bool):
    """Kernel, stride, padding and dilation, checked, as numbers an axis."""
    c, *size = x._layout.shape[1:]
    rank = len(size)
    kernel = numbers(kernel, rank, function, "kernel_size")
    stride = stride_of(stride, kernel, rank, function)
    padding = numbers(padding, rank, function, "padding")
    dilation = numbers(dilation, rank, function, "dilation")
    if min(stride) <= 0:
        raise RuntimeError("stride should not be zero")
    if min(kernel) <= 0:
        raise RuntimeError("kernel size should be greater than zero, but got "
                           f"{_named(_AXES[rank], kernel, 'k')}")
    if min(dilation) <= 0:
        raise RuntimeError("dilation should be greater than zero, but got "
                           f"{_named(_AXES[rank], dilation, 'dilation')}")
    for k, p, d in zip(kernel, padding, dilation):
        if p < 0:
            raise RuntimeError(f"pad must be non-negative, but got pad: {p}")
        if p > (d * (k - 1) + 1) // 2:
            raise RuntimeError("pad should be at most half of effective kernel size, but got "
                               f"pad={p}, kernel_size={k} and dilation={d}")
    out = [kernels.pool_output_size(n, k, s, p, d, ceil_mode)
           for n, k, s, p, d in zip(size, kernel, stride, padding, dilation)]
    if min(out) < 1:
        given, made = ("x".join(map(str, (c, *n))) for n in (size, [max(n, 0) for n in out]))
        raise RuntimeError(f"Given input size: ({given}). Calculated output size: ({made}). "
                           "Output size is too small")
    return kernel, stride, padding, dilation


def stride_of(stride, kernel: tuple[int, ...], rank: int, function: str) -> tuple[int, ...]:
    """The stride, by default the kernel."""
    if stride is None or stride == () or stride == []:
        return kernel
    return numbers(stride, rank, function, "stride")


def _max_pool(rank: int, x: Tensor, kernel, stride, padding, dilation, ceil_mode, indices: bool):
    function = f"max_pool{rank}d"
    x, batched = _batched(x, rank, function)
    if x._layout.dtype.category == 0:
        expect_float(function, x._layout)
    rules = _windows(x, function, kernel, stride, padding, dilation, ceil_mode)
    y, places = apply(MAX[rank], (x,), (*rules, bool(ceil_mode)))
    if not batched:
        y, places = squeeze(y, 0), squeeze(places, 0)
    return (y, places) if indices else y


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
    return _max_pool(2, input, kernel_size, stride, padding, dilation, ceil_mode, return_indices)


def max_pool3d(input: Tensor, kernel_size, stride=None, padding=0, dilation=1,
               ceil_mode: bool = False, return_indices: bool = False):
    """`max_pool2d` of volumes (N, C, D, H, W) or (C, D, H, W); places are in D * H * W."""
    return _max_pool(3, input, kernel_size, stride, padding, dilation, ceil_mode, return_indices)


def max_pool1d(input: Tensor, kernel_size, stride=None, padding=0, dilation=1,
               ceil_mode: bool = False, return_indices: bool = False):
    """`max_pool2d` of lines (N, C, L) or (C, L)."""
    function = "max_pool1d"
    x = line(input, function)
    if not return_indices:
        expect_float("max_pool1d_impl", x._layout)
    kernel = line_option(kernel_size, function, "kernel_size")
    rules = (kernel, (1, *stride_of(stride, kernel[1:], 1, function)),
             line_option(padding, function, "padding", 0),
             line_option(dilation, function, "dilation"))
    if not return_indices and not (state.grad and input.requires_grad):
        rules = _windows(_batched(x, 2, function)[0], function, *rules, ceil_mode)
        return apply(LINE_MAX, (input,), (*[rule[1] for rule in rules], bool(ceil_mode)))
    return unlined(max_pool2d(x, *rules, ceil_mode, return_indices))


def max_pool1d_with_indices(input: Tensor, kernel_size, stride=None, padding=0, dilation=1,
                            ceil_mode: bool = False, return_indices: bool = False):
    """`max_pool1d` with `return_indices`."""
    return max_pool1d(input, kernel_size, stride, padding, dilation, ceil_mode, True)


def max_pool2d_with_indices(input: Tensor, kernel_size, stride=None, padding=0, dilation=1,
                            ceil_mode: bool = False, return_indices: bool = False):
    """`max_pool2d` with `return_indices`."""
    return max_pool2d(input, kernel_size, stride, padding, dilation, ceil_mode, True)


def max_pool3d_with_indices(input: Tensor, kernel_size, stride=None, padding=0, dilation=1,
                            ceil_mode: bool = False, return_indices: bool = False):
    """`max_pool3d` with `return_indices`."""
    return max_pool3d(input, kernel_size, stride, padding, dilation, ceil_mode, True)


def _avg_pool(rank: int, x: Tensor, kernel, stride, padding, ceil_mode, count_include_pad,
              divisor) -> Tensor:
    function = f"avg_pool{rank}d"
    x, batched = _batched(x, rank, function)
    rules = _windows(x, function, kernel, stride, padding, 1, ceil_mode)
    if divisor == 0:
        raise RuntimeError("divisor must be not zero")
    expect_float(function, x._layout)
    y = apply(AVERAGE[rank], (x,), (*rules[:3], bool(ceil_mode), bool(count_include_pad), divisor))
    return y if batched else squeeze(y, 0)


def avg_pool2d(input: Tensor, kernel_size, stride=None, padding=0, ceil_mode: bool = False,
               count_include_pad: bool = True, divisor_override: int | None = None) -> Tensor:
    """The mean of each window of (N, C, H, W) or (C, H, W), padded with zeros.

    Args:
        count_include_pad: whether the padding counts in the divisor.
        divisor_override: another divisor.
    """
    return _avg_pool(2, input, kernel_size, stride, padding, ceil_mode, count_include_pad,
                     divisor_override)


def avg_pool3d(input: Tensor, kernel_size, stride=None, padding=0, ceil_mode: bool = False,
               count_include_pad: bool = True, divisor_override: int | None = None) -> Tensor:
    """`avg_pool2d` of volumes (N, C, D, H, W) or (C, D, H, W)."""
    return _avg_pool(3, input, kernel_size, stride, padding, ceil_mode, count_include_pad,
                     divisor_override)


def avg_pool1d(input: Tensor, kernel_size, stride=None, padding=0, ceil_mode: bool = False,
               count_include_pad: bool = True) -> Tensor:
    """`avg_pool2d` of lines (N, C, L) or (C, L)."""
    function = "avg_pool1d"
    x = line(input, function)
    kernel = line_option(kernel_size, function, "kernel_size")
    return unlined(avg_pool2d(
        x, kernel, (1, *stride_of(stride, kernel[1:], 1, function)),
        line_option(padding, function, "padding", 0), ceil_mode, count_include_pad))


def _lp_pool(pool: Callable, x: Tensor, norm_type: float, kernel, rank: int, stride,
             ceil_mode: bool) -> Tensor:
    mean = pool(x.pow(norm_type), kernel, stride, 0, ceil_mode)
    total = mean.sign() * mean.abs().relu() * prod(each_axis(kernel, rank))
    return total.pow(1.0 / norm_type)


def lp_pool1d(input: Tensor, norm_type: float, kernel_size, stride=None,
              ceil_mode: bool = False) -> Tensor:
    """(sum of x^p)^(1 / p) over each window of (N, C, L) or (C, L), where p is `norm_type`."""
    return _lp_pool(avg_pool1d, input, norm_type, kernel_size, 1, stride, ceil_mode)


def lp_pool2d(input: Tensor, norm_type: float, kernel_size, stride=None,
              ceil_mode: bool = False) -> Tensor:
    """`lp_pool1d` of planes (N, C, H, W) or (C, H, W)."""
    return _lp_pool(avg_pool2d, input, norm_type, kernel_size, 2, stride, ceil_mode)


def lp_pool3d(input: Tensor, norm_type: float, kernel_size, stride=None,
              ceil_mode: bool = False) -> Tensor:
    """`lp_pool1d` of volumes (N, C, D, H, W) or (C, D, H, W)."""
    return _lp_pool(avg_pool3d, input, norm_type, kernel_size, 3, stride, ceil_mode)


FUNCTIONS = {f.__name__: f for f in (max_pool1d, max_pool1d_with_indices, max_pool2d, max_pool3d,
                                     avg_pool1d)}
