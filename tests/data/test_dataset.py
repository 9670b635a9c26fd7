"""Datasets, samplers and collation."""

from collections import namedtuple

import numpy as np
import pytest

import nbgrad
from nbgrad.data import (
    BatchSampler,
    ConcatDataset,
    Dataset,
    RandomSampler,
    SequentialSampler,
    Subset,
    TensorDataset,
    default_collate,
    random_split,
)
from nbgrad.ops.create import from_numpy


def array(tensor):
    assert isinstance(tensor, nbgrad.Tensor)
    return tensor.detach().numpy()


def test_tensor_dataset():
    x, y = np.arange(12.0).reshape(4, 3), np.arange(4)
    dataset = TensorDataset(from_numpy(x), y)
    first, second = dataset[2]
    np.testing.assert_array_equal(array(first), x[2])
    assert second == 2 and len(dataset) == 4
    with pytest.raises(ValueError, match=r"equal length expected, got \[4, 3\]"):
        TensorDataset(x, x[:3])
    with pytest.raises(ValueError, match="equal length"):
        TensorDataset()


def test_base_class_names_what_is_missing():
    class Empty(Dataset):
        pass

    with pytest.raises(NotImplementedError, match="Empty must define __getitem__"):
        Empty()[0]
    with pytest.raises(NotImplementedError, match="Empty must define __len__"):
        len(Empty())


def test_subset_and_concat():
    subset = Subset("abcdef", [5, 0, 3])
    assert list(subset) == ["f", "a", "d"]
    whole = ConcatDataset([subset, "", "xy"])
    assert [whole[i] for i in range(len(whole))] == ["f", "a", "d", "x", "y"]
    assert whole[-1] == "y" and whole[-5] == "f"
    for index in (5, -6):
        with pytest.raises(IndexError, match="5 samples"):
            whole[index]
    assert len(ConcatDataset([])) == 0
    assert len(TensorDataset(np.ones(2)) + TensorDataset(np.ones(3))) == 5


@pytest.mark.parametrize(
    ("lengths", "counts"),
    [
        ([7, 3], [7, 3]),
        ([10], [10]),
        ([0, 10], [0, 10]),
        ([0.5, 0.5], [5, 5]),
        ([0.9, 0.1], [9, 1]),
        ([1 / 3] * 3, [3, 4, 3]),
    ],
)
def test_random_split(lengths, counts):
    parts = random_split(range(10), lengths)
    assert [len(part) for part in parts] == counts
    assert sorted(sample for part in parts for sample in part) == list(range(10))
    again, other = random_split(range(10), lengths), random_split(range(10), lengths, seed=1)
    assert [list(part) for part in parts] == [list(part) for part in again]
    assert [list(part) for part in parts] != [list(part) for part in other]


@pytest.mark.parametrize("lengths", [[5, 4], [11, -1], [0.5, 0.4], []])
def test_random_split_of_a_wrong_total(lengths):
    with pytest.raises(ValueError, match="random_split"):
        random_split(range(10), lengths)


def test_sequential_and_batches():
    sampler = SequentialSampler("abcdefg")
    assert list(BatchSampler(sampler, 3)) == [[0, 1, 2], [3, 4, 5], [6]]
    assert list(BatchSampler(sampler, 3, drop_last=True)) == [[0, 1, 2], [3, 4, 5]]
    assert [len(BatchSampler(sampler, n)) for n in (1, 3, 7, 8)] == [7, 3, 1, 1]
    assert [len(BatchSampler(sampler, n, True)) for n in (1, 3, 7, 8)] == [7, 2, 1, 0]
    for size in (0, -1, 2.0):
        with pytest.raises(ValueError, match="batch_size must be 1 or more"):
            BatchSampler(sampler, size)


def test_random_order_is_a_function_of_seed_and_epoch():
    def order(seed, epoch):
        sampler = RandomSampler(range(100), seed=seed)
        sampler.set_epoch(epoch)
        return list(sampler)

    orders = {(seed, epoch): order(seed, epoch) for seed in (0, 1, -1, 2**63) for epoch in (0, 1)}
    for place, one in orders.items():
        assert sorted(one) == list(range(100))
        assert one == order(*place)
    assert len(set(map(tuple, orders.values()))) == len(orders)


def test_random_sampler_with_replacement():
    sampler = RandomSampler(range(3), replacement=True, num_samples=50)
    assert len(sampler) == 50 and set(sampler) == {0, 1, 2}
    assert len(list(RandomSampler(range(9), num_samples=4))) == 4
    with pytest.raises(ValueError, match="replacement=True"):
        RandomSampler(range(3), num_samples=4)


Point = namedtuple("Point", "x y")
NUMBERS = {
    "ints": ([1, 2], np.array([1, 2])),
    "floats": ([1.0, 2.5], np.array([1.0, 2.5])),
    "bools": ([True, False], np.array([True, False])),
    "numpy floats": ([np.float32(1), np.float32(2)], np.array([1, 2], np.float32)),
    "arrays": ([np.ones((2, 3), np.uint8)] * 2, np.ones((2, 2, 3), np.uint8)),
    "0-d": ([np.array(1), np.array(2)], np.array([1, 2])),
    "empty": ([np.zeros(0)] * 3, np.zeros((3, 0))),
    "reversed": ([np.arange(3.0)[::-1]] * 2, np.array([[2.0, 1, 0]] * 2)),
}


@pytest.mark.parametrize(("samples", "expected"), NUMBERS.values(), ids=NUMBERS)
def test_collate(samples, expected):
    for result in (default_collate(samples), default_collate([(s,) for s in samples])[0]):
        assert array(result).dtype == expected.dtype
        np.testing.assert_array_equal(array(result), expected)


def test_collate_containers():
    tensor = from_numpy(np.ones(2))
    batch = default_collate([{"p": Point(tensor, 1), "s": "a"}, {"p": Point(tensor, 2), "s": "b"}])
    assert batch["s"] == ["a", "b"] and type(batch["p"]) is Point
    assert array(batch["p"].x).shape == (2, 2)
    np.testing.assert_array_equal(array(batch["p"].y), [1, 2])


@pytest.mark.parametrize(
    ("samples", "error", "word"),
    [
        ([np.ones(2), np.ones(3)], ValueError, r"different shapes, \[\(2,\), \(3,\)\]"),
        ([(1, 2), (1,)], ValueError, "different lengths"),
        ([None, None], TypeError, "NoneType"),
        ([object()], TypeError, "collate_fn"),
    ],
)
def test_what_cannot_be_collated(samples, error, word):
    with pytest.raises(error, match=word):
        default_collate(samples)
