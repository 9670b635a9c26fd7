"""Elementwise operations: functions, methods, operators, kinks, promotion and bad calls."""

import numpy as np

from nbgrad.testing.cases import bools, case, distinct, ints, uniform

SHAPES = [(3, 4), (0, 3), (1,), (), (63,)]

#: name -> where it may be sampled
UNARY = (
    dict.fromkeys(
        [
            "abs",
            "neg",
            "positive",
            "exp",
            "exp2",
            "expm1",
            "sin",
            "cos",
            "tan",
            "atan",
            "sinh",
            "cosh",
            "tanh",
            "asinh",
            "sigmoid",
            "erf",
            "erfc",
            "floor",
            "ceil",
            "round",
            "trunc",
            "frac",
            "sign",
            "square",
            "nan_to_num",
            "isnan",
            "isinf",
            "isfinite",
            "logical_not",
            "clone",
            "absolute",
            "negative",
            "fix",
            "arctan",
            "arcsinh",
            "sinc",
            "sgn",
            "deg2rad",
            "rad2deg",
            "signbit",
            "isposinf",
            "isneginf",
            "isreal",
            "real",
            "conj",
            "resolve_conj",
            "resolve_neg",
            "conj_physical",
            "angle",
            "relu",
        ],
        (-3, 3),
    )
    | dict.fromkeys(
        ["log", "log2", "log10", "sqrt", "rsqrt", "reciprocal", "lgamma", "digamma"], (0.2, 4)
    )
    | dict.fromkeys(["asin", "acos", "atanh", "arcsin", "arccos", "arctanh", "erfinv"], (-0.9, 0.9))
    | {"log1p": (-0.7, 3), "acosh": (1.2, 4), "arccosh": (1.2, 4), "logit": (0.1, 0.9)}
)
#: numbers where a branch, a pole or an overflow lies
ODD = np.array(
    [
        0.0,
        -0.0,
        1.0,
        -1.0,
        0.5,
        -0.5,
        1.5,
        2.5,
        -2.5,
        3.0,
        1e-30,
        -1e-30,
        1e5,
        -1e5,
        1e30,
        88.8,
        -104.0,
        720.0,
        np.inf,
        -np.inf,
        np.nan,
    ]
)

#: those whose in-place form PyTorch does not differentiate, or that are no methods: by a sign in
#: front they are tried as functions alone; and one whose in-place form it takes for no change
PLUS = dict.fromkeys(["acosh", "asinh", "atanh", "arccosh", "arcsinh", "arctanh", "real"], "+")
NEVER = ("logical_not",)

CASES = [
    case(
        f"{PLUS.get(name, '')}torch.{name}(a)",
        uniform(*shape, low=low, high=high),
        dtypes=shape == (3, 4),
        strided=shape in ((3, 4), (63,)),
        differentiable=name not in NEVER,
    )
    for name, (low, high) in UNARY.items()
    for shape in SHAPES
]
CASES += [
    case(
        f"{PLUS.get(name, '')}torch.{name}(a)",
        ODD,
        twice=False,
        dtypes=False,
        strided=False,
        differentiable=name not in NEVER,
    )
    for name in UNARY
    # the gamma function's kin at poles: see below; logit's gradient at -0 has either sign
    if name not in ("lgamma", "digamma", "logit")
]
CASES += [
    case(f"torch.{name}(input=a)", (3,), differentiable=False)
    for name in ("abs", "exp", "clone", "sigmoid", "isnan", "logical_not", "positive")
]
CASES += [
    case(f"torch.{name}(a)", np.array([-2.0, -1.0, 0.0, 1.0, 2.0]), twice=False)
    for name in ("abs", "sign", "relu", "sgn", "floor", "round", "frac", "trunc", "ceil")
]

# The gamma function and its kin on both sides of 0
_GAMMA = np.concatenate(
    [np.linspace(-4.9, -0.1, 30), np.linspace(0.01, 6, 40), [1e-8, 20, 300, 1e6]]
)
_GAMMA = _GAMMA[np.abs(_GAMMA - np.rint(_GAMMA)) > 1e-3]
CASES += [case(f"torch.{name}(a)", _GAMMA, dtypes=False) for name in ("lgamma", "digamma")]
CASES += [
    case(
        f"torch.{name}(a)",
        np.array([np.inf, np.nan, 0.0, -0.0, -1.0, -3.0, 1.0, 2.0]),
        differentiable=False,
    )
    for name in ("lgamma", "digamma")
]
CASES += [
    case("torch.lgamma(a)", np.array([-np.inf]), differentiable=False, dtypes=False),
    case("torch.digamma(a)", np.array([-np.inf]), differentiable=False, dtypes=False),
]
CASES += [case(f"torch.polygamma({n}, a)", uniform(4, low=0.3, high=5.0)) for n in (0, 1, 2, 3)]
CASES += [case(f"a.polygamma({n})", uniform(4, low=0.3, high=5.0)) for n in (1, 2)]
CASES += [
    case(
        "torch.erfinv(a)",
        np.array([0.0, 0.999999, -0.99999999, 1e-12, 0.5, 0.7, -0.7]),
        dtypes=False,
    ),
    case("torch.erfinv(a)", np.array([1.0, -1.0, 1.5, -2.0, np.nan]), differentiable=False),
]

CASES += [
    case("torch.clone(a, memory_format=torch.contiguous_format)", (3, 4)),
    case("torch.clone(a, memory_format=torch.preserve_format)", (3, 4)),
    case("torch.bitwise_not(a)", ints(3, 4, low=-5)),
    case("torch.bitwise_not(a)", bools(3, 4)),
    case("torch.bitwise_not(a)", ints(0, 3)),
    case("torch.bitwise_not(a)", ints()),
    case("~a", ints(3, 4, low=-5)),
    case("~a", bools(3, 4)),
    case("-a", (3, 4)),
    case("+a", (3, 4)),
    case("abs(a)", (3, 4)),
    case("a.abs_()", ints(3, low=-4)),
    case("a.neg_()", ints(3, low=-4)),
    case("torch.logit(a, 0.2)", uniform(3, 4)),
    case("torch.logit(a, eps=1e-6)", uniform(63)),
    case("torch.logit(a, eps=None)", uniform(3, low=0.1, high=0.9)),
    case("torch.logit(a, eps=0.2)", np.array([0.2, 0.8, 0.1, 0.9, 0.0, 1.0]), twice=False),
    case("torch.logit(a)", np.array([0.0, 1.0, -0.5, 1.5]), twice=False),
    case("torch.round(a, decimals=0)", uniform(63, low=-30, high=30), dtypes=False),
    case("torch.round(a, decimals=3)", uniform(63, low=-3, high=3)),
    case("torch.round(a, decimals=-1)", uniform(63, low=-300, high=300)),
    case("torch.round(a, decimals=-3)", uniform(3, 4, low=-9999, high=9999)),
    case("torch.round(a)", np.array([0.5, 1.5, 2.5, -0.5, -1.5]), twice=False),
    case("a.real", (3,)),
    case("torch.nan_to_num(a, 2.0)", np.array([np.nan, np.inf, -np.inf, 1.0])),
    case(
        "torch.nan_to_num(a, nan=2.0, posinf=7, neginf=-7.5)",
        np.array([np.nan, np.inf, -np.inf, 1.0]),
    ),
    case("torch.nan_to_num(a, posinf=7)", np.array([np.nan, np.inf, -np.inf, 1.0])),
    case("torch.nan_to_num(a, nan=None)", ints(3)),
    case("torch.frexp(a)", (3, 4), differentiable=False),
    case(
        "torch.frexp(a)",
        np.array([0.0, 1.0, 0.5, -3.0, 1e300, 5e-324]),
        differentiable=False,
        dtypes=False,
    ),
    case(
        "torch.frexp(a)",
        np.array([-0.0, np.inf, -np.inf, np.nan, 2**-126, 2**-127, -1e-45, 3.4e38], np.float32),
        differentiable=False,
        dtypes=False,
    ),
    case("a.frexp().exponent", (3,), differentiable=False, dtypes=False),
    case("torch.frexp(a)", (0, 3), differentiable=False),
]

# clamp and its kin
# (a negative bound of a uint8 wraps around in PyTorch)
CASES += [
    case(f"torch.{f}", shape, dtypes=False)
    for shape in SHAPES
    for f in (
        "clamp(a, -0.5, 0.5)",
        "clamp(a, min=-0.5)",
        "clamp(a, max=0.5)",
        "clip(a, -1, 1)",
        "clamp_min(a, -0.3)",
        "clamp_max(a, 0.3)",
        "clamp(a, None, 0.2)",
        "clamp(a, 1, -1)",
    )
]
CASES += [
    case(f"torch.{f}", (3, 4))
    for f in ("clamp(a, 0.25, 0.5)", "clamp(a, 0, 1)", "clamp_min(a, 0.3)", "clamp_max(a, 1)")
]
CASES += [
    case("torch.clamp(a, -1, 1)", np.array([-1.0, 1.0, 0.0, np.nan, -2.0]), dtypes=False),
    case("torch.clamp_min(a, 1)", np.array([-1.0, 1.0, np.nan, 2.0]), dtypes=False),
    case("torch.clamp_max(a, 1)", np.array([-1.0, 1.0, np.nan, 2.0]), dtypes=False),
    case("torch.clamp(a, b, c)", (3, 4), (4,), (3, 1)),
    case("torch.clamp(a, min=b)", (3, 4), (4,)),
    case("torch.clamp(a, max=b)", (3, 4), (1, 4)),
    case(
        "torch.clamp(a, b, c)",
        np.array([1.0, 2.0, 3.0]),
        np.array([1.0, 2.5, 4.0]),
        np.array([1.0, 2.0, 2.0]),
        twice=False,
    ),
    case("torch.clamp_min(a, b)", (3, 4), (4,)),
    case("torch.clamp_max(a, b)", (3, 4), (4,)),
    case("torch.clamp(a, min=b, max=c)", (3,), (), ()),
    case("torch.clamp(a, 0.5)", ints(5)),
    case("torch.clamp(a, 1, 3)", ints(5)),
    case("a.clamp_(1, 3)", ints(5)),
    case("torch.clamp(a, max=True)", ints(5)),
]

# Two arguments
BINARY = dict.fromkeys(
    [
        "add",
        "sub",
        "mul",
        "maximum",
        "minimum",
        "fmax",
        "fmin",
        "atan2",
        "hypot",
        "logaddexp",
        "logaddexp2",
        "eq",
        "ne",
        "lt",
        "le",
        "gt",
        "ge",
        "logical_and",
        "logical_or",
        "logical_xor",
        "multiply",
        "subtract",
        "greater",
        "greater_equal",
        "less",
        "less_equal",
        "not_equal",
        "arctan2",
        "copysign",
        "rsub",
        "max",
        "min",
        "heaviside",
    ],
    (-3, 3),
) | dict.fromkeys(["div", "true_divide", "divide", "floor_divide", "remainder", "fmod"], (0.5, 3))
NO_NUMBER = (
    "maximum",
    "minimum",
    "fmax",
    "fmin",
    "atan2",
    "hypot",
    "logaddexp",
    "logaddexp2",
    "logical_and",
    "logical_or",
    "logical_xor",
    "max",
    "min",
    "heaviside",
    "arctan2",
)
#: without a derivative in PyTorch
FLAT = ("heaviside", "floor_divide", "logical_and", "logical_or", "logical_xor")

CASES += [
    case(
        f"torch.{name}(a, b)",
        uniform(*s, low=-3, high=3),
        uniform(*t, low=low, high=high),
        differentiable=name not in FLAT,
        dtypes=s == (3, 4),
        strided=s == (3, 4),
    )
    for name, (low, high) in BINARY.items()
    for s, t in [
        ((3, 4), (3, 4)),
        ((3, 1), (4,)),
        ((), (5,)),
        ((63,), ()),
        ((0, 3), (3,)),
        ((), ()),
    ]
]
CASES += [
    case(
        f"torch.{name}(a, {value})",
        uniform(5, low=-3, high=3),
        strided=False,
        differentiable=name not in FLAT,
    )
    for name in BINARY
    if name not in NO_NUMBER
    for value in ("2", "0.75", "True")
    if not (value == "True" and name in ("sub", "subtract", "rsub"))
]
CASES += [
    case(f"torch.{name}(input=a, other=b)", distinct(3), distinct(3), differentiable=False)
    for name in (
        "add",
        "sub",
        "mul",
        "div",
        "maximum",
        "atan2",
        "eq",
        "logical_and",
        "max",
        "remainder",
        "copysign",
        "floor_divide",
    )
]
CASES += [
    case(f"torch.{name}(a, other=b)", (3,), (3,), differentiable=False)
    for name in ("add", "mul", "div", "maximum", "rsub", "ge")
]
#: operators with a tensor, with a number and reflected
CASES += [
    case(
        f"a {op} b",
        uniform(3, 4, low=0.5, high=3),
        uniform(4, low=0.5, high=3),
        differentiable=op != "//",
    )
    for op in ("+", "-", "*", "/", "//", "%", "**", "<", "<=", ">", ">=", "==", "!=")
]
CASES += [
    case(
        call,
        uniform(5, low=0.5, high=3),
        strided=False,
        differentiable=op != "//" and (op != "%" or call.startswith("a")),
    )
    for op in ("+", "-", "*", "/", "//", "%", "**", "<", "==")
    for value in ("2", "1.5", "True")
    for call in (f"a {op} {value}", f"{value} {op} a")
    # PyTorch subtracts no bools, and fails at True ** a
    if (op, value) not in (("-", "True"), ("**", "True"))
]
CASES += [case(f"a {op} b", ints(3, 4), ints(4)) for op in ("&", "|", "^")]
CASES += [case(f"a {op} b", bools(3, 4), bools(4)) for op in ("&", "|", "^")]
CASES += [case(f"a {op} 3", ints(5)) for op in ("&", "|", "^", "<<", ">>")]
CASES += [case(f"3 {op} a", ints(5)) for op in ("&", "|", "^", "<<", ">>")]
CASES += [case(f"a {op} True", bools(5)) for op in ("&", "|", "^")]
CASES += [
    case(
        f"a.clone().__i{name}__(b)",
        uniform(3, 4),
        uniform(4, low=0.5, high=2),
        differentiable=name != "floordiv",
    )
    for name in ("add", "sub", "mul", "truediv", "floordiv", "mod", "pow")
]
CASES += [
    case(
        f"a.__r{name}__(2.5)",
        uniform(4, low=0.5, high=2),
        differentiable=name not in ("floordiv", "mod"),
    )
    for name in ("add", "sub", "mul", "truediv", "div", "floordiv", "mod", "pow")
]
CASES += [
    case(f"a.clone().__i{name}__(3)", ints(4))
    for name in ("and", "or", "xor", "lshift", "rshift", "add")
]
CASES += [
    case(f"torch.{name}(a, b)", ints(3, 4), ints(4, high=9))
    for name in (
        "bitwise_and",
        "bitwise_or",
        "bitwise_xor",
        "bitwise_left_shift",
        "bitwise_right_shift",
        "gcd",
        "lcm",
    )
]
CASES += [
    case(f"torch.{name}(a, 2)", ints(4, low=-9))
    for name in (
        "bitwise_and",
        "bitwise_or",
        "bitwise_xor",
        "bitwise_left_shift",
        "bitwise_right_shift",
    )
]
CASES += [
    case(f"torch.{name}(3, a)", ints(4))
    for name in (
        "bitwise_and",
        "bitwise_or",
        "bitwise_xor",
        "bitwise_left_shift",
        "bitwise_right_shift",
    )
]
CASES += [
    case(f"torch.{name}(a, b)", bools(3, 4), bools(4))
    for name in ("bitwise_and", "bitwise_or", "bitwise_xor")
]
CASES += [
    case("torch.gcd(a, b)", ints(63, low=-40, high=40), ints(63, low=-40, high=40)),
    case("torch.lcm(a, b)", ints(63, low=-40, high=40), ints(63, low=-40, high=40)),
    case("torch.gcd(a, b)", np.array([[3], [0], [-2**63]]), np.array([0, 4, -2**62, -2**63])),
    case("torch.lcm(a, b)", np.array([[3], [-6], [0], [7]]), np.array([0, 4, -9, 5])),
    case("torch.gcd(a, b)", ints(0), ints(0)),
    case("a.gcd_(b)", ints(4), ints(4)),
    case("a << b", ints(4, high=20), np.array([0, 3, 63, 64])),
    case("a >> b", ints(4, low=-20), np.array([0, 3, 63, 64])),
    case("a << b", np.array([1, 3, 5], np.int32), np.array([1, 31, 32], np.int32)),
    case("a >> b", np.array([-1, 3, 5], np.int32), np.array([1, 31, 32], np.int32)),
    case("a << b", np.array([200, 3, 5], np.uint8), np.array([1, 7, 8], np.uint8)),
    case("a >> b", np.array([200, 3, 5], np.uint8), np.array([1, 7, 8], np.uint8)),
    case("a.bitwise_left_shift_(1)", ints(3)),
]

CASES += [
    case("torch.add(a, b, alpha=2)", (3, 4), (4,)),
    case("torch.add(a, b, alpha=0.5)", (3, 4), (4,)),
    case("torch.sub(a, b, alpha=-1.5)", (3, 4), (4,)),
    case("torch.add(a, 3, alpha=2)", (3, 4)),
    case("torch.sub(a, 1.5, alpha=2)", (3, 4)),
    case("torch.rsub(a, b, alpha=3)", (3, 4), (4,)),
    case("torch.rsub(a, 2, alpha=3)", (3, 4)),
    case("torch.subtract(a, b, alpha=2)", (3,), (3,)),
    case("a.add_(b, alpha=3)", ints(3), ints(3)),
    case("a.sub_(b, alpha=2)", ints(3), ints(3)),
    case("torch.add(a, b, alpha=2)", ints(3), ints(3)),
    *[
        case(
            f"torch.{f}(a, b, rounding_mode={m})",
            uniform(3, 4, low=-9, high=9),
            uniform(4, low=0.5, high=3),
        )
        for f in ("div", "divide")
        for m in ("None", "'trunc'", "'floor'")
    ],
    *[
        case(f"torch.div(a, 2.5, rounding_mode={m})", uniform(63, low=-9, high=9))
        for m in ("None", "'trunc'", "'floor'")
    ],
    *[
        case(
            f"torch.div(a, b, rounding_mode={m})", ints(63, low=-9, high=9), ints(63, low=1, high=5)
        )
        for m in ("None", "'trunc'", "'floor'")
    ],
    *[
        case(
            f"torch.{f}(a, b)",
            np.array([-7.0, 7.0, -7.5, 0.0, np.inf, 1.0, 5.0, -0.0]),
            np.array([2.0, -2.0, 2.0, 3.0, 2.0, np.inf, 0.0, -1.0]),
            twice=False,
            dtypes=False,
        )
        for f in ("remainder", "fmod", "div")
    ],
    case(
        "torch.floor_divide(a, b)",
        np.array([-7.0, 7.0, -7.5, 0.0, np.inf, 1.0, 5.0, -0.0]),
        np.array([2.0, -2.0, 2.0, 3.0, 2.0, np.inf, 0.0, -1.0]),
        differentiable=False,
        dtypes=False,
    ),
    *[
        case(f"torch.{f}(a, b)", np.array([-7, 7, -7, 7, 0]), np.array([2, 2, -2, -2, 3]))
        for f in ("floor_divide", "remainder", "fmod", "div", "true_divide")
    ],
    case("torch.remainder(5, a)", uniform(4, low=0.5, high=3), differentiable=False),
    case("torch.remainder(5, a)", ints(4, low=1)),
    case("torch.pow(a, b)", uniform(3, 4, low=0.3, high=2), (4,)),
    *[
        case(f"torch.pow(a, {p})", uniform(5, low=0.3, high=2))
        for p in ("0", "1", "2", "3", "0.5", "-1", "-0.5", "-2", "2.5", "0.0", "4")
    ],
    *[
        case(
            f"torch.pow(a, {p})",
            np.array([0.0, -0.0, 1.0, -2.0, np.inf, np.nan]),
            twice=False,
            dtypes=False,
        )
        for p in ("0", "1", "2", "3", "0.5", "-1", "1.5", "0.25")
    ],
    *[case(f"torch.pow({b}, a)", (5,)) for b in ("2", "0.5", "3.0", "1")],
    case("torch.pow(0, a)", np.array([0.0, 1.0, 2.0, -1.0]), twice=False, dtypes=False),
    case(
        "torch.pow(a, b)",
        np.array([0.0, 0.0, 0.0, 2.0, 1.0]),
        np.array([0.0, 2.0, 1.0, 0.0, 3.0]),
        twice=False,
        dtypes=False,
    ),
    case("torch.pow(a, b)", ints(5, low=-3), ints(5, high=4)),
    case("torch.pow(a, 3)", ints(5, low=-3)),
    case("torch.pow(2, a)", ints(5)),
    case("torch.pow(a, 0.5)", ints(5)),
    case("a.pow_(2)", ints(5)),
    case("torch.float_power(a, 2)", uniform(4, low=0.3, high=2)),
    case("torch.float_power(a, b)", uniform(3, 4, low=0.3, high=2), (4,)),
    case("torch.float_power(2, a)", (4,)),
    case("torch.float_power(a, 2)", ints(5)),
    case("torch.float_power(a, b)", ints(5), ints(5)),
    case("a.float_power_(2.5)", uniform(4, low=0.3, high=2), differentiable=False),
    case("torch.true_divide(a, 3)", ints(5)),
    case("a.true_divide_(2.5)", (5,), differentiable=False),
    case("torch.xlogy(a, b)", (3, 4), uniform(4, low=0.2, high=3)),
    case("torch.xlogy(a, 2.5)", (3,)),
    case("torch.xlogy(2, a)", uniform(4, low=0.2, high=3)),
    case(
        "torch.xlogy(a, b)",
        np.array([0.0, 0.0, 1.0, 0.0]),
        np.array([0.0, -1.0, 0.0, np.nan]),
        twice=False,
        dtypes=False,
    ),
    case("torch.ldexp(a, b)", (3, 4), ints(4)),
    case("torch.ldexp(a, b)", (3,), (3,)),
    case("torch.ldexp(a, b)", ints(3), ints(3)),
    case("torch.nextafter(a, b)", (3, 4), (4,), differentiable=False),
    case(
        "torch.nextafter(a, b)",
        np.array([0.0, 1.0, -1.0, np.inf, np.nan, 0.0, 5e-324]),
        np.array([1.0, 2.0, 1.0, 0.0, 1.0, -0.0, 0.0]),
        differentiable=False,
        dtypes=False,
    ),
    case(
        "torch.copysign(a, b)",
        np.array([1.0, -2.0, 0.0, -0.0]),
        np.array([-0.0, 0.0, -1.0, 2.0]),
        twice=False,
    ),
    case("torch.copysign(a, -1)", ints(4)),
    case("torch.copysign(a, b)", ints(4), ints(4, low=-3)),
    case("torch.heaviside(a, b)", np.array([-1.0, 0.0, 2.0, np.nan]), (4,), differentiable=False),
    case("torch.heaviside(a, b)", ints(4, low=-2), ints(4)),
    case("torch.lerp(a, b, 0.3)", (3, 4), (4,)),
    case("torch.lerp(a, b, 0.7)", (3, 4), (4,)),
    case("torch.lerp(a, b, c)", (3, 4), (4,), uniform(3, 1)),
    case("torch.lerp(a, b, weight=0.5)", (3,), (3,)),
    case("torch.lerp(a, end=b, weight=c)", (3,), (3,), ()),
    case("torch.lerp(a, b, 2)", (3,), (3,)),
    case("torch.lerp(a, b, c)", (), (), ()),
    case("torch.addcmul(a, b, c)", (3, 4), (4,), (3, 1)),
    case("torch.addcmul(a, b, c, value=-0.5)", (3, 4), (4,), (3, 1)),
    case("torch.addcmul(a, b, c, value=2)", ints(3), ints(3), ints(3)),
    case("torch.addcdiv(a, b, c)", (3, 4), (4,), uniform(3, 1, low=0.5, high=2)),
    case("torch.addcdiv(a, b, c, value=0.5)", (3, 4), (4,), uniform(3, 1, low=0.5, high=2)),
    case("torch.where(a > 0, b, c)", (3, 4), (4,), (3, 1)),
    case("torch.where(a, b, 2.0)", bools(3), (3,)),
    case("torch.where(a, b, 2)", bools(3), ints(3)),
    case("torch.where(condition=a, input=b, other=c)", bools(3), (3,), (3,)),
    case("b.where(a, c)", bools(3), (3,), (3,)),
    case("b.where(a, 0.5)", bools(3), (3,)),
    case("torch.isclose(a, b)", (3, 4), (4,), differentiable=False),
    case("torch.isclose(a, b, rtol=0.5, atol=0.1)", (3, 4), (4,), differentiable=False),
    case(
        "torch.isclose(a, b, equal_nan=True)",
        np.array([np.nan, 1.0, np.inf]),
        np.array([np.nan, np.nan, np.inf]),
        differentiable=False,
    ),
    case("torch.isclose(a, b)", ints(5), ints(5)),
    case("torch.allclose(a, a + 1e-9)", (3, 4), differentiable=False, dtypes=False),
    case("torch.allclose(a, b, rtol=1.0, atol=9)", (3, 4), (4,), differentiable=False),
    case("torch.allclose(a, a, equal_nan=True)", np.array([np.nan]), differentiable=False),
    case("torch.allclose(a, a)", np.array([np.nan]), differentiable=False),
    case("torch.equal(a, b)", (3, 4), (3, 4), differentiable=False),
    case("torch.equal(a, a.clone())", (3, 4), differentiable=False),
    case("torch.equal(a, b)", (3, 4), (4,), differentiable=False),
    case("torch.equal(a, a)", np.array([np.nan, 1.0]), differentiable=False),
    case("torch.fill(a, 2.5)", (3, 4)),
    case("torch.fill(a, 2)", ints(3)),
    case("torch.fill(a, value=b)", (3,), ()),
    case("a.clone().fill_(b)", (3,), ()),
    case("torch.fill_(a, 2)", (3, 4), differentiable=False),
    case("torch.zero_(a.clone())", (3, 4)),
    case("a.clone().zero_()", (3, 4)),
    *[
        case(f"str(torch.result_type({t})).split('.')[1]", ints(3), ())
        for t in ("a, 1.5", "2, 1.5", "a, b")
    ],
]

# Ties and other kinks of two arguments
_T = np.array([1.0, 2.0, 2.0, np.nan, 3.0])
_U = np.array([1.0, 3.0, 1.0, 2.0, np.nan])
CASES += [
    case(f"torch.{name}(a, b)", _T, _U, twice=False, dtypes=False)
    for name in ("maximum", "minimum", "fmax", "fmin", "max", "min")
]
CASES += [
    case(
        "torch.atan2(a, b)",
        np.array([0.0, -0.0, 0.0, 1.0]),
        np.array([0.0, -0.0, -1.0, 0.0]),
        twice=False,
        dtypes=False,
    ),
    case("torch.hypot(a, b)", np.array([0.0, 3.0]), np.array([1.0, 4.0]), dtypes=False),
    case(
        "torch.logaddexp(a, b)",
        np.array([1.0, np.inf, -np.inf, 500.0]),
        np.array([1.0, np.inf, -np.inf, -500.0]),
        twice=False,
        dtypes=False,
    ),
    case(
        "torch.logaddexp2(a, b)",
        np.array([1.0, np.inf, -np.inf, 500.0]),
        np.array([1.0, np.inf, -np.inf, -500.0]),
        differentiable=False,
        dtypes=False,
    ),
]

# Promotion: a tensor with dimensions, one without, and numbers
_DTYPES = ("uint8", "int8", "int32", "int64", "float32", "float64", "bool")
CASES += [
    case(
        f"torch.{f}(a.to(torch.{s}), b.to(torch.{t}))",
        ints(4, low=1),
        ints(*shape, low=1),
        strided=False,
    )
    for f in ("add", "mul", "div", "eq", "maximum", "pow", "remainder", "atan2")
    for s in _DTYPES
    for t in _DTYPES
    for shape in ((4,), ())
    if f in ("add", "div") or s != t
]
CASES += [
    case(f"a.to(torch.{s}) {op} {v}", ints(4, low=1), strided=False)
    for op in ("+", "*", "/", "//", "%", "**", "<")
    for s in _DTYPES
    for v in ("2", "2.5", "True")
    if not (s == "bool" and v == "True" and op in ("//", "%", "**"))
]
CASES += [
    case(f"a.to(torch.{s}).add_(b.to(torch.{t}))", ints(4), ints(4), strided=False)
    for s, t in [
        ("int32", "int64"),
        ("float32", "float64"),
        ("uint8", "int32"),
        ("float32", "int64"),
        ("int64", "bool"),
    ]
]

ERRORS = [
    case("a << 2", (3,)),
    case("a >> b", (3,), (3,)),
    case("a - True", (3,)),
    case("True - a", (3,)),
    case("torch.rsub(a, True)", ints(3)),
    case("torch.subtract(a, True)", ints(3)),
    case("torch.add(a, b)", (3, 4), (3,)),
    case("torch.add(a, 'x')", (3,)),
    case("torch.add(a)", (3,)),
    case("torch.add(a, b, alpha=0.5)", ints(3), ints(3)),
    case("torch.add(a, b, beta=1)", (3,), (3,)),
    case("torch.sub(a, b, alpha=0.5)", ints(3), ints(3)),
    case("torch.add([1], a)", (3,)),
    case("torch.add(a, 1, alpha='x')", (3,)),
    case("torch.add(a, True, alpha='x')", (3,)),
    case("a - b", bools(3), bools(3)),
    case("torch.sub(a, True)", bools(3)),
    case("torch.rsub(a, b)", bools(3), bools(3)),
    case("-a", bools(3)),
    case("torch.neg(a)", bools(3)),
    case("torch.positive(a)", bools(3)),
    case("a.add_(1.5)", ints(3)),
    case("a.add_(b)", ints(3), (3,)),
    case("a.mul_(b)", ints(3), (3,)),
    case("a.div_(b)", ints(3), ints(3)),
    case("a.div_(2)", ints(3)),
    case("a.add_(b)", (3,), (2, 3)),
    case("a.exp_()", ints(3)),
    case("a.sqrt_()", ints(3)),
    case("a.sigmoid_()", ints(3)),
    case("a.clamp_(0.5)", ints(3)),
    case("a.pow_(0.5)", ints(3)),
    case("a.add_(b)", bools(3), ints(3)),
    case("a.atan2_(b)", ints(3), ints(3)),
    case("a.eq_('x')", ints(3)),
    case("a.add_('x')", (3,)),
    case("torch.exp('x')"),
    case("torch.exp(a, a)", (3,)),
    case("torch.exp()"),
    case("torch.exp(1.0)"),
    case("torch.abs([1.0])"),
    case("torch.relu(a)", bools(3)),
    case("torch.relu(2.0)"),
    case("torch.clamp(a)", (3,)),
    case("torch.clamp(a, 'x')", (3,)),
    case("torch.clamp(a, b, 1)", (3,), (3,)),
    case("torch.clamp_min(a)", (3,)),
    case("torch.clamp(a, b)", (3,), (4,)),
    case("torch.logit(a, eps='x')", uniform(3)),
    case("torch.nan_to_num(a, 'x')", (3,)),
    case("torch.round(a, decimals=1)", ints(3)),
    case("torch.round(a, decimals=0.5)", (3,)),
    case("torch.round(a, 1)", (3,)),
    case("torch.bitwise_not(a)", (3,)),
    case("~a", (3,)),
    case("a & b", (3,), (3,)),
    case("a | 1.5", ints(3)),
    case("torch.bitwise_and(a, b)", (3,), (3,)),
    case("torch.bitwise_xor(a, 2.5)", ints(3)),
    case("a << b", bools(3), bools(3)),
    case("torch.gcd(a, b)", (3,), (3,)),
    case("torch.lcm(a, b)", (3,), ints(3)),
    case("torch.gcd(a, 2)", ints(3)),
    case("torch.lcm(a, b)", bools(3), bools(3)),
    case("torch.div(a, b, rounding_mode='up')", (3,), (3,)),
    case("torch.div(a, b, rounding_mode=1)", (3,), (3,)),
    case("torch.div(a, b, 'floor')", (3,), (3,)),
    case("torch.floor_divide(a, 0)", ints(3)),
    case("torch.remainder(a, 0)", ints(3)),
    case("torch.fmod(a, 0)", ints(3)),
    case("a // 0", ints(3)),
    case("torch.pow(a, -1)", ints(3)),
    case("torch.pow(2, 3)"),
    case("torch.pow(a, 'x')", (3,)),
    case("torch.pow(a)", (3,)),
    case("torch.float_power(a, 'x')", (3,)),
    case("a.float_power_(2)", ints(3)),
    case("a.float_power_(2)", np.ones(3, np.float32)),
    case("torch.maximum(a, 2.0)", (3,)),
    case("torch.fmin(a, 1)", (3,)),
    case("torch.maximum(a, b)", (3,), (4,)),
    case("torch.atan2(a, 1.0)", (3,)),
    case("torch.hypot(a, 1.0)", (3,)),
    case("torch.hypot(a, b)", ints(3), ints(3)),
    case("torch.logaddexp(a, b)", ints(3), ints(3)),
    case("torch.logaddexp2(a, b)", ints(3), ints(3)),
    case("torch.logaddexp(a, 1.0)", (3,)),
    case("torch.eq(a, 'x')", (3,)),
    case("torch.lt(a, b)", (3,), (4,)),
    case("torch.logical_and(a, 1)", (3,)),
    case("torch.logical_not(1)"),
    case("torch.lerp(a, b, c)", (3,), (3,), np.ones(3, np.float32)),
    case("torch.lerp(a, 1.0, 0.5)", (3,)),
    case("torch.lerp(a, b, 0.5)", (3,), np.ones(3, np.float32)),
    case("torch.lerp(a, b, 0.5)", ints(3), ints(3)),
    case("torch.lerp(a, b)", (3,), (3,)),
    case("torch.lerp(a, b, 0.5)", (3,), (4,)),
    case("torch.addcmul(a, b, 1.0)", (3,), (3,)),
    case("torch.addcmul(a, b, c)", (3,), (4,), (3,)),
    case("torch.addcmul(a, b)", (3,), (3,)),
    case("a.imag", (3,)),
    case("torch.addcdiv(a, b, c)", ints(3), ints(3), ints(3, low=1)),
    case("torch.addcdiv(a, b, c)", (3,), (4,), (3,)),
    case("torch.addcdiv(a, b)", (3,), (3,)),
    case("torch.where(a, b, c)", ints(3), (3,), (3,)),
    case("torch.where(a, b)", bools(3), (3,)),
    case("torch.where(a, b, c)", bools(3), (3,), (4,)),
    case("torch.isclose(a, b)", (3,), ints(3)),
    case("torch.isclose(a, b, rtol=-1)", (3,), (3,)),
    case("torch.isclose(a, b, atol=-1)", (3,), (3,)),
    case("torch.isclose(a, 1.0)", (3,)),
    case("torch.allclose(a, b)", (3,), (4,)),
    case("torch.equal(a, 1.0)", (3,)),
    case("torch.fill(a, b)", (3,), (3,)),
    case("torch.fill(a)", (3,)),
    case("a.fill_('x')", (3,)),
    case("torch.heaviside(a, b)", (3,), ints(3)),
    case("torch.heaviside(a, 1.0)", (3,)),
    case("torch.nextafter(a, b)", ints(3), ints(3)),
    case("torch.nextafter(a, 1.0)", (3,)),
    case("torch.frexp(a)", ints(3)),
    case("torch.frexp(1.0)"),
    case("torch.erfinv('x')"),
    case("torch.polygamma(-1, a)", (3,)),
    case("torch.polygamma(a, 1)", (3,)),
    case("torch.xlogy(a, 'x')", (3,)),
    case("torch.xlogy(1, 2)"),
    case("torch.signbit(1.0)"),
    case("torch.copysign(a, 'x')", (3,)),
    case("a.copysign_(b)", ints(3), ints(3)),
    case("a.xlogy_(b)", ints(3), ints(3)),
    case("a.lgamma_()", ints(3)),
    case("a.logical_and('x')", ints(3)),
    case("bool(a)", (3,)),
    case("a + [1, 2, 3]", (3,)),
    case("a * 'x'", (3,)),
    case("a @ 2", (3,)),
    case("a ** 'x'", (3,)),
    case("a[0] < 'x'", (3,)),
    case("a.hypot_(b)", ints(3), ints(3)),
    case("a.ldexp_(b)", ints(3), ints(3)),
    case("a.true_divide_(2)", ints(3)),
    case("torch.sigmoid(None)"),
    case("torch.conj(1)"),
    case("torch.clamp(a, 0.5, 'x')", (3,)),
    case("torch.isreal(1.0)"),
]
