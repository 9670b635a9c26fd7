"""The folder of the results, chosen so that no other training's are lost."""

from __future__ import annotations

from dataclasses import asdict, replace
from itertools import count
from pathlib import Path

import nbgrad
from finetuning.options import Mistake, Options, decisive
from finetuning.training import CHECKPOINT


def choose(options: Options, asked: bool) -> Options:
    """`options` with a folder that is free for them; the one that was `asked` for has to be."""
    if not _taken(options.out, options):
        return options
    if asked:
        raise Mistake(f"{options.out} holds another training: go on with that by --resume, or "
                      "choose another --out")
    others = (f"{options.out}-{number}" for number in count(2))
    out = next(other for other in others if not _taken(other, options))
    print(f"{options.out} holds another training: this one goes to {out}\n")
    return replace(options, out=out)


def _taken(out: str, options: Options) -> bool:
    """Whether `out` has results that would not come out the same again."""
    checkpoint = Path(out, CHECKPOINT)
    if not checkpoint.exists():
        return Path(out, "model.safetensors").exists()
    try:
        return decisive(nbgrad.load(checkpoint)["options"]) != decisive(asdict(options))
    except (nbgrad.CheckpointError, KeyError, TypeError):
        return True
