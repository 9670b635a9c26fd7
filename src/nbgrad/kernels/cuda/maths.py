"""The standard library's `math` for CUDA kernels, which call NVIDIA's libdevice.

Largest errors are libdevice's, one to three units in the last place for float32; rows of float32 take
what is in `single` instead. What libdevice lacks or misses by more than two units in float64 (erfc,
lgamma) is computed by the CPU's formulas. Under the simulator functions are NumPy's: they never raise.
"""

import math
from math import *  # noqa: F403
from math import fmod
from types import SimpleNamespace

import numpy as np

from nbgrad.kernels.cpu.elementary import half
from nbgrad.kernels.cpu.elementary.error import erfc_64
from nbgrad.kernels.cpu.elementary.frexp import (  # noqa: F401
    exponent_32,
    exponent_64,
    mantissa_32,
    mantissa_64,
)
from nbgrad.kernels.cpu.elementary.gamma import digamma_64, polygamma_64
from nbgrad.kernels.cpu.elementary.half import from_bfloat16, to_bfloat16  # noqa: F401
from nbgrad.kernels.cpu.elementary.inverse import erfinv_64
from nbgrad.kernels.cpu.elementary.lgamma import lgamma_64
from nbgrad.kernels.cuda import single
from nbgrad.kernels.cuda.loops import SINGLE
from nbgrad.kernels.cuda.provider import SIMULATED, inline, libdevice

floor_32, ceil_32 = libdevice.floorf, libdevice.ceilf
trunc_32, rint_32 = libdevice.truncf, libdevice.rintf
floor_64, ceil_64, trunc_64, rint_64 = libdevice.floor, libdevice.ceil, libdevice.trunc, libdevice.rint
nextafter_32, nextafter_64 = libdevice.nextafterf, libdevice.nextafter
#: 2 ** x to two units in the last place, and the larger of two numbers, which may miss a NaN
exp2_32 = libdevice.exp2f
exp2 = exp2_64 = libdevice.exp2
largest_32, largest_64 = libdevice.fmaxf, libdevice.fmax
#: a * b that no sum is folded with, and a * b + c rounded once
times_32, times_64, fma_32, fma_64 = libdevice.fmul_rn, libdevice.dmul_rn, libdevice.fmaf, libdevice.fma


@inline
def from_half(h):
    """float32 of the bits of a float16: one instruction, where the CPU's formula is seven."""
    return libdevice.half2float(np.int16(h))


@inline
def to_half(x):
    """The bits of the nearest float16, ties to even."""
    return np.uint16(libdevice.float2half_rn(x))


@inline
def normal_cdf(x):
    """Of a standard normal number: half of erfc, which keeps the digits of small results."""
    return type(x)(0.5) * type(x)(math.erfc(-x * type(x)(math.sqrt(0.5))))


def _in_double(f):
    """A function of any float by the one of a float64."""
    @inline
    def function(x):
        return type(x)(f(np.float64(x)))

    return function


erfc, erfinv = _in_double(erfc_64), _in_double(erfinv_64)
lgamma, digamma = _in_double(lgamma_64), _in_double(digamma_64)


@inline
def polygamma(n, x):
    return type(x)(polygamma_64(np.float64(n), np.float64(x)))


@inline
def gcd(a, b):
    """The greatest common divisor of whole numbers, by Euclid; signs stay till the end.

    The least int64 has no absolute value.
    """
    while b != 0:
        a, b = b, a % b
    return abs(a)


@inline
def lcm(a, b):
    divisor = gcd(a, b)
    return abs(a // divisor * b) if divisor != 0 else divisor


@inline
def signbit(x):
    return math.copysign(1.0, x) < 0


@inline
def remainder(a, b):
    """What is left of `a` after whole `b`, with the sign of `b`; `a` itself where `b` is infinite."""
    rest, zero = fmod(a, b), type(a)(0)
    return rest + b if rest != zero and (rest < zero) != (b < zero) else rest


@inline
def floor_divide(a, b):
    """The whole number below a / b, through the remainder, so that it is not rounded up."""
    rest, zero, one = fmod(a, b), type(a)(0), type(a)(1)
    whole = (a - rest) / b
    if rest != zero and (rest < zero) != (b < zero):
        whole = whole - one
    below = type(a)(math.floor(whole)) if abs(whole) < type(a)(4e15) else whole
    below = below + one if whole - below > type(a)(0.5) else below
    found = below if whole != zero else math.copysign(zero, a / b)
    return a / b if b == zero else found


if SIMULATED:
    for _name in ("exp", "exp2", "expm1", "log", "log2", "log10", "log1p", "sqrt", "sin", "cos", "tan",
                  "sinh", "cosh", "tanh", "hypot", "copysign", "fmod"):
        globals()[_name] = getattr(np, _name)
    atanh = np.arctanh
    single = SimpleNamespace(**{name: globals()[name] for name in SINGLE})  # type: ignore[assignment]
    from_half, to_half = half.from_half, half.to_half
    floor_32 = floor_64 = np.floor
    ceil_32 = ceil_64 = np.ceil
    trunc_32 = trunc_64 = np.trunc
    rint_32 = rint_64 = np.rint
    nextafter_32 = nextafter_64 = np.nextafter
    times_32 = times_64 = np.multiply
    exp2_32 = exp2_64 = np.exp2
    largest_32 = largest_64 = np.fmax

    def fma_32(a, b, c):
        return np.float32(np.float64(a) * np.float64(b) + np.float64(c))

    def fma_64(a, b, c):
        return a * b + c

    asin, acos, atan, atan2 = np.arcsin, np.arccos, np.arctan, np.arctan2
    asinh, acosh = np.arcsinh, np.arccosh

    def erf(x):
        return type(x)(math.erf(x))

    def pow(a, b):
        return np.power(a, b)
