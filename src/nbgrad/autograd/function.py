"""Function: an operation whose forward and backward the user writes."""

from __future__ import annotations

import functools
import inspect
from typing import Any

from nbgrad.engine.mode import no_grad, state
from nbgrad.engine.node import Node
from nbgrad.engine.saved import save, unpack
from nbgrad.engine.window import View
from nbgrad.ops.apply import link, mark, rebase
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
        for t in tensors:
            if t is not None and not isinstance(t, Tensor):
                raise TypeError(f"save_for_backward can only save variables, but argument is of type "
                                f"{type(t).__name__}: keep other values as attributes of ctx")
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
        found = node.function.backward(node, *grads)
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

    def __init__(self, *args, **kwargs) -> None:
        raise RuntimeError(f"{type(self).__name__} should not be instantiated. Methods on autograd "
                           "functions are all static, so you should invoke them on the class itself: "
                           f"call {type(self).__name__}.apply(...)")

    def __init_subclass__(cls, **kwargs) -> None:
        super().__init_subclass__(**kwargs)
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
        recording = state.grad and any(node._needs)
        with no_grad():
            if cls.setup_context is None:
                out = cls.forward(node, *args, **kwargs)
            else:
                out = cls.forward(*args, **kwargs)
                cls.setup_context(node, args, out)
        single = not isinstance(out, tuple)
        outs = (out,) if single else out
        inputs = [args[k] for k in positions]
        if recording:
            outs = _record(node, inputs, outs)
        else:
            outs = tuple([_again(o) if any(o is t for t in inputs) and not any(
                o is d for d in node._dirty) else o for o in outs])
        node._to_save = node._dirty = node._non_differentiable = ()
        return outs[0] if single else outs


def _again(t: Tensor) -> Tensor:
    """An input that forward returned as it is: another tensor over the same memory."""
    made = t.outside()
    if state.grad:
        made._view = View(t if t._view is None else t._view.base, made._counter.count, "function")
        made._slot = t._slot if isinstance(t._slot, tuple) else None
    else:
        mark((made,), state.grad)
    return made


def _record(node: _FunctionNode, inputs: list[Tensor], outs: tuple) -> tuple:
    """Hang the node on the outputs; an input returned unchanged becomes a new tensor."""
    for d in node._dirty:
        if isinstance(d, Tensor) and type(d._node) is AccumulateGrad:
            raise RuntimeError("a leaf Variable that requires grad is being used in an in-place "
                               "operation.")
    place = node.place
    link(node, inputs, tuple(t._node for t in inputs), ())
    node.place = node.place or place
    node.outputs = len(outs)
    node._output_shapes = tuple(o._layout.shape if isinstance(o, Tensor) else None for o in outs)
    fresh, saved_as = [], {}
    for port, o in enumerate(outs):
        as_given = any(o is t for t in inputs)
        if not isinstance(o, Tensor) or any(o is n for n in node._non_differentiable) \
                or o._layout.dtype.category < 2:
            fresh.append(o if not as_given else o.detach() if o.requires_grad else _again(o))
            continue
        if any(o is d for d in node._dirty):
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
        is_input = any(t is i for i in inputs)
        if id(t) in saved_as and not (is_input and saved_as[id(t)][0] is not t):
            values.append(Saved(t, saved_as[id(t)][1]))
        else:
            values.append(t)
    node._saved_positions = where
    save(node, tuple(values))
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
