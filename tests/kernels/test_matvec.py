"""Products with vectors against NumPy in extended precision."""

import numba
import numpy as np
import pytest

from nbgrad import dtypes
from nbgrad.kernels.layout import layout
from nbgrad.kernels.matmul import dot, matvec, outer

LENGTHS = (0, 1, 2, 15, 63, 64, 65, 300, 4097)
#: Numbers from one entry of a vector to the next.
STEPS = (0, 1, 3)


def vector(n, step, dtype, seed=0):
    """Storage, layout and entries of a vector that starts at 5."""
    storage = np.random.default_rng(n + seed).standard_normal(5 + n * max(step, 1)).astype(dtype)
    entries = storage[5:].repeat(n)[:n] if step == 0 else storage[5::step][:n]
    return storage, layout(dtypes.from_numpy(storage.dtype), (n,), (step,), 5), entries


def matrix(m, n, kind, dtype):
    """The same of a matrix: rows or columns without gaps, or neither."""
    strides = {"rows": (n + 3, 1), "columns": (1, m + 3), "gaps": (2 * n, 2), "one": (0, 1)}[kind]
    size = 7 + m * strides[0] + n * strides[1]
    storage = np.random.default_rng(m + n).standard_normal(size).astype(dtype)
    view = np.lib.stride_tricks.as_strided(
        storage[7:], (m, n), [s * storage.itemsize for s in strides])
    return storage, layout(dtypes.from_numpy(storage.dtype), (m, n), strides, 7), view


def launched(plan, *storages):
    run, own, size, dtype = plan
    out = np.full(size, 99, dtype)
    run(out, *storages)
    return out.reshape(own.shape)


def close(out, expected, scale):
    assert out.shape == expected.shape
    assert np.all(np.abs(out - expected) <= 20 * np.finfo(out.dtype).eps * scale)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("kind", ["rows", "columns", "gaps", "one"])
def test_matrix_times_vector(kind, step, dtype):
    for m, k in [(0, 3), (3, 0), (1, 1), (1, 70), (70, 1), (5, 64), (257, 65), (9, 4100), (3000, 7)]:
        a, first, x = matrix(m, k, kind, dtype)
        wide = x.astype(np.longdouble)
        v, second, y = vector(k, step, dtype)
        close(launched(matvec(first, second), a, v), wide @ y, np.abs(wide) @ np.abs(y))
        v, second, y = vector(m, step, dtype)
        close(launched(matvec(first, second, True), a, v), y @ wide, np.abs(y) @ np.abs(wide))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("second", STEPS)
@pytest.mark.parametrize("first", STEPS)
def test_two_vectors(first, second, dtype):
    for n in LENGTHS:
        a, own, x = vector(n, first, dtype)
        b, other, y = vector(n, second, dtype, 1)
        x, y = x.astype(np.longdouble), y.astype(np.longdouble)
        close(launched(dot(own, other), a, b), x @ y * np.ones(()), np.abs(x) @ np.abs(y))
        c, third, z = vector(40, second, dtype, 2)
        np.testing.assert_array_equal(launched(outer(own, third), a, c), np.outer(x.astype(dtype), z))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("kind", ["rows", "columns"])
@pytest.mark.parametrize("m, k", [(1, 1_000_000), (3, 200_001), (900, 700), (90_001, 4)])
def test_threads_do_not_change_bits(m, k, kind, dtype):
    threads = numba.get_num_threads()
    if threads < 2:
        pytest.skip("one thread only")
    a, own, x = matrix(m, k, kind, dtype)
    v, other, y = vector(k, 1, dtype)
    results = []
    try:
        for count in 1, 2:
            numba.set_num_threads(count)
            results.append(launched(matvec(own, other), a, v))
    finally:
        numba.set_num_threads(threads)
    np.testing.assert_array_equal(*results)
    wide = x.astype(np.longdouble)
    close(results[0], wide @ y, np.abs(wide) @ np.abs(y))


def test_a_row_has_the_same_bits_in_any_matrix():
    a, own, _ = matrix(50, 5000, "rows", np.float32)
    v, other, _ = vector(5000, 1, np.float32)
    whole = launched(matvec(own, other), a, v)
    for i in 0, 7, 49:
        row = layout(own.dtype, (5000,), (1,), own.offset + i * own.strides[0])
        assert launched(dot(row, other), a, v) == whole[i]


@pytest.mark.parametrize("kind", ["rows", "columns"])
def test_long_sums_stay_precise(kind):
    a, own, _ = matrix(2, 300_000, kind, np.float32)
    a[:] = 0.1
    v, other, _ = vector(300_000, 1, np.float32)
    v[:] = 0.1
    np.testing.assert_allclose(launched(matvec(own, other), a, v), 3000, rtol=3e-5)
