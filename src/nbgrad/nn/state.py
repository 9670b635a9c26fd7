"""States: parameters and buffers by name, out of a module and back into it."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

from nbgrad.engine.mode import no_grad
from nbgrad.engine.node import Handle
from nbgrad.nn.hooks import Hook, hooks_of, listed
from nbgrad.nn.parameter import Parameter
from nbgrad.nn.tree import Tree
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
        own_metadata = {"version": self._version}
        if hasattr(destination, "_metadata"):
            destination._metadata[prefix[:-1]] = own_metadata
        for _, hook in listed(self, "state_pre"):
            hook.function(self, prefix, keep_vars)
        self._save_to_state_dict(destination, prefix, keep_vars)
        for name, module in self._modules.items():
            if module is not None:
                module.state_dict(destination=destination, prefix=f"{prefix}{name}.",
                                  keep_vars=keep_vars)
        for _, hook in listed(self, "state_post"):
            changed = hook.function(self, destination, prefix, own_metadata)
            destination = destination if changed is None else changed
        return destination

    def _save_to_state_dict(self, destination: dict[str, Any], prefix: str,
                            keep_vars: bool) -> None:
        """Write this module's own values; a subclass may write them in another form here."""
        for name, value in self._state():
            destination[prefix + name] = value if keep_vars else value.detach()
        if type(self).get_extra_state is not Stateful.get_extra_state:
            destination[prefix + _EXTRA] = self.get_extra_state()

    def _state(self) -> Iterator[tuple[str, Tensor]]:
        """The tensors of the module's own part of its state."""
        for name, value in (*self._parameters.items(), *self._buffers.items()):
            if value is not None and name not in self._transient:
                yield name, value

    def get_extra_state(self) -> Any:
        """What else belongs to the state, under the name `_extra_state`; a subclass may give it."""
        raise RuntimeError(f"{type(self).__name__} gives no get_extra_state()")

    def set_extra_state(self, state: Any) -> None:
        """Take what `get_extra_state` gave when the state was written; goes along with it."""
        raise RuntimeError(f"{type(self).__name__} gives no set_extra_state()")

    def register_state_dict_pre_hook(self, hook: Callable) -> Handle:
        """Call `hook(module, prefix, keep_vars)` before the module's state is written."""
        return hooks_of(self).add("state_pre", Hook(hook))

    def register_state_dict_post_hook(self, hook: Callable) -> Handle:
        """Call `hook(module, state_dict, prefix, local_metadata)` after the state was written.

        The hook may change the dict in place; it returns None.

        Example:
            >>> from nbgrad import nn
            >>> layer = nn.Linear(2, 1)
            >>> def drop_bias(module, state, prefix, metadata):
            ...     del state[prefix + "bias"]
            >>> handle = layer.register_state_dict_post_hook(drop_bias)
            >>> list(layer.state_dict())
            ['weight']
        """
        def checked(*args: Any) -> None:
            if hook(*args) is not None:
                raise RuntimeError("state_dict post-hook must return None")

        return hooks_of(self).add("state_post", Hook(checked))

    def _register_state_dict_hook(self, hook: Callable) -> Handle:
        """As `register_state_dict_post_hook`; a dict that the hook returns is given instead."""
        return hooks_of(self).add("state_post", Hook(hook))

    def register_load_state_dict_pre_hook(self, hook: Callable) -> Handle:
        """Call a hook before the module reads its values from a state.

        It is called as `hook(module, state_dict, prefix, local_metadata, strict, missing_keys,
        unexpected_keys, error_msgs)` and may change the dict, e.g. rename what an older version
        of the module wrote.

        Example:
            >>> from nbgrad import nn, ones
            >>> layer = nn.Linear(1, 1, bias=False)
            >>> def rename(module, state, prefix, *rest):
            ...     state[prefix + "weight"] = state.pop(prefix + "w")
            >>> handle = layer.register_load_state_dict_pre_hook(rename)
            >>> layer.load_state_dict({"w": ones(1, 1)})
            <All keys matched successfully>
        """
        return hooks_of(self).add("load_pre", Hook(hook))

    def _register_load_state_dict_pre_hook(self, hook: Callable,
                                           with_module: bool = False) -> Handle:
        """The same, for a hook that is not given the module unless it asks for it."""
        return self.register_load_state_dict_pre_hook(
            hook if with_module else lambda module, *args: hook(*args))

    def register_load_state_dict_post_hook(self, hook: Callable) -> Handle:
        """Call `hook(module, report)` after the module and those below it have read their values.

        `report` has the `missing_keys` and `unexpected_keys` so far; what the hook takes from
        these lists is not complained of. It returns None.
        """
        return hooks_of(self).add("load_post", Hook(hook))

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
        report = LoadReport([], [])
        errors: list[str] = []

        def load(module: Stateful, given: dict[str, Any], prefix: str) -> None:
            own_metadata = dict(metadata.get(prefix[:-1], {}), assign_to_params_buffers=assign)
            module._load_from_state_dict(given, prefix, own_metadata, True, *report, errors)
            for name, child in module._modules.items():
                if child is not None:
                    inner = f"{prefix}{name}."
                    load(child, {k: v for k, v in given.items() if k.startswith(inner)}, inner)
            for _, hook in listed(module, "load_post"):
                if hook.function(module, report) is not None:
                    raise AssertionError("Hooks registered with ``register_load_state_dict_post_hook``"
                                         " are not expected to return new values, if incompatible_keys"
                                         " need to be modified, it should be done inplace.")

        load(self, StateDict(state_dict), "")
        if strict:
            found = (("Missing", report.missing_keys), ("Unexpected", report.unexpected_keys))
            errors = [f"{what} key(s) in state_dict: {_quoted(keys)}. "
                      for what, keys in found if keys] + errors
        if errors:
            raise RuntimeError(f"Error(s) in loading state_dict for {type(self).__name__}:\n\t"
                               + "\n\t".join(errors))
        return report

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str,
                              local_metadata: dict[str, Any], strict: bool,
                              missing_keys: list[str], unexpected_keys: list[str],
                              error_msgs: list[str]) -> None:
        """Load this module's own values; a subclass may read older forms of its state here."""
        for _, hook in listed(self, "load_pre"):
            hook.function(self, state_dict, prefix, local_metadata, strict, missing_keys,
                          unexpected_keys, error_msgs)
        state = dict(self._state())
        for name, own in state.items():
            key = prefix + name
            if key not in state_dict:
                missing_keys.append(key)
                continue
            given = state_dict[key]
            if isinstance(given, Tensor) and not own.shape and given.shape == (1,):
                given = given[0]  # PyTorch before 0.4 had no numbers of no dimension
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
        known = {*state, *self._load_extra(state_dict, prefix + _EXTRA, missing_keys)}
        for key in state_dict:
            name, dot, _ = key[len(prefix):].partition(".")
            if key.startswith(prefix) and name not in (self._modules if dot else known):
                unexpected_keys.append(key)

    def _load_extra(self, state_dict: dict[str, Any], key: str,
                    missing_keys: list[str]) -> tuple[str, ...]:
        """Hand over what is no tensor; returns its name if the module takes it."""
        if type(self).set_extra_state is Stateful.set_extra_state:
            return ()
        if key in state_dict:
            self.set_extra_state(state_dict[key])
        else:
            missing_keys.append(key)
        return (_EXTRA,)

    def _assign(self, name: str, given: Tensor, own: Tensor) -> None:
        if isinstance(own, Parameter):
            given = given if isinstance(given, Parameter) else Parameter(given.detach(), False)
            given.requires_grad_(own.requires_grad)
            self._parameters[name] = given
        else:
            self._buffers[name] = given


def _quoted(keys: list[str]) -> str:
    return ", ".join(f'"{k}"' for k in keys)


_EXTRA = "_extra_state"
