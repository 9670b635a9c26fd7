"""Datasets: things with a length and samples by index."""

from __future__ import annotations

import bisect
import itertools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from nbgrad.data.sample import derived


class Dataset:
    """Base of datasets: override `__getitem__` and `__len__`.

    Samples are loaded by several threads at once, so `__getitem__` must not change shared state.

    Example:
        >>> class Squares(Dataset):
        ...     def __len__(self):
        ...         return 10
        ...
        ...     def __getitem__(self, index):
        ...         return index**2
    """

    def __getitem__(self, index: int) -> Any:
        raise NotImplementedError(f"{type(self).__name__} must define __getitem__")

    def __len__(self) -> int:
        raise NotImplementedError(f"{type(self).__name__} must define __len__")

    def collated(self, indices: Sequence[int]) -> Any:
        """The batch that `default_collate` would make of the samples at `indices`, if there is a
        faster way to it; else NotImplemented.
        """
        return NotImplemented

    def __add__(self, other: Dataset) -> ConcatDataset:
        return ConcatDataset([self, other])


class TensorDataset(Dataset):
    """Samples are tuples of the rows of equally long Tensors or arrays.

    Example:
        >>> x, y = TensorDataset(images, labels)[0]
    """

    def __init__(self, *tensors: Any) -> None:
        lengths = [len(tensor) for tensor in tensors]
        if not tensors or len(set(lengths)) > 1:
            raise ValueError(f"TensorDataset: tensors of equal length expected, got {lengths}")
        self.tensors = tensors

    def __getitem__(self, index: Any) -> tuple[Any, ...]:
        return tuple(tensor[index] for tensor in self.tensors)

    def collated(self, indices: Sequence[int]) -> Any:
        if type(self).__getitem__ is not TensorDataset.__getitem__:
            return NotImplemented
        from nbgrad.ops.create import from_numpy

        arrays = (t.detach().numpy() if hasattr(t, "detach") else t for t in self.tensors)
        return tuple(from_numpy(np.take(array, indices, axis=0)) for array in arrays)

    def __len__(self) -> int:
        return len(self.tensors[0])


class Subset(Dataset):
    """The samples of `dataset` at `indices`, in that order."""

    def __init__(self, dataset: Any, indices: Sequence[int]) -> None:
        self.dataset = dataset
        self.indices = indices

    def __getitem__(self, index: int) -> Any:
        return self.dataset[self.indices[index]]

    def collated(self, indices: Sequence[int]) -> Any:
        if type(self).__getitem__ is not Subset.__getitem__ or not isinstance(
            self.dataset, Dataset
        ):
            return NotImplemented
        return self.dataset.collated([self.indices[index] for index in indices])

    def __len__(self) -> int:
        return len(self.indices)


class ConcatDataset(Dataset):
    """The samples of several datasets, one dataset after the other."""

    def __init__(self, datasets: Sequence[Any]) -> None:
        self.datasets = list(datasets)
        self.ends = list(itertools.accumulate(len(dataset) for dataset in self.datasets))

    def __getitem__(self, index: int) -> Any:
        position = index + len(self) if index < 0 else index
        if not 0 <= position < len(self):
            raise IndexError(f"index {index} is out of range for {len(self)} samples")
        which = bisect.bisect_right(self.ends, position)
        return self.datasets[which][position - (self.ends[which - 1] if which else 0)]

    def __len__(self) -> int:
        return self.ends[-1] if self.ends else 0


def random_split(dataset: Any, lengths: Sequence[float], seed: int = 0) -> list[Subset]:
    """Split `dataset` at random into parts that do not overlap; the same for the same seed.

    Args:
        dataset: what to split.
        lengths: samples in each part, or fractions of the whole that sum to 1.
        seed: decides which sample falls where.

    Example:
        >>> train, validation = random_split(dataset, [0.9, 0.1])
    """
    total = len(dataset)
    if all(isinstance(n, int) for n in lengths):
        counts = [int(n) for n in lengths]
    elif math.isclose(sum(lengths), 1):
        ends = [round(total * end) for end in itertools.accumulate(lengths)]
        counts = [end - start for start, end in zip([0, *ends], ends)]
    else:
        raise ValueError(f"random_split: fractions {list(lengths)} do not sum to 1")
    if sum(counts) != total or min(counts, default=0) < 0:
        raise ValueError(f"random_split: lengths {counts} do not add up to {total} samples")
    order = derived(seed).permutation(total).tolist()
    ends = list(itertools.accumulate(counts))
    return [Subset(dataset, order[end - count : end]) for count, end in zip(counts, ends)]
