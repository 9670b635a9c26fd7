"""Images of another size."""

import nbgrad
import nbgrad.nn.functional as F
from suites import SAMPLES

OPS = {
    "nearest": lambda x: F.interpolate(x, scale_factor=2.0),
    "bilinear": lambda x: F.interpolate(x, scale_factor=2.0, mode="bilinear"),
    "bicubic": lambda x: F.interpolate(x, scale_factor=0.75, mode="bicubic"),
}
SHAPES = {"56": (8, 16, 56, 56)}


class Resample:
    """A batch of 8 images of 16 channels, twice as large or three quarters."""

    repeat = SAMPLES
    params = (["nearest", "bilinear", "bicubic"], ["56"])
    param_names = ["op", "shape"]

    def setup(self, op, shape):
        nbgrad.manual_seed(0)
        self.op = OPS[op]
        self.x = nbgrad.rand(*SHAPES[shape], requires_grad=True)
        self.y = self.op(self.x)
        self.grad = nbgrad.rand(self.y.shape)
        self.time_backward(op, shape)
        self.time_forward(op, shape)

    def time_forward(self, op, shape):
        """The result alone, not recorded."""
        with nbgrad.no_grad():
            self.op(self.x)

    def time_backward(self, op, shape):
        """The gradient to the input."""
        nbgrad.autograd.grad(self.y, self.x, self.grad, retain_graph=True)
