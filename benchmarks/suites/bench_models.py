"""Whole nets: training steps, features of a frozen net, and the memory of both."""

import nbgrad
from nbgrad import models, nn, optim
from suites import SAMPLES


def head():
    """MobileNetV2's head on 64 rows of features."""
    return models.mobilenet_v2(num_classes=10).classifier, (64, 1280)


def last_block():
    """MobileNetV2's last two blocks and its head on 32 maps of features."""
    net = models.mobilenet_v2(num_classes=10)
    tail = (nn.AdaptiveAvgPool2d(1), nn.Flatten(), net.classifier)
    return nn.Sequential(*net.features[-2:], *tail), (32, 160, 3, 3)


STEPS = {
    "small_cnn": lambda: (models.small_cnn(), (64, 3, 32, 32)),
    "mobilenet_v2_head": head,
    "mobilenet_v2_last_block": last_block,
}


class Step:
    """Forward, backward and update with SGD on one batch."""

    repeat = SAMPLES
    params = ["small_cnn", "mobilenet_v2_head", "mobilenet_v2_last_block"]
    param_names = ["what"]

    def setup(self, what):
        nbgrad.manual_seed(0)
        self.loss = nn.CrossEntropyLoss()
        self.model, shape = STEPS[what]()
        self.x, self.labels = nbgrad.rand(*shape), nbgrad.arange(shape[0]) % 10
        self.optimizer = optim.SGD(self.model.parameters(), lr=0.01, momentum=0.9, nesterov=True)
        self.time_step(what)

    def time_step(self, what):
        """One training step: forward, backward, update."""
        self.optimizer.zero_grad()
        self.loss(self.model(self.x), self.labels).backward()
        self.optimizer.step()

    def peakmem_step(self, what):
        """Most memory of a process that makes training steps."""
        self.time_step(what)


class Features:
    """A frozen net on eight images of 96 x 96 pixels."""

    repeat = SAMPLES
    params = ["mobilenet_v2", "resnet18"]
    param_names = ["model"]

    def setup(self, model):
        nbgrad.manual_seed(0)
        self.model = getattr(models, model)().eval()
        self.x = nbgrad.rand(8, 3, 96, 96)
        self.time_features(model)

    def time_features(self, model):
        """A net in eval mode on eight images, not recorded."""
        with nbgrad.no_grad():
            self.model(self.x)

    def peakmem_features(self, model):
        """Most memory of a process that runs a net in eval mode."""
        self.time_features(model)
