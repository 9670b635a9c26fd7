"""Parameter: a tensor that a module learns. Buffer: one that it merely keeps."""

from __future__ import annotations

from nbgrad.ops.create import empty
from nbgrad.tensor import Tensor


class _Held(Tensor):
    """A tensor over the memory of another, with a place in a module."""

    def __init__(self, data: Tensor | None) -> None:
        if data is None:
            data = empty(0)
        if not isinstance(data, Tensor):
            raise TypeError(f"{type(self).__name__} expects a Tensor, got {type(data).__name__}: "
                            "make one with nbgrad.tensor(...)")
        super().__init__(data._data, data._layout)
        self._counter = data._count()


class Parameter(_Held):
    """A tensor that is a parameter of the module whose attribute it becomes.

    Shares the memory of `data`.

    Args:
        data: a tensor; an empty one where None.
        requires_grad: whether it is to be trained.
    """

    def __init__(self, data: Tensor | None = None, requires_grad: bool = True) -> None:
        super().__init__(data)
        if requires_grad:
            if not self.is_floating_point():
                raise RuntimeError("Only Tensors of floating point and complex dtype can require "
                                   f"gradients, got {self.dtype}; pass requires_grad=False")
            self.requires_grad_()

    def __repr__(self) -> str:
        return f"Parameter containing:\n{super().__repr__()}"


class Buffer(_Held):
    """A tensor that is a buffer of the module whose attribute it becomes.

    Args:
        persistent: whether it is part of the module's `state_dict()`.
    """

    persistent = True

    def __init__(self, data: Tensor | None = None, *, persistent: bool = True) -> None:
        super().__init__(data)
        self.persistent = persistent
