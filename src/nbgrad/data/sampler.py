"""Samplers: the order in which samples are loaded, a function of seed and epoch."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from nbgrad.data.sample import derived


class Sampler:
    """Base of samplers: override `__iter__` and `__len__`, and look at `self.epoch`."""

    epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Make the next iteration that of `epoch`."""
        self.epoch = epoch

    def __iter__(self) -> Iterator[Any]:
        raise NotImplementedError(f"{type(self).__name__} must define __iter__")

    def __len__(self) -> int:
        raise NotImplementedError(f"{type(self).__name__} must define __len__")


class SequentialSampler(Sampler):
    """0, 1, 2, ... for every sample of `data_source`."""

    def __init__(self, data_source: Any) -> None:
        self.data_source = data_source

    def __iter__(self) -> Iterator[int]:
        return iter(range(len(self.data_source)))

    def __len__(self) -> int:
        return len(self.data_source)


class RandomSampler(Sampler):
    """Random indices of `data_source`, the same for the same `seed` and epoch.

    Each iteration that a DataLoader starts is a new epoch; `set_epoch` chooses one.

    Args:
        data_source: anything with a length.
        replacement: draw each index anew rather than from a permutation.
        num_samples: how many indices; by default, one for every sample.
        seed: decides the order.
    """

    def __init__(
        self,
        data_source: Any,
        replacement: bool = False,
        num_samples: int | None = None,
        seed: int = 0,
    ) -> None:
        self.data_source = data_source
        self.replacement = replacement
        self.num_samples = len(data_source) if num_samples is None else num_samples
        self.seed = seed
        if not replacement and self.num_samples > len(data_source):
            raise ValueError(
                f"RandomSampler: num_samples={num_samples} of {len(data_source)} samples needs "
                "replacement=True"
            )

    def __iter__(self) -> Iterator[int]:
        total, rng = len(self.data_source), derived(self.seed, self.epoch)
        if self.replacement:
            return iter(rng.integers(total, size=self.num_samples).tolist())
        return iter(rng.permutation(total)[: self.num_samples].tolist())

    def __len__(self) -> int:
        return self.num_samples


class BatchSampler(Sampler):
    """Lists of `batch_size` indices from `sampler`; `drop_last` leaves out a shorter last one."""

    def __init__(self, sampler: Any, batch_size: int, drop_last: bool = False) -> None:
        if not isinstance(batch_size, int) or batch_size < 1:
            raise ValueError(f"BatchSampler: batch_size must be 1 or more, got {batch_size!r}")
        self.sampler = sampler
        self.batch_size = batch_size
        self.drop_last = drop_last

    def set_epoch(self, epoch: int) -> None:
        super().set_epoch(epoch)
        if hasattr(self.sampler, "set_epoch"):
            self.sampler.set_epoch(epoch)

    def __iter__(self) -> Iterator[list[int]]:
        return self._batches(iter(self.sampler))

    def _batches(self, indices: Iterator[int]) -> Iterator[list[int]]:
        batch = []
        for index in indices:
            batch.append(index)
            if len(batch) == self.batch_size:
                yield batch
                batch = []
        if batch and not self.drop_last:
            yield batch

    def __len__(self) -> int:
        whole, rest = divmod(len(self.sampler), self.batch_size)
        return whole + (rest > 0 and not self.drop_last)
