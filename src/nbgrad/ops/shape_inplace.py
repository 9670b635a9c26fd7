"""The views that a tensor may become in place: `transpose_`, `squeeze_` and their kin, `resize_`."""

from __future__ import annotations

from nbgrad.engine.mode import enable_grad, state
from nbgrad.engine.node import hooks_of
from nbgrad.ops.apply import _check_writable, view
from nbgrad.ops.dims import axes, axis, sizes
from nbgrad.ops.family import expect_tensor
from nbgrad.ops.out import resize
from nbgrad.ops.shape import t_
from nbgrad.ops.views import AS_STRIDED, SQUEEZE, T_OP, TRANSPOSE, UNSQUEEZE
from nbgrad.ops.windows import check_window
from nbgrad.tensor import AccumulateGrad, Tensor


def become(input: Tensor, op, attrs: tuple) -> Tensor:
    """Make the tensor what the view op would return: same memory, other layout and history."""
    if state.grad and (input._node is not None or input._view is not None):
        _check_writable(op, input, ())
    if input.retains_grad:
        input._node.hooks.retained.pop(input._port, None)
    with enable_grad():  # the history must fit the new layout, whether or not writes are recorded
        made = view(op, input, attrs)
    made._count().bump(op.label)
    input._layout = made._layout
    if type(input._node) is AccumulateGrad:
        input._node.layout = made._layout
    else:
        input._node, input._port = made._node, made._port
    if input.retains_grad:
        hooks_of(input._node).retained[input._port] = input._slot
    if input._view is not None:
        input._view.version = input._counter.count
    return input


def transpose_(input: Tensor, dim0: int, dim1: int) -> Tensor:
    """Exchange two axes, in place."""
    a, b = axis(input, dim0), axis(input, dim1)
    return become(input, TRANSPOSE, (a, b)) if input._layout.shape else input


def transpose_in_place(input: Tensor) -> Tensor:
    """Transpose a matrix, in place."""
    t_(input.detach())
    return become(input, T_OP, ())


def squeeze_(input: Tensor, dim=None) -> Tensor:
    """Drop axes of size 1, all of them or those in `dim`, in place."""
    return become(input, SQUEEZE, (axes(input, tuple(range(input.dim())) if dim is None else dim),))


def unsqueeze_(input: Tensor, dim: int) -> Tensor:
    """Add an axis of size 1 at `dim`, in place."""
    return become(input, UNSQUEEZE, (axis(input, dim, 1),))


def as_strided_(input: Tensor, size, stride, storage_offset: int | None = None) -> Tensor:
    """Become a window on the own storage: `size`, `stride` and offset in elements."""
    shape, strides = sizes((tuple(size),)), sizes((tuple(stride),))
    offset = check_window(input, shape, strides, storage_offset)
    return become(input, AS_STRIDED, (shape, strides, offset - input._layout.offset))


def resize_(input: Tensor, *shape, size=None, memory_format=None) -> Tensor:
    """Another shape over the same storage, in place; where it grows, the new elements are anything."""
    asked = sizes(shape, size)
    if any(n < 0 for n in asked):
        raise RuntimeError(f"Trying to create tensor with negative dimension {min(asked)}: "
                           f"{list(asked)}")
    if input.requires_grad:
        raise RuntimeError("cannot resize variables that require grad")
    if input._layout.shape != asked:
        resize(input, asked)
    return input


def resize_as_(input: Tensor, the_template: Tensor, *, memory_format=None) -> Tensor:
    """`resize_` to the shape of another tensor."""
    expect_tensor("resize_as_", the_template=the_template)
    return resize_(input, the_template._layout.shape)


METHODS = {"transpose_": transpose_, "swapaxes_": transpose_, "swapdims_": transpose_,
           "t_": transpose_in_place, "squeeze_": squeeze_, "unsqueeze_": unsqueeze_,
           "resize_": resize_}
FUNCTIONS = {"as_strided_": as_strided_, "resize_as_": resize_as_}
