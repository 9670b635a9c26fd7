"""Checkpoints: forget what a function saved for backward, and run it again when backward asks."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any
from weakref import ref

from nbgrad import nn
from nbgrad.autograd.api import backward
from nbgrad.autograd.function import Function
from nbgrad.autograd.graph import saved_tensors_hooks
from nbgrad.devices import CPU
from nbgrad.engine import provenance, streams
from nbgrad.engine.mode import enable_grad, no_grad, state
from nbgrad.engine.node import Node
from nbgrad.engine.saved import save, unpack
from nbgrad.random import fork_rng, get_rng_state, set_rng_state
from nbgrad.tensor import Size, Tensor

__all__ = ["CheckpointError", "CheckpointFunction", "check_backward_validity", "checkpoint",
           "checkpoint_sequential", "detach_variable", "noop_context_fn",
           "set_checkpoint_debug_enabled", "set_checkpoint_early_stop"]

Contexts = tuple[AbstractContextManager, AbstractContextManager]


class CheckpointError(RuntimeError):
    """What was saved when the function ran again is not what it saved at first."""


def noop_context_fn() -> Contexts:
    """Two blocks without effect: the default `context_fn` of a checkpoint."""
    return nullcontext(), nullcontext()


def checkpoint(function: Callable, *args: Any, use_reentrant: bool | None = False,
               preserve_rng_state: bool = True,
               context_fn: Callable[[], Contexts] = noop_context_fn,
               determinism_check: str = "default", debug: bool = False, early_stop: bool = True,
               **kwargs: Any) -> Any:
    """`function(*args, **kwargs)`, of which backward keeps the arguments only.

    What backward needs is computed again when it first asks, once in every backward, by calling
    `function` with the same arguments: memory for time.

    Args:
        function: does the same each time it is called.
        use_reentrant: PyTorch's first way: the function is recorded only when it is run again.
            It takes no keywords, sees no tensors inside of lists and dicts, and is of no use to
            `autograd.grad`. False by default.
        preserve_rng_state: draw the same random numbers again.
        context_fn: gives two blocks, to run the function in at first and again.
        determinism_check: "default" compares shapes and dtypes of what is saved, "none" does not.
        debug: name lines in messages.
        early_stop: run again only so far that backward has what it needs.

    Raises:
        CheckpointError: the function saved something else when it was run again.
        ValueError: arguments that do not go together.

    Example:
        >>> import nbgrad
        >>> from nbgrad.utils.checkpoint import checkpoint
        >>> x = nbgrad.tensor([1., 2.], requires_grad=True)
        >>> checkpoint(lambda x: (x * x).exp() * x, x).sum().backward()
        >>> x.grad
        tensor([  8.1548, 491.3834])
    """
    if use_reentrant:
        if kwargs:
            raise ValueError("Unexpected keyword arguments: " + ",".join(kwargs))
        if context_fn is not noop_context_fn or debug:
            raise ValueError("Passing `context_fn` or `debug` is only supported when "
                             "use_reentrant=False.")
        return CheckpointFunction.apply(function, preserve_rng_state, *args)
    debug = debug if _override["debug"] is None else _override["debug"]
    early_stop = early_stop if _override["early_stop"] is None else _override["early_stop"]
    if debug and context_fn is not noop_context_fn:
        raise ValueError("debug=True is incompatible with non-default context_fn")
    if determinism_check not in ("default", "none"):
        raise ValueError("determinism_check should be one of ['default', 'none'], but got "
                         f"{determinism_check}")
    at_first, again = context_fn()
    if not state.grad:
        return function(*args, **kwargs)
    rng = get_rng_state() if preserve_rng_state else None
    region = _Region(_Call(function, args, kwargs, rng, again), early_stop,
                     determinism_check == "default", debug)
    with saved_tensors_hooks(region.pack, region.unpack), at_first:
        result = function(*args, **kwargs)
        region.complete = True
    if not region.complete:
        raise RuntimeError("torch.utils.checkpoint: the forward context provided by context_fn "
                           "suppressed an exception raised during the checkpointed forward. This is "
                           "not supported because checkpoint cannot return a value for a failed "
                           "forward.")
    return result


class _Arguments(Node):
    """Keeps tensors as a node keeps what it saved.

    So an outer checkpoint may forget them, and a write to them is noticed.
    """

    __slots__ = ()

    def __init__(self, tensors: tuple[Tensor, ...]) -> None:
        self.place = None
        save(self, tensors)


class _Call:
    """A function with its arguments and random numbers, to be called again."""

    def __init__(self, function: Callable, args: tuple, kwargs: dict[str, Any],
                 rng: Tensor | None, context: AbstractContextManager) -> None:
        self.function, self.kwargs, self.rng, self.context = function, kwargs, rng, context
        self.stream = state.stream
        self.tensors = _Arguments(tuple(a for a in args if isinstance(a, Tensor)))
        self.args = [_TENSOR if isinstance(a, Tensor) else a for a in args]

    def arguments(self) -> list:
        tensors = iter(unpack(self.tensors))
        return [next(tensors) if a is _TENSOR else a for a in self.args]

    def __call__(self, args: list) -> None:
        with _drawing_from(self.rng), streams.on(self.stream), self.context:
            self.function(*args, **self.kwargs)


_TENSOR = object()  # the place of one among the other arguments


@contextmanager
def _drawing_from(rng: Tensor | None) -> Iterator[None]:
    """A block that draws random numbers from a state, if there is one, and no others are lost."""
    with fork_rng(enabled=rng is not None):
        if rng is not None:
            set_rng_state(rng)
        yield


class _Holder:
    """What a node holds in place of a tensor: nothing, but while a backward waits to take it."""

    __slots__ = ("__weakref__", "value")

    def __init__(self) -> None:
        self.value: Tensor | None = None


class _Stop(BaseException):
    """All that backward needs was computed: no error, so no `except Exception` may catch it."""


class _Region:
    """A checkpoint: what was saved in it and forgotten, and how to have it again.

    Tensors saved are known by their order. The nodes own the holders and the holders the values,
    so a value lives no longer than the backward that needs it.
    """

    def __init__(self, call: _Call, early_stop: bool, compare: bool, debug: bool) -> None:
        self.call, self.early_stop, self.compare, self.debug = call, early_stop, compare, debug
        self.holders: list[ref[_Holder]] = []
        self.notes: list[tuple[Any, provenance.Place | None]] = []  # layout and line of each
        self.complete = False  # whether the function has returned
        self.inside = False  # whether a backward within it made the numbers differ
        self.task: Callable[[], Any] = lambda: None  # the backward it was last computed for

    def note(self, x: Tensor) -> tuple[Any, provenance.Place | None]:
        return x._layout, provenance.here(3) if self.debug else None

    def pack(self, x: Tensor) -> _Holder:
        holder = _Holder()
        self.holders.append(ref(holder))
        self.notes.append(self.note(x))
        return holder

    def unpack(self, holder: _Holder) -> Tensor:
        task = state.task
        if task is None or self.task() is not task:
            self.compute()
            if task is not None:
                self.task = ref(task)
        value, holder.value = holder.value, None
        if value is None:
            raise CheckpointError(
                "torch.utils.checkpoint: Unpack is being triggered for a tensor that was already "
                "unpacked once. If you are calling ctx.saved_tensors in backward, make sure to do so "
                "only once.")
        return value

    def compute(self) -> None:
        """Call the function again, and give what it saves to the holders that are still alive."""
        args, count, different = self.call.arguments(), 0, []

        def pack(x: Tensor) -> Tensor:
            nonlocal count
            k, count = count, count + 1
            if k >= len(self.holders):
                self.refuse_more(x)
                return x
            holder = self.holders[k]()
            if holder is not None:
                holder.value = x
                if self.compare and not _alike(x._layout, self.notes[k][0]):
                    different.append((k, self.note(x)))
            if self.early_stop and count == len(self.holders):
                raise _Stop
            return x  # for a backward within the function

        try:
            with saved_tensors_hooks(pack, lambda x: x), enable_grad():
                self.call(args)
        except _Stop:
            pass
        if not self.inside:
            self.check(count, different)

    def refuse_more(self, x: Tensor) -> None:
        """A backward within the function may see less of it than is run again; no other may."""
        if self.complete:
            raise CheckpointError("torch.utils.checkpoint: trying to save more tensors during "
                                  "recomputation than during the original forward pass."
                                  + self.line("saved", self.note(x)) + self.tip())
        self.inside = True

    def check(self, count: int, different: list) -> None:
        """Raise where what was saved now is not what was saved at first."""
        if count < len(self.holders):
            raise CheckpointError(
                "torch.utils.checkpoint: A different number of tensors was saved during the original "
                "forward and recomputation.\n"
                f"Number of tensors saved during forward: {len(self.holders)}\n"
                f"Number of tensors saved during recomputation: {count}."
                + self.line("first saved, but not again,", self.notes[count]) + self.tip())
        if different:
            lines = "".join(
                f"\ntensor at position {k}:\nsaved metadata: {_described(self.notes[k][0])}"
                f"{self.line('saved', self.notes[k])}\nrecomputed metadata: {_described(note[0])}"
                f"{self.line('recomputed', note)}" for k, note in different)
            raise CheckpointError("torch.utils.checkpoint: Recomputed values for the following "
                                  "tensors have different metadata than during the forward pass."
                                  + lines + self.tip())

    def line(self, what: str, note: tuple) -> str:
        return f"\n{what} at {provenance.describe(note[1])}" if self.debug else ""

    def tip(self) -> str:
        return "" if self.debug else (
            "\nTip: pass `debug=True` to checkpoint(...), or run within "
            "`set_checkpoint_debug_enabled(True)`, to be told the lines of code.")


def _alike(a: Any, b: Any) -> bool:
    return a is b or (a.shape == b.shape and a.dtype is b.dtype)


def _described(own: Any) -> dict[str, Any]:
    return {"shape": Size(own.shape), "dtype": own.dtype, "device": CPU}


_override: dict[str, bool | None] = {"debug": None, "early_stop": None}


@contextmanager
def _overriding(option: str, value: bool | None) -> Iterator[None]:
    before, _override[option] = _override[option], value
    try:
        yield
    finally:
        _override[option] = before


def set_checkpoint_early_stop(enable: bool) -> AbstractContextManager[None]:
    """A block whose checkpoints run their function only as far as needed, or to its end.

    It counts where the checkpoint is made, not where its backward is run.

    Example:
        >>> import nbgrad
        >>> from nbgrad.utils.checkpoint import checkpoint, set_checkpoint_early_stop
        >>> def f(x):
        ...     y = x.exp()
        ...     print("done")
        ...     return y
        >>> x = nbgrad.zeros(1, requires_grad=True)
        >>> with set_checkpoint_early_stop(False):
        ...     y = checkpoint(f, x)
        done
        >>> y.backward()
        done
    """
    return _overriding("early_stop", enable)


def set_checkpoint_debug_enabled(enabled: bool | None) -> AbstractContextManager[None]:
    """A block whose checkpoints name lines in messages, or do not; None leaves it to each."""
    return _overriding("debug", enabled)


def checkpoint_sequential(functions: nn.Sequential | Sequence[Callable], segments: int, input: Any,
                          use_reentrant: bool | None = False,
                          preserve_rng_state: bool = True) -> Any:
    """Functions called one after the other in segments, each but the last a checkpoint.

    Args:
        functions: an `nn.Sequential`, or a list of functions.
        segments: how many; the last takes what does not divide.
        input: what the first function takes.

    Example:
        >>> import nbgrad
        >>> from nbgrad.utils.checkpoint import checkpoint_sequential
        >>> x = nbgrad.ones(1, requires_grad=True)
        >>> checkpoint_sequential([nbgrad.sin, nbgrad.cos, nbgrad.exp], 2, x).backward()
        >>> x.grad
        tensor([-0.7844])
    """
    run = list(functions.children() if isinstance(functions, nn.Sequential) else functions)
    size = len(run) // segments

    def segment(part: list[Callable]) -> Callable:
        def call(x: Any) -> Any:
            for function in part:
                x = function(x)
            return x
        return call

    end = 0
    for start in range(0, size * (segments - 1), size):
        end = start + size
        input = checkpoint(segment(run[start:end]), input, use_reentrant=use_reentrant,
                           preserve_rng_state=preserve_rng_state)
    return segment(run[end:])(input)


# use_reentrant=True


def detach_variable(inputs: tuple) -> tuple:
    """The same tensors cut from their history, as leaves that want a gradient if those do."""
    if not isinstance(inputs, tuple):
        raise RuntimeError("Only tuple of tensors is supported. Got Unsupported input type: "
                           f"{type(inputs).__name__}")
    return tuple(t.detach().requires_grad_(t.requires_grad) if isinstance(t, Tensor) else t
                 for t in inputs)


def check_backward_validity(inputs: Iterable[Any]) -> None:
    """Warn where no tensor wants a gradient."""
    if not any(t.requires_grad for t in inputs if isinstance(t, Tensor)):
        warnings.warn("None of the inputs have requires_grad=True. Gradients will be None",
                      stacklevel=2)


class CheckpointFunction(Function):
    """The checkpoint as one node, whose backward runs a whole backward of its own."""

    @staticmethod
    def forward(ctx, run_function, preserve_rng_state, *args):
        check_backward_validity(args)
        ctx.run_function = run_function
        ctx.rng = get_rng_state() if preserve_rng_state else None
        ctx.save_for_backward(*(a for a in args if isinstance(a, Tensor)))
        ctx.inputs = [_TENSOR if isinstance(a, Tensor) else a for a in args]
        with no_grad():
            return run_function(*args)

    @staticmethod
    def backward(ctx, *grads):
        if state.task.needed is not None:
            raise RuntimeError(
                "When use_reentrant=True, torch.utils.checkpoint is incompatible with .grad() or "
                "passing an `inputs` parameter to .backward(). To resolve this error, you can either "
                "set use_reentrant=False, or call .backward() without passing the `inputs` argument.")
        tensors = iter(ctx.saved_tensors)
        inputs = detach_variable(tuple(next(tensors) if a is _TENSOR else a for a in ctx.inputs))
        with _drawing_from(ctx.rng), enable_grad():
            outputs = ctx.run_function(*inputs)
        outputs = (outputs,) if isinstance(outputs, Tensor) else outputs
        pairs = [(t, g) for t, g in zip(outputs, grads) if isinstance(t, Tensor) and t.requires_grad]
        if not pairs:
            raise RuntimeError("none of output has requires_grad=True, this checkpoint() is not "
                               "necessary")
        backward(*zip(*pairs))
        return (None, None, *(t.grad if isinstance(t, Tensor) else None for t in inputs))
