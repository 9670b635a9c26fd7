"""Places in sorted boundaries, and distinct entries; none of it has a gradient."""

from __future__ import annotations

from typing import Literal

import numpy as np

from nbgrad.kernels.backend import Twins
from nbgrad.ops.op import wrap
from nbgrad.ops.shape import axis
from nbgrad.tensor import Tensor

first_out_of_range = Twins("index").first_out_of_range
search = Twins("search").search
sort = Twins("sort").sort


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
    bounds, (values, shape) = sorted_sequence._array(), _values(input, sorted_sequence)
    own = bounds.shape
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
    if sorter is not None:
        bounds = _in_order(bounds, sorter)
    places = search(bounds.reshape(-1, own[-1]) if bounds.size else np.empty((1, 0), bounds.dtype),
                    values.reshape(-1), right or side == "right").reshape(shape)
    return wrap(places.astype(np.int32) if out_int32 else places)


def _values(input, like: Tensor) -> tuple[np.ndarray, tuple[int, ...]]:
    """The values to look for, which may be one number, and their shape."""
    if isinstance(input, Tensor):
        return input._array(), input._layout.shape
    kind = np.float64 if isinstance(input, float) and like._layout.dtype.category < 2 \
        else like._layout.dtype.np
    return np.array(input, kind), ()


def _in_order(bounds: np.ndarray, sorter: Tensor) -> np.ndarray:
    order = sorter._array()
    if order.shape != bounds.shape:
        raise RuntimeError("torch.searchsorted(): boundary and sorter must have the same size, but "
                           f"got boundary tensor {list(bounds.shape)} and got sorter tensor "
                           f"{list(order.shape)}")
    if order.dtype != np.int64:
        raise RuntimeError("torch.searchsorted(): sorter must be a tensor of long dtype but got "
                           f"dtype {sorter._layout.dtype.legacy}")
    if first_out_of_range(order, 0, bounds.shape[-1]) >= 0:
        raise RuntimeError("torch.searchsorted(): sorter index out of range")
    return np.take_along_axis(bounds, order, -1)


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
    x = input._array()
    if dim is not None:
        d = axis(input, dim)
        values, inverse, counts = np.unique(x, return_inverse=True, return_counts=True, axis=d)
        return _chosen(values, inverse.reshape(-1), counts, return_inverse, return_counts)
    values, places = (a.reshape(-1) for a in sort(np.ascontiguousarray(x).reshape(1, -1), False))
    starts, ranks, counts = _runs(values[1:] != values[:-1], values.size)
    inverse = np.empty(values.size, np.int64)
    inverse[places] = ranks
    return _chosen(values[starts], inverse.reshape(x.shape), counts, return_inverse, return_counts)


def unique_consecutive(input: Tensor, return_inverse: bool = False, return_counts: bool = False,
                       dim: int | None = None):
    """The entries, or the parts along `dim`, that differ from the one before."""
    x = input._array()
    d = 0 if dim is None else axis(input, dim)
    lines = np.moveaxis(x.reshape(-1) if dim is None else np.atleast_1d(x), d, 0)
    differ = (lines[1:] != lines[:-1]).any(tuple(range(1, lines.ndim)))
    starts, inverse, counts = _runs(differ, len(lines))
    values = np.moveaxis(lines[starts], 0, d)
    inverse = inverse.reshape(x.shape) if dim is None else inverse
    return _chosen(values, inverse, counts, return_inverse, return_counts)


def _runs(differ: np.ndarray, n: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Where runs of equals start, the number of each entry's run, and how long they are."""
    first = np.concatenate([np.ones(min(n, 1), bool), differ])
    starts = np.flatnonzero(first)
    return starts, np.cumsum(first) - 1, np.diff(starts, append=n)


def _chosen(values, inverse, counts, return_inverse: bool, return_counts: bool):
    found = [wrap(values)]
    if return_inverse:
        found.append(wrap(inverse.astype(np.int64, copy=False)))
    if return_counts:
        found.append(wrap(counts.astype(np.int64, copy=False)))
    return found[0] if len(found) == 1 else tuple(found)


FUNCTIONS = {"unique": unique, "unique_consecutive": unique_consecutive}
PACKAGE_ONLY = {"searchsorted": searchsorted, "bucketize": bucketize}
