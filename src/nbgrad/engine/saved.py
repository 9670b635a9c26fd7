"""Saved values: handed back to backward only if nobody wrote to them since."""

from __future__ import annotations

from nbgrad.engine import provenance
from nbgrad.engine.mode import state
from nbgrad.engine.node import Node

FREED = (
    "Trying to backward through the graph a second time (or directly access saved tensors after "
    "they have already been freed). Saved intermediate values of the graph are freed when you call "
    ".backward() or autograd.grad(). Specify retain_graph=True if you need to backward through the "
    "graph a second time or if you need to access saved tensors after calling backward."
)
DETACHED = (
    "Trying to use a saved tensor that has been detached in-place, i.e. with .detach_().This is not "
    "supported, please use out-of-place `.detach()` instead"
)


class Counter:
    """How often a storage was written to, and by what last; shared by all views of it."""

    count = 0  # a class's attributes until the first write: most counters never see one
    writer: tuple[str, provenance.Place | None] | None = None

    def bump(self, op: str) -> None:
        self.count += 1
        self.writer = op, provenance.here(3)


def version(value) -> int:
    """How often the storage of a value was written to; its `_counter` is None until it matters."""
    return value._counter.count if value._counter is not None else 0


def save(node: Node, values: tuple) -> None:
    """Keep values for backward with the versions they have now."""
    node.saved = values
    for value in values:
        if value._counter is not None:
            node.versions = tuple([version(v) for v in values])
            return
    node.versions = None


def unpack(node: Node) -> tuple:
    """The saved values, checked against their versions."""
    values = node.saved
    if values is None:
        raise RuntimeError(FREED)
    for value in values:
        if value._counter is not None:
            return _checked(node, values)
    return values


def _checked(node: Node, values: tuple) -> tuple:
    versions = node.versions or (0,) * len(values)
    for value, expected in zip(values, versions):
        if value._counter is not None and value._counter.count != expected:
            raise RuntimeError(_written(node, value, expected))
        if getattr(value, "_detached", False):
            raise RuntimeError(DETACHED)
    return values


def _written(node: Node, value, expected: int) -> str:
    anomaly = state.anomaly
    maker = value.made_by(node)
    output = f", which is output {maker[1]} of {maker[0].name()}," if maker else ""
    hint = (
        "Hint: the backtrace further above shows the operation that failed to compute its "
        "gradient. The variable in question was changed in there or anywhere later. Good luck!"
        if anomaly else
        "Hint: enable anomaly detection to find the operation that failed to compute its "
        "gradient, with torch.autograd.set_detect_anomaly(True)."
    )
    text = (
        "one of the variables needed for gradient computation has been modified by an inplace "
        f"operation: [{value.describe()}]{output} is at version {value._counter.count}; "
        f"expected version {expected} instead. {hint}"
    )
    if value._counter.writer:
        op, place = value._counter.writer
        text += f"\nLast written by {op} at {provenance.describe(place)}"
    if node.place is not None:
        text += f"\nSaved for {node.name()} at {provenance.describe(node.place)}"
    return text
