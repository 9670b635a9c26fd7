"""Images read at any places."""

import nbgrad
import nbgrad.nn.functional as F
from suites import OpsOfShapes

SHAPES = {"64": (8, 32, 64, 64)}
TURN = nbgrad.tensor([[[0.8, 0.6, 0.0], [-0.6, 0.8, 0.0]]]).expand(8, 2, 3)
PLACES = F.affine_grid(TURN, SHAPES["64"], align_corners=False)
OPS = {
    "bilinear": lambda x: F.grid_sample(x, PLACES, align_corners=False),
    "nearest": lambda x: F.grid_sample(x, PLACES, "nearest", align_corners=False),
    "bicubic": lambda x: F.grid_sample(x, PLACES, "bicubic", "border", align_corners=False),
}


class Grid(OpsOfShapes):
    """A batch of 8 images of 32 channels, turned."""

    ops = OPS
    shapes = SHAPES
    params = (["bilinear", "nearest", "bicubic"], ["64"])
