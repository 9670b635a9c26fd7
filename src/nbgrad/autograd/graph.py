"""The graph from outside: what it saves, its nodes and edges, hooks on several gradients."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from weakref import WeakKeyDictionary, WeakSet

from nbgrad.engine import backward as engine
from nbgrad.engine.mode import state, watch
from nbgrad.engine.node import GradientEdge, Handle, Node
from nbgrad.engine.provenance import OFF
from nbgrad.engine.saved import Counter, Kept
from nbgrad.tensor import Saved, Tensor

__all__ = ["GradientEdge", "Node", "allow_mutation_on_saved_tensors", "disable_saved_tensors_hooks",
           "get_gradient_edge", "increment_version", "register_multi_grad_hook", "save_on_cpu",
           "saved_tensors_hooks"]


class _Packed(Kept):
    """What a pack hook made of a saved value, and where that value was in the graph."""

    __slots__ = ("bounds", "dtype", "kept", "maker", "own", "port", "shape", "unpack")

    def __init__(self, node: Node, value: Tensor | Saved, hooks: saved_tensors_hooks) -> None:
        given = value.tensor(node) if isinstance(value, Saved) else value
        self.own = given._node is node  # an output of the node, which must not own itself
        self.maker, self.port = None if self.own else given._node, given._port
        self.unpack = hooks.unpack_hook
        self.dtype, self.shape, self.bounds = given.dtype, given.shape, _bounds(given)
        seen = given.outside().requires_grad_(given.requires_grad and given.is_floating_point())
        before = seen._version
        self.kept = _unrecorded(hooks.pack_hook, seen)
        if seen._version != before:
            raise RuntimeError(
                "A saved tensor pack hook is modifying its input in place. Tensors provided as input "
                "to pack hook cannot be modified by in-place operations as this can lead to "
                "unexpected side-effects: clone() the tensor first.")

    def take(self, node: Node) -> Tensor:
        found = _unrecorded(self.unpack, self.kept)
        if not isinstance(found, Tensor):
            raise TypeError("Output of saved tensor unpack_hook expected to be a Tensor but got result "
                            f"of type {type(found).__name__}")
        if found.dtype is not self.dtype or found.shape != self.shape:
            raise RuntimeError("Output of saved tensor unpack_hook expected to be as what was packed, "
                               f"{self.dtype} of shape {list(self.shape)}, but got {found.dtype} of "
                               f"shape {list(found.shape)}")
        if self.bounds is not None and not _within(found, self.bounds):
            raise RuntimeError("Output of saved tensor unpack_hook has other integers than were packed")
        made = found.outside()
        made._node, made._port = node if self.own else self.maker, self.port
        return made


def _unrecorded(hook: Callable[[Any], Any], value: Any) -> Any:
    """A hook's result, of which nothing is recorded."""
    before, state.grad = state.grad, OFF
    try:
        return hook(value)
    finally:
        state.grad = before


def _bounds(t: Tensor) -> tuple[int, int] | None:
    """The least and the largest of integers, which may be indices that nobody checks again."""
    if t.dtype.category != 1 or not t.numel():
        return None
    array = t._values()
    return int(array.min()), int(array.max())


def _within(t: Tensor, bounds: tuple[int, int]) -> bool:
    low, high = bounds
    array = t._values()
    return bool(array.min() >= low and array.max() <= high)


class saved_tensors_hooks:
    """Within the block, `pack_hook(tensor)` says what is kept of each tensor saved for backward.

    Backward gets what `unpack_hook` makes of that again: of the same shape and dtype, with the
    same entries. Of nested blocks the innermost holds. Writes in place to what was packed go
    unnoticed.

    Args:
        pack_hook: takes a tensor and returns anything.
        unpack_hook: takes what `pack_hook` returned and returns a tensor.

    Raises:
        RuntimeError: `pack_hook` wrote to its tensor, `unpack_hook` gave another shape, dtype or
            range of integers, or hooks are disabled.
        TypeError: `unpack_hook` returned something else.

    Example:
        >>> import nbgrad
        >>> from nbgrad.autograd.graph import saved_tensors_hooks
        >>> x = nbgrad.tensor([1., 2.], requires_grad=True)
        >>> with saved_tensors_hooks(lambda t: t.half(), lambda t: t.float()):
        ...     y = (x * x).sum()
        >>> y.backward()
        >>> x.grad
        tensor([2., 4.])
    """

    def __init__(self, pack_hook: Callable[[Tensor], Any],
                 unpack_hook: Callable[[Any], Tensor]) -> None:
        self.pack_hook, self.unpack_hook = pack_hook, unpack_hook

    def __enter__(self) -> None:
        if state.hooks_disabled is not None:
            raise RuntimeError(state.hooks_disabled)
        self._outer = state.packer
        state.packer = lambda node, value: _Packed(node, value, self)
        watch()

    def __exit__(self, *exc: object) -> None:
        state.packer = self._outer
        watch()


class save_on_cpu(saved_tensors_hooks):
    """Within the block, what is saved for backward waits in the CPU's memory.

    Args:
        pin_memory: without effect where there is no other device.
    """

    def __init__(self, pin_memory: bool = False, device_type: str = "cuda") -> None:
        super().__init__(lambda t: (t.device, t.cpu()), lambda kept: kept[1].to(kept[0]))


@contextmanager
def disable_saved_tensors_hooks(error_message: str) -> Iterator[None]:
    """Within the block, `saved_tensors_hooks` raises RuntimeError with this message."""
    if state.packer is not None:
        raise RuntimeError(error_message)
    outer, state.hooks_disabled = state.hooks_disabled, error_message
    try:
        yield
    finally:
        state.hooks_disabled = outer


class _Original:
    """A saved tensor as it was: shared with the user until somebody writes to it."""

    __slots__ = ("__weakref__", "allowed", "value")

    def __init__(self, value: Tensor, allowed: object) -> None:
        self.value, self.allowed = value, allowed
        counter = value._count()
        if type(counter) is Counter:
            counter.__class__ = _Guarding
        if isinstance(counter, _Guarding):
            vars(counter).setdefault("originals", WeakSet()).add(self)


class _Guarding(Counter):
    """Counts as every counter, and has what is saved copied before a write."""

    originals: WeakSet[_Original]

    def writing(self) -> None:
        for original in self.originals:
            original.value = _unrecorded(Tensor.clone, original.value)
        self.originals.clear()


_allowing = threading.local()


@contextmanager
def allow_mutation_on_saved_tensors() -> Iterator[None]:
    """Within the block, what backward needs is copied before somebody writes to it in place.

    Forward and backward must both be in the block. Writes through `.data` are not seen.

    Raises:
        RuntimeError: one block is within another.

    Example:
        >>> import nbgrad
        >>> x = nbgrad.tensor([1., 2.], requires_grad=True)
        >>> with nbgrad.autograd.graph.allow_mutation_on_saved_tensors():
        ...     y = x.clone()
        ...     z = (y * y).sum()
        ...     y.zero_()
        ...     z.backward()
        tensor([0., 0.], grad_fn=<ZeroBackward0>)
        >>> x.grad
        tensor([2., 4.])
    """
    if getattr(_allowing, "now", None) is not None:
        raise RuntimeError("allow_mutation_on_saved_tensors contexts cannot be nested")

    def unpack(original: _Original) -> Tensor:
        if original.allowed is not getattr(_allowing, "now", None):
            raise AssertionError("Trying to backward outside of the 'allow_mutation_on_saved_tensors' "
                                 "context in which the graph was originally recorded.")
        return original.value

    now = _allowing.now = object()
    try:
        with saved_tensors_hooks(lambda t: _Original(t, now), unpack):
            yield
    finally:
        _allowing.now = None


def get_gradient_edge(tensor: Tensor) -> GradientEdge:
    """Where a tensor's gradient arrives in the graph; `autograd.grad` takes it for the tensor."""
    if not tensor.requires_grad:
        raise RuntimeError("It is not possible to get the gradient edge for a Tensor that does not "
                           "require gradients")
    return GradientEdge(tensor._node, tensor.output_nr)


def increment_version(tensor: Tensor | Iterable[Tensor]) -> None:
    """Count a write to tensors that autograd did not see."""
    for t in (tensor,) if isinstance(tensor, Tensor) else tensor:
        t._count().bump("increment_version")


def register_multi_grad_hook(tensors: Sequence[Tensor], fn: Callable[[Any], None], *,
                             mode: str = "all") -> Handle:
    """Call `fn` once in every backward, when the gradients of several tensors are known.

    Args:
        tensors: those whose gradients are waited for.
        fn: for "all" takes a list of gradients, None for tensors that the backward does not
            reach; for "any" the first gradient to arrive.
        mode: "all" or "any".

    Example:
        >>> import nbgrad
        >>> a, b = [nbgrad.ones(2, requires_grad=True) for _ in range(2)]
        >>> handle = nbgrad.autograd.graph.register_multi_grad_hook([a, b], print)
        >>> (a * 2 + b).sum().backward()
        [tensor([2., 2.]), tensor([1., 1.])]
    """
    if mode not in ("all", "any"):
        raise ValueError(f"Expects mode to be one of ('all', 'any') but got {mode}")
    lock = threading.Lock()
    #: backwards under way: gradients that came, and how many are still to come
    under_way: WeakKeyDictionary[engine.Task, list] = WeakKeyDictionary()
    fired: WeakSet[engine.Task] = WeakSet()

    def one_of_all(k: int, grad: Tensor) -> None:
        task = state.task
        with lock:
            entry = under_way.get(task)
            if entry is None:
                nodes = [t._node for t in tensors]
                entry = under_way[task] = [[None] * len(nodes), sum(map(task.reaches, nodes))]
            entry[0][k] = grad
            entry[1] -= 1
            if entry[1]:
                return
            del under_way[task]
        fn(entry[0])

    def any_of_all(k: int, grad: Tensor) -> None:
        with lock:
            first = state.task not in fired
            fired.add(state.task)
        if first:
            fn(grad)

    hook = one_of_all if mode == "all" else any_of_all
    handles = [t.register_hook(lambda grad, k=k: hook(k, grad)) for k, t in enumerate(tensors)]
    return _Handles(handles)


class _Handles(Handle):
    """Removes several hooks at once."""

    def __init__(self, handles: list[Handle]) -> None:
        self._handles = handles

    def remove(self) -> None:
        for handle in self._handles:
            handle.remove()
