"""Elements in another order on a CUDA device: copies from one window to another; as
kernels/cpu/rearrange."""

import math
from itertools import product

from nbgrad.kernels.cuda.launch import launch
from nbgrad.kernels.cuda.layouts import contiguous, copy, narrowed
from nbgrad.kernels.cuda.memory import empty
from nbgrad.kernels.cuda.provider import cuda, kernel


@kernel
def _each_adjoint(gy, gx, times, inner):
    for i in range(cuda.grid(1), gx.size, cuda.gridsize(1)):
        at = i // inner * (inner * times) + i % inner
        total = gy[at]
        for k in range(1, times):
            total += gy[at + k * inner]
        gx[i] = total


def flipped(x, axes):
    """x with some axes walked backwards."""
    y, steps = empty(x.shape, x.dtype), x.steps()
    first = sum([(x.shape[k] - 1) * steps[k] for k in axes])
    turned = tuple([-s if k in axes else s for k, s in enumerate(steps)])
    copy(y, x.window(x.shape, turned, first))
    return y


def rolled(x, shifts, axes):
    """x with some axes turned."""
    y = empty(x.shape, x.dtype)
    whole = [[((0, n), (0, n))] for n in x.shape]  # for each axis pairs of ranges: to and from
    for k in set(axes):
        n = x.shape[k]
        by = sum([s for s, a in zip(shifts, axes) if a == k]) % n if n else 0
        if by:
            whole[k] = [((by, n), (0, n - by)), ((0, by), (n - by, n))]
    for ranges in product(*whole):
        copy(narrowed(y, [to for to, _ in ranges]), narrowed(x, [part for _, part in ranges]))
    return y


def each(x, times, axis):
    """Every entry along an axis of x a few times in a row."""
    shape, steps = x.shape, x.steps()
    y = empty((*shape[:axis], shape[axis] * times, *shape[axis + 1:]), x.dtype)
    apart = (*shape[:axis + 1], times, *shape[axis + 1:])
    copy(y.reshape(*apart), x.window(apart, (*steps[:axis + 1], 0, *steps[axis + 1:]), 0))
    return y


def each_adjoint(gy, times, axis):
    """The sums of every `times` neighbours along an axis of gy."""
    gx = empty((*gy.shape[:axis], gy.shape[axis] // times, *gy.shape[axis + 1:]), gy.dtype)
    if gx.size:
        run = launch(_each_adjoint, gx.size, (gy.dtype, gx.dtype), ("int64", "int64"))
        run(contiguous(gy).reshape(-1), gx.reshape(-1), times, math.prod(gy.shape[axis + 1:]))
    return gx
