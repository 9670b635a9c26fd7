"""The second table: reductions, as a map, a way to combine, and what follows.

`pre` maps an element `x` (and `m`, where `middle` names the reduction that is taken first and gives
it), `combine` joins two partial results `u` and `v` starting from `identity`, `post` turns the
total `s` of `n` elements into the result. `d` is the partial of the result `y` to an element `x`;
`k` is the number of elements tied with the result.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from nbgrad.formulas.elementwise import TABLE as ROWS
from nbgrad.formulas.expr import Expr, eq, ne, select, var, wrap

u, v, x, m, s, n, y, k, p, correction = map(
    var, ("u", "v", "x", "m", "s", "n", "y", "k", "p", "correction"))
exp, log, sqrt, abs_, pow_ = (ROWS[name] for name in ("exp", "log", "sqrt", "abs", "pow"))


@dataclass(frozen=True)
class Reduction:
    """A row of this table; `kind` is as for elementwise rows, `sum` widening integers to int64."""

    name: str
    pre: Expr
    combine: Expr
    identity: float | Literal["lowest", "highest"]
    post: Expr
    d: Expr | None
    params: tuple[str, ...]
    kind: Literal["sum", "float", "same", "bool"]
    empty: bool
    middle: str | None


TABLE: dict[str, Reduction] = {}


def reduction(name: str, *, pre=x, combine=u + v, identity=0, post=s, d=None, params: str = "",
              kind="float", empty: bool = True, middle: str | None = None) -> Reduction:
    made = TABLE[name] = Reduction(
        name, wrap(pre), combine, identity, wrap(post), None if d is None else wrap(d),
        tuple(params.split()), kind, empty, middle)
    return made


_larger = select(ne(v, v), v, select(v > u, v, u))
_smaller = select(ne(v, v), v, select(v < u, v, u))
_shared = select(eq(x, y), 1, 0) / k

sum_ = reduction("sum", d=1, kind="sum")
mean = reduction("mean", post=s / n, d=1 / n)
prod = reduction("prod", combine=u * v, identity=1, kind="sum")
amax = reduction("amax", combine=_larger, identity="lowest", d=_shared, kind="same", empty=False)
amin = reduction("amin", combine=_smaller, identity="highest", d=_shared, kind="same", empty=False)
_truth = select(ne(x, 0), 1, 0)
all_ = reduction("all", pre=_truth, combine=u * v, identity=1, post=ne(s, 0), kind="bool")
any_ = reduction("any", pre=_truth, combine=select(u > v, u, v), post=ne(s, 0), kind="bool")
count_nonzero = reduction("count_nonzero", pre=_truth, kind="sum")
# PyTorch gives nan where no degree of freedom is left
_freedom = select(n > correction, n - correction, 0)
var_ = reduction("var", pre=(x - m) * (x - m), d=2 * (x - m) / (n - correction), post=s / _freedom,
                 params="correction", middle="mean")
std = reduction("std", pre=var_.pre, post=sqrt(var_.post), params="correction", middle="mean",
                d=select(eq(y, 0), 0, (x - m) / (y * (n - correction))))
# the maximum, or 0 where that is infinite
finite_amax = reduction("finite_amax", combine=_larger, identity="lowest", kind="same",
                        post=select(eq(s - s, 0), s, 0))
logsumexp = reduction("logsumexp", pre=exp(x - m), post=log(s) + m, d=exp(x - y),
                      middle="finite_amax")
norm1 = reduction("norm1", pre=abs_(x), d=ROWS["sign"](x))
norm2 = reduction("norm2", pre=x * x, post=sqrt(s), d=select(eq(y, 0), 0, x / y))
norm0 = reduction("norm0", pre=_truth)
normp = reduction("normp", pre=pow_(abs_(x), p), post=pow_(s, 1 / p), params="p",
                  d=select(eq(x, 0), 0, ROWS["sign"](x) * pow_(abs_(x) / y, p - 1)))
