"""Sorting and picking by rank."""

import nbgrad
from suites import OpsOfShapes

OPS = {
    "sort": lambda x: nbgrad.sort(x)[0],
    "topk": lambda x: nbgrad.topk(x, 10)[0],
    "kthvalue": lambda x: nbgrad.kthvalue(x, 10)[0],
}
SHAPES = {"rows": (1000, 1000), "one": (1_000_000,)}


class Sort(OpsOfShapes):
    """A million floats, in a thousand rows or in one."""

    ops = OPS
    shapes = SHAPES
    params = (["sort", "topk", "kthvalue"], ["rows", "one"])
