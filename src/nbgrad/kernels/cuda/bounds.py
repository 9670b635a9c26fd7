"""What is known of integers on a device, so that a check of indices need not wait for it.

A block remembers bounds of the integers in it: those its maker knew, and those that a check found. They
end with the first write to the block, and are never taken of memory that others may write to.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from nbgrad.kernels.cpu.places import extent
from nbgrad.kernels.cuda.allocator import Block
from nbgrad.kernels.cuda.array import DeviceArray

#: Integers of the host that are looked at when they are copied to a device, at most.
MOST = 1 << 22
#: Bounds that a block remembers of windows on it, at most.
_WINDOWS = 256
#: What a block remembers that others may write to.
EXPOSED: dict = {}


class Bounds(NamedTuple):
    """All integers are the lowest, or the highest, or from the second to the last one.

    So they also bound what is left when one number is passed over, as losses do.
    """

    lowest: int
    second: int
    last: int
    highest: int

    def inside(self, low: int, high: int, skip: int | None = None) -> bool:
        """Whether all integers but those equal to `skip` lie in [low, high)."""
        least = self.second if self.lowest == skip else self.lowest
        most = self.last if self.highest == skip else self.highest
        return low <= least and most < high


def known(x: DeviceArray, low: int, high: int, skip: int | None = None) -> bool:
    """Whether it is known that all integers but those equal to `skip` lie in [low, high)."""
    held = x.block.bounds if type(x.block) is Block else None
    if not held:
        return False
    found = held.get(x.dtype.char), held.get(_window(x))
    return any(b is not None and b.inside(low, high, skip) for b in found)


def learn(x: DeviceArray, lowest: int, highest: int, skip: int | None = None) -> None:
    """Remember bounds of an array's integers, or of those that are not equal to `skip`."""
    held = x.block.bounds if type(x.block) is Block else EXPOSED
    if held is EXPOSED:
        return
    if held is None or len(held) > _WINDOWS:
        held = x.block.bounds = {k: b for k, b in (held or {}).items() if type(k) is str}
    held[_window(x)] = Bounds(lowest if skip is None else min(lowest, skip), lowest, highest,
                              highest if skip is None else max(highest, skip))


def _window(x: DeviceArray) -> tuple:
    return x.dtype.char, x.ptr, x.shape, None if x.contiguous else x.strides


def tell(x: DeviceArray, lowest: int, highest: int) -> DeviceArray:
    """The array itself, which is all of its fresh memory, with bounds of its integers."""
    if type(x.block) is Block and x.block.bounds is not EXPOSED:
        x.block.bounds = {x.dtype.char: Bounds(lowest, lowest, highest, highest)}
    return x


def tell_of(x: DeviceArray, array: np.ndarray) -> None:
    """Remember what was copied from the host, if that is quickly looked at."""
    if array.dtype.kind in "iu" and 0 < array.size <= MOST and array.dtype != np.uint64:
        x.block.bounds = {x.dtype.char: Bounds(*extent(array))}


def hand_on(made: DeviceArray, x: DeviceArray) -> DeviceArray:
    """`made`, which is fresh and holds nothing but integers of `x`, with the bounds of those."""
    held = x.block.bounds if type(x.block) is Block else None
    if held and type(made.block) is Block:
        found = held.get(_window(x)) or held.get(x.dtype.char)
        if found is not None:
            made.block.bounds = {made.dtype.char: found}
    return made


def forget(x: DeviceArray) -> None:
    """To be called when memory was written to."""
    if type(x.block) is Block and x.block.bounds:
        x.block.bounds = None


def expose(x: DeviceArray) -> DeviceArray:
    """The array, of which others learn where it lies: they may write to it at any time."""
    if type(x.block) is Block:
        x.block.bounds = EXPOSED
    return x
