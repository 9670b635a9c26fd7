"""Module: a function with parameters, buffers and modules of its own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from nbgrad import devices, dtypes
from nbgrad.engine.mode import no_grad
from nbgrad.engine.node import Handle, next_number
from nbgrad.nn.state import Stateful
from nbgrad.tensor import Tensor

M = TypeVar("M", bound="Module")


class Module(Stateful):
    """The base of all layers and models.

    Call `super().__init__()` first, then assign parameters and modules as attributes; give
    `forward`.

    Example:
        >>> class Net(Module):
        ...     def __init__(self):
        ...         super().__init__()
        ...         self.fc = Linear(4, 2)
        ...     def forward(self, x):
        ...         return self.fc(x).relu()
    """

    training: bool
    _frozen = False
    _before: dict[int, tuple[Callable, bool]]
    _after: dict[int, tuple[Callable, bool, bool]]

    def __init__(self) -> None:
        super().__init__()
        vars(self).update(training=True, _before={}, _after={})

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """What the module computes; every subclass gives its own."""
        raise NotImplementedError(
            f'Module [{type(self).__name__}] is missing the required "forward" function')

    # calling

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if not self._before and not self._after:
            return self.forward(*args, **kwargs)
        return self._call_hooked(args, kwargs)

    def _call_hooked(self, args: tuple, kwargs: dict[str, Any]) -> Any:
        pending = list(self._after.values())
        result = None
        try:
            for hook, with_kwargs in list(self._before.values()):
                if with_kwargs:
                    changed = hook(self, args, kwargs)
                    if changed is not None:
                        args, kwargs = changed
                else:
                    changed = hook(self, args)
                    if changed is not None:
                        args = changed if isinstance(changed, tuple) else (changed,)
            result = self.forward(*args, **kwargs)
            while pending:
                result = _run_hook(pending.pop(0), self, args, kwargs, result)
        except Exception:
            for entry in pending:
                if entry[2]:
                    _run_hook(entry, self, args, kwargs, result)
            raise
        return result

    def register_forward_pre_hook(self, hook: Callable, *, prepend: bool = False,
                                  with_kwargs: bool = False) -> Handle:
        """Call `hook(module, args)` before `forward`; what it returns replaces the arguments.

        Args:
            prepend: run before the hooks that are there.
            with_kwargs: call `hook(module, args, kwargs)`, which returns both.
        """
        return _register(self._before, (hook, with_kwargs), prepend)

    def register_forward_hook(self, hook: Callable, *, prepend: bool = False,
                              with_kwargs: bool = False, always_call: bool = False) -> Handle:
        """Call `hook(module, args, output)` after `forward`; what it returns replaces the output.

        Args:
            prepend: run before the hooks that are there.
            with_kwargs: call `hook(module, args, kwargs, output)`.
            always_call: call it also when `forward` raises.
        """
        return _register(self._after, (hook, with_kwargs, always_call), prepend)

    # modes

    def train(self: M, mode: bool = True) -> M:
        """Switch dropout and batch statistics on, or with False off."""
        if not isinstance(mode, bool):
            raise ValueError("training mode is expected to be boolean")
        for module in self.modules():
            module.training = mode
        return self

    def eval(self: M) -> M:
        """Switch dropout and batch statistics off; recording goes on (see `no_grad`)."""
        return self.train(False)

    def requires_grad_(self: M, requires_grad: bool = True) -> M:
        """Say of all parameters whether they are to be trained; see `freeze` for statistics."""
        for p in self.parameters():
            p.requires_grad_(requires_grad)
        return self

    def freeze(self: M) -> M:
        """Fix the module: no parameter is trained, and no running statistics move.

        Batch norm then normalises with its running statistics also in train mode, and stays so
        through `train()` until `unfreeze()`. Modules added later are not frozen.

        Example:
            >>> model = resnet18(weights="resnet18-f37072fd.pth").freeze()
            >>> model.fc = Linear(512, 10)
        """
        return self._set_frozen(True)

    def unfreeze(self: M) -> M:
        """Undo `freeze`: train all parameters and let running statistics move."""
        return self._set_frozen(False)

    def _set_frozen(self: M, frozen: bool) -> M:
        for module in self.modules():
            module._frozen = frozen
        return self.requires_grad_(not frozen)

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget the gradients of all parameters, or fill them with zeros."""
        for p in self.parameters():
            if p.grad is None:
                continue
            if set_to_none:
                p.grad = None
            else:
                with no_grad():
                    p.grad.detach_().zero_()

    # moving

    def _apply(self: M, fn: Callable[[Tensor], Tensor]) -> M:
        """Replace the memory of all parameters, gradients and buffers by `fn` of it."""
        for module in self.modules():
            for p in module._parameters.values():
                if p is None:
                    continue
                grad = p.grad
                with no_grad():
                    p.data = fn(p.data)
                    if grad is not None:
                        p.grad = fn(grad.detach())
            for name, value in module._buffers.items():
                if value is not None:
                    with no_grad():
                        module._buffers[name] = fn(value)
        return self

    def to(self: M, *args: Any, **kwargs: Any) -> M:
        """Change the dtype of floating-point values, or the device: `to("cpu")`, `to(float64)`.

        Args:
            device: where to; only the CPU in this build.
            dtype: a floating-point dtype.
            tensor: whose dtype and device to take.
        """
        device, dtype = kwargs.pop("device", None), kwargs.pop("dtype", None)
        for name in ("non_blocking", "memory_format", "copy"):
            kwargs.pop(name, None)
        args = (*args, *([kwargs.pop("tensor")] if "tensor" in kwargs else []))
        if kwargs:
            raise TypeError(f"to() got an unexpected keyword argument {next(iter(kwargs))!r}")
        for value in args:
            if isinstance(value, Tensor):
                dtype = value.dtype
            elif isinstance(value, dtypes.dtype):
                dtype = value
            elif isinstance(value, str | devices.device):
                device = value
            elif value is not None and not isinstance(value, bool):
                raise TypeError(f"to() expects a device, a dtype or a tensor, got {value!r}")
        devices.resolve(device)
        if dtype is None:
            return self
        if not dtype.is_floating_point:
            raise TypeError("nn.Module.to only accepts floating point or complex dtypes, but got "
                            f"desired dtype={dtype}")
        return self._apply(lambda t: t.to(dtype) if t.is_floating_point() else t)

    def float(self: M) -> M:
        """Change floating-point values to float32."""
        return self.to(dtypes.float32)

    def double(self: M) -> M:
        """Change floating-point values to float64."""
        return self.to(dtypes.float64)

    def cpu(self: M) -> M:
        """Move to the CPU."""
        return self.to("cpu")

    def cuda(self: M, device: int | str | None = None) -> M:
        """Move to a GPU; says why it cannot where there is none."""
        return self.to(f"cuda:{device}" if isinstance(device, int) else device or "cuda")

    def apply(self: M, fn: Callable[[Module], None]) -> M:
        """Call `fn` on every module, children first, e.g. to initialise weights."""
        for child in self.children():
            child.apply(fn)
        fn(self)
        return self

    # printing

    def extra_repr(self) -> str:
        """The options of the module as they are printed between its parentheses."""
        return ""

    def _get_name(self) -> str:
        return type(self).__name__

    def __repr__(self) -> str:
        extra = self.extra_repr().split("\n") if self.extra_repr() else []
        children = [f"({name}): {indent(repr(module))}" for name, module in self._modules.items()]
        lines = extra + children
        if not children and len(extra) <= 1:
            return f"{self._get_name()}({''.join(extra)})"
        return f"{self._get_name()}(\n  " + "\n  ".join(lines) + "\n)"


def indent(text: str) -> str:
    """All lines but the first moved right by two."""
    return text.replace("\n", "\n  ")


def _register(table: dict[int, tuple], entry: tuple, prepend: bool) -> Handle:
    key = next_number()
    if prepend:
        rest = dict(table)
        table.clear()
        table[key] = entry
        table.update(rest)
    else:
        table[key] = entry
    return Handle(table, key)


def _run_hook(entry: tuple[Callable, bool, bool], module: Module, args: tuple, kwargs: dict,
              result: Any) -> Any:
    hook, with_kwargs, _ = entry
    changed = hook(module, args, kwargs, result) if with_kwargs else hook(module, args, result)
    return result if changed is None else changed
