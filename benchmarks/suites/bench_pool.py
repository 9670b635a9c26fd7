"""Pooling of images."""

import nbgrad
from nbgrad import nn
from suites import SAMPLES

LAYERS = {
    "max_3x3_s2": lambda: nn.MaxPool2d(3, 2, padding=1),
    "avg_2x2": lambda: nn.AvgPool2d(2),
    "adaptive_avg_1x1": lambda: nn.AdaptiveAvgPool2d(1),
}


class Pool:
    """Eight images of 28 x 28 pixels and 64 channels."""

    repeat = SAMPLES
    params = ["max_3x3_s2", "avg_2x2", "adaptive_avg_1x1"]
    param_names = ["layer"]

    def setup(self, layer):
        nbgrad.manual_seed(0)
        self.layer = LAYERS[layer]()
        self.x = nbgrad.rand(8, 64, 28, 28, requires_grad=True)
        self.y = self.layer(self.x)
        self.grad = nbgrad.ones_like(self.y)
        self.time_backward(layer)
        self.time_forward(layer)

    def time_forward(self, layer):
        """A pooling layer, not recorded."""
        with nbgrad.no_grad():
            self.layer(self.x)

    def time_backward(self, layer):
        """The gradient of a pooling layer to its images."""
        nbgrad.autograd.grad(self.y, self.x, self.grad, retain_graph=True)
