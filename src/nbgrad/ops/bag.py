"""Sums, means and maxima of several rows of a table."""

from __future__ import annotations

from typing import Any

import numpy as np

from nbgrad import dtypes
from nbgrad.kernels.backend import Twins
from nbgrad.ops.create import beside
from nbgrad.ops.embedding import embedding
from nbgrad.ops.family import expect_tensor
from nbgrad.ops.index import index_add
from nbgrad.ops.mask import where
from nbgrad.ops.shape import reshape, unsqueeze
from nbgrad.tensor import Tensor

kernels, layouts = Twins("index"), Twins("layouts")


def _bags(input: Tensor, offsets: Tensor | None, include_last_offset: bool):
    """Where each bag starts in the flat list of indices, and where the last ends."""
    if input.dim() == 2:
        if offsets is not None:
            raise ValueError("if input is 2D, then offsets has to be None, as input is treated is a "
                             "mini-batch of fixed length sequences. However, found offsets of type "
                             f"{type(offsets)}")
        n, length = input._layout.shape
        return np.arange(n + 1) * length
    if input.dim() != 1:
        raise ValueError(f"input has to be 1D or 2D Tensor, but got Tensor of dimension "
                         f"{input.dim()}")
    if offsets is None:
        raise ValueError("offsets has to be a 1D Tensor but got None")
    if offsets.dim() != 1:
        raise ValueError("offsets has to be a 1D Tensor")
    starts, n = offsets._values().astype(np.int64), input._layout.numel
    if starts.size == 0 or starts[0] != 0:
        raise RuntimeError("offsets[0] has to be 0, i.e., the first sequence in the mini-batch has "
                           "to start from position 0.")
    if starts[-1] > n or (np.diff(starts) < 0).any():
        raise RuntimeError("offsets must not decrease, and offsets[-1] can not be greater than "
                           f"input's length {n}, but got offsets {starts.tolist()}")
    return np.append(starts[:-1] if include_last_offset else starts, starts[-1]
                     if include_last_offset else n)


def embedding_bag(input: Tensor, weight: Tensor, offsets: Tensor | None = None,
                  max_norm: float | None = None, norm_type: float = 2,
                  scale_grad_by_freq: bool = False, mode: str = "mean", sparse: bool = False,
                  per_sample_weights: Tensor | None = None, include_last_offset: bool = False,
                  padding_idx: int | None = None) -> Tensor:
    """The sum, mean or maximum of the rows of `weight` (n, d) that each bag of indices names.

    Args:
        input: indices, a bag a row (B, L); or all bags in one vector, with
        offsets: where each bag starts (B,).
        mode: "sum", "mean" or "max".
        per_sample_weights: a factor for each index, for "sum" only.
        include_last_offset: whether `offsets` ends with the end of the last bag.
        padding_idx: a row that counts for nothing.
    """
    expect_tensor("embedding_bag", input=input, weight=weight)
    for name, given in (("max_norm", max_norm is not None), ("sparse", sparse),
                        ("scale_grad_by_freq", scale_grad_by_freq)):
        if given:
            raise NotImplementedError(f"embedding_bag({name}=...) is not supported")
    if mode not in ("sum", "mean", "max"):
        raise ValueError("mode has to be one of sum, mean or max")
    if input._layout.dtype not in (dtypes.int32, dtypes.int64):
        raise RuntimeError("Expected tensor for argument #1 'indices' to have one of the following "
                           f"scalar types: Long, Int; but got {input._layout.dtype.legacy} instead")
    factors = per_sample_weights
    if factors is not None:
        if mode != "sum":
            raise NotImplementedError("embedding_bag: per_sample_weights was not None. "
                                      "per_sample_weights is only supported for mode='sum' (got "
                                      f"mode='{mode}').")
        if factors._layout.shape != input._layout.shape:
            raise ValueError("embedding_bag: If per_sample_weights is not None, then it must have "
                             f"the same shape as the input ({input.shape}), got {factors.shape}")
    ends = _bags(input, offsets, include_last_offset)
    rows, width = weight._layout.shape
    if padding_idx is not None and not -rows <= padding_idx < rows:
        raise RuntimeError(f"padding_idx must be within the number of embeddings, -{rows} through "
                           f"{rows - 1}, but got {padding_idx}")
    sizes = np.diff(ends)
    flat = reshape(input, (input._layout.numel,))[:int(ends[-1])]
    factors = None if factors is None else reshape(factors, (-1,))[:int(ends[-1])]
    if padding_idx is not None:
        idx = flat._values()
        kept = np.flatnonzero(idx != padding_idx % rows)
        sizes = np.bincount(np.repeat(np.arange(sizes.size), sizes)[kept], minlength=sizes.size)
        flat = beside(weight, idx[kept])
        factors = None if factors is None else factors[beside(weight, kept)]
    _check_rows(flat._stored(), rows)
    found = embedding(flat, weight)
    if factors is not None:
        found = found * unsqueeze(factors, 1)
    if mode == "max":
        return _largest(found, sizes)
    bag = beside(weight, np.repeat(np.arange(sizes.size), sizes))
    total = index_add(found.new_zeros((sizes.size, width)), 0, bag, found)
    if mode == "sum":
        return total
    return total / beside(
        weight, np.maximum(sizes, 1).astype(found._layout.dtype.np)[:, None])


def _check_rows(idx: Any, rows: int) -> None:
    bad = kernels.first_out_of_range(idx, 0, rows)
    if bad >= 0:
        raise RuntimeError("embedding_bag: Expected idx >= 0 && idx < num_embeddings but found idx "
                           f"to be {layouts.number(idx, bad)}")


def _largest(found: Tensor, sizes: np.ndarray) -> Tensor:
    """The maxima of consecutive rows, so many at a time; 0 of none."""
    if found._layout.numel == 0 or sizes.size == 0:
        return found.new_zeros((sizes.size, found._layout.shape[1]))
    steps = np.arange(sizes.max())
    inside = steps < sizes[:, None]
    places = np.where(inside, (np.cumsum(sizes) - sizes)[:, None] + steps, 0)
    parts = where(beside(found, inside[:, :, None]), found[beside(found, places)], -np.inf)
    return where(beside(found, sizes[:, None] > 0), parts.max(1)[0], 0.0)
