"""How a tensor is printed: the rules of PyTorch, over NumPy arrays."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np


@dataclass
class PrintOptions:
    """What `set_printoptions` sets; `sci_mode=None` lets the values decide."""

    precision: int = 4
    threshold: float = 1000
    edgeitems: int = 3
    linewidth: int = 80
    sci_mode: bool | None = None


OPTIONS = PrintOptions()

PROFILES = {
    "default": PrintOptions(),
    "short": PrintOptions(precision=2, edgeitems=2),
    "full": PrintOptions(threshold=math.inf),
}


def set_printoptions(
    precision: int | None = None,
    threshold: float | None = None,
    edgeitems: int | None = None,
    linewidth: int | None = None,
    profile: str | None = None,
    sci_mode: bool | None = None,
) -> None:
    """Change how tensors are printed; what is not named stays, except that `sci_mode` is reset."""
    chosen = asdict(OPTIONS if profile is None else PROFILES[profile])
    named = {
        "precision": precision,
        "threshold": threshold,
        "edgeitems": edgeitems,
        "linewidth": linewidth,
    }
    chosen |= {name: value for name, value in named.items() if value is not None}
    for name, value in (chosen | {"sci_mode": sci_mode}).items():
        setattr(OPTIONS, name, value)


def get_printoptions() -> dict[str, Any]:
    """The options in force, as arguments for `set_printoptions`."""
    return asdict(OPTIONS)


@contextmanager
def printoptions(**options: Any) -> Iterator[None]:
    """Print with other options inside a `with` block."""
    before = get_printoptions()
    set_printoptions(**options)
    try:
        yield
    finally:
        set_printoptions(**before)


@dataclass
class _Style:
    """How one number of an array is written: a format, a suffix for finite values, a width."""

    spec: str
    point: str
    width: int

    def __call__(self, value: Any) -> str:
        text = format(value, self.spec) if self.spec else str(value)
        if self.point and math.isfinite(value):
            text += self.point
        return text.rjust(self.width)


def _style(array: np.ndarray) -> _Style:
    """The style that suits all of `array`; zeros, nan and inf have no say in that of floats."""
    if array.dtype.kind != "f":
        return _Style("", "", max((len(str(v)) for v in array.ravel().tolist()), default=0))
    values = array[np.isfinite(array) & (array != 0)].astype(np.float64)
    integral = bool((values == np.floor(values)).all())
    if values.size and _scientific(np.abs(values), integral):
        spec, point = f".{OPTIONS.precision}e", ""
    else:
        spec, point = (".0f", ".") if integral else (f".{OPTIONS.precision}f", "")
    width = max((len(format(v, spec)) + len(point) for v in values.tolist()), default=1)
    return _Style(spec, point, width)


def _scientific(sizes: np.ndarray, integral: bool) -> bool:
    if OPTIONS.sci_mode is not None:
        return OPTIONS.sci_mode
    least, most = float(sizes.min()), float(sizes.max())
    return most / least > 1000 or most > 1e8 or (least < 1e-4 and not integral)


def _summary(array: np.ndarray) -> tuple[np.ndarray, tuple[bool, ...]]:
    """The values that are shown of a long array, and which axes lost their middle."""
    edge = OPTIONS.edgeitems
    cut = tuple(array.size > OPTIONS.threshold and n > 2 * edge for n in array.shape)
    for axis, n in enumerate(array.shape):
        if cut[axis]:
            array = array.take([*range(edge), *range(n - edge, n)], axis)
    return array, cut


def _nest(texts: np.ndarray, cut: tuple[bool, ...], width: int, indent: int) -> str:
    """Brackets around an array of texts, rows wrapped at the line width, blank lines between."""
    if texts.ndim == 0:
        return texts.item()
    if texts.ndim == 1:
        items = texts.tolist()
        per_line = max(1, (OPTIONS.linewidth - indent) // (width + 2))
    else:
        items = [_nest(part, cut[1:], width, indent + 1) for part in texts]
        per_line = 1
    if cut[0]:
        items.insert(OPTIONS.edgeitems, " ..." if texts.ndim == 1 else "...")
    lines = [", ".join(items[i : i + per_line]) for i in range(0, len(items), per_line)]
    newlines = "\n" * max(1, texts.ndim - 1)
    return "[" + ("," + newlines + " " * (indent + 1)).join(lines) + "]"


def _attach(text: str, suffixes: list[str], indent: int) -> str:
    """Append the suffixes, each on a new line if it would run past the line width."""
    used = len(text) - text.rfind("\n") + 1
    for suffix in suffixes:
        used += len(suffix) + 2
        if used > OPTIONS.linewidth:
            text += ",\n" + " " * indent + suffix
            used = indent + len(suffix)
        else:
            text += ", " + suffix
    return text + ")"


def _texts(array: np.ndarray) -> tuple[np.ndarray, tuple[bool, ...], int]:
    """The texts of the values shown, which axes lost their middle, and the width of a text."""
    shown, cut = _summary(array)
    style = _style(shown)
    texts = np.array([style(v) for v in shown.ravel().tolist()], dtype=object)
    return texts.reshape(shown.shape), cut, style.width


def values(array: np.ndarray, indent: int = 0) -> str:
    """The values of an array in nested brackets."""
    return _nest(*_texts(array), indent) if array.size else "[]"


def table(array: np.ndarray) -> list[list[str]]:
    """The texts of a matrix row by row, with an ellipsis where rows or columns are left out."""
    texts, cut, _ = _texts(array)
    rows = [[text.strip() for text in row] for row in texts.tolist()]
    if cut[1]:
        rows = [[*row[:OPTIONS.edgeitems], "…", *row[OPTIONS.edgeitems:]] for row in rows]
    if cut[0]:
        rows.insert(OPTIONS.edgeitems, ["⋮"] * len(rows[0]))
    return rows


def format_tensor(
    array: np.ndarray,
    *,
    dtype_suffix: str | None = None,
    device_suffix: str | None = None,
    grad_fn: str | None = None,
    requires_grad: bool = False,
    prefix: str = "tensor(",
) -> str:
    """The text of a tensor with these values.

    Args:
        array: the values, any shape.
        dtype_suffix: e.g. `"dtype=nbgrad.float64"`; None for float32, bool and int64, though an
            empty tensor shows all but float32.
        device_suffix: e.g. `"device='cuda:0'"`; None for the default device.
        grad_fn: name of the node, e.g. `"SumBackward0"`; it replaces `requires_grad`.
    """
    indent = len(prefix)
    suffixes = [device_suffix]
    if array.size == 0 and array.ndim != 1:
        suffixes.append(f"size={array.shape}")
    suffixes.append(dtype_suffix)
    if grad_fn is not None:
        suffixes.append(f"grad_fn=<{grad_fn}>")
    elif requires_grad:
        suffixes.append("requires_grad=True")
    return _attach(prefix + values(array, indent), [s for s in suffixes if s], indent)
