"""Scalar expressions: hash-consed, so that equal expressions are one object.

An expression is a variable, a constant, or an operator applied to expressions. Constants carry
no dtype; whoever emits code types them. Operators are made by the rows of the tables.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any


class Operator:
    """A scalar function that expressions are built of.

    `source` is Python with one `{}` an argument; or `formula` gives it by other operators.
    `integer` is the source for integers where that is another. Where `|argument| <= near`, the
    function `near_` of kernels.cpu.maths gives the same and vectorises.
    `d` are the partial derivatives as expressions of the arguments' names and `y`, the result;
    None where it is constant between jumps, so that its derivative is zero.
    """

    __slots__ = ("args", "d", "formula", "integer", "logical", "name", "near", "source")

    def __init__(self, name: str, args: str, source: str | None = None, *, formula=None, d=None,
                 logical: bool = False, integer: str | None = None,
                 near: float | None = None) -> None:
        self.name, self.args = name, tuple(args.split())
        self.source, self.formula, self.d, self.logical = source, formula, d, logical
        self.integer, self.near = integer or source, near

    def __call__(self, *args: Expr | float) -> Expr:
        return _intern(self, tuple(wrap(a) for a in args), None)

    def __repr__(self) -> str:
        return self.name


class Expr:
    """A node; `op` is an Operator, or None for a variable (`value` a name) or a constant."""

    __slots__ = ("__weakref__", "args", "op", "value")
    op: Operator | None
    args: tuple[Expr, ...]
    value: Any  # a name, a number, or None

    @property
    def is_var(self) -> bool:
        return isinstance(self.value, str)

    @property
    def is_const(self) -> bool:
        return self.op is None and not isinstance(self.value, str)

    def __add__(self, other): return add(self, other)
    def __radd__(self, other): return add(other, self)
    def __sub__(self, other): return sub(self, other)
    def __rsub__(self, other): return sub(other, self)
    def __mul__(self, other): return mul(self, other)
    def __rmul__(self, other): return mul(other, self)
    def __truediv__(self, other): return div(self, other)
    def __rtruediv__(self, other): return div(other, self)
    def __neg__(self): return neg(self)
    def __lt__(self, other): return LT(self, other)
    def __le__(self, other): return LE(self, other)
    def __gt__(self, other): return LT(other, self)
    def __ge__(self, other): return LE(other, self)
    def __and__(self, other): return AND(self, other)
    def __or__(self, other): return OR(self, other)
    def __invert__(self): return NOT(self)

    def __bool__(self):
        raise TypeError("an expression has no truth value: branch with select()")

    def __repr__(self) -> str:
        if self.op is None:
            return str(self.value)
        if self.op.source is not None:
            return self.op.source.format(*map(repr, self.args)).replace("math.", "").replace("np.", "")
        return f"{self.op.name}({', '.join(map(repr, self.args))})"


_table: dict[tuple, Expr] = {}


def _intern(op: Operator | None, args: tuple[Expr, ...], value) -> Expr:
    key = (op, args, value, type(value), math.copysign(1, value) if isinstance(value, float) else 0)
    node = _table.get(key)
    if node is None:
        node = _table[key] = object.__new__(Expr)
        node.op, node.args, node.value = op, args, value
    return node


def var(name: str) -> Expr:
    return _intern(None, (), name)


def const(value: float) -> Expr:
    return _intern(None, (), value)


def wrap(value: Expr | float) -> Expr:
    return value if isinstance(value, Expr) else const(value)


a, b, x, c, p, q = map(var, "abxcpq")
zero, one, minus_one = const(0), const(1), const(-1)

ADD = Operator("add", "a b", "({} + {})", d=(one, one))
SUB = Operator("sub", "a b", "({} - {})")
MUL = Operator("mul", "a b", "({} * {})")
DIV = Operator("div", "a b", "({} / {})")
NEG = Operator("neg", "x", "(-{})")
LT = Operator("lt", "a b", "({} < {})", logical=True)
LE = Operator("le", "a b", "({} <= {})", logical=True)
EQ = Operator("eq", "a b", "({} == {})", logical=True)
NE = Operator("ne", "a b", "({} != {})", logical=True)
AND = Operator("and", "a b", "({} & {})", logical=True)
OR = Operator("or", "a b", "({} | {})", logical=True)
NOT = Operator("not", "x", "(not {})", logical=True)
SELECT = Operator("select", "c p q", "({1} if {0} else {2})")


def add(u, v) -> Expr:
    u, v = wrap(u), wrap(v)
    if u is zero:
        return v
    if v is zero:
        return u
    if v.op is NEG:
        return sub(u, v.args[0])
    return const(u.value + v.value) if u.is_const and v.is_const else ADD(u, v)


def sub(u, v) -> Expr:
    u, v = wrap(u), wrap(v)
    if v is zero:
        return u
    if u is zero:
        return neg(v)
    if v.op is NEG:
        return add(u, v.args[0])
    return const(u.value - v.value) if u.is_const and v.is_const else SUB(u, v)


def mul(u, v) -> Expr:
    """Product; it enters a `select` so that a branch not taken multiplies nothing."""
    u, v = wrap(u), wrap(v)
    if u is zero or v is zero:
        return zero
    if u is one:
        return v
    if v is one:
        return u
    if u is minus_one:
        return neg(v)
    if v is minus_one:
        return neg(u)
    if u.is_const and v.is_const:
        return const(u.value * v.value)
    if v.op is SELECT and zero in v.args[1:]:
        return select(v.args[0], mul(u, v.args[1]), mul(u, v.args[2]))
    if u.op is SELECT and zero in u.args[1:]:
        return select(u.args[0], mul(u.args[1], v), mul(u.args[2], v))
    if v.op is NEG:
        return neg(mul(u, v.args[0]))
    if u.op is NEG:
        return neg(mul(u.args[0], v))
    if v.op is DIV and v.args[0] is one:
        return div(u, v.args[1])
    return MUL(u, v)


def div(u, v) -> Expr:
    u, v = wrap(u), wrap(v)
    if u is zero:
        return zero
    if v is one:
        return u
    if u.op is NEG:
        return neg(div(u.args[0], v))
    return DIV(u, v)


def neg(u) -> Expr:
    u = wrap(u)
    if u is zero:
        return zero
    if u.op is NEG:
        return u.args[0]
    return const(-u.value) if u.is_const else NEG(u)


def eq(u, v) -> Expr:
    return EQ(u, v)


def ne(u, v) -> Expr:
    return NE(u, v)


def select(cond: Expr, then, otherwise) -> Expr:
    """`then` where `cond` holds, else `otherwise`; differentiates to a select."""
    then, otherwise = wrap(then), wrap(otherwise)
    return then if then is otherwise else SELECT(cond, then, otherwise)


SUB.d = (one, minus_one)
MUL.d = (b, a)
DIV.d = (div(one, b), neg(div(div(a, b), b)))
NEG.d = (minus_one,)

# Rebuilding goes through the simplifying constructors.
_BUILD: dict[Operator, Callable[..., Expr]] = {
    ADD: add, SUB: sub, MUL: mul, DIV: div, NEG: neg, SELECT: select,
}


def build(op: Operator, args: Iterable[Expr]) -> Expr:
    return _BUILD.get(op, op)(*args)


def topological(roots: Iterable[Expr]) -> list[Expr]:
    """All nodes below `roots`, arguments before users, each once."""
    order: list[Expr] = []
    seen: set[Expr] = set()
    stack = [(r, False) for r in reversed(list(roots))]
    while stack:
        node, done = stack.pop()
        if done:
            order.append(node)
        elif node not in seen:
            seen.add(node)
            stack.append((node, True))
            stack.extend((arg, False) for arg in reversed(node.args))
    return order


def free(*roots: Expr) -> set[str]:
    """Names of the variables that `roots` depend on."""
    return {n.value for n in topological(roots) if n.is_var}


def substitute(root: Expr, values: dict[str, Expr]) -> Expr:
    """`root` with variables replaced by expressions."""
    new: dict[Expr, Expr] = {}
    for node in topological([root]):
        if node.is_var:
            new[node] = values.get(node.value, node)
        elif node.op is None:
            new[node] = node
        else:
            new[node] = build(node.op, (new[arg] for arg in node.args))
    return new[root]


def expand(root: Expr, named: bool = False) -> Expr:
    """`root` with every operator that is given by a formula replaced by that formula.

    Unless it is `named`: then operators that are written in Python as well stay.
    """
    new: dict[Expr, Expr] = {}
    for node in topological([root]):
        if node.op is None:
            new[node] = node
            continue
        args = [new[arg] for arg in node.args]
        if node.op.formula is None or (named and node.op.source is not None):
            new[node] = build(node.op, args)
        else:
            new[node] = expand(substitute(node.op.formula, dict(zip(node.op.args, args))), named)
    return new[root]
