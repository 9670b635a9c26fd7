"""One script run with two libraries: what it logs, warns of and raises must be the same."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

Script = Callable[[Any, Callable[..., None]], None]


def logged(script: Script, library: Any) -> list:
    """What `script(library, log)` gives to `log`, then its error, then its warnings, in plain words."""
    found: list = []

    def log(*values: Any) -> None:
        found.append(tuple(plain(v, library) for v in values))

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            script(library, log)
        except Exception as error:
            found.append((type(error).__name__, words(error)))
    return found + [(w.category.__name__, words(w.message)) for w in caught]


def plain(value: Any, library: Any) -> Any:
    """A value as both libraries would print it: numbers to four digits, modules by their class."""
    if isinstance(value, library.Tensor):
        return plain(value.tolist(), library)
    if isinstance(value, library.nn.Module):
        return type(value).__name__
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, dict):
        return {k: plain(v, library) for k, v in value.items()}
    if isinstance(value, tuple | list):
        return [plain(v, library) for v in value]
    return value if isinstance(value, int | None) else str(value).replace("nbgrad", "torch")


def words(value: Any) -> str:
    """The first line of a text, with the library's name replaced by PyTorch's."""
    return str(value).split("\n")[0].replace("nbgrad", "torch").strip()
