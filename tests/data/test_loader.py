"""DataLoader: order, threads, errors."""

import threading
import time
import traceback

import numpy as np
import pytest

import nbgrad
from nbgrad.data import (
    BatchSampler,
    DataLoader,
    Dataset,
    SequentialSampler,
    Subset,
    TensorDataset,
    default_collate,
)
from nbgrad.data.sample import generator
from nbgrad.ops.create import from_numpy


def twice(dataset):
    return dataset + dataset


WORKERS = pytest.mark.parametrize("workers", [0, 1, 3])


def loader(dataset, *args, **options):
    return DataLoader(dataset, *args, collate_fn=list, **options)


def loading_threads():
    return [thread for thread in threading.enumerate() if thread.name.startswith("nbgrad-data")]


@pytest.fixture(autouse=True)
def no_thread_is_left():
    yield
    assert not loading_threads()


class Slow(Dataset):
    """Later samples of a batch of 4 are ready earlier; counts what was loaded."""

    def __init__(self, length):
        self.length = length
        self.loaded = []

    def __len__(self):
        return self.length

    def __getitem__(self, index):
        time.sleep(0.001 * (3 - index % 4))
        self.loaded.append(index)
        return index


@WORKERS
def test_batches_in_order(workers):
    batches = list(loader(Slow(22), 3, num_workers=workers))
    assert batches == [[*range(i, min(i + 3, 22))] for i in range(0, 22, 3)]


@WORKERS
@pytest.mark.parametrize("length", [0, 1, 5, 6])
def test_lengths(workers, length):
    for drop_last in (False, True):
        batches = loader(range(length), 3, drop_last=drop_last, num_workers=workers)
        assert len(batches) == len(list(batches)) == (length // 3 if drop_last else -(-length // 3))


@WORKERS
def test_default_collate(workers):
    images = np.arange(20, dtype=np.float32).reshape(5, 4)
    dataset = [(image, label) for label, image in enumerate(images)]
    x, y = zip(*DataLoader(dataset, 2, num_workers=workers))
    assert isinstance(x[0], nbgrad.Tensor)
    np.testing.assert_array_equal(np.concatenate([part.numpy() for part in x]), images)
    np.testing.assert_array_equal(np.concatenate([part.numpy() for part in y]), range(5))


@WORKERS
@pytest.mark.parametrize("wrap", [lambda d: d, lambda d: Subset(d, [6, 0, 3, 3]), twice])
def test_tensor_datasets(workers, wrap):
    """Batches that are made at once are those made sample by sample."""
    x, y = np.arange(21.0).reshape(7, 3)[:, ::-1], np.arange(7, dtype=np.int32)
    dataset = wrap(TensorDataset(from_numpy(x.copy()), y))
    batches = list(DataLoader(dataset, 3, num_workers=workers))
    expected = list(DataLoader(dataset, 3, num_workers=workers, collate_fn=default_collate))
    assert len(batches) == len(expected) == len(range(0, len(dataset), 3))
    for ours, slow in zip(batches, expected):
        for one, other in zip(ours, slow):
            assert one.dtype == other.dtype
            np.testing.assert_array_equal(one.numpy(), other.numpy())


def test_an_overridden_sample_is_respected():
    class Doubled(TensorDataset):
        def __getitem__(self, index):
            return 2 * super().__getitem__(index)[0]

    for dataset in (Doubled(np.arange(4)), Subset(Doubled(np.arange(4)), range(4))):
        (batch,) = DataLoader(dataset, 4)
        assert batch.tolist() == [0, 2, 4, 6]


class Noisy(Dataset):
    def __len__(self):
        return 20

    def __getitem__(self, index):
        return index, generator().random(), generator().random()


@pytest.mark.parametrize("shuffle", [False, True])
def test_epochs_differ_and_resume(shuffle):
    def fresh(workers=0, **options):
        return loader(Noisy(), 3, shuffle=shuffle, num_workers=workers, **options)

    running = fresh()
    epochs = [list(running) for _ in range(4)]
    assert len(set(map(str, epochs))) == 4
    orders = [[sample[0] for batch in epoch for sample in batch] for epoch in epochs]
    assert all(sorted(order) == list(range(20)) for order in orders)
    assert len(set(map(tuple, orders))) == (4 if shuffle else 1)
    for workers in (0, 1, 3):
        resumed = fresh(workers)
        resumed.set_epoch(2)
        assert [list(resumed), list(resumed)] == epochs[2:]
    assert list(fresh(seed=1)) != epochs[0]


def test_samples_draw_different_numbers():
    batches = loader(Noisy(), 4)
    numbers = [n for _ in range(2) for batch in batches for sample in batch for n in sample[1:]]
    assert len(set(numbers)) == len(numbers) == 80


def test_two_iterations_at_once_keep_their_epochs():
    one = loader(Noisy(), 3, shuffle=True, num_workers=2)
    expected = [list(one), list(one)]
    one.set_epoch(0)
    first, second = iter(one), iter(one)
    pairs = list(zip(first, second))
    assert [list(epoch) for epoch in zip(*pairs)] == expected
    first.close(), second.close()


class Torn(Dataset):
    def __len__(self):
        return 40

    def __getitem__(self, index):
        if index == 17:
            raise KeyError("no such picture")
        return index


@WORKERS
def test_errors_arrive_with_traceback_and_index(workers):
    seen = []
    with pytest.raises(KeyError, match="no such picture") as caught:
        for batch in loader(Torn(), 4, num_workers=workers):
            seen += batch
    assert seen == list(range(16))
    assert caught.value.__notes__ == ["while loading sample 17 of Torn"]
    assert 'raise KeyError("no such picture")' in "".join(traceback.format_exception(caught.value))


@WORKERS
def test_errors_of_collation(workers):
    with pytest.raises(ValueError, match="different shapes"):
        list(DataLoader([np.ones(1), np.ones(2)], 2, num_workers=workers))


@pytest.mark.parametrize("how", [StopIteration, KeyboardInterrupt, GeneratorExit])
def test_breaking_off_stops_the_threads(how):
    dataset = Slow(400)
    try:
        for _ in loader(dataset, 4, num_workers=3):
            assert loading_threads()
            if how is StopIteration:
                break
            raise how
    except how:
        pass
    assert not loading_threads()
    loaded = len(dataset.loaded)
    time.sleep(0.02)
    assert len(dataset.loaded) == loaded < 100


def test_an_interrupt_while_waiting_stops_the_threads(monkeypatch):
    from concurrent.futures import Future

    batches = iter(loader(Slow(400), 4, num_workers=3))
    next(batches)
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Future, "result", lambda self: (_ for _ in ()).throw(KeyboardInterrupt))
        next(batches)
    assert not loading_threads()


def test_prefetch_is_bounded():
    dataset = Slow(400)
    batches = iter(loader(dataset, 2, num_workers=2, prefetch_factor=3))
    next(batches)
    time.sleep(0.2)
    assert len(dataset.loaded) <= 2 * (2 * 3 + 1)
    batches.close()


def test_workers_work_side_by_side():
    together = threading.Barrier(3, timeout=10)

    class Meeting(Dataset):
        def __len__(self):
            return 3

        def __getitem__(self, index):
            return together.wait() >= 0

    assert list(loader(Meeting(), num_workers=3)) == [[True]] * 3


def test_samplers():
    assert list(loader("abcd", 2, sampler=[3, 1, 0])) == [["d", "b"], ["a"]]
    batches = BatchSampler(SequentialSampler("abcd"), 3)
    assert list(loader("abcd", batch_sampler=batches)) == [["a", "b", "c"], ["d"]]
    assert list(loader({"x": 1, "y": 2}, sampler=["y", "x"])) == [[2], [1]]
    for options in ({"shuffle": True}, {"batch_size": 2}, {"drop_last": True}, {"sampler": [0]}):
        with pytest.raises(ValueError, match="batch_sampler excludes"):
            DataLoader("ab", batch_sampler=batches, **options)
    with pytest.raises(ValueError, match="sampler excludes shuffle"):
        DataLoader("ab", sampler=[0], shuffle=True)


@pytest.mark.parametrize(
    "options", [{"num_workers": -1}, {"prefetch_factor": 0}, {"batch_size": 0}]
)
def test_bad_arguments(options):
    with pytest.raises(ValueError, match=next(iter(options))):
        DataLoader("ab", **options)


def test_seed_of_a_generator():
    class Generator:
        def initial_seed(self):
            return 7

    given = loader(range(50), shuffle=True, generator=Generator())
    assert list(given) == list(loader(range(50), shuffle=True, seed=7))


def test_random_numbers_for_any_kind_of_index():
    class Keyed:
        def __getitem__(self, key):
            return generator().random()

        def __len__(self):
            return 3

    keys = ["a", "b", (1, 2), -1, np.int64(3)]
    once, again = (list(loader(Keyed(), sampler=keys, num_workers=n)) for n in (0, 2))
    assert once == again and len({value for (value,) in once}) == len(keys)
