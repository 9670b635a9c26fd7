"""Elementwise kernels, forward and backward, in the cache and beyond it."""

import nbgrad
from nbgrad.nn import functional as F

UNARY = {"exp": nbgrad.exp, "log1p": nbgrad.log1p, "tanh": nbgrad.tanh, "relu": F.relu,
         "gelu": F.gelu}
BINARY = {"add": nbgrad.add, "mul": nbgrad.mul, "div": nbgrad.div}


class Elementwise:
    params = (["add", "mul", "div", "exp", "log1p", "tanh", "relu", "gelu"],
              [1_000, 65_536, 4_000_000])
    param_names = ["op", "size"]

    def setup(self, op, size):
        nbgrad.manual_seed(0)
        self.op = UNARY.get(op) or BINARY[op]
        self.inputs = [nbgrad.rand(size, requires_grad=True) for _ in range(1 + (op in BINARY))]
        self.y = self.op(*self.inputs)
        self.grad = nbgrad.ones(size)
        self.time_backward(op, size)
        self.time_forward(op, size)

    def time_forward(self, op, size):
        with nbgrad.no_grad():
            self.op(*self.inputs)

    def time_backward(self, op, size):
        nbgrad.autograd.grad(self.y, self.inputs, self.grad, retain_graph=True)


class Strided:
    """Operands that are not contiguous."""

    params = ["transposed", "every_other", "row", "column"]
    param_names = ["layout"]

    def setup(self, layout):
        self.x = nbgrad.rand(1000, 1000)
        self.other = {
            "transposed": nbgrad.rand(1000, 1000).T,
            "every_other": nbgrad.rand(1000, 2000)[:, ::2],
            "row": nbgrad.rand(1000),
            "column": nbgrad.rand(1000, 1),
        }[layout]
        self.time_mul(layout)

    def time_mul(self, layout):
        self.x * self.other
