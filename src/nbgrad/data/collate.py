"""Joining samples into a batch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np


def _stack(arrays: list[np.ndarray]) -> Any:
    from nbgrad.ops.create import from_numpy

    shapes = {array.shape for array in arrays}
    if len(shapes) > 1:
        raise ValueError(
            f"default_collate: samples of different shapes, {sorted(shapes)}; crop or resize them "
            "to one size, or pass a collate_fn"
        )
    return from_numpy(np.stack(arrays))


def default_collate(samples: Sequence[Any]) -> Any:
    """Stack samples along a new first axis.

    Arrays, Tensors and numbers become one Tensor (Python floats float64, as in PyTorch); dicts
    and tuples are collated entry by entry; strings stay a list.

    Example:
        >>> images, labels = default_collate([(image0, 3), (image1, 5)])
    """
    first = samples[0]
    if isinstance(first, (str, bytes)):
        return list(samples)
    if getattr(first, "is_cuda", False):
        from nbgrad.ops.join import stack

        return stack(list(samples))
    if hasattr(first, "detach"):
        return _stack([sample.detach().numpy() for sample in samples])
    if isinstance(first, (np.ndarray, np.generic, bool, int, float)):
        return _stack([np.asarray(sample) for sample in samples])
    if isinstance(first, Mapping):
        return {key: default_collate([sample[key] for sample in samples]) for key in first}
    if isinstance(first, (tuple, list)):
        if len({len(sample) for sample in samples}) > 1:
            raise ValueError("default_collate: samples are sequences of different lengths")
        columns = [default_collate(column) for column in zip(*samples)]
        return type(first)(*columns) if hasattr(first, "_fields") else tuple(columns)
    raise TypeError(
        f"default_collate: cannot make a Tensor of {type(first).__name__}; convert it in the "
        "dataset (an image with transforms.ToArray()), or pass a collate_fn"
    )


def pinned(batch: Any) -> Any:
    """The batch with its tensors in pinned memory; objects with `pin_memory()` do that themselves."""
    if hasattr(batch, "pin_memory"):
        return batch if getattr(batch, "is_cuda", False) else batch.pin_memory()
    if isinstance(batch, Mapping):
        return {key: pinned(value) for key, value in batch.items()}
    if isinstance(batch, (tuple, list)):
        entries = [pinned(entry) for entry in batch]
        return type(batch)(*entries) if hasattr(batch, "_fields") else type(batch)(entries)
    return batch
