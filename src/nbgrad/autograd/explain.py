"""Whether a gradient arrives at each parameter, and if not, why."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

from nbgrad.autograd.names import Names
from nbgrad.engine.node import Node
from nbgrad.engine.provenance import Cut, cuts_of, describe
from nbgrad.tensor import Tensor


class Explained(NamedTuple):
    """One parameter: whether backward reaches it, why or why not, and by which nodes."""

    name: str
    arrives: bool
    why: str
    path: tuple[str, ...]


class Explanation(list[Explained]):
    """An `Explained` for each parameter; prints as a table."""

    def __repr__(self) -> str:
        width = max((len(e.name) for e in self), default=0)
        lines = []
        for e in self:
            lines.append(f"{e.name.ljust(width)}  {'arrives' if e.arrives else 'no gradient'}: {e.why}")
            if e.path:
                lines.append(f"{'':{width}}    loss <- {' <- '.join(e.path)}")
        return "\n".join(lines)


def explain(loss: Tensor, params: Any) -> Explanation:
    """Say for every parameter whether a gradient of `loss` arrives, and if not, why.

    A gradient does not arrive at a parameter that is frozen; or that the loss does not depend on;
    or whose way to the loss was cut by `detach`, `.data`, `no_grad`, or an operation whose result
    has no gradient, such as a cast to integers: then the line of the cut is named. A cut whose
    input is gone from memory is named for every parameter that it may belong to.

    Operations on parameters with qualified names show the path of the module; of a module's own
    lines the path is told, too.

    Args:
        loss: the tensor to call `backward` on, before that is done or after.
        params: a module, its `named_parameters()`, a dict, or tensors.

    Example:
        >>> import nbgrad
        >>> from nbgrad import nn
        >>> first, second = nn.Linear(2, 3), nn.Linear(3, 1)
        >>> hidden = first(nbgrad.ones(4, 2))
        >>> loss = second(hidden.detach()).sum()
        >>> nbgrad.explain(loss, {"a.bias": first.bias, "b.bias": second.bias})
        ... # doctest: +ELLIPSIS
        a.bias  no gradient: cut by detach at ...:...
                  loss <- SumBackward0 <- AddmmBackward0 (b) <- (cut) <- AddmmBackward0 (a) <- a.bias
        b.bias  arrives: by 2 operations
                  loss <- SumBackward0 <- AddmmBackward0 (b) <- b.bias
    """
    named = _named(params)
    names = Names(named, params if hasattr(params, "named_modules") else None)
    root = loss._node if loss.requires_grad else None
    reached = {} if root is None else _reached(root)
    cuts: list[tuple[Cut, Node | None]] = [(cut, node) for node in reached
                                           for cut in getattr(node, "cuts", ())]
    if root is None:
        cuts = [(cut, None) for cut in cuts_of(loss._slot)]
    beyond = [[_reached(n) if n is not None else None for n in (source() for source in cut[2])]
              for cut, _ in cuts]
    return Explanation([_one(name, t, reached, cuts, beyond, names) for name, t in named])


def _named(params: Any) -> list[tuple[str, Tensor]]:
    """Parameters with their names, or numbers where they have none."""
    if isinstance(params, Tensor):
        params = [params]
    if hasattr(params, "named_parameters"):
        params = params.named_parameters()
    if isinstance(params, dict):
        params = params.items()
    pairs: Iterable = [p if isinstance(p, tuple) else (f"[{k}]", p) for k, p in enumerate(params)]
    found = list(pairs)
    for name, t in found:
        if not isinstance(t, Tensor):
            raise TypeError(f"explain(): params must be tensors, a module or pairs of names and "
                            f"tensors, but {name} is a {type(t).__name__}")
    return found


#: each node that a gradient reaches, and the node it comes from on a shortest way; None at the root
Reached = dict[Node, Node | None]


def _reached(root: Node) -> Reached:
    found: Reached = {root: None}
    queue = [root]
    for node in queue:
        for nxt in node.next:
            if nxt is not None and nxt not in found:
                found[nxt] = node
                queue.append(nxt)
    return found


def _way(reached: Reached, node: Node | None, names: Names) -> tuple[str, ...]:
    """The names of the nodes from the root to this one, with their modules."""
    way = []
    while node is not None:
        module = names.node(node)
        way.append(node.name() + f" ({module})" * bool(module))
        node = reached[node]
    return tuple(reversed(way))


def _one(name: str, t: Tensor, reached: Reached, cuts: list, beyond: list, names: Names) -> Explained:
    """`beyond` tells for each cut what its sources reach, None for those gone from memory."""
    if not t.requires_grad:
        return Explained(name, False, "frozen: it does not require grad", ())
    if t._node in reached:
        steps = _way(reached, reached[t._node] if t.is_leaf else t._node, names)
        count = f"by {len(steps)} operation{'s' * (len(steps) != 1)}"
        return Explained(name, True, count, (*steps, name))
    open_ended = []
    for ((kind, place, _), node), sources in zip(cuts, beyond):
        module = names.line(place)
        cut = (kind + (f" at {describe(place)}" if place is not None else "")
               + f", in {module}" * bool(module))
        for source in sources:
            if source is not None and t._node in source:
                after = _way(source, source[t._node], names)
                return Explained(name, False, f"cut by {cut}",
                                 (*_way(reached, node, names), "(cut)", *after, name))
        if not sources or None in sources:
            open_ended.append((cut, node))
    if open_ended:
        places = list(dict.fromkeys(cut for cut, _ in open_ended))
        return Explained(name, False, "no way back to it; cut by " + ", or by ".join(places),
                         (*_way(reached, open_ended[0][1], names), "(cut)"))
    return Explained(name, False, "the loss does not depend on it", ())
