"""Rows of planes in registers: the loops on rows of a depthwise convolution and of its gradients.

A register holds neighbouring columns. A row is read once, moved to every tap of a row of the
window, with zeros outside the plane; it goes into the sums of all rows that it meets, which stay in
registers until they are complete and make way for the next.

Three tuples say by their lengths, so that they are constants of a kernel, the side of the window,
the stride, and 1 + how many rows a register holds: none where rows are cut, and read again for
every tap; one, whose lanes move from tap to tap; or two, each in its half, from different planes.
The loops then take a Shape, how many planes there are from the first one on, the first column, and
arrays with the starts of two planes each.
"""

from typing import NamedTuple

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from nbgrad.kernels.cpu.simd import _lanes, _llvm, _splat, _target

_I32, _I64 = ir.IntType(32), ir.IntType(64)
#: Taps whose sums stay in registers together.
_SUMS = 21


class Shape(NamedTuple):
    """Row i of a plane of y meets rows stride * i - top + u of a plane of x, u < side; so columns."""

    planes: int  # of y
    channels: int  # of y
    repeat: int  # channels of y for one of x
    height: int  # of x
    width: int
    rows: int  # of y
    columns: int
    top: int
    left: int


class _Registers:
    """Writes loads, stores and sums of whole registers of one element type into a kernel."""

    def __init__(self, builder, t) -> None:
        self.builder, self.lanes, self.size = builder, _lanes(t), t.bitwidth // 8
        number = ir.FloatType() if t.bitwidth == 32 else ir.DoubleType()
        self.vector = ir.VectorType(number, self.lanes)
        self.zero = self.vector([0.0] * self.lanes)
        self.suffix = f"v{self.lanes}f{t.bitwidth}"

    def inside(self, first, places, limit):
        """The lanes for which 0 <= first + place < limit, from constant places."""
        places = ir.VectorType(_I32, self.lanes)(list(places))
        first, limit = (
            _splat(self.builder, self.builder.trunc(x, _I32), self.lanes) for x in (first, limit)
        )
        return self.builder.icmp_unsigned("<", self.builder.add(first, places), limit)

    def load(self, place, mask=None, rest=None):
        """The numbers from a place on; outside the mask those of `rest`, or zero."""
        place = self.builder.bitcast(place, self.vector.as_pointer())
        if mask is None:
            return self.builder.load(place, align=self.size)
        arguments = [place, _I32(self.size), mask, self.zero if rest is None else rest]
        return _llvm(self.builder, f"llvm.masked.load.{self.suffix}.p0", self.vector, arguments)

    def store(self, x, place, mask=None):
        """Write to a place, the lanes of the mask only."""
        place = self.builder.bitcast(place, self.vector.as_pointer())
        if mask is None:
            self.builder.store(x, place, align=self.size)
        else:
            name = f"llvm.masked.store.{self.suffix}.p0"
            _llvm(self.builder, name, ir.VoidType(), [x, place, _I32(self.size), mask])

    def prefetch(self, place):
        """Ask for a cache line in advance; the place need not exist."""
        arguments = [place, _I32(0), _I32(3), _I32(1)]
        _llvm(self.builder, "llvm.prefetch.p0", ir.VoidType(), arguments)

    def splat(self, x):
        """The number x in all lanes."""
        return _splat(self.builder, x, self.lanes)

    def pick(self, a, b, order):
        """These lanes of a and b, those of b counted after those of a."""
        return self.builder.shuffle_vector(a, b, ir.VectorType(_I32, self.lanes)(list(order)))

    def fma(self, a, b, c):
        """a * b + c."""
        if not _target().fma:
            return self.builder.fadd(self.builder.fmul(a, b), c)
        return _llvm(self.builder, f"llvm.fma.{self.suffix}", self.vector, [a, b, c])


class _Writer:
    """What the loops on rows share: constants, shape and registers, and the way to all of them."""

    def __init__(self, context, builder, sig, args) -> None:
        self.context, self.builder, self.sig, self.args = context, builder, sig, args
        self.side, self.stride, fit = (t.count for t in sig.args[:3])
        self.fit = fit - 1
        self.shape = Shape(*cgutils.unpack_tuple(builder, args[3]))
        self.count, self.first = args[4:6]
        self.registers = _Registers(builder, sig.args[6].dtype)
        self.run = self.registers.lanes // max(self.fit, 1)  # lanes of a row
        self.depth = -(-self.side // self.stride)
        self.centre = self.side // 2 // self.stride

    def planes(self, q):
        """Where the planes start that array argument q is about; the next argument says."""
        array = self.context.make_array(self.sig.args[q])(self.context, self.builder, self.args[q])
        starts = cgutils.unpack_tuple(self.builder, self.args[q + 1])[: max(self.fit, 1)]
        return [self.builder.gep(array.data, [start]) for start in starts]

    def scaled(self, x, factor, more):
        """x * factor - more."""
        return self.builder.sub(self.builder.mul(x, _I64(factor)), more)

    def both(self, numbers):
        """A register with the number of each plane in its lanes."""
        n = self.registers.lanes
        wide = [self.registers.splat(x) for x in numbers]
        return self.registers.pick(wide[0], wide[-1], [q // self.run * n for q in range(n)])

    def window(self, w, turned):
        """The weight, each number in a register; turned by half a circle if so."""
        builder, size = self.builder, self.side**2
        places = [builder.select(turned, _I64(size - 1 - q), _I64(q)) for q in range(size)]
        flat = [self.both([builder.load(builder.gep(start, [q])) for start in w]) for q in places]
        return [flat[u : u + self.side] for u in range(0, size, self.side)]

    def variables(self, count, value=None):
        """Registers that change."""
        found = [cgutils.alloca_once(self.builder, self.registers.vector) for _ in range(count)]
        for place in found:
            self.builder.store(self.registers.zero if value is None else value, place)
        return found

    def shift(self, line, step, value):
        """line[q] = line[q - step], or the value where there is none."""
        old = [self.builder.load(place) for place in line]
        for q, place in enumerate(line):
            self.builder.store(old[q - step] if 0 <= q - step < len(old) else value, place)

    def add(self, a, b, place):
        """place += sum of a * b."""
        total = self.builder.load(place)
        for x, y in zip(a, b):
            total = self.registers.fma(x, y, total)
        self.builder.store(total, place)

    def mask(self, first, places, width, live=None, stride=1):
        """The lanes whose columns first + place are in a row, and below `live` strides."""
        mask = self.registers.inside(first, places, width)
        if live is None:
            return mask
        limit = self.builder.mul(live, _I64(stride))
        return self.builder.and_(mask, self.registers.inside(_I64(0), places, limit))

    def below(self, x, limit):
        """A branch for 0 <= x < limit."""
        return self.builder.if_then(self.builder.icmp_unsigned("<", x, limit))

    def arrivals(self, i, begin=0, end=None):
        """The rows h of x that row i of y is the first to meet at a tap from begin to end, each with
        all (u, m): row i - m meets it at tap u."""
        top = self.builder.sub(self.shape.top, _I64(begin))
        base, end = self.scaled(i, self.stride, top), self.side if end is None else end
        for p in range(begin, min(begin + self.stride, end)):
            met = [(u, m) for m, u in enumerate(range(p, end, self.stride))]
            yield self.builder.add(base, _I64(p - begin)), met


class _Columns:
    """The columns from `first` on that registers hold, in rows of `width`; others are zero when
    loaded and not stored. With a stride of 2 there are two registers, of even and of odd ones."""

    def __init__(self, k, planes, width, first, stride=1, live=None) -> None:
        self.registers, self.width, self.stride = k.registers, width, stride
        builder, n, nowhere = k.builder, k.registers.lanes, 1 << 30
        if stride == 2:
            parts = [(q, 0) if k.fit == 2 else (0, q * n) for q in range(2)]
            places = [range(column, column + n) for _, column in parts]
        else:
            parts = [(q, -q * k.run) for q in range(n // k.run)]
            places = [[l + column if l // k.run == q else nowhere for l in range(n)]
                      for q, column in parts]
        self.parts = []
        for (q, column), own in zip(parts, places):
            exists = builder.icmp_signed("<", _I64(q), k.count)
            mask = k.mask(first, own, builder.select(exists, width, _I64(0)), live, stride)
            self.parts.append((builder.gep(planes[q], [first]), column, mask))

    def _row(self, i):
        builder = self.registers.builder
        offset = builder.mul(i, self.width)
        for plane, column, mask in self.parts:
            yield builder.gep(builder.gep(plane, [offset]), [_I64(column)]), mask

    def load(self, i):
        """The registers of row i."""
        n, found = self.registers.lanes, []
        if self.stride == 2:
            found = [self.registers.load(place, mask) for place, mask in self._row(i)]
            return [self.registers.pick(*found, range(b, 2 * n, 2)) for b in range(2)]
        x = None
        for place, mask in self._row(i):
            x = self.registers.load(place, mask, x)
        return [x]

    def store(self, found, i):
        """The converse."""
        n = self.registers.lanes
        if self.stride == 2:
            mixed = [q // 2 + q % 2 * n for q in range(2 * n)]
            found = [self.registers.pick(*found, mixed[q : q + n]) for q in (0, n)]
        for q, (place, mask) in enumerate(self._row(i)):
            self.registers.store(found[q % len(found)], place, mask)


def _foresight(k, planes, size, width, first, stride=1):
    """A function of a row that asks for what comes after its columns: more, or the next plane."""
    builder, n = k.builder, k.registers.lanes
    more = builder.icmp_signed("<", builder.add(k.first, _I64(n)), k.shape.columns)
    ahead = builder.select(more, builder.add(first, _I64(n * stride)), size)
    start = builder.gep(planes[0], [ahead])

    def ask(i):
        row = builder.gep(start, [builder.mul(i, width)])
        for q in range(stride if k.fit < 2 else 0):
            k.registers.prefetch(builder.gep(row, [_I64(q * n)]))

    return ask


def _taps(k, planes, height, width, first, steps, stride=1, live=None):
    """A function of a row: for each step t a register of the columns first + t + stride * lane."""
    builder, registers, n, run = k.builder, k.registers, k.registers.lanes, k.run
    ask = _foresight(k, planes, builder.mul(height, width), width, first, stride)
    if k.fit == 0:
        every = [_Columns(k, planes, width, builder.add(first, _I64(t)), stride, live)
                 for t in steps if t % stride == 0]

        def load(i):
            ask(i)
            return [x for columns in every for x in columns.load(i)][: len(steps)]

        return load
    # Every column of the plane is in the registers of the tap in the middle.
    middle = k.centre if steps[-1] > 0 else -k.centre
    whole = _Columns(k, planes, width, builder.add(first, _I64(middle * stride)), stride)
    moves = []
    for t in steps:
        order = [q - q % run + (q + t // stride - middle) % run for q in range(n)]
        columns = [q % run * stride for q in range(n)]
        mask = k.mask(builder.add(first, _I64(t)), columns, width, live, stride)
        moves.append((t % stride, order, mask))

    def load(i):
        ask(i)
        found = whole.load(i)
        moved = [registers.pick(found[b], found[b], order) for b, order, _ in moves]
        return [builder.select(mask, x, registers.zero) for x, (_, _, mask) in zip(moved, moves)]

    return load


_TWO = types.UniTuple(types.intp, 2)


@intrinsic
def gather(typingctx, side, stride, fit, shape, count, first, x, xo, w, wo, turned, bias, y, yo):
    """y[i, j] = bias + sum over u, v of w[u, v] * x[stride * i - top + u, stride * j - left + v]."""
    i, biases = types.intp, types.UniTuple(x.dtype, 2)

    def codegen(context, builder, sig, args):
        k = _Writer(context, builder, sig, args)
        shape = k.shape
        start = k.scaled(k.first, k.stride, shape.left)
        taps = _taps(k, k.planes(6), shape.height, shape.width, start, range(k.side), k.stride)
        out = _Columns(k, k.planes(12), shape.columns, k.first)
        window = k.window(k.planes(8), args[10])
        bias = k.both(cgutils.unpack_tuple(builder, args[11]))
        sums = k.variables(k.depth, bias)  # of rows i - m
        with cgutils.for_range(builder, builder.add(shape.rows, _I64(k.depth - 1))) as loop:
            for h, met in k.arrivals(loop.index):
                with k.below(h, shape.height):
                    found = taps(h)
                    for u, m in met:
                        k.add(found, window[u], sums[m])
            complete = builder.sub(loop.index, _I64(k.depth - 1))
            with k.below(complete, shape.rows):
                out.store([builder.load(sums[-1])], complete)
            k.shift(sums, 1, bias)
        return context.get_dummy_value()

    return types.void(
        side, stride, fit, shape, i, i, x, _TWO, w, _TWO, types.boolean, biases, y, _TWO
    ), codegen


@intrinsic
def scatter(typingctx, side, stride, fit, shape, count, first, gy, go, w, wo, gx, xo):
    """gx[h, c] = the sum of w[u, v] * gy[i, j] that meet there, from c = stride * first - left on."""
    i = types.intp

    def codegen(context, builder, sig, args):
        k = _Writer(context, builder, sig, args)
        shape = k.shape
        start = k.scaled(k.first, k.stride, shape.left)
        out = _Columns(k, k.planes(10), shape.width, start, k.stride)
        taps = _taps(k, k.planes(6), shape.rows, shape.columns, k.first, range(0, -k.depth, -1))
        window = k.window(k.planes(8), ir.IntType(1)(0))
        # sums[b][u]: of row stride * i - top + u, and of every stride-th column from b on.
        sums = [k.variables(k.side) for _ in range(k.stride)]
        reach = builder.add(builder.add(shape.height, shape.top), _I64(k.stride - 1))
        with cgutils.for_range(builder, builder.sdiv(reach, _I64(k.stride))) as loop:
            with k.below(loop.index, shape.rows):
                found = taps(loop.index)
                for b, line in enumerate(sums):
                    for u, place in enumerate(line):
                        k.add(found, window[u][b :: k.stride], place)
            for p, (h, _) in enumerate(k.arrivals(loop.index)):
                with k.below(h, shape.height):
                    out.store([builder.load(line[p]) for line in sums], h)
            for line in sums:
                k.shift(line, -k.stride, k.registers.zero)
        return context.get_dummy_value()

    return types.void(side, stride, fit, shape, i, i, gy, _TWO, w, _TWO, gx, _TWO), codegen


def _correlate_rows(k, taps, gy, ask, places, begin, end):
    """The rows of taps from begin to end, into sums that are kept at these places."""
    builder, depth = k.builder, -(-(end - begin) // k.stride)
    sums, rows = k.variables(len(places)), k.variables(depth)  # rows i - m of gy
    for s, place in zip(sums, places):
        builder.store(k.registers.load(place), s)
    with cgutils.for_range(builder, builder.add(k.shape.rows, _I64(depth - 1))) as loop:
        with k.below(loop.index, k.shape.rows):
            ask(loop.index)
            builder.store(gy.load(loop.index)[0], rows[0])
        for h, met in k.arrivals(loop.index, begin, end):
            with k.below(h, k.shape.height):
                found = taps(h)
                for u, m in met:
                    with k.below(builder.sub(loop.index, _I64(m)), k.shape.rows):
                        g = builder.load(rows[m])
                        for tap, s in zip(found, sums[(u - begin) * k.side :]):
                            k.add([tap], [g], s)
        k.shift(rows, 1, k.registers.zero)
    for s, place in zip(sums, places):
        k.registers.store(builder.load(s), place)


@intrinsic
def correlate(typingctx, side, stride, fit, shape, count, first, x, xo, gy, go, sums, so):
    """sums[u, v, lane] += sum over i of gy[i, j] * x[stride * i - top + u, stride * j - left + v]."""
    i = types.intp

    def codegen(context, builder, sig, args):
        k = _Writer(context, builder, sig, args)
        shape, n, gy = k.shape, k.registers.lanes, k.planes(8)
        start, live = k.scaled(k.first, k.stride, shape.left), builder.sub(shape.columns, k.first)
        every = range(k.side)
        taps = _taps(k, k.planes(6), shape.height, shape.width, start, every, k.stride, live)
        size = builder.mul(shape.rows, shape.columns)
        ask = _foresight(k, gy, size, shape.columns, k.first)
        columns = _Columns(k, gy, shape.columns, k.first)
        data = context.make_array(sig.args[10])(context, builder, args[10]).data
        places = [builder.gep(data, [builder.add(args[11], _I64(q * n))]) for q in range(k.side**2)]
        # Rows of taps whose sums do not fit into registers together are taken one after another.
        some = max(q for q in range(1, k.side + 1) if q * k.side <= _SUMS)
        for begin in range(0, k.side, some):
            end = min(begin + some, k.side)
            kept = places[begin * k.side : end * k.side]
            _correlate_rows(k, taps, columns, ask, kept, begin, end)
        return context.get_dummy_value()

    return types.void(side, stride, fit, shape, i, i, x, _TWO, gy, _TWO, sums, i), codegen


@intrinsic
def fold(typingctx, side, fit, sums, so, total, to):
    """total[q * parts + p] += the sum of part p of the lanes of register q of sums, then cleared."""
    i = types.intp

    def codegen(context, builder, sig, args):
        taps, parts = sig.args[0].count ** 2, max(sig.args[1].count - 1, 1)
        registers = _Registers(builder, sig.args[2].dtype)
        n, wide = registers.lanes, ir.VectorType(ir.DoubleType(), registers.lanes)
        sums, total = (
            builder.gep(context.make_array(sig.args[q])(context, builder, args[q]).data, [args[q + 1]])
            for q in (2, 4)
        )
        places = [builder.gep(sums, [_I64(q * n)]) for q in range(taps)]
        found = [registers.load(place) for place in places]
        for place in places:
            registers.store(registers.zero, place)
        # The halves of every part are added; two registers of parts fill one of halves, in order.
        size = n // parts
        while size > 1:
            low = [q for q in range(2 * n) if q % size < size // 2]
            high = [q + size // 2 for q in low]
            pairs = zip(found[::2], [*found[1::2], registers.zero])
            found = [builder.fadd(registers.pick(*pair, low), registers.pick(*pair, high))
                     for pair in pairs]
            size //= 2
        for q, x in enumerate(found):
            place = builder.bitcast(builder.gep(total, [_I64(q * n)]), wide.as_pointer())
            x = builder.fpext(x, wide) if registers.size == 4 else x
            builder.store(builder.fadd(builder.load(place, align=8), x), place, align=8)
        return context.get_dummy_value()

    return types.void(side, fit, sums, i, total, i), codegen


