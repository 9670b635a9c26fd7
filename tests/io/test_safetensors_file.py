"""nbgrad's own checkpoints."""

import json
import math
import os
import stat
from collections import OrderedDict, namedtuple

import numpy as np
import pytest

from nbgrad.errors import CheckpointError
from nbgrad.io import reading, safetensors_file

safetensors = pytest.importorskip("safetensors")
library = pytest.importorskip("safetensors.numpy")

RNG = np.random.default_rng(0)
Pair = namedtuple("Pair", "a b")


def read(path):
    return reading.read(path, lambda array, requires_grad: array)


def trip(obj, path):
    safetensors_file.write(obj, path)
    return read(path)


def assert_same(ours, theirs):
    if isinstance(theirs, np.ndarray):
        assert ours.dtype == theirs.dtype and ours.shape == theirs.shape
        np.testing.assert_array_equal(ours, theirs)
        assert ours.flags.writeable and ours.flags.c_contiguous
    elif isinstance(theirs, dict):
        assert type(ours) is dict and list(ours) == list(theirs)
        assert [type(key) for key in ours] == [type(key) for key in theirs]
        for key in theirs:
            assert_same(ours[key], theirs[key])
    elif isinstance(theirs, (list, tuple)):
        assert isinstance(theirs, type(ours)) and len(ours) == len(theirs)
        for one, other in zip(ours, theirs):
            assert_same(one, other)
    else:
        assert type(ours) is type(theirs)
        assert ours == theirs or (math.isnan(ours) and math.isnan(theirs))


ARRAYS = {
    **{
        name: RNG.integers(0, 2, (3, 4)).astype(name)
        for name in ("float32", "float64", "uint8", "int8", "int16", "int32", "int64", "bool")
    },
    "0-d": np.array(2.5),
    "0-d bool": np.array(True),
    "empty": np.zeros((0, 3), np.float32),
    "transposed": np.arange(12.0).reshape(3, 4).T,
    "strided": np.arange(12)[::3],
    "reversed": np.arange(5.0)[::-1],
    "broadcast": np.broadcast_to(np.arange(3.0), (4, 3)),
    "nan": np.array([np.nan, np.inf, -0.0]),
    "odd name.ü\n": np.ones(2),
}


def test_arrays_and_their_order(tmp_path):
    assert_same(trip(ARRAYS, tmp_path / "x.safetensors"), ARRAYS)


def test_other_byte_order(tmp_path):
    result = trip({"x": np.arange(3, dtype=">f4")}, tmp_path / "x")["x"]
    assert result.tolist() == [0, 1, 2] and result.dtype.isnative


def test_a_flat_dict_is_an_ordinary_file(tmp_path):
    safetensors_file.write(ARRAYS, tmp_path / "x")
    theirs = library.load_file(tmp_path / "x")
    assert theirs.keys() == ARRAYS.keys()
    for name, array in ARRAYS.items():
        np.testing.assert_array_equal(theirs[name], array)


def test_an_ordinary_file_is_a_flat_dict(tmp_path):
    arrays = {name: np.ascontiguousarray(array) for name, array in ARRAYS.items()}
    library.save_file(arrays, tmp_path / "x", metadata={"format": "pt"})
    result = read(tmp_path / "x")
    assert_same({name: result[name] for name in arrays}, arrays)


OBJECTS = {
    "tensor": np.arange(3.0),
    "empty": {},
    "none": None,
    "false": False,
    "numbers": [0, -1, 2**80, True, 1.0, -0.0, 1e300, 5e-324, math.inf, -math.inf, math.nan],
    "strings": ["", "a.b", "ü☃", "\ud800", "\0"],
    "keys": {0: 1, "0": 2, -3: 3, True: 4, None: 5, 2.5: 6, (1, ("a",)[0]): 7, "": np.ones(1)},
    "containers": [(), [], {}, ((1,),), [[np.ones(2)]], {"a": {"b": (np.zeros(0), 1)}}],
    "clashing names": {"a.b": np.zeros(1), "a": {"b": np.ones(1), "b#1": np.ones(2)}},
    "reserved name": {"__metadata__": np.ones(1), "tensor": np.ones(2), "nbgrad": 1},
    "surrogate name": {"\ud800": np.ones(1)},
    "tags": [{"tensor": "x"}, {"list": [1]}, {"float": "nan"}],
    "optimizer": {
        "state": {0: {"step": np.array(3.0), "exp_avg": np.ones((2, 2))}, 1: {}},
        "param_groups": [{"lr": 1e-3, "betas": (0.9, 0.999), "params": [0, 1], "foreach": None}],
    },
}


@pytest.mark.parametrize("obj", OBJECTS.values(), ids=OBJECTS)
def test_objects(tmp_path, obj):
    assert_same(trip(obj, tmp_path / "x"), obj)


def test_types_that_change(tmp_path):
    before = [OrderedDict(b=1, a=2), Pair(1, 2), np.float32(1.5), np.int64(3), np.True_]
    assert_same(trip(before, tmp_path / "x"), [{"b": 1, "a": 2}, (1, 2), 1.5, 3, True])


class Parameter:
    """Looks like a Tensor that requires a gradient."""

    requires_grad = True

    def __init__(self, array):
        self.array = array

    def detach(self):
        return self

    def numpy(self):
        return self.array


def test_requires_grad(tmp_path):
    safetensors_file.write({"w": Parameter(np.ones(2)), "x": np.ones(2)}, tmp_path / "x")
    flags = reading.read(tmp_path / "x", lambda array, requires_grad: requires_grad)
    assert flags == {"w": True, "x": False}
    assert library.load_file(tmp_path / "x").keys() == {"w", "x"}


def cyclic():
    items = []
    items.append(items)
    return items


@pytest.mark.parametrize(
    ("obj", "error", "word"),
    [
        ({"model": [object()]}, TypeError, "model.0 of type object"),
        ({"f": print}, TypeError, "f of type builtin_function_or_method"),
        ({"z": 1j}, TypeError, "complex"),
        ({"k": {frozenset(): 1}}, TypeError, "k has a key of type frozenset"),
        (np.array(["a"]), TypeError, "<U1"),
        (np.zeros(2, np.complex64), TypeError, "complex64"),
        (cyclic(), ValueError, "contains itself"),
    ],
)
def test_what_cannot_be_saved(tmp_path, obj, error, word):
    path = tmp_path / "x"
    path.write_text("old")
    with pytest.raises(error, match=word):
        safetensors_file.write(obj, path)
    assert path.read_text() == "old" and os.listdir(tmp_path) == ["x"]


def test_an_interrupted_save_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "x"
    safetensors_file.write({"a": np.ones(1)}, path)

    def interrupted(arrays, name, metadata):
        with open(name, "wb") as file:
            file.write(b"half")
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(library, "save_file", interrupted)
        safetensors_file.write({"a": np.zeros(1)}, path)
    assert read(path)["a"] == 1 and os.listdir(tmp_path) == ["x"]


def test_the_file_has_ordinary_permissions_and_links_stay(tmp_path):
    (tmp_path / "link").symlink_to(tmp_path / "target")
    safetensors_file.write({}, tmp_path / "link")
    (tmp_path / "plain").touch()
    assert (tmp_path / "link").is_symlink()
    modes = [stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("target", "plain")]
    assert modes[0] == modes[1]


def test_missing_folder(tmp_path):
    with pytest.raises(FileNotFoundError):
        safetensors_file.write({}, tmp_path / "no" / "x")


def test_sixteen_bits(tmp_path):
    torch = pytest.importorskip("torch")
    from safetensors.torch import save_file

    tensors = {"b": torch.randn(2, 3).bfloat16(), "h": torch.randn(3).half(), "f": torch.ones(())}
    save_file(tensors, tmp_path / "x")
    result = read(tmp_path / "x")
    for name, tensor in tensors.items():
        assert result[name].dtype == np.float32
        np.testing.assert_array_equal(result[name], tensor.float().numpy())


def with_header(header, data=b""):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + data


def entry(shape, end, kind="F32", start=0):
    return {"x": {"dtype": kind, "shape": shape, "data_offsets": [start, end]}}


def structured(tree):
    header = {"__metadata__": {"nbgrad": tree if isinstance(tree, str) else json.dumps(tree)}}
    return with_header({**header, **entry([2], 8)}, bytes(8))


HOSTILE = {
    "header past the end": (100).to_bytes(8, "little") + b"{}",
    "not json": with_header(b"{x"),
    "nested json": with_header(b'{"a":' * 100_000),
    "data past the end": with_header(entry([2], 8), bytes(4)),
    "huge shape": with_header(entry([2**40, 2**40], 8), bytes(8)),
    "shape of another size": with_header(entry([3], 8), bytes(8)),
    "negative shape": with_header(entry([-1, -2], 8), bytes(8)),
    "offsets backwards": with_header(entry([2], 0, start=8), bytes(8)),
    "hole": with_header(entry([1], 8, start=4), bytes(8)),
    "unknown dtype": with_header(entry([2], 8, "X9"), bytes(8)),
    "float8": with_header(entry([2], 2, "F8_E4M3"), bytes(2)),
    "missing tensor": structured({"tensor": "y"}),
    "odd tensor": structured({"tensor": ["x"]}),
    "unknown tag": structured({"pickle": "gASVAA=="}),
    "two tags": structured({"list": [], "tuple": []}),
    "no tag": structured({}),
    "bare list": structured([1]),
    "odd dict": structured({"dict": [1]}),
    "unhashable key": structured({"dict": [[{"list": []}, 1]]}),
    "odd float": structured({"float": "one"}),
    "broken structure": structured("{"),
    "nested structure": structured('{"list":[' * 50_000 + "]}" * 50_000),
}


@pytest.mark.parametrize("content", HOSTILE.values(), ids=HOSTILE)
def test_hostile_files(tmp_path, content):
    path = tmp_path / "x.safetensors"
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=r"x\.safetensors (is|has) ") as caught:
        read(path)
    assert "\n" not in str(caught.value)


def test_damaged_files(tmp_path):
    path = tmp_path / "x"
    safetensors_file.write({"a": np.ones((2, 3)), "b": [1, 2.5, {"c": np.zeros(4, bool)}]}, path)
    content = path.read_bytes()
    for length in range(len(content)):
        path.write_bytes(content[:length])
        with pytest.raises(CheckpointError):
            read(path)
    rng = np.random.default_rng(0)
    for _ in range(1000):
        damaged = bytearray(content)
        damaged[rng.integers(len(content))] ^= 1 << rng.integers(8)
        path.write_bytes(damaged)
        try:
            read(path)
        except CheckpointError as error:
            assert "\n" not in str(error)


def test_missing_file(tmp_path):
    with pytest.raises(FileNotFoundError):
        read(tmp_path / "x")
