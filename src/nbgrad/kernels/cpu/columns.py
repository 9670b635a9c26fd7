"""Windows of planes as columns, and columns added back to planes.

kernel, stride, padding and dilation are pairs (vertical, horizontal).
"""

from itertools import product

from nbgrad.kernels import memory


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


def fold(columns, size, kernel, stride, padding, dilation):
    """(N, C, *size) from columns (N, C * kh * kw, windows), each entry added where it is from."""
    n, c = columns.shape[0], columns.shape[1] // (kernel[0] * kernel[1])
    windows, places = _places(size, kernel, stride, padding, dilation)
    columns = columns.reshape(n, c, *kernel, *windows)
    out = memory.zeros((n, c, *size), columns.dtype)
    for (u, down, rows), (v, across, met) in places:
        out[:, :, rows, met] += columns[:, :, u, v, down, across]
    return out
