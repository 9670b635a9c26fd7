"""Whole training steps: forward, backward and update on one batch."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from benchmarks.peers.workload import Group, Input, Workload

TRAINING = Group("training", "training steps", 1.2, 0.95)

#: Multiply-adds of ResNet-18 on an image of 224 x 224, and those of its first convolution.
RESNET18_MACS, STEM_MACS = 1.814e9, 0.118e9


def mlp(torch: Any) -> Any:
    nn = torch.nn
    return nn.Sequential(nn.Linear(784, 256), nn.ReLU(), nn.Linear(256, 128), nn.ReLU(),
                         nn.Linear(128, 10))


def lenet(torch: Any) -> Any:
    nn = torch.nn
    return nn.Sequential(
        nn.Conv2d(1, 6, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(6, 16, 5), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(),
        nn.Linear(400, 120), nn.ReLU(), nn.Linear(120, 84), nn.ReLU(), nn.Linear(84, 10))


def resnet18(torch: Any) -> Any:
    """ResNet-18 for ten classes, in the words that both libraries know."""
    nn = torch.nn

    class Block(nn.Module):
        def __init__(self, inputs: int, width: int) -> None:
            super().__init__()
            stride = 1 if inputs == width else 2
            self.conv1 = nn.Conv2d(inputs, width, 3, stride, 1, bias=False)
            self.bn1 = nn.BatchNorm2d(width)
            self.conv2 = nn.Conv2d(width, width, 3, 1, 1, bias=False)
            self.bn2 = nn.BatchNorm2d(width)
            self.relu, self.shortcut = nn.ReLU(inplace=True), nn.Identity()
            if stride != 1:
                self.shortcut = nn.Sequential(
                    nn.Conv2d(inputs, width, 1, stride, bias=False), nn.BatchNorm2d(width))

        def forward(self, x):
            y = self.relu(self.bn1(self.conv1(x)))
            return self.relu(self.bn2(self.conv2(y)) + self.shortcut(x))

    return nn.Sequential(
        nn.Conv2d(3, 64, 7, 2, 3, bias=False), nn.BatchNorm2d(64), nn.ReLU(inplace=True),
        nn.MaxPool2d(3, 2, 1),
        Block(64, 64), Block(64, 64), Block(64, 128), Block(128, 128), Block(128, 256),
        Block(256, 256), Block(256, 512), Block(512, 512),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(512, 10))


def initialise(torch: Any, model: Any) -> Any:
    """The same weights in every library: He's, from a generator of NumPy's."""
    rng = np.random.default_rng(0)
    with torch.no_grad():
        for name, p in model.named_parameters():
            if p.ndim > 1:
                scale = np.float32((2 / np.prod(p.shape[1:])) ** 0.5)
                p.copy_(torch.from_numpy(scale * rng.standard_normal(tuple(p.shape), np.float32)))
            else:
                p.fill_(1.0 if name.endswith("weight") else 0.0)
    return model


def step(torch: Any, model: Any, x: Any, labels: Any) -> Callable[[], list[Any]]:
    """One step of SGD; it returns the loss and the last weights."""
    parameters = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.SGD(parameters, lr=1e-3, momentum=0.9)
    criterion = torch.nn.CrossEntropyLoss()

    def run():
        optimizer.zero_grad()
        loss = criterion(model(x), labels)
        loss.backward()
        optimizer.step()
        return [loss, parameters[-2]]

    return run


def train(make: Callable[[Any], Any]) -> Callable:
    """A step that trains all of a model."""
    return lambda torch, x, labels: step(torch, initialise(torch, make(torch)), x, labels)


def finetune(make: Callable[[Any], Any]) -> Callable:
    """A step that trains the last layer only, behind a frozen backbone."""
    def build(torch, x, labels):
        model = initialise(torch, make(torch)).eval()
        for p in model.parameters():
            p.requires_grad_(False)
        for p in model[-1].parameters():
            p.requires_grad_(True)
        return step(torch, model, x, labels)

    return build


def workloads(small: bool) -> Iterator[Workload]:
    def case(name: str, build: Callable, shape: tuple[int, ...], macs: float = 0) -> Workload:
        batch = min(shape[0], 2) if small else shape[0]
        inputs = Input((batch, *shape[1:])), Input((batch,), "index", 10)
        return Workload(TRAINING, f"{name}, batch {batch}", build, inputs, "program",
                        flops=2 * macs * batch, tolerance=2e-3)

    def resnet_macs(side: int, passes: int) -> float:
        return (passes * RESNET18_MACS - (passes > 1) * STEM_MACS) * (side / 224) ** 2

    yield case("MLP 784-256-128-10", train(mlp), (64, 784))
    yield case("LeNet", train(lenet), (64, 1, 28, 28))
    yield case("ResNet-18 on 64", train(resnet18), (8, 3, 64, 64), resnet_macs(64, 3))
    if not small:
        yield case("ResNet-18 on 224", train(resnet18), (2, 3, 224, 224), resnet_macs(224, 3))
    yield case("ResNet-18 on 96, frozen backbone", finetune(resnet18), (8, 3, 96, 96),
               resnet_macs(96, 1))
