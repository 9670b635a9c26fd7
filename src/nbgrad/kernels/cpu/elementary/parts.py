"""What the elementary functions are made of: polynomials, whole numbers, powers of two, heads."""

import math

import numpy as np
from numba.extending import intrinsic

from nbgrad.kernels.options import folded

f32, f64, i32, i64 = np.float32, np.float64, np.int32, np.int64

INF_32, NAN_32 = f32(math.inf), f32(math.nan)
ONE_32, TWO_32, HALF_32 = f32(1), f32(2), f32(0.5)
LOG2E, LN2 = 1 / math.log(2), math.log(2)
# ln 2 in two parts, the first of 9 and of 32 bits
LN2_HIGH_32, LN2_LOW_32 = f32(0.693359375), f32(-2.12194440e-4)
LN2_HIGH, LN2_LOW = 0.693147180369123816490, 1.90821492927058770002e-10
ROUND_32, ROUND = f32(1.5 * 2**23), 1.5 * 2.0**52
ROUND_BITS_32, ROUND_BITS = i32(0x4B400000), i64(0x4338000000000000)
# The same and the bias of exponents, once for `raised` (less one for half of that), twice for `scaled`
POWER_32, HALF_POWER_32 = f32(1.5 * 2**23 + 127), f32(1.5 * 2**23 + 126)
SCALE_32, SCALE = f32(1.5 * 2**23 + 2 * 127), 1.5 * 2.0**52 + 2 * 1023
# The bits of sqrt(1/2): mantissas are taken from there to sqrt(2)
ROOT_32, ROOT = i32(0x3F3504F3), i64(0x3FE6A09E667F3BCD)
HIGH_BITS = i64(-(2**32))


@intrinsic
def fma(typingctx, a, b, c):
    """a b + c, with one rounding on machines that have the instruction.

    Said where it is meant: a compiler that may fuse any sum takes either product of a b + c d, and
    not the same one in every loop. The product and the sum marked here fuse with nothing else.
    """
    def codegen(context, builder, sig, args):
        a, b, c = args
        return builder.fadd(builder.fmul(a, b, flags=("contract",)), c, flags=("contract",))

    return (a(a, a, a), codegen) if a == b == c else None


def _horner(names, x):
    text = names[-1]
    for name in names[-2::-1]:
        text = f"fma({text}, {x}, {name})"
    return text


def polynomial(dtype, *coefficients):
    """c0 + c1 x + c2 x^2 + ..., by Horner's scheme."""
    names = {f"c{k}": dtype(c) for k, c in enumerate(coefficients)}
    return folded(eval(f"lambda x: {_horner([*names], 'x')}", names | {"fma": fma}))


def split_polynomial(dtype, *coefficients):
    """The same with even and odd powers apart: a little less exact, and a loop waits less.

    Two short chains of steps, each of which needs the one before, take the place of a long one.
    """
    names = {f"c{k}": dtype(c) for k, c in enumerate(coefficients)}
    even, odd = _horner([*names][::2], "(x * x)"), _horner([*names][1::2], "(x * x)")
    return folded(eval(f"lambda x: fma({odd}, x, {even})", names | {"fma": fma}))


def estrin_polynomial(dtype, *coefficients):
    """The same by pairs, pairs of pairs and so on: a loop waits least, and loses a little more."""
    terms, scope, x = [f"c{k}" for k in range(len(coefficients))], {"fma": fma}, "x"
    scope.update(zip(terms, map(dtype, coefficients)))
    lines = []
    while len(terms) > 1:
        pairs = [f"fma({high}, {x}, {low})" for low, high in zip(terms[::2], terms[1::2])]
        terms = pairs + terms[len(terms) // 2 * 2:]
        if len(terms) > 1:
            lines.append(f"    {x * 2} = {x} * {x}\n")
            x *= 2
    exec(f"def estrin(x):\n{''.join(lines)}    return {terms[0]}\n", scope)
    return folded(scope["estrin"])


@folded
def integer_32(t):
    """n of t = n + ROUND."""
    return i32(f32(t).view(i32) - ROUND_BITS_32)


@folded
def integer_64(t):
    return f64(t).view(i64) - ROUND_BITS


@folded
def power_of_two_32(n):
    return i32(i32(n + i32(127)) << i32(23)).view(f32)


@folded
def power_of_two_64(n):
    return i64((n + 1023) << 52).view(f64)


@folded
def raised_32(t):
    """2^n of t = n + POWER, for n = -127 zero: the shift drops all but n and the bias."""
    return i32(f32(t).view(i32) << i32(23)).view(f32)


@folded
def scaled_32(x, t):
    """2^n x of t = n + SCALE, in two steps as `raised`."""
    whole = f32(t).view(i32)
    half = i32(whole >> i32(1))
    return x * i32(half << i32(23)).view(f32) * i32(i32(whole - half) << i32(23)).view(f32)


@folded
def scaled_64(x, t):
    whole = f64(t).view(i64)
    half = whole >> 1
    return x * i64(half << 52).view(f64) * i64((whole - half) << 52).view(f64)


@folded
def split_32(x):
    """x = 2^n (1 + f), f from sqrt(1/2) - 1 to sqrt(2) - 1; x normal and positive."""
    bits = i32(f32(x).view(i32) - ROOT_32)
    mantissa = i32(i32(bits & i32(0x7FFFFF)) + ROOT_32).view(f32)
    return f32(i32(bits >> i32(23))), mantissa - ONE_32


@folded
def split_64(x):
    bits = f64(x).view(i64) - ROOT
    mantissa = i64((bits & i64(0xFFFFFFFFFFFFF)) + ROOT).view(f64)
    return f64(bits >> 52), mantissa - 1.0


@folded
def head_64(x):
    """x to 21 bits: products of two heads are exact, with fma or without."""
    return i64(f64(x).view(i64) & HIGH_BITS).view(f64)
