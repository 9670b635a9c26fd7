"""Where a tensor that is no leaf keeps its gradient."""

from typing import Any


class GradSlot:
    """Holds the `.grad` of a tensor that is no leaf (`retain_grad`)."""

    __slots__ = ("grad", "retains")

    def __init__(self) -> None:
        self.grad: Any = None  # Tensor | None
        self.retains = False  # whether backward keeps the gradient here

    def retain(self, grad: Any) -> None:
        self.grad = grad if self.grad is None else self.grad + grad
