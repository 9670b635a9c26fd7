"""Hooks of modules: what is to be called beside `forward`, its backward, and the state's ways."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from nbgrad.engine.node import Handle, next_number


class Hook(NamedTuple):
    """A function to call, and how."""

    function: Callable
    with_kwargs: bool = False
    always: bool = False  # also when `forward` raised


#: around a call, then around the state of a module; `older` are backward hooks of the first kind
CALLS = ("forward_pre", "forward", "backward_pre", "backward", "older")
STATES = ("state_pre", "state_post", "load_pre", "load_post")


class Hooks:
    """The hooks of one module, or of all: for each kind a dict in the order of calling."""

    __slots__ = (*CALLS, *STATES)
    forward_pre: dict[int, Hook]
    forward: dict[int, Hook]
    backward_pre: dict[int, Hook]
    backward: dict[int, Hook]
    older: dict[int, Hook]

    def __init__(self) -> None:
        for kind in self.__slots__:
            setattr(self, kind, {})

    def __bool__(self) -> bool:
        """Whether a call of the module must look at them."""
        return bool(self.forward or self.forward_pre or self.backward or self.backward_pre
                    or self.older)

    def add(self, kind: str, hook: Hook, prepend: bool = False) -> Handle:
        """Register a hook after those of its kind, or before them."""
        table, key = getattr(self, kind), next_number()
        rest = dict(table) if prepend else {}
        if prepend:
            table.clear()
        table[key] = hook
        table.update(rest)
        return Handle(table, key)

    def add_backward(self, kind: str, hook: Callable, prepend: bool, where: str) -> Handle:
        """The same for a full backward hook or an older one, which do not go together."""
        if getattr(self, "older" if kind == "backward" else "backward"):
            raise RuntimeError("Cannot use both regular backward hooks and full backward hooks "
                               f"{where}. Please use only one of them.")
        return self.add(kind, Hook(hook), prepend)


EVERYWHERE = Hooks()  # those of all modules


def hooks_of(module: Any) -> Hooks:
    """The hooks of a module itself, to be added to."""
    found = vars(module).get("_hooks")
    if found is None:
        found = vars(module)["_hooks"] = Hooks()
    return found


def listed(module: Any, kind: str) -> Sequence[tuple[int, Hook]]:
    """What is to be called for a module: the hooks of all modules, then its own."""
    everywhere, hooks = getattr(EVERYWHERE, kind), module._hooks
    found = (*everywhere.items(),) if everywhere else ()
    if hooks is None or hooks is EVERYWHERE:
        return found
    own = getattr(hooks, kind)
    return (*found, *own.items()) if own else found


def _table(kind: str) -> Any:
    """The hooks of one kind under the name that they have in PyTorch."""
    return property(lambda self: getattr(hooks_of(self), kind),
                    lambda self, table: setattr(hooks_of(self), kind, table))


class Hooked:
    """Takes hooks for the calls of a module.

    The handles returned take their hook away: by `remove()`, or at the end of a `with` block.
    """

    _hooks: Hooks | None = None  # None, or those of all modules, until the module has its own
    _forward_pre_hooks, _forward_hooks = _table("forward_pre"), _table("forward")
    _backward_pre_hooks, _backward_hooks = _table("backward_pre"), _table("backward")

    def register_forward_pre_hook(self, hook: Callable, *, prepend: bool = False,
                                  with_kwargs: bool = False) -> Handle:
        """Call `hook(module, args)` before `forward`; what it returns replaces the arguments.

        Args:
            prepend: run before the hooks that are there.
            with_kwargs: call `hook(module, args, kwargs)`, which returns both or None.

        Example:
            >>> from nbgrad import nn, ones
            >>> layer = nn.Identity()
            >>> with layer.register_forward_pre_hook(lambda module, args: args[0] * 2):
            ...     layer(ones(2))
            tensor([2., 2.])
        """
        return hooks_of(self).add("forward_pre", Hook(hook, with_kwargs), prepend)

    def register_forward_hook(self, hook: Callable, *, prepend: bool = False,
                              with_kwargs: bool = False, always_call: bool = False) -> Handle:
        """Call `hook(module, args, output)` after `forward`; what it returns replaces the output.

        Args:
            prepend: run before the hooks that are there.
            with_kwargs: call `hook(module, args, kwargs, output)`.
            always_call: call it also when `forward` raises.

        Example:
            >>> from nbgrad import nn, ones
            >>> layer, shapes = nn.Linear(2, 3), []
            >>> handle = layer.register_forward_hook(lambda m, args, y: shapes.append(y.shape))
            >>> y = layer(ones(5, 2))
            >>> shapes
            [nbgrad.Size([5, 3])]
        """
        return hooks_of(self).add("forward", Hook(hook, with_kwargs, always_call), prepend)

    def register_full_backward_pre_hook(self, hook: Callable, prepend: bool = False) -> Handle:
        """Call `hook(module, grad_output)` when the gradients of the module's outputs are known.

        `grad_output` is a tuple with None for what is no tensor or has no gradient; a tuple
        that the hook returns replaces it. The outputs may not be written to in place.

        Args:
            prepend: run before the hooks that are there.

        Example:
            >>> from nbgrad import nn, ones
            >>> layer, x = nn.ReLU(), ones(2, requires_grad=True)
            >>> handle = layer.register_full_backward_pre_hook(lambda m, grads: (grads[0] * 3,))
            >>> layer(x).sum().backward()
            >>> x.grad
            tensor([3., 3.])
        """
        return hooks_of(self).add("backward_pre", Hook(hook), prepend)

    def register_full_backward_hook(self, hook: Callable, prepend: bool = False) -> Handle:
        """Call `hook(module, grad_input, grad_output)` when the gradients of the inputs are known.

        Both are tuples with None for what is no tensor; a tuple that the hook returns replaces
        `grad_input`. Where no input wants a gradient, the hook is called as soon as those of the
        outputs are known. Inputs and outputs may not be written to in place.

        Args:
            prepend: run before the hooks that are there.

        Raises:
            RuntimeError: the module has hooks of `register_backward_hook`.

        Example:
            >>> from nbgrad import nn, ones
            >>> layer, x = nn.ReLU(), ones(2, requires_grad=True)
            >>> handle = layer.register_full_backward_hook(lambda m, gx, gy: (gx[0] * 3,))
            >>> layer(x).sum().backward()
            >>> x.grad
            tensor([3., 3.])
        """
        return hooks_of(self).add_backward("backward", hook, prepend, "on a single Module")

    def register_backward_hook(self, hook: Callable) -> Handle:
        """Call `hook(module, grad_input, grad_output)` after the last operation of the module.

        Deprecated: it sees the gradients of that operation alone. See
        `register_full_backward_hook`.

        Raises:
            RuntimeError: the module has full backward hooks.
        """
        return hooks_of(self).add_backward("older", hook, False, "on a single Module")


class _OfAll(Handle):
    """The handle of a hook of all modules: without any left, calls are as short as before."""

    def remove(self) -> None:
        super().remove()
        Hooked._hooks = EVERYWHERE if EVERYWHERE else None


def _of_all(handle: Handle) -> Handle:
    Hooked._hooks = EVERYWHERE
    return _OfAll(handle._hooks, handle._key)


def register_module_forward_pre_hook(hook: Callable) -> Handle:
    """Call `hook(module, args)` before the `forward` of every module, and before its own hooks."""
    return _of_all(EVERYWHERE.add("forward_pre", Hook(hook)))


def register_module_forward_hook(hook: Callable, *, with_kwargs: bool = False,
                                 always_call: bool = False) -> Handle:
    """Call `hook(module, args, output)` after the `forward` of every module.

    Args:
        with_kwargs: call `hook(module, args, kwargs, output)`.
        always_call: call it also when `forward` raises.

    Example:
        >>> from nbgrad import nn, ones
        >>> names = []
        >>> with register_module_forward_hook(lambda m, args, y: names.append(type(m).__name__)):
        ...     y = nn.Sequential(nn.Linear(2, 2), nn.ReLU())(ones(1, 2))
        >>> names
        ['Linear', 'ReLU', 'Sequential']
    """
    return _of_all(EVERYWHERE.add("forward", Hook(hook, with_kwargs, always_call)))


def register_module_full_backward_pre_hook(hook: Callable) -> Handle:
    """Call `hook(module, grad_output)` for every module; see `Module`'s method."""
    return _of_all(EVERYWHERE.add("backward_pre", Hook(hook)))


def register_module_full_backward_hook(hook: Callable) -> Handle:
    """Call `hook(module, grad_input, grad_output)` for every module; see `Module`'s method."""
    return _of_all(EVERYWHERE.add_backward("backward", hook, False, _GLOBAL))


def register_module_backward_hook(hook: Callable) -> Handle:
    """The deprecated form of `register_module_full_backward_hook`."""
    return _of_all(EVERYWHERE.add_backward("older", hook, False, _GLOBAL))


_GLOBAL = "as a global Module hook"
