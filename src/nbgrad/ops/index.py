"""Reading and writing at indices: `x[...]`, gather, scatter, masks."""

from __future__ import annotations

import math
import operator

import numpy as np

from nbgrad import dtypes
from nbgrad.kernels import memory
from nbgrad.kernels.cpu import index as kernels
from nbgrad.kernels.layout import broadcast_shapes, contiguous_strides
from nbgrad.ops.apply import apply, apply_, view
from nbgrad.ops.elementwise import OPS, with_number
from nbgrad.ops.family import saved
from nbgrad.ops.op import Op, wrap
from nbgrad.ops.shape import axis, expand, permute, reshape
from nbgrad.ops.views import SELECT, SLICE, UNSQUEEZE, VIEW
from nbgrad.ops.write import COPY
from nbgrad.tensor import Tensor

# x[...]: integers, slices, None and Ellipsis open a view; index tensors and masks then gather.


def getitem(t: Tensor, key) -> Tensor:
    """`t[key]`, a view unless the key holds a tensor, list or mask of indices."""
    parts = key if type(key) is tuple else (key,)
    if len(parts) <= len(t._layout.shape) and _WINDOWS.issuperset(map(type, parts)):
        part, _ = _basic(t, parts)
    else:
        part, arrays = _basic(t, _normal(t, key))
        if any(a is not None for a in arrays):
            return _advanced(part, arrays)
    return view(VIEW, t, (t._layout.shape,)) if part is t else part


#: types of keys that open a view and stand for one axis
_WINDOWS = {int, slice}


def setitem(t: Tensor, key, value) -> None:
    """`t[key] = value`, recorded for gradients to `t` and to `value`."""
    if not isinstance(value, Tensor):
        value = wrap(np.asarray(value, dtype=t._layout.dtype.np))
    key = _normal(t, key)
    if len(key) == 1 and isinstance(key[0], np.ndarray) and key[0].dtype == bool \
            and key[0].shape == t._layout.shape and value._layout.numel == 1:
        mask = wrap(key[0])
        filled = apply(OPS["where"], (mask, reshape(value, ()).to(t._layout.dtype), t))
        apply_(COPY, t, (filled,), label="__setitem__")
        return
    window, arrays = _basic(t, key)
    if all(a is None for a in arrays):
        shape = value._layout.shape
        while len(shape) > len(window._layout.shape) and shape[0] == 1:
            shape = shape[1:]
        value = value if shape == value._layout.shape else reshape(value, shape)
        apply_(COPY, window, (value,), label="__setitem__")
        return
    order, indexing = _front(arrays)
    moved = permute(window, order) if order else window
    target = _index_shape(moved, indexing)
    if broadcast_shapes(value._layout.shape, target) != target:
        raise RuntimeError(f"shape mismatch: value tensor of shape {list(value._layout.shape)} "
                           f"cannot be broadcast to indexing result of shape {list(target)}")
    value = value.to(t._layout.dtype)
    apply_(INDEX_PUT, moved, (value,), (indexing, False), "__setitem__")


def _normal(t: Tensor, key) -> tuple:
    """The key as a tuple of ints, slices, None and int64 or bool arrays, without Ellipsis."""
    parts = key if isinstance(key, tuple) else (key,)
    parts = tuple(_part(p) for p in parts)
    takes = sum(p.ndim if isinstance(p, np.ndarray) and p.dtype == bool else
                0 if p is None or p is Ellipsis or isinstance(p, bool) else 1 for p in parts)
    rank = len(t._layout.shape)
    if takes > rank:
        raise IndexError(f"too many indices for tensor of dimension {rank}")
    dots = [k for k, p in enumerate(parts) if p is Ellipsis]
    if len(dots) > 1:
        raise IndexError("an index can only have a single ellipsis ('...')")
    fill = (slice(None),) * (rank - takes)
    if dots:
        return parts[:dots[0]] + fill + parts[dots[0] + 1:]
    return parts + fill


def _part(p):
    if p is None or p is Ellipsis or isinstance(p, (slice, bool)):
        return np.array(p) if isinstance(p, bool) else p
    if isinstance(p, int):
        return p
    if isinstance(p, Tensor):
        p = p._array()
        if p.dtype.kind in "iu" and p.ndim == 0:
            return int(p)
    elif isinstance(p, (list, tuple, range, np.ndarray)):
        p = np.asarray([q.item() if isinstance(q, Tensor) else q for q in p]
                       if isinstance(p, (list, tuple)) else p)
        if p.size == 0:
            p = p.astype(np.int64)
    elif hasattr(p, "__index__"):
        return operator.index(p)
    else:
        raise IndexError("only integers, slices (`:`), ellipsis (`...`), None and long or byte "
                         f"Variables are valid indices (got {type(p).__name__})")
    if p.dtype == bool:
        return p
    if p.dtype.kind not in "iu":
        raise IndexError("tensors used as indices must be long, int, byte or bool tensors")
    return p.astype(np.int64)


def _basic(t: Tensor, key: tuple) -> tuple[Tensor, list]:
    """Apply the parts that open a view; what remains is an index array or None for every axis."""
    arrays: list = []
    d = consumed = 0
    for p in key:
        if p is None:
            t = view(UNSQUEEZE, t, (d,))
            arrays.append(None)
            d += 1
        elif isinstance(p, slice):
            t = _slice(t, d, p)
            arrays.append(None)
            d, consumed = d + 1, consumed + 1
        elif isinstance(p, int):
            n = t._layout.shape[d]
            if not -n <= p < n:
                raise IndexError(f"index {p} is out of bounds for dimension {consumed} with size {n}")
            t = view(SELECT, t, (d, p % n))
            consumed += 1
        elif p.dtype == bool:
            if p.ndim == 0:
                t = view(UNSQUEEZE, t, (d,))
                arrays.append(np.zeros(int(p), np.int64))
                d += 1
                continue
            own = t._layout.shape[d:d + p.ndim]
            for k, (m, n) in enumerate(zip(p.shape, own)):
                if m != n:
                    raise IndexError(f"The shape of the mask {list(p.shape)} at index {k} does not "
                                     f"match the shape of the indexed tensor "
                                     f"{list(t._layout.shape)} at index {d + k}")
            where = kernels.nonzero(np.ascontiguousarray(p))
            arrays += [np.ascontiguousarray(where[:, k]) for k in range(p.ndim)]
            d, consumed = d + p.ndim, consumed + p.ndim
        else:
            n = t._layout.shape[d]
            bad = kernels.first_out_of_range(np.ascontiguousarray(p).reshape(-1), -n, n)
            if bad >= 0:
                raise IndexError(f"index {int(p.reshape(-1)[bad])} is out of bounds for dimension "
                                 f"{consumed} with size {n}")
            arrays.append(np.where(p < 0, p + n, p))
            d, consumed = d + 1, consumed + 1
    return t, arrays


def _slice(t: Tensor, d: int, s: slice) -> Tensor:
    if s == slice(None):
        return t
    if s.step is not None and operator.index(s.step) <= 0:
        raise ValueError("step must be greater than zero")
    parts = [v.item() if isinstance(v, Tensor) else v for v in (s.start, s.stop, s.step)]
    start, stop, step = slice(*parts).indices(t._layout.shape[d])
    return view(SLICE, t, (d, start, max(0, -(-(stop - start) // step)), step))


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
    indices = tuple(np.ascontiguousarray(np.broadcast_to(arrays[k], shape)) for k in at)
    return order, (lead, indices)


def _index_shape(t: Tensor, indexing: tuple) -> tuple[int, ...]:
    lead, indices = indexing
    own = t._layout.shape
    return own[:lead] + indices[0].shape + own[lead + len(indices):]


def _offsets(shape, strides, offset: int, indexing: tuple) -> np.ndarray:
    """The storage position of every element of the indexing result."""
    lead, indices = indexing
    places = sum(i * strides[lead + k] for k, i in enumerate(indices))
    rank = len(shape) - len(indices)
    places = (places + offset).reshape((1,) * lead + indices[0].shape
                                       + (1,) * (rank - lead))
    rest = [*range(lead), *range(lead + len(indices), len(shape))]
    for j, axis_ in enumerate(rest):
        position = axis_ if j < lead else j + indices[0].ndim
        extent = [1] * places.ndim
        extent[position] = shape[axis_]
        places = places + (np.arange(shape[axis_], dtype=np.int64) * strides[axis_]).reshape(extent)
    return np.ascontiguousarray(places)


class Index(Op):
    """Gather at index arrays; attrs hold (first indexed axis, arrays)."""

    name = "Index"

    def run(self, inputs, attrs) -> Tensor:
        (t,) = inputs
        own = t._layout
        places = _offsets(own.shape, own.strides, own.offset, attrs)
        return wrap(kernels.take_flat(t._data, places))

    def backward(self, node, grad):
        return apply(INDEX_ADD_ZEROS, (grad,), (node.layouts[0].shape, *node.attrs))


class IndexAddZeros(Op):
    """Zeros with values added at index arrays: the adjoint of Index."""

    name = "IndexBackward"

    def run(self, inputs, attrs) -> Tensor:
        (grad,) = inputs
        shape, *indexing = attrs
        out = memory.zeros(math.prod(shape), grad._layout.dtype.np)
        places = _offsets(shape, contiguous_strides(shape), 0, tuple(indexing))
        kernels.add_flat(out, places, np.ascontiguousarray(grad._array()))
        return wrap(out.reshape(shape))

    def backward(self, node, grad):
        _, *indexing = node.attrs
        return apply(INDEX, (grad,), tuple(indexing))


class IndexPut(Op):
    """In place: values written (or added) at index arrays."""

    name = "IndexPut"
    label = "index_put_"

    def run_into(self, target, others, attrs) -> None:
        indexing, accumulate = attrs
        own = target._layout
        places = _offsets(own.shape, own.strides, own.offset, indexing)
        values = np.ascontiguousarray(np.broadcast_to(others[0]._array(), places.shape))
        if others[0]._data is target._data:
            values = values.copy()
        (kernels.add_flat if accumulate else kernels.put_flat)(target._data, places, values)

    def backward(self, node, grad):
        indexing, accumulate = node.attrs
        own, value = node.next[0], node.next[1]
        gv = None
        if value is not None:
            gv = apply(INDEX, (grad,), indexing).sum_to_size(node.layouts[1].shape)
        if own is not None and not accumulate:
            grad = grad.clone()
            apply_(self, grad, (grad.new_zeros(()),), (indexing, False))
        return (None if own is None else grad), gv


INDEX, INDEX_ADD_ZEROS, INDEX_PUT = Index(), IndexAddZeros(), IndexPut()


def _advanced(t: Tensor, arrays: list) -> Tensor:
    order, indexing = _front(arrays)
    return apply(INDEX, (permute(t, order) if order else t,), indexing)


def index_put_(t: Tensor, indices, values: Tensor, accumulate: bool = False) -> Tensor:
    """Write (or add) values at a tuple of index tensors, in place."""
    window, arrays = _basic(t, _normal(t, tuple(indices)))
    order, indexing = _front(arrays)
    moved = permute(window, order) if order else window
    apply_(INDEX_PUT, moved, (values.to(t.dtype),), (indexing, accumulate))
    return t


# gather, scatter and their kin along one axis


def _indices(t: Tensor, d: int, idx: Tensor, name: str) -> np.ndarray:
    """The indices as int64, all of them inside."""
    found = np.ascontiguousarray(_long(idx, name)._array())
    n = t._layout.shape[d] if t._layout.shape else 1
    _refuse(found, kernels.first_out_of_range(found.reshape(-1), 0, n), d, n, name)
    return found


def _long(idx: Tensor, name: str) -> Tensor:
    own = idx._layout.dtype
    if own not in (dtypes.int64, dtypes.int32):
        raise RuntimeError(f"{name}(): Expected dtype int32/int64 for index")
    return idx if own is dtypes.int64 else idx.to(dtypes.int64)


def _refuse(idx: np.ndarray, bad: int, d: int, n: int, name: str) -> None:
    """Refuse the index at the flat position `bad`, if that is not negative."""
    if bad >= 0:
        error = RuntimeError if name in ("gather", "scatter", "scatter_add") else IndexError
        raise error(f"{name}(): index {int(idx.reshape(-1)[bad])} is out of bounds for dimension "
                    f"{d} with size {n}")


def _refuse_any(idx: np.ndarray, outside: int, d: int, shape: tuple[int, ...], name: str) -> None:
    """Refuse indices of which a kernel found some outside."""
    if outside:
        n = shape[d] if shape else 1
        _refuse(idx, kernels.first_out_of_range(idx, 0, n), d, n, name)


def _check_extent(t: Tensor, d: int, idx: Tensor, name: str) -> None:
    if idx.dim() != max(t.dim(), 1) and not (idx.dim() == 0 and t.dim() <= 1):
        raise RuntimeError("Index tensor must have the same number of dimensions as input tensor")
    for k, (m, n) in enumerate(zip(idx._layout.shape, t._layout.shape)):
        if k != d and m > n:
            raise RuntimeError(f"{name}(): Size does not match at dimension {k} expected index "
                               f"{list(idx.shape)} to be no larger than self {list(t.shape)} apart "
                               f"from dimension {d}")


class Gather(Op):
    """Entries at places along an axis."""

    name = "Gather"

    def forward(self, x, idx, d):
        y, outside = kernels.gather(x, d, idx)
        _refuse_any(idx, outside, d, x.shape, "gather")
        return y

    def saves(self, needs, attrs):
        return (1,)

    def backward(self, node, grad):
        (d,) = node.attrs
        return apply(ADD_AT, (grad, saved(node)[1]), (d, node.layouts[0].shape)), None


class Spread(Op):
    """Zeros with entries written or added at places along an axis: the adjoint of Gather."""

    def __init__(self, name: str, label: str, write) -> None:
        self.name, self.function, self.write = name, label, write
        super().__init__()

    def forward(self, grad, idx, d, shape):
        out = memory.zeros(shape, grad.dtype)
        _refuse_any(idx, self.write(out, d, idx, grad), d, shape, self.function)
        return out

    def saves(self, needs, attrs):
        return (1,)

    def backward(self, node, grad):
        return apply(GATHER, (grad, saved(node)[1]), node.attrs[:1]), None


class Scatter(Op):
    """A copy with entries written at places along an axis."""

    name, function = "Scatter", "scatter"
    write = staticmethod(kernels.scatter)

    def forward(self, base, source, idx, d):
        out = memory.empty(base.shape, base.dtype)
        out[...] = base
        _refuse_any(idx, self.write(out, d, idx, source), d, base.shape, self.function)
        return out

    def saves(self, needs, attrs):
        return (2,)

    def backward(self, node, grad):
        (d,) = node.attrs
        idx, gs = saved(node)[2], None
        if node.next[1] is not None:
            gs = _embedded(apply(GATHER, (grad, idx), (d,)), node.layouts[1].shape)
        return (None if node.next[0] is None else self.kept(grad, idx, d)), gs, None

    def kept(self, grad: Tensor, idx: Tensor, d: int) -> Tensor:
        """What of the gradient reaches the entries that were copied."""
        return apply(self, (grad, grad.new_zeros(idx.shape), idx), (d,))


class ScatterAdd(Scatter):
    """A copy with entries added at places along an axis."""

    name, function = "ScatterAdd", "scatter_add"
    write = staticmethod(kernels.scatter_add)

    def kept(self, grad: Tensor, idx: Tensor, d: int) -> Tensor:
        return grad


def _embedded(part: Tensor, shape: tuple[int, ...]) -> Tensor:
    """A gradient laid into the corner of zeros of a larger shape."""
    if part._layout.shape == shape:
        return part
    whole = part.new_zeros(shape)
    setitem(whole, tuple(slice(n) for n in part._layout.shape), part)
    return whole


GATHER, SCATTER_ADD, SCATTER = Gather(), ScatterAdd(), Scatter()
#: (grad, places), (axis, shape): the gradients of entries that were chosen
ADD_AT = Spread("GatherBackward", "gather", kernels.scatter_add)
PUT_AT = Spread("ValueSelectingReductionBackward", "scatter", kernels.scatter)


def gather(t: Tensor, dim: int, index: Tensor) -> Tensor:
    """out[i][j] = t[index[i][j]][j] for dim 0, and so on."""
    d = axis(t, dim)
    _check_extent(t, d, index, "gather")
    return apply(GATHER, (t, _long(index, "gather")), (d,))


def _source(t: Tensor, d: int, idx: Tensor, source, name: str) -> Tensor:
    """What to write, after a look at all the shapes."""
    number = not isinstance(source, Tensor)
    if not number and source._layout.dtype is not t._layout.dtype:
        raise RuntimeError(f"{name}(): Expected self.dtype to be equal to src.dtype")
    own, shape = t._layout.shape or (1,), idx._layout.shape or (1,)
    given = shape if number else source._layout.shape or (1,)
    if idx._layout.numel:
        if len(shape) != len(own):
            raise RuntimeError("Index tensor must have the same number of dimensions as self tensor")
        if len(shape) != len(given):
            raise RuntimeError("Index tensor must have the same number of dimensions as src tensor")
        if any(m > n and k != d for k, (m, n) in enumerate(zip(shape, own))) or any(
                m > n for m, n in zip(shape, given)):
            more = "" if number else f" and to be no larger size than src {list(source.shape)}"
            raise RuntimeError(f"Expected index {list(idx.shape)} to be no larger than self "
                               f"{list(t.shape)} apart from dimension {d}{more}")
    return t.new_full(idx.shape, source) if number else source


def scatter(t: Tensor, dim: int, index: Tensor, src) -> Tensor:
    """A copy of `t` with `src` written at the indices along `dim`."""
    d = axis(t, dim)
    source = _source(t, d, index, src, "scatter")
    return apply(SCATTER, (t, source, _long(index, "scatter")), (d,))


def scatter_add(t: Tensor, dim: int, index: Tensor, src: Tensor) -> Tensor:
    """A copy of `t` with `src` added at the indices along `dim`; equal indices add up."""
    d = axis(t, dim)
    source = _source(t, d, index, src, "scatter_add")
    return apply(SCATTER_ADD, (t, source, _long(index, "scatter_add")), (d,))


def index_select(t: Tensor, dim: int, index: Tensor) -> Tensor:
    """The entries `index` (1-d) along `dim`."""
    d = axis(t, dim)
    if index.dim() > 1:
        raise IndexError("index_select(): Index is supposed to be a vector")
    found = _indices(t, d, index, "index_select")
    return apply(INDEX, (t,), (d, (found.reshape(-1),)))


def index_add(t: Tensor, dim: int, index: Tensor, source: Tensor, *, alpha=1) -> Tensor:
    """A copy of `t` with the entries of `source` added at `index` along `dim`."""
    d = axis(t, dim)
    found = _indices(t, d, index, "index_add").reshape(-1)
    if source._layout.shape[d] != found.size:
        raise RuntimeError(f"index_add(): Number of indices ({found.size}) should be equal to "
                           f"source.size(dim) ({source._layout.shape[d]})")
    out = t.clone()
    apply_(INDEX_PUT, out, (source * alpha if alpha != 1 else source,), ((d, (found,)), True))
    return out


def take(t: Tensor, index: Tensor) -> Tensor:
    """The elements of the flattened tensor at `index`."""
    return getitem(reshape(t, -1), index)


def nonzero(t: Tensor, *, as_tuple: bool = False):
    """Indices of the entries that are not zero: (count, rank), or a tuple of vectors."""
    array = t._array()
    if as_tuple:
        array = np.atleast_1d(array)
    found = kernels.nonzero(array)
    if as_tuple:
        return tuple(wrap(np.ascontiguousarray(found[:, k])) for k in range(found.shape[1]))
    return wrap(found)


# masks


def _mask(t: Tensor, mask: Tensor, name: str) -> Tensor:
    if mask._layout.dtype is not dtypes.bool_:
        raise RuntimeError(f"{name} only supports boolean masks, but got mask with dtype "
                           f"{mask.dtype}")
    return mask


def masked_fill(t: Tensor, mask: Tensor, value) -> Tensor:
    """A copy of `t` with `value` where the mask is true."""
    _mask(t, mask, "masked_fill")
    if isinstance(value, Tensor):
        if value.dim():
            raise RuntimeError(f"masked_fill_ only supports a 0-dimensional value tensor, but got "
                               f"tensor with {value.dim()} dimension(s).")
        return apply(OPS["where"], (mask, value.to(t.dtype), t))
    own = t._layout.dtype
    if own.category < 2:
        try:
            value = own.np.type(value if own is dtypes.bool_ else int(value)).item()
        except OverflowError:
            raise RuntimeError(f"value cannot be converted to type {own.name} without "
                               "overflow") from None
    return apply(with_number("where", "p"), (mask, t), (value,))


def masked_fill_(t: Tensor, mask: Tensor, value) -> Tensor:
    """Write `value` where the mask is true, in place."""
    return t.copy_(masked_fill(t, mask, value))


def masked_select(t: Tensor, mask: Tensor) -> Tensor:
    """The entries where the mask is true, as a vector."""
    shape = broadcast_shapes(t._layout.shape, mask._layout.shape)
    return getitem(expand(t, shape), expand(_mask(t, mask, "masked_select"), shape))


def where(condition: Tensor, input=None, other=None):
    """`input` where the condition holds, else `other`; the indices where it holds, if alone."""
    if input is None:
        return nonzero(condition, as_tuple=True)
    if not isinstance(input, Tensor) and not isinstance(other, Tensor):
        common = max((dtypes.of_number(input), dtypes.of_number(other)), key=lambda d: d.category)
        input = condition.new_full((), input, dtype=common)
    if not isinstance(input, Tensor):
        return apply(with_number("where", "p"), (condition, other), (input,))
    if not isinstance(other, Tensor):
        return apply(with_number("where", "q"), (condition, input), (other,))
    return apply(OPS["where"], (condition, input, other))

