"""Random numbers from counters: Philox4x32-10 (Salmon et al., 2011).

Number i of a draw depends on (seed, offset, i) only, so threads cannot change it. A counter holds
the block in its low two words and the attempt, for draws that may reject, in its third; it yields
four words of 32 bits. A draw of n numbers uses the blocks offset .. offset + advance(n) - 1.
"""

from math import pi

import numpy as np

from nbgrad.kernels import memory
from nbgrad.kernels.cpu.maths import cos, log, sin, sqrt
from nbgrad.kernels.options import folded, inline, kernel, parallel_kernel, prange, use_threads

_MULTIPLIER_0, _MULTIPLIER_1 = np.uint64(0xD2511F53), np.uint64(0xCD9E8D57)
_WEYL_0, _WEYL_1 = np.uint64(0x9E3779B9), np.uint64(0xBB67AE85)
_LOW, _HALF = np.uint64(0xFFFFFFFF), np.uint64(32)
_ONE, _ZERO, _EIGHT = np.uint64(1), np.uint64(0), np.uint64(8)


@folded
def philox(c0, c1, c2, c3, k0, k1):
    """Four random words of a counter and a key; words are uint64 that hold 32 bits."""
    for _ in range(10):
        p0, p1 = _MULTIPLIER_0 * c0, _MULTIPLIER_1 * c2
        c0, c1, c2, c3 = (p1 >> _HALF) ^ c1 ^ k0, p1 & _LOW, (p0 >> _HALF) ^ c3 ^ k1, p0 & _LOW
        k0, k1 = (k0 + _WEYL_0) & _LOW, (k1 + _WEYL_1) & _LOW
    return c0, c1, c2, c3


@folded
def _block(seed, offset, i):
    """The four words of block i of a draw."""
    b = offset + np.uint64(i)
    return philox(b & _LOW, b >> _HALF, _ZERO, _ZERO, seed & _LOW, seed >> _HALF)


@inline
def _product(a, b):
    """High and low half of the 128-bit product of two uint64."""
    a0, a1, b0, b1 = a & _LOW, a >> _HALF, b & _LOW, b >> _HALF
    middle = a1 * b0 + ((a0 * b0) >> _HALF)
    cross = a0 * b1 + (middle & _LOW)
    return a1 * b1 + (middle >> _HALF) + (cross >> _HALF), a * b


@inline
def _word64(w, i):
    """The half of a block that number i of a draw of 64-bit words takes."""
    return (w[3] << _HALF) | w[2] if i & 1 else (w[1] << _HALF) | w[0]


@inline
def _below(word, limit, seed, offset, i):
    """Number i of a draw, uniform on the integers below `limit` (0 means 2**64), from its word.

    The high half of word * limit; a word is rejected whose low half would make some results more
    frequent (Lemire, 2019).
    """
    if limit == _ZERO:
        return word
    b = offset + np.uint64(i // 2)
    attempt = _ZERO
    while True:
        high, low = _product(word, limit)
        if low >= limit or low >= (_ZERO - limit) % limit:
            return high
        attempt += _ONE
        w = philox(b & _LOW, b >> _HALF, attempt, _ZERO, seed & _LOW, seed >> _HALF)
        word = _word64(w, i)


@folded
def _uniform32(word):
    """[0, 1) in steps of 2**-24."""
    return np.float32(word >> np.uint64(8)) * np.float32(2.0**-24)


@folded
def _uniform64(low, high):
    """[0, 1) in steps of 2**-53."""
    return np.float64(((high << _HALF) | low) >> np.uint64(11)) * 2.0**-53


# Two independent normal numbers are radius * cos(angle) and radius * sin(angle) (Box-Muller). The
# blocks of a strip are made first, so that the loop over the radii and angles is arithmetic alone.
_STRIP = 256


@folded
def _radius32(bits):
    # (31 bits + 1/2) / 2**31 is never zero
    return sqrt(np.float32(-2) * log((np.float32(bits) + np.float32(0.5)) * np.float32(2.0**-31)))


@folded
def _angle32(bits):
    return np.float32(2 * pi * 2.0**-24) * np.float32(bits)


# Outputs are padded to whole blocks: four numbers of 32 bits or two of 64.


def _uniform32_loop(y, seed, offset):
    for i in prange(y.shape[0]):
        w = _block(seed, offset, i)
        for j in range(4):
            y[i, j] = _uniform32(w[j])


def _uniform64_loop(y, seed, offset):
    for i in prange(y.shape[0]):
        w = _block(seed, offset, i)
        y[i, 0], y[i, 1] = _uniform64(w[0], w[1]), _uniform64(w[2], w[3])


def _normal32_loop(y, seed, offset):
    count = y.shape[0]
    for strip in prange((count + _STRIP - 1) // _STRIP):
        lo = strip * _STRIP
        n = min(_STRIP, count - lo)
        words, parts = np.empty((4, _STRIP), np.int32), np.empty((4, _STRIP), np.float32)
        for i in range(n):
            a, b, c, d = _block(seed, offset, lo + i)
            words[0, i], words[1, i] = np.int32(a >> _ONE), np.int32(b >> _EIGHT)
            words[2, i], words[3, i] = np.int32(c >> _ONE), np.int32(d >> _EIGHT)
        for k in range(0, 4, 2):
            drawn, turn, cosines, sines = words[k], words[k + 1], parts[k], parts[k + 1]
            for i in range(n):
                r, t = _radius32(drawn[i]), _angle32(turn[i])
                cosines[i], sines[i] = r * cos(t), r * sin(t)
        for i in range(n):
            for j in range(4):
                y[lo + i, j] = parts[j, i]


def _normal64_loop(y, seed, offset):
    count = y.shape[0]
    for strip in prange((count + _STRIP - 1) // _STRIP):
        lo = strip * _STRIP
        n = min(_STRIP, count - lo)
        drawn, turn = np.empty(_STRIP), np.empty(_STRIP)
        cosines, sines = np.empty(_STRIP), np.empty(_STRIP)
        for i in range(n):
            w = _block(seed, offset, lo + i)
            drawn[i], turn[i] = _uniform64(w[0], w[1]), _uniform64(w[2], w[3])
        for i in range(n):
            r, t = sqrt(-2.0 * log(1.0 - drawn[i])), 2.0 * pi * turn[i]
            cosines[i], sines[i] = r * cos(t), r * sin(t)
        for i in range(n):
            y[lo + i, 0], y[lo + i, 1] = cosines[i], sines[i]


def _randint_loop(y, low, limit, seed, offset):
    for i in prange(y.shape[0]):
        w = _block(seed, offset, i)
        for j in range(2):
            y[i, j] = low + np.int64(_below(_word64(w, j), limit, seed, offset, 2 * i + j))


def _bernoulli_loop(y, threshold, seed, offset):
    for i in prange(y.shape[0]):
        w = _block(seed, offset, i)
        for j in range(4):
            y[i, j] = w[j] < threshold


def _dropout_loop(x, y, threshold, scale, seed, offset):
    zero = x.dtype.type(0)
    for i in prange(y.shape[0]):
        w = _block(seed, offset, i)
        for j in range(4):
            y[i, j] = x[i, j] * (scale if w[j] < threshold else zero)


@kernel
def _permutation(y, seed, offset):
    for i in range(y.size):
        # The first i places are shuffled; the new entry swaps with a random one, or stays.
        word = _word64(_block(seed, offset, i // 2), i)
        j = np.int64(_below(word, np.uint64(i + 1), seed, offset, i))
        y[i] = y[j]
        y[j] = i


# Each pair is (one thread, all threads).
_uniform = {
    np.dtype(np.float32): (kernel(_uniform32_loop), parallel_kernel(_uniform32_loop)),
    np.dtype(np.float64): (kernel(_uniform64_loop), parallel_kernel(_uniform64_loop)),
}
_normal = {
    np.dtype(np.float32): (kernel(_normal32_loop), parallel_kernel(_normal32_loop)),
    np.dtype(np.float64): (kernel(_normal64_loop), parallel_kernel(_normal64_loop)),
}
_randint = kernel(_randint_loop), parallel_kernel(_randint_loop)
_bernoulli = kernel(_bernoulli_loop), parallel_kernel(_bernoulli_loop)
_dropout = kernel(_dropout_loop), parallel_kernel(_dropout_loop)


def advance(n):
    """How many blocks a draw of n numbers may use: the next draw starts at offset + advance(n)."""
    return (n + 1) // 2


def _uint64(number):
    return np.uint64(number & 0xFFFFFFFFFFFFFFFF)


def _by_blocks(run, y, width, seed, offset, *arguments, like=()):
    """Call run(*like, y, ..) on whole blocks of y, then on a padded copy of the rest."""
    whole = y.size - y.size % width
    run = run[use_threads(4 * y.size)]
    parts = [a[:whole].reshape(-1, width) for a in (*like, y)]
    run(*parts, *arguments, _uint64(seed), _uint64(offset))
    if whole < y.size:
        parts = [np.resize(a[whole:], (1, width)) for a in (*like, y)]
        run(*parts, *arguments, _uint64(seed), _uint64(offset + whole // width))
        y[whole:] = parts[-1][0, : y.size - whole]
    return y


def uniform(n, dtype, seed, offset):
    """n floats in [0, 1)."""
    y = memory.empty(n, dtype)
    return _by_blocks(_uniform[y.dtype], y, 16 // y.itemsize, seed, offset)


def normal(n, dtype, seed, offset):
    """n floats with mean 0 and variance 1."""
    y = memory.empty(n, dtype)
    return _by_blocks(_normal[y.dtype], y, 16 // y.itemsize, seed, offset)


def randint(n, low, high, seed, offset):
    """n int64 in [low, high), each exactly as likely."""
    y = memory.empty(n, np.int64)
    return _by_blocks(_randint, y, 2, seed, offset, low, _uint64(high - low))


def _threshold(probability):
    """A word of 32 bits is below it with this probability."""
    return np.uint64(round(probability * 2**32))


def bernoulli_mask(n, keep_probability, seed, offset, dtype):
    """n numbers of any dtype, one with the given probability, else zero."""
    y = memory.empty(n, dtype)
    return _by_blocks(_bernoulli, y, 4, seed, offset, _threshold(keep_probability))


def dropout(x_flat, p, scale, seed, offset):
    """x_flat * scale where bernoulli_mask(n, 1 - p, seed, offset) is one, x_flat * 0 elsewhere.

    Its gradient is the same function of gy.
    """
    x = np.ascontiguousarray(x_flat)
    y = memory.empty(x.shape, x.dtype)
    arguments = _threshold(1 - p), x.dtype.type(scale)
    return _by_blocks(_dropout, y, 4, seed, offset, *arguments, like=(x,))


def permutation(n, seed, offset):
    """The integers 0 .. n - 1 in an order that is any with the same probability."""
    y = memory.empty(n, np.int64)
    _permutation(y, _uint64(seed), _uint64(offset))
    return y
