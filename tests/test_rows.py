"""Every elementwise row, walked once a property: values, gradients, dtypes, in-place, sources."""


import numpy as np
import pytest
from numba import types
from numba.core import compiler
from numba.core.registry import cpu_target
from numba.core.typed_passes import type_inference_stage
from numba.np import numpy_support

import nbgrad
from nbgrad import dtypes
from nbgrad.autograd import gradcheck, gradgradcheck
from nbgrad.formulas.elementwise import TABLE
from nbgrad.kernels import elementwise, source
from nbgrad.kernels.elementwise import Spec
from nbgrad.kernels.source import compile_source
from nbgrad.ops.apply import apply, apply_
from nbgrad.ops.elementwise import OPS, program
from nbgrad.testing import samples

torch = pytest.importorskip("torch")
F = torch.nn.functional

def _prelu(x, w):
    """With a weight an entry, as if each were a channel."""
    return F.prelu(x.reshape(1, -1), w.reshape(-1)).reshape(x.shape) if x.numel() else x * w


#: PyTorch's call for rows that it has under another name or with other arguments
THEIRS = {
    "add_scaled": lambda a, b, alpha: torch.add(a, b, alpha=alpha),
    "sub_scaled": lambda a, b, alpha: torch.sub(a, b, alpha=alpha),
    "cube": lambda x: torch.pow(x, 3),
    "sqrt_pow": lambda x: torch.pow(x, 0.5),
    "logit_eps": torch.logit,
    "prelu": lambda x, w: _prelu(*torch.broadcast_tensors(x, w)),
    "gelu_tanh": lambda x: F.gelu(x, approximate="tanh"),
    "softsign": lambda x: x / (1 + abs(x)),
    "threshold": F.threshold,
    "hardsigmoid": lambda x: F.relu6(x + 3) / 6,  # theirs has its 1/6 in float32
    "floor_divide": lambda a, b: torch.div(a, b, rounding_mode="floor"),
    "trunc_divide": lambda a, b: torch.div(a, b, rounding_mode="trunc"),
    "round_decimals": lambda x, up, down: torch.round(x, decimals=1),
    "polygamma": lambda x, order: torch.polygamma(int(order), x),
    "clamp_between": torch.clamp,
    "clamp_above": torch.clamp_min,
    "clamp_below": torch.clamp_max,
    "addcmul": lambda x, a, b, value: torch.addcmul(x, a, b, value=value),
    "addcdiv": lambda x, a, b, value: torch.addcdiv(x, a, b, value=value),
}
TOLERANCE = {"float32": {"rtol": 3e-6, "atol": 2e-6}, "float64": {"rtol": 1e-12, "atol": 1e-13}}

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


def public(row):
    """Our function of the name, which may choose another row; the row itself where there is none."""
    found = getattr(nbgrad, row.name, None) or getattr(nbgrad.nn.functional, row.name, None)
    return ours(row) if row.name in THEIRS or found is None else found


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
    found, expected = mine.detach().numpy(), other.detach().numpy(force=True)
    assert found.dtype == expected.dtype, (note, found.dtype, expected.dtype)
    assert found.shape == expected.shape, note
    tolerance = TOLERANCE[np.dtype(dtype).name]
    if "gamma" in note:  # their trigamma is good to nine digits
        tolerance = {"rtol": 3e-6, "atol": 3e-6}
    np.testing.assert_allclose(found, expected, **tolerance, err_msg=note)


#: rows that stand for the loop templates are run in every layout, the others in a few of them
TEMPLATES = ("sigmoid", "leaky_relu", "add", "mul", "where", "addcmul", "isnan", "logical_and")
CONTIGUOUS = ("0-d", "empty", "one", "odd", "long", "transposed")


def chosen(row):
    """Names of the layouts to run a row in: those that share one kernel, and one more in turn."""
    strided = [name for name in samples.layouts(row) if name not in CONTIGUOUS]
    if row.name in TEMPLATES:
        return (*CONTIGUOUS, *strided)
    return (*CONTIGUOUS, strided[list(TABLE).index(row.name) % len(strided)])


@rows
def test_value(row):
    """Each layout and dtype gives PyTorch's values, shape and dtype, and first gradients."""
    f, g, given = ours(row), theirs(row), samples.params(row)
    for name in chosen(row):
        lies = samples.layouts(row)[name]
        for dtype in ("float64", "float32") if name in CONTIGUOUS else ("float64",):
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


#: awkward points at which PyTorch's value or gradient depends on its vector width, or is no limit
LENIENT = {
    "logit": lambda x: (x == 0) & np.signbit(x),
    "gelu": np.isposinf,
    "hardswish": lambda x: np.isneginf(x) | np.isnan(x),
    **dict.fromkeys(("logit_eps", "elu", "selu", "celu"), np.isnan),
    **dict.fromkeys(("remainder", "fmod"), lambda a, b: abs(a) / 1e20 > abs(b)),
    # theirs loses all digits near 0, is finite at some poles, and has no slope at infinity
    "sinc": lambda x: abs(x) < 1e-3,
    **dict.fromkeys(("digamma", "polygamma"), lambda x: (x <= 0) & (x == np.floor(x)) | np.isinf(x)),
    "copysign": lambda a, b: ~np.isfinite(a),
}


@rows
def test_awkward(row):
    """Infinities, NaN, signed zeros, kinks and extremes give PyTorch's values and gradients."""
    if row.kind == "bits":
        return
    for dtype in ("float64", "float32"):
        arrays = samples.awkward(len(row.inputs), dtype)
        if row.kind == "where":
            arrays[0] = arrays[0] > 0
        if row.name in LENIENT:
            keep = ~LENIENT[row.name](*arrays)
            arrays = [a[keep] for a in arrays]
        results = []
        for library, function in ((nbgrad, ours(row)), (torch, theirs(row))):
            inputs = [library.from_numpy(a.copy()) for a in arrays]
            for t in inputs:
                t.requires_grad_(row.differentiable and t.is_floating_point())
            y = function(*inputs, *samples.params(row))
            if y.requires_grad:
                y.backward(library.ones_like(y))
            results.append([y, *(t.grad for t in inputs if t.grad is not None)])
        for k, (mine, other) in enumerate(zip(*results)):
            same(mine, other, dtype, f"{row.name} {dtype} {'value' if k == 0 else f'gradient {k}'}")


@differentiable
def test_gradcheck(row):
    """First and second derivatives agree with finite differences, broadcast operands too."""
    f, given = ours(row), samples.params(row)
    shapes = [(samples.Lie((3,)),), (samples.Lie((2, 1)), samples.Lie((2,)))]
    for lies in shapes[:2 if row.name in TEMPLATES else 1]:
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


#: inputs (or -1, the result) where we save more or less than PyTorch: it composes tanhshrink of
#: two ops (as we had to do with hardsigmoid), and keeps what divides for a gradient that is zero
UNLIKE = {"tanhshrink": (0,), "hardsigmoid": (0,), "floor_divide": (0, 1), "trunc_divide": (0, 1),
          "sgn": (0, -1), "copysign": (0, 1, -1), "angle": (0,), "erfinv": (0, -1)}


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
        if written not in UNLIKE.get(row.name, ()):
            assert (mine is None) == (other is None), (row.name, written, mine, other)


DTYPES = (("int32",), ("uint8",), ("bool",), ("int32", "float32"), ("uint8", "int64"),
          ("float32", "bool", "int64"))


def attempt(function, *args):
    """A result, or the class of the exception."""
    try:
        return function(*args)
    except (RuntimeError, TypeError, NotImplementedError) as error:
        return "refused", str(error)


@rows
def test_integers(row):
    """Integers, bools and mixtures give PyTorch's dtype and values, or are refused as there."""
    for kinds in DTYPES:
        if len(kinds) > len(row.inputs):
            continue
        for given in {samples.params(row), tuple(map(round, samples.params(row)))}:
            results = []
            for library, function in ((nbgrad, public(row)), (torch, theirs(row))):
                inputs = [library.from_numpy(samples.draw(row, k, (9,), kinds[k % len(kinds)]))
                          for k in range(len(row.inputs))]
                results.append(attempt(function, *inputs, *given))
            mine, other = results
            note = f"{row.name} {kinds} {given} ours {mine} theirs {other}"
            if isinstance(other, tuple):
                continue
            assert not isinstance(mine, tuple), note
            same(mine, other, "float32" if mine.is_floating_point() else "float64", note)


@rows
def test_public(row):
    """Each row is a function under PyTorch's name, in place where PyTorch has that."""
    name = row.name
    package, functional = hasattr(torch, name), hasattr(F, name)
    assert hasattr(nbgrad, name) or not package or hasattr(nbgrad.nn.functional, name)
    assert hasattr(nbgrad.nn.functional, name) or not functional
    for method in (name, f"{name}_"):
        found = hasattr(nbgrad.Tensor, method) or hasattr(nbgrad.nn.functional, method)
        assert found or not hasattr(torch.Tensor, method), method
    _, inputs = operands(row, nbgrad, "float64", (samples.Lie((63,)),))
    given = samples.params(row)
    np.testing.assert_array_equal(public(row)(*inputs, *given), ours(row)(*inputs, *given))


def emitted(row):
    """Specs of every kernel of a row in float32: forward, and the gradient to each input."""
    steps = program(OPS[row.name], (True,) * len(row.inputs)) if row.differentiable else ()
    rows = [row, *(op.row for op, _ in filter(None, steps) if op is not None and op.row.inputs)]
    for r in rows:
        dtype = {"bits": dtypes.int64, "logical": dtypes.bool_}.get(r.kind, dtypes.float32)
        given = tuple(dtypes.bool_ if r.kind == "where" and n == "c" else dtype for n in r.inputs)
        result = dtypes.bool_ if r.kind in ("bool", "logical") else dtype
        spec = Spec(r.name, (r.formula,), r.inputs, r.params, r.kind, dtype, (result,))
        yield spec, given
        if r is row and given[0] is result:
            yield spec._replace(into=r.inputs[:1]), given


@rows
def test_no_float64_in_float32(row):
    """Every scalar of a float32 kernel is float32: a bare constant would drag it to float64."""
    cpu_target.typing_context.refresh()
    for spec, given in emitted(row):
        kernel = compile_source(source.flat(elementwise.body(spec, given))).py_func
        read = given[len(spec.into):]
        arrays = [types.Array(numpy_support.from_dtype(d.np), 1, "C") for d in (*spec.results, *read)]
        args = (*arrays, *(types.float32 for _ in spec.params))
        found = type_inference_stage(cpu_target.typing_context, cpu_target.target_context,
                                     compiler.run_frontend(kernel), args, None)
        for step, signature in found.calltypes.items():
            operation = getattr(step, "op", None)
            if operation in ("binop", "inplace_binop"):
                assert types.float64 not in (signature.return_type, *signature.args), (spec, step)
            elif operation == "call":
                assert signature.return_type != types.float64, (spec, step)
