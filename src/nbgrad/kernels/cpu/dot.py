"""The dot product of two rows in registers, called from inside compiled kernels.

A sum is taken in lanes of 256 bytes in all, entry i in lane i mod their number, which are added up
by halves; so it is the same on every CPU that has a fused multiply-add.
"""

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from nbgrad.kernels.cpu.simd import (
    _I32,
    _I64,
    _lanes_below,
    _llvm,
    _masked_load,
    _place,
    _target,
)


@intrinsic
def dot(typingctx, k, x, xo, y, yo):
    """The sum over p < k of x[xo + p] * y[yo + p], in the dtype of the arrays."""

    def codegen(context, builder, sig, args):
        k, x, xo, y, yo = args
        x = _place(context, builder, sig.args[1], x, xo)
        y = _place(context, builder, sig.args[3], y, yo)
        return builder.call(_function(builder.module, sig.args[1].dtype), [k, x, y])

    i = types.intp
    return x.dtype(i, x, i, y, i), codegen


def _function(module, t):
    """The LLVM function behind `dot` for one element type: a loop, and the rest under a mask."""
    name = f"nbgrad_dot_{t}"
    if name in module.globals:
        return module.globals[name]
    number, n = ir.FloatType() if t.bitwidth == 32 else ir.DoubleType(), 2048 // t.bitwidth
    vector = ir.VectorType(number, n)
    zero = vector([0.0] * n)
    pointer = number.as_pointer()
    function = ir.Function(module, ir.FunctionType(number, [_I64, pointer, pointer]), name)
    function.linkage = "internal"
    k, *operands = function.args
    builder = ir.IRBuilder(function.append_basic_block())
    entry = builder.block
    loop, rest, part, done = map(function.append_basic_block, ("loop", "rest", "part", "done"))
    whole = builder.and_(k, _I64(-n))
    builder.cbranch(builder.icmp_signed(">", whole, _I64(0)), loop, rest)

    builder.position_at_end(loop)
    p, total = builder.phi(_I64), builder.phi(vector)
    new = _add(builder, total, operands, p)
    following = builder.add(p, _I64(n))
    for phi, first, later in (p, _I64(0), following), (total, zero, new):
        phi.add_incoming(first, entry)
        phi.add_incoming(later, loop)
    builder.cbranch(builder.icmp_signed("<", following, whole), loop, rest)

    builder.position_at_end(rest)
    total = builder.phi(vector)
    total.add_incoming(zero, entry)
    total.add_incoming(new, loop)
    builder.cbranch(builder.icmp_signed("<", whole, k), part, done)

    builder.position_at_end(part)
    inside = _lanes_below(builder, builder.sub(k, whole), n, 0)
    last = _add(builder, total, operands, whole, inside)
    builder.branch(done)

    builder.position_at_end(done)
    lanes = builder.phi(vector)
    lanes.add_incoming(total, rest)
    lanes.add_incoming(last, part)
    builder.ret(_by_halves(builder, lanes))
    return function


def _add(builder, total, operands, p, mask=None):
    """total + the products of the entries from p on, of those inside the mask if there is one."""
    vector = total.type
    n, size = vector.count, 256 // vector.count
    pair = []
    for start in operands:
        place = builder.bitcast(builder.gep(start, [p]), vector.as_pointer())
        if mask is None:
            pair.append(builder.load(place, align=size))
        else:
            pair.append(_masked_load(builder, place, mask, vector([0.0] * n), size))
    if not _target().fma:
        return builder.fadd(builder.fmul(*pair), total)
    return _llvm(builder, f"llvm.fma.v{n}f{8 * size}", vector, [*pair, total])


def _by_halves(builder, lanes):
    n = lanes.type.count
    while n > 1:
        n //= 2
        orders = (ir.VectorType(_I32, n)(list(range(h, h + n))) for h in (0, n))
        lanes = builder.fadd(*[builder.shuffle_vector(lanes, lanes, o) for o in orders])
    return builder.extract_element(lanes, _I32(0))
