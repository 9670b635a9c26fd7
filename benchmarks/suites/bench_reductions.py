"""Reductions of a matrix to a number, along its rows and along its columns."""

import nbgrad
from suites import SAMPLES

OVER = {"all": None, "rows": 1, "columns": 0}


class Reductions:
    """A matrix of 1024 x 1024 floats."""

    repeat = SAMPLES
    params = (["sum", "amax", "var", "argmax"], ["all", "rows", "columns"])
    param_names = ["op", "over"]

    def setup(self, op, over):
        nbgrad.manual_seed(0)
        self.op, self.dim = getattr(nbgrad, op), OVER[over]
        self.x = nbgrad.rand(1024, 1024)
        self.time_forward(op, over)

    def time_forward(self, op, over):
        """A reduction of a million floats."""
        self.op(self.x, dim=self.dim)


class Gradients:
    """The same matrix."""

    repeat = SAMPLES
    params = (["sum", "amax", "var"], ["all", "rows", "columns"])
    param_names = ["op", "over"]

    def setup(self, op, over):
        nbgrad.manual_seed(0)
        self.x = nbgrad.rand(1024, 1024, requires_grad=True)
        self.y = getattr(nbgrad, op)(self.x, dim=OVER[over])
        self.grad = nbgrad.ones_like(self.y)
        self.time_backward(op, over)

    def time_backward(self, op, over):
        """The gradient of a reduction to its million floats."""
        nbgrad.autograd.grad(self.y, self.x, self.grad, retain_graph=True)
