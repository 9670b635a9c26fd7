"""Images read at any places, and the grids of places of affine maps."""

from __future__ import annotations

import math
import warnings
from functools import reduce
from operator import add

import numpy as np

from nbgrad.kernels.backend import Twins
from nbgrad.ops.apply import apply
from nbgrad.ops.create import beside
from nbgrad.ops.dims import Sizes
from nbgrad.ops.family import expect_float, expect_tensor, needs, saved, users_line
from nbgrad.ops.matmul import matmul
from nbgrad.ops.op import Op
from nbgrad.ops.shape import reshape, select, unsqueeze
from nbgrad.tensor import Tensor

kernels = Twins("grid")


class Sample(Op):
    """Images at places, linear in the images; attrs (orders, mode, padding, align).

    Orders say how many times, for each axis, the weights of entries are differentiated by a place:
    so the gradients of every order are these three ops again.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        super().__init__()

    def forward(self, x, grid, *how):
        return kernels.sample(x, grid, *how)

    def saves(self, needs, attrs):
        return (0, 1) if needs[1] else (1,)

    def backward(self, node, grad):
        kept = saved(node)
        gx, ggrid = needs(node)
        return (apply(SPREAD, (grad, kept[1]), (node.layouts[0].shape, *node.attrs)) if gx else None,
                apply(SLOPE, (grad, kept[0], kept[1]), node.attrs) if ggrid else None)


class Spread(Op):
    """The adjoint of `Sample`: the gradient to the images; attrs have their shape first."""

    name = "GridSamplerBackward"

    def forward(self, gy, grid, shape, *how):
        return kernels.spread(gy, grid, shape, *how)

    def saves(self, needs, attrs):
        return (0, 1) if needs[1] else (1,)

    def backward(self, node, grad):
        kept, how = saved(node), node.attrs[1:]
        gy, ggrid = needs(node)
        return (apply(SAMPLE[len(how[0])], (grad, kept[1]), how) if gy else None,
                apply(SLOPE, (kept[0], grad, kept[1]), how) if ggrid else None)


class Slope(Op):
    """The gradient to the places: the sum over channels of gy times the derivative of `Sample`."""

    name = "GridSamplerBackward"

    def forward(self, gy, x, grid, *how):
        return kernels.slope(gy, x, grid, *how)

    def saves(self, needs, attrs):
        return (0, 1, 2)

    def backward(self, node, grad):
        gy, x, grid = saved(node).values()
        orders, *how = node.attrs
        axes, wants, terms = len(orders), needs(node), []
        for d in range(axes):
            raised = (*orders[:d], orders[d] + 1, *orders[d + 1:]), *how
            g = unsqueeze(select(grad, 2, axes - 1 - d), 1)
            terms.append((
                g * apply(SAMPLE[axes], (x, grid), raised) if wants[0] else None,
                apply(SPREAD, (g * gy, grid), (x._layout.shape, *raised)) if wants[1] else None,
                apply(SLOPE, (g * gy, x, grid), raised) if wants[2] else None))
        return tuple([reduce(add, parts) if want else None for parts, want in zip(zip(*terms), wants)])


# By the number of axes that places are on.
SAMPLE = {n: Sample(f"GridSampler{n}D") for n in (2, 3)}
SPREAD, SLOPE = Spread(), Slope()


def _align(align_corners: bool | None) -> bool:
    if align_corners is None:
        warnings.warn("Default grid_sample and affine_grid behavior has changed to "
                      "align_corners=False since 1.3.0. Please specify align_corners=True if the "
                      "old behavior is desired. See the documentation of grid_sample for details.",
                      UserWarning, stacklevel=users_line())
    return bool(align_corners)


def grid_sample(input: Tensor, grid: Tensor, mode: str = "bilinear", padding_mode: str = "zeros",
                align_corners: bool | None = None) -> Tensor:
    """Images (N, C, H, W) at the places grid (N, H', W', 2), or volumes at (N, D', H', W', 3).

    Args:
        grid: coordinates from -1 to 1, that of the last axis first.
        mode: "bilinear", "nearest" or "bicubic" (of images only).
        padding_mode: what lies outside: "zeros", "border" (the edge) or "reflection".
        align_corners: whether -1 and 1 are the centers of the first and last entries, rather than
            the borders.
    """
    expect_tensor("grid_sample", input=input, grid=grid)
    if mode not in ("bilinear", "nearest", "bicubic"):
        raise ValueError("nn.functional.grid_sample(): expected mode to be 'bilinear', 'nearest' or "
                         f"'bicubic', but got: '{mode}'")
    if padding_mode not in ("zeros", "border", "reflection"):
        raise ValueError("nn.functional.grid_sample(): expected padding_mode to be 'zeros', "
                         f"'border', or 'reflection', but got: '{padding_mode}'")
    align = _align(align_corners)
    _check(input._layout.shape, grid._layout.shape, mode)
    expect_float("grid_sampler_2d_cpu_kernel_impl", input._layout)
    if input._layout.dtype is not grid._layout.dtype:
        raise RuntimeError("grid_sampler(): expected input and grid to have the same floating point "
                           f"dtype, but input has {input.dtype} and grid has {grid.dtype}")
    n, c = input._layout.shape[:2]
    out = grid._layout.shape[1:-1]
    places = reshape(grid, (n, math.prod(out), len(out)))
    y = apply(SAMPLE[len(out)], (input, places), ((0,) * len(out), mode, padding_mode, align))
    return reshape(y, (n, c, *out))


def _check(x: tuple[int, ...], grid: tuple[int, ...], mode: str) -> None:
    if len(x) not in (4, 5) or len(grid) != len(x):
        raise RuntimeError("grid_sampler(): expected 4D or 5D input and grid with same number of "
                           f"dimensions, but got input with sizes {list(x)} and grid with sizes "
                           f"{list(grid)}")
    if x[0] != grid[0]:
        raise RuntimeError("grid_sampler(): expected grid and input to have same batch size, but got "
                           f"input with sizes {list(x)} and grid with sizes {list(grid)}")
    if grid[-1] != len(x) - 2:
        raise RuntimeError(f"grid_sampler(): expected grid to have size {len(x) - 2} in last "
                           f"dimension, but got grid with sizes {list(grid)}")
    if 0 in x[2:]:
        raise RuntimeError("grid_sampler(): expected input to have non-empty spatial dimensions, but "
                           f"input has sizes {list(x)}")
    if mode == "bicubic" and len(x) == 5:
        raise RuntimeError("grid_sampler(): bicubic interpolation only supports 4D input")


def affine_grid(theta: Tensor, size: Sizes, align_corners: bool | None = None) -> Tensor:
    """The places (N, H, W, 2) that theta (N, 2, 3) maps those of an image to; (N, 3, 4) for volumes.

    Args:
        size: of the result of `grid_sample`, (N, C, H, W) or (N, C, D, H, W).
        align_corners: as for `grid_sample`.
    """
    align = _align(align_corners)
    expect_tensor("affine_grid", theta=theta)
    if theta._layout.dtype.category != 2:
        raise ValueError(f"Expected theta to have floating point type, but got {theta.dtype}")
    size = tuple(size)
    if len(size) not in (4, 5):
        raise NotImplementedError("affine_grid only supports 4D and 5D sizes, for 2D and 3D affine "
                                  f"transforms, respectively. Got size {size}.")
    n, _, *out = size
    d = len(out)
    if theta.dim() != 3 or theta._layout.shape[1:] != (d, d + 1):
        raise ValueError(f"Expected a batch of {d}D affine matrices of shape Nx{d}x{d + 1} for size "
                         f"{size}. Got {theta.shape}.")
    if min(size) <= 0:
        raise ValueError(f"Expected non-zero, positive output size. Got {size}")
    if theta._layout.shape[0] != n:
        raise RuntimeError(f"affine_grid: expected {n} matrices, got {theta._layout.shape[0]}")
    axes = [_centers(m, align) for m in reversed(out)]
    mesh = np.meshgrid(*reversed(axes), indexing="ij")[::-1]
    base = np.stack([*mesh, np.ones(out)], -1).reshape(-1, d + 1).astype(theta._layout.dtype.np)
    return reshape(matmul(beside(theta, base), theta.transpose(1, 2)), (n, *out, d))


def _centers(n: int, align: bool) -> np.ndarray:
    """The centers of n entries between -1 and 1, or from -1 to 1."""
    if n == 1:
        return np.zeros(1)
    ends = np.linspace(-1, 1, n)
    return ends if align else ends * ((n - 1) / n)


