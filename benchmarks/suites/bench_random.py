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
    "normal_": lambda x: x.normal_(1, 2),
    "bernoulli_": lambda x: x.bernoulli_(0.3),
    "multinomial": lambda x: nbgrad.multinomial(x.view(100, -1), 50),
    "dropout": lambda x: F.dropout(x, 0.1),
}


class Random:
    """A million numbers."""

    repeat = SAMPLES
    params = ["rand", "randn", "randint", "randperm", "normal_", "bernoulli_", "multinomial",
              "dropout"]
    param_names = ["op"]

    def setup(self, op):
        nbgrad.manual_seed(0)
        self.op, self.x = OPS[op], nbgrad.rand(SIZE)
        self.time_draw(op)

    def time_draw(self, op):
        """A million random numbers, or a million floats of which some are dropped."""
        self.op(self.x)
