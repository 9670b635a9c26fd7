"""States: parameters and buffers by name, out of a module and back into it."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from nbgrad.engine.mode import no_grad
from nbgrad.nn.parameter import Parameter
from nbgrad.nn.tree import Tree, join
from nbgrad.tensor import Tensor


class _Report(NamedTuple):
    missing_keys: list[str]
    unexpected_keys: list[str]


class LoadReport(_Report):
    """What `load_state_dict` did not find, and what it found and did not need."""

    def __repr__(self) -> str:
        if not self.missing_keys and not self.unexpected_keys:
            return "<All keys matched successfully>"
        return (f"_IncompatibleKeys(missing_keys={self.missing_keys}, "
                f"unexpected_keys={self.unexpected_keys})")

    __str__ = __repr__


class StateDict(OrderedDict):
    """A state with the versions of the modules that wrote it."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._metadata: dict[str, dict[str, int]] = {}


class Stateful(Tree):
    """A tree that can be written to a dict and read from one."""

    _version = 1  # of the module's entries in a state dict

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

        def load(module: Stateful, prefix: str) -> None:
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


def _quoted(keys: list[str]) -> str:
    return ", ".join(f'"{k}"' for k in keys)


def _unknown(module: Stateful, state_dict: Mapping[str, Any]) -> list[str]:
    """The names of a dict that no module has a value for."""
    known = {join(place, name) for place, m in module.named_modules(remove_duplicate=False)
             for name, _ in m._state()}
    return [key for key in state_dict if key not in known]
