"""Saved values: handed back to backward only if nobody wrote to them since."""

from __future__ import annotations

from typing import Any

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

    def writing(self) -> None:
        """Called before a write, where a counter is not of this very class."""


class _Inference(Counter):
    """Counts nothing: the counter of all tensors made in inference mode."""

    def bump(self, op: str) -> None:
        self.writing()

    def writing(self) -> None:
        if not state.inference:
            raise RuntimeError("Inplace update to inference tensor outside InferenceMode is not "
                               "allowed. You can make a clone to get a normal tensor before doing "
                               "inplace update.")


INFERENCE = _Inference()


def counter_here() -> Counter | None:
    """What a fresh tensor of this thread counts its versions with."""
    return INFERENCE if state.inference else None


def version(value) -> int:
    """How often the storage of a value was written to; its `_counter` is None until it matters."""
    return value._counter.count if value._counter is not None else 0


class Kept:
    """A saved value that must be asked for: `take` gives it, or says why it is no more."""

    __slots__ = ()
    _counter = Counter()  # not None, so `unpack` looks at it

    def take(self, node: Node) -> Any:
        raise NotImplementedError


class Freed(Kept):
    """What a backward that does not keep the graph leaves of saved values."""

    __slots__ = ("place",)

    def __init__(self) -> None:
        self.place = provenance.here(2)

    def take(self, node: Node) -> Any:
        raise RuntimeError(f"{FREED}\n{node.name()} was first run backward at "
                           f"{provenance.describe(self.place)}")


def save(node: Node, values: tuple) -> None:
    """Keep values for backward with the versions they have now."""
    node.saved = values
    node.versions = None
    for value in values:
        if value._counter is not None:
            node.versions = tuple([_saved_version(v) for v in values])
            break
    if state.packer is not None:
        pack(node)


def _saved_version(value) -> int:
    if value._counter is INFERENCE:
        raise RuntimeError(
            "Inference tensors cannot be saved for backward. Please do not use Tensors created in "
            "inference mode in computation tracked by autograd. To work around this, you can make a "
            "clone to get a normal tensor and use it in autograd, or use `torch.no_grad()` instead of "
            "`torch.inference_mode()`.")
    return version(value)


def pack(node: Node) -> None:
    """Give the saved values into the keeping of the hooks that are on."""
    node.saved = tuple([state.packer(node, value) for value in node.saved])


def unpack(node: Node) -> tuple:
    """The saved values, checked against their versions."""
    values = node.saved
    for value in values:
        if value._counter is not None:
            return _checked(node, values)
    return values


def _checked(node: Node, values: tuple) -> tuple:
    if isinstance(values[0], Kept):
        return tuple([value.take(node) for value in values])
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
    if value._counter.writer:
        other = op.removesuffix("_")
        text += "\nWrite to a clone() of it instead" + (
            f", or make a new tensor by {other}()." if other != op and op not in _ONLY_WRITE else ".")
    return text


#: what has no form that makes a new tensor
_ONLY_WRITE = {"cauchy_", "copy_", "exponential_", "fill_diagonal_", "geometric_",
               "log_normal_", "normal_", "random_", "set_", "uniform_", "zero_"}
