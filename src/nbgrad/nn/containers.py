"""Modules that hold modules: in a row, in a list, in a dict."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, overload

from nbgrad.nn.module import Module, indent
from nbgrad.nn.parameter import Parameter
from nbgrad.tensor import Tensor


class _Numbered(Module):
    """Modules named "0", "1", …, used like a list."""

    def _key(self, k: int) -> str:
        names = list(self._modules)
        if not -len(names) <= k < len(names):
            raise IndexError(f"index {k} is out of range")
        return names[k]

    def __len__(self) -> int:
        return len(self._modules)

    def __iter__(self) -> Iterator[Module]:
        return iter(self._modules.values())

    @overload
    def __getitem__(self, k: int) -> Any: ...
    @overload
    def __getitem__(self, k: slice) -> _Numbered: ...
    def __getitem__(self, k):
        if isinstance(k, slice):
            return self._of(list(self._modules.items())[k])
        return self._modules[self._key(k)]

    def _of(self, items: list[tuple[str, Module]]) -> _Numbered:
        """A container of the same kind over these modules."""
        raise NotImplementedError

    def __setitem__(self, k: int, module: Module) -> None:
        setattr(self, self._key(k), module)

    def __delitem__(self, k: int | slice) -> None:
        gone = [self._key(k)] if isinstance(k, int) else list(self._modules)[k]
        rest = [(n, m) for n, m in self._modules.items() if n not in gone]
        self._modules.clear()
        self._modules.update(self._renumbered(rest))

    @staticmethod
    def _renumbered(items: Iterable[tuple[str, Module]]) -> dict[str, Module]:
        return {str(k): m for k, (_, m) in enumerate(items)}

    def append(self, module: Module):
        """Add a module at the end."""
        self.add_module(str(len(self)), module)
        return self

    def insert(self, index: int, module: Module):
        """Put a module before the one at `index`."""
        items = list(self._modules.items())
        if not isinstance(module, Module):
            raise TypeError(f"module should be of type: {Module}")
        items.insert(index, ("", module))
        self._modules.clear()
        self._modules.update(self._renumbered(items))
        return self

    def extend(self, modules: Iterable[Module]):
        """Add modules at the end."""
        for module in list(modules):
            self.append(module)
        return self

    def pop(self, k: int = -1) -> Module:
        """Remove a module and return it."""
        module = self[k]
        del self[k]
        return module


class Sequential(_Numbered):
    """Calls its modules one after the other.

    Args:
        modules: modules, or one dict of modules with their names.

    Example:
        >>> Sequential(Linear(4, 8), ReLU(), Linear(8, 2))
    """

    def __init__(self, *modules: Any) -> None:
        super().__init__()
        if len(modules) == 1 and isinstance(modules[0], Mapping):
            items = list(modules[0].items())
        else:
            items = [(str(k), m) for k, m in enumerate(modules)]
        for name, module in items:
            self.add_module(name, module)

    def _of(self, items: list[tuple[str, Module]]) -> Sequential:
        return Sequential(dict(items))

    def __add__(self, other: Sequential) -> Sequential:
        return Sequential(*self, *other)

    def forward(self, x: Any) -> Any:
        for module in self._modules.values():
            x = module(x)
        return x


class ModuleList(_Numbered):
    """A list whose modules are registered; it is not called itself."""

    def __init__(self, modules: Iterable[Module] | None = None) -> None:
        super().__init__()
        self.extend(modules or ())

    def _of(self, items: list[tuple[str, Module]]) -> ModuleList:
        return ModuleList(m for _, m in items)

    def __add__(self, other: Iterable[Module]) -> ModuleList:
        return ModuleList([*self, *other])

    def __repr__(self) -> str:
        """Equal neighbours are printed once, with their number."""
        if not len(self):
            return f"{self._get_name()}()"
        runs: list[list] = []
        for k, text in enumerate(map(repr, self)):
            if runs and runs[-1][2] == text:
                runs[-1][1] = k
            else:
                runs.append([k, k, text])
        lines = [f"({a}): {indent(text)}" if a == b else
                 f"({a}-{b}): {b - a + 1} x {indent(text)}" for a, b, text in runs]
        return f"{self._get_name()}(\n  " + "\n  ".join(lines) + "\n)"


class ModuleDict(Module):
    """A dict whose modules are registered; it is not called itself."""

    def __init__(self, modules: Mapping[str, Module] | None = None) -> None:
        super().__init__()
        self.update(modules or {})

    def update(self, modules: Mapping[str, Module] | Iterable[tuple[str, Module]]) -> None:
        """Add or replace modules."""
        for name, module in dict(modules).items():
            self[name] = module

    def __getitem__(self, name: str) -> Any:
        return self._modules[name]

    def __setitem__(self, name: str, module: Module) -> None:
        self.add_module(name, module)

    def __delitem__(self, name: str) -> None:
        del self._modules[name]

    def __len__(self) -> int:
        return len(self._modules)

    def __iter__(self) -> Iterator[str]:
        return iter(self._modules)

    def __contains__(self, name: str) -> bool:
        return name in self._modules

    def keys(self) -> Iterable[str]:
        return self._modules.keys()

    def values(self) -> Iterable[Module | None]:
        return self._modules.values()

    def items(self) -> Iterable[tuple[str, Module | None]]:
        return self._modules.items()

    def pop(self, name: str) -> Module | None:
        """Remove a module and return it."""
        return self._modules.pop(name)

    def clear(self) -> None:
        """Remove all modules."""
        self._modules.clear()


class ParameterList(Module):
    """A list whose tensors are registered as parameters."""

    def __init__(self, values: Iterable[Tensor] | None = None) -> None:
        super().__init__()
        for value in values or ():
            self.append(value)

    def append(self, value: Tensor) -> ParameterList:
        """Add a parameter, or a tensor that becomes one."""
        self.register_parameter(
            str(len(self)), value if isinstance(value, Parameter) else Parameter(value))
        return self

    def __len__(self) -> int:
        return len(self._parameters)

    def __iter__(self) -> Iterator[Parameter]:
        return iter(self._parameters.values())  # type: ignore[arg-type]

    def __getitem__(self, k: int) -> Any:
        return list(self._parameters.values())[k]

    def __setitem__(self, k: int, value: Tensor) -> None:
        name = list(self._parameters)[k]
        self._parameters[name] = value if isinstance(value, Parameter) else Parameter(value)

    def extra_repr(self) -> str:
        return "\n".join(
            f"  ({k}): Parameter containing: [nbgrad.{p.dtype.name} of size "
            f"{'x'.join(map(str, p.shape))}]" for k, p in enumerate(self))
