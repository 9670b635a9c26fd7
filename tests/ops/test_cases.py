"""Every call of the tables in cases/: as PyTorch computes, differentiates, views and refuses it."""

import re
from pathlib import Path

import numpy as np
import pytest

import nbgrad
from nbgrad.testing.cases import arrays, evaluate, tables

torch = pytest.importorskip("torch")

TABLES = tables(Path(__file__).parent / "cases")
CASES = [c for table in TABLES for c in table.CASES]
ERRORS = [c for table in TABLES for c in table.ERRORS]
DTYPES = ["float32", "float64", "int64", "int32", "uint8", "bool"]
#: with the tolerance of two ways to compute in float32 and round
HALVES = {"float16": 1e-2, "bfloat16": 3e-2}
#: where PyTorch does compute in 16 bits: NaN where the numbers are large, and other bins
IN_16_BITS = re.compile("matrix_exp|histc")
FIRST = re.compile(r"^(?:torch|F)\.(\w+)\(a\b(?:, )?(.*)$", re.DOTALL)


def each(cases, **where):
    picked = [c for c in cases if all(getattr(c, k) == v for k, v in where.items())]
    ids = [f"{c.call} {k}" for k, c in enumerate(picked)]
    return pytest.mark.parametrize("case", picked, ids=ids)


def tensors(library, given, lie=lambda t: t, grad=True):
    """Leaves over copies of arrays, and what the call sees of them."""
    leaves = [library.from_numpy(np.array(a)) for a in given]
    for t in leaves:
        if grad and t.is_floating_point():
            t.requires_grad_(True)
    return leaves, [lie(t) for t in leaves]


def plain(value):
    if not hasattr(value, "detach"):
        return np.asarray(value)
    half = value.dtype.itemsize == 2 and value.is_floating_point()
    return (value.float() if half else value).numpy(force=True)


def agree(ours, theirs, tolerance=1e-9, dtype=True):
    assert len(ours) == len(theirs)
    for x, y in zip(ours, theirs):
        if y is None or x is None:
            assert (x is None) == (y is None)
            continue
        if not isinstance(y, torch.Tensor):
            assert not isinstance(x, nbgrad.Tensor) and x == y
            continue
        assert tuple(x.shape) == tuple(y.shape)
        if dtype:
            assert str(x.dtype).split(".")[1] == str(y.dtype).split(".")[1]
        np.testing.assert_allclose(plain(x), plain(y), rtol=tolerance, atol=tolerance)


def seeds(library, outputs, number):
    draw = np.random.default_rng(number).standard_normal
    return [library.from_numpy(np.array(draw(tuple(t.shape)), plain(t).dtype)) for t in outputs]


def gradients(library, leaves, outputs, twice):
    """First gradients, and those of a random sum of them: zeros where they are no functions."""
    wanted = [t for t in leaves if t.requires_grad]
    outputs = [t for t in outputs if hasattr(t, "requires_grad") and t.requires_grad]
    if not outputs:
        return []
    options = {"allow_unused": True, "create_graph": twice}
    first = library.autograd.grad(outputs, wanted, seeds(library, outputs, 3), **options)
    found = [g for g in first if g is not None]
    total = [g for g in found if g.requires_grad]
    if not twice:
        return [found]
    second = [None] * len(wanted)
    if total:
        weighted = sum((g * w).sum() for g, w in zip(total, seeds(library, total, 4)))
        second = library.autograd.grad(weighted, wanted, allow_unused=True)
    zero = [np.zeros(tuple(t.shape)) if g is None else plain(g) for g, t in zip(second, wanted)]
    return [found, [library.from_numpy(np.array(z)) for z in zero]]


def compare(case, text, lie=lambda t: t):
    """Values and gradients of a call, in double precision."""
    found = []
    for library in (nbgrad, torch):
        leaves, seen = tensors(library, arrays(case), lie, case.differentiable)
        outputs = evaluate(library, text, seen)
        found.append([outputs, *gradients(library, leaves, outputs, case.twice)])
    for ours, theirs in zip(*found):
        agree(ours, theirs, 1e-7)
    assert len(found[0]) == len(found[1])
    return found


@each(CASES)
def test_values_and_gradients(case):
    ours, theirs = compare(case, case.call)
    for x, y in zip(ours[0], theirs[0]):
        if isinstance(y, torch.Tensor) and y._is_view() and y._base.is_leaf and y.numel():
            assert x._is_view() and x.stride() == y.stride()
            assert x.storage_offset() == y.storage_offset()


def turned(t):
    """The same numbers, the last axis first in memory."""
    if t.dim() == 0:
        return t
    if t.dim() == 1:
        return t.unsqueeze(1).expand(-1, 2).reshape(-1)[::2]
    return t.movedim(-1, 0).contiguous().movedim(0, -1)


@each(CASES, strided=True)
def test_operands_that_lie_otherwise(case):
    compare(case, case.call, turned)


def beginning(t):
    """The same numbers at the start of a longer storage."""
    return among(t, lambda more: [t, more])[:len(t)] if t.dim() else t


def end(t):
    """The same numbers at the end of one."""
    return among(t, lambda more: [more, t])[len(t):] if t.dim() else t


def among(t, order):
    library = torch if isinstance(t, torch.Tensor) else nbgrad
    return library.cat(order(library.zeros_like(t)))


#: ops that small contiguous operands are planned for, once for their layouts
PLANNED = re.compile(r"(torch|F)\.(log_)?(softmax|cross_entropy|nll_loss|layer_norm|max|min|argmax|"
                     r"gather|cat|stack)\(")


@each([c for c in CASES if PLANNED.match(c.call)])
def test_parts_of_a_storage(case):
    compare(case, case.call, beginning)
    compare(case, case.call, end)


@each([c for c in CASES if FIRST.match(c.call)])
def test_as_a_method_and_in_place(case):
    name, rest = FIRST.match(case.call).groups()
    for owner, method in (("a", name), ("a.clone()", f"{name}_")):
        if not hasattr(torch.Tensor, method):
            continue
        text = f"{owner}.{method}({rest}"
        try:
            evaluate(torch, text, tensors(torch, arrays(case), grad=case.differentiable)[1])
        except Exception as theirs:
            with pytest.raises(type(theirs)):
                evaluate(nbgrad, text, tensors(nbgrad, arrays(case), grad=case.differentiable)[1])
        else:
            compare(case, text)


def attempt(library, case, *dtypes):
    """The results with floats cast to these dtypes in turn, or the error."""
    def cast(t):
        for dtype in dtypes if t.is_floating_point() else ():
            t = t.to(getattr(library, dtype))
        return t

    _, seen = tensors(library, arrays(case), cast, grad=False)
    try:
        return evaluate(library, case.call, seen)
    except Exception as error:
        return error


@each([c for c in CASES if any(a.dtype.kind == "f" for a in arrays(c))], dtypes=True)
@pytest.mark.parametrize("dtype", DTYPES)
def test_dtypes(case, dtype):
    ours, theirs = (attempt(library, case, dtype) for library in (nbgrad, torch))
    if isinstance(theirs, Exception) or isinstance(ours, Exception):
        assert type(ours) is type(theirs), (ours, theirs)
    else:
        agree(ours, theirs, 2e-5)


@each([c for c in CASES if any(a.dtype.kind == "f" for a in arrays(c))], dtypes=True)
@pytest.mark.parametrize("dtype", HALVES)
def test_halves(case, dtype):
    """Where PyTorch lacks a kernel for 16 bits, its float32 results are what is to be rounded."""
    ours, theirs = (attempt(library, case, dtype) for library in (nbgrad, torch))
    rounded = not isinstance(ours, Exception) and bool(
        isinstance(theirs, NotImplementedError) or IN_16_BITS.search(case.call))
    if rounded:
        theirs = attempt(torch, case, dtype, "float32")
    if isinstance(theirs, Exception):
        assert isinstance(ours, type(theirs)), (ours, theirs)
    else:
        agree(ours, theirs, HALVES[dtype], dtype=not rounded)


@each(ERRORS)
def test_errors(case):
    raised = []
    for library in (nbgrad, torch):
        with pytest.raises(Exception) as caught:
            evaluate(library, case.call, tensors(library, arrays(case))[1])
        raised.append(caught.value)
    ours, theirs = raised
    assert type(ours) is type(theirs), (ours, theirs)
    assert str(ours)
