"""Places in sorted boundaries, and distinct entries; none of it has a gradient."""

from __future__ import annotations

from typing import Literal

import numpy as np

from nbgrad import dtypes
from nbgrad.kernels.backend import Twins
from nbgrad.ops.op import wrap
from nbgrad.ops.scatter import gather
from nbgrad.ops.shape import axis
from nbgrad.tensor import Tensor

kernels, layouts = Twins("search"), Twins("layouts")
first_out_of_range = Twins("index").first_out_of_range


def searchsorted(sorted_sequence: Tensor, input, *, out_int32: bool = False, right: bool = False,
                 side: Literal["left", "right"] | None = None,
                 sorter: Tensor | None = None) -> Tensor:
    """The first place of `sorted_sequence` (..., n) whose entry is not less than each of `input`.

    Args:
        input: values (..., m) or, for boundaries (n,), of any shape or a number.
        right: the first place whose entry is greater, instead; the same as side="right".
        sorter: the order in which `sorted_sequence` is sorted, where it is not by itself.

    Example:
        >>> import nbgrad
        >>> nbgrad.searchsorted(nbgrad.tensor([1.0, 3.0, 5.0]), nbgrad.tensor([3.0, 9.0]))
        tensor([1, 3])
    """
    if side not in (None, "left", "right"):
        raise RuntimeError("torch.searchsorted(): side can only be 'left' or 'right' but got "
                           f"{side}")
    if side == "left" and right:
        raise RuntimeError("torch.searchsorted(): side and right can't be set to opposites, got "
                           "side of left while right was True")
    own, shape = sorted_sequence._layout.shape, input._layout.shape if isinstance(input, Tensor) else ()
    if not own:
        raise RuntimeError("torch.searchsorted(): boundaries tensor should have positive "
                           "dimension, but got 0 dimension")
    if len(own) > 1 and not shape:
        raise RuntimeError("torch.searchsorted(): input value can be a scalar only when boundaries "
                           f"tensor dimension is 1, but we got boundaries tensor dim({len(own)}) "
                           "and input value's dim(0) numel(1)")
    if len(own) > 1 and shape[:-1] != own[:-1]:
        raise RuntimeError(
            "torch.searchsorted(): boundaries tensor should be 1 dimension or the first N-1 "
            "dimensions of boundaries tensor and input value tensor must match, but we got "
            f"boundaries tensor {list(own)} and input value tensor {list(shape)}")
    bounds = sorted_sequence if sorter is None else _in_order(sorted_sequence, sorter)
    rows = (bounds._layout.numel // own[-1], own[-1]) if bounds._layout.numel else (1, 0)
    places = kernels.search(layouts.contiguous(bounds._array()).reshape(rows),
                            layouts.contiguous(_values(input, bounds)._array()).reshape(-1),
                            right or side == "right").reshape(shape)
    return wrap(layouts.cast(places, np.int32) if out_int32 else places)


def _values(input, like: Tensor) -> Tensor:
    """The values to look for, which may be one number."""
    if isinstance(input, Tensor):
        return input
    whole = isinstance(input, float) and like._layout.dtype.category < 2
    return like.new_full((), input, dtype=dtypes.float64 if whole else like._layout.dtype)


def _in_order(bounds: Tensor, sorter: Tensor) -> Tensor:
    own, order = bounds._layout, sorter._layout
    if order.shape != own.shape:
        raise RuntimeError("torch.searchsorted(): boundary and sorter must have the same size, but "
                           f"got boundary tensor {list(own.shape)} and got sorter tensor "
                           f"{list(order.shape)}")
    if order.dtype is not dtypes.int64:
        raise RuntimeError("torch.searchsorted(): sorter must be a tensor of long dtype but got "
                           f"dtype {order.dtype.legacy}")
    if first_out_of_range(sorter._array(), 0, own.shape[-1]) >= 0:
        raise RuntimeError("torch.searchsorted(): sorter index out of range")
    return gather(bounds.detach(), -1, sorter)


def bucketize(input, boundaries: Tensor, *, out_int32: bool = False,
              right: bool = False) -> Tensor:
    """`searchsorted` with the values first, among `boundaries` (n,)."""
    if boundaries.dim() != 1:
        raise RuntimeError("torch.searchsorted(): boundaries tensor must be 1 dimension, but got "
                           f"dim({boundaries.dim()})")
    return searchsorted(boundaries, input, out_int32=out_int32, right=right)


def unique(input: Tensor, sorted: bool = True, return_inverse: bool = False,
           return_counts: bool = False, dim: int | None = None):
    """The distinct entries in order, or the distinct parts along `dim`.

    Args:
        return_inverse: also the place of each entry among the distinct ones.
        return_counts: also how often each distinct one occurs.

    Example:
        >>> import nbgrad
        >>> nbgrad.unique(nbgrad.tensor([3, 1, 3]))
        tensor([1, 3])
    """
    return _told_apart(kernels.distinct, kernels.distinct_parts, input, dim, return_inverse,
                       return_counts)


def unique_consecutive(input: Tensor, return_inverse: bool = False, return_counts: bool = False,
                       dim: int | None = None):
    """The entries, or the parts along `dim`, that differ from the one before."""
    return _told_apart(kernels.consecutive, kernels.consecutive_parts, input, dim, return_inverse,
                       return_counts)


def _parts(input: Tensor, dim: int) -> int:
    """The axis along which the parts of a tensor are told apart."""
    own = input._layout.shape
    if not own:
        raise IndexError(f"Dimension specified as {dim} but tensor has no dimensions")
    d = axis(input, dim)
    if 0 in own[:d] + own[d + 1:]:
        raise RuntimeError("There are 0 sized dimensions, and they aren't selected, so unique cannot "
                           "be applied")
    return d


def _told_apart(of_entries, of_parts, input: Tensor, dim: int | None, return_inverse: bool,
                return_counts: bool):
    """What is asked for of values, inverse and counts, of entries or of the parts along `dim`."""
    x = (input.float() if input._layout.dtype.half else input)._array()
    if dim is None:
        values, inverse, counts = of_entries(layouts.contiguous(x).reshape(-1))
        inverse = inverse.reshape(x.shape)
    else:
        values, inverse, counts = of_parts(x, _parts(input, dim))
    chosen = [wrap(values).to(input.dtype)]
    if return_inverse:
        chosen.append(wrap(layouts.cast(inverse, np.int64)))
    if return_counts:
        chosen.append(wrap(layouts.cast(counts, np.int64)))
    return chosen[0] if len(chosen) == 1 else tuple(chosen)


FUNCTIONS = {"unique": unique, "unique_consecutive": unique_consecutive}
PACKAGE_ONLY = {"searchsorted": searchsorted, "bucketize": bucketize}
