"""Damaged and hostile files: refused in one line, and never anything worse."""

import contextlib
import io
import os
import struct
import tarfile
import tracemalloc
import zipfile
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from nbgrad.errors import CheckpointError
from nbgrad.io import reading

MAGIC, PROTOCOL = 0x1950A86A20F9469CFC6C, 1001


def read(path):
    return reading.read(path, lambda array, requires_grad: array)


def refused(path, *words):
    with pytest.raises(CheckpointError) as caught:
        read(path)
    message = str(caught.value)
    assert message.startswith(str(path)) and "\n" not in message and len(message) < 500, message
    for word in words:
        assert word in message[len(str(path)) :]


@dataclass(frozen=True)
class Name:
    module: str
    name: str


@dataclass(frozen=True)
class Call:
    function: Any
    arguments: Any


@dataclass(frozen=True)
class Stored:
    identity: Any


@dataclass(frozen=True)
class Raw:
    opcodes: bytes


def opcodes(value):
    """The pickle of `value` without PROTO and STOP, as an attacker would write it."""
    if isinstance(value, Raw):
        return value.opcodes
    if isinstance(value, Name):
        return b"c" + f"{value.module}\n{value.name}\n".encode()
    if isinstance(value, Call):
        return opcodes(value.function) + opcodes(value.arguments) + b"R"
    if isinstance(value, Stored):
        return opcodes(value.identity) + b"Q"
    if isinstance(value, str):
        return b"X" + struct.pack("<I", len(value)) + value.encode()
    if isinstance(value, bool):
        return b"\x88" if value else b"\x89"
    if isinstance(value, int):
        return b"\x8a\x0b" + value.to_bytes(11, "little", signed=True)
    if isinstance(value, float):
        return b"G" + struct.pack(">d", value)
    if value is None:
        return b"N"
    if isinstance(value, dict):
        return b"}(" + b"".join(opcodes(k) + opcodes(v) for k, v in value.items()) + b"u"
    start, end = {list: (b"](", b"e"), tuple: (b"(", b"t")}[type(value)]
    return start + b"".join(map(opcodes, value)) + end


def pickled(value):
    return b"\x80\x02" + opcodes(value) + b"."


def write_zip(path, value, storages=None, **options):
    with zipfile.ZipFile(path, "w", **options) as archive:
        archive.writestr("x/data.pkl", pickled(value))
        for key, content in (storages or {}).items():
            archive.writestr(f"x/data/{key}", content)
    return path


def write_legacy(path, value, storages=None, counts=None):
    storages = storages or {}
    parts = [pickled(part) for part in (MAGIC, PROTOCOL, {}, value, list(storages))]
    for key, content in storages.items():
        parts += [struct.pack("<q", (counts or {}).get(key, len(content) // 4)), content]
    path.write_bytes(b"".join(parts))
    return path


WRITERS = pytest.mark.parametrize("write", [write_zip, write_legacy], ids=["zip", "legacy"])

FLOATS = Name("torch", "FloatStorage")
REBUILD = Name("torch._utils", "_rebuild_tensor_v2")


def stored(key="0", count=6, kind=FLOATS, view=None):
    return Stored(("storage", kind, key, "cpu", count, view))


def tensor(storage=None, offset=0, size=(2, 3), stride=(3, 1), requires_grad=False, *more):
    hooks = Call(Name("collections", "OrderedDict"), ())
    return Call(REBUILD, (storage or stored(), offset, size, stride, requires_grad, hooks, *more))


DATA = {"0": np.arange(6, dtype="<f4").tobytes()}


@WRITERS
def test_the_writers_write_what_is_read(tmp_path, write):
    result = read(write(tmp_path / "x.pth", {"x": tensor()}, DATA))
    np.testing.assert_array_equal(result["x"], np.arange(6.0).reshape(2, 3))


@WRITERS
def test_old_storage_views(tmp_path, write):
    view = tensor(stored(view=("v", 2, 3)), 1, (2,), (1,))
    np.testing.assert_array_equal(read(write(tmp_path / "x.pth", view, DATA)), [3, 4])


MARKER = "nbgrad-was-here"
CODE = {
    "os.system": Call(Name("os", "system"), (f"touch {MARKER}",)),
    "posix.system": Call(Name("posix", "system"), (f"touch {MARKER}",)),
    "eval": Call(Name("builtins", "eval"), (f"open({MARKER!r}, 'w')",)),
    "python 2": Call(Name("__builtin__", "eval"), (f"open({MARKER!r}, 'w')",)),
    "getattr": Call(Name("builtins", "getattr"), ("", "join")),
    "import": Call(Name("importlib", "import_module"), ("os",)),
    "dotted": Call(Name("collections", "OrderedDict.__init__"), ()),
    "torch.load": Call(Name("torch", "load"), ("x",)),
    "numpy": Call(Name("numpy", "load"), ("x",)),
    "own": Name("nbgrad.io.torch_checkpoint", "os"),
    "model": Call(Name("torch.nn.modules.container", "Sequential"), ()),
    "stack global": Raw(opcodes("os") + opcodes("system") + b"\x93"),
    "name of two lines": Raw(opcodes("os\nos") + opcodes("system") + b"\x93"),
    "odd global": Raw(opcodes(1) + opcodes([]) + b"\x93"),
    "extension": Raw(b"\x82\x01"),
    "inst": Raw(b"(ios\nsystem\n"),
    "obj": Raw(b"(" + opcodes(Name("collections", "OrderedDict")) + b"o"),
    "newobj": Raw(opcodes(Name("collections", "OrderedDict")) + b")\x81"),
    "text": Raw(b"I1\n"),
    "buffer": Raw(b"\x97"),
    "build a name": Raw(opcodes(REBUILD) + opcodes({"__code__": 1}) + b"b"),
    "build a list": Raw(b"]" + opcodes({"append": 1}) + b"b"),
    "call a string": Call("os.system", ("true",)),
    "call a type": Call(FLOATS, (3,)),
    "call with a list": Call(Name("collections", "OrderedDict"), []),
    "call a call": Call(Call(Name("collections", "OrderedDict"), ()), ()),
}


@WRITERS
@pytest.mark.parametrize("value", CODE.values(), ids=CODE)
def test_code_is_refused(tmp_path, monkeypatch, write, value):
    monkeypatch.chdir(tmp_path)
    refused(write(tmp_path / "x.pth", [value]))
    assert not os.path.exists(MARKER)


def test_refusal_says_what_to_do(tmp_path):
    refused(write_zip(tmp_path / "x.pth", CODE["model"]), "Sequential", "model.state_dict()")


@WRITERS
def test_set_attributes_are_dropped(tmp_path, write):
    attributes = opcodes({"items": 1, "__setstate__": REBUILD})
    ordered = opcodes(Call(Name("collections", "OrderedDict"), ()))
    result = read(write(tmp_path / "x.pth", Raw(ordered + attributes + b"b" + attributes + b"b")))
    assert list(result.items()) == [] and vars(result) == {}


BAD_TENSORS = {
    "offset": tensor(offset=1),
    "negative offset": tensor(offset=-1),
    "huge offset": tensor(offset=2**80),
    "size": tensor(size=(3, 3)),
    "negative size": tensor(size=(-2, 3)),
    "two negative sizes": tensor(size=(-2, -3)),
    "huge size": tensor(size=(2**62, 2**62)),
    "overflowing size": tensor(size=(2**32 + 1, 2**32), stride=(1, 1)),
    "stride": tensor(stride=(4, 1)),
    "negative stride": tensor(offset=5, stride=(-3, -1)),
    "overflowing stride": tensor(stride=(2**61, 2**61)),
    "huge expansion": tensor(size=(2**50,), stride=(0,)),
    "overflowing empty": tensor(size=(0, 2**61, 2**61), stride=(1, 1, 1)),
    "rank": tensor(size=(1,) * 100, stride=(1,) * 100),
    "too few strides": tensor(stride=(1,)),
    "float size": tensor(size=(2.0, 3)),
    "bool size": tensor(size=(True, 3)),
    "string size": tensor(size=("2", 3)),
    "list size": tensor(size=[2, 3]),
    "no size": tensor(size=None),
    "requires_grad": tensor(requires_grad=1),
    "metadata": tensor(None, 0, (2, 3), (3, 1), False, {"neg": True}),
    "too many arguments": tensor(None, 0, (2, 3), (3, 1), False, None, None, None, None),
    "too few arguments": Call(REBUILD, (stored(),)),
    "no storage": tensor(storage=[1]),
    "count": tensor(stored(count=7), size=(7,), stride=(1,)),
    "huge count": tensor(stored(count=2**61)),
    "negative count": tensor(stored(count=-1)),
    "string count": tensor(stored(count="6")),
    "other type": tensor(stored(kind=Name("torch", "DoubleStorage"))),
    "untyped": tensor(stored(count=25, kind=Name("torch.storage", "UntypedStorage"))),
    "no type": tensor(stored(kind="float")),
    "missing key": tensor(stored(key="1")),
    "odd key": tensor(stored(key=0)),
    "path in key": tensor(stored(key="../../../../etc/passwd")),
    "view": tensor(stored(view=("v", 5, 2))),
    "negative view": tensor(stored(view=("v", -1, 2))),
    "odd view": tensor(stored(view=3)),
    "past a view": tensor(stored(view=("v", 2, 3)), 1, (3,), (1,)),
    "identity": Stored("0"),
    "short identity": Stored(("storage", FLOATS)),
    "module": Stored(("module", FLOATS, "a", "b", "c")),
    "bare storage": stored(),
    "bare name": REBUILD,
    "bare type": FLOATS,
    "parameter": Call(Name("torch._utils", "_rebuild_parameter"), ([1], True, None)),
    "byte past the end": Call(
        Name("torch._utils", "_rebuild_tensor_v3"),
        (
            stored(count=24, kind=Name("torch.storage", "UntypedStorage")),
            *(0, (4,), (1,), False, None, Name("torch", "float64")),
        ),
    ),
}


@WRITERS
@pytest.mark.parametrize("value", BAD_TENSORS.values(), ids=BAD_TENSORS)
def test_bad_tensors_are_refused(tmp_path, write, value):
    refused(write(tmp_path / "x.pth", [value], DATA))


BOMBS = {
    "nested lists": Raw(b"]" * 100_000 + b"a" * 99_999),
    "nested tuples": Raw(b")" + b"\x85" * 100_000),
    "hash of nested tuples": Raw(b"})" + b"\x85" * 300_000 + b"Ns"),
    "list in itself": Raw(b"]q\x00h\x00a"),
    "dict in itself": Raw(b"}q\x00" + opcodes("a") + b"h\x00s"),
    "tails first": Raw(
        b"](]q\x00"
        + b"".join(b"]h" + bytes([i]) + b"aq" + bytes([i + 1]) for i in range(200))
        + b"e"
    ),
    "memo": Raw(b"Nr\xff\xff\xff\x7f0j\xfe\xff\xff\x7f"),
    "long bytes": Raw(b"\x8e" + struct.pack("<Q", 2**62)),
    "long string": Raw(b"\x8d" + struct.pack("<Q", 2**40)),
    "long number": Raw(b"\x8b\xff\xff\xff\x7f"),
    "negative number": Raw(b"\x8b\xff\xff\xff\xff"),
    "endless name": Raw(b"c" + b"a" * 100_000),
    "long name": Raw(b"c" + b"a" * 900 + b"\n" + b"b" * 900 + b"\n"),
    "not utf-8": Raw(b"X\x02\x00\x00\x00\xff\xff"),
    "unhashable key": {"a": Raw(b"}" + opcodes([1]) + b"Ns")},
    "odd items": Raw(b"}(Nu"),
    "append to a tuple": Raw(b")Na"),
    "set in a list": Raw(b"]NNs"),
    "empty stack": Raw(b"0"),
    "empty memo": Raw(b"h\x00"),
    "no mark": Raw(b"t"),
    "below the mark": Raw(b"N(\x85"),
    "stop": Raw(b"."),
}


@WRITERS
@pytest.mark.parametrize("value", BOMBS.values(), ids=BOMBS)
def test_bombs_are_refused(tmp_path, write, value):
    refused(write(tmp_path / "x.pth", value, DATA))


@contextlib.contextmanager
def peak_below(limit):
    tracemalloc.start()
    try:
        yield
        assert tracemalloc.get_traced_memory()[1] < limit
    finally:
        tracemalloc.stop()


FORGED = ["memo", "long bytes", "long string", "long number"]


@WRITERS
@pytest.mark.parametrize(
    "value",
    [*(BOMBS[name] for name in FORGED), BAD_TENSORS["huge count"], BAD_TENSORS["huge expansion"]],
)
def test_forged_counts_cost_no_memory(tmp_path, write, value):
    path = write(tmp_path / "x.pth", value, DATA)
    with peak_below(1_000_000):
        refused(path)


@WRITERS
def test_shared_objects_do_not_unfold(tmp_path, write):
    laughs = Raw(b"]q\x00" + b"".join(b"0](h\x00h\x00eq\x00" for _ in range(60)))
    result = read(write(tmp_path / "x.pth", laughs))
    assert result[0] is result[1]


@pytest.mark.parametrize("count", [-1, 7, 2**26, 2**40, -(2**63)])
def test_legacy_counts(tmp_path, count):
    with peak_below(1_000_000):
        refused(write_legacy(tmp_path / "x.pth", tensor(), DATA, {"0": count}))


@pytest.mark.parametrize("view", [("v", 5, 2), ("v", -1, 2), ("v", 0, 2**62)])
def test_views_past_their_storage(tmp_path, view):
    value = tensor(stored(view=view), size=(1,), stride=(1,))
    refused(write_zip(tmp_path / "x.pth", value, DATA), "storage whose size is impossible")


def test_legacy_keys(tmp_path):
    path = write_legacy(tmp_path / "x.pth", tensor(), DATA)
    keys, content = pickled(["0"]), path.read_bytes()
    for other in (["0", "0"], ["1"], [], 3, [[]], "0", None):
        path.write_bytes(content.replace(keys, pickled(other)))
        if other != "0":
            refused(path)


def test_compressed_zip(tmp_path):
    bomb = {"0": bytes(10_000_000)}
    path = tmp_path / "x.pth"
    write_zip(path, tensor(stored(count=2_500_000)), bomb, compression=zipfile.ZIP_DEFLATED)
    refused(path, "compressed")


def test_overlapping_zip_entries(tmp_path):
    """Entries that each hold the next ones must not be read into much more memory than the file."""
    keys = [str(100 + i) for i in range(50)]
    path, kernel = tmp_path / "x.pth", 1_000_000
    sizes = [kernel + 40 * (len(keys) - 1 - i) for i in range(len(keys))]
    tensors = [tensor(stored(k, n // 4), 0, (1,), (1,)) for k, n in zip(keys, sizes)]
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("x/data.pkl", pickled(tensors))
        for key, size in zip(keys, sizes):
            info = zipfile.ZipInfo(f"x/data/{key}")
            info.file_size = info.compress_size = size
            info.header_offset, info.CRC = archive.fp.tell(), 0
            archive.fp.write(info.FileHeader())
            archive.filelist.append(info)
        archive.fp.write(bytes(kernel))
        archive.start_dir = archive.fp.tell()
    with peak_below(6_000_000):
        refused(path)


def test_two_pickles_in_a_zip(tmp_path):
    with zipfile.ZipFile(tmp_path / "x.pth", "w") as archive:
        archive.writestr("a/data.pkl", pickled(1))
        archive.writestr("b/data.pkl", pickled(2))
    refused(tmp_path / "x.pth", "data.pkl")


def tar_bytes():
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("storages"))
    return buffer.getvalue()


OTHER_FILES = {
    "empty": (b"", "is empty"),
    "text": (b"epoch 1, loss 0.3\n", "text file"),
    "html": (b"<!DOCTYPE html><html>404</html>", "HTML"),
    "lfs": (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "git lfs pull"),
    "tar": (tar_bytes(), "tar archive"),
    "gzip": (b"\x1f\x8b\x08\x00", "gzip"),
    "hdf5": (b"\x89HDF\r\n\x1a\n", "HDF5"),
    "npy": (b"\x93NUMPY\x01\x00", "numpy.load"),
    "noise": (bytes(range(128, 256)) * 3 + b"\xff" + bytes(range(256)), "damaged"),
    "zeros": (bytes(600), "neither"),
    "pickle": (pickled({"a": 1}), "not one that torch.save wrote"),
    "numbers": (pickled(MAGIC) + pickled(7), "not one that torch.save wrote"),
    "zip": (b"PK\x05\x06" + bytes(18), "neither"),
    "half a zip": (b"PK\x03\x04" + bytes(40), "damaged"),
}


@pytest.mark.parametrize(("content", "word"), OTHER_FILES.values(), ids=OTHER_FILES)
def test_other_files(tmp_path, content, word):
    path = tmp_path / "x.pth"
    path.write_bytes(content)
    refused(path, word if word != "damaged" else "")


def test_missing_file_and_folder(tmp_path):
    with pytest.raises(FileNotFoundError):
        read(tmp_path / "x.pth")
    with pytest.raises(IsADirectoryError):
        read(tmp_path)


def whole_file(path, write):
    value = {
        "w": tensor(),
        "b": tensor(stored("1", 40), 4, (5, 7), (7, 1), True),
        "step": 3,
        "lr": [0.1, (None, True)],
    }
    return write(path, value, {**DATA, "1": np.arange(40, dtype="<f4").tobytes()})


def touch(result):
    """Reads every number in the arrays of a result."""
    if isinstance(result, np.ndarray):
        result.sum()
    elif isinstance(result, (dict, list, tuple)):
        for item in result.values() if isinstance(result, dict) else result:
            touch(item)


def survives(path):
    try:
        with np.errstate(all="ignore"):
            touch(read(path))
    except CheckpointError as error:
        assert "\n" not in str(error)


@WRITERS
def test_truncated(tmp_path, write):
    path = whole_file(tmp_path / "x.pth", write)
    content = path.read_bytes()
    for length in [*range(0, len(content), 7), len(content) - 1]:
        path.write_bytes(content[:length])
        refused(path)


@WRITERS
def test_flipped_bytes(tmp_path, write):
    path = whole_file(tmp_path / "x.pth", write)
    content = np.frombuffer(path.read_bytes(), np.uint8)
    rng = np.random.default_rng(0)
    for round_ in range(1500):
        damaged = content.copy()
        where = rng.integers(len(content), size=1 + round_ % 3)
        damaged[where] = rng.integers(256, size=len(where))
        path.write_bytes(damaged.tobytes())
        survives(path)


def test_zip_notices_flipped_data(tmp_path):
    path = whole_file(tmp_path / "x.pth", write_zip)
    content = path.read_bytes()
    for position in range(len(DATA["0"])):
        damaged = bytearray(content)
        damaged[content.index(DATA["0"]) + position] ^= 16
        path.write_bytes(damaged)
        refused(path)


def test_cut_and_joined(tmp_path):
    """Pieces of the pickle in random order: any opcode meets any stack."""
    rng = np.random.default_rng(0)
    source = np.frombuffer(pickled({"w": tensor(), "x": [1, (2.5, "y")]}), np.uint8)
    path = tmp_path / "x.pth"
    for _ in range(1500):
        cuts = np.sort(rng.integers(len(source), size=rng.integers(1, 6)))
        pieces = np.split(source, cuts)
        rng.shuffle(pieces)
        write_zip(path, Raw(np.concatenate(pieces).tobytes()), DATA)
        survives(path)


@pytest.mark.parametrize("new", [True, False], ids=["zip", "legacy"])
def test_damaged_files_of_torch(tmp_path, new):
    torch = pytest.importorskip("torch")
    path = tmp_path / "x.pth"
    model = torch.nn.Sequential(torch.nn.Linear(9, 5), torch.nn.BatchNorm1d(5))
    torch.save(model.state_dict(), path, _use_new_zipfile_serialization=new)
    content = path.read_bytes()
    for length in range(0, len(content), 97):
        path.write_bytes(content[:length])
        refused(path)
    rng = np.random.default_rng(0)
    for _ in range(500):
        damaged = bytearray(content)
        damaged[rng.integers(len(content))] ^= 1 << rng.integers(8)
        path.write_bytes(damaged)
        survives(path)
