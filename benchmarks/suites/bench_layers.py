"""The layers between the products: pooling, normalisation, softmax, loss, dropout, embedding."""

import nbgrad
from nbgrad import nn
from nbgrad.nn import functional as F


def image():
    return nbgrad.rand(8, 64, 28, 28, requires_grad=True)


def rows():
    return nbgrad.rand(1024, 256, requires_grad=True)


LAYERS = {
    "max_pool2d": (image, lambda: nn.MaxPool2d(3, 2, padding=1)),
    "avg_pool2d": (image, lambda: nn.AvgPool2d(2)),
    "adaptive_avg_pool2d": (image, lambda: nn.AdaptiveAvgPool2d(1)),
    "batch_norm": (image, lambda: nn.BatchNorm2d(64)),
    "batch_norm_eval": (image, lambda: nn.BatchNorm2d(64).eval()),
    "layer_norm": (rows, lambda: nn.LayerNorm(256)),
    "softmax": (rows, lambda: nn.Softmax(1)),
    "dropout": (rows, lambda: nn.Dropout(0.1)),
    "cross_entropy": (rows, lambda: lambda x: F.cross_entropy(x, LABELS)),
}
LABELS = nbgrad.arange(1024) % 256


class Layers:
    params = ["max_pool2d", "avg_pool2d", "adaptive_avg_pool2d", "batch_norm", "batch_norm_eval",
              "layer_norm", "softmax", "dropout", "cross_entropy"]
    param_names = ["layer"]

    def setup(self, layer):
        nbgrad.manual_seed(0)
        make_input, make_layer = LAYERS[layer]
        self.x, self.layer = make_input(), make_layer()
        self.y = self.layer(self.x)
        self.grad = nbgrad.ones_like(self.y)
        self.time_backward(layer)
        self.time_forward(layer)

    def time_forward(self, layer):
        with nbgrad.no_grad():
            self.layer(self.x)

    def time_backward(self, layer):
        nbgrad.autograd.grad(self.y, self.x, self.grad, retain_graph=True)


class Embedding:
    def setup(self):
        nbgrad.manual_seed(0)
        self.weight = nbgrad.rand(10_000, 128, requires_grad=True)
        self.index = nbgrad.randint(0, 10_000, (4096,))
        self.y = F.embedding(self.index, self.weight)
        self.grad = nbgrad.ones_like(self.y)
        self.time_backward()
        self.time_forward()

    def time_forward(self):
        with nbgrad.no_grad():
            F.embedding(self.index, self.weight)

    def time_backward(self):
        nbgrad.autograd.grad(self.y, self.weight, self.grad, retain_graph=True)
