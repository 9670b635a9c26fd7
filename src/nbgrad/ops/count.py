"""How often values occur, and where a flat index lies; none of it has a gradient."""

from __future__ import annotations

import math
from collections.abc import Sequence

from nbgrad import dtypes
from nbgrad.kernels.backend import Twins
from nbgrad.kernels.layout import common as same_device
from nbgrad.ops.elementwise import promote
from nbgrad.ops.family import expect_tensor, number
from nbgrad.ops.op import wrap
from nbgrad.ops.search import searchsorted
from nbgrad.ops.shape import unbind
from nbgrad.tensor import Tensor

count = Twins("index").count
histogram = Twins("index").histogram


def bincount(input: Tensor, weights: Tensor | None = None, minlength: int = 0) -> Tensor:
    """How often each of 0, 1, 2, … occurs in `input` (n,), or the sum of its weights (n,).

    Args:
        minlength: the least length of the result.

    Example:
        >>> import nbgrad
        >>> nbgrad.bincount(nbgrad.tensor([0, 2, 2]))
        tensor([1, 0, 2])
    """
    expect_tensor("bincount", input=input)
    if weights is not None:
        expect_tensor("bincount", weights=weights)
    if not isinstance(minlength, int):
        raise TypeError("bincount(): argument 'minlength' must be int, not "
                        f"{type(minlength).__name__}")
    own = input._layout
    if own.dtype.category != 1:
        raise NotImplementedError(f"\"bincount_cpu\" not implemented for '{own.dtype.legacy}'")
    if minlength < 0:
        raise RuntimeError("minlength should be >= 0")
    if own.shape == (0,):
        return input.new_zeros(minlength, dtype=dtypes.int64)
    if weights is not None and weights._layout.shape != own.shape:
        raise RuntimeError("weights should be 1-d and have the same length as input")
    counts = count(input._stored(), minlength) if len(own.shape) == 1 else None
    if counts is None:
        raise RuntimeError("bincount only supports 1-d non-negative integral inputs.")
    if weights is None:
        return wrap(counts)
    heavy = weights.detach().double()
    sums = heavy.new_zeros(counts.size).index_add_(0, input.long(), heavy)
    return sums.float() if weights._layout.dtype is dtypes.float32 else sums


def histc(input: Tensor, bins: int = 100, min: float = 0, max: float = 0) -> Tensor:
    """How many entries fall in each of `bins` equal parts of min … max; others are not counted.

    Where min == max, the range is that of the entries.
    """
    expect_tensor("histc", input=input)
    if not isinstance(bins, int):
        raise TypeError(f"histc(): argument 'bins' must be int, not {type(bins).__name__}")
    for name, value in (("min", min), ("max", max)):
        if number(value) is None:
            raise TypeError(f"histc(): argument '{name}' must be Number, not "
                            f"{type(value).__name__}")
    if bins <= 0:
        raise RuntimeError(f"torch.histogram(): bins must be > 0, but got {bins} for dimension 0")
    if input._layout.dtype.category < 2:
        raise NotImplementedError(f'"histogram_cpu" not implemented for '
                                  f"'{input._layout.dtype.legacy}'")
    x = input.detach().reshape(-1)
    x = x.float() if x._layout.dtype.half else x
    low, high = float(min), float(max)
    if low == high and x._layout.numel:
        low, high = x.min().item(), x.max().item()
    if not (math.isfinite(low) and math.isfinite(high)):
        raise RuntimeError(f"torch.histc: range of [{low}, {high}] is not finite")
    if low == high:
        low, high = low - 1, high + 1
    if low > high:
        raise RuntimeError("torch.histc: max must be larger than min")
    return wrap(histogram(x._stored(), low, high, bins)).to(input.dtype)


def isin(elements, test_elements, *, assume_unique: bool = False, invert: bool = False) -> Tensor:
    """Whether each of `elements` is among `test_elements`; one of the two may be a number."""
    tensors = [v for v in (elements, test_elements) if isinstance(v, Tensor)]
    given = [v for v in (elements, test_elements) if not isinstance(v, Tensor)]
    if not tensors or any(not isinstance(v, (bool, int, float)) for v in given):
        raise TypeError("isin() received an invalid combination of arguments - got "
                        f"({type(elements).__name__}, {type(test_elements).__name__})")
    for t in tensors:
        if t._layout.dtype is dtypes.bool_:
            raise RuntimeError("Unsupported input type encountered for isin(): Bool")
    same_device(*[t._layout for t in tensors])
    common = promote(tuple([t._layout for t in tensors]), tuple(given))
    common = dtypes.float32 if common.half else common
    found, among = (v.detach().to(common) if isinstance(v, Tensor)
                    else tensors[0].new_full((), v, dtype=common) for v in (elements, test_elements))
    last = among._layout.numel - 1
    if last < 0:
        return found.new_full(found._layout.shape, invert, dtype=dtypes.bool_)
    among = among.reshape(-1).sort()[0]
    at = searchsorted(among, found).clamp_(max=last)
    return among.take(at) != found if invert else among.take(at) == found


def unravel_index(indices: Tensor, shape) -> tuple[Tensor, ...]:
    """The index along each axis of `shape` of places in the flat tensor."""
    expect_tensor("unravel_index", indices=indices)
    if indices._layout.dtype.category != 1:
        raise TypeError("expected 'indices' to be integer dtype, but got "
                        f"torch.{indices._layout.dtype.name}")
    if not isinstance(shape, (int, Sequence)):
        raise TypeError("expected 'shape' to be int or sequence of ints, but got "
                        f"{type(shape).__name__}")
    sizes = (shape,) if isinstance(shape, int) else tuple(shape)
    for n in sizes:
        if not isinstance(n, int):
            raise TypeError(f"expected 'shape' sequence to only contain ints, but got {type(n)}")
    if any(n < 0 for n in sizes):
        raise ValueError(f"'shape' cannot have negative values, but got {sizes}")
    if 0 in sizes and indices._layout.numel:
        raise RuntimeError("ZeroDivisionError")
    steps = [math.prod(sizes[k + 1:]) for k in range(len(sizes))]
    each, size = (indices.new_tensor(numbers, dtype=dtypes.int64) for numbers in (steps, sizes))
    return unbind(indices.unsqueeze(-1) // each % size, -1)


FUNCTIONS = {"bincount": bincount, "histc": histc}
PACKAGE_ONLY = {"isin": isin, "unravel_index": unravel_index}
