"""Reductions: over no, one or several dims, kept or not, of every kind of number."""

import numpy as np

from nbgrad.testing.cases import bools, case, distinct, ints, uniform

#: shape -> arguments that say over what
WHERE = [
    ((3, 4), ""),
    ((3, 4), "1"),
    ((3, 4), "0, True"),
    ((3, 4), "dim=-1, keepdim=True"),
    ((2, 3, 4), "-2"),
    ((0, 3), "1"),
    ((1,), "0"),
    ((), ""),
    ((), "0"),
    ((63,), ""),
    ((63,), "0"),
    ((2, 3, 4), "1, keepdim=True"),
]
SEVERAL = [
    ((2, 3, 4), "(0, 2)"),
    ((2, 3, 4), "[1, -1], keepdim=True"),
    ((2, 3, 4), "dim=(0, 1, 2)"),
    ((2, 3, 4), "(-1,)"),
    ((2, 3, 4), "None, True"),
    ((2, 3, 4), "dim=None"),
    ((2, 3, 4), "axis=1"),
    ((2, 3, 4), "axis=(0, 1), keepdims=True"),
    ((2, 3, 4), "dim=1, keepdims=True"),
]
FLOAT = ["sum", "mean", "var", "std", "var_mean", "std_mean", "nansum", "nanmean"]
ONE_DIM = ["prod", "max", "min", "median", "nanmedian", "mode"]  # these take one dim
LOGICAL = ["all", "any", "argmax", "argmin", "count_nonzero"]


def call(name, where):
    return f"torch.{name}(a{', ' if where else ''}{where})"


def ok(name, shape, where):
    """Whether PyTorch's function has this form."""
    if name == "logsumexp" and not where:
        return False
    if name in ("count_nonzero",) and ("keepdim" in where or "True" in where):
        return False
    if name in ("var", "std", "var_mean", "std_mean") and where == "0, True":
        return False  # the second place is `unbiased`
    if name == "mode" and not where:
        return True
    return not (
        0 in shape
        and where in ("", "0")
        and name in ("max", "min", "amax", "amin", "median", "mode")
    )


#: the dtype matrix is tried at one shape
CASES = [
    case(
        call(name, where),
        distinct(*shape),
        differentiable=name not in LOGICAL,
        dtypes=shape == (3, 4),
        strided=len(shape) > 1,
    )
    for name in [*FLOAT, *ONE_DIM, *LOGICAL, "amax", "amin", "logsumexp"]
    for shape, where in WHERE
    if ok(name, shape, where)
    and not (name in ("var", "std", "var_mean", "std_mean") and shape in ((1,), ()))
    # a whole median of an empty tensor is nan, of integers an accident
]
CASES += [
    case(
        call(name, where),
        distinct(2, 3, 4),
        differentiable=name not in LOGICAL,
        dtypes=False,
        strided=False,
    )
    for name in [*FLOAT, "all", "any", "amax", "amin", "logsumexp", "count_nonzero"]
    for _, where in SEVERAL
    if not (name in ("logsumexp", "amax", "amin") and "None" in where)
    and not (name in ("all", "any") and where == "None, True")
    and not (name == "count_nonzero" and ("keep" in where or "True" in where or "axis" in where))
    and not (name in ("var", "std", "var_mean", "std_mean") and where == "None, True")
]
CASES += [
    case(f"torch.{name}(a, dtype=torch.{d})", (3, 4))
    for name in ("sum", "mean", "prod", "nansum")
    for d in ("float64", "float32")
]
CASES += [
    case(f"torch.{name}(a, 1, dtype=torch.float64)", (3, 4)) for name in ("sum", "mean", "prod")
]
CASES += [
    case(f"torch.sum(a, dtype=torch.{d})", ints(3, 4))
    for d in ("int32", "uint8", "float32", "bool")
]
CASES += [
    case(f"torch.{name}(a)", operand)
    for name in (
        "sum",
        "prod",
        "all",
        "any",
        "count_nonzero",
        "amax",
        "argmax",
        "max",
        "min",
        "nansum",
        "argmin",
    )
    for operand in (
        ints(3, 4),
        ints(5, low=-4),
        ints(0) if name not in ("amax", "argmax", "max", "min", "argmin") else ints(1),
    )
]
CASES += [
    case(f"torch.{name}(a)", bools(3, 4))
    for name in ("sum", "prod", "all", "any", "count_nonzero", "amax", "amin", "max", "min")
]
CASES += [
    case(f"torch.{name}(a, 1)", bools(3, 4))
    for name in ("sum", "prod", "all", "any", "count_nonzero", "amax", "max", "min")
]
CASES += [
    case("torch.all(a, 1)", (ints(3, 4))),
    case("torch.any(a, (0, 1))", ints(3, 4)),
    case("torch.all(a)", np.array([1, 0, 3], np.uint8)),
    case("torch.any(a, 0)", np.array([0, 0], np.uint8)),
    case("torch.all(a, 0)", ints(0, 3)),
    case("torch.any(a, 0)", ints(0, 3)),
    case("torch.sum(a)", ints(0)),
    case("torch.sum(a, 0)", (0, 3)),
    case("torch.prod(a, 0)", (0, 3)),
    case("torch.mean(a)", (0, 3)),
    case("torch.mean(a, 0)", (0, 3)),
    case("torch.prod(a)", (0,)),
    case("torch.logsumexp(a, 1)", (0, 3)),
    case("torch.logsumexp(a, 0)", (0, 3), twice=False),
    case("torch.amax(a, 1)", (0, 3)),
    case("torch.max(a, 1)", (0, 3)),
    case("torch.argmax(a, 1)", (0, 3)),
    case("torch.sum(a, ())", (3, 4)),
    case("torch.mean(a, [])", (3, 4)),
    case("torch.amax(a)", (3, 4)),
    case("torch.amin(a, keepdim=True, dim=())", (3, 4)),
    case("torch.amax(a, dim=[0])", (3, 4)),
    case("torch.argmax(a, dim=None, keepdim=True)", distinct(3, 4), differentiable=False),
    case("torch.argmin(a, keepdim=True)", distinct(3, 4), differentiable=False),
]
# Ties, zeros, NaN, infinities
_TIES = np.array([[1.0, 3.0, 3.0, 2.0], [5.0, 5.0, 5.0, 5.0], [0.0, -0.0, -1.0, -1.0]])
_NAN = np.array(
    [[1.0, np.nan, 3.0], [np.nan, np.nan, np.nan], [4.0, -5.0, np.nan], [2.0, 1.0, 0.0]]
)
CASES += [
    case(f"torch.{f}", _TIES, dtypes=False)
    for f in (
        "amax(a, 1)",
        "amin(a, 1)",
        "amax(a)",
        "amin(a)",
        "max(a)",
        "min(a)",
        "amax(a, (0, 1))",
        "median(a)",
        "median(a, 1).values",
        "max(a, 1).values",
        "prod(a)",
        "prod(a, 1)",
        "prod(a, 0)",
        "std(a, 1)",
        "var(a, 1)",
        "logsumexp(a, 1)",
        "norm(a, dim=1)",
        "nanmedian(a)",
    )
]
CASES += [
    case(f"torch.{f}", _NAN, dtypes=False, twice=False)
    for f in (
        "amax(a, 1)",
        "amin(a, 1)",
        "amax(a)",
        "max(a, 1)",
        "min(a, 1)",
        "sum(a)",
        "nansum(a)",
        "nansum(a, 1)",
        "nanmean(a)",
        "nanmean(a, 0, True)",
        "median(a)",
        "median(a, 1).values",
        "nanmedian(a)",
        "nanmedian(a, 1).values",
        "nanmedian(a, 0)",
        "argmax(a, 1)",
        "all(a)",
        "any(a, 1)",
        "count_nonzero(a)",
        "nansum(a, 1, dtype=torch.float32)",
        "nanmean(a, (0, 1))",
    )
]
CASES += [
    case("torch.prod(a)", np.array([2.0, 0.0, 3.0])),
    case("torch.prod(a)", np.array([2.0, 0.0, 0.0])),
    case("torch.prod(a, 1)", np.array([[2.0, 0.0, 3.0], [0.0, 0.0, 1.0], [1.0, 2.0, 3.0]])),
    case("torch.logsumexp(a, 0)", np.array([1e3, 1e3, -1e3])),
    case("torch.logsumexp(a, 0)", np.array([-np.inf, -np.inf]), twice=False, differentiable=False),
    case("torch.logsumexp(a, 0)", np.array([np.inf, 1.0]), differentiable=False),
    case("torch.std(a)", np.array([2.0, 2.0, 2.0])),
    case("torch.var(a)", (1,), twice=False),
    case("torch.std(a)", (1,), twice=False),
    case("torch.var(a)", (0,), twice=False),
    case("torch.logsumexp(a, (0, 1))", ints(3, 4)),
    case("torch.logsumexp(a, dim=0)", ints(3)),
]
# Variance: the forms
CASES += [
    case(f"torch.{name}(a{more})", (3, 4), dtypes=False)
    for name in ("var", "std", "var_mean", "std_mean")
    for more in (
        ", False",
        ", True",
        ", unbiased=False",
        ", 1, False",
        ", 1, True, True",
        ", dim=0, unbiased=False",
        ", correction=0",
        ", 1, correction=2",
        ", dim=1, correction=0, keepdim=True",
        ", (0, 1), correction=1.5",
        ", dim=(0, 1), unbiased=True, keepdim=True",
        ", dim=None, correction=0",
        ", [0], keepdim=True",
        ", None, keepdim=True",
    )
]
# Norms
_NORMS = ["0", "1", "2", "3", "0.5", "-1", "-2", "float('inf')", "-float('inf')", "'fro'", "None"]
CASES += [
    case(f"torch.norm(a, {p}{more})", shape, dtypes=False)
    for p in _NORMS
    for shape, more in (((3, 4), ""), ((3, 4), ", 1"), ((2, 3, 4), ", dim=(0, 2), keepdim=True"))
    if p != "None"
]
CASES += [
    case(
        f"torch.norm(a, {p}, 1)",
        np.array([[0.0, 0.0, 0.0], [0.0, 1.0, -2.0], [3.0, 3.0, -3.0]]),
        dtypes=False,
        twice=p == "1",
    )
    for p in ("1", "2", "3", "float('inf')", "-float('inf')", "'fro'", "0")
]
CASES += [case("torch.norm(a)", shape) for shape in ((3, 4), (0, 3), (1,), (), (63,))]
CASES += [
    case("torch.norm(a)", np.zeros(4), twice=False),
    case("torch.norm(a, dtype=torch.float64)", (3, 4)),
    case("a.norm(p=1, dim=0)", (3, 4)),
    case("torch.norm(a, 3, 0, True)", (3, 4), dtypes=False),
    case("torch.norm(a, p='fro', dim=(0, 1))", (3, 4)),
    case("torch.norm(a, 2, None)", (3, 4)),
    case("torch.norm(a, dim=-1)", (2, 3, 4)),
    case("torch.norm(a, p=1.5, dim=[0])", (3, 4)),
    case("torch.norm(a, 2, 0)", (0, 3)),
]
# Ways to call
CASES += [
    case("torch.sum(input=a, dim=0)", (3, 4)),
    case("torch.sum(dim=0, input=a, keepdim=True)", (3, 4)),
    case("torch.max(a, axis=0)", distinct(3, 4)),
    case("torch.mean(a, axis=(0, 1))", (3, 4)),
    case("torch.max(input=a, dim=1, keepdim=True)", distinct(3, 4)),
    case("a.max(1).indices", distinct(3, 4), differentiable=False),
    case("a.min(dim=0).values", distinct(3, 4)),
    case("torch.max(a, 0)[1]", distinct(3, 4), differentiable=False),
    case("a.sum((0, 1))", (3, 4)),
    case("a.mean(0, keepdim=True)", (3, 4)),
    case("a.all(axis=1)", bools(3, 4)),
    case("a.var(0, False)", (3, 4)),
    case("a.std(unbiased=False)", (3, 4)),
    case("torch.all(input=a)", bools(3)),
]
# Two at once
CASES += [
    case(f"torch.aminmax(a{more})", distinct(*shape), dtypes=shape == (3, 4))
    for shape, more in (
        ((3, 4), ""),
        ((3, 4), ", dim=1"),
        ((3, 4), ", dim=0, keepdim=True"),
        ((), ""),
        ((5,), ", dim=-1"),
    )
]
CASES += [case("torch.aminmax(a)", ints(3, 4)), case("a.aminmax(dim=1).max", distinct(3, 4))]
# Ranks
CASES += [
    case(f"torch.{name}(a{more})", distinct(*shape), dtypes=False)
    for name in ("median", "nanmedian")
    for shape, more in (
        ((3, 4), ", 1"),
        ((3, 5), ", -1, True"),
        ((5, 3), ", dim=0"),
        ((6,), ""),
        ((7,), ""),
        ((), ""),
        ((3, 4), ""),
    )
]
CASES += [
    case("torch.median(a)", ints(7)),
    case("torch.median(a, 0).values", ints(6)),
    case("torch.mode(a).values", ints(9)),
    case("torch.mode(a, 0).values", ints(6, 2)),
    case("torch.mode(a, dim=-1, keepdim=True).values", ints(3, 7)),
    case("torch.median(a)", (0,), twice=False, dtypes=False),
    case("torch.nanmedian(a)", (0,), twice=False, dtypes=False),
]
_Q = "torch.tensor([0.1, 0.5, 0.9], dtype=a.dtype)"
for _name in ("quantile", "nanquantile"):
    CASES += [
        case(
            f"torch.{_name}(a, {q}{more})",
            distinct(3, 5),
            strided=False,
            dtypes=more in ("", ", 1") and q == "0.3",
        )
        for q in ("0.3", "0", "1", "0.5", _Q)
        for more in ("", ", 1", ", 0, True", ", dim=-1, keepdim=True")
    ]
    CASES += [
        case(f"torch.{_name}(a, {q}, interpolation='{i}')", distinct(7), dtypes=False)
        for q in ("0.3", "0.45", _Q)
        for i in ("linear", "lower", "higher", "midpoint", "nearest")
    ]
    CASES += [
        case(
            f"torch.{_name}(a, 0.4, 1)",
            np.array([[1.0, np.nan, 3.0], [4.0, 2.0, 5.0]]),
            dtypes=False,
            twice=False,
        ),
        case(
            f"torch.{_name}(a, b, dim=0)",
            distinct(5, 2),
            uniform(3),
            differentiable=False,
            dtypes=False,
        ),
        case(f"torch.{_name}(a, 0.5)", (1,)),
        case(f"torch.{_name}(a, 0.25)", ()),
        case(f"a.{_name}(0.75, 0)", distinct(4, 3), dtypes=False),
    ]
# Statistics of variables
CASES += [case(f"torch.cov(a{more})", (3, 5)) for more in ("", ", correction=0")]
CASES += [
    case("torch.cov(a)", (5,)),
    case("torch.cov(a, fweights=b)", (3, 5), ints(5, low=1)),
    case("torch.corrcoef(a)", (5,)),
    case("torch.cov(a, aweights=b)", (3, 5), uniform(5, low=0.5, high=2), dtypes=False),
    case(
        "torch.cov(a, correction=0, fweights=b, aweights=c)",
        (3, 5),
        ints(5, low=1),
        uniform(5, low=0.5, high=2),
        dtypes=False,
    ),
    case("torch.corrcoef(a)", (3, 5)),
    case("torch.cov(a)", (1, 4)),
    case("torch.cov(a)", ()),
    case("torch.corrcoef(a)", (2, 9), dtypes=False),
]
CASES += [
    case(f"torch.dist(a, b{more})", (3, 4), (4,), dtypes=not more)
    for more in ("", ", 1", ", 3", ", float('inf')", ", p=2", ", p=0.5")
]
CASES += [
    case("torch.dist(a, b)", (0,), (0,)),
    case("torch.dist(a, a)", (3,), twice=False),
    case("torch.renorm(a, 2, 0, 1.0)", (3, 4)),
    case("torch.renorm(a, p=1, dim=1, maxnorm=0.5)", (3, 4)),
    case("torch.renorm(a, 2.5, -1, 0.7)", (2, 3, 4)),
    case("torch.renorm(a, 2, 0, 1e9)", (3, 4)),
    case("torch.renorm(a, float('inf'), 0, 0.5)", distinct(3, 4)),
]

ERRORS = [
    case(f"torch.{name}(a, {more})", (3, 4))
    for name in [*FLOAT, *ONE_DIM, *LOGICAL, "amax", "amin", "logsumexp"]
    for more in ("2", "-3", "'x'", "1.5", "foo=1")
]
ERRORS += [
    case(f"torch.{name}(a, (0, 0))", (3, 4))
    for name in [*FLOAT, "amax", "logsumexp", "count_nonzero", "all"]
]
ERRORS += [case(f"torch.{name}(a, (0, 1))", (3, 4)) for name in [*ONE_DIM, "argmax", "argmin"]]
ERRORS += [
    case(f"torch.{name}(1.5)")
    for name in [*FLOAT, *ONE_DIM, *LOGICAL, "amax", "aminmax", "cov", "corrcoef"]
]
ERRORS += [
    case(f"torch.{name}(a)", ints(3))
    for name in ("mean", "var", "std", "var_mean", "std_mean", "norm", "nanmean")
]
ERRORS += [
    case(f"torch.{name}(a)", (0,))
    for name in ("max", "min", "argmax", "argmin", "amax", "amin", "aminmax")
]
ERRORS += [
    case(f"torch.{name}(a, 0)", (0, 3)) for name in ("max", "argmin", "amax", "median", "mode")
]
ERRORS += [
    case("torch.logsumexp(a)", (3,)),
    case("torch.sum(a, 0, 1, 2)", (3,)),
    case("torch.sum(a, dtype='x')", (3,)),
    case("torch.mean(a, dtype=torch.int64)", (3,)),
    case("torch.prod(a, keepdim=True)", (3,)),
    case("torch.max(a, keepdim=True)", (3,)),
    case("torch.max(a, b, c)", (3,), (3,), (3,)),
    case("torch.count_nonzero(a, 0, True)", (3, 4)),
    case("torch.var(a, 0, True, correction=1)", (3, 4)),
    case("torch.var(a, unbiased=True, correction=1)", (3, 4)),
    case("torch.norm(a, 'x')", (3,)),
    case("torch.norm(a, float('inf'), 0)", (0, 3)),
    case("torch.norm(a, 2, 5)", (3,)),
    case("torch.norm(a, dtype=torch.int64)", (3,)),
    case("torch.argmax(a > 0)", (3,)),
    case("torch.argmax(a, dim=1, keepdim=2.5)", (3, 4)),
    case("torch.quantile(a, 1.5)", (3,)),
    case("torch.quantile(a, -0.1)", (3,)),
    case("torch.quantile(a, 0.5, 3)", (3,)),
    case("torch.quantile(a, 0.5)", ints(3)),
    case("torch.quantile(a, b)", (3,), (2, 2)),
    case("torch.quantile(a, b)", (3,), np.ones(1, np.float32)),
    case("torch.quantile(a, 0.5, interpolation='x')", (3,)),
    case("torch.quantile(a, 0.5)", (0,)),
    case("torch.quantile(a)", (3,)),
    case("torch.nanquantile(a, 2.0)", (3,)),
    case("torch.nanquantile(a, 0.5)", ints(3)),
    case("torch.cov(a)", (2, 3, 4)),
    case("torch.cov(a, fweights=b)", (3, 5), (5,)),
    case("torch.cov(a, fweights=b)", (3, 5), ints(4)),
    case("torch.cov(a, aweights=b)", (3, 5), ints(5)),
    case("torch.cov(a, aweights=b)", (3, 5), uniform(4)),
    case("torch.cov(a > 0)", (3, 4)),
    case("torch.corrcoef(a)", (2, 3, 4)),
    case("torch.cov(a, fweights=-b)", (3, 5), ints(5, low=1)),
    case("torch.dist(a, 1.0)", (3,)),
    case("torch.dist(a, b)", (3,), (4,)),
    case("torch.dist(a, b)", ints(3), ints(3)),
    case("torch.renorm(a, 2, 0, 1)", (3,)),
    case("torch.renorm(a, -1, 0, 1)", (3, 4)),
    case("torch.renorm(a, 2, 0, -1)", (3, 4)),
    case("torch.renorm(a, 2, 2, 1)", (3, 4)),
    case("torch.aminmax(a, 1)", (3, 4)),
    case("torch.aminmax(a, dim=2)", (3, 4)),
    case("torch.median(a > 0)", (3,)),
    case("torch.nansum(a, 'x')", (3,)),
    case("torch.all(a, dim='x')", (3,)),
]
