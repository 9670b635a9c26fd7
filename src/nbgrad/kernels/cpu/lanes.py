"""LANES numbers side by side, as one value: what loops over rows keep in registers.

    whole = stop - (stop - start) % LANES
    lanes = splat(x, 0)
    for i in range(start, whole, LANES):
        lanes = lanes + load(x, i)
    lanes = lanes + load_some(x, whole, stop - whole)       # zeros beyond the end
    total = add_lanes(lanes)

Arithmetic and comparisons are those of NumPy, lane by lane; a number stands for LANES of itself. What
is added in which order is written down by this, so it is the same on every CPU, and nothing waits
for a vectoriser's decision. Arrays are contiguous, places count elements from the start.

What is called in a loop takes `elements(x)` rather than the array x, whose references would be counted
at every call, which costs more than a short row. It does not keep the memory alive: x must be an
argument of the kernel, or be used again after the loop.
"""

import operator

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.typing.templates import AbstractTemplate, infer_global, signature
from numba.extending import intrinsic, lower_builtin, models, overload, register_model

from nbgrad.kernels.cpu.maths import exp, pow
from nbgrad.kernels.cpu.simd import LANES, _target, stack_lanes
from nbgrad.kernels.options import folded

_I1, _I8, _I32, _I64 = (ir.IntType(n) for n in (1, 8, 32, 64))


class Lanes(types.Type):
    """The type of `count` numbers of a dtype; comparisons give booleans."""

    def __init__(self, dtype, count: int) -> None:
        self.dtype, self.count = dtype, count
        super().__init__(f"Lanes({dtype}, {count})")


@register_model(Lanes)
class _Model(models.PrimitiveModel):
    def __init__(self, manager, t) -> None:
        super().__init__(manager, t, ir.VectorType(manager.lookup(t.dtype).get_value_type(), t.count))


def _is_float(t) -> bool:
    return isinstance(t, types.Float)


def _spread(builder, number, n):
    vector = ir.VectorType(number.type, n)
    first = builder.insert_element(vector(ir.Undefined), number, _I32(0))
    return builder.shuffle_vector(first, vector(ir.Undefined), ir.VectorType(_I32, n)([0] * n))


def _as_lanes(context, builder, value, t, to):
    """A number, or lanes, as lanes of the type `to`."""
    if isinstance(t, Lanes):
        return value
    return _spread(builder, context.cast(builder, value, t, to.dtype), to.count)


def _operation(symbol, floats, integers, compares=False):
    """Make an operator work on lanes and lanes, or lanes and a number."""

    def typer(a, b):
        of = a if isinstance(a, Lanes) else b
        if not isinstance(of, Lanes) or (isinstance(a, Lanes) and isinstance(b, Lanes) and a != b):
            return None
        if not all(isinstance(t, (Lanes, types.Number, types.Boolean)) for t in (a, b)):
            return None
        return signature(Lanes(types.boolean, of.count) if compares else of, a, b)

    class Template(AbstractTemplate):
        def generic(self, args, kws):
            return typer(*args) if len(args) == 2 and not kws else None

    infer_global(symbol)(Template)

    def lower(context, builder, sig, args):
        of = sig.args[0] if isinstance(sig.args[0], Lanes) else sig.args[1]
        a, b = (_as_lanes(context, builder, v, t, of) for v, t in zip(args, sig.args))
        return (floats if _is_float(of.dtype) else integers)(builder, a, b)

    for pair in ((Lanes, Lanes), (Lanes, types.Number), (types.Number, Lanes)):
        lower_builtin(symbol, *pair)(lower)


_operation(operator.add, ir.IRBuilder.fadd, ir.IRBuilder.add)
_operation(operator.sub, ir.IRBuilder.fsub, ir.IRBuilder.sub)
_operation(operator.mul, ir.IRBuilder.fmul, ir.IRBuilder.mul)
for _symbol, _code in ((operator.lt, "<"), (operator.gt, ">")):
    _operation(_symbol, lambda b, x, y, c=_code: b.fcmp_ordered(c, x, y),
               lambda b, x, y, c=_code: b.icmp_signed(c, x, y), True)
_operation(operator.ne, lambda b, x, y: b.fcmp_unordered("!=", x, y),
           lambda b, x, y: b.icmp_signed("!=", x, y), True)


def _place(context, builder, t, array, at):
    if isinstance(t, types.Array):
        array = context.make_array(t)(context, builder, array).data
    return builder.gep(array, [at])


def _vector_at(context, builder, t, array, at, n):
    """A pointer to n elements of an array, and the bytes of one."""
    place = _place(context, builder, t, array, at)
    vector = ir.VectorType(place.type.pointee, n)
    return builder.bitcast(place, vector.as_pointer()), context.get_abi_sizeof(place.type.pointee)


def _below(builder, count, n):
    """A mask of the first `count` of n lanes."""
    indices = ir.VectorType(_I32, n)(list(range(n)))
    return builder.icmp_signed("<", indices, _spread(builder, builder.trunc(count, _I32), n))


def _masked(builder, verb, result, arguments, vector):
    kind = vector.element
    letter = {ir.FloatType(): "f32", ir.DoubleType(): "f64"}.get(kind) or f"i{kind.width}"
    name = f"llvm.masked.{verb}.v{vector.count}{letter}.p0"
    function = cgutils.get_or_insert_function(
        builder.module, ir.FunctionType(result, [a.type for a in arguments]), name)
    return builder.call(function, arguments)


def _has_masks(size: int) -> bool:
    """Whether the CPU loads and stores part of a register; else each lane would be a branch."""
    width = _target().register_bytes
    return width == 64 or (width == 32 and size >= 4)


def _copy(builder, to, place, count, size):
    """Copy `count` elements; the bytes of memory are moved as they are."""
    to, place = (builder.bitcast(p, _I8.as_pointer()) for p in (to, place))
    arguments = [to, place, builder.mul(count, _I64(size)), _I1(0)]
    function = cgutils.get_or_insert_function(
        builder.module, ir.FunctionType(ir.VoidType(), [a.type for a in arguments]),
        "llvm.memcpy.p0.p0.i64")
    builder.call(function, arguments)


def _load_part(builder, place, count, size):
    vector = place.type.pointee
    if _has_masks(size):
        mask = _below(builder, count, vector.count)
        return _masked(builder, "load", vector, [place, _I32(size), mask, vector(None)], vector)
    part = cgutils.alloca_once(builder, vector)
    builder.store(vector(None), part)
    _copy(builder, part, place, count, size)
    return builder.load(part)


def _store_part(builder, v, place, count, size):
    if _has_masks(size):
        mask = _below(builder, count, v.type.count)
        _masked(builder, "store", ir.VoidType(), [v, place, _I32(size), mask], v.type)
        return
    part = cgutils.alloca_once(builder, v.type)
    builder.store(v, part)
    _copy(builder, place, part, count, size)


def _unpacked(builder, value, dtype):
    """Elements as they lie in memory, where a boolean takes a byte, as values."""
    if dtype is types.boolean:
        return builder.icmp_unsigned("!=", value, value.type([0] * value.type.count))
    return value


@intrinsic
def elements(typingctx, x):
    """What functions of this file read and write in the place of an array, uncounted."""

    def codegen(context, builder, sig, args):
        return _place(context, builder, sig.args[0], args[0], _I64(0))

    return types.CPointer(x.dtype)(x), codegen


@intrinsic
def as_element(typingctx, like, number):
    """A number in the dtype of an array."""

    def codegen(context, builder, sig, args):
        return context.cast(builder, args[1], sig.args[1], sig.return_type)

    return like.dtype(like, number), codegen


@intrinsic
def load(typingctx, x, at):
    """x[at : at + LANES]."""

    def codegen(context, builder, sig, args):
        place, size = _vector_at(context, builder, sig.args[0], *args, LANES)
        return _unpacked(builder, builder.load(place, align=size), sig.args[0].dtype)

    return Lanes(x.dtype, LANES)(x, types.intp), codegen


@intrinsic
def load_some(typingctx, x, at, count):
    """x[at : at + count], then zeros; nothing beyond is read."""

    def codegen(context, builder, sig, args):
        place, size = _vector_at(context, builder, sig.args[0], *args[:2], LANES)
        return _unpacked(builder, _load_part(builder, place, args[2], size), sig.args[0].dtype)

    return Lanes(x.dtype, LANES)(x, types.intp, types.intp), codegen


@intrinsic
def store(typingctx, x, at, v):
    """x[at : at + LANES] = v."""

    def codegen(context, builder, sig, args):
        place, size = _vector_at(context, builder, sig.args[0], *args[:2], LANES)
        builder.store(args[2], place, align=size)
        return context.get_dummy_value()

    return types.void(x, types.intp, Lanes(x.dtype, LANES)), codegen


@intrinsic
def store_some(typingctx, x, at, v, count):
    """x[at : at + count] = the first `count` of v; nothing beyond is written."""

    def codegen(context, builder, sig, args):
        place, size = _vector_at(context, builder, sig.args[0], *args[:2], LANES)
        _store_part(builder, args[2], place, args[3], size)
        return context.get_dummy_value()

    return types.void(x, types.intp, Lanes(x.dtype, LANES), types.intp), codegen


@intrinsic
def move(typingctx, y, to, x, start, count):
    """y[to : to + count] = x[start : start + count], which do not overlap, whole bytes at a time."""

    def codegen(context, builder, sig, args):
        target, place = (_place(context, builder, sig.args[k], args[k], args[k + 1]) for k in (0, 2))
        _copy(builder, target, place, args[4], context.get_abi_sizeof(place.type.pointee))
        return context.get_dummy_value()

    return types.void(y, types.intp, x, types.intp, types.intp), codegen


@folded
def get(x, at, count):
    """As `load_some`, of what may be more than LANES."""
    if count >= LANES:
        return load(x, at)
    return load_some(x, at, count)


@folded
def put(x, at, v, count):
    """As `store_some`, of what may be more than LANES."""
    if count >= LANES:
        store(x, at, v)
    else:
        store_some(x, at, v, count)


@intrinsic
def splat(typingctx, like, number):
    """LANES of a number, of the dtype of an array, or of a dtype."""
    result = Lanes(like.dtype, LANES)

    def codegen(context, builder, sig, args):
        return _as_lanes(context, builder, args[1], sig.args[1], result)

    return result(like, number), codegen


@intrinsic
def choose(typingctx, mask, a, b):
    """a where the mask holds, else b, one of which may be a number."""
    result = a if isinstance(a, Lanes) else b if isinstance(b, Lanes) else None
    result = Lanes(types.unliteral(a), mask.count) if result is None else result

    def codegen(context, builder, sig, args):
        a, b = (_as_lanes(context, builder, v, t, result)
                for v, t in zip(args[1:], sig.args[1:]))
        return builder.select(args[0], a, b)

    return result(mask, a, b), codegen


@intrinsic
def first(typingctx, count, a, b):
    """The first `count` lanes of a, the others of b."""

    def codegen(context, builder, sig, args):
        return builder.select(_below(builder, args[0], sig.args[1].count), *args[1:])

    return a(types.intp, a, a), codegen


@intrinsic
def cast_lanes(typingctx, v, like):
    """Lanes as those of another dtype."""
    result = Lanes(like.dtype, v.count)

    def codegen(context, builder, sig, args):
        old, vector = sig.args[0].dtype, context.get_value_type(result)
        if old == result.dtype:
            return args[0]
        if _is_float(old):
            narrower = old.bitwidth > result.dtype.bitwidth
            return (builder.fptrunc if narrower else builder.fpext)(args[0], vector)
        signed = isinstance(old, types.Integer) and old.signed
        if _is_float(result.dtype):
            return (builder.sitofp if signed else builder.uitofp)(args[0], vector)
        return (builder.sext if signed else builder.zext)(args[0], vector)

    return result(v, like), codegen


def _half(start):
    """An intrinsic that takes half of the lanes, or the number if there is one."""

    @intrinsic
    def half(typingctx, v):
        count = v.count // 2

        def codegen(context, builder, sig, args):
            if count == 1:
                return builder.extract_element(args[0], _I32(start))
            places = [start * count + k for k in range(count)]
            return builder.shuffle_vector(args[0], args[0], ir.VectorType(_I32, count)(places))

        return (v.dtype if count == 1 else Lanes(v.dtype, count))(v), codegen

    return half


low, high = _half(0), _half(1)


def _by_halves(combine, doc):
    """An intrinsic that combines the lanes into one number; `combine` is given a builder."""

    @intrinsic
    def fold(typingctx, v):
        def codegen(context, builder, sig, args):
            (v,), n = args, sig.args[0].count
            while n > 1:
                n //= 2
                parts = [ir.VectorType(_I32, n)(list(range(start, start + n))) for start in (0, n)]
                a, b = (builder.shuffle_vector(v, v, places) for places in parts)
                v = combine(builder, _is_float(sig.return_type), a, b)
            return builder.extract_element(v, _I32(0))

        return v.dtype(v), codegen

    fold.__doc__ = doc
    return fold


def _added(builder, is_float, a, b):
    return builder.fadd(a, b) if is_float else builder.add(a, b)


def _larger(builder, is_float, a, b):
    compare = builder.fcmp_ordered if is_float else builder.icmp_signed
    return builder.select(compare(">", a, b), a, b)


add_lanes = _by_halves(_added, "The sum of the lanes, by halves.")
max_lanes = _by_halves(_larger, "The largest of the lanes; a NaN may be missed.")


@overload(abs, jit_options={"forceinline": True})
def _abs(v):
    if isinstance(v, Lanes):
        return lambda v: choose(v > 0, v, 0 - v)
    return None


# Functions of single numbers see lanes as an array on the stack, over which their loop vectorises.


@overload(exp, jit_options={"forceinline": True})
def _exp(v):
    if not isinstance(v, Lanes):
        return None
    like = v.dtype

    def each(v):
        lanes = stack_lanes(like)
        store(lanes, 0, v)
        for i in range(LANES):
            lanes[i] = exp(lanes[i])
        return load(lanes, 0)

    return each


@overload(pow, jit_options={"forceinline": True})
def _pow(v, p):
    if not isinstance(v, Lanes):
        return None
    like = v.dtype

    def each(v, p):
        lanes = stack_lanes(like)
        store(lanes, 0, v)
        for i in range(LANES):
            lanes[i] = pow(lanes[i], p)
        return load(lanes, 0)

    return each
