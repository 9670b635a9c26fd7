"""Data sets of images: folders, Fashion-MNIST, handwritten digits."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from nbgrad.data import idx
from nbgrad.data.dataset import Dataset
from nbgrad.data.images import read_image
from nbgrad.data.sample import derived
from nbgrad.errors import DataError

Transform = Callable[[Any], Any]

EXTENSIONS = (".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")


class ImageFolder(Dataset):
    """Images in one folder for each class: `root/cat/1.jpg`, `root/dog/2.png`, ...

    A sample is `(image, class)`; `classes` are the names of the folders, sorted, and `samples`
    the pairs (path, class), in that order.

    Args:
        root: the folder of the folders.
        transform: called with the image.
        loader: reads a path; by default as a uint8 array (H, W, 3), with Pillow.

    Raises:
        DataError: there are no classes, or one without images; when loaded, a damaged image.

    Example:
        >>> photos = ImageFolder("photos", Compose([Resize((64, 64)), ToArray()]))
    """

    def __init__(
        self,
        root: str | os.PathLike,
        transform: Transform | None = None,
        loader: Callable[[str], Any] = read_image,
    ) -> None:
        self.root = Path(root)
        self.transform = transform
        self.loader = loader
        if not self.root.is_dir():
            raise DataError(f"{self.root} is not a folder")
        folders = [entry.name for entry in self.root.iterdir() if entry.is_dir()]
        self.classes = sorted(name for name in folders if not name.startswith("."))
        if not self.classes:
            raise DataError(f"{self.root} has no folders, and each class needs one")
        self.class_to_idx = {name: number for number, name in enumerate(self.classes)}
        self.samples: list[tuple[str, int]] = []
        for number, name in enumerate(self.classes):
            paths = sorted(
                str(path)
                for path in (self.root / name).rglob("*")
                if path.suffix.lower() in EXTENSIONS and path.is_file()
            )
            if not paths:
                raise DataError(f"{self.root / name} has no images ({', '.join(EXTENSIONS)})")
            self.samples += [(path, number) for path in paths]
        self.targets = [number for _, number in self.samples]

    def __getitem__(self, index: int) -> tuple[Any, int]:
        path, number = self.samples[index]
        image = self.loader(path)
        return (self.transform(image) if self.transform else image), number

    def __len__(self) -> int:
        return len(self.samples)


class _Images(Dataset):
    """Images (N, H, W) uint8 in memory with their classes."""

    classes: tuple[str, ...]

    def __init__(self, images: np.ndarray, labels: np.ndarray, transform: Transform | None) -> None:
        self.images = images
        self.targets = labels.astype(np.int64)
        self.transform = transform

    def __getitem__(self, index: int) -> tuple[Any, int]:
        image = self.images[index]
        return (self.transform(image) if self.transform else image), int(self.targets[index])

    def __len__(self) -> int:
        return len(self.images)


class FashionMNIST(_Images):
    """Zalando's 60,000 + 10,000 pictures of clothes, 28 x 28 grey, in ten classes.

    A sample is `(image, class)` with a uint8 array (28, 28).

    Args:
        root: folder of the four idx files, plain or gzipped; besides, the folder of the Debian
            package dataset-fashion-mnist is looked at.
        train: the 60,000 images for training, else the 10,000 for testing.
        transform: called with the image.
        download: fetch missing files to `root`, by default a folder in nbgrad's cache.

    Raises:
        DataError: files are missing or damaged.

    Example:
        >>> train = FashionMNIST(transform=ToArray())
    """

    classes = (
        *("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat"),
        *("Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"),
    )

    def __init__(
        self,
        root: str | os.PathLike | None = None,
        train: bool = True,
        transform: Transform | None = None,
        download: bool = False,
    ) -> None:
        part, count = ("train", 60000) if train else ("t10k", 10000)
        images = idx.locate(f"{part}-images-idx3-ubyte", root, download)
        labels = idx.locate(f"{part}-labels-idx1-ubyte", root, download)
        super().__init__(idx.read(images, (count, 28, 28)), idx.read(labels, (count,)), transform)
        if self.targets.max() >= len(self.classes):
            raise DataError(f"{labels} has a class {self.targets.max()}, and there are ten")


class Digits(_Images):
    """scikit-learn's 1,797 handwritten digits, 8 x 8 grey, 0..255, as `(image, class)`.

    Args:
        train: 1,400 digits for training, else the other 397; all classes in proportion.
        transform: called with the image, a uint8 array (8, 8).

    Example:
        >>> train, test = Digits(train=True), Digits(train=False)
    """

    classes = tuple("0123456789")

    def __init__(self, train: bool = True, transform: Transform | None = None) -> None:
        try:
            from sklearn.datasets import load_digits
        except ImportError as error:
            raise ImportError("Digits needs scikit-learn: pip install scikit-learn") from error
        digits = load_digits()
        # Shuffle; then the earliest digits of every class, as a share of it, are for training.
        order = derived(0).permutation(len(digits.target))
        labels = digits.target[order]
        share = np.empty(len(labels))
        for number in range(10):
            members = np.flatnonzero(labels == number)
            share[members] = (np.arange(len(members)) + 0.5) / len(members)
        ranked = np.argsort(share, kind="stable")
        chosen = order[np.sort(ranked[:1400] if train else ranked[1400:])]
        images = np.rint(digits.images[chosen] * (255 / 16)).astype(np.uint8)
        super().__init__(images, digits.target[chosen], transform)
