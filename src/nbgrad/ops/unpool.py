"""Max unpooling: the largest entries of windows back where they were."""

from __future__ import annotations

from math import prod

from nbgrad.kernels.backend import Twins
from nbgrad.ops.apply import apply
from nbgrad.ops.family import expect_float, expect_tensor, saved
from nbgrad.ops.op import Op
from nbgrad.ops.pool import GATHER, check_not_empty, line, numbers, stride_of, unlined
from nbgrad.ops.shape import squeeze, unsqueeze
from nbgrad.tensor import Tensor

kernels, first_out_of_range = Twins("pool"), Twins("index").first_out_of_range


class MaxUnpool(Op):
    """Entries put at their places in planes or volumes of zeros."""

    def __init__(self, name: str) -> None:
        self.name = name
        super().__init__()

    def forward(self, x, places, y_shape):
        return kernels.max_unpool(x, places, y_shape)

    def saves(self, needs, attrs):
        return (1,)

    def backward(self, node, grad):
        return apply(GATHER, (grad, saved(node)[1]), (None,)), None


UNPOOL = {n: MaxUnpool(f"MaxUnpool{n}D") for n in (2, 3)}


def _unpooled_size(shape, kernel, stride, padding, output_size) -> tuple[int, ...]:
    """The size that was pooled, which pooling alone does not tell exactly."""
    rank = len(kernel)
    usual = [(n - 1) * s + k - 2 * p for n, k, s, p in zip(shape[-rank:], kernel, stride, padding)]
    if output_size is None:
        return tuple(usual)
    if len(output_size) not in (rank, rank + 2):
        raise ValueError(f"output_size should be a sequence containing {rank} or {rank + 2} "
                         f"elements, but it has a length of '{len(output_size)}'")
    asked = tuple(output_size[-rank:])
    for d, (n, m, s) in enumerate(zip(asked, usual, stride)):
        if not m - s < n < m + s:
            raise ValueError(f'invalid output_size "{asked}" (dim {d} must be between {m - s} and '
                             f"{m + s})")
    return asked


def _max_unpool(rank: int, x: Tensor, indices: Tensor, kernel, stride, padding, output_size):
    function = f"max_unpool{rank}d"
    expect_tensor(function, input=x, indices=indices)
    kernel = numbers(kernel, rank, function, "kernel_size")
    stride = stride_of(stride, kernel, rank, function)
    padding = numbers(padding, rank, function, "padding")
    own, places = x._layout, indices._layout
    size = _unpooled_size(own.shape, kernel, stride, padding, output_size)
    if places.dtype.name != "int64":
        raise RuntimeError("elements in indices should be type int64 but got: "
                           f"{places.dtype.legacy}")
    if len(own.shape) not in (rank + 1, rank + 2):
        raise RuntimeError(f"Input to max_unpooling{rank}d should be a {rank + 1}d or {rank + 2}d "
                           f"Tensor, but got a tensor with {len(own.shape)} dimensions.")
    if own.shape != places.shape:
        raise RuntimeError("Expected shape of indices to be same as that of the input tensor "
                           f"({list(own.shape)}) but got indices tensor with shape: "
                           f"{list(places.shape)}")
    check_not_empty(x, rank, function)
    if min(stride) <= 0 and rank == 3:
        raise RuntimeError(f"strides should be greater than zero, but got stride: {list(stride)}")
    expect_float(function, own)
    if min(size) < 0:
        raise RuntimeError(f"Trying to create tensor with negative dimension {min(size)}")
    _check_places(indices, size)
    shape = own.shape[:-rank] + size
    if len(shape) == rank + 2:
        return apply(UNPOOL[rank], (x, indices), (shape,))
    return squeeze(apply(UNPOOL[rank], (unsqueeze(x, 0), unsqueeze(indices, 0)), ((1, *shape),)), 0)


def _check_places(indices: Tensor, size: tuple[int, ...]) -> None:
    if first_out_of_range(indices._stored(), 0, prod(size)) >= 0:
        places = indices._values()
        for found in (int(places.min()), int(places.max())):
            if not 0 <= found < prod(size):
                raise RuntimeError(f"Found an invalid max index: {found} (output volumes are of "
                                   f"size {'x'.join(map(str, size))})")


def max_unpool2d(input: Tensor, indices: Tensor, kernel_size, stride=None, padding=0,
                 output_size=None) -> Tensor:
    """What `max_pool2d` pooled, as far as it is known: its largest entries, and zeros.

    Args:
        input, indices: (N, C, H, W) or (C, H, W), as `max_pool2d` returned them with these options.
        output_size: the size that was pooled, where several pool to the same.
    """
    return _max_unpool(2, input, indices, kernel_size, stride, padding, output_size)


def max_unpool3d(input: Tensor, indices: Tensor, kernel_size, stride=None, padding=0,
                 output_size=None) -> Tensor:
    """`max_unpool2d` of volumes (N, C, D, H, W) or (C, D, H, W)."""
    return _max_unpool(3, input, indices, kernel_size, stride, padding, output_size)


def max_unpool1d(input: Tensor, indices: Tensor, kernel_size, stride=None, padding=0,
                 output_size=None) -> Tensor:
    """`max_unpool2d` of lines (N, C, L) or (C, L)."""
    function = "max_unpool1d"
    expect_tensor(function, input=input, indices=indices)
    kernel = numbers(kernel_size, 1, function, "kernel_size")
    stride = stride_of(stride, kernel, 1, function)
    padding = numbers(padding, 1, function, "padding")
    size = _unpooled_size(input._layout.shape, kernel, stride, padding, output_size)
    x, places = line(input, function), line(indices, function)
    return unlined(max_unpool2d(x, places, (1, *kernel), (1, *stride), (0, *padding), (1, *size)))
