"""The same numbers in another order."""

import nbgrad
from suites import SAMPLES

OPS = {
    "flip": lambda x: nbgrad.flip(x, [1]),
    "roll": lambda x: nbgrad.roll(x, 3, 1),
    "tril": nbgrad.tril,
    "tile": lambda x: nbgrad.tile(x, (1, 2)),
}
SHAPES = {"large": (1000, 1000), "small": (16, 16)}


class Rearrange:
    """A matrix of a million floats, or a small one."""

    repeat = SAMPLES
    params = (["flip", "roll", "tril", "tile"], ["large", "small"])
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
