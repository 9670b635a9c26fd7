"""The functions that change a tensor's shape: arguments checked, then a view or a join."""

from __future__ import annotations

import math
from functools import lru_cache

from nbgrad.dtypes import dtype as DType
from nbgrad.kernels.layout import layout
from nbgrad.ops.apply import apply, view, views
from nbgrad.ops.elementwise import OPS, promote
from nbgrad.ops.views import (
    AS_STRIDED,
    CAT,
    CONTIGUOUS,
    DIAGONAL,
    EXPAND,
    PERMUTE,
    SELECT,
    SLICE,
    SPLIT,
    SQUEEZE,
    STACK,
    T_OP,
    TRANSPOSE,
    UNBIND,
    UNFOLD,
    UNSAFE_VIEW,
    UNSQUEEZE,
    VIEW,
    view_strides,
)
from nbgrad.tensor import Tensor


def axis(t: Tensor, dim: int, extra: int = 0) -> int:
    """A dimension as a number from 0; IndexError outside the rank (plus `extra`)."""
    rank = max(len(t._layout.shape) + extra, 1)
    if not isinstance(dim, int):
        raise TypeError(f"dim must be int, not {type(dim).__name__}")
    if not -rank <= dim < rank:
        raise IndexError(f"Dimension out of range (expected to be in range of [{-rank}, {rank - 1}]"
                         f", but got {dim})")
    return dim % rank


def sizes(args: tuple) -> tuple[int, ...]:
    """A shape given as numbers, or as one tuple or list of them."""
    if len(args) == 1 and isinstance(args[0], (tuple, list)):
        args = tuple(args[0])
    return tuple([int(a) for a in args])


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


def view_(t: Tensor, *shape) -> Tensor:
    """The same memory in another shape; a dtype of the same size reads the bits anew."""
    if len(shape) == 1 and isinstance(shape[0], DType):
        return _view_dtype(t, shape[0])
    return view(VIEW, t, (infer_size(sizes(shape), t._layout.numel),))


def _view_dtype(t: Tensor, dtype: DType) -> Tensor:
    if dtype.itemsize != t._layout.dtype.itemsize or t._node is not None:
        raise RuntimeError("view(dtype): only dtypes of the same size, on tensors that need no "
                           "gradient; use .to(dtype) to convert values")
    own = t._layout
    made = Tensor(t._data.view(dtype.np), layout(dtype, own.shape, own.strides, own.offset))
    made._counter = t._count()
    return made


def reshape(t: Tensor, *shape) -> Tensor:
    """The elements in row-major order in another shape, without a copy where possible."""
    asked = infer_size(sizes(shape), t._layout.numel)
    if view_strides(t._layout, asked) is not None:
        return view(VIEW, t, (asked,))
    return apply(UNSAFE_VIEW, (clone(t, contiguous=True),), (asked,))


def clone(t: Tensor, contiguous: bool = False) -> Tensor:
    """A copy with its own memory, through which gradients pass."""
    if contiguous and not t._layout.contiguous:
        return apply(CONTIGUOUS, (t,))
    return OPS["clone"].one(t)


def contiguous(t: Tensor, memory_format=None) -> Tensor:
    """The tensor itself if it lies in row-major order without gaps, else such a copy."""
    return t if t._layout.contiguous else apply(CONTIGUOUS, (t,))


def permute(t: Tensor, *dims) -> Tensor:
    """The axes in another order."""
    order = sizes(dims)
    rank = len(t._layout.shape)
    if len(order) != rank:
        raise RuntimeError(f"permute(sparse_coo): number of dimensions in the tensor input does not "
                           f"match the length of the desired ordering of dimensions i.e. "
                           f"input.dim() = {rank} is not equal to len(dims) = {len(order)}")
    order = tuple(axis(t, d) for d in order)
    if len(set(order)) != rank:
        raise RuntimeError("permute(): duplicate dims are not allowed.")
    return view(PERMUTE, t, (order,))


def transpose(t: Tensor, dim0: int, dim1: int) -> Tensor:
    """Two axes exchanged."""
    a, b = axis(t, dim0), axis(t, dim1)
    return view(TRANSPOSE, t, (a, b)) if t._layout.shape else view(VIEW, t, ((),))


def t_(t: Tensor) -> Tensor:
    """The transpose of a matrix; a vector as it is."""
    if len(t._layout.shape) > 2:
        raise RuntimeError(f"t() expects a tensor with <= 2 dimensions, but self is "
                           f"{len(t._layout.shape)}D")
    return view(T_OP, t)


def movedim(t: Tensor, source, destination) -> Tensor:
    """Axes `source` moved to the places `destination`, the others in their order."""
    source = (source,) if isinstance(source, int) else tuple(source)
    destination = (destination,) if isinstance(destination, int) else tuple(destination)
    if len(source) != len(destination):
        raise RuntimeError("movedim: Invalid source or destination dims: source "
                           f"({list(source)}) should contain the same number of dims as "
                           f"destination ({list(destination)})")
    pairs = dict(zip((axis(t, d) for d in destination), (axis(t, s) for s in source)))
    if len(pairs) != len(source) or len(set(pairs.values())) != len(source):
        raise RuntimeError("movedim: repeated dim in source or destination")
    rest = iter(k for k in range(t.dim()) if k not in pairs.values())
    return permute(t, [pairs[k] if k in pairs else next(rest) for k in range(t.dim())])


def expand(t: Tensor, *shape) -> Tensor:
    """Axes of size 1 shown as larger, without a copy; -1 keeps a size."""
    asked = sizes(shape)
    own = t._layout.shape
    lead = len(asked) - len(own)
    if lead < 0:
        raise RuntimeError(f"expand(tensor{list(own)}, size={list(asked)}): the number of sizes "
                           f"provided ({len(asked)}) must be greater or equal to the number of "
                           f"dimensions in the tensor ({len(own)})")
    final: list[int] = []
    for k, n in enumerate(asked):
        have = own[k - lead] if k >= lead else None
        if n == -1 and have is None:
            raise RuntimeError(f"expand(): The expanded size of the tensor (-1) isn't allowed in a "
                               f"leading, non-existing dimension {k}")
        n = have if n == -1 and have is not None else n
        if have not in (None, 1, n):
            raise RuntimeError(f"The expanded size of the tensor ({n}) must match the existing size "
                               f"({have}) at non-singleton dimension {k}.  Target sizes: "
                               f"{list(asked)}.  Tensor sizes: {list(own)}")
        final.append(n)
    return view(EXPAND, t, (tuple(final),))


def squeeze(t: Tensor, dim=None) -> Tensor:
    """Without axes of size 1, all of them or those in `dim`."""
    if dim is None:
        dims = tuple(range(t.dim()))
    else:
        dims = tuple(axis(t, d) for d in ((dim,) if isinstance(dim, int) else dim))
    return view(SQUEEZE, t, (dims,))


def unsqueeze(t: Tensor, dim: int) -> Tensor:
    """With a new axis of size 1 at `dim`."""
    return view(UNSQUEEZE, t, (axis(t, dim, 1),))


def narrow(t: Tensor, dim: int, start: int, length: int) -> Tensor:
    """`length` entries along `dim`, from `start` on."""
    d = axis(t, dim)
    n = t._layout.shape[d] if t._layout.shape else 0
    if not t._layout.shape:
        raise RuntimeError("narrow() cannot be applied to a 0-dim tensor.")
    start, length = int(start), int(length)
    if not -n <= start <= n:
        raise IndexError(f"start out of range (expected to be in range of [{-n}, {n}], but got "
                         f"{start})")
    start = start + n if start < 0 else start
    if length < 0 or start + length > n:
        raise RuntimeError(f"start ({start}) + length ({length}) exceeds dimension size ({n}).")
    return view(SLICE, t, (d, start, length, 1))


def select(t: Tensor, dim: int, index: int) -> Tensor:
    """The entry `index` along `dim`, which goes away."""
    if not t._layout.shape:
        raise IndexError("select() cannot be applied to a 0-dim tensor.")
    d = axis(t, dim)
    n = t._layout.shape[d]
    if not -n <= index < n:
        raise IndexError(f"select(): index {index} out of range for tensor of size "
                         f"{list(t._layout.shape)} at dimension {d}")
    return view(SELECT, t, (d, int(index) % n))


def diagonal(t: Tensor, offset: int = 0, dim1: int = 0, dim2: int = 1) -> Tensor:
    """The diagonal over two axes, as the last axis."""
    a, b = axis(t, dim1), axis(t, dim2)
    if a == b:
        raise RuntimeError(f"diagonal dimensions cannot be identical {dim1}, {dim2}")
    return view(DIAGONAL, t, (offset, a, b))


def unfold(t: Tensor, dimension: int, size: int, step: int) -> Tensor:
    """Windows of `size` along an axis, `step` apart, as a new last axis."""
    d = axis(t, dimension)
    n = t._layout.shape[d]
    if size < 0 or size > n or step <= 0:
        raise RuntimeError(f"unfold(): window size {size}, step {step} do not fit dimension {d} of "
                           f"size {n}")
    return view(UNFOLD, t, (d, size, step))


def flatten(t: Tensor, start_dim: int = 0, end_dim: int = -1) -> Tensor:
    """Axes `start_dim` to `end_dim` as one."""
    a, b = axis(t, start_dim), axis(t, end_dim)
    own = t._layout.shape
    if a > b:
        raise RuntimeError("flatten() has invalid args: start_dim cannot come after end_dim")
    if not own:
        return reshape(t, 1)
    if a == b:
        return t
    return reshape(t, own[:a] + (math.prod(own[a:b + 1]),) + own[b + 1:])


def unflatten(t: Tensor, dim: int, shape) -> Tensor:
    """One axis cut into several."""
    d = axis(t, dim)
    own = t._layout.shape
    return view_(t, own[:d] + infer_size(tuple(shape), own[d]) + own[d + 1:])


def as_strided(t: Tensor, size, stride, storage_offset: int | None = None) -> Tensor:
    """Any window on the storage: `size`, `stride` and offset in elements, checked against it."""
    shape, strides = sizes((tuple(size),)), sizes((tuple(stride),))
    offset = t._layout.offset if storage_offset is None else int(storage_offset)
    if len(shape) != len(strides):
        raise RuntimeError(f"mismatch in length of strides and shape: {strides} for {shape}")
    if any(s < 0 for s in strides):
        raise RuntimeError(f"as_strided: Negative strides are not supported at the moment, got "
                           f"strides: {list(strides)}")
    if any(n < 0 for n in shape) or offset < 0:
        raise RuntimeError(f"as_strided: size {list(shape)} and storage offset {offset} must not be "
                           "negative")
    end = offset + 1 + sum((n - 1) * s for n, s in zip(shape, strides)) if 0 not in shape else 0
    if end > t._data.size:
        raise RuntimeError(f"setStorage: sizes {list(shape)}, strides {list(strides)}, storage offset "
                           f"{offset}, requiring a storage size of {end} are out of bounds for "
                           f"storage of size {t._data.size}")
    return view(AS_STRIDED, t, (shape, strides, offset - t._layout.offset))


def unbind(t: Tensor, dim: int = 0) -> tuple[Tensor, ...]:
    """All entries along `dim`."""
    if not t._layout.shape:
        raise IndexError("Dimension specified as 0 but tensor has no dimensions")
    return views(UNBIND, t, (axis(t, dim),))


@lru_cache(256)
def _equal_parts(n: int, size: int) -> tuple[int, ...]:
    if size < 0 or (size == 0 and n):
        raise RuntimeError(f"split expects split_size be non-negative, but got split_size={size}")
    parts = [size] * (n // size) if size else []
    return (*parts, n - sum(parts)) if sum(parts) < n or not parts else tuple(parts)


def split(t: Tensor, split_size_or_sections, dim: int = 0) -> tuple[Tensor, ...]:
    """Consecutive parts along `dim`, of one size or of the sizes given."""
    d = axis(t, dim)
    n = t._layout.shape[d]
    size = split_size_or_sections
    if isinstance(size, int):
        return views(SPLIT, t, (_equal_parts(n, size), d))
    parts = list(size)
    if sum(parts) != n or any(p < 0 for p in parts):
        raise RuntimeError(f"split_with_sizes expects split_sizes to sum exactly to {n} (input "
                           f"tensor's size at dimension {d}), but got split_sizes={parts}")
    return views(SPLIT, t, (tuple(parts), d))


def chunk(t: Tensor, chunks: int, dim: int = 0) -> tuple[Tensor, ...]:
    """At most `chunks` parts of equal size along `dim`."""
    if chunks <= 0:
        raise RuntimeError(f"chunk expects `chunks` to be greater than 0, got: {chunks}")
    n = t._layout.shape[axis(t, dim)]
    return split(t, -(-n // chunks) or [0] * chunks, dim)


def cat(tensors, dim: int = 0) -> Tensor:
    """Tensors one after the other along an existing axis."""
    ts = _tensors(tensors, "cat")
    ts = [t for t in ts if t._layout.shape != (0,)] or ts[:1]
    d = axis(ts[0], dim)
    for k, t in enumerate(ts):
        if not t._layout.shape:
            raise RuntimeError(f"zero-dimensional tensor (at position {k}) cannot be concatenated")
        a, b = list(ts[0]._layout.shape), list(t._layout.shape)
        if len(a) != len(b):
            raise RuntimeError(f"Tensors must have same number of dimensions: got {len(a)} and "
                               f"{len(b)}")
        for i, (m, n) in enumerate(zip(a, b)):
            if i != d and m != n:
                raise RuntimeError(
                    f"Sizes of tensors must match except in dimension {d}. Expected size {m} but got "
                    f"size {n} for tensor number {k} in the list.")
    return apply(CAT, tuple(ts), (d,))


def stack(tensors, dim: int = 0) -> Tensor:
    """Tensors of one shape along a new axis."""
    ts = _tensors(tensors, "stack")
    for k, t in enumerate(ts):
        if t._layout.shape != ts[0]._layout.shape:
            raise RuntimeError(f"stack expects each tensor to be equal size, but got "
                               f"{list(ts[0]._layout.shape)} at entry 0 and {list(t._layout.shape)} "
                               f"at entry {k}")
    return apply(STACK, tuple(ts), (axis(ts[0], dim, 1),))


def _tensors(tensors, name: str) -> list[Tensor]:
    found = list(tensors)
    if not found:
        error = ValueError if name == "cat" else RuntimeError
        raise error(f"{name}(): expected a non-empty list of Tensors")
    for t in found:
        if not isinstance(t, Tensor):
            raise TypeError(f"{name}(): expected Tensor as element of the list, got "
                            f"{type(t).__name__}")
    common = promote(tuple(t._layout for t in found))
    return [t if t._layout.dtype is common else t.to(common) for t in found]


def repeat(t: Tensor, *repeats) -> Tensor:
    """The tensor repeated along every axis, as many times as given."""
    times = sizes(repeats)
    rank = t.dim()
    if len(times) < rank:
        raise RuntimeError("Number of dimensions of repeat dims can not be smaller than number of "
                           "dimensions of tensor")
    own = (1,) * (len(times) - rank) + t._layout.shape
    spread = reshape(t, [k for n in own for k in (1, n)])
    spread = expand(spread, [k for r, n in zip(times, own) for k in (r, n)])
    whole = tuple(r * n for r, n in zip(times, own))
    return apply(UNSAFE_VIEW, (clone(spread, contiguous=True),), (whole,))
