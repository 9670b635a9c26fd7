"""Image folders, Fashion-MNIST and digits."""

import gzip
import hashlib
import shutil

import numpy as np
import pytest

from nbgrad.data import DataLoader, Digits, FashionMNIST, ImageFolder, idx, read_image
from nbgrad.data.transforms import Compose, Resize, ToArray
from nbgrad.errors import DataError

PART = "t10k"
SHAPES = {"images-idx3-ubyte": (10000, 28, 28), "labels-idx1-ubyte": (10000,)}


@pytest.fixture
def folder(tmp_path):
    image = pytest.importorskip("PIL.Image")
    rng = np.random.default_rng(0)
    for name in ("dog/b.png", "dog/a.jpg", "cat/deep/c.PNG", "ant/x.bmp"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        image.fromarray(rng.integers(0, 256, (6, 5, 3), np.uint8)).save(path)
    image.fromarray(rng.integers(0, 256, (6, 5), np.uint8)).save(tmp_path / "dog" / "grey.png")
    (tmp_path / "dog" / "notes.txt").write_text("x")
    (tmp_path / "readme.md").write_text("x")
    (tmp_path / ".cache").mkdir()
    return tmp_path


def one_line(error):
    message = str(error.value)
    assert "\n" not in message
    return message


def test_image_folder(folder):
    dataset = ImageFolder(folder)
    assert dataset.classes == ["ant", "cat", "dog"]
    assert dataset.class_to_idx == {"ant": 0, "cat": 1, "dog": 2}
    names = [path[len(str(folder)) + 1 :] for path, _ in dataset.samples]
    assert names == ["ant/x.bmp", "cat/deep/c.PNG", "dog/a.jpg", "dog/b.png", "dog/grey.png"]
    assert dataset.targets == [0, 1, 2, 2, 2] == [label for _, label in dataset]
    assert all(image.shape == (6, 5, 3) and image.dtype == np.uint8 for image, _ in dataset)
    image, label = ImageFolder(folder, Compose([Resize((3, 4)), ToArray()]))[1]
    assert image.shape == (3, 3, 4) and label == 1
    assert ImageFolder(folder, loader=len)[0] == (len(dataset.samples[0][0]), 0)


UPRIGHT = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.swapaxes(0, 1),
    6: lambda a: np.rot90(a, -1),
    7: lambda a: a[::-1, ::-1].swapaxes(0, 1),
    8: np.rot90,
}


@pytest.mark.parametrize("orientation", UPRIGHT)
def test_photos_are_turned_upright(tmp_path, orientation):
    image = pytest.importorskip("PIL.Image")
    stored = np.random.default_rng(0).integers(0, 256, (3, 5, 3), np.uint8)
    exif = image.Exif()
    exif[0x0112] = orientation
    for name in ("x.png", "x.tif"):
        image.fromarray(stored).save(tmp_path / name, exif=exif)
        np.testing.assert_array_equal(read_image(tmp_path / name), UPRIGHT[orientation](stored))


def test_image_folder_errors(folder, tmp_path_factory):
    with pytest.raises(DataError) as error:
        ImageFolder(folder / "no")
    assert one_line(error) == f"{folder / 'no'} is not a folder"
    empty = tmp_path_factory.mktemp("empty")
    with pytest.raises(DataError) as error:
        ImageFolder(empty)
    assert one_line(error).startswith(f"{empty} has no folders")
    (folder / "bee").mkdir()
    with pytest.raises(DataError) as error:
        ImageFolder(folder)
    assert one_line(error).startswith(f"{folder / 'bee'} has no images")


@pytest.mark.parametrize("damage", [lambda c: b"", lambda c: b"text", lambda c: c[: len(c) // 2]])
@pytest.mark.parametrize("workers", [0, 2])
def test_damaged_image(folder, damage, workers):
    path = folder / "dog" / "b.png"
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(DataError) as error:
        list(DataLoader(ImageFolder(folder), collate_fn=list, num_workers=workers))
    assert one_line(error).startswith(f"{path} cannot be read as an image: ")
    assert error.value.__notes__ == ["while loading sample 3 of ImageFolder"]


def content(name):
    """An idx file of the right shape with made-up numbers, without the gzip around it."""
    shape = SHAPES[name]
    numbers = np.random.default_rng(0).integers(0, 10, shape, np.uint8)
    magic = {1: 2049, 3: 2051}[len(shape)]
    return np.array([magic, *shape], ">u4").tobytes() + numbers.tobytes()


@pytest.fixture
def root(tmp_path, monkeypatch):
    monkeypatch.setattr(idx, "DEBIAN", tmp_path / "none")
    for name in SHAPES:
        (tmp_path / f"{PART}-{name}.gz").write_bytes(gzip.compress(content(name), 1))
    return tmp_path


def test_fashion_mnist(root):
    dataset = FashionMNIST(root, train=False, transform=ToArray())
    assert len(dataset) == 10000 and len(dataset.classes) == 10
    pixels = np.frombuffer(content("images-idx3-ubyte"), np.uint8, offset=16)
    labels = np.frombuffer(content("labels-idx1-ubyte"), np.uint8, offset=8)
    image, label = dataset[7]
    assert image.shape == (1, 28, 28) and label == labels[7] and type(label) is int
    np.testing.assert_array_equal(dataset.images.ravel(), pixels)
    np.testing.assert_array_equal(dataset.targets, labels)


def test_plain_files_and_torchvisions_folders(root):
    raw = root / "FashionMNIST" / "raw"
    raw.mkdir(parents=True)
    for name in SHAPES:
        (root / f"{PART}-{name}.gz").unlink()
        (raw / f"{PART}-{name}").write_bytes(content(name))
    assert len(FashionMNIST(root, train=False)) == 10000


def test_missing_files_say_how_to_get_them(root):
    with pytest.raises(DataError) as error:
        FashionMNIST(root, train=True)
    message = one_line(error)
    assert "train-images-idx3-ubyte is not in" in message and str(root) in message
    assert "download=True" in message and "apt-get install dataset-fashion-mnist" in message


def header(*numbers):
    return np.array(numbers, ">u4").tobytes()


DAMAGE = {
    "empty": b"",
    "text": b"<html>404</html>",
    "other magic": header(2051, 10000) + bytes(10000),
    "other count": header(2049, 9999) + bytes(9999),
    "too short": header(2049, 10000) + bytes(9999),
    "too long": header(2049, 10000) + bytes(10001),
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
@pytest.mark.parametrize("zipped", [True, False])
def test_damaged_files(root, damage, zipped):
    path = root / f"{PART}-labels-idx1-ubyte.gz"
    path.unlink()
    path = path if zipped else path.with_suffix("")
    path.write_bytes(gzip.compress(damage) if zipped else damage)
    with pytest.raises(DataError) as error:
        FashionMNIST(root, train=False)
    assert one_line(error) == f"{path} is not the idx file of a uint8 array (10000,)"


@pytest.mark.parametrize("damage", [lambda c: c[:100], lambda c: b"x" + c, lambda c: c[:60] * 2])
def test_damaged_gzip(root, damage):
    path = root / f"{PART}-labels-idx1-ubyte.gz"
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(DataError) as error:
        FashionMNIST(root, train=False)
    assert one_line(error).startswith(f"{path} is damaged")


def test_impossible_class(root):
    (root / f"{PART}-labels-idx1-ubyte.gz").write_bytes(
        gzip.compress(header(2049, 10000) + bytes([10]) * 10000)
    )
    with pytest.raises(DataError, match="has a class 10"):
        FashionMNIST(root, train=False)


def test_download(root, tmp_path_factory, monkeypatch):
    target = tmp_path_factory.mktemp("target") / "new"
    monkeypatch.setattr(idx, "URL", root.as_uri())
    with pytest.raises(DataError, match=r"MD5 checksum .* not kept"):
        FashionMNIST(target, train=False, download=True)
    assert not target.exists()
    for file in root.glob("*.gz"):
        digest = hashlib.md5(file.read_bytes()).hexdigest()
        monkeypatch.setitem(idx.MD5, file.name[: -len(".gz")], digest)
    assert len(FashionMNIST(target, train=False, download=True)) == 10000
    assert sorted(p.name for p in target.iterdir()) == sorted(p.name for p in root.glob("*.gz"))
    shutil.rmtree(root)
    assert len(FashionMNIST(target, train=False, download=True)) == 10000
    with pytest.raises(DataError, match=r"train-images.* could not be downloaded"):
        FashionMNIST(target, train=True, download=True)


@pytest.mark.skipif(not idx.DEBIAN.exists(), reason="dataset-fashion-mnist is not installed")
@pytest.mark.parametrize("train", [True, False])
def test_fashion_mnist_itself(train):
    dataset = FashionMNIST(train=train)
    assert dataset.images.shape == (60000 if train else 10000, 28, 28)
    assert np.bincount(dataset.targets).tolist() == [len(dataset) // 10] * 10


def test_digits():
    datasets = pytest.importorskip("sklearn.datasets")
    whole = datasets.load_digits()
    train, test = Digits(), Digits(train=False)
    assert (len(train), len(test)) == (1400, 397)
    image, label = train[0]
    assert image.shape == (8, 8) and image.dtype == np.uint8 and type(label) is int
    both = [(i.tobytes(), t) for part in (train, test) for i, t in zip(part.images, part.targets)]
    scaled = np.rint(whole.images * 255 / 16).astype(np.uint8)
    assert sorted(both) == sorted((i.tobytes(), t) for i, t in zip(scaled, whole.target))
    shares = np.bincount(test.targets) / np.bincount(whole.target)
    assert np.abs(shares - 397 / 1797).max() < 0.005
    assert (np.diff(train.targets) < 0).any(), "shuffled"
    np.testing.assert_array_equal(train.images, Digits().images)
