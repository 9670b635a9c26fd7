"""Group normalisation and its gradients on a CUDA device, by the sums of `moments`."""

import numpy as np

from nbgrad.kernels.cuda import moments
from nbgrad.kernels.cuda.array import OnHost
from nbgrad.kernels.cuda.layouts import contiguous
from nbgrad.kernels.cuda.memory import empty
from nbgrad.kernels.cuda.norm import _channels, _given, _optional, backward


def group_norm(x, groups, w, b, eps):
    """(y, mean, 1 / std) of x (N, C, ...), each group of channels normalised; w, b (C,) or None."""
    if not x.size:
        raise OnHost("the group norm of nothing")
    n, channels, length = _channels(x)
    per, rows = channels // groups, n * groups
    x, y = contiguous(x), empty(x.shape, x.dtype)
    mean, var, inverse = (empty((n, groups), x.dtype) for _ in range(3))
    add, parts = moments.summing(x.dtype, 1, rows, per * length, 1, True)
    part = empty(2 * rows * parts, np.float64)
    add(x, x, x, part)
    moments.finding(x.dtype, rows, per * length, parts, per * length, float(eps))(
        part, x, mean, var, inverse)
    moments.scaling(x.dtype, n * channels, length, per, rows, channels, _given(w, b) + 4)(
        x, mean, inverse, _optional(w, x), _optional(b, x), y)
    return y, mean, inverse


def group_norm_backward(gy, x, mean, inverse, w, groups, need_gx):
    """(gx or None, gw, gb) of `group_norm`."""
    if not x.size:
        raise OnHost("the group norm of nothing")
    sizes = _channels(x)
    channels = sizes[1]
    x = contiguous(x)
    gx = empty(x.shape, x.dtype) if need_gx else None
    found = backward(contiguous(gy), x, contiguous(mean), contiguous(inverse), w, sizes,
                     channels // groups, gx, groups)
    return gx, found.part(0, channels), found.part(channels, 2 * channels)
