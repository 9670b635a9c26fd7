"""`out=`: a result stored in a tensor that is there already."""

from __future__ import annotations

import functools
import inspect
import warnings

from nbgrad.engine.mode import state
from nbgrad.kernels import memory
from nbgrad.kernels.layout import layout
from nbgrad.ops.elementwise import can_cast, write
from nbgrad.ops.write import copy_
from nbgrad.tensor import Tensor


def with_out(function, error: type = RuntimeError):
    """The function with a keyword `out`: the tensor that gets the result.

    Args:
        error: what is raised where the result cannot be cast to the dtype of `out`.
    """

    @functools.wraps(function)
    def call(*args, out: Tensor | None = None, **options):
        made = function(*args, **options)
        return made if out is None else store(function.__name__, out, made, error)

    return with_keywords(call, function, call)


def with_keywords(call, function, *more):
    """`call` with the signature of `function` and the keywords of the wrappers `more`."""
    own = inspect.signature(function)
    found = dict(own.parameters)
    for wrapper in more:
        added = inspect.signature(wrapper, follow_wrapped=False).parameters.values()
        found |= {p.name: p for p in added if p.kind is p.KEYWORD_ONLY}
    parameters = sorted(found.values(), key=lambda p: p.kind)
    call.__signature__ = own.replace(parameters=parameters)
    return call


def store(name: str, out: Tensor, result: Tensor, error: type = RuntimeError) -> Tensor:
    """Write a result into `out`, made as large as the result first; no gradient passes."""
    expect_out(name, out, result)
    if not can_cast(result.dtype, out.dtype):
        raise error(f"{name}(): a result of {result.dtype.legacy} can't be cast to the desired "
                    f"output type {out.dtype.legacy}")
    receive(out, result.detach())
    return out


def expect_out(name: str, out: Tensor, *operands) -> None:
    """`out` must be a tensor, and neither it nor an operand take part in autograd."""
    if not isinstance(out, Tensor):
        raise TypeError(f"{name}(): argument 'out' must be Tensor, not {type(out).__name__}")
    if state.grad and any(isinstance(t, Tensor) and t.requires_grad for t in (out, *operands)):
        raise RuntimeError(f"{name}(): functions with out=... arguments don't support automatic "
                           "differentiation, but one of the arguments requires grad.")


def receive(out: Tensor, result: Tensor) -> None:
    """Write a result into `out`, resized with a warning if it has elements in another shape."""
    own, shape = out._layout, result._layout.shape
    if own.device is not result._layout.device:
        raise RuntimeError("Expected all tensors to be on the same device, but found at least two "
                           f"devices, {result.device} and {own.device}!")
    if own.numel and own.shape != shape:
        warnings.warn(f"An output with one or more elements was resized since it had shape "
                      f"{list(own.shape)}, which does not match the required output shape "
                      f"{list(shape)}. This behavior is deprecated, and in a future PyTorch "
                      "release outputs will not be resized unless they have zero elements. "
                      "You can explicitly reuse an out tensor t by resizing it, inplace, to zero "
                      "elements with t.resize_(0).", UserWarning, stacklevel=4)
    fit(out, shape)
    copy_(out, result)


def fit(out: Tensor, shape: tuple[int, ...]) -> None:
    """Give `out` a shape, if it has another."""
    if out._layout.shape != shape:
        resize(out, shape)


def resize(t: Tensor, shape: tuple[int, ...]) -> None:
    """Another shape over the same storage, which grows by fresh elements where it is too short."""
    own = layout(t._layout.dtype, shape, None, t._layout.offset, t._layout.device)
    needed, held = own.offset + own.numel, t._data.size
    if needed > held:
        grown = memory.on(own.device).empty(needed, own.dtype.storage)
        if held:
            vector = layout(own.dtype, (held,), None, 0, own.device)
            write(grown, vector, Tensor(t._data, vector))
        t._data = grown
    t._layout = own
