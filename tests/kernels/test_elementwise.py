"""Kernels for operands of every kind of innermost stride, on both sides of where one serves all."""

from itertools import product

import numpy as np
import pytest

import nbgrad
from nbgrad.kernels.layout import FEW

SHAPES = [(8, FEW // 8), (5, FEW // 5 + 1), (3, 1, 63), (7, 3, 5), (1, 1000)]
#: How an operand of a shape lies in memory that is larger: its innermost stride is 1, 0, or another.
LIES = {"f": lambda shape: (tuple(shape), ...),
        "s": lambda shape: ((*shape[:-1], 1), ...),
        "x": lambda shape: ((*shape[:-1], 2 * shape[-1]), (..., slice(None, None, 2)))}
CALLS = {"exp": 1, "mul": 2, "atan2": 2, "where": 3}


def operands(lies, shape, dtype):
    """The same numbers for NumPy and nbgrad, lying in the same way."""
    draw = np.random.default_rng(len(lies)).standard_normal
    made = []
    for how in lies:
        whole, part = LIES[how](shape)
        array = draw(whole).astype(dtype)
        made.append((array[part], nbgrad.tensor(array)[part]))
    return zip(*made)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("name, lies", [
    (name, "".join(lies)) for name, count in CALLS.items() for lies in product("fsx", repeat=count)])
def test_every_way_to_lie(name, lies, shape):
    expected, ours = operands(lies, shape, np.float64 if name == "where" else np.float32)
    known = {"exp": np.exp, "mul": np.multiply, "atan2": np.arctan2,
             "where": lambda c, a, b: np.where(c > 0, a, b)}[name]
    if name == "where":
        ours = (ours[0] > 0, *ours[1:])
    found = getattr(nbgrad, name)(*ours)
    np.testing.assert_allclose(found.numpy(), known(*expected), rtol=3e-7)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("into, lies", list(product("fx", "fsx")))
def test_every_way_to_write(into, lies, shape):
    (target, other), (ours, by) = operands(into + lies, shape, np.float32)
    ours.mul_(by)
    np.testing.assert_array_equal(ours.numpy(), target * other)


def test_more_axes_than_numpy_has():
    many = nbgrad.ones(2).reshape([1] * 64 + [2])
    assert (many + nbgrad.ones(2, 1)).flatten().tolist() == [2.0] * 4
