"""NumPy arrays among tensors."""

import operator

import numpy as np
import pytest

import nbgrad

OPERATORS = [operator.add, operator.sub, operator.mul, operator.truediv, operator.pow, operator.lt,
             operator.eq]


@pytest.mark.parametrize("op", OPERATORS)
@pytest.mark.parametrize("requires_grad", [False, True])
def test_an_array_as_operand(op, requires_grad):
    array = np.arange(1, 4, dtype=np.float32)
    x = nbgrad.full((2, 3), 2.0, requires_grad=requires_grad)
    for given, expected in ((op(x, array), op(x.detach().numpy(), array)),
                            (op(array, x), op(array, x.detach().numpy()))):
        assert type(given) is nbgrad.Tensor
        assert given.requires_grad == (requires_grad and given.dtype == nbgrad.float32)
        np.testing.assert_allclose(given.detach().numpy(), expected, rtol=1e-6)


def test_an_array_written_in_place():
    x = nbgrad.ones(2, 3)
    x += np.arange(3, dtype=np.float32)
    assert x.tolist() == [[1, 2, 3], [1, 2, 3]]


def test_numpy_where_nothing_is_recorded():
    x = nbgrad.ones(2, requires_grad=True)
    with pytest.raises(RuntimeError, match="Can't call numpy"):
        x.numpy()
    with nbgrad.no_grad():
        assert x.numpy().tolist() == [1, 1]


@pytest.mark.parametrize(("value", "dtype"), [
    (300, "uint8"), (-256, "uint8"), (2**40, "int32"), (3e9, "int32"), (float("nan"), "int32"),
    (float("inf"), "int64"), (-129, "int8")])
def test_numbers_an_integer_dtype_does_not_hold(value, dtype):
    torch = pytest.importorskip("torch")
    for library in (nbgrad, torch):
        with pytest.raises(RuntimeError, match=r"converted to type .* without overflow"):
            library.tensor([value], dtype=getattr(library, dtype))


def test_numbers_an_integer_dtype_holds():
    assert nbgrad.tensor([255, -1], dtype=nbgrad.uint8).tolist() == [255, 255]
    assert nbgrad.tensor([3.7, -3.7], dtype=nbgrad.int8).tolist() == [3, -3]


@pytest.mark.parametrize("data", [
    0.1, [0.1, 1e-300], [[]], [np.float64(0.1)], [np.float32(0.1), 2.0], [1, 0.5],
    [True, 0.5]])
@pytest.mark.parametrize("dtype", [None, "float32", "float64"])
def test_floats_keep_every_digit(data, dtype):
    torch = pytest.importorskip("torch")
    ours, theirs = (library.tensor(data, dtype=dtype and getattr(library, dtype))
                    for library in (nbgrad, torch))
    np.testing.assert_array_equal(ours.numpy(), theirs.numpy(), strict=True)
