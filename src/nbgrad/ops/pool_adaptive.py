"""Adaptive pooling: over as many windows as are asked for, which cover the input evenly."""

from __future__ import annotations

from operator import index

from nbgrad.kernels.backend import Twins
from nbgrad.ops.apply import apply
from nbgrad.ops.family import expect_float, expect_tensor
from nbgrad.ops.op import Op
from nbgrad.ops.pool import MaxPool, check_not_empty, line, line_option, unlined
from nbgrad.ops.reductions import mean
from nbgrad.ops.shape import squeeze, unsqueeze
from nbgrad.tensor import Tensor

kernels = Twins("pool")
averages = Twins("pool_average")


class AdaptiveAvgPool(Op):
    """The means of a given number of windows that cover the input."""

    def __init__(self, name: str) -> None:
        self.name, self.adjoint = name, AdaptiveAvgPoolAdjoint(f"{name}Backward", self)
        super().__init__()

    def forward(self, x, size):
        return averages.adaptive_avg_pool(x, size)

    def backward(self, node, grad):
        return apply(self.adjoint, (grad,), (node.layouts[0].shape,))


class AdaptiveAvgPoolAdjoint(Op):
    def __init__(self, name: str, pool: AdaptiveAvgPool) -> None:
        self.name, self.pool = name, pool
        super().__init__()

    def forward(self, gy, x_shape):
        return averages.adaptive_avg_pool_adjoint(gy, x_shape)

    def backward(self, node, grad):
        return apply(self.pool, (grad,), (node.layouts[0].shape[2:],))


# By the number of dimensions pooled over.
MAX = {n: MaxPool(f"AdaptiveMaxPool{n}D", kernels.adaptive_max_pool) for n in (2, 3)}
AVERAGE = {n: AdaptiveAvgPool(f"AdaptiveAvgPool{n}D") for n in (2, 3)}


def _output_size(x: Tensor, output_size, rank: int, function: str) -> tuple[int, ...]:
    """The number of windows on each axis; None for as many as there are entries."""
    expect_tensor(function, input=x)
    shape = x._layout.shape
    if len(shape) not in (rank + 1, rank + 2):
        raise RuntimeError(f"{function}(): Expected {rank + 1}D or {rank + 2}D tensor, but got "
                           f"{list(shape)}")
    sizes = (output_size,) * rank if isinstance(output_size, int) else tuple(output_size)
    if len(sizes) != rank:
        raise RuntimeError(f"{function}: output_size must be {rank}")
    sizes = tuple([n if asked is None else index(asked) for n, asked in zip(shape[-rank:], sizes)])
    if min(sizes) < 0:
        raise RuntimeError(f"{function}: elements of output_size must be greater than or equal to 0 "
                           f"but received {{{', '.join(map(str, sizes))}}}")
    return sizes


def _adaptive_avg_pool(rank: int, x: Tensor, output_size) -> Tensor:
    function = f"adaptive_avg_pool{rank}d"
    sizes = _output_size(x, output_size, rank, function)
    if set(sizes) == {1}:
        return mean(x, tuple(range(-rank, 0)), True)
    expect_float(function, x._layout)
    check_not_empty(x, rank, function)
    if len(x._layout.shape) == rank + 2:
        return apply(AVERAGE[rank], (x,), (sizes,))
    return squeeze(apply(AVERAGE[rank], (unsqueeze(x, 0),), (sizes,)), 0)


def adaptive_avg_pool2d(input: Tensor, output_size) -> Tensor:
    """The means of `output_size` windows that cover (N, C, H, W) or (C, H, W) evenly.

    Args:
        output_size: a number or a pair; None keeps the size of that axis.
    """
    return _adaptive_avg_pool(2, input, output_size)


def adaptive_avg_pool3d(input: Tensor, output_size) -> Tensor:
    """`adaptive_avg_pool2d` of volumes (N, C, D, H, W) or (C, D, H, W)."""
    return _adaptive_avg_pool(3, input, output_size)


def adaptive_avg_pool1d(input: Tensor, output_size) -> Tensor:
    """`adaptive_avg_pool2d` of lines (N, C, L) or (C, L)."""
    function = "adaptive_avg_pool1d"
    x = line(input, function)
    return unlined(adaptive_avg_pool2d(x, line_option(output_size, function, "output_size")))


def _adaptive_max_pool(rank: int, x: Tensor, output_size, indices: bool):
    function = f"adaptive_max_pool{rank}d"
    sizes = _output_size(x, output_size, rank, function)
    check_not_empty(x, rank, function)
    expect_float(function, x._layout)
    batched = len(x._layout.shape) == rank + 2
    y, places = apply(MAX[rank], (x if batched else unsqueeze(x, 0),), (sizes,))
    if not batched:
        y, places = squeeze(y, 0), squeeze(places, 0)
    return (y, places) if indices else y


def adaptive_max_pool2d(input: Tensor, output_size, return_indices: bool = False):
    """The largest entries of `output_size` windows that cover (N, C, H, W) or (C, H, W) evenly.

    Args:
        output_size: a number or a pair; None keeps the size of that axis.
        return_indices: return (values, their flat places in the H * W plane).
    """
    return _adaptive_max_pool(2, input, output_size, return_indices)


def adaptive_max_pool3d(input: Tensor, output_size, return_indices: bool = False):
    """`adaptive_max_pool2d` of volumes (N, C, D, H, W) or (C, D, H, W)."""
    return _adaptive_max_pool(3, input, output_size, return_indices)


def adaptive_max_pool1d(input: Tensor, output_size, return_indices: bool = False):
    """`adaptive_max_pool2d` of lines (N, C, L) or (C, L)."""
    function = "adaptive_max_pool1d"
    x = line(input, function)
    size = line_option(output_size, function, "output_size")
    return unlined(adaptive_max_pool2d(x, size, return_indices))


def adaptive_max_pool1d_with_indices(input: Tensor, output_size, return_indices: bool = False):
    """`adaptive_max_pool1d` with `return_indices`."""
    return adaptive_max_pool1d(input, output_size, True)


def adaptive_max_pool2d_with_indices(input: Tensor, output_size, return_indices: bool = False):
    """`adaptive_max_pool2d` with `return_indices`."""
    return adaptive_max_pool2d(input, output_size, True)


def adaptive_max_pool3d_with_indices(input: Tensor, output_size, return_indices: bool = False):
    """`adaptive_max_pool3d` with `return_indices`."""
    return adaptive_max_pool3d(input, output_size, True)


#: The one whose name PyTorch's package gives to another function.
FUNCTIONS = {"adaptive_avg_pool1d": adaptive_avg_pool1d,
             "adaptive_max_pool1d": adaptive_max_pool1d_with_indices}
