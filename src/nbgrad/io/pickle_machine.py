"""A reader of pickle streams that can reach nothing but a given table of names.

Python's own `pickle.Unpickler` with a restricted `find_class` still allocates whatever size a
forged opcode names, sets attributes of what it was given and hashes deep tuples until the stack
overflows. This machine knows the opcodes that `torch.save` writes (protocols 2 to 5) and has no
way to import, to set an attribute or to allocate more than the file holds.
"""

from __future__ import annotations

import struct
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Any, BinaryIO

_SCALARS = (str, bytes, int, float, bool, type(None))
_LONGEST_LINE = 1000


class Refused(Exception):
    """The file is not acceptable; the message is a whole sentence without the path."""


class Constructor:
    """A function that REDUCE may call; inert for every other opcode."""

    __slots__ = ("function",)

    def __init__(self, function: Callable[..., Any]) -> None:
        self.function = function


def check_key(key: Any) -> Any:
    """Return `key` if it is a number, a string, None or a flat tuple of them."""
    parts = key if type(key) is tuple else (key,)
    if not all(type(part) in _SCALARS for part in parts):
        raise Refused(f"has a dictionary key of type {type(key).__name__}")
    return key


class PickleMachine:
    """Interprets the pickles of `file` one after the other, each up to its STOP opcode.

    Args:
        file: binary stream of `size` bytes, left just behind the last pickle.
        names: what `(module, name)` stands for; a Constructor may be called, the rest is data.
        persistent_load: called with the persistent id of an object stored elsewhere.
    """

    stack: list[Any]
    marks: list[int]
    memo: dict[int, Any]

    def __init__(
        self,
        file: BinaryIO,
        size: int,
        names: Mapping[tuple[str, str], Any],
        persistent_load: Callable[[Any], Any],
    ) -> None:
        self.file = file
        self.size = size
        self.names = names
        self.persistent_load = persistent_load

    def load(self) -> Any:
        """The object in the next pickle."""
        self.stack, self.marks, self.memo = [], [], {}
        while (code := self.take(1)) != b".":
            handler = _HANDLERS.get(code)
            if handler is None:
                raise Refused(f"uses the pickle opcode {code!r}, which torch.save never writes")
            handler(self)
        return self.pop()

    def take(self, count: int) -> bytes:
        if not 0 <= count <= self.size - self.file.tell():
            raise Refused("is cut short or damaged")
        return self.file.read(count)

    def number(self, code: str) -> Any:
        return struct.unpack("<" + code, self.take(struct.calcsize("<" + code)))[0]

    def text(self, size_code: str) -> str:
        return self.take(self.number(size_code)).decode("utf-8", "surrogatepass")

    def line(self) -> str:
        line = self.file.readline(_LONGEST_LINE)
        if not line.endswith(b"\n"):
            raise Refused("has a damaged pickle")
        return line[:-1].decode("utf-8")

    def pop(self) -> Any:
        if len(self.stack) <= (self.marks[-1] if self.marks else 0):
            raise Refused("has a damaged pickle")
        return self.stack.pop()

    def pop_to_mark(self) -> list[Any]:
        start = self.marks.pop()
        items = self.stack[start:]
        del self.stack[start:]
        return items

    def pop_tuple(self, length: int) -> tuple[Any, ...]:
        return tuple(self.pop() for _ in range(length))[::-1]

    def find(self, module: Any, name: Any) -> None:
        if type(module) is not str or type(name) is not str:
            raise Refused("has a damaged pickle")
        if (module, name) not in self.names:
            wanted = ascii(f"{module}.{name}")[1:100].rstrip("'")
            raise Refused(
                f"needs the Python object {wanted}, and code in a checkpoint is never run; where "
                "you trust the file, load it in PyTorch and save model.state_dict()"
            )
        self.stack.append(self.names[module, name])

    def put(self, index: int) -> None:
        self.memo[index] = self.stack[-1]

    def append(self, items: list[Any]) -> None:
        target = self.stack[-1]
        if type(target) is not list:
            raise Refused("has a damaged pickle")
        target.extend(items)

    def set_items(self, items: list[Any]) -> None:
        target = self.stack[-1]
        if not isinstance(target, dict) or len(items) % 2:
            raise Refused("has a damaged pickle")
        for key, value in zip(items[::2], items[1::2]):
            target[check_key(key)] = value

    def reduce(self) -> None:
        function, arguments = self.pop_tuple(2)
        if type(function) is not Constructor or type(arguments) is not tuple:
            raise Refused("calls something that is not a function")
        self.stack.append(function.function(*arguments))

    def build(self) -> None:
        # Attributes of a state_dict (its `_metadata`) are dropped; nothing else may have any.
        self.pop()
        if type(self.stack[-1]) is not OrderedDict:
            raise Refused("sets the attributes of an object")


def _push(read: Callable[[PickleMachine], Any]) -> Callable[[PickleMachine], None]:
    def handler(machine: PickleMachine) -> None:
        machine.stack.append(read(machine))

    return handler


_HANDLERS: dict[bytes, Callable[[PickleMachine], Any]] = {
    # PROTO, FRAME
    b"\x80": lambda m: m.take(1),
    b"\x95": lambda m: m.take(8),
    # NONE, NEWTRUE, NEWFALSE
    b"N": _push(lambda m: None),
    b"\x88": _push(lambda m: True),
    b"\x89": _push(lambda m: False),
    # BININT, BININT1, BININT2, LONG1, LONG4, BINFLOAT
    b"J": _push(lambda m: m.number("i")),
    b"K": _push(lambda m: m.number("B")),
    b"M": _push(lambda m: m.number("H")),
    b"\x8a": _push(lambda m: int.from_bytes(m.take(m.number("B")), "little", signed=True)),
    b"\x8b": _push(lambda m: int.from_bytes(m.take(m.number("i")), "little", signed=True)),
    b"G": _push(lambda m: struct.unpack(">d", m.take(8))[0]),
    # Python 2's BINSTRING, SHORT_BINSTRING
    b"T": _push(lambda m: m.text("i")),
    b"U": _push(lambda m: m.text("B")),
    # BINUNICODE, SHORT_BINUNICODE, BINUNICODE8
    b"X": _push(lambda m: m.text("I")),
    b"\x8c": _push(lambda m: m.text("B")),
    b"\x8d": _push(lambda m: m.text("Q")),
    # BINBYTES, SHORT_BINBYTES, BINBYTES8
    b"B": _push(lambda m: m.take(m.number("I"))),
    b"C": _push(lambda m: m.take(m.number("B"))),
    b"\x8e": _push(lambda m: m.take(m.number("Q"))),
    # MARK, POP, POP_MARK
    b"(": lambda m: m.marks.append(len(m.stack)),
    b"0": lambda m: m.pop(),
    b"1": lambda m: m.pop_to_mark(),
    # EMPTY_TUPLE, TUPLE1, TUPLE2, TUPLE3, TUPLE
    b")": _push(lambda m: ()),
    b"\x85": _push(lambda m: m.pop_tuple(1)),
    b"\x86": _push(lambda m: m.pop_tuple(2)),
    b"\x87": _push(lambda m: m.pop_tuple(3)),
    b"t": _push(lambda m: tuple(m.pop_to_mark())),
    # EMPTY_LIST, APPEND, APPENDS
    b"]": _push(lambda m: []),
    b"a": lambda m: m.append([m.pop()]),
    b"e": lambda m: m.append(m.pop_to_mark()),
    # EMPTY_DICT, SETITEM, SETITEMS
    b"}": _push(lambda m: {}),
    b"s": lambda m: m.set_items(list(m.pop_tuple(2))),
    b"u": lambda m: m.set_items(m.pop_to_mark()),
    # BINPUT, LONG_BINPUT, MEMOIZE, BINGET, LONG_BINGET
    b"q": lambda m: m.put(m.number("B")),
    b"r": lambda m: m.put(m.number("I")),
    b"\x94": lambda m: m.put(len(m.memo)),
    b"h": _push(lambda m: m.memo[m.number("B")]),
    b"j": _push(lambda m: m.memo[m.number("I")]),
    # GLOBAL, STACK_GLOBAL, REDUCE, BUILD, BINPERSID
    b"c": lambda m: m.find(m.line(), m.line()),
    b"\x93": lambda m: m.find(*m.pop_tuple(2)),
    b"R": lambda m: m.reduce(),
    b"b": lambda m: m.build(),
    b"Q": _push(lambda m: m.persistent_load(m.pop())),
}
