"""The graph printed and drawn, and the first value that is not finite."""

import os
import re
import stat

import pytest

import nbgrad
from nbgrad import graph, nn


def model():
    made = nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(64, 2))
    made[0].weight.requires_grad_(False)
    return made


def table(text):
    """Rows of `graph.text` by their operation, as dicts by the heads of the columns."""
    head, *lines, _ = text.splitlines()
    starts = [m.start() for m in re.finditer(r"\w+", head)]
    rows = [dict(zip(["number", *head.split()], [line[a:b].strip() for a, b in zip(
        [0, *starts], [*starts, None])])) for line in lines]
    return {row["operation"]: row for row in rows}


def test_text_names_shapes_inputs_and_what_is_saved():
    net = model()
    text = graph.text(net(nbgrad.ones(3, 1, 6, 6)).sum(), net)
    rows = table(text)
    number = {name: row["number"] for name, row in rows.items()}
    assert rows["ConvolutionBackward0"]["shape"] == "3 x 4 x 4 x 4"
    assert rows["AddmmBackward0"] == {
        "number": "11", "operation": "AddmmBackward0", "module": "4", "shape": "3 x 2",
        "from": f"{number['4.bias']}, {number['ViewBackward0']}, {number['4.weight']}",
        "saved": "3 x 64, 2 x 64", "bytes": f"{4 * (3 * 64 + 2 * 64):,}"}
    # the frozen weight, the last of the constants
    assert rows["(constant)"]["shape"] == "4 x 1 x 3 x 3"
    assert rows["SumBackward0"]["shape"] == "scalar"
    saved = sum(int(row["bytes"].replace(",", "") or 0) for row in rows.values())
    assert text.splitlines()[-1] == f"{saved:,} bytes are kept for backward"


def test_modules_of_operations():
    """Where they use its tensors, frozen or not; all of them, if they were looked at."""
    net = nn.Sequential(nn.Linear(2, 3), nn.Tanh(), nn.Sequential(nn.Linear(3, 1)))
    net[2].requires_grad_(False)
    x = nbgrad.ones(4, 2, requires_grad=True)
    first, second = "AddmmBackward0", "TanhBackward0"
    rows = re.findall(r"(\w+Backward0) +([\w.]*)  ", graph.text(net(x), net))
    assert rows == [(first, "0"), (second, ""), (first, "2.0")]
    with nbgrad.detect_nonfinite():
        y = net(x)
    rows = re.findall(r"(\w+Backward0) +([\w.]*)  ", graph.text(y))
    assert rows == [(first, "Sequential.0"), (second, "Sequential.1"), (first, "Sequential.2.0")]
    assert "AddmmBackward0\\nin 2.0\\n4 x 1" in graph.dot(net(x).sum(), net)
    assert "module" not in graph.text(net(x).sum())
    assert re.search(r"AddmmBackward0 +Linear  4 x 3", graph.text(net[0](x), net[0]))


def test_numbers_follow_time():
    x = nbgrad.ones(2, requires_grad=True)
    y = x.exp()
    z = y * y + y
    sources = [list(map(int, line.split("  ")[-1].split(", ")))
               for line in re.findall(r"\w+Backward0 +2 +([\d, ]+?)(?: {2,}|$)",
                                      graph.text(z), re.MULTILINE)]
    assert sources == [[0], [1, 1], [2, 1]]


def test_a_name_is_only_given_to_what_is_known():
    net = nn.Linear(2, 2)
    net.weight.requires_grad_(False)
    x = nbgrad.ones(3, 2, requires_grad=True)
    assert "(weight)" in graph.text(net(x), net)  # saved for the gradient of x
    assert "(weight)" not in graph.text(net(x))


def test_dot_has_a_node_a_row_and_an_edge_a_source():
    net = model()
    loss = net(nbgrad.ones(3, 1, 6, 6)).sum()
    drawn = graph.dot(loss, net)
    rows = graph.text(loss, net).splitlines()[1:-1]
    assert len(re.findall(r"^  n\d+ \[", drawn, re.MULTILINE)) == len(rows)
    assert len(re.findall(r" -> ", drawn)) == 3 + 3 + 1 + 1 + 3 + 1
    assert re.search(r'label="constant\\n4 x 1 x 3 x 3".*grey', drawn)


def test_svg_is_what_dot_draws(tmp_path, monkeypatch):
    program = tmp_path / "dot"
    program.write_text("#!/bin/sh\necho \"<svg>$1\"\ncat\n")
    program.chmod(program.stat().st_mode | stat.S_IEXEC)
    y = nbgrad.ones(2, requires_grad=True).exp()
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    assert graph.svg(y).startswith("<svg>-Tsvg\ndigraph {")
    monkeypatch.setenv("PATH", "")
    with pytest.raises(RuntimeError, match="not installed"):
        graph.svg(y)


@pytest.mark.parametrize("show", [graph.text, graph.dot, graph.svg])
def test_nothing_was_recorded(show):
    with pytest.raises(RuntimeError, match="nothing was recorded"):
        show(nbgrad.ones(2))


class Log(nn.Module):
    def forward(self, x):
        return (x - 9).log()


def divided(x):
    return x / 0


def in_place(x):
    return (x * 1).div_(0)


def in_a_module(x):
    return nn.Sequential(nn.Identity(), nn.Sequential(nn.Linear(3, 3), Log()))(x)


def backward(x):
    (x - 1).sqrt().sum().backward()


class Split(nbgrad.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x / 0

    @staticmethod
    def backward(ctx, g):
        return g


def by_a_function(x):
    return Split.apply(x)


def given(x):
    return x + nbgrad.tensor([1.0, float("nan"), 1.0])


@pytest.mark.parametrize(("make", "words"), [
    (divided, ["result of div", "inf at [0], 3 of 3", "input 0: (3,) from 1 to 1"]),
    (by_a_function, ["result of split", "inf at [0], 3 of 3"]),
    (in_place, ["result of div", "inf at [0], 3 of 3"]),
    (in_a_module, ["result of log", "nan at [0], 3 of 3", "in Sequential.1.1"]),
    (backward, ["gradient of sqrt", "inf at [0], 3 of 3", "gradient given: (3,) from 1 to 1",
                "saved: (3,) from 0 to 0"]),
    (given, ["result of add", "nan at [1], 1 of 3", "input 1: (3,) from 1 to 1, and 1 not finite"])])
def test_the_first_value_that_is_not_finite(make, words):
    x = nbgrad.ones(3, requires_grad=True)
    with nbgrad.detect_nonfinite(), pytest.raises(FloatingPointError) as caught:
        make(x)
    said = str(caught.value)
    assert [w for w in words if w not in said] == []
    line = make.__code__.co_firstlineno + (-1 if make is in_a_module else 0)
    place = Log.forward.__code__.co_firstlineno if make is in_a_module else line
    assert f"{__file__}:{place + 1}" in said
    make(x) if make is not backward else None  # outside of the block nothing is said


class Root(nn.Module):
    def forward(self, x):
        return x.sqrt()


def test_the_module_of_a_gradient_that_is_not_finite():
    net = nn.Sequential(nn.Linear(3, 3), nn.Sequential(nn.Identity(), Root()))
    nn.init.zeros_(net[0].weight)
    nn.init.zeros_(net[0].bias)
    with nbgrad.detect_nonfinite(), pytest.raises(FloatingPointError) as caught:
        net(nbgrad.ones(1, 3)).sum().backward()
    line = Root.forward.__code__.co_firstlineno + 1
    assert str(caught.value).splitlines() == [
        "the gradient of sqrt is not finite: inf at [0, 0], 3 of 3",
        f"  recorded at {__file__}:{line}, in Sequential.1.1",
        "  gradient given: (1, 3) from 1 to 1", "  saved: (1, 3) from 0 to 0"]


def test_finite_values_pass():
    x = nbgrad.ones(3, requires_grad=True)
    with nbgrad.detect_nonfinite():
        (x.exp() * x).sum().backward()
    assert x.grad.isfinite().all()
