"""Attention of some heads."""

import nbgrad
import nbgrad.nn.functional as F
from suites import SAMPLES

OPS = {
    "all": lambda q: F.scaled_dot_product_attention(q, q, q),
    "causal": lambda q: F.scaled_dot_product_attention(q, q, q, is_causal=True),
}
SHAPES = {"short": (4, 8, 64, 64), "long": (1, 8, 1024, 64)}


class Attention:
    """Eight heads of 64 numbers, sequences of 64 or 1024, causal or not."""

    repeat = SAMPLES
    params = (["all", "causal"], ["short", "long"])
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
