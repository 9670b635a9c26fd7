"""Whether two libraries computed the same: samples of results, and how far they lie apart."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

#: Elements of a result that are compared one by one; all take part in its mean and size.
SAMPLE = 65536


class Sample(NamedTuple):
    """What is compared of an array; `size` is its root mean square."""

    shape: tuple[int, ...]
    mean: float
    size: float
    values: np.ndarray


def sample(array: np.ndarray) -> Sample:
    """Take values from all over the array, its end among them."""
    flat = np.ravel(array)
    values = np.concatenate([flat[::max(1, flat.size // SAMPLE)], flat[-64:]]).astype(np.float64)
    if not flat.size:
        return Sample(array.shape, 0.0, 0.0, values)
    size = np.square(flat, dtype=np.float64).mean() ** 0.5
    return Sample(array.shape, float(flat.mean(dtype=np.float64)), float(size), values)


def difference(ours: Sequence[Sample], theirs: Sequence[Sample], tolerance: float,
               drawn: bool = False) -> str | None:
    """What differs, in words; None if nothing differs by more than `tolerance` of its size.

    Of `drawn` numbers the mean and the size are compared only.
    """
    if len(ours) != len(theirs):
        return f"{len(ours)} results, not {len(theirs)}"
    for k, (a, b) in enumerate(zip(ours, theirs)):
        where = f"result {k}" if k else "the result"
        if a.shape != b.shape:
            return f"{where} has shape {a.shape}, not {b.shape}"
        found, expected = (np.append(x.values[:0] if drawn else x.values, [x.mean, x.size])
                           for x in (a, b))
        off = np.abs(found - expected) - tolerance * (np.abs(expected) + b.size)
        same = (found == expected) | (np.isnan(found) & np.isnan(expected))
        bad = ~(same | (off <= 0))
        if bad.any():
            worst = int(np.argmax(np.where(bad, np.nan_to_num(off, nan=np.inf), -np.inf)))
            return (f"{where} has {found[worst]:.6g} where {expected[worst]:.6g} is expected, "
                    f"and {bad.mean():.0%} of it differs")
    return None
