"""`out=` of every function in the tables that has it in PyTorch: values, sizes, dtypes refused."""

import re
import warnings
from pathlib import Path

import numpy as np
import pytest

import nbgrad
from nbgrad.testing.cases import arrays, evaluate, tables

torch = pytest.importorskip("torch")

CALL = re.compile(r"^torch\.((?:linalg\.)?\w+)\(.*\)$", re.DOTALL)
EACH = 3  # calls of a function
#: where PyTorch computes in the dtype of `out`: it crashes on a step of 0.5 as an integer, makes it 0,
#: and sums no integers; and where it casts or refuses by an exponent's or a weight's value
OTHER = {"range", "arange", "nansum", "nanmean",
         "linalg.matrix_power", "matrix_power", "ldexp", "lerp"}


def attempt(library, case, text):
    """What a call leaves in `out`, or the error."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return evaluate(library, text, [library.from_numpy(np.array(a)) for a in arrays(case)])
    except Exception as error:
        return error


def writing(case, *dtypes):
    """The call with empty tensors of these dtypes to write into, which are what it gives."""
    made = [f"torch.empty(0, dtype=torch.{d})" for d in dtypes]
    out = made[0] if len(made) == 1 else f"({', '.join(made)})"
    return f"[({case.call[:-1]}, out=out), out) for out in [{out}]][0][1]"


def listed():
    """(case, dtypes of the results) where PyTorch takes `out=`, a few for each function."""
    found: dict[str, list] = {}
    for table in tables(Path(__file__).parent / "cases"):
        for case in table.CASES:
            known = CALL.match(case.call)
            if known is None or known[1] in OTHER or "out=" in case.call or (
                    len(found.get(known[1], ())) == EACH):
                continue
            made = attempt(torch, case, case.call)
            if isinstance(made, Exception) or not all(isinstance(t, torch.Tensor) for t in made):
                continue
            dtypes = [str(t.dtype).removeprefix("torch.") for t in made]
            if dtypes and not isinstance(attempt(torch, case, writing(case, *dtypes)), Exception):
                found.setdefault(known[1], []).append((case, dtypes))
    return found


LISTED = listed()


def test_there_are_many():
    assert len(LISTED) > 240


@pytest.mark.parametrize("name", LISTED)
def test_written_or_refused(name):
    for case, dtypes in LISTED[name]:
        for given in (dtypes, ["float32"] * len(dtypes), ["int32"] * len(dtypes)):
            text = writing(case, *given)
            ours, theirs = attempt(nbgrad, case, text), attempt(torch, case, text)
            if isinstance(theirs, Exception):
                assert type(ours) is type(theirs), (text, ours, theirs)
                continue
            assert not isinstance(ours, Exception), (text, ours)
            for x, y in zip(ours, theirs, strict=True):
                assert tuple(x.shape) == tuple(y.shape)
                np.testing.assert_allclose(x.numpy(), y.numpy(), rtol=1e-5, atol=1e-6)
