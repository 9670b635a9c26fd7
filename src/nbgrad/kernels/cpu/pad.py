"""Padding: a constant around an array, or its own entries; pairs are (before, after) an axis."""

from functools import lru_cache

import numpy as np

from nbgrad.kernels import memory
from nbgrad.kernels.cpu.rearrange import framed


def ranges(n, a, b):
    """Where entries of an axis stand in the padded one, and which; negative numbers cut off."""
    return (max(a, 0), n + a + b - max(b, 0)), (max(-a, 0), n - max(-b, 0))


def padded(x, pairs, value):
    """A constant around x."""
    out = memory.empty(tuple([n + a + b for n, (a, b) in zip(x.shape, pairs)]), x.dtype)
    out.fill(value)
    inside, taken = zip(*[ranges(n, a, b) for n, (a, b) in zip(x.shape, pairs)]) if pairs else ((), ())
    out[tuple([slice(*r) for r in inside])] = x[tuple([slice(*r) for r in taken])]
    return out


@lru_cache(256)
def places(mode, n, a, b):
    """Which entry of an axis of n stands at every place of the padded one."""
    found = np.arange(-a, n + b)
    if mode == "reflect":
        found = np.abs(found)
        return np.minimum(found, 2 * (n - 1) - found)
    return np.clip(found, 0, n - 1) if mode == "replicate" else found % n


def own_entries(x, pairs, mode):
    """x's own entries around it; no number is negative."""
    return framed(x, [places(mode, n, a, b) for n, (a, b) in zip(x.shape, pairs)])


def own_entries_adjoint(grad, shape, pairs, mode):
    """The adjoint: what was copied outside is added where it came from."""
    grad = grad.copy()
    inside = tuple([slice(a, a + n) for n, (a, _) in zip(shape, pairs)])
    for d in range(len(shape)):
        lines = np.moveaxis(grad[inside[:d]], d, 0)
        for place, source in reversed(_sources(mode, shape[d], *pairs[d])):
            part = lines[place]
            lines[source] += part.sum(0, keepdims=True) if mode == "replicate" else part
    return grad[inside]


def _sources(mode, n, a, b):
    """Where along an axis of n entries, which stand from a on, entries are put, and from where."""
    end = a + n
    before, after = {
        "reflect": (slice(2 * a, a, -1), slice(end - 2, end - 2 - b if b < end - 1 else None, -1)),
        "replicate": (slice(a, a + 1), slice(end - 1, end)),
        "circular": (slice(n, n + a), slice(a, a + b)),
    }[mode]
    return [pair for pair, count in (((slice(0, a), before), a), ((slice(end, end + b), after), b))
            if count]
