"""Tasks: one small loop, on one thread or on all, that calls the machine code of any kernel.

A parallel loop holds three copies of all that it calls, and compiling each takes as long as
compiling the kernel itself. This one holds a call through an address.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import numpy as np
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic
from numba.np.numpy_support import from_dtype

from nbgrad.kernels.launch import entry_point
from nbgrad.kernels.options import kernel, parallel_kernel, prange


@intrinsic
def _call(typingctx, address, u, table, x, y, a, b):
    given = (u, table, x, y, a, b)

    def codegen(context, builder, sig, args):
        convention = context.call_conv
        function = convention.get_function_type(types.none, given)
        place = builder.inttoptr(args[0], function.as_pointer())
        status, _ = convention.call_function(builder, place, types.none, given, args[1:])
        with cgutils.if_unlikely(builder, status.is_error):
            convention.return_status_propagate(builder, status)
        return context.get_dummy_value()

    return types.void(address, *given), codegen


def _each(address, table, x, y, a, b):
    for u in prange(table[0]):
        _call(address, np.int64(u), table, x, y, a, b)


_loops = kernel(_each), parallel_kernel(_each)


@cache
def tasks(task, dtype: np.dtype, parallel: bool) -> tuple[Callable[..., None], int]:
    """`run` and `address`: run(address, table, x, y, a, b) calls task(u, table, x, y, a, b).

    The first number of the table, which is a vector of int64, is how many tasks there are; the rest
    are vectors of `dtype`.
    """
    table, array = (types.Array(from_dtype(np.dtype(t)), 1, "C") for t in (np.int64, dtype))
    signature = (types.int64, table, array, array, array, array)
    task.compile(signature)
    made = task.overloads[signature]
    address = made.library.get_pointer_to_function(made.fndesc.llvm_func_name)
    return entry_point(_loops[parallel], types.int64, table, *[array] * 4), address
