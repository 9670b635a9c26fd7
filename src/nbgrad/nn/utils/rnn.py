"""Sequences of unlike lengths in one tensor: padded, or packed step by step."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from nbgrad.ops.create import beside, from_numpy
from nbgrad.ops.ranges import arange
from nbgrad.ops.shape import cat, flatten, reshape
from nbgrad.tensor import Tensor


class _Packed(NamedTuple):
    data: Tensor
    batch_sizes: Tensor
    sorted_indices: Tensor | None
    unsorted_indices: Tensor | None


class PackedSequence(_Packed):
    """Sequences of unlike lengths, as `pack_padded_sequence` makes them; RNN modules take it.

    Attributes:
        data: the first step of all sequences, then the second of those that have one, ... (total, *).
        batch_sizes: how many sequences have each step.
        sorted_indices: the sequences by falling length, or None where they were so.
        unsorted_indices: the places of the sequences in that order.
    """

    def __new__(cls, data, batch_sizes=None, sorted_indices=None, unsorted_indices=None):
        if batch_sizes is None:
            data, batch_sizes = data
        if unsorted_indices is None:
            unsorted_indices = invert_permutation(sorted_indices)
        return super().__new__(cls, data, batch_sizes, sorted_indices, unsorted_indices)

    @property
    def sizes(self) -> tuple[int, ...]:
        """`batch_sizes` as numbers."""
        return tuple(self.batch_sizes.tolist())

    def to(self, *args, **kwargs) -> PackedSequence:
        """The same with data of another dtype."""
        data = self.data.to(*args, **kwargs)
        return self if data is self.data else type(self)(data, *self[1:])

    def float(self) -> PackedSequence:
        """The same in float32."""
        return type(self)(self.data.float(), *self[1:])

    def double(self) -> PackedSequence:
        """The same in float64."""
        return type(self)(self.data.double(), *self[1:])


def invert_permutation(permutation: Tensor | None) -> Tensor | None:
    """The places of 0, 1, 2, ... in a permutation (n,)."""
    if permutation is None:
        return None
    return permutation.new_empty(permutation.shape).scatter_(
        0, permutation, arange(permutation.numel(), device=permutation.device))


def places(sizes: Iterable[int], steps: int, batch_first: bool = False,
           order: np.ndarray | None = None) -> Tensor:
    """Where packed entries lie among the entries of a padded tensor, whose first axes are flat.

    Args:
        sizes: how many sequences have each step.
        steps: of the padded tensor.
        order: the sequences by falling length.
    """
    sizes = np.array(sizes, np.int64)
    step = np.repeat(np.arange(sizes.size), sizes)
    sequence = np.arange(sizes.sum()) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    sequence = sequence if order is None else order[sequence]
    return from_numpy(sequence * steps + step if batch_first else step * sizes[0] + sequence)


def pack_padded_sequence(input: Tensor, lengths, batch_first: bool = False,
                         enforce_sorted: bool = True) -> PackedSequence:
    """Pack padded sequences.

    Args:
        input: (T, B, *), or (B, T, *) if `batch_first`.
        lengths: of the B sequences.
        enforce_sorted: refuse lengths that do not fall.

    Example:
        >>> import nbgrad
        >>> nbgrad.nn.utils.rnn.pack_padded_sequence(nbgrad.tensor([[1, 2], [3, 0]]), [2, 1]).data
        tensor([1, 2, 3])
    """
    counts = np.array(lengths.tolist() if isinstance(lengths, Tensor) else lengths).astype(np.int64)
    if input.numel() == 0:
        raise RuntimeError("Cannot pack empty tensors.")
    if counts.ndim != 1:
        raise RuntimeError("'lengths' argument should be a 1D CPU int64 tensor, but got "
                           f"{counts.ndim}D")
    batch, steps = input.shape[:2] if batch_first else input.shape[1::-1]
    if counts.size != batch:
        raise RuntimeError("Expected `len(lengths)` to be equal to batch_size, but got "
                           f"{counts.size} (batch_size={batch})")
    order = None
    if not enforce_sorted:
        order = np.argsort(-counts, kind="stable")
        counts = counts[order]
    if counts[-1] <= 0 or counts.min() <= 0:
        raise RuntimeError("Length of all samples has to be greater than 0, but found an element in "
                           "'lengths' that is <= 0")
    if (np.diff(counts) > 0).any():
        raise RuntimeError("`lengths` array must be sorted in decreasing order when "
                           "`enforce_sorted` is True. You can pass `enforce_sorted=False` to "
                           "pack_padded_sequence and/or pack_sequence to sidestep this requirement")
    if counts[0] > steps:
        raise RuntimeError(f"Expected lengths of at most {steps}, the steps of the input, but got "
                           f"{counts[0]}")
    sizes = (counts > np.arange(counts[0])[:, None]).sum(1)
    data = flatten(input, 0, 1).index_select(
        0, places(sizes, steps, batch_first, order).to(input.device))
    return PackedSequence(data, from_numpy(sizes),
                          None if order is None else beside(input, order))


def _filled(entries: Tensor, at: Tensor, shape: tuple[int, ...], value: float) -> Tensor:
    """A padded tensor whose first two axes have this shape, with entries at their places."""
    rest = tuple(entries.shape[1:])
    padded = entries.new_full((shape[0] * shape[1], *rest), value)
    return reshape(padded.index_copy(0, at.to(entries.device), entries), (*shape, *rest))


def pad_packed_sequence(sequence: PackedSequence, batch_first: bool = False,
                        padding_value: float = 0.0,
                        total_length: int | None = None) -> tuple[Tensor, Tensor]:
    """(padded sequences, their lengths) of packed ones, in the order they had.

    Args:
        batch_first: (B, T, *) instead of (T, B, *).
        padding_value: what follows the end of a sequence.
        total_length: T, if it is not to be the largest length.
    """
    sizes = np.array(sequence.sizes)
    if total_length is not None and total_length < sizes.size:
        raise ValueError("Expected total_length to be at least the length of the longest sequence in "
                         f"input, but got total_length={total_length} and max sequence length being "
                         f"{sizes.size}")
    steps, batch = total_length or sizes.size, int(sizes[0])
    lengths = from_numpy((sizes[:, None] > np.arange(batch)).sum(0))
    order = None
    if sequence.sorted_indices is not None:
        order = sequence.sorted_indices._values()
        assert sequence.unsorted_indices is not None
        lengths = lengths[sequence.unsorted_indices.cpu()]
    at = places(sizes, steps, batch_first, order)
    shape = (batch, steps) if batch_first else (steps, batch)
    return _filled(sequence.data, at, shape, padding_value), lengths


def pad_sequence(sequences, batch_first: bool = False, padding_value: float = 0.0,
                 padding_side: str = "right") -> Tensor:
    """Sequences (length, *) side by side: (T, B, *), or (B, T, *) if `batch_first`.

    Args:
        padding_value: what fills up the shorter ones.
        padding_side: "right" or "left", where that goes.

    Example:
        >>> import nbgrad
        >>> nbgrad.nn.utils.rnn.pad_sequence([nbgrad.ones(3), nbgrad.ones(1)], batch_first=True)
        tensor([[1., 1., 1.],
                [1., 0., 0.]])
    """
    if not isinstance(sequences, Iterable):
        raise RuntimeError("pad_sequence: Expected iterable for input sequences, but got arg of type: "
                           f"{type(sequences)}")
    found = list(sequences)
    if not found:
        raise RuntimeError("received an empty list of sequences")
    if padding_side not in ("left", "right"):
        raise RuntimeError(f"Expected padding_side to be one of left or right, but got {padding_side}.")
    counts = np.array([t.shape[0] for t in found])
    batch, steps = len(found), int(counts.max())
    sequence = np.repeat(np.arange(batch), counts)
    step = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
    if padding_side == "left":
        step += np.repeat(steps - counts, counts)
    at = from_numpy(sequence * steps + step if batch_first else step * batch + sequence)
    return _filled(cat(found), at, (batch, steps) if batch_first else (steps, batch), padding_value)


def unpad_sequence(padded_sequences: Tensor, lengths: Tensor,
                   batch_first: bool = False) -> list[Tensor]:
    """The sequences of a padded tensor (T, B, *), or (B, T, *) if `batch_first`."""
    rows = padded_sequences if batch_first else padded_sequences.transpose(0, 1)
    return [row[:n] for row, n in zip(rows, lengths.tolist(), strict=True)]


def pack_sequence(sequences: list[Tensor], enforce_sorted: bool = True) -> PackedSequence:
    """Pack sequences (length, *)."""
    return pack_padded_sequence(pad_sequence(sequences), [t.shape[0] for t in sequences],
                                enforce_sorted=enforce_sorted)


def unpack_sequence(packed_sequences: PackedSequence) -> list[Tensor]:
    """The sequences (length, *) of packed ones."""
    return unpad_sequence(*pad_packed_sequence(packed_sequences, batch_first=True),
                          batch_first=True)
