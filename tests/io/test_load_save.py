"""Tensors through `save` and `load`."""

import io
import warnings

import numpy as np
import pytest

import nbgrad
from nbgrad.errors import CheckpointError
from nbgrad.io import load, save
from nbgrad.ops.create import from_numpy


def test_round_trip(tmp_path):
    weight = from_numpy(np.arange(6, dtype=np.float32).reshape(2, 3)).requires_grad_(True)
    state = {"weight": weight, "steps": from_numpy(np.array(3)), "epoch": 3, "lr": (0.1, None)}
    save(state, tmp_path / "x.safetensors")
    result = load(tmp_path / "x.safetensors")
    assert isinstance(result["weight"], nbgrad.Tensor)
    assert result["weight"].requires_grad and not result["steps"].requires_grad
    np.testing.assert_array_equal(result["weight"].detach().numpy(), weight.detach().numpy())
    assert result["steps"].item() == 3
    assert (result["epoch"], result["lr"]) == (3, (0.1, None))


def test_transposed_tensor(tmp_path):
    matrix = from_numpy(np.arange(6.0).reshape(2, 3)).t()
    save(matrix, tmp_path / "x")
    np.testing.assert_array_equal(load(tmp_path / "x").numpy(), matrix.numpy())


@pytest.mark.parametrize("new", [True, False], ids=["zip", "legacy"])
def test_files_of_torch_whatever_their_name(tmp_path, new):
    torch = pytest.importorskip("torch")
    path = tmp_path / "x.safetensors"
    parameter = torch.nn.Parameter(torch.arange(6.0).reshape(2, 3).t())
    torch.save([parameter, parameter.data], path, _use_new_zipfile_serialization=new)
    ours, data = load(path, map_location="cpu", weights_only=True)
    assert isinstance(ours, nbgrad.Tensor) and ours.requires_grad and not data.requires_grad
    np.testing.assert_array_equal(ours.detach().numpy(), parameter.detach().numpy())
    data.numpy()[0, 0] = 9
    assert ours.detach().numpy()[0, 0] == 9


def test_a_dtype_that_nbgrad_lacks(tmp_path):
    torch = pytest.importorskip("torch")
    torch.save({"z": torch.ones(2, dtype=torch.complex64)}, tmp_path / "x.pth")
    with pytest.raises(CheckpointError, match=r"x\.pth has a tensor of dtype complex64"):
        load(tmp_path / "x.pth")


def test_other_files(tmp_path):
    (tmp_path / "x").write_text("{}")
    with pytest.raises(CheckpointError, match="text file"):
        load(tmp_path / "x")
    with pytest.raises(FileNotFoundError):
        load(tmp_path / "y")


def test_file_objects(tmp_path):
    state = {"w": from_numpy(np.arange(3.0)), "lr": 0.1}
    buffer = io.BytesIO()
    save(state, buffer)
    save(state, tmp_path / "x")
    assert buffer.getvalue() == (tmp_path / "x").read_bytes()
    buffer.seek(0)
    with open(tmp_path / "x", "rb") as file:
        for result in (load(buffer), load(file)):
            np.testing.assert_array_equal(result["w"].numpy(), np.arange(3.0))
            assert result["lr"] == 0.1


@pytest.mark.parametrize("new", [True, False], ids=["zip", "legacy"])
def test_file_objects_of_torch(new):
    torch = pytest.importorskip("torch")
    buffer = io.BytesIO()
    torch.save({"w": torch.arange(3.0)}, buffer, _use_new_zipfile_serialization=new)
    buffer.seek(0)
    np.testing.assert_array_equal(load(buffer)["w"].numpy(), np.arange(3.0))


def test_file_objects_that_cannot_be_read(tmp_path):
    (tmp_path / "notes").write_text("buy milk")
    with open(tmp_path / "notes", "rb") as file, pytest.raises(CheckpointError, match="notes is a"):
        load(file)
    with open(tmp_path / "notes") as file, pytest.raises(TypeError, match="binary mode"):
        load(file)
    buffer = io.BytesIO()
    save({}, buffer)
    with pytest.raises(CheckpointError, match=r"^BytesIO is empty, .*seek\(0\)"):
        load(buffer)


@pytest.mark.parametrize("name", ["n.pth", "n.pt", "n.PTH"])
def test_names_that_promise_a_file_of_torch(tmp_path, name):
    with pytest.warns(UserWarning, match=r"n\.\w+ holds safetensors, .* n\.safetensors") as caught:
        save({"w": from_numpy(np.ones(1))}, tmp_path / name)
    assert caught[0].filename == __file__
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        save({"w": from_numpy(np.ones(1))}, tmp_path / "n.safetensors")
    assert load(tmp_path / name)["w"].item() == 1
