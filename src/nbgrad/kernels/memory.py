"""Memory for results: small arrays from NumPy, large ones over blocks that are used again.

Memory fresh from the system is mapped and cleared at its first write, page by page, which costs
several times what the kernel does. So a large array lies over a block of a pool, and the block
returns to the pool at the array's end. NumPy keeps an array alive as long as any view of it, so
memory that a view still holds is never lent a second time.

An array may end at any moment, in any thread, in the middle of these functions: they take no lock,
and each step is one operation of a list or a dict.
"""

import math
import mmap
import sys
import weakref
from contextlib import suppress
from importlib import import_module
from sys import getrefcount
from typing import Any

import numpy as np

from nbgrad import config
from nbgrad.devices import CPU, device

#: Bytes of blocks, lent or not, above which none is kept for later.
LIMIT: int = config.POOL_BYTES
#: Arrays of fewer elements or of fewer bytes are NumPy's own.
LARGE, WORTH = 1 << 15, 1 << 17

_HUGE_PAGE = 1 << 21
_PRIVATE = {"flags": mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS} if hasattr(mmap, "MAP_PRIVATE") else {}

_this = sys.modules[__name__]
_free: dict[int, list[mmap.mmap]] = {}
_lent: dict[int, "_Loan"] = {}
_mapped = _hits = _misses = 0


class _Loan(weakref.ref):
    """Watches the array over a block; knows the blocks of that size."""

    __slots__ = ("block", "home")
    block: mmap.mmap
    home: list[mmap.mmap]


def empty(shape: int | tuple[int, ...], dtype) -> np.ndarray:
    """An array of this shape whose elements may be anything."""
    count = math.prod(shape) if isinstance(shape, tuple) else shape
    return np.empty(shape, dtype) if count < LARGE else _lend(shape, count, np.dtype(dtype))


def maker(size: int, place: device = CPU):
    """The function that is `empty` for arrays of this size: NumPy's own where they are small."""
    if place is not CPU:
        return on(place).empty
    return np.empty if size < LARGE else empty


def on(place: device) -> Any:
    """The module with `empty`, `zeros` and `copied` for a device."""
    return _this if place is CPU else import_module("nbgrad.kernels.cuda.memory")


def zeros(shape: int | tuple[int, ...], dtype) -> np.ndarray:
    """An array of this shape filled with zeros."""
    count = math.prod(shape) if isinstance(shape, tuple) else shape
    if count < LARGE or LIMIT == 0:
        return np.zeros(shape, dtype)
    out = _lend(shape, count, np.dtype(dtype))
    out.view(np.uint8).fill(0)  # bytes are cleared without being fetched: in half the time
    return out


def copied(array: np.ndarray) -> np.ndarray:
    """A copy of a vector."""
    return array.copy()


def _lend(shape, count: int, dtype: np.dtype) -> np.ndarray:
    global _hits
    nbytes = int(count) * dtype.itemsize
    if nbytes < WORTH or LIMIT == 0:
        return np.empty(shape, dtype)
    step = nbytes.bit_length() - 4  # eight sizes of blocks between two powers of two
    size = -(-nbytes >> step) << step
    home = _free.get(size)
    if home is None:
        home = _free.setdefault(size, [])
    try:
        block: mmap.mmap | None = home.pop()
        _hits += 1
    except IndexError:
        block = _fresh(size)
    if block is None:
        return np.empty(shape, dtype)
    out: np.ndarray = np.ndarray(shape, dtype, block)
    loan = _Loan(out, _end)
    loan.block, loan.home = block, home
    _lent[id(loan)] = loan
    return out


def _end(loan: _Loan) -> None:
    """Take back the block of an array that is gone."""
    global _mapped
    del _lent[id(loan)]
    # Three references to the block are the loan's, the ending array's and this call's own; with
    # more, somebody reached the block itself, and may keep it.
    if _mapped > LIMIT or getrefcount(loan.block) > 3:
        _mapped -= len(loan.block)
    else:
        loan.home.append(loan.block)


def _fresh(size: int) -> mmap.mmap | None:
    """A block from the system, in huge pages if it may; None if there is none."""
    global _mapped, _misses
    if _mapped + size > LIMIT:
        empty_cache()
    try:
        block = mmap.mmap(-1, size, **_PRIVATE)
    except (OSError, OverflowError):
        return None
    if size >= _HUGE_PAGE and hasattr(mmap, "MADV_HUGEPAGE"):
        with suppress(OSError):
            block.madvise(mmap.MADV_HUGEPAGE)
    _misses += 1
    _mapped += size
    return block


def empty_cache() -> None:
    """Return the blocks that no tensor uses to the system."""
    global _mapped
    for size, blocks in list(_free.items()):
        with suppress(IndexError):
            while True:
                blocks.pop()
                _mapped -= size


def stats() -> dict[str, int]:
    """Bytes lent to arrays and bytes held for later; how often a block was there, and was not."""
    return {"lent": sum(len(loan.block) for loan in list(_lent.values())),
            "held": sum(size * len(blocks) for size, blocks in list(_free.items())),
            "hits": _hits, "misses": _misses}
