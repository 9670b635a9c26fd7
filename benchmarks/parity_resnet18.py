"""ResNet-18 trained by PyTorch and by nbgrad: same weights, same images, the same loss curve?

    python benchmarks/parity_resnet18.py

Two trainings on Fashion-MNIST. From random weights a rounding error that moves one activation over
the kink of a ReLU changes the gradients in their third digit, and the first steps multiply that:
float32 curves part, PyTorch's own from its float64 curve too, so it is the float64 curves that must
agree. From trained weights, at the smaller rate of fine-tuning, the float32 curves must agree.

Needs torch and Fashion-MNIST; exits with 1 if curves part in the third digit.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable
from itertools import islice
from typing import Any

import numba
import numpy as np

import nbgrad
from nbgrad.data import DataLoader, FashionMNIST
from nbgrad.data.transforms import Compose, GrayscaleToRGB, Normalize, Resize, ToArray

Batch = tuple[np.ndarray, np.ndarray]

#: Steps from random weights before the second comparison, and the learning rates.
WARM_UP, LEARN, TUNE = 150, 0.01, 0.001

TOLERANCE = 5e-4


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


def losses(library, model, batches: Iterable[Batch], lr: float) -> list[float]:
    """The loss of every step; `library` is torch or nbgrad."""
    optimizer = library.optim.SGD(
        model.parameters(), lr, momentum=0.9, nesterov=True, weight_decay=1e-4)
    criterion = library.nn.CrossEntropyLoss()
    dtype = next(model.parameters()).dtype
    curve = []
    for images, labels in batches:
        optimizer.zero_grad()
        logits = model(library.from_numpy(images).to(dtype))
        loss = criterion(logits, library.from_numpy(labels))
        loss.backward()
        optimizer.step()
        curve.append(loss.item())
    return curve


def pair(state: dict[str, nbgrad.Tensor], double: bool) -> list[tuple[Any, Any]]:
    """Each library with its model; both models begin with `state`."""
    import torch

    ours, theirs = nbgrad.models.resnet18(num_classes=10), twin(10)
    ours.load_state_dict(state)
    theirs.load_state_dict({name: torch.from_numpy(v.numpy().copy()) for name, v in state.items()})
    models = [(torch, theirs), (nbgrad, ours)]
    return [(library, model.double()) for library, model in models] if double else models


def show(title: str, curves: dict[str, list[float]], compared: tuple[str, str]) -> bool:
    """Print the curves side by side; whether the two that are compared agree."""
    print(f"\n{title}\nstep   " + "   ".join(f"{name:>14}" for name in curves))
    for step, values in enumerate(zip(*curves.values()), 1):
        print(f"{step:4}   " + "   ".join(f"{value:14.6f}" for value in values))
    a, b = (np.array(curves[name]) for name in compared)
    worst = float((abs(a - b) / a).max())
    print(f"largest relative difference of {compared[0]} and {compared[1]}: {worst:.1e}")
    return worst < TOLERANCE


def main() -> int:
    """Print the curves of both trainings and say whether they agree."""
    import torch

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name, default in (("steps", 20), ("batch-size", 32), ("size", 64), ("seed", 0)):
        parser.add_argument(f"--{name}", type=int, default=default)
    given = parser.parse_args()
    torch.set_num_threads(1)  # both libraries share one OpenMP runtime, and would disturb each other
    numba.set_num_threads(1)
    images = FashionMNIST(transform=Compose(
        [Resize(given.size), GrayscaleToRGB(), ToArray(), Normalize(0.5, 0.5)]))
    loader = DataLoader(images, given.batch_size, shuffle=True, seed=given.seed)

    def batches(epoch: int, steps: int) -> list[Batch]:
        loader.set_epoch(epoch)
        return [(x.numpy(), y.numpy()) for x, y in islice(loader, steps)]

    nbgrad.manual_seed(given.seed)
    model = nbgrad.models.resnet18(num_classes=10)
    start, first = model.state_dict(), batches(0, given.steps)
    curves = {f"{library.__name__} {'64' if double else '32'}":
              losses(library, made, first, LEARN)
              for double in (True, False) for library, made in pair(start, double)}
    learnt = show(f"random weights, rate {LEARN}", curves, ("torch 64", "nbgrad 64"))

    losses(nbgrad, model, batches(1, WARM_UP), LEARN)
    nbgrad.nn.init.normal_(model.fc.weight, 0, 0.01)
    second = batches(2, given.steps)
    curves = {f"{library.__name__} 32": losses(library, made, second, TUNE)
              for library, made in pair(model.state_dict(), False)}
    tuned = show(f"weights of {WARM_UP} steps and a new head, rate {TUNE}", curves,
                 ("torch 32", "nbgrad 32"))
    return int(not (learnt and tuned))


if __name__ == "__main__":
    sys.exit(main())
