"""Write src/nbgrad/stubs.pyi: the types of what ops.methods hangs on the package and on Tensor.

python tools/write_stubs.py
"""

from __future__ import annotations

import inspect
import keyword
import re
import textwrap
from pathlib import Path

from nbgrad.ops import methods
from nbgrad.tensor import Tensor

TARGET = Path(__file__).parent.parent / "src" / "nbgrad" / "stubs.pyi"
HEAD = '''\
"""The types of the functions of nbgrad and of the methods of Tensor, by tools/write_stubs.py."""

from builtins import bool as _bool
from builtins import float as _float
from builtins import int as _int
from builtins import str as _str
from collections.abc import Iterator
from typing import Any

from nbgrad.ops.generator import Generator as Generator
from nbgrad.tensor import Tensor
'''
#: the words that annotations may be made of; one with another word is Any
WORDS = {"Tensor": "Tensor", "Generator": "Generator", "None": "None", "Any": "Any",
         "tuple": "tuple", "list": "list", "int": "_int", "float": "_float", "bool": "_bool",
         "str": "_str"}
#: what is hung on Tensor elsewhere, and operators, whose signatures Python gives
BY_HAND = """\
class Methods:
    _legacy: Any
    def backward(
        self,
        gradient: Tensor | None = ...,
        retain_graph: _bool | None = ...,
        create_graph: _bool = ...,
        inputs: Any = ...,
    ) -> None: ...
    def __getitem__(self, key: Any) -> Tensor: ...
    def __setitem__(self, key: Any, value: Any) -> None: ...
    def __iter__(self) -> Iterator[Tensor]: ...
    def __float__(self) -> _float: ...
    def __int__(self) -> _int: ...
    def __index__(self) -> _int: ...
    def __bool__(self) -> _bool: ...
    def __neg__(self) -> Tensor: ...
    def __invert__(self) -> Tensor: ...
    def __matmul__(self, other: Tensor) -> Tensor: ...
    def __eq__(self, other: Any) -> Tensor: ...  # type: ignore[override]
    def __ne__(self, other: Any) -> Tensor: ...  # type: ignore[override]
    def _arithmetic(self, other: Any) -> Tensor: ...
    __add__ = __radd__ = __sub__ = __rsub__ = __mul__ = __rmul__ = _arithmetic
    __truediv__ = __rtruediv__ = __floordiv__ = __rfloordiv__ = __mod__ = __rmod__ = _arithmetic
    __pow__ = __rpow__ = __lt__ = __le__ = __gt__ = __ge__ = _arithmetic
    __and__ = __rand__ = __or__ = __ror__ = __xor__ = __rxor__ = _arithmetic
"""
#: of no use to a reader of types
SKIPPED = {"accumulate_"}


def annotation(found) -> str:
    """A type as it may stand in the stubs."""
    if found is inspect.Parameter.empty:
        return "Any"
    text = found if isinstance(found, str) else getattr(found, "__name__", "Any")
    words = re.findall(r"[A-Za-z_][\w.]*", text)
    if not all(w in WORDS for w in words):
        return "Any"
    return re.sub(r"[A-Za-z_]\w*", lambda m: WORDS[m[0]], text)


def signature(name: str, function, method: bool) -> str:
    """`def name(...) -> type: ...` of a function."""
    parts, star = [], False
    for k, p in enumerate(inspect.signature(function).parameters.values()):
        if method and k == 0:
            parts.append("self")
            continue
        if p.kind is p.KEYWORD_ONLY and not star:
            parts.append("*")
        star = star or p.kind in (p.KEYWORD_ONLY, p.VAR_POSITIONAL)
        prefix = {p.VAR_POSITIONAL: "*", p.VAR_KEYWORD: "**"}.get(p.kind, "")
        default = " = ..." if p.default is not p.empty else ""
        kind = annotation(p.annotation)
        if p.default is None and kind not in ("Any",) and "None" not in kind:
            kind += " | None"
        parts.append(f"{prefix}{p.name}: {kind}{default}")
    if getattr(function, "into", False):
        parts += ["out: Any = ..."] if star else ["*", "out: Any = ..."]
    if method and not parts:
        parts = ["self"]
    if method and parts[0].startswith("*"):
        parts.insert(0, "self")
    returned = inspect.signature(function).return_annotation
    line = f"def {name}({', '.join(parts)}) -> {annotation(returned)}: ..."
    if len(line) > 96:
        inner = "".join(f"    {part},\n" for part in parts)
        line = f"def {name}(\n{inner}) -> {annotation(returned)}: ..."
    return line


def declarations(table: dict, method: bool) -> list[str]:
    """One declaration a name, in alphabetical order."""
    lines = []
    for name, value in sorted(table.items()):
        if keyword.iskeyword(name) or name.startswith("__") or name in SKIPPED or (
                inspect.isclass(value)):
            continue
        if isinstance(value, property):
            lines.append(f"@property\ndef {name}(self) -> Tensor: ...")
        elif callable(value):
            lines.append(signature(name, value, method))
        else:
            lines.append(f"{name}: {annotation(type(value))}")
    return lines


def text() -> str:
    """The whole file."""
    functions = declarations(methods.PACKAGE, False)
    own = {n: f for n, f in (methods.FUNCTIONS | methods.METHODS).items()
           if not _written(n)}
    body = textwrap.indent("\n".join(declarations(own, True)), "    ")
    return "\n".join([HEAD, *functions, "", BY_HAND + body, ""])


def _written(name: str) -> bool:
    """Whether the body of Tensor defines a method itself."""
    return getattr(getattr(Tensor, name, None), "__qualname__", "").startswith("Tensor.")


if __name__ == "__main__":
    TARGET.write_text(text())
