"""Networks as a row of blocks and a head, so that the first blocks can be frozen."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import nbgrad
from finetuning.options import Mistake
from nbgrad import CheckpointError, nn
from nbgrad.models import MobileNetV2, ResNet, SmallCNN, weights


class Plan(NamedTuple):
    """How a network is taken apart: `head(block(...(block(image))))` is what it computes.

    `bytes` is what its widest layers take at the least for each pixel of a batch.
    """

    head: str
    blocks: Callable[[nn.Module], list[nn.Module]]
    bytes: int


def _mobilenet_v2(model: MobileNetV2) -> list[nn.Module]:
    *blocks, last = model.features
    return [*blocks, nn.Sequential(last, nn.AdaptiveAvgPool2d(1), nn.Flatten())]


def _resnet18(model: ResNet) -> list[nn.Module]:
    first = nn.Sequential(model.conv1, model.bn1, model.relu, model.maxpool)
    *blocks, last = [*model.layer1, *model.layer2, *model.layer3, *model.layer4]
    return [first, *blocks, nn.Sequential(last, model.avgpool, nn.Flatten())]


def _small_cnn(model: SmallCNN) -> list[nn.Module]:
    *blocks, last = model.features
    return [*blocks, nn.Sequential(last, model.pool)]


PLANS = {
    "mobilenet_v2": Plan("classifier", _mobilenet_v2, 600),
    "resnet18": Plan("fc", _resnet18, 300),
    "small_cnn": Plan("classifier", _small_cnn, 200),
}


class Network:
    """A model of `nbgrad.models` with a fresh head, over which blocks and head are views.

    Args:
        name: of the model.
        classes: outputs of the head.
        source: "auto", "none" or the path of a checkpoint, of which all but the head is taken.
    """

    def __init__(self, name: str, classes: int, source: str) -> None:
        self.name = name
        self.plan = PLANS[name]
        self.model = getattr(nbgrad.models, name)(num_classes=classes)
        self.path = _find(name, source)
        if self.path is not None:
            self._load_backbone()
        self.blocks = self.plan.blocks(self.model)
        self.head = getattr(self.model, self.plan.head)

    def _load_backbone(self) -> None:
        state = nbgrad.load(self.path)
        if not isinstance(state, dict):
            raise CheckpointError(f"{self.path} holds no tensors by name")
        own = {key: value for key, value in self.model.state_dict().items() if self._in_head(key)}
        given = {key: value for key, value in state.items() if not self._in_head(key)}
        try:
            self.model.load_state_dict({**given, **own})
        except (RuntimeError, TypeError) as error:
            known = self.model.state_dict().keys() - own.keys()
            odd = [key for key in given if key not in known]
            if known == given.keys():
                why = str(error).split("\n\t")[1]
            else:
                why = (f"{len(known - given.keys())} of {len(known)} tensors are missing, and "
                       f"{len(odd)} belong to something else{f' (such as {odd[0]})' if odd else ''}")
            message = f"{self.path} is not a checkpoint of {self.name}: {why}"
            raise CheckpointError(message) from error

    def _in_head(self, key: str) -> bool:
        return key.startswith(f"{self.plan.head}.")

    def check_memory(self, batch: int, size: int) -> None:
        """Refuse images so large that a batch of them cannot fit."""
        need, have = self.plan.bytes * batch * size**2, _memory()
        if need > have:
            raise Mistake(f"--size {size}: a batch of {batch} such images takes at least "
                          f"{need / 2**30:,.0f} GiB, and this machine has {have / 2**30:,.0f}; lower "
                          "--size or --batch-size")

    def frozen_blocks(self, freeze: str) -> int:
        """How many of the first blocks `--freeze` keeps as they are."""
        total = len(self.blocks)
        trained = {"backbone": 0, "none": total}.get(freeze)
        trained = int(freeze) if trained is None else trained
        if trained > total:
            raise Mistake(f"--freeze {freeze}: {self.name} has {total} blocks")
        return total - trained

    def freeze(self, count: int) -> tuple[nn.Sequential, nn.Sequential]:
        """Freeze the first `count` blocks; they, and the rest with the head, as two modules."""
        self.model.unfreeze()
        frozen, trained = self.blocks[:count], self.blocks[count:]
        for block in frozen:
            block.freeze()
        return nn.Sequential(*frozen), nn.Sequential(*trained, self.head)

    def size(self, trained: bool = False) -> int:
        """The number of parameters, or of those that train."""
        return sum(p.numel() for p in self.model.parameters() if p.requires_grad or not trained)


def _memory() -> int:
    """The bytes of this machine, where it says so."""
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError):
        return 2**63


def _find(name: str, source: str) -> Path | None:
    if source not in ("auto", "none"):
        if Path(source).is_dir():
            raise Mistake(f"--weights {source}: that is a folder; name a file in it")
        if not Path(source).is_file():
            raise Mistake(f"--weights {source}: there is no such file")
    try:
        return weights.find(name, source)
    except (FileNotFoundError, ValueError) as error:
        raise Mistake(f"--weights {source}: {error}") from error
