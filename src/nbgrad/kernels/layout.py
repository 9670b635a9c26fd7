"""Layouts: how the elements of a tensor lie in its one-dimensional storage."""

from __future__ import annotations

import math

import numpy as np

from nbgrad.devices import CPU, device
from nbgrad.dtypes import dtype as DType


class Layout:
    """dtype, shape, strides and offset (in elements) of a tensor, and the device it lies on.

    Interned, so `is` is quick, and a table of launches by layouts is one by devices, too.

    `contiguous` is row-major order without gaps; `dense` allows the axes to be permuted, so
    that a loop over the storage from `offset` on meets every element once.
    """

    __slots__ = ("contiguous", "dense", "device", "dtype", "numel", "offset", "shape", "strides")
    dtype: DType
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    offset: int
    numel: int
    contiguous: bool
    dense: bool
    device: device

    def __repr__(self) -> str:
        place = "" if self.device is CPU else f", {self.device}"
        return f"Layout({self.dtype.name}, {self.shape}, {self.strides}, {self.offset}{place})"

    @property
    def span(self) -> int:
        """Elements of storage from the offset to the last element, inclusive."""
        if self.numel == 0:
            return 0
        return 1 + sum((n - 1) * s for n, s in zip(self.shape, self.strides))


_MOST = 16384
_table: dict[tuple, Layout] = {}


def contiguous_strides(shape: tuple[int, ...]) -> tuple[int, ...]:
    strides, step = [], 1
    for n in reversed(shape):
        strides.append(step)
        step *= max(n, 1)
    return tuple(reversed(strides))


def layout(dtype: DType, shape: tuple[int, ...], strides: tuple[int, ...] | None = None,
           offset: int = 0, device: device = CPU) -> Layout:
    """The layout with these properties; contiguous where no strides are given."""
    key = (dtype, shape, strides, offset, device._name)  # a string knows its hash
    found = _table.get(key)
    if found is None:
        if strides is None:
            found = layout(dtype, shape, contiguous_strides(shape), offset, device)
        else:
            found = _make(dtype, shape, strides, offset, device)
        if len(_table) > _MOST:
            _table.clear()
        _table[key] = found
    return found


def _make(dtype, shape, strides, offset, device) -> Layout:
    made = object.__new__(Layout)
    made.dtype, made.shape, made.strides, made.offset = dtype, shape, strides, offset
    made.device = device
    made.numel = math.prod(shape)
    expected = contiguous_strides(shape)
    made.contiguous = made.numel == 0 or all(
        n == 1 or s == e for n, s, e in zip(shape, strides, expected))
    made.dense = made.contiguous or _dense(shape, strides)
    return made


def _dense(shape, strides) -> bool:
    step = 1
    for s, n in sorted((s, n) for s, n in zip(strides, shape) if n != 1):
        if s != step:
            return False
        step *= n
    return True


def common(*operands: Layout | None) -> device:
    """The device of operands; 0-dim ones of the host may go with those of another device.

    Raises:
        RuntimeError: they lie on several devices.
    """
    found = CPU
    for own in operands:
        if own is not None and own.device is not CPU:
            found = own.device
    if found is not CPU:
        for own in operands:
            if own is not None and own.device is CPU and own.shape:
                raise RuntimeError("Expected all tensors to be on the same device, but found at least "
                                   f"two devices, {found} and cpu! Move them with .to('{found}').")
    return found


def broadcast_shapes(*shapes: tuple[int, ...]) -> tuple[int, ...] | None:
    """The common shape by broadcasting, or None where there is none."""
    rank = max(map(len, shapes), default=0)
    result = [1] * rank
    for shape in shapes:
        for k in range(1, len(shape) + 1):
            n = shape[-k]
            if n != 1:
                if result[-k] not in (1, n):
                    return None
                result[-k] = n
    return tuple(result)


def expanded_strides(shape: tuple[int, ...], strides: tuple[int, ...],
                     to: tuple[int, ...]) -> tuple[int, ...]:
    """Strides that read an operand of `shape` as if it had the shape `to`."""
    lead = len(to) - len(shape)
    return (0,) * lead + tuple(
        0 if n == 1 and m != 1 else s for n, s, m in zip(shape, strides, to[lead:]))


def collapse(shape: tuple[int, ...], strides: list[tuple[int, ...]]):
    """Merge neighbouring axes that every operand walks as one; drop axes of size 1."""
    sizes: list[int] = []
    steps: list[list[int]] = [[] for _ in strides]
    for axis in range(len(shape)):
        n = shape[axis]
        if n == 1:
            continue
        own = [s[axis] for s in strides]
        if sizes and all(step[-1] == o * n for step, o in zip(steps, own)):
            sizes[-1] *= n
            for step, o in zip(steps, own):
                step[-1] = o
        else:
            sizes.append(n)
            for step, o in zip(steps, own):
                step.append(o)
    if not sizes:
        return [1], [[0] for _ in strides]
    return sizes, steps


def walk(shape: tuple[int, ...], strides: list[tuple[int, ...]]):
    """Sizes of the axes in the order they are looped over, and the steps of each operand.

    The first operand (the output) is written with its smallest stride innermost.
    """
    order = sorted(range(len(shape)), key=lambda k: -abs(strides[0][k]))
    return collapse(tuple(shape[k] for k in order), [tuple(s[k] for k in order) for s in strides])


def geometry(shape: tuple[int, ...], strides: list[tuple[int, ...]],
             offsets: list[int]) -> tuple[np.ndarray, str]:
    """The table a strided kernel walks by, and a letter an operand for its innermost stride.

    The table is laid out as source.strided says.
    """
    sizes, steps = walk(shape, strides)
    rank, inner = len(sizes) - 1, sizes[-1]
    table = [rank, math.prod(sizes[:-1]), inner, *sizes[:-1]]
    letters = ""
    for step, offset in zip(steps, offsets):
        table += [offset, step[-1], *step[:-1]]
        letters += {0: "s", 1: "f"}.get(step[-1], "x")
    if letters[0] == "s":
        letters = "x" + letters[1:]
    return np.array(table, dtype=np.int64), letters


#: So few elements are visited by a list of their places, for any strides: one kernel serves all.
FEW = 64


def places(shape: tuple[int, ...], strides: list[tuple[int, ...]], offsets: list[int]) -> np.ndarray:
    """Where the elements of each operand lie, of one operand after another."""
    found = []
    for step, offset in zip(strides, offsets):
        at = np.array([offset])
        for n, s in zip(shape, step):
            at = np.add.outer(at, s * np.arange(n)).reshape(-1)
        found.append(at)
    return np.concatenate(found)


#: An axis shorter than this is not worth a tile.
_SHORTEST = 16


def tiles(shape: tuple[int, ...], strides: list[tuple[int, ...]],
          offsets: list[int]) -> tuple[np.ndarray, str] | None:
    """The same for a tiled kernel; None where no operand lies across the output.

    An operand lies across, letter `t`, if its elements are neighbours along another axis than the
    output's, which becomes the last but one. The table is laid out as source.tiled says.
    """
    sizes, steps = walk(shape, strides)
    across = [axis for axis in range(len(sizes) - 1) for step in steps[1:]
              if step[axis] == 1 and step[-1] > 1]
    if steps[0][-1] != 1 or not across or min(sizes[across[0]], sizes[-1]) < _SHORTEST:
        return None
    axis = across[0]
    rest = [k for k in range(len(sizes) - 1) if k != axis]
    table = [len(rest), math.prod(sizes[k] for k in rest), sizes[axis], sizes[-1],
             *(sizes[k] for k in rest)]
    letters = ""
    for step, offset in zip(steps, offsets):
        table += [offset, step[-1], step[axis], *(step[k] for k in rest)]
        turned = step[axis] == 1 and step[-1] > 1
        letters += "t" if turned else {0: "s", 1: "f"}.get(step[-1], "x")
    return np.array(table, dtype=np.int64), letters
