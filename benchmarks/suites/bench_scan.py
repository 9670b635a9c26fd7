"""Scans along rows and along columns."""

import nbgrad
from suites import SAMPLES

OPS = {
    "cumsum": nbgrad.cumsum,
    "cumprod": nbgrad.cumprod,
    "logcumsumexp": nbgrad.logcumsumexp,
    "cummax": lambda x, dim: nbgrad.cummax(x, dim)[0],
}


class Scan:
    """A matrix of a million floats."""

    repeat = SAMPLES
    params = (["cumsum", "cumprod", "logcumsumexp", "cummax"], [0, 1])
    param_names = ["op", "dim"]

    def setup(self, op, dim):
        nbgrad.manual_seed(0)
        self.op = OPS[op]
        self.x = nbgrad.rand(1000, 1000, requires_grad=True)
        self.y = self.op(self.x, dim)
        self.grad = nbgrad.rand(1000, 1000)
        self.time_backward(op, dim)
        self.time_forward(op, dim)

    def time_forward(self, op, dim):
        """The scan, not recorded."""
        with nbgrad.no_grad():
            self.op(self.x, dim)

    def time_backward(self, op, dim):
        """The gradient of the scan."""
        nbgrad.autograd.grad(self.y, self.x, self.grad, retain_graph=True)
