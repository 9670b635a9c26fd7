"""Images read at any places, and the grids of places of affine maps."""

from __future__ import annotations

import math
import warnings
from itertools import product
from typing import NamedTuple

import numpy as np

from nbgrad.ops.apply import apply
from nbgrad.ops.create import from_numpy
from nbgrad.ops.elementwise import OPS
from nbgrad.ops.family import expect_tensor
from nbgrad.ops.mask import where
from nbgrad.ops.matmul import matmul
from nbgrad.ops.scatter import gather
from nbgrad.ops.shape import expand, reshape, unsqueeze
from nbgrad.tensor import Tensor


class Tap(NamedTuple):
    """For every place: an entry of one axis (int64), and its weight; None is 1."""

    entry: np.ndarray
    weight: Tensor | None


def _align(align_corners: bool | None) -> bool:
    if align_corners is None:
        warnings.warn("Default grid_sample and affine_grid behavior has changed to "
                      "align_corners=False since 1.3.0. Please specify align_corners=True if the "
                      "old behavior is desired. See the documentation of grid_sample for details.",
                      UserWarning, stacklevel=3)
    return bool(align_corners)


def _reflected(x: Tensor, n: int, align: bool) -> Tensor:
    """Coordinates folded back where they leave the axis, at its outer centers or its borders."""
    low, span = (0.0, n - 1.0) if align else (-0.5, float(n))
    if span == 0:
        return x * 0
    x = (x - low).abs()
    whole = np.floor(x.detach()._array() / span)
    odd = from_numpy(np.asarray(whole % 2 == 1))
    rest = x - from_numpy(np.asarray(whole)) * span
    return where(odd, span - rest, rest) + low


def _padded(x: Tensor, n: int, padding: str, align: bool) -> Tensor:
    """Coordinates brought inside the axis as `padding` says."""
    if padding == "zeros":
        return x
    if padding == "reflection":
        x = _reflected(x, n, align)
    return apply(OPS["hardtanh"], (x,), (0, n - 1))


def _tap(at: np.ndarray, weight: Tensor | None, n: int, like: Tensor) -> Tap:
    """A tap at whole coordinates; outside of the axis it weighs nothing."""
    inside = (at >= 0) & (at <= n - 1)
    if not inside.all():
        weight = where(from_numpy(inside), like.new_ones(()) if weight is None else weight, 0.0)
    return Tap(np.where(inside, at, 0).astype(np.int64), weight)


def _cubic_weights(t: Tensor) -> list[Tensor]:
    """The weights of the entries at -1, 0, 1 and 2 for a place t between 0 and 1."""
    a = -0.75

    def near(x: Tensor) -> Tensor:
        return ((a + 2) * x - (a + 3)) * x * x + 1

    def far(x: Tensor) -> Tensor:
        return ((a * x - 5 * a) * x + 8 * a) * x - 4 * a

    return [far(t + 1), near(t), near(1 - t), far(2 - t)]


def _taps(x: Tensor, n: int, mode: str, padding: str, align: bool) -> list[Tap]:
    """The entries of an axis of n that a coordinate from -1 to 1 is a sum of."""
    x = (x + 1) * ((n - 1) / 2) if align else ((x + 1) * n - 1) / 2
    if mode != "bicubic":
        x = _padded(x, n, padding, align)
    place = x.detach()
    if mode == "nearest":
        return [_tap(np.rint(place._array()), None, n, x)]
    first = np.asarray(np.floor(place._array()))
    t = x - from_numpy(first)
    if mode == "bilinear":
        return [_tap(first, 1 - t, n, x), _tap(first + 1, t, n, x)]
    taps = []
    for k, weight in enumerate(_cubic_weights(t)):
        at = _padded(from_numpy(first + (k - 1)), n, padding, align)._array()
        taps.append(_tap(np.trunc(at), weight, n, x))
    return taps


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
    if input._layout.dtype is not grid._layout.dtype or input._layout.dtype.category != 2:
        raise RuntimeError("grid_sampler(): expected input and grid to have the same floating point "
                           f"dtype, but input has {input.dtype} and grid has {grid.dtype}")
    n, c, *sizes = input._layout.shape
    out = grid._layout.shape[1:-1]
    flat = reshape(input, (n, c, math.prod(sizes)))
    places = reshape(grid, (n, math.prod(out), len(sizes)))
    taps = [_taps(places[..., len(sizes) - 1 - k], size, mode, padding_mode, align)
            for k, size in enumerate(sizes)]
    total = None
    for corner in product(*taps):
        at, weight = np.zeros_like(corner[0].entry), None
        for tap, size in zip(corner, sizes):
            at = at * size + tap.entry
            if tap.weight is not None:
                weight = tap.weight if weight is None else weight * tap.weight
        idx = expand(unsqueeze(from_numpy(at), 1), (n, c, at.shape[1]))
        read = gather(flat, 2, idx)
        read = read if weight is None else read * unsqueeze(weight, 1)
        total = read if total is None else total + read
    assert total is not None
    return reshape(total, (n, c, *out))


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


def affine_grid(theta: Tensor, size, align_corners: bool | None = None) -> Tensor:
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
    return reshape(matmul(from_numpy(base), theta.transpose(1, 2)), (n, *out, d))


def _centers(n: int, align: bool) -> np.ndarray:
    """The centers of n entries between -1 and 1, or from -1 to 1."""
    if n == 1:
        return np.zeros(1)
    ends = np.linspace(-1, 1, n)
    return ends if align else ends * ((n - 1) / n)


