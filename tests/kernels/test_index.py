"""Index kernels against NumPy and torch."""

import numpy as np
import pytest

from nbgrad import config
from nbgrad.kernels.cpu import index, places

torch = pytest.importorskip("torch")

DTYPES = [np.float32, np.float64, np.int64, np.int32, np.uint8, np.bool_]
ROWS = [((3, 5, 4), 7), ((1, 63, 1), 300), ((2, 1, 1), 1), ((1, 4, 130), 9), ((2, 3, 5), 0)]
ROWS += [((0, 3, 2), 4), ((2, 3, 0), 4), ((2, 0, 3), 0)]
# shape of x, axis, shape of the index
AXES = [((5, 4, 6), 1, (5, 9, 6)), ((5, 4, 6), 0, (2, 3, 6)), ((7, 8), -1, (6, 20))]
AXES += [((63,), 0, (100,)), ((), 0, ()), ((3, 4), 0, (0, 4)), ((2, 3, 150), 1, (1, 5, 149))]


def sample(shape, dtype, seed=0):
    numbers = np.random.default_rng(seed).standard_normal(shape) * 3
    return np.asarray(numbers > 0 if dtype == np.bool_ else np.abs(numbers)).astype(dtype)


def integers(n, shape, seed=0):
    return np.asarray(np.random.default_rng(seed).integers(0, max(n, 1), shape))


def check(found, expected):
    assert found.dtype == expected.dtype and found.shape == expected.shape
    np.testing.assert_allclose(found, expected, rtol=1e-6)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape, count", ROWS)
def test_rows(shape, count, dtype):
    x, idx = sample(shape, dtype), integers(shape[1], count)
    v = sample((shape[0], count, shape[2]), dtype, 1)
    check(index.take_rows(x, idx), x[:, idx])
    added, written = np.zeros(shape, dtype), x.copy()
    np.add.at(added, np.s_[:, idx], v)
    check(index.add_rows(v, idx, shape[1]), added)
    for j, i in enumerate(idx):
        x[:, i] = v[:, j]
    index.put_rows(written, idx, v)
    check(written, x)
    onto = sample(shape, dtype, 2)
    np.add.at(expected := onto.copy(), np.s_[:, idx], v)
    index.reduce_rows(onto, idx, v, "sum")
    check(onto, expected)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape, axis, idx_shape", AXES)
def test_along_an_axis(shape, axis, idx_shape, dtype):
    x, src = sample(shape, dtype), sample(tuple(n + 1 for n in idx_shape), dtype, 1)
    idx = integers(shape[axis] if shape else 1, idx_shape)
    tx, tidx, tsrc = torch.tensor(x), torch.tensor(idx), torch.tensor(src)
    check(index.gather(x, axis, idx)[0], tx.gather(axis, tidx).numpy())
    y = x.copy()
    index.scatter_add(y, axis, idx, src)
    check(y, tx.scatter_add(axis, tidx, tsrc).numpy())
    y = x.copy()
    index.scatter(y, axis, idx, src)
    for p in np.ndindex(idx_shape):
        x[(*p[: axis % len(p)], idx[p], *p[axis % len(p) + 1 :]) if p else ()] = src[p]
    check(y, x)


@pytest.mark.parametrize("how", ["sum", "prod", "amax", "amin"])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape, axis, idx_shape", AXES)
def test_joined(shape, axis, idx_shape, dtype, how):
    x, src = sample(shape, dtype), sample(idx_shape, dtype, 1)
    idx = integers(shape[axis] if shape else 1, idx_shape)
    expected = torch.tensor(x).scatter_reduce(axis, torch.tensor(idx), torch.tensor(src), how)
    index.scatter_reduce(x, axis, idx, src, how)
    check(x, expected.numpy())


@pytest.mark.parametrize("how", ["prod", "amax", "amin"])
@pytest.mark.parametrize("shape, count", ROWS)
def test_joined_rows(shape, count, how):
    x, idx = sample(shape, np.float32), integers(shape[1], count)
    v, expected = sample((shape[0], count, shape[2]), np.float32, 1), x.copy()
    join = {"prod": np.multiply, "amax": np.maximum, "amin": np.minimum}[how]
    join.at(expected, np.s_[:, idx], v)
    index.reduce_rows(x, idx, v, how)
    check(x, expected)


@pytest.mark.parametrize("how", ["amax", "amin"])
def test_nan_stays(how):
    x, nan = np.array([1, np.nan, 3]), np.array([np.nan, 0, 5])
    index.scatter_reduce(x, 0, np.arange(3), nan, how)
    assert np.isnan(x[:2]).all() and x[2] == (5 if how == "amax" else 3)


@pytest.mark.parametrize("idx", [[0, -1, 2], [3, 1, 7], [-(2**63), 0, 2**63 - 1]])
@pytest.mark.parametrize("shape", [(3,), (3, 1), (3, 2), (0, 2)])
def test_indices_outside_are_counted(shape, idx):
    x, idx = sample(shape, np.float32), np.array(idx).reshape(-1, *[1] * (len(shape) - 1))
    outside = np.sum((idx < 0) | (idx >= shape[0]))
    assert index.gather(x, 0, idx)[1] == outside
    for run in (index.scatter, index.scatter_add):
        assert run(x.copy(), 0, idx, sample(idx.shape, np.float32)) == outside


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    "size, shape", [(1, ()), (63, (5, 7)), (3, (0, 2)), (20, (1000,)), (0, (0,))]
)
def test_flat(size, shape, dtype):
    storage, values, offsets = sample(size, dtype), sample(shape, dtype, 1), integers(size, shape)
    check(index.take_flat(storage, offsets), np.asarray(storage[offsets]))
    added, found = storage.copy(), storage.copy()
    np.add.at(added, offsets, values)
    index.add_flat(found, offsets, values)
    np.testing.assert_allclose(found, added, rtol=1e-5)
    index.put_flat(found, offsets, values)
    for o, v in zip(offsets.ravel(), values.ravel(), strict=True):
        added[o] = v
    np.testing.assert_allclose(found, added, rtol=1e-5)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(), (0,), (63,), (4, 5, 6), (3, 0, 2), (1, 1), (8193,),
                                   (5, 20_011), (33_000, 2, 1)])
def test_nonzero(shape, dtype):
    x = sample(shape, dtype) * np.asarray(integers(2, shape)).astype(dtype)
    check(index.nonzero(np.asarray(x)), torch.tensor(x).nonzero().numpy())


@pytest.mark.parametrize("size", [0, 1, 63, 8192, 8193, 70_000])
def test_marked(size):
    mask = integers(2, (size,)).astype(bool)
    check(places.marked(mask), np.flatnonzero(mask))


def test_joined_pairs():
    i, j = np.array([[0, -1], [2, 1]]), np.array([[1, -4], [-1, 0]])
    assert places.joined(i, j, 3, 4) == 0
    check(i, np.array([[1, 8], [11, 4]]))
    for u, v in ((3, 0), (-4, 0), (0, 4), (0, -5)):
        assert places.joined(np.array([0, u]), np.array([0, v]), 3, 4) == 1


def test_nonzero_counts_nan():
    check(index.nonzero(np.array([0, np.nan, -0.0, 1])), np.array([[1], [3]]))


@pytest.mark.parametrize(
    "idx, position", [([], -1), ([0, 4, -5], -1), ([0, 5, -9], 1), ([[1, 2], [-6, 7]], 2)]
)
def test_first_out_of_range(idx, position):
    assert index.first_out_of_range(np.array(idx, np.int64), -5, 5) == position


def test_any_strides():
    x, idx = sample((6, 7, 8), np.float32).transpose(2, 0, 1)[:, ::-1], integers(6, 10)[::2]
    along = integers(6, (7, 4, 8)).transpose(2, 1, 0)
    src = sample((5, 7, 8), np.float32, 1).transpose(2, 0, 1)
    for run in (
        lambda x, idx, along, src: index.take_rows(x, idx),
        lambda x, idx, along, src: index.add_rows(src, idx, 6),
        lambda x, idx, along, src: index.put_rows(x, idx, src),
        lambda x, idx, along, src: index.gather(x, 1, along)[0],
        lambda x, idx, along, src: np.array(index.scatter(x, 1, along, src)),
        lambda x, idx, along, src: np.array(index.scatter_add(x, 1, along, src)),
        lambda x, idx, along, src: index.take_flat(x[:, 0, 0], idx),
        lambda x, idx, along, src: index.put_flat(x[:, 0, 0], idx, src[:5, 0, 0]),
        lambda x, idx, along, src: index.add_flat(x[:, 0, 0], idx, src[:5, 0, 0]),
        lambda x, idx, along, src: index.nonzero(x > 2),
    ):
        straight = [np.array(a, order="C") for a in (x, idx, along, src)]
        strided = np.empty((6, 7, 8), np.float32).transpose(2, 0, 1)[:, ::-1]
        strided[...] = x
        found, expected = run(strided, idx, along, src), run(*straight)
        np.testing.assert_array_equal(strided, straight[0])
        if expected is not None:
            np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("shape", [(1, 41, 130), (3, 40, 130), (40, 90, 1)])
def test_same_bits_for_any_thread_count(shape, monkeypatch):
    x, idx = sample(shape, np.float32), integers(40, 300)
    wide = shape[0], 300, shape[2]
    src, along = sample(wide, np.float32, 1), integers(40, wide)

    def everything():
        yield from (index.take_rows(x, idx), index.add_rows(src, idx, 40))
        yield from (index.gather(x, 1, along)[0], index.take_flat(x.reshape(-1), along))
        for run in index.scatter, index.scatter_add:
            y = x.copy()
            run(y, 1, along, src)
            yield y
        for how in "prod", "amax":
            y = x.copy()
            index.scatter_reduce(y, 1, along, src, how)
            yield y
        for values in src, np.broadcast_to(src[:1, :1, :1], wide):
            index.put_rows(y := x.copy(), idx, values)
            yield y
        for how in "sum", "prod", "amax":
            index.reduce_rows(y := x.copy(), idx, src, how)
            yield y

    results = []
    for threshold in (1, 10**9):
        monkeypatch.setattr(config, "PARALLEL_THRESHOLD", threshold)
        results.append([array.tobytes() for array in everything()])
    assert results[0] == results[1]


@pytest.mark.parametrize("dtype", [np.int64, np.uint8, np.int8])
def test_count(dtype):
    x = np.array([3, 0, 3, 7, 0, 3, 120], dtype)
    for least in (0, 200):
        np.testing.assert_array_equal(index.count(x, least), np.bincount(x, minlength=least))
    np.testing.assert_array_equal(index.count(np.repeat(x, 2)[::2], 0), np.bincount(x))
    assert index.count(x[:0], 4).tolist() == [0] * 4
    if dtype != np.uint8:
        assert index.count(np.array([1, -1], dtype), 0) is None


@pytest.mark.parametrize("shape, count", [((5, 3), 4), ((70, 1), 3000), ((4, 0), 2), ((0, 3), 0)])
def test_look_up(shape, count, monkeypatch):
    n, inner = shape
    storage = np.arange(2 + n * inner, dtype=np.float32)
    idx = np.random.default_rng(0).integers(-n, n, count) if n else np.zeros(0, np.int64)
    expected = storage[2:].reshape(shape)[idx].reshape(-1)
    for threshold in (1 << 30, 1):
        monkeypatch.setattr(config, "PARALLEL_THRESHOLD", threshold)
        own = idx.copy()
        found, outside = index.look_up(storage, 2, n, inner, own)
        assert outside == 0 and (own == idx % max(n, 1)).all()
        np.testing.assert_array_equal(found, expected)
    own = np.array([n, -n - 1, 2**62, -2**63])
    assert index.look_up(storage, 2, n, inner, own)[1] == 4 == index.settle(own, n)
    assert own.tolist() == [n, -n - 1, 2**62, -2**63]


def test_settle():
    idx = np.array([[0, -1], [2, -3]])
    assert index.settle(idx, 3) == 0 and idx.tolist() == [[0, 2], [2, 0]]


def test_values_of_another_dtype_are_converted():
    for change in (lambda *a: index.reduce_rows(*a, "sum"), index.put_rows):
        x = np.zeros((1, 3, 2), np.float32)
        change(x, np.array([2, 0]), np.array([[[1, 2], [3, 4]]], np.int32))
        assert x.tolist() == [[[3, 4], [0, 0], [1, 2]]]
