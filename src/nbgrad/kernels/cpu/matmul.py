"""Matrix products: operands in place or packed into panels, multiplied a register tile at a time.

C[i, j] = sum over p of A[i, p] * B[p, j]. Sums over p run in fixed blocks, so neither threads nor
the cutting of C into tasks changes a bit of the result.
"""

from functools import cache

import numba
import numpy as np

from nbgrad.kernels.cpu.rows import row_dot
from nbgrad.kernels.cpu.simd import (
    aligned_start,
    copy_lanes,
    lanes,
    stack_tile,
    tile,
    tile_columns,
    tile_rows,
    tile_shape,
    transpose,
    wide_vectors,
)
from nbgrad.kernels.memory import empty
from nbgrad.kernels.options import kernel, parallel_kernel, prange, use_threads

_KC = 256  # the part of a panel of B that stays in the first cache while A passes by
_KC_THIN = 16  # for so few rows that B is read once: rows of B then stream side by side
_MC = 8  # row panels of A that stay in the second cache
_LARGE = 1 << 19  # numbers in an operand that is read faster from panels than in place
_ORIGIN = np.zeros(1, np.int64)


@kernel
def _pack_panel(x, start, step, stride, count, k, panel, at, width):
    # panel[at + p * width + i] = x[start + i * step + p * stride], i < count <= width
    wide_vectors()
    n = lanes(x)
    done = 0
    if step == 1:
        for p in range(k):
            for i in range(0, width, n):
                copy_lanes(x, start + p * stride + i, count - i, panel, at + p * width + i)
        done = k
    elif stride == 1:
        done = k // n * n
        for i in range(0, width, n):
            first = min(i, count - 1)
            for p in range(0, done, n):
                source, target = start + first * step + p, at + p * width + i
                transpose(x, source, step, count - first, panel, target, width)
    for p in range(done, k):
        for i in range(width):
            source = start + min(i, count - 1) * step + p * stride
            panel[at + p * width + i] = x[source]


def _pack(x, starts, step, stride, count, k, height, width, panels, new_starts):
    # Panel u of matrix q holds lines u * height .. of it, `width` apart in every one of k steps.
    per = -(-count // height)
    base = aligned_start(panels)
    for q in range(len(starts)):
        new_starts[q] = base + q * per * width * k
    for v in prange(len(starts) * per):
        q, i = v // per, v % per * height
        start, at = starts[q] + i * step, base + v * width * k
        _pack_panel(x, start, step, stride, min(height, count - i), k, panels, at, width)


@kernel
def _multiply_block(u, a, a_starts, b, b_starts, bias, c, plan):
    m, n, k, a_panel, a_step, a_row, b_panel, b_step, cm, cn, mc, nc, kc = plan
    mr, nr = tile_rows(c), tile_columns(c)
    row_blocks, column_blocks = -(-m // mc), -(-n // nc)
    q, v = u // (row_blocks * column_blocks), u % (row_blocks * column_blocks)
    i0, j0 = v // column_blocks * mc, v % column_blocks * nc
    i1, j1 = min(m, i0 + mc), min(n, j0 + nc)
    scratch = stack_tile(c)
    scratch[0] = 1
    for p in range(0, k, kc):
        depth, more = min(kc, k - p), p > 0
        for j in range(j0, j1, nr):
            bo, columns = b_starts[q] + j // nr * b_panel + p * b_step, min(nr, j1 - j)
            for i in range(i0, i1, mr):
                ao, rows = a_starts[q] + i // mr * a_panel + p * a_step, min(mr, i1 - i)
                at = q * m * n + i * cm + j * cn
                if cn == 1:
                    add = more
                    if bias.size and not more:
                        # The bias as a product: a column of ones (cn - 1 is 0) times a row.
                        tile(1, scratch, 0, 0, cn - 1, bias, j, 0, c, at, cm, rows, columns, False)
                        add = True
                    tile(
                        depth, a, ao, a_step, a_row, b, bo, b_step, c, at, cm, rows, columns, add
                    )
                    continue
                tile(
                    depth, a, ao, a_step, a_row, b, bo, b_step, scratch, 0, nr, rows, columns, False
                )
                for t in range(columns):
                    for s in range(rows):
                        place = at + s * cm + t * cn
                        if more:
                            c[place] += scratch[s * nr + t]
                        elif bias.size:
                            c[place] = bias[i + s] + scratch[s * nr + t]
                        else:
                            c[place] = scratch[s * nr + t]


def _multiply(tasks, a, a_starts, b, b_starts, bias, c, plan):
    for u in prange(tasks):
        _multiply_block(u, a, a_starts, b, b_starts, bias, c, plan)


def _dots(x, x_starts, w, w_starts, w_row, bias, c, n, k):
    # c[q, j] = sum over p of x[q, p] * w[q, j, p]
    wide_vectors()
    for u in prange(len(x_starts) * n):
        q, j = u // n, u % n
        xo, wo = x_starts[q], w_starts[q] + j * w_row
        total = row_dot(x[xo : xo + k], w[wo : wo + k])
        c[u] = total + bias[j] if bias.size else total


@kernel
def _integers(a, a_starts, am, ak, b, b_starts, bn, bk, bias, c, m, n, k):
    for q in range(len(a_starts)):
        for i in range(m):
            row = (q * m + i) * n
            for j in range(n):
                c[row + j] = bias[j] if bias.size else 0
            for p in range(k):
                x = a[a_starts[q] + i * am + p * ak]
                for j in range(n):
                    c[row + j] += x * b[b_starts[q] + p * bk + j * bn]


_serial = {f: kernel(f) for f in (_pack, _multiply, _dots)}
_parallel = {f: parallel_kernel(f) for f in (_pack, _multiply, _dots)}


@cache
def _no_bias(dtype):
    return np.empty(0, dtype)


class _Memory:
    """Lends the memory of an array under another shape; keeps the array alive."""

    def __init__(self, array, first, size):
        found = array.__array_interface__
        address = found["data"][0] + first
        self.array = array
        self.__array_interface__ = {
            "version": 3,
            "typestr": found["typestr"],
            "shape": (size,),
            "data": (address, False),
        }


def _storage(x):
    """The memory x lives in, as a 1-d array, and the index of its first element there."""
    flags = x.flags
    if flags.forc and flags.writeable:
        return x.ravel("K"), 0
    if x.size == 0:
        return empty(0, x.dtype), 0
    reach = [(d - 1) * s for d, s in zip(x.shape, x.strides)]
    first, last = sum(r for r in reach if r < 0), sum(r for r in reach if r > 0)
    return np.asarray(_Memory(x, first, (last - first) // x.itemsize + 1)), -first // x.itemsize


def _starts(x, origin):
    """The index of the first element of each matrix in a stack of them."""
    if x.ndim == 2 and origin == 0:
        return _ORIGIN
    starts = np.array([origin], np.int64)
    for d, s in zip(x.shape[:-2], x.strides[:-2]):
        starts = (starts[:, None] + np.arange(d) * (s // x.itemsize)).ravel()
    return starts


def _operand(x, lines, depth):
    """A stack of matrices whose lines run along axis `lines` and are summed along axis `depth`.

    That is (storage, starts, step, stride): entry p of line i of matrix q lies at
    storage[starts[q] + i * step + p * stride].
    """
    storage, origin = _storage(x)
    strides, size = x.strides, x.itemsize
    return storage, _starts(x, origin), strides[lines] // size, strides[depth] // size


def _packed(x, count, k, height, width, run):
    """The operand in panels of `height` lines, and the distance between panels."""
    storage, starts, step, stride = x
    back = slice(None)
    if len(starts) > 1:
        starts, back = np.unique(starts, return_inverse=True)  # a broadcast matrix only once
    size = len(starts) * -(-count // height) * width * k
    panels = empty(size + 64 // storage.itemsize, storage.dtype)
    new = np.empty(len(starts), np.int64)
    run[_pack](storage, starts, step, stride, count, k, height, width, panels, new)
    return (panels, new[back], 1, width), width * k


def _columns_per_task(m, n, mc, nr, stack):
    """All of them, unless that leaves threads without work. Only a matter of speed."""
    pieces = 4 * numba.get_num_threads() // (stack * -(-m // mc))
    return n if pieces <= 1 else max(nr, -(-n // pieces // nr) * nr)


def _product(a, b, bias, c, m, n, k, run):
    mr, nr = tile_shape(c.dtype)
    lane = nr // 2
    cm, cn = n, 1
    a_step, b_step = a[2], b[2]
    # Columns must be contiguous. Where they are not, but rows are or are cheaper to make so,
    # compute the transposed product.
    if b_step != 1 and m > 1 and (a_step != 1) * m * k + 2 * m * n < n * k:
        a, b, a_step, b_step, m, n, cm, cn = b, a, b_step, a_step, n, m, 1, n
    a_panel, b_panel = mr * a_step, nr
    large = max(m, n) * k >= _LARGE and m >= 8 * mr
    if b_step != 1 or large:
        b, b_panel = _packed(b, n, k, nr, min(nr, -(-n // lane) * lane), run)
    if large and n >= 16 * nr:
        a, a_panel = _packed(a, m, k, mr, -(-mr // lane) * lane, run)
    a, a_starts, a_row, a_step = a
    b, b_starts, _, b_step = b
    mc, kc = _MC * mr, _KC if m > 4 else _KC_THIN
    nc = n if run is _serial else _columns_per_task(m, n, mc, nr, len(a_starts))
    tasks = len(a_starts) * -(-m // mc) * -(-n // nc)
    plan = (m, n, k, a_panel, a_step, a_row, b_panel, b_step, cm, cn, mc, nc, kc)
    run[_multiply](tasks, a, a_starts, b, b_starts, bias, c, plan)


def matmul(a, b, bias=None):
    """a (..., m, k) times b (..., k, n), plus bias (n,) on each row, as (..., m, n)."""
    m, k, n = *a.shape[-2:], b.shape[-1]
    out = empty(a.shape[:-2] + (m, n), a.dtype)
    if out.size == 0:
        return out
    if k == 0:
        out[...] = 0 if bias is None else bias
        return out
    real = a.dtype.kind == "f"
    if a.ndim > 2 and not any(b.strides[:-2]) and a.flags.c_contiguous:
        a, b, m = a.reshape(-1, k), b[(0,) * (b.ndim - 2)], out.size // n
    bias = _no_bias(a.dtype) if bias is None else np.array(bias)
    if n == 1 and real:
        a, b, m, n = b.swapaxes(-1, -2), a.swapaxes(-1, -2), 1, m
        bias = bias.repeat(n)
    dots = m == 1 and b.strides[-2] == b.itemsize
    if dots and a.strides[-1] != a.itemsize:
        a = np.ascontiguousarray(a)
    rows, columns, c = _operand(a, -2, -1), _operand(b, -1, -2), out.reshape(-1)
    if not real:
        _integers(*rows, *columns, bias, c, m, n, k)
        return out
    # An element of B costs a load in a dot, but a small part of a vector operation in a tile.
    run = _parallel if use_threads(out.size * k // (8 if dots else 64)) else _serial
    if dots:
        run[_dots](*rows[:2], *columns[:3], bias, c, n, k)
    else:
        _product(rows, columns, bias, c, m, n, k, run)
    return out
