"""Loops over tasks that a kernel runs on one thread or on all, compiled once for both.

A kernel with a `prange` is compiled anew for its loop, for the loop's wrapper and for itself, each
time with all that it calls. Here the body of a loop becomes one plain function, and the loop, which
is the same for every body, is reached by its address:

    @inline
    def body(t, x, y): ...             # task t

    @kernel
    def double(loop, x, y):
        each(loop, count, body, (x, y))  # body(t, x, y) for t < count

    launch(double, threads, x, y)

or, where the types are known beforehand, `machine_code(double, threads, *types)(x, y)`.
"""

from functools import cache, partial

from llvmlite import ir
from numba import typeof, types
from numba.core import cgutils
from numba.extending import intrinsic

from nbgrad.kernels.launch import entry_point
from nbgrad.kernels.options import in_turn, kernel, parallel_kernel, prange

_POINTER, _I64 = ir.IntType(8).as_pointer(), ir.IntType(64)
_BODY = ir.FunctionType(ir.VoidType(), [_POINTER, _I64])
_FAILED = "a part of a kernel failed: memory ran out, or an index was out of bounds"


@intrinsic
def _call(typingctx, body, arguments, t):
    """Call a body by its address, with the address of its arguments."""

    def codegen(context, builder, sig, args):
        body = builder.inttoptr(args[0], _BODY.as_pointer())
        builder.call(body, [builder.inttoptr(args[1], _POINTER), args[2]])
        return context.get_dummy_value()

    return types.void(types.intp, types.intp, types.intp), codegen


# Found by name in the machine code, so they may not share one.
@kernel
def _loop(body, arguments, count):
    for t in range(count):
        _call(body, arguments, t)


@parallel_kernel
def _loop_threads(body, arguments, count):
    for t in prange(count):
        _call(body, arguments, t)


@cache
def _loop_address(threads):
    run = _loop_threads.kernel if threads else _loop
    run.compile((types.intp, types.intp, types.intp))
    (compiled,) = run.overloads.values()
    return compiled.library.get_pointer_to_function(compiled.fndesc.llvm_func_name)


def _unowned(context, builder, t, value):
    """An argument whose arrays are not counted: threads that count the same array wait in turn."""
    if isinstance(t, types.Array):
        array = context.make_array(t)(context, builder, value)
        array.meminfo = cgutils.get_null_value(array.meminfo.type)
        return array._getvalue()
    if isinstance(t, types.BaseTuple):
        for i, inner in enumerate(t):
            part = _unowned(context, builder, inner, builder.extract_value(value, i))
            value = builder.insert_value(value, part, i)
    return value


@intrinsic
def each(typingctx, loop, count, body, arguments):
    """body(t, *arguments) for t < count, by the loop at an address.

    Raises:
        RuntimeError: after all are done, if a body raised something.
    """
    inner = body.get_call_type(typingctx, (types.intp, *arguments.types), {})

    def codegen(context, builder, sig, args):
        compiled = sig.args[2].dispatcher.get_compile_result(inner)
        context.add_linking_libs([compiled.library])
        # The block that bodies see: whether one of them failed, and the arguments.
        values = [_I64(0), *cgutils.unpack_tuple(
            builder, _unowned(context, builder, sig.args[3], args[3]))]
        block = cgutils.alloca_once_value(builder, cgutils.pack_struct(builder, values))

        name = f"{builder.function.name}.task.{compiled.fndesc.llvm_func_name}"
        task = ir.Function(builder.module, _BODY, builder.module.get_unique_name(name))
        task.linkage = "internal"
        inside = ir.IRBuilder(task.append_basic_block())
        seen = inside.bitcast(task.args[0], block.type)
        _, *held = cgutils.unpack_tuple(inside, inside.load(seen))
        status, _ = context.call_internal_no_propagate(
            inside, compiled.fndesc, inner, [task.args[1], *held])
        with cgutils.if_unlikely(inside, status.is_error):
            inside.store(_I64(1), cgutils.gep_inbounds(inside, seen, 0, 0))
        inside.ret_void()

        # The loop is a compiled kernel: results and errors go to the first two arguments.
        number = types.intp
        kind = context.call_conv.get_function_type(types.none, (number, number, number))
        loop = builder.inttoptr(args[0], kind.as_pointer())
        numbers = [builder.ptrtoint(x, _I64) for x in (task, block)]
        context.call_conv.call_function(
            builder, loop, types.none, (number, number, number), [*numbers, args[1]])
        failed = builder.load(cgutils.gep_inbounds(builder, block, 0, 0))
        with cgutils.if_unlikely(builder, cgutils.is_not_null(builder, failed)):
            context.call_conv.return_user_exc(builder, RuntimeError, (_FAILED,))
        return context.get_dummy_value()

    return types.void(types.intp, types.intp, body, arguments), codegen


@cache
def machine_code(run, threads, *arguments):
    """A kernel that takes a loop first, on all threads or on this one, called by its machine code.

    `arguments` are those after the loop, as entry_point takes them.
    """
    code = entry_point(run, types.intp, *arguments)
    return partial(in_turn(code) if threads else code, _loop_address(threads))


_entries: dict = {}


def launch(run, threads, *args):
    """Call a kernel whose first argument is the loop: on all threads, or on this one.

    It is found by its last argument's dtype: every call must have the same types but for that dtype,
    and arrays that are contiguous.
    """
    key = run, threads, args[-1].dtype
    entry = _entries.get(key)
    if entry is None:
        found = [typeof(a) for a in args]
        entry = _entries[key] = machine_code(run, threads, *[
            types.Array(t.dtype, t.ndim, "C") if isinstance(t, types.Array) else t for t in found])
    entry(*args)
