"""The sample being loaded by this thread, and the random numbers that belong to it.

Random transforms draw from `generator()`. While a DataLoader loads sample `index` in `epoch`,
that generator is a function of (seed, epoch, index) alone, so the number of workers and the
order of loading change nothing.
"""

from __future__ import annotations

import operator
import threading
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np


class _Sample(threading.local):
    """The place (seed, epoch, index) of a sample, and its generator once somebody asked."""

    place: tuple[int, int, Any] | None = None
    generator: np.random.Generator | None = None


_current = _Sample()


def derived(seed: int, *path: int) -> np.random.Generator:
    """A generator for the place `path` under `seed`, independent of those of other places."""
    return np.random.default_rng(np.random.SeedSequence(seed % 2**64, spawn_key=path))


@contextmanager
def sample(seed: int, epoch: int, index: Any) -> Iterator[None]:
    """Within the block, `generator()` is the generator of one sample in one epoch.

    Example:
        >>> with sample(seed=0, epoch=3, index=17):
        ...     image = augment(photo)
    """
    before = _current.place, _current.generator
    _current.place, _current.generator = (seed, epoch, index), None
    try:
        yield
    finally:
        _current.place, _current.generator = before


def generator() -> np.random.Generator:
    """The generator of the sample being loaded; outside a loader, one that is never seeded."""
    if _current.generator is None:
        if _current.place is None:
            _current.generator = np.random.default_rng()
        else:
            seed, epoch, index = _current.place
            _current.generator = derived(seed, epoch, _number(index))
    return _current.generator


def _number(index: Any) -> int:
    try:
        return operator.index(index) % 2**64
    except TypeError:
        return zlib.crc32(repr(index).encode())
