"""Entries read, written and joined at places that an index of full rank tells along one axis."""

from __future__ import annotations

import numpy as np

from nbgrad import dtypes
from nbgrad.kernels.backend import Twins
from nbgrad.kernels.cpu.index import gather_launch
from nbgrad.kernels.cpu.softmax import split
from nbgrad.kernels.layout import broadcast_shapes, layout
from nbgrad.ops.apply import apply, view
from nbgrad.ops.change import Change, both, into
from nbgrad.ops.family import expect_tensor, saved
from nbgrad.ops.getitem import as_value
from nbgrad.ops.op import Op, Planned, cut
from nbgrad.ops.shape import axis, expand, reshape
from nbgrad.ops.views import SLICE
from nbgrad.tensor import Tensor

kernels, layouts = Twins("index"), Twins("layouts")


def long_index(idx: Tensor, name: str) -> Tensor:
    """The index as int64; RuntimeError for other dtypes than int64 and int32."""
    own = idx._layout.dtype
    if own is dtypes.int64:
        return idx
    if own is not dtypes.int32 and idx._layout.numel:
        raise RuntimeError(f"{name}(): Expected dtype int32/int64 for index")
    return idx.to(dtypes.int64)


def refuse(idx: np.ndarray, d: int, n: int, error: type = RuntimeError) -> None:
    """Refuse the first index that is not in an axis of n entries."""
    bad = kernels.first_out_of_range(idx, 0, n)
    if bad >= 0:
        raise error(f"index {layouts.number(idx, bad)} is out of bounds for dimension {d} with "
                    f"size {n}")


def _refuse_any(idx: np.ndarray, outside: int, d: int, shape: tuple[int, ...]) -> None:
    """Refuse indices of which a kernel found some outside."""
    if outside:
        refuse(idx, d, shape[d] if shape else 1)


class Gather(Planned):
    """Entries at places along an axis."""

    name = "Gather"

    def plan(self, attrs, x, idx):
        (d,) = attrs
        if (x.shape[:d] + x.shape[d + 1:] != idx.shape[:d] + idx.shape[d + 1:]
                or idx.dtype is not dtypes.int64):
            return False
        launch, own = gather_launch(x.dtype.storage), layout(x.dtype, idx.shape)
        source, at = split(x.shape, d), split(idx.shape, d)

        def run(entries, places):
            out, places = np.empty(at, x.dtype.storage), cut(places, idx.numel).reshape(at)
            outside = launch(cut(entries, x.numel).reshape(source), places, out)
            _refuse_any(places, outside, d, x.shape)
            return Tensor(out.reshape(-1), own)

        return run

    def forward(self, x, idx, d):
        y, outside = kernels.gather(x, d, idx)
        _refuse_any(idx, outside, d, x.shape)
        return y

    def saves(self, needs, attrs):
        return (1,)

    def backward(self, node, grad):
        (d,) = node.attrs
        return apply(ADD_AT, (grad, saved(node)[1]), (d, node.layouts[0].shape)), None


class Spread(Op):
    """Zeros with entries written or added at places along an axis: the adjoint of Gather."""

    def __init__(self, name: str, write) -> None:
        self.name, self.write = name, write
        super().__init__()

    def forward(self, grad, idx, d, shape):
        out = layouts.zeros(grad, shape)
        _refuse_any(idx, self.write(out, d, idx, grad), d, shape)
        return out

    def saves(self, needs, attrs):
        return (1,)

    def backward(self, node, grad):
        return apply(GATHER, (grad, saved(node)[1]), node.attrs[:1]), None


class Scatter(Change):
    """Entries written at places along an axis."""

    name, label = "Scatter", "scatter_"
    write = staticmethod(kernels.scatter)

    def change(self, array, source, idx, d):
        _refuse_any(idx, self.write(array, d, idx, source), d, array.shape)

    def saves(self, needs, attrs):
        return (2,)

    def backward(self, node, grad):
        idx, gs = saved(node)[2], None
        if node.next[1] is not None:
            gs = apply(GATHER, (grad, idx), node.attrs)
        return (None if node.next[0] is None else self.kept(grad, idx, *node.attrs)), gs, None

    def kept(self, grad: Tensor, idx: Tensor, d: int) -> Tensor:
        """What of the gradient reaches the entries that were there before."""
        return apply(SCATTER, (grad, grad.new_zeros(idx.shape), idx), (d,))


class ScatterAdd(Scatter):
    """Entries added at places along an axis."""

    name, label = "ScatterAdd", "scatter_add_"
    write = staticmethod(kernels.scatter_add)

    def kept(self, grad: Tensor, idx: Tensor, d: int) -> Tensor:
        return grad


class ScatterOld(Scatter):
    """Entries added or multiplied by the older `scatter(reduce=...)`, which has no gradient."""

    name = "NotImplemented"

    def __init__(self, how: str) -> None:
        self.how = how
        super().__init__()

    def write(self, x, d, idx, src):
        return kernels.scatter_reduce(x, d, idx, src, self.how)

    def saves(self, needs, attrs):
        return ()

    def backward(self, node, grad):
        raise RuntimeError("derivative for aten::scatter is not implemented: use scatter_reduce, "
                           'scatter_add or index_add in place of scatter(reduce="...")')


class ScatterReduce(Change):
    """Entries joined to those at places along an axis; attrs (axis, how, include_self)."""

    name, label = "ScatterReduce", "scatter_reduce_"

    def change(self, array, source, idx, d, how, include):
        if how == "mean" and array.dtype == np.bool_:
            raise NotImplementedError(f"\"{self.label}\" not implemented for 'Bool'")
        if not include:
            first = layouts.filled(source, (), _identity(how, array.dtype))
            self.join(array, layouts.spread(first, source.shape), idx, d, None)
        self.join(array, source, idx, d, "sum" if how == "mean" else how)
        if how == "mean":
            count = layouts.filled(array, array.shape, include)
            ones = layouts.spread(layouts.filled(source, (), 1), source.shape)
            self.join(count, ones, idx, d, "sum")
            kernels.divide(array, count)

    def join(self, array, source, idx, d, how) -> None:
        """Join the source to the array, or write it where `how` is None."""
        outside = (kernels.scatter(array, d, idx, source) if how is None
                   else kernels.scatter_reduce(array, d, idx, source, how))
        _refuse_any(idx, outside, d, array.shape)

    def places(self, idx: Tensor, d: int, shape: tuple[int, ...]) -> Tensor:
        """The index in the shape of the source."""
        return idx

    def saves(self, needs, attrs):
        return (2,) if attrs[1] == "sum" else (1, 2) if attrs[1] == "mean" else (0, 1, 2, -1)

    def backward(self, node, grad):
        d, how, include = node.attrs
        values = saved(node)
        idx = self.places(values[2], d, node.layouts[1].shape)
        if how in ("sum", "mean"):
            own = grad
            if how == "mean":
                own = grad / _counts(grad, d, idx, include)
            gs = apply(GATHER, (own, idx), (d,))
        else:
            split = _prod_gradients if how == "prod" else _extreme_gradients
            own, gs = split(grad, values[0], values[1], idx, values[-1], d, include)
        if not include:
            own = apply(SCATTER, (own, own.new_zeros(idx.shape), idx), (d,))
        return own, gs, None


def _identity(how: str, dtype: np.dtype):
    """What changes nothing when joined to a number."""
    if how in ("sum", "mean", "prod"):
        return int(how == "prod")
    if dtype.kind == "f":
        return -np.inf if how == "amax" else np.inf
    if dtype == np.bool_:
        return how == "amin"
    bounds = np.iinfo(dtype)
    return bounds.min if how == "amax" else bounds.max


def _counts(like: Tensor, d: int, idx: Tensor, include: bool) -> Tensor:
    """How many entries each mean is taken of, at least 1."""
    start = like.detach().new_full(like.shape, float(include))
    counts = apply(SCATTER_ADD, (start, start.new_ones(idx.shape), idx), (d,))
    return counts.clamp_min(1)


def _prod_gradients(grad, x, src, idx, result, d, include):
    """Products of the other factors, without a division by zero."""
    def product(base, source):
        return apply(SCATTER_REDUCE, (base, source, idx), (d, "prod", include))

    filled = x.masked_fill(x == 0, 1)
    own = grad * product(filled, src) / filled
    zero = src == 0
    counted = apply(SCATTER_ADD, (x.detach().new_zeros(x.shape), zero.to(x.dtype), idx), (d,))
    alone = zero & (apply(GATHER, (counted, idx), (d,)) == 1)
    others = apply(GATHER, (grad * product(x, src.masked_fill(alone, 1)), idx), (d,))
    rest = apply(GATHER, (grad * result, idx), (d,)) / src.masked_fill(zero, 1)
    gs = others.where(alone, rest)
    return own, apply(ONCE, (gs,)) if gs.requires_grad and (counted > 1).any() else gs


class Once(Op):
    """The same numbers, which cannot be differentiated."""

    name = "DelayedError"

    def forward(self, x):
        return np.array(x)

    def backward(self, node, grad):
        raise RuntimeError("Double backward is unsupported for src when >1 zeros in src are "
                           "scattered to the same position in self")


def _extreme_gradients(grad, x, src, idx, result, d, include):
    """Ties share evenly."""
    own_hit = (x == result).to(x.dtype)
    src_hit = (src == apply(GATHER, (result, idx), (d,))).to(x.dtype)
    share = grad / apply(SCATTER_ADD, (own_hit, src_hit, idx), (d,))
    return own_hit * share, src_hit * apply(GATHER, (share, idx), (d,))


GATHER, SCATTER, SCATTER_ADD, SCATTER_REDUCE = Gather(), Scatter(), ScatterAdd(), ScatterReduce()
ONCE = Once()
_OLD = {"add": ScatterOld("sum"), "multiply": ScatterOld("prod")}
#: (grad, places), (axis, shape): the gradients of entries that were chosen
ADD_AT = Spread("GatherBackward", kernels.scatter_add)
PUT_AT = Spread("ValueSelectingReductionBackward", kernels.scatter)


def gather(input: Tensor, dim: int, index: Tensor, *, sparse_grad: bool = False) -> Tensor:
    """out[i][j] = input[index[i][j]][j] for dim 0, and so on.

    Args:
        index: int64 or int32, of the rank of `input`, no larger than it in the other axes.
    """
    expect_tensor("gather", input=input, index=index)
    d = axis(input, dim)
    idx = long_index(index, "gather")
    own, shape = input._layout.shape or (1,), index._layout.shape or (1,)
    if index._layout.numel:
        if len(own) != len(shape):
            raise RuntimeError("Index tensor must have the same number of dimensions as input "
                               "tensor")
        for k, (m, n) in enumerate(zip(shape, own)):
            if k != d and m > n:
                raise RuntimeError(f"Size does not match at dimension {k} expected index "
                                   f"{list(shape)} to be no larger than self {list(own)} apart "
                                   f"from dimension {d}")
    return apply(GATHER, (input, idx), (d,))


def take_along_dim(input: Tensor, indices: Tensor, dim: int | None = None) -> Tensor:
    """`gather` with both broadcast against each other but for `dim`; of the flat input where None.

    Indices along `dim` are taken modulo its size.
    """
    expect_tensor("take_along_dim", input=input, indices=indices)
    if indices._layout.dtype is not dtypes.int64:
        raise RuntimeError("torch.take_along_dim(): dtype of indices should be Long but got "
                           f"{indices._layout.dtype.legacy}")
    if dim is None:
        return gather(reshape(input, -1), 0, reshape(indices, -1))
    own, shape = input._layout.shape, indices._layout.shape
    if len(own) != len(shape):
        raise RuntimeError("torch.take_along_dim(): input and indices should have the same number "
                           f"of dimensions, but got {len(own)} dimensions for input, and "
                           f"{len(shape)} dimensions for indices")
    d = axis(input, dim)
    if not own:
        raise IndexError(f"Dimension specified as {dim} but tensor has no dimensions")
    if own[d] and kernels.first_out_of_range(indices._stored(), 0, own[d]) >= 0:
        indices = indices % own[d]
    both = broadcast_shapes(own[:d] + (1,) + own[d + 1:], shape[:d] + (1,) + shape[d + 1:])
    if both is None:
        raise RuntimeError(f"torch.take_along_dim(): sizes {list(own)} and {list(shape)} do not "
                           f"broadcast apart from dimension {d}")
    return gather(expand(input, both[:d] + own[d:d + 1] + both[d + 1:]), d,
                  expand(indices, both[:d] + shape[d:d + 1] + both[d + 1:]))


def _operands(run, name: str, input: Tensor, dim: int, index: Tensor, source,
              number: bool = False) -> tuple[int, Tensor, Tensor]:
    """The axis, what to write in the index's shape, and the index as int64, all checked."""
    expect_tensor(name, input=input, index=index)
    if not number:
        expect_tensor(name, src=source)
    d = axis(input, dim)
    idx = long_index(index, name)
    if number:
        source = as_value(input, source)
    elif source._layout.dtype is not input._layout.dtype:
        raise RuntimeError(f"{name}(): Expected self.dtype to be equal to src.dtype")
    own, shape = input._layout.shape or (1,), index._layout.shape or (1,)
    given = shape if number else source._layout.shape or (1,)
    if index._layout.numel:
        _fits(own, shape, given, d, number)
        if run is into:
            refuse(idx._stored(), d, own[d])
    elif len(shape) == len(given):  # nothing is written
        shape = tuple(map(min, shape, given))
    else:
        source = source.new_zeros(shape)
    return d, _corner(source, shape), idx if idx._layout.shape == shape else reshape(idx, shape)


def _fits(own, shape, given, d: int, number: bool) -> None:
    """Refuse an index that is not covered by the tensor and the source."""
    if len(shape) != len(own):
        raise RuntimeError("Index tensor must have the same number of dimensions as self tensor")
    small = any(m > n for k, (m, n) in enumerate(zip(shape, own)) if k != d)
    small = small or any(m > n for m, n in zip(shape, given))
    if len(shape) != len(given):
        if small or len(shape) < len(given):
            raise RuntimeError("Index tensor must have the same number of dimensions as src tensor")
        raise IndexError("Dimension out of range: index tensor must have the same number of "
                         "dimensions as src tensor")
    if small:
        more = "" if number else f" and to be no larger size than src {list(given)}"
        raise RuntimeError(f"Expected index {list(shape)} to be no larger than self {list(own)} "
                           f"apart from dimension {d}{more}")


def _corner(source: Tensor, shape: tuple[int, ...]) -> Tensor:
    """The corner of the source that an index of a shape covers; of a number, many."""
    if not source._layout.shape:
        return expand(source, shape)
    for k, n in enumerate(shape):
        if source._layout.shape[k] != n:
            source = view(SLICE, source, (k, 0, n, 1))
    return source


def _scatter(run, input: Tensor, dim: int, index: Tensor, src=None, *, value=None,
             reduce: str | None = None) -> Tensor:
    """A copy with `src` written at the indices along `dim`: out[index[i][j]][j] = src[i][j].

    Args:
        src: a tensor that covers the index, or a number. Of equal indices the last wins.
        reduce: "add" or "multiply" to join the entries to those there, without gradients.
    """
    src = value if src is None else src
    number = not isinstance(src, Tensor)
    if number and (src is None or not isinstance(src, (bool, int, float, np.number))):
        raise TypeError(f"scatter(): argument 'src' must be Tensor or Number, not "
                        f"{type(src).__name__}")
    d, source, idx = _operands(run, "scatter", input, dim, index, src, number)
    if reduce is None:
        return run(SCATTER, (input, source, idx), (d,))
    if not isinstance(reduce, str):
        raise TypeError(f"scatter(): argument 'reduce' must be str, not {type(reduce).__name__}")
    if reduce not in _OLD:
        raise RuntimeError("reduce argument must be either add or multiply.")
    return run(_OLD[reduce], (input, source, idx), (d,))


def _scatter_add(run, input: Tensor, dim: int, index: Tensor, src: Tensor) -> Tensor:
    """A copy with `src` added at the indices along `dim`; equal indices add up."""
    d, source, idx = _operands(run, "scatter_add", input, dim, index, src)
    return run(SCATTER_ADD, (input, source, idx), (d,))


_HOW = {"sum": "sum", "prod": "prod", "mean": "mean", "amax": "amax", "amin": "amin",
        "max": "amax", "min": "amin"}


def _scatter_reduce(run, input: Tensor, dim: int, index: Tensor, src: Tensor, reduce: str, *,
                    include_self: bool = True) -> Tensor:
    """A copy with the entries of `src` joined to those at the indices along `dim`.

    Args:
        reduce: "sum", "prod", "mean", "amax" or "amin". Ties share the gradient evenly.
        include_self: whether the entries of `input` are joined too, or replaced.

    Example:
        >>> import nbgrad
        >>> zeros, places = nbgrad.zeros(2), nbgrad.tensor([0, 0, 1])
        >>> zeros.scatter_reduce(0, places, nbgrad.tensor([3.0, 5.0, 7.0]), "amax")
        tensor([5., 7.])
    """
    if not isinstance(reduce, str):
        raise TypeError(f"scatter_reduce(): argument 'reduce' must be str, not "
                        f"{type(reduce).__name__}")
    d, source, idx = _operands(run, "scatter_reduce", input, dim, index, src)
    if reduce not in _HOW:
        raise RuntimeError("reduce argument must be either sum, prod, mean, amax or amin, got "
                           f"{reduce}.")
    return run(SCATTER_REDUCE, (input, source, idx), (d, _HOW[reduce], bool(include_self)))


scatter, scatter_ = both(_scatter)
scatter_add, scatter_add_ = both(_scatter_add)
scatter_reduce, scatter_reduce_ = both(_scatter_reduce)

FUNCTIONS = {f.__name__: f for f in (gather, take_along_dim, scatter, scatter_add,
                                     scatter_reduce)}
METHODS = {f.__name__: f for f in (scatter_, scatter_add_, scatter_reduce_)}
