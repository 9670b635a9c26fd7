"""Which dtypes an elementwise op refuses, in PyTorch's words."""

from __future__ import annotations

from nbgrad import dtypes
from nbgrad.dtypes import dtype as DType

#: row -> PyTorch's kernel, which lacks bool
_NO_BOOL = {
    "abs": "abs_cpu", "floor": "floor_vml_cpu", "ceil": "ceil_vml_cpu", "trunc": "trunc_vml_cpu",
    "round": "round_vml_cpu", "pow": "pow", "floor_divide": "div_floor_cpu",
    "trunc_divide": "div_trunc_cpu", "remainder": "remainder_cpu", "fmod": "fmod_cpu",
    "addcmul": "addcmul_cpu_out", "clamp": "clamp_cpu", "clamp_min": "clamp_min_scalar_cpu",
    "clamp_max": "clamp_max_scalar_cpu", "clamp_between": "clamp_cpu",
    "softsign": "abs_cpu", "threshold": "threshold_cpu", "gcd": "gcd_cpu", "lcm": "lcm_cpu",
    "bitwise_left_shift": "lshift_cpu", "bitwise_right_shift": "rshift_cpu",
}
#: row -> PyTorch's kernel, which has floats alone
_ONLY_FLOAT = {
    "frac": "frac_cpu", "hypot": "hypot_cpu", "logaddexp": "logaddexp_cpu",
    "logaddexp2": "logaddexp2_cpu", "nextafter": "nextafter_cpu", "round_decimals": "round_cpu",
    "selu": "elu_cpu", "celu": "elu_cpu", "elu": "elu_cpu",
}
#: row -> PyTorch's kernel, which has integers and maybe bool alone
_NO_FLOAT = {name: f"{name}_cpu" for name in
             ("bitwise_not", "bitwise_and", "bitwise_or", "bitwise_xor", "gcd", "lcm")} | {
    "bitwise_left_shift": "lshift_cpu", "bitwise_right_shift": "rshift_cpu"}
#: what is said of a bool operand, whatever the others are
_ANY_BOOL = {
    "sub": "Subtraction, the `-` operator, with a bool tensor is not supported. If you are trying "
           "to invert a mask, use the `~` or `logical_not()` operator instead.",
    "neg": "Negation, the `-` operator, on a bool tensor is not supported. If you are trying to "
           "invert a mask, use the `~` or `logical_not()` operator instead.",
    "positive": "The `+` operator, on a bool tensor is not supported.",
    "relu": "Boolean inputs not supported for relu",
    "hardtanh": "Bool inputs not supported for hardtanh",
}
_ANY_BOOL |= dict.fromkeys(("sub_scaled", "rsub", "tanhshrink"), _ANY_BOOL["sub"])
_TWO_BOOLS = ("Subtraction, the `-` operator, with two bool tensors is not supported. Use the `^` or "
              "`logical_xor()` operator instead.")


def refuse(row: str, common: DType, operands: tuple[DType, ...]) -> None:
    """Raise where PyTorch has no kernel of a row for operands of these dtypes."""
    plain = row.removesuffix("_b").removesuffix("_a")
    if dtypes.bool_ in operands and plain in _ANY_BOOL:
        both = len(operands) > 1 and all(d is dtypes.bool_ for d in operands)
        raise RuntimeError(_TWO_BOOLS if both else _ANY_BOOL[plain])
    kernel = None
    if common.category == 0:
        kernel = _NO_BOOL.get(plain)
    elif common.category == 2:
        kernel = _NO_FLOAT.get(plain)
    if common.category < 2:
        kernel = _ONLY_FLOAT.get(plain, kernel)
    if kernel is not None:
        raise NotImplementedError(f'"{kernel}" not implemented for \'{common.legacy}\'')
