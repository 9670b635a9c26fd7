"""Random numbers from counters: Philox4x32-10 (Salmon et al., 2011).

Number i of a draw depends on (seed, offset, i) only, so threads cannot change it. A counter holds
the block in its low two words and the attempt, for draws that may reject, in its third; it yields
four words of 32 bits. A draw of n numbers uses the blocks offset .. offset + advance(n) - 1.
"""

from functools import cache
from math import inf, log1p, pi

import numpy as np
from numba import types

from nbgrad.kernels import memory
from nbgrad.kernels.cpu.elementary.circle import circle_32, circle_64
from nbgrad.kernels.cpu.maths import log, sqrt
from nbgrad.kernels.launch import entry_point
from nbgrad.kernels.options import folded, inline, kernel, parallel_kernel, prange, use_threads

_MULTIPLIER_0, _MULTIPLIER_1 = np.uint64(0xD2511F53), np.uint64(0xCD9E8D57)
_WEYL_0, _WEYL_1 = np.uint64(0x9E3779B9), np.uint64(0xBB67AE85)
_LOW, _HALF = np.uint64(0xFFFFFFFF), np.uint64(32)
_ONE, _ZERO = np.uint64(1), np.uint64(0)


@folded
def philox(c0, c1, c2, c3, k0, k1):
    """Four random words of a counter and a key: the low halves of uint64.

    Upper halves are cleared where they would matter: that costs nothing in a product of low halves.
    """
    for _ in range(10):
        p0, p1 = _MULTIPLIER_0 * (c0 & _LOW), _MULTIPLIER_1 * (c2 & _LOW)
        c0, c1, c2, c3 = (p1 >> _HALF) ^ c1 ^ k0, p1, (p0 >> _HALF) ^ c3 ^ k1, p0
        k0, k1 = k0 + _WEYL_0, k1 + _WEYL_1
    return c0 & _LOW, c1 & _LOW, c2 & _LOW, c3 & _LOW


# A draw is made in strips: first the words of some blocks, in a loop of integers, then the numbers
# made of them, in a loop of arithmetic; both vectorise. Strips are what threads share out.
_STRIP = 1024


@folded
def _strips(words):
    return (words + _STRIP - 1) // _STRIP


@folded
def _words(seed, offset, strip, count):
    """The words of a strip, as many as `count` and perhaps some more, as uint32."""
    blocks = (min(count, _STRIP) + 3) // 4
    first = offset + np.uint64(strip * (_STRIP // 4))
    w = np.empty(4 * blocks, np.uint32)
    for i in range(blocks):
        b = first + np.uint64(i)
        a, c, d, e = philox(b & _LOW, b >> _HALF, _ZERO, _ZERO, seed & _LOW, seed >> _HALF)
        w[4 * i], w[4 * i + 1] = np.uint32(a), np.uint32(c)
        w[4 * i + 2], w[4 * i + 3] = np.uint32(d), np.uint32(e)
    return w


@folded
def _wide_words(seed, offset, strip, count):
    """The same in words of 64 bits."""
    return _words(seed, offset, strip, 2 * count).view(np.uint64)


@folded
def _product(a, b):
    """High and low half of the 128-bit product of two uint64."""
    a0, a1, b0, b1 = a & _LOW, a >> _HALF, b & _LOW, b >> _HALF
    middle = a1 * b0 + ((a0 * b0) >> _HALF)
    cross = a0 * b1 + (middle & _LOW)
    return a1 * b1 + (middle >> _HALF) + (cross >> _HALF), a * b


# A number below `limit` is the whole part of word / 2**64 * limit, or of word / 2**32 * limit where
# the words are not `wide`; a word is rejected whose rest would make some results more frequent
# (Lemire, 2019).


@folded
def scaled(word, limit, wide):
    """Whole part, and rest times 2**64 or 2**32."""
    if wide:
        return _product(word, limit)
    product = word * limit
    return product >> _HALF, product & _LOW


@folded
def is_rejected(rest, limit, wide):
    return rest < limit and rest < ((_ZERO if wide else _ONE << _HALF) - limit) % limit


@inline
def again(limit, seed, offset, i, wide):
    """Number i of a draw below `limit`, where the first attempt was rejected."""
    b = offset + np.uint64(i // 2 if wide else i // 4)
    attempt = _ZERO
    while True:
        attempt += _ONE
        w = philox(b & _LOW, b >> _HALF, attempt, _ZERO, seed & _LOW, seed >> _HALF)
        word = w[i & 3]
        if wide:
            word = (w[3] << _HALF) | w[2] if i & 1 else (w[1] << _HALF) | w[0]
        found, rest = scaled(word, limit, wide)
        if not is_rejected(rest, limit, wide):
            return found


@folded
def _below(y, w, limit, step, seed, offset, start, wide):
    """y[i], number start + i of a draw, uniform below limit + step * i, from the words w."""
    suspects = 0
    for i in range(y.size):
        n = limit + step * np.uint64(i)
        found, rest = scaled(np.uint64(w[i]), n, wide)
        y[i] = np.int64(found)
        suspects += rest < n
    if suspects:
        for i in range(y.size):
            n = limit + step * np.uint64(i)
            if is_rejected(scaled(np.uint64(w[i]), n, wide)[1], n, wide):
                y[i] = np.int64(again(n, seed, offset, start + i, wide))


@folded
def unit_32(word):
    """[0, 1) in steps of 2**-24."""
    return np.float32(word >> np.uint32(8)) * np.float32(2.0**-24)


@folded
def unit_64(word):
    """[0, 1) in steps of 2**-53."""
    return np.float64(word >> np.uint64(11)) * 2.0**-53


# Two independent normal numbers are radius * cos(angle) and radius * sin(angle) (Box-Muller). An
# angle is a whole number of steps, so that the quarter it lies next to is found without rounding.


@folded
def _pair32(first, second):
    # (31 bits + 1/2) / 2**31 is never zero
    u = (np.float32(np.int32(first >> np.uint32(1))) + np.float32(0.5)) * np.float32(2.0**-31)
    r = sqrt(np.float32(-2) * log(u))
    steps = np.int32(second >> np.uint32(8))
    quarter = np.int32(np.int32(steps + np.int32(1 << 21)) >> np.int32(22))
    rest = np.int32(steps - np.int32(quarter << np.int32(22)))
    t = np.float32(rest) * np.float32(2 * pi * 2.0**-24)
    return r * circle_32(np.int32(quarter + np.int32(1)), t), r * circle_32(quarter, t)


@folded
def _pair64(first, second):
    r = sqrt(-2.0 * log(1.0 - unit_64(first)))
    steps = np.int64(second >> np.uint64(11))
    quarter = (steps + (1 << 50)) >> 51
    t = np.float64(steps - (quarter << 51)) * (2 * pi * 2.0**-53)
    return r * circle_64(quarter + 1, t, 0.0), r * circle_64(quarter, t, 0.0)


def _uniform32_loop(y, low, size, seed, offset):
    low, size = np.float32(low), np.float32(size)
    for strip in prange(_strips(y.size)):
        out = y[strip * _STRIP:(strip + 1) * _STRIP]
        w = _words(seed, offset, strip, out.size)
        for i in range(out.size):
            out[i] = unit_32(w[i]) * size + low


def _uniform64_loop(y, low, size, seed, offset):
    for strip in prange(_strips(2 * y.size)):
        out = y[strip * (_STRIP // 2):(strip + 1) * (_STRIP // 2)]
        w = _wide_words(seed, offset, strip, out.size)
        for i in range(out.size):
            out[i] = unit_64(w[i]) * size + low


def _normal32_loop(y, mean, std, seed, offset):
    mean, std = np.float32(mean), np.float32(std)
    for strip in prange(_strips(y.size)):
        out = y[strip * _STRIP:(strip + 1) * _STRIP]
        w = _words(seed, offset, strip, out.size)
        for i in range(out.size // 2):
            a, b = _pair32(w[2 * i], w[2 * i + 1])
            out[2 * i], out[2 * i + 1] = a * std + mean, b * std + mean
        if out.size % 2:
            last = out.size - 1
            out[last] = _pair32(w[last], w[last + 1])[0] * std + mean


def _normal64_loop(y, mean, std, seed, offset):
    for strip in prange(_strips(2 * y.size)):
        out = y[strip * (_STRIP // 2):(strip + 1) * (_STRIP // 2)]
        w = _wide_words(seed, offset, strip, out.size)
        for i in range(out.size // 2):
            a, b = _pair64(w[2 * i], w[2 * i + 1])
            out[2 * i], out[2 * i + 1] = a * std + mean, b * std + mean
        if out.size % 2:
            last = out.size - 1
            out[last] = _pair64(w[last], w[last + 1])[0] * std + mean


def _arrivals_loop(y, rates, seed, offset):
    for strip in prange(_strips(2 * y.size)):
        own = rates[strip * (_STRIP // 2):(strip + 1) * (_STRIP // 2)]
        out = y[strip * (_STRIP // 2):(strip + 1) * (_STRIP // 2)]
        w = _wide_words(seed, offset, strip, out.size)
        for i in range(out.size):
            out[i] = -log(1.0 - unit_64(w[i])) / own[i] if own[i] > 0 else inf


def _randint_loop(y, low, limit, seed, offset):
    for strip in prange(_strips(2 * y.size)):
        start = strip * (_STRIP // 2)
        out = y[start:start + _STRIP // 2]
        w = _wide_words(seed, offset, strip, out.size)
        if limit == _ZERO:  # of 2**64
            out[:] = w[:out.size].view(np.int64)
        else:
            _below(out, w, limit, _ZERO, seed, offset, start, True)
        for i in range(out.size):
            out[i] += low


def _small_randint_loop(y, low, limit, seed, offset):
    for strip in prange(_strips(y.size)):
        start = strip * _STRIP
        out = y[start:start + _STRIP]
        w = _words(seed, offset, strip, out.size)
        _below(out, w, limit, _ZERO, seed, offset, start, False)
        for i in range(out.size):
            out[i] += low


def _bernoulli_loop(y, below, always, seed, offset):
    for strip in prange(_strips(y.size)):
        out = y[strip * _STRIP:(strip + 1) * _STRIP]
        w = _words(seed, offset, strip, out.size)
        for i in range(out.size):
            out[i] = (w[i] < below) | always


def _dropout_loop(y, x, scale, below, always, seed, offset):
    zero, scale = x.dtype.type(0), x.dtype.type(scale)
    for strip in prange(_strips(y.size)):
        own = x[strip * _STRIP:(strip + 1) * _STRIP]
        out = y[strip * _STRIP:(strip + 1) * _STRIP]
        w = _words(seed, offset, strip, out.size)
        for i in range(out.size):
            out[i] = own[i] * (scale if (w[i] < below) | always else zero)


@kernel
def _permutation(y, seed, offset):
    # The first i places are shuffled; the new entry swaps with a random one, or stays.
    places = np.empty(_STRIP // 2, np.int64)
    for strip in range(_strips(2 * y.size)):
        start = strip * (_STRIP // 2)
        own = places[:y.size - start]
        w = _wide_words(seed, offset, strip, own.size)
        _below(own, w, np.uint64(start + 1), _ONE, seed, offset, start, True)
        for i in range(own.size):
            y[start + i] = y[own[i]]
            y[own[i]] = start + i


# Each pair is (one thread, all threads).
_uniform = {
    np.dtype(np.float32): (kernel(_uniform32_loop), parallel_kernel(_uniform32_loop)),
    np.dtype(np.float64): (kernel(_uniform64_loop), parallel_kernel(_uniform64_loop)),
}
_normal = {
    np.dtype(np.float32): (kernel(_normal32_loop), parallel_kernel(_normal32_loop)),
    np.dtype(np.float64): (kernel(_normal64_loop), parallel_kernel(_normal64_loop)),
}
_arrivals = kernel(_arrivals_loop), parallel_kernel(_arrivals_loop)
_randint = kernel(_randint_loop), parallel_kernel(_randint_loop)
_small_randint = kernel(_small_randint_loop), parallel_kernel(_small_randint_loop)
_bernoulli = kernel(_bernoulli_loop), parallel_kernel(_bernoulli_loop)
_dropout = kernel(_dropout_loop), parallel_kernel(_dropout_loop)


def advance(n):
    """How many blocks a draw of n numbers may use: the next draw starts at offset + advance(n)."""
    return (n + 1) // 2


WORD = 2**64 - 1
#: For so many integers words of 32 bits do: few are rejected.
FEW = 2**24


@cache
def _launch(run, dtype, *arguments):
    """The machine code of a kernel that fills a vector: (y, *arguments, seed, offset).

    Arguments are given as the names of their types, or as arrays to `entry_point`.
    """
    arguments = (getattr(types, a) if type(a) is str else a for a in arguments)
    return entry_point(run, (dtype, 1), *arguments, types.uint64, types.uint64)


def uniform(y, seed, offset, low=0.0, high=1.0):
    """Fill a vector with floats in [low, high)."""
    run = _launch(_uniform[y.dtype][use_threads(y.size)], y.dtype, "float64", "float64")
    run(y, low, high - low, seed & WORD, offset & WORD)


def normal(y, seed, offset, mean=0.0, std=1.0):
    """Fill a vector with floats of this mean and standard deviation."""
    run = _launch(_normal[y.dtype][use_threads(2 * y.size)], y.dtype, "float64", "float64")
    run(y, mean, std, seed & WORD, offset & WORD)


def arrivals(rates, seed, offset):
    """Times (n,) of the first arrivals of Poisson processes with these rates; inf for rate 0."""
    y = memory.empty(rates.size, np.float64)
    run = _launch(_arrivals[use_threads(4 * y.size)], y.dtype, (rates.dtype, 1))
    run(y, np.ascontiguousarray(rates), seed & WORD, offset & WORD)
    return y


def randint(y, low, high, seed, offset):
    """Fill a vector with integers in [low, high), each exactly as likely."""
    limit = high - low
    kernels, made = _small_randint, y
    if limit > FEW:
        kernels, made = _randint, y if y.dtype == np.int64 else memory.empty(y.size, np.int64)
    run = _launch(kernels[use_threads(2 * y.size)], made.dtype, "int64", "uint64")
    run(made, low, limit & WORD, seed & WORD, offset & WORD)
    if made is not y:
        y[...] = made


def threshold(probability):
    """What a word of 32 bits is below with this probability, and whether all words are."""
    words = round(probability * 2**32)
    return min(words, 2**32 - 1), words == 2**32


def coins(y, p, seed, offset):
    """Fill a vector of any dtype with ones, with the probabilities p, and zeros."""
    np.copyto(y, _unit(y.size, seed, offset) < p)


def log_normal(y, seed, offset, mean, std):
    """Fill a vector with floats whose logarithm has this mean and standard deviation."""
    normal(y, seed, offset, mean, std)
    np.exp(y, y)


def exponential(y, seed, offset, rate):
    """Fill a vector with floats of the density rate * exp(-rate * x)."""
    uniform(y, seed, offset, -0.0, -1.0)  # of -0 the logarithm is -0, and that times -1 is 0
    np.log1p(y, y)
    y *= -1 / rate


def cauchy(y, seed, offset, median, sigma):
    """Fill a vector with numbers of the density sigma / pi / (sigma**2 + (x - median)**2)."""
    y[...] = median + sigma * np.tan(np.pi * (_unit(y.size, seed, offset) - 0.5))


def geometric(y, seed, offset, p):
    """Fill a vector of any dtype with numbers of trials of probability p to the first success."""
    trials = np.ceil(np.log1p(-_unit(y.size, seed, offset)) / log1p(-p))
    y[...] = np.maximum(trials, 1)


def _unit(n, seed, offset):
    y = memory.empty(n, np.float64)
    uniform(y, seed, offset)
    return y


def bernoulli(y, probability, seed, offset):
    """Fill a vector of any dtype with ones, of this probability, and zeros."""
    run = _launch(_bernoulli[use_threads(y.size)], y.dtype, "uint32", "boolean")
    run(y, *threshold(probability), seed & WORD, offset & WORD)


def dropout(x, p, scale, seed, offset):
    """x * scale where `bernoulli` of 1 - p gives one, x * 0 elsewhere, in the order of x.

    Its gradient is the same function of gy.
    """
    y = memory.empty(x.shape, x.dtype)
    run = _launch(_dropout[use_threads(x.size)], y.dtype, (x.dtype, 1), "float64",
                  "uint32", "boolean")
    run(y.reshape(-1), np.ascontiguousarray(x).reshape(-1), scale, *threshold(1 - p),
        seed & WORD, offset & WORD)
    return y


def alpha_dropout(x, p, scale, low, seed, offset):
    """`dropout`, with -`low` in the place of what is put out, shifted to the mean there was."""
    y = dropout(x, p, scale, seed, offset)
    kept = np.empty(x.shape, x.dtype)
    bernoulli(kept.reshape(-1), 1 - p, seed, offset)
    kept -= x.dtype.type(1 - p)
    kept *= x.dtype.type(low * scale)
    y += kept
    return y


def permutation(y, seed, offset):
    """Fill a vector of n integers with 0 .. n - 1 in an order that is any with the same probability."""
    _launch(_permutation, y.dtype)(y, seed & WORD, offset & WORD)
