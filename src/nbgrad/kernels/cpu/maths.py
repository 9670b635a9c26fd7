"""The standard library's `math` for kernels: the common functions again, without a branch or a call.

A loop that calls libm handles one element at a time. The functions of elementary/ are arithmetic and
selects only, folded into the loops that call them, so that LLVM computes a register of elements at
once; this table gives them the names of `math`. Where it gives none, the name is the one of `math`.
Largest errors in units in the last place are below two: tests/kernels/test_maths.py measures them.
The polynomials are fitted by tools/fit_polynomials.py.

Four tricks recur:

- Adding 1.5 * 2^(p - 1), p the bits of a mantissa, rounds to an integer and leaves that integer
  in the low bits of the sum, with no conversion that a NaN or an infinity would break.
- 2^n is made by writing n + bias into the exponent's bits; twice 2^(n / 2) reaches subnormal and
  largest results too.
- x * ln 2 and x * pi / 2 are taken in parts with zeros at the end, whose products with small
  integers are exact (Cody and Waite 1980).
- What needs more bits than a float has is kept as a head and a rest. Products of heads are exact,
  so that nothing depends on whether the machine has fma (Dekker 1971).
"""

import math
from math import *  # noqa: F403

import numpy as np
from numba import types
from numba.extending import overload

from nbgrad.kernels.cpu.elementary.circle import cos_32, cos_64, sin_32, sin_64
from nbgrad.kernels.cpu.elementary.error import (
    erf_32,
    erf_64,
    normal_cdf_32,
    normal_cdf_64,
)
from nbgrad.kernels.cpu.elementary.exponential import (
    exp2_32,
    exp2_64,
    exp_32,
    exp_64,
    expm1_32,
    expm1_64,
    tanh_32,
    tanh_64,
)
from nbgrad.kernels.cpu.elementary.frexp import (
    exponent_32,
    exponent_64,
    mantissa_32,
    mantissa_64,
)
from nbgrad.kernels.cpu.elementary.gamma import digamma_64, polygamma_64
from nbgrad.kernels.cpu.elementary.half import (  # noqa: F401
    from_bfloat16,
    from_half,
    to_bfloat16,
    to_half,
)
from nbgrad.kernels.cpu.elementary.inverse import erfinv_64
from nbgrad.kernels.cpu.elementary.logarithm import (
    log1p_32,
    log1p_64,
    log2_32,
    log2_64,
    log10_32,
    log10_64,
    log_32,
    log_64,
)
from nbgrad.kernels.cpu.elementary.order import (
    complement_64,
    order_down_32,
    order_down_64,
    order_top_32,
    order_top_64,
)
from nbgrad.kernels.cpu.elementary.parts import i64
from nbgrad.kernels.cpu.elementary.power import pow_32, pow_64
from nbgrad.kernels.options import folded


def _kernels_only(*args):
    raise NotImplementedError("this function exists inside kernels only")


def _normal_cdf(x):
    number = type(x)
    return number(0.5) * (number(1) + math.erf(x * number(math.sqrt(0.5))))


_FOLDED = {"forceinline": True, "error_model": "numpy"}


@folded
def floor_divide(a, b):
    return a // b


@folded
def remainder(a, b):
    """What is left of `a` after whole `b`, with the sign of `b`."""
    return a % b


def _vectorised(plain, chosen):
    """A function that kernels take from `chosen` by the dtype of its argument.

    Plain Python, and the simulator of CUDA, call `plain`.
    """
    def function(x):
        return plain(x)

    @overload(function, jit_options=_FOLDED)
    def choose(x):
        f = chosen.get(x)
        return f and (lambda x: f(x))

    return function


def _vectorised_pair(plain, chosen):
    """The same with two arguments, chosen by the first."""
    def function(a, b):
        return plain(a, b)

    @overload(function, jit_options=_FOLDED)
    def choose(a, b):
        f = chosen.get(a)
        return f and (lambda a, b: f(a, b))

    return function


def _in_double(f):
    """A function of a float32 by the one of a float64."""
    return folded(lambda x: np.float32(f(np.float64(x))))


def _pair_in_double(f):
    return folded(lambda a, b: np.float32(f(np.float64(a), np.float64(b))))


_INTEGERS = (types.boolean, types.uint8, types.int8, types.int16, types.int32, types.int64)


def _floats(for_32, for_64, for_integers=None):
    return {types.float32: for_32, types.float64: for_64} | dict.fromkeys(_INTEGERS, for_integers)


exp = _vectorised(math.exp, _floats(exp_32, exp_64))
exp2 = _vectorised(math.exp2, _floats(exp2_32, exp2_64))
expm1 = _vectorised(math.expm1, _floats(expm1_32, expm1_64))
tanh = _vectorised(math.tanh, _floats(tanh_32, tanh_64))
log = _vectorised(math.log, _floats(log_32, log_64))
log2 = _vectorised(math.log2, _floats(log2_32, log2_64))
log10 = _vectorised(math.log10, _floats(log10_32, log10_64))
log1p = _vectorised(math.log1p, _floats(log1p_32, log1p_64))
pow = _vectorised_pair(math.pow, _floats(pow_32, pow_64))
erf = _vectorised(math.erf, _floats(erf_32, erf_64))
normal_cdf = _vectorised(_normal_cdf, _floats(normal_cdf_32, normal_cdf_64))
erfinv = _vectorised(_kernels_only, _floats(_in_double(erfinv_64), erfinv_64))
digamma = _vectorised(_kernels_only, _floats(_in_double(digamma_64), digamma_64))
polygamma = _vectorised_pair(_kernels_only, _floats(_pair_in_double(polygamma_64), polygamma_64))
mantissa = _vectorised(lambda x: math.frexp(x)[0], _floats(mantissa_32, mantissa_64))
exponent = _vectorised(lambda x: math.frexp(x)[1], _floats(exponent_32, exponent_64))
near_sin = _vectorised(math.sin, _floats(sin_32, sin_64))
near_cos = _vectorised(math.cos, _floats(cos_32, cos_64))
order_top = _vectorised(_kernels_only, _floats(order_top_32, order_top_64, i64))
order_down = _vectorised(_kernels_only, _floats(order_down_32, order_down_64, complement_64))
