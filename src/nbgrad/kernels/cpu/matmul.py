"""Matrix products: operands in place or packed into panels, multiplied a register tile at a time.

C[i, j] = sum over p of A[i, p] * B[p, j]. Sums over p run in fixed blocks, so neither threads nor
the cutting of C into tasks changes a bit of the result. A stack of matrices is a vector of memory
and a table of integers, as kernels/matmul.py writes it.
"""

from nbgrad.kernels.cpu.matvec import starts
from nbgrad.kernels.cpu.simd import (
    aligned_start,
    copy_lanes,
    lanes,
    stack_tile,
    tile,
    tile_columns,
    tile_rows,
    transpose,
    wide_vectors,
)
from nbgrad.kernels.cpu.tasks import each
from nbgrad.kernels.options import inline, kernel


@inline
def _pack_task(u, table, panels, x):
    """Panel u, of which each matrix has `per`: lines i < height, `width` apart in each of k steps.

    panels[at + p * width + i] = x[start + i * step + p * stride]; past the last line of a matrix
    there is any number, which no tile reads.
    """
    per, lines, k, step, stride, height, width = table[1:8]
    wide_vectors()
    n, q, first = lanes(x), u // per, u % per * height
    start, at = starts(table, 8, q)[0] + first * step, aligned_start(panels) + u * width * k
    count, done = min(height, lines - first), 0
    if step == 1:
        for p in range(k):
            for i in range(0, width, n):
                copy_lanes(x, start + p * stride + i, count - i, panels, at + p * width + i)
        done = k
    elif stride == 1:
        done = k // n * n
        for i in range(0, min(count, width), n):
            for p in range(0, done, n):
                source, target = start + i * step + p, at + p * width + i
                transpose(x, source, step, count - i, panels, target, width)
    for p in range(done, k):
        for i in range(count):
            panels[at + p * width + i] = x[start + i * step + p * stride]


@inline
def _multiply_task(u, table, bias, c, a, b):
    """A block of rows and columns of C, in one matrix of the stack or, if they are small, in some."""
    count, some, m, n, k, a_panel, a_row, a_step, b_panel, b_step = table[1:11]
    cm, cn, mc, nc, kc, adds, bias_at, a_packed, b_packed = table[11:20]
    mr, nr = tile_rows(c), tile_columns(c)
    row_blocks, column_blocks = -(-m // mc), -(-n // nc)
    first, v = u // (row_blocks * column_blocks) * some, u % (row_blocks * column_blocks)
    i0, j0 = v // column_blocks * mc, v % column_blocks * nc
    i1, j1 = min(m, i0 + mc), min(n, j0 + nc)
    a_base = aligned_start(a) if a_packed else 0
    b_base = aligned_start(b) if b_packed else 0
    scratch = stack_tile(c)
    scratch[0] = 1
    for q in range(first, min(first + some, count)):
        a_start, b_start = starts(table, 20, q)
        a_start += a_base
        b_start += b_base
        for p in range(0, k, kc):
            depth, more = min(kc, k - p), p > 0 or adds > 0
            for j in range(j0, j1, nr):
                bo, columns = b_start + j // nr * b_panel + p * b_step, min(nr, j1 - j)
                for i in range(i0, i1, mr):
                    ao, rows = a_start + i // mr * a_panel + p * a_step, min(mr, i1 - i)
                    at = q * m * n + i * cm + j * cn
                    if cn == 1:
                        if bias.size and not more:
                            # As a product: a column of ones (cn - 1 is 0) times a row.
                            o, ld = bias_at + j, cm
                            tile(
                                1, scratch, 0, 0, cn - 1, bias, o, 0, c, at, ld, rows, columns, more
                            )
                        add = more or bias.size > 0
                        tile(
                            depth, a, ao, a_step, a_row, b, bo, b_step, c, at, cm, rows, columns, add
                        )
                        continue
                    tile(
                        depth, a, ao, a_step, a_row, b, bo, b_step, scratch, 0, nr, rows, columns,
                        False,
                    )
                    for t in range(columns):
                        for s in range(rows):
                            place = at + s * cm + t * cn
                            if more:
                                c[place] += scratch[s * nr + t]
                            elif bias.size:
                                c[place] = bias[bias_at + i + s] + scratch[s * nr + t]
                            else:
                                c[place] = scratch[s * nr + t]


@kernel
def pack(loop, table, panels, x):
    """As many panels as the first number of the table says."""
    each(loop, table[0], _pack_task, (table, panels, x))


@kernel
def multiply(loop, table, bias, c, a, b):
    """As many blocks of C as the first number of the table says."""
    each(loop, table[0], _multiply_task, (table, bias, c, a, b))


@kernel
def integers(table, bias, c, a, b):
    """The same for numbers of any dtype, without tiles."""
    count, m, n, k, a_row, a_step, b_row, b_step, bias_at = table[:9]
    for q in range(count):
        a_start, b_start = starts(table, 9, q)
        for i in range(m):
            row = (q * m + i) * n
            for j in range(n):
                c[row + j] = bias[bias_at + j] if bias.size else 0
            for p in range(k):
                x = a[a_start + i * a_row + p * a_step]
                for j in range(n):
                    c[row + j] += x * b[b_start + j * b_row + p * b_step]
