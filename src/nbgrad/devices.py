"""Devices: where a tensor's memory lies."""

from __future__ import annotations


class device:
    """`device("cpu")`, `device("cuda")` or `device("cuda", 1)`; compared by value.

    Raises:
        RuntimeError: the string names no known device.
    """

    __slots__ = ("index", "type")

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

    def __eq__(self, other) -> bool:
        return isinstance(other, device) and (self.type, self.index) == (other.type, other.index)

    def __hash__(self) -> int:
        return hash((self.type, self.index))

    def __str__(self) -> str:
        return self.type if self.index is None else f"{self.type}:{self.index}"

    def __repr__(self) -> str:
        index = "" if self.index is None else f", index={self.index}"
        return f"device(type='{self.type}'{index})"


CPU = device("cpu")


def resolve(value) -> device:
    """The device asked for, or an error that says why it cannot be had."""
    if value is None:
        return CPU
    if not isinstance(value, (str, device)):
        raise TypeError(f"device must be a nbgrad.device or a string, got {value!r}")
    found = device(value)
    if found.type == "cuda":
        raise RuntimeError(
            "device='cuda': this build of nbgrad runs on the CPU only, and no CUDA device can be "
            "used yet; leave device out or pass device='cpu'"
        )
    return found
