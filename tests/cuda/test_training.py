"""Trainings in miniature on the device: the losses and the weights are those of the CPU."""

import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest

import nbgrad
from nbgrad import models, nn, optim
from nbgrad.nn import functional as F

sys.path.insert(0, str(Path(__file__).parents[2] / "examples"))

from finetuning.networks import Network

STEPS, CLASSES, SIZE = 5, 3, 10


def lenet():
    return nn.Sequential(
        nn.Conv2d(3, 3, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(3, 6, 3), nn.ReLU(), nn.AvgPool2d(2),
        nn.Flatten(), nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, CLASSES))


def finetuned(freeze):
    """The network of examples/finetune.py in a stage: a new head on blocks, some of them frozen."""
    network = Network("small_cnn", CLASSES, "none")
    network.freeze(network.frozen_blocks(freeze))
    return network.model


MODELS = {"LeNet": lenet, "a new head": partial(finetuned, "backbone"),
          "the last block": partial(finetuned, "1")}


def trained(make, device):
    """The losses of some steps, and the state before and after them."""
    nbgrad.manual_seed(4)
    model = make().to(device)
    optimizer = optim.SGD([p for p in model.parameters() if p.requires_grad], 0.1, 0.9,
                          weight_decay=1e-3, nesterov=True)
    before = {name: t.cpu().numpy().copy() for name, t in model.state_dict().items()}
    labels = np.arange(6) % CLASSES
    images = np.random.default_rng(0).standard_normal((6, 3, SIZE, SIZE)).astype(np.float32)
    images[range(6), labels] += 1
    images, labels = nbgrad.tensor(images, device=device), nbgrad.tensor(labels, device=device)
    losses = []
    for _ in range(STEPS):
        optimizer.zero_grad()
        loss = F.cross_entropy(model(images), labels)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert {t.device.type for t in (loss, *model.parameters(), *model.buffers())} == {device}
    return losses, before, {name: t.cpu().numpy() for name, t in model.state_dict().items()}, model


@pytest.mark.parametrize("name", MODELS)
def test_a_training(name, monkeypatch):
    monkeypatch.setattr(models, "small_cnn", partial(models.small_cnn, width=3))
    ours, before, state, model = trained(MODELS[name], "cuda")
    expected, _, wanted, _ = trained(MODELS[name], "cpu")
    np.testing.assert_allclose(ours, expected, rtol=1e-5)
    assert ours[-1] < ours[0]
    for key, values in state.items():
        np.testing.assert_allclose(values, wanted[key], rtol=1e-3, atol=1e-5, err_msg=key)
    for key, p in model.named_parameters():
        assert p.requires_grad != np.array_equal(state[key], before[key]), key
