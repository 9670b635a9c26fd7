"""ResNet-18 trained by PyTorch and by nbgrad: same weights, same images, the same loss curve?

    python benchmarks/parity_resnet18.py --steps 20 --batch-size 32 --size 64

Needs torch and Fashion-MNIST; exits with 1 if the curves part in the third digit.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator

import numpy as np

import nbgrad
from nbgrad.data import DataLoader, FashionMNIST
from nbgrad.data.transforms import Compose, GrayscaleToRGB, Normalize, Resize, ToArray

SGD = {"lr": 0.01, "momentum": 0.9, "weight_decay": 1e-4, "nesterov": True}


def twin(classes: int):
    """PyTorch's ResNet-18 with the parameter names that nbgrad and torchvision have."""
    from torch import nn

    class Block(nn.Module):
        def __init__(self, inputs: int, width: int, stride: int) -> None:
            super().__init__()
            self.conv1 = nn.Conv2d(inputs, width, 3, stride, 1, bias=False)
            self.bn1 = nn.BatchNorm2d(width)
            self.conv2 = nn.Conv2d(width, width, 3, 1, 1, bias=False)
            self.bn2 = nn.BatchNorm2d(width)
            self.downsample = None
            if stride != 1:
                self.downsample = nn.Sequential(
                    nn.Conv2d(inputs, width, 1, stride, bias=False), nn.BatchNorm2d(width))

        def forward(self, x):
            y = self.bn1(self.conv1(x)).relu()
            return (self.bn2(self.conv2(y)) + (self.downsample or nn.Identity())(x)).relu()

    model = nn.Sequential()
    model.conv1, model.bn1 = nn.Conv2d(3, 64, 7, 2, 3, bias=False), nn.BatchNorm2d(64)
    model.relu, model.maxpool = nn.ReLU(), nn.MaxPool2d(3, 2, 1)
    for k, (inputs, width) in enumerate([(64, 64), (64, 128), (128, 256), (256, 512)]):
        stage = nn.Sequential(Block(inputs, width, 2 if k else 1), Block(width, width, 1))
        setattr(model, f"layer{k + 1}", stage)
    model.avgpool, model.flatten = nn.AdaptiveAvgPool2d(1), nn.Flatten()
    model.fc = nn.Linear(512, classes)
    return model


def losses(library, model, batches: Iterator[tuple[np.ndarray, np.ndarray]]) -> list[float]:
    """The loss of every step; `library` is torch or nbgrad."""
    optimizer = library.optim.SGD(model.parameters(), **SGD)
    criterion = library.nn.CrossEntropyLoss()
    curve = []
    for images, labels in batches:
        optimizer.zero_grad()
        loss = criterion(model(library.from_numpy(images)), library.from_numpy(labels))
        loss.backward()
        optimizer.step()
        curve.append(loss.item())
    return curve


def main() -> int:
    """Print both curves and say whether they agree to three digits."""
    import torch

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name, default in (("steps", 20), ("batch-size", 32), ("size", 64), ("seed", 0)):
        parser.add_argument(f"--{name}", type=int, default=default)
    given = parser.parse_args()

    images = FashionMNIST(transform=Compose(
        [Resize(given.size), GrayscaleToRGB(), ToArray(), Normalize(0.5, 0.5)]))
    loader = DataLoader(images, given.batch_size, shuffle=True, seed=given.seed)
    batches = [(x.numpy(), y.numpy()) for x, y in (b for b, _ in zip(loader, range(given.steps)))]

    nbgrad.manual_seed(given.seed)
    ours = nbgrad.models.resnet18(num_classes=10)
    theirs = twin(10)
    theirs.load_state_dict({name: torch.from_numpy(value.numpy().copy())
                            for name, value in ours.state_dict().items()})
    curves = losses(torch, theirs, batches), losses(nbgrad, ours, batches)

    print("step   torch     nbgrad    difference")
    for step, (a, b) in enumerate(zip(*curves), 1):
        print(f"{step:4}   {a:.5f}   {b:.5f}   {abs(a - b) / a:.1e}")
    worst = max(abs(a - b) / a for a, b in zip(*curves))
    print(f"largest relative difference {worst:.1e}")
    return int(worst > 5e-4)


if __name__ == "__main__":
    sys.exit(main())
