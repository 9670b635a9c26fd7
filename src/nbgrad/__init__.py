"""PyTorch's autograd with every kernel written in Python and compiled by Numba."""

__version__ = "0.1.0"

from math import e, inf, nan, pi
from typing import TYPE_CHECKING as _TYPE_CHECKING

from nbgrad import autograd
from nbgrad.config import quiet_collector as _quiet_collector
from nbgrad.devices import device
from nbgrad.dtypes import dtype, get_default_dtype, promote_types, set_default_dtype
from nbgrad.dtypes import bfloat16, float16, float32, float64, int8, int16, int32, int64, uint8
from nbgrad.engine.mode import enable_grad, inference_mode, is_grad_enabled
from nbgrad.engine.mode import is_inference_mode_enabled, no_grad, set_grad_enabled
from nbgrad.kernels.memory import empty_cache
from nbgrad.kernels.options import get_num_threads, set_num_threads
from nbgrad.ops import methods as _methods
from nbgrad.ops.axis_order import memory_format
from nbgrad.ops.show import show
from nbgrad.printing import set_printoptions
from nbgrad.tensor import Size, Tensor

from nbgrad.dtypes import bool_ as bool
from nbgrad.errors import CheckpointError, DataError, OutOfMemoryError
from nbgrad.io import load, save

float, double, half = float32, float64, float16
short, int, long = int16, int32, int64
newaxis = None
strided = "strided"
contiguous_format, preserve_format = map(memory_format, ("contiguous_format", "preserve_format"))
channels_last, channels_last_3d = map(memory_format, ("channels_last", "channels_last_3d"))
if _TYPE_CHECKING:
    from nbgrad.stubs import *
globals().update(_methods.PACKAGE)

from nbgrad import backends, cuda, data, func, graph, linalg, models, nn, optim, random, utils
from nbgrad.autograd import detect_nonfinite, explain

_quiet_collector()


def __getattr__(name: str):
    """Names of PyTorch that are missing for a reason."""
    missing = "module 'nbgrad' has no attribute " + repr(name)
    if "complex" in name or name in ("cfloat", "cdouble", "chalf", "polar", "fft"):
        missing += ": there are no complex numbers; keep real and imaginary parts as two tensors"
    raise AttributeError(missing)
