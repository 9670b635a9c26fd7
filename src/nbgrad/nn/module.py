"""Module: a function with parameters, buffers and modules of its own, found by their names."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple, TypeVar

from nbgrad import devices, dtypes
from nbgrad.engine.mode import no_grad
from nbgrad.engine.node import Handle, next_number
from nbgrad.nn.parameter import Buffer, Parameter
from nbgrad.tensor import Tensor

M = TypeVar("M", bound="Module")


class LoadReport(NamedTuple):
    """What `load_state_dict` did not find, and what it found and did not need."""

    missing_keys: list[str]
    unexpected_keys: list[str]

    def __repr__(self) -> str:
        if not self.missing_keys and not self.unexpected_keys:
            return "<All keys matched successfully>"
        return (f"_IncompatibleKeys(missing_keys={self.missing_keys}, "
                f"unexpected_keys={self.unexpected_keys})")

    __str__ = __repr__


class Module:
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
    _version = 1  # of the module's entries in a state dict
    _parameters: dict[str, Parameter | None]
    _buffers: dict[str, Tensor | None]
    _modules: dict[str, Module | None]
    _transient: set[str]  # buffers that are no part of the state
    _before: dict[int, tuple[Callable, bool]]
    _after: dict[int, tuple[Callable, bool, bool]]

    def __init__(self) -> None:
        vars(self).update(training=True, _parameters={}, _buffers={}, _modules={},
                          _transient=set(), _before={}, _after={})

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

    # registration

    def __setattr__(self, name: str, value: Any) -> None:
        own = self.__dict__
        for kind, table, word in _TABLES:
            if isinstance(value, kind):
                if table not in own:
                    raise AttributeError(f"cannot assign {word} before Module.__init__() call")
                self._make_room(name, table)
                if kind is Parameter:
                    self.register_parameter(name, value)
                elif kind is Buffer:
                    self.register_buffer(name, value, value.persistent)
                else:
                    own[table][name] = value
                return
            if name in own.get(table, ()):
                if not (value is None or (kind is Buffer and isinstance(value, Tensor))):
                    raise TypeError(f"cannot assign '{_typename(value)}' as {_SINGULAR[table]} "
                                    f"'{name}' (nbgrad.nn.{kind.__name__} or None expected)")
                own[table][name] = value
                return
        object.__setattr__(self, name, value)

    def _make_room(self, name: str, keep: str) -> None:
        """Take a name out of the attributes and of all tables but one."""
        own = self.__dict__
        for _, table, _ in _TABLES:
            if table != keep:
                own[table].pop(name, None)
        own.pop(name, None)
        self._transient.discard(name)

    def __getattr__(self, name: str) -> Any:
        own = self.__dict__
        for _, table, _ in _TABLES:
            if table in own and name in own[table]:
                return own[table][name]
        raise AttributeError(f"'{type(self).__name__}' object has no attribute '{name}'")

    def __delattr__(self, name: str) -> None:
        for _, table, _ in _TABLES:
            if name in self.__dict__[table]:
                del self.__dict__[table][name]
                self._transient.discard(name)
                return
        object.__delattr__(self, name)

    def __dir__(self) -> list[str]:
        return sorted({*object.__dir__(self), *self._parameters, *self._buffers, *self._modules})

    def register_parameter(self, name: str, param: Parameter | None) -> None:
        """Add a parameter, or with None a place for one."""
        self._check_name("parameter", "_parameters", name)
        if param is not None and not isinstance(param, Parameter):
            raise TypeError(f"cannot assign '{_typename(param)}' object to parameter '{name}' "
                            "(nbgrad.nn.Parameter or None required)")
        self._parameters[name] = param

    def register_buffer(self, name: str, tensor: Tensor | None, persistent: bool = True) -> None:
        """Add a tensor that is no parameter, e.g. a running mean.

        Args:
            persistent: whether it is part of `state_dict()`.
        """
        self._check_name("buffer", "_buffers", name)
        if tensor is not None and not isinstance(tensor, Tensor):
            raise TypeError(f"cannot assign '{_typename(tensor)}' object to buffer '{name}' "
                            "(nbgrad.Tensor or None required)")
        self._buffers[name] = tensor
        (self._transient.discard if persistent else self._transient.add)(name)

    def register_module(self, name: str, module: Module | None) -> None:
        """Add a module, also under a name that is no identifier."""
        self._check_name("module", "_modules", name)
        if module is not None and not isinstance(module, Module):
            raise TypeError(f"{_typename(module)} is not a Module subclass")
        self._modules[name] = module

    add_module = register_module

    def _check_name(self, kind: str, table: str, name: str) -> None:
        if table not in self.__dict__:
            raise AttributeError(f"cannot assign {kind} before Module.__init__() call")
        if not isinstance(name, str):
            raise TypeError(f"{kind} name should be a string. Got {_typename(name)}")
        if "." in name:
            raise KeyError(f'{kind} name can\'t contain ".", got: {name}')
        if name == "":
            raise KeyError(f'{kind} name can\'t be empty string ""')
        if name not in self.__dict__[table] and hasattr(self, name):
            raise KeyError(f"attribute '{name}' already exists")

    # finding

    def named_modules(self, memo: set[Module] | None = None, prefix: str = "",
                      remove_duplicate: bool = True) -> Iterator[tuple[str, Module]]:
        """The module itself and all below it, each with its dotted name."""
        memo = set() if memo is None else memo
        if self in memo:
            return
        if remove_duplicate:
            memo.add(self)
        yield prefix, self
        for name, module in self._modules.items():
            if module is not None:
                yield from module.named_modules(memo, _join(prefix, name), remove_duplicate)

    def modules(self) -> Iterator[Module]:
        """The module itself and all below it, each once."""
        for _, module in self.named_modules():
            yield module

    def named_children(self) -> Iterator[tuple[str, Module]]:
        """The modules directly below this one, with their names."""
        seen = set()
        for name, module in self._modules.items():
            if module is not None and module not in seen:
                seen.add(module)
                yield name, module

    def children(self) -> Iterator[Module]:
        """The modules directly below this one."""
        for _, module in self.named_children():
            yield module

    def _named(self, table: str, prefix: str, recurse: bool, remove_duplicate: bool):
        """The entries of a table of this module and, if asked, of those below."""
        seen = set()
        modules = (self.named_modules(prefix=prefix, remove_duplicate=remove_duplicate)
                   if recurse else [(prefix, self)])
        for place, module in modules:
            for name, value in getattr(module, table).items():
                if value is None or (remove_duplicate and id(value) in seen):
                    continue
                seen.add(id(value))
                yield _join(place, name), value

    def named_parameters(self, prefix: str = "", recurse: bool = True,
                         remove_duplicate: bool = True) -> Iterator[tuple[str, Parameter]]:
        """The parameters with their dotted names."""
        return self._named("_parameters", prefix, recurse, remove_duplicate)

    def parameters(self, recurse: bool = True) -> Iterator[Parameter]:
        """The parameters, each once, as an optimizer takes them."""
        for _, value in self.named_parameters(recurse=recurse):
            yield value

    def named_buffers(self, prefix: str = "", recurse: bool = True,
                      remove_duplicate: bool = True) -> Iterator[tuple[str, Tensor]]:
        """The buffers with their dotted names."""
        return self._named("_buffers", prefix, recurse, remove_duplicate)

    def buffers(self, recurse: bool = True) -> Iterator[Tensor]:
        """The buffers, each once."""
        for _, value in self.named_buffers(recurse=recurse):
            yield value

    def get_submodule(self, target: str) -> Module:
        """The module of a dotted name; the module itself for ""."""
        found = self
        for name in target.split(".") if target else []:
            if not hasattr(found, name):
                raise AttributeError(f"{type(found).__name__} has no attribute `{name}`")
            found = getattr(found, name)
            if not isinstance(found, Module):
                raise AttributeError(f"`{name}` is not an nn.Module")
        return found

    def get_parameter(self, target: str) -> Parameter:
        """The parameter of a dotted name."""
        return self._get(target, "_parameters", "an nn.Parameter")

    def get_buffer(self, target: str) -> Tensor:
        """The buffer of a dotted name."""
        return self._get(target, "_buffers", "a buffer")

    def _get(self, target: str, table: str, kind: str) -> Any:
        place, _, name = target.rpartition(".")
        owner = self.get_submodule(place)
        if not hasattr(owner, name):
            raise AttributeError(f"{type(owner).__name__} has no attribute `{name}`")
        if name not in getattr(owner, table):
            raise AttributeError(f"`{name}` is not {kind}")
        return getattr(owner, name)

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

    # state

    def state_dict(self, *, destination: dict[str, Any] | None = None, prefix: str = "",
                   keep_vars: bool = False) -> dict[str, Any]:
        """Parameters and persistent buffers by dotted name, over the module's own memory.

        Args:
            destination: the dict to fill, if not a new one.
            prefix: what names begin with.
            keep_vars: keep the parameters themselves, not detached tensors.
        """
        if destination is None:
            destination = StateDict()
        if isinstance(destination, StateDict):
            destination._metadata[prefix[:-1]] = {"version": self._version}
        for name, value in self._state():
            destination[prefix + name] = value if keep_vars else value.detach()
        for name, module in self._modules.items():
            if module is not None:
                module.state_dict(destination=destination, prefix=f"{prefix}{name}.",
                                  keep_vars=keep_vars)
        return destination

    def _state(self) -> Iterator[tuple[str, Tensor]]:
        """The module's own part of its state."""
        for name, value in (*self._parameters.items(), *self._buffers.items()):
            if value is not None and name not in self._transient:
                yield name, value

    def load_state_dict(self, state_dict: Mapping[str, Any], strict: bool = True,
                        assign: bool = False) -> LoadReport:
        """Copy values into the module's parameters and buffers.

        Args:
            state_dict: as from `state_dict()` or `nbgrad.load`.
            strict: refuse a dict with names missing or too many.
            assign: take the dict's tensors instead of copying their values.

        Raises:
            RuntimeError: says which names are missing, unexpected or of another shape.
        """
        if not isinstance(state_dict, Mapping):
            raise TypeError(f"Expected state_dict to be dict-like, got {type(state_dict)}.")
        metadata = getattr(state_dict, "_metadata", None) or {}
        missing: list[str] = []
        unexpected: list[str] = []
        errors: list[str] = []

        def load(module: Module, prefix: str) -> None:
            own = dict(metadata.get(prefix[:-1], {}), assign_to_params_buffers=assign)
            module._load_from_state_dict(state_dict, prefix, own, strict, missing, unexpected,
                                         errors)
            for name, child in module._modules.items():
                if child is not None:
                    load(child, f"{prefix}{name}.")

        load(self, "")
        unexpected += _unknown(self, state_dict)
        if strict:
            found = (("Missing", missing), ("Unexpected", unexpected))
            errors = [f"{what} key(s) in state_dict: {_quoted(keys)}. "
                      for what, keys in found if keys] + errors
        if errors:
            raise RuntimeError(f"Error(s) in loading state_dict for {type(self).__name__}:\n\t"
                               + "\n\t".join(errors))
        return LoadReport(missing, unexpected)

    def _load_from_state_dict(self, state_dict: Mapping[str, Any], prefix: str,
                              local_metadata: dict[str, Any], strict: bool,
                              missing_keys: list[str], unexpected_keys: list[str],
                              error_msgs: list[str]) -> None:
        """Load this module's own values; a subclass may read older forms of its state here."""
        for name, own in list(self._state()):
            key = prefix + name
            if key not in state_dict:
                missing_keys.append(key)
                continue
            given = state_dict[key]
            if not isinstance(given, Tensor):
                error_msgs.append(f'While copying the parameter named "{key}", expected '
                                  "nbgrad.Tensor or Tensor-like object from checkpoint but "
                                  f"received {type(given)}")
            elif given.shape != own.shape:
                error_msgs.append(f"size mismatch for {key}: copying a param with shape "
                                  f"{given.shape} from checkpoint, the shape in current model is "
                                  f"{own.shape}.")
            elif local_metadata.get("assign_to_params_buffers"):
                self._assign(name, given, own)
            else:
                with no_grad():
                    own.copy_(given)

    def _assign(self, name: str, given: Tensor, own: Tensor) -> None:
        if isinstance(own, Parameter):
            given = given if isinstance(given, Parameter) else Parameter(given.detach(), False)
            given.requires_grad_(own.requires_grad)
            self._parameters[name] = given
        else:
            self._buffers[name] = given

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

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)


#: What is registered by assignment, where, and the word for it in messages.
_TABLES = (
    (Parameter, "_parameters", "parameters"),
    (Module, "_modules", "module"),
    (Buffer, "_buffers", "buffer"),
)
_SINGULAR = {"_parameters": "parameter", "_modules": "child module", "_buffers": "buffer"}


class StateDict(OrderedDict):
    """A state with the versions of the modules that wrote it."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._metadata: dict[str, dict[str, int]] = {}


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


def _typename(value: Any) -> str:
    if isinstance(value, Tensor):
        return f"nbgrad.{value.dtype.legacy}Tensor"
    return type(value).__qualname__ if type(value).__module__ == "builtins" else (
        f"{type(value).__module__}.{type(value).__qualname__}")


def _join(prefix: str, name: str) -> str:
    return f"{prefix}.{name}" if prefix else name


def _quoted(keys: list[str]) -> str:
    return ", ".join(f'"{k}"' for k in keys)


def _unknown(module: Module, state_dict: Mapping[str, Any]) -> list[str]:
    """The names of a dict that no module has a value for."""
    known = {_join(place, name) for place, m in module.named_modules(remove_duplicate=False)
             for name, _ in m._state()}
    return [key for key in state_dict if key not in known]
