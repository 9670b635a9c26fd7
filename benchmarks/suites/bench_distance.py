"""Distances between points."""

import nbgrad
import nbgrad.nn.functional as F
from suites import SAMPLES

OPS = {
    "cdist": lambda x: nbgrad.cdist(x, x[:500] + 1),
    "pdist": F.pdist,
}
SHAPES = {"1000": (1000, 64)}


class Distance:
    """A thousand points of 64 numbers, and all pairs of them."""

    repeat = SAMPLES
    params = (["cdist", "pdist"], ["1000"])
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
