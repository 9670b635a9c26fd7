"""Tensors through `save` and `load`."""

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
