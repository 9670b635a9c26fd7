"""Sorting against torch: values, places, gradients of two orders, ties, NaN, dtypes, errors."""

import numpy as np
import pytest

import nbgrad
from nbgrad.autograd import gradcheck, gradgradcheck

RNG = np.random.default_rng(4)


def N(shape):
    """Numbers that differ in float32 too, so that there is one order."""
    count = int(np.prod(shape))
    return ((RNG.permutation(count) - count / 3) / 7).reshape(shape)


INF, NAN = np.inf, np.nan
SHAPES = [((), 0), ((1,), 0), ((5,), -1), ((63,), 0), ((3, 4), 0), ((3, 4), 1), ((2, 3, 4), 1),
          ((2, 130), -1), ((9000,), 0), ((0,), 0), ((2, 0), 0), ((2, 0), 1)]
CALLS = {
    "sort": lambda lib, x, d: tuple(lib.sort(x, dim=d)),
    "falling": lambda lib, x, d: tuple(x.sort(d, True)),
    "stable": lambda lib, x, d: tuple(lib.sort(x, dim=d, stable=True, descending=True)),
    "argsort": lambda lib, x, d: x.argsort(d),
    "msort": lambda lib, x, d: lib.msort(x),
    "topk": lambda lib, x, d: tuple(lib.topk(x, min(2, x.size(d) if x.dim() else 1), d)),
    "lowest": lambda lib, x, d: tuple(x.topk(x.size(d) if x.dim() else 1, dim=d, largest=False)),
}


@pytest.mark.parametrize("shape, dim", SHAPES, ids=str)
@pytest.mark.parametrize("name", CALLS)
def test_sorts(same, name, shape, dim):
    same(lambda lib, x: CALLS[name](lib, x, dim), np.asarray(N(shape)))


@pytest.mark.parametrize(
    "shape, dim, k", [((), 0, 1), ((5,), 0, 3), ((3, 4), 0, 1), ((2, 3, 4), -2, 3)])
@pytest.mark.parametrize("keepdim", [False, True])
def test_kthvalue(same, shape, dim, k, keepdim):
    same(lambda lib, x: tuple(lib.kthvalue(x, k, dim, keepdim)), np.asarray(N(shape)))


@pytest.mark.parametrize("name", CALLS)
def test_strides(same, name):
    same(lambda lib, x: CALLS[name](lib, x, 1), N((5, 4, 3)).transpose(2, 0, 1)[:, ::-1])


@pytest.mark.parametrize("n", [3, 20, 100, 9000])
def test_ties_and_special_numbers(n):
    torch = pytest.importorskip("torch")
    values = np.array([0.0, -0.0, 1, -1, 1e-40, -1e-40, INF, -INF, NAN, -NAN, 2, 1 + 1e-15])
    x = values[np.random.default_rng(n).integers(0, len(values), n)]
    for dtype in (np.float32, np.float64):
        mine, other = nbgrad.tensor(x.astype(dtype)), torch.tensor(x.astype(dtype))
        for descending in (False, True):
            a = nbgrad.sort(mine, descending=descending)
            b = torch.sort(other, descending=descending, stable=True)
            np.testing.assert_array_equal(a.indices.numpy(), b.indices.numpy())
            np.testing.assert_array_equal(a.values.numpy(), b.values.numpy())
            np.testing.assert_array_equal(np.signbit(a.values.numpy()), np.signbit(b.values.numpy()))
            for k in (1, n // 2, n):
                top = nbgrad.topk(mine, k, largest=descending)
                np.testing.assert_array_equal(top.indices.numpy(), b.indices.numpy()[:k])
                np.testing.assert_array_equal(
                    top.values.numpy(), torch.topk(other, k, largest=descending).values.numpy())


@pytest.mark.parametrize("dtype", ["bool_", "uint8", "int8", "int16", "int32", "int64"])
def test_whole_numbers(same, dtype):
    kind = getattr(np, dtype)
    x = np.random.default_rng(5).integers(-2**62, 2**62, (3, 77)).astype(kind)
    if dtype != "bool_":
        x[0, :3] = np.iinfo(kind).min, np.iinfo(kind).max, 0
    for name in ("sort", "falling"):
        same(lambda lib, x: CALLS[name](lib, x, 1)[0], x)  # noqa: B023
        same(lambda lib, x: x.sort(
            dim=1, descending=name == "falling", stable=True).indices, x)  # noqa: B023
    if dtype != "bool_":
        same(lambda lib, x: lib.topk(x, 70)[0], x)
        same(lambda lib, x: x.topk(3, largest=False)[0], x)


def test_many_of_the_largest(same):
    x = N((2, 3000))
    for k in (0, 1, 64, 65, 2999):
        same(lambda lib, x: tuple(lib.topk(x, k)), x)  # noqa: B023
    same(lambda lib, x: lib.topk(x, 10, sorted=False)[0].sum(), np.arange(300.0))


@pytest.mark.parametrize("name", ["sort", "falling", "msort", "topk", "lowest"])
def test_gradcheck(name):
    x = nbgrad.tensor(N((3, 4)), requires_grad=True)

    def call(t):
        y = CALLS[name](nbgrad, t, 0)
        return y[0] if isinstance(y, tuple) else y

    assert gradcheck(call, x) and gradgradcheck(lambda t: call(t) ** 2, x)


def test_a_write_to_the_places_is_noticed():
    x = nbgrad.ones(3, requires_grad=True)
    values, places = x.sort()
    places += 1
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        values.sum().backward()


def test_names():
    x = nbgrad.ones(2, requires_grad=True)
    assert [y.values.grad_fn.name() for y in (
        x.sort(), x.sort(stable=True), x.topk(1), x.kthvalue(1))] == [
        "SortBackward0", "SortBackward1", "TopkBackward0", "KthvalueBackward0"]
    assert repr(nbgrad.ones(1).kthvalue(1)) == (
        "nbgrad.return_types.kthvalue(\nvalues=tensor(1.),\nindices=tensor(0))")


ERRORS = [
    "sort(z(3), 1)", "topk(z(3), 4)", "topk(z(3), -1)", "topk(z(3), 1, 1)", "topk(z(3), 1.5)",
    "topk(z(3).bool(), 1)", "kthvalue(z(3), 0)", "kthvalue(z(3), 4)", "kthvalue(z(2, 0), 1)",
    "kthvalue(z(3).bool(), 1)", "topk(z(2, 0), 1)", "sort([1])", "topk([1], 1)",
]


@pytest.mark.parametrize("text", ERRORS)
def test_errors(same_error, text):
    same_error(lambda lib: eval(text, vars(lib) | {"z": lib.zeros}),
               "must be" if "[1]" in text else None)
