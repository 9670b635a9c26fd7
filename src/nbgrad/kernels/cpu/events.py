"""Counts of random events: Poisson and binomial numbers.

Number i of a draw has a sequence of random numbers of its own, so that it may reject some: those of
the counters (block of i, attempt, 1 or 2), where other draws have 0 in the last place. Small counts
are found by adding up their probabilities, large ones by transformed rejection (Hörmann, 1993: "The
transformed rejection method for generating Poisson random variables", "The generation of binomial
random variates"). CUDA kernels call the same functions.
"""

import math

import numpy as np
from numba import types

from nbgrad.kernels import memory
from nbgrad.kernels.cpu.random import WORD, philox, unit_64
from nbgrad.kernels.launch import entry_point
from nbgrad.kernels.options import inline, kernel, parallel_kernel, prange, use_threads

_LOW, _HALF = np.uint64(0xFFFFFFFF), np.uint64(32)
#: Expected counts that are large, and attempts that come to an end also for numbers like infinity.
_LARGE, _MOST = 10.0, 1000


@inline
def _floor(x):
    return np.float64(math.floor(x))


@inline
def _pair(seed, offset, i, attempt):
    """Two numbers in [0, 1) for an attempt at number i."""
    b = offset + np.uint64(i // 2)
    attempt, which = np.uint64(attempt), np.uint64(1 + i % 2)
    w = philox(b & _LOW, b >> _HALF, attempt, which, seed & _LOW, seed >> _HALF)
    return unit_64((w[1] << _HALF) | w[0]), unit_64((w[3] << _HALF) | w[2])


@inline
def poisson_number(rate, seed, offset, i):
    """Number i of a draw, as a float64."""
    if rate < _LARGE:
        u, v = _pair(seed, offset, i, 0)
        k, p = 0.0, math.exp(-rate)
        while u >= p and k < _MOST:
            u -= p
            k += 1.0
            p *= rate / k
        return k
    root, logarithm = math.sqrt(rate), math.log(rate)
    b = 0.931 + 2.53 * root
    a = -0.059 + 0.02483 * b
    scale, sure = math.log(1.1239 + 1.1328 / (b - 3.4)), 0.9277 - 3.6224 / (b - 2)
    for attempt in range(_MOST):
        u, v = _pair(seed, offset, i, attempt)
        u, v = u - 0.5, 1.0 - v
        near = 0.5 - abs(u) + 2.0**-54
        k = _floor((2 * a / near + b) * u + rate + 0.43)
        if near >= 0.07 and v <= sure:
            return k
        if k >= 0 and (near >= 0.013 or v <= near) and (
                math.log(v) + scale - math.log(a / (near * near) + b)
                <= k * logarithm - rate - math.lgamma(k + 1)):
            return k
    return _floor(rate)


@inline
def binomial_number(n, p, seed, offset, i):
    """Number i of a draw: successes among floor(n) trials of probability p, as a float64."""
    n, q = _floor(n), min(p, 1 - p)
    k = _fewer(n, q, seed, offset, i)
    return n - k if p > 0.5 else k


@inline
def _fewer(n, q, seed, offset, i):
    """The same for q <= 1/2."""
    odds = q / (1 - q)
    if n * q < _LARGE:
        u, v = _pair(seed, offset, i, 0)
        k, share = 0.0, math.exp(n * math.log1p(-q))
        while u >= share and k < n and k < _MOST:
            u -= share
            k += 1.0
            share *= (n - k + 1) / k * odds
        return k
    spread = math.sqrt(n * q * (1 - q))
    b = 1.15 + 2.53 * spread
    a = -0.0873 + 0.0248 * b + 0.01 * q
    scale, sure, middle = math.log((2.83 + 5.1 / b) * spread), 0.92 - 4.2 / b, _floor((n + 1) * q)
    top = math.lgamma(middle + 1) + math.lgamma(n - middle + 1)
    for attempt in range(_MOST):
        u, v = _pair(seed, offset, i, attempt)
        u, v = u - 0.5, 1.0 - v
        near = 0.5 - abs(u) + 2.0**-54
        k = _floor((2 * a / near + b) * u + n * q + 0.5)
        if near >= 0.07 and v <= sure:
            return k
        if 0 <= k <= n and (math.log(v) + scale - math.log(a / (near * near) + b)
                            <= top - math.lgamma(k + 1) - math.lgamma(n - k + 1)
                            + (k - middle) * math.log(odds)):
            return k
    return middle


def _poisson_loop(y, rates, seed, offset):
    for i in prange(y.size):
        y[i] = poisson_number(np.float64(rates[i]), seed, offset, i)


def _binomial_loop(y, n, p, seed, offset):
    for i in prange(y.size):
        y[i] = binomial_number(np.float64(n[i]), np.float64(p[i]), seed, offset, i)


_poisson = kernel(_poisson_loop), parallel_kernel(_poisson_loop)
_binomial = kernel(_binomial_loop), parallel_kernel(_binomial_loop)


def _drawn(kernels, seed, offset, *given):
    y = memory.empty(given[0].shape, given[0].dtype)
    run = entry_point(kernels[use_threads(16 * y.size)], *[(a.dtype, 1) for a in (y, *given)],
                      types.uint64, types.uint64)
    flat = [np.ascontiguousarray(a).reshape(-1) for a in given]
    run(y.reshape(-1), *flat, seed & WORD, offset & WORD)
    return y


def poisson(rates, seed, offset):
    """Counts of events that come at these rates, in the shape and dtype of the rates."""
    return _drawn(_poisson, seed, offset, rates)


def binomial(n, p, seed, offset):
    """Counts of successes among n trials each, of the probabilities p, of the same shape and dtype."""
    return _drawn(_binomial, seed, offset, n, p)
