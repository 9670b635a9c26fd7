"""Counts of random events on a CUDA device: those of kernels/cpu/events."""

import numpy as np

from nbgrad.kernels.cpu.events import binomial_number, poisson_number
from nbgrad.kernels.cuda.launch import launch
from nbgrad.kernels.cuda.layouts import contiguous
from nbgrad.kernels.cuda.memory import empty
from nbgrad.kernels.cuda.provider import cuda, kernel
from nbgrad.kernels.cuda.random import signed


@kernel
def _poisson(y, rates, seed, offset):
    seed, offset = np.uint64(seed), np.uint64(offset)
    for i in range(cuda.grid(1), y.size, cuda.gridsize(1)):
        y[i] = poisson_number(np.float64(rates[i]), seed, offset, i)


@kernel
def _binomial(y, n, p, seed, offset):
    seed, offset = np.uint64(seed), np.uint64(offset)
    for i in range(cuda.grid(1), y.size, cuda.gridsize(1)):
        y[i] = binomial_number(np.float64(n[i]), np.float64(p[i]), seed, offset, i)


def _drawn(function, seed, offset, *given):
    y = empty(given[0].shape, given[0].dtype)
    if y.size:
        run = launch(function, y.size, (y.dtype, *[a.dtype for a in given]), ("int64", "int64"))
        run(y.reshape(-1), *[contiguous(a).reshape(-1) for a in given], signed(seed), signed(offset))
    return y


def poisson(rates, seed, offset):
    """As kernels.cpu.events."""
    return _drawn(_poisson, seed, offset, rates)


def binomial(n, p, seed, offset):
    """As kernels.cpu.events."""
    return _drawn(_binomial, seed, offset, n, p)
