"""What finetune.py can be asked for, and what it does unless asked."""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

import numba


class Mistake(Exception):
    """Something that the user can put right; the message says what, in one line."""


class Stage(NamedTuple):
    """A part of the training: what is frozen, for how many epochs, at which first rate."""

    freeze: str
    epochs: int
    lr: float


@dataclass(frozen=True)
class Options:
    """All that decides a training. `freeze`, `epochs` and `lr` have one value for each stage."""

    model: str = "mobilenet_v2"
    weights: str = "auto"
    data: str = "digits"
    freeze: tuple[str, ...] = ("backbone", "6")
    epochs: tuple[int, ...] = (10, 10)
    lr: tuple[float, ...] = (0.05, 0.01)
    schedule: str = "cosine"
    batch_size: int = 64
    momentum: float = 0.9
    weight_decay: float = 1e-4
    nesterov: bool = True
    size: int = 96
    augment: bool = False
    limit: int = 0
    seed: int = 0
    threads: int = 0
    out: str = ""

    @property
    def stages(self) -> list[Stage]:
        return [Stage(*values) for values in zip(self.freeze, self.epochs, self.lr)]


#: Options that change no number of a training, so that `--resume` may be given others.
_FREE = ("threads", "out")


def decisive(options: dict[str, Any]) -> dict[str, Any]:
    """Those of `options` that decide the numbers of a training."""
    return {name: value for name, value in options.items() if name not in _FREE}


def complete(given: dict[str, Any]) -> Options:
    """The options `given`, with the others set to what fits them."""
    asked = {**asdict(Options()), **given}
    if asked["model"] == "small_cnn" and asked["weights"] == "auto":
        asked["weights"] = "none"  # nobody has pretrained it
    pretrained = asked["weights"] != "none"
    freeze = given.get("freeze") or (Options.freeze if pretrained else ("none",))
    rates = tuple(0.05 if kind == "backbone" or not pretrained else 0.01 for kind in freeze)
    asked |= {
        "freeze": freeze,
        "epochs": _for_stages("epochs", given.get("epochs", (10,)), freeze),
        "lr": _for_stages("lr", given.get("lr", rates), freeze),
        "size": given.get("size") or (32 if asked["model"] == "small_cnn" else 96),
        "threads": given.get("threads") or _cores(),
        "out": given.get("out") or f"runs/{asked['model']}-{Path(asked['data']).name}",
    }
    if asked["nesterov"] and not asked["momentum"]:
        if given.get("nesterov"):
            raise Mistake("--nesterov needs a --momentum above 0")
        asked["nesterov"] = False
    return Options(**asked)


def resumed(saved: Options, given: dict[str, Any], folder: Path) -> Options:
    """The options of a training that goes on, refusing any that would make it another one."""
    options = complete({**asdict(saved), "out": str(folder), **given})
    for name, before in decisive(asdict(saved)).items():
        now = getattr(options, name)
        if now != before:
            raise Mistake(
                f"--resume goes on with the options it began with, and --{name.replace('_', '-')} "
                f"was {_spelled(before)}, not {_spelled(now)}"
            )
    return options


def parse(arguments: Sequence[str] | None = None) -> dict[str, Any]:
    """The options on the command line, only those that are there, and "resume"."""
    parser = _Parser(
        prog="finetune.py",
        description="Fine-tune a convolutional network on images, with nbgrad.",
        epilog="Ctrl-C saves and stops with exit status 130, --resume goes on from there with the "
        "same numbers. What is wrong with the options, the data or a checkpoint is said in one "
        "line, with exit status 2.",
        argument_default=argparse.SUPPRESS,
    )
    add, default = parser.add_argument, Options
    add("--model", choices=("mobilenet_v2", "resnet18", "small_cnn"),
        help=f"the network (default: {default.model})")
    add("--weights", metavar="auto|PATH|none", type=_weights,
        help="a checkpoint to begin with; auto looks for ImageNet's (default: auto)")
    add("--data", metavar="digits|fashion-mnist|FOLDER", type=_data,
        help="the images; a FOLDER has a sub-folder of photos for each class, or such folders in "
        "train/ and val/ (default: digits)")
    add("--freeze", metavar="backbone|none|N", nargs="+", type=_freeze,
        help="what is not trained: all but the head, nothing, or all but the last N blocks and "
        "the head. Several values are stages, one after the other, and --epochs and --lr may "
        f"then have as many (default: {' '.join(default.freeze)}; without weights none)")
    add("--epochs", nargs="+", type=_whole(1), help="passes over the images (default: 10)")
    add("--lr", nargs="+", type=_number("above 0", lambda x: 0 < x < math.inf),
        help="learning rate (default: 0.05 for a head alone and without weights, else 0.01)")
    add("--schedule", choices=("cosine", "constant"),
        help="the course of the learning rate in a stage (default: cosine)")
    add("--batch-size", type=_whole(1), help=f"images in a step (default: {default.batch_size})")
    add("--momentum", type=_number("from 0 to below 1", lambda x: 0 <= x < 1),
        help=f"of SGD (default: {default.momentum})")
    add("--weight-decay", type=_number("from 0 up", lambda x: 0 <= x < math.inf),
        help=f"of SGD (default: {default.weight_decay})")
    add("--nesterov", action=argparse.BooleanOptionalAction,
        help="Nesterov's momentum (default: yes)")
    add("--size", type=_whole(8), help="pixels of an image's side (default: 96; small_cnn 32)")
    add("--augment", action="store_true",
        help="train on shifted and, but for digits, mirrored images; features of frozen blocks "
        "are then computed anew each epoch")
    add("--limit", metavar="N", type=_whole(1),
        help="use N images to train, and N / 3 to validate")
    add("--seed", type=_whole(0), help="decides all that is random (default: 0)")
    add("--threads", type=_whole(1), help="cores to use (default: all); the numbers do not change")
    add("--out", metavar="FOLDER", type=_path,
        help="where results go (default: runs/MODEL-DATA, or runs/MODEL-DATA-2 and so on, where "
        "that holds another training)")
    add("--resume", metavar="PATH", type=_path,
        help="go on with a training: its --out folder or the checkpoint.safetensors in it")
    given = vars(parser.parse_args(arguments))
    return {name: tuple(v) if isinstance(v, list) else v for name, v in given.items()}


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise Mistake(f"{message}; see --help")


def _for_stages(name: str, values: tuple, freeze: tuple[str, ...]) -> tuple:
    if len(values) not in (1, len(freeze)):
        raise Mistake(f"--{name} has {len(values)} values, and --freeze {' '.join(freeze)} makes "
                      f"{len(freeze)} stage{'s' * (len(freeze) > 1)}")
    return values * len(freeze) if len(values) == 1 else values


def _cores() -> int:
    """Those that this process may use, or NUMBA_NUM_THREADS where somebody chose fewer."""
    settings: Any = numba.config
    return settings.NUMBA_NUM_THREADS


def _spelled(value: Any) -> str:
    return " ".join(map(str, value)) if isinstance(value, tuple) else str(value)


def _path(text: str) -> str:
    if not text:
        raise argparse.ArgumentTypeError("'' is not a path")
    return str(Path(text).expanduser())


def _data(text: str) -> str:
    return text if text in ("digits", "fashion-mnist") else str(Path(_path(text)).resolve())


def _weights(text: str) -> str:
    return text if text in ("auto", "none") else str(Path(_path(text)).resolve())


def _freeze(text: str) -> str:
    if text in ("backbone", "none"):
        return text
    if text.isdecimal():
        return str(int(text)) if int(text) else "backbone"
    raise argparse.ArgumentTypeError(f"{text!r} is not backbone, none or a number of blocks")


def _whole(least: int):
    def convert(text: str) -> int:
        if not text.isdecimal() or int(text) < least:
            raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from {least} up")
        return int(text)

    return convert


def _number(which: str, fits: Callable[[float], bool]):
    def convert(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not fits(value):
            raise argparse.ArgumentTypeError(f"{text!r} is not a number {which}")
        return value

    return convert
