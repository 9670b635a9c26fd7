"""Windows of planes as columns, and columns added back to planes.

kernel, stride, padding and dilation are pairs (vertical, horizontal).
"""

from itertools import product

import numpy as np

from nbgrad.kernels import memory
from nbgrad.kernels.options import folded, kernel, parallel_kernel, prange, use_threads


def taps(kernel, windows, size, stride, before, dilation):
    """For each line u of a window: the windows it lies inside for, and the lines it then meets."""
    for u in range(kernel):
        at = u * dilation - before
        first = max(0, -(at // stride))
        last = max(first, min(windows, (size - 1 - at) // stride + 1))
        yield u, slice(first, last), slice(at + first * stride, at + last * stride, stride)


def window_count(size, kernel, stride, padding, dilation):
    """How many windows fit along one dimension."""
    return (size + 2 * padding - dilation * (kernel - 1) - 1) // stride + 1


def _places(size, kernel, stride, padding, dilation):
    """Both axes' windows, and pairs of their `taps`."""
    rules = list(zip(size, kernel, stride, padding, dilation))
    windows = [window_count(*rule) for rule in rules]
    axes = [taps(k, m, n, s, p, d) for m, (n, k, s, p, d) in zip(windows, rules)]
    return windows, product(*map(list, axes))


def unfold(x, kernel, stride, padding, dilation):
    """Columns (N, C * kh * kw, windows) of x (N, C, H, W)."""
    n, c, *size = x.shape
    windows, places = _places(size, kernel, stride, padding, dilation)
    make = memory.zeros if any(padding) else memory.empty
    out = make((n, c, *kernel, *windows), x.dtype)
    for (u, down, rows), (v, across, columns) in places:
        out[:, :, u, v, down, across] = x[:, :, rows, columns]
    return out.reshape(n, c * kernel[0] * kernel[1], windows[0] * windows[1])


@folded
def _add(x, y, step):
    """y[i * step] += x[i]."""
    for i in range(x.size):
        y[np.uint64(i * step)] += x[i]


def _fold_loop(columns, rows, across, steps, y):
    # columns [plane, u, v, window, window]; rows[u] and across[v] are windows from and to, and the
    # line that the first one meets
    planes, kh, kw = columns.shape[:3]
    for p in prange(planes):
        for u in range(kh):
            for v in range(kw):
                first, last, place = across[v]
                for i in range(rows[u, 0], rows[u, 1]):
                    line = y[p, rows[u, 2] + (i - rows[u, 0]) * steps[0], place:]
                    met = columns[p, u, v, i, first:last]
                    if steps[1] == 1:
                        _add(met, line, 1)
                    else:
                        _add(met, line, steps[1])


_fold = kernel(_fold_loop), parallel_kernel(_fold_loop)


def fold(columns, size, kernel, stride, padding, dilation):
    """(N, C, *size) from columns (N, C * kh * kw, windows), each entry added where it is from."""
    n, c = columns.shape[0], columns.shape[1] // (kernel[0] * kernel[1])
    out = memory.zeros((n, c, *size), columns.dtype)
    if columns.size:
        rules = list(zip(size, kernel, stride, padding, dilation))
        windows = [window_count(*rule) for rule in rules]
        axes = [np.array([(inside.start, inside.stop, met.start)
                          for _, inside, met in taps(k, m, l, s, p, d)])
                for m, (l, k, s, p, d) in zip(windows, rules)]
        columns = np.ascontiguousarray(columns).reshape(n * c, *kernel, *windows)
        _fold[use_threads(columns.size)](columns, *axes, stride, out.reshape(n * c, *size))
    return out
