"""Tensors given to NumPy, to other libraries and to notebooks, and what comes back from there."""

import copy
import pickle

import numpy as np
import pytest

import nbgrad

A = np.linspace(0.1, 2.0, 6).reshape(2, 3)
UFUNCS = [np.exp, np.log, np.sin, np.tanh, np.sqrt, np.abs, np.negative, np.arctan, np.square,
          np.reciprocal, np.exp2, np.expm1, np.log1p]
PAIRS = [np.add, np.subtract, np.multiply, np.divide, np.power, np.maximum, np.minimum, np.arctan2,
         np.hypot, np.less, np.equal, np.greater_equal, np.remainder, np.floor_divide]
CALLS = [
    lambda x: np.sum(x), lambda x: np.sum(x, axis=0), lambda x: np.mean(x, axis=1, keepdims=True),
    lambda x: np.prod(x, axis=-1), lambda x: np.max(x, axis=0), lambda x: np.min(x, axis=1),
    lambda x: np.var(x), lambda x: np.std(x, axis=0), lambda x: np.std(x, axis=0, ddof=1),
    lambda x: np.concatenate([x, x], axis=1), lambda x: np.stack([x, x]),
    lambda x: np.reshape(x, (3, 2)), lambda x: np.squeeze(x[:1]), lambda x: np.expand_dims(x, 1),
    lambda x: np.swapaxes(x, 0, 1), lambda x: np.moveaxis(x, 0, 1), lambda x: np.clip(x, 0.5, 1.0),
    lambda x: np.matmul(x, np.ones((3, 2))), lambda x: np.matmul(np.ones((4, 2)), x),
    lambda x: np.dot(x, np.ones(3)), lambda x: np.ravel(x), lambda x: np.add.reduce(x),
    lambda x: np.multiply.reduce(x, axis=1), lambda x: np.maximum.reduce(x, axis=None),
    lambda x: np.cumsum(x, axis=1), lambda x: np.broadcast_to(x, (4, 2, 3)),
    lambda x: np.outer(x[0], x[1]), lambda x: 2.0 * x + np.float64(1.0),
]


def double():
    return nbgrad.tensor(A, requires_grad=True)


@pytest.mark.parametrize("function", UFUNCS, ids=lambda f: f.__name__)
def test_a_ufunc_is_recorded(function):
    x = double()
    y = function(x)
    assert type(y) is nbgrad.Tensor and y.requires_grad
    np.testing.assert_allclose(y.detach().numpy(), function(A), rtol=1e-12)
    y.sum().backward()
    h = 1e-6
    slope = (function(A + h) - function(A - h)) / (2 * h)
    np.testing.assert_allclose(x.grad.numpy(), slope, rtol=1e-5, atol=1e-8)


@pytest.mark.parametrize("function", PAIRS, ids=lambda f: f.__name__)
def test_a_ufunc_of_two(function):
    x, other = double(), np.linspace(0.3, 1.5, 3)
    for given, expected in ((function(x, other), function(A, other)),
                            (function(other, x), function(other, A))):
        assert type(given) is nbgrad.Tensor
        np.testing.assert_allclose(given.detach().numpy(), expected, rtol=1e-12)
        assert given.requires_grad == (given.dtype == nbgrad.float64)


@pytest.mark.parametrize("call", CALLS)
def test_a_function_is_recorded(call):
    x = double()
    y = call(x)
    assert type(y) is nbgrad.Tensor and y.requires_grad
    np.testing.assert_allclose(y.detach().numpy(), call(A), rtol=1e-12)
    y.sum().backward()
    assert x.grad is not None


def test_what_has_no_counterpart_is_numpys():
    x = nbgrad.tensor(A)
    np.testing.assert_array_equal(np.cbrt(x).numpy(), np.cbrt(A))
    np.testing.assert_array_equal(np.percentile(x, 30), np.percentile(A, 30))
    np.testing.assert_array_equal(np.transpose(x), A.T)
    assert np.array_equal(x, A) and np.shape(x) == (2, 3)
    for call in (np.cbrt, np.percentile):
        with pytest.raises(RuntimeError, match="Can't call numpy"):
            call(*(double(), 30)[:1 + (call is np.percentile)])


def test_writing_into_what_is_given():
    a, x = np.ones(3), nbgrad.tensor([1.0, 2.0, 3.0], dtype=nbgrad.float64)
    a += x
    assert type(a) is np.ndarray and a.tolist() == [2, 3, 4]
    before = x._version
    assert np.exp(a, out=x) is x and x._version == before + 1
    np.testing.assert_allclose(x.numpy(), np.exp(a))
    with pytest.raises(RuntimeError):
        np.add(a, double(), out=np.ones((2, 3)))


def test_dlpack_with_numpy_shares_memory():
    x = nbgrad.arange(6.0).reshape(2, 3).t()
    a = np.from_dlpack(x)
    assert a.strides == (4, 12)
    x.add_(1)
    assert a.tolist() == x.tolist()
    y = nbgrad.from_dlpack(np.arange(4.0)[::2])
    assert y.tolist() == [0, 2] and y.stride() == (2,)
    with pytest.raises(BufferError, match="require gradient"):
        np.from_dlpack(double())
    with pytest.raises(ValueError, match="negative"):
        nbgrad.from_dlpack(np.arange(3.0)[::-1])
    with pytest.raises(RuntimeError, match="from_dlpack"):
        nbgrad.from_dlpack([1, 2])


def test_no_tensor_walks_backwards():
    x, backwards = nbgrad.ones(3), np.arange(3.0)[::-1]
    for make in (nbgrad.from_numpy, nbgrad.as_tensor, nbgrad.asarray):
        with pytest.raises(ValueError, match="At least one stride"):
            make(backwards)
    with pytest.raises(ValueError, match="step must be greater than zero"):
        x[::-1]
    with pytest.raises(RuntimeError, match="Negative strides are not supported"):
        x.as_strided((2,), (-1,), 2)


def test_dlpack_from_read_only_memory_is_a_copy():
    a = np.arange(3.0)
    a.flags.writeable = False
    y = nbgrad.from_dlpack(a)
    y.add_(1)
    assert a.tolist() == [0, 1, 2]


@pytest.mark.parametrize("dtype", ["float32", "float64", "int64", "uint8", "bool"])
def test_dlpack_with_torch_shares_memory(dtype):
    torch = pytest.importorskip("torch")
    ours = nbgrad.zeros(2, 3, dtype=getattr(nbgrad, dtype))
    theirs = torch.from_dlpack(ours)
    theirs.fill_(1)
    assert str(theirs.dtype) == f"torch.{dtype}" and ours.tolist() == theirs.tolist()
    back = nbgrad.from_dlpack(theirs)
    assert back.dtype is ours.dtype and back.data_ptr() == ours.data_ptr()


def test_a_notebook_shows_dtype_shape_and_values():
    page = nbgrad.arange(6.0).reshape(2, 3)._repr_html_()
    assert "float32" in page and "[2, 3]" in page and page.count("<td>") == 6
    assert nbgrad.zeros(50, 50)._repr_html_().count("<td>") == 49
    assert nbgrad.zeros(5000)._repr_html_().count("<td>") == 7
    page = (double() * 2).reshape(1, 2, 3)._repr_html_()
    assert "<pre>" in page and "grad_fn" in page
    assert "[]" in nbgrad.zeros(0, 2)._repr_html_() and "1." in nbgrad.tensor(1.0)._repr_html_()


def test_copies():
    x = double()
    x.sum().backward()
    for y in (copy.deepcopy(x), pickle.loads(pickle.dumps(x))):
        assert y.requires_grad and y.tolist() == x.tolist() and y.data_ptr() != x.data_ptr()
    assert copy.deepcopy(x).grad.tolist() == x.grad.tolist()
    assert copy.copy(x).data_ptr() == x.data_ptr()
    both = copy.deepcopy([x, x])
    assert both[0] is both[1]
    y = pickle.loads(pickle.dumps(x * 2))
    assert y.is_leaf and y.requires_grad and y.tolist() == (x * 2).tolist()
    base = nbgrad.zeros(2, 3)
    one, row = copy.deepcopy([base, base[1]])
    one.fill_(4)
    assert row.tolist() == [4, 4, 4] and base.tolist() == [[0] * 3] * 2
    with nbgrad.no_grad():
        alias = copy.copy(base)
        alias[0, 0] = 7
    assert base[0, 0] == 7 and base._version == alias._version


def test_the_names_of_utils():
    from nbgrad.utils.data import DataLoader

    from nbgrad.utils.dlpack import from_dlpack, to_dlpack

    assert DataLoader is nbgrad.utils.data.DataLoader is nbgrad.data.DataLoader
    assert from_dlpack is nbgrad.from_dlpack and to_dlpack(nbgrad.ones(2)) is not None
