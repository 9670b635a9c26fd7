"""Arguments of a wrong type, told from the annotations of a function, in PyTorch's words."""

from __future__ import annotations

import operator
from collections.abc import Callable
from functools import cache, wraps
from inspect import unwrap
from typing import Any, NamedTuple

import numpy as np

from nbgrad.dtypes import dtype as DType
from nbgrad.ops.family import number
from nbgrad.tensor import Size, Tensor


def _is_int(value) -> bool:
    if isinstance(value, Tensor):
        return not value._layout.shape and value._layout.dtype.category == 1
    if isinstance(value, (bool, np.bool_)):
        return False
    try:
        operator.index(value)
    except TypeError:
        return False
    return True


def _is_float(value) -> bool:
    return not value._layout.shape if isinstance(value, Tensor) else number(value) is not None


def _are_ints(value) -> bool:
    """As PyTorch, which looks for bools at the first number alone."""
    return (isinstance(value, (tuple, list)) and not isinstance((*value, 0)[0], bool)
            and all(isinstance(v, bool) or _is_int(v) for v in value))


def _are_dims(value) -> bool:
    if isinstance(value, Tensor):
        return value._layout.numel == 1 and value._layout.dtype.category < 2
    return _is_int(value) or _are_ints(value)


class Kind(NamedTuple):
    """What an argument may be: PyTorch's name of it, a type that will do, and the whole test."""

    name: str
    type: type
    matches: Callable[[Any], bool]


#: the words of annotations that are looked at; where another stands, anything goes
_KINDS = {
    "Tensor": Kind("Tensor", Tensor, lambda value: isinstance(value, Tensor)),
    "int": Kind("int", int, _is_int),
    "float": Kind("float", float, _is_float),
    "bool": Kind("bool", bool, lambda value: type(value) is bool),
    "complex": Kind("Number", complex, _is_float),
    "str": Kind("str", str, lambda value: isinstance(value, str)),
    "Sizes": Kind("tuple of ints", Size, _are_ints),
    "Dims": Kind("tuple of ints", int, _are_dims),
    "DType": Kind("torch.dtype", DType, lambda value: value is float),
    "None": Kind("None", type(None), lambda value: value is None),
}


_SIZES = {_KINDS["Sizes"], _KINDS["Dims"]}
_LISTS, _INT = (tuple, list), {int}


def _plain_ints(value) -> bool:
    return type(value) in _LISTS and _INT.issuperset(map(type, value))


@cache
def _expected(function: Callable) -> dict[str, tuple[Kind, ...]]:
    """The kinds that each argument may be of, by its annotation."""
    code = unwrap(function).__code__
    names = code.co_varnames[:code.co_argcount + code.co_kwonlyargcount]
    words = {"self": "Tensor"} | {n: str(a) for n, a in unwrap(function).__annotations__.items()}
    return {n: _kinds(words.get(n, "Any").split(" | ")) for n in names}


def _kinds(words: list[str]) -> tuple[Kind, ...]:
    """None of a word alone, of which functions say more themselves."""
    known = _KINDS.keys() >= set(words) and not set(words) <= {"str", "None"}
    return tuple([_KINDS[word] for word in words]) if known else ()


def refuse_wrong(name: str, function: Callable, args: tuple, more: dict) -> bool:
    """TypeError for the first argument that is not of the kinds its annotation names.

    True if the types of the arguments, and of what lies in tuples and lists, say that they are
    right, whatever their values.
    """
    expected = _expected(function)
    plain = True
    positions = zip(expected, args[:unwrap(function).__code__.co_argcount])
    for k, (argument, value) in enumerate([*positions, *more.items()]):
        kinds = expected.get(argument, ())
        if not kinds or any(type(value) is kind.type for kind in kinds):
            continue
        if _SIZES.intersection(kinds) and _plain_ints(value):
            continue
        plain = False
        if not any(kind.matches(value) for kind in kinds):
            place = f" (position {k + 1})" if k < len(args) else ""
            wanted = " or ".join([kind.name for kind in kinds if kind.name != "None"])
            raise TypeError(f"{name}(): argument '{argument}'{place} must be {wanted}, not "
                            f"{type(value).__name__}")
    return plain


def checked(name: str, function: Callable) -> Callable:
    """The function, which looks at the types of its arguments before anything else."""
    right: set[tuple] = set()

    @wraps(function)
    def called(*args, **more):
        types = (*map(type, args), *more, *map(type, more.values()))
        if types not in right:
            types = (*types, *[frozenset(map(type, v)) for v in (*args, *more.values())
                               if type(v) in _LISTS])
            if types not in right and refuse_wrong(name, function, args, more) and len(right) < 64:
                right.add(types)
        return function(*args, **more)

    return called
