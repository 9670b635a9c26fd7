"""Tensors that share another's memory: when they may be written to, and when that may be."""

from __future__ import annotations

from typing import Any, NoReturn

from nbgrad.engine.node import Node

_MODE = (" Given that this use case is ambiguous and error-prone, it is forbidden. You can clarify "
         "your code by moving both the view and the inplace either both inside the {} block (if you "
         "don't want the inplace to be tracked) or both outside (if you want the inplace to be "
         "tracked).")
#: kind: (where it was made, in which mode that is found out, why it is forbidden)
_KINDS = {
    "no_grad": ("no_grad", "with grad mode enabled", _MODE.format("no_grad")),
    "inference": ("inference", "in normal mode", _MODE.format("inference_mode")),
    "multi": ("no_grad", "with grad mode enabled",
              " This view is the output of a function that returns multiple views. Such functions do "
              "not allow the output views to be modified inplace. You should replace the inplace "
              "operation by an out-of-place one."),
    "function": ("no_grad", "with grad mode enabled",
                 " This view was created inside a custom Function (or because an input was returned "
                 "as-is) and the autograd logic to handle view+inplace would override the custom "
                 "backward associated with the custom Function, leading to incorrect gradients. This "
                 "behavior is forbidden. You can fix this by cloning the output of the custom "
                 "Function."),
}


class View:
    """That a tensor is a window on another: its base, and how it may be written through.

    The history of a window of kind "default" follows every write; the others may not be used with
    a gradient once there was one.
    """

    __slots__ = ("base", "kind", "version")

    def __init__(self, base: Any, version: int, kind: str) -> None:
        self.base, self.version, self.kind = base, version, kind

    def refuse(self, node: Node | None, port: int, written: str = "is being") -> NoReturn:
        """Say why the write to the window, or to what it looks at, leaves it without a history."""
        mode, found_out, why = _KINDS[self.kind]
        if node is None or self.kind in ("no_grad", "inference"):
            raise RuntimeError(f"A view was created in {mode} mode and {written} modified inplace "
                               f"{found_out}.{why}")
        name = node.name().partition("Backward")[0]
        raise RuntimeError(f"Output {max(port, 0)} of {name} is a view and {written} modified "
                           f"inplace.{why}")
