"""Tensors over the memory of other libraries' arrays, and theirs over ours."""

from nbgrad.ops.interop import dlpack as to_dlpack
from nbgrad.ops.methods import PACKAGE

from_dlpack = PACKAGE["from_dlpack"]

__all__ = ["from_dlpack", "to_dlpack"]
