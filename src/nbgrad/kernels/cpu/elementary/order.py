"""Integers that sort as floats do: a maximum of integers vectorises without a promise about NaN.

-0 is 0. `order_top` has NaN above all; `order_down` falls as x grows, and has NaN above all.
Without sign, bits sort as the numbers do; with it, the other way round. A NaN is found by a
subtraction whose sign is spread over the word: a comparison of floats among those of the maximum
would keep the loop from being vectorised.
"""

from nbgrad.kernels.cpu.elementary.parts import f32, f64, i32, i64
from nbgrad.kernels.options import folded

INF_BITS_32, INF_BITS = i32(0x7F800000), i64(0x7FF0000000000000)
REST_32, REST = i32(0x7FFFFFFF), i64(0x7FFFFFFFFFFFFFFF)
SIGN_32, SIGN = i32(-0x80000000), i64(-0x8000000000000000)


@folded
def _bits_32(x):
    return f32(x + f32(0)).view(i32)


@folded
def _bits_64(x):
    return f64(x + 0.0).view(i64)


@folded
def _sorted_32(bits):
    return i32(bits ^ i32(i32(bits >> i32(31)) & REST_32))


@folded
def _sorted_64(bits):
    return bits ^ ((bits >> 63) & REST)


@folded
def _nan_32(bits):
    """All ones for a NaN, else zero."""
    return i32(i32(INF_BITS_32 - i32(bits & REST_32)) >> i32(31))


@folded
def _nan_64(bits):
    return (INF_BITS - (bits & REST)) >> 63


@folded
def order_top_32(x):
    bits = _bits_32(x)
    nan = _nan_32(bits)
    return _sorted_32(i32(i32(bits | nan) ^ i32(nan & SIGN_32)))


@folded
def order_top_64(x):
    bits = _bits_64(x)
    nan = _nan_64(bits)
    return _sorted_64((bits | nan) ^ (nan & SIGN))


@folded
def _bottom_32(x):
    bits = _bits_32(x)
    return _sorted_32(i32(bits | _nan_32(bits)))


@folded
def _bottom_64(x):
    bits = _bits_64(x)
    return _sorted_64(bits | _nan_64(bits))


@folded
def order_down_32(x):
    return i32(i32(-1) - _bottom_32(x))


@folded
def order_down_64(x):
    return i64(-1) - _bottom_64(x)


@folded
def complement_64(x):
    """order_down of whole numbers."""
    return i64(-1) - i64(x)
