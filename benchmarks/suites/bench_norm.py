"""Normalisation of images and of rows."""

import nbgrad
from nbgrad import nn
from suites import SAMPLES

# name: layer, shape of its input
LAYERS = {
    "batch": (lambda: nn.BatchNorm2d(64), (8, 64, 28, 28)),
    "batch_eval": (lambda: nn.BatchNorm2d(64).eval(), (8, 64, 28, 28)),
    "group_8": (lambda: nn.GroupNorm(8, 64), (8, 64, 28, 28)),
    "layer": (lambda: nn.LayerNorm(256), (1024, 256)),
}


class Norm:
    """Some 300,000 floats."""

    repeat = SAMPLES
    params = ["batch", "batch_eval", "group_8", "layer"]
    param_names = ["norm"]

    def setup(self, norm):
        nbgrad.manual_seed(0)
        make, shape = LAYERS[norm]
        self.layer = make()
        self.x = nbgrad.rand(*shape, requires_grad=True)
        self.inputs = (self.x, self.layer.weight, self.layer.bias)
        self.y = self.layer(self.x)
        self.grad = nbgrad.rand(*shape)
        self.time_backward(norm)
        self.time_forward(norm)

    def time_forward(self, norm):
        """A normalisation layer, not recorded."""
        with nbgrad.no_grad():
            self.layer(self.x)

    def time_backward(self, norm):
        """The gradients of a normalisation layer to input, weight and bias."""
        nbgrad.autograd.grad(self.y, self.inputs, self.grad, retain_graph=True)
