"""The loss of sequences without an alignment."""

import nbgrad
import nbgrad.nn.functional as F
from suites import SAMPLES


class Ctc:
    """16 sequences of 100 steps over 40 classes, with targets of 20."""

    repeat = SAMPLES

    def setup(self):
        nbgrad.manual_seed(0)
        self.x = F.log_softmax(nbgrad.randn(100, 16, 40), 2).requires_grad_()
        self.targets = nbgrad.randint(1, 40, (16, 20))
        self.lengths = [100] * 16, [20] * 16
        self.y = self.loss()
        self.time_backward()
        self.time_forward()

    def loss(self):
        return F.ctc_loss(self.x, self.targets, *self.lengths)

    def time_forward(self):
        """The loss alone, not recorded."""
        with nbgrad.no_grad():
            self.loss()

    def time_backward(self):
        """The gradient to the log probabilities."""
        nbgrad.autograd.grad(self.y, self.x, retain_graph=True)
