"""What a call may say besides an op's own arguments: NumPy's names for them, and `out=`."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

from nbgrad.engine.mode import no_grad
from nbgrad.ops.arguments import checked, refuse_wrong
from nbgrad.ops.elementwise import refuse_cast
from nbgrad.ops.out import expect_out, receive
from nbgrad.tensor import Tensor

_NUMPY = {"axis": "dim", "keepdims": "keepdim", "x": "input", "a": "input", "x1": "input",
          "x2": "other"}


def flexible(name: str, function: Callable, into: bool = False, first: bool = False) -> Callable:
    """The function, which takes NumPy's names for its arguments too and, if `into`, `out=`.

    A call without keywords goes straight on. The types of the arguments are looked at when a call
    has failed, or, if `first`, before it.
    """
    code = function.__code__
    own = frozenset(code.co_varnames[:code.co_argcount + code.co_kwonlyargcount])
    run = checked(name, function) if first else function

    @wraps(function)
    def called(*args, **more):
        try:
            if not more:
                return run(*args)
            out = more.pop("out", None) if into else None
            if not own.issuperset(more):
                more = {k if k in own else _NUMPY.get(k, k): v for k, v in more.items()}
            if out is None:
                return run(*args, **more)
            if "dtype" in own and isinstance(out, Tensor) and name in _IN_DTYPE_OF_OUT:
                more.setdefault("dtype", out.dtype)
            return _computed_into(name, out, run, args, more)
        except Exception:
            refuse_wrong(name, function, args, more)
            raise

    return called


#: reductions that compute in the dtype of what they are written into
_IN_DTYPE_OF_OUT = {"sum", "mean", "nansum", "nanmean", "prod", "cumsum", "cumprod"}


def _computed_into(name: str, out: Any, function: Callable, args: tuple, more: dict):
    """The results of a call, written into one tensor or several that take no part in autograd."""
    targets = tuple(out) if isinstance(out, (tuple, list)) else (out,)
    for t in targets:
        expect_out(name, t, *args, *more.values())
    with no_grad():
        made = function(*args, **more)
        results = made if isinstance(made, tuple) else (made,)
        if len(results) != len(targets):
            raise TypeError(f"{name}(): argument 'out' must be {len(results)} tensors, not "
                            f"{len(targets)}")
        for t, result in zip(targets, results):
            _check_dtype(name, t, result)
        for t, result in zip(targets, results):
            receive(t, result)
    return type(made)(*targets) if hasattr(made, "_fields") else out


def _check_dtype(name: str, out: Tensor, result: Tensor) -> None:
    own, given = result.dtype, out.dtype
    if name in ("all", "any"):
        if given.name not in ("bool", "uint8"):
            raise RuntimeError(f"{name} only supports bool tensor for result, got: {given.legacy}")
    elif name in EXACT and own is not given:
        raise RuntimeError(f"Expected out tensor to have dtype {own.name}, but got {given.name} "
                           "instead")
    else:
        refuse_cast(own, given)


#: functions whose result takes no conversion on its way
EXACT = {"mm", "bmm", "mv", "dot", "matmul", "addmm", "addmv", "addbmm", "baddbmm", "inner",
         "argmax", "argmin", "max", "min", "sort", "topk", "kthvalue", "cummax", "cummin", "median",
         "nanmedian", "mode", "aminmax", "softmax", "log_softmax", "logcumsumexp", "argsort",
         "amax", "amin", "quantile", "nanquantile", "clamp", "clip", "nan_to_num"}
