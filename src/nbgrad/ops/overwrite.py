"""Copies of a tensor with a window of it overwritten: select_scatter and its kin."""

from __future__ import annotations

from nbgrad.kernels import memory
from nbgrad.kernels.backend import Twins
from nbgrad.kernels.layout import layout
from nbgrad.ops.apply import apply, view
from nbgrad.ops.elementwise import reduce_to, write
from nbgrad.ops.family import expect_tensor
from nbgrad.ops.op import Op
from nbgrad.ops.shape import as_strided, axis, diagonal, select
from nbgrad.ops.views import AS_STRIDED, DIAGONAL, SELECT, SLICE, ViewOp
from nbgrad.tensor import Tensor

copied = Twins("layouts").copied


class Overwrite(Op):
    """A copy with a tensor written into the window that a view op opens; attrs are the view's."""

    def __init__(self, name: str, opens: ViewOp) -> None:
        self.name, self.opens = name, opens
        super().__init__()

    def run(self, inputs, attrs) -> Tensor:
        base, source = inputs
        out = self.copied(base)
        write(out._data, self.opens.run((out,), attrs)._layout, source)
        return out

    def copied(self, t: Tensor) -> Tensor:
        """A copy in whose memory the window is opened."""
        own = layout(t._layout.dtype, t._layout.shape, device=t._layout.device)
        storage = memory.on(own.device).empty(own.numel, own.dtype.np)
        write(storage, own, t)
        return Tensor(storage, own)

    def backward(self, node, grad):
        own, gs = None, None
        grad = self.laid(grad, node)
        if node.next[0] is not None:
            zeros = grad.new_zeros(node.layouts[1].shape)
            own = apply(self, (grad, zeros), node.attrs)
        if node.next[1] is not None:
            gs = reduce_to(view(self.opens, grad, node.attrs), node.layouts[1])
        return own, gs

    def laid(self, grad: Tensor, node) -> Tensor:
        """The gradient in memory where the view op opens the window that was written."""
        return grad


class OverwriteStrided(Overwrite):
    """A copy of a tensor's whole memory, with any window on it overwritten."""

    def copied(self, t: Tensor) -> Tensor:
        return Tensor(copied(t._data), t._layout)

    def laid(self, grad: Tensor, node) -> Tensor:
        own = node.layouts[0]
        shape, strides, offset = self.opens.window(own, *node.attrs)
        end = offset + 1 + sum((n - 1) * s for n, s in zip(shape, strides))
        storage = memory.on(own.device).zeros(max(own.offset + own.span, end), own.dtype.np)
        return Tensor(storage, own).copy_(grad)


SELECT_SCATTER = Overwrite("SelectScatter", SELECT)
SLICE_SCATTER = Overwrite("SliceScatter", SLICE)
DIAGONAL_SCATTER = Overwrite("DiagonalScatter", DIAGONAL)
AS_STRIDED_SCATTER = OverwriteStrided("AsStridedScatter", AS_STRIDED)


def _overwrite(op: Overwrite, input: Tensor, src: Tensor, attrs: tuple) -> Tensor:
    window = op.opens.window(input._layout, *attrs)[0]
    if src._layout.shape != window:
        raise RuntimeError("expected src to have a size equal to the slice of self. src size = "
                           f"{list(src._layout.shape)}, slice size = {list(window)}")
    return apply(op, (input, src), attrs)


def select_scatter(input: Tensor, src: Tensor, dim: int, index: int) -> Tensor:
    """A copy with `src` in the place of the entry `index` along `dim`."""
    expect_tensor("select_scatter", input=input, src=src)
    select(input, dim, index)
    d = axis(input, dim)
    return _overwrite(SELECT_SCATTER, input, src, (d, index % input._layout.shape[d]))


def slice_scatter(input: Tensor, src: Tensor, dim: int = 0, start: int | None = None,
                  end: int | None = None, step: int = 1) -> Tensor:
    """A copy with `src` in the place of the slice start:end:step along `dim`."""
    expect_tensor("slice_scatter", input=input, src=src)
    if not input._layout.shape:
        raise IndexError("slice() cannot be applied to a 0-dim tensor.")
    d = axis(input, dim)
    for name, value in (("start", start), ("end", end), ("step", step)):
        if not isinstance(value, int) and (value is not None or name == "step"):
            raise TypeError(f"slice_scatter(): argument '{name}' must be int, not "
                            f"{type(value).__name__}")
    if step <= 0:
        raise RuntimeError("slice step must be positive")
    first, last, _ = slice(start, end, step).indices(input._layout.shape[d])
    count = max(0, -(-(last - first) // step))
    return _overwrite(SLICE_SCATTER, input, src, (d, first, count, step))


def diagonal_scatter(input: Tensor, src: Tensor, offset: int = 0, dim1: int = 0,
                     dim2: int = 1) -> Tensor:
    """A copy with `src` in the place of a diagonal over two axes."""
    expect_tensor("diagonal_scatter", input=input, src=src)
    diagonal(input, offset, dim1, dim2)
    attrs = offset, axis(input, dim1), axis(input, dim2)
    return _overwrite(DIAGONAL_SCATTER, input, src, attrs)


def as_strided_scatter(input: Tensor, src: Tensor, size, stride,
                       storage_offset: int | None = None) -> Tensor:
    """A copy of a tensor's memory with `src` in the place of an `as_strided` window.

    The gradient is 0 where the copy was overwritten. (PyTorch's is that of `as_strided`.)
    """
    expect_tensor("as_strided_scatter", input=input, src=src)
    window = as_strided(input, size, stride, storage_offset)._layout
    if input.requires_grad and not input._layout.contiguous:
        raise RuntimeError("as_strided_scatter(): an input that requires grad must be contiguous: "
                           "call .contiguous() first")
    attrs = window.shape, window.strides, window.offset - input._layout.offset
    return _overwrite(AS_STRIDED_SCATTER, input, src, attrs)


FUNCTIONS = {f.__name__: f for f in (select_scatter, slice_scatter, diagonal_scatter,
                                     as_strided_scatter)}
