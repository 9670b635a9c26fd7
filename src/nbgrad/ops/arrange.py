"""Elements in another order or repeated: flip, roll, rot90, tile, repeat_interleave."""

from __future__ import annotations

import numpy as np

from nbgrad import dtypes
from nbgrad.kernels.backend import Twins
from nbgrad.kernels.cpu.rearrange import FEW
from nbgrad.ops.apply import apply
from nbgrad.ops.dims import Dims, Sizes, axes, axis, sizes, whole
from nbgrad.ops.family import expect_tensor
from nbgrad.ops.index import index_select
from nbgrad.ops.op import Op, wrap
from nbgrad.ops.shape import expand, ravel, repeat, reshape, transpose, unsqueeze
from nbgrad.tensor import Tensor

each = Twins("rearrange").each
each_adjoint = Twins("rearrange").each_adjoint
flipped = Twins("rearrange").flipped
rolled = Twins("rearrange").rolled


class Flip(Op):
    """Axes walked backwards; it is its own adjoint."""

    name = "Flip"

    def forward(self, x, dims):
        return flipped(x, dims)

    def backward(self, node, grad):
        return apply(FLIP, (grad,), node.attrs)


class Roll(Op):
    """Axes turned; attrs (shifts, dims)."""

    name = "Roll"

    def forward(self, x, shifts, dims):
        return rolled(x, shifts, dims)

    def backward(self, node, grad):
        shifts, dims = node.attrs
        return apply(ROLL, (grad,), (tuple([-s for s in shifts]), dims))


class RepeatEach(Op):
    """Every entry along an axis a few times in a row; attrs (times, axis)."""

    name = "RepeatInterleave"

    def forward(self, x, times, axis):
        return each(x, times, axis)

    def backward(self, node, grad):
        return apply(ADD_EACH, (grad,), node.attrs)


class AddEach(Op):
    """The adjoint: sums of a few neighbours along an axis."""

    name = "RepeatInterleaveBackward"

    def forward(self, gy, times, axis):
        return each_adjoint(gy, times, axis)

    def backward(self, node, grad):
        return apply(REPEAT_EACH, (grad,), node.attrs)


FLIP, ROLL, REPEAT_EACH, ADD_EACH = Flip(), Roll(), RepeatEach(), AddEach()


def flip(input: Tensor, *order, dims=None) -> Tensor:
    """The axes `dims` walked backwards, as a copy."""
    expect_tensor("flip", input=input)
    if not order and dims is None:
        raise TypeError('flip() missing 1 required positional arguments: "dims"')
    found = axes(input, sizes(order, dims))
    if len(set(found)) < len(found):
        twice = next(d for d in found if found.count(d) > 1)
        raise RuntimeError(f"dim {twice} appears multiple times in the list of dims")
    return apply(FLIP, (input,), (found if input._layout.shape else (),))


def fliplr(input: Tensor) -> Tensor:
    """Axis 1 walked backwards."""
    expect_tensor("fliplr", input=input)
    if input.dim() < 2:
        raise RuntimeError("Input must be >= 2-d.")
    return flip(input, 1)


def flipud(input: Tensor) -> Tensor:
    """Axis 0 walked backwards."""
    expect_tensor("flipud", input=input)
    if input.dim() < 1:
        raise RuntimeError("Input must be >= 1-d.")
    return flip(input, 0)


def rot90(input: Tensor, k: int = 1, dims: Sizes = (0, 1)) -> Tensor:
    """Turned `k` times by 90 degrees in the plane of two axes, from the first to the second."""
    expect_tensor("rot90", input=input)
    plane = sizes((), dims)
    if len(plane) != 2:
        raise RuntimeError(f"expected total rotation dims == 2, but got dims = {len(plane)}")
    if input.dim() < 2:
        raise RuntimeError(f"expected total dims >= 2, but got total dims = {input.dim()}")
    a, b = axes(input, plane)
    if a == b:
        raise RuntimeError(f"expected rotation dims to be different, but got dim0 = {plane[0]} and "
                           f"dim1 = {plane[1]}")
    turns = whole(k, "k") % 4
    if turns == 1:
        return transpose(flip(input, b), a, b)
    if turns == 2:
        return flip(input, a, b)
    return transpose(flip(input, a), a, b) if turns == 3 else input.clone()


def roll(input: Tensor, shifts: Dims, dims: Dims | None = None) -> Tensor:
    """Turned by `shifts` along `dims`, what leaves one end entering at the other; without `dims`,
    the flattened tensor."""
    expect_tensor("roll", input=input)
    steps = sizes((), shifts)
    places = () if dims is None else sizes((), dims)
    if not steps:
        raise RuntimeError("`shifts` required")
    if not places and len(steps) == 1:
        return reshape(roll(ravel(input), steps, 0), input._layout.shape)
    if len(places) != len(steps):
        raise RuntimeError(f"shifts and dimensions must align. shifts: {len(steps)}, "
                           f"dims:{len(places)}")
    if not input._layout.shape:
        raise IndexError(f"Dimension specified as {places[0]} but tensor has no dimensions")
    return apply(ROLL, (input,), (steps, axes(input, places)))


def tile(input: Tensor, *times, dims=None) -> Tensor:
    """The tensor repeated along its last axes, as many times as given."""
    expect_tensor("tile", input=input)
    found = sizes(times, dims)
    return repeat(input, (1,) * (input.dim() - len(found)) + found)


def repeat_interleave(input: Tensor, repeats=None, dim: int | None = None, *,
                      output_size: int | None = None) -> Tensor:
    """Every entry along `dim` repeated in place; without `dim`, those of the flattened tensor.

    Args:
        repeats: how often, a number for all or an int tensor with one an entry. Alone, such a
            tensor gives the entries' numbers: `repeat_interleave(tensor([1, 0, 2]))` is [0, 2, 2].
        output_size: the sum of `repeats`, if known.
    """
    expect_tensor("repeat_interleave", input=input)
    if repeats is None:
        return _expanded_counts(input, output_size)
    if not isinstance(repeats, Tensor):
        return _same_count(input, whole(repeats, "repeats"), dim, output_size)
    if repeats.dim() > 1:
        raise RuntimeError("repeats must be 0-dim or 1-dim tensor")
    if dim is None:
        input, dim = ravel(input), 0
    elif not input._layout.shape:
        input = reshape(input, 1)
    d = axis(input, dim)
    n = input._layout.shape[d]
    if repeats._layout.numel == 1:
        repeats = expand(reshape(repeats, 1), n)
    if repeats._layout.shape[0] != n:
        raise RuntimeError("repeats must have the same size as input along dim, but got "
                           f"repeats.size(0) = {repeats._layout.shape[0]} and input.size({d}) = {n}")
    return index_select(input, d, _expanded_counts(repeats, output_size).to(dtypes.int64))


def _expanded_counts(repeats: Tensor, output_size: int | None) -> Tensor:
    if repeats.dim() != 1:
        raise RuntimeError("repeat_interleave only accept 1D vector as repeat")
    if repeats.dtype not in (dtypes.int64, dtypes.int32):
        raise NotImplementedError("\"repeat_interleave_cpu\" not implemented for "
                                  f"'{repeats.dtype.legacy}'")
    counts = repeats._values()
    if counts.size and counts.min() < 0:
        raise RuntimeError("repeats can not be negative")
    if output_size is not None and output_size != counts.sum():
        raise RuntimeError("allocated size does not match required size")
    return wrap(np.repeat(np.arange(counts.size, dtype=counts.dtype), counts)).to(repeats.device)


def _same_count(t: Tensor, times: int, dim: int | None, output_size: int | None) -> Tensor:
    if times < 0:
        raise RuntimeError("Repeats must be non-negative")
    t = ravel(t) if dim is None else t
    d = axis(t, 0 if dim is None else dim)
    own = t._layout.shape or (1,)
    if output_size is not None and output_size != own[d] * times:
        raise RuntimeError(f"repeat_interleave: Invalid output_size, expected {own[d] * times} but "
                           f"got {output_size}")
    if 0 < times <= FEW:
        return apply(REPEAT_EACH, (reshape(t, own),), (times, d))
    spread = expand(unsqueeze(reshape(t, own), d + 1), own[:d + 1] + (times,) + own[d + 1:])
    return reshape(spread.clone().contiguous(), own[:d] + (own[d] * times,) + own[d + 1:])


def _repeat_interleave(self: Tensor, repeats, dim: int | None = None, *,
                       output_size: int | None = None) -> Tensor:
    """Every entry along `dim` repeated in place, `repeats` times."""
    return repeat_interleave(self, repeats, dim, output_size=output_size)


METHODS = {"repeat_interleave": _repeat_interleave}
PACKAGE_ONLY = {"repeat_interleave": repeat_interleave}
FUNCTIONS = {f.__name__: f for f in (flip, fliplr, flipud, rot90, roll, tile)}
