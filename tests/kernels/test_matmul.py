import numba
import numpy as np
import pytest

from nbgrad import dtypes
from nbgrad.kernels.cpu.simd import tile_shape
from nbgrad.kernels.layout import layout
from nbgrad.kernels.matmul import product

SIZES = (0, 1, 2, 13, 14, 15, 31, 63, 64, 100, 257)
DTYPES = (np.float32, np.float64, np.int64)


def numbers(dtype, *shape):
    x = np.random.default_rng(sum(shape)).standard_normal(shape)
    return (8 * x).astype(dtype) if np.dtype(dtype).kind == "i" else x.astype(dtype)


def operand(x):
    """The memory an array lies in and its layout there."""
    owner = x
    while owner.base is not None:
        owner = owner.base
    address = [y.__array_interface__["data"][0] for y in (x, owner)]
    offset = (address[0] - address[1]) // x.itemsize if x.size else 0
    strides = tuple(s // x.itemsize for s in x.strides)
    return owner.reshape(-1), layout(dtypes.from_numpy(x.dtype), x.shape, strides, offset)


def matmul(a, b, bias=None, ta=False, tb=False):
    given = [operand(x.swapaxes(-1, -2) if t else x) for x, t in ((a, ta), (b, tb))]
    added = () if bias is None else operand(bias)
    run, own, size, dtype = product(given[0][1], given[1][1], ta, tb, *added[1:])
    out = np.full(size, 99, dtype)
    run(*added[:1], out, given[0][0], given[1][0])
    assert own.contiguous and own.offset == 0
    return out.reshape(own.shape)


def check(a, b, bias=None):
    out = matmul(a, b, bias)
    wide = np.float64 if a.dtype.kind == "f" else np.int64
    expected = np.matmul(a.astype(wide), b.astype(wide)) + (0 if bias is None else bias)
    assert out.dtype == a.dtype and out.shape == expected.shape and out.flags.c_contiguous
    if a.dtype.kind == "i":
        np.testing.assert_array_equal(out, expected)
    else:
        scale = np.matmul(np.abs(a), np.abs(b)) + (0 if bias is None else np.abs(bias)) + 1e-30
        assert np.all(np.abs(out - expected) <= 8 * np.finfo(a.dtype).eps * scale)
    return out


def transposed(x):
    return np.ascontiguousarray(x.swapaxes(-1, -2)).swapaxes(-1, -2)


def spread(x):
    room = np.full((*x.shape[:-2], 2 * x.shape[-2] + 1, 3 * x.shape[-1] + 2), 99, x.dtype)
    view = room[..., 1 : 2 * x.shape[-2] + 1 : 2, 2::3]
    view[...] = x
    return view


def read_only(x):
    x = x.copy()
    x.flags.writeable = False
    return x


LAYOUTS = (np.ascontiguousarray, transposed, spread, read_only)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("m", SIZES)
def test_sizes(m, dtype):
    for k in SIZES:
        for n in SIZES:
            check(numbers(dtype, m, k), numbers(dtype, k, n))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("right", LAYOUTS)
@pytest.mark.parametrize("left", LAYOUTS)
def test_layouts(left, right, dtype):
    for m, k, n in [(1, 33, 40), (40, 33, 1), (1, 1, 1), (5, 70, 90), (90, 70, 5), (37, 19, 65)]:
        bias = numbers(dtype, n)
        for b in None, bias, np.concatenate((bias, bias))[n:]:
            check(left(numbers(dtype, m, k)), right(numbers(dtype, k, n)), b)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    "left, right",
    [
        ((3,), (3,)),
        ((3,), (1,)),
        ((1,), (3,)),
        ((2, 3), (2, 3)),
        ((2, 3), (1, 3)),
        ((2, 1), (1, 3)),
        ((0,), (0,)),
        ((2, 3), (1, 1)),
    ],
)
def test_batches(left, right, dtype):
    batch = np.broadcast_shapes(left, right)
    for m, k, n in [(7, 20, 33), (1, 20, 33), (33, 20, 1), (2, 0, 3), (50, 9, 20)]:
        for one in np.ascontiguousarray, transposed, spread:
            for other in np.ascontiguousarray, transposed:
                a = np.broadcast_to(one(numbers(dtype, *left, m, k)), (*batch, m, k))
                b = np.broadcast_to(other(numbers(dtype, *right, k, n)), (*batch, k, n))
                check(a, b, numbers(dtype, n))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("right", [np.ascontiguousarray, transposed])
@pytest.mark.parametrize("left", [np.ascontiguousarray, transposed])
@pytest.mark.parametrize(
    "batch, m, k, n",
    [((), 300, 520, 290), ((), 3, 700, 2100), ((), 1, 900, 2000), ((20,), 60, 90, 70),
     ((), 700, 800, 600), ((3,), 50, 40, 1090)],
)  # fmt: skip
def test_threads_do_not_change_bits(batch, m, k, n, left, right, dtype):
    a, b, bias = numbers(dtype, *batch, m, k), numbers(dtype, *batch, k, n), numbers(dtype, n)
    threads = numba.get_num_threads()
    if threads < 2:
        pytest.skip("one thread only")
    results = []
    try:
        for count in (1, 2):
            numba.set_num_threads(count)
            results.append(check(left(a), right(b), bias))
    finally:
        numba.set_num_threads(threads)
    np.testing.assert_array_equal(*results)


@pytest.mark.parametrize("right", [np.ascontiguousarray, transposed])
def test_nan_and_infinity_stay_in_their_row_and_column(right):
    a, b = numbers(np.float32, 40, 40), numbers(np.float32, 40, 40)
    clean = matmul(a, right(b))
    a[3, 5], b[7, 39] = np.nan, np.inf
    out = matmul(a, right(b))
    assert np.isnan(out[3]).all() and not np.isfinite(out[:, 39]).any()
    keep = np.ones((40, 40), bool)
    keep[3], keep[:, 39] = False, False
    np.testing.assert_array_equal(out[keep], clean[keep])


def test_long_sums_stay_precise():
    a, b = np.full((2, 100_000), 0.1, np.float32), np.full((100_000, 2), 0.1, np.float32)
    for x, y in (a, b), (a[:1], b), (a, b[:, :1]), (a[:1], transposed(b)):
        np.testing.assert_allclose(matmul(x, y), 1000, rtol=1e-4)


def test_tile_shape_follows_the_register_width():
    rows, columns = tile_shape(np.float32)
    assert tile_shape(np.float64) == (rows, columns // 2)
    assert (rows, columns) in {(14, 32), (6, 16), (4, 8)}
