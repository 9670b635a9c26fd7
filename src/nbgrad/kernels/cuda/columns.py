"""Windows of planes as columns on a CUDA device, and columns added back to planes.

kernel, stride, padding and dilation are pairs (vertical, horizontal).
"""

from nbgrad.kernels.cpu.columns import window_count
from nbgrad.kernels.cuda.launch import launch
from nbgrad.kernels.cuda.layouts import contiguous
from nbgrad.kernels.cuda.memory import empty
from nbgrad.kernels.cuda.provider import cuda, kernel


@kernel
def unfolded(out, x, high, wide, kh, kw, rows, columns, sh, sw, top, left, dh, dw):
    """out (planes, kh, kw, rows, columns) of x (planes, high, wide)."""
    for r in range(cuda.grid(1), out.size, cuda.gridsize(1)):
        j, i = r % columns, r // columns % rows
        tap, plane = r // (columns * rows) % (kh * kw), r // (columns * rows * kh * kw)
        h, w = i * sh + tap // kw * dh - top, j * sw + tap % kw * dw - left
        if 0 <= h < high and 0 <= w < wide:
            out[r] = x[(plane * high + h) * wide + w]
        else:
            out[r] = 0


@kernel
def folded(out, x, high, wide, kh, kw, rows, columns, sh, sw, top, left, dh, dw):
    """out (planes, high, wide) of x (planes, kh, kw, rows, columns), taps added in order."""
    for r in range(cuda.grid(1), out.size, cuda.gridsize(1)):
        w, h, plane = r % wide, r // wide % high, r // (wide * high)
        total = out.dtype.type(0)
        for u in range(kh):
            i = h + top - u * dh
            if i >= 0 and i % sh == 0 and i // sh < rows:
                for v in range(kw):
                    j = w + left - v * dw
                    if j >= 0 and j % sw == 0 and j // sw < columns:
                        tap = (plane * kh + u) * kw + v
                        total += x[(tap * rows + i // sh) * columns + j // sw]
        out[r] = total


def _run(made, out, x, size, kernel, windows, stride, padding, dilation):
    if out.size:
        numbers = (*size, *kernel, *windows, *stride, *padding, *dilation)
        launch(made, out.size, (out.dtype, x.dtype), ("int64",) * len(numbers))(
            out.reshape(-1), contiguous(x).reshape(-1), *numbers)
    return out


def _windows(size, kernel, stride, padding, dilation):
    return tuple(map(window_count, size, kernel, stride, padding, dilation))


def unfold(x, kernel, stride, padding, dilation):
    """Columns (N, C * kh * kw, windows) of x (N, C, H, W)."""
    n, c, *size = x.shape
    windows = _windows(size, kernel, stride, padding, dilation)
    out = empty((n, c * kernel[0] * kernel[1], windows[0] * windows[1]), x.dtype)
    return _run(unfolded, out, x, size, kernel, windows, stride, padding, dilation)


def fold(columns, size, kernel, stride, padding, dilation):
    """(N, C, *size) from columns (N, C * kh * kw, windows), each entry added where it is from."""
    windows = _windows(size, kernel, stride, padding, dilation)
    out = empty((columns.shape[0], columns.shape[1] // (kernel[0] * kernel[1]), *size), columns.dtype)
    return _run(folded, out, columns, size, kernel, windows, stride, padding, dilation)
