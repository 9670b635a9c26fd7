"""Convolution layers."""

from __future__ import annotations

from typing import Any

from nbgrad.nn import functional as F
from nbgrad.nn.linear import init_uniform_in_fan
from nbgrad.nn.module import Module
from nbgrad.nn.parameter import Parameter
from nbgrad.ops.create import empty
from nbgrad.tensor import Tensor

_MODES = ("zeros", "reflect", "replicate", "circular")


class _Conv(Module):
    """Options, weights and printing of a convolution over `rank` axes."""

    rank: int
    transposed = False

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int | tuple[int, ...],
                 stride: int | tuple[int, ...] = 1, padding: str | int | tuple[int, ...] = 0,
                 dilation: int | tuple[int, ...] = 1, groups: int = 1, bias: bool = True,
                 padding_mode: str = "zeros", device=None, dtype=None, *,
                 output_padding: int | tuple[int, ...] = 0) -> None:
        super().__init__()
        self.in_channels, self.out_channels, self.groups = in_channels, out_channels, groups
        self.kernel_size, self.stride = self._each(kernel_size), self._each(stride)
        self.dilation = self._each(dilation)
        self.padding = padding if isinstance(padding, str) else self._each(padding)
        self.padding_mode, self.output_padding = padding_mode, self._each(output_padding)
        self._check()
        outer, inner = in_channels, out_channels
        if not self.transposed:
            outer, inner = inner, outer
        size = (outer, inner // groups, *self.kernel_size)
        self.weight = Parameter(empty(size, device=device, dtype=dtype))
        self.register_parameter(
            "bias", Parameter(empty(out_channels, device=device, dtype=dtype)) if bias else None)
        self.reset_parameters()

    def _each(self, value: int | tuple[int, ...]) -> tuple[int, ...]:
        """An option for every axis."""
        return tuple(value) if isinstance(value, tuple | list) else (value,) * self.rank

    def _check(self) -> None:
        if self.groups <= 0:
            raise ValueError("groups must be a positive integer")
        for name in ("in_channels", "out_channels"):
            if getattr(self, name) % self.groups:
                raise ValueError(f"{name} must be divisible by groups")
        if isinstance(self.padding, str):
            if self.padding not in ("same", "valid"):
                raise ValueError(f"Invalid padding string {self.padding!r}, should be one of "
                                 "'same', 'valid'")
            if self.padding == "same" and any(s != 1 for s in self.stride):
                raise ValueError("padding='same' is not supported for strided convolutions")
        if self.padding_mode not in _MODES:
            raise ValueError(f"padding_mode must be one of {_MODES}, but got "
                             f"padding_mode={self.padding_mode!r}")

    def reset_parameters(self) -> None:
        """Draw the weights anew."""
        init_uniform_in_fan(self.weight, self.bias)

    def _borders(self) -> tuple[int, ...]:
        """The padding as `F.pad` takes it: left and right of the last axis first."""
        borders: list[int] = []
        for k in reversed(range(self.rank)):
            if self.padding == "same":
                total = self.dilation[k] * (self.kernel_size[k] - 1)
                borders += [total // 2, total - total // 2]
            else:
                borders += [0, 0] if self.padding == "valid" else [int(self.padding[k])] * 2
        return tuple(borders)

    def forward(self, x: Tensor) -> Tensor:
        conv: Any = getattr(F, f"conv{self.rank}d")
        padded = self.padding_mode != "zeros"
        if padded:
            x = F.pad(x, self._borders(), mode=self.padding_mode)
        return conv(x, self.weight, self.bias, self.stride, 0 if padded else self.padding,
                    self.dilation, self.groups)

    def extra_repr(self) -> str:
        parts = [f"{self.in_channels}, {self.out_channels}", f"kernel_size={self.kernel_size}",
                 f"stride={self.stride}"]
        plain = (0,) * self.rank
        if self.padding != plain:
            parts.append(f"padding={self.padding}")
        if self.dilation != (1,) * self.rank:
            parts.append(f"dilation={self.dilation}")
        if self.output_padding != plain:
            parts.append(f"output_padding={self.output_padding}")
        if self.groups != 1:
            parts.append(f"groups={self.groups}")
        if self.bias is None:
            parts.append("bias=False")
        if self.padding_mode != "zeros":
            parts.append(f"padding_mode={self.padding_mode}")
        return ", ".join(parts)


class Conv1d(_Conv):
    """Cross-correlation along one axis; options as for Conv2d.

    Shape: (N, in_channels, L) -> (N, out_channels, L').
    """

    rank = 1


class Conv2d(_Conv):
    """Cross-correlation of images with `out_channels` kernels, plus a bias.

    Args:
        in_channels: channels of the input.
        out_channels: channels of the output.
        kernel_size: height and width of the kernels, or one number for both.
        stride: rows and columns between outputs.
        padding: rows and columns added on each side, "same" or "valid".
        dilation: spacing of the kernel's elements.
        groups: channels split into so many independent convolutions.
        padding_mode: "zeros", "reflect", "replicate" or "circular".

    Shape: (N, in_channels, H, W) -> (N, out_channels, H', W').

    Example:
        >>> Conv2d(3, 8, 3, padding=1)(nbgrad.randn(2, 3, 32, 32)).shape
        nbgrad.Size([2, 8, 32, 32])
    """

    rank = 2


class Conv3d(_Conv):
    """Cross-correlation of volumes; options as for Conv2d, one number or three.

    Shape: (N, in_channels, D, H, W) -> (N, out_channels, D', H', W').
    """

    rank = 3


class _ConvTranspose(_Conv):
    """The gradient of a convolution to its input, as a layer."""

    transposed = True

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int | tuple[int, ...],
                 stride: int | tuple[int, ...] = 1, padding: int | tuple[int, ...] = 0,
                 output_padding: int | tuple[int, ...] = 0, groups: int = 1, bias: bool = True,
                 dilation: int | tuple[int, ...] = 1, padding_mode: str = "zeros", device=None,
                 dtype=None) -> None:
        if padding_mode != "zeros":
            raise ValueError('Only "zeros" padding mode is supported for '
                             f"{type(self).__name__}")
        super().__init__(in_channels, out_channels, kernel_size, stride, padding, dilation, groups,
                         bias, padding_mode, device, dtype, output_padding=output_padding)

    def forward(self, x: Tensor, output_size: tuple[int, ...] | None = None) -> Tensor:
        """The transposed convolution, of the sizes asked for where several give the same input.

        Args:
            output_size: these sizes, with or without those of batch and channels.
        """
        convolve: Any = getattr(F, f"conv_transpose{self.rank}d")
        extra = self.output_padding if output_size is None else self._extra(x, tuple(output_size))
        return convolve(x, self.weight, self.bias, self.stride, self.padding, extra, self.groups,
                        self.dilation)

    def _extra(self, x: Tensor, asked: tuple[int, ...]) -> tuple[int, ...]:
        """The output padding that gives the sizes asked for."""
        rank, others = self.rank, x.dim() - self.rank
        if len(asked) == others + rank:
            asked = asked[others:]
        if len(asked) != rank:
            raise ValueError(f"{type(self).__name__}: for {x.dim()}D input, output_size must have "
                             f"{rank} or {others + rank} elements (got {len(asked)})")
        rules: Any = zip(x.shape[others:], self.kernel_size, self.stride, self.padding, self.dilation)
        least = [(n - 1) * s - 2 * p + d * (k - 1) + 1 for n, k, s, p, d in rules]
        most = [m + s - 1 for m, s in zip(least, self.stride)]
        if any(not a <= n <= b for a, n, b in zip(least, asked, most)):
            raise ValueError(f"requested an output size of {asked}, but valid sizes range from "
                             f"{least} to {most} (for an input of {x.size()[2:]})")
        return tuple([n - m for n, m in zip(asked, least)])


class ConvTranspose1d(_ConvTranspose):
    """Transposed convolution along one axis; options as for ConvTranspose2d.

    Shape: (N, in_channels, L) -> (N, out_channels, L').
    """

    rank = 1


class ConvTranspose2d(_ConvTranspose):
    """Transposed convolution of images: Conv2d's gradient to its input.

    Args:
        in_channels: channels of the input.
        out_channels: channels of the output.
        kernel_size: height and width of the kernels, or one number for both.
        stride: rows and columns between what inputs add to.
        padding: rows and columns cut off on each side.
        output_padding: rows and columns added at the bottom and right.
        groups: channels split into so many independent convolutions.
        dilation: spacing of the kernel's elements.

    Shape: (N, in_channels, H, W) -> (N, out_channels, H', W').
    """

    rank = 2


class ConvTranspose3d(_ConvTranspose):
    """Transposed convolution of volumes; options as for ConvTranspose2d, one number or three.

    Shape: (N, in_channels, D, H, W) -> (N, out_channels, D', H', W').
    """

    rank = 3
