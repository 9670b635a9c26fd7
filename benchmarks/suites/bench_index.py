"""Values taken and put by index."""

import nbgrad
from nbgrad.nn import functional as F
from suites import SAMPLES

OPS = {
    "embedding": lambda x, rows: F.embedding(rows, x),
    "index_select": lambda x, rows: x.index_select(0, rows),
    "getitem": lambda x, rows: x[rows],
    "gather": lambda x, rows: x.gather(0, rows.view(4096, 1).expand(4096, 128)),
    "columns": lambda x, rows: x.index_select(1, rows[:128] % 128),
}


class Index:
    """4,096 of 10,000 rows of 128 floats, or columns, in random order."""

    repeat = SAMPLES
    params = ["embedding", "index_select", "getitem", "gather", "columns"]
    param_names = ["op"]

    def setup(self, op):
        nbgrad.manual_seed(0)
        self.op = OPS[op]
        self.x = nbgrad.rand(10_000, 128, requires_grad=True)
        self.rows = nbgrad.randint(0, 10_000, (4096,))
        self.y = self.op(self.x, self.rows)
        self.grad = nbgrad.rand(self.y.shape)
        self.time_backward(op)
        self.time_forward(op)

    def time_forward(self, op):
        """Rows taken from a table, not recorded."""
        with nbgrad.no_grad():
            self.op(self.x, self.rows)

    def time_backward(self, op):
        """The gradients of rows added to those of their table."""
        nbgrad.autograd.grad(self.y, self.x, self.grad, retain_graph=True)
