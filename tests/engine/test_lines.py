"""Errors about writes in place name the line of the write, and the way out."""

import functools
import re
import threading

import pytest

import nbgrad

#: these change how a tensor looks at its memory, not the memory
LOOKS = {"squeeze_", "unsqueeze_", "t_", "transpose_", "swapaxes_", "swapdims_", "detach_",
         "requires_grad_", "as_strided_", "resize_", "resize_as_", "moveaxis_", "rename_", "set_",
         "share_memory_", "conj_physical_"}
#: for integers, or for float64 alone, or for the engine
OTHERS = {f"bitwise_{name}_" for name in ("and", "or", "xor", "not", "left_shift", "right_shift")} | {
    "gcd_", "lcm_", "float_power_", "accumulate_"}
WRITERS = sorted(n for n in dir(nbgrad.Tensor) if n.endswith("_") and not n.startswith("_")
                 and n not in LOOKS | OTHERS)
#: arguments, of which the first that a writer takes will do
ARGUMENTS = ["", "x", "0.5", "x, x", "0.1, 0.9", "v, v", "s, s", "0, i, x", "0, i, 0.5", "m, 0.5",
             "m, x", "0, i, x, 'amax'", "i, v", "(i,), x", "2, 0, 0.5", "1, x", "0", "0, j, x",
             "0, j, x, 'amax'"]
#: writers that take no matrix
SPECIAL = {"addmv_": "t[0].addmv_(x, v)", "baddbmm_": "t[None].baddbmm_(s[:1], s[1:])"}
STATEMENTS = ["t[0] = 2.0", "t[i] = x", "t[m] = 0.5", "t[:, 1:] *= 2", "t += x", "t **= 2",
              "t.data.mul_(2); t.mul_(1)", "t[0].add_(1)", "t.view(-1)[::2].zero_()"]
CELL = "<cell 7>"


def program(statement):
    """A write in the second line to something saved in the fifth."""
    scope = {"torch": nbgrad, "x": nbgrad.full((3, 3), 0.5), "v": nbgrad.full((3,), 0.5),
             "s": nbgrad.full((2, 3, 3), 0.5), "i": nbgrad.tensor([0, 2, 1]),
             "m": nbgrad.eye(3) > 0, "j": nbgrad.tensor([[0, 1, 2]]),
             "leaf": nbgrad.full((3, 3), 0.7, requires_grad=True)}
    text = f"def write(t):\n    {statement}\n\nt = leaf * 1\nsaved = t * t\n"
    exec(compile(text, CELL, "exec"), scope)
    return scope


def complaint(scope):
    with pytest.raises(RuntimeError, match="modified by an inplace operation") as caught:
        scope["saved"].sum().backward()
    return str(caught.value)


@pytest.mark.parametrize("name", WRITERS)
def test_every_writer_is_named_with_its_line(name):
    """By the name it goes by, or of what it is made of."""
    calls = [SPECIAL[name]] if name in SPECIAL else [f"t.{name}({a})" for a in ARGUMENTS]
    for call in calls:
        scope = program(call)
        try:
            scope["write"](scope["t"])
        except Exception:
            continue
        break
    else:
        pytest.fail("none of the arguments will do")
    said = complaint(scope)
    writer = re.search(rf"written by (\w+)_ at {CELL}:2$", said, re.MULTILINE)[1]
    advice = said.splitlines()[-1]
    assert "clone()" in advice
    assert (f" {writer}()" in advice) == any(
        hasattr(space, writer) for space in (nbgrad.Tensor, nbgrad.nn.functional))


def plainly(scope):
    scope["write"](scope["t"])


def decorated(scope):
    nbgrad.enable_grad()(functools.lru_cache(lambda: plainly(scope)))()


def in_a_thread(scope):
    thread = threading.Thread(target=plainly, args=(scope,))
    thread.start()
    thread.join()


@pytest.mark.parametrize("statement", STATEMENTS)
@pytest.mark.parametrize("run", [plainly, decorated, in_a_thread])
def test_the_line_of_a_statement(statement, run):
    scope = program(statement)
    run(scope)
    assert re.search(rf"written by \w+ at {CELL}:2$", complaint(scope), re.MULTILINE)


def test_the_saving_line_in_anomaly_mode():
    with nbgrad.autograd.detect_anomaly():
        scope = program("t.mul_(2)")
    plainly(scope)
    assert f"Saved for MulBackward0 at {CELL}:5" in complaint(scope)
