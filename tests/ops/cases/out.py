"""Results written into `out=`: sizes, dtypes, views, gradients and versions."""

import numpy as np

from nbgrad.testing.cases import case, distinct, ints, uniform

_FLAT = {"differentiable": False, "strided": False, "dtypes": False}
_UNARY = [
    "abs",
    "exp",
    "log1p",
    "sqrt",
    "neg",
    "sigmoid",
    "floor",
    "tanh",
    "erf",
    "sinc",
    "lgamma",
    "square",
    "round",
    "sign",
]
_BINARY = [
    "add",
    "sub",
    "mul",
    "div",
    "maximum",
    "atan2",
    "pow",
    "remainder",
    "fmod",
    "eq",
    "lt",
    "logical_and",
    "copysign",
    "xlogy",
    "floor_divide",
    "true_divide",
    "multiply",
    "logaddexp",
    "hypot",
]
#: calls over a, b, c; `{}` is where the result goes
CALLS = [(f"torch.{name}(a, {{}})", [uniform(3, 4, low=0.2, high=2)]) for name in _UNARY]
CALLS += [
    (f"torch.{name}(a, b, {{}})", [uniform(3, 4, low=0.2, high=2), uniform(4, low=0.5, high=2)])
    for name in _BINARY
]
CALLS += [
    ("torch.add(a, b, alpha=2, {})", [(3, 4), (4,)]),
    ("torch.add(a, 2, {})", [(3, 4)]),
    ("torch.mul(a, 0.5, {})", [(3, 4)]),
    ("torch.div(a, b, rounding_mode='floor', {})", [(3, 4), (4,)]),
    ("torch.clamp(a, -0.5, 0.5, {})", [(3, 4)]),
    ("torch.clamp(a, min=b, {})", [(3, 4), (4,)]),
    ("torch.lerp(a, b, 0.3, {})", [(3, 4), (4,)]),
    ("torch.addcmul(a, b, b, {})", [(3, 4), (4,)]),
    ("torch.nan_to_num(a, {})", [(3, 4)]),
    ("torch.bitwise_and(a, b, {})", [ints(3, 4), ints(4)]),
    ("torch.round(a, decimals=1, {})", [(3, 4)]),
    ("torch.sum(a, 0, {})", [(3, 4)]),
    ("torch.sum(a, 1, True, {})", [(3, 4)]),
    ("torch.mean(a, dim=(0, 1), {})", [(3, 4)]),
    ("torch.prod(a, 0, {})", [(3, 4)]),
    ("torch.amax(a, 1, {})", [(3, 4)]),
    ("torch.var(a, 0, {})", [(3, 4)]),
    ("torch.std(a, 1, {})", [(3, 4)]),
    ("torch.all(a, 1, {})", [ints(3, 4)]),
    ("torch.any(a, 0, {})", [ints(3, 4)]),
    ("torch.argmax(a, 0, {})", [distinct(3, 4)]),
    ("torch.logsumexp(a, 1, {})", [(3, 4)]),
    ("torch.norm(a, 2, 1, {})", [(3, 4)]),
    ("torch.nansum(a, 1, {})", [(3, 4)]),
    ("torch.sum(a, 1, {})", [ints(3, 4)]),
    ("torch.mm(a, b, {})", [(3, 4), (4, 2)]),
    ("torch.matmul(a, b, {})", [(3, 4), (4,)]),
    ("torch.bmm(a, b, {})", [(2, 3, 4), (2, 4, 2)]),
    ("torch.mv(a, b, {})", [(3, 4), (4,)]),
    ("torch.dot(a, b, {})", [(4,), (4,)]),
    ("torch.outer(a, b, {})", [(3,), (4,)]),
    ("torch.addmm(a, b, c, beta=2, {})", [(3, 2), (3, 4), (4, 2)]),
    ("torch.addmv(a, b, c, {})", [(3,), (3, 4), (4,)]),
    ("torch.baddbmm(a, b, c, {})", [(2, 3, 2), (2, 3, 4), (2, 4, 2)]),
    ("torch.addr(a, b, c, {})", [(3, 4), (3,), (4,)]),
    ("torch.inner(a, b, {})", [(3, 4), (2, 4)]),
    ("torch.cumsum(a, 1, {})", [(3, 4)]),
    ("torch.cumprod(a, 0, {})", [(3, 4)]),
    ("torch.softmax(a, 1, {})", [(3, 4)]),
    ("torch.logcumsumexp(a, 0, {})", [(3, 4)]),
    ("torch.diff(a, {})", [(3, 4)]),
    ("torch.quantile(a, 0.3, 1, {})", [(3, 4)]),
    ("torch.renorm(a, 2, 0, 1.0, {})", [(3, 4)]),
]
#: an empty tensor of the dtype of the result is what it is written into
CASES = [
    case(
        call.format(f"out=torch.empty(0, dtype={call.format('')}.dtype)".replace(", )", ")")),
        *operands,
        **_FLAT,
    )
    for call, operands in CALLS
]
#: the very tensor comes back, with a version more, written where it lies
CASES += [
    case(
        "[(torch.add(a, b, out=o) is o, o._version, o, w) for w in [torch.zeros(5, 6, dtype=a.dtype)] "
        f"for o in [w[::2, 1:5]]][0][{k}]",
        (3, 4),
        (4,),
        **_FLAT,
    )
    for k in range(4)
]
CASES += [
    case(
        f"[(torch.{call}, w) for w in [torch.zeros(8, 6, dtype=a.dtype)]][0][1]",
        (3, 4),
        (4, 4),
        **_FLAT,
    )
    for call in (
        "mm(a, b, out=w.t()[:3, ::2])",
        "sum(a, 1, out=w[1, ::2])",
        "exp(a, out=w.t()[2:5, 1:5])",
        "mul(a, 2, out=w[2:5, 2:])",
        "matmul(a, b, out=w[:3, :4])",
        "cumsum(a, 0, out=w[::2][:3, ::1][:, :4])",
        "softmax(a, 1, out=w[:3, 1:5])",
    )
]
CASES += [
    case("torch.add(a, b, out=a)", (3, 4), (4,), **_FLAT),
    case("torch.mul(a, a, out=a)", (5,), **_FLAT),
    case("torch.sub(b, a, out=a)", (5,), (5,), **_FLAT),
]
CASES += [
    case(f"torch.{call}", (3, 4), **_FLAT)
    for call in (
        "exp(a, out=torch.ones(2, dtype=torch.float64))",
        "sum(a, 0, out=torch.ones(7, dtype=torch.float64))",
        "add(a, 1, out=torch.ones(30, dtype=torch.float64))",
        "exp(a, out=None)",
        "sum(a, 0, out=None)",
        "add(a, a, alpha=2, out=None)",
    )
]
#: conversions that are allowed
CASES += [
    case(f"torch.{call}", ints(3, 4), **_FLAT)
    for call in (
        "add(a, a, out=torch.empty(0))",
        "mul(a, 2, out=torch.empty(3, 4, dtype=torch.float64))",
        "exp(a, out=torch.empty(0, dtype=torch.float64))",
        "eq(a, a, out=torch.empty(0))",
        "lt(a, 3, out=torch.empty(0, dtype=torch.int64))",
        "sum(a, 0, out=torch.empty(0))",
        "add(a, a, out=torch.empty(0, dtype=torch.int32))",
        "all(a, 0, out=torch.empty(0, dtype=torch.uint8))",
    )
]
CASES += [
    case(f"torch.{call}", (3, 4), **_FLAT)
    for call in (
        "add(a, a, out=torch.empty(0, dtype=torch.float32))",
        "sum(a, 0, out=torch.empty(0, dtype=torch.float32))",
        "mean(a, 0, out=torch.empty(0, dtype=torch.float32))",
    )
]
#: several results
_TWO = "out=(torch.empty(0, dtype=torch.float64), torch.empty(0, dtype=torch.int64))"
CASES += [
    case(f"torch.{call}, {_TWO})", distinct(3, 4), **_FLAT)
    for call in (
        "max(a, 0",
        "min(a, 1, True",
        "sort(a",
        "sort(a, 0, True",
        "topk(a, 2",
        "kthvalue(a, 2",
        "cummax(a, 1",
        "cummin(a, 0",
        "median(a, 1",
        "nanmedian(a, 0",
    )
]
CASES += [
    case(
        f"torch.max(a, 0, {_TWO}).indices",
        distinct(3, 4),
        **_FLAT,
    ),
    case(
        "torch.aminmax(a, dim=0, out=(torch.empty(0, dtype=a.dtype), torch.empty(0, dtype=a.dtype)))",
        distinct(3, 4),
        **_FLAT,
    ),
    case(
        "torch.frexp(a, out=(torch.empty(0, dtype=torch.float64), torch.empty(0, dtype=torch.int32)))",
        (3, 4),
        **_FLAT,
    ),
]

_LONG, _FLOAT = "out=torch.empty(0, dtype=torch.int64)", "out=torch.empty(0)"
ERRORS = [
    case(call.format(_LONG), *[o if callable(o) else uniform(*o) for o in operands])
    for call, operands in CALLS[:33]
    if not any(f".{f}(" in call for f in ("eq", "lt", "logical_and"))
]
ERRORS += [
    case(f"torch.{call}, out=b)", (3, 3), (3, 3))
    for call in (
        "exp(a",
        "add(a, a",
        "sum(a, 0",
        "mm(a, a",
        "cumsum(a, 0",
        "amax(a, 1",
        "div(a, 2",
        "matmul(a, a",
    )
]
ERRORS += [
    case(f"torch.{call}.detach(), out=b)", (3, 3), (3, 3))
    for call in ("exp(a", "mm(a, a", "cumsum(dim=0, input=a")
]
ERRORS += [
    case(f"torch.{call}, out={what})", np.float32([[1.0, 2.0]]))
    for call in ("exp(a", "add(a, 1", "sum(a, 0", "max(a, 0")
    for what in ("'x'", "[1]")
]
ERRORS += [
    case(f"torch.{call}, {_FLOAT})", ints(3, 3)) for call in ("mm(a, a", "argmax(a, 0", "bmm(a, a")
]
ERRORS += [
    case(f"torch.{call}, {_LONG})", (3, 3))
    for call in ("mm(a.detach(), a.detach()", "amax(a.detach(), 0", "matmul(a.detach(), a.detach()")
]
ERRORS += [
    case("torch.argmax(a.detach(), 0, out=torch.empty(0, dtype=torch.int32))", (3, 3)),
    case("torch.all(a, 0, out=torch.empty(0))", ints(3, 3)),
    case("torch.add(a, a, out=torch.zeros(1).expand(3))", np.float32([1, 2, 3])),
    case("torch.max(a, 0, out=torch.empty(0))", ints(2, 3)),
    case("torch.exp(a, out=torch.empty(0), foo=1)", ints(3)),
    case("a.exp(out=torch.empty(0))", np.float32([1])),
    case("a.add(1, out=torch.empty(0))", np.float32([1])),
    case("torch.relu(a, out=torch.empty(0))", np.float32([1])),
    case("F.relu(a, out=torch.empty(0))", np.float32([1])),
]
