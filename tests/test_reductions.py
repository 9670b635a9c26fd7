"""Reductions against PyTorch: dims, dtypes, layouts, gradients of two orders, accuracy, same bits."""

import warnings

import numba
import numpy as np
import pytest

import nbgrad
from nbgrad.autograd import gradcheck, gradgradcheck

torch = pytest.importorskip("torch")

#: name -> call(t, dim, keepdim); PyTorch takes the same
FLOAT = {
    "sum": lambda t, d, k: t.sum(d, k),
    "mean": lambda t, d, k: t.mean(d, k),
    "prod": lambda t, d, k: t.prod(d, k),
    "var": lambda t, d, k: t.var(d, keepdim=k),
    "var biased": lambda t, d, k: t.var(d, unbiased=False, keepdim=k),
    "var correction": lambda t, d, k: t.var(d, correction=2, keepdim=k),
    "std": lambda t, d, k: t.std(d, keepdim=k),
    "amax": lambda t, d, k: t.amax(d, k),
    "amin": lambda t, d, k: t.amin(d, k),
    "max": lambda t, d, k: t.max(d, k),
    "min": lambda t, d, k: t.min(d, k),
    "argmax": lambda t, d, k: t.argmax(d, k),
    "argmin": lambda t, d, k: t.argmin(d, k),
    "all": lambda t, d, k: t.all(d, k),
    "any": lambda t, d, k: t.any(d, k),
    "count_nonzero": lambda t, d, k: t.count_nonzero(d),
    "logsumexp": lambda t, d, k: t.logsumexp(d, k),
    "norm": lambda t, d, k: t.norm(2, d, k),
    "norm 1": lambda t, d, k: t.norm(1, d, k),
    "norm 3": lambda t, d, k: t.norm(3, d, k),
    "norm 0": lambda t, d, k: t.norm(0, d, k),
    "norm inf": lambda t, d, k: t.norm(float("inf"), d, k),
    "norm -inf": lambda t, d, k: t.norm(-float("inf"), d, k),
}
ONE_DIM = ("max", "min", "argmax", "argmin", "prod")
EMPTY_TUPLE = ("sum", "mean", "amax", "amin")
SMOOTH = [n for n in FLOAT if n not in ("argmax", "argmin", "all", "any", "count_nonzero", "norm 0")]
DIMS = (0, -1, 1, (0, 2), (-1, 0), (0, 1, 2), ())

every = pytest.mark.parametrize("name", list(FLOAT))


def outcome(library, call, array, gradient=True):
    """Results and gradient as arrays, or the class of the error."""
    t = library.from_numpy(np.array(array, copy=True, order="K"))
    t.requires_grad_(gradient and t.is_floating_point())
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = call(t)
    except Exception as error:
        return type(error)
    found = tuple(found) if isinstance(found, tuple) else (found,)
    results = [r.detach().numpy() for r in found]
    if found[0].requires_grad:
        weights = np.cos(np.arange(found[0].numel(), dtype=array.dtype))
        found[0].backward(library.from_numpy(weights).reshape(found[0].shape))
        results.append(np.zeros_like(array) if t.grad is None else t.grad.numpy())
    return results


def agree(call, array, note, rtol=None):
    mine, other = (outcome(library, call, array) for library in (nbgrad, torch))
    if isinstance(other, type) or isinstance(mine, type):
        assert mine is other, (note, mine, other)
        return
    assert len(mine) == len(other), note
    for a, b in zip(mine, other):
        assert (a.dtype, a.shape) == (b.dtype, b.shape), (note, a.dtype, b.dtype, a.shape, b.shape)
        rtol = rtol or (1e-11 if array.dtype == np.float64 else 2e-5)
        np.testing.assert_allclose(a, b, rtol=rtol, atol=rtol, err_msg=note)


def draw(*shape, dtype=np.float64):
    return np.asarray(np.random.default_rng([7, *shape]).standard_normal(shape), dtype)


def allowed(name, dims):
    """The dims to try; PyTorch reads () as all axes in some, and its gradient then errs in var."""
    tuples = name not in ONE_DIM
    return [d for d in dims if not isinstance(d, tuple) or (tuples and (d or name in EMPTY_TUPLE))]


@every
def test_dims(name):
    """Every dim, tuple and keepdim, in float64; float32 along one dim."""
    for dim in allowed(name, DIMS):
        for keepdim in (False, True):
            agree(lambda t: FLOAT[name](t, dim, keepdim), draw(3, 4, 5),  # noqa: B023
                  f"{name} {dim} {keepdim}")
    agree(lambda t: FLOAT[name](t, 1, False), draw(3, 4, 5, dtype=np.float32), f"{name} float32")


@every
def test_layouts(name):
    """0-d, one element, odd sizes, transposed, strided and broadcast inputs."""
    base = draw(6, 9)
    for note, array, dim in (
            ("0-d", draw(), 0), ("0-d", draw(), -1), ("one", draw(1), 0), ("63", draw(63), 0),
            ("1000", draw(1000), 0), ("transposed", base.T, 0), ("transposed", base.T, 1),
            ("strided", base[::2, 1::3], 0), ("strided", base[::2, 1::3], 1)):
        if name != "var correction" or array.size > 1:  # PyTorch's gradient there is -0 or nan
            agree(lambda t: FLOAT[name](t, dim, False), array, f"{name} {note} {dim}")  # noqa: B023
    agree(lambda t: FLOAT[name](t.expand(4, 3), 0, False), draw(4, 1), f"{name} expanded")
    agree(lambda t: FLOAT[name](t[:, 2], 0, False), draw(4, 3), f"{name} column")


@pytest.mark.parametrize("name", ["sum", "mean", "prod", "var", "std", "max", "min", "argmax",
                                  "argmin", "all", "any", "count_nonzero", "amax", "amin", "norm"])
def test_all(name):
    """Without a dim."""
    for array in (draw(3, 4), draw(), draw(4, 6)[::2, ::3], draw(5), draw(0), draw(2, 0)):
        agree(lambda t: getattr(t, name)(), array, f"{name} {array.shape}")


@every
def test_empty(name):
    """Sums of nothing are their identity; maxima of nothing are errors."""
    for shape in ((0,), (0, 3), (3, 0), (2, 0, 3)):
        for dim in allowed(name, (0, -1, (0, 1))):
            if not isinstance(dim, tuple) or len(shape) > 1:
                agree(lambda t: FLOAT[name](t, dim, False), draw(*shape),  # noqa: B023
                      f"{name} {shape} {dim}")


@every
@pytest.mark.parametrize("dtype", ["int32", "uint8", "bool", "int64"])
def test_integers(name, dtype):
    array = np.array([[0, 1, 2], [3, 0, 5]]).astype(dtype)
    for dim in (0, 1):
        mine, other = (outcome(library, lambda t: FLOAT[name](t, dim, False), array)  # noqa: B023
                       for library in (nbgrad, torch))
        if isinstance(other, type):
            assert isinstance(mine, type) or name.startswith(("norm", "arg")), (name, mine, other)
            continue
        assert not isinstance(mine, type), (name, dim, mine, other)
        for a, b in zip(mine, other):
            assert a.dtype == b.dtype and a.shape == b.shape, (name, a.dtype, b.dtype)
            np.testing.assert_allclose(a, b, rtol=1e-6)


@every
def test_awkward(name):
    """NaN and infinities go through as in PyTorch, ties too."""
    nan, inf = np.nan, np.inf
    rows = np.array([[1, nan, 2], [inf, 1, 2], [-inf, 1, 2], [inf, -inf, 1], [0, 0, 0], [2, 2, 1],
                     [nan, inf, 1], [-0.0, 0, 1], [inf, inf, inf], [-inf, -inf, -inf]])
    value = lambda t: FLOAT[name](t.detach(), 1, False)  # noqa: E731
    agree(value, rows, name)
    agree(value, rows.astype(np.float32), name)
    agree(lambda t: FLOAT[name](t, 1, False), rows[4:6], f"{name} ties")


@pytest.mark.parametrize("name", SMOOTH)
def test_gradcheck(name):
    for dim in allowed(name, (0, (0, 1))):
        x = nbgrad.tensor(draw(3, 3), requires_grad=True)

        def call(t):
            found = FLOAT[name](t, dim, False)  # noqa: B023
            return found[0] if isinstance(found, tuple) else found

        assert gradcheck(call, x)
        assert gradgradcheck(call, x)


def test_product_with_zeros():
    for values in ([2.0, 0, 3, 4], [0.0, 0, 3, 4], [2.0, 3, 4, 5], [1.0], [0.0]):
        for call in (lambda t: t.prod(), lambda t: t.prod(0), lambda t: t.prod(0, True)):
            agree(call, np.array(values), str(values))
    x = nbgrad.tensor(draw(2, 3) * [[1, 0, 1], [0, 0, 1]], requires_grad=True)
    assert gradcheck(lambda t: t.prod(1), x) and gradgradcheck(lambda t: t.prod(1), x)


def test_pairs():
    for name in ("var_mean", "std_mean"):
        for args in ((), (1,), ((0, 1),)):
            agree(lambda t: getattr(torch if isinstance(t, torch.Tensor) else nbgrad, name)(  # noqa: B023
                t, *args), draw(3, 4), f"{name} {args}")  # noqa: B023


def test_named_results():
    found = nbgrad.tensor([3.0, 1.0]).max(0)
    assert found.values.item() == 3 and found.indices.item() == 0
    assert nbgrad.max(nbgrad.tensor([1.0, 5.0]), nbgrad.tensor([2.0, 3.0])).tolist() == [2, 5]


@pytest.mark.parametrize("call", [
    lambda t: t.sum(3), lambda t: t.sum(-4), lambda t: t.sum((0, 0)), lambda t: t.mean((0, 3)),
    lambda t: t.max(5), lambda t: t.argmax(5), lambda t: t.amax((1, 1)), lambda t: t.var(7),
    lambda t: t.long().mean(), lambda t: t.long().var(), lambda t: t.long().std(0),
    lambda t: t[:, :0].max(1), lambda t: t[:0].max(), lambda t: t[:0].argmax(),
    lambda t: t[:0].amax(0), lambda t: t.logsumexp(9), lambda t: t.norm(2, 5), lambda t: t.all(4)])
def test_errors(call):
    mine, other = (outcome(library, call, draw(3, 4, 5), False) for library in (nbgrad, torch))
    assert isinstance(other, type) and mine is other, (mine, other)


@pytest.mark.parametrize("name", ["sum", "mean", "var", "std", "logsumexp", "norm", "norm 1", "amax",
                                  "max", "argmin", "count_nonzero", "prod"])
def test_long(name):
    """Long rows and columns are as accurate as float64, and keep their bits on 1 and 2 threads."""
    row = draw(300_001, dtype=np.float32) * 1e-2 + (1 if name == "prod" else 0.5)
    if name == "prod":
        row = 1 + (row - 1) * 1e-3
    columns = row[:300_000].reshape(3000, 100)
    for array, dim in ((row, 0), (columns, 0), (columns, 1), (columns.T, 0)):
        bits = []
        for threads in (1, min(2, numba.config.NUMBA_NUM_THREADS)):
            before = numba.get_num_threads()
            numba.set_num_threads(threads)
            try:
                found = FLOAT[name](nbgrad.from_numpy(array), dim, False)
            finally:
                numba.set_num_threads(before)
            bits.append((found[0] if isinstance(found, tuple) else found).numpy())
        np.testing.assert_array_equal(*bits)
        exact = FLOAT[name](torch.from_numpy(array.astype(np.float64)), dim, False)
        exact = exact[0] if isinstance(exact, tuple) else exact
        rtol = 1e-2 if name == "prod" else 4e-6
        np.testing.assert_allclose(bits[0], exact.numpy(), rtol=rtol, err_msg=f"{name} {array.shape}")


def test_sum_to_size():
    for shape, to in (((3, 4), (1, 4)), ((2, 3, 4), (3, 1)), ((3,), (1,)), ((2, 3), ()),
                      ((2, 3), (2, 3))):
        agree(lambda t: t.sum_to_size(to), draw(*shape), f"{shape} {to}")  # noqa: B023


def test_dtype_argument():
    for name in ("sum", "mean", "prod"):
        for library in (nbgrad, torch):
            t = library.tensor([1, 2, 3])
            assert getattr(t, name)(dtype=library.float64).dtype is library.float64


@pytest.mark.parametrize("name", ["sum", "var", "logsumexp", "amax", "all", "count_nonzero"])
def test_walks(name):
    """Axes that are apart, repeated, permuted or part of a larger tensor, and many of them."""
    base = draw(4, 5, 70, 3)
    for note, view in {
            "whole": lambda t: t, "permuted": lambda t: t.permute(2, 0, 3, 1),
            "offset": lambda t: t[1:, :, 3:], "steps": lambda t: t[:, ::2, :, ::2],
            "repeated": lambda t: t[:1, :, :1].expand(6, 5, 7, 3),
            "number": lambda t: t[0, 0, 0, :1].reshape(1, 1, 1, 1).expand(2, 3, 4, 2)}.items():
        for dim in ((0, 2), (1, 3), (0, 3), (0, 1, 3), (0, 2, 3), 2):
            agree(lambda t: FLOAT[name](view(t), dim, False), base, f"{name} {note} {dim}")  # noqa: B023


@pytest.mark.parametrize("dtype", ["float64", "uint8", "bool", "int32"])
@pytest.mark.parametrize("n", [1, 63, 64, 65, 2048, 2113])
def test_ends_of_rows(n, dtype):
    """Rows and columns that fill their lanes, and do not."""
    array = np.random.default_rng(n).integers(0, 2, (3, n)).astype(dtype)
    for name in ("sum", "amax", "amin", "prod", "any", "all"):
        for a, dim in ((array, 1), (array.T, 0), (array, 0), (array[:, 1:], 1)):
            if a.size:
                agree(lambda t: FLOAT[name](t, dim, False), a, f"{name} {a.shape} {dim}")  # noqa: B023


def test_gradient_of_a_leaf_is_its_own():
    """The gradient that a sum leaves in a leaf can be written to and added to."""
    x = nbgrad.ones(3, 4, requires_grad=True)
    for total in (4.0, 8.0):
        (4 * x.sum(1)).sum().backward()
        assert x.grad.is_contiguous() and (x.grad == total).all()
    x.grad.zero_()
    assert not x.grad.any()
