"""Random numbers from counters on a CUDA device: the bits of kernels/cpu/random.

A thread makes the four words of a block, and what numbers they give.
"""

import math as host

import numpy as np

from nbgrad.kernels.cpu.elementary.circle import COS_32, COS_64, SIN_32, SIN_64
from nbgrad.kernels.cpu.random import (
    FEW,
    WORD,
    again,
    is_rejected,
    philox,
    scaled,
    threshold,
    unit_32,
    unit_64,
)
from nbgrad.kernels.cuda import maths as math
from nbgrad.kernels.cuda.launch import launch
from nbgrad.kernels.cuda.layouts import contiguous
from nbgrad.kernels.cuda.memory import empty
from nbgrad.kernels.cuda.provider import cuda, inline, kernel

_LOW, _HALF, _ZERO = np.uint64(0xFFFFFFFF), np.uint64(32), np.uint64(0)
_F64 = np.dtype(np.float64)


@inline
def _words(seed, offset, block):
    """The four words of a block, low halves of uint64."""
    b, seed = np.uint64(offset) + np.uint64(block), np.uint64(seed)
    a, b, c, d = philox(b & _LOW, b >> _HALF, _ZERO, _ZERO, seed & _LOW, seed >> _HALF)
    return np.uint64(a), np.uint64(b), np.uint64(c), np.uint64(d)


@inline
def _wide_words(seed, offset, block):
    """The same as two words of 64 bits."""
    w = _words(seed, offset, block)
    return (w[1] << _HALF) | w[0], (w[3] << _HALF) | w[2]


@inline
def _word(words, k):
    return words[0] if k == 0 else words[1] if k == 1 else words[2] if k == 2 else words[3]


@inline
def _circle32(n, r):
    """sin(n pi / 2 + r), as kernels/cpu/elementary/circle."""
    u = np.float32(r * r)
    s, c = np.float32(SIN_32[3]), np.float32(COS_32[3])
    for k in range(2, -1, -1):
        s = math.fma_32(s, u, np.float32(SIN_32[k]))
        c = math.fma_32(c, u, np.float32(COS_32[k]))
    sine = math.fma_32(np.float32(r * u), s, r)
    half = math.times_32(np.float32(0.5), u)
    cosine = np.float32(1) - math.fma_32(-math.times_32(u, u), c, half)
    y = sine if n & 1 == 0 else cosine
    return y if n & 2 == 0 else -y


@inline
def _circle64(n, r):
    u = r * r
    s, c = SIN_64[6], COS_64[6]
    for k in range(5, -1, -1):
        s = math.fma_64(s, u, SIN_64[k])
        c = math.fma_64(c, u, COS_64[k])
    sine = math.fma_64(r * u, s, 0.0) + r
    cosine = 1.0 - math.fma_64(-math.times_64(u, u), c, math.times_64(0.5, u))
    y = sine if n & 1 == 0 else cosine
    return y if n & 2 == 0 else -y


@inline
def _pair32(first, second):
    """Two normal numbers, as kernels/cpu/random."""
    u = (np.float32(np.int32(first >> np.uint64(1))) + np.float32(0.5)) * np.float32(2.0**-31)
    r = np.float32(math.sqrt(np.float32(-2) * np.float32(math.log(u))))
    steps = np.int64(second >> np.uint64(8))
    quarter = (steps + (1 << 21)) >> 22
    t = np.float32(steps - (quarter << 22)) * np.float32(2 * host.pi * 2.0**-24)
    return math.times_32(r, _circle32(quarter + 1, t)), math.times_32(r, _circle32(quarter, t))


@inline
def _pair64(first, second):
    r = math.sqrt(-2.0 * math.log(1.0 - unit_64(first)))
    steps = np.int64(second >> np.uint64(11))
    quarter = (steps + (1 << 50)) >> 51
    t = np.float64(steps - (quarter << 51)) * (2 * host.pi * 2.0**-53)
    return math.times_64(r, _circle64(quarter + 1, t)), math.times_64(r, _circle64(quarter, t))


@kernel
def _uniform32(y, low, size, seed, offset):
    low, size = np.float32(low), np.float32(size)
    for block in range(cuda.grid(1), (y.size + 3) // 4, cuda.gridsize(1)):
        w = _words(seed, offset, block)
        for k in range(4):
            if 4 * block + k < y.size:
                y[4 * block + k] = math.times_32(unit_32(np.uint32(_word(w, k))), size) + low


@kernel
def _uniform64(y, low, size, seed, offset):
    for block in range(cuda.grid(1), (y.size + 1) // 2, cuda.gridsize(1)):
        a, b = _wide_words(seed, offset, block)
        y[2 * block] = math.times_64(unit_64(a), size) + low
        if 2 * block + 1 < y.size:
            y[2 * block + 1] = math.times_64(unit_64(b), size) + low


@kernel
def _normal32(y, mean, std, seed, offset):
    mean, std = np.float32(mean), np.float32(std)
    for block in range(cuda.grid(1), (y.size + 3) // 4, cuda.gridsize(1)):
        w = _words(seed, offset, block)
        a, b = _pair32(w[0], w[1])
        c, d = _pair32(w[2], w[3])
        for k in range(4):
            if 4 * block + k < y.size:
                y[4 * block + k] = math.times_32(_word((a, b, c, d), k), std) + mean


@kernel
def _normal64(y, mean, std, seed, offset):
    for block in range(cuda.grid(1), (y.size + 1) // 2, cuda.gridsize(1)):
        first, second = _wide_words(seed, offset, block)
        a, b = _pair64(first, second)
        y[2 * block] = math.times_64(a, std) + mean
        if 2 * block + 1 < y.size:
            y[2 * block + 1] = math.times_64(b, std) + mean


@kernel
def _exp(y):
    for i in range(cuda.grid(1), y.size, cuda.gridsize(1)):
        y[i] = math.exp(y[i])


@kernel
def _exponential(y, by):
    # y is uniform in (-1, -0]
    by = y.dtype.type(by)
    for i in range(cuda.grid(1), y.size, cuda.gridsize(1)):
        y[i] = math.log1p(y[i]) * by


@kernel
def _cauchy(y, median, sigma, seed, offset):
    for block in range(cuda.grid(1), (y.size + 1) // 2, cuda.gridsize(1)):
        w = _wide_words(seed, offset, block)
        for k in range(2):
            if 2 * block + k < y.size:
                u = unit_64(w[0] if k == 0 else w[1])
                y[2 * block + k] = median + math.times_64(sigma, math.tan(host.pi * (u - 0.5)))


@kernel
def _geometric(y, over, seed, offset):
    for block in range(cuda.grid(1), (y.size + 1) // 2, cuda.gridsize(1)):
        w = _wide_words(seed, offset, block)
        for k in range(2):
            if 2 * block + k < y.size:
                u = unit_64(w[0] if k == 0 else w[1])
                y[2 * block + k] = max(math.ceil_64(math.log1p(-u) / over), 1.0)


@kernel
def _coins(y, p, seed, offset):
    for block in range(cuda.grid(1), (y.size + 1) // 2, cuda.gridsize(1)):
        w = _wide_words(seed, offset, block)
        for k in range(2):
            i = 2 * block + k
            if i < y.size:
                y[i] = unit_64(w[0] if k == 0 else w[1]) < p[i]


@kernel
def _arrivals(y, rates, seed, offset):
    for block in range(cuda.grid(1), (y.size + 1) // 2, cuda.gridsize(1)):
        w = _wide_words(seed, offset, block)
        for k in range(2):
            i = 2 * block + k
            if i < y.size:
                u = unit_64(w[0] if k == 0 else w[1])
                y[i] = -math.log(1.0 - u) / rates[i] if rates[i] > 0 else host.inf


@inline
def _below(limit, word, seed, offset, i, wide):
    """Number i of a draw below `limit`, made of a word, or of later attempts."""
    found, rest = scaled(word, limit, wide)
    if is_rejected(np.uint64(rest), limit, wide):
        found = again(limit, np.uint64(seed), np.uint64(offset), i, wide)
    return np.int64(np.uint64(found))


@kernel
def _randint(y, low, limit, seed, offset):
    limit = np.uint64(limit)
    for block in range(cuda.grid(1), (y.size + 1) // 2, cuda.gridsize(1)):
        w = _wide_words(seed, offset, block)
        for k in range(2):
            i = 2 * block + k
            if i < y.size:
                word = w[0] if k == 0 else w[1]
                found = np.int64(word)
                if limit != _ZERO:  # else of 2**64
                    found = _below(limit, word, seed, offset, i, True)
                y[i] = found + low


@kernel
def _small_randint(y, low, limit, seed, offset):
    limit = np.uint64(limit)
    for block in range(cuda.grid(1), (y.size + 3) // 4, cuda.gridsize(1)):
        w = _words(seed, offset, block)
        for k in range(4):
            i = 4 * block + k
            if i < y.size:
                y[i] = _below(limit, _word(w, k), seed, offset, i, False) + low


@kernel
def _bernoulli(y, below, always, seed, offset):
    for block in range(cuda.grid(1), (y.size + 3) // 4, cuda.gridsize(1)):
        w = _words(seed, offset, block)
        for k in range(4):
            if 4 * block + k < y.size:
                y[4 * block + k] = (_word(w, k) < np.uint64(below)) | (always != 0)


@kernel
def _dropout(y, x, scale, kept, lost, below, always, seed, offset):
    # y = x * scale + kept, or x * 0 + lost
    zero, scale = x.dtype.type(0), x.dtype.type(scale)
    kept, lost = x.dtype.type(kept), x.dtype.type(lost)
    for block in range(cuda.grid(1), (y.size + 3) // 4, cuda.gridsize(1)):
        w = _words(seed, offset, block)
        for k in range(4):
            i = 4 * block + k
            if i < y.size:
                if (_word(w, k) < np.uint64(below)) | (always != 0):
                    y[i] = x[i] * scale + kept
                else:
                    y[i] = x[i] * zero + lost


def _signed(word):
    """64 bits as the number that a launch takes."""
    word &= WORD
    return word - 2**64 if word >> 63 else word


def _run(kernel, each, arrays, numbers, seed, offset):
    """Launch a kernel of which a thread makes `each` numbers of the first array."""
    y = arrays[0]
    if y.size:
        kinds = tuple(["int64" if type(n) is int else "float64" for n in numbers])
        run = launch(kernel, -(-y.size // each), tuple([a.dtype for a in arrays]),
                     (*kinds, "int64", "int64"))
        run(*arrays, *numbers, _signed(seed), _signed(offset))


def uniform(y, seed, offset, low=0.0, high=1.0):
    """Fill a vector with floats in [low, high)."""
    kernel, each = (_uniform64, 2) if y.dtype == _F64 else (_uniform32, 4)
    _run(kernel, each, (y,), (float(low), float(high - low)), seed, offset)


def normal(y, seed, offset, mean=0.0, std=1.0):
    """Fill a vector with floats of this mean and standard deviation."""
    kernel, each = (_normal64, 2) if y.dtype == _F64 else (_normal32, 4)
    _run(kernel, each, (y,), (float(mean), float(std)), seed, offset)


def log_normal(y, seed, offset, mean, std):
    """Fill a vector with floats whose logarithm has this mean and standard deviation."""
    normal(y, seed, offset, mean, std)
    if y.size:
        launch(_exp, y.size, (y.dtype,))(y)


def exponential(y, seed, offset, rate):
    """Fill a vector with floats of the density rate * exp(-rate * x)."""
    uniform(y, seed, offset, -0.0, -1.0)
    if y.size:
        launch(_exponential, y.size, (y.dtype,), ("float64",))(y, -1 / rate)


def cauchy(y, seed, offset, median, sigma):
    """Fill a vector with numbers of the density sigma / pi / (sigma**2 + (x - median)**2)."""
    _run(_cauchy, 2, (y,), (float(median), float(sigma)), seed, offset)


def geometric(y, seed, offset, p):
    """Fill a vector of any dtype with numbers of trials of probability p to the first success."""
    _run(_geometric, 2, (y,), (host.log1p(-p),), seed, offset)


def arrivals(rates, seed, offset):
    """Times (n,) of the first arrivals of Poisson processes with these rates; inf for rate 0."""
    y = empty(rates.size, np.float64)
    _run(_arrivals, 2, (y, contiguous(rates)), (), seed, offset)
    return y


def randint(y, low, high, seed, offset):
    """Fill a vector with integers in [low, high), each exactly as likely."""
    limit = high - low
    kernel, each = (_randint, 2) if limit > FEW else (_small_randint, 4)
    _run(kernel, each, (y,), (low, _signed(limit)), seed, offset)


def bernoulli(y, probability, seed, offset):
    """Fill a vector of any dtype with ones, of this probability, and zeros."""
    below, always = threshold(probability)
    _run(_bernoulli, 4, (y,), (below, int(always)), seed, offset)


def coins(y, p, seed, offset):
    """Fill a vector of any dtype with ones, with the probabilities p, and zeros."""
    _run(_coins, 2, (y, contiguous(p)), (), seed, offset)


def dropout(x, p, scale, seed, offset):
    """x * scale where `bernoulli` of 1 - p gives one, x * 0 elsewhere, in the order of x.

    Its gradient is the same function of gy.
    """
    return _put_out(x, p, scale, -0.0, -0.0, seed, offset)


def alpha_dropout(x, p, scale, low, seed, offset):
    """`dropout`, with -`low` in the place of what is put out, shifted to the mean there was."""
    q, by = x.dtype.type(1 - p), x.dtype.type(low * scale)
    return _put_out(x, p, scale, (1 - q) * by, (0 - q) * by, seed, offset)


def _put_out(x, p, scale, kept, lost, seed, offset):
    y, (below, always) = empty(x.shape, x.dtype), threshold(1 - p)
    _run(_dropout, 4, (y.reshape(-1), contiguous(x).reshape(-1)),
         (float(scale), float(kept), float(lost), below, int(always)), seed, offset)
    return y
