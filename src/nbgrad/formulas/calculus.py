"""Derivatives of expressions, by reverse accumulation."""

from __future__ import annotations

from nbgrad.formulas.expr import SELECT, Expr, add, mul, one, select, substitute, topological, var, zero


def pullback(root: Expr, seed: Expr, names: tuple[str, ...]) -> tuple[Expr, ...]:
    """`seed * d root / d name` for each name: one backward sweep over the graph of `root`.

    The seed is carried into `select`, so that the branch not taken contributes an exact zero
    even where the seed is infinite or NaN.
    """
    adjoint: dict[Expr, Expr] = {root: seed}
    for node in reversed(topological([root])):
        g = adjoint.get(node)
        if g is None or node.op is None:
            continue
        if node.op is SELECT:
            cond = node.args[0]
            parts: tuple[Expr | None, ...] = (None, select(cond, g, zero), select(cond, zero, g))
        elif node.op.d is None:
            continue
        else:
            actual = dict(zip(node.op.args, node.args)) | {"y": node}
            parts = tuple(None if d is None else mul(g, substitute(d, actual)) for d in node.op.d)
        for arg, part in zip(node.args, parts):
            if part is not None and part is not zero and not arg.is_const:
                adjoint[arg] = add(adjoint[arg], part) if arg in adjoint else part
    return tuple(adjoint.get(var(name), zero) for name in names)


def diff(root: Expr, name: str) -> Expr:
    """`d root / d name`.

    Example:
        >>> from nbgrad.formulas.expr import var
        >>> diff(var("x") * var("x"), "x")
        (x + x)
    """
    return pullback(root, one, (name,))[0]
