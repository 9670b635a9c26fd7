"""Random numbers."""

import nbgrad
from nbgrad.nn import functional as F
from suites import SAMPLES

SIZE = 1_000_000
OPS = {
    "rand": lambda x: nbgrad.rand(SIZE),
    "randn": lambda x: nbgrad.randn(SIZE),
    "randint": lambda x: nbgrad.randint(0, 1000, (SIZE,)),
    "randperm": lambda x: nbgrad.randperm(SIZE),
    "dropout": lambda x: F.dropout(x, 0.1),
}


class Random:
    """A million numbers."""

    repeat = SAMPLES
    params = ["rand", "randn", "randint", "randperm", "dropout"]
    param_names = ["op"]

    def setup(self, op):
        nbgrad.manual_seed(0)
        self.op, self.x = OPS[op], nbgrad.ones(SIZE)
        self.time_draw(op)

    def time_draw(self, op):
        """A million random numbers, or a million floats of which some are dropped."""
        self.op(self.x)
