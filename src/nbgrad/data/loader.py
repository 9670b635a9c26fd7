"""DataLoader: batches of a dataset, loaded ahead by threads."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from nbgrad import cuda
from nbgrad.data.collate import default_collate, pinned
from nbgrad.data.dataset import Dataset
from nbgrad.data.sample import sample
from nbgrad.data.sampler import BatchSampler, RandomSampler, SequentialSampler


class DataLoader:
    """Iterate over a dataset in batches.

    Every iteration is a new epoch, counted from 0. The order of samples and the random numbers of
    their transforms depend on seed and epoch only, so `set_epoch(n)` resumes a training run
    exactly, with any number of workers.

    Workers are threads, not processes: nothing is pickled or forked, and decoding images, NumPy
    and compiled kernels run beside each other.

    Args:
        dataset: has `__len__` and `__getitem__`.
        batch_size: samples in a batch.
        shuffle: load in a random order, another one every epoch.
        sampler: indices in the order wanted, instead of `shuffle`.
        batch_sampler: lists of indices, instead of the four arguments around it.
        num_workers: threads that load ahead; 0 loads when asked.
        collate_fn: makes a batch of a list of samples.
        drop_last: leave out a last batch that is smaller.
        generator: anything with `initial_seed()`, for the seed.
        seed: decides order and transforms.
        prefetch_factor: batches loaded ahead by each worker.
        pin_memory: put the tensors of batches into pinned memory, from which
            `.to("cuda", non_blocking=True)` copies while Python goes on; without a CUDA device
            there is no such memory, and nothing happens.
        persistent_workers: accepted as in PyTorch, without effect.

    Raises:
        Exception: what a sample raises, with a note that names its index.

    Example:
        >>> loader = DataLoader(dataset, batch_size=64, shuffle=True, num_workers=2)
        >>> for epoch in range(start, 10):
        ...     loader.set_epoch(epoch)
        ...     for images, labels in loader:
        ...         ...
    """

    def __init__(
        self,
        dataset: Any,
        batch_size: int = 1,
        shuffle: bool = False,
        sampler: Any = None,
        batch_sampler: Any = None,
        num_workers: int = 0,
        *,
        collate_fn: Callable[[list[Any]], Any] | None = None,
        drop_last: bool = False,
        generator: Any = None,
        seed: int | None = None,
        prefetch_factor: int = 2,
        pin_memory: bool = False,
        persistent_workers: bool = False,
    ) -> None:
        others = batch_size != 1 or shuffle or sampler is not None or drop_last
        if batch_sampler is not None and others:
            raise ValueError(
                "DataLoader: batch_sampler excludes batch_size, shuffle, sampler and drop_last"
            )
        if sampler is not None and shuffle:
            raise ValueError("DataLoader: sampler excludes shuffle")
        if num_workers < 0 or prefetch_factor < 1:
            raise ValueError(
                f"DataLoader: num_workers={num_workers} must be 0 or more, and "
                f"prefetch_factor={prefetch_factor} 1 or more"
            )
        self.dataset = dataset
        self.seed = _seed(generator) if seed is None else seed
        self.epoch = 0
        self.num_workers = num_workers
        self.prefetch_factor = prefetch_factor
        self.collate_fn = collate_fn
        self.pin_memory = pin_memory and cuda.is_available()
        if batch_sampler is None:
            if sampler is None:
                sampler = (
                    RandomSampler(dataset, seed=self.seed)
                    if shuffle
                    else SequentialSampler(dataset)
                )
            batch_sampler = BatchSampler(sampler, batch_size, drop_last)
        self.batch_sampler = batch_sampler

    def set_epoch(self, epoch: int) -> None:
        """Make the next iteration that of `epoch`."""
        self.epoch = epoch

    def __len__(self) -> int:
        return len(self.batch_sampler)

    def __iter__(self) -> Iterator[Any]:
        epoch, self.epoch = self.epoch, self.epoch + 1
        if hasattr(self.batch_sampler, "set_epoch"):
            self.batch_sampler.set_epoch(epoch)
        batches = iter(self.batch_sampler)
        if self.num_workers:
            return self._load_ahead(epoch, batches)
        return (self._load(epoch, indices) for indices in batches)

    def _load(self, epoch: int, indices: list[Any]) -> Any:
        batch = self._batch(epoch, indices)
        return pinned(batch) if self.pin_memory else batch

    def _batch(self, epoch: int, indices: list[Any]) -> Any:
        if self.collate_fn is None and isinstance(self.dataset, Dataset):
            batch = self.dataset.collated(indices)
            if batch is not NotImplemented:
                return batch
        samples = [self._sample(epoch, index) for index in indices]
        return (self.collate_fn or default_collate)(samples)

    def _sample(self, epoch: int, index: Any) -> Any:
        try:
            with sample(self.seed, epoch, index):
                return self.dataset[index]
        except Exception as error:
            error.add_note(f"while loading sample {index} of {type(self.dataset).__name__}")
            raise

    def _load_ahead(self, epoch: int, batches: Iterator[list[Any]]) -> Iterator[Any]:
        pool = ThreadPoolExecutor(self.num_workers, "nbgrad-data")
        ahead: deque[Future[Any]] = deque()
        try:
            for indices in batches:
                ahead.append(pool.submit(self._load, epoch, indices))
                if len(ahead) > self.num_workers * self.prefetch_factor:
                    yield ahead.popleft().result()
            while ahead:
                yield ahead.popleft().result()
        finally:
            # Reached at the end, on an error and when the caller breaks off or is interrupted.
            pool.shutdown(cancel_futures=True)


def _seed(generator: Any) -> int:
    import nbgrad

    source = nbgrad if generator is None else generator
    return int(source.initial_seed()) if hasattr(source, "initial_seed") else 0
