"""Layers of ResNet and MobileNetV2 as convolutions, and each of their two gradients."""

import nbgrad
from nbgrad.nn import functional as F
from suites import SAMPLES

# name: image (N, C, H, W), weight (O, C / groups, kh, kw), stride, padding, groups
LAYERS = {
    "resnet_stem_7x7": ((8, 3, 112, 112), (64, 3, 7, 7), 2, 3, 1),
    "resnet_3x3_64": ((8, 64, 28, 28), (64, 64, 3, 3), 1, 1, 1),
    "resnet_3x3_256": ((8, 256, 14, 14), (256, 256, 3, 3), 1, 1, 1),
    "mobilenet_1x1": ((8, 96, 24, 24), (24, 96, 1, 1), 1, 0, 1),
    "mobilenet_depthwise": ((8, 144, 24, 24), (144, 1, 3, 3), 1, 1, 144),
    "mobilenet_depthwise_s2": ((8, 144, 24, 24), (144, 1, 3, 3), 2, 1, 144),
    "grouped_3x3": ((8, 64, 28, 28), (64, 16, 3, 3), 1, 1, 4),
}


class Conv:
    """Eight images through one layer."""

    repeat = SAMPLES
    params = ["resnet_stem_7x7", "resnet_3x3_64", "resnet_3x3_256", "mobilenet_1x1",
              "mobilenet_depthwise", "mobilenet_depthwise_s2", "grouped_3x3"]
    param_names = ["layer"]

    def setup(self, layer):
        nbgrad.manual_seed(0)
        image, weight, stride, padding, groups = LAYERS[layer]
        self.options = {"stride": stride, "padding": padding, "groups": groups}
        self.x = nbgrad.rand(*image, requires_grad=True)
        self.w = nbgrad.rand(*weight, requires_grad=True)
        self.y = F.conv2d(self.x, self.w, **self.options)
        self.grad = nbgrad.rand(self.y.shape)
        self.time_input_gradient(layer)
        self.time_weight_gradient(layer)
        self.time_forward(layer)

    def time_forward(self, layer):
        """A convolution, not recorded."""
        with nbgrad.no_grad():
            F.conv2d(self.x, self.w, **self.options)

    def time_input_gradient(self, layer):
        """The gradient of a convolution to its images."""
        nbgrad.autograd.grad(self.y, self.x, self.grad, retain_graph=True)

    def time_weight_gradient(self, layer):
        """The gradient of a convolution to its weight."""
        nbgrad.autograd.grad(self.y, self.w, self.grad, retain_graph=True)
