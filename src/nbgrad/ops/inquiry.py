"""Questions about tensors and dtypes."""

from __future__ import annotations

import numpy as np

from nbgrad import config, devices, dtypes
from nbgrad.dtypes import dtype as DType
from nbgrad.engine.saved import INFERENCE
from nbgrad.kernels.backend import resolve
from nbgrad.ops.elementwise import can_cast as _can_cast
from nbgrad.ops.family import expect_tensor
from nbgrad.tensor import Tensor


def is_tensor(obj) -> bool:
    """Whether it is a Tensor."""
    return isinstance(obj, Tensor)


def is_storage(obj) -> bool:
    """Whether it is a storage: there are none apart from tensors."""
    return False


def numel(input: Tensor) -> int:
    """How many elements there are."""
    expect_tensor("numel", input=input)
    return input._layout.numel


def is_floating_point(input: Tensor) -> bool:
    """Whether the dtype is a float's."""
    expect_tensor("is_floating_point", input=input)
    return input._layout.dtype.is_floating_point


def is_complex(input: Tensor) -> bool:
    """Whether the dtype is a complex number's: there is none."""
    expect_tensor("is_complex", input=input)
    return False


is_conj = is_neg = is_complex


def is_inference(input: Tensor) -> bool:
    """Whether the tensor was made in inference mode."""
    expect_tensor("is_inference", input=input)
    return input._counter is INFERENCE


def is_signed(input: Tensor) -> bool:
    """Whether the dtype holds negative numbers."""
    expect_tensor("is_signed", input=input)
    return input._layout.dtype.is_signed


def is_nonzero(input: Tensor) -> bool:
    """Whether the one element of a tensor is not zero."""
    expect_tensor("is_nonzero", input=input)
    return bool(input)


def is_same_size(input: Tensor, other: Tensor) -> bool:
    """Whether both have one shape."""
    expect_tensor("is_same_size", input=input, other=other)
    return input._layout.shape == other._layout.shape


def get_device(input: Tensor) -> int:
    """The number of the tensor's CUDA device, -1 for the CPU."""
    expect_tensor("get_device", input=input)
    return -1 if input._layout.device.index is None else input._layout.device.index


def resolve_conj(input: Tensor) -> Tensor:
    """The tensor itself: no conjugate is left to be done."""
    expect_tensor("resolve_conj", input=input)
    return input


resolve_neg = resolve_conj


def can_cast(from_: DType, to: DType) -> bool:
    """Whether an in-place op may store one dtype in the other: bool < int < float."""
    if not isinstance(from_, DType) or not isinstance(to, DType):
        raise TypeError("can_cast(): arguments must be dtypes")
    return _can_cast(from_, to)


def use_deterministic_algorithms(mode: bool, *, warn_only: bool = False) -> None:
    """Whether the same numbers must give the same bits each time, as they do unless one says False.

    Additions at equal indices on a CUDA device are faster in any order. The CPU keeps to one.
    """
    if not isinstance(mode, bool):
        raise TypeError("use_deterministic_algorithms(): argument 'mode' must be bool, not "
                        f"{type(mode).__name__}")
    config.DETERMINISTIC = mode


def are_deterministic_algorithms_enabled() -> bool:
    """What `use_deterministic_algorithms` was told last; True before."""
    return config.DETERMINISTIC


def get_default_device() -> devices.device:
    """Where new tensors lie."""
    return devices.default()


def set_default_device(device) -> None:
    """Say where new tensors lie."""
    devices.set_default(resolve(device))


class finfo:
    """The limits of a float dtype: bits, eps, max, min, tiny, smallest_normal, resolution."""

    def __init__(self, type: DType | None = None) -> None:
        type = type or dtypes.get_default_dtype()
        if not isinstance(type, DType) or not type.is_floating_point:
            raise TypeError("torch.finfo() requires a floating point input type. Use torch.iinfo to "
                            "handle 'torch.finfo'")
        found = type.limits()
        self.dtype, self.bits = type.name, found.bits
        self.eps, self.max, self.min = float(found.eps), float(found.max), float(found.min)
        self.tiny = self.smallest_normal = float(found.tiny)
        self.resolution = 10.0 ** -found.precision

    def __repr__(self) -> str:
        return (f"finfo(resolution={self.resolution:g}, min={self.min:g}, max={self.max:g}, "
                f"eps={self.eps:g}, smallest_normal={self.tiny:g}, tiny={self.tiny:g}, "
                f"dtype={self.dtype})")


class iinfo:
    """The limits of an integer dtype: bits, max, min."""

    def __init__(self, type: DType) -> None:
        if type is dtypes.bool_:
            raise TypeError("torch.bool is not supported by torch.iinfo")
        if not isinstance(type, DType) or type.category != 1:
            raise TypeError("torch.iinfo() requires an integer input type. Use torch.finfo to handle "
                            "'torch.iinfo'")
        found = np.iinfo(type.name)
        self.dtype, self.bits, self.min, self.max = type.name, found.bits, found.min, found.max

    def __repr__(self) -> str:
        return f"iinfo(min={self.min}, max={self.max}, dtype={self.dtype})"


METHODS = {"is_nonzero": is_nonzero, "is_same_size": is_same_size, "get_device": get_device,
           "is_signed": is_signed, "is_conj": is_conj, "is_neg": is_neg, "is_inference": is_inference,
           "resolve_conj": resolve_conj, "resolve_neg": resolve_neg}
PACKAGE_ONLY = METHODS | {f.__name__: f for f in (
    is_tensor, is_storage, numel, is_floating_point, is_complex, can_cast, get_default_device,
    set_default_device, use_deterministic_algorithms, are_deterministic_algorithms_enabled, finfo,
    iinfo)}
