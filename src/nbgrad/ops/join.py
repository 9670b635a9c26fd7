"""Tensors beside each other and apart again: stacks, splits, grids and products."""

from __future__ import annotations

import itertools
import warnings
from functools import partial

import numpy as np

from nbgrad import dtypes
from nbgrad.kernels.layout import broadcast_shapes as _broadcast_shapes
from nbgrad.ops.apply import apply
from nbgrad.ops.create import beside, zeros
from nbgrad.ops.dims import Sizes, axis, sizes, whole
from nbgrad.ops.family import users_line
from nbgrad.ops.index import index_select
from nbgrad.ops.out import with_out
from nbgrad.ops.pad import CONSTANT_PAD
from nbgrad.ops.shape import cat, expand, narrow, reshape, split, stack, unsqueeze
from nbgrad.tensor import Size, Tensor


def _listed(tensors: tuple) -> list[Tensor]:
    """Tensors given one by one or as one list."""
    if len(tensors) == 1 and isinstance(tensors[0], (tuple, list)):
        tensors = tuple(tensors[0])
    for k, t in enumerate(tensors):
        if not isinstance(t, Tensor):
            raise TypeError(f"expected Tensor as element {k} in argument 0, but got "
                            f"{type(t).__name__}")
    return list(tensors)


# at least so many axes


def _atleast(name: str, raise_one):
    def function(*tensors):
        if len(tensors) == 1 and isinstance(tensors[0], Tensor):
            return raise_one(tensors[0])
        return tuple([raise_one(t) for t in _listed(tensors)])

    function.__name__ = name
    function.__doc__ = f"The tensor, or each of several, with {name[-2]} axes or more."
    return function


def _raised_1(t: Tensor) -> Tensor:
    return t if t.dim() else reshape(t, 1)


def _raised_2(t: Tensor) -> Tensor:
    return t if t.dim() > 1 else unsqueeze(t, 0) if t.dim() else reshape(t, 1, 1)


def _raised_3(t: Tensor) -> Tensor:
    if t.dim() > 2:
        return t
    if t.dim() == 2:
        return unsqueeze(t, -1)
    return unsqueeze(unsqueeze(t, 0), -1) if t.dim() else reshape(t, 1, 1, 1)


atleast_1d = _atleast("atleast_1d", _raised_1)
atleast_2d = _atleast("atleast_2d", _raised_2)
atleast_3d = _atleast("atleast_3d", _raised_3)


# stacks


_with_out = partial(with_out, error=TypeError)


def _some(name: str, tensors) -> list[Tensor]:
    found = _listed((tensors if isinstance(tensors, (tuple, list)) else list(tensors),))
    if not found:
        raise RuntimeError(f"{name} expects a non-empty TensorList")
    return found


@_with_out
def hstack(tensors) -> Tensor:
    """Tensors one after the other along axis 1; vectors along axis 0."""
    found = [_raised_1(t) for t in _some("hstack", tensors)]
    return cat(found, 0 if found[0].dim() == 1 else 1)


@_with_out
def vstack(tensors) -> Tensor:
    """Tensors one below the other along axis 0; vectors as rows."""
    return cat([_raised_2(t) for t in _some("vstack", tensors)], 0)


@_with_out
def dstack(tensors) -> Tensor:
    """Tensors one behind the other along axis 2."""
    return cat([_raised_3(t) for t in _some("dstack", tensors)], 2)


@_with_out
def column_stack(tensors) -> Tensor:
    """Tensors side by side; vectors as columns."""
    found = _some("column_stack", tensors)
    return hstack([t if t.dim() > 1 else reshape(t, t._layout.numel, 1) for t in found])


def block_diag(*tensors) -> Tensor:
    """The matrix with these matrices (or vectors, as rows) along its diagonal."""
    found = _listed(tensors)
    for k, t in enumerate(found):
        if t.dim() > 2:
            raise RuntimeError("torch.block_diag: Input tensors must have 2 or fewer dimensions. "
                               f"Input {k} has {t.dim()} dimensions")
    blocks = [_raised_2(t) for t in found]
    if not blocks:
        return zeros(1, 0)
    columns = sum(b._layout.shape[1] for b in blocks)
    rows, left = [], 0
    for b in blocks:
        right = left + b._layout.shape[1]
        rows.append(apply(CONSTANT_PAD, (b,), (((0, 0), (left, columns - right)), 0)))
        left = right
    return cat(rows)


# splits


def split_with_sizes(input: Tensor, split_sizes: Sizes, dim: int = 0) -> tuple[Tensor, ...]:
    """Consecutive parts along `dim`, of the sizes given."""
    if not isinstance(split_sizes, (tuple, list)):
        raise TypeError("split_with_sizes(): argument 'split_sizes' (position 2) must be tuple of "
                        f"ints, not {type(split_sizes).__name__}")
    return split(input, list(split_sizes), dim)


def tensor_split(input: Tensor, indices_or_sections: Tensor | int | Sizes,
                 dim: int = 0) -> tuple[Tensor, ...]:
    """Parts along `dim`, cut at the indices given, or so many of nearly one size."""
    if not input._layout.shape:
        raise RuntimeError("tensor_split expected at least a 1-dimensional tensor, but got a tensor "
                           "with 0 dims")
    given = indices_or_sections
    if isinstance(given, Tensor):
        if given.dtype is not dtypes.int64 or given.dim() > 1:
            raise RuntimeError("tensor_split expected tensor_indices_or_sections to be a zero- or "
                               "one-dimensional int64 tensor")
        given = given.tolist()
    d = axis(input, dim)
    n = input._layout.shape[d]
    if isinstance(given, (tuple, list)):
        cuts = [whole(k, "indices") for k in given]
    else:
        count = whole(given, "sections")
        if count <= 0:
            raise RuntimeError(f"number of sections must be larger than 0, got {count}")
        cuts = [n // count * k + min(k, n % count) for k in range(1, count)]
    places = [slice(a, b).indices(n)[:2] for a, b in zip([0, *cuts], [*cuts, n])]
    return tuple([narrow(input, d, a, max(b - a, 0)) for a, b in places])


def _evenly(name: str, rank: int, position: int):
    def function(input: Tensor, indices_or_sections: int | Sizes) -> tuple[Tensor, ...]:
        if input.dim() < rank:
            raise RuntimeError(f"torch.{name} requires a tensor with at least {rank} dimension, but "
                               f"got a tensor with {input.dim()} dimensions!")
        d = position if input.dim() > position else 0
        n, count = input._layout.shape[d], indices_or_sections
        if isinstance(count, int) and (count <= 0 or n % count):
            raise RuntimeError(f"torch.{name} attempted to split along dimension {d}, but the size "
                               f"of the dimension {n} is not divisible by the split_size {count}!")
        return tensor_split(input, indices_or_sections, d)

    function.__name__ = name
    function.__doc__ = f"Parts along axis {position}, so many of one size, or cut at indices."
    return function


hsplit, vsplit, dsplit = _evenly("hsplit", 1, 1), _evenly("vsplit", 2, 0), _evenly("dsplit", 3, 2)


# grids


def broadcast_tensors(*tensors) -> tuple[Tensor, ...]:
    """Views of the tensors in their common shape."""
    found = _listed(tensors)
    common: tuple[int, ...] = ()
    for t in found:
        both = _broadcast_shapes(common, t._layout.shape)
        if both is None:
            _mismatch(common, t._layout.shape)
        else:
            common = both
    return tuple([expand(t, common) for t in found])


def _mismatch(a: tuple[int, ...], b: tuple[int, ...]) -> None:
    k = next(k for k in range(1, min(len(a), len(b)) + 1) if a[-k] != b[-k] and 1 not in (a[-k], b[-k]))
    raise RuntimeError(f"The size of tensor a ({a[-k]}) must match the size of tensor b ({b[-k]}) at "
                       f"non-singleton dimension {max(len(a), len(b)) - k}")


def broadcast_shapes(*shapes) -> Size:
    """The common shape by broadcasting."""
    common: tuple[int, ...] = ()
    for k, one in enumerate(shapes):
        given = sizes((one,))
        if any(n < 0 for n in given):
            raise ValueError("Attempting to broadcast a dimension with negative length!")
        both = _broadcast_shapes(common, given)
        if both is None:
            raise RuntimeError(f"Attempting to broadcast a dimension of length {given[-1]} at -1! "
                               f"Mismatching argument at index {k} had {given}; but expected shape "
                               f"should be broadcastable to {list(common)}")
        common = both
    return Size(common)


def meshgrid(*tensors, indexing: str | None = None) -> tuple[Tensor, ...]:
    """Views of vectors (or numbers) as functions on the grid of all of them.

    Args:
        indexing: "ij": axis k belongs to tensor k; "xy": the first two axes are exchanged.
    """
    found = _listed(tensors)
    if not found:
        raise RuntimeError("meshgrid expects a non-empty TensorList")
    for t in found:
        if t.dim() > 1:
            raise RuntimeError("torch.meshgrid: Expected 0D or 1D tensor in the tensor list but got "
                               f"one of shape {list(t.shape)}")
        if t.dtype is not found[0].dtype:
            raise RuntimeError("torch.meshgrid expects all tensors to have the same dtype")
        if t.device != found[0].device:
            raise RuntimeError("torch.meshgrid expects all tensors to have the same device")
    if indexing is None:
        warnings.warn("torch.meshgrid: in an upcoming release, it will be required to pass the "
                      "indexing argument.", UserWarning, stacklevel=users_line())
    elif indexing not in ("ij", "xy"):
        raise RuntimeError('torch.meshgrid: indexing must be one of "xy" or "ij", but received: '
                           f"{indexing}")
    turned = indexing == "xy" and len(found) > 1
    if turned:
        found[:2] = found[1::-1]
    full = [t._layout.numel for t in found]
    grids = [expand(reshape(t, [-1 if j == k else 1 for j in range(len(found))]), full)
             for k, t in enumerate(found)]
    if turned:
        grids[:2] = grids[1::-1]
    return tuple(grids)


def cartesian_prod(*tensors) -> Tensor:
    """All choices of one element from each vector, as rows (count, vectors)."""
    found = _listed(tensors)
    for t in found:
        if t.dim() != 1:
            raise RuntimeError(f"Expect a 1D vector, but got shape {list(t.shape)}")
    if len(found) == 1:
        return found[0]
    return stack([g.flatten() for g in meshgrid(found, indexing="ij")], 1)


def combinations(input: Tensor, r: int = 2, with_replacement: bool = False) -> Tensor:
    """All choices of r elements of a vector, as rows (count, r)."""
    if input.dim() != 1:
        raise RuntimeError(f"Expect a 1D vector, but got shape {list(input.shape)}")
    if r < 0:
        raise RuntimeError(f"Expect a non-negative number, but got {r}")
    if r == 0:
        return input.new_empty(0)
    choose = itertools.combinations_with_replacement if with_replacement else itertools.combinations
    rows = np.array(list(choose(range(input._layout.numel), r)), np.int64).reshape(-1, r)
    return reshape(index_select(input, 0, beside(input, rows.reshape(-1))), rows.shape)


FUNCTIONS = {f.__name__: f for f in (
    atleast_1d, atleast_2d, atleast_3d, split_with_sizes, tensor_split, hsplit, vsplit, dsplit)}
PACKAGE_ONLY = {f.__name__: f for f in (
    hstack, vstack, dstack, column_stack, block_diag, broadcast_tensors, broadcast_shapes,
    meshgrid, cartesian_prod, combinations)} | {
    "row_stack": vstack, "cat": _with_out(cat), "concat": _with_out(cat),
    "concatenate": _with_out(cat), "stack": _with_out(stack)}
METHODS: dict = {}
