"""What the smallest training costs: the parts of a step on a layer of eight."""

import pytest

import nbgrad
from nbgrad import nn, optim

OPTIMIZERS = {
    "SGD": lambda p: optim.SGD(p, lr=1e-3),
    "SGD with momentum": lambda p: optim.SGD(p, lr=1e-3, momentum=0.9),
    "AdamW": lambda p: optim.AdamW(p, lr=1e-3),
}


@pytest.fixture
def model():
    nbgrad.manual_seed(0)
    return nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 4))


@pytest.fixture
def loss(model):
    x, labels = nbgrad.rand(4, 8), nbgrad.arange(4)
    return lambda: nn.functional.cross_entropy(model(x), labels)


def test_forward(benchmark, loss):
    benchmark(loss)


def test_forward_and_backward(benchmark, loss):
    benchmark(lambda: loss().backward())


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_optimizer_step(benchmark, model, loss, name):
    optimizer = OPTIMIZERS[name](model.parameters())
    loss().backward()
    benchmark(optimizer.step)


def test_zero_grad(benchmark, model):
    optimizer = OPTIMIZERS["SGD"](model.parameters())
    benchmark(optimizer.zero_grad)
