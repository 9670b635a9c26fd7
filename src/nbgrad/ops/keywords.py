"""What a call may say besides an op's own arguments: NumPy's names for them, and `out=`."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

from nbgrad.engine.mode import no_grad
from nbgrad.kernels.cuda.array import Mixed, OnHost
from nbgrad.kernels.layout import common
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
        except Exception as error:
            if isinstance(error, (Mixed, OnHost)):
                common(*[v._layout for v in (*args, *more.values()) if isinstance(v, Tensor)])
            refuse_wrong(name, function, args, more)
            raise

    called.into = into  # type: ignore[attr-defined]
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
        exact = _is_exact(name) and (made is not results[0] or name not in ("max", "min"))
        for t, result in zip(targets, results):
            _check_dtype(name, t, result, exact)
        for t, result in zip(targets, results):
            receive(t, result)
    return type(made)(*targets) if hasattr(made, "_fields") else out


def _check_dtype(name: str, out: Tensor, result: Tensor, exact: bool) -> None:
    own, given = result.dtype, out.dtype
    if name in ("all", "any"):
        if given.name not in ("bool", "uint8"):
            raise RuntimeError(f"{name} only supports bool tensor for result, got: {given.legacy}")
    elif exact and own is not given:
        raise RuntimeError(f"Expected out tensor to have dtype {own.name}, but got {given.name} "
                           "instead")
    else:
        refuse_cast(own, given)


def _is_exact(name: str) -> bool:
    """Whether a function's result takes no conversion on its way."""
    if name.startswith("linalg_"):
        return name not in (
            "linalg_cond", "linalg_lstsq", "linalg_matrix_power", "linalg_matrix_rank", "linalg_pinv")
    return name in EXACT or name.endswith("_copy")


EXACT = {
    "abs", "absolute", "aminmax", "amax", "amin", "argmax", "argmin", "argsort",
    "bitwise_not", "ceil", "chain_matmul", "clamp", "clamp_max", "clamp_min", "clip",
    "conj_physical", "cross", "cummax", "cummin", "diag", "fix", "float_power", "floor",
    "frac", "frexp", "gather", "hardshrink", "heaviside", "histc", "index_add", "index_copy",
    "index_reduce", "index_select", "inverse", "isin", "isneginf", "isposinf", "kthvalue",
    "log_softmax", "logcumsumexp", "masked_select", "max", "median", "min", "mode", "msort",
    "nan_to_num", "nanmedian", "nanquantile", "neg", "negative", "nonzero", "nonzero_static",
    "norm", "quantile", "renorm", "round", "scatter", "scatter_add", "scatter_reduce", "sgn",
    "sign", "signbit", "slice_scatter", "slogdet", "softmax", "sort", "take",
    "take_along_dim", "tensordot", "topk", "triangular_solve", "tril", "triu", "trunc",
    "vdot", "where", "addbmm", "addmm", "addmv", "baddbmm", "bmm", "dot", "inner", "matmul",
    "mm", "mv"}
