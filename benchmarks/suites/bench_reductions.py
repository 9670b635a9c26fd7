"""Reductions of a matrix to a number, along its rows and along its columns."""

import nbgrad


class Reductions:
    params = (["sum", "mean", "amax", "var", "logsumexp", "argmax"], ["all", "rows", "columns"])
    param_names = ["op", "over"]

    def setup(self, op, over):
        nbgrad.manual_seed(0)
        self.op = getattr(nbgrad, op)
        self.dim = {"all": (0, 1), "rows": 1, "columns": 0}[over]
        if op == "argmax" and over == "all":
            self.dim = None
        self.x = nbgrad.rand(1024, 1024, requires_grad=True)
        self.y = self.op(self.x, dim=self.dim)
        self.time_forward(op, over)
        if self.y.requires_grad:
            self.grad = nbgrad.ones_like(self.y)
            self.time_backward(op, over)

    def time_forward(self, op, over):
        with nbgrad.no_grad():
            self.op(self.x, dim=self.dim)

    def time_backward(self, op, over):
        if self.y.requires_grad:
            nbgrad.autograd.grad(self.y, self.x, self.grad, retain_graph=True)
