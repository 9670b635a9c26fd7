"""Which dtype comes out of which operands."""

import pytest

DTYPES = [
    ("int32[1] + 1.0", lambda t: t.tensor([1], dtype=t.int32) + 1.0, "float32"),
    ("int32[1] + 1", lambda t: t.tensor([1], dtype=t.int32) + 1, "int32"),
    ("int32[1] + True", lambda t: t.tensor([1], dtype=t.int32) + True, "int32"),
    ("int32[1] + int64[1]", lambda t: t.tensor([1], dtype=t.int32) + t.tensor([1]), "int64"),
    ("int32[1] + float64", lambda t: t.tensor([1], dtype=t.int32) + t.tensor(1.5, dtype=t.float64),
     "float64"),
    ("int32 + float64", lambda t: t.tensor(1, dtype=t.int32) + t.tensor(1.5, dtype=t.float64),
     "float64"),
    ("uint8[1] + int64", lambda t: t.tensor([1], dtype=t.uint8) + t.tensor(1), "uint8"),
    ("uint8[1] + int8[1]", lambda t: t.tensor([1], dtype=t.uint8) + t.tensor([1], dtype=t.int8),
     "int16"),
    ("uint8[1] + int32[1]", lambda t: t.tensor([1], dtype=t.uint8) + t.tensor([1], dtype=t.int32),
     "int32"),
    ("float32[1] + float64", lambda t: t.ones(1) + t.tensor(1.0, dtype=t.float64), "float32"),
    ("float32[1] + float64[1]", lambda t: t.ones(1) + t.ones(1, dtype=t.float64), "float64"),
    ("float32 + float64", lambda t: t.tensor(1.0) + t.tensor(1.0, dtype=t.float64), "float64"),
    ("float32 + float64[0]", lambda t: t.tensor(1.0) + t.ones(0, dtype=t.float64), "float64"),
    ("float32[1] + int64[1]", lambda t: t.ones(1) + t.tensor([1]), "float32"),
    ("float64[1] + 1.5", lambda t: t.ones(1, dtype=t.float64) + 1.5, "float64"),
    ("bool[1] + bool[1]", lambda t: t.tensor([True]) + t.tensor([True]), "bool"),
    ("bool[1] + 1", lambda t: t.tensor([True]) + 1, "int64"),
    ("bool[1] + 1.5", lambda t: t.tensor([True]) + 1.5, "float32"),
    ("bool[1] * float64[1]", lambda t: t.tensor([True]) * t.ones(1, dtype=t.float64), "float64"),
    ("int64[1] / int64[1]", lambda t: t.tensor([1]) / t.tensor([2]), "float32"),
    ("1 / int64[1]", lambda t: 1 / t.tensor([2]), "float32"),
    ("int64[1] // 2", lambda t: t.tensor([7]) // 2, "int64"),
    ("int64[1] ** 2", lambda t: t.tensor([7]) ** 2, "int64"),
    ("int64[1] ** 2.0", lambda t: t.tensor([7]) ** 2.0, "float32"),
    ("int64[1] > 0", lambda t: t.tensor([7]) > 0, "bool"),
    ("exp(int64)", lambda t: t.tensor([1]).exp(), "float32"),
    ("sigmoid(bool)", lambda t: t.tensor([True]).sigmoid(), "float32"),
    ("abs(int32)", lambda t: t.tensor([-1], dtype=t.int32).abs(), "int32"),
    ("sum(uint8)", lambda t: t.tensor([1], dtype=t.uint8).sum(), "int64"),
    ("sum(bool)", lambda t: t.tensor([True]).sum(), "int64"),
    ("sum(float64)", lambda t: t.ones(1, dtype=t.float64).sum(), "float64"),
    ("sum(float32, float64)", lambda t: t.ones(1).sum(dtype=t.float64), "float64"),
    ("mean(float32, float64)", lambda t: t.ones(1).mean(dtype=t.float64), "float64"),
    ("prod(int32)", lambda t: t.tensor([1], dtype=t.int32).prod(), "int64"),
    ("max(int32)", lambda t: t.tensor([1], dtype=t.int32).max(), "int32"),
    ("argmax", lambda t: t.ones(3).argmax(), "int64"),
    ("any(float)", lambda t: t.ones(3).any(), "bool"),
    ("cat", lambda t: t.cat([t.tensor([1]), t.tensor([1.5])]), "float32"),
    ("where tensors", lambda t: t.where(t.tensor([True]), t.tensor([1]), t.tensor([2.5])),
     "float32"),
    ("where numbers", lambda t: t.where(t.tensor([True]), 1, 2.5), "float32"),
    ("arange(3)", lambda t: t.arange(3), "int64"),
    ("arange(3.0)", lambda t: t.arange(3.0), "float32"),
    ("full(1)", lambda t: t.full((2,), 1), "int64"),
    ("full(True)", lambda t: t.full((2,), True), "bool"),
    ("long()", lambda t: t.tensor([1.5]).long(), "int64"),
    ("to(float64)", lambda t: t.tensor([1]).to(t.float64), "float64"),
]  # fmt: skip


@pytest.mark.parametrize("make, dtype", [c[1:] for c in DTYPES], ids=[c[0] for c in DTYPES])
def test_dtype(torch, make, dtype):
    assert make(torch).dtype is getattr(torch, dtype)


VALUES = [
    ("true division", lambda t: t.tensor([7, -7]) / 2, [3.5, -3.5]),
    ("division by zero", lambda t: t.tensor([1, -1, 0]) / 0,
     [float("inf"), -float("inf"), float("nan")]),
    ("floor division", lambda t: t.tensor([7, -7]) // 2, [3, -4]),
    ("floor division of floats", lambda t: t.tensor([7.0, -7.0]) // 2, [3, -4]),
    ("remainder", lambda t: t.tensor([-7, 7]) % 3, [2, 1]),
    ("remainder of floats", lambda t: t.tensor([-7.5, 7.5]) % -2, [-1.5, -0.5]),
    ("div floor", lambda t: t.div(t.tensor([-7, 7]), 2, rounding_mode="floor"), [-4, 3]),
    ("div trunc", lambda t: t.div(t.tensor([-7, 7]), 2, rounding_mode="trunc"), [-3, 3]),
    ("div of floats trunc", lambda t: t.tensor([-7.0]).div(2, rounding_mode="trunc"), [-3]),
    ("sum of uint8 does not wrap", lambda t: t.tensor([200, 100], dtype=t.uint8).sum(), 300),
    ("uint8 wraps", lambda t: t.tensor([200], dtype=t.uint8) + t.tensor([100], dtype=t.uint8),
     [44]),
    ("float to int truncates", lambda t: t.tensor([1.9, -1.9]).to(t.int64), [1, -1]),
    ("in place keeps float32", lambda t: t.ones(1).add_(t.full((1,), 2.0, dtype=t.float64)), [3]),
]  # fmt: skip


@pytest.mark.parametrize("make, expected", [c[1:] for c in VALUES], ids=[c[0] for c in VALUES])
def test_value(torch, same, make, expected):
    same(make(torch), expected)


def test_promotion_functions(torch):
    assert torch.promote_types(torch.uint8, torch.int8) is torch.int16
    assert torch.result_type(torch.tensor([1], dtype=torch.int32), 1.0) is torch.float32


CAST = "result type Float can't be cast to the desired output type "
ERRORS = [
    ("add_ number", CAST + "Long", lambda t: t.tensor([1]).add_(1.5)),
    ("iadd", CAST + "Int", lambda t: t.IntTensor([1]).__iadd__(t.ones(1))),
    ("div_", CAST + "Long", lambda t: t.tensor([1]).div_(2)),
    ("mean", "mean(): could not infer output dtype. Input dtype must be either a floating point or "
     "complex dtype. Got: Long", lambda t: t.tensor([1, 2]).mean()),
    ("flag at creation", "Only Tensors of floating point and complex dtype can require gradients",
     lambda t: t.tensor([1, 2], requires_grad=True)),
    ("flag later", "only Tensors of floating point and complex dtype can require gradients",
     lambda t: setattr(t.tensor([1, 2]), "requires_grad", True)),
    ("negative power", "Integers to negative integer powers are not allowed.",
     lambda t: t.tensor([2]) ** -1),
    ("negative bool", "Negation, the `-` operator, on a bool tensor is not supported.",
     lambda t: -t.tensor([True])),
    ("bool minus bool", "Subtraction, the `-` operator, with two bool tensors is not supported.",
     lambda t: t.tensor([True]) - t.tensor([True])),
]  # fmt: skip


@pytest.mark.parametrize("text, act", [c[1:] for c in ERRORS], ids=[c[0] for c in ERRORS])
def test_error(torch, raises, text, act):
    with raises(RuntimeError, text):
        act(torch)


def test_a_gradient_is_cast_back(torch):
    x = torch.ones(2, requires_grad=True)
    y = torch.ones(2, dtype=torch.float64, requires_grad=True)
    (x * y + x.to(torch.float64)).sum().backward()
    assert x.grad.dtype is torch.float32 and y.grad.dtype is torch.float64
    assert x.grad.tolist() == [2, 2]
