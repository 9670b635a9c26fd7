"""x = mantissa * 2^exponent, 1/2 <= |mantissa| < 1; zeros, infinities and NaN are their own, with 0.

Subnormal numbers are scaled by 2^p first, p the bits of a mantissa, which is exact.
"""

from nbgrad.kernels.cpu.elementary.parts import f32, f64, i32, i64
from nbgrad.kernels.options import folded

_SCALE_32, _SCALE = f32(2.0**24), 2.0**53
_LEAST_32, _LEAST = f32(2.0**-126), 2.0**-1022
_FIELD_32, _FIELD = i32(0xFF), i64(0x7FF)
# All but the exponent's bits, and the exponent's bits of 1/2
_REST_32, _REST = i32(-0x7F800001), i64(-0x7FF0000000000001)
_HALF_32, _HALF = i32(126 << 23), i64(1022 << 52)


@folded
def _normal_32(x):
    """The bits of x or of 2^24 x, which exponent they have there, and whether x has a mantissa."""
    small = abs(x) < _LEAST_32
    bits = f32(x * _SCALE_32 if small else x).view(i32)
    field = i32(i32(bits >> i32(23)) & _FIELD_32)
    return bits, i32(field - i32(150 if small else 126)), (field != i32(0)) & (field != _FIELD_32)


@folded
def _normal_64(x):
    small = abs(x) < _LEAST
    bits = f64(x * _SCALE if small else x).view(i64)
    field = (bits >> 52) & _FIELD
    return bits, field - (1075 if small else 1022), (field != 0) & (field != _FIELD)


@folded
def mantissa_32(x):
    bits, _, has = _normal_32(x)
    return i32(i32(bits & _REST_32) | _HALF_32).view(f32) if has else x


@folded
def mantissa_64(x):
    bits, _, has = _normal_64(x)
    return i64((bits & _REST) | _HALF).view(f64) if has else x


@folded
def exponent_32(x):
    _, exponent, has = _normal_32(x)
    return exponent if has else i32(0)


@folded
def exponent_64(x):
    _, exponent, has = _normal_64(x)
    return i32(exponent if has else 0)
