"""PyTorch's .pth and .pt files, read without PyTorch and without running what they pickle."""

from __future__ import annotations

import io
import sys
import zipfile
from typing import Any, BinaryIO

import numpy as np

from nbgrad import dtypes
from nbgrad.io.identify import describe
from nbgrad.io.pickle_machine import PickleMachine, Refused
from nbgrad.io.torch_records import NAMES, Element, Storage, TensorRecord
from nbgrad.io.torch_records import storage as storage_of
from nbgrad.io.wrapping import Wrap, wrapped

_MAGIC = 0x1950A86A20F9469CFC6C
_LEGACY_PROTOCOL = 1001
_DEEPEST = 100


class _Storages:
    """The storages of one file by key, together no larger than the file itself."""

    def __init__(self, size: int) -> None:
        self.left = size
        self.bytes: dict[str, np.ndarray] = {}
        self.swapped = False
        self.typed: dict[tuple[str, Element], np.ndarray] = {}

    def read(self, key: str, file: Any, nbytes: int) -> None:
        if not 0 <= nbytes <= self.left or key in self.bytes:
            raise Refused("is cut short or damaged: it promises more data than it holds")
        self.left -= nbytes
        content = np.empty(nbytes, np.uint8)
        if nbytes and file.readinto(content) != nbytes:
            raise Refused("is cut short")
        self.bytes[key] = content

    def array(self, record: TensorRecord) -> np.ndarray:
        """The view that `record` describes; tensors that share a storage share memory."""
        storage = record.storage
        content = self.bytes[storage.key]
        if len(content) != storage.total * storage.element.stored.itemsize:
            raise Refused(f"has a storage of {len(content)} bytes where its tensors expect another")
        kind = (storage.key, record.element)
        if kind not in self.typed:
            stored = content.view(record.element.stored)
            self.typed[kind] = record.element.convert(stored.byteswap() if self.swapped else stored)
        typed = self.typed[kind]
        start = storage.start * storage.element.stored.itemsize // record.element.stored.itemsize
        return np.ndarray(
            record.size,
            typed.dtype,
            typed,
            (start + record.offset) * typed.itemsize if typed.size else 0,
            tuple(step * typed.itemsize for step in record.stride),
        )


def _read_legacy(file: BinaryIO, size: int) -> tuple[Any, _Storages]:
    itemsizes: dict[str, int] = {}

    def persistent_load(identity: Any) -> Storage:
        storage = storage_of(identity)
        itemsizes[storage.key] = storage.element.stored.itemsize
        return storage

    machine = PickleMachine(file, size, NAMES, persistent_load)
    if machine.load() != _MAGIC or machine.load() != _LEGACY_PROTOCOL:
        raise Refused("is a pickle, but not one that torch.save wrote")
    machine.load()  # about the computer that wrote it; the data is little-endian everywhere
    tree, keys = machine.load(), machine.load()
    storages = _Storages(size)
    storages.swapped = sys.byteorder == "big"
    for key in keys:
        count = machine.number("q")
        storages.read(key, file, count * itemsizes[key])
    return tree, storages


def _read_zip(file: BinaryIO, size: int) -> tuple[Any, _Storages]:
    storages = _Storages(size)
    archive = zipfile.ZipFile(file)
    entries = {info.filename: info for info in archive.infolist()}
    roots = [name[: -len("data.pkl")] for name in entries if name.endswith("/data.pkl")]
    if len(roots) != 1:
        raise Refused("is a zip archive without PyTorch's data.pkl")
    root = roots[0]
    if f"{root}constants.pkl" in entries:
        raise Refused("is a TorchScript archive; in PyTorch, save model.state_dict() instead")

    def read(name: str) -> np.ndarray:
        info = entries[root + name]
        if info.compress_type != zipfile.ZIP_STORED:
            raise Refused("has compressed entries, which torch.save never writes")
        if info.CRC == 0:  # written after torch.serialization.set_crc32_options(False)
            info.CRC = None  # type: ignore[assignment]
        with archive.open(info) as entry:
            storages.read(name, entry, info.file_size)
        return storages.bytes.pop(name)

    def persistent_load(identity: Any) -> Storage:
        storage = storage_of(identity)
        if storage.key not in storages.bytes:
            storages.bytes[storage.key] = read(f"data/{storage.key}")
        return storage

    if f"{root}byteorder" in entries:
        order = read("byteorder").tobytes()
        if order not in (b"little", b"big"):
            raise Refused("has an unknown byte order")
        storages.swapped = order.decode() != sys.byteorder
    pickled = read("data.pkl").tobytes()
    return PickleMachine(io.BytesIO(pickled), len(pickled), NAMES, persistent_load).load(), storages


class _Builder:
    """Copies a tree with its records replaced by what `wrap` makes of their arrays.

    An object that occurs twice stays one object, so a small file cannot unfold into a huge tree.
    """

    def __init__(self, storages: _Storages, wrap: Wrap) -> None:
        self.storages = storages
        self.wrap = wrap
        self.done: dict[int, tuple[Any, int]] = {}

    def build(self, node: Any) -> tuple[Any, int]:
        """The copy of `node`, and how deep it is nested."""
        if node is None or isinstance(node, (str, bytes, int, float)):
            return node, 0
        if id(node) not in self.done:
            self.done[id(node)] = (None, _DEEPEST)  # found again within itself: endlessly deep
            self.done[id(node)] = self._build(node)
        return self.done[id(node)]

    def _build(self, node: Any) -> tuple[Any, int]:
        if isinstance(node, TensorRecord):
            return wrapped(self.wrap, self.storages.array(node), node.requires_grad), 0
        if isinstance(node, Element):
            return dtypes.from_numpy(node.convert(np.empty(0, node.stored)).dtype), 0
        if not isinstance(node, (dict, list, tuple)):
            raise Refused(f"holds a bare {type(node).__name__} where a value should be")
        built = [self.build(c) for c in (node.values() if isinstance(node, dict) else node)]
        depth = 1 + max((depth for _, depth in built), default=0)
        if depth > _DEEPEST:
            raise Refused(f"is nested more than {_DEEPEST} levels deep")
        values: Any = [value for value, _ in built]
        return type(node)(dict(zip(node, values)) if isinstance(node, dict) else values), depth


def read(file: BinaryIO, size: int, wrap: Wrap) -> Any:
    """What `torch.save` wrote to `file`, with `wrap(array, requires_grad)` for every tensor.

    Reads the zip format (PyTorch 1.6 and later) and the stream format before it. The pickle in
    the file is interpreted by a machine that knows tensors and plain containers only, and every
    size is checked against the file, so an untrusted file can do no more than be refused.
    float16 and bfloat16 become float32; tensors that shared a storage share memory.

    Args:
        file: at its beginning.
        size: of the file, in bytes.
        wrap: makes a tensor of a writable NumPy array and its requires_grad flag.

    Raises:
        Refused: the file is hostile or something else. A damaged one raises all kinds of errors.
    """
    head = file.read(512)
    file.seek(0)
    if head.startswith(b"PK\3\4"):
        tree, storages = _read_zip(file, size)
    elif head.startswith(b"\x80"):
        tree, storages = _read_legacy(file, size)
    else:
        raise Refused(describe(head))
    return _Builder(storages, wrap).build(tree)[0]
