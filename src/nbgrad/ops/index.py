"""Whole entries along an axis, or of the flat tensor, read and written at a vector of indices."""

from __future__ import annotations

import numpy as np

from nbgrad import dtypes
from nbgrad.kernels.backend import Twins
from nbgrad.kernels.cpu.softmax import split
from nbgrad.ops.apply import apply
from nbgrad.ops.change import Change, both
from nbgrad.ops.family import expect_tensor, saved
from nbgrad.ops.getitem import as_value
from nbgrad.ops.op import Op
from nbgrad.ops.scatter import ScatterReduce, long_index, refuse
from nbgrad.ops.search import unique
from nbgrad.ops.shape import axis, expand, reshape
from nbgrad.tensor import Tensor

kernels, layouts = Twins("index"), Twins("layouts")


class IndexSelect(Op):
    """The entries at a vector of indices along an axis."""

    name = "IndexSelect"

    def forward(self, x, idx, d):
        found = kernels.take_rows(_three(x, d), idx)
        return found.reshape(x.shape[:d] + (idx.size,) + x.shape[d + 1:] if x.shape else ())

    def saves(self, needs, attrs):
        return (1,)

    def backward(self, node, grad):
        (d,) = node.attrs
        return apply(ADD_ROWS, (grad, saved(node)[1]), (d, node.layouts[0].shape)), None


class AddRows(Op):
    """Zeros of a shape with entries added at indices along an axis: the adjoint of IndexSelect."""

    name = "IndexSelectBackward"

    def forward(self, grad, idx, d, shape):
        return kernels.add_rows(_three(grad, d), idx, shape[d] if shape else 1).reshape(shape)

    def saves(self, needs, attrs):
        return (1,)

    def backward(self, node, grad):
        return apply(INDEX_SELECT, (grad, saved(node)[1]), node.attrs[:1]), None


def _three(x: np.ndarray, d: int) -> np.ndarray:
    return layouts.contiguous(x).reshape(split(x.shape, d))


def _rows(array: np.ndarray, d: int, change) -> None:
    """Change an array in place, seen as (outer, n, inner)."""
    layouts.changed(array, split(array.shape, d), change)


class IndexCopy(Change):
    """Entries written at indices along an axis."""

    name, label = "IndexCopy", "index_copy_"
    write = staticmethod(kernels.put_rows)

    def change(self, array, source, idx, d):
        outer, _, inner = split(array.shape, d)
        values = layouts.contiguous(source).reshape(outer, idx.size, inner)
        _rows(array, d, lambda x: self.write(x, idx, values))

    def saves(self, needs, attrs):
        return (2,)

    def backward(self, node, grad):
        idx, gs = saved(node)[2], None
        if node.next[1] is not None:
            gs = reshape(apply(INDEX_SELECT, (grad, idx), node.attrs), node.layouts[1].shape)
        return (None if node.next[0] is None else self.kept(grad, idx, *node.attrs)), gs, None

    def kept(self, grad: Tensor, idx: Tensor, d: int) -> Tensor:
        """What of the gradient reaches the entries that were there before."""
        return apply(INDEX_FILL, (grad, grad.new_zeros(()), idx), (d,))


class IndexAdd(IndexCopy):
    """Entries added at indices along an axis."""

    name, label = "IndexAdd", "index_add_"

    def write(self, x, idx, values):
        kernels.reduce_rows(x, idx, values, "sum")

    def kept(self, grad: Tensor, idx: Tensor, d: int) -> Tensor:
        return grad


class IndexFill(Change):
    """One number written at indices along an axis."""

    name, label = "IndexFill", "index_fill_"

    def change(self, array, value, idx, d):
        outer, _, inner = split(array.shape, d)
        values = layouts.spread(value, (outer, idx.size, inner))
        _rows(array, d, lambda x: kernels.put_rows(x, idx, values))

    def saves(self, needs, attrs):
        return (2,)

    def backward(self, node, grad):
        idx, gv = saved(node)[2], None
        if node.next[1] is not None:
            once = unique(idx)
            gv = apply(INDEX_SELECT, (grad, once), node.attrs).sum()
        own = apply(INDEX_FILL, (grad, grad.new_zeros(()), idx), node.attrs)
        return own, gv, None


class IndexReduce(ScatterReduce):
    """Entries joined to those at indices along an axis; attrs (axis, how, include_self)."""

    name, label = "IndexReduce", "index_reduce_"

    def join(self, array, source, idx, d, how):
        values = _three(source, d)
        if how is None:
            _rows(array, d, lambda x: kernels.put_rows(x, idx, values))
        else:
            _rows(array, d, lambda x: kernels.reduce_rows(x, idx, values, how))

    def places(self, idx, d, shape):
        return expand(reshape(idx, [-1 if k == d else 1 for k in range(len(shape))]), shape)


class Take(Op):
    """The entries of the flat tensor at indices."""

    name = "Take"

    def forward(self, x, idx):
        return kernels.take_flat(layouts.contiguous(x).reshape(-1), idx)

    def saves(self, needs, attrs):
        return (1,)

    def backward(self, node, grad):
        idx = saved(node)[1]
        return apply(PUT_ADD, (grad.new_zeros(node.layouts[0].shape), grad, idx)), None


class Put(Change):
    """Entries of the flat tensor written, or added, at indices."""

    label = "put_"

    def __init__(self, name: str, write) -> None:
        self.name, self.write = name, write
        super().__init__()

    def change(self, array, source, idx):
        _rows(array, 0, lambda x: self.write(x.reshape(-1), idx, source))

    def saves(self, needs, attrs):
        return (2,)

    def backward(self, node, grad):
        idx = saved(node)[2]
        gs = reshape(apply(TAKE, (grad, idx)), node.layouts[1].shape)
        own = grad
        if self is PUT:
            own = apply(PUT, (grad, grad.new_zeros(idx.shape), idx))
        return own, gs, None


INDEX_SELECT, ADD_ROWS, INDEX_COPY, INDEX_ADD = IndexSelect(), AddRows(), IndexCopy(), IndexAdd()
INDEX_FILL, INDEX_REDUCE, TAKE = IndexFill(), IndexReduce(), Take()
PUT, PUT_ADD = Put("Put", kernels.put_flat), Put("Put", kernels.add_flat)


def _vector(name: str, input: Tensor, d: int, index: Tensor, error: type = IndexError) -> Tensor:
    """The index as an int64 vector; `error` where an entry is not inside."""
    if index.dim() > 1:
        raise IndexError(f"{name}(): Index is supposed to be a vector")
    idx = long_index(index, name)
    n = input._layout.shape[d] if input._layout.shape else 1
    refuse(idx._stored(), d, n, error)
    return idx if idx.dim() else reshape(idx, 1)


def index_select(input: Tensor, dim: int, index: Tensor) -> Tensor:
    """The entries `index` (k,) along `dim`."""
    expect_tensor("index_select", input=input, index=index)
    d = axis(input, dim)
    idx = _vector("index_select", input, d, index, IndexError if input._layout.numel else RuntimeError)
    if not input._layout.shape and idx._layout.numel != 1:
        raise RuntimeError("index_select(): Index to scalar can have only 1 value, got "
                           f"{idx._layout.numel} value(s)")
    return apply(INDEX_SELECT, (input, idx), (d,))


def _sources(name: str, input: Tensor, d: int, index: Tensor, source: Tensor,
             error: type = RuntimeError) -> None:
    """Refuse entries that are not of the tensor's dtype, or do not fit between its other axes."""
    if source._layout.dtype is not input._layout.dtype:
        raise RuntimeError(f"{name}(): self and source expected to have the same dtype, but got "
                           f"(self) {input._layout.dtype.legacy} and (source) "
                           f"{source._layout.dtype.legacy}")
    own, given, count = input._layout.shape, source._layout.shape, index._layout.numel
    if count != (given[d] if d < len(given) else 1):
        raise error(f"{name}(): Number of indices ({count}) should be equal to source.size(dim): "
                    f"({given[d] if d < len(given) else 1}), for dim: {d}")
    if own[:d] + own[d + 1:] != given[:d] + given[d + 1:]:
        raise RuntimeError(f"{name}(): source and destination shapes must match apart from "
                           f"dimension {d}, but got {list(given)} for {list(own)}")


def _index_add(run, input: Tensor, dim: int, index: Tensor, source: Tensor, *, alpha=1) -> Tensor:
    """A copy with alpha times the entries of `source` added at `index` (k,) along `dim`."""
    expect_tensor("index_add", input=input, index=index, source=source)
    d = axis(input, dim)
    idx = _vector("index_add", input, d, index, RuntimeError if input.dim() > 1 else IndexError)
    _sources("index_add", input, d, idx, source)
    return run(INDEX_ADD, (input, source if alpha == 1 else source * alpha, idx), (d,))


def _index_copy(run, input: Tensor, dim: int, index: Tensor, source: Tensor) -> Tensor:
    """A copy with the entries of `source` written at `index` (k,) along `dim`."""
    expect_tensor("index_copy", input=input, index=index, source=source)
    d = axis(input, dim)
    if index.dim() < 2 and index._layout.dtype is not dtypes.int64:
        raise RuntimeError("index_copy_(): Expected a long tensor for index, but got "
                           f"{index._layout.dtype.legacy}")
    idx = _vector("index_copy", input, d, index)
    if input.dim() and source.dim() and input.dim() != source.dim():
        raise IndexError("index_copy_(): When source and destination are not scalars, their "
                         f"dimensionality must match. Source dimensionality ({source.dim()}), "
                         f"destination dimensionality ({input.dim()})")
    _sources("index_copy", input, d, idx, source, IndexError)
    return run(INDEX_COPY, (input, source, idx), (d,))


def _index_fill(run, input: Tensor, dim: int, index: Tensor, value) -> Tensor:
    """A copy with one number, or 0-dim tensor, written at `index` (k,) along `dim`."""
    expect_tensor("index_fill", input=input, index=index)
    d = axis(input, dim)
    if index._layout.dtype is not dtypes.int64:
        raise IndexError("index_fill_(): Expected dtype int64 for index.")
    if isinstance(value, Tensor) and value.dim():
        raise RuntimeError("index_fill_ only supports a 0-dimensional value tensor, but got tensor "
                           f"with {value.dim()} dimension(s).")
    if index.dim() > 1:
        raise RuntimeError("index_fill_(): Index has to be a vector or a scalar")
    n = input._layout.shape[d] if input._layout.shape else 1
    inside = index if n == 0 else index.where(index >= 0, index + n)
    idx = _vector("index_fill", input, d, inside, IndexError if n else RuntimeError)
    value = as_value(input, value)
    return run(INDEX_FILL, (input, value.to(input._layout.dtype), idx), (d,))


def _index_reduce(run, input: Tensor, dim: int, index: Tensor, source: Tensor, reduce: str, *,
                  include_self: bool = True) -> Tensor:
    """A copy with the entries of `source` joined to those at `index` (k,) along `dim`.

    Args:
        reduce: "prod", "mean", "amax" or "amin". Ties share the gradient evenly.
        include_self: whether the entries of `input` are joined too, or replaced.
    """
    expect_tensor("index_reduce", input=input, index=index, source=source)
    if not isinstance(reduce, str):
        raise TypeError(f"index_reduce(): argument 'reduce' must be str, not "
                        f"{type(reduce).__name__}")
    if reduce not in ("prod", "mean", "amax", "amin"):
        raise RuntimeError("index_reduce(): Expected reduce to be one of prod, mean, amax or amin "
                           f"but got {reduce}.")
    d = axis(input, dim)
    idx = _vector("index_reduce", input, d, index)
    _sources("index_reduce", input, d, idx, source)
    return run(INDEX_REDUCE, (input, source, idx), (d, reduce, bool(include_self)))


def _flat_index(name: str, input: Tensor, index: Tensor) -> Tensor:
    """Indices into the flat tensor counted from its start, all of them inside."""
    if index._layout.dtype is not dtypes.int64:
        raise RuntimeError(f"{name}(): Expected a long tensor for index, but got "
                           f"{index._layout.dtype.legacy}")
    n = input._layout.numel
    flat = index._stored()
    bad = kernels.first_out_of_range(flat, -n, n)
    if bad >= 0:
        raise IndexError(f"out of range: tried to access index {layouts.number(flat, bad)} on a "
                         f"tensor of {n} elements.")
    inside = kernels.first_out_of_range(flat, 0, n) < 0
    return index if inside else index.where(index >= 0, index + n)


def take(input: Tensor, index: Tensor) -> Tensor:
    """The entries of the flat tensor at `index`, in the shape of `index`."""
    expect_tensor("take", input=input, index=index)
    return apply(TAKE, (input, _flat_index("take", input, index)))


def _put(run, input: Tensor, index: Tensor, source: Tensor, accumulate: bool = False) -> Tensor:
    """A copy with `source` written, or added where `accumulate`, at `index` into the flat tensor."""
    expect_tensor("put", input=input, index=index, source=source)
    if source._layout.dtype is not input._layout.dtype:
        raise RuntimeError("put_(): self and source expected to have the same dtype, but got self."
                           f"dtype = {input._layout.dtype.legacy} and source.dtype = "
                           f"{source._layout.dtype.legacy}")
    if index._layout.dtype is dtypes.int64 and index._layout.numel != source._layout.numel:
        raise IndexError("put_(): Expected source and index to have the same number of elements, "
                         f"but got source.numel() = {source._layout.numel}, index.numel() = "
                         f"{index._layout.numel}")
    return run(PUT_ADD if accumulate else PUT, (input, source, _flat_index("put_", input, index)))


index_add, index_add_ = both(_index_add)
index_copy, index_copy_ = both(_index_copy)
index_fill, index_fill_ = both(_index_fill)
index_reduce, index_reduce_ = both(_index_reduce)
put, put_ = both(_put)

FUNCTIONS = {f.__name__: f for f in (index_select, index_add, index_copy, index_fill, index_reduce,
                                     take, put)}
METHODS = {f.__name__: f for f in (index_add_, index_copy_, index_fill_, index_reduce_, put_)}
