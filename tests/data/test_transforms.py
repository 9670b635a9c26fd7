"""Transforms of images."""

import subprocess
import sys

import numpy as np
import pytest

from nbgrad.data import DataLoader, Dataset
from nbgrad.data.sample import sample
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

Image = pytest.importorskip("PIL.Image")

RNG = np.random.default_rng(0)
COLOUR = RNG.integers(0, 256, (13, 9, 3), np.uint8)
GREY = RNG.integers(0, 256, (13, 9), np.uint8)
IMAGES = pytest.mark.parametrize("image", [COLOUR, GREY, GREY[..., None]], ids=["rgb", "l", "l1"])


def crop(image, top, left, size):
    """Crop with black outside, pixel by pixel."""
    result = np.zeros((*size, *image.shape[2:]), np.uint8)
    for y, x in np.ndindex(*size):
        if 0 <= y + top < image.shape[0] and 0 <= x + left < image.shape[1]:
            result[y, x] = image[y + top, x + left]
    return result


@IMAGES
def test_to_array(image):
    result = ToArray()(image)
    assert result.dtype == np.float32 and result.flags.c_contiguous
    assert result.shape == (image.shape[2] if image.ndim == 3 else 1, 13, 9)
    expected = image.reshape(13, 9, -1).astype(np.float64) / 255
    np.testing.assert_allclose(result.transpose(1, 2, 0), expected, rtol=1e-6)
    assert result.max() <= 1


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "P", "1", "CMYK", "LA", "I;16"])
def test_pil_modes(mode):
    channels = {"L": 1, "RGBA": 4}.get(mode, 3)
    result = ToArray()(Image.fromarray(GREY).convert(mode))
    assert result.shape == (channels, 13, 9) and result.dtype == np.float32


@IMAGES
@pytest.mark.parametrize(
    ("size", "shape"), [(4, (5, 4)), (18, (26, 18)), ((6, 7), (6, 7)), ((13, 9), (13, 9))]
)
def test_resize(image, size, shape):
    torch = pytest.importorskip("torch")
    result = Resize(size)(image)
    assert result.shape == (*shape, *image.shape[2:]) and result.dtype == np.uint8
    planes = torch.from_numpy(image.reshape(13, 9, -1).transpose(2, 0, 1).astype(np.float32))[None]
    expected = torch.nn.functional.interpolate(planes, shape, mode="bilinear", antialias=True)
    expected = expected[0].permute(1, 2, 0).numpy().reshape(result.shape)
    assert np.abs(result - expected).max() <= 1.01


def test_resize_of_a_pil_image():
    np.testing.assert_array_equal(Resize(5)(Image.fromarray(COLOUR)), Resize(5)(COLOUR))


@IMAGES
@pytest.mark.parametrize(
    ("size", "place"),
    [((5, 5), (4, 2)), (4, (4, 2)), ((13, 9), (0, 0)), ((15, 20), (-1, -5)), ((1, 11), (6, -1))],
)
def test_center_crop(image, size, place):
    size_ = (size, size) if isinstance(size, int) else size
    np.testing.assert_array_equal(CenterCrop(size)(image), crop(image, *place, size_))


def test_center_crop_is_torchvisions():
    # Sizes whose middle falls between two pixels: round half to even.
    for have in range(1, 12):
        for want in range(1, have + 1):
            image = np.arange(have, dtype=np.uint8)[:, None]
            assert CenterCrop((want, 1))(image)[0, 0] == round((have - want) / 2)


@IMAGES
@pytest.mark.parametrize(("size", "padding"), [((5, 4), 0), (9, 2), ((13, 9), 0), ((17, 13), 2)])
def test_random_crop(image, size, padding):
    size_ = (size, size) if isinstance(size, int) else size
    rows = range(-padding, image.shape[0] + padding - size_[0] + 1)
    columns = range(-padding, image.shape[1] + padding - size_[1] + 1)
    possible = {crop(image, top, left, size_).tobytes() for top in rows for left in columns}
    seen = set()
    for index in range(20):
        with sample(0, 0, index):
            seen.add(RandomCrop(size, padding)(image).tobytes())
    assert seen <= possible
    assert len(seen) > 5 or len(seen) == len(possible)


@IMAGES
def test_random_flip(image):
    flips = 0
    for index in range(200):
        with sample(0, 0, index):
            result = RandomHorizontalFlip()(image)
        same = np.array_equal(result, image)
        assert same or np.array_equal(result, np.flip(image, 1))
        flips += not same
    assert 70 < flips < 130
    assert np.array_equal(RandomHorizontalFlip(1)(image), np.flip(image, 1))
    assert np.array_equal(RandomHorizontalFlip(0)(image), image)


def test_normalize():
    array = RNG.random((3, 4, 5)).astype(np.float32)
    mean, std = [0.1, 0.2, 0.3], [1, 2, 4]
    result = Normalize(mean, std)(array)
    expected = (array - np.reshape(mean, (3, 1, 1))) / np.reshape(std, (3, 1, 1))
    assert result.dtype == np.float32
    np.testing.assert_allclose(result, expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(Normalize(0.5, 2)(array), (array - 0.5) / 2, rtol=1e-6)
    assert Normalize(0.5, 2)(array.astype(np.float64)).dtype == np.float64


def test_grayscale_to_rgb():
    for image in (GREY, GREY[..., None], Image.fromarray(GREY)):
        np.testing.assert_array_equal(GrayscaleToRGB()(image), np.dstack([GREY] * 3))
    np.testing.assert_array_equal(GrayscaleToRGB()(COLOUR), COLOUR)
    planes = ToArray()(GREY)
    np.testing.assert_array_equal(GrayscaleToRGB()(planes), np.concatenate([planes] * 3))


@pytest.mark.parametrize(
    ("transform", "image", "error", "word"),
    [
        (ToArray(), np.ones((4, 4)), TypeError, r"float64 \(4, 4\)"),
        (CenterCrop(2), np.ones(4, np.uint8), TypeError, r"\(4,\)"),
        (RandomCrop(14), GREY, ValueError, r"\(14, 14\) does not fit into \(13, 9\)"),
        (Normalize(0.5, 0.5), GREY, TypeError, "place ToArray before it"),
        (Normalize([0.5] * 3, 1), np.ones((2, 4, 4)), ValueError, "3 means"),
    ],
)
def test_wrong_images(transform, image, error, word):
    with pytest.raises(error, match=word):
        transform(image)


def test_wrong_arguments():
    for make in (lambda: Resize(0), lambda: CenterCrop((3, -1)), lambda: RandomCrop(0)):
        with pytest.raises(ValueError, match="size must be positive"):
            make()
    with pytest.raises(ValueError, match="std must not be 0"):
        Normalize(0, [1, 0])


AUGMENT = Compose([RandomCrop(9, padding=3), RandomHorizontalFlip(), ToArray()])


class Augmented(Dataset):
    def __len__(self):
        return 12

    def __getitem__(self, index):
        return AUGMENT(COLOUR)


def test_augmentation_is_the_same_for_any_number_of_workers():
    def epochs(workers, seed=0):
        loader = DataLoader(Augmented(), 5, num_workers=workers, collate_fn=np.stack, seed=seed)
        return [np.concatenate(list(loader)) for _ in range(2)]

    first, second = epochs(0)
    assert not np.array_equal(first, second) and not np.array_equal(first, epochs(0, seed=1)[0])
    assert len({image.tobytes() for image in first}) > 6
    for workers in (1, 3):
        np.testing.assert_array_equal(epochs(workers), [first, second])


def test_outside_a_loader_transforms_are_random():
    results = {AUGMENT(COLOUR).tobytes() for _ in range(30)}
    assert len(results) > 5


def test_import_needs_neither_pillow_nor_sklearn():
    code = """
import sys
sys.modules["PIL"] = sys.modules["sklearn"] = None
import numpy as np
from nbgrad.data import Digits, read_image, transforms
image = np.zeros((4, 4), np.uint8)
transforms.Compose([transforms.CenterCrop(2), transforms.ToArray()])(image)
for call, package in (
    (lambda: transforms.Resize(2)(image), "pillow"),
    (lambda: read_image("x.png"), "pillow"),
    (Digits, "scikit-learn"),
):
    try:
        call()
    except ImportError as error:
        assert f"pip install {package}" in str(error)
    else:
        raise AssertionError(package)
"""
    subprocess.run([sys.executable, "-c", code], check=True)
