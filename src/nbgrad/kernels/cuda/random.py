"""Random numbers from counters on a CUDA device: the bits of kernels/cpu/random.

A thread makes the four words of a counter. Those of 32 bits change hands in shared memory, so that
neighbouring threads write neighbouring numbers: a thread's own four would be a quarter of what
memory takes at a time. Indices are unsigned, since others may count from the end.
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
from nbgrad.kernels.cuda.bounds import tell
from nbgrad.kernels.cuda.launch import launch
from nbgrad.kernels.cuda.layouts import contiguous
from nbgrad.kernels.cuda.memory import empty, zeros
from nbgrad.kernels.cuda.provider import BLOCK, cuda, inline, kernel
from nbgrad.kernels.cuda.sort import ordered

#: Words that a block of threads makes at a time.
WORDS = 4 * BLOCK
_AT_ONCE = np.uint64(WORDS)
_LOW, _HALF, _ZERO = np.uint64(0xFFFFFFFF), np.uint64(32), np.uint64(0)
_F64, _I32 = np.dtype(np.float64), np.dtype(np.int32)


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
def _dealt(own, a, b, c, d):
    """Four values of each thread in shared memory, for the block to take up in their order."""
    at = np.uint32(4 * cuda.threadIdx.x)
    cuda.syncthreads()
    own[at] = a
    own[at + 1] = b
    own[at + 2] = c
    own[at + 3] = d
    cuda.syncthreads()


@inline
def _own_words(seed, offset, first):
    """A thread's words among words first, first + 1, ... of a draw, as uint32."""
    a, b, c, d = _words(seed, offset, (first >> np.uint64(2)) + np.uint64(cuda.threadIdx.x))
    return np.uint32(a), np.uint32(b), np.uint32(c), np.uint32(d)


@inline
def _next(first):
    return first + np.uint64(cuda.gridDim.x) * _AT_ONCE


@inline
def _first():
    return np.uint64(cuda.blockIdx.x) * _AT_ONCE


@inline
def _left(first, y):
    """How many of WORDS numbers from `first` on there are."""
    return np.uint32(min(np.uint64(y.size) - first, _AT_ONCE))


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
    u = (np.float32(np.int32(first >> 1)) + np.float32(0.5)) * np.float32(2.0**-31)
    r = np.float32(math.sqrt(np.float32(-2) * np.float32(math.log(u))))
    steps = np.int32(second >> 8)
    quarter = np.int32((steps + (1 << 21)) >> 22)
    t = np.float32(np.int32(steps - (quarter << 22))) * np.float32(2 * host.pi * 2.0**-24)
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
    own = cuda.shared.array(WORDS, np.uint32, alignment=16)
    low, size, first = np.float32(low), np.float32(size), _first()
    while first < np.uint64(y.size):
        a, b, c, d = _own_words(seed, offset, first)
        _dealt(own, a, b, c, d)
        left = _left(first, y)
        for k in range(4):
            t = np.uint32(cuda.threadIdx.x + k * BLOCK)
            if t < left:
                y[first + t] = math.times_32(unit_32(own[t]), size) + low
        first = _next(first)


@kernel
def _uniform64(y, low, size, seed, offset):
    for block in range(cuda.grid(1), (y.size + 1) // 2, cuda.gridsize(1)):
        a, b = _wide_words(seed, offset, block)
        y[2 * block] = math.times_64(unit_64(a), size) + low
        if 2 * block + 1 < y.size:
            y[2 * block + 1] = math.times_64(unit_64(b), size) + low


@kernel
def _normal32(y, mean, std, seed, offset):
    own = cuda.shared.array(WORDS, np.float32, alignment=16)
    mean, std, first = np.float32(mean), np.float32(std), _first()
    while first < np.uint64(y.size):
        w = _own_words(seed, offset, first)
        a, b = _pair32(w[0], w[1])
        c, d = _pair32(w[2], w[3])
        _dealt(own, a, b, c, d)
        left = _left(first, y)
        for k in range(4):
            t = np.uint32(cuda.threadIdx.x + k * BLOCK)
            if t < left:
                y[first + t] = math.times_32(own[t], std) + mean
        first = _next(first)


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
    own = cuda.shared.array(WORDS, np.uint32, alignment=16)
    limit, first = np.uint64(limit), _first()
    while first < np.uint64(y.size):
        a, b, c, d = _own_words(seed, offset, first)
        _dealt(own, a, b, c, d)
        left = _left(first, y)
        for k in range(4):
            t = np.uint32(cuda.threadIdx.x + k * BLOCK)
            if t < left:
                word, i = np.uint64(own[t]), first + t
                y[i] = _below(limit, word, seed, offset, np.int64(i), False) + low
        first = _next(first)


@kernel
def _bernoulli(y, below, always, seed, offset):
    own = cuda.shared.array(WORDS, np.uint32, alignment=16)
    below, first = np.uint32(below), _first()
    while first < np.uint64(y.size):
        a, b, c, d = _own_words(seed, offset, first)
        _dealt(own, a, b, c, d)
        left = _left(first, y)
        for k in range(4):
            t = np.uint32(cuda.threadIdx.x + k * BLOCK)
            if t < left:
                y[first + t] = (own[t] < below) | (always != 0)
        first = _next(first)


@kernel
def _dropout(y, x, scale, kept, lost, below, always, seed, offset):
    # y = x * scale + kept, or x * 0 + lost
    own = cuda.shared.array(WORDS, np.uint32, alignment=16)
    zero, scale = x.dtype.type(0), x.dtype.type(scale)
    kept, lost = x.dtype.type(kept), x.dtype.type(lost)
    below, first = np.uint32(below), _first()
    xs = cuda.local.array(4, x.dtype)
    while first < np.uint64(y.size):
        left = _left(first, y)
        for k in range(4):  # on their way while the words are made
            xs[k] = x[first + min(np.uint32(cuda.threadIdx.x + k * BLOCK), np.uint32(left - 1))]
        a, b, c, d = _own_words(seed, offset, first)
        _dealt(own, a, b, c, d)
        for k in range(4):
            t = np.uint32(cuda.threadIdx.x + k * BLOCK)
            keep = (own[t] < below) | (always != 0)
            if t < left:
                y[first + t] = xs[k] * (scale if keep else zero) + (kept if keep else lost)
        first = _next(first)


def signed(word):
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
        run(*arrays, *numbers, signed(seed), signed(offset))


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
    _run(kernel, each, (y,), (low, signed(limit)), seed, offset)
    tell(y, low, high - 1)


def bernoulli(y, probability, seed, offset):
    """Fill a vector of any dtype with ones, of this probability, and zeros."""
    below, always = threshold(probability)
    _run(_bernoulli, 4, (y,), (below, int(always)), seed, offset)


def coins(y, p, seed, offset):
    """Fill a vector of any dtype with ones, with the probabilities p, and zeros."""
    _run(_coins, 2, (y, contiguous(p)), (), seed, offset)


# A permutation is made by swaps: step i puts into place i what lies at a place swaps[i] <= i, and i
# there. So in the end there lies what the last step with that place put there; where there is none,
# what was at swaps[i] before step i: what the step before it with the same place put there, if there is
# one, or else what step swaps[i] found in its turn.


@kernel
def _swaps(y, seed, offset):
    for block in range(cuda.grid(1), (y.size + 1) // 2, cuda.gridsize(1)):
        w = _wide_words(seed, offset, block)
        for k in range(2):
            i = 2 * block + k
            if i < y.size:
                y[i] = _below(np.uint64(i + 1), w[0] if k == 0 else w[1], seed, offset, i, True)


@kernel
def _link(places, steps, before, last):
    """Of each step the one before it with the same place, of each place its last step, from 1 on.

    `places` are the sorted swaps, `steps` theirs.
    """
    for k in range(cuda.grid(1), places.size, cuda.gridsize(1)):
        place, step = places[k], steps[k]
        before[step] = steps[k - 1] + 1 if k > 0 and places[k - 1] == place else 0
        if k + 1 == places.size or places[k + 1] != place:
            last[place] = step + 1


@kernel
def _follow(y, swaps, before, last):
    for i in range(cuda.grid(1), y.size, cuda.gridsize(1)):
        found, step = last[i], np.int64(i)
        while found == 0:
            found = before[step]
            step = np.int64(swaps[step])
        y[i] = found - 1


def permutation(y, seed, offset):
    """Fill a vector of n integers with 0 .. n - 1 in an order that is any with the same probability."""
    n, one = y.size, (y.dtype,)
    if n:
        swaps, before, last = empty((1, n), y.dtype), empty(n, np.int32), zeros(n, np.int32)
        _run(_swaps, 2, (swaps.reshape(-1),), (), seed, offset)
        places, steps = (a.reshape(-1) for a in ordered(swaps, max(n - 1, 1).bit_length()))
        launch(_link, n, (*one, *[_I32] * 3))(places, steps, before, last)
        launch(_follow, n, (*one, *one, _I32, _I32))(y, swaps.reshape(-1), before, last)
        tell(y, 0, n - 1)


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
