"""Matrix products: which kernels multiply operands of these layouts, resolved once into a plan."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache, partial
from typing import NamedTuple

import numpy as np

from nbgrad.devices import CPU, device
from nbgrad.dtypes import dtype as DType
from nbgrad.kernels.cpu import matmul as tiled
from nbgrad.kernels.cpu import matvec as vectors
from nbgrad.kernels.cpu.simd import tile_shape
from nbgrad.kernels.cpu.tasks import machine_code
from nbgrad.kernels.launch import either, entry_point
from nbgrad.kernels.layout import Layout, collapse, common, layout
from nbgrad.kernels.memory import empty
from nbgrad.kernels.options import get_num_threads

_KC = 256  # the part of a panel of B that stays in the first cache while A passes by
_KC_THIN = 16  # for so few rows that B is read once: rows of B then stream side by side
_MC = 8  # row panels of A that stay in the second cache
#: Sums so short, for rows so long, that most of the time goes into writing C: then by whole rows.
_SHORT, _WIDE = 64, 1024
_SOME = 1 << 15  # multiplications in small matrices of a stack that are one task
_LARGE = 1 << 19  # numbers in an operand that is read faster from panels than in place
#: What takes as long as an element of an elementwise op: so many multiplications in tiles, or so many
#: entries of a matrix that meets a vector. A matrix of a stack takes as long as _EACH multiplications.
_IN_TILES, _BY_VECTOR, _EACH = 16, 4, 8192


class Plan(NamedTuple):
    """A resolved launch: `run(out, a, b)` over storages; with a bias `run(bias, out, a, b)`.

    `layout`, `size` and `np_dtype` describe the output to allocate.
    """

    run: Callable[..., None]
    layout: Layout
    size: int
    np_dtype: np.dtype


class _Lines(NamedTuple):
    """A stack of matrices as sets of lines: entry p of line i lies at i * step + p * stride."""

    offset: int
    step: int
    stride: int
    stack: list[int]  # from one matrix to the next, for each axis of the stack


class _Product(NamedTuple):
    """C = A B + bias: m rows of A times n columns of B, of length k, for a stack of such sizes.

    If it `adds`, C += A B.
    """

    dtype: DType
    sizes: list[int]
    m: int
    n: int
    k: int
    a: _Lines
    b: _Lines
    bias: Layout | None = None
    adds: bool = False
    device: device = CPU

    @property
    def matrices(self) -> int:
        return math.prod(self.sizes)

    @property
    def bias_at(self) -> int:
        return 0 if self.bias is None else self.bias.offset

    def turned(self) -> _Product:
        """The transposed product, in which A and B change places."""
        return self._replace(m=self.n, n=self.m, a=self.b, b=self.a)

    def table(self, *numbers: int) -> np.ndarray:
        """The numbers, then the stack as matvec.starts reads it."""
        axes = [*zip(self.sizes, self.a.stack, self.b.stack)]
        stack = [n for axis in reversed(axes) for n in axis]
        return np.array([*numbers, self.a.offset, self.b.offset, len(axes), *stack], np.int64)

    def bind(self, run: Callable, *first) -> Callable[..., None]:
        """A launch with its first arguments, an empty bias among them if there is none."""
        if self.bias is None:
            first = (*first, _nothing_added(self.dtype.np))
        return partial(run, *first)


@cache
def _code(kernel, dtype: np.dtype, arrays: int = 4):
    return entry_point(kernel, (np.dtype(np.int64), 1), *[(dtype, 1)] * arrays)


def _tasks(kernel, dtype: np.dtype, parallel: bool, arrays: int = 4):
    return machine_code(kernel, parallel, (np.dtype(np.int64), 1), *[(dtype, 1)] * arrays)


@cache
def _nothing_added(dtype: np.dtype) -> np.ndarray:
    return np.empty(0, dtype)


def _lines(own: Layout, lines: int | None, depth: int, stack: list[int]) -> _Lines:
    """Lines along axis `lines` (None for a vector, which is one) with entries along `depth`."""
    step = 1 if lines is None or own.shape[lines] == 1 else own.strides[lines]
    stride = 1 if own.shape[depth] == 1 else own.strides[depth]
    return _Lines(own.offset, step, stride, stack)


def product(a: Layout, b: Layout, ta: bool = False, tb: bool = False,
            bias: Layout | None = None) -> Plan:
    """A B for stacks of matrices of one shape, plus a vector; A is given transposed if `ta`."""
    return _plan(*_shaped(a, b, ta, tb, bias))


def added_product(a: Layout, b: Layout, ta: bool, tb: bool) -> Plan | None:
    """A B added to the output, with the bits of adding it afterwards; None where that is no faster."""
    p, shape = _shaped(a, b, ta, tb, None)
    if p.device is not CPU or p.dtype.category != 2 or p.matrices == 0:
        return None
    if min(p.m, p.n) <= 4 or not 0 < p.k <= _KC:
        return None
    out = layout(p.dtype, shape)
    return Plan(_in_tiles(p._replace(adds=True)), out, out.numel, p.dtype.np)


def _shaped(a: Layout, b: Layout, ta: bool, tb: bool,
            bias: Layout | None) -> tuple[_Product, tuple[int, ...]]:
    """A product of operands of these layouts, and the shape of its result."""
    rows, inner = (-1, -2) if ta else (-2, -1)
    columns, other = (-2, -1) if tb else (-1, -2)
    m, k, n = a.shape[rows], a.shape[inner], b.shape[columns]
    sizes, (a_stack, b_stack) = collapse(a.shape[:-2], [a.strides[:-2], b.strides[:-2]])
    first, second = _lines(a, rows, inner, a_stack), _lines(b, columns, other, b_stack)
    shape = (*a.shape[:-2], m, n)
    if b_stack == [0] and a_stack == [m * first.step]:
        # One B for all: the rows of the whole stack are those of one matrix.
        m, sizes = m * sizes[0], [1]
        first, second = first._replace(stack=[0]), second._replace(stack=[0])
    return _Product(a.dtype, sizes, m, n, k, first, second, bias, device=common(a, b, bias)), shape


def matvec(a: Layout, v: Layout, ta: bool = False) -> Plan:
    """A v for a matrix, given transposed if `ta`, and a vector."""
    rows, inner = (1, 0) if ta else (0, 1)
    first, second = _lines(a, rows, inner, [0]), _lines(v, None, 0, [0])
    m, k = a.shape[rows], a.shape[inner]
    return _plan(_Product(a.dtype, [1], m, 1, k, first, second, device=common(a, v)), (m,))


def dot(a: Layout, b: Layout) -> Plan:
    """The sum of the products of two vectors."""
    first, second = _lines(a, None, 0, [0]), _lines(b, None, 0, [0])
    return _plan(_Product(a.dtype, [1], 1, 1, a.numel, first, second, device=common(a, b)), ())


def outer(a: Layout, b: Layout) -> Plan:
    """All products of two vectors of floating point numbers."""
    (m,), (n,) = a.shape, b.shape
    out = layout(a.dtype, (m, n), device=common(a, b))
    x, y = _lines(a, None, 0, [0]), _lines(b, None, 0, [0])
    if out.device is not CPU:
        x, y = (v._replace(step=v.stride, stride=1) for v in (x, y))  # lines of one entry
        p = _Product(a.dtype, [1], m, n, 1, x, y, device=out.device)
        return Plan(_on_cuda(p) if out.numel else _nothing, out, out.numel, a.dtype.storage)
    gaps = y.stride != 1
    table = np.array([m, n, x.offset, x.stride, 0 if gaps else y.offset], np.int64)

    def make(parallel: bool):
        run = partial(_code(vectors.outer[parallel], a.dtype.np, 3), table)
        return _without_gaps(run, y, n) if gaps else run

    run = either(out.numel // _BY_VECTOR, make) if out.numel else _nothing
    return Plan(run, out, out.numel, a.dtype.np)


def _on_cuda(p: _Product) -> Callable[..., None]:
    from nbgrad.kernels.cuda import matmul
    return matmul.launch(p)


def _plan(p: _Product, shape: tuple[int, ...]) -> Plan:
    out = layout(p.dtype, shape, device=p.device)
    if out.numel == 0:
        run = _nothing
    elif p.device is not CPU:
        run = _on_cuda(p)
    elif p.k == 0:
        run = _only_bias(p)
    elif p.dtype.category != 2:
        run = _integers(p)
    else:
        run = (_with_vector(p) if 1 in (p.m, p.n) else None) or _in_tiles(p)
    return Plan(run, out, out.numel, p.dtype.np if p.device is CPU else p.dtype.storage)


def _nothing(*args) -> None:
    """The launch over no elements."""


def _only_bias(p: _Product) -> Callable[..., None]:
    def run(*args) -> None:
        *bias, out, _, _ = args
        rows = out.reshape(-1, p.n)
        rows[...] = bias[0][p.bias_at:p.bias_at + p.n] if bias else 0

    return run


def _integers(p: _Product) -> Callable[..., None]:
    table = p.table(p.matrices, p.m, p.n, p.k, p.a.step, p.a.stride, p.b.step, p.b.stride, p.bias_at)
    return p.bind(_code(tiled.integers, p.dtype.np), table)


def _exchanged(run: Callable) -> Callable:
    """The launch with its last two operands in the other order."""
    return lambda *args: run(*args[:-2], args[-1], args[-2])


def _without_gaps(run: Callable, x: _Lines, k: int) -> Callable:
    """The launch with the k numbers of its last operand, a vector with gaps, side by side."""
    def launch(*args) -> None:
        last = args[-1]
        size = last.itemsize
        view = np.ndarray((k,), last.dtype, last, x.offset * size, (x.stride * size,))
        run(*args[:-1], view.copy())

    return launch


def _with_vector(p: _Product) -> Callable | None:
    """The launch of a product with one row or one column; None if the matrix has only gaps."""
    columns = p.n == 1 and (p.m > 1 or p.a.stride == 1)
    own = p if columns else p.turned()  # then A is the matrix, by lines, and B the vectors
    w, x, bias_step = own.a, own.b, 0 if columns else 1
    gaps = w.stride == 1 and x.stride != 1 and own.matrices == 1
    if w.stride == 1 and (x.stride == 1 or gaps):
        own = own._replace(b=x._replace(offset=0)) if gaps else own
        table = own.table(own.matrices, own.m, p.k, w.step, p.bias_at, bias_step)
        kernels = vectors.dots
    elif w.step == 1:
        gaps = False
        table = own.table(own.matrices, own.m, p.k, w.stride, x.stride, p.bias_at, bias_step)
        kernels = vectors.sums
    else:
        return None

    def make(parallel: bool) -> Callable:
        run = own.bind(_code(kernels[parallel], p.dtype.np), table)
        run = _without_gaps(run, x, p.k) if gaps else run
        return run if columns else _exchanged(run)

    return either(own.matrices * own.m * p.k // _BY_VECTOR, make)


def _in_tiles(p: _Product) -> Callable[..., None]:
    # Columns must be contiguous. Where they are not, but rows are or are cheaper to make so,
    # compute the transposed product.
    work = p.m * p.k * (p.a.step != 1) + 2 * p.m * p.n
    turn = p.b.step != 1 and p.m > 1 and work < p.n * p.k
    own = p.turned() if turn else p
    work = (own.m * own.n * own.k + _EACH) * own.matrices // _IN_TILES

    def make(parallel: bool) -> Callable:
        run = _tiles(own, turn, parallel)
        return _exchanged(run) if turn else run

    return either(work, make)


def _tiles(p: _Product, turned: bool, parallel: bool) -> Callable[..., None]:
    m, n, k = p.m, p.n, p.k
    mr, nr = tile_shape(p.dtype.np)
    lane = nr // 2
    a_panel, b_panel = mr * p.a.step, nr
    pack_a = pack_b = None
    large = max(m, n) * k >= _LARGE and m >= 8 * mr
    if p.b.step != 1 or large:
        width = min(nr, -(-n // lane) * lane)
        b, pack_b = _packed(p, p.b, n, nr, width, parallel)
        p, b_panel = p._replace(b=b), width * k
    if large and n >= 16 * nr:
        width = -(-mr // lane) * lane
        a, pack_a = _packed(p, p.a, m, mr, width, parallel)
        p, a_panel = p._replace(a=a), width * k
    mc = mr if k <= _SHORT and n >= _WIDE else _MC * mr
    kc = _KC if m > 4 else _KC_THIN
    nc = _columns_per_task(m, n, mc, nr, p.matrices) if parallel else n
    blocks = -(-m // mc) * -(-n // nc)
    some = max(1, _SOME // (m * n * k)) if blocks == 1 else 1
    table = p.table(-(-p.matrices // some) * blocks, p.matrices, some, m, n, k,
                    a_panel, p.a.step, p.a.stride, b_panel, p.b.stride,
                    *((1, m) if turned else (n, 1)), mc, nc, kc, p.adds, p.bias_at,
                    pack_a is not None, pack_b is not None)
    multiply = p.bind(_tasks(tiled.multiply, p.dtype.np, parallel), table)
    if pack_b is None:
        return multiply
    if pack_a is None:
        return lambda *args: multiply(*args[:-1], pack_b(args[-1]))
    return lambda *args: multiply(*args[:-2], pack_a(args[-2]), pack_b(args[-1]))


def _columns_per_task(m: int, n: int, mc: int, nr: int, stack: int) -> int:
    """All of them, unless that leaves threads without work. Only a matter of speed."""
    pieces = 4 * get_num_threads() // (stack * -(-m // mc))
    return n if pieces <= 1 else max(nr, -(-n // pieces // nr) * nr)


def _packed(p: _Product, x: _Lines, lines: int, height: int, width: int,
            parallel: bool) -> tuple[_Lines, Callable]:
    """An operand in panels of `height` lines, and what makes them; a broadcast matrix only once."""
    own = [(size, step) for size, step in zip(p.sizes, x.stack) if step]
    sizes, steps = [s for s, _ in own] or [1], [s for _, s in own] or [0]
    source = _Product(p.dtype, sizes, 0, 0, 0, x._replace(stack=steps), x._replace(stack=steps))
    per = -(-lines // height)
    table = source.table(source.matrices * per, per, lines, p.k, x.step, x.stride, height, width)
    size = source.matrices * per * width * p.k + 64 // p.dtype.itemsize
    run = _tasks(tiled.pack, p.dtype.np, parallel, 2)

    def pack(storage: np.ndarray) -> np.ndarray:
        panels = empty(size, storage.dtype)
        run(table, panels, storage)
        return panels

    stack, distance = [], per * width * p.k
    for n, step in zip(reversed(p.sizes), reversed(x.stack)):
        stack.append(distance if step else 0)
        distance *= n if step else 1
    return _Lines(0, 1, width, stack[::-1]), pack
