"""Attention of some heads."""

import nbgrad.nn.functional as F
from suites import OpsOfShapes

OPS = {
    "all": lambda q: F.scaled_dot_product_attention(q, q, q),
    "causal": lambda q: F.scaled_dot_product_attention(q, q, q, is_causal=True),
}
SHAPES = {"short": (4, 8, 64, 64), "long": (1, 8, 1024, 64)}


class Attention(OpsOfShapes):
    """Eight heads of 64 numbers, sequences of 64 or 1024, causal or not."""

    ops = OPS
    shapes = SHAPES
    params = (["all", "causal"], ["short", "long"])
