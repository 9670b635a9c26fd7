"""Function: an operation whose forward and backward the user writes."""

from __future__ import annotations

import functools
import inspect
from typing import Any

from nbgrad.engine.mode import no_grad, state
from nbgrad.engine.node import Node
from nbgrad.engine.provenance import OFF
from nbgrad.engine.saved import save, unpack
from nbgrad.engine.window import View
from nbgrad.ops.apply import link, mark, note_cuts, rebase, unrecorded
from nbgrad.tensor import AccumulateGrad, Saved, Tensor


class _Context(Node):
    """What `forward` leaves for `backward`; also the node of the graph."""

    __slots__ = ("__dict__", "outputs")
    function: type[Function]
    _needs: tuple[bool, ...]
    _saved_positions: list[int | None] | None
    _tensor_positions: tuple[int, ...]
    _output_shapes: tuple

    @property
    def saved_tensors(self) -> tuple:
        """What was given to `save_for_backward`, checked for writes since."""
        if self._saved_positions is None:
            return ()
        values = unpack(self)
        return tuple(None if k is None else
                     values[k].tensor(self) if type(values[k]) is Saved else values[k]
                     for k in self._saved_positions)

    @property
    def needs_input_grad(self) -> tuple[bool, ...]:
        """For each argument of forward, whether it is a tensor that wants a gradient."""
        return self._needs

    def save_for_backward(self, *tensors) -> None:
        """Keep inputs or outputs (or None) for backward."""
        for k, t in enumerate(tensors):
            if t is not None and not isinstance(t, Tensor):
                raise TypeError(f"save_for_backward can only save variables, but argument {k} is of "
                                f"type {type(t).__name__}: keep other values as attributes of ctx")
        self._to_save = tensors

    def mark_dirty(self, *tensors) -> None:
        """Say which inputs forward wrote to in place; they must be returned."""
        self._dirty = tensors

    def mark_non_differentiable(self, *tensors) -> None:
        """Say which outputs take no part in differentiation."""
        self._non_differentiable = tensors

    def set_materialize_grads(self, value: bool) -> None:
        """Whether backward gets zeros (the default) or None for outputs without a gradient."""
        self._materialize = bool(value)


class _FunctionNode(_Context):
    """The node of a user's function."""

    __slots__ = ()

    def __init__(self) -> None:
        self._to_save: tuple = ()
        self._dirty: tuple = ()
        self._non_differentiable: tuple = ()
        self._materialize = True
        self._saved_positions = None
        self.saved = ()
        self.hooks = self.versions = self.place = None

    @staticmethod
    def back(node: _FunctionNode, *grads):
        if node._materialize:
            grads = tuple(g if g is not None or own is None else like.new_zeros(own)
                          for g, own, like in _shapes(node, grads))
        function = node.function
        found = (function.backward if function.vjp is Function.vjp else function.vjp)(node, *grads)
        found = found if isinstance(found, tuple) else (found,)
        count = len(node._needs)
        if len(found) > count and all(g is None for g in found[count:]):
            found = found[:count]
        if len(found) != count:
            raise RuntimeError(f"function {node.name()} returned an incorrect number of gradients "
                               f"(expected {count}, got {len(found)})")
        return tuple(_valid(node, k, found[k]) for k in node._tensor_positions)


def _shapes(node: _FunctionNode, grads):
    like = next((g for g in grads if g is not None), None)
    return [(g, own, like) for g, own in zip(grads, node._output_shapes)]


def _valid(node: _FunctionNode, k: int, grad):
    """A gradient that fits its input: summed where it was broadcast, cast to its dtype."""
    if grad is None:
        return None
    if not isinstance(grad, Tensor):
        raise RuntimeError(f"expected Variable or None (got {type(grad).__name__}) as gradient of "
                           f"input {k} of {node.name()}")
    if not node._needs[k]:
        return None
    own = node.layouts[node._tensor_positions.index(k)]
    if grad._layout.shape != own.shape:
        try:
            grad = grad.sum_to_size(own.shape)
        except RuntimeError:
            raise RuntimeError(
                f"Function {node.name()} returned an invalid gradient at index {k} - got "
                f"{list(grad.shape)} but expected shape compatible with {list(own.shape)}") from None
    return grad if grad._layout.dtype is own.dtype else grad.to(own.dtype)


_signature = functools.lru_cache(256)(inspect.signature)


class Function:
    """Subclass with static `forward(ctx, *args)` and `backward(ctx, *grads)`; call `apply`.

    `backward` returns one gradient (a tensor or None) for every argument of `forward`. Written
    with tensor operations it can itself be differentiated. In the newer form, `forward(*args)`
    has no ctx and `setup_context(ctx, inputs, output)` saves.

    Example:
        >>> import nbgrad
        >>> class Cube(Function):
        ...     @staticmethod
        ...     def forward(ctx, x):
        ...         ctx.save_for_backward(x)
        ...         return x * x * x
        ...     @staticmethod
        ...     def backward(ctx, g):
        ...         (x,) = ctx.saved_tensors
        ...         return 3 * x * x * g
        >>> x = nbgrad.tensor(2., requires_grad=True)
        >>> Cube.apply(x).backward()
        >>> x.grad
        tensor(12.)
    """

    setup_context: Any = None
    _node_class: type[_FunctionNode] = _FunctionNode

    @staticmethod
    def forward(*args, **kwargs):
        raise NotImplementedError("You must implement the forward function for custom "
                                  "autograd.Function.")

    @staticmethod
    def backward(ctx, *grads):
        raise NotImplementedError("You must implement either the backward or vjp method for your "
                                  "custom autograd.Function to use it with backward mode AD.")

    @staticmethod
    def vjp(ctx, *grads):
        """Another name for `backward`."""
        raise NotImplementedError("see backward")

    def __init__(self, *args, **kwargs) -> None:
        raise RuntimeError(f"{type(self).__name__} should not be instantiated. Methods on autograd "
                           "functions are all static, so you should invoke them on the class itself: "
                           f"call {type(self).__name__}.apply(...)")

    def __init_subclass__(cls, **kwargs) -> None:
        super().__init_subclass__(**kwargs)
        if cls.backward is not Function.backward and cls.vjp is not Function.vjp:
            raise RuntimeError("Implementing both 'backward' and 'vjp' for a custom Function is not "
                               "allowed. You should only implement one of them.")
        cls._node_class = type(f"{cls.__name__}Backward", (_FunctionNode,), {"function": cls})

    @classmethod
    def apply(cls, *args, **kwargs):
        """Run forward and record it; in the newer form with keywords, too, and with defaults."""
        if cls.setup_context is not None:
            signature = _signature(cls.forward)
            if kwargs or len(args) != len(signature.parameters):
                bound = signature.bind(*args, **kwargs)
                bound.apply_defaults()
                args, kwargs = bound.args, bound.kwargs
        node = cls._node_class()
        positions = tuple(k for k, a in enumerate(args) if isinstance(a, Tensor))
        node._tensor_positions = positions
        node._needs = tuple(isinstance(a, Tensor) and a.requires_grad for a in args)
        outer, state.grad = state.grad, OFF
        try:
            if cls.setup_context is None:
                out = cls.forward(node, *args, **kwargs)
            else:
                out = cls.forward(*args, **kwargs)
                cls.setup_context(node, args, out)
        finally:
            state.grad = outer
        single = not isinstance(out, tuple)
        outs = (out,) if single else out
        inputs = tuple([args[k] for k in positions])
        recording = outer and True in node._needs
        for d in node._dirty:
            _check_dirty(d, outs, recording)
        outs = (_record if recording else _unrecorded)(node, inputs, outs)
        node._to_save = node._dirty = node._non_differentiable = ()
        return outs[0] if single else outs


def _again(t: Tensor) -> Tensor:
    """An input that forward returned as it is: another tensor over the same memory."""
    made = t.outside()
    if state.grad:
        made._view = View(t if t._view is None else t._view.base, made._counter.count, "function")
    return made


def _unrecorded(node: _FunctionNode, inputs: tuple[Tensor, ...], outs: tuple) -> tuple:
    """Outputs without a history, marked with the reasons why there is none."""
    given = {id(t) for t in inputs} - {id(t) for t in node._dirty}
    outs = tuple([_again(o) if id(o) in given else o for o in outs])
    fresh = tuple([o for o in outs if isinstance(o, Tensor) and o._node is None])
    if state.grad:
        for o in fresh:
            o._slot = None if o._slot is OFF else o._slot
        unrecorded(node.function.__name__, inputs, fresh)
    else:
        mark(fresh, state.grad)
    return outs


def _check_dirty(d: Tensor, outs: tuple, recording: bool) -> None:
    """Raise where an input was written to whose history cannot be changed."""
    if not any(d is o for o in outs):
        raise RuntimeError(
            "Some elements marked as dirty during the forward method were not returned as output. The "
            "inputs that are modified inplace must all be outputs of the Function.")
    if recording and type(d._node) is AccumulateGrad:
        raise RuntimeError("a leaf Variable that requires grad is being used in an in-place operation.")
    if recording and d._view is not None and sum(isinstance(o, Tensor) for o in outs) > 1:
        raise RuntimeError(
            "If your Function modifies inplace an input that is a view of another Tensor, your "
            "Function cannot return more than one Tensor. This is not supported by the current "
            "autograd engine. You should either make sure the input is not a view (using .clone() for "
            "example) or make your Function only return one Tensor (potentially splitting it into two "
            "Functions: one doing the inplace that returns a single Tensor and a second one that does "
            "the other operations).")


def _record(node: _FunctionNode, inputs: tuple[Tensor, ...], outs: tuple) -> tuple:
    """Hang the node on the outputs; an input returned unchanged becomes a new tensor."""
    place = node.place
    link(node, inputs, tuple([t._node for t in inputs]), ())
    node.place = node.place or place
    node.outputs = len(outs)
    given, dirty = {id(t) for t in inputs}, {id(t) for t in node._dirty}
    apart = {id(t) for t in node._non_differentiable}
    node._output_shapes = tuple(o._layout.shape if isinstance(o, Tensor) else None for o in outs)
    fresh, saved_as = [], {}
    for port, o in enumerate(outs):
        as_given = id(o) in given
        if not isinstance(o, Tensor) or id(o) in apart or o._layout.dtype.category < 2:
            made = o if not as_given else o.detach() if o.requires_grad else _again(o)
            if isinstance(o, Tensor) and not as_given:
                unrecorded(node.function.__name__, inputs, (o,))
            fresh.append(made)
            continue
        if id(o) in dirty:
            o._count().bump(type(node).__name__)
            if o._view is not None:
                rebase(o, node)
            made = o
        else:
            made = _again(o) if as_given else o
            if made._view is not None:
                made._view.kind = "multi" if len(outs) > 1 else "function"
        made._node, made._port = node, port if len(outs) > 1 else -1
        saved_as[id(o)] = (made, made._port)
        fresh.append(made)
    values: list = []
    where: list[int | None] = []
    for t in node._to_save:
        if t is None:
            where.append(None)
            continue
        where.append(len(values))
        if id(t) in saved_as and not (id(t) in given and saved_as[id(t)][0] is not t):
            values.append(Saved(t, saved_as[id(t)][1]))
        else:
            values.append(t)
    node._saved_positions = where
    save(node, tuple(values))
    if None in node.next:
        note_cuts(node, inputs)
    if state.checker is not None:
        state.checker.forward(node, inputs, tuple(fresh))
    return tuple(fresh)


def once_differentiable(backward):
    """Mark a backward that cannot be differentiated again; doing so raises."""

    @functools.wraps(backward)
    def wrapped(ctx, *grads):
        with no_grad():
            found = backward(ctx, *grads)
        if not state.grad or not any(isinstance(g, Tensor) and g.requires_grad for g in grads):
            return found
        outs = found if isinstance(found, tuple) else (found,)
        outs = tuple(_Once.apply(o.detach().requires_grad_(True)) if isinstance(o, Tensor) else o
                     for o in outs)
        return outs if isinstance(found, tuple) else outs[0]

    return wrapped


class _Once(Function):
    @staticmethod
    def forward(ctx, x):
        return x.clone()

    @staticmethod
    def backward(ctx, g):
        raise RuntimeError("trying to differentiate twice a function that was marked with "
                           "@once_differentiable")
