"""explain: which parameters a loss reaches, and which line cut the way to the others."""

import inspect
import re

import pytest

import nbgrad
from nbgrad import nn

#: name: (a cut between w and v, what is said of w)
CUTS = {
    "detach": (lambda w: (w * 2).detach(), "cut by detach"),
    "detach of a leaf": (lambda w: w.detach() * 2, "cut by detach"),
    "detach_": (lambda w: (w * 2).detach_(), "cut by detach_"),
    "data": (lambda w: w.data * 2, "cut by .data"),
    "no_grad": (lambda w: nbgrad.no_grad()(lambda: w * 2)(), "cut by no_grad"),
    "set_grad_enabled": (lambda w: nbgrad.set_grad_enabled(False)(lambda: w * 2)(),
                         "cut by set_grad_enabled"),
    "a matrix product under no_grad": (lambda w: nbgrad.no_grad()(lambda: w @ w)(), "cut by no_grad"),
    "a view under no_grad": (lambda w: nbgrad.no_grad()(lambda: w[:1])(), "cut by no_grad"),
    "cast": (lambda w: (w * 2).long(), "cut by a cast to int64"),
    "cast and back": (lambda w: (w * 2).int().double(), "cut by a cast to int32"),
    "comparison": (lambda w: w > 0, "cut by gt, which has no gradient,"),
    "test": (lambda w: w.isnan().double() + 1, "cut by isnan, which has no gradient,"),
    "index": (lambda w: w.argmax(), "cut by argmax, which has no gradient,"),
    "indices of sort": (lambda w: w.sort()[1], "cut by sort, which has no gradient,"),
    "views after a cut": (lambda w: w.detach().view(3, 1)[:, 0].expand(3), "cut by detach"),
    "functions after a cut": (lambda w: nn.functional.softmax(w.detach(), 0).sum(), "cut by detach"),
}


def parameters():
    return [nbgrad.tensor([1.0, 2.0, 3.0], dtype=nbgrad.float64, requires_grad=True)
            for _ in range(3)]


@pytest.mark.parametrize("name", CUTS)
@pytest.mark.parametrize("recorded_by", ["one kernel", "apply"])
def test_the_line_of_a_cut(name, recorded_by):
    cut, words = CUTS[name]
    w, v, unused = parameters()
    middle = cut(w)
    loss = (middle * v).sum() if recorded_by == "one kernel" else nbgrad.where(v > 0, v, middle).sum()
    of_w, of_v, of_unused = nbgrad.explain(loss, [w, v, unused])
    assert not of_w.arrives and words in of_w.why
    source, first = inspect.getsourcelines(cut)
    line = int(re.search(rf"{re.escape(__file__)}:(\d+)", of_w.why)[1])
    assert first <= line < first + len(source)
    assert of_v.arrives and of_v.path[-1] == "[1]"
    assert not of_unused.arrives


def test_what_arrives_comes_by_a_shortest_path():
    w, v, _ = parameters()
    loss = (w.exp().sin() * v + w).sum()
    said = nbgrad.explain(loss, {"w": w, "v": v})
    assert [tuple(e) for e in said] == [
        ("w", True, "by 2 operations", ("SumBackward0", "AddBackward0", "w")),
        ("v", True, "by 3 operations", ("SumBackward0", "AddBackward0", "MulBackward0", "v"))]


def test_a_cut_whose_input_is_alive_is_told_apart():
    w, v, u = parameters()
    a, b = w * 2, v * 3
    said = nbgrad.explain((a.detach() * b.detach() * u).sum(), {"w": w, "v": v, "u": u})
    assert said[0].path == ("SumBackward0", "MulBackward0", "(cut)", "MulBackward0", "w")
    assert said[1].path == ("SumBackward0", "MulBackward0", "(cut)", "MulBackward0", "v")


def test_marks_do_not_grow_without_end():
    w, total = parameters()[0], 0
    for _ in range(50):
        total = total + (w * 2).sum().detach()
    assert len(total._slot) < 10


def test_frozen_unused_and_a_module():
    model = nn.Sequential(nn.Linear(2, 3), nn.Tanh(), nn.Linear(3, 1))
    model[0].weight.requires_grad_(False)
    model.register_parameter("spare", nn.Parameter(nbgrad.ones(1)))
    said = {e.name: e for e in nbgrad.explain(model(nbgrad.ones(4, 2)).sum(), model)}
    assert said["0.weight"].why == "frozen: it does not require grad"
    assert said["spare"].why == "the loss does not depend on it"
    assert [n for n, e in said.items() if e.arrives] == ["0.bias", "2.weight", "2.bias"]


def test_a_loss_that_is_itself_cut_off():
    w, v, _ = parameters()
    with nbgrad.no_grad():
        loss = (w * v).sum()
    assert "cut by no_grad" in nbgrad.explain(loss, [w])[0].why


def test_after_backward_too():
    w, v, _ = parameters()
    loss = (w.detach() * v).sum()
    loss.backward()
    assert [e.arrives for e in nbgrad.explain(loss, [w, v])] == [False, True]


def test_it_prints_as_a_table():
    w, v, _ = parameters()
    printed = repr(nbgrad.explain((w * 2).sum(), [("first", w), ("v", v)]))
    assert printed.splitlines() == [
        "first  arrives: by 2 operations",
        "         loss <- SumBackward0 <- MulBackward0 <- first",
        "v      no gradient: the loss does not depend on it"]


def test_params_must_be_tensors():
    with pytest.raises(TypeError, match="params must be tensors"):
        nbgrad.explain(nbgrad.ones(1, requires_grad=True).sum(), [1])


def test_a_mark_keeps_nothing_alive():
    import weakref

    w = nbgrad.ones(1000, requires_grad=True)
    middle = w.exp()
    alive = weakref.ref(middle._data)
    kept = middle.detach() + 1
    del middle
    assert alive() is None and kept.sum().item() > 0


class Block(nn.Module):
    def __init__(self, cut):
        super().__init__()
        self.fc = nn.Linear(2, 2)
        self.cut = cut

    @nbgrad.enable_grad()
    def forward(self, x):
        y = self.fc(x)
        return (lambda: y.detach())() if self.cut else y


class Stem(Block):
    def forward(self, x):
        return self.fc(x).detach()


def test_a_module_gives_its_paths():
    """To lines of a method, also where several modules have it, and to what uses a parameter."""
    model = nn.Sequential(nn.Sequential(Stem(True)), Block(False), Block(True), nn.Linear(2, 1))
    said = {e.name: e for e in nbgrad.explain(model(nbgrad.ones(1, 2)).sum(), model)}
    at = f"{__file__}:{Block.forward.__wrapped__.__code__.co_firstlineno + 3}"
    assert said["1.fc.weight"].why == f"no way back to it; cut by detach at {at}, in 1 or 2"
    assert said["1.fc.weight"].path == ("SumBackward0", "AddmmBackward0 (3)", "(cut)")
    assert said["3.weight"].path == ("SumBackward0", "AddmmBackward0 (3)", "3.weight")
    stem = model[0]
    (weight, _) = nbgrad.explain(stem(nbgrad.ones(1, 2)).sum(), stem)
    assert weight.why.endswith(f"{Stem.forward.__code__.co_firstlineno + 1}, in 0")
    (weight, _) = nbgrad.explain(stem[0](nbgrad.ones(1, 2)).sum(), stem[0])
    assert weight.why.endswith(", in Stem")


@pytest.mark.parametrize("given", [lambda model: model.named_parameters(),
                                   lambda model: dict(model.named_parameters())])
def test_qualified_names_tell_the_module_of_an_operation(given):
    model = nn.Sequential(nn.Sequential(nn.Linear(2, 2)), nn.Linear(2, 1))
    said = nbgrad.explain(model(nbgrad.ones(1, 2)).sum(), given(model))
    assert said[0].path == ("SumBackward0", "AddmmBackward0 (1)", "AddmmBackward0 (0.0)", "0.0.weight")


def test_a_function_is_no_cut_but_what_it_says_has_no_gradient():
    class Both(nbgrad.autograd.Function):
        @staticmethod
        def forward(ctx, x, y):
            found = x * 2
            ctx.mark_non_differentiable(found)
            return found, y * x

        @staticmethod
        def backward(ctx, apart, g):
            return None, g

    w, v, u = parameters()
    apart, product = Both.apply(w, v)
    assert "cut by both, which has no gradient, at" in nbgrad.explain((apart * v).sum(), [w])[0].why
    assert nbgrad.explain((product * v).sum(), [v])[0].arrives
    assert nbgrad.explain((Both.apply(v.detach(), u)[1]).sum(), [v])[0].why.startswith("cut by detach")
    plain = [t.detach() for t in (w, v)]
    assert nbgrad.explain((Both.apply(*plain)[1] * u).sum(), [w])[0].why.startswith("cut by detach")
    own = nbgrad.ones(3, dtype=nbgrad.float64)
    assert nbgrad.explain((Both.apply(own, own)[1] * u).sum(), [w])[0].why == (
        "the loss does not depend on it")
    with nbgrad.no_grad():
        quiet = Both.apply(w, v)[1]
    assert "cut by no_grad" in nbgrad.explain((quiet * u).sum(), [w])[0].why
