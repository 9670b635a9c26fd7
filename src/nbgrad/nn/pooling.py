"""Pooling layers."""

from __future__ import annotations

from nbgrad.nn import functional as F
from nbgrad.nn.module import Module
from nbgrad.tensor import Tensor


class MaxPool2d(Module):
    """The maximum of each window; windows may reach into `padding` of -inf.

    Args:
        kernel_size: height and width of a window, or one number.
        stride: rows and columns between windows; the window's size where None.
        padding: rows and columns added on each side.
        dilation: spacing of a window's elements.
        return_indices: also return where the maxima were.
        ceil_mode: count windows that start inside and end outside.

    Shape: (N, C, H, W) -> (N, C, H', W').
    """

    def __init__(self, kernel_size: int | tuple[int, int],
                 stride: int | tuple[int, int] | None = None, padding: int | tuple[int, int] = 0,
                 dilation: int | tuple[int, int] = 1, return_indices: bool = False,
                 ceil_mode: bool = False) -> None:
        super().__init__()
        self.kernel_size, self.padding, self.dilation = kernel_size, padding, dilation
        self.stride = kernel_size if stride is None else stride
        self.return_indices, self.ceil_mode = return_indices, ceil_mode

    def forward(self, x: Tensor) -> Tensor:
        return F.max_pool2d(x, self.kernel_size, self.stride, self.padding, self.dilation,
                            ceil_mode=self.ceil_mode, return_indices=self.return_indices)

    def extra_repr(self) -> str:
        return (f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}, "
                f"dilation={self.dilation}, ceil_mode={self.ceil_mode}")


class AvgPool2d(Module):
    """The mean of each window.

    Args:
        kernel_size: height and width of a window, or one number.
        stride: rows and columns between windows; the window's size where None.
        padding: rows and columns of zeros added on each side.
        ceil_mode: count windows that start inside and end outside.
        count_include_pad: whether the zeros count.
        divisor_override: divide by this instead.

    Shape: (N, C, H, W) -> (N, C, H', W').
    """

    def __init__(self, kernel_size: int | tuple[int, int],
                 stride: int | tuple[int, int] | None = None, padding: int | tuple[int, int] = 0,
                 ceil_mode: bool = False, count_include_pad: bool = True,
                 divisor_override: int | None = None) -> None:
        super().__init__()
        self.kernel_size, self.padding, self.ceil_mode = kernel_size, padding, ceil_mode
        self.stride = kernel_size if stride is None else stride
        self.count_include_pad, self.divisor_override = count_include_pad, divisor_override

    def forward(self, x: Tensor) -> Tensor:
        return F.avg_pool2d(x, self.kernel_size, self.stride, self.padding, self.ceil_mode,
                            self.count_include_pad, self.divisor_override)

    def extra_repr(self) -> str:
        return f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}"


class AdaptiveAvgPool2d(Module):
    """The means of `output_size` windows that cover the image; None keeps an axis.

    Shape: (N, C, H, W) -> (N, C, *output_size).
    """

    def __init__(self, output_size: int | tuple[int | None, int | None] | None) -> None:
        super().__init__()
        self.output_size = output_size

    def forward(self, x: Tensor) -> Tensor:
        return F.adaptive_avg_pool2d(x, self.output_size)

    def extra_repr(self) -> str:
        return f"output_size={self.output_size}"
