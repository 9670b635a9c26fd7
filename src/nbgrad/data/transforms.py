"""Transforms of images: from PIL images or uint8 arrays (H, W[, C]) to float arrays (C, H, W).

Random ones draw from the generator of the sample being loaded, see `nbgrad.data.sample`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from nbgrad.data.images import pillow, pixels
from nbgrad.data.sample import generator


def _pair(size: int | Sequence[int]) -> tuple[int, int]:
    height, width = (size, size) if isinstance(size, int) else size
    if height < 1 or width < 1:
        raise ValueError(f"size must be positive, got {size}")
    return height, width


def _pad(array: np.ndarray, rows: tuple[int, int], columns: tuple[int, int]) -> np.ndarray:
    height, width, *channels = array.shape
    result = np.zeros((height + sum(rows), width + sum(columns), *channels), array.dtype)
    result[rows[0] : rows[0] + height, columns[0] : columns[0] + width] = array
    return result


class Compose:
    """One transform after the other.

    Example:
        >>> train = Compose([RandomCrop(32, padding=4), RandomHorizontalFlip(), ToArray()])
    """

    def __init__(self, transforms: Sequence[Callable[[Any], Any]]) -> None:
        self.transforms = list(transforms)

    def __call__(self, image: Any) -> Any:
        for transform in self.transforms:
            image = transform(image)
        return image


class ToArray:
    """uint8 (H, W) or (H, W, C) in 0..255 to float32 (C, H, W) in 0..1."""

    def __call__(self, image: Any) -> np.ndarray:
        array = pixels(image)
        planes = array[None] if array.ndim == 2 else array.transpose(2, 0, 1)
        return np.multiply(planes, np.float32(1 / 255), order="C")


class Resize:
    """Resize by bilinear interpolation, with antialiasing where the image shrinks.

    Args:
        size: of the shorter side, the other keeps the proportion; or (height, width).
    """

    def __init__(self, size: int | Sequence[int]) -> None:
        _pair(size)
        self.size = size

    def __call__(self, image: Any) -> np.ndarray:
        array = pixels(image)
        height, width = array.shape[:2]
        if isinstance(self.size, int):
            short = min(height, width)
            height, width = (int(self.size * side / short) for side in (height, width))
        else:
            height, width = self.size
        if (height, width) == array.shape[:2]:
            return array
        module = pillow()
        channel = array[..., 0] if array.shape[2:] == (1,) else array
        resized = module.fromarray(channel).resize((width, height), module.Resampling.BILINEAR)
        return np.array(resized).reshape(height, width, *array.shape[2:])


class CenterCrop:
    """The middle (height, width) of an image, padded with black where it is smaller."""

    def __init__(self, size: int | Sequence[int]) -> None:
        self.size = _pair(size)

    def __call__(self, image: Any) -> np.ndarray:
        array = pixels(image)
        missing = [max(0, want - have) for want, have in zip(self.size, array.shape)]
        if any(missing):
            array = _pad(array, *((n // 2, n - n // 2) for n in missing))
        top, left = (round((have - n) / 2) for have, n in zip(array.shape, self.size))
        return array[top : top + self.size[0], left : left + self.size[1]]


class RandomCrop:
    """A (height, width) part of an image at a random place, after `padding` black on each side."""

    def __init__(self, size: int | Sequence[int], padding: int = 0) -> None:
        self.size = _pair(size)
        self.padding = padding

    def __call__(self, image: Any) -> np.ndarray:
        array = pixels(image)
        if self.padding:
            array = _pad(array, *[(self.padding, self.padding)] * 2)
        room = [have - want for have, want in zip(array.shape, self.size)]
        if min(room) < 0:
            raise ValueError(f"RandomCrop: {self.size} does not fit into {array.shape[:2]}")
        top, left = (int(generator().integers(n + 1)) for n in room)
        return array[top : top + self.size[0], left : left + self.size[1]]


class RandomHorizontalFlip:
    """Mirror left and right with probability `p`."""

    def __init__(self, p: float = 0.5) -> None:
        self.p = p

    def __call__(self, image: Any) -> np.ndarray:
        array = pixels(image)
        return array[:, ::-1] if generator().random() < self.p else array


class Normalize:
    """(x - mean) / std for each channel of a float array (C, H, W)."""

    def __init__(self, mean: Sequence[float] | float, std: Sequence[float] | float) -> None:
        self.mean = np.asarray(mean, np.float32).reshape(-1, 1, 1)
        self.std = np.asarray(std, np.float32).reshape(-1, 1, 1)
        if (self.std == 0).any():
            raise ValueError("Normalize: std must not be 0")

    def __call__(self, array: np.ndarray) -> np.ndarray:
        if array.ndim != 3 or array.dtype.kind != "f":
            raise TypeError(
                f"Normalize: expected a float array (C, H, W), got {array.dtype} {array.shape}; "
                "place ToArray before it"
            )
        channels = max(len(self.mean), len(self.std))
        if channels not in (1, array.shape[0]):
            raise ValueError(f"Normalize: {channels} means for an array {array.shape}")
        return ((array - self.mean) / self.std).astype(array.dtype, copy=False)


class GrayscaleToRGB:
    """Three equal channels from an image of one: uint8 (H, W[, 1]) or float (1, H, W)."""

    def __call__(self, image: Any) -> np.ndarray:
        if isinstance(image, np.ndarray) and image.dtype.kind == "f":
            return np.repeat(image, 3, axis=0) if len(image) == 1 else image
        array = pixels(image)
        array = array[..., None] if array.ndim == 2 else array
        return np.repeat(array, 3, axis=2) if array.shape[2] == 1 else array
