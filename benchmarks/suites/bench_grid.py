"""Images read at any places."""

import nbgrad
import nbgrad.nn.functional as F
from suites import OpsOfShapes


class Grid(OpsOfShapes):
    """A batch of 8 images of 32 channels, turned."""

    ops = {"bilinear": ("bilinear",), "nearest": ("nearest",), "bicubic": ("bicubic", "border")}
    shapes = {"64": (8, 32, 64, 64)}
    params = (["bilinear", "nearest", "bicubic"], ["64"])

    def setup(self, op, shape):
        turn = nbgrad.tensor([[[0.8, 0.6, 0.0], [-0.6, 0.8, 0.0]]]).expand(8, 2, 3)
        grid = F.affine_grid(turn, self.shapes[shape], align_corners=False)
        how = Grid.ops[op]
        self.ops = {op: lambda x: F.grid_sample(x, grid, *how, align_corners=False)}
        super().setup(op, shape)
