"""Activations, softmax and its kin."""

import numpy as np

from nbgrad.testing.cases import case, ints

SHAPES = [(3, 4), (0, 3), (1,), (), (63,)]
#: numbers where a branch or an overflow lies
ODD = np.array(
    [
        0.0,
        -0.0,
        1.0,
        -1.0,
        0.5,
        -0.5,
        3.0,
        -3.0,
        6.0,
        20.0,
        21.0,
        -21.0,
        100.0,
        -100.0,
        1e30,
        -1e30,
        np.inf,
        -np.inf,
        np.nan,
    ]
)

PLAIN = [
    "relu",
    "relu6",
    "leaky_relu",
    "elu",
    "selu",
    "celu",
    "gelu",
    "silu",
    "mish",
    "softplus",
    "softsign",
    "hardtanh",
    "hardsigmoid",
    "hardswish",
    "hardshrink",
    "softshrink",
    "tanhshrink",
    "logsigmoid",
    "sigmoid",
    "tanh",
]
CALLS = [f"F.{name}(a)" for name in PLAIN] + [
    "F.leaky_relu(a, 0.2)",
    "F.leaky_relu(a, negative_slope=-0.5)",
    "F.elu(a, 0.5)",
    "F.elu(a, alpha=2)",
    "F.celu(a, 0.5)",
    "F.celu(a, alpha=2.0)",
    "F.gelu(a, approximate='tanh')",
    "F.gelu(a, approximate='none')",
    "F.softplus(a, 2)",
    "F.softplus(a, beta=0.5, threshold=1)",
    "F.hardtanh(a, -0.5, 2)",
    "F.hardtanh(a, min_val=-2.0, max_val=0.5)",
    "F.hardshrink(a, 0.3)",
    "F.hardshrink(a, lambd=1)",
    "F.softshrink(a, 0.3)",
    "F.softshrink(a, lambd=0)",
    "F.threshold(a, 0.1, 20)",
    "F.threshold(a, threshold=-1, value=0.5)",
    "torch.celu(a, 0.5)",
    "torch.celu(a)",
    "torch.selu(a)",
    "torch.threshold(a, 0.1, 20)",
    "torch.hardshrink(a, 0.3)",
    "torch.hardshrink(a)",
    "torch.relu(a)",
    "torch.sigmoid(a)",
    "torch.tanh(a)",
]
INPLACE = [
    "F.relu(a.clone(), inplace=True)",
    "F.relu6(a.clone(), inplace=True)",
    "F.leaky_relu(a.clone(), 0.1, True)",
    "F.elu(a.clone(), 1.0, True)",
    "F.selu(a.clone(), inplace=True)",
    "F.celu(a.clone(), 1.5, inplace=True)",
    "F.silu(a.clone(), inplace=True)",
    "F.mish(a.clone(), inplace=True)",
    "F.hardtanh(a.clone(), -1.0, 1.0, True)",
    "F.hardsigmoid(a.clone(), inplace=True)",
    "F.hardswish(a.clone(), inplace=True)",
    "F.threshold(a.clone(), 0.1, 20, True)",
    "F.relu_(a.clone())",
    "F.leaky_relu_(a.clone(), 0.3)",
    "F.elu_(a.clone(), 0.5)",
    "F.selu_(a.clone())",
    "F.celu_(a.clone(), 0.5)",
    "F.hardtanh_(a.clone(), -0.5, 0.5)",
    "F.threshold_(a.clone(), 0.1, 20)",
    "torch.celu_(a.clone(), 2)",
    "torch.selu_(a.clone())",
    "torch.relu_(a.clone())",
    "torch.threshold_(a.clone(), 0, 1)",
    "a.clone().relu_()",
]

#: on unsigned integers the bounds of these wrap around in PyTorch, or a sum on the way
WRAPPED = ("hardtanh", "relu6", "threshold=-1", "softsign")
ONCE = "hardsigmoid"  # PyTorch has no second gradient

CASES = [
    case(call, (3, 4), dtypes=not any(w in call for w in WRAPPED), twice=ONCE not in call)
    for call in CALLS + INPLACE
]
CASES += [
    case(f"F.{name}(a)", shape, dtypes=False, strided=False, twice=name != ONCE)
    for name in PLAIN
    for shape in SHAPES[1:]
]
# (hardswish is NaN at -inf in PyTorch; the gradient of NaN differs by the place in memory)
BOUNDED = ("relu6", "hardtanh", "hardshrink", "softshrink")
CASES += [
    case(f"F.{name}(a)", ODD[:-1] if name in BOUNDED else ODD, twice=False, dtypes=False, strided=False)
    for name in PLAIN
    if name != "hardswish"
]
CASES += [
    case("F.hardtanh(a)", ints(5, low=-3)),
    case("F.relu6(a)", ints(5, high=9)),
    case("F.relu(a)", ints(5, low=-3)),
    case("F.threshold(a, 1, 7)", ints(5)),
    case("F.prelu(a, b)", (3, 4), (1,)),
    case("F.prelu(a, b)", (3, 4), (4,)),
    case("F.prelu(a, b)", (2, 3, 4), (3,)),
    case("F.prelu(a, b)", (2, 3, 4, 5), (3,)),
    case("F.prelu(a, b)", (5,), (1,)),
    case("F.prelu(a, b)", (), (1,)),
    case("F.prelu(a, b)", (3, 4), ()),
    case("F.prelu(a, b)", (0, 3), (3,)),
    case("torch.prelu(a, b)", (3, 4), (4,)),
    case("F.prelu(input=a, weight=b)", (3, 4), (4,)),
    case("F.glu(a)", (3, 4)),
    case("F.glu(a, 0)", (4, 3)),
    case("F.glu(a, dim=-2)", (2, 4, 3)),
    case("F.glu(a)", (8,)),
    case("F.glu(a)", (0, 4)),
    case("F.glu(a, 1)", (2, 6, 3)),
]
_EACH = ["softmax", "log_softmax", "softmin"]
CASES += [
    case(f"F.{name}(a, {dim})", shape)
    for name in _EACH
    for shape, dim in (
        ((3, 4), 1),
        ((3, 4), 0),
        ((3, 4), -1),
        ((2, 3, 4), "dim=-2"),
        ((1,), 0),
        ((), 0),
        ((), -1),
        ((63,), "dim=0"),
    )
]
CASES += [case(f"F.{name}(a, {dim})", (0, 3), dtypes=False) for name in _EACH for dim in (0, 1)]
CASES += [
    case(f"F.{name}(a, 1, dtype=torch.{dtype})", (3, 4)) for name in _EACH for dtype in ("float64",)
]
CASES += [case(f"F.{name}(a, dim=0, dtype=torch.float64)", ints(4)) for name in _EACH]
CASES += [
    case(f"F.{name}(a)", shape, dtypes=False, strided=False)
    for name in _EACH
    for shape in ((3,), (3, 4), (2, 3, 4))
]
CASES += [
    case(f"torch.{name}(a, {more})", (3, 4))
    for name in ("softmax", "log_softmax")
    for more in ("0", "dim=-1", "1, dtype=torch.float64", "dim=0, dtype=torch.float32", "axis=1")
]
CASES += [
    case(f"torch.{name}(a, 0)", np.array([1e3, 1.0, -1e3, np.inf]), twice=False, dtypes=False)
    for name in ("softmax", "log_softmax")
]
CASES += [
    case(
        f"torch.{name}(a, 1)",
        np.array([[-np.inf, 0.0], [-np.inf, -np.inf]]),
        twice=False,
        dtypes=False,
        differentiable=False,
    )
    for name in ("softmax", "log_softmax")
]

#: what PyTorch writes as methods of anything
METHODS = ("softsign", "tanhshrink", "sigmoid", "tanh")
ERRORS = [case(f"F.{name}(1.5)") for name in PLAIN if name not in METHODS]
ERRORS += [case(f"F.{name}([1.0])") for name in ("relu", "gelu")]
ERRORS += [
    case(f"F.{name}(a)", ints(3))
    for name in PLAIN
    if name not in ("relu", "relu6", "hardtanh", "softsign", "tanhshrink", "sigmoid", "tanh")
]
ERRORS += [
    case(f"F.{name}(a > 0)", (3,))
    for name in ("relu", "relu6", "hardtanh", "softsign", "tanhshrink")
]
ERRORS += [
    case("F.gelu(a, approximate='x')", (3,)),
    case("F.gelu(a, 'tanh')", (3,)),
    case("F.celu(a, 0)", (3,)),
    case("F.softshrink(a, -1)", (3,)),
    case("F.hardtanh(a, 1, -1)", (3,)),
    case("F.threshold(a)", (3,)),
    case("F.threshold(a, 1)", (3,)),
    case("F.leaky_relu(a, 'x')", (3,)),
    case("F.elu(a, 'x')", (3,)),
    case("F.softplus(a, 'x')", (3,)),
    case("F.hardshrink(a, 'x')", (3,)),
    case("F.relu(a, True)", (3,)),
    case("F.relu_(a)", (3,)),
    case("F.elu_(a)", (3,)),
    case("F.celu_(a)", (3,)),
    case("a.relu_()", (3,)),
    case("F.prelu(a, b)", (3, 4), (3,)),
    case("F.prelu(a, b)", (3,), (2,)),
    case("F.prelu(a, b)", (3, 4), (4, 1)),
    case("F.prelu(a, 0.25)", (3,)),
    case("F.prelu(a, b)", (3,), np.ones(1, np.float32)),
    case("F.glu(a)", (3,)),
    case("F.glu(a)", ()),
    case("F.glu(a, 2)", (4, 4)),
    case("F.glu(a)", ints(4)),
    case("torch.softmax(a)", (3,)),
    case("torch.softmax(a, 2)", (3, 4)),
    case("torch.softmax(a, 'x')", (3,)),
    case("torch.softmax(a, 0)", ints(3)),
    case("torch.log_softmax(a, -3)", (3, 4)),
    case("torch.log_softmax(a, 0)", ints(3)),
    case("torch.softmax(a, (0, 1))", (3, 4)),
    case("F.softmax(a, dim=2)", (3, 4)),
    case("F.softmin(a, 5)", (3,)),
    case("F.log_softmax(a, 0)", ints(3)),
    case("torch.relu()"),
]
