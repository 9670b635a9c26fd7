"""Checkpoints: safetensors files of one's own, and PyTorch's files without PyTorch."""

from __future__ import annotations

import os
from typing import Any

import numpy as np

from nbgrad.io import safetensors_file, torch_checkpoint

__all__ = ["load", "save"]


def save(obj: Any, path: str | os.PathLike) -> None:
    """Write tensors, and what belongs to them, to a safetensors file.

    A dict of tensors becomes a safetensors file that any program can read. Anything else in
    `obj` (step counts, learning rates, nested dicts, lists, tuples) is kept as JSON in the
    file's metadata. The file appears at once or not at all: an interrupted `save` leaves the
    old one. Tensors that share memory are written separately.

    Args:
        obj: tensors, NumPy arrays, numbers, strings, bools, None, or dicts, lists and tuples of
            them in any depth.
        path: the file, by custom `*.safetensors`.

    Raises:
        TypeError: `obj` holds something else; the message says where.

    Example:
        >>> nbgrad.save({"model": model.state_dict(), "epoch": 3}, "run.safetensors")
    """
    safetensors_file.write(obj, path)


def load(path: str | os.PathLike, *, map_location: Any = None, weights_only: bool = True) -> Any:
    """Read a checkpoint: one by `save`, any safetensors file, or a PyTorch .pth or .pt file.

    The content decides, not the file's name. Tensors come back as Tensors, float16 and bfloat16
    as float32; the rest comes back as it was saved, an OrderedDict possibly as a dict. No code in
    a file is ever run, so `load` is safe for files from strangers.

    Args:
        path: the file.
        map_location: accepted as in PyTorch; tensors are always loaded to the CPU.
        weights_only: accepted as in PyTorch; code is not run with False either.

    Raises:
        CheckpointError: the file is damaged or no checkpoint; the message says what it is.

    Example:
        >>> model.load_state_dict(nbgrad.load("mobilenet_v2-b0353104.pth"))
    """
    with open(path, "rb") as file:
        head, size = file.read(9), os.fstat(file.fileno()).st_size
    if safetensors_file.is_safetensors(head, size):
        return safetensors_file.read(path, _tensor)
    return torch_checkpoint.read(path, _tensor)


def _tensor(array: np.ndarray, requires_grad: bool) -> Any:
    from nbgrad.ops.create import from_numpy

    tensor = from_numpy(array)
    return tensor.requires_grad_(True) if requires_grad else tensor
