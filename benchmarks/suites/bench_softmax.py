"""Softmax and its logarithm along rows."""

import nbgrad
from nbgrad.nn import functional as F
from suites import SAMPLES


class Softmax:
    """Few long rows, many short ones."""

    repeat = SAMPLES
    params = (["softmax", "log_softmax"], [(64, 1000), (1024, 256)])
    param_names = ["op", "shape"]

    def setup(self, op, shape):
        nbgrad.manual_seed(0)
        self.op = getattr(F, op)
        self.x = nbgrad.rand(*shape, requires_grad=True)
        self.y = self.op(self.x, dim=1)
        self.grad = nbgrad.rand(*shape)
        self.time_backward(op, shape)
        self.time_forward(op, shape)

    def time_forward(self, op, shape):
        """Softmax, or its logarithm, of rows, not recorded."""
        with nbgrad.no_grad():
            self.op(self.x, dim=1)

    def time_backward(self, op, shape):
        """The gradient of softmax, or of its logarithm, to its rows."""
        nbgrad.autograd.grad(self.y, self.x, self.grad, retain_graph=True)
