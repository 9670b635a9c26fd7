"""`x[key]` read and written: views from integers, slices, None and ..., then index arrays."""

from __future__ import annotations

import math
import operator

import numpy as np

from nbgrad import dtypes
from nbgrad.devices import CPU
from nbgrad.kernels.backend import Twins
from nbgrad.kernels.cpu.places import joined, marked, settle
from nbgrad.kernels.launch import remember
from nbgrad.kernels.layout import Layout, broadcast_shapes, layout
from nbgrad.ops.apply import apply, apply_, view
from nbgrad.ops.elementwise import OPS, check_writable, with_number
from nbgrad.ops.family import expect_tensor
from nbgrad.ops.index_arrays import (
    INDEX,
    INDEX_PUT,
    LOOK_UP,
    PUT_ROWS,
    beside,
    index_shape,
    inside,
    spread,
)
from nbgrad.ops.keys import ARRAYS, index_array, parts_of, small, takes
from nbgrad.ops.shape import permute, reshape
from nbgrad.ops.views import SELECT, SLICE, UNSQUEEZE, VIEW, ViewOp
from nbgrad.ops.write import COPY, FILL
from nbgrad.tensor import Tensor

kernels, layouts = Twins("index"), Twins("layouts")


def getitem(t: Tensor, key) -> Tensor:
    """`t[key]`, a view unless the key holds a tensor, list or mask of indices."""
    own = t._layout
    if type(key) is int and own.shape and -own.shape[0] <= key < own.shape[0]:
        return view(SELECT, t, (0, key % own.shape[0]))
    if (_is_index(key) and own.shape and own.contiguous and not own.dtype.half
            and key._layout.device is own.device):
        return apply(LOOK_UP, (t,), (0, (index_array(key),)))
    found = _in_one(own, key)
    if found is not None:
        count, places = found
        shape = (math.prod(own.shape[:count]), *own.shape[count:])
        return apply(LOOK_UP, (view(VIEW, t, (shape,)) if count > 1 else t,), (0, (places,)))
    axis = _along(own, key)
    if axis is not None:
        return apply(INDEX, (t,), (axis, (inside(own.shape, axis, index_array(key[axis]), axis),)))
    part, indexing, _ = _opened(t, key)
    if indexing is not None:
        return apply(INDEX, (part,), indexing)
    return view(VIEW, t, (own.shape,)) if part is t else part


def _is_index(key) -> bool:
    """Whether a key is a tensor of indices."""
    return type(key) is Tensor and key._layout.dtype is dtypes.int64 and bool(key._layout.shape)


def _along(own: Layout, key) -> int | None:
    """The axis that a key like [:, i] with one tensor of indices is for; None for other keys."""
    if type(key) is not tuple or not 0 < len(key) <= len(own.shape) or not _is_index(key[-1]):
        return None
    plain = all(type(p) is slice and p == _ALL for p in key[:-1])
    return len(key) - 1 if plain and key[-1]._layout.device is own.device else None


_ALL = slice(None)


def _in_one(own: Layout, key) -> tuple[int, np.ndarray] | None:
    """Of a mask, an index or a pair of them: the axes it is for, and places on these taken as one.

    None for other keys, for indices outside, and where the entries do not lie in a row.
    """
    if not own.contiguous or own.dtype.half or own.device is not CPU:
        return None
    if type(key) is Tensor:
        mask = key._layout
        if (mask.dtype is dtypes.bool_ and mask.shape and mask.device is CPU
                and mask.shape == own.shape[:len(mask.shape)]):
            return len(mask.shape), marked(key._array())
        if own.shape and mask.device is CPU and _is_index(key):
            places = index_array(key)
            return None if settle(places, own.shape[0]) else (1, places)
    elif type(key) is tuple and len(key) == 2 and len(own.shape) > 1 and all(map(_is_index, key)):
        i, j = key[0]._layout, key[1]._layout
        if i.shape == j.shape and i.device is j.device is CPU:
            places = index_array(key[0])
            if not joined(places, key[1]._array(), *own.shape[:2]):
                return 2, places
    return None


def setitem(t: Tensor, key, value) -> None:
    """`t[key] = value`, recorded for gradients to `t` and to `value`."""
    if key is False:
        return
    if _is_mask(t, key):
        if not isinstance(value, Tensor):
            chosen = apply(with_number("where", "p"), (key, t), (a_number(t, value),))
            apply_(COPY, t, (chosen,), label="__setitem__")
            return
        if value._layout.numel == 1:
            value = reshape(value, ()).to(t._layout.dtype)
            apply_(COPY, t, (apply(OPS["where"], (key, value, t)),), label="__setitem__")
            return
    if _put_unrecorded(t, key, value):
        return
    window, indexing, masked = _opened(t, key)
    if indexing is not None:
        _put(window, indexing, masked, as_value(t, value), False, "__setitem__")
    elif isinstance(value, Tensor):
        shape = _without_ones(value._layout.shape, len(window._layout.shape))
        value = value if shape == value._layout.shape else reshape(value, shape)
        apply_(COPY, window, (value,), label="__setitem__")
    else:
        check_writable(window._layout)
        apply_(FILL, window, (), (a_number(t, value),), label="__setitem__")


def _put_unrecorded(t: Tensor, key, value) -> bool:
    """Write a number, or exactly what is indexed, at indices, if there is nothing to record."""
    if t._node is not None or t._view is not None or not t._layout.numel:
        return False
    written = as_value(t, value) if type(value) in _NUMBERS else value
    if not isinstance(written, Tensor) or written._node is not None or written._view is not None:
        return False
    own, other = t._layout, written._layout
    if other.device is not own.device or other.dtype is not own.dtype:
        return False
    found = _in_one(own, key)
    if found is None:
        return False
    count, places = found
    if other.shape not in ((), places.shape + own.shape[count:]):
        return False
    apply_(PUT_ROWS, t, (written,), found, "__setitem__")
    return True


_NUMBERS = {int, float}


def _is_mask(t: Tensor, key) -> bool:
    """Whether a key is a mask of the whole tensor, whose entries all lie apart."""
    return (isinstance(key, Tensor) and key._layout.dtype is dtypes.bool_
            and key._layout.shape == t._layout.shape and bool(t._layout.shape)
            and key._layout.device is t._layout.device and 0 not in t._layout.strides)


def _without_ones(shape: tuple[int, ...], rank: int) -> tuple[int, ...]:
    """A shape without the axes of size 1 by which its rank is too large."""
    while len(shape) > rank and shape[0] == 1:
        shape = shape[1:]
    return shape


def as_value(t: Tensor, value) -> Tensor:
    """What is written, as a tensor: numbers get the dtype of `t`."""
    if isinstance(value, Tensor):
        return value
    own = t._layout.dtype
    stored = np.asarray(own.stored(a_number(t, value)), own.storage)
    made = Tensor(stored.reshape(1), layout(own, ()))
    return made if t._layout.device is CPU else made.to(t._layout.device)


def a_number(t: Tensor, value):
    """A Python number that `t` can hold."""
    own = t._layout.dtype
    if isinstance(value, complex):
        raise RuntimeError(f"value cannot be converted to type {own.name} without overflow")
    if not isinstance(value, (bool, int, float, np.integer)):
        raise TypeError(f"can't assign a {type(value).__name__} to a torch.{own.legacy}Tensor")
    return number_as(own, value)


def number_as(own: dtypes.dtype, value):
    """A Python number as one of a dtype; a negative one wraps around where there is no sign."""
    if own.category != 1:
        return bool(value) if own is dtypes.bool_ else value
    most = np.iinfo(own.np).max
    if not math.isfinite(value) or not -most - own.is_signed <= int(value) <= most:
        raise RuntimeError(f"value cannot be converted to type {own.name} without overflow")
    return int(value) if own.is_signed else int(value) % (most + 1)


def _put(window: Tensor, indexing: tuple, masked: bool, value: Tensor, accumulate: bool,
         label: str) -> None:
    """Write or add a value at index arrays, or at a mask."""
    own, other = window._layout, value._layout
    if other.dtype is not own.dtype and other.numel == 1 and masked and not accumulate:
        value = value.to(own.dtype)  # PyTorch fills a mask with a number of any dtype
    elif other.dtype is not own.dtype:
        raise RuntimeError("Index put requires the source and destination dtypes match, got "
                           f"{own.dtype.legacy} for the destination and {other.dtype.legacy} for "
                           "the source.")
    target = index_shape(window, indexing)
    shape = _without_ones(other.shape, len(target))
    if broadcast_shapes(shape, target) != target:
        raise RuntimeError(f"shape mismatch: value tensor of shape {list(other.shape)} "
                           f"cannot be broadcast to indexing result of shape {list(target)}")
    value = value if shape == other.shape else reshape(value, shape)
    apply_(INDEX_PUT, window, (value,), (indexing, accumulate), label)


def _opened(t: Tensor, key) -> tuple[Tensor, tuple | None, bool]:
    """What a key opens: a window, the index arrays on it if any, and whether they are a mask."""
    own = t._layout.shape
    if _is_index(key) and own and key._layout.device is t._layout.device:
        return t, (0, (inside(own, 0, index_array(key), 0),)), False
    name = _name(t._layout, key)
    if name is None:
        return _indexed(t, parts_of(key))
    steps = _known.get(name)
    if steps is None:
        steps = remember(_known, name, _steps(t._layout, parts_of(key))[0])
    return _through(t, steps), None, False


def _indexed(t: Tensor, parts: tuple) -> tuple[Tensor, tuple | None, bool]:
    steps, arrays = _steps(t._layout, parts)
    window = _through(t, steps)
    if not any(a is not None for a in arrays):
        return window, None, False
    order, indexing = _front([None if a is None else beside(window, a) for a in arrays])
    masked = all(p.ndim and p.dtype == np.bool_ for p in parts if isinstance(p, ARRAYS))
    return permute(window, order) if order else window, indexing, masked


#: The steps of keys that hold no array, by the layout and the key's name.
_known: dict[tuple, list] = {}
_PLAIN = {int, type(None)}


def _name(own: Layout, key) -> tuple | None:
    """What tells a key of ints, slices of ints, None and ... from others; None for any other key."""
    named: list = [own]
    for p in key if type(key) is tuple else (key,):
        if type(p) is slice:
            ends = (p.start, p.stop, p.step)
            if not _PLAIN.issuperset(map(type, ends)):
                return None
            named.append(ends)
        elif type(p) is int or p is None or p is Ellipsis:
            named.append(p)
        else:
            return None
    return tuple(named)


def _through(t: Tensor, steps: list) -> Tensor:
    for op, attrs in steps:
        t = view(op, t, attrs)
    return t


def _steps(own: Layout, key: tuple) -> tuple[list, list]:
    """The views that the parts of a key open, and an index array or None for every axis left."""
    shape = own.shape
    taken = sum(map(takes, key))
    if taken > len(shape):
        if not shape and len(key) == 1:
            raise IndexError(_SCALAR)
        raise IndexError(f"too many indices for tensor of dimension {len(shape)}")
    steps: list = []
    arrays: list = []

    def then(op: ViewOp, *attrs) -> None:
        nonlocal own
        steps.append((op, attrs))
        own = op.open(own, attrs)

    d = consumed = 0
    for p in key:
        if p is Ellipsis:  # each one passes all that is left, as in PyTorch
            skipped = len(shape) - taken
            arrays += [None] * skipped
            d, consumed = d + skipped, consumed + skipped
            continue
        wanted = takes(p)
        if d + wanted > len(own.shape):
            raise IndexError(f"too many indices for tensor of dimension {len(shape)}")
        if isinstance(p, int):
            n = own.shape[d]
            if not -n <= p < n:
                raise IndexError(f"index {small(p)} is out of bounds for dimension {consumed} with "
                                 f"size {n}")
            then(SELECT, d, p % n)
        elif isinstance(p, slice):
            if p != slice(None):
                then(SLICE, d, *_range(own.shape[d], p))
            arrays.append(None)
            d += 1
        elif wanted == 0:
            then(UNSQUEEZE, d)
            arrays.append(None if p is None else np.zeros(int(p), np.int64))
            d += 1
        else:
            found = (_mask(own.shape, d, p) if p.dtype == bool
                     else [inside(own.shape, d, p, consumed)])
            arrays += found
            d += len(found)
        consumed += wanted
    return steps, arrays + [None] * (len(own.shape) - d)


_SCALAR = ("invalid index of a 0-dim tensor. Use `tensor.item()` in Python or `tensor.item<T>()` "
           "in C++ to convert a 0-dim tensor to a number")


def _range(n: int, s: slice) -> tuple[int, int, int]:
    """Start, count and step of a slice of an axis of size n."""
    if s.step is not None and operator.index(s.step) <= 0:
        raise ValueError("step must be greater than zero")
    parts = [None if v is None else operator.index(v) for v in (s.start, s.stop, s.step)]
    start, stop, step = slice(*parts).indices(n)
    return start, max(0, -(-(stop - start) // step)), step


def _mask(own: tuple[int, ...], d: int, mask: np.ndarray) -> list[np.ndarray]:
    """The indices of what a mask over the axes from d on selects, an array for each axis."""
    for k, (m, n) in enumerate(zip(mask.shape, own[d:])):
        if m != n:
            raise IndexError(f"The shape of the mask {list(mask.shape)} at index {k} does not "
                             f"match the shape of the indexed tensor {list(own)} at index {d + k}")
    return kernels.columns(kernels.nonzero(mask))


def _front(arrays: list) -> tuple[tuple[int, ...] | None, tuple]:
    """An order of axes that brings the indexed ones together, and the index arrays, broadcast.

    As in NumPy, the result's index axes stand where the indexed axes stood if those were
    neighbours, else in front.
    """
    at = [k for k, a in enumerate(arrays) if a is not None]
    shape = broadcast_shapes(*(arrays[k].shape for k in at))
    if shape is None:
        raise IndexError("shape mismatch: indexing tensors could not be broadcast together with "
                         f"shapes {', '.join(str(list(arrays[k].shape)) for k in at)}")
    together = at[-1] - at[0] == len(at) - 1
    order = None
    lead = at[0] if together else 0
    if not together:
        order = (*at, *(k for k in range(len(arrays)) if k not in at))
    return order, (lead, tuple([spread(arrays[k], shape) for k in at]))


def index_put_(input: Tensor, indices, values: Tensor, accumulate: bool = False) -> Tensor:
    """Write (or add) values at a tuple of index tensors, in place; see `index_put`."""
    expect_tensor("index_put_", values=values)
    if not isinstance(indices, (tuple, list)):
        raise TypeError("index_put_(): argument 'indices' must be tuple of Tensors, not "
                        f"{type(indices).__name__}")
    for k, i in enumerate(indices):
        if not isinstance(i, Tensor):
            raise TypeError(f"expected Tensor as element {k} in argument 1, but got "
                            f"{type(i).__name__}")
    if not indices:
        raise RuntimeError("index_put_(): there must be at least one index tensor")
    window, indexing, masked = _indexed(input, tuple([index_array(i) for i in indices]))
    assert indexing is not None
    _put(window, indexing, masked, values, accumulate, "index_put_")
    return input


def index_put(input: Tensor, indices, values: Tensor, accumulate: bool = False) -> Tensor:
    """A copy with `values` written, or added where `accumulate`, at a tuple of index tensors.

    Args:
        indices: integer tensors, or masks, one for each of the first axes.
        values: broadcast to what `input[indices]` is.
    """
    expect_tensor("index_put", input=input)
    return index_put_(OPS["clone"].one(input), indices, values, accumulate)


FUNCTIONS = {"index_put": index_put, "index_put_": index_put_}
METHODS = {"__getitem__": getitem, "__setitem__": setitem}
