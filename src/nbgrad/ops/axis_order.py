"""Layouts whose axes lie in an order that is asked for, or that of another tensor."""

from __future__ import annotations

from nbgrad.dtypes import dtype as DType
from nbgrad.kernels.layout import Layout, layout

_ORDERS = {"channels_last": (0, 2, 3, 1), "channels_last_3d": (0, 2, 3, 4, 1)}


def like(own: Layout, dtype: DType, memory_format=None) -> Layout:
    """The layout of a fresh tensor in the order of another's axes, without gaps."""
    shape = own.shape
    if memory_format in _ORDERS:
        return layout(dtype, shape, _strides(shape, _ORDERS[memory_format]), 0, own.device)
    if memory_format == "contiguous_format" or own.contiguous:
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
    if len(order) != len(shape):
        raise RuntimeError(f"required rank {len(order)} tensor to use channels_last format")
    strides, step = [1] * len(shape), 1
    for k in reversed(order):
        strides[k] = step
        step *= max(shape[k], 1)
    return tuple(strides)
