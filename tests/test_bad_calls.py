"""Calls with one thing wrong: each ends in an exception of the class that PyTorch raises."""

import ast
import itertools
import re
import warnings
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import nbgrad
from nbgrad.ops.methods import FUNCTIONS
from nbgrad.testing.cases import OPERANDS, arrays, tables

torch = pytest.importorskip("torch")

NAMES = [name for name in sorted(FUNCTIONS) if hasattr(torch, name)]
#: what arguments are tried with: tensors of several shapes and dtypes, and what is no tensor
TENSORS = {
    "f": "torch.arange(6.0).reshape(2, 3)", "i": "torch.tensor([[0, 1, 2], [2, 1, 0]])",
    "b": "torch.tensor([[True, False, True], [False, True, True]])", "e": "torch.zeros(0, 3)",
    "z": "torch.tensor(1.5)", "v": "torch.ones(3)", "w": "torch.ones(5)",
    "c": "torch.ones(2, 2, 2, 2)", "d": "f.double()"}
OTHERS = ["None", "'x'", "1", "-5", "2.5", "[]", "[1, 2]", "(0, 7)", "object()"]
ARGUMENTS = [
    "", "f, nonsense=1", "f, keepdim='x'", *TENSORS, *OTHERS,
    *map(", ".join, itertools.product("fi", [*TENSORS, *OTHERS])),
    *map(", dim=".join, itertools.product("fz", ["7", "-9", "'x'", "2.5", "[0, 0]"])),
    *map(", ".join, itertools.product("f", ["1", "i", "v"], ["w", "9", "'x'", "None", "i"]))]

#: calls that differ, one of them that shows it still does, and why
KNOWN = [
    (r"(max|min|median|prod|squeeze|where|std|var|_mean|interleave|trap\w+)\(.*None",
     "torch.max(f, None)", "None stands for what is not given"),
    (r"\.(broadcast_to|flip|permute|reshape|expand|tile)\([^()]*, (\w+=)?-?\d|expand\(size=\d",
     "torch.permute(f, 1)", "the package's functions take sizes one by one too, as the methods do"),
    (r"(include_self|invert|assume_unique|equal_nan|requires_grad|pin_memory|"
     r"sparse_grad|accumulate|training|copy)='x'|multinomial|bernoulli",
     "torch.isclose(f, f, equal_nan='x')", "these flags count by their truth"),
    (r"unique(_consecutive)?\(", "torch.unique_consecutive(f, f)",
     "PyTorch asks whether a tensor is true before it refuses it as a flag"),
    (r"(add|sub)\(f, 1, w\)", "torch.add(f, 1, w)", "the deprecated order input, alpha, other"),
    (r"logsumexp\(., \[\]\)", "torch.logsumexp(f, [])", "PyTorch's mistake: [] is all dims"),
    (r"logit_\(i, z\)", "torch.logit_(i, z)", "a number given as a tensor is not taken"),
    (r"ldexp_?\(\w, b(\)|.bool)", "torch.ldexp(f, b)", "True is an exponent of 1"),
    (r"(bmm|matmul|linalg.\w+|conv\w+)\([^,]*\.bool\(\)", "torch.bmm(c[0].bool(), c[0])",
     "unlike dtypes are told before that there is no product of bools"),
    (r"full\(.*uint8|[Hh]inge_?[Ee]\w+\(.*long", "torch.full((2,), -1.5, dtype=torch.uint8)",
     "PyTorch's result does not fit its dtype"),
    (r"index_(add|copy|put|reduce|select)\(.*[abcdf](\[|\.)",
     "torch.index_copy(f[:0], 0, torch.tensor([2]), v[None])", "indices are told before shapes"),
    (r"(lp_pool|adaptive_\w+|max_unpool|interpolate|bilinear|addmv|group_norm|affine_grid|"
     r"one_hot|tensordot|instance_norm)\w*\(|(narrow|split)_copy|max_pool2d\(.*dilation|norm\(.*dim|"
     r"avg_pool[23]d\(a\[|cross_entropy\(.*[abc](\[|\])|a.bool\(\) @",
     "F.bilinear(f, f, f)", "shapes are looked at in another order than PyTorch's Python does"),
    (r"MultiheadAttention|scaled_dot_product|lstsq|broadcast_shapes|multi_margin_loss|resize_",
     "torch.broadcast_shapes((2,), 1.5)", "other checks than in PyTorch's Python"),
]


def known(text):
    return any(re.search(pattern, text) for pattern, _, _ in KNOWN)


def exception(library, text, operands):
    """What a call raises, None if it returns."""
    scope = {"torch": library, "F": library.nn.functional, "nn": library.nn} | operands
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            eval(text, scope)
    except Exception as error:
        return error
    return None


def tensors(library):
    made = {"torch": library}
    for name, text in TENSORS.items():
        made[name] = eval(text, made)
    return made


def differs(ours, theirs):
    """Whether an exception is not of PyTorch's class, or says nothing."""
    if isinstance(theirs, torch.linalg.LinAlgError):
        return not isinstance(ours, nbgrad.linalg.LinAlgError)
    if isinstance(theirs, AttributeError):  # where PyTorch's Python stumbles over what is no tensor
        return not isinstance(ours, (AttributeError, TypeError))
    return type(ours) is not type(theirs) or not str(ours)


def check(text, operands):
    """True for a bad call, of which both libraries say the same."""
    theirs = exception(torch, text, operands(torch))
    if theirs is None or known(text):
        return False
    ours = exception(nbgrad, text, operands(nbgrad))
    assert not differs(ours, theirs), f"{text}\n{ours!r}\nbut PyTorch: {theirs!r}"
    return True


@pytest.mark.parametrize("name", NAMES)
def test_wrong_arguments(name):
    checked = [check(f"torch.{name}({arguments})", tensors) for arguments in ARGUMENTS]
    assert sum(checked) > 10 or known(f"torch.{name}(")


def test_there_are_more_than_a_thousand():
    texts = [f"torch.{name}({arguments})" for name in NAMES[::4] for arguments in ARGUMENTS]
    assert sum(exception(torch, t, tensors(torch)) is not None and not known(t) for t in texts) > 1000


CASES = [c for table in tables(Path(__file__).parent / "ops" / "cases") for c in table.CASES]
#: cases where PyTorch itself crashes on bad arguments, or that hold numbers which are no arguments
LEFT_OUT = re.compile(r"[Ee]mbedding_?[Bb]ag|LSTM|GRU|RNN|\brnn\b|einsum|out=|(asarray|ensor)\(.*[\[(]|"
                      r"\*\*|\n")
OPERAND = ["{0}[..., 0]", "{0}[None]", "torch.cat([{0}, {0}[:1]])", "{0}[:0]", "{0}.long()",
           "{0}.bool()", "{0}.float()", "None", "'x'", "[1.0]", "object()"]
LITERAL = {int: ["{0} + 7", "-{0} - 7", "1.5", "'x'", "[1, 2]"], float: ["'x'", "[1.0]"],
           bool: ["'x'"], str: ["'nonsense'"], tuple: ["(1, 2, 3, 1)", "'x'", "2.5"]}


def bad_calls(case):
    """The call of a case with one operand or literal wrong, or a keyword too many."""
    call = case.call
    for node in ast.walk(ast.parse(call, mode="eval")):
        if isinstance(node, ast.Name) and node.id in OPERANDS:
            wrong = OPERAND
        elif isinstance(node, ast.Constant):
            wrong = LITERAL.get(type(node.value), ())
        elif isinstance(node, ast.Tuple):
            wrong = LITERAL[tuple]
        elif isinstance(node, ast.Call) and node.end_col_offset == len(call):
            yield f"{call[:-1]}{', ' * call[-2:-1].isalnum()}nonsense=1)"
            continue
        else:
            continue
        a, b = node.col_offset, node.end_col_offset
        yield from (call[:a] + text.format(call[a:b]) + call[b:] for text in wrong)


BAD = [(case, text) for case in CASES for text in bad_calls(case) if not LEFT_OUT.search(text)]


@settings(max_examples=2000, derandomize=True, database=None, deadline=None,
          suppress_health_check=list(HealthCheck))
@given(st.sampled_from(BAD))
def test_one_thing_wrong(bad):
    case, text = bad
    values = arrays(case)
    check(text, lambda library: dict(zip(OPERANDS, [library.from_numpy(np.array(v)) for v in values])))


@pytest.mark.parametrize("pattern, text, why", KNOWN)
def test_a_known_difference_is_still_there(pattern, text, why):
    assert re.search(pattern, text)
    theirs, ours = [exception(library, text, tensors(library)) for library in (torch, nbgrad)]
    assert theirs is not None and differs(ours, theirs), why
