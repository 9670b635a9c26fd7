"""Checkpoints: safetensors files of one's own, and PyTorch's files without PyTorch."""

from __future__ import annotations

import os
import warnings
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from nbgrad.io import reading, safetensors_file

__all__ = ["load", "save"]


def save(obj: Any, f: str | os.PathLike | BinaryIO) -> None:
    """Write tensors, and what belongs to them, to a safetensors file.

    A dict of tensors becomes a safetensors file that any program can read. Anything else in
    `obj` (step counts, learning rates, nested dicts, lists, tuples) is kept as JSON in the
    file's metadata. The file appears at once or not at all: an interrupted `save` leaves the
    old one. Tensors that share memory are written separately.

    Args:
        obj: tensors, NumPy arrays, numbers, strings, bools, None, or dicts, lists and tuples of
            them in any depth.
        f: a path, by custom `*.safetensors`, or a file object to write to. What PyTorch calls
            `.pth` or `.pt` is another format, so these names bring a warning.

    Raises:
        TypeError: `obj` holds something else; the message says where.

    Example:
        >>> nbgrad.save({"model": model.state_dict(), "epoch": 3}, "run.safetensors")
    """
    if isinstance(f, (str, os.PathLike)) and Path(f).suffix.lower() in (".pth", ".pt"):
        name = Path(f).with_suffix(".safetensors").name
        message = f"{f} holds safetensors, which torch.load cannot read: name it {name}"
        warnings.warn(message, stacklevel=2)
    safetensors_file.write(obj, f)


def load(
    f: str | os.PathLike | BinaryIO, *, map_location: Any = None, weights_only: bool = True
) -> Any:
    """Read a checkpoint: one by `save`, any safetensors file, or a PyTorch .pth or .pt file.

    The content decides, not the file's name. Tensors come back as Tensors, float16 and bfloat16
    as float32; the rest comes back as it was saved, an OrderedDict possibly as a dict. No code in
    a file is ever run, so `load` is safe for files from strangers.

    Args:
        f: a path, or a file object, which is read from where it stands to its end.
        map_location: the device that tensors are loaded to, the CPU where none is named; or a dict
            whose entry for "cpu" is that device, or a function of a tensor and "cpu" that moves it.
        weights_only: accepted as in PyTorch; code is not run with False either.

    Raises:
        CheckpointError: the file is damaged or no checkpoint; the message says what it is.

    Example:
        >>> model.load_state_dict(nbgrad.load("mobilenet_v2-b0353104.pth"))
    """
    move = _mover(map_location)
    return reading.read(f, _tensor if move is None else lambda array, requires_grad: (
        move(_tensor(array, False)).requires_grad_(requires_grad)))


def _mover(place: Any) -> Any:
    """The function that moves a tensor where `map_location` says; None where it stays."""
    if callable(place):
        return lambda tensor: _or(place(tensor, "cpu"), tensor)
    place = place.get("cpu") if isinstance(place, dict) else place
    return None if place is None else lambda tensor: tensor.to(place)


def _or(moved: Any, tensor: Any) -> Any:
    return tensor if moved is None else moved


def _tensor(array: np.ndarray, requires_grad: bool) -> Any:
    from nbgrad.ops.create import from_numpy

    tensor = from_numpy(array)
    return tensor.requires_grad_(True) if requires_grad else tensor
