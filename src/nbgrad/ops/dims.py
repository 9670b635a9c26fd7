"""Dimensions and sizes as users give them, made into plain numbers."""

from __future__ import annotations

import math
import operator
from functools import lru_cache

from nbgrad.tensor import Tensor

#: a shape, or several dimensions
Sizes = tuple[int, ...] | list[int]
#: one dimension or several
Dims = int | Sizes

def axis(t: Tensor, dim: int, extra: int = 0) -> int:
    """A dimension as a number from 0; IndexError outside the rank (plus `extra`)."""
    return axis_of(len(t._layout.shape) + extra, dim)


def axis_of(rank: int, dim: int) -> int:
    """`axis` for a rank."""
    rank = max(rank, 1)
    if type(dim) is not int:
        dim = whole(dim, "dim")
    if not -rank <= dim < rank:
        raise IndexError(f"Dimension out of range (expected to be in range of [{-rank}, {rank - 1}]"
                         f", but got {dim})")
    return dim % rank


def axes(t: Tensor, dims) -> tuple[int, ...]:
    """One dimension or several, as numbers from 0."""
    if isinstance(dims, (tuple, list)):
        return tuple([axis(t, d) for d in dims])
    return (axis(t, dims),)


def whole(value, name: str) -> int:
    """An integer from anything that is one, but no bool; TypeError from the rest."""
    try:
        if not isinstance(value, bool):
            return operator.index(value)
    except TypeError:
        pass
    raise TypeError(f"{name} must be int, not {type(value).__name__}")


_INT = {int}


def sizes(args: tuple, given=None) -> tuple[int, ...]:
    """A shape given as numbers, as one tuple or list of them, or by keyword as `given`."""
    if given is not None:
        args = tuple(given) if isinstance(given, (tuple, list)) else (given,)
    elif len(args) == 1 and isinstance(args[0], (tuple, list)):
        args = tuple(args[0])
    elif not args:
        raise TypeError("a size or dimensions are missing")
    if _INT.issuperset(map(type, args)):
        return args
    try:
        return tuple([operator.index(a) for a in args])
    except TypeError:
        odd = next(a for a in args if not hasattr(a, "__index__") or isinstance(a, Tensor))
        raise TypeError(f"argument 'size' must be tuple of ints, but found element of type "
                        f"{type(odd).__name__}") from None


@lru_cache(1024)
def infer_size(shape: tuple[int, ...], numel: int) -> tuple[int, ...]:
    """A shape with its one -1 worked out."""
    if any(n < -1 for n in shape):
        raise RuntimeError(f"invalid shape dimension {min(shape)}")
    if shape.count(-1) > 1:
        raise RuntimeError("only one dimension can be inferred")
    if -1 in shape:
        rest = -math.prod(shape)
        if rest == 0:
            raise RuntimeError(f"cannot reshape tensor of {numel} elements into shape "
                               f"{list(shape)} because the unspecified dimension size -1 can be "
                               "any value and is ambiguous")
        shape = tuple(numel // rest if n == -1 else n for n in shape)
        asked = tuple(-1 if n == numel // rest else n for n in shape)
    else:
        asked = shape
    if math.prod(shape) != numel:
        raise RuntimeError(f"shape '{list(asked)}' is invalid for input of size {numel}")
    return shape
