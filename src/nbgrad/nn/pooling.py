"""Pooling layers."""

from __future__ import annotations

from typing import Any

from nbgrad.nn import functional as F
from nbgrad.nn.module import Module
from nbgrad.tensor import Tensor

Size = int | tuple[int, ...]


class _Pooling(Module):
    """A layer over `rank` axes that runs the function `{function}{rank}d`."""

    rank: int
    function: str
    printed: tuple[str, ...] = ("kernel_size", "stride", "padding")

    def _run(self, *args, **options) -> Any:
        run: Any = getattr(F, f"{self.function}{self.rank}d")
        return run(*args, **options)

    def _each(self, value: Size) -> tuple[int, ...]:
        """An option for every axis."""
        return tuple(value) if isinstance(value, tuple | list) else (value,) * self.rank

    def extra_repr(self) -> str:
        return ", ".join(f"{name}={getattr(self, name)}" for name in self.printed)


class _MaxPool(_Pooling):
    function = "max_pool"
    printed = ("kernel_size", "stride", "padding", "dilation", "ceil_mode")

    def __init__(self, kernel_size: Size, stride: Size | None = None, padding: Size = 0,
                 dilation: Size = 1, return_indices: bool = False, ceil_mode: bool = False) -> None:
        super().__init__()
        self.kernel_size, self.padding, self.dilation = kernel_size, padding, dilation
        self.stride = kernel_size if stride is None else stride
        self.return_indices, self.ceil_mode = return_indices, ceil_mode

    def forward(self, x: Tensor):
        return self._run(x, self.kernel_size, self.stride, self.padding, self.dilation,
                         ceil_mode=self.ceil_mode, return_indices=self.return_indices)


class MaxPool1d(_MaxPool):
    """The maximum of each window along one axis; options as for MaxPool2d.

    Shape: (N, C, L) -> (N, C, L').
    """

    rank = 1


class MaxPool2d(_MaxPool):
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

    rank = 2


class MaxPool3d(_MaxPool):
    """The maximum of each window of volumes; options as for MaxPool2d.

    Shape: (N, C, D, H, W) -> (N, C, D', H', W').
    """

    rank = 3


class _MaxUnpool(_Pooling):
    function = "max_unpool"

    def __init__(self, kernel_size: Size, stride: Size | None = None, padding: Size = 0) -> None:
        super().__init__()
        self.kernel_size, self.padding = self._each(kernel_size), self._each(padding)
        self.stride = self._each(kernel_size if stride is None else stride)

    def forward(self, x: Tensor, indices: Tensor, output_size=None) -> Tensor:
        return self._run(x, indices, self.kernel_size, self.stride, self.padding, output_size)


class MaxUnpool1d(_MaxUnpool):
    """The maxima of MaxPool1d back where they were, and zeros.

    Shape: (N, C, L), indices alike -> (N, C, L').
    """

    rank = 1


class MaxUnpool2d(_MaxUnpool):
    """The maxima of MaxPool2d back where they were, and zeros.

    Args:
        kernel_size, stride, padding: those of the MaxPool2d.

    Shape: (N, C, H, W), indices alike -> (N, C, H', W'), or of `output_size` as given to forward.
    """

    rank = 2


class MaxUnpool3d(_MaxUnpool):
    """The maxima of MaxPool3d back where they were, and zeros.

    Shape: (N, C, D, H, W), indices alike -> (N, C, D', H', W').
    """

    rank = 3


class AvgPool1d(_Pooling):
    """The mean of each window along one axis; options as for AvgPool2d.

    Shape: (N, C, L) -> (N, C, L').
    """

    rank = 1
    function = "avg_pool"

    def __init__(self, kernel_size: Size, stride: Size | None = None, padding: Size = 0,
                 ceil_mode: bool = False, count_include_pad: bool = True) -> None:
        super().__init__()
        self.kernel_size, self.padding = self._each(kernel_size), self._each(padding)
        self.stride = self._each(kernel_size if stride is None else stride)
        self.ceil_mode, self.count_include_pad = ceil_mode, count_include_pad

    def forward(self, x: Tensor) -> Tensor:
        return self._run(x, self.kernel_size, self.stride, self.padding, self.ceil_mode,
                         self.count_include_pad)


class AvgPool2d(_Pooling):
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

    rank = 2
    function = "avg_pool"

    def __init__(self, kernel_size: Size, stride: Size | None = None, padding: Size = 0,
                 ceil_mode: bool = False, count_include_pad: bool = True,
                 divisor_override: int | None = None) -> None:
        super().__init__()
        self.kernel_size, self.padding, self.ceil_mode = kernel_size, padding, ceil_mode
        self.stride = kernel_size if stride is None else stride
        self.count_include_pad, self.divisor_override = count_include_pad, divisor_override

    def forward(self, x: Tensor) -> Tensor:
        return self._run(x, self.kernel_size, self.stride, self.padding, self.ceil_mode,
                         self.count_include_pad, self.divisor_override)


class AvgPool3d(AvgPool2d):
    """The mean of each window of volumes; options as for AvgPool2d.

    Shape: (N, C, D, H, W) -> (N, C, D', H', W').
    """

    rank = 3


class _AdaptiveAvgPool(_Pooling):
    function = "adaptive_avg_pool"
    printed = ("output_size",)

    def __init__(self, output_size: int | tuple[int | None, ...] | None) -> None:
        super().__init__()
        self.output_size = output_size

    def forward(self, x: Tensor) -> Tensor:
        return self._run(x, self.output_size)


class AdaptiveAvgPool1d(_AdaptiveAvgPool):
    """The means of `output_size` windows that cover an axis.

    Shape: (N, C, L) -> (N, C, output_size).
    """

    rank = 1


class AdaptiveAvgPool2d(_AdaptiveAvgPool):
    """The means of `output_size` windows that cover the image; None keeps an axis.

    Shape: (N, C, H, W) -> (N, C, *output_size).
    """

    rank = 2


class AdaptiveAvgPool3d(_AdaptiveAvgPool):
    """The means of `output_size` windows that cover the volume; None keeps an axis.

    Shape: (N, C, D, H, W) -> (N, C, *output_size).
    """

    rank = 3


class _AdaptiveMaxPool(_Pooling):
    function = "adaptive_max_pool"
    printed = ("output_size",)

    def __init__(self, output_size: int | tuple[int | None, ...] | None,
                 return_indices: bool = False) -> None:
        super().__init__()
        self.output_size, self.return_indices = output_size, return_indices

    def forward(self, x: Tensor):
        return self._run(x, self.output_size, self.return_indices)


class AdaptiveMaxPool1d(_AdaptiveMaxPool):
    """The maxima of `output_size` windows that cover an axis.

    Shape: (N, C, L) -> (N, C, output_size).
    """

    rank = 1


class AdaptiveMaxPool2d(_AdaptiveMaxPool):
    """The maxima of `output_size` windows that cover the image; None keeps an axis.

    Args:
        return_indices: also return where the maxima were.

    Shape: (N, C, H, W) -> (N, C, *output_size).
    """

    rank = 2


class AdaptiveMaxPool3d(_AdaptiveMaxPool):
    """The maxima of `output_size` windows that cover the volume; None keeps an axis.

    Shape: (N, C, D, H, W) -> (N, C, *output_size).
    """

    rank = 3


class _LPPool(_Pooling):
    function = "lp_pool"
    printed = ("norm_type", "kernel_size", "stride", "ceil_mode")

    def __init__(self, norm_type: float, kernel_size: Size, stride: Size | None = None,
                 ceil_mode: bool = False) -> None:
        super().__init__()
        self.norm_type, self.kernel_size = norm_type, kernel_size
        self.stride, self.ceil_mode = stride, ceil_mode

    def forward(self, x: Tensor) -> Tensor:
        return self._run(x, float(self.norm_type), self.kernel_size, self.stride, self.ceil_mode)


class LPPool1d(_LPPool):
    """(sum of x^p)^(1 / p) over each window along one axis.

    Shape: (N, C, L) -> (N, C, L').
    """

    rank = 1


class LPPool2d(_LPPool):
    """(sum of x^p)^(1 / p) over each window.

    Args:
        norm_type: p.
        kernel_size: height and width of a window, or one number.
        stride: rows and columns between windows; the window's size where None.
        ceil_mode: count windows that start inside and end outside.

    Shape: (N, C, H, W) -> (N, C, H', W').
    """

    rank = 2


class LPPool3d(_LPPool):
    """(sum of x^p)^(1 / p) over each window of volumes.

    Shape: (N, C, D, H, W) -> (N, C, D', H', W').
    """

    rank = 3


class Unfold(Module):
    """The windows of images as columns.

    Args:
        kernel_size: height and width of a window, or one number.
        dilation: spacing of a window's elements.
        padding: rows and columns of zeros added on each side.
        stride: rows and columns between windows.

    Shape: (N, C, H, W) -> (N, C * kh * kw, windows).
    """

    def __init__(self, kernel_size: Size, dilation: Size = 1, padding: Size = 0,
                 stride: Size = 1) -> None:
        super().__init__()
        self.kernel_size, self.dilation = kernel_size, dilation
        self.padding, self.stride = padding, stride

    def forward(self, x: Tensor) -> Tensor:
        return F.unfold(x, self.kernel_size, self.dilation, self.padding, self.stride)

    def extra_repr(self) -> str:
        return (f"kernel_size={self.kernel_size}, dilation={self.dilation}, "
                f"padding={self.padding}, stride={self.stride}")


class Fold(Unfold):
    """Images from columns, entries of windows that overlap added; options as for Unfold.

    Shape: (N, C * kh * kw, windows) -> (N, C, *output_size).
    """

    def __init__(self, output_size: Size, kernel_size: Size, dilation: Size = 1, padding: Size = 0,
                 stride: Size = 1) -> None:
        super().__init__(kernel_size, dilation, padding, stride)
        self.output_size = output_size

    def forward(self, x: Tensor) -> Tensor:
        return F.fold(x, self.output_size, self.kernel_size, self.dilation, self.padding,
                      self.stride)

    def extra_repr(self) -> str:
        return f"output_size={self.output_size}, {super().extra_repr()}"
