"""CUDA devices, their streams, events and memory: `nbgrad.cuda`."""

from __future__ import annotations

from nbgrad.errors import OutOfMemoryError
from nbgrad.kernels.backend import machine as _machine


def is_available() -> bool:
    """Whether a CUDA device can be used; `python -m nbgrad doctor` says why not."""
    try:
        _machine().check()
    except RuntimeError:
        return False
    return True


def device_count() -> int:
    """The number of CUDA devices that nbgrad uses: one, if there is any."""
    return 1 if is_available() else 0


def synchronize(device=None) -> None:
    """Wait until the device has done all that it was given."""
    _machine().synchronize()


__all__ = ["OutOfMemoryError", "device_count", "is_available", "synchronize"]
