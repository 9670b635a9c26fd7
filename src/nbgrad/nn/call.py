"""The call of a module that has hooks."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from functools import partial
from typing import Any

from nbgrad.autograd.function import Function
from nbgrad.engine.mode import state
from nbgrad.nn.hooks import Hook, listed
from nbgrad.tensor import Tensor


def call(module: Any, args: tuple, kwargs: dict[str, Any]) -> Any:
    """`module.forward`, with its hooks before and after, and those of its backward laid out."""
    result, done = None, set()
    try:
        for _, hook in listed(module, "forward_pre"):
            args, kwargs = _before(hook, module, args, kwargs)
        before, after = listed(module, "backward_pre"), listed(module, "backward")
        way_back = _WayBack(module, before, after) if before or after else None
        if way_back:
            args = way_back.through_inputs(args)
        result = module.forward(*args, **kwargs)
        for key, hook in listed(module, "forward"):
            done.add(key)
            result = _after(hook, module, args, kwargs, result)
        if way_back:
            result = way_back.through_outputs(result)
        older = listed(module, "older")
        if older:
            _hang(older, module, args, result)
        return result
    except Exception:
        for key, hook in listed(module, "forward"):
            if hook.always and key not in done:
                try:
                    result = _after(hook, module, args, kwargs, result)
                except Exception as error:
                    warnings.warn("module forward hook with ``always_call=True`` raised an exception "
                                  "that was silenced as another error was raised in forward: "
                                  f"{error}", stacklevel=3)
        raise


def _before(hook: Hook, module: Any, args: tuple, kwargs: dict) -> tuple[tuple, dict]:
    """The arguments after a pre-hook has seen them."""
    if not hook.with_kwargs:
        changed = hook.function(module, args)
        if changed is None:
            return args, kwargs
        return changed if isinstance(changed, tuple) else (changed,), kwargs
    changed = hook.function(module, args, kwargs)
    if changed is None:
        return args, kwargs
    if not isinstance(changed, tuple) or len(changed) != 2:
        raise RuntimeError("forward pre-hook must return None or a tuple of (new_args, new_kwargs), "
                           f"but got {changed}.")
    return changed


def _after(hook: Hook, module: Any, args: tuple, kwargs: dict, result: Any) -> Any:
    """The result after a hook has seen it."""
    seen = (args, kwargs, result) if hook.with_kwargs else (args, result)
    changed = hook.function(module, *seen)
    return result if changed is None else changed


class BackwardHookFunction(Function):
    """Nothing, recorded: one node on which the hooks of several tensors hang."""

    @staticmethod
    def forward(ctx, *tensors):
        ctx.mark_non_differentiable(*(t for t in tensors if not t.requires_grad))
        return tensors

    @staticmethod
    def backward(ctx, *grads):
        return grads


class _WayBack:
    """The backward hooks of one call: between the gradients of its outputs and of its inputs."""

    def __init__(self, module: Any, before: Sequence, after: Sequence) -> None:
        self.module = module
        self.before = [hook.function for _, hook in before]
        self.after = [hook.function for _, hook in after]
        self.grads: tuple | None = None  # of the outputs, while those of the inputs are awaited

    def through_inputs(self, args: tuple) -> tuple:
        self.inputs = [None] * len(args)
        return self._through(args, self.inputs, self._see_inputs)

    def through_outputs(self, result: Any) -> Any:
        if not isinstance(result, Tensor | tuple):
            warnings.warn("For backward hooks to be called, module output should be a Tensor or a "
                          f"tuple of Tensors but received {type(result)}", stacklevel=4)
        outputs = result if isinstance(result, tuple) else (result,)
        self.outputs = [None] * len(outputs)
        outputs = self._through(outputs, self.outputs, self._see_outputs)
        return outputs if isinstance(result, tuple) else outputs[0]

    @staticmethod
    def _through(values: tuple, layouts: list, hook: Any) -> tuple:
        """Tensors passed through a node that calls `hook`; notes their layouts if it is recorded."""
        tensors = {k: v for k, v in enumerate(values) if isinstance(v, Tensor)}
        if not (state.grad and any(t.requires_grad for t in tensors.values())):
            return values
        passed = dict(zip(tensors, BackwardHookFunction.apply(*tensors.values())))
        next(t.grad_fn for t in passed.values() if t.requires_grad).register_hook(hook)
        for k, t in passed.items():
            layouts[k] = t._layout
        filled = [passed.get(k, v) for k, v in enumerate(values)]
        return tuple(filled) if type(values) is tuple else type(values)(*filled)

    def _see_outputs(self, _: tuple, grads: tuple) -> tuple:
        """Tell what is to be called before; and the rest, if no input wants a gradient."""
        layouts = self.outputs
        self.grads = _spread(grads, layouts)
        for hook in self.before:
            changed = hook(self.module, self.grads)
            if changed is not None:
                self.grads = _checked(changed, layouts, "Backward pre hook", "grad_output")
        found = tuple(g for g, own in zip(self.grads, layouts) if own is not None)
        if all(own is None for own in self.inputs):
            warnings.warn("Full backward hook is firing when gradients are computed with respect to "
                          "module outputs since no inputs require gradients. See "
                          "https://docs.pytorch.org/docs/main/generated/torch.nn.Module.html"
                          "#torch.nn.Module.register_full_backward_hook for more details.",
                          stacklevel=7)
            for hook in self.after:
                changed = hook(self.module, (None,) * len(self.inputs), self.grads)
                if changed is not None and any(g is not None for g in changed):
                    raise RuntimeError("Backward hook for Modules where no input requires gradient "
                                       "should always return None or None for all gradients.")
            self.grads = None
        return found

    def _see_inputs(self, grads: tuple, _: tuple) -> tuple | None:
        """Tell what is to be called after; unless the backward came past the outputs."""
        if self.grads is None:
            return None
        layouts = self.inputs
        some = next(g for g in grads if g is not None)
        seen = tuple(g if g is not None or own is None else some.new_zeros(own.shape, dtype=own.dtype)
                     for g, own in zip(_spread(grads, layouts), layouts))
        for hook in self.after:
            changed = hook(self.module, seen, self.grads)
            if changed is not None:
                seen = _checked(changed, layouts, "Backward hook", "grad_input")
        self.grads = None
        return tuple(g for g, own in zip(seen, layouts) if own is not None)


def _spread(grads: tuple, layouts: list) -> tuple:
    """The gradients of tensors, with None in the places of what is no tensor."""
    rest = iter(grads)
    return tuple(None if own is None else next(rest) for own in layouts)


def _checked(grads: Any, layouts: list, kind: str, name: str) -> tuple:
    """The gradients a hook gave, if they fit."""
    if len(grads) != len(layouts):
        raise RuntimeError(f"{kind} returned an invalid number of {name}, got {len(grads)}, but "
                           f"expected {len(layouts)}")
    for grad, own in zip(grads, layouts):
        if grad is None or own is None:
            continue
        if not isinstance(grad, Tensor):
            raise TypeError(f"expected Variable, but hook 'hook' returned '{type(grad).__name__}'")
        if grad._layout.dtype is not own.dtype:
            raise RuntimeError(f"hook 'hook' has changed the type of value (was torch."
                               f"{own.dtype.legacy}Tensor got torch.{grad.dtype.legacy}Tensor)")
        if grad._layout.shape != own.shape:
            raise RuntimeError("hook 'hook' has changed the size of value")
    return tuple(grads)


def _hang(older: Sequence, module: Any, args: tuple, result: Any) -> None:
    """Call hooks of the first kind after the node that made the first output."""
    first = result
    while not isinstance(first, Tensor):
        first = (next(v for v in first.values() if isinstance(v, Tensor)) if isinstance(first, dict)
                 else first[0])
    node = first.grad_fn
    if node is None:
        return
    for _, hook in older:
        node.register_hook(partial(hook.function, module))
    outputs = result if isinstance(result, tuple) else (result,)
    if not (all(isinstance(t, Tensor) for t in (*args, *outputs))
            and {t.grad_fn for t in outputs} - {None} == {node}
            and {t.grad_fn for t in args} - {None} == {n for n, _ in node.next_functions}):
        warnings.warn("Using a non-full backward hook when the forward contains multiple autograd "
                      "Nodes is deprecated and will be removed in future versions. This hook will be "
                      "missing some grad_input. Please use register_full_backward_hook to get the "
                      "documented behavior.", FutureWarning, stacklevel=4)
