"""Reductions: dims and dtypes, then a kernel of the second table; their gradients are rows."""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np

from nbgrad import dtypes
from nbgrad.dtypes import dtype as DType
from nbgrad.engine.mode import state
from nbgrad.engine.node import Node
from nbgrad.engine.saved import unpack
from nbgrad.formulas.expr import free, mul, var
from nbgrad.formulas.reductions import TABLE
from nbgrad.formulas.row import Row
from nbgrad.kernels import reductions as kernels
from nbgrad.kernels.backend import Twins
from nbgrad.kernels.cpu.extremum import rows_launch
from nbgrad.kernels.cuda.array import DeviceArray
from nbgrad.kernels.launch import remember
from nbgrad.kernels.layout import Layout, layout
from nbgrad.kernels.memory import maker, on
from nbgrad.ops.apply import apply, unrecorded
from nbgrad.ops.dims import Dims, Sizes, whole
from nbgrad.ops.elementwise import OPS, _Derived, _value, write
from nbgrad.ops.family import expect_tensor, named
from nbgrad.ops.op import Op, Planned, planned, wrap
from nbgrad.ops.shape import cat, expand, reshape, unsqueeze
from nbgrad.tensor import AccumulateGrad, Tensor

contiguous = Twins("layouts").contiguous
extremum = Twins("extremum").extremum


def axes(t: Tensor, dim) -> tuple[int, ...]:
    """The axes to reduce, as sorted numbers from 0; all of them where `dim` is None or empty."""
    try:
        return _axes(len(t._layout.shape), tuple(dim) if type(dim) is list else dim)
    except AttributeError:
        expect_tensor("reduction", input=t)
        raise
    except TypeError:
        if isinstance(dim, Tensor):
            return axes(t, whole(dim, "dim"))
        raise


def one_axis(t: Tensor, dim) -> tuple[int, ...]:
    """The axis to reduce, for those that take one alone."""
    reduced = axes(t, dim)
    if not isinstance(dim, int):
        raise TypeError(f"argument 'dim' must be int, not {type(dim).__name__}")
    return reduced


@lru_cache(1024, typed=True)
def _axes(rank: int, dim) -> tuple[int, ...]:
    if isinstance(dim, Tensor):
        raise TypeError("argument 'dim' must be int or tuple of ints, not Tensor")
    if dim is None or dim == ():
        return tuple(range(rank))
    dims = (dim,) if isinstance(dim, int) else tuple(dim)
    found: list[int] = []
    for d in dims:
        if type(d) is bool:
            raise TypeError("argument 'dim' must be int or tuple of ints, not bool")
        if not -max(rank, 1) <= d < max(rank, 1):
            raise IndexError(f"Dimension out of range (expected to be in range of "
                             f"[{-max(rank, 1)}, {max(rank, 1) - 1}], but got {d})")
        d %= max(rank, 1)
        if d in found:
            raise RuntimeError(f"dim {d} appears multiple times in the list of dims")
        found.append(d)
    return tuple(sorted(found)) if rank else ()


def three(x: np.ndarray, reduced: tuple[int, ...]) -> tuple[np.ndarray, tuple[int, ...]]:
    """An array as contiguous (outer, n, inner) with `reduced` in the middle; and the kept shape."""
    kept = [k for k in range(x.ndim) if k not in reduced]
    shape = tuple(x.shape[k] for k in kept)
    n = math.prod(x.shape[k] for k in reduced)
    adjacent = not reduced or reduced[-1] - reduced[0] == len(reduced) - 1
    if adjacent and (x.contiguous if type(x) is DeviceArray else x.flags.c_contiguous):
        outer = math.prod(x.shape[:reduced[0]]) if reduced else x.size
        inner = math.prod(x.shape[reduced[-1] + 1:]) if reduced else 1
        return x.reshape(outer, n, inner), shape
    moved = contiguous(x.transpose(*kept, *reduced))
    return moved.reshape(math.prod(shape), n, 1), shape


def keep(shape: tuple[int, ...], reduced: tuple[int, ...]) -> tuple[int, ...]:
    """A shape with its reduced axes left as size 1."""
    return tuple(1 if k in reduced else n for k, n in enumerate(shape))


class Reduce(Op):
    """The op of a reduction row over attrs (axes, keepdim, *params)."""

    def __init__(self, row: str, name: str) -> None:
        self.table, self.name = TABLE[row], name
        self.plans: dict[tuple, tuple] = {}
        super().__init__()

    def run(self, inputs, attrs) -> Tensor:
        (t,) = inputs
        found = self.plans.get((t._layout, attrs))
        if found is None:
            found = self._plan(t._layout, attrs)
        run, make, size, np_dtype, own = found
        out = make(size, np_dtype)
        run(out, t._data)
        return Tensor(out, own)

    def _plan(self, given: Layout, attrs: tuple) -> tuple:
        reduced, keepdim, *params = attrs
        if type(keepdim) is not bool:
            raise TypeError(f"argument 'keepdim' must be bool, not {type(keepdim).__name__}")
        compute, result = self.dtypes(given.dtype)
        run = kernels.plan(self.table.name, given, reduced, compute, result, tuple(params))
        shape = keep(given.shape, reduced) if keepdim else tuple(
            [n for k, n in enumerate(given.shape) if k not in reduced])
        own = layout(dtypes.from_numpy(result), shape, device=given.device)
        return remember(self.plans, (given, attrs),
                        (run, maker(own.numel, own.device), own.numel, result, own))

    def dtypes(self, own) -> tuple[str, np.dtype]:
        if self.table.kind == "bool":
            compute = own.name if own.category == 2 else "int64"
            return compute, np.dtype(np.uint8 if own is dtypes.uint8 else np.bool_)
        if self.table.kind == "sum" and (own.category < 2 or self.table.name == "count_nonzero"):
            return ("int64" if own.category < 2 else own.name), np.dtype(np.int64)
        if own.category < 2:
            return "int64", own.np
        return own.name, own.np

    def saves(self, needs, attrs):
        return () if self.table.d is None else gradient(self.table.name).saves

    def backward(self, node, grad):
        if self.table.d is None:
            return None
        reduced, _, *params = node.attrs
        own = node.layouts[0]
        shape = keep(own.shape, reduced)
        program = gradient(self.table.name)
        if program.row is not None and not program.row.inputs:
            return grad.new_zeros(own.shape)
        if program.row is None:
            return spread(reshape(grad, shape), node)
        values = dict(zip(program.saves, (_value(v, node) for v in unpack(node))))
        x = values.get(0)
        parts = {"g": reshape(grad, shape)}
        if 0 in values:
            parts["x"] = x
        if -1 in values:
            parts["y"] = reshape(values[-1], shape)
        if "k" in program.row.inputs:
            parts["k"] = sum_(equal_to(x.detach(), parts["y"].detach()).to(x.dtype), reduced, True)
        if "m" in program.row.inputs:
            parts["m"] = self.middle(x, reduced)
        scalars = {"n": float(math.prod(own.shape[k] for k in reduced))}
        scalars |= dict(zip(self.table.params, params))
        full = apply(program.op, tuple([parts[i] for i in program.row.inputs]),
                     tuple([scalars[p] for p in program.row.params]))
        return spread(full, node)

    def middle(self, x: Tensor, reduced) -> Tensor:
        return mean(x, reduced, True)


def spread(grad: Tensor, node: Node) -> Tensor:
    """A gradient as large as the input; in memory of its own where a leaf would copy it anyway."""
    own, leaf = node.layouts[0], node.next[0]
    if grad._layout.shape == own.shape:
        return grad
    if state.grad or type(leaf) is not AccumulateGrad or leaf.grad is not None:
        return expand(grad, own.shape)
    full = Tensor(on(own.device).empty(own.numel, own.dtype.np),
                  layout(own.dtype, own.shape, device=own.device))
    write(full._data, full._layout, grad)
    return full


class _Gradient:
    """The row of a reduction's gradient, and what it needs saved."""

    def __init__(self, name: str) -> None:
        table = TABLE[name]
        formula = mul(var("g"), table.d)
        used = free(formula)
        inputs = [v for v in ("g", "x", "y", "m", "k") if v in used]
        params = [p for p in ("n", *table.params) if p in used]
        needs_x = bool({"x", "m", "k"} & used)
        self.saves = ((0,) if needs_x else ()) + ((-1,) if "y" in used else ())
        self.row = None if formula.is_var else Row(
            f"{name}_gradient", formula, inputs=" ".join(inputs), params=" ".join(params))
        self.op = None if self.row is None else _Derived(self.row, self.row.params)


@lru_cache(None)
def gradient(name: str) -> _Gradient:
    return _Gradient(name)


def equal_to(a: Tensor, b: Tensor) -> Tensor:
    return apply(OPS["eq"], (a, b))


class Prod(Reduce):
    """The product; its gradient is the product of the others, by a product from each side."""

    def saves(self, needs, attrs):
        return (0,)

    def backward(self, node, grad):
        reduced, _ = node.attrs
        (x,) = unpack(node)
        shape = x._layout.shape
        kept = [k for k in range(len(shape)) if k not in reduced]
        order = (*kept, *reduced)
        n = math.prod(shape[k] for k in reduced)
        flat = x.permute(order).reshape(*(shape[k] for k in kept), n)
        others = _product_of_others(flat)
        full = grad.reshape(*(shape[k] for k in kept), 1) * others
        full = full.reshape(tuple(shape[k] for k in order))
        return full.permute(tuple(order.index(k) for k in range(len(shape))))


def _product_of_others(x: Tensor) -> Tensor:
    """Along the last axis, the product of all entries but one's own, by doubling steps."""
    n = x.size(-1)
    one = x.new_ones((*x.shape[:-1], 1))
    if n == 0:
        return x
    left = cat([one, x.narrow(-1, 0, n - 1)], -1)
    right = cat([x.narrow(-1, 1, n - 1), one], -1)
    step = 1
    while step < n:
        pad = x.new_ones((*x.shape[:-1], step))
        left = left * cat([pad, left.narrow(-1, 0, n - step)], -1)
        right = right * cat([right.narrow(-1, step, n - step), pad], -1)
        step *= 2
    return left * right


SUM, SUM_DIM = Reduce("sum", "Sum"), Reduce("sum", "SumBackward1")
MEAN, MEAN_DIM = Reduce("mean", "Mean"), Reduce("mean", "MeanBackward1")
PROD, AMAX, AMIN = Prod("prod", "Prod"), Reduce("amax", "Amax"), Reduce("amin", "Amin")
MAX_ALL, MIN_ALL = Reduce("amax", "MaxBackward1"), Reduce("amin", "MinBackward1")
ALL, ANY, COUNT = Reduce("all", "All"), Reduce("any", "Any"), Reduce("count_nonzero", "Count")
VAR, STD = Reduce("var", "Var"), Reduce("std", "Std")
LOGSUMEXP = Reduce("logsumexp", "Logsumexp")


def _float_input(t: Tensor, name: str, dtype=None) -> Tensor:
    if type(t) is not Tensor:
        expect_tensor(name, input=t)
    if dtype is not None:
        dtype = dtypes.as_dtype(dtype)
    which, given = ("Input", t._layout.dtype) if dtype is None else ("Optional", dtype)
    if given.category < 2:
        raise RuntimeError(f"{name}(): could not infer output dtype. {which} dtype must be either a "
                           f"floating point or complex dtype. Got: {given.legacy}")
    return t if dtype is None else t.to(dtype)


def _counted(op: Op, input: Tensor, reduced: tuple[int, ...], keepdim: bool, dtype) -> Tensor:
    """A sum or product in a dtype that was asked for."""
    expect_tensor("sum", input=input)
    dtype = dtypes.as_dtype(dtype)
    found = apply(op, (input.to(dtype),), (reduced, keepdim))
    return found if found._layout.dtype is dtype else found.to(dtype)


def sum_(input: Tensor, dim: Dims | None = None, keepdim: bool = False, *,
         dtype: DType | None = None) -> Tensor:
    """Sum over `dim` (all axes where None); ints and bools give int64.

    Example:
        >>> import nbgrad
        >>> nbgrad.ones(2, 3).sum(dim=1)
        tensor([3., 3.])
    """
    op = SUM if dim is None else SUM_DIM
    if dtype is not None:
        return _counted(op, input, axes(input, dim), keepdim, dtype)
    return apply(op, (input,), (axes(input, dim), keepdim))


def mean(input: Tensor, dim: Dims | None = None, keepdim: bool = False, *,
         dtype: DType | None = None) -> Tensor:
    """Mean over `dim` (all axes where None)."""
    input = _float_input(input, "mean", dtype)
    return apply(MEAN if dim is None else MEAN_DIM, (input,), (axes(input, dim), keepdim))


def prod(input: Tensor, dim: int | None = None, keepdim: bool = False, *,
         dtype: DType | None = None) -> Tensor:
    """Product over `dim` (all axes where None)."""
    reduced = axes(input, None) if dim is None else one_axis(input, dim)
    if dim is None and keepdim:
        raise TypeError("prod(): keepdim needs dim")
    if dtype is not None:
        return _counted(PROD, input, reduced, keepdim, dtype)
    return apply(PROD, (input,), (reduced, keepdim))


def _nonempty(t: Tensor, reduced, name: str, dim=0) -> None:
    if t._layout.numel == 0 and dim in (None, ()):
        raise RuntimeError(f"{name}(): Expected reduction dim to be specified for input.numel() == 0. "
                           "Specify the reduction dim with the 'dim' argument.")
    for k in reduced:
        if t._layout.shape[k] == 0:
            raise IndexError(f"{name}(): Expected reduction dim {k} to have non-zero size.")


def amax(input: Tensor, dim: Dims | None = (), keepdim: bool = False) -> Tensor:
    """Maximum over `dim`; ties share the gradient evenly."""
    reduced = axes(input, dim)
    _nonempty(input, reduced, "amax", dim)
    return apply(AMAX, (input,), (reduced, keepdim))


def amin(input: Tensor, dim: Dims | None = (), keepdim: bool = False) -> Tensor:
    """Minimum over `dim`; ties share the gradient evenly."""
    reduced = axes(input, dim)
    _nonempty(input, reduced, "amin", dim)
    return apply(AMIN, (input,), (reduced, keepdim))


class Extremum(Planned):
    """Maximum or minimum along one axis with its index; only that entry gets the gradient."""

    outputs = 2

    def __init__(self, largest: bool) -> None:
        self.largest = largest
        self.name = "MaxBackward0" if largest else "MinBackward0"
        super().__init__()

    def plan(self, attrs, own):
        reduced, keepdim = attrs
        d = reduced[0] if reduced else 0
        before, n, after = own.shape[:d], math.prod(own.shape[d:d + 1]), own.shape[d + 1:]
        if math.prod(after) > 1:
            return False
        shape = keep(own.shape, reduced) if keepdim else before + after
        results = layout(own.dtype, shape), layout(dtypes.int64, shape)
        return planned(rows_launch(own.dtype.storage), *results, numbers=(n, not self.largest))

    def run_any(self, inputs, attrs):
        (t,) = inputs
        reduced, keepdim = attrs
        x, shape = three(t._array(), reduced)
        shape = keep(t._layout.shape, reduced) if keepdim else shape
        values, at = extremum(x, self.largest)
        return wrap(values.reshape(shape)), wrap(at.reshape(shape))

    def saves(self, needs, attrs):
        return (-2,)

    def backward(self, node, grad, _):
        reduced, keepdim = node.attrs
        own = node.layouts[0]
        at = _value(unpack(node)[0], node).detach()
        if not own.shape:
            return grad
        (d,) = reduced
        if not keepdim:
            grad, at = unsqueeze(grad, d), unsqueeze(at, d)
        return grad.new_zeros(own.shape).scatter(d, at, grad)


MAX_DIM, MIN_DIM = Extremum(True), Extremum(False)


def _extreme(t: Tensor, name: str, dim, keepdim, whole: Op, along: Op, binary: str):
    if isinstance(dim, Tensor):
        if keepdim is not False:
            raise TypeError(f"{name}(): takes two tensors, or dim and keepdim")
        return apply(OPS[binary], (t, dim))
    if dim is None:
        reduced = axes(t, None)
        if keepdim:
            raise TypeError(f"{name}(): keepdim needs dim")
        if t._layout.numel == 0:
            raise RuntimeError(f"{name}(): Expected reduction dim to be specified for input.numel() "
                               "== 0. Specify the reduction dim with the 'dim' argument.")
        return apply(whole, (t,), (reduced, False))
    reduced = one_axis(t, dim)
    if type(keepdim) is not bool:
        raise TypeError(f"{name}(): argument 'keepdim' must be bool, not {type(keepdim).__name__}")
    _nonempty(t, reduced, name)
    return _RESULTS[name](*apply(along, (t,), (reduced, keepdim)))


_RESULTS = {name: named(name) for name in ("max", "min", "topk", "sort")}


def max_(input: Tensor, dim: int | Tensor | None = None, keepdim: bool = False, *,
         other: Tensor | None = None):
    """The maximum of all, or (values, indices) along `dim`, or elementwise with another tensor."""
    dim = other if dim is None else dim
    return _extreme(input, "max", dim, keepdim, MAX_ALL, MAX_DIM, "maximum")


def min_(input: Tensor, dim: int | Tensor | None = None, keepdim: bool = False, *,
         other: Tensor | None = None):
    """The minimum of all, or (values, indices) along `dim`, or elementwise with another tensor."""
    dim = other if dim is None else dim
    return _extreme(input, "min", dim, keepdim, MIN_ALL, MIN_DIM, "minimum")


def _arg(t: Tensor, dim, keepdim: bool, largest: bool, name: str) -> Tensor:
    expect_tensor(name, input=t)
    if t._layout.dtype is dtypes.bool_:
        raise RuntimeError(f"{name}(): does not support bool input")
    if type(keepdim) is not bool:
        raise TypeError(f"{name}(): argument 'keepdim' must be bool, not {type(keepdim).__name__}")
    if t._layout.dtype.half:
        t = t.detach().float()
    if dim is None:
        if t._layout.numel == 0:
            raise IndexError(f"{name}(): Expected reduction dim to be specified for input.numel() "
                             "== 0. Specify the reduction dim with the 'dim' argument.")
        found = extremum(contiguous(t._array()).reshape(1, -1, 1), largest)[1]
        return wrap(found.reshape((1,) * t.dim() if keepdim else ()))
    reduced = one_axis(t, dim)
    _nonempty(t, reduced, name)
    return (MAX_DIM if largest else MIN_DIM).run((t,), (reduced, keepdim))[1]


def argmax(input: Tensor, dim: int | None = None, keepdim: bool = False) -> Tensor:
    """Index of the first maximum along `dim`, or in the flattened tensor."""
    return unrecorded("argmax", (input,), _arg(input, dim, keepdim, True, "argmax"))


def argmin(input: Tensor, dim: int | None = None, keepdim: bool = False) -> Tensor:
    """Index of the first minimum along `dim`, or in the flattened tensor."""
    return unrecorded("argmin", (input,), _arg(input, dim, keepdim, False, "argmin"))


def all_(input: Tensor, dim: int | Sizes | None = None, keepdim: bool = False) -> Tensor:
    """Whether all entries along `dim` are true."""
    return apply(ALL, (input,), (axes(input, dim), keepdim))


def any_(input: Tensor, dim: int | Sizes | None = None, keepdim: bool = False) -> Tensor:
    """Whether any entry along `dim` is true."""
    return apply(ANY, (input,), (axes(input, dim), keepdim))


def count_nonzero(input: Tensor, dim: int | Sizes | None = None) -> Tensor:
    """How many entries along `dim` are not zero."""
    return apply(COUNT, (input,), (axes(input, dim), False))


def _correction(dim, unbiased, correction):
    """The old positional forms var(unbiased) and var(dim, unbiased) in terms of correction."""
    if isinstance(dim, bool):
        dim, unbiased = None, dim
    if unbiased is not None:
        if correction is not None:
            raise TypeError("var(): unbiased and correction say the same: give one of them")
        if type(unbiased) is not bool:
            raise TypeError(f"argument 'unbiased' must be bool, not {type(unbiased).__name__}")
        correction = int(unbiased)
    return dim, float(1 if correction is None else correction)


def var_(input: Tensor, dim: Dims | bool | None = None,
         unbiased: bool | None = None, keepdim: bool = False, *,
         correction: float | None = None) -> Tensor:
    r"""Variance: sum((x - mean)^2) / (n - correction), with correction 1 by default."""
    input = _float_input(input, "var")
    dim, c = _correction(dim, unbiased, correction)
    return apply(VAR, (input,), (axes(input, dim), keepdim, c))


def std(input: Tensor, dim: Dims | bool | None = None,
        unbiased: bool | None = None, keepdim: bool = False, *,
        correction: float | None = None) -> Tensor:
    """Standard deviation: the square root of `var`."""
    input = _float_input(input, "std")
    dim, c = _correction(dim, unbiased, correction)
    return apply(STD, (input,), (axes(input, dim), keepdim, c))


def var_mean(input: Tensor, dim: Dims | bool | None = None,
             unbiased: bool | None = None, keepdim: bool = False, *,
             correction: float | None = None):
    """(var, mean) over `dim`."""
    d, _ = _correction(dim, unbiased, correction)
    return var_(input, dim, unbiased, keepdim, correction=correction), mean(input, d, keepdim)


def std_mean(input: Tensor, dim: Dims | bool | None = None,
             unbiased: bool | None = None, keepdim: bool = False, *,
             correction: float | None = None):
    """(std, mean) over `dim`."""
    d, _ = _correction(dim, unbiased, correction)
    return std(input, dim, unbiased, keepdim, correction=correction), mean(input, d, keepdim)


def logsumexp(input: Tensor, dim: Dims, keepdim: bool = False) -> Tensor:
    """log(sum(exp(x))) over `dim`, computed without overflow."""
    if dim is None:
        raise TypeError("logsumexp(): argument 'dim' must be tuple of ints, not NoneType")
    if input._layout.dtype.category < 2:
        input = input.to(dtypes.get_default_dtype())
    return apply(LOGSUMEXP, (input,), (axes(input, dim), keepdim))


def sum_to_size(t: Tensor, *size) -> Tensor:
    """Sum to a shape that broadcasts to this one: the adjoint of `expand`."""
    shape = tuple(size[0]) if len(size) == 1 and isinstance(size[0], (tuple, list)) else tuple(size)
    own = t._layout.shape
    lead = len(own) - len(shape)
    if lead < 0 or any(n not in (1, m) for n, m in zip(shape, own[lead:])):
        raise RuntimeError(f"size {{{list(shape)}}} is not expandable to size {{{list(own)}}}.")
    reduced = tuple(range(lead)) + tuple(
        lead + k for k, n in enumerate(shape) if n == 1 and own[lead + k] != 1)
    if not reduced:
        return t
    return reshape(apply(SUM_DIM, (t,), (reduced, True)), shape)


FUNCTIONS = {"sum": sum_, "max": max_, "min": min_, "all": all_, "any": any_, "var": var_} | {
    f.__name__: f for f in (
        mean, prod, amax, amin, argmax, argmin, std, var_mean, std_mean, logsumexp, count_nonzero)}
