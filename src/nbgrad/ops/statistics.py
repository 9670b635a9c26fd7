"""Order statistics and what else is said of numbers: made of sums, sorts and rows."""

from __future__ import annotations

import math

import numpy as np

from nbgrad import dtypes
from nbgrad.dtypes import dtype as DType
from nbgrad.kernels.backend import Twins
from nbgrad.ops.apply import apply
from nbgrad.ops.dims import Dims
from nbgrad.ops.elementwise import OPS
from nbgrad.ops.family import named, number
from nbgrad.ops.mask import where
from nbgrad.ops.reductions import amax, amin, any_, axes, count_nonzero, sum_
from nbgrad.ops.shape import axis, cat, narrow, reshape, squeeze, transpose, unsqueeze
from nbgrad.ops.sort import Kthvalue, sort
from nbgrad.ops.vector_norm import norm
from nbgrad.tensor import Tensor

kernels = Twins("sort")


def _is_nan(t: Tensor) -> Tensor:
    return OPS["isnan"].one(t)


def _asked(name: str, input: Tensor, dtype) -> Tensor:
    return input if dtype is None else input.to(dtype)


def nansum(input: Tensor, dim: Dims | None = None, keepdim: bool = False, *,
           dtype: DType | None = None) -> Tensor:
    """Sum over `dim` of the entries that are not NaN."""
    input = _asked("nansum", input, dtype)
    if input._layout.dtype.category < 2:
        return sum_(input, dim, keepdim)
    return sum_(where(_is_nan(input), 0.0, input), dim, keepdim)


def nanmean(input: Tensor, dim: Dims | None = None, keepdim: bool = False, *,
            dtype: DType | None = None) -> Tensor:
    """Mean over `dim` of the entries that are not NaN."""
    input = _asked("nanmean", input, dtype)
    if input._layout.dtype.category < 2:
        raise RuntimeError("nanmean(): expected input to have floating point or complex dtype but "
                           f"got {input._layout.dtype.legacy}")
    counted = sum_(OPS["logical_not"].one(_is_nan(input.detach())), dim, keepdim)
    return nansum(input, dim, keepdim) / counted


class Middle(Kthvalue):
    """The lower of the middle entries along an axis, and its place; NaN comes first or not at all."""

    def __init__(self, name: str, skip: bool) -> None:
        super().__init__(name, lambda rows, _: kernels.middle(rows, skip))


MEDIAN, NANMEDIAN = Middle("MedianBackward1", False), Middle("NanmedianBackward1", True)
_RESULTS = {name: named(name) for name in ("median", "nanmedian", "mode")}


def _median(name: str, input: Tensor, dim, keepdim: bool):
    own = input._layout
    if own.dtype is dtypes.bool_:
        raise NotImplementedError(f"\"{name}_out\" not implemented for 'Bool'")
    if dim is None:
        return _whole_median(name, input)
    d = _one_axis(name, input, dim)
    op = MEDIAN if name == "median" else NANMEDIAN
    return _RESULTS[name](*apply(op, (input,), (d, 1, bool(keepdim))))


def _whole_median(name: str, input: Tensor) -> Tensor:
    """The median of all entries; those equal to it share the gradient evenly."""
    if not input._layout.numel:
        if input._layout.dtype.category < 2:
            return input.new_full((), np.iinfo(input._layout.dtype.np).min)
        return sum_(input) * math.nan
    flat = reshape(input, (-1,))
    found = _median(name, flat.detach(), 0, False).values
    if flat._layout.dtype.category < 2:
        return found
    equal = _is_nan(flat.detach()) if found.has_nan() else flat.detach() == found
    return where(equal, flat, 0.0).sum() / count_nonzero(equal)


def _one_axis(name: str, input: Tensor, dim) -> int:
    """An axis that is not empty."""
    d = axis(input, dim)
    shape = input._layout.shape
    if shape and shape[d] == 0:
        raise IndexError(f"{name}(): Expected reduction dim {d} to have non-zero size.")
    return d


def median(input: Tensor, dim: int | None = None, keepdim: bool = False):
    """The median of all, or (values, indices) along `dim`; of two middle entries the lower.

    NaN where an entry is NaN.
    """
    return _median("median", input, dim, keepdim)


def nanmedian(input: Tensor, dim: int | None = None, keepdim: bool = False):
    """`median` of the entries that are not NaN."""
    return _median("nanmedian", input, dim, keepdim)


MODE = Kthvalue("Mode", lambda rows, _: kernels.commonest(rows))


def mode(input: Tensor, dim: int = -1, keepdim: bool = False):
    """(values, indices) of the commonest entry along `dim`; of several the smallest."""
    d = _one_axis("mode", input, dim)
    return _RESULTS["mode"](*apply(MODE, (input,), (d, 1, bool(keepdim))))


_WEIGHTS = {"lower": lambda rank: rank.floor(), "higher": lambda rank: rank.ceil(),
            "nearest": lambda rank: rank.round(), "linear": None, "midpoint": None}


def _quantile(name: str, input: Tensor, q, dim, keepdim: bool, interpolation: str,
              skip: bool) -> Tensor:
    own = input._layout
    if own.dtype.category < 2 or own.dtype.half:
        raise RuntimeError(f"{name}() input tensor must be either float or double dtype")
    if not own.numel:
        raise RuntimeError(f"{name}() input tensor must be non-empty")
    if isinstance(q, Tensor):
        if q.dim() > 1:
            raise RuntimeError(f"{name}() q must be a scalar or 1D tensor")
        if q.dtype is not own.dtype:
            raise RuntimeError(f"{name}() q tensor must be same dtype as the input tensor")
    else:
        if number(q) is None:
            raise TypeError(f"{name}(): argument 'q' must be Tensor or float, not "
                            f"{type(q).__name__}")
        q = input.new_full((), float(q))
    if interpolation not in _WEIGHTS:
        raise RuntimeError(f"{name}() interpolation must be one of linear, lower, higher, midpoint "
                           f"or nearest, but got {interpolation}")
    places = q._values()
    if places.size and not (places.min() >= 0 and places.max() <= 1):
        raise RuntimeError(f"{name}() q values must be in the range [0, 1]")
    rank = input.dim()
    if dim is None:
        moved, kept = reshape(input, (-1,)), (1,) * rank
    else:
        d = axis(input, dim)
        moved = input.movedim(d, -1) if rank else reshape(input, (1,))
        kept = tuple(1 if k == d else n for k, n in enumerate(own.shape))
    found = _ranked(moved, reshape(q, (-1,)), interpolation, skip)  # (..., q)
    found = found.movedim(-1, 0)
    if keepdim:
        found = reshape(found, (found.size(0), *kept))
    return found if q.dim() else squeeze(found, 0)


def _ranked(x: Tensor, q: Tensor, interpolation: str, skip: bool) -> Tensor:
    """The entries of rank q * (n - 1) along the last axis, (..., n) and (q,) -> (..., q)."""
    values = sort(x, -1).values
    nans = _is_nan(x.detach())
    if skip:
        last = (sum_(OPS["logical_not"].one(nans), -1, True) - 1).clamp(min=0).to(x.dtype)
        ranks = q * last
    else:
        ranks = q * float(x.size(-1) - 1)
        ranks = ranks + x.new_zeros((*x.shape[:-1], 1))
        missing = any_(nans, -1, True)
        ranks = where(missing, float(x.size(-1) - 1), ranks)  # the last of a sorted row is NaN
    choose = _WEIGHTS[interpolation]
    if choose is not None:
        return values.gather(-1, choose(ranks.detach()).long())
    low = values.gather(-1, ranks.detach().floor().long())
    high = values.gather(-1, ranks.detach().ceil().long())
    if interpolation == "midpoint":
        return low.lerp(high, 0.5)
    return low.lerp(high, ranks - ranks.detach().floor())


def quantile(input: Tensor, q: Tensor | float, dim: int | None = None, keepdim: bool = False, *,
             interpolation: str = "linear") -> Tensor:
    """The entries below which lies a share `q` of those along `dim`, or of all.

    Args:
        q: numbers from 0 to 1, one or a vector, whose axis comes first in the result.
        interpolation: what to take between two entries: "linear", "lower", "higher", "midpoint"
            or "nearest".
    """
    return _quantile("quantile", input, q, dim, keepdim, interpolation, False)


def nanquantile(input: Tensor, q: Tensor | float, dim: int | None = None, keepdim: bool = False, *,
                interpolation: str = "linear") -> Tensor:
    """`quantile` of the entries that are not NaN."""
    return _quantile("nanquantile", input, q, dim, keepdim, interpolation, True)


_AMINMAX = named("aminmax", "min", "max")


def aminmax(input: Tensor, *, dim: int | None = None, keepdim: bool = False):
    """(min, max) along `dim` or of all; ties share the gradient evenly."""
    if dim is None:
        if not input._layout.numel:
            raise RuntimeError("aminmax(): cannot compute aminmax over an empty dimension as the "
                               "operation has no identity.")
        found = amin(input), amax(input)
        return _AMINMAX(*[reshape(t, (1,) * input.dim()) if keepdim else t for t in found])
    d = _one_axis("aminmax", input, dim)
    return _AMINMAX(amin(input, d, keepdim), amax(input, d, keepdim))


def diff(input: Tensor, n: int = 1, dim: int = -1, prepend: Tensor | None = None,
         append: Tensor | None = None) -> Tensor:
    """The n-th differences of neighbours along `dim`, of what `prepend` and `append` make longer."""
    if not input.dim():
        raise RuntimeError("diff expects input to be at least one-dimensional")
    if n < 0:
        raise RuntimeError(f"order must be non-negative but got {n}")
    d = axis(input, dim)
    ends = [t for t in (prepend, input, append) if t is not None]
    for t in ends:
        if t.dim() != input.dim():
            raise RuntimeError("diff expects prepend or append to be the same dimension as input")
    joined = cat(ends, d) if len(ends) > 1 else input
    if n == 0:
        return joined.clone() if joined is input else joined
    for _ in range(n):
        size = joined.size(d)
        if size < 2:
            return narrow(joined, d, 0, 0)
        after, before = narrow(joined, d, 1, size - 1), narrow(joined, d, 0, size - 1)
        joined = OPS["ne"].two(after, before) if joined.dtype is dtypes.bool_ else after - before
    return joined


def _widths(name: str, y: Tensor, x, dx, d: int) -> Tensor | float:
    """The steps along an axis of samples at `x`, or `dx`."""
    if x is None:
        return 1.0 if dx is None else dx
    if not isinstance(x, Tensor):
        raise TypeError(f"{name}(): argument 'x' must be Tensor, not {type(x).__name__}")
    if x.dim() == 1:
        if x.size(0) != y.size(d):
            raise RuntimeError("There must be one `x` value for each sample point")
        x = reshape(x, (-1,) + (1,) * (y.dim() - d - 1))
        return diff(x, 1, 0)
    if x.dim() < y.dim():
        x = reshape(x, (1,) * (y.dim() - x.dim()) + tuple(x.shape))
    return diff(x, 1, d)


def _areas(name: str, y: Tensor, x, dx, dim: int) -> tuple[Tensor, int]:
    """The areas of the trapezoids between neighbours."""
    d = axis(y, dim)
    if y.dtype is dtypes.bool_ or (x is not None and isinstance(x, Tensor)
                                   and x.dtype is dtypes.bool_):
        raise RuntimeError(f"{name}: received a bool input for `x` or `y`, but bool is not supported")
    steps = _widths(name, y, x, dx, d)
    size = y.size(d)
    both = narrow(y, d, 0, max(size - 1, 0)) + narrow(y, d, min(1, size), max(size - 1, 0))
    return both * steps, d


def trapezoid(y: Tensor, x: Tensor | None = None, *, dx=None, dim: int = -1) -> Tensor:
    """The area under `y` along `dim` by trapezoids, of points `x`, or `dx` (1) apart."""
    d = axis(y, dim)
    if y.dim() and not y.size(d):
        return y.new_zeros(tuple(n for k, n in enumerate(y.shape) if k != d))
    if x is None and y.dtype is not dtypes.bool_:
        ends = y.select(d, 0) + y.select(d, -1)
        return (y.sum(d) - ends * 0.5) * (1.0 if dx is None else dx)
    return _areas("trapezoid", y, x, dx, dim)[0].sum(d) / 2.0


def cumulative_trapezoid(y: Tensor, x: Tensor | None = None, *, dx=None, dim: int = -1) -> Tensor:
    """The areas under `y` up to each point but the first."""
    areas, d = _areas("cumulative_trapezoid", y, x, dx, dim)
    return areas.cumsum(d) / 2.0


def _shrinking(input: Tensor, p: float, dim: int, maxnorm: float) -> Tensor:
    """The factors of `renorm`."""
    if p <= 0:
        raise RuntimeError("renorm: non-positive-norm not supported")
    if maxnorm < 0:
        raise RuntimeError(f"renorm: expected maxnorm to be >= 0 but got {maxnorm:g}")
    if input.dim() < 2:
        raise RuntimeError(f"renorm: input needs at least 2 dimensions, got {input.dim()} dimensions")
    d = axis(input, dim)
    lengths = norm(input, p, tuple(k for k in range(input.dim()) if k != d), True)
    return where(lengths > maxnorm, maxnorm / (lengths + 1e-7), 1.0)


def renorm(input: Tensor, p: float, dim: int, maxnorm: float) -> Tensor:
    """Slices along `dim` scaled down to the p-norm `maxnorm` where theirs is larger."""
    return input * _shrinking(input, p, dim, maxnorm)


def renorm_(input: Tensor, p: float, dim: int, maxnorm: float) -> Tensor:
    """`renorm`, in place."""
    return input.mul_(_shrinking(input.clone(), p, dim, maxnorm))


def dist(input: Tensor, other: Tensor, p: float = 2) -> Tensor:
    """The p-norm of input - other."""
    return norm(input - other, p)


def cov(input: Tensor, *, correction: int = 1, fweights: Tensor | None = None,
        aweights: Tensor | None = None) -> Tensor:
    """The covariances of the rows of a matrix of variables and observations.

    Args:
        fweights: how often each observation counts, integers.
        aweights: how much each observation counts, floats.
    """
    if input.dim() > 2:
        raise RuntimeError("cov(): expected input to have two or fewer dimensions but got an input "
                           f"with {input.dim()} dimensions")
    if input.dtype is dtypes.bool_:
        raise RuntimeError("cov(): bool dtype is not supported for input")
    rows = reshape(input, (1, -1)) if input.dim() < 2 else input
    count = rows.size(1)
    weights = None
    for name, w in (("fweights", fweights), ("aweights", aweights)):
        if w is not None:
            _check_weights(name, w, count)
            weights = w if weights is None else weights * w
    if weights is None:
        total: Tensor | float = float(count)
        middle = rows.sum(1, True) / count if count else rows.sum(1, True) * math.nan
    else:
        total = weights.sum()
        middle = (rows * weights).sum(1, True) / total
    if weights is None or aweights is None or not correction:
        freedom = total - correction
    else:
        freedom = total - correction * (weights * aweights).sum() / total
    freedom = max(freedom, 0) if isinstance(freedom, float) else freedom.clamp(min=0)
    spread = rows - middle
    other = spread if weights is None else spread * weights
    product = spread @ transpose(other, 0, 1).to(spread.dtype)
    found = product / freedom
    return squeeze(squeeze(found, -1), -1) if found.size(0) == 1 else found


def _check_weights(name: str, w: Tensor, count: int) -> None:
    if w.dim() > 1:
        raise RuntimeError(f"cov(): expected {name} to have one or fewer dimensions but got {name} "
                           f"with {w.dim()} dimensions")
    if (w.dtype.category == 1) is not (name == "fweights") or w.dtype.category == 0:
        kind = "integral" if name == "fweights" else "floating point"
        raise RuntimeError(f"cov(): expected {name} to have {kind} dtype but got {name} with "
                           f"{w.dtype.legacy} dtype")
    if w.numel() != count:
        raise RuntimeError(f"cov(): expected {name} to have the same numel as there are observations "
                           f"in the input but got {w.numel()} != {count}")
    if count and bool((w._values() < 0).any()):
        raise RuntimeError(f"cov(): {name} cannot be negative")


def corrcoef(input: Tensor) -> Tensor:
    """The correlations of the rows of a matrix of variables and observations."""
    if input.dim() > 2:
        raise RuntimeError("corrcoef(): expected input to have two or fewer dimensions but got an "
                           f"input with {input.dim()} dimensions")
    c = cov(input)
    if not c.dim():
        return c / c
    deviation = c.diagonal().sqrt()
    return (c / unsqueeze(deviation, -1) / unsqueeze(deviation, 0)).clamp(-1, 1)


def gradient(input: Tensor, *, spacing=1, dim=None, edge_order: int = 1) -> tuple[Tensor, ...]:
    """Derivatives of samples along every axis, or `dim`, by differences of neighbours.

    Args:
        spacing: the distance of samples, one for all axes or one an axis; or tensors of places.
        edge_order: 1 or 2, the order of the one-sided differences at the ends.
    """
    if edge_order not in (1, 2):
        raise RuntimeError("torch.gradient only supports edge_order=1 and edge_order=2.")
    dims = axes(input, dim)
    if isinstance(dim, (tuple, list)):
        dims = tuple(axis(input, d) for d in dim)
    spaces = list(spacing) if isinstance(spacing, (tuple, list)) else [spacing] * len(dims)
    if isinstance(spacing, Tensor):
        raise TypeError("gradient(): argument 'spacing' must be a number or several, not Tensor")
    if len(spaces) != len(dims):
        raise RuntimeError(f"torch.gradient expected spacing to be unspecified, a scalar, or a list "
                           f"of length equal to 'self.dim() = {input.dim()}', since dim argument was "
                           f"not given, but got a list of length {len(spaces)}")
    if input.dtype is dtypes.uint8:
        raise RuntimeError("torch.gradient does not support uint8 input.")
    for h in spaces:
        if not isinstance(h, Tensor) and number(h) is None:
            raise TypeError("gradient(): argument 'spacing' must be a number or several, not "
                            f"{type(h).__name__}")
    for h in (input, *spaces):
        if isinstance(h, Tensor) and h.dtype is dtypes.bool_:
            raise RuntimeError("Subtraction, the `-` operator, with two bool tensors is not supported")
        if isinstance(h, Tensor) and h is not input and h.dim() != 1:
            raise RuntimeError("torch.gradient expected each element of spacing to have one "
                               f"dimension, but got an element with {h.dim()} dimensions!")
    for d, h in zip(dims, spaces):
        if isinstance(h, Tensor) and h.size(0) != input.size(d):
            raise RuntimeError(f"The size of tensor a ({input.size(d)}) must match the size of "
                               f"tensor b ({h.size(0)}) at dimension {d}")
        if input.size(d) < edge_order + 1:
            raise RuntimeError("torch.gradient expected each dimension size to be at least "
                               "edge_order+1")
    if input.dtype.category < 2:
        input = input.to(dtypes.get_default_dtype())
    return tuple([_slope(input, d, h, edge_order) for d, h in zip(dims, spaces)])


def _slope(t: Tensor, d: int, h, order: int) -> Tensor:
    """The derivative along an axis of samples `h` apart, or at places `h`."""
    n = t.size(d)

    def at(start: int, count: int = 1) -> Tensor:
        return narrow(t, d, start % n, count)

    if isinstance(h, Tensor):
        steps = diff(reshape(h, (-1,) + (1,) * (t.dim() - d - 1)), 1, 0).to(t.dtype)
    else:
        steps = t.new_full((n - 1,) + (1,) * (t.dim() - d - 1), float(h))
    a, b = narrow(steps, 0, 0, n - 2), narrow(steps, 0, 1, n - 2)
    parts = []
    if order == 1:
        parts.append((at(1) - at(0)) / narrow(steps, 0, 0, 1))
    else:
        u, v = narrow(steps, 0, 0, 1), narrow(steps, 0, 1, 1)
        parts.append(at(0) * (-(2 * u + v) / (u * (u + v))) + at(1) * ((u + v) / (u * v))
                     - at(2) * (u / (v * (u + v))))
    if n > 2:
        parts.append(at(0, n - 2) * (-b / (a * (a + b))) + at(1, n - 2) * ((b - a) / (a * b))
                     + at(2, n - 2) * (a / (b * (a + b))))
    if order == 1:
        parts.append((at(-1) - at(-2)) / narrow(steps, 0, n - 2, 1))
    else:
        u, v = narrow(steps, 0, n - 3, 1), narrow(steps, 0, n - 2, 1)
        parts.append(at(-3) * (v / (u * (u + v))) - at(-2) * ((u + v) / (u * v))
                     + at(-1) * ((u + 2 * v) / (v * (u + v))))
    return cat(parts, d)


FUNCTIONS = {f.__name__: f for f in (
    nansum, nanmean, median, nanmedian, mode, quantile, nanquantile, aminmax, diff, renorm, renorm_,
    dist, cov, corrcoef)}
PACKAGE_ONLY: dict = {"trapezoid": trapezoid, "trapz": trapezoid, "gradient": gradient,
                "cumulative_trapezoid": cumulative_trapezoid}
