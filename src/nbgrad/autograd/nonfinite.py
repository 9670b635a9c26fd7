"""The first infinity or NaN: which operation made it, in which line and module, from what."""

from __future__ import annotations

import sys
from types import FrameType

import numpy as np

from nbgrad.engine import provenance
from nbgrad.engine.mode import state, watch
from nbgrad.engine.node import Node
from nbgrad.tensor import Saved, Tensor


class detect_nonfinite:
    """Within the block, raise at the first recorded operation to make an infinity or a NaN.

    Both passes are watched, in this thread: forward where a gradient is wanted, and backward
    through what was recorded in the block. The error names the operation, the user's line, the
    path of the module it ran in, and the ranges of what it was given. Every result is looked at,
    so this is slow: for finding out, not for training.

    Raises:
        FloatingPointError: a value that is not finite appeared.

    Example:
        >>> import nbgrad
        >>> x = nbgrad.tensor([4., 0.], requires_grad=True)
        >>> with nbgrad.detect_nonfinite():
        ...     y = (x.sqrt() * 2).sum()
        ...     try:
        ...         y.backward()
        ...     except FloatingPointError as error:
        ...         print(error)  # doctest: +ELLIPSIS
        the gradient of sqrt is not finite: inf at [1], 1 of 2
          recorded at ...:...
          gradient given: (2,) from 2 to 2
          saved: (2,) from 0 to 2
    """

    def __enter__(self) -> None:
        self._outer = state.checker
        state.checker = self
        watch()

    def __exit__(self, *exc: object) -> None:
        state.checker = self._outer
        watch()

    def forward(self, node: Node, inputs: tuple[Tensor, ...], outputs: object) -> None:
        """Look at what an operation made; called when it is recorded."""
        path = _module()
        if path and isinstance(node.place, provenance.Trace):
            node.place = node.place._replace(module=path)
        found = _first(outputs)
        if found is not None:
            lines = [f"the result of {_name(node)} is not finite: {found}",
                     f"  at {provenance.describe(node.place)}"]
            lines += [f"  input {k}: {_range(t)}" for k, t in enumerate(inputs)]
            raise FloatingPointError("\n".join(lines))

    def backward(self, node: Node, given: object, found: object, saved: tuple) -> None:
        """Look at the gradients a node passes on, where those it was given are finite."""
        bad = _first(found)
        if bad is None or _first(given) is not None:
            return
        lines = [f"the gradient of {_name(node)} is not finite: {bad}"]
        if node.place is not None:
            lines.append(f"  recorded at {provenance.describe(node.place)}")
        lines += [f"  gradient given: {_range(t)}" for t in _tensors(given)]
        values = [v.tensor(node) if isinstance(v, Saved) else v for v in saved]
        lines += [f"  saved: {_range(t)}" for t in _tensors(values)]
        raise FloatingPointError("\n".join(lines))


def _name(node: Node) -> str:
    return node.name().removesuffix("0").removesuffix("Backward").lower()


def _tensors(values: object) -> list[Tensor]:
    """The float tensors among some values."""
    several = values if isinstance(values, (tuple, list)) else (values,)
    return [v for v in several if isinstance(v, Tensor) and v.is_floating_point()]


def _first(values: object) -> str | None:
    """The first entry that is not finite, and how many there are; None if all are."""
    for t in _tensors(values):
        array = t._values()
        bad = ~np.isfinite(array)
        if bad.any():
            at = np.unravel_index(int(bad.argmax()), bad.shape)
            return (f"{array[at]:g} at [{', '.join(map(str, at))}], {int(bad.sum())} of {array.size}")
    return None


def _range(t: Tensor) -> str:
    shape = tuple(t.shape)
    if not t.numel():
        return f"{shape}"
    array = t._values()
    few = array[np.isfinite(array)] if t.is_floating_point() else array
    found = f"{shape} from {few.min():g} to {few.max():g}" if few.size else f"{shape}, none finite"
    return found if few.size == array.size else f"{found}, and {array.size - few.size} not finite"


def _module() -> str:
    """The path of the innermost module whose forward is running, from the outermost."""
    inner = outer = None
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        if frame.f_code.co_name == "forward" and frame.f_code.co_argcount:
            module = frame.f_locals.get(frame.f_code.co_varnames[0])
            if hasattr(module, "named_modules"):
                inner, outer = inner or module, module
        frame = frame.f_back
    if outer is None:
        return ""
    path = next((name for name, m in outer.named_modules() if m is inner), "")
    return f"{type(outer).__name__}.{path}" if path else type(inner).__name__
