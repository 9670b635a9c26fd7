"""Module: a function with parameters, buffers and modules of its own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from nbgrad import devices, dtypes
from nbgrad.engine.mode import no_grad
from nbgrad.kernels.backend import resolve
from nbgrad.nn.call import call
from nbgrad.nn.hooks import (
    Hooked,
    register_module_backward_hook,
    register_module_forward_hook,
    register_module_forward_pre_hook,
    register_module_full_backward_hook,
    register_module_full_backward_pre_hook,
)
from nbgrad.nn.state import Stateful
from nbgrad.ops.create import empty_like
from nbgrad.tensor import Tensor

__all__ = ["Module", "register_module_backward_hook", "register_module_forward_hook",
           "register_module_forward_pre_hook", "register_module_full_backward_hook",
           "register_module_full_backward_pre_hook"]

M = TypeVar("M", bound="Module")


class Module(Hooked, Stateful):
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

    def __init__(self) -> None:
        super().__init__()
        vars(self)["training"] = True

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """What the module computes; every subclass gives its own."""
        raise NotImplementedError(
            f'Module [{type(self).__name__}] is missing the required "forward" function')

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if not self._hooks:
            return self.forward(*args, **kwargs)
        return call(self, args, kwargs)

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

    def _apply(self: M, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> M:
        """Replace the memory of all parameters, gradients and buffers by `fn` of it."""
        for child in self.children() if recurse else ():
            child._apply(fn)
        with no_grad():
            for p in self._parameters.values():
                if p is None:
                    continue
                grad, data = p.grad, fn(p.data)
                if p.requires_grad and not data.is_floating_point():
                    raise RuntimeError("data set to a tensor that requires gradients must be "
                                       "floating point or complex dtype")
                p.data = data
                if grad is not None:
                    p.grad = fn(grad.detach())
            for name, value in self._buffers.items():
                if value is not None:
                    self._buffers[name] = fn(value)
        return self

    def to(self: M, *args: Any, **kwargs: Any) -> M:
        """Change the dtype of floating-point values, or the device: `to("cpu")`, `to(float64)`.

        Args:
            device: where to: "cpu" or "cuda".
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
                dtype, device = value.dtype, value.device
            elif isinstance(value, dtypes.dtype):
                dtype = value
            elif isinstance(value, str | devices.device) or type(value) is int:
                device = value
            elif value is not None and not isinstance(value, bool):
                raise TypeError(f"to() expects a device, a dtype or a tensor, got {value!r}")
        place = None if device is None else resolve(device)
        if dtype is None:
            return self if place is None else self._apply(lambda t: t.to(place))
        if not dtype.is_floating_point:
            raise TypeError("nn.Module.to only accepts floating point or complex dtypes, but got "
                            f"desired dtype={dtype}")
        return self._apply(lambda t: t.to(t.device if place is None else place,
                                          dtype if t.is_floating_point() else t.dtype))

    def cpu(self: M) -> M:
        """Move to the CPU."""
        return self.to("cpu")

    def cuda(self: M, device: int | str | devices.device | None = None) -> M:
        """Move to a GPU; says why it cannot where there is none."""
        return self.to("cuda" if device is None else device)

    def float(self: M) -> M:
        """Change floating-point values to float32."""
        return self.to(dtypes.float32)

    def double(self: M) -> M:
        """Change floating-point values to float64."""
        return self.to(dtypes.float64)

    def half(self: M) -> M:
        """Change floating-point values to float16."""
        return self.to(dtypes.float16)

    def bfloat16(self: M) -> M:
        """Change floating-point values to bfloat16."""
        return self.to(dtypes.bfloat16)

    def type(self: M, dst_type: dtypes.dtype | str) -> M:
        """Change all values, integers too, to a dtype: `type(float64)`, `type("torch.DoubleTensor")`.

        Raises:
            RuntimeError: a parameter that wants a gradient would become one of integers.
        """
        return self._apply(lambda t: t.type(dst_type))

    def to_empty(self: M, *, device: devices.device | str | None, recurse: bool = True) -> M:
        """Give all parameters and buffers new memory, whose values are arbitrary.

        Args:
            device: where: "cpu" or "cuda".
            recurse: also in the modules below.
        """
        return self._apply(lambda t: empty_like(t, device=device), recurse)

    def share_memory(self: M) -> M:
        """Refuses: tensors are not shared between processes.

        Raises:
            NotImplementedError: always.
        """
        raise NotImplementedError(
            "share_memory(): nbgrad shares no tensors between processes; send `state_dict()` to the "
            "other process and load it there, or work with threads, which share all memory")

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
