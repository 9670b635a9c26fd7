"""What an op costs beside its arithmetic: a thousand ops on 32 floats."""

import nbgrad
from suites import SAMPLES

LENGTH = 1000


class Chain:
    """`y = y * w`, a thousand times over."""

    repeat = SAMPLES

    def setup(self):
        self.x = nbgrad.ones(32)
        self.w = nbgrad.ones(32, requires_grad=True)
        self.grad = nbgrad.ones(32)
        self.y = self.chain()
        self.time_backward()
        self.time_forward_no_grad()

    def chain(self):
        y, w = self.x, self.w
        for _ in range(LENGTH):
            y = y * w
        return y

    def time_forward(self):
        """A chain of 1,000 products, recorded."""
        self.chain()

    def time_forward_no_grad(self):
        """A chain of 1,000 products, not recorded."""
        with nbgrad.no_grad():
            self.chain()

    def time_backward(self):
        """Backward through a chain of 1,000 products."""
        self.y.backward(self.grad, retain_graph=True)


class Ops:
    """Other roads through the door."""

    repeat = SAMPLES
    params = ["scalar", "unary", "inplace", "view", "index", "broadcast", "reduce", "matmul"]
    param_names = ["op"]

    def setup(self, op):
        x, w = nbgrad.ones(4, 8), nbgrad.ones(8)
        a, b = nbgrad.ones(4, 4), nbgrad.ones(4, 4)
        self.run = {
            "scalar": lambda: x * 2.0,
            "unary": lambda: x.neg(),
            "inplace": lambda: x.mul_(w),
            "view": lambda: x.view(32),
            "index": lambda: x[1],
            "broadcast": lambda: x + w,
            "reduce": lambda: x.sum(),
            "matmul": lambda: a @ b,
        }[op]
        self.run()

    def time_op(self, op):
        """One op on 32 floats, 1,000 times, nothing to record."""
        run = self.run
        for _ in range(LENGTH):
            run()
