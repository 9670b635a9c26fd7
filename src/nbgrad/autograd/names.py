"""The names a model gives: to its tensors, to the operations that use them, to its lines of code."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping
from types import CodeType
from typing import Any

from nbgrad.engine.node import Node
from nbgrad.engine.provenance import Place, Trace
from nbgrad.engine.saved import Kept
from nbgrad.tensor import AccumulateGrad, Tensor


class Names:
    """What a model's tensors are called, and in which of its modules something happened.

    Args:
        pairs: qualified names, such as `features.0.weight`, with their tensors.
        model: the module they are of, if that is known.
    """

    def __init__(self, pairs: Iterable[tuple[str, Tensor]], model: Any = None) -> None:
        self.model = model
        self.names = {_key(t): name for name, t in pairs}

    def tensor(self, t: Any) -> str | None:
        return self.names.get(_key(t)) if isinstance(t, Tensor) else None

    def node(self, node: Node) -> str:
        """The path of the module that recorded a node: noted, or that of a tensor it uses."""
        if isinstance(node.place, Trace) and node.place.module:
            return node.place.module
        for used in (*(n.variable for n in node.next if isinstance(n, AccumulateGrad)),
                     *(v for v in node.saved if not isinstance(v, Kept))):
            name = self.tensor(used)
            if name is not None:
                return self._path(name.rpartition(".")[0])
        return ""

    def line(self, place: Place | None) -> str:
        """The paths of the modules to whose methods a line belongs, if it belongs to any."""
        if self.model is None or place is None:
            return ""
        paths: list[str] = []
        for overridden in (False, True):
            paths = paths or [self._path(path) for path, m in self.model.named_modules()
                              if _has(type(m), place[0], overridden)]
        return " or ".join([*paths[:_SHOWN], "others"] if len(paths) > _SHOWN else paths)

    def _path(self, path: str) -> str:
        return path or (type(self.model).__name__ if self.model is not None else "")


_SHOWN = 3


def _key(t: Tensor) -> Node | int:
    """A leaf is known by its node, also where several share memory."""
    return t._node if t._node is not None else id(t._data)


def _has(cls: type, code: CodeType, overridden: bool) -> bool:
    """Whether some code is that of a method, or of a function within one."""
    spaces: list[Mapping[str, Any]] = [vars(c) for c in cls.__mro__]
    if not overridden:
        spaces = [dict(pair for space in reversed(spaces) for pair in space.items())]
    for found in (f for space in spaces for f in space.values()):
        own = getattr(inspect.unwrap(getattr(found, "__func__", found)), "__code__", None)
        if own is not None and (own is code or (
                own.co_filename == code.co_filename
                and code.co_qualname.startswith(f"{own.co_qualname}.<locals>."))):
            return True
    return False
