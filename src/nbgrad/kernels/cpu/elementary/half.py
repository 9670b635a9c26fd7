"""float16 and bfloat16, which are stored in 16 bits and computed in float32.

In integer arithmetic and selects, so that every machine agrees and loops vectorise.
"""

import numpy as np

from nbgrad.kernels.options import folded

f32, i32, u16 = np.float32, np.int32, np.uint16

# float16 has 5 bits of exponent with bias 15 and 10 of mantissa; float32 8 with bias 127, and 23.
_REBIAS = f32(2.0**112)
_SUBNORMAL = i32(113 << 23)  # least normal float16, 2^-14
_OVER = i32(143 << 23)  # 2^16; from 65520 on the rounding below carries into infinity
_INF, _INF_16, _NAN_16 = i32(0x7F800000), i32(0x7C00), i32(0x7E00)
# Added to a number below 2^-14 it leaves what float16 keeps of it in its last bits, rounded to even.
_ALIGN = f32(0.5)
_ALIGN_BITS = i32(126 << 23)


@folded
def from_half(h):
    """float32 of the bits of a float16: exact."""
    bits = i32(h)
    size = i32(i32(bits & i32(0x7FFF)) << i32(13))
    value = f32(i32(size).view(f32) * _REBIAS).view(i32)
    value = i32(size | _INF) if size >= i32(0x0F800000) else value
    return i32(value | i32(i32(bits & i32(0x8000)) << i32(16))).view(f32)


@folded
def to_half(x):
    """The bits of the nearest float16, ties to even."""
    bits = f32(x).view(i32)
    sign = i32(i32(bits >> i32(16)) & i32(0x8000))
    size = i32(bits & i32(0x7FFFFFFF))
    odd = i32(i32(size >> i32(13)) & i32(1))
    normal = i32(i32(size - i32(112 << 23) + i32(0xFFF) + odd) >> i32(13))
    small = i32(f32(i32(size).view(f32) + _ALIGN).view(i32) - _ALIGN_BITS)
    found = small if size < _SUBNORMAL else normal
    found = _INF_16 if size >= _OVER else found
    found = _NAN_16 if size > _INF else found
    return u16(found | sign)


@folded
def from_bfloat16(h):
    """float32 of the bits of a bfloat16, which are its upper half."""
    return i32(i32(h) << i32(16)).view(f32)


@folded
def to_bfloat16(x):
    """The bits of the nearest bfloat16, ties to even."""
    bits = f32(x).view(i32)
    odd = i32(i32(bits >> i32(16)) & i32(1))
    found = i32(i32(bits + i32(0x7FFF) + odd) >> i32(16))
    found = i32(0x7FC0) if i32(bits & i32(0x7FFFFFFF)) > _INF else found
    return u16(found & i32(0xFFFF))
