"""Gradients at points without a derivative: ties, edges, zeros, infinities."""

import math

import pytest

INF, NAN = math.inf, math.nan


# id, function, point, gradient of the sum

CASES = [
    ("abs", lambda t, x: x.abs(), [0.0, -0.0, -1.0], [0, 0, -1]),
    ("sqrt", lambda t, x: x.sqrt(), [0.0, 4.0], [INF, 0.25]),
    ("sqrt of zero upstream", lambda t, x: x.sqrt() * t.zeros(1), [0.0], [NAN]),
    ("sign", lambda t, x: x.sign(), [0.0, 1.5], [0, 0]),
    ("trunc", lambda t, x: x.trunc(), [0.0, 1.5], [0, 0]),
    ("round", lambda t, x: x.round(), [0.5, 1.5], [0, 0]),
    ("floor", lambda t, x: x.floor(), [0.0, 1.5], [0, 0]),
    ("ceil", lambda t, x: x.ceil(), [0.0, 1.5], [0, 0]),
    ("pow 0", lambda t, x: x**0, [0.0, 2.0], [0, 0]),
    ("pow 1/2", lambda t, x: x**0.5, [0.0], [INF]),
    ("pow tensor", lambda t, x: x ** t.tensor([0.0, 1.0, 2.0]), [0.0, 0.0, 0.0], [0, 1, 0]),
    ("exponent at base 0", lambda t, x: t.zeros(3) ** x, [0.0, 2.0, -1.0], [0, 0, -INF]),
    ("number to a tensor", lambda t, x: 0.0**x, [0.0, 2.0], [0, 0]),
    ("norm 2 at 0", lambda t, x: x.norm(), [0.0, 0.0], [0, 0]),
    ("norm 2", lambda t, x: x.norm(2), [3.0, -4.0], [0.6, -0.8]),
    ("norm 1 at 0", lambda t, x: x.norm(1), [0.0, -2.0], [0, -1]),
    ("norm inf shares", lambda t, x: x.norm(INF), [2.0, -2.0, 1.0], [0.5, -0.5, 0]),
    ("norm 3 at 0", lambda t, x: x.norm(3), [0.0, 0.0], [0, 0]),
    ("std at 0", lambda t, x: x.std(), [1.0, 1.0], [0, 0]),
    ("max", lambda t, x: x.max(), [1.0, 3.0, 3.0, 1.0], [0, 0.5, 0.5, 0]),
    ("min", lambda t, x: x.min(), [1.0, 3.0, 3.0, 1.0], [0.5, 0, 0, 0.5]),
    ("amax", lambda t, x: x.amax(0), [1.0, 3.0, 3.0], [0, 0.5, 0.5]),
    ("amin", lambda t, x: x.amin(0), [1.0, 1.0, 3.0], [0.5, 0.5, 0]),
    ("max of an axis", lambda t, x: x.max(0)[0], [1.0, 3.0, 3.0], [0, 1, 0]),
    ("min of an axis", lambda t, x: x.min(dim=0).values, [1.0, 1.0, 3.0], [1, 0, 0]),
    ("maximum", lambda t, x: t.maximum(x, t.tensor([1.0, 3.0, 0.0])), [1.0, 2.0, 2.0], [0.5, 0, 1]),
    ("minimum", lambda t, x: t.minimum(x, t.tensor([1.0, 3.0, 0.0])), [1.0, 2.0, 2.0], [0.5, 1, 0]),
    ("maximum of itself", lambda t, x: t.maximum(x, x), [1.0], [1]),
    ("fmax", lambda t, x: t.fmax(x, t.tensor([1.0, 3.0])), [1.0, 2.0], [1, 0]),
    ("fmax second", lambda t, x: t.fmax(t.tensor([1.0, 1.0]), x), [1.0, 2.0], [0, 1]),
    ("clamp", lambda t, x: x.clamp(0, 1), [0.0, 1.0, 2.0, 0.5, -1.0], [1, 1, 0, 1, 0]),
    ("clamp min", lambda t, x: x.clamp(min=0), [0.0, 1.0, -1.0], [1, 1, 0]),
    ("hardtanh", lambda t, x: t.nn.functional.hardtanh(x), [-1.0, 1.0, 0.5], [0, 0, 1]),
    ("relu6", lambda t, x: t.nn.functional.relu6(x), [0.0, 6.0, 3.0], [0, 0, 1]),
    ("relu", lambda t, x: t.nn.functional.relu(x), [0.0, -0.0, 2.0], [0, 0, 1]),
    ("leaky_relu", lambda t, x: t.nn.functional.leaky_relu(x, 0.1), [0.0, 1.0], [0.1, 1]),
    ("elu", lambda t, x: t.nn.functional.elu(x), [0.0, 1.0], [1, 1]),
    ("nan_to_num", lambda t, x: t.nan_to_num(x), [NAN, INF, -INF, 1.0], [0, 0, 0, 1]),
    ("where", lambda t, x: t.where(x > 0, x, x * 0 + 2), [0.0, 1.0], [0, 1]),
    ("where is no shield", lambda t, x: t.where(x > 0, x.sqrt(), t.zeros(2)), [0.0, 4.0],
     [NAN, 0.25]),
    ("prod with a zero", lambda t, x: x.prod(), [0.0, 2.0, 3.0], [6, 0, 0]),
    ("prod with two zeros", lambda t, x: x.prod(), [0.0, 2.0, 0.0], [0, 0, 0]),
    ("prod of an axis", lambda t, x: x.view(2, 2).prod(1), [0.0, 2.0, 3.0, 4.0], [2, 0, 4, 3]),
    ("logsumexp of -inf", lambda t, x: x.logsumexp(0), [-INF, 0.0], [0, 1]),
    ("softplus far right", lambda t, x: t.nn.functional.softplus(x), [0.0, 30.0], [0.5, 1]),
    ("silu far left", lambda t, x: t.nn.functional.silu(x), [-200.0, 0.0], [0, 0.5]),
    ("sigmoid far left", lambda t, x: x.sigmoid(), [-200.0, 200.0], [0, 0]),
    ("nan passes", lambda t, x: t.maximum(x, t.ones(1)), [NAN], [1]),
]  # fmt: skip


@pytest.mark.parametrize("function, point, grad", [c[1:] for c in CASES], ids=[c[0] for c in CASES])
def test_gradient(torch, same, function, point, grad):
    x = torch.tensor(point, requires_grad=True)
    function(torch, x).sum().backward()
    same(x.grad, grad)


def test_norm_0_has_no_gradient(torch):
    x = torch.tensor([0.0, 2.0], requires_grad=True)
    y = x.norm(0)
    assert y.item() == 1
    (y + 0 * x.sum()).backward()
    assert x.grad.tolist() == [0, 0]


@pytest.mark.filterwarnings("ignore:.*degrees of freedom")
@pytest.mark.parametrize("name", ["var", "std"])
def test_var_and_std_use_correction_1(torch, same, name):
    x = torch.tensor([1.0, 2.0, 4.0])
    var = 7 / 3
    same(getattr(x, name)(), var if name == "var" else math.sqrt(var))
    same(getattr(x, name)(correction=0), var * 2 / 3 if name == "var" else math.sqrt(var * 2 / 3))
    one = torch.tensor([1.0], requires_grad=True)
    out = getattr(one, name)()
    out.backward()
    assert math.isnan(out.item()) and math.isnan(one.grad.item())


@pytest.mark.parametrize("name", ["max", "min", "amax", "amin", "maximum", "minimum"])
def test_nan_wins(torch, name):
    x = torch.tensor([1.0, NAN, 3.0])
    if name.endswith("imum"):
        assert math.isnan(getattr(torch, name)(x, torch.zeros(3))[1].item())
    else:
        assert math.isnan(getattr(x, name)().item())
