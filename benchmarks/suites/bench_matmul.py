"""Matrix products: square, transposed, thin, batched, and a linear layer's three."""

import nbgrad
from nbgrad.nn import functional as F
from suites import SAMPLES


class Square:
    """Two square matrices."""

    repeat = SAMPLES
    params = ([64, 256, 1024], ["nn", "nt", "tn"])
    param_names = ["n", "layout"]

    def setup(self, n, layout):
        nbgrad.manual_seed(0)
        self.a, self.b = nbgrad.rand(n, n), nbgrad.rand(n, n)
        if layout[0] == "t":
            self.a = self.a.T
        if layout[1] == "t":
            self.b = self.b.T
        self.time_matmul(n, layout)

    def time_matmul(self, n, layout):
        """The product of two n x n matrices, one of which may be transposed (t)."""
        self.a @ self.b


class Batched:
    """Many small products."""

    repeat = SAMPLES
    params = ([(64, 32, 32, 32), (16, 128, 64, 128)],)
    param_names = ["batch_m_k_n"]

    def setup(self, shape):
        nbgrad.manual_seed(0)
        batch, m, k, n = shape
        self.a, self.b = nbgrad.rand(batch, m, k), nbgrad.rand(batch, k, n)
        self.time_bmm(shape)

    def time_bmm(self, shape):
        """A batch of products of an m x k and a k x n matrix."""
        nbgrad.bmm(self.a, self.b)


class Linear:
    """A linear layer."""

    repeat = SAMPLES
    params = ([(32, 1280, 10), (128, 784, 256), (64, 512, 1000)],)
    param_names = ["batch_in_out"]

    def setup(self, shape):
        nbgrad.manual_seed(0)
        batch, inputs, outputs = shape
        self.x = nbgrad.rand(batch, inputs, requires_grad=True)
        self.w = nbgrad.rand(outputs, inputs, requires_grad=True)
        self.b = nbgrad.rand(outputs, requires_grad=True)
        self.y = F.linear(self.x, self.w, self.b)
        self.grad = nbgrad.rand(batch, outputs)
        self.time_backward(shape)
        self.time_forward(shape)

    def time_forward(self, shape):
        """A linear layer with bias, not recorded."""
        with nbgrad.no_grad():
            F.linear(self.x, self.w, self.b)

    def time_backward(self, shape):
        """The gradients of a linear layer to input, weight and bias."""
        nbgrad.autograd.grad(self.y, (self.x, self.w, self.b), self.grad, retain_graph=True)
