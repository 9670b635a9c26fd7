"""Images to train on and images to validate with, all of one size."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from tqdm import tqdm

from finetuning.options import Mistake, Options
from nbgrad import DataError
from nbgrad.data import Dataset, Digits, FashionMNIST, ImageFolder, Subset, read_image
from nbgrad.data.transforms import (
    CenterCrop,
    Compose,
    GrayscaleToRGB,
    Normalize,
    RandomCrop,
    RandomHorizontalFlip,
    Resize,
    ToArray,
)

# Of ImageNet's colours, which the pretrained networks expect.
MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)


class Splits(NamedTuple):
    """Datasets of (float array (3, size, size), class)."""

    train: Dataset
    validation: Dataset
    classes: Sequence[str]


def load(options: Options) -> Splits:
    """The data that `options` name, at most `options.limit` images of it."""
    plain = _transform(options, augment=False)
    varied = _transform(options, augment=options.augment)
    if options.data == "digits":
        train, validation = Digits(True, varied), Digits(False, plain)
        classes: Sequence[str] = Digits.classes
    elif options.data == "fashion-mnist":
        train, validation = _fashion_mnist(True, varied), _fashion_mnist(False, plain)
        classes = FashionMNIST.classes
    else:
        train, validation, classes = _photos(Path(options.data), varied, plain, options.seed)
    if len(classes) < 2:
        raise Mistake(f"{options.data} has one class ({classes[0]}), and two are needed")
    if options.limit:
        if options.limit < len(classes):
            raise Mistake(f"--limit {options.limit}: {len(classes)} classes need {len(classes)} "
                          "images at least")
        train = _some(train, options.limit, options.seed)
        validation = _some(validation, max(1, options.limit // 3), options.seed)
    return Splits(train, validation, classes)


def visible(image: np.ndarray) -> np.ndarray:
    """The picture (height, width, 3) in 0..1 of which a dataset made `image`."""
    shown = image * np.reshape(STD, (3, 1, 1)) + np.reshape(MEAN, (3, 1, 1))
    return shown.clip(0, 1).transpose(1, 2, 0)


def _transform(options: Options, augment: bool) -> Compose:
    size = options.size
    steps: list[Any] = [Resize(size), CenterCrop(size)]
    if augment:
        steps.append(RandomCrop(size, padding=size // 12))
        if options.data != "digits":
            steps.append(RandomHorizontalFlip())
    return Compose([*steps, GrayscaleToRGB(), ToArray(), Normalize(MEAN, STD)])


def _fashion_mnist(train: bool, transform: Compose) -> FashionMNIST:
    try:
        return FashionMNIST(None, train, transform)
    except DataError as missing:
        try:
            return FashionMNIST(None, train, transform, download=True)
        except DataError as failed:
            raise DataError(f"{missing} ({failed})") from failed


def _photos(
    root: Path, varied: Compose, plain: Compose, seed: int
) -> tuple[Dataset, Dataset, list[str]]:
    """The photos in train/ and val/ of `root`; without these, four in five to train."""
    if (root / "train").is_dir() and (root / "val").is_dir():
        train = ImageFolder(root / "train", varied)
        validation = ImageFolder(root / "val", plain)
        if train.classes != validation.classes:
            odd = sorted(set(train.classes) ^ set(validation.classes))
            raise Mistake(f"{root}: train/ and val/ have different classes ({', '.join(odd)})")
        _check([path for path, _ in train.samples + validation.samples])
        return train, validation, train.classes
    photos = ImageFolder(root, varied)
    _check([path for path, _ in photos.samples])
    learnt, held = _split(photos, seed)
    return Subset(photos, learnt), Subset(ImageFolder(root, plain), held), photos.classes


def _split(photos: ImageFolder, seed: int) -> tuple[list[int], list[int]]:
    """Indices to train and to validate, a fifth of each class, but one image at least."""
    rng = np.random.default_rng(seed)
    learnt, held = [], []
    for number, name in enumerate(photos.classes):
        members = rng.permutation(np.flatnonzero(np.equal(photos.targets, number))).tolist()
        if len(members) < 2:
            raise Mistake(f"{photos.root / name} has one image, and two are needed: one to train, "
                          "one to validate")
        count = max(1, round(len(members) / 5))
        held += members[:count]
        learnt += members[count:]
    return sorted(learnt), sorted(held)


def _check(paths: list[str]) -> None:
    """Read every photo, so that a damaged one is found before an hour of training."""

    def trouble(path: str) -> DataError | None:
        try:
            read_image(path)
        except DataError as error:
            return error
        return None

    with ThreadPoolExecutor() as pool:
        results = pool.map(trouble, paths)
        bar = tqdm(results, "reading photos", len(paths), leave=False, disable=None)
        errors = [error for error in bar if error]
    if errors:
        others = f" (and {len(errors) - 1} more like it)" if len(errors) > 1 else ""
        raise DataError(f"{errors[0]}{others}")


def _some(dataset: Dataset, count: int, seed: int) -> Dataset:
    """At most `count` samples, drawn with the seed."""
    order = np.random.default_rng(seed).permutation(len(dataset))
    return Subset(dataset, sorted(order[:count].tolist()))
