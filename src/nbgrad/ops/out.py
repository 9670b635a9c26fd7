"""`out=`: a result stored in a tensor that is there already."""

from __future__ import annotations

import functools
import inspect
import warnings

from nbgrad.engine.mode import state
from nbgrad.kernels import memory
from nbgrad.kernels.layout import layout
from nbgrad.ops.elementwise import refuse_cast
from nbgrad.ops.write import copy_
from nbgrad.tensor import Tensor


def with_out(function):
    """The function with a keyword `out`: the tensor, or tuple of them, that gets the results."""

    @functools.wraps(function)
    def call(*args, out: Tensor | None = None, **options):
        made = function(*args, **options)
        return made if out is None else store(function.__name__, out, made)

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


def store(name: str, out: Tensor, result: Tensor) -> Tensor:
    """Write a result into `out`, made as large as the result first; no gradient passes."""
    expect_out(name, out, result)
    refuse_cast(result.dtype, out.dtype)
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
    own = layout(t._layout.dtype, shape, None, t._layout.offset)
    needed = own.offset + own.numel
    if needed > t._data.size:
        grown = memory.empty(needed, own.dtype.storage)
        grown[:t._data.size] = t._data
        t._data = grown
    t._layout = own
