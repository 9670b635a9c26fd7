"""Images as uint8 arrays of shape (H, W) or (H, W, 3), and Pillow where one must be decoded."""

from __future__ import annotations

import os
from typing import Any

import numpy as np

from nbgrad.errors import DataError


def pillow() -> Any:
    """The module PIL.Image, or an error that says how to get it."""
    try:
        from PIL import Image
    except ImportError as error:
        raise ImportError("reading and resizing images needs Pillow: pip install pillow") from error
    return Image


def pixels(image: Any) -> np.ndarray:
    """The uint8 array (H, W) or (H, W, C) of a PIL image or an array."""
    if hasattr(image, "getbands") and image.mode not in ("L", "RGB", "RGBA"):
        image = image.convert("RGB")
    array = np.asarray(image)
    if array.dtype != np.uint8 or array.ndim not in (2, 3):
        raise TypeError(
            "expected a PIL image or a uint8 array of shape (H, W) or (H, W, C), got "
            f"{array.dtype} {array.shape}; place this transform before ToArray"
        )
    return array


def read_image(path: str | os.PathLike) -> np.ndarray:
    """The image file at `path` as a uint8 array (H, W, 3), upright where its EXIF says how.

    Raises:
        DataError: the file is not an image or is damaged.
    """
    image = pillow()
    from PIL import ImageOps

    try:
        with image.open(path) as opened:
            ImageOps.exif_transpose(opened, in_place=True)
            return np.array(opened.convert("RGB"))
    except FileNotFoundError:
        raise
    except Exception as error:  # Pillow's decoders raise many kinds for damaged files
        raise DataError(f"{path} cannot be read as an image: {error}") from error
