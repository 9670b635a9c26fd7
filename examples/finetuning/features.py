"""What goes into the layers that train: images, or features that frozen blocks made of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from tqdm import tqdm

import nbgrad
from finetuning.datasets import Splits
from finetuning.options import Options
from nbgrad import nn
from nbgrad.data import DataLoader, Dataset, TensorDataset

#: The most bytes of features that are kept.
LARGEST = 2**30


class Task(NamedTuple):
    """A data set, layers that make logits of its samples, and how many threads load it."""

    data: Dataset
    layers: nn.Module
    workers: int = 0

    def loader(self, batch_size: int, shuffle: bool = False, seed: int = 0) -> DataLoader:
        return DataLoader(self.data, batch_size, shuffle, num_workers=self.workers, seed=seed)

    def outputs(self, batch_size: int,
                after_batch: Callable[[], None] = lambda: None) -> tuple[np.ndarray, np.ndarray]:
        """What the layers make of the whole data set, and its classes."""
        self.layers.eval()
        outputs, classes = np.empty(0, np.float32), np.empty(len(self.data), np.int64)
        bar = tqdm(total=len(self.data), leave=False, disable=None, unit=" images", delay=1)
        start = 0
        with nbgrad.no_grad(), bar:
            for inputs, labels in self.loader(batch_size):
                made = self.layers(inputs).numpy()
                if not start:
                    outputs = np.empty((len(self.data), *made.shape[1:]), made.dtype)
                end = start + len(made)
                outputs[start:end], classes[start:end] = made, labels.numpy()
                start = end
                bar.update(len(made))
                after_batch()
        return outputs, classes


def tasks(frozen: nn.Sequential, trained: nn.Sequential, splits: Splits, options: Options,
          after_batch: Callable[[], None]) -> list[Task]:
    """The task to train and the task to validate `trained` on what `frozen` makes of images.

    Where that is the same every time, and not too large, it is computed here, once.
    """
    data = (splits.train, splits.validation)
    images = [Task(d, nn.Sequential(frozen, trained), options.threads) for d in data]
    if not len(frozen):
        return images
    if options.augment:
        print("  features of the frozen blocks are not kept, since --augment varies the images")
        return images
    shape = _shape(frozen, splits)
    size = 4 * int(np.prod(shape)) * sum(map(len, data))
    if size > LARGEST:
        print(f"  features of the frozen blocks are not kept: {size / 2**30:.1f} GiB are too much")
        return images
    print(f"  features of the frozen blocks are computed once and kept: {sum(map(len, data)):,} x "
          f"{' x '.join(map(str, shape))}, {size / 2**20:.0f} MiB", flush=True)
    return [Task(TensorDataset(*Task(d, frozen, options.threads).outputs(
        options.batch_size, after_batch)), trained) for d in data]


def _shape(frozen: nn.Sequential, splits: Splits) -> tuple[int, ...]:
    """The shape of the features of one image."""
    frozen.eval()
    with nbgrad.no_grad():
        return tuple(frozen(nbgrad.from_numpy(splits.validation[0][0][None])).shape[1:])
