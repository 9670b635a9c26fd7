"""A row: the one definition of an elementwise op, and everything that can be read off it."""

from __future__ import annotations

from functools import cached_property
from itertools import count
from typing import Literal

from nbgrad.formulas.calculus import pullback
from nbgrad.formulas.expr import (
    EQ,
    Expr,
    Operator,
    free,
    mul,
    one,
    select,
    substitute,
    topological,
    var,
    wrap,
    zero,
)

Kind = Literal["arith", "float", "bool", "logical", "bits", "where"]


class Row:
    """An elementwise op: `inputs` are tensors, `params` run-time scalars of the compute dtype.

    `d` holds the local partials, one an input, as expressions of the inputs, the params and `y`,
    the result; None for an op that has no derivative at all. `kind` says how dtypes go through:
    `arith` promotes, `float` also turns integers to float, `bool` and `logical` return bools
    (`logical` takes the truth of each input), `bits` takes only integers and bools, `where` has
    a bool first input. `domain` and `kinks` say where a test may sample, one pair an input or
    one for all.
    """

    def __init__(self, name: str, formula: Expr, *, inputs: str = "x", params: str = "", d=None,
                 kind: Kind = "arith", domain=(-3.0, 3.0), kinks: tuple[float, ...] = (),
                 node: str | None = None, differentiable: bool = True, doc: str = "") -> None:
        self.name = name
        self.formula = formula
        self.inputs = tuple(inputs.split())
        self.params = tuple(params.split())
        self.kind = kind
        self.domain = domain
        self.kinks = kinks
        self.doc = doc
        self.node = node or "".join(part.capitalize() for part in name.split("_"))
        self.differentiable = differentiable and kind in ("arith", "float", "where")
        if d is not None and not isinstance(d, tuple):
            d = (d,)
        self.partials: tuple[Expr, ...] | None = None if d is None else tuple(map(wrap, d))

    def derivative(self, *d: Expr) -> None:
        """Give a primitive its derivative after the fact, where it needs a later row."""
        assert self.formula.op is not None
        self.partials = self.formula.op.d = d

    def __call__(self, *args: Expr | float) -> Expr:
        """The row inside another formula."""
        return substitute(self.formula, dict(zip(self.inputs + self.params, map(wrap, args))))

    def __repr__(self) -> str:
        return f"{self.name}({', '.join(self.inputs + self.params)}) = {self.formula!r}"

    @cached_property
    def seed(self) -> str:
        """The name of the incoming gradient: `g`, or `gg` where `g` is an input already, and on."""
        return next(n for n in map("g".__mul__, count(1)) if n not in self.inputs)

    @cached_property
    def pullbacks(self) -> tuple[Expr, ...]:
        """For each input, the incoming gradient times its partial."""
        g = var(self.seed)
        if self.partials is None:
            return pullback(self.formula, g, self.inputs)
        return tuple(mul(g, e) for e in self.partials)

    def saves(self, needs: tuple[bool, ...]) -> tuple[int, ...]:
        """What backward of the needed inputs reads: indices of inputs, -1 for the output."""
        used: set[str] = set()
        for need, e in zip(needs, self.pullbacks):
            if need:
                used |= free(e)
        kept = [i for i, name in enumerate(self.inputs) if name in used]
        return (*kept, -1) if "y" in used and "y" not in self.inputs else tuple(kept)

    def vjp(self, i: int, safe: bool = False) -> tuple[Row, tuple[int, ...]]:
        """The row of the gradient to input i, and which values it takes.

        A value is the index of an input, -1 for the output, or -2 for the incoming gradient. The
        safe row is zero where the incoming gradient is, even if the partial is infinite there.
        """
        formula = self.pullbacks[i]
        used = free(formula)
        safe = safe and self.kind != "where" and not used <= {self.seed}
        position = {name: k for k, name in enumerate(self.inputs)}
        position = {self.seed: -2, "y": -1} | position
        names = tuple(n for n in position if n in used)
        if self.kind == "where":  # the condition stays first
            names = tuple(sorted(names, key=lambda n: n != self.inputs[0]))
        params = tuple(p for p in self.params if p in used)
        if not params and not safe:
            known = _CANONICAL.get(_canonical(formula, names))
            if known is not None:
                row, order = known
                by_appearance = _appearance(formula)
                return row, tuple(position[by_appearance[k]] for k in order)
        name = f"{self.name}_vjp" if len(self.inputs) == 1 else f"{self.name}_vjp_{self.inputs[i]}"
        partials = None
        if safe:
            name, partials = f"{name}_safe", pullback(formula, one, names)
            formula = select(EQ(var(self.seed), zero), zero, formula)
        derived = Row(name, formula, inputs=" ".join(names), params=" ".join(params), d=partials,
                      kind="where" if self.kind == "where" else "arith")
        return derived, tuple(position[n] for n in names)

    def with_param(self, name: str) -> Row:
        """The same row with input `name` given as a Python number."""
        k = self.inputs.index(name)
        inputs = self.inputs[:k] + self.inputs[k + 1:]
        d = None if self.partials is None else self.partials[:k] + self.partials[k + 1:]
        return Row(f"{self.name}_{name}", self.formula, inputs=" ".join(inputs),
                   params=" ".join((*self.params, name)), d=d, kind=self.kind, node=self.node,
                   domain=self.domain, differentiable=self.differentiable)


def _appearance(formula: Expr) -> list[str]:
    """The variables of a formula in the order of their first appearance."""
    return [n.value for n in topological([formula]) if n.is_var]


def _canonical(formula: Expr, names: tuple[str, ...]) -> Expr | None:
    """The formula with its variables numbered by appearance; None unless they are just `names`."""
    order = _appearance(formula)
    if sorted(order) != sorted(names):
        return None
    return substitute(formula, {n: var(f"_{k}") for k, n in enumerate(order)})


#: Formulas that already have a kernel, so that a gradient that equals one (`g * b`) reuses it.
_CANONICAL: dict[Expr | None, tuple[Row, tuple[int, ...]]] = {}

TABLE: dict[str, Row] = {}


def row(name: str, formula: Expr, **options) -> Row:
    """Add a row given by other rows to the table; its derivative is derived unless `d` is given."""
    made = TABLE[name] = Row(name, formula, **options)
    if not made.params and made.kind == "arith":
        key = _canonical(formula, made.inputs)
        if key is not None:
            # the k-th input of the row is the variable that appears at this place
            order = _appearance(formula)
            _CANONICAL.setdefault(key, (made, tuple(order.index(n) for n in made.inputs)))
    return made


def primitive(name: str, source: str | None = None, *, formula: Expr | None = None, d=None,
              inputs: str = "x", integer: str | None = None, near: float | None = None,
              **options) -> Row:
    """Add a row that is an operator of its own, written in Python or by a formula.

    Its derivative `d` belongs to the operator, so formulas that use it differentiate through
    `d` rather than through how the value is computed.
    """
    if d is not None and not isinstance(d, tuple):
        d = (d,)
    parts = None if d is None else tuple(map(wrap, d))
    logical = options.get("kind") in ("bool", "logical")
    op = Operator(name, inputs, source, formula=formula, d=parts, logical=logical,
                  integer=integer, near=near)
    value = op(*map(var, inputs.split()))
    flat = parts if parts is not None else tuple(zero for _ in inputs.split())
    return row(name, value, inputs=inputs, d=flat, **options)
