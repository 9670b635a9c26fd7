"""Views: ops that only choose another layout over the same storage, and their gradients."""

from __future__ import annotations

import math

import numpy as np

from nbgrad.dtypes import dtype as DType
from nbgrad.kernels import memory
from nbgrad.kernels.cpu.index import add_flat
from nbgrad.kernels.layout import Layout, collapse, contiguous_strides, layout
from nbgrad.ops.apply import apply, record, view, views
from nbgrad.ops.elementwise import OPS, promote, reduce_to
from nbgrad.ops.op import Op, node_class, wrap
from nbgrad.tensor import Tensor

Window = tuple[tuple[int, ...], tuple[int, ...], int]


class ViewOp(Op):
    """An op given by the window it opens on a layout."""

    def window(self, own: Layout, *attrs) -> Window:
        """Shape, strides and offset of the result."""
        raise NotImplementedError

    def run(self, inputs, attrs) -> Tensor:
        (t,) = inputs
        return Tensor(t._data, layout(t._layout.dtype, *self.window(t._layout, *attrs)))

    def backward(self, node, grad):
        """By default: the gradient laid into zeros where the window was."""
        return apply(EMBED, (grad,), (self, node.layouts[0].shape, node.attrs))


class Embed(Op):
    """Zeros of a shape, with a tensor written into the window that a view op opens there."""

    name = "SliceBackward"

    def run(self, inputs, attrs) -> Tensor:
        (grad,) = inputs
        op, shape, view_attrs = attrs
        own = layout(grad._layout.dtype, shape)
        out = Tensor(np.zeros(own.numel, own.dtype.np), own)
        op.run((out,), view_attrs)._array()[...] = grad._array()
        return out

    def backward(self, node, grad):
        op, _, view_attrs = node.attrs
        return view(op, grad.contiguous(), view_attrs)


EMBED = Embed()


class View(ViewOp):
    name = "View"

    def window(self, own, shape):
        strides = view_strides(own, shape)
        if strides is None:
            raise RuntimeError(
                "view size is not compatible with input tensor's size and stride (at least one "
                "dimension spans across two contiguous subspaces). Use .reshape(...) instead.")
        return shape, strides, own.offset

    def backward(self, node, grad):
        return reshape(grad, node.layouts[0].shape)


class UnsafeView(View):
    name = "UnsafeView"


class Permute(ViewOp):
    name = "Permute"

    def window(self, own, order):
        return (tuple(own.shape[k] for k in order), tuple(own.strides[k] for k in order),
                own.offset)

    def backward(self, node, grad):
        (order,) = node.attrs
        inverse = tuple(order.index(k) for k in range(len(order)))
        return view(PERMUTE, grad, (inverse,))


class Transpose(ViewOp):
    name = "Transpose"

    def window(self, own, a, b):
        order = list(range(len(own.shape)))
        order[a], order[b] = order[b], order[a]
        return PERMUTE.window(own, order)

    def backward(self, node, grad):
        return view(TRANSPOSE, grad, node.attrs)


class T(Transpose):
    name = "T"

    def window(self, own):
        return PERMUTE.window(own, tuple(reversed(range(len(own.shape)))))

    def backward(self, node, grad):
        return view(T_OP, grad)


class Expand(ViewOp):
    name = "Expand"

    def window(self, own, shape):
        lead = len(shape) - len(own.shape)
        strides = (0,) * lead + tuple(
            0 if n == 1 and m != 1 else s for n, s, m in zip(own.shape, own.strides, shape[lead:]))
        return shape, strides, own.offset

    def backward(self, node, grad):
        return grad.sum_to_size(node.layouts[0].shape)


class Squeeze(ViewOp):
    name = "Squeeze"

    def window(self, own, dims):
        keep = [k for k, n in enumerate(own.shape) if n != 1 or k not in dims]
        return PERMUTE.window(own, keep)

    def backward(self, node, grad):
        return reshape(grad, node.layouts[0].shape)


class Unsqueeze(ViewOp):
    name = "Unsqueeze"

    def window(self, own, dim):
        step = own.shape[dim] * own.strides[dim] if dim < len(own.shape) else 1
        return (own.shape[:dim] + (1,) + own.shape[dim:],
                own.strides[:dim] + (step,) + own.strides[dim:], own.offset)

    def backward(self, node, grad):
        return reshape(grad, node.layouts[0].shape)


class Slice(ViewOp):
    name = "Slice"

    def window(self, own, dim, start, length, step):
        shape = own.shape[:dim] + (length,) + own.shape[dim + 1:]
        strides = own.strides[:dim] + (own.strides[dim] * step,) + own.strides[dim + 1:]
        return shape, strides, own.offset + (start * own.strides[dim] if length else 0)


class Select(ViewOp):
    name = "Select"

    def window(self, own, dim, index):
        return (own.shape[:dim] + own.shape[dim + 1:], own.strides[:dim] + own.strides[dim + 1:],
                own.offset + index * own.strides[dim])


class Diagonal(ViewOp):
    name = "Diagonal"

    def window(self, own, offset, a, b):
        rows, cols = own.shape[a], own.shape[b]
        n = max(0, min(rows, cols - offset) if offset >= 0 else min(rows + offset, cols))
        rest = [k for k in range(len(own.shape)) if k not in (a, b)]
        start = own.strides[b] * offset if offset >= 0 else -own.strides[a] * offset
        return ((*(own.shape[k] for k in rest), n),
                (*(own.strides[k] for k in rest), own.strides[a] + own.strides[b]),
                own.offset + (start if n else 0))


class Unfold(ViewOp):
    """Sliding windows along an axis; they overlap where the step is less than the size."""

    name = "Unfold"

    def window(self, own, dim, size, step):
        count = (own.shape[dim] - size) // step + 1
        return (own.shape[:dim] + (count,) + own.shape[dim + 1:] + (size,),
                own.strides[:dim] + (own.strides[dim] * step,) + own.strides[dim + 1:]
                + (own.strides[dim],), own.offset)

    def backward(self, node, grad):
        shape = node.layouts[0].shape
        base = layout(grad._layout.dtype, shape)
        return apply(AS_STRIDED_BACKWARD, (grad,), (base, *self.window(base, *node.attrs)))


class AsStrided(ViewOp):
    """Any window on the storage; attrs give the offset from the start of the base's elements."""

    name = "AsStrided"

    def window(self, own, shape, strides, offset):
        return shape, strides, offset + own.offset

    def backward(self, node, grad):
        return apply(AS_STRIDED_BACKWARD, (grad,), (node.layouts[0], *node.attrs))


class AsStridedBackward(Op):
    """The adjoint of as_strided: adds every element of the window to its place in the base."""

    name = "AsStridedBackward"

    def run(self, inputs, attrs) -> Tensor:
        (grad,) = inputs
        base, shape, strides, offset = attrs
        end = 1 + offset + sum((n - 1) * s for n, s in zip(shape, strides)) if 0 not in shape else 0
        storage = memory.zeros(max(base.span, end), base.dtype.np)
        places = np.full(shape, offset, np.int64)
        for axis, (n, s) in enumerate(zip(shape, strides)):
            places += (np.arange(n) * s).reshape((n,) + (1,) * (len(shape) - 1 - axis))
        add_flat(storage, places.reshape(-1), np.ascontiguousarray(grad._array()).reshape(-1))
        whole = Tensor(storage, layout(base.dtype, base.shape, base.strides))
        if storage.size == base.numel and base.dense:
            return whole
        return Tensor(whole._array().reshape(-1).copy(), layout(base.dtype, base.shape))

    def backward(self, node, grad):
        base, *window = node.attrs
        if grad._layout.strides != base.strides:
            fresh = Tensor(memory.empty(base.span, base.dtype.np),
                           layout(base.dtype, base.shape, base.strides))
            grad = fresh.copy_(grad) if grad._node is None else grad.contiguous()
        return view(AS_STRIDED, grad, tuple(window))


VIEW, PERMUTE, TRANSPOSE, T_OP, EXPAND = View(), Permute(), Transpose(), T(), Expand()
SQUEEZE, UNSQUEEZE, SLICE, SELECT, DIAGONAL = Squeeze(), Unsqueeze(), Slice(), Select(), Diagonal()
UNFOLD, AS_STRIDED, AS_STRIDED_BACKWARD = Unfold(), AsStrided(), AsStridedBackward()


def _rebase(self: Tensor, base: Tensor) -> None:
    """The history of a view whose base has a new one."""
    own, whole = self._layout, base._layout
    self._node, self._port = base._node, base._port
    if base._node is not None:
        fresh = Tensor(self._data, own)
        record(AS_STRIDED, (base,), (own.shape, own.strides, own.offset - whole.offset), fresh)
        self._node, self._port = fresh._node, -1


setattr(Tensor, "_rebase", _rebase)  # noqa: B010


class Multi(Op):
    """A view op that returns several windows, which may not be written through."""

    def __init__(self) -> None:
        self.node = node_class(self.name, ("outputs",), op=self, back=self.backward)

    def windows(self, own: Layout, *attrs) -> list[Window]:
        raise NotImplementedError

    def run(self, inputs, attrs) -> tuple[Tensor, ...]:
        (t,) = inputs
        own = t._layout
        return tuple([Tensor(t._data, layout(own.dtype, *w)) for w in self.windows(own, *attrs)])


class Unbind(Multi):
    name = "Unbind"

    def windows(self, own, dim):
        return [SELECT.window(own, dim, k) for k in range(own.shape[dim])]

    def backward(self, node, *grads):
        (dim,) = node.attrs
        shape = SELECT.window(node.layouts[0], dim, 0)[0]
        return stack(_filled(grads, [shape] * len(grads)), dim)


class Split(Multi):
    name = "Split"

    def windows(self, own, sizes, dim):
        starts = [sum(sizes[:k]) for k in range(len(sizes))]
        return [SLICE.window(own, dim, a, n, 1) for a, n in zip(starts, sizes)]

    def backward(self, node, *grads):
        sizes, dim = node.attrs
        shape = node.layouts[0].shape
        shapes = [shape[:dim] + (n,) + shape[dim + 1:] for n in sizes]
        return cat(_filled(grads, shapes), dim)


UNBIND, SPLIT = Unbind(), Split()


def _filled(grads, shapes) -> list[Tensor]:
    """Gradients of several outputs, zeros for those that got none."""
    like = next(g for g in grads if g is not None)
    return [like.new_zeros(s) if g is None else g for g, s in zip(grads, shapes)]


class Cat(Op):
    name = "Cat"

    def run(self, inputs, attrs) -> Tensor:
        (dim,) = attrs
        return wrap(np.concatenate([t._array() for t in inputs], axis=dim))

    def backward(self, node, grad):
        (dim,) = node.attrs
        parts, start = [], 0
        for following, own in zip(node.next, node.layouts):
            n = own.shape[dim]
            parts.append(None if following is None
                         else reduce_to(view(SLICE, grad, (dim, start, n, 1)), own))
            start += n
        return tuple(parts)


class Stack(Op):
    name = "Stack"

    def run(self, inputs, attrs) -> Tensor:
        return wrap(np.stack([t._array() for t in inputs], axis=attrs[0]))

    def backward(self, node, grad):
        (dim,) = node.attrs
        return tuple([None if following is None
                      else reduce_to(view(SELECT, grad, (dim, k)), own)
                      for k, (following, own) in enumerate(zip(node.next, node.layouts))])


CAT, STACK = Cat(), Stack()


def view_strides(own: Layout, shape: tuple[int, ...]) -> tuple[int, ...] | None:
    """Strides that show the same elements in another shape without a copy, or None.

    Runs of axes that lie one inside the other are cut anew, each run by itself.
    """
    if own.numel == 0 or own.contiguous:
        return contiguous_strides(shape)
    sizes, steps = collapse(own.shape, [own.strides])
    strides: list[int] = []
    k, rest = len(sizes) - 1, 1
    step = steps[0][k]
    for n in reversed(shape):
        if n == 1:
            strides.append(step * rest)
            continue
        if rest == sizes[k]:
            k, rest = k - 1, 1
            step = steps[0][k]
        if sizes[k] % (rest * n):
            return None
        strides.append(step * rest)
        rest *= n
    return tuple(reversed(strides))


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
    return apply(OPS["clone"], (t,))


class Contiguous(Op):
    """A row-major copy."""

    name = "Clone"

    def run(self, inputs, attrs) -> Tensor:
        return wrap(np.array(inputs[0]._array(), order="C", copy=True))

    def backward(self, node, grad):
        return grad


CONTIGUOUS, UNSAFE_VIEW = Contiguous(), UnsafeView()


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


def split(t: Tensor, split_size_or_sections, dim: int = 0) -> tuple[Tensor, ...]:
    """Consecutive parts along `dim`, of one size or of the sizes given."""
    d = axis(t, dim)
    n = t._layout.shape[d]
    size = split_size_or_sections
    if isinstance(size, int):
        if size < 0 or (size == 0 and n):
            raise RuntimeError(f"split expects split_size be non-negative, but got split_size={size}")
        parts = [size] * (n // size) if size else []
        parts += [n - sum(parts)] if sum(parts) < n or not parts else []
    else:
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
