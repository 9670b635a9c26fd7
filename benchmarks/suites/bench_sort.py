"""Sorting and picking by rank."""

import nbgrad
from suites import SAMPLES

OPS = {
    "sort": lambda x: nbgrad.sort(x)[0],
    "topk": lambda x: nbgrad.topk(x, 10)[0],
    "kthvalue": lambda x: nbgrad.kthvalue(x, 10)[0],
}
SHAPES = {"rows": (1000, 1000), "one": (1_000_000,)}


class Sort:
    """A million floats, in a thousand rows or in one."""

    repeat = SAMPLES
    params = (["sort", "topk", "kthvalue"], ["rows", "one"])
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
        """The entries and their places, not recorded."""
        with nbgrad.no_grad():
            self.op(self.x)

    def time_backward(self, op, shape):
        """The gradients put back in their places."""
        nbgrad.autograd.grad(self.y, self.x, self.grad, retain_graph=True)
