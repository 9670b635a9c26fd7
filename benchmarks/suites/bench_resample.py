"""Images of another size."""

import nbgrad.nn.functional as F
from suites import OpsOfShapes

OPS = {
    "nearest": lambda x: F.interpolate(x, scale_factor=2.0),
    "bilinear": lambda x: F.interpolate(x, scale_factor=2.0, mode="bilinear"),
    "bicubic": lambda x: F.interpolate(x, scale_factor=0.75, mode="bicubic"),
}
SHAPES = {"56": (8, 16, 56, 56)}


class Resample(OpsOfShapes):
    """A batch of 8 images of 16 channels, twice as large or three quarters."""

    ops = OPS
    shapes = SHAPES
    params = (["nearest", "bilinear", "bicubic"], ["56"])
