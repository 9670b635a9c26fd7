"""Whole steps of the main job: features of a frozen net, a new head, all of a small net."""

import nbgrad
from nbgrad import models, nn, optim


class Step:
    """Forward, backward and update on one batch."""

    params = ["mobilenet_v2_head", "mobilenet_v2_last_block", "small_cnn"]
    param_names = ["what"]

    def setup(self, what):
        nbgrad.manual_seed(0)
        self.loss = nn.CrossEntropyLoss()
        if what == "small_cnn":
            self.model, shape = models.small_cnn(), (64, 3, 32, 32)
        else:
            net = models.mobilenet_v2(num_classes=10)
            if what == "mobilenet_v2_head":
                self.model, shape = net.classifier, (64, 1280)
            else:
                tail = net.features[-2:]
                self.model = nn.Sequential(
                    *tail, nn.AdaptiveAvgPool2d(1), nn.Flatten(), net.classifier)
                shape = (32, 160, 3, 3)
        self.x, self.labels = nbgrad.rand(*shape), nbgrad.arange(shape[0]) % 10
        self.optimizer = optim.SGD(self.model.parameters(), lr=0.01, momentum=0.9, nesterov=True)
        self.time_step(what)

    def time_step(self, what):
        self.optimizer.zero_grad()
        self.loss(self.model(self.x), self.labels).backward()
        self.optimizer.step()

    def peakmem_step(self, what):
        self.time_step(what)


class Features:
    """The frozen backbone on eight images of 96 pixels."""

    params = ["mobilenet_v2", "resnet18"]
    param_names = ["model"]

    def setup(self, model):
        nbgrad.manual_seed(0)
        self.model = getattr(models, model)().eval()
        self.x = nbgrad.rand(8, 3, 96, 96)
        self.time_features(model)

    def time_features(self, model):
        with nbgrad.no_grad():
            self.model(self.x)

    def peakmem_features(self, model):
        self.time_features(model)
