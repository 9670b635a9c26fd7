"""Dropout."""

from __future__ import annotations

from nbgrad.nn import functional as F
from nbgrad.nn.module import Module
from nbgrad.tensor import Tensor


class Dropout(Module):
    """In train mode puts zeros with probability `p` and divides the rest by `1 - p`."""

    def __init__(self, p: float = 0.5, inplace: bool = False) -> None:
        super().__init__()
        if not 0 <= p <= 1:
            raise ValueError(f"dropout probability has to be between 0 and 1, but got {p}")
        self.p, self.inplace = p, inplace

    def forward(self, x: Tensor) -> Tensor:
        return F.dropout(x, self.p, self.training, self.inplace)

    def extra_repr(self) -> str:
        return f"p={self.p}, inplace={self.inplace}"
