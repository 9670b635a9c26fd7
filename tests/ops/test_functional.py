"""Activations and small functions of nn.functional against torch."""

import numpy as np
import pytest

DRAW = np.random.default_rng(8)
X = np.concatenate([DRAW.standard_normal(60) * 3, [30.0, -30.0, 0.001]]).reshape(7, 9)

ACTIVATIONS = [
    ("relu", {}), ("relu6", {}), ("leaky_relu", {}), ("leaky_relu", {"negative_slope": 0.2}),
    ("elu", {}), ("elu", {"alpha": 0.4}), ("selu", {}), ("celu", {}), ("celu", {"alpha": 2.0}),
    ("gelu", {}), ("gelu", {"approximate": "tanh"}), ("silu", {}), ("mish", {}), ("softplus", {}),
    ("softplus", {"beta": 2.0, "threshold": 3.0}), ("softsign", {}), ("hardtanh", {}),
    ("hardtanh", {"min_val": -0.3, "max_val": 2.0}), ("hardsigmoid", {}), ("hardswish", {}),
    ("hardshrink", {}), ("hardshrink", {"lambd": 1.0}), ("softshrink", {}), ("tanhshrink", {}),
    ("threshold", {"threshold": 0.1, "value": 20.0}), ("logsigmoid", {}), ("sigmoid", {}),
    ("tanh", {}), ("glu", {"dim": 0}),
]


def function(lib, name):
    """The activation; torch's hardsigmoid has a float32 sixth and no second derivative."""
    if name == "hardsigmoid" and lib.Tensor.__module__.startswith("torch"):
        return lambda x, inplace=False: (x / 6 + 0.5).clamp(0, 1)
    return getattr(lib, name)


@pytest.mark.parametrize("name, options", ACTIVATIONS, ids=str)
def test_activation(same, name, options):
    same(lambda lib, x: function(lib, name)(x, **options), X[:6] if name == "glu" else X)


@pytest.mark.parametrize("name", ["relu", "relu6", "leaky_relu", "elu", "selu", "celu", "hardtanh",
                                  "silu", "mish", "hardsigmoid", "hardswish"])
def test_in_place(same, name):
    same(lambda lib, x: function(lib, name)(x * 1, inplace=True), X)


@pytest.mark.parametrize("x, w", [((3,), 1), ((2, 4), 4), ((2, 4), 1), ((2, 3, 4), 3), ((), 1)],
                         ids=str)
def test_prelu(same, x, w):
    draw = DRAW.standard_normal
    same(lambda lib, x, w: lib.prelu(x, w), np.array(draw(x)), draw(w))


@pytest.mark.parametrize("p", [1.0, 2.0, 3.0])
def test_normalize(same, p):
    same(lambda lib, x: lib.normalize(x, p, dim=-1), DRAW.standard_normal((4, 5)))


def test_cosine_similarity(same):
    same(lambda lib, x, y: lib.cosine_similarity(x, y), DRAW.standard_normal((4, 5)),
         DRAW.standard_normal((4, 5)))
    same(lambda lib, x, y: lib.cosine_similarity(x, y, dim=0), DRAW.standard_normal((4, 5)),
         DRAW.standard_normal((4, 1)))


@pytest.mark.parametrize("shape, options", [
    ((2, 3, 6, 7), {"kernel_size": 3}), ((3, 6, 7), {"kernel_size": (2, 3), "stride": 2}),
    ((1, 2, 6, 7), {"kernel_size": (2, 3), "dilation": (2, 1), "padding": 1, "stride": (1, 2)}),
], ids=str)
def test_unfold(same, shape, options):
    same(lambda lib, x: lib.unfold(x, **options), DRAW.standard_normal(shape))


ERRORS = [
    "glu(z(2, 3))", "prelu(z(2, 3, 4), z(2))", "gelu(z(2), approximate='foo')", "elu(z(2).long())",
    "leaky_relu(z(2).long())", "softshrink(z(2), -1.)", "softmax(z(2, 3))",
]


@pytest.mark.parametrize("text", ERRORS)
def test_errors(same_error, text):
    same_error(lambda lib: eval(text, vars(lib) | {"z": lib.zeros}))
