"""Images of another size, or cut into windows and put together."""

import nbgrad.nn.functional as F
from suites import OpsOfShapes

OPS = {
    "nearest": lambda x: F.interpolate(x, scale_factor=2.0),
    "bilinear": lambda x: F.interpolate(x, scale_factor=2.0, mode="bilinear"),
    "bicubic": lambda x: F.interpolate(x, scale_factor=0.75, mode="bicubic"),
    "fold": lambda x: F.fold(F.unfold(x, 3, padding=1), 56, 3, padding=1),
}
SHAPES = {"56": (8, 16, 56, 56)}


class Resample(OpsOfShapes):
    """A batch of 8 images of 16 channels, each op at its usual options."""

    ops = OPS
    shapes = SHAPES
    params = (["nearest", "bilinear", "bicubic", "fold"], ["56"])
