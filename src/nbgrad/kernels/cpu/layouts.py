"""Arrays seen and copied in other layouts, by the same names on every device."""

import numpy as np

from nbgrad.kernels import memory
from nbgrad.kernels.cpu.copy import write as write


def contiguous(x):
    """The array without gaps, itself where it has none."""
    return np.ascontiguousarray(x)


def copied(x, dtype=None):
    """A fresh contiguous copy, in a dtype if one is given."""
    out = memory.empty(x.shape, dtype or x.dtype)
    write(out, x)
    return out


def cast(x, dtype):
    """The array in a dtype, itself where it has that."""
    return x.astype(dtype, copy=False)


def moved(x, source, to):
    """A view with one axis in another place; a number is a vector of one entry."""
    if not x.shape:
        return x.reshape(1)
    axes = list(range(x.ndim))
    axes.insert(to % x.ndim, axes.pop(source))
    return x.transpose(axes)


def spread(x, shape):
    """A view that is broadcast to a shape."""
    if x.size == 1 and x.shape != shape:  # what broadcast_to does, ten times as fast
        return np.ndarray(shape, x.dtype, np.ascontiguousarray(x), 0, (0,) * len(shape))
    return x if x.shape == shape else np.broadcast_to(x, shape)


def zeros(like, shape, dtype=None):
    """Zeros where another array lies, of its dtype unless another is given."""
    return memory.zeros(shape, dtype or like.dtype)


def filled(like, shape, value):
    """An array that holds one number, of the dtype of another and where that lies."""
    return np.full(shape, value, like.dtype)


def clear(x, row):
    """x[row] = 0."""
    x[row] = 0


def number(x, place):
    """The Python number at a place on the elements of an array."""
    return np.ascontiguousarray(x).reshape(-1)[place].item()


def changed(x, shape, change):
    """Call `change` on x in a shape, or on a copy without gaps that is then written back."""
    if x.flags.c_contiguous:
        change(x.reshape(shape))
    else:
        copy = copied(x)
        change(copy.reshape(shape))
        write(x, copy)
