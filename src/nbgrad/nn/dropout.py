"""Dropout layers."""

from __future__ import annotations

from nbgrad.nn import functional as F
from nbgrad.nn.module import Module
from nbgrad.tensor import Tensor


class _Dropout(Module):
    """Calls a function of `nbgrad.nn.functional` with a probability, in train mode."""

    function: str

    def __init_subclass__(cls, function: str | None = None) -> None:
        super().__init_subclass__()
        if function is not None:
            cls.function = function

    def __init__(self, p: float = 0.5, inplace: bool = False) -> None:
        super().__init__()
        if not 0 <= p <= 1:
            raise ValueError(f"dropout probability has to be between 0 and 1, but got {p}")
        self.p, self.inplace = p, inplace

    def forward(self, x: Tensor) -> Tensor:
        return getattr(F, self.function)(x, self.p, self.training, self.inplace)

    def extra_repr(self) -> str:
        return f"p={self.p}, inplace={self.inplace}"


class Dropout(_Dropout, function="dropout"):
    """In train mode puts zeros with probability `p` and divides the rest by `1 - p`."""


class Dropout1d(_Dropout, function="dropout1d"):
    """Dropout of whole channels of (N, C, L) or (C, L)."""


class Dropout2d(_Dropout, function="dropout2d"):
    """Dropout of whole channels of (N, C, H, W)."""


class Dropout3d(_Dropout, function="dropout3d"):
    """Dropout of whole channels of (N, C, D, H, W) or (C, D, H, W)."""


class AlphaDropout(_Dropout, function="alpha_dropout"):
    """Dropout that keeps the mean and variance of what SELU makes (Klambauer et al. 2017)."""


class FeatureAlphaDropout(_Dropout, function="feature_alpha_dropout"):
    """AlphaDropout of whole channels of (N, C, …)."""
