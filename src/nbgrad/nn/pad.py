"""Padding layers."""

from __future__ import annotations

from nbgrad.nn import functional as F
from nbgrad.nn.module import Module
from nbgrad.tensor import Tensor


class _Pad(Module):
    """Adds entries around the last `rank` axes, (before, after) of the last axis first.

    Args:
        padding: one number for all sides, or two for each axis.
    """

    rank: int
    mode: str

    def __init__(self, padding: int | tuple[int, ...]) -> None:
        super().__init__()
        self.padding = (padding,) * (2 * self.rank) if isinstance(padding, int) else tuple(padding)

    def forward(self, x: Tensor) -> Tensor:
        return F.pad(x, self.padding, self.mode)

    def extra_repr(self) -> str:
        return f"{self.padding}"


class _Reflection(_Pad):
    mode = "reflect"


class ReflectionPad1d(_Reflection):
    """(C, L) or (N, C, L) with its own entries around it, mirrored at the edge."""

    rank = 1


class ReflectionPad2d(_Reflection):
    """(C, H, W) or (N, C, H, W) with its own entries around it, mirrored at the edges."""

    rank = 2


class ReflectionPad3d(_Reflection):
    """(C, D, H, W) or (N, C, D, H, W) with its own entries around it, mirrored at the edges."""

    rank = 3


class _Replication(_Pad):
    mode = "replicate"


class ReplicationPad1d(_Replication):
    """(C, L) or (N, C, L) with its edge repeated."""

    rank = 1


class ReplicationPad2d(_Replication):
    """(C, H, W) or (N, C, H, W) with its edges repeated."""

    rank = 2


class ReplicationPad3d(_Replication):
    """(C, D, H, W) or (N, C, D, H, W) with its edges repeated."""

    rank = 3


class _Circular(_Pad):
    mode = "circular"

    def forward(self, x: Tensor) -> Tensor:
        if x.dim() not in (self.rank + 1, self.rank + 2):
            raise ValueError(f"expected {self.rank + 1}D or {self.rank + 2}D input (got {x.dim()}D "
                             "input)")
        return super().forward(x)


class CircularPad1d(_Circular):
    """(C, L) or (N, C, L) continued from the other side."""

    rank = 1


class CircularPad2d(_Circular):
    """(C, H, W) or (N, C, H, W) continued from the other sides."""

    rank = 2


class CircularPad3d(_Circular):
    """(C, D, H, W) or (N, C, D, H, W) continued from the other sides."""

    rank = 3


class _Constant(_Pad):
    """A number around the last axes; negative padding cuts off.

    Args:
        padding: one number for all sides, or two for each axis, the last axis first.
        value: the number.
    """

    mode = "constant"

    def __init__(self, padding: int | tuple[int, ...], value: float) -> None:
        super().__init__(padding)
        self.value = value

    def forward(self, x: Tensor) -> Tensor:
        return F.pad(x, self.padding, "constant", self.value)

    def extra_repr(self) -> str:
        return f"padding={self.padding}, value={self.value}"


class ConstantPad1d(_Constant):
    """(…, L) with a number around it."""

    rank = 1


class ConstantPad2d(_Constant):
    """(…, H, W) with a number around it."""

    rank = 2


class ConstantPad3d(_Constant):
    """(…, D, H, W) with a number around it."""

    rank = 3


class _Zero(_Constant):
    def __init__(self, padding: int | tuple[int, ...]) -> None:
        super().__init__(padding, 0.0)

    def extra_repr(self) -> str:
        return f"{self.padding}"


class ZeroPad1d(_Zero):
    """(…, L) with zeros around it."""

    rank = 1


class ZeroPad2d(_Zero):
    """(…, H, W) with zeros around it."""

    rank = 2


class ZeroPad3d(_Zero):
    """(…, D, H, W) with zeros around it."""

    rank = 3
