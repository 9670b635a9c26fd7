"""The generator of random numbers of the device: the default one, which the CPU draws from, too.

A number depends on the seed and its place alone, so both devices draw the same ones.
"""

from __future__ import annotations

from nbgrad import random
from nbgrad.cuda.device import device_count, is_available
from nbgrad.tensor import Tensor

#: The generator of each device.
default_generators = (random.default_generator,)


def manual_seed(seed: int) -> None:
    """Seed the generator; nothing happens where there is no device."""
    if is_available():
        random.manual_seed(seed)


def seed() -> None:
    """Seed the generator from the operating system; nothing happens where there is no device."""
    if is_available():
        random.seed()


manual_seed_all, seed_all = manual_seed, seed


def initial_seed() -> int:
    """The seed of the generator."""
    return random.initial_seed()


def get_rng_state(device="cuda") -> Tensor:
    """The state of the generator, as bytes."""
    return random.get_rng_state()


def set_rng_state(new_state: Tensor, device="cuda") -> None:
    """Put the generator back to a state."""
    random.set_rng_state(new_state)


def get_rng_state_all() -> list[Tensor]:
    """The states of the generators of all devices."""
    return [get_rng_state() for _ in range(device_count())]


def set_rng_state_all(new_states) -> None:
    """Put the generators of all devices back to their states."""
    for state in new_states:
        set_rng_state(state)
