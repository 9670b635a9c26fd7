"""The standard library's `math` for CUDA kernels, which call NVIDIA's libdevice.

Largest errors are libdevice's, one to two units in the last place (CUDA C++ Programming Guide,
"Mathematical Functions"). Under the simulator functions are NumPy's, which raise nothing.
"""

import math
from math import *  # noqa: F403

import numpy as np

from nbgrad.kernels.cpu.elementary.gamma import digamma_64, polygamma_64
from nbgrad.kernels.cpu.elementary.half import (  # noqa: F401
    from_bfloat16,
    from_half,
    to_bfloat16,
    to_half,
)
from nbgrad.kernels.cpu.elementary.inverse import erfinv_64
from nbgrad.kernels.cuda.provider import SIMULATED, inline, libdevice

floor_32, ceil_32, trunc_32, rint_32 = libdevice.floorf, libdevice.ceilf, libdevice.truncf, libdevice.rintf
floor_64, ceil_64, trunc_64, rint_64 = libdevice.floor, libdevice.ceil, libdevice.trunc, libdevice.rint


@inline
def normal_cdf(x):
    """Of a standard normal number: half of erfc, which keeps the digits of small results."""
    return x.dtype.type(0.5) * math.erfc(-x * x.dtype.type(math.sqrt(0.5)))


@inline
def digamma(x):
    return type(x)(digamma_64(np.float64(x)))


@inline
def polygamma(n, x):
    return type(x)(polygamma_64(np.float64(n), np.float64(x)))


@inline
def erfinv(x):
    return type(x)(erfinv_64(np.float64(x)))


@inline
def exp2(x):
    return type(x)(2) ** x


def _plain(name, fallback=None):
    """A function of NumPy numbers that gives NaN and infinities where Python's raises."""
    known = getattr(np, name, None)

    def function(*args):
        if known is not None:
            return known(*args)
        try:
            return type(args[0])(getattr(math, name)(*map(float, args)))
        except OverflowError:
            return type(args[0])(math.inf)
        except ValueError:  # the logarithm of gamma at its poles
            return type(args[0])(math.inf if name == "lgamma" else math.nan)

    return function


if SIMULATED:
    for _name in ["exp", "exp2", "expm1", "log", "log2", "log10", "log1p", "sqrt", "sin", "cos", "tan", "sinh", "cosh", "tanh", "erf", "erfc", "lgamma", "hypot", "copysign"]:
        globals()[_name] = _plain(_name)
    floor_32 = floor_64 = np.floor
    ceil_32 = ceil_64 = np.ceil
    trunc_32 = trunc_64 = np.trunc
    rint_32 = rint_64 = np.rint
    asin, acos, atan, atan2 = np.arcsin, np.arccos, np.arctan, np.arctan2
    asinh, acosh, atanh = np.arcsinh, np.arccosh, np.arctanh

    def pow(a, b):
        return np.power(a, b)
