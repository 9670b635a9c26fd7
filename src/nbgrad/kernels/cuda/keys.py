"""Integers that sort as the entries of an array do, on a CUDA device."""

from __future__ import annotations

from functools import cache

import numpy as np

from nbgrad.kernels.cuda.array import DeviceArray
from nbgrad.kernels.cuda.memory import empty
from nbgrad.kernels.cuda.provider import BLOCK, blocks, cuda, inline, kernel, machine

#: Of floats by their size: all bits but the sign, and those of infinity.
LIMITS = {4: (0x7FFFFFFF, 0x7F800000), 8: (0x7FFFFFFFFFFFFFFF, 0x7FF0000000000000)}


@kernel
def _order(bits, keys, floats, down, nan_top, rest, infinite):
    """Keys of entries given as their bits: of floats, those without the sign fall as it is set."""
    for i in range(cuda.grid(1), bits.size, cuda.gridsize(1)):
        k = np.int64(bits[i])
        nan = False
        if floats:
            size = k & rest
            nan = size > infinite
            if nan:
                k = rest
            elif size == 0:
                k = np.int64(0)
            elif k < 0:
                k = k ^ rest
        if down and not (nan and nan_top):
            k = np.int64(-1) - k
        keys[i] = k


@cache
def key_of(number):
    """A function of an entry's bits: an unsigned `number` that sorts as the entry does.

    `sign` is the sign's bit, 0 where there is none, `ones` are all bits of an entry.
    """
    @inline
    def key(bits, floats, down, sign, infinite, ones):
        k, signed = number(bits), number(sign)
        if floats:
            size = number(k & number(~signed))
            if size > number(infinite):
                k = number(ones)
            elif size == number(0):
                k = signed
            else:
                k = number(~k) if k & signed else number(k | signed)
        else:
            k = number(k ^ signed)
        return number(k ^ number(ones)) if down else k

    return key


@cache
def _order_launch(bits, keys, grid):
    return machine.launcher(_order, ((bits, 1), (keys, 1), *["int64"] * 5))(grid, BLOCK)


def orders(x: DeviceArray, down: bool, dtype=None, nan_top: bool = False) -> DeviceArray:
    """Keys of contiguous entries, turned round if `down`; those of NaN stay on top if `nan_top`."""
    floats, size = x.dtype.kind == "f", x.dtype.itemsize
    keys = empty(x.shape, dtype or (np.int64 if size == 8 else np.int32))
    bits = x.view(f"i{size}" if x.dtype.kind in "fi" else f"u{size}")
    if keys.size:
        _order_launch(bits.dtype, keys.dtype, blocks(keys.size))(
            bits, keys, int(floats), int(down), int(nan_top), *LIMITS.get(size, (0, 0)))
    return keys
