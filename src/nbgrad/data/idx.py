"""The idx files of MNIST and Fashion-MNIST: found, downloaded, read."""

from __future__ import annotations

import gzip
import hashlib
import math
import os
import secrets
import zlib
from pathlib import Path

import numpy as np

from nbgrad import config
from nbgrad.errors import DataError

DEBIAN = Path("/usr/share/datasets/fashion-mnist")
URL = "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com"
# From the README of zalandoresearch/fashion-mnist, for the gzipped files.
MD5 = {
    "train-images-idx3-ubyte": "8d4fb7e6c68d591d4c3dfef9ec88bf0d",
    "train-labels-idx1-ubyte": "25c81989df183df01b3e8a0aad5dffbe",
    "t10k-images-idx3-ubyte": "bef4ecab320f06d8554ea6380940ec79",
    "t10k-labels-idx1-ubyte": "bb300cfdad3c16e7a12a480ee83cd310",
}
_LARGEST_DOWNLOAD = 2**26


def locate(name: str, root: str | os.PathLike | None, download: bool) -> Path:
    """The path of the file `name`, gzipped or not, in `root` or where Debian installs it."""
    own = Path(root) if root is not None else config.CACHE_DIR and config.CACHE_DIR / "datasets"
    folders = [*([own, own / "FashionMNIST" / "raw"] if own else []), DEBIAN]
    for folder in folders:
        for file in (folder / name, folder / f"{name}.gz"):
            if file.is_file():
                return file
    if download:
        if own is None:
            raise DataError("nowhere to download Fashion-MNIST to; pass root")
        return _download(name, own)
    raise DataError(
        f"{name} is not in {', '.join(map(str, folders))}; pass download=True, or on Debian "
        "apt-get install dataset-fashion-mnist"
    )


def _download(name: str, folder: Path) -> Path:
    import urllib.request  # slow to import, and seldom needed

    url = f"{URL}/{name}.gz"
    try:
        with urllib.request.urlopen(url, timeout=60) as response:
            content = response.read(_LARGEST_DOWNLOAD)
    except OSError as error:
        raise DataError(f"{url} could not be downloaded: {error}") from error
    found = hashlib.md5(content, usedforsecurity=False).hexdigest()
    if found != MD5[name]:
        raise DataError(f"{url} has the MD5 checksum {found}, expected {MD5[name]}; not kept")
    folder.mkdir(parents=True, exist_ok=True)
    target, temporary = folder / f"{name}.gz", folder / f"{name}.{secrets.token_hex(4)}.tmp"
    try:
        temporary.write_bytes(content)
        os.replace(temporary, target)
    finally:
        temporary.unlink(missing_ok=True)
    return target


def read(path: Path, shape: tuple[int, ...]) -> np.ndarray:
    """The uint8 array in an idx file that must have `shape`."""
    header = bytes([0, 0, 8, len(shape)]) + np.array(shape, ">i4").tobytes()
    want = len(header) + math.prod(shape)
    try:
        with (gzip.open if path.suffix == ".gz" else open)(path, "rb") as file:
            content = file.read(want + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path} is damaged: {error}") from error
    if not content.startswith(header) or len(content) != want:
        raise DataError(f"{path} is not the idx file of a uint8 array {shape}")
    return np.frombuffer(content, np.uint8, offset=len(header)).reshape(shape).copy()
