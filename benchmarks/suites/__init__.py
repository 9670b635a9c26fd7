"""What is timed: one file a family, every kernel warmed up in setup, parameters fixed for good."""

from abc import ABC, abstractmethod

import nbgrad

#: Samples of one call each: at least 5, at most 200, for half a second; asv sets up anew for each.
SAMPLES = (5, 200, 0.5)


class OpsOfShapes(ABC):
    """Ops of one tensor, by name, and its shapes; `params` lists the names of both.

    Abstract, as asv times every other class that it finds.
    """

    repeat = SAMPLES
    param_names = ["op", "shape"]

    @property
    @abstractmethod
    def ops(self):
        """name: function of a tensor."""

    @property
    @abstractmethod
    def shapes(self):
        """name: shape."""

    def setup(self, op, shape):
        nbgrad.manual_seed(0)
        self.op = self.ops[op]
        self.x = nbgrad.rand(*self.shapes[shape], requires_grad=True)
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
