"""Scans, sorts, differences and areas."""

import numpy as np

from nbgrad.testing.cases import bools, case, distinct, ints

_WHERE = [
    ((3, 4), "1"),
    ((3, 4), "dim=0"),
    ((2, 3, 4), "-2"),
    ((0, 3), "1"),
    ((0, 3), "0"),
    ((1,), "0"),
    ((), "0"),
    ((63,), "-1"),
    ((3, 4), "axis=1"),
]
_NO_ZEROS = {"cumprod": (0.5, 2.0)}
CASES = [
    case(
        f"torch.{name}(a, {where})",
        distinct(*shape),
        dtypes=shape == (3, 4),
        strided=len(shape) > 1,
    )
    for name in ("cumsum", "cumprod", "cummax", "cummin", "logcumsumexp", "sort")
    for shape, where in _WHERE
    # PyTorch finds no largest entry of none
    if not (name in ("cummax", "cummin") and shape == (0, 3) and where == "0")
]
CASES += [
    case(f"torch.{name}(a, 0, dtype=torch.{d})", (3, 4), differentiable=d != "int64")
    for name in ("cumsum", "cumprod")
    for d in ("float64", "int64")
]
CASES += [
    case(f"torch.{name}(a, 0)", operand)
    for name in ("cumsum", "cumprod")
    for operand in (ints(5), bools(5), ints(3, 4))
]
CASES += [
    case("torch.cumprod(a, 0)", np.array([2.0, 0.0, 3.0, 0.0, 1.0])),
    case("torch.cumprod(a, 1)", np.array([[1.0, 0.0, 2.0], [3.0, 4.0, 5.0]])),
    case("torch.cummax(a, 0)", np.array([1.0, 3.0, 3.0, np.nan, 2.0]), dtypes=False),
    case("torch.cummin(a, 0)", np.array([3.0, 1.0, 1.0, np.nan, 0.0]), dtypes=False),
    case("torch.logcumsumexp(a, 0)", np.array([1e3, -1e3, 1e3])),
    case("a.clone().cumsum_(0)", (3, 4)),
    case("a.clone().cumprod_(1)", (3, 4)),
    case("a.cumsum_(0)", ints(4)),
    case("torch.cummax(a, 1).indices", distinct(3, 4), differentiable=False),
]
_SORTS = [
    "",
    ", 0",
    ", dim=-2",
    ", 1, True",
    ", descending=True",
    ", dim=0, descending=True",
    ", stable=True",
    ", stable=True, dim=0, descending=True",
]
CASES += [
    case(f"torch.sort(a{more})", distinct(3, 4), dtypes=False, strided=not more) for more in _SORTS
]
CASES += [
    case(f"torch.argsort(a{more})", distinct(3, 4), differentiable=False, dtypes=not more)
    for more in _SORTS
]
CASES += [
    case(
        "torch.sort(a, stable=True)",
        np.array([2.0, np.nan, 1.0, 2.0, np.inf, -np.inf, 1.0]),
        dtypes=False,
    ),
    case(
        "torch.sort(a, stable=True, descending=True)",
        np.array([2.0, np.nan, 1.0, 2.0, np.nan, -np.inf]),
        dtypes=False,
    ),
    case("torch.sort(a, stable=True)", ints(9)),
    case("torch.sort(a, stable=True)", bools(9)),
    case("torch.argsort(a, stable=True)", ints(9)),
    case("torch.msort(a)", distinct(4, 3)),
    case("torch.msort(a)", distinct(5)),
    case("torch.sort(a)[0]", distinct(5)),
    case("a.sort(1).values", distinct(3, 4)),
    case("a.argsort(dim=0)", distinct(4, 3), differentiable=False),
    case("a.msort()", distinct(4, 3)),
]
_TOPK = [
    "2",
    "3, 0",
    "k=1",
    "2, dim=0",
    "2, largest=False",
    "4, 1, True, True",
    "0",
    "2, -1, False",
]
CASES += [case(f"torch.topk(a, {more})", distinct(4, 5), dtypes=False) for more in _TOPK]
CASES += [
    case("torch.topk(a, 3)", distinct(63), dtypes=False),
    case("torch.topk(a, 1)", ()),
    case("torch.topk(a, 0)", (0,)),
    case("torch.topk(a, 3).values", ints(9)),
    case("a.topk(2).indices", distinct(7), differentiable=False, dtypes=False),
    case("torch.kthvalue(a, 2)", distinct(3, 4), dtypes=False),
    case("torch.kthvalue(a, 1, 0)", distinct(3, 4), dtypes=False),
    case("torch.kthvalue(a, k=3, dim=1, keepdim=True)", distinct(3, 4), dtypes=False),
    case("torch.kthvalue(a, 1)", (), dtypes=False),
]
# Differences and areas
CASES += [
    case(f"torch.diff(a{more})", (4, 5), dtypes=not more)
    for more in ("", ", 2", ", n=3, dim=0", ", dim=-2", ", n=0", ", 9", ", axis=0")
]
CASES += [
    case("torch.diff(a, prepend=b)", (3, 4), (3, 2)),
    case("torch.diff(a, append=b, dim=0)", (3, 4), (1, 4)),
    case("torch.diff(a, 1, 1, b, c)", (3, 4), (3, 1), (3, 1)),
    case("torch.diff(a)", ints(5)),
    case("torch.diff(a)", bools(5)),
    case("torch.diff(a)", (0,)),
    case("torch.diff(a)", (1,)),
    case("torch.diff(a, 2)", (0, 3)),
]
for _name in ("trapezoid", "trapz", "cumulative_trapezoid"):
    CASES += [
        case(f"torch.{_name}(a)", (5,)),
        case(f"torch.{_name}(a, dim=0)", (3, 4)),
        case(f"torch.{_name}(a, dx=0.5)", (3, 4), dtypes=False),
        case(f"torch.{_name}(a, b)", (3, 4), (4,), dtypes=False),
        case(f"torch.{_name}(a, x=b, dim=0)", (3, 4), (3,), dtypes=False),
        case(f"torch.{_name}(a, b)", (3, 4), (3, 4), dtypes=False),
        case(f"torch.{_name}(a)", (1,)),
        case(f"torch.{_name}(y=a, dx=2.0, dim=1)", (2, 3, 4), dtypes=False),
        case(f"torch.{_name}(a)", ints(5)),
        case(f"torch.{_name}(a)", (3, 0)),
    ]
CASES += [
    case(f"torch.gradient(a{more})", (5, 6), dtypes=False)
    for more in (
        "",
        ", dim=0",
        ", spacing=2.0",
        ", spacing=0.5, dim=1",
        ", edge_order=2",
        ", dim=(0, 1)",
        ", spacing=(2.0, 0.5)",
        ", dim=1, edge_order=2",
        ", dim=-1",
    )
]
CASES += [
    case("torch.gradient(a)", (4,), dtypes=False),
    case(
        "torch.gradient(a, spacing=(b,))",
        (5,),
        np.array([0.0, 1.0, 3.0, 4.0, 7.0]),
        dtypes=False,
        differentiable=False,
    ),
    case(
        "torch.gradient(a, spacing=(b,), edge_order=2)",
        (5,),
        np.array([0.0, 1.0, 3.0, 4.0, 7.0]),
        dtypes=False,
        differentiable=False,
    ),
    case("torch.gradient(a)", (2,), dtypes=False),
]

ERRORS = [
    case(f"torch.{name}(a, {more})", (3, 4))
    for name in ("cumsum", "cumprod", "cummax", "cummin", "logcumsumexp")
    for more in ("2", "-3", "'x'", "(0, 1)", "0, foo=1")
]
ERRORS += [
    case(f"torch.{name}(a)", (3, 4))
    for name in ("cumsum", "cumprod", "cummax", "cummin", "logcumsumexp")
]
ERRORS += [
    case(f"torch.{name}(1.5, 0)")
    for name in ("cumsum", "cumprod", "cummax", "logcumsumexp", "topk")
]
ERRORS += [
    case("torch.logcumsumexp(a, 0)", ints(3)),
    case("torch.cumsum(a, 0, dtype='x')", (3,)),
    case("a.cumsum_(0)", bools(3)),
    case("a.cumsum_(0)", (3,)),
    case("torch.sort(a, 2)", (3, 4)),
    case("torch.sort(a, 'x')", (3,)),
    case("torch.sort(1.5)"),
    case("torch.sort(a, foo=1)", (3,)),
    case("torch.argsort(a, 5)", (3,)),
    case("torch.argsort(1.5)"),
    case("torch.argsort(a, 'x')", (3,)),
    case("torch.msort(1)"),
    case("torch.msort(a, 0)", (3,)),
    case("torch.topk(a, 5)", (3,)),
    case("torch.topk(a, -1)", (3,)),
    case("torch.topk(a, 1, 2)", (3, 4)),
    case("torch.topk(a)", (3,)),
    case("torch.topk(a, 'x')", (3,)),
    case("torch.topk(a > 0, 1)", (3,)),
    case("torch.kthvalue(a, 0)", (3,)),
    case("torch.kthvalue(a, 4)", (3,)),
    case("torch.kthvalue(a, 1, 3)", (3, 4)),
    case("torch.kthvalue(a, 1)", (0,)),
    case("torch.diff(a)", ()),
    case("torch.diff(a, -1)", (3,)),
    case("torch.diff(a, 1, 5)", (3,)),
    case("torch.diff(a, prepend=b)", (3, 4), (3,)),
    case("torch.diff(1.5)"),
    case("torch.diff(a, append=b)", (3, 4), (2, 4)),
    case("torch.trapezoid(a, b)", (3, 4), (3,)),
    case("torch.trapezoid(a, dim=3)", (3, 4)),
    case("torch.trapezoid(1.5)"),
    case("torch.trapezoid(a > 0)", (3,)),
    case("torch.cumulative_trapezoid(a, b)", (3, 4), (5,)),
    case("torch.cumulative_trapezoid(a, dim=2)", (3,)),
    case("torch.gradient(a)", (1,)),
    case("torch.gradient(a, edge_order=3)", (5,)),
    case("torch.gradient(a, spacing=(1.0, 2.0))", (5,)),
    case("torch.gradient(a, dim=3)", (5,)),
    case("torch.gradient(a, edge_order=2)", (2,)),
]
