"""What a key `x[key]` means: its parts, as PyTorch reads tuples, lists, tensors and numbers."""

from __future__ import annotations

import operator
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np

from nbgrad import dtypes
from nbgrad.devices import CPU
from nbgrad.kernels import memory
from nbgrad.kernels.backend import Twins
from nbgrad.kernels.cuda.array import DeviceArray
from nbgrad.tensor import Tensor

copied, indices = Twins("layouts").copied, Twins("index").indices
#: What index arrays are: of the host, and of a device.
ARRAYS = (np.ndarray, DeviceArray)


def parts_of(key) -> tuple:
    """The key as a tuple of ints, slices, None, Ellipsis and int64 or bool arrays."""
    return tuple([_part(p) for p in (key if _is_tuple(key) else (key,))])


def _is_tuple(key) -> bool:
    """Whether a key lists parts: a tuple, or a short sequence that holds more than numbers."""
    if isinstance(key, (tuple, Tensor, np.ndarray)):
        return isinstance(key, tuple)
    if not isinstance(key, Sequence) or isinstance(key, (str, bytes)) or len(key) >= 32:
        return False
    return any(p is None or p is Ellipsis or isinstance(p, (slice, Tensor, np.ndarray, Sequence))
               for p in key)


def _part(p):
    if type(p) is Tensor and p._layout.shape:
        return index_array(p)
    if p is None or p is Ellipsis or isinstance(p, slice):
        return p
    if isinstance(p, (bool, np.bool_)):
        if isinstance(p, bool):
            return np.array(p)
    elif isinstance(p, (int, np.integer)):
        return small(int(p))
    elif isinstance(p, Tensor):
        array = index_array(p.outside().cpu())
        return int(array) if array.ndim == 0 and array.dtype == np.int64 else array
    elif isinstance(p, (Sequence, np.ndarray)):
        array = _from_sequence(p)
        return int(array) if array.ndim == 0 and array.dtype == np.int64 else array
    elif hasattr(p, "__index__"):
        return small(operator.index(p))
    raise IndexError("only integers, slices (`:`), ellipsis (`...`), None and long or byte "
                     f"Variables are valid indices (got {type(p).__name__})")


def small(number: int) -> int:
    """The number, if it fits 64 bits."""
    if not -2**63 <= number < 2**63:
        raise ValueError(_OVERFLOW)
    return number


_OVERFLOW = "Overflow when unpacking long long"


def index_array(t: Tensor) -> Any:
    """A copy of the indices in a tensor, as int64, or of the mask it is, as bool."""
    own = t._layout.dtype
    if (own is dtypes.int64 and t._layout.contiguous and t._layout.numel < memory.LARGE
            and t._layout.device is CPU):
        return t._array().copy()
    if own is dtypes.uint8:
        warnings.warn("indexing with dtype torch.uint8 is now deprecated, please use a dtype "
                      "torch.bool instead.", UserWarning, stacklevel=4)
        return copied(t._array(), np.bool_)
    if own is dtypes.bool_:
        return copied(t._array())
    if own.category == 2 or (own not in (dtypes.int64, dtypes.int32) and t._layout.shape):
        raise IndexError("tensors used as indices must be long, int, byte or bool tensors")
    return indices(t._array())


def _from_sequence(p) -> np.ndarray:
    """Indices from nested lists, ranges or a NumPy array: int64, or bool for a mask."""
    if isinstance(p, (str, bytes)):
        raise TypeError(f"new(): invalid data type '{type(p).__name__}'")
    array = p if isinstance(p, np.ndarray) else _stacked(p)
    if array.dtype.kind not in "biuf":
        raise TypeError(f"can't convert np.ndarray of type {array.dtype}: indices are integers")
    if array.dtype.kind == "b":
        return np.array(array)
    if array.dtype == np.uint8:
        return np.asarray(array != 0)
    with np.errstate(invalid="ignore"):
        return array.astype(np.int64)


def _stacked(p) -> np.ndarray:
    """An array of nested lists of numbers."""
    try:
        array = np.asarray(_plain(p))
    except ValueError as error:
        depths = {isinstance(q, Sequence) for q in p}
        raise (TypeError if len(depths) > 1 else ValueError)(str(error)) from None
    if array.dtype.kind == "O":
        raise _foreign(p)
    if array.dtype == np.uint64:
        raise ValueError(_OVERFLOW)
    return array


def _plain(p):
    """Nested lists of Python numbers from lists that may hold tensors."""
    if isinstance(p, (Tensor, np.ndarray)):
        return operator.index(p) if isinstance(p, Tensor) else p.tolist()
    if isinstance(p, (str, bytes)):
        raise TypeError(f"new(): invalid data type '{type(p).__name__}'")
    return [_plain(q) for q in p] if isinstance(p, Sequence) else p


def _foreign(p) -> Exception:
    """Why nested lists are no array."""
    if isinstance(p, int):
        return ValueError(_OVERFLOW)
    if not isinstance(p, Sequence):
        return RuntimeError(f"Could not infer dtype of {type(p).__name__}")
    for q in p:
        if q is None or not isinstance(q, (bool, int, float)):
            return _foreign(q)
    return ValueError(_OVERFLOW)


def takes(p) -> int:
    """How many axes of the tensor a part of the key stands for."""
    if isinstance(p, ARRAYS) and p.dtype == np.bool_:
        return p.ndim
    return 0 if p is None or p is Ellipsis else 1
