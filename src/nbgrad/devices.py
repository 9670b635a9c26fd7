"""Devices: where a tensor's memory lies."""

from __future__ import annotations


class device:
    """`device("cpu")`, `device("cuda")` or `device("cuda", 1)`; compared by value.

    Raises:
        RuntimeError: the string names no known device.
    """

    __slots__ = ("_name", "index", "type")

    type: str

    def __init__(self, type: str | device, index: int | None = None) -> None:
        if isinstance(type, device):
            index = type.index
            type = type.type
        name, _, number = str(type).partition(":")
        if name not in ("cpu", "cuda") or (number and not number.isdigit()):
            raise RuntimeError(
                f"Expected one of cpu, cuda device type at start of device string: {type}"
            )
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
