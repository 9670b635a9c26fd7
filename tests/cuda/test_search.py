"""unique and unique_consecutive on the device, and there alone, against the CPU's."""

import numpy as np
import pytest

import nbgrad

RNG = np.random.default_rng(4)
INPUTS = {
    "rows": RNG.integers(0, 2, (23, 3)), "a few": RNG.integers(0, 2, (7, 2, 3)), "one": np.ones((1, 4)),
    "columns": np.repeat(RNG.integers(-1, 2, (2, 6)), 2, 1), "thin": RNG.integers(0, 4, (9, 1)),
    "vector": RNG.integers(0, 4, 17), "bools": RNG.integers(0, 2, (6, 3)).astype(bool),
    "bytes": RNG.integers(0, 2, (5, 2)).astype(np.uint8) * 255, "none": np.zeros((0, 3)),
    "floats": np.array([[1, np.nan], [-0.0, 1], [0.0, 1], [1, np.nan], [-np.inf, 2]], np.float32)}


@pytest.mark.parametrize("name", INPUTS)
@pytest.mark.parametrize("function", ["unique", "unique_consecutive"])
def test_parts(name, function, monkeypatch):
    x = INPUTS[name]
    for d in range(x.ndim if x.size else 1):
        expected = getattr(nbgrad, function)(nbgrad.tensor(x), return_inverse=True, return_counts=True,
                                             dim=d)
        there = nbgrad.tensor(x, device="cuda")
        with monkeypatch.context() as patch:
            patch.setattr(nbgrad.Tensor, "cpu", None)
            found = getattr(nbgrad, function)(there, return_inverse=True, return_counts=True, dim=d)
        for a, b in zip(found, expected, strict=True):
            assert a.is_cuda and a.dtype is b.dtype
            np.testing.assert_array_equal(a.cpu().numpy(), b.numpy())
