"""A tensor prints as PyTorch prints it, character for character."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nbgrad import printing

torch = pytest.importorskip("torch")

DTYPES = ["float32", "float64", "int64", "int32", "uint8", "bool"]
SHAPES = [
    (),
    (0,),
    (2, 0),
    (1,),
    (7,),
    (3, 4),
    (2, 3, 4),
    (2, 2, 2, 2),
    (1001,),
    (40, 40),
    (1, 1, 1200),
    (8, 2, 9, 10),
]
NAN, INF = float("nan"), float("inf")


def printed(array, **suffixes):
    """Our text, with the dtype suffix that PyTorch gives to this dtype."""
    name = array.dtype.name
    plain = ["float32"] if array.size == 0 else ["float32", "int64", "bool"]
    suffix = None if name in plain else f"dtype=torch.{name}"
    return printing.format_tensor(array, dtype_suffix=suffix, **suffixes)


def same(array, **suffixes):
    assert printed(array, **suffixes) == str(torch.from_numpy(array))


@pytest.fixture
def both_options():
    """Set print options in both libraries, and put them back afterwards."""

    def apply(**options):
        printing.set_printoptions(**options)
        torch.set_printoptions(**options)

    yield apply
    apply(profile="default")


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("dtype", DTYPES)
def test_shapes(dtype, shape):
    rng = np.random.default_rng(len(shape))
    same(np.asarray(rng.normal(0, 30, shape)).astype(np.int64).astype(dtype))
    same(np.asarray(rng.normal(0, 3, shape)).astype(dtype if dtype != "uint8" else "float32"))


@pytest.mark.parametrize(
    "values",
    [
        [1.0, 2.0],
        [1.0, 1000.0],
        [1.0, 1001.0],
        [0.5, 500.0],
        [0.5, 501.0],
        [1e8],
        [1e8 + 8],
        [1e-4, 1e-2],
        [9.9e-5, 1e-2],
        [1e-4],
        [0.0],
        [0.0, -0.0],
        [-1.5, 2.25, 100.125],
        [20.0, 2.0, 0.1, 0.01],
        [NAN],
        [INF],
        [-INF, 0.0],
        [NAN, INF, 1.0],
        [NAN, -INF, 1.5],
        [NAN, 1e-6, 1e9],
        [-1.0, NAN, 12345.0],
        [0.0, 0.0, 3.14159],
        [99999.99996, 100.5],
        [1e-38, 1e38],
        [5e-324, 1.0],
        [True, False],
        [True],
        [-1, 10, 1000],
        [2**62, -1],
    ],
    ids=str,
)
def test_values(values):
    array = np.array(values)
    with np.errstate(over="ignore"):
        for version in {"f": [array, array.astype("f4")]}.get(array.dtype.kind, [array]):
            same(version)
            same(version.reshape(-1, 1))
    same(np.array(values[-1]))


@pytest.mark.parametrize(
    "shape", [(), (1,), (9,), (2, 3), (3, 2, 2), (1200,), (0,), (2, 0)], ids=str
)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_suffixes(dtype, shape):
    array = np.full(shape, 0.5, dtype)
    tensor = torch.from_numpy(array).requires_grad_()
    assert printed(array, requires_grad=True) == str(tensor)
    assert printed(array, grad_fn="MulBackward0") == str(tensor * 1)


@pytest.mark.parametrize("length", range(1, 9))
def test_suffix_wraps_where_the_line_is_full(length):
    for digits in range(9):
        tensor = torch.full((length,), 10.0**digits + 0.5, dtype=torch.float64, requires_grad=True)
        array = tensor.detach().numpy()
        same(array)
        assert printed(array, requires_grad=True) == str(tensor)
        assert printed(array, grad_fn="MulBackward0") == str(tensor * 1)


def test_device_comes_before_size_and_dtype():
    text = printed(np.zeros((2, 0)), device_suffix="device='cuda:0'", requires_grad=True)
    assert text == (
        "tensor([], device='cuda:0', size=(2, 0), dtype=torch.float64,\n       requires_grad=True)"
    )


def test_prefix_sets_the_indentation():
    text = printing.format_tensor(np.ones((2, 1)), prefix="Parameter(")
    assert text == "Parameter([[1.],\n           [1.]])"


@pytest.mark.parametrize(
    "options",
    [
        {"precision": 2},
        {"precision": 0},
        {"precision": 8},
        {"threshold": 5},
        {"threshold": 5, "edgeitems": 1},
        {"linewidth": 40},
        {"linewidth": 5},
        {"sci_mode": True},
        {"sci_mode": False},
        {"profile": "short"},
        {"profile": "full"},
        {"profile": "short", "precision": 6, "sci_mode": True},
    ],
    ids=str,
)
def test_options(options, both_options):
    both_options(**options)
    rng = np.random.default_rng(7)
    for shape in SHAPES[:-1]:
        same(np.asarray(rng.normal(0, 30, shape)))
        same(np.asarray(np.round(rng.normal(0, 30, shape))))
        same(np.asarray(10 ** rng.uniform(-6, 9, shape)).astype("f4"))
    same(np.arange(11))
    same(np.array([NAN, INF, -INF, 0.0]))
    same(np.array([NAN, 1.5, 1e9]))
    long = np.full(9, 0.25)
    assert printed(long, requires_grad=True) == str(torch.from_numpy(long).requires_grad_())


def test_options_stay_until_named_but_sci_mode_is_reset(both_options):
    both_options(precision=2, sci_mode=True)
    both_options(linewidth=60)
    assert printing.get_printoptions() == torch._tensor_str.get_printoptions()
    with printing.printoptions(precision=7):
        assert printing.get_printoptions()["precision"] == 7
    assert printing.get_printoptions()["precision"] == 2


finite = st.builds(
    lambda mantissa, power, sign: sign * mantissa * 10.0**power,
    st.one_of(st.integers(1, 9), st.floats(1, 9.99)),
    st.integers(-6, 9),
    st.sampled_from([1, -1]),
)
number = st.one_of(finite, finite, st.sampled_from([0.0, -0.0, NAN, INF, -INF, 1.0, -3.0, 17.0]))


@settings(max_examples=300, deadline=None, derandomize=True, database=None)
@given(
    st.lists(number, min_size=1, max_size=24),
    st.sampled_from(["float32", "float64"]),
    st.sampled_from([1, 2, 3]),
)
def test_random_values(values, dtype, ndim):
    array = np.array(values, dtype)
    if ndim > 1 and array.size % 2 == 0:
        array = array.reshape((2, -1) if ndim == 2 else (2, -1, 1))
    same(array)
