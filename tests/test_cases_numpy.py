"""The tables of calls without PyTorch: values by NumPy and SciPy, gradients by differences."""

import re
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import scipy.special

import nbgrad
from nbgrad.testing.cases import arrays, evaluate, tables

CASES = [c for table in tables(Path(__file__).parent / "ops" / "cases") for c in table.CASES]
KEYWORDS = {"dim": "axis", "dims": "axis", "keepdim": "keepdims"}
NAMES = {
    "amax": "max", "amin": "min", "asin": "arcsin", "acos": "arccos", "atan": "arctan",
    "asinh": "arcsinh", "acosh": "arccosh", "atanh": "arctanh", "atan2": "arctan2", "bmm": "matmul",
    "cat": "concatenate", "div": "divide", "eq": "equal", "ge": "greater_equal", "gt": "greater",
    "le": "less_equal", "lt": "less", "mm": "matmul", "movedim": "moveaxis", "mul": "multiply",
    "mv": "matmul", "ne": "not_equal", "neg": "negative", "permute": "transpose", "pow": "power",
    "remainder": "mod", "sub": "subtract", "unsqueeze": "expand_dims"}
#: what NumPy means otherwise: other defaults, other results, other arguments
OTHERWISE = {
    "angle", "cumprod", "cumsum", "equal", "heaviside", "log_softmax", "logsumexp", "max", "median",
    "meshgrid", "min", "nan_to_num", "nanmedian", "nonzero", "pad", "put", "sign", "softmax", "sort",
    "split", "std", "tril_indices", "var"}


class NumPy:
    """Functions by PyTorch's names; LookupError for those that NumPy lacks."""

    def __getattr__(self, name):
        own = NAMES.get(name, name)
        function = getattr(np, own, None) or getattr(scipy.special, own, None)
        if name in OTHERWISE or not callable(function):
            raise LookupError(name)
        return lambda *args, **kwargs: function(
            *args, **{KEYWORDS.get(k, k): v for k, v in kwargs.items()})


NumPy.nn = SimpleNamespace(functional=NumPy())


def expected(case):
    """NumPy's results; None where it has no such function, or one of other arguments."""
    try:
        with np.errstate(all="ignore"):
            return evaluate(NumPy(), case.call, [np.array(a) for a in arrays(case)])
    except Exception:
        return None


KNOWN = [c for c in CASES if expected(c) is not None and not re.search(r"\(\)|reversed", c.call)]
#: where differences say nothing: they see through detach, are lost in float32, find ties, leave
#: symmetric matrices, and know of neither the clamp nor the softmax that PyTorch's gradients pass
BLIND = re.compile("detach|float32|FloatTensor|_reduce|unpool|inf|cholesky|UPLO|eigh|pinv|"
                   "gaussian_nll|ctc")
#: what is listed entry by entry is there for ties and edges, too
DRAWN = [c for c in CASES if c.differentiable and not BLIND.search(c.call)
         and any(a.dtype.kind == "f" for a in arrays(c)) and all(a.size for a in arrays(c))
         and all(callable(o) or isinstance(o, tuple) for o in c.operands)]


def each(cases):
    return pytest.mark.parametrize("case", cases, ids=[f"{c.call} {k}" for k, c in enumerate(cases)])


def test_numpy_knows_many():
    assert len(KNOWN) > 1400


@each(KNOWN)
def test_values(case):
    found = evaluate(nbgrad, case.call, [nbgrad.from_numpy(np.array(a)) for a in arrays(case)])
    theirs = expected(case)
    assert len(found) == len(theirs)
    for ours, other in zip(found, theirs):
        assert np.shape(ours) == np.shape(other)
        np.testing.assert_allclose(np.asarray(ours), other, rtol=1e-7, atol=1e-7)


def scalar(case, leaves):
    """A weighted sum of the float results, whose gradient has all of them in it."""
    draw = np.random.default_rng(7).standard_normal
    total = nbgrad.zeros((), dtype=nbgrad.float64)
    for t in evaluate(nbgrad, case.call, leaves):
        if isinstance(t, nbgrad.Tensor) and t.is_floating_point():
            total = total + (t * nbgrad.tensor(draw(t.shape), dtype=t.dtype)).sum()
    return total


def gradients(value, leaves):
    """Those of a scalar, None where there is none."""
    wanted = [t for t in leaves if t.requires_grad]
    if not value.requires_grad:
        return [None] * len(wanted)
    return nbgrad.autograd.grad(value, wanted, create_graph=True, allow_unused=True)


def slopes(function, leaves, step=1e-6):
    """The derivative of `function` in a random direction, by differences and by its gradient."""
    draw = np.random.default_rng(8).standard_normal
    ways = [nbgrad.tensor(draw(t.shape), dtype=t.dtype) for t in leaves]
    ends = []
    for far in (step, -step):
        moved = [(t + far * d).detach().requires_grad_() if t.requires_grad else t
                 for t, d in zip(leaves, ways)]
        ends.append(function(moved).item())
    found = gradients(function(leaves), leaves)
    along = [(g * d).sum().item() for g, d in
             zip(found, [d for t, d in zip(leaves, ways) if t.requires_grad]) if g is not None]
    return (ends[0] - ends[1]) / (2 * step), sum(along)


@each(DRAWN)
def test_gradients(case):
    leaves = [nbgrad.from_numpy(np.array(a)) for a in arrays(case)]
    for t in leaves:
        t.requires_grad_(t.is_floating_point())

    def first(seen):
        return scalar(case, seen)

    def second(seen):
        found = [g for g in gradients(first(seen), seen) if g is not None]
        return sum([(g * g).sum() for g in found], nbgrad.zeros((), dtype=nbgrad.float64))

    for function in (first, second) if case.twice else (first,):
        by_differences, by_gradient = slopes(function, leaves)
        np.testing.assert_allclose(by_gradient, by_differences, rtol=1e-4, atol=1e-4)
