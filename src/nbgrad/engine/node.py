"""The nodes of the graph: what was done, to what, and how to go back."""

from __future__ import annotations

from itertools import count
from threading import RLock
from typing import Any, NamedTuple

from nbgrad.engine import provenance

next_number = count().__next__
#: held while a gradient is added to what a leaf holds: backwards of several threads may meet there
LEAVES = RLock()


class Node:
    """One recorded operation.

    `number` grows with time, so a node's inputs always have smaller numbers than the node.
    `next` holds for each input the node that made it (None where no gradient is needed) and
    `ports` which of that node's outputs it was, -1 if the only one. `saved` are the values
    backward needs, with the `versions` they had; a `Freed` once they are given up.
    """

    __slots__ = ("__weakref__", "attrs", "cuts", "hooks", "layouts", "next", "number", "place",
                 "ports", "saved", "stream", "versions")
    op: Any = None
    outputs = 1
    number: int
    next: tuple[Node | None, ...]
    ports: tuple[int, ...]
    attrs: tuple
    layouts: tuple
    saved: Any
    versions: tuple[int, ...] | None
    hooks: Hooks | None
    place: provenance.Place | None
    cuts: provenance.Cuts  # why inputs without history have none; not set if none says
    stream: Any  # where it was recorded; not set if that is the default one

    @staticmethod
    def back(node, *grads):
        """The gradients of the inputs, from those of the outputs; an op's class has the op's."""
        raise NotImplementedError

    def held(self) -> Any:
        """The gradient that a leaf holds, if one may be added to it unseen."""
        return None

    def name(self) -> str:
        return type(self).__name__

    @property
    def next_functions(self) -> tuple:
        """The nodes this one passes gradients to, each with the number of its output."""
        numbers = self.op.numbers if self.op is not None else 0
        ports = (max(port, 0) for port in self.ports)
        return (*zip(self.next, ports), *((None, 0),) * numbers)

    def register_hook(self, hook):
        """Call `hook(grad_inputs, grad_outputs)` after this node ran; returns a handle."""
        return hooks_of(self).add("post", 0, hook)

    def register_prehook(self, hook):
        """Call `hook(grad_outputs)` before this node runs; returns a handle."""
        return hooks_of(self).add("pre", 0, hook)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} object at {hex(id(self))}>"


class GradientEdge(NamedTuple):
    """An output of a node, into which its gradient flows; stands for a tensor."""

    node: Node
    output_nr: int


class Handle:
    """Removes the hook it was returned for, also at the end of a `with` block."""

    def __init__(self, hooks: dict, key: int) -> None:
        self._hooks, self._key = hooks, key

    def remove(self) -> None:
        self._hooks.pop(self._key, None)

    def __enter__(self) -> Handle:
        return self

    def __exit__(self, *exc) -> None:
        self.remove()


class Hooks:
    """The hooks of one node: on the gradient of each output, before and after the node."""

    __slots__ = ("kinds", "retained")

    def __init__(self) -> None:
        self.kinds: dict[tuple[str, int], dict[int, object]] = {}
        self.retained: dict[int, Any] = {}

    def add(self, kind: str, port: int, hook) -> Handle:
        registered = self.kinds.setdefault((kind, port), {})
        key = next_number()
        registered[key] = hook
        return Handle(registered, key)

    def of(self, kind: str, port: int = 0) -> list:
        return list(self.kinds.get((kind, port), {}).values())


def hooks_of(node: Node) -> Hooks:
    if node.hooks is None:
        node.hooks = Hooks()
    return node.hooks
