"""Random number kernels against the published generator and the laws they follow."""

import numpy as np
import pytest

from nbgrad import config
from nbgrad.kernels.cpu import random

F32, F64 = np.float32, np.float64


def filled(fill, n, dtype, *arguments):
    y = np.empty(n, dtype)
    fill(y, *arguments)
    return y


def uniform(n, dtype, seed, offset, *bounds):
    return filled(random.uniform, n, dtype, seed, offset, *bounds)


def normal(n, dtype, seed, offset, *moments):
    return filled(random.normal, n, dtype, seed, offset, *moments)


def randint(n, low, high, seed, offset):
    return filled(random.randint, n, np.int64, low, high, seed, offset)


def bernoulli(n, probability, seed, offset, dtype):
    return filled(random.bernoulli, n, dtype, probability, seed, offset)


DRAWS = {
    "uniform32": lambda n, seed, offset: uniform(n, F32, seed, offset),
    "uniform64": lambda n, seed, offset: uniform(n, F64, seed, offset),
    "normal32": lambda n, seed, offset: normal(n, F32, seed, offset),
    "normal64": lambda n, seed, offset: normal(n, F64, seed, offset),
    "randint": lambda n, seed, offset: randint(n, -3, 10**12, seed, offset),
    "small randint": lambda n, seed, offset: randint(n, -3, 2**24 - 4, seed, offset),
    "often rejected": lambda n, seed, offset: randint(n, 0, 3 * 2**61, seed, offset),
    "bernoulli": lambda n, seed, offset: bernoulli(n, 0.4, seed, offset, np.bool_),
    "dropout": lambda n, seed, offset: random.dropout(np.ones(n, F32), 0.6, 2.5, seed, offset),
    "arrivals": lambda n, seed, offset: random.arrivals(np.ones(n, F32), seed, offset),
}
# The known answers of Random123 for philox4x32 with 10 rounds: counter, key, words.
KNOWN = [
    ("00000000 00000000 00000000 00000000", "00000000 00000000",
     "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
    ("ffffffff ffffffff ffffffff ffffffff", "ffffffff ffffffff",
     "408f276d 41c83b0e a20bc7c6 6d5451fd"),
    ("243f6a88 85a308d3 13198a2e 03707344", "a4093822 299f31d0",
     "d16cfe09 94fdcceb 5001e420 24126ea1"),
]  # fmt: skip


def naive_philox(counter, key):
    for _ in range(10):
        high0, low0 = divmod(0xD2511F53 * counter[0], 2**32)
        high1, low1 = divmod(0xCD9E8D57 * counter[2], 2**32)
        counter = high1 ^ counter[1] ^ key[0], low1, high0 ^ counter[3] ^ key[1], low0
        key = (key[0] + 0x9E3779B9) % 2**32, (key[1] + 0xBB67AE85) % 2**32
    return counter


def naive_words(seed, offset, blocks):
    counters = [(offset + i) % 2**64 for i in range(blocks)]
    key = seed % 2**32, seed // 2**32
    return [naive_philox((c % 2**32, c // 2**32, 0, 0), key) for c in counters]


@pytest.mark.parametrize("counter, key, words", KNOWN)
def test_philox_known_answers(counter, key, words):
    counter, key, words = ([int(w, 16) for w in text.split()] for text in (counter, key, words))
    assert naive_philox(counter, key) == tuple(words)
    assert random.philox(*map(np.uint64, (*counter, *key))) == tuple(words)


@pytest.mark.parametrize("seed, offset", [(0, 0), (2**64 - 1, 2**32 - 2), (1 << 40, 2**64 - 2)])
def test_words_become_numbers(seed, offset):
    words = np.array(naive_words(seed, offset, 5), np.uint64)
    low, high = words[:, ::2].ravel(), words[:, 1::2].ravel()
    np.testing.assert_array_equal(
        uniform(19, F32, seed, offset), (words.ravel()[:19] >> 8).astype(F32) / F32(2**24)
    )
    wide = ((high << np.uint64(32)) | low)[:9]
    np.testing.assert_array_equal(
        uniform(9, F64, seed, offset), (wide >> np.uint64(11)) / 2.0**53
    )
    scaled = [int(word) * 10**9 // 2**64 - 7 for word in wide]
    np.testing.assert_array_equal(randint(9, -7, 10**9 - 7, seed, offset), scaled)
    scaled = [int(word) * 1000 // 2**32 - 7 for word in words.ravel()[:19]]
    np.testing.assert_array_equal(randint(19, -7, 993, seed, offset), scaled)
    mask = bernoulli(19, 0.25, seed, offset, np.int64)
    np.testing.assert_array_equal(mask, words.ravel()[:19] < 2**30)
    u = words / 2.0**32
    radius, angle = np.sqrt(-2 * np.log(u[:, ::2] + 2.0**-33)), 2 * np.pi * u[:, 1::2]
    expected = radius[..., None] * np.stack([np.cos(angle), np.sin(angle)], 2)
    found = normal(20, F32, seed, offset).reshape(expected.shape)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=3e-6)


@pytest.mark.parametrize("dtype", [F32, F64])
def test_scaled(dtype):
    np.testing.assert_array_equal(uniform(1999, dtype, 3, 4, -1.5, 2.0),
                                  uniform(1999, dtype, 3, 4) * dtype(3.5) + dtype(-1.5))
    np.testing.assert_array_equal(normal(1999, dtype, 3, 4, 0.1, 0.7),
                                  normal(1999, dtype, 3, 4) * dtype(0.7) + dtype(0.1))


@pytest.mark.parametrize("dtype", [F32, F64])
def test_arrivals(dtype):
    rates = np.array([0.5, 0, 2, 8] * 500, dtype)
    with np.errstate(divide="ignore"):
        expected = -np.log(1 - uniform(2000, F64, 6, 1)) / rates
    found = random.arrivals(rates, 6, 1)
    np.testing.assert_allclose(found, expected, rtol=1e-14)
    np.testing.assert_array_equal(random.arrivals(np.repeat(rates, 2)[::2], 6, 1), found)


@pytest.mark.parametrize("name", DRAWS)
def test_a_draw_depends_on_seed_and_offset_only(name, monkeypatch):
    draw = DRAWS[name]
    for n in (0, 1, 2, 3, 63, 513, 1025, 1999):
        y = draw(n, 5, 7)
        assert y.shape == (n,) and y.base is None
        np.testing.assert_array_equal(y, draw(3001, 5, 7)[:n])
    assert not np.array_equal(y, draw(n, 6, 7)) and not np.array_equal(y, draw(n, 5, 8))
    np.testing.assert_array_equal(y, draw(n, 5 - 2**64, 7 + 2**64))
    monkeypatch.setattr(config, "PARALLEL_THRESHOLD", 1)
    np.testing.assert_array_equal(y, draw(n, 5, 7))


@pytest.mark.parametrize("name", ["uniform32", "uniform64", "normal32", "normal64", "randint",
                                  "arrivals"])
def test_consecutive_draws_share_nothing(name):
    draw, n = DRAWS[name], 101
    assert not {*draw(n, 1, 0)} & {*draw(n, 1, random.advance(n))}


def kolmogorov(sample, cumulative):
    """Largest distance from the law, in units of 1 / sqrt(n): 1.95 is passed once in 1000."""
    n = len(sample)
    law = cumulative(np.sort(sample.astype(F64)))
    steps = np.arange(n + 1) / n
    return np.sqrt(n) * max(np.abs(law - steps[1:]).max(), np.abs(law - steps[:-1]).max())


@pytest.mark.parametrize("dtype", [F32, F64])
def test_uniform_law(dtype):
    y = uniform(100_000, dtype, 1, 0)
    assert y.dtype == dtype and y.min() >= 0 and y.max() < 1
    assert abs(y.mean() - 1 / 2) < 0.004 and abs(y.var() - 1 / 12) < 0.001
    assert kolmogorov(y, lambda x: x) < 1.95
    assert abs(np.corrcoef(y[:-1], y[1:])[0, 1]) < 0.01


@pytest.mark.parametrize("dtype", [F32, F64])
def test_normal_law(dtype):
    special = pytest.importorskip("scipy.special")
    y = normal(100_000, dtype, 2, 0)
    assert y.dtype == dtype and np.isfinite(y).all() and np.abs(y).max() > 4
    assert abs(y.mean()) < 0.013 and abs(y.var() - 1) < 0.02
    assert abs((y**3).mean()) < 0.03 and abs((y**4).mean() - 3) < 0.1
    assert kolmogorov(y, special.ndtr) < 1.95
    assert abs(np.corrcoef(y[:-1:2], y[1::2])[0, 1]) < 0.02


def chi_square(counts):
    expected = counts.sum() / counts.size
    return ((counts - expected) ** 2 / expected).sum()


@pytest.mark.parametrize("size", [1, 10**9])
def test_randint_law(size):
    counts = np.bincount(randint(70_000, 0, 7 * size, 3, 0) // size, minlength=7)
    assert counts.size == 7 and chi_square(counts) < 22.5  # 6 degrees of freedom, 1 in 1000


@pytest.mark.parametrize("dtype, low, high", [
    (F32, -3, 9), (F64, -5, 2**40), (np.int8, -128, 128), (np.uint8, 100, 256),
    (np.int32, -2**31, 2**31), (np.int32, -7, 2**20), (np.bool_, 0, 2), (np.bool_, 1, 2)])
def test_randint_of_any_dtype(dtype, low, high):
    found = filled(random.randint, 2001, dtype, low, high, 6, 0)
    np.testing.assert_array_equal(found, randint(2001, low, high, 6, 0).astype(dtype))


@pytest.mark.parametrize("low, high", [(5, 6), (-(2**63), 2**63 - 1), (-(2**63), 2**63)])
def test_randint_limits(low, high):
    y = randint(1001, low, high, 1, 0)
    assert y.dtype == np.int64 and y.min() >= low and y.max() < high
    if high > 6:
        assert abs((y < 0).mean() - 0.5) < 0.06


def test_randint_rejects_without_bias():
    # word * 3 // 4 alone would give every third result twice as often.
    y = randint(30_000, 0, 3 * 2**61, 1, 0)
    assert chi_square(np.bincount(y % 3)) < 13.8  # 2 degrees of freedom, 1 in 1000


def test_randint_of_words_of_32_bits_rejects():
    limit = 2**32 // 257 + 1  # 256 of it leave most of another
    words = np.array(naive_words(1, 0, 100_000 // 4), np.uint64).ravel()
    kept = words * np.uint64(limit) % 2**32 >= 2**32 % limit
    y = randint(100_000, 0, limit, 1, 0)
    assert 0 < (~kept).sum() < 1000 and (y[~kept] < limit).all()
    np.testing.assert_array_equal(y[kept], (words * np.uint64(limit) >> np.uint64(32))[kept])
    assert (y[~kept] != (words * np.uint64(limit) >> np.uint64(32))[~kept]).mean() > 0.9


@pytest.mark.parametrize("dtype", [F32, F64, np.int64, np.uint8, np.bool_])
@pytest.mark.parametrize("probability", [0.0, 0.1, 0.5, 1.0])
def test_bernoulli_mask(probability, dtype):
    mask = bernoulli(10_001, probability, 4, 0, dtype)
    assert mask.dtype == dtype and set(mask.tolist()) <= {0, 1}
    assert abs(mask.mean() - probability) <= 0.015 * (0 < probability < 1)


@pytest.mark.parametrize("dtype", [F32, F64])
@pytest.mark.parametrize("p", [0.0, 0.3, 1.0])
def test_dropout(p, dtype):
    x = normal(1003, dtype, 1, 0)
    y = random.dropout(x, p, 1.25, 9, 4)
    assert y.dtype == dtype
    np.testing.assert_array_equal(
        y, x * bernoulli(1003, 1 - p, 9, 4, dtype) * dtype(1.25)
    )
    np.testing.assert_array_equal(y[::2], random.dropout(x, p, 1.25, 9, 4)[::2])
    strided = np.repeat(x, 2)[::2]
    np.testing.assert_array_equal(y, random.dropout(strided, p, 1.25, 9, 4))
    assert np.isnan(random.dropout(np.full(9, np.nan, dtype), p, 1, 0, 0)).all()


def permutation(n, offset):
    y = np.empty(n, np.int64)
    random.permutation(y, 1, offset)
    return y


@pytest.mark.parametrize("n", [0, 1, 2, 63, 1000])
def test_permutation_is_one(n):
    y = permutation(n, 0)
    np.testing.assert_array_equal(np.sort(y), np.arange(n))


def test_permutation_law():
    draws = np.array([permutation(4, i * random.advance(4)) for i in range(6000)])
    counts = np.unique(draws @ [64, 16, 4, 1], return_counts=True)[1]
    assert counts.size == 24 and chi_square(counts) < 49.7  # 23 degrees of freedom, 1 in 1000
