"""Channels and pixels in another order."""

from __future__ import annotations

import math

from nbgrad.ops.family import expect_tensor
from nbgrad.ops.shape import permute, reshape
from nbgrad.tensor import Tensor


def _planes(name: str, input: Tensor, factor: int, which: str) -> tuple[int, ...]:
    expect_tensor(name, input=input)
    if input.dim() < 3:
        raise RuntimeError(f"{name} expects input to have at least 3 dimensions, but got input with "
                           f"{input.dim()} dimension(s)")
    if factor <= 0:
        raise RuntimeError(f"{name} expects a positive {which}, but got {factor}")
    return input._layout.shape


def pixel_shuffle(input: Tensor, upscale_factor: int) -> Tensor:
    """(..., C r^2, H, W) -> (..., C, H r, W r): every r^2 channels become squares of pixels."""
    r = upscale_factor
    *lead, c, h, w = _planes("pixel_shuffle", input, r, "upscale_factor")
    if c % (r * r):
        raise RuntimeError("pixel_shuffle expects its input's 'channel' dimension to be divisible by "
                           f"the square of upscale_factor, but input.size(-3)={c} is not divisible "
                           f"by {r * r}")
    x = reshape(input, (math.prod(lead), c // (r * r), r, r, h, w))
    return reshape(permute(x, 0, 1, 4, 2, 5, 3), (*lead, c // (r * r), h * r, w * r))


def pixel_unshuffle(input: Tensor, downscale_factor: int) -> Tensor:
    """(..., C, H r, W r) -> (..., C r^2, H, W): the inverse of `pixel_shuffle`."""
    r = downscale_factor
    *lead, c, h, w = _planes("pixel_unshuffle", input, r, "downscale_factor")
    for name, n, d in (("height", h, -2), ("width", w, -1)):
        if n % r:
            raise RuntimeError(f"pixel_unshuffle expects {name} to be divisible by downscale_factor, "
                               f"but input.size({d})={n} is not divisible by {r}")
    x = reshape(input, (math.prod(lead), c, h // r, r, w // r, r))
    return reshape(permute(x, 0, 1, 3, 5, 2, 4), (*lead, c * r * r, h // r, w // r))


def channel_shuffle(input: Tensor, groups: int) -> Tensor:
    """(N, C, ...) with its channels, in `groups` rows, taken column by column."""
    expect_tensor("channel_shuffle", input=input)
    shape = input._layout.shape
    if len(shape) <= 2:
        raise RuntimeError("channel_shuffle expects input with > 2 dims, but got input with sizes "
                           f"{list(shape)}")
    if groups <= 0:
        raise RuntimeError("Number of groups to divide channels in must be positive. Value of "
                           f"groups:{groups}")
    if shape[1] % groups:
        raise RuntimeError("Number of channels must be divisible by groups. Got "
                           f"{shape[1]} channels and {groups} groups.")
    x = reshape(input, (shape[0], groups, shape[1] // groups, *shape[2:]))
    return reshape(permute(x, 0, 2, 1, *range(3, len(shape) + 1)), shape)


FUNCTIONS = {f.__name__: f for f in (pixel_shuffle, pixel_unshuffle, channel_shuffle)}
