"""Ops that change a copy of their first input, or the input itself, by one function on arrays."""

from __future__ import annotations

import inspect
from collections.abc import Callable

from nbgrad.kernels.backend import Twins
from nbgrad.ops.apply import apply, apply_
from nbgrad.ops.elementwise import apart, check_writable
from nbgrad.ops.op import Op
from nbgrad.tensor import Tensor

copied = Twins("layouts").copied


class Change(Op):
    """An op given by `change`, which writes into the array of its first input."""

    def change(self, array, *others_and_attrs) -> None:
        """Write into `array`, of any strides."""
        raise NotImplementedError(self.name)

    def forward(self, base, *rest):
        out = copied(base)
        self.change(out, *rest)
        return out

    def run_into(self, target, others, attrs) -> None:
        check_writable(target._layout)
        self.change(target._array(), *[_apart(target, t)._array() for t in others], *attrs)


def _apart(target: Tensor, t: Tensor) -> Tensor:
    """An input of a write, copied where it may be overwritten; refused where it is for certain."""
    if t._data is target._data and t._layout is target._layout and t._layout.numel:
        raise RuntimeError(
            "unsupported operation: some elements of the input tensor and the written-to tensor "
            "refer to a single memory location. Please clone() the tensor before performing the "
            "operation.")
    return apart(target, t)


def into(op: Op, inputs: tuple[Tensor, ...], attrs: tuple = ()) -> Tensor:
    """As `apply`, but into the memory of the first input."""
    return apply_(op, inputs[0], inputs[1:], attrs)


def both(function: Callable) -> tuple[Callable, Callable]:
    """`function(run, input, ...)` as a function that returns a copy, and one that writes in place.

    `run` is `apply` in the first and `into` in the second.
    """
    name = function.__name__.lstrip("_")
    return (_with(apply, name, function, function.__doc__),
            _with(into, f"{name}_", function, f"`{name}`, in place."))


def _with(run, name: str, function: Callable, doc: str | None) -> Callable:
    def call(*args, **kwargs):
        return function(run, *args, **kwargs)

    own = inspect.signature(function)
    call.__signature__ = own.replace(  # type: ignore[attr-defined]
        parameters=list(own.parameters.values())[1:])
    call.__name__ = call.__qualname__ = name
    call.__module__, call.__doc__ = function.__module__, doc
    return call
