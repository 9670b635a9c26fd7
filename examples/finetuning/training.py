"""The training: stages of epochs of steps, each of which may be the last before a resumption."""

from __future__ import annotations

import math
import signal
import time
from dataclasses import asdict, dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

import nbgrad
from finetuning.datasets import Splits
from finetuning.features import Task, tasks
from finetuning.networks import Network
from finetuning.options import Mistake, Options, Stage
from nbgrad import optim
from nbgrad.nn import functional as F
from nbgrad.optim import lr_scheduler

CHECKPOINT = "checkpoint.safetensors"


class Interrupted(Exception):
    """Ctrl-C was pressed, and the training is between two steps."""


class Interruption:
    """Within the block, Ctrl-C asks the training to stop after a step; pressed twice, at once."""

    def __enter__(self) -> Interruption:
        self.asked = False
        self.before = signal.signal(signal.SIGINT, self._ask)
        return self

    def __exit__(self, *_: object) -> None:
        signal.signal(signal.SIGINT, self.before)

    def _ask(self, *_: object) -> None:
        if self.asked:
            raise KeyboardInterrupt
        self.asked = True

    def check(self) -> None:
        """Raise Interrupted if Ctrl-C was pressed."""
        if self.asked:
            raise Interrupted


@dataclass
class Progress:
    """How far the training is, sums over the images of this epoch, and the epochs before it."""

    stage: int = 0
    epoch: int = 0
    batches: int = 0
    images: int = 0
    loss: float = 0.0
    right: int = 0
    seconds: float = 0.0
    history: list[dict[str, Any]] = field(default_factory=list)

    def check(self, loss: float) -> None:
        """Stop a training that diverges, before it is saved."""
        if not math.isfinite(loss):
            raise Mistake(f"the loss is {loss} in epoch {self.epoch + 1} of stage "
                          f"{self.stage + 1}: try a lower --lr")

    def next_epoch(self, stages: list[Stage]) -> None:
        """Go to the beginning of the next epoch, which may be in the next stage."""
        self.epoch += 1
        if self.epoch == stages[self.stage].epochs:
            self.stage, self.epoch = self.stage + 1, 0
        self.batches, self.images, self.loss, self.right, self.seconds = 0, 0, 0.0, 0, 0.0


class Training:
    """Trains a network stage by stage, and saves all it takes to go on into `options.out`.

    Args:
        network: is changed.
        splits: the data.
        options: say how.
        interruption: is asked after every step.
        saved: the checkpoint of a training to go on with.
    """

    def __init__(self, network: Network, splits: Splits, options: Options,
                 interruption: Interruption, saved: dict[str, Any] | None = None) -> None:
        self.network, self.splits, self.options = network, splits, options
        self.interruption = interruption
        self.progress = Progress()
        self.optimizer: optim.Optimizer | None = None
        self.scheduler: lr_scheduler.LRScheduler | None = None
        self.saved = saved
        if saved:
            network.model.load_state_dict(saved["model"])
            nbgrad.set_rng_state(saved["random"])
            self.progress = Progress(**saved["progress"])

    def run(self) -> None:
        """Train to the end; what stops it before is raised when all is saved."""
        try:
            while self.progress.stage < len(self.options.stages):
                self._stage(self.options.stages[self.progress.stage])
        except (Interrupted, nbgrad.DataError, OSError):
            self.save()
            raise

    def save(self) -> None:
        """Write the checkpoint."""
        nbgrad.save({
            "options": asdict(self.options),
            "classes": list(self.splits.classes),
            "model": self.network.model.state_dict(),
            "optimizer": self.optimizer and self.optimizer.state_dict(),
            "scheduler": self.scheduler and self.scheduler.state_dict(),
            "random": nbgrad.get_rng_state(),
            "progress": asdict(self.progress),
        }, Path(self.options.out, CHECKPOINT))

    def _stage(self, stage: Stage) -> None:
        number, progress = self.progress.stage, self.progress
        count = self.network.frozen_blocks(stage.freeze)
        frozen, trained = self.network.freeze(count)
        self._announce(stage, count)
        self._optimize(stage)
        train, validation = tasks(frozen, trained, self.splits, self.options,
                                  self.interruption.check)
        while progress.stage == number:
            self._epoch(stage, train)
            self._record(stage, *score(*validation.outputs(self.options.batch_size)))
            self.scheduler.step()
            progress.next_epoch(self.options.stages)
            if progress.stage != number:
                self.optimizer = self.scheduler = None
            self.save()
            self.interruption.check()

    def _announce(self, stage: Stage, count: int) -> None:
        blocks = len(self.network.blocks)
        what = {0: "all blocks and the head", blocks: "the head"}.get(
            count, f"the last {blocks - count} of {blocks} blocks and the head")
        print(f"\nstage {self.progress.stage + 1} of {len(self.options.stages)}: {what}, "
              f"{stage.epochs} epoch{'s' * (stage.epochs > 1)}, "
              f"learning rate {stage.lr:g} ({self.options.schedule})\n"
              f"  {self.network.size(trained=True):,} of {self.network.size():,} parameters train",
              flush=True)

    def _optimize(self, stage: Stage) -> None:
        options = self.options
        self.optimizer = optim.SGD(
            [p for p in self.network.model.parameters() if p.requires_grad], stage.lr,
            options.momentum, weight_decay=options.weight_decay, nesterov=options.nesterov)
        self.scheduler = (
            lr_scheduler.CosineAnnealingLR(self.optimizer, stage.epochs)
            if options.schedule == "cosine"
            else lr_scheduler.LambdaLR(self.optimizer, lambda epoch: 1.0))
        if self.saved and self.saved["optimizer"]:
            self.optimizer.load_state_dict(self.saved["optimizer"])
            self.scheduler.load_state_dict(self.saved["scheduler"])
        self.saved = None

    def _epoch(self, stage: Stage, task: Task) -> None:
        """Train on all images once, or on those that a resumed epoch has left."""
        progress, options = self.progress, self.options
        loader = task.loader(options.batch_size, shuffle=True, seed=options.seed)
        loader.set_epoch(len(progress.history))
        began = time.perf_counter() - progress.seconds
        self.network.model.train()
        bar = tqdm(desc=f"  epoch {progress.epoch + 1:2}/{stage.epochs}", total=len(task.data),
                   initial=progress.images, unit=" images", leave=False, disable=None)
        with bar:
            for inputs, labels in islice(loader, progress.batches, None):
                self._step(task, inputs, labels)
                progress.seconds = time.perf_counter() - began
                bar.set_postfix_str(f"loss {progress.loss / progress.images:.3f}, "
                                    f"accuracy {progress.right / progress.images:.1%}", False)
                bar.update(len(labels))
                if progress.batches < len(loader):
                    self.interruption.check()

    def _step(self, task: Task, inputs: nbgrad.Tensor, labels: nbgrad.Tensor) -> None:
        progress = self.progress
        self.optimizer.zero_grad()
        logits = task.layers(inputs)
        loss = F.cross_entropy(logits, labels)
        progress.check(loss.item())
        loss.backward()
        self.optimizer.step()
        progress.batches += 1
        progress.images += len(labels)
        progress.loss += loss.item() * len(labels)
        progress.right += int((logits.argmax(1) == labels).sum())

    def _record(self, stage: Stage, loss: float, accuracy: float) -> None:
        p = self.progress
        p.check(loss)
        entry = {
            "stage": p.stage, "epoch": p.epoch, "lr": self.optimizer.param_groups[0]["lr"],
            "loss": p.loss / p.images, "accuracy": p.right / p.images,
            "validation_loss": loss, "validation_accuracy": accuracy,
            "seconds": p.seconds, "images_per_second": p.images / p.seconds}
        p.history.append(entry)
        print(f"  epoch {p.epoch + 1:2}/{stage.epochs}   loss {entry['loss']:.3f}   "
              f"accuracy {entry['accuracy']:6.1%}   validation {accuracy:6.1%}   "
              f"{entry['images_per_second']:6,.0f} images/s   {p.seconds:.1f} s", flush=True)


def score(logits: np.ndarray, labels: np.ndarray) -> tuple[float, float]:
    """Mean loss and share of right answers."""
    loss = F.cross_entropy(nbgrad.from_numpy(logits), nbgrad.from_numpy(labels)).item()
    return loss, float((logits.argmax(1) == labels).mean())
