"""Every elementwise row, walked once a property: values, gradients, dtypes, in-place, sources."""

import warnings

import numpy as np
import pytest

import nbgrad
from nbgrad.autograd import gradcheck, gradgradcheck
from nbgrad.formulas.elementwise import TABLE
from nbgrad.ops.apply import apply, apply_
from nbgrad.ops.elementwise import OPS
from nbgrad.testing import samples

torch = pytest.importorskip("torch")
F = torch.nn.functional

#: PyTorch's call for rows that it has under another name or with other arguments
THEIRS = {
    "add_scaled": lambda a, b, alpha: torch.add(a, b, alpha=alpha),
    "sub_scaled": lambda a, b, alpha: torch.sub(a, b, alpha=alpha),
    "cube": lambda x: torch.pow(x, 3),
    "sqrt_pow": lambda x: torch.pow(x, 0.5),
    "logit_eps": torch.logit,
    "prelu": lambda x, w: torch.where(x > 0, x, w * x),
    "gelu_tanh": lambda x: F.gelu(x, approximate="tanh"),
    "softsign": lambda x: x / (1 + abs(x)),
    "threshold": F.threshold,
    "trunc_divide": lambda a, b: torch.div(a, b, rounding_mode="trunc"),
    "addcmul": lambda x, a, b, value: torch.addcmul(x, a, b, value=value),
    "addcdiv": lambda x, a, b, value: torch.addcdiv(x, a, b, value=value),
}
TOLERANCE = {"float32": dict(rtol=3e-6, atol=2e-6), "float64": dict(rtol=1e-12, atol=1e-13)}

rows = pytest.mark.parametrize("row", TABLE.values(), ids=list(TABLE))
differentiable = pytest.mark.parametrize(
    "row", [r for r in TABLE.values() if r.differentiable],
    ids=[n for n, r in TABLE.items() if r.differentiable])


def theirs(row):
    """PyTorch's function for a row."""
    for found in (THEIRS.get(row.name), getattr(torch, row.name, None), getattr(F, row.name, None)):
        if found is not None:
            return found
    raise LookupError(f"{row.name}: name PyTorch's function in THEIRS")


def ours(row):
    return lambda *args: apply(OPS[row.name], args[:len(row.inputs)], args[len(row.inputs):])


def operands(row, library, dtype, lies, grad=False):
    """The leaves drawn for a layout, and the views of them that are the operands."""
    leaves, views = [], []
    for k in range(len(row.inputs)):
        lie = lies[k % len(lies)]
        leaf = library.from_numpy(samples.draw(row, k, lie.shape, drawn(row, dtype)))
        leaf.requires_grad_(grad and leaf.is_floating_point())
        leaves.append(leaf)
        views.append(samples.VIEWS[lie.view](leaf))
    return leaves, views


def drawn(row, dtype):
    return np.int64 if row.kind == "bits" else dtype


def same(mine, other, dtype, note):
    found, expected = mine.detach().numpy(), other.detach().numpy()
    assert found.dtype == expected.dtype, (note, found.dtype, expected.dtype)
    assert found.shape == expected.shape, note
    np.testing.assert_allclose(found, expected, **TOLERANCE[np.dtype(dtype).name], err_msg=note)


#: layouts that add a kernel of their own in the second dtype are run in float64 only
EVERYWHERE = ("0-d", "empty", "odd", "long", "strided", "outer", "scalar")


@rows
def test_value(row):
    """Each layout and dtype gives PyTorch's values, shape and dtype, and first gradients."""
    f, g, given = ours(row), theirs(row), samples.params(row)
    for name, lies in samples.layouts(row).items():
        for dtype in ("float64", "float32") if name in EVERYWHERE else ("float64",):
            note = f"{row.name} {name} {dtype}"
            results = []
            for library, function in ((nbgrad, f), (torch, g)):
                leaves, views = operands(row, library, dtype, lies, row.differentiable)
                y = function(*views, *given)
                if y.requires_grad:
                    y.backward(y.detach() * 0 + 1.5)
                results.append([y, *(t.grad for t in leaves if t.requires_grad)])
            for mine, other in zip(*results):
                if mine is None or other is None:  # an undefined gradient is a gradient of zeros
                    assert all(t is None or not bool(t.any()) for t in (mine, other)), note
                else:
                    same(mine, other, dtype, note)


#: where our values or gradients differ from PyTorch's at awkward points, and why that is right
LENIENT = {}


@rows
def test_awkward(row):
    """Infinities, NaN, signed zeros, kinks and extremes give PyTorch's values and gradients."""
    if row.kind == "bits":
        return
    for dtype in ("float64", "float32"):
        arrays = samples.awkward(len(row.inputs), dtype)
        if row.kind == "where":
            arrays[0] = arrays[0] > 0
        results = []
        for library, function in ((nbgrad, ours(row)), (torch, theirs(row))):
            inputs = [library.from_numpy(a.copy()) for a in arrays]
            for t in inputs:
                t.requires_grad_(row.differentiable and t.is_floating_point())
            y = function(*inputs, *samples.params(row))
            if y.requires_grad:
                y.backward(y.detach() * 0 + 1 if row.name in LENIENT else library.ones_like(y))
            results.append([y, *(t.grad for t in inputs if t.grad is not None)])
        for k, (mine, other) in enumerate(zip(*results)):
            same(mine, other, dtype, f"{row.name} {dtype} {'value' if k == 0 else f'gradient {k}'}")


@differentiable
def test_gradcheck(row):
    """First and second derivatives agree with finite differences, broadcast operands too."""
    f, given = ours(row), samples.params(row)
    for lies in ((samples.Lie((3,)),), (samples.Lie((2, 1)), samples.Lie((2,))))[:len(row.inputs)]:
        _, inputs = operands(row, nbgrad, "float64", lies, grad=True)
        assert gradcheck(lambda *ts: f(*ts, *given), inputs)
        assert gradgradcheck(lambda *ts: f(*ts, *given), inputs)


@differentiable
def test_in_place_twin(row):
    """The in-place form gives the same value and gradients, bumps the version, and is recorded."""
    results = []
    for in_place in (False, True):
        leaves, inputs = operands(row, nbgrad, "float64", (samples.Lie((63,)),), grad=True)
        if row.kind == "where":
            return
        target = inputs[0].clone()
        given = samples.params(row)
        if in_place:
            y = apply_(OPS[row.name], target, tuple(inputs[1:]), given)
            assert y is target and y._version == 1
        else:
            y = apply(OPS[row.name], (target, *inputs[1:]), given)
        if y.requires_grad:
            y.backward(nbgrad.linspace(-1, 1, 63, dtype=nbgrad.float64))
        results.append([y.detach().numpy().copy(), *(t.grad for t in leaves)])
    for mine, other in zip(*results):
        if mine is None or other is None:
            assert mine is other
        else:
            np.testing.assert_array_equal(np.asarray(mine), np.asarray(other))


def outcome(library, function, row, written):
    """None where backward works after a write to input or result number `written`, else the error."""
    _, inputs = operands(row, library, "float64", (samples.Lie((5,)),), grad=True)
    inputs = [t.clone() for t in inputs]
    y = function(*inputs, *samples.params(row))
    target = y if written < 0 else inputs[written]
    if not target.is_floating_point() or not y.requires_grad:
        return None
    with library.no_grad():
        target.add_(0)
    try:
        y.sum().backward()
    except RuntimeError as error:
        return str(error)
    return None


#: writes that we allow and PyTorch forbids, since our derivative reads less
FREER = {}


@differentiable
def test_what_is_saved(row):
    """A write to what backward reads is found at backward, exactly where PyTorch finds it."""
    for written in (-1, *range(len(row.inputs))):
        mine = outcome(nbgrad, ours(row), row, written)
        other = outcome(torch, theirs(row), row, written)
        if mine is not None:
            assert mine.startswith("one of the variables needed for gradient computation has been "
                                   "modified by an inplace operation: [torch.DoubleTensor [5]]")
            assert "at version 1; expected version 0 instead. Hint:" in mine
        if written not in FREER.get(row.name, ()):
            assert (mine is None) == (other is None), (row.name, written, mine, other)
