"""Reverse mode: walk the graph from the newest node to the oldest, adding gradients up."""

from __future__ import annotations

import warnings
from heapq import heappop, heappush
from typing import Any

from nbgrad.engine import provenance, streams
from nbgrad.engine.mode import state
from nbgrad.engine.node import Node, hooks_of
from nbgrad.engine.saved import Freed


class Task:
    """One backward, for those who ask what it will reach."""

    __slots__ = ("__weakref__", "needed", "reached", "roots")

    def __init__(self, roots: list, needed: dict[Node, bool] | None) -> None:
        self.roots, self.needed = roots, needed
        self.reached: set[Node] | None = None

    def reaches(self, node: Node | None) -> bool:
        """Whether a gradient may arrive at a node."""
        if self.reached is None:
            self.reached = above([root[0] for root in self.roots])
        return node in self.reached and (self.needed is None or node in self.needed)


def run(roots: list[tuple[Node, int, object]], *, keep_graph: bool, create_graph: bool,
        wanted: dict[tuple[Node, int], list[int]] | None = None, accumulate: bool = True) -> dict:
    """Propagate the gradients of `roots` and return those of `wanted` (node, port) pairs.

    A value is anything with `+` and `accumulate_`. Node numbers order the walk: an input was
    recorded before the nodes that use it, so the newest waiting node has all its gradients.

    Args:
        roots: (node, port, gradient) triples; port -1 is the only output of a node.
        keep_graph: leave saved values for another backward.
        create_graph: record the backward itself.
        wanted: where given, only nodes on a path to these run.
        accumulate: whether wanted leaves also add to their `.grad`.
    """
    needed: Any = None if wanted is None else _needed([r[0] for r in roots], wanted)
    waiting: dict[int, list] = {}
    heap: list[int] = []
    found: dict[tuple[Node, int], object] = {}
    before = state.grad, state.waiting, state.into_leaves, state.task, state.running
    anomaly = state.anomaly
    watched = anomaly or state.checker is not None
    lanes = streams.Lanes(_send, waiting, heap, create_graph) if streams.default else None
    pop = lanes.pop if lanes else heappop
    special = watched or lanes is not None
    state.task = Task(roots, needed)
    state.grad = create_graph or provenance.OFF
    state.waiting = {} if create_graph or anomaly or lanes else waiting
    state.into_leaves = wanted is None and not (create_graph or anomaly or lanes)
    freed = None if keep_graph else (Freed(),)
    try:
        for node, port, grad in roots:
            if needed is None or node in needed:
                if lanes:
                    lanes.send(node, port, grad)
                else:
                    _send(waiting, heap, node, port, grad, create_graph)
        while heap:
            node, grads, _ = waiting.pop(-pop(heap))
            hooked = node.hooks is not None
            if hooked:
                grads = _before(node, grads)
            if wanted is not None:
                for port, grad in enumerate(grads) if type(grads) is list else ((-1, grads),):
                    if (node, port) in wanted:
                        found[node, port] = grad
                if not (needed[node] or (accumulate and not node.next)):
                    continue
            if (special and (watched or node.next)) or hooked or type(grads) is list:
                inputs = _run(node, grads)
                if lanes:
                    inputs = lanes.passed_on(node, inputs, needed)
            else:
                inputs = node.back(node, grads)
            if not keep_graph and node.saved:
                node.saved = freed
            following = node.next
            if type(inputs) is not tuple:
                inputs = (inputs,)
            for nxt, port, grad in zip(following, node.ports, inputs):
                if nxt is None or grad is None or (needed is not None and nxt not in needed):
                    continue
                if port >= 0:
                    _send(waiting, heap, nxt, port, grad, create_graph)
                    continue
                # _send, inlined: this loop is the price of every op
                number = nxt.number
                entry = waiting.get(number)
                if entry is None:
                    waiting[number] = [nxt, grad, False]
                    heappush(heap, -number)
                elif entry[2] and not create_graph:
                    entry[1].accumulate_(grad)
                else:
                    entry[1] = entry[1] + grad
                    entry[2] = True
            inputs = grad = None  # so that a leaf may find its gradient to be its own
    except Exception:
        if anomaly:
            warnings.warn(_blame(node), stacklevel=3)
        raise
    finally:
        state.grad, state.waiting, state.into_leaves, state.task, state.running = before
        if lanes:
            lanes.end()
    return found


def waiting_sum(node: Node) -> Any:
    """The sum that waits for a node, if its maker may be the only one to know it.

    A backward may add its part to it and give None for that input.
    """
    entry = state.waiting.get(node.number)
    return entry[1] if entry is not None and entry[2] else None


def sum_for(node: Node) -> Any:
    """As `waiting_sum`; at a leaf also what it holds, which counts its versions."""
    total = waiting_sum(node)
    return node.held() if total is None and state.into_leaves else total


def _send(waiting, heap, node, port, grad, create_graph) -> None:
    """Add a gradient to what waits for a node."""
    entry = waiting.get(node.number)
    if port < 0:
        if entry is None:
            waiting[node.number] = [node, grad, False]
            heappush(heap, -node.number)
        elif entry[2] and not create_graph:
            entry[1].accumulate_(grad)  # a sum made here, seen by nobody else
        else:
            entry[1] = entry[1] + grad
            entry[2] = True
        return
    if entry is None:
        entry = waiting[node.number] = [node, [None] * node.outputs, False]
        heappush(heap, -node.number)
    grads = entry[1]
    grads[port] = grad if grads[port] is None else grads[port] + grad


def _run(node: Node, grads):
    """Run one node with its hooks; in anomaly mode look for NaN."""
    saved = node.saved
    if state.anomaly:
        state.running = node.name(), node.place
    inputs = node.back(node, *grads) if type(grads) is list else node.back(node, grads)
    if state.anomaly and state.check_nan:
        _check_nan(node, inputs)
    if state.checker is not None:
        state.checker.backward(node, grads, inputs, saved)
    return inputs if node.hooks is None else _after(node, inputs, grads)


def _blame(node: Node) -> str:
    """How a node that failed came to be recorded, and the nodes whose backward recorded it."""
    text = f"Error detected in {node.name()}. "
    if node.place is None:
        return text + ("No forward pass information available. Enable detect anomaly during forward "
                       "pass for more information.")
    text += f"Traceback of forward call that caused the error:\n{provenance.told(node.place)}"
    during = getattr(node.place, "during", None)
    while during is not None and during[1] is not None:
        text += (f"\n\nPrevious calculation was induced by {during[0]}. Traceback of forward call that "
                 f"induced the previous calculation:\n{provenance.told(during[1])}")
        during = getattr(during[1], "during", None)
    return text


def _check_nan(node: Node, inputs) -> None:
    for k, grad in enumerate(inputs if type(inputs) is tuple else (inputs,)):
        if grad is not None and grad.has_nan():
            raise RuntimeError(f"Function '{node.name()}' returned nan values in its {k}th output.")


def _before(node: Node, grads):
    """Tensor hooks, retained gradients, then node pre-hooks, in PyTorch's order."""
    hooks = hooks_of(node)
    single = type(grads) is not list
    grads = [grads] if single else grads
    for port, grad in enumerate(grads):
        for hook in hooks.of("tensor", -1 if single else port):
            if grad is not None:
                replaced = hook(grad)
                grad = grads[port] = grad if replaced is None else replaced
    for port, slot in hooks.retained.items():
        if grads[port] is not None:
            slot.retain(grads[port])
    for hook in hooks.of("pre"):
        replaced = hook(tuple(grads))
        grads = list(grads if replaced is None else replaced)
    return grads[0] if single else grads


def _after(node: Node, inputs, grads):
    for hook in hooks_of(node).of("post"):
        outputs = tuple(grads) if type(grads) is list else (grads,)
        replaced = hook(inputs if type(inputs) is tuple else (inputs,), outputs)
        inputs = inputs if replaced is None else replaced
    return inputs


def above(roots: list[Node]) -> set[Node]:
    """These nodes and all that they pass gradients to."""
    seen: set[Node] = set()
    stack = list(roots)
    while stack:
        node = stack.pop()
        if node not in seen:
            seen.add(node)
            stack.extend(n for n in node.next if n is not None)
    return seen


def _needed(roots: list[Node], wanted) -> dict[Node, bool]:
    """Nodes that are wanted or lead to a wanted one; True for those that must run."""
    seen = above(roots)
    targets = {node for node, _ in wanted}
    needed: dict[Node, bool] = {}
    for node in sorted(seen, key=lambda n: n.number):
        leads = any(n in needed for n in node.next if n is not None)
        if leads or node in targets:
            needed[node] = leads
    return needed
