"""Dtype names, their NumPy twins, and PyTorch's rules of promotion."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np


class dtype:
    """An element type, e.g. `nbgrad.float32`; one object a type, compared by identity.

    Categories order bool (0) < int (1) < float (2): an operand of a lower category never
    changes the type of one of a higher category. `storage` is the NumPy dtype of the memory, and
    `np` the same for those who compute with it.
    """

    __slots__ = ("category", "itemsize", "legacy", "name", "storage")
    half = False

    def __init__(self, name: str, np_type: type, category: int, legacy: str) -> None:
        self.name = name
        self.storage = np.dtype(np_type)
        self.category = category
        self.itemsize = self.storage.itemsize
        self.legacy = legacy  # PyTorch's capitalised name, used in its messages

    @property
    def np(self) -> np.dtype:
        return self.storage

    def stored(self, value):
        """A number as it lies in memory."""
        return value

    def limits(self):
        """NumPy's `finfo` of a float: eps, max, min, tiny, precision and bits."""
        return np.finfo(self.storage)

    @property
    def is_floating_point(self) -> bool:
        return self.category == 2

    @property
    def is_signed(self) -> bool:
        return self.half or self.storage.kind in "if"

    @property
    def is_complex(self) -> bool:
        return False

    def __repr__(self) -> str:
        return f"nbgrad.{self.name}"

    def __reduce__(self):
        return (from_name, (self.name,))


class InHalf(NotImplementedError):
    """Something that knows no 16-bit floats met one; `apply` then computes in float32."""

    def __init__(self, dtype: dtype) -> None:
        super().__init__(f"not implemented for '{dtype.legacy}': convert with .float() first")
        self.dtype = dtype


class _Half(dtype):
    """A float stored in 16 bits and computed in float32, by those who ask for its `storage`."""

    __slots__ = ()
    half = True

    @property
    def np(self) -> np.dtype:
        raise InHalf(self)

    def stored(self, value):
        if self is float16:
            with np.errstate(over="ignore"):
                return np.float16(value).view(np.uint16)
        bits = int(np.float32(value).view(np.uint32))
        return np.uint16(0x7FC0 if value != value else (bits + 0x7FFF + (bits >> 16 & 1)) >> 16)

    def limits(self):
        if self is float16:
            return np.finfo(np.float16)
        high, low = 2.0**128 - 2.0**120, float(np.finfo(np.float32).tiny)
        return SimpleNamespace(eps=2.0**-7, max=high, min=-high, tiny=low, precision=2, bits=16)


float32 = dtype("float32", np.float32, 2, "Float")
float64 = dtype("float64", np.float64, 2, "Double")
uint8 = dtype("uint8", np.uint8, 1, "Byte")
int8 = dtype("int8", np.int8, 1, "Char")
int16 = dtype("int16", np.int16, 1, "Short")
int32 = dtype("int32", np.int32, 1, "Int")
int64 = dtype("int64", np.int64, 1, "Long")
bool_ = dtype("bool", np.bool_, 0, "Bool")
float16 = _Half("float16", np.uint16, 2, "Half")
bfloat16 = _Half("bfloat16", np.uint16, 2, "BFloat16")

ALL = (float32, float64, uint8, int8, int16, int32, int64, bool_, float16, bfloat16)
_BY_NAME = {d.name: d for d in ALL}
_BY_NUM = {d.storage.num: d for d in ALL if not d.half} | {np.dtype(np.float16).num: float16}
_BY_PYTHON = {bool: bool_, int: int64, float: float64}
_default = float32


def from_name(name: str) -> dtype:
    return _BY_NAME[name]


def from_numpy(np_dtype: np.dtype) -> dtype:
    """The dtype of a NumPy array; TypeError for one nbgrad does not have."""
    found = _BY_NUM.get(np_dtype.num)
    if found is None:
        found = next((d for d in ALL if not d.half and d.storage == np_dtype), None)
    if found is None:
        raise TypeError(
            f"can't convert an array of type {np_dtype}: nbgrad has "
            f"{', '.join(d.name for d in ALL)}; cast it first, e.g. array.astype('float32')"
        )
    return found


def as_dtype(value) -> dtype:
    """A dtype from a dtype, a Python type (`float`, `int`, `bool`) or a NumPy type."""
    if isinstance(value, dtype):
        return value
    if value in _BY_PYTHON:
        return _BY_PYTHON[value]
    try:
        return from_numpy(np.dtype(value))
    except TypeError:
        raise TypeError(f"dtype must be a nbgrad.dtype, got {value!r}") from None


def get_default_dtype() -> dtype:
    """The float dtype given to Python floats."""
    return _default


def set_default_dtype(d: dtype) -> None:
    """Set the float dtype given to Python floats (`float32` or `float64`)."""
    global _default
    if not isinstance(d, dtype) or not d.is_floating_point:
        raise TypeError(f"only floating-point types are supported as the default type, got {d!r}")
    _default = d


_INT_ORDER = (int8, int16, int32, int64)


def promote_types(a: dtype, b: dtype) -> dtype:
    """The smallest dtype both fit, as `torch.promote_types`.

    Example:
        >>> promote_types(uint8, int8)
        nbgrad.int16
    """
    if a is b:
        return a
    if a.category != b.category:
        return a if a.category > b.category else b
    if a.category == 2:
        return float64 if float64 in (a, b) else float32
    if uint8 in (a, b):
        other = b if a is uint8 else a
        return int16 if other is int8 else other
    return max(a, b, key=_INT_ORDER.index)


def of_number(value) -> dtype:
    """The dtype that a Python number has in an operation with tensors."""
    kind = type(value)
    return bool_ if kind is bool else int64 if kind is int else _default


def result_type(dimensioned: list[dtype], zero_dim: list[dtype], numbers: list[dtype]) -> dtype:
    """Promote tensors, 0-dim tensors and Python numbers, each group by category only over the last.

    Source: documentation of torch.result_type.
    """
    result: dtype | None = None
    for group in (dimensioned, zero_dim, numbers):
        if not group:
            continue
        own = group[0]
        for d in group[1:]:
            own = promote_types(own, d)
        if result is None:
            result = own
        elif own.category > result.category:
            result = own if own.category < 2 or group is not numbers else _default
    assert result is not None
    return result


def accumulate(d: dtype) -> dtype:
    """The dtype in which long sums of `d` are kept."""
    return float64 if d.category == 2 else int64
