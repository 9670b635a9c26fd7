"""Generators of random numbers, which count what they gave out, and the one used by default."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

from nbgrad import dtypes
from nbgrad.kernels.backend import Twins, resolve
from nbgrad.ops.create import from_numpy
from nbgrad.tensor import Tensor

kernels = Twins("random")

_DEFAULT_SEED = 67280421310721


class Generator:
    """A seed, and how many blocks of random words were drawn from it.

    A number depends on the seed and its place alone, never on threads.

    Example:
        >>> import nbgrad
        >>> g = nbgrad.Generator().manual_seed(1)
        >>> a = nbgrad.rand(3, generator=g)
        >>> bool((a == nbgrad.rand(3, generator=g.manual_seed(1))).all())
        True
    """

    def __init__(self, device="cpu") -> None:
        self.device = resolve(device)
        self._seed, self._offset = _DEFAULT_SEED, 0
        self._lock = threading.Lock()

    def manual_seed(self, seed: int) -> Generator:
        """Start anew from `seed`; returns the generator."""
        number = int(seed)
        if not -2**63 <= number < 2**64:
            raise ValueError(f"Overflow when unpacking long long: {number} is no seed of 64 bits")
        self._seed, self._offset = number & (2**64 - 1), 0
        return self

    def seed(self) -> int:
        """Start anew from a seed of the operating system, and return it."""
        self.manual_seed(int.from_bytes(os.urandom(7), "little"))
        return self._seed

    def initial_seed(self) -> int:
        """The seed it was started from."""
        return self._seed

    def get_state(self) -> Tensor:
        """Seed and offset, as bytes."""
        state = np.array([self._seed, self._offset], np.uint64)
        return from_numpy(state.view(np.uint8).copy())

    def set_state(self, new_state: Tensor) -> Generator:
        """Go back to where `get_state` was called."""
        if not isinstance(new_state, Tensor) or new_state.dtype is not dtypes.uint8:
            raise TypeError("RNG state must be a torch.ByteTensor")
        if new_state.numel() != 16:
            raise RuntimeError("RNG state is wrong size: it must come from get_state()")
        state = np.ascontiguousarray(new_state._values()).view(np.uint64)
        self._seed, self._offset = (int(v) for v in state)
        return self

    def clone_state(self) -> Generator:
        """Another generator in the same state."""
        return Generator(self.device).set_state(self.get_state())

    def take(self, n: int) -> tuple[int, int]:
        """Seed and offset for a draw of n numbers, which nobody else will get."""
        with self._lock:
            offset = self._offset
            self._offset += kernels.advance(n)
        return self._seed, offset

    def __getstate__(self) -> tuple[int, int]:
        return self._seed, self._offset

    def __setstate__(self, state: tuple[int, int]) -> None:
        Generator.__init__(self)
        self._seed, self._offset = state

    def __repr__(self) -> str:
        return f"<nbgrad.Generator seed={self._seed} offset={self._offset}>"


default_generator = Generator()


def take(generator: Generator | None, n: int) -> tuple[int, int]:
    """Seed and offset for a draw of n numbers from a generator, the default one if None."""
    if generator is None:
        return default_generator.take(n)
    if not isinstance(generator, Generator):
        raise TypeError(f"generator must be a nbgrad.Generator, not {type(generator).__name__}")
    return generator.take(n)


def manual_seed(seed: int) -> Generator:
    """Seed the default generator; returns it."""
    return default_generator.manual_seed(seed)


def seed() -> int:
    """Seed the default generator from the operating system; returns the seed."""
    return default_generator.seed()


def initial_seed() -> int:
    """The seed of the default generator."""
    return default_generator.initial_seed()


def get_rng_state() -> Tensor:
    """The state of the default generator, as bytes."""
    return default_generator.get_state()


def set_rng_state(new_state: Tensor) -> None:
    """Put the default generator back to a state."""
    default_generator.set_state(new_state)


@contextmanager
def fork_rng(devices=None, enabled: bool = True, device_type: str = "cpu") -> Iterator[None]:
    """A block that leaves the default generator as it was before, if enabled."""
    state = get_rng_state()
    try:
        yield
    finally:
        if enabled:
            set_rng_state(state)


PACKAGE_ONLY = {f.__name__: f for f in (
    manual_seed, seed, initial_seed, get_rng_state, set_rng_state)} | {
    "Generator": Generator, "default_generator": default_generator}
