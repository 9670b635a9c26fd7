"""Calls with bad indices, sources, dims and types: each raises PyTorch's class, and none crashes."""

import re
import warnings

import numpy as np
import pytest

import nbgrad

torch = pytest.importorskip("torch")

DIM = ["2", "-3", "1.5", "'0'", "None", "x", "[0]"]
#: an index of full rank, a vector of indices, and one into the flat tensor
FULL = ["T([[9, 0, 0, 0]])", "T([[-1, 0, 0, 0]])", "T([[0, 0, 0, 2**40]])", "T([[-2**62, 0, 0, 0]])",
        "full.float()", "full.double()", "full.bool()", "full.byte()", "full.short()", "T([0])",
        "T([[[0]]])", "T(0)", "torch.zeros(4, 9).long()", "[[0, 1]]", "None", "0", "'a'", "x",
        "np.zeros((1, 4), int)", "T([[0, 0, 3, 0], [0, -7, 0, 0]])"]
VECTOR = ["T([9, 0])", "T([0, -9])", "T([2**40, 0])", "T([-2**62, 0])", "vector.float()",
          "vector.bool()", "vector.byte()", "T([[0, 1]])", "[0, 1]", "None", "1", "'a'",
          "np.zeros(2, int)", "vector.short()", "x"]
FLAT = ["T([12, 0])", "T([-13, 0])", "T([2**40, 0])", "flat.float()", "flat.int()", "flat.bool()",
        "[0]", "None", "0", "'a'"]
SOURCE = ["x.long()", "x.double()", "torch.zeros(3, 4, 1)", "[1.0]", "None", "'a'", "np.ones((3, 4))",
          "torch.zeros(9)"]
MASK = ["x", "(x > 3).byte()", "(x > 3).long()", "torch.ones(5).bool()", "torch.ones(3, 5).bool()",
        "None", "True", "[True]", "'a'"]
NUMBER = ["'a'", "[1.0]", "x", "1j"]
HOW = ["'add'", "'max_'", "''", "None", "1"]
INT = ["1.5", "'1'", "[1]", "x"]

# name: (arguments that work, what may be wrong with each of them)
CALLS = {
    "gather": ("0, full", DIM, FULL),
    "take_along_dim": ("full, 0", FULL, DIM[:5]),
    "scatter": ("0, full, x", DIM, FULL, SOURCE),
    "scatter_add": ("0, full, x", DIM, FULL, SOURCE),
    "scatter_reduce": ("0, full, x, 'amax'", DIM, FULL, SOURCE, HOW),
    "index_select": ("0, vector", DIM, VECTOR),
    "index_add": ("0, vector, two", DIM, VECTOR, [*SOURCE, "x"]),
    "index_copy": ("0, vector, two", DIM, VECTOR, [*SOURCE, "x"]),
    "index_fill": ("0, vector, 1.0", DIM, VECTOR, NUMBER),
    "index_reduce": ("0, vector, two, 'amax'", DIM, VECTOR, [*SOURCE, "x"], HOW),
    "take": ("flat", FLAT),
    "put": ("flat, one", FLAT, [*SOURCE, "x"]),
    "index_put": ("(vector,), two", [f"({v},)" for v in VECTOR] + [
        "vector", "()", "(None,)", "(vector, vector, vector)", "(vector, T([0, 1, 2]))", "(x > 9)",
        "(torch.ones(4).bool(),)", "(torch.ones(3, 3).bool(),)", "None", "0"],
        ["x.long()", "x.double()", "torch.zeros(3, 4, 1)", "torch.zeros(2, 3)", "None", "1.0", "'a'"]),
    "masked_fill": ("x > 3, 1.0", MASK, [*NUMBER, "torch.ones(1)"]),
    "masked_select": ("x > 3", MASK),
    "masked_scatter": ("x > 3, x", MASK, ["x.long()", "x[:1]", "None", "1.0", "[1.0]"]),
    "select_scatter": ("x[0], 0, 0", ["x", "x[:, 0]", "None", "1.0"], DIM[:7], ["3", "-4", *INT[:3]]),
    "slice_scatter": ("two, 0, 1, 3, 1", ["x", "x[0]", "None", "1.0"], DIM[:5], INT[:3], INT[:3],
                      ["0", "-1", *INT[:3]]),
    "diagonal_scatter": ("x[0, :3], 0, 0, 1", ["x", "x[0]", "None"], INT[:3], ["2", "1", "1.5"],
                         ["-3", "0", "'a'"]),
    "as_strided_scatter": ("two, (2, 4), (4, 1), 0", ["x", "x[0]", "None"],
                           ["(2, 40)", "(2, -4)", "2", "None", "(2,)"], ["(40, 1)", "(-1, 1)", "(1,)"],
                           ["9", "-1", "2**50"]),
    "nonzero_static": ("size=3, fill_value=1", ["size=-1", "size=1.5", "size=None", "3"],
                       ["fill_value=1.5", "fill_value='a'"]),
    "nonzero": ("", ["as_tuple=1", "as_tuple=None", "1"]),
    "bincount": ("", ["x", "T([1.0])", "minlength=-1", "minlength='a'", "[1]"]),
    "histc": ("4, 0.0, 1.0", ["0", "-1", "1.5", "'a'"], ["2.0", "float('nan')", "'a'"],
              ["-1.0", "float('inf')", "'a'"]),
}
IN_PLACE = ["scatter", "scatter_add", "scatter_reduce", "index_add", "index_copy", "index_fill",
            "index_reduce", "put", "index_put", "masked_fill", "masked_scatter"]
FUNCTIONS = [
    "torch.isin(3, 3)", "torch.isin(x, [1.0])", "torch.isin(x > 0, x)", "torch.isin(x, None)",
    "torch.isin(x)", "torch.isin('a', x)", "torch.unravel_index(flat, (3.0, 4))",
    "torch.unravel_index(flat, (-3, 4))", "torch.unravel_index(flat, 1.5)",
    "torch.unravel_index(x, (3, 4))", "torch.unravel_index(x > 0, (3, 4))",
    "torch.unravel_index(flat, (0, 4))", "torch.unravel_index(flat, None)",
    "torch.bincount(T([-1]))", "torch.bincount(T([[1]]))", "torch.bincount(T(1))",
    "torch.bincount(flat, one[:1])", "torch.bincount(flat, [1])", "torch.bincount(flat.bool())",
    "torch.bincount(None)", "torch.histc(x.long())", "torch.histc(x / 0)", "torch.histc([1.0])",
    "torch.argwhere(1)", "torch.argwhere(x, 1)", "torch.gather(x, 0)", "torch.take(x)",
    "torch.scatter(x, 0, full)", "torch.scatter(x, 0, full, x, reduce='mean')",
    "torch.scatter(x, 0, full, x, reduce=1)", "torch.index_add(x, 0, vector)",
    "torch.index_add(x, 0, vector, two, alpha='a')", "torch.gather(x, 0, full, 1)",
    "torch.index_select(x, 0)", "torch.index_select(scalar, 0, T([0, 0]))",
    "torch.index_select(scalar, 1, T([0]))", "torch.scatter(scalar, 0, T([1]), scalar)",
    "torch.gather(scalar, 0, T(1))", "torch.take(scalar, T(1))", "torch.take(empty, T([0]))",
    "torch.put(empty, T([0]), torch.zeros(1))", "torch.gather(empty, 0, full)",
    "torch.index_select(empty, 0, T([0]))", "torch.index_fill(empty, 0, T([0]), 1.0)",
    "torch.select_scatter(scalar, scalar, 0, 0)",
    "torch.slice_scatter(scalar, scalar)", "torch.masked_scatter(x, x > -1, one)",
    "torch.where(x, x, x)", "torch.where(x > 0, x)", "torch.where(x > 0, [1.0], x)", "torch.where(1.0)",
    "F.one_hot(x)", "F.one_hot(T([-1]))", "F.one_hot(T([3]), 3)", "F.one_hot(T([3]), 'a')",
    "F.one_hot(torch.zeros(0).long())", "F.one_hot(flat.int())", "F.one_hot([1])",
    "x.clone().masked_fill_(torch.ones(2, 3, 4).bool(), 1.0)",
    "x.clone().masked_scatter_(torch.ones(2, 3, 4).bool(), torch.ones(24))",
    "x[:1].expand(3, 4).scatter_(0, full, 1.0)",
    "x[:1].expand(3, 4).index_copy_(0, vector, two)", "x.scatter_(0, full, x)",
    "x.index_add_(0, T([0, 1, 2]), x)", "x.index_copy_(0, T([0, 1, 2]), x)",
]
KEYS = [
    "3", "-4", "2**63", "-2**70", "(0, 4)", "(0, -5)", "(0, 0, 0)", "(None, 3)", "(..., 4)", "(3, ...)",
    "(True, 3)", "(slice(None), slice(None), 0)", "(slice(None), slice(None), slice(None))",
    "slice(None, None, -1)", "slice(None, None, 0)", "slice(0.5, None)", "slice('a', None)",
    "slice(None, None, x)", "(..., ..., 0)", "(..., 0, ..., 0, 0)", "1.5", "'a'", "b'a'", "{}", "{0}",
    "object()", "(0, 1.5)", "(0, 'a')", "(0, {})", "np.float64(1)", "np.bool_(True)", "1j", "[0, 'a']",
    "[[0, None]]", "[[0, {}]]", "[[0, [1]]]", "[2**63]", "[[0, 1], [2]]", "[9]", "[-9]", "[[0, 9]]",
    "range(3, 5)", "(0, [0, 4])", "np.array([3])", "np.array([-4])", "np.array(['a'])",
    "np.array([None])", "T([3])", "T([-4])", "T([2**40])", "T([-2**63])", "T(3)", "T(-4)", "T(3).int()",
    "(slice(None), T([4]))", "(T([0, 1]), T([0, 1, 2]))", "(T([0, 1]), T([0, 4]))",
    "(T([0, 1]), [0, 1, 2])", "(T([3, 0]), slice(None), None)", "(T([0]), T([0]), T([0]))", "x + 0",
    "x[0] + 0", "x[0, 0] + 0", "T([0]).short()", "T([0]).char()", "T([0, 1]).byte()",
    "torch.ones(2).bool()",
    "torch.ones(4).bool()", "torch.ones(4, 3).bool()", "torch.ones(3, 4, 1).bool()",
    "torch.ones(0, 4).bool()", "(slice(None), torch.ones(3).bool())", "(None, torch.ones(4).bool())",
    "(0, torch.ones(3).bool())", "(torch.ones(3).bool(), T([0, 1]))",
    "(torch.ones(3).bool(), torch.ones(3).bool())", "(False, [0, 1])", "(torch.tensor(False), [0, 1])",
    "[True, False]", "[[True, False, True, True]]", "np.array([True])", "(0, [True])",
]
VALUES = [
    ("0", "torch.ones(5)"), ("0", "torch.ones(3, 4)"), ("0", "[1.0, 2.0, 3.0, 4.0]"), ("0", "'a'"),
    ("0", "None"), ("0", "np.ones(4)"), ("0", "1j"), ("0", "{}"), ("slice(0, 2)", "torch.ones(3, 4)"),
    ("slice(0, 0)", "torch.ones(2, 4)"), ("T([0, 1])", "torch.ones(3, 4)"), ("T([0, 1])", "'a'"),
    ("T([0, 1])", "torch.ones(2, 3)"), ("T([0, 1])", "torch.ones(2, 4).double()"),
    ("T([0, 1])", "torch.ones(2, 4).long()"), ("x > 3", "torch.ones(3)"), ("x > 3", "[1.0]"),
    ("x > 3", "torch.ones(1).long()"), ("T([])", "torch.ones(2, 4)"), ("T([0])", "None"),
    ("(x > 3, )", "torch.ones(9)"),
    ("...", "torch.ones(2, 3, 4)"), ("None", "torch.ones(3)"), ("True", "torch.ones(2, 3, 4)"),
]
ODD = ["scalar[0]", "scalar[:]", "scalar[T([0])]", "scalar[..., 0]", "scalar[None, 1]", "empty[0]",
       "empty[-1]", "empty[T([0])]", "empty[[0]]", "empty[0:1][0]", "scalar[torch.ones(1).bool()]",
       "x.byte().__setitem__(0, 300)", "x.byte().__setitem__(0, -300)", "x.long().__setitem__(0, 'a')",
       "x.long().__setitem__(0, float('nan'))", "x.long().__setitem__(T([0]), float('inf'))",
       "x.bool().__setitem__(0, None)", "x[:1].expand(3, 4).__setitem__(T([0]), 1.0)",
       "x[:1].expand(3, 4).__setitem__(0, 1.0)", "x[:1].expand(3, 4).__setitem__(x > 0, 1.0)"]


def wrong_arguments():
    """Every call with one of its arguments wrong, as function and in place."""
    for name, (good, *wrong) in CALLS.items():
        arguments = re.split(r", (?![^(]*\))", good) if good else [""]
        for k, others in enumerate(wrong):
            for bad in others:
                text = ", ".join([*arguments[:k], bad, *arguments[k + 1:]])
                yield f"torch.{name}(x, {text})"
                if name in IN_PLACE:
                    yield f"x.clone().{name}_({text})"


BAD = list(dict.fromkeys([
    *wrong_arguments(), *FUNCTIONS, *(f"x[{key}]" for key in KEYS), *ODD,
    *(f"x.__setitem__({key}, 1.0)" for key in KEYS),
    *(f"x.__setitem__({key}, {value})" for key, value in VALUES)]))


def outcome(library, text):
    """The exception that a call raises, or its result."""
    x = library.arange(12.0).reshape(3, 4)
    scope = {
        "torch": library, "np": np, "F": library.nn.functional, "x": x, "T": library.tensor,
        "full": library.tensor([[0, 1, 2, 0], [1, 1, 1, 1]]), "vector": library.tensor([0, 2]),
        "flat": library.tensor([0, 11]), "one": library.ones(2), "two": library.ones(2, 4),
        "scalar": library.tensor(1.0), "empty": library.zeros(0, 4)}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return eval(text, scope)
    except Exception as error:
        return error


@pytest.mark.parametrize("text", BAD)
def test_a_bad_call_raises_what_pytorch_raises(text):
    ours, theirs = outcome(nbgrad, text), outcome(torch, text)
    if isinstance(theirs, Exception):
        assert type(ours) is type(theirs), (ours, theirs)
        assert str(ours)
    else:
        assert not isinstance(ours, Exception), (ours, theirs)


def test_there_are_many():
    assert sum(isinstance(outcome(torch, text), Exception) for text in BAD) >= 400
