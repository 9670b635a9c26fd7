"""Elementwise kernels, in the cache and beyond it, contiguous and not."""

import nbgrad
from suites import SAMPLES

BINARY = ("add", "mul")


class Elementwise:
    """Contiguous operands."""

    repeat = SAMPLES
    params = (["add", "mul", "exp", "tanh", "relu", "gelu"], [1_000, 65_536, 4_000_000])
    param_names = ["op", "size"]

    def setup(self, op, size):
        nbgrad.manual_seed(0)
        self.op = getattr(nbgrad, op)
        self.inputs = [nbgrad.rand(size, requires_grad=True) for _ in range(1 + (op in BINARY))]
        self.y = self.op(*self.inputs)
        self.grad = nbgrad.ones(size)
        self.time_backward(op, size)
        self.time_forward(op, size)

    def time_forward(self, op, size):
        """An op on vectors, not recorded."""
        with nbgrad.no_grad():
            self.op(*self.inputs)

    def time_backward(self, op, size):
        """The gradients of an op on vectors to all its inputs."""
        nbgrad.autograd.grad(self.y, self.inputs, self.grad, retain_graph=True)


class Inplace:
    """Results that need no memory."""

    repeat = SAMPLES
    params = [1_000, 65_536, 4_000_000]
    param_names = ["size"]

    def setup(self, size):
        self.x, self.other = nbgrad.zeros(size), nbgrad.ones(size)
        self.time_add(size)

    def time_add(self, size):
        """One vector added to another in place."""
        self.x.add_(self.other)


class Strided:
    """Operands that are not contiguous."""

    repeat = SAMPLES
    params = ["transposed", "every_other", "row", "column"]
    param_names = ["layout"]

    def setup(self, layout):
        nbgrad.manual_seed(0)
        self.x = nbgrad.rand(1000, 1000)
        self.other = {
            "transposed": nbgrad.rand(1000, 1000).T,
            "every_other": nbgrad.rand(1000, 2000)[:, ::2],
            "row": nbgrad.rand(1000),
            "column": nbgrad.rand(1000, 1),
        }[layout]
        self.time_mul(layout)

    def time_mul(self, layout):
        """A matrix of a million floats times one laid out otherwise, or times a row or a column."""
        self.x * self.other
