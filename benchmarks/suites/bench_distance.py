"""Distances between points."""

import nbgrad
import nbgrad.nn.functional as F
from suites import OpsOfShapes

OPS = {
    "cdist": lambda x: nbgrad.cdist(x, x[:500] + 1),
    "pdist": F.pdist,
}
SHAPES = {"1000": (1000, 64)}


class Distance(OpsOfShapes):
    """A thousand points of 64 numbers, and all pairs of them."""

    ops = OPS
    shapes = SHAPES
    params = (["cdist", "pdist"], ["1000"])
