"""Losses of a batch."""

import nbgrad
from nbgrad.nn import functional as F
from suites import SAMPLES


class Loss:
    """1,024 rows of 256 floats."""

    repeat = SAMPLES
    params = ["cross_entropy", "mse_loss", "binary_cross_entropy_with_logits"]
    param_names = ["loss"]

    def setup(self, loss):
        nbgrad.manual_seed(0)
        self.loss = getattr(F, loss)
        self.x = nbgrad.rand(1024, 256, requires_grad=True)
        classes = nbgrad.arange(1024) % 256
        self.target = classes if loss == "cross_entropy" else nbgrad.rand(1024, 256)
        self.y = self.loss(self.x, self.target)
        self.time_backward(loss)
        self.time_forward(loss)

    def time_forward(self, loss):
        """A mean loss, not recorded."""
        with nbgrad.no_grad():
            self.loss(self.x, self.target)

    def time_backward(self, loss):
        """The gradient of a mean loss to the predictions."""
        nbgrad.autograd.grad(self.y, self.x, retain_graph=True)
