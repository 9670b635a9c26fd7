"""What the names in a PyTorch pickle stand for here: plain records of storages and tensors."""

from __future__ import annotations

import math
from collections import Counter, OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from nbgrad.io.pickle_machine import Constructor, Refused, check_key

# A view may repeat its storage by strides of 0, at no cost until somebody copies it.
_LARGEST_EXPANSION = 2**28


def widen_bfloat16(bits: np.ndarray) -> np.ndarray:
    """float32 from bfloat16 in uint16."""
    return (bits.astype(np.uint32) << 16).view(np.float32)


@dataclass(frozen=True)
class Element:
    """How a storage keeps one element, and how it becomes one that NumPy knows."""

    stored: np.dtype
    convert: Callable[[np.ndarray], np.ndarray] = lambda array: array


ELEMENTS = {
    name: Element(np.dtype(name))
    for name in (
        *("float32", "float64", "complex64", "complex128"),
        *("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"),
    )
} | {
    "float16": Element(np.dtype("float16"), lambda a: a.astype(np.float32)),
    "bfloat16": Element(np.dtype("uint16"), widen_bfloat16),
    "bool": Element(np.dtype("uint8"), lambda a: a != 0),
}
_STORAGES = {
    "Float": "float32",
    "Double": "float64",
    "Half": "float16",
    "BFloat16": "bfloat16",
    "Byte": "uint8",
    "Char": "int8",
    "Short": "int16",
    "Int": "int32",
    "Long": "int64",
    "Bool": "bool",
    "ComplexFloat": "complex64",
    "ComplexDouble": "complex128",
}


@dataclass(frozen=True)
class StorageType:
    element: Element


@dataclass(frozen=True)
class Storage:
    """`count` elements from `start` on, of the `total` that lie under `key`."""

    key: str
    element: Element
    total: int
    start: int
    count: int


@dataclass(frozen=True, eq=False)
class TensorRecord:
    """What the pickle says about a tensor, offset and strides in elements as in PyTorch.

    Whoever holds one may rely on its elements lying within `storage`.
    """

    storage: Storage
    element: Element
    offset: int
    size: tuple[int, ...]
    stride: tuple[int, ...]
    requires_grad: bool


def _are_counts(*values: Any) -> bool:
    return all(type(value) is int and 0 <= value < 2**62 for value in values)


def storage(identity: Any) -> Storage:
    """The storage that a persistent id `("storage", type, key, device, total[, view])` names."""
    if type(identity) is not tuple or identity[:1] != ("storage",) or len(identity) not in (5, 6):
        raise Refused("refers to something outside the file that is not a storage")
    _, kind, key, _, total, view = (*identity, None)[:6]
    _, start, count = view or (None, 0, total)
    if type(kind) is not StorageType or type(key) is not str:
        raise Refused("has a storage without a type or a key")
    if not _are_counts(total, start, count) or start + count > total:
        raise Refused("has a storage whose size is impossible")
    return Storage(key, kind.element, total, start, count)


def _tensor(
    storage, offset, size, stride, requires_grad=False, hooks=None, metadata=None, element=None
):
    if type(storage) is not Storage:
        raise Refused("has a tensor without a storage")
    element = element or storage.element
    if type(size) is not tuple or type(stride) is not tuple or len(size) != len(stride):
        raise Refused("has a tensor whose size and stride do not match")
    if not _are_counts(offset, *size, *stride) or len(size) > 32:
        raise Refused("has a tensor whose size, stride or offset is impossible")
    if type(element) is not Element or type(requires_grad) is not bool or metadata:
        raise Refused("has a tensor of an unknown kind")
    last = offset + sum((n - 1) * step for n, step in zip(size, stride))
    have = storage.count * storage.element.stored.itemsize
    if 0 not in size and (last + 1) * element.stored.itemsize > have:
        raise Refused(f"has a tensor of size {size} that reaches past its storage of {have} bytes")
    if math.prod(size) > max(storage.count, _LARGEST_EXPANSION):
        raise Refused(f"has a tensor of size {size} that repeats {have} bytes")
    return TensorRecord(storage, element, offset, size, stride, requires_grad)


def _tensor_v3(storage, offset, size, stride, requires_grad, hooks, element, metadata=None):
    return _tensor(storage, offset, size, stride, requires_grad, hooks, metadata, element)


def _parameter(data, requires_grad, hooks, state=None):
    if type(data) is not TensorRecord or type(requires_grad) is not bool:
        raise Refused("has a parameter that is not a tensor")
    return replace(data, requires_grad=requires_grad)


def _ordered_dict(pairs=()):
    return OrderedDict((check_key(key), value) for key, value in pairs)


def _counter(counts):
    return Counter({check_key(key): value for key, value in counts.items()})


def _size(values):
    if type(values) is not tuple or not _are_counts(*values):
        raise Refused("has a torch.Size that is impossible")
    return values


def _encode(text, encoding):
    if encoding != "latin1":
        raise Refused("has bytes in an unknown encoding")
    return text.encode("latin1")


def _device(kind, index=None):
    return str(kind) if index is None else f"{kind}:{index}"


#: Every name that a checkpoint may mention. The functions are called with whatever it holds.
NAMES: dict[tuple[str, str], Any] = {
    ("collections", "OrderedDict"): Constructor(_ordered_dict),
    ("collections", "Counter"): Constructor(_counter),
    ("_codecs", "encode"): Constructor(_encode),
    ("torch", "Size"): Constructor(_size),
    ("torch", "device"): Constructor(_device),
    ("torch._utils", "_rebuild_tensor"): Constructor(_tensor),
    ("torch._utils", "_rebuild_tensor_v2"): Constructor(_tensor),
    ("torch._utils", "_rebuild_tensor_v3"): Constructor(_tensor_v3),
    ("torch._utils", "_rebuild_parameter"): Constructor(_parameter),
    ("torch._utils", "_rebuild_parameter_with_state"): Constructor(_parameter),
    ("torch.storage", "UntypedStorage"): StorageType(ELEMENTS["uint8"]),
    **{("torch", f"{name}Storage"): StorageType(ELEMENTS[e]) for name, e in _STORAGES.items()},
    **{("torch", name): element for name, element in ELEMENTS.items()},
}
