"""Elementwise functions, differentiated three times, as PyTorch does where it can."""

import numpy as np
import pytest

import nbgrad
from nbgrad.formulas.elementwise import TABLE
from nbgrad.testing import samples

torch = pytest.importorskip("torch")

ROWS = [row for row in TABLE.values() if row.differentiable and row.kind != "bits"]
#: the call that a row answers, given the library, where it is not the function of its name
CALLS = {
    "add_scaled": lambda T, a, b, alpha: T.add(a, b, alpha=alpha),
    "sub_scaled": lambda T, a, b, alpha: T.sub(a, b, alpha=alpha),
    "cube": lambda T, x: x ** 3,
    "sqrt_pow": lambda T, x: x ** 0.5,
    "logit_eps": lambda T, x, eps: T.logit(x, eps),
    "gelu_tanh": lambda T, x: T.nn.functional.gelu(x, approximate="tanh"),
    "prelu": lambda T, x, w: T.nn.functional.prelu(x.reshape(1, -1), w).reshape(-1),
    "trunc_divide": lambda T, a, b: T.div(a, b, rounding_mode="trunc"),
    "floor_divide": lambda T, a, b: T.div(a, b, rounding_mode="floor"),
    "round_decimals": lambda T, x, up, down: T.round(x, decimals=1),
    "polygamma": lambda T, x, order: T.polygamma(2, x),
    "clamp_between": lambda T, x, lo, hi: T.clamp(x, lo, hi),
    "clamp_above": lambda T, x, lo: T.clamp(x, min=lo),
    "clamp_below": lambda T, x, hi: T.clamp(x, max=hi),
    "addcmul": lambda T, x, a, b, value: T.addcmul(x, a, b, value=value),
    "addcdiv": lambda T, x, a, b, value: T.addcdiv(x, a, b, value=value),
}
#: their polygamma is good to some nine digits, fewer in what is derived from it; a 1/6 in float32
TOLERANCE = {"polygamma": 1e-5, "digamma": 1e-5, "lgamma": 1e-5, "hardsigmoid": 1e-7}


def call(library, row, tensors):
    if row.name in CALLS:
        return CALLS[row.name](library, *tensors, *samples.params(row))
    function = getattr(library, row.name, None) or getattr(library.nn.functional, row.name)
    return function(*tensors, *samples.params(row))


def derivatives(library, row, orders):
    """The value, and of each order the gradients of a weighted sum of what there is of the last."""
    inputs = [library.from_numpy(samples.draw(row, k, (5,))) for k in range(len(row.inputs))]
    leaves = [t.requires_grad_() for t in inputs if t.is_floating_point()]
    weights = library.from_numpy(np.linspace(0.5, 1.5, 5))
    found = last = [call(library, row, inputs)]
    for _ in range(orders):
        total = sum((t * weights * (k + 1)).sum() for k, t in enumerate(last))
        if total.requires_grad:
            last = library.autograd.grad(total, leaves, create_graph=True, materialize_grads=True)
        else:
            last = [library.zeros_like(t) for t in leaves]
        found = [*found, *last]
    return [t.detach().numpy(force=True) for t in found]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_to_third_order(row):
    for orders in (3, 2, 1, 0):
        try:
            expected = derivatives(torch, row, orders)
            break
        except RuntimeError as error:
            assert "is not implemented" in str(error)
    found = derivatives(nbgrad, row, orders)
    tolerance = TOLERANCE.get(row.name, 1e-9)
    for k, (mine, other) in enumerate(zip(found, expected, strict=True)):
        np.testing.assert_allclose(mine, other, rtol=tolerance, atol=1e-2 * tolerance * max(
            1, abs(other).max()), err_msg=str(k))
