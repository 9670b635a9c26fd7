"""Modules as functions: called with parameters and buffers from outside."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from nbgrad.nn.module import Module
from nbgrad.tensor import Tensor

__all__ = ["functional_call"]


def functional_call(module: Module,
                    parameter_and_buffer_dicts: dict[str, Tensor] | Sequence[dict[str, Tensor]],
                    args: Any = None, kwargs: dict[str, Any] | None = None, *,
                    tie_weights: bool = True, strict: bool = False) -> Any:
    """Call a module with these parameters and buffers in place of its own.

    Gradients reach the tensors given. What the module writes to a buffer in place is written to
    the one given; an entry that it replaces is replaced in the dict. Afterwards, also after an
    error, the module has its own again.

    Args:
        module: the module to call.
        parameter_and_buffer_dicts: tensors by dotted name; or several such dicts, without a name
            in common.
        args: the arguments of the call, a tuple; anything else is the only argument.
        kwargs: its keyword arguments.
        tie_weights: replace a tensor that the module knows by several names under all of them.
        strict: refuse names that the module lacks, or that are missing.

    Raises:
        ValueError: a name comes twice, or tied names come with different tensors.
        RuntimeError: `strict` finds names missing or unexpected.

    Example:
        >>> import nbgrad
        >>> fc = nbgrad.nn.Linear(2, 1)
        >>> w = nbgrad.tensor([[1., 2.]], requires_grad=True)
        >>> y = functional_call(fc, {"weight": w, "bias": nbgrad.zeros(1)}, nbgrad.tensor([3., 4.]))
        >>> y.backward()
        >>> w.grad, fc.weight.grad
        (tensor([[3., 4.]]), None)
    """
    given = _one_dict(parameter_and_buffer_dicts)
    values = _with_ties(module, given) if tie_weights else given
    if strict:
        _check_names(module, values)
    args = () if args is None else args if isinstance(args, tuple) else (args,)
    undo: list[tuple[str, dict, str, Any]] = []
    try:
        for path, value in values.items():
            table, name = _place(module, path, value)
            undo.append((path, table, name, table.get(name, _ABSENT)))
            table[name] = value
        return module(*args, **(kwargs or {}))
    finally:
        given.update({path: table[name] for path, table, name, _ in undo
                      if path in given and name in table})
        for _, table, name, own in reversed(undo):
            if own is _ABSENT:
                table.pop(name, None)
            else:
                table[name] = own


_ABSENT = object()


def _one_dict(dicts: Any) -> dict[str, Tensor]:
    """The dict itself, which may learn what the module replaces; several become a new one."""
    if isinstance(dicts, dict):
        return dicts
    if not isinstance(dicts, Sequence):
        raise ValueError("Expected parameter_and_buffer_dicts to be a dict, or a list/tuple of dicts, "
                         f"but got {type(dicts)}")
    if not all(isinstance(d, dict) for d in dicts):
        raise ValueError("Expected all elements of parameter_and_buffer_dicts to be dictionaries")
    names = [name for d in dicts for name in d]
    twice = sorted({name for name in names if names.count(name) > 1}, key=names.index)
    if twice:
        raise ValueError(f"{twice} appeared in multiple dictionaries; behavior of functional call is "
                         "ambiguous")
    return {name: value for d in dicts for name, value in d.items()}


def _named(module: Module) -> dict[str, Tensor]:
    """All parameters and buffers, under every name that they have."""
    return {**dict(module.named_parameters(remove_duplicate=False)),
            **dict(module.named_buffers(remove_duplicate=False))}


def _with_ties(module: Module, given: dict[str, Tensor]) -> dict[str, Tensor]:
    """What is given, and the same again for the other names of each tensor it replaces."""
    own = _named(module)
    names: dict[int, list[str]] = {}
    for name, tensor in own.items():
        names.setdefault(id(tensor), []).append(name)
    values = dict(given)
    for name in given.keys() & own.keys():
        tied = names[id(own[name])]
        if any(other in given and given[other] is not given[name] for other in tied):
            raise ValueError(f"functional_call got multiple values for keys {sorted(tied)}, which are "
                             "tied. Consider using tie_weights=False")
        values.update(dict.fromkeys(tied, given[name]))
    return values


def _check_names(module: Module, values: dict[str, Tensor]) -> None:
    own = _named(module).keys()
    kinds = (("Unexpected", values.keys() - own), ("Missing", own - values.keys()))
    lines = [f"{word} key(s): {', '.join(map(repr, sorted(names)))}." for word, names in kinds if names]
    if lines:
        raise RuntimeError(f"Error(s) in reparametrizing for {type(module).__name__}:\n\t"
                           + "\n\t".join(lines))


def _place(module: Module, path: str, value: Any) -> tuple[dict, str]:
    """The table that holds, or would hold, a tensor of a dotted name, and its name there."""
    prefix, _, name = path.rpartition(".")
    owner = module.get_submodule(prefix)
    if not isinstance(value, Tensor | None):
        raise TypeError(f"{value} is not an instance of torch.Tensor")
    if not name:
        raise KeyError('tensor name can\'t be empty string ""')
    for table in (owner._parameters, owner._buffers):
        if name in table:
            return table, name
    if isinstance(getattr(type(owner), name, None), property):
        raise AttributeError(f"property '{name}' of '{type(owner).__name__}' object has no place for a "
                             "tensor: give those that it is computed from")
    held = getattr(owner, name, None)
    if not isinstance(held, Tensor | None):
        raise TypeError(f"attribute `{name}`: {held} is not an instance of torch.Tensor")
    return vars(owner), name
