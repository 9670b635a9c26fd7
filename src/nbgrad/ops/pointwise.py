"""Functions made from rows by rule: of tensors and numbers, in place, as operators."""

from __future__ import annotations

import numpy as np

from nbgrad import dtypes
from nbgrad.formulas.elementwise import TABLE
from nbgrad.ops.apply import apply, apply_
from nbgrad.ops.create import from_numpy
from nbgrad.ops.elementwise import OPS, with_number
from nbgrad.ops.family import NUMBERS, number
from nbgrad.tensor import Tensor


def _reject(name: str, position: int, value) -> TypeError:
    return TypeError(f"{name}(): argument {position} must be a Tensor or a number, not "
                     f"{type(value).__name__}")


def unary(name: str):
    """(function, in-place function) of a row with one input."""
    op = OPS[name]
    one = op.one

    def function(input: Tensor) -> Tensor:
        if not isinstance(input, Tensor):
            raise _reject(name, 1, input)
        return one(input)

    def function_(input: Tensor) -> Tensor:
        return apply_(op, input)

    return document(function, name), document(function_, name, "_")


def two_tensors(name: str):
    """(function, in-place function) of a row with two inputs, both of them tensors."""
    op = OPS[name]
    two = op.two

    def function(input: Tensor, other: Tensor) -> Tensor:
        if not (isinstance(input, Tensor) and isinstance(other, Tensor)):
            at = 2 if isinstance(input, Tensor) else 1
            raise TypeError(f"{name}(): argument {at} must be Tensor, not "
                            f"{type((input, other)[at - 1]).__name__}")
        return two(input, other)

    def function_(input: Tensor, other: Tensor) -> Tensor:
        if not isinstance(other, Tensor):
            raise TypeError(f"{name}_(): argument 2 must be Tensor, not {type(other).__name__}")
        return apply_(op, input, (other,))

    return document(function, name), document(function_, name, "_")


def binary(name: str):
    """(function, in-place function) of a row with two inputs, either of which may be a number."""
    op = OPS[name]
    two = op.two

    def function(input, other) -> Tensor:
        if isinstance(other, Tensor):
            if isinstance(input, Tensor):
                return two(input, other)
            left = number(input)
            if left is None:
                raise _reject(name, 1, input)
            return with_number(name, "a").one(other, (left,))
        right = number(other)
        if right is None or not isinstance(input, Tensor):
            raise _reject(name, 1 if right is not None else 2, input if right is not None else other)
        return with_number(name, "b").one(input, (right,))

    def function_(input: Tensor, other) -> Tensor:
        if isinstance(other, np.ndarray):
            other = from_numpy(other)
        if isinstance(other, Tensor):
            return apply_(op, input, (other,))
        right = number(other)
        if right is None:
            raise _reject(name + "_", 2, other)
        return apply_(with_number(name, "b"), input, (), (right,))

    return document(function, name), document(function_, name, "_")


def document(function, name: str, suffix: str = ""):
    """The function under the name of its row, with its formula as docstring."""
    function.__name__ = function.__qualname__ = name + suffix
    row = TABLE[name]
    place = ", in place" if suffix else ""
    function.__doc__ = f"Elementwise{place}: {row.formula!r} for {', '.join(row.inputs)}."
    return function


def operator_of(name: str, reflected: bool = False):
    """A method like `__mul__`: NotImplemented for operands that are neither tensor nor number."""
    two = OPS[name].two
    one = with_number(name, "a" if reflected else "b").one

    def method(self, other):
        if isinstance(other, Tensor):
            return two(other, self) if reflected else two(self, other)
        if type(other) in NUMBERS:
            return one(self, (other,))
        if isinstance(other, np.ndarray):
            return method(self, from_numpy(other))
        value = number(other)
        return NotImplemented if value is None else one(self, (value,))

    return method


def operator_through(function, reflected: bool = False):
    """A method like `__pow__` that goes through a function with cases of its own."""

    def method(self, other):
        if isinstance(other, np.ndarray):
            other = from_numpy(other)
        elif not isinstance(other, Tensor) and number(other) is None:
            return NotImplemented
        return function(other, self) if reflected else function(self, other)

    return method


UNARY = [r.name for r in TABLE.values() if r.inputs == ("x",) and not r.params]
BINARY = [r.name for r in TABLE.values() if r.inputs == ("a", "b") and not r.params]
#: rows of two inputs neither of which may be a number
TENSORS_ONLY = {"maximum", "minimum", "fmax", "fmin", "atan2", "hypot", "logaddexp", "logaddexp2",
                "logical_and", "logical_or", "logical_xor", "heaviside", "nextafter", "gcd", "lcm",
                "clamp_above", "clamp_below"}
FUNCTIONS: dict = {}
for _name in UNARY:
    FUNCTIONS[_name], FUNCTIONS[f"{_name}_"] = unary(_name)
for _name in BINARY:
    _make = two_tensors if _name in TENSORS_ONLY else binary
    FUNCTIONS[_name], FUNCTIONS[f"{_name}_"] = _make(_name)


def _scaled(name: str, suffix: str):
    """`add` or `sub` with its factor `alpha`."""
    op, plain = OPS[f"{name}_scaled"], FUNCTIONS[name + suffix]

    def function(input, other, *, alpha=1) -> Tensor:
        if alpha == 1:
            return plain(input, other)
        check_factor(alpha, input, other)
        if not isinstance(input, Tensor):
            return plain(input, other * alpha)
        if not isinstance(other, Tensor):
            return plain(input, alpha * other)
        if suffix:
            return apply_(op, input, (other,), (alpha,))
        return apply(op, (input, other), (alpha,))

    function.__name__ = function.__qualname__ = name + suffix
    function.__doc__ = f"Elementwise: input {'+' if name == 'add' else '-'} alpha * other."
    return function


def check_factor(alpha, *operands, name: str = "alpha") -> None:
    """A factor must be a number that the operands' dtype holds."""
    if number(alpha) is None:
        raise TypeError(f"argument '{name}' must be Number, not {type(alpha).__name__}")
    category = max(v._layout.dtype.category if isinstance(v, Tensor) else
                   dtypes.of_number(v).category for v in operands)
    if isinstance(alpha, float) and category < 2:
        raise RuntimeError(f"For integral input tensors, argument {name} must not be a floating "
                           "point number.")
    if isinstance(alpha, bool) and category > 0:
        raise RuntimeError(f"Boolean {name} only supported for Boolean results.")


for _name in ("add", "sub"):
    for _suffix in ("", "_"):
        FUNCTIONS[_name + _suffix] = _scaled(_name, _suffix)
