"""Vector building blocks for hand-written CPU kernels: a register tile of C += A . B, and scratch.

All of it is called from inside compiled kernels, takes arrays as storage plus an offset counted in
elements, and adapts to the CPU that Numba compiles for. A kernel lays out its operands in panels
and asks for one tile of the product at a time:

    mr, nr = tile_rows(c), tile_columns(c)      # constants of the target; tile_shape(dtype) outside
    tile(k, a, ao, a_step, row_stride, b, bo, b_step, c, co, ldc, rows, columns, accumulate)

        C[i, j] (+)= sum over p < k of A[p, i] * B[p, j],    i < rows <= mr,  j < columns <= nr
        A[p, i] = a[ao + p * a_step + i * row_stride]
        B[p, j] = b[bo + p * b_step + j]
        C[i, j] = c[co + i * ldc + j]

A step may be an array of int64 offsets instead (p * step becomes step[p]), which reads the windows
of a convolution in place. Without `accumulate` the old C is ignored, NaN and all. There are two
kinds of tile, chosen by the spelling of row_stride:

    a literal (1 for packed panels): fastest. Up to mr rows of A and nr columns of B are read
        whatever `rows` and `columns` say, so panels are padded, with zeros rather than noise,
        because denormal numbers are slow. C is touched inside rows x columns only.
    a variable: for operands left where they are. Nothing outside rows x columns is read.

Every element of C is a chain of the same k operations in either kind and at any place in a tile, so
how C is cut into tiles never changes its bits. Vectors of B that cross cache lines cost a second
read: start packed panels at a 64-byte boundary (`aligned`).
"""

import re
from functools import cache
from typing import NamedTuple

import llvmlite.binding as llvm
import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.registry import cpu_target
from numba.extending import intrinsic
from numba.np.arrayobj import populate_array

from nbgrad.kernels.options import inline

_I1, _I32, _I64 = ir.IntType(1), ir.IntType(32), ir.IntType(64)
_ALIGNMENT = 64
#: Rows of a tile between the smallest and the largest: many channels are multiples of eight.
EIGHT = 8
#: Partial results kept side by side: four registers of float32 at the widest.
LANES = 64


class _Target(NamedTuple):
    """What the tile is shaped by."""

    register_bytes: int
    rows: int
    fma: bool


@cache
def _target() -> _Target:
    # Features may be named or implied by the CPU's name: compile something and read the assembly.
    probe = llvm.parse_assembly("""
        define <16 x float> @probe(<16 x float> %a, <16 x float> %b, <16 x float> %c) {
            %d = fmul contract <16 x float> %a, %b
            %e = fadd contract <16 x float> %d, %c
            ret <16 x float> %e
        }""")
    code = cpu_target.target_context.codegen()._tm.emit_assembly(probe)
    fma = re.search(r"\b(vfmadd|fmla)", code) is not None
    if "zmm" in code:
        return _Target(64, 14, fma)
    if "ymm" in code:
        return _Target(32, 6, fma)
    return _Target(16, 4, fma)


@cache
def tile_shape(dtype) -> tuple[int, int]:
    """Rows and columns of the largest tile for a dtype: its panels are this wide."""
    return _target().rows, 2 * _target().register_bytes // np.dtype(dtype).itemsize


def _lanes(t) -> int:
    return _target().register_bytes * 8 // t.bitwidth


def _constant(value):
    @intrinsic
    def constant(typingctx, like):
        def codegen(context, builder, sig, args):
            return context.get_constant(types.intp, value(sig.args[0].dtype))

        return types.intp(like), codegen

    return constant


lanes = _constant(_lanes)
tile_rows = _constant(lambda t: _target().rows)
tile_columns = _constant(lambda t: 2 * _lanes(t))


def _place(context, builder, array_type, array, offset):
    return builder.gep(context.make_array(array_type)(context, builder, array).data, [offset])


def _llvm(builder, name: str, result, arguments):
    """Call an LLVM intrinsic by its full name."""
    signature = ir.FunctionType(result, [x.type for x in arguments])
    function = cgutils.get_or_insert_function(builder.module, signature, name)
    return builder.call(function, arguments)


def _masked_load(builder, place, mask, zero, size):
    suffix = f"v{zero.type.count}f{8 * size}.p0"
    return _llvm(builder, f"llvm.masked.load.{suffix}", zero.type, [place, _I32(size), mask, zero])


def _splat(builder, x, n):
    vector = ir.VectorType(x.type, n)
    empty, zeros = vector(ir.Undefined), ir.VectorType(_I32, n)([0] * n)
    return builder.shuffle_vector(builder.insert_element(empty, x, _I32(0)), empty, zeros)


def _lanes_below(builder, limit, n, start):
    """A mask of the n indices from `start` that are less than `limit`."""
    indices = ir.VectorType(_I64, n)(list(range(start, start + n)))
    return builder.icmp_signed("<", indices, _splat(builder, limit, n))


def lanes_below(builder, limit, n, start=0):
    """For codegen: a mask of the n indices from `start` that are less than `limit`."""
    return _lanes_below(builder, limit, n, start)


def vector_at(context, builder, array_type, array, offset):
    """For codegen: the place of the register of numbers of an array from `offset`."""
    place = _place(context, builder, array_type, array, offset)
    number = context.get_data_type(array_type.dtype)
    return builder.bitcast(place, ir.VectorType(number, _lanes(array_type.dtype)).as_pointer())


def masked_load(builder, place, mask, zero, size):
    """For codegen: the numbers of a register that a mask names, and zeros."""
    return _masked_load(builder, place, mask, zero, size)


def register_count() -> int:
    """How many vector registers there are."""
    return 32 if _target().register_bytes == 64 else 16


def masked_store(builder, x, place, mask, size):
    """For codegen: store the numbers of a register, of `size` bytes each, that a mask names."""
    name = f"llvm.masked.store.v{x.type.count}f{8 * size}.p0"
    _llvm(builder, name, ir.VoidType(), [x, place, _I32(size), mask])


class _Tile:
    """Writes the LLVM functions behind `tile` for one element type and way of addressing.

    Accumulators stay in registers over the whole loop on k. Variants with fewer rows, or with one
    register of columns instead of two, serve the edges of a matrix.
    """

    def __init__(self, module, t, row_stride: int | None, a_table: bool, b_table: bool) -> None:
        self.module, self.row_stride, self.tables = module, row_stride, (a_table, b_table)
        self.lanes, self.bytes = _lanes(t), t.bitwidth // 8
        self.number = ir.FloatType() if t.bitwidth == 32 else ir.DoubleType()
        self.vector = ir.VectorType(self.number, self.lanes)
        self.zero = self.vector([0.0] * self.lanes)
        self.suffix = f"v{self.lanes}f{t.bitwidth}"
        self.name = f"nbgrad_tile_{t}_{row_stride}_{a_table:d}{b_table:d}"

    def function(self, name: str):
        """A new function and, by name, its arguments."""
        pointer = self.number.as_pointer()
        a_step, b_step = (_I64.as_pointer() if table else _I64 for table in self.tables)
        fields = {
            "k": _I64, "a": pointer, "a_step": a_step, "row_stride": _I64, "b": pointer,
            "b_step": b_step, "c": pointer, "ldc": _I64, "rows": _I64, "columns": _I64,
            "accumulate": _I1,
        }  # fmt: skip
        function = ir.Function(self.module, ir.FunctionType(ir.VoidType(), fields.values()), name)
        function.linkage = "internal"
        function.attributes.add("noinline")
        function.attributes.add("nounwind")
        return function, dict(zip(fields, function.args))

    def dispatch(self):
        """The function that picks the smallest variants covering rows x columns."""
        if self.name in self.module.globals:
            return self.module.globals[self.name]
        function, x = self.function(self.name)
        builder = ir.IRBuilder(function.append_basic_block())
        narrow = builder.icmp_signed("<=", x["columns"], _I64(self.lanes))
        full = _target().rows
        for height in (-(-full // 4), EIGHT if full > EIGHT else -(-full // 2), full):
            with builder.if_then(builder.icmp_signed("<=", x["rows"], _I64(height))):
                wide, slim = self.variant(height, 2), self.variant(height, 1)
                with builder.if_then(narrow):
                    builder.call(slim, x.values())
                    builder.ret_void()
                if self.row_stride is None:
                    whole = builder.icmp_signed("==", x["columns"], _I64(2 * self.lanes))
                    with builder.if_then(builder.not_(whole)):
                        # Only slim variants mask their reads of B.
                        first = x | {"columns": _I64(self.lanes)}
                        builder.call(slim, first.values())
                        rest = {name: builder.gep(x[name], [_I64(self.lanes)]) for name in "bc"}
                        rest["columns"] = builder.sub(x["columns"], _I64(self.lanes))
                        builder.call(slim, (x | rest).values())
                        builder.ret_void()
                builder.call(wide, x.values())
                builder.ret_void()
        builder.ret_void()
        return function

    def variant(self, height: int, width: int):
        """The function for up to `height` rows and `width` registers of columns."""
        function, x = self.function(f"{self.name}_{height}x{width}")
        builder = ir.IRBuilder(function.append_basic_block())
        rows, columns = x["rows"], x["columns"]
        masks = [_lanes_below(builder, columns, self.lanes, j * self.lanes) for j in range(width)]
        sums = self.loop(builder, x, height, width, masks)
        corners = []
        for i in range(height):
            row = builder.gep(x["c"], [builder.mul(x["ldc"], _I64(i))])
            corners.append([self.column(builder, row, j) for j in range(width)])
        whole = builder.and_(
            builder.icmp_signed("==", rows, _I64(height)),
            builder.icmp_signed("==", columns, _I64(width * self.lanes)),
        )
        with builder.if_else(whole) as (inside, edge):
            with inside, builder.if_else(x["accumulate"]) as (add, replace):
                with add:
                    self.store(builder, sums, corners, add=True)
                with replace:
                    self.store(builder, sums, corners, add=False)
            with edge:
                self.store_masked(builder, x, sums, masks)
        builder.ret_void()
        return function

    def loop(self, builder, x, height, width, masks):
        """The accumulators [height][width] after the loop on p."""
        rows = self.row_offsets(builder, x, height)
        entry = builder.block
        loop, done = builder.append_basic_block("loop"), builder.append_basic_block("done")
        builder.cbranch(builder.icmp_signed(">", x["k"], _I64(0)), loop, done)

        builder.position_at_end(loop)
        p = builder.phi(_I64)
        sums = [[builder.phi(self.vector) for _ in range(width)] for _ in range(height)]
        a, advance_a = self.walk(builder, p, entry, x["a"], x["a_step"])
        b, advance_b = self.walk(builder, p, entry, x["b"], x["b_step"])
        if self.row_stride is None and width == 1:
            columns = [self.load_masked(builder, b, masks[0])]
        else:
            columns = [self.load(builder, self.column(builder, b, j)) for j in range(width)]
        new = []
        for row, line in zip(rows, sums):
            number = builder.load(builder.gep(a, [row]), align=self.bytes)
            number = _splat(builder, number, self.lanes)
            new.append([self.fma(builder, number, y, z) for y, z in zip(columns, line)])
        advance_a()
        advance_b()
        following = builder.add(p, _I64(1))
        p.add_incoming(_I64(0), entry)
        p.add_incoming(following, loop)
        builder.cbranch(builder.icmp_signed("<", following, x["k"]), loop, done)

        builder.position_at_end(done)
        result = [[builder.phi(self.vector) for _ in range(width)] for _ in range(height)]
        for i in range(height):
            for j in range(width):
                for phi in (sums[i][j], result[i][j]):
                    phi.add_incoming(self.zero, entry)
                    phi.add_incoming(new[i][j], loop)
        return result

    def row_offsets(self, builder, x, height):
        if self.row_stride is not None:
            return [_I64(i * self.row_stride) for i in range(height)]
        # Rows past the last one repeat it, and are never stored.
        last, offsets = builder.sub(x["rows"], _I64(1)), []
        for i in range(height):
            inside = builder.icmp_signed("<", _I64(i), last)
            offsets.append(builder.mul(builder.select(inside, _I64(i), last), x["row_stride"]))
        return offsets

    def walk(self, builder, p, entry, base, step):
        """The place of row p of a panel, and how to close its loop."""
        if step.type != _I64:
            return builder.gep(base, [builder.load(builder.gep(step, [p]))]), lambda: None
        place = builder.phi(base.type)
        place.add_incoming(base, entry)
        return place, lambda: place.add_incoming(builder.gep(place, [step]), builder.block)

    def fma(self, builder, a, b, c):
        if not _target().fma:
            return builder.fadd(builder.fmul(a, b), c)
        return _llvm(builder, f"llvm.fma.{self.suffix}", self.vector, [a, b, c])

    def column(self, builder, row, j):
        return builder.gep(row, [_I64(j * self.lanes)])

    def as_vector(self, builder, place):
        return builder.bitcast(place, self.vector.as_pointer())

    def load(self, builder, place):
        return builder.load(self.as_vector(builder, place), align=self.bytes)

    def load_masked(self, builder, place, mask):
        return _masked_load(builder, self.as_vector(builder, place), mask, self.zero, self.bytes)

    def store(self, builder, sums, corners, add):
        for line, places in zip(sums, corners):
            for x, place in zip(line, places):
                x = builder.fadd(self.load(builder, place), x) if add else x
                builder.store(x, self.as_vector(builder, place), align=self.bytes)

    def store_masked(self, builder, x, sums, masks):
        """As `store` inside rows x columns only: loops over rows that lie in memory, for short code.

        All of the old C is read first: a masked store holds up reads of a register's width after it.
        """
        flat = [z for line in sums for z in line]
        kept = cgutils.alloca_once(builder, self.vector, size=len(flat))
        for i, z in enumerate(flat):
            builder.store(z, builder.gep(kept, [_I64(i)]))

        def each():
            with cgutils.for_range(builder, x["rows"]) as row:
                start = builder.gep(x["c"], [builder.mul(x["ldc"], row.index)])
                for j, mask in enumerate(masks):
                    i = builder.add(builder.mul(row.index, _I64(len(masks))), _I64(j))
                    place = self.as_vector(builder, self.column(builder, start, j))
                    yield builder.gep(kept, [i]), place, mask

        with builder.if_then(x["accumulate"]):
            for own, place, mask in each():
                old = _masked_load(builder, place, mask, self.zero, self.bytes)
                builder.store(builder.fadd(old, builder.load(own)), own)
        for own, place, mask in each():
            arguments = [builder.load(own), place, _I32(self.bytes), mask]
            _llvm(builder, f"llvm.masked.store.{self.suffix}.p0", ir.VoidType(), arguments)


@intrinsic(prefer_literal=True)
def tile(
    typingctx, k, a, ao, a_step, row_stride, b, bo, b_step, c, co, ldc, rows, columns, accumulate
):
    """C (+)= A . B for one register tile; see the top of this file."""

    def step(x):
        return x if isinstance(x, types.Array) else types.intp

    i = types.intp
    signature = types.void(
        i, a, i, step(a_step), i, b, i, step(b_step), c, i, i, i, i, types.boolean
    )
    literal = row_stride.literal_value if isinstance(row_stride, types.IntegerLiteral) else None

    def codegen(context, builder, sig, args):
        def table(q):
            if not isinstance(sig.args[q], types.Array):
                return args[q]
            return _place(context, builder, sig.args[q], args[q], _I64(0))

        def place(q):
            return _place(context, builder, sig.args[q], args[q], args[q + 1])

        tables = [isinstance(sig.args[q], types.Array) for q in (3, 7)]
        writer = _Tile(builder.module, sig.args[8].dtype, literal, *tables)
        accumulate = context.cast(builder, args[13], types.boolean, types.boolean)
        builder.call(
            writer.dispatch(),
            [args[0], place(1), table(3), args[4], place(5), table(7), place(8), *args[10:13],
             accumulate],
        )  # fmt: skip
        return context.get_dummy_value()

    return signature, codegen


@intrinsic
def transpose(typingctx, x, xo, x_stride, rows, y, yo, y_stride):
    """y[yo + j * y_stride + i] = x[xo + i * x_stride + j], i, j < lanes; repeats row rows - 1."""

    def codegen(context, builder, sig, args):
        x, xo, x_stride, rows, y, yo, y_stride = args
        n = _lanes(sig.args[0].dtype)
        vector = ir.VectorType(context.get_data_type(sig.args[0].dtype), n)
        size = sig.args[0].dtype.bitwidth // 8
        x = _place(context, builder, sig.args[0], x, xo)
        y = _place(context, builder, sig.args[4], y, yo)

        def line(start, i, stride):
            place = builder.gep(start, [builder.mul(i, stride)])
            return builder.bitcast(place, vector.as_pointer())

        last = builder.sub(rows, _I64(1))
        block = []
        for i in range(n):
            row = builder.select(builder.icmp_signed("<", _I64(i), last), _I64(i), last)
            block.append(builder.load(line(x, row, x_stride), align=size))
        # Interleaving the halves of the list log2(n) times turns rows into columns.
        merged = range(2 * n)
        low, high = ([merged[q // 2 + (q % 2) * n + h] for q in range(n)] for h in (0, n // 2))
        for _ in range(n.bit_length() - 1):
            block = [
                builder.shuffle_vector(above, below, ir.VectorType(_I32, n)(order))
                for above, below in zip(block[: n // 2], block[n // 2 :])
                for order in (low, high)
            ]
        for j in range(n):
            builder.store(block[j], line(y, _I64(j), y_stride), align=size)
        return context.get_dummy_value()

    i = types.intp
    return types.void(x, i, i, i, y, i, i), codegen


def _from_to(context, builder, sig, args):
    """For (x, xo, count, y, yo): registers at x[xo] and y[yo], the count and what loads so many of
    the first, zeros after them; numbers in a register and bytes in a number."""
    x, xo, count, y, yo = args
    n, size = _lanes(sig.args[0].dtype), sig.args[0].dtype.bitwidth // 8
    vector = ir.VectorType(context.get_data_type(sig.args[0].dtype), n)
    x = _place(context, builder, sig.args[0], x, xo)
    y = _place(context, builder, sig.args[3], y, yo)
    x, y = (builder.bitcast(place, vector.as_pointer()) for place in (x, y))
    inside = _lanes_below(builder, count, n, 0)

    def some():
        return _masked_load(builder, x, inside, vector([0.0] * n), size)

    return x, y, count, some, n, size


@intrinsic
def copy_lanes(typingctx, x, xo, count, y, yo):
    """y[yo : yo + lanes] = the first `count` numbers from x[xo], then zeros."""

    def codegen(context, builder, sig, args):
        x, y, count, some, n, size = _from_to(context, builder, sig, args)
        with builder.if_else(builder.icmp_signed(">=", count, _I64(n))) as (whole, part):
            with whole:
                builder.store(builder.load(x, align=size), y, align=size)
            with part:
                builder.store(some(), y, align=size)
        return context.get_dummy_value()

    i = types.intp
    return types.void(x, i, i, y, i), codegen


@intrinsic
def add_lanes(typingctx, x, xo, count, y, yo):
    """y[yo : yo + lanes] += the first `count` numbers from x[xo], then zeros."""

    def codegen(context, builder, sig, args):
        _, y, _, some, _, size = _from_to(context, builder, sig, args)
        builder.store(builder.fadd(builder.load(y, align=size), some()), y, align=size)
        return context.get_dummy_value()

    i = types.intp
    return types.void(x, i, i, y, i), codegen


def ask(builder, place):
    """For codegen: ask for the cache line of a place in advance; it may lie outside."""
    _llvm(builder, "llvm.prefetch.p0", ir.VoidType(), [place, _I32(0), _I32(3), _I32(1)])


@intrinsic
def prefetch(typingctx, x, i):
    """Ask for the cache line of x[i] in advance; i may lie outside."""

    def codegen(context, builder, sig, args):
        ask(builder, _place(context, builder, sig.args[0], *args))
        return context.get_dummy_value()

    return types.void(x, types.intp), codegen


@intrinsic
def wide_vectors(typingctx):
    """Let the loops of the calling kernel use 512-bit registers where LLVM prefers 256."""

    def codegen(context, builder, sig, args):
        set.add(builder.function.attributes, '"prefer-vector-width"="512"')
        return context.get_dummy_value()

    return types.void(), codegen


def _on_stack(count, words):
    """An intrinsic that makes a 1-d array on the stack, of `count(dtype)` numbers."""

    @intrinsic
    def stack(typingctx, like):
        result = types.Array(like.dtype, 1, "C")

        def codegen(context, builder, sig, args):
            n, number = count(like.dtype), context.get_data_type(like.dtype)
            block = cgutils.alloca_once(builder, ir.ArrayType(number, n))
            block.align = _ALIGNMENT
            array = context.make_array(result)(context, builder)
            size = _I64(context.get_abi_sizeof(number))
            populate_array(
                array,
                data=builder.bitcast(block, array.data.type),
                shape=[_I64(n)],
                strides=[size],
                itemsize=size,
                meminfo=None,
            )
            return array._getvalue()

        return result(like), codegen

    stack.__doc__ = f"A 1-d array of {words} of the dtype of an array, or of a dtype; do not return it."
    return stack


stack_tile = _on_stack(lambda t: _target().rows * 2 * _lanes(t), "tile_rows * tile_columns numbers")
stack_lanes = _on_stack(lambda t: LANES, "LANES numbers")


@intrinsic
def aligned_start(typingctx, x):
    """The first index at which x lies on a 64-byte boundary."""

    def codegen(context, builder, sig, args):
        address = builder.ptrtoint(_place(context, builder, sig.args[0], args[0], _I64(0)), _I64)
        gap = builder.and_(builder.neg(address), _I64(_ALIGNMENT - 1))
        return builder.udiv(gap, _I64(sig.args[0].dtype.bitwidth // 8))

    return types.intp(x), codegen


@inline
def aligned(n, like):
    """A 1-d array of n uninitialised numbers on the heap that starts at a 64-byte boundary."""
    block = np.empty(n + _ALIGNMENT // like.itemsize, like.dtype)
    start = aligned_start(block)
    return block[start : start + n]
