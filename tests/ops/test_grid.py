"""grid_sample beyond what PyTorch can: its second gradients; and data that is not finite."""

import math

import numpy as np
import pytest

import nbgrad
from nbgrad.autograd import gradcheck, gradgradcheck
from nbgrad.nn.functional import grid_sample

IMAGE = (2, 2, 4, 5), (2, 3, 2, 2)
VOLUME = (1, 2, 3, 2, 4), (1, 2, 1, 2, 3)


@pytest.mark.parametrize("mode, shapes", [("bilinear", IMAGE), ("bilinear", VOLUME),
                                          ("bicubic", IMAGE), ("nearest", IMAGE)])
@pytest.mark.parametrize("padding", ["zeros", "border", "reflection"])
@pytest.mark.parametrize("align", [True, False])
def test_second_gradients(mode, shapes, padding, align):
    random = np.random.default_rng(3)
    x, grid = (nbgrad.tensor(a, requires_grad=True) for a in (
        random.standard_normal(shapes[0]), random.uniform(-1.2, 1.2, shapes[1])))

    def sample(x, grid):
        return grid_sample(x, grid, mode, padding, align)

    assert gradcheck(sample, (x, grid))
    assert gradgradcheck(sample, (x, grid))


def test_third_gradients():
    x = nbgrad.tensor(np.random.default_rng(4).standard_normal((1, 1, 4, 4)))
    grid = nbgrad.tensor([[[[0.1, 0.2]]]], dtype=nbgrad.float64, requires_grad=True)

    def second(grid):
        y = grid_sample(x, grid, "bicubic", align_corners=True).sum()
        (slope,) = nbgrad.autograd.grad(y, grid, create_graph=True)
        return nbgrad.autograd.grad(slope.sum(), grid, create_graph=True)[0]

    assert gradcheck(second, (grid,))


@pytest.mark.parametrize("mode", ["bilinear", "nearest", "bicubic"])
@pytest.mark.parametrize("place", [math.nan, math.inf, -math.inf, 1e30, -1e30, 9.0])
@pytest.mark.parametrize("padding", ["zeros", "border", "reflection"])
def test_places_far_away(mode, place, padding):
    x = nbgrad.full((1, 1, 3, 3), math.inf, requires_grad=True)
    grid = nbgrad.full((1, 1, 300, 2), place, requires_grad=True)
    y = grid_sample(x, grid, mode, padding, align_corners=False)
    y.backward(nbgrad.ones_like(y))
    if padding == "zeros":
        assert not y.any() and not x.grad.any() and not grid.grad.any()
