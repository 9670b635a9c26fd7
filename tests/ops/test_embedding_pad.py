"""Embeddings and padding against torch."""

import numpy as np
import pytest

N = np.random.default_rng(4).standard_normal


@pytest.mark.parametrize("idx", [(5,), (2, 3), (), (0,), (300,)], ids=str)
@pytest.mark.parametrize("padding_idx", [None, 2, -1])
@pytest.mark.parametrize("dtype", [np.int64, np.int32])
def test_embedding(same, idx, padding_idx, dtype):
    places = np.array(np.random.default_rng(0).integers(0, 7, idx)).astype(dtype)
    same(lambda lib, i, w: lib.embedding(i, w, padding_idx=padding_idx), places, N((7, 3)),
         second=places.size > 0)


def test_one_hot(library, same):
    idx = np.array([[0, 3], [2, 1]])
    same(lambda lib, i: lib.one_hot(i), idx)
    same(lambda lib, i: lib.one_hot(i, 6), idx)
    same(lambda lib, i: lib.one_hot(i, 6), np.zeros((0, 2), np.int64))


def test_indices_are_guarded(library):
    idx, w = library.tensor([0, 1]), library.ones(3, 2, requires_grad=True)
    y = library.embedding(idx, w)
    idx.add_(1)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        y.sum().backward()


PADS = [
    ((3,), (1, 2)), ((2, 3), (1, 0)), ((2, 3), (1, 2, 0, 3)), ((2, 3, 4), (0, 0, 1, 1)),
    ((2, 3, 4), (-1, 2)), ((2, 3, 4), (-1, -2, 1, -1)), ((2, 3), ()), ((0, 3), (1, 1)),
    ((2, 0), (1, 2)), ((1, 2, 3, 4), (1, 1, 1, 1, 1, 1, 1, 1)),
]
OWN = [
    ((2, 5), (2, 1)), ((2, 3, 5), (1, 4)), ((1, 2, 5, 4), (1, 2, 3, 0)), ((2, 5, 4), (2, 2, 1, 1)),
    ((1, 2, 3, 4, 5), (1, 1, 2, 0, 1, 1)), ((2, 5), (0, 0)), ((2, 1, 5), (-1, 2)),
]


@pytest.mark.parametrize("shape, pads", PADS, ids=str)
@pytest.mark.parametrize("value", [None, 1.5])
def test_constant(same, shape, pads, value):
    same(lambda lib, x: lib.pad(x, pads, value=value), N(shape))


def test_constant_of_integers(same):
    same(lambda lib, x: lib.pad(x, (1, 1), value=7), np.arange(4))


@pytest.mark.parametrize("shape, pads", OWN, ids=str)
@pytest.mark.parametrize("mode", ["reflect", "replicate", "circular"])
def test_own_entries(same, shape, pads, mode):
    if mode == "replicate" and min(pads) < 0:
        pytest.skip("torch 2.13 refuses")
    same(lambda lib, x: lib.pad(x, pads, mode=mode), N(shape))


ERRORS = [
    "embedding(t([5]), z(3, 2))", "embedding(t([-1]), z(3, 2))", "embedding(t([1.]), z(3, 2))",
    "embedding(t([1]), z(3))", "embedding(t([1]), z(3, 2), padding_idx=4)", "one_hot(t([-1]))",
    "one_hot(t([5]), 3)", "one_hot(t([1.]))", "one_hot(z(0).long())", "pad(z(2, 3), (1,))",
    "pad(z(2, 3), (1, 1, 1, 1, 1, 1))", "pad(z(1, 2, 3), (3, 0), mode='reflect')",
    "pad(z(2, 3), (-2, -2))", "pad(z(1, 2, 3), (4, 0), mode='circular')",
    "pad(z(2, 3), (1, 1, 1, 1), mode='reflect')", "pad(z(2, 3), (1, 1), mode='foo')",
    "pad(z(1, 2, 3), (1, 1), mode='reflect', value=1.)",
]


@pytest.mark.parametrize("text", ERRORS)
def test_errors(same_error, text):
    same_error(lambda lib: eval(text, vars(lib) | {"z": lib.zeros, "t": lib.tensor}))


def test_max_norm_is_refused(library):
    with pytest.raises(NotImplementedError, match="max_norm"):
        library.embedding(library.tensor([0]), library.ones(2, 2), max_norm=1.0)
