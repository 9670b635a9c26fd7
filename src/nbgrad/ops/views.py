"""Ops that choose another layout over the same storage, and their adjoints."""

from __future__ import annotations

from functools import lru_cache
from itertools import accumulate, pairwise

import numpy as np

from nbgrad.devices import CPU
from nbgrad.kernels import memory
from nbgrad.kernels.backend import Twins
from nbgrad.kernels.launch import remember
from nbgrad.kernels.layout import Layout, collapse, common, contiguous_strides, layout
from nbgrad.ops.apply import apply, record, view
from nbgrad.ops.elementwise import reduce_to, write
from nbgrad.ops.op import Op, Planned, cut, node_class, wrap
from nbgrad.tensor import Tensor

add_window = Twins("index").add_window

Window = tuple[tuple[int, ...], tuple[int, ...], int]


class ViewOp(Op):
    """An op given by the window it opens on a layout."""

    def __init__(self) -> None:
        self.opened: dict[tuple, Layout] = {}
        super().__init__()

    def window(self, own: Layout, *attrs) -> Window:
        """Shape, strides and offset of the result."""
        raise NotImplementedError

    def run(self, inputs, attrs) -> Tensor:
        (t,) = inputs
        return Tensor(t._data, self.opened.get((t._layout, attrs)) or self.open(t._layout, attrs))

    def open(self, own: Layout, attrs: tuple) -> Layout:
        """The layout of the result."""
        return remember(self.opened, (own, attrs),
                        layout(own.dtype, *self.window(own, *attrs), own.device))

    def backward(self, node, grad):
        """By default: the gradient laid into zeros where the window was."""
        return apply(EMBED, (grad,), (self, node.layouts[0].shape, node.attrs))


class Embed(Op):
    """Zeros of a shape, with a tensor written into the window that a view op opens there."""

    name = "SliceBackward"

    def run(self, inputs, attrs) -> Tensor:
        (grad,) = inputs
        op, shape, view_attrs = attrs
        own = layout(grad._layout.dtype, shape, device=grad._layout.device)
        out = Tensor(memory.on(own.device).zeros(own.numel, own.dtype.storage), own)
        write(out._data, op.run((out,), view_attrs)._layout, grad)
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
        return grad.reshape(node.layouts[0].shape)


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
        return grad.reshape(node.layouts[0].shape)


class Unsqueeze(ViewOp):
    name = "Unsqueeze"

    def window(self, own, dim):
        step = own.shape[dim] * own.strides[dim] if dim < len(own.shape) else 1
        return (own.shape[:dim] + (1,) + own.shape[dim:],
                own.strides[:dim] + (step,) + own.strides[dim:], own.offset)

    def backward(self, node, grad):
        return grad.reshape(node.layouts[0].shape)


class Slice(ViewOp):
    name = "Slice"

    def window(self, own, dim, start, length, step):
        shape = own.shape[:dim] + (length,) + own.shape[dim + 1:]
        strides = own.strides[:dim] + (own.strides[dim] * step,) + own.strides[dim + 1:]
        return shape, strides, own.offset + start * own.strides[dim]


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
        base = layout(grad._layout.dtype, shape, device=grad._layout.device)
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
        lead = max(-offset, 0)
        storage = add_window(grad._array(), lead + max(base.span, end), shape, strides, lead + offset)
        whole = Tensor(storage, layout(base.dtype, base.shape, base.strides, lead, base.device))
        if storage.size == base.numel and base.dense:
            return whole
        return CONTIGUOUS.run((whole,), ())

    def backward(self, node, grad):
        base, shape, strides, offset = node.attrs
        end = 1 + offset + sum((n - 1) * s for n, s in zip(shape, strides)) if 0 not in shape else 0
        lead = max(-offset, 0)
        if lead or end > base.span:  # the window shows storage beside the base, which has no gradient
            around = (lead + max(base.span, end),)
            grad = apply(EMBED, (grad,), (AS_STRIDED, around, (base.shape, base.strides, lead)))
        elif grad._layout.strides != base.strides:
            own = layout(base.dtype, base.shape, base.strides, device=base.device)
            fresh = Tensor(memory.on(own.device).empty(base.span, base.dtype.np), own)
            grad = fresh.copy_(grad) if grad._node is None else grad.contiguous()
        return view(AS_STRIDED, grad, (shape, strides, offset + lead))


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
        self.opened: dict[tuple, list[Layout]] = {}
        self.node = node_class(self.name, ("outputs",), op=self, back=self.backward)

    def windows(self, own: Layout, *attrs) -> list[Window]:
        raise NotImplementedError

    def run(self, inputs, attrs) -> tuple[Tensor, ...]:
        (t,) = inputs
        opened = self.opened.get((t._layout, attrs))
        if opened is None:
            own = t._layout
            opened = [layout(own.dtype, *w, own.device) for w in self.windows(own, *attrs)]
            remember(self.opened, (own, attrs), opened)
        data = t._data
        return tuple([Tensor(data, own) for own in opened])


class Unbind(Multi):
    name = "Unbind"

    def windows(self, own, dim):
        return [SELECT.window(own, dim, k) for k in range(own.shape[dim])]

    def backward(self, node, *grads):
        (dim,) = node.attrs
        shape = SELECT.window(node.layouts[0], dim, 0)[0]
        return apply(STACK, tuple(_filled(grads, [shape] * len(grads))), (dim,))


class Split(Multi):
    name = "Split"

    def windows(self, own, sizes, dim):
        starts = [sum(sizes[:k]) for k in range(len(sizes))]
        return [SLICE.window(own, dim, a, n, 1) for a, n in zip(starts, sizes)]

    def backward(self, node, *grads):
        sizes, dim = node.attrs
        shape = node.layouts[0].shape
        shapes = [shape[:dim] + (n,) + shape[dim + 1:] for n in sizes]
        return apply(CAT, tuple(_filled(grads, shapes)), (dim,))


UNBIND, SPLIT = Unbind(), Split()


def _filled(grads, shapes) -> list[Tensor]:
    """Gradients of several outputs, zeros for those that got none."""
    like = next(g for g in grads if g is not None)
    return [like.new_zeros(s) if g is None else g for g, s in zip(grads, shapes)]


class Join(Planned):
    """Tensors one after the other along an axis of what each is `seen` as."""

    def seen(self, shape: tuple[int, ...], dim: int) -> tuple[int, ...]:
        """The shape of a tensor, with the axis along which it is joined."""
        raise NotImplementedError

    def plan(self, attrs, *layouts):
        (dim,) = attrs
        dtype, parts = layouts[0].dtype, [(t.numel, self.seen(t.shape, dim)) for t in layouts]
        own = layout(dtype, _joined([shape for _, shape in parts], dim))

        def run(*data):
            out = np.empty(own.shape, dtype.storage)
            np.concatenate([cut(d, n).reshape(shape) for d, (n, shape) in zip(data, parts)], dim, out)
            return Tensor(out.reshape(-1), own)

        return run

    def run_any(self, inputs, attrs) -> Tensor:
        (dim,) = attrs
        if inputs[0]._layout.device is not CPU:
            return self.on_device(inputs, dim)
        arrays = [t._array() for t in inputs]
        parts = [a.reshape(self.seen(a.shape, dim)) for a in arrays]
        parts = [a for a in parts if a.shape != (0,)] or parts[:1]
        out = memory.empty(_joined([a.shape for a in parts], dim), parts[0].dtype)
        return wrap(np.concatenate(parts, dim, out))

    def on_device(self, inputs, dim) -> Tensor:
        raise NotImplementedError


def _joined(shapes: list[tuple[int, ...]], dim: int) -> tuple[int, ...]:
    first = shapes[0]
    return (*first[:dim], sum([shape[dim] for shape in shapes]), *first[dim + 1:])


class Cat(Join):
    """Tensors one after the other; vectors without elements fit any shape."""

    name = "Cat"

    def seen(self, shape, dim):
        return shape

    def on_device(self, inputs, dim) -> Tensor:
        parts = [t for t in inputs if t._layout.shape != (0,)] or list(inputs[:1])
        ends = [0, *accumulate([t._layout.shape[dim] for t in parts])]
        shape = list(parts[0]._layout.shape)
        shape[dim] = ends[-1]
        return _written(parts, shape, [(SLICE, (dim, a, b - a, 1)) for a, b in pairwise(ends)])

    def backward(self, node, grad):
        (dim,) = node.attrs
        parts, start = [], 0
        for following, own in zip(node.next, node.layouts):
            if own.shape == (0,):
                parts.append(grad.new_zeros(0))
                continue
            n = own.shape[dim]
            parts.append(None if following is None
                         else reduce_to(view(SLICE, grad, (dim, start, n, 1)), own))
            start += n
        return tuple(parts)


class Stack(Join):
    name = "Stack"

    def seen(self, shape, dim):
        return (*shape[:dim], 1, *shape[dim:])

    def on_device(self, inputs, dim) -> Tensor:
        shape = list(inputs[0]._layout.shape)
        shape.insert(dim, len(inputs))
        return _written(inputs, shape, [(SELECT, (dim, k)) for k in range(len(inputs))])

    def backward(self, node, grad):
        (dim,) = node.attrs
        return tuple([None if following is None
                      else reduce_to(view(SELECT, grad, (dim, k)), own)
                      for k, (following, own) in enumerate(zip(node.next, node.layouts))])


def _written(parts, shape, windows) -> Tensor:
    """A tensor of this shape on a device, each part written into the window that a view op opens."""
    place = common(*[t._layout for t in parts])
    own = layout(parts[0]._layout.dtype, tuple(shape), device=place)
    out = Tensor(memory.on(place).empty(own.numel, own.dtype.storage), own)
    for t, (op, attrs) in zip(parts, windows):
        write(out._data, op.run((out,), attrs)._layout, t)
    return out


CAT, STACK = Cat(), Stack()


@lru_cache(1024)
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


class Contiguous(Op):
    """A row-major copy."""

    name = "Clone"

    def run(self, inputs, attrs) -> Tensor:
        (t,) = inputs
        own = layout(t._layout.dtype, t._layout.shape, device=t._layout.device)
        storage = memory.on(own.device).empty(own.numel, own.dtype.storage)
        write(storage, own, t)
        return Tensor(storage, own)

    def backward(self, node, grad):
        return grad


CONTIGUOUS, UNSAFE_VIEW = Contiguous(), UnsafeView()
