"""The same numbers in another order."""

import nbgrad
from suites import OpsOfShapes

OPS = {
    "flip": lambda x: nbgrad.flip(x, [1]),
    "roll": lambda x: nbgrad.roll(x, 3, 1),
    "tril": nbgrad.tril,
    "repeat_interleave": lambda x: nbgrad.repeat_interleave(x, 3, 1),
    "tile": lambda x: nbgrad.tile(x, (1, 2)),
}
SHAPES = {"large": (1000, 1000), "small": (16, 16)}


class Rearrange(OpsOfShapes):
    """A matrix of a million floats, or a small one."""

    ops = OPS
    shapes = SHAPES
    params = (["flip", "roll", "tril", "repeat_interleave", "tile"], ["large", "small"])
