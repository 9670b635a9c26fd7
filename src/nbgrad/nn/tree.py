"""Tree: an object whose parameters, buffers and children are registered by assignment."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from nbgrad.nn.parameter import Buffer, Parameter
from nbgrad.tensor import Tensor


class Tree:
    """What a module holds, and under which names it is found."""

    _parameters: dict[str, Parameter | None]
    _buffers: dict[str, Tensor | None]
    _modules: dict[str, Any]
    _transient: set[str]  # buffers that are no part of the state

    def __init__(self) -> None:
        vars(self).update(_parameters={}, _buffers={}, _modules={}, _transient=set())

    def __setattr__(self, name: str, value: Any) -> None:
        own = self.__dict__
        for kind, table, word in _TABLES:
            if isinstance(value, kind):
                if table not in own:
                    raise AttributeError(f"cannot assign {word} before Module.__init__() call")
                self._make_room(name, table)
                if isinstance(value, Buffer):
                    self.register_buffer(name, value, value.persistent)
                elif isinstance(value, Parameter):
                    self.register_parameter(name, value)
                else:
                    own[table][name] = value
                return
            if name in own.get(table, ()):
                if not (value is None or (kind is Buffer and isinstance(value, Tensor))):
                    place, expected = _EXPECTED[table]
                    raise TypeError(f"cannot assign '{_typename(value)}' as {place} '{name}' "
                                    f"({expected} or None expected)")
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

    def register_module(self, name: str, module: Tree | None) -> None:
        """Add a module, also under a name that is no identifier."""
        self._check_name("module", "_modules", name)
        if module is not None and not isinstance(module, Tree):
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

    def named_modules(self, memo: set | None = None, prefix: str = "",
                      remove_duplicate: bool = True) -> Iterator[tuple[str, Any]]:
        """The module itself and all below it, each with its dotted name."""
        memo = set() if memo is None else memo
        if self in memo:
            return
        if remove_duplicate:
            memo.add(self)
        yield prefix, self
        for name, module in self._modules.items():
            if module is not None:
                yield from module.named_modules(memo, join(prefix, name), remove_duplicate)

    def modules(self) -> Iterator[Any]:
        """The module itself and all below it, each once."""
        for _, module in self.named_modules():
            yield module

    def named_children(self) -> Iterator[tuple[str, Any]]:
        """The modules directly below this one, with their names."""
        seen = set()
        for name, module in self._modules.items():
            if module is not None and module not in seen:
                seen.add(module)
                yield name, module

    def children(self) -> Iterator[Any]:
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
                yield join(place, name), value

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

    def get_submodule(self, target: str) -> Any:
        """The module of a dotted name; the module itself for ""."""
        found = self
        for name in target.split(".") if target else []:
            if not hasattr(found, name):
                raise AttributeError(f"{type(found).__name__} has no attribute `{name}`")
            found = getattr(found, name)
            if not isinstance(found, Tree):
                raise AttributeError(f"`{name}` is not an nn.Module")
        return found

    def set_submodule(self, target: str, module: Any, strict: bool = False) -> None:
        """Put a module in the place of a dotted name.

        Args:
            strict: refuse to add one where none was.

        Raises:
            AttributeError: there is no such place, or something else is in it.

        Example:
            >>> from nbgrad import nn
            >>> model = nn.Sequential(nn.Sequential(nn.Linear(2, 2)))
            >>> model.set_submodule("0.0", nn.Identity())
            >>> model[0]
            Sequential(
              (0): Identity()
            )
        """
        if target == "":
            raise ValueError("Cannot set the submodule without a target name!")
        if not isinstance(module, Tree):
            raise ValueError(f"`module` is not an nn.Module, found {type(module)}")
        place, _, name = target.rpartition(".")
        owner = self.get_submodule(place)
        if strict or hasattr(owner, name):
            owner.get_submodule(name)
        setattr(owner, name, module)

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


#: What is registered by assignment, where, and the word for it in messages.
_TABLES = (
    (Parameter, "_parameters", "parameters"),
    (Tree, "_modules", "module"),
    (Buffer, "_buffers", "buffer"),
)
_EXPECTED = {
    "_parameters": ("parameter", "nbgrad.nn.Parameter"),
    "_modules": ("child module", "nbgrad.nn.Module"),
    "_buffers": ("buffer", "nbgrad.nn.Buffer, nbgrad.Tensor"),
}


def _typename(value: Any) -> str:
    if isinstance(value, Tensor):
        return f"nbgrad.{value.dtype.legacy}Tensor"
    return type(value).__qualname__ if type(value).__module__ == "builtins" else (
        f"{type(value).__module__}.{type(value).__qualname__}")


def join(prefix: str, name: str) -> str:
    return f"{prefix}.{name}" if prefix else name
