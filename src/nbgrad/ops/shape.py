"""The functions that change a tensor's shape: arguments checked, then a view or a join."""

from __future__ import annotations

import math
from functools import lru_cache

from nbgrad.dtypes import dtype as DType
from nbgrad.kernels.layout import Layout
from nbgrad.ops.apply import apply, view, views
from nbgrad.ops.axis_order import in_rows, lies
from nbgrad.ops.dims import Sizes, axes, axis, axis_of, infer_size, sizes, whole
from nbgrad.ops.elementwise import OPS, promote
from nbgrad.ops.views import (
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
from nbgrad.ops.windows import as_strided as as_strided
from nbgrad.ops.windows import view_dtype
from nbgrad.tensor import Tensor


def view_(input: Tensor, *shape, size=None, dtype: DType | None = None) -> Tensor:
    """The same memory in another shape, or its bits read as another dtype."""
    if len(shape) == 1 and isinstance(shape[0], DType):
        dtype = shape[0]
    if dtype is not None:
        return view_dtype(input, dtype)
    if size is None and not shape:
        raise TypeError("view() takes a shape or a dtype")
    return view(VIEW, input, (infer_size(sizes(shape, size), input._layout.numel),))


def reshape(input: Tensor, *sizes_, shape=None) -> Tensor:
    """The elements in row-major order in another shape, without a copy where possible."""
    asked = infer_size(sizes(sizes_, shape), input._layout.numel)
    if view_strides(input._layout, asked) is not None:
        return view(VIEW, input, (asked,))
    return apply(UNSAFE_VIEW, (clone(input, contiguous=True),), (asked,))


def clone(input: Tensor, contiguous: bool = False) -> Tensor:
    """A copy with its own memory, through which gradients pass."""
    if contiguous and not input._layout.contiguous:
        return apply(CONTIGUOUS, (input,))
    return OPS["clone"].one(input)


def ravel(input: Tensor) -> Tensor:
    """The elements as a vector, without a copy where possible."""
    return view(VIEW, contiguous(input), ((input._layout.numel,),))


def contiguous(input: Tensor, memory_format=None) -> Tensor:
    """The tensor itself if it lies in row-major order without gaps, else such a copy."""
    if memory_format is not None:
        in_rows(input._layout, memory_format)
        if memory_format == "preserve_format" and not input._layout.contiguous:
            raise RuntimeError("preserve memory format is unsupported by the contiguous operator")
    return input if input._layout.contiguous else apply(CONTIGUOUS, (input,))


def is_contiguous(input: Tensor, memory_format=None) -> bool:
    """Whether the elements lie in row-major order without gaps; that does for channels last too."""
    return input._layout.contiguous if memory_format is None else lies(input._layout, memory_format)


def permute(input: Tensor, *order_, dims=None) -> Tensor:
    """The axes in another order."""
    return view(PERMUTE, input, (_order(len(input._layout.shape), sizes(order_, dims)),))


@lru_cache(1024)
def _order(rank: int, dims: tuple[int, ...]) -> tuple[int, ...]:
    """All axes of a tensor in an order, as numbers from 0."""
    if len(dims) != rank:
        raise RuntimeError(f"permute(sparse_coo): number of dimensions in the tensor input does not "
                           f"match the length of the desired ordering of dimensions i.e. "
                           f"input.dim() = {rank} is not equal to len(dims) = {len(dims)}")
    order = tuple([axis_of(rank, d) for d in dims])
    if len(set(order)) != rank:
        raise RuntimeError("permute(): duplicate dims are not allowed.")
    return order


def transpose(input: Tensor, dim0: int, dim1: int) -> Tensor:
    """Two axes exchanged."""
    a, b = axis(input, dim0), axis(input, dim1)
    return view(TRANSPOSE, input, (a, b)) if input._layout.shape else view(VIEW, input, ((),))


def t_(input: Tensor) -> Tensor:
    """The transpose of a matrix; a vector as it is."""
    if len(input._layout.shape) > 2:
        raise RuntimeError(f"t() expects a tensor with <= 2 dimensions, but self is "
                           f"{len(input._layout.shape)}D")
    return view(T_OP, input)


def matrix_transpose(input: Tensor, name: str = "mT") -> Tensor:
    """The last two axes exchanged."""
    if input.dim() == 1:
        raise RuntimeError(f"tensor.{name} is only supported on matrices or batches of matrices. Got "
                           "1-D tensor.")
    return transpose(input, -2, -1) if input.dim() else view(VIEW, input, ((),))


def adjoint(input: Tensor) -> Tensor:
    """The last two axes exchanged (and, of complex numbers, the conjugate)."""
    return matrix_transpose(input, "adjoint()")


def _h(input: Tensor) -> Tensor:
    """The transpose of a matrix (and, of complex numbers, the conjugate)."""
    if input.dim() not in (0, 2):
        more = " For batches of matrices, consider using tensor.mH" if input.dim() > 2 else ""
        raise RuntimeError("tensor.H is only supported on matrices (2-D tensors). Got "
                           f"{input.dim()}-D tensor.{more}")
    return transpose(input, 0, -1)


def movedim(input: Tensor, source: int | Sizes, destination: int | Sizes) -> Tensor:
    """Axes `source` moved to the places `destination`, the others in their order."""
    if isinstance(source, int) != isinstance(destination, int):
        raise TypeError("movedim(): source and destination must be two ints or two tuples of ints")
    source = (source,) if isinstance(source, int) else tuple(source)
    destination = (destination,) if isinstance(destination, int) else tuple(destination)
    if len(source) != len(destination):
        raise RuntimeError("movedim: Invalid source or destination dims: source "
                           f"({list(source)}) should contain the same number of dims as "
                           f"destination ({list(destination)})")
    pairs = dict(zip((axis(input, d) for d in destination), (axis(input, s) for s in source)))
    if len(pairs) != len(source) or len(set(pairs.values())) != len(source):
        raise RuntimeError("movedim: repeated dim in source or destination")
    rest = iter(k for k in range(input.dim()) if k not in pairs.values())
    return permute(input, [pairs[k] if k in pairs else next(rest) for k in range(input.dim())])


def expand(input: Tensor, *shape, size=None) -> Tensor:
    """Axes of size 1 shown as larger, without a copy; -1 keeps a size."""
    asked = sizes(shape, size)
    own = input._layout.shape
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
        if n < -1:
            raise RuntimeError(f"The expanded size of the tensor ({n}) isn't allowed to be negative")
        n = have if n == -1 and have is not None else n
        if have not in (None, 1, n):
            raise RuntimeError(f"The expanded size of the tensor ({n}) must match the existing size "
                               f"({have}) at non-singleton dimension {k}.  Target sizes: "
                               f"{list(asked)}.  Tensor sizes: {list(own)}")
        final.append(n)
    return view(EXPAND, input, (tuple(final),))


def squeeze(input: Tensor, dim: int | Sizes | None = None) -> Tensor:
    """Without axes of size 1, all of them or those in `dim`."""
    if dim is None:
        dims = tuple(range(input.dim()))
    else:
        dims = axes(input, dim)
        if len(set(dims)) < len(dims):
            raise RuntimeError("squeeze(): a dim appears multiple times in the list of dims")
    return view(SQUEEZE, input, (dims,))


def unsqueeze(input: Tensor, dim: int) -> Tensor:
    """With a new axis of size 1 at `dim`."""
    return view(UNSQUEEZE, input, (axis(input, dim, 1),))


def narrow(input: Tensor, dim: int, start: int | Tensor, length: int) -> Tensor:
    """`length` entries along `dim`, from `start` (a number or a 0-dim tensor) on."""
    if isinstance(start, Tensor) and (start._layout.shape or start._layout.dtype.category != 1):
        raise RuntimeError("start must be an 0-dim integral Tensor.")
    start, length = whole(start, "start"), whole(length, "length")
    d = axis(input, dim)
    n = input._layout.shape[d] if input._layout.shape else 0
    if not input._layout.shape:
        raise RuntimeError("narrow() cannot be applied to a 0-dim tensor.")
    if length < 0:
        raise RuntimeError("narrow(): length must be non-negative.")
    if not -n <= start <= n:
        raise IndexError(f"start out of range (expected to be in range of [{-n}, {n}], but got "
                         f"{start})")
    start = start + n if start < 0 else start
    if start + length > n:
        raise RuntimeError(f"start ({start}) + length ({length}) exceeds dimension size ({n}).")
    return view(SLICE, input, (d, start, length, 1))


def select(input: Tensor, dim: int, index: int) -> Tensor:
    """The entry `index` along `dim`, which goes away."""
    if not input._layout.shape:
        raise IndexError("select() cannot be applied to a 0-dim tensor.")
    d, index = axis(input, dim), whole(index, "index")
    n = input._layout.shape[d]
    if not -n <= index < n:
        raise IndexError(f"select(): index {index} out of range for tensor of size "
                         f"{list(input._layout.shape)} at dimension {d}")
    return view(SELECT, input, (d, index % n))


def diagonal(input: Tensor, offset: int = 0, dim1: int = 0, dim2: int = 1) -> Tensor:
    """The diagonal over two axes, as the last axis."""
    a, b = axis(input, dim1), axis(input, dim2)
    if a == b:
        raise RuntimeError(f"diagonal dimensions cannot be identical {dim1}, {dim2}")
    return view(DIAGONAL, input, (whole(offset, "offset"), a, b))


def unfold(input: Tensor, dimension: int, size: int, step: int) -> Tensor:
    """Windows of `size` along an axis, `step` apart, as a new last axis."""
    d = axis(input, dimension)
    n = input._layout.shape[d]
    if size < 0 or size > n or step <= 0:
        raise RuntimeError(f"unfold(): window size {size}, step {step} do not fit dimension {d} of "
                           f"size {n}")
    return view(UNFOLD, input, (d, size, step))


def flatten(input: Tensor, start_dim: int = 0, end_dim: int = -1) -> Tensor:
    """Axes `start_dim` to `end_dim` as one."""
    a, b = axis(input, start_dim), axis(input, end_dim)
    own = input._layout.shape
    if a > b:
        raise RuntimeError("flatten() has invalid args: start_dim cannot come after end_dim")
    if not own:
        return reshape(input, 1)
    if a == b:
        return input
    return reshape(input, own[:a] + (math.prod(own[a:b + 1]),) + own[b + 1:])


def unflatten(input: Tensor, dim: int, sizes: Sizes) -> Tensor:
    """One axis cut into several of these sizes, one of which may be -1."""
    d = axis(input, dim)
    own = input._layout.shape
    if not sizes:
        raise RuntimeError("unflatten: sizes must be non-empty")
    if not own:
        raise RuntimeError("unflatten got an unexpected error: the tensor has no dimensions")
    cut = tuple(whole(n, "sizes") for n in sizes)
    if -1 not in cut and math.prod(cut) != own[d]:
        raise RuntimeError(f"unflatten: Provided sizes {list(cut)} don't multiply up to the size of "
                           f"dim {d} ({own[d]}) in the input tensor")
    return view_(input, own[:d] + infer_size(cut, own[d]) + own[d + 1:])


def unbind(input: Tensor, dim: int = 0) -> tuple[Tensor, ...]:
    """All entries along `dim`."""
    if not input._layout.shape:
        raise IndexError("Dimension specified as 0 but tensor has no dimensions")
    return views(UNBIND, input, (axis(input, dim),))


@lru_cache(256)
def _equal_parts(n: int, size: int) -> tuple[int, ...]:
    if size < 0 or (size == 0 and n):
        raise RuntimeError(f"split expects split_size be non-negative, but got split_size={size}")
    parts = [size] * (n // size) if size else []
    return (*parts, n - sum(parts)) if sum(parts) < n or not parts else tuple(parts)


def split(input: Tensor, split_size_or_sections: int | Sizes,
          dim: int = 0) -> tuple[Tensor, ...]:
    """Consecutive parts along `dim`, of one size or of the sizes given."""
    if not input._layout.shape:
        raise RuntimeError("split expects at least a 1-dimensional tensor")
    d = axis(input, dim)
    n = input._layout.shape[d]
    size = split_size_or_sections
    if not isinstance(size, (tuple, list)):
        return views(SPLIT, input, (_equal_parts(n, whole(size, "split_size")), d))
    parts = list(size)
    if sum(parts) != n or any(p < 0 for p in parts):
        raise RuntimeError(f"split_with_sizes expects split_sizes to sum exactly to {n} (input "
                           f"tensor's size at dimension {d}), but got split_sizes={parts}")
    return views(SPLIT, input, (tuple(parts), d))


def chunk(input: Tensor, chunks: int, dim: int = 0) -> tuple[Tensor, ...]:
    """At most `chunks` parts of equal size along `dim`."""
    if type(chunks) is not int:
        chunks = whole(chunks, "chunks")
    if chunks <= 0:
        raise RuntimeError(f"chunk expects `chunks` to be greater than 0, got: {chunks}")
    n = input._layout.shape[axis(input, dim)]
    return split(input, -(-n // chunks) or [0] * chunks, dim)


def cat(tensors, dim: int = 0) -> Tensor:
    """Tensors one after the other along an existing axis."""
    ts = _tensors(tensors, "cat")
    if type(dim) is not int:
        dim = whole(dim, "dim")
    return apply(CAT, tuple(ts), (_common_axis(dim, *[t._layout for t in ts]),))


@lru_cache(1024)
def _common_axis(dim: int, *layouts: Layout) -> int:
    """The axis along which tensors of these layouts can be joined, as a number from 0."""
    some = [(k, own.shape) for k, own in enumerate(layouts) if own.shape != (0,)] or [(0, (0,))]
    first = some[0][1]
    d = axis_of(len(first), dim)
    for k, shape in some:
        if not shape:
            raise RuntimeError(f"zero-dimensional tensor (at position {k}) cannot be concatenated")
        a, b = list(first), list(shape)
        if len(a) != len(b):
            raise RuntimeError(f"Tensors must have same number of dimensions: got {len(a)} and "
                               f"{len(b)}")
        for i, (m, n) in enumerate(zip(a, b)):
            if i != d and m != n:
                raise RuntimeError(
                    f"Sizes of tensors must match except in dimension {d}. Expected size {m} but got "
                    f"size {n} for tensor number {k} in the list.")
    return d


def stack(tensors, dim: int = 0) -> Tensor:
    """Tensors of one shape along a new axis."""
    ts = _tensors(tensors, "stack")
    first = ts[0]._layout.shape
    for k, t in enumerate(ts):
        if t._layout.shape != first:
            raise RuntimeError(f"stack expects each tensor to be equal size, but got {list(first)} "
                               f"at entry 0 and {list(t._layout.shape)} at entry {k}")
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


def repeat(input: Tensor, *times_, repeats=None) -> Tensor:
    """The tensor repeated along every axis, as many times as given."""
    times = sizes(times_, repeats)
    rank = input.dim()
    if len(times) < rank:
        raise RuntimeError("Number of dimensions of repeat dims can not be smaller than number of "
                           "dimensions of tensor")
    own = (1,) * (len(times) - rank) + input._layout.shape
    target = tuple(r * n for r, n in zip(times, own))
    if any(r < 0 for r in times):
        raise RuntimeError(f"Trying to create tensor with negative dimension {min(target)}: "
                           f"{list(target)}")
    spread = reshape(input, [k for n in own for k in (1, n)])
    spread = expand(spread, [k for r, n in zip(times, own) for k in (r, n)])
    return apply(UNSAFE_VIEW, (clone(spread, contiguous=True),), (target,))


FUNCTIONS = {"swapdims": transpose, "moveaxis": movedim, "ravel": ravel, "adjoint": adjoint}
METHODS = {"mT": property(matrix_transpose), "H": property(_h),
           "mH": property(lambda self: matrix_transpose(self, "mH"))}
