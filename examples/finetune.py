"""Fine-tune a pretrained convolutional network on images, with nbgrad's own kernels.

    python examples/finetune.py
    python examples/finetune.py --data ~/photos --size 160 --augment
    python examples/finetune.py --model small_cnn --data fashion-mnist --epochs 3
    python examples/finetune.py --resume runs/mobilenet_v2-digits

Without options, MobileNetV2 with ImageNet's weights learns handwritten digits in two stages: first
a new head on the frozen blocks, then also the last six blocks, at a lower rate.
"""

from __future__ import annotations

import os
import signal

if __name__ == "__main__":  # Ctrl-C during the imports, too, ends the program quietly
    signal.signal(signal.SIGINT, lambda *_: os._exit(130))

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from finetuning import datasets, folder, options, report
from finetuning.datasets import Splits
from finetuning.networks import Network
from finetuning.options import Mistake, Options
from finetuning.training import CHECKPOINT, Interrupted, Interruption, Training

import nbgrad

#: Exit statuses: as argparse has it for what the user can put right, and shells for Ctrl-C.
DONE, WRONG, INTERRUPTED = 0, 2, 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the program; returns its exit status."""
    try:
        with Interruption() as interruption:
            return finetune(options.parse(arguments), interruption)
    except (Mistake, nbgrad.DataError, nbgrad.CheckpointError, OSError, ImportError) as error:
        print(f"finetune.py: {' '.join(str(error).split())}", file=sys.stderr)
        return WRONG
    except KeyboardInterrupt:
        print("\ninterrupted", file=sys.stderr)
        return INTERRUPTED


def finetune(given: dict[str, Any], interruption: Interruption) -> int:
    """Load everything, train, report."""
    saved = None
    if "resume" in given:
        path, saved = read_checkpoint(Path(given.pop("resume")))
        chosen = options.resumed(Options(**saved["options"]), given, path.parent)
    else:
        chosen = options.complete(given)
    chosen = folder.choose(chosen, asked="out" in given or saved is not None)
    use_threads(chosen.threads)
    nbgrad.manual_seed(chosen.seed)
    splits = datasets.load(chosen)
    if saved and saved["classes"] != list(splits.classes):
        raise Mistake(f"{chosen.data} has other classes now than when the training began")
    network = Network(chosen.model, len(splits.classes), chosen.weights)
    network.check_memory(min(chosen.batch_size, len(splits.train)), chosen.size)
    for stage in chosen.stages:
        network.frozen_blocks(stage.freeze)
    Path(chosen.out).mkdir(parents=True, exist_ok=True)
    introduce(network, splits, chosen)

    training = Training(network, splits, chosen, interruption, saved)
    if saved:
        print(f"\ngoing on after {len(training.progress.history)} epochs and "
              f"{training.progress.batches} batches")
    try:
        training.run()
    except Interrupted:
        print(f"\ninterrupted and saved; go on with --resume {chosen.out}")
        return INTERRUPTED
    report.write(network, splits, chosen, training.progress.history)
    return DONE


def read_checkpoint(path: Path) -> tuple[Path, dict[str, Any]]:
    """The checkpoint at `path` or in the folder `path`, and where it is."""
    path = path / CHECKPOINT if path.is_dir() else path
    if not path.is_file():
        raise Mistake(f"--resume: there is no {path}")
    saved = nbgrad.load(path)
    if not isinstance(saved, dict) or "progress" not in saved:
        raise Mistake(f"--resume: {path} is not a checkpoint of finetune.py; to begin with its "
                      "weights, pass --weights")
    return path, saved


def use_threads(count: int) -> None:
    """Run kernels on `count` threads."""
    nbgrad.set_num_threads(count)
    if nbgrad.get_num_threads() < count:
        raise Mistake(f"--threads {count}: this machine has {nbgrad.get_num_threads()}")


def introduce(network: Network, splits: Splits, chosen: Options) -> None:
    """Say what is loaded."""
    print(f"data     {chosen.data}: {len(splits.train):,} images to train and "
          f"{len(splits.validation):,} to validate, {len(splits.classes)} classes, "
          f"{chosen.size} x {chosen.size} pixels\n"
          f"model    {chosen.model}: {len(network.blocks)} blocks and a new head, "
          f"{network.size():,} parameters\n"
          f"weights  {network.path or 'random'}\n"
          f"threads  {chosen.threads}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
