"""Scans against torch: values, gradients of two orders, dtypes, in-place forms, errors."""

import numpy as np
import pytest

import nbgrad
from nbgrad.autograd import gradcheck, gradgradcheck

N = np.random.default_rng(3).standard_normal
INF, NAN = np.inf, np.nan
SHAPES = [((), 0), ((1,), 0), ((5,), -1), ((63,), 0), ((3, 4), 0), ((3, 4), 1), ((2, 3, 4), 1),
          ((9, 1, 2), 0), ((2, 150), 0), ((6, 33), 1), ((0,), 0), ((2, 0), 0), ((2, 0), 1)]
CALLS = {
    "cumsum": lambda lib, x, d: lib.cumsum(x, d), "cumprod": lambda lib, x, d: lib.cumprod(x, d),
    "logcumsumexp": lambda lib, x, d: lib.logcumsumexp(x, d),
    "cummax": lambda lib, x, d: tuple(lib.cummax(x, d)),
    "cummin": lambda lib, x, d: tuple(lib.cummin(x, d)),
    "cumsum_": lambda lib, x, d: (x * 1).cumsum_(d),
    "cumprod_": lambda lib, x, d: (x * 1).cumprod_(d),
}


@pytest.mark.parametrize("shape, dim", SHAPES, ids=str)
@pytest.mark.parametrize("name", CALLS)
def test_scans(same, name, shape, dim):
    same(lambda lib, x: CALLS[name](lib, x, dim), np.asarray(N(shape)))


@pytest.mark.parametrize("name", CALLS)
def test_strides(same, name):
    same(lambda lib, x: CALLS[name](lib, x, 1), N((5, 4, 3)).transpose(2, 0, 1)[:, ::-1])


@pytest.mark.parametrize("zeros", [[1], [0], [4], [1, 3], [0, 1, 2, 3, 4]], ids=str)
def test_cumprod_of_zeros(same, zeros):
    x = N((5, 2))
    x[zeros, 0] = 0
    for d in (0, 1):
        same(lambda lib, x: lib.cumprod(x, d), x)  # noqa: B023


@pytest.mark.parametrize("x", [
    [1, 1, NAN, 5, NAN, 2], [2, 1, 2, 2, 3], [0.0, -0.0, 0.0], [INF, -INF, INF, 1], [-INF, -INF, 2]],
    ids=str)
def test_special_numbers(same, x):
    for name in ("cummax", "cummin", "cumsum", "logcumsumexp"):
        same(lambda lib, x: CALLS[name](lib, x, 0), np.array(x, float), grad=[])  # noqa: B023


@pytest.mark.parametrize("dtype", ["bool_", "uint8", "int8", "int32", "int64"])
def test_whole_numbers(same, dtype):
    x = np.array([[1, 0, 3], [2, 1, 1]]).astype(getattr(np, dtype))
    for d in (0, 1):
        for call in (lambda lib, x: lib.cumsum(x, d), lambda lib, x: x.cumprod(d),  # noqa: B023
                     lambda lib, x: lib.cumsum(x, d, dtype=lib.float32),  # noqa: B023
                     lambda lib, x: lib.cumsum(x, d, dtype=lib.int32),  # noqa: B023
                     lambda lib, x: tuple(lib.cummax(x, d))):  # noqa: B023
            same(call, x)
        if dtype != "bool_":
            same(lambda lib, x: x.cumsum_(d), x)  # noqa: B023


def test_sums_are_accumulated_in_float64():
    x = nbgrad.full((4, 100_000), 0.1)
    for y in (x.cumsum(1)[:, -1], x.t().contiguous().cumsum(0)[-1]):
        np.testing.assert_array_equal(y.numpy(), np.float32(np.float64(np.float32(0.1)) * 100_000))


@pytest.mark.parametrize("name", ["cumsum", "cumprod", "logcumsumexp", "cummax", "cummin"])
def test_gradcheck(name):
    x = N((3, 4))
    x[1, 2] = 0
    x = nbgrad.tensor(x, requires_grad=True)
    for d in (0, 1):
        def call(t):
            y = CALLS[name](nbgrad, t, d)  # noqa: B023
            return y[0] if isinstance(y, tuple) else y
        assert gradcheck(call, x)
        assert gradgradcheck(lambda t: call(t) ** 2, x)


def test_names():
    x = nbgrad.ones(2, requires_grad=True)
    for name in ("cumsum", "cumprod", "logcumsumexp"):
        assert getattr(x, name)(0).grad_fn.name() == f"{name.capitalize()}Backward0"
    assert x.cummax(0).values.grad_fn.name() == "CummaxBackward0"
    assert repr(nbgrad.ones(1).cummin(0)) == (
        "nbgrad.return_types.cummin(\nvalues=tensor([1.]),\nindices=tensor([0]))")


ERRORS = [
    "cumsum(z(3), 1)", "cumprod(z(3), -2)", "z(3).long().cumsum_(0, dtype=float32)",
    "z(3).bool().cumsum_(0)", "logcumsumexp(z(3).long(), 0)", "cummax(z(2, 2), 2)",
]


@pytest.mark.parametrize("text", ERRORS)
def test_errors(same_error, text):
    same_error(lambda lib: eval(text, vars(lib) | {"z": lib.zeros}),
               "Bad in-place call" if "float32" in text else None)
