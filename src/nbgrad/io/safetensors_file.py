"""nbgrad's own checkpoints: safetensors files, with what is not a tensor as JSON beside them."""

from __future__ import annotations

import contextlib
import json
import math
import os
import secrets
from collections.abc import Callable, Iterator
from typing import Any, BinaryIO

import numpy as np

from nbgrad import dtypes
from nbgrad.io.pickle_machine import Refused
from nbgrad.io.torch_records import ELEMENTS
from nbgrad.io.wrapping import Wrap, wrapped

_METADATA = "nbgrad"
_KINDS = {
    "BOOL": "bool",
    "BF16": "bfloat16",
    "F16": "float16",
    "F32": "float32",
    "F64": "float64",
    "C64": "complex64",
    **{f"I{bits}": f"int{bits}" for bits in (8, 16, 32, 64)},
    **{f"U{bits}": f"uint{bits}" for bits in (8, 16, 32, 64)},
}
_SCALARS = (str, bool, int, float, type(None))


def _library() -> Any:
    try:
        import safetensors.numpy
    except ImportError as error:
        raise ImportError("safetensors files need a library: pip install safetensors") from error
    return safetensors


class _Encoder:
    """Splits an object into named arrays and a JSON tree that refers to them."""

    def __init__(self) -> None:
        self.arrays: dict[str, np.ndarray] = {}

    def encode(self, value: Any, path: tuple[str, ...] = ()) -> Any:
        if isinstance(value, np.generic):
            value = value.item()
        if type(value) is float and not math.isfinite(value):
            return {"float": str(value)}
        if type(value) in _SCALARS:
            return value
        if isinstance(value, np.ndarray) or hasattr(value, "detach"):
            return self._tensor(value, path)
        if isinstance(value, dict):
            return {"dict": [self._item(key, item, path) for key, item in value.items()]}
        if isinstance(value, (list, tuple)):
            items = [self.encode(item, (*path, str(i))) for i, item in enumerate(value)]
            return {"tuple" if isinstance(value, tuple) else "list": items}
        raise TypeError(
            f"save: cannot store {'.'.join(path) or 'an object'} of type {type(value).__name__}; "
            "a checkpoint holds tensors, arrays, numbers, strings, bools, None, and dicts, lists "
            "and tuples of them"
        )

    def _item(self, key: Any, value: Any, path: tuple[str, ...]) -> list[Any]:
        parts = key if isinstance(key, tuple) else (key,)
        if not all(isinstance(part, (*_SCALARS, np.generic)) for part in parts):
            raise TypeError(f"save: {'.'.join(path)} has a key of type {type(key).__name__}")
        name = ".".join(map(str, parts))
        return [self.encode(key, (*path, name)), self.encode(value, (*path, name))]

    def _tensor(self, value: Any, path: tuple[str, ...]) -> dict[str, Any]:
        if getattr(value, "is_cuda", False):
            array = value.detach().cpu().numpy()
        else:
            array = value.detach().numpy() if hasattr(value, "detach") else value
        dtypes.from_numpy(array.dtype)  # a TypeError now rather than when the file is read
        name = plain = ".".join(path).encode("utf-8", "replace").decode() or "tensor"
        while name in self.arrays or name == "__metadata__":
            name = f"{plain}#{len(self.arrays)}"
        # safetensors 0.8.0 writes other layouts as if they were C-contiguous.
        self.arrays[name] = np.asarray(array, array.dtype.newbyteorder("="), order="C")
        node = {"tensor": name}
        return {**node, "requires_grad": True} if getattr(value, "requires_grad", False) else node


def _decode(node: Any, tensor: Callable[[str, bool], Any]) -> Any:
    if type(node) in _SCALARS:
        return node
    if "tensor" in node:
        return tensor(node["tensor"], node.get("requires_grad") is True)
    ((kind, content),) = node.items()
    if kind == "float":
        return float(content)
    if kind == "dict":
        return {_decode(key, tensor): _decode(value, tensor) for key, value in content}
    items = [_decode(item, tensor) for item in content]
    return {"list": items, "tuple": tuple(items)}[kind]


@contextlib.contextmanager
def _replacing(path: str | os.PathLike) -> Iterator[str]:
    """A temporary file that takes the place of `path` once it is complete."""
    target = os.path.realpath(path)
    temporary = f"{target}.{secrets.token_hex(4)}.tmp"
    try:
        with open(temporary, "xb") as file:
            mode = os.fstat(file.fileno()).st_mode
        yield temporary
        os.chmod(temporary, mode)  # the library writes files that only their owner can read
        os.replace(temporary, target)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)
        raise


def write(obj: Any, f: str | os.PathLike | BinaryIO) -> None:
    """Write `obj`, (nested) dicts, lists and tuples of tensors and plain values, to `f`."""
    library = _library()
    encoder = _Encoder()
    try:
        structure = json.dumps(encoder.encode(obj))
    except RecursionError:
        raise ValueError("save: the object contains itself or is nested too deeply") from None
    metadata = {_METADATA: structure}
    if hasattr(f, "write"):
        f.write(library.numpy.save(encoder.arrays, metadata))
        return
    with _replacing(f) as temporary:
        library.numpy.save_file(encoder.arrays, temporary, metadata)


def is_safetensors(head: bytes, size: int) -> bool:
    """Whether a file of `size` bytes that begins with `head` looks like safetensors."""
    return head[8:9] == b"{" and int.from_bytes(head[:8], "little") <= size - 8


def _array(kind: str, shape: list[int], data: bytearray) -> np.ndarray:
    if kind not in _KINDS:
        raise Refused(f"has a tensor of dtype {kind}, which nbgrad does not read")
    element = ELEMENTS[_KINDS[kind]]
    stored = np.frombuffer(data, element.stored.newbyteorder("<"))
    return element.convert(stored.astype(element.stored, copy=False)).reshape(shape)


def read(file: BinaryIO, wrap: Wrap) -> Any:
    """What `write` wrote to `file`, or a dict by name from another program's safetensors file.

    Args:
        file: at its beginning.
        wrap: makes a tensor of a writable NumPy array and its requires_grad flag.

    Raises:
        Refused: the file has what nbgrad lacks. A damaged one raises all kinds of errors.
    """
    content = file.read()
    arrays = {name: _array(entry["dtype"], entry["shape"], entry["data"])
              for name, entry in _library().deserialize(content)}
    header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
    metadata = header.pop("__metadata__", {})
    structure: Any = {"dict": [[name, {"tensor": name}] for name in header]}
    if _METADATA in metadata:
        structure = json.loads(metadata[_METADATA])
    return _decode(structure, lambda name, grad: wrapped(wrap, arrays[name], grad))
