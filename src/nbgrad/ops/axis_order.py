"""Layouts whose axes lie in an order that is asked for, or that of another tensor."""

from __future__ import annotations

from nbgrad.dtypes import dtype as DType
from nbgrad.kernels.layout import Layout, layout

_ORDERS = {"channels_last": (0, 2, 3, 1), "channels_last_3d": (0, 2, 3, 4, 1)}


class memory_format(str):
    """The name of an order of axes in memory.

    Fresh tensors lie as asked. A tensor with elements is not brought into channels last: the
    kernels work on row-major order, and every layer would copy it back.
    """

    __slots__ = ()

    def __repr__(self) -> str:
        return f"nbgrad.{self}"


def in_rows(own: Layout, asked) -> bool:
    """Whether row-major order is asked for; TypeError or RuntimeError for what cannot be asked."""
    if not isinstance(asked, memory_format):
        raise TypeError("argument 'memory_format' must be nbgrad.memory_format, not "
                        f"{type(asked).__name__}")
    order = _ORDERS.get(asked)
    if order is not None and len(order) != len(own.shape):
        raise RuntimeError(f"required rank {len(order)} tensor to use {asked} format")
    return asked == "contiguous_format"


def lies(own: Layout, asked) -> bool:
    """Whether the elements lie in this order; row-major order will do for channels last too."""
    order = _ORDERS.get(asked)
    if order is None or len(order) != len(own.shape):
        return own.contiguous and order is None
    shape, strides = [tuple([of[k] for k in order]) for of in (own.shape, own.strides)]
    return own.contiguous or layout(own.dtype, shape, strides).contiguous


def like(own: Layout, dtype: DType, memory_format=None) -> Layout:
    """The layout of a fresh tensor in the order of another's axes, without gaps."""
    shape = own.shape
    rows = memory_format is not None and in_rows(own, memory_format)
    if memory_format in _ORDERS:
        return layout(dtype, shape, _strides(shape, _ORDERS[memory_format]), 0, own.device)
    if rows or own.contiguous:
        return layout(dtype, shape, None, 0, own.device)
    if own.dense:
        return layout(dtype, shape, own.strides, 0, own.device)
    if any(s == 0 and n > 1 for s, n in zip(own.strides, shape)):
        return layout(dtype, shape, None, 0, own.device)
    order = sorted(range(len(shape)), key=lambda k: -own.strides[k])
    return layout(dtype, shape, _strides(shape, tuple(order)), 0, own.device)


def permuted(dtype: DType, shape: tuple[int, ...], order: tuple[int, ...]) -> Layout:
    """A layout without gaps whose axes lie in this order, the outermost first."""
    return layout(dtype, shape, _strides(shape, order))


def _strides(shape: tuple[int, ...], order: tuple[int, ...]) -> tuple[int, ...]:
    strides, step = [1] * len(shape), 1
    for k in reversed(order):
        strides[k] = step
        step *= max(shape[k], 1)
    return tuple(strides)
