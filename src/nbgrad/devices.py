"""Devices: where a tensor's memory lies."""

from __future__ import annotations


class device:
    """`device("cpu")`, `device("cuda")`, `device("cuda", 1)` or `device(1)`; compared by value.

    Raises:
        RuntimeError: the string or the number names no known device.
    """

    __slots__ = ("_name", "index", "type")

    type: str

    def __init__(self, type: str | device | int, index: int | None = None) -> None:
        if isinstance(type, device):
            index = type.index
            type = type.type
        elif isinstance(type, int) and not isinstance(type, bool):
            type, index = "cuda", int(type)
        if not isinstance(type, str):
            raise TypeError(f"device() received an invalid combination of arguments - got "
                            f"({type.__class__.__name__}), but a string, an int or a device is wanted")
        name, colon, number = type.partition(":")
        if name not in ("cpu", "cuda"):
            raise RuntimeError(
                f"Expected one of cpu, cuda device type at start of device string: {type}"
            )
        if colon and (not number.isdecimal() or number != str(int(number))):
            raise RuntimeError(f"Invalid device string: '{type}'")
        if colon and index is not None:
            raise RuntimeError("type (string) must not include an index because index was passed "
                               f"explicitly: {type}")
        if index is not None and index < 0:
            raise RuntimeError("Device index must not be negative")
        self.type = name
        self.index: int | None = int(number) if number else index
        self._name = name if self.index is None else f"{name}:{self.index}"

    def __enter__(self) -> device:
        _default.append(self)
        return self

    def __exit__(self, *error) -> None:
        _default.pop()

    def __eq__(self, other) -> bool:
        return isinstance(other, device) and self._name == other._name

    def __hash__(self) -> int:
        return hash(self._name)

    def __str__(self) -> str:
        return self._name

    def __repr__(self) -> str:
        index = "" if self.index is None else f", index={self.index}"
        return f"device(type='{self.type}'{index})"


CPU = device("cpu")
#: where new tensors lie, the last one; grows inside `with device(...)`
_default = [CPU]
_gpus: list[device] = []


def gpu(index: int) -> device:
    """The one object that stands for a CUDA device where tensors lie."""
    while len(_gpus) <= index:
        _gpus.append(device("cuda", len(_gpus)))
    return _gpus[index]


def default() -> device:
    """Where new tensors lie if nothing is said."""
    return _default[-1]


def set_default(place: device) -> None:
    """Say where new tensors lie."""
    _default[-1] = place
