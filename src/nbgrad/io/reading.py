"""A checkpoint of either format, from a path or a file object."""

from __future__ import annotations

import io
import os
from typing import Any, BinaryIO

from nbgrad.errors import CheckpointError
from nbgrad.io import safetensors_file, torch_checkpoint
from nbgrad.io.pickle_machine import Refused
from nbgrad.io.wrapping import Wrap


def read(source: str | os.PathLike | BinaryIO, wrap: Wrap) -> Any:
    """What the checkpoint `source` holds, with `wrap(array, requires_grad)` for every tensor.

    Args:
        source: a path, or a file object to read to its end.
        wrap: makes a tensor of a writable NumPy array and its requires_grad flag.

    Raises:
        CheckpointError: the file is damaged, hostile or something else; the message says which.

    Example:
        >>> arrays = read("model.pth", lambda array, requires_grad: array)
    """
    if hasattr(source, "read"):
        return _read(_rest(source), _name(source), wrap)
    with open(source, "rb") as file:
        return _read(file, os.fspath(source), wrap)


def _read(file: BinaryIO, name: str, wrap: Wrap) -> Any:
    size = file.seek(0, os.SEEK_END)
    file.seek(0)
    head = file.read(9)
    file.seek(0)
    try:
        if safetensors_file.is_safetensors(head, size):
            return safetensors_file.read(file, wrap)
        return torch_checkpoint.read(file, size, wrap)
    except ImportError:
        raise
    except Refused as error:
        raise CheckpointError(f"{name} {error}") from None
    except RecursionError:
        raise CheckpointError(f"{name} is nested too deeply") from None
    except Exception as error:
        why = " ".join(f"{type(error).__name__}: {error}".split())[:200]
        raise CheckpointError(f"{name} is damaged ({why})") from error


def _name(source: Any) -> str:
    name = getattr(source, "name", None)  # of a temporary file, a number
    return name if isinstance(name, str) else type(source).__name__


def _rest(source: Any) -> io.BytesIO:
    """What is left to read in `source`."""
    content = source.read()
    if not isinstance(content, bytes):
        raise TypeError(f"load: open {_name(source)} in binary mode ('rb')")
    if not content:
        raise CheckpointError(f"{_name(source)} is empty, or at its end and needs seek(0)")
    return io.BytesIO(content)
