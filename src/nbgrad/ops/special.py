"""Functions of rows that have cases of their own, beyond what the rule of ops/pointwise.py gives."""

from __future__ import annotations

import numpy as np

from nbgrad import dtypes
from nbgrad.dtypes import dtype as DType
from nbgrad.ops.apply import apply, apply_
from nbgrad.ops.elementwise import OPS, Elementwise, can_cast, promote, with_number
from nbgrad.ops.pointwise import FUNCTIONS as PLAIN
from nbgrad.ops.pointwise import document
from nbgrad.tensor import Tensor

FUNCTIONS: dict = {}
_pow, _pow_, _rsub = (PLAIN[name] for name in ("pow", "pow_", "rsub"))


def _check_divisor(name: str, input, other) -> None:
    """Integers may not be divided by zero with rounding."""
    whole = all(v.dtype.category < 2 if isinstance(v, Tensor) else not isinstance(v, float)
                for v in (input, other))
    if whole and (not bool(all_nonzero(other)) if isinstance(other, Tensor) else other == 0):
        raise RuntimeError("ZeroDivisionError")


def all_nonzero(t: Tensor) -> bool:
    return bool(np.all(t._array()))


def _checked(name: str, function):
    def checked(input, other):
        _check_divisor(name, input, other)
        return function(input, other)

    return document(checked, name.rstrip("_"), "_" if name.endswith("_") else "")


for _name in ("floor_divide", "remainder", "fmod", "trunc_divide"):
    for _suffix in ("", "_"):
        FUNCTIONS[_name + _suffix] = _checked(_name + _suffix, PLAIN[_name + _suffix])


def _division(suffix: str):
    by_mode = {None: PLAIN["div" + suffix], "floor": FUNCTIONS["floor_divide" + suffix],
               "trunc": FUNCTIONS["trunc_divide" + suffix]}

    def div(input, other, *, rounding_mode: str | None = None) -> Tensor:
        """input / other, rounded down with "floor", towards zero with "trunc"."""
        if rounding_mode not in by_mode:
            raise RuntimeError("div expected rounding_mode to be one of None, 'trunc', or 'floor' "
                               f"but found '{rounding_mode}'")
        return by_mode[rounding_mode](input, other)

    return div


FUNCTIONS["div"], FUNCTIONS["div_"] = _division(""), _division("_")

_EXPONENTS = {2: "square", 3: "cube", 0.5: "sqrt_pow"}


def pow_(input, exponent) -> Tensor:
    """input ** exponent; exponents 2, 3 and 0.5 have kernels of their own."""
    known = _small_power(input, exponent)
    return _pow(input, exponent) if known is None else known.one(input)


def pow_in_place(input: Tensor, exponent) -> Tensor:
    """input ** exponent, in place."""
    known = _small_power(input, exponent)
    return _pow_(input, exponent) if known is None else apply_(known, input)


def _small_power(input, exponent):
    if not isinstance(input, Tensor) or isinstance(exponent, Tensor):
        return None
    whole = input._layout.dtype.category < 2
    if whole and isinstance(exponent, int) and exponent < 0:
        raise RuntimeError("Integers to negative integer powers are not allowed.")
    name = _EXPONENTS.get(exponent)
    if name is None or (whole and isinstance(exponent, float)):
        return None
    return OPS[name]


def rsub(input: Tensor, other, *, alpha=1) -> Tensor:
    """other - alpha * input."""
    return _rsub(input if alpha == 1 else input * alpha, other)


def clamp(input: Tensor, min=None, max=None) -> Tensor:
    """Values below `min` become `min`, above `max` become `max`; both may be tensors."""
    return _clamp(input, min, max, Elementwise.one, PLAIN["maximum"], PLAIN["minimum"])


def clamp_(input: Tensor, min=None, max=None) -> Tensor:
    """`clamp`, in place."""
    common = result_type(input, *(v for v in (min, max) if v is not None))
    if not can_cast(common, input._layout.dtype):
        raise RuntimeError(f"result type {common.legacy} can't be cast to the desired output type "
                           f"{input._layout.dtype.legacy}")
    return _clamp(input, min, max, lambda op, t, attrs: apply_(op, t, (), attrs),
                  PLAIN["maximum_"], PLAIN["minimum_"])


def _clamp(input, low, high, run, maximum, minimum) -> Tensor:
    if low is None and high is None:
        raise RuntimeError("torch.clamp: At least one of 'min' or 'max' must not be None")
    if isinstance(low, Tensor) or isinstance(high, Tensor):
        input = input if low is None else maximum(input, low)
        return input if high is None else minimum(input, high)
    bounds = tuple(v for v in (low, high) if v is not None)
    if input._layout.dtype.category < 2 and any(isinstance(v, float) for v in bounds):
        input = input.to(dtypes.get_default_dtype())
    name = "clamp" if len(bounds) == 2 else "clamp_min" if high is None else "clamp_max"
    return run(OPS[name], input, bounds)


def clamp_min(input: Tensor, min) -> Tensor:
    """Values below `min` become `min`."""
    return clamp(input, min)


def clamp_min_(input: Tensor, min) -> Tensor:
    """`clamp_min`, in place."""
    return clamp_(input, min)


def clamp_max(input: Tensor, max) -> Tensor:
    """Values above `max` become `max`."""
    return clamp(input, None, max)


def clamp_max_(input: Tensor, max) -> Tensor:
    """`clamp_max`, in place."""
    return clamp_(input, None, max)


def nan_to_num(input: Tensor, nan: float | None = 0.0, posinf=None, neginf=None) -> Tensor:
    """NaN and infinities replaced, by 0 and the dtype's extremes by default."""
    if input._layout.dtype.category < 2:
        return input.clone()
    return apply(OPS["nan_to_num"], (input,), _repairs(input, nan, posinf, neginf))


def nan_to_num_(input: Tensor, nan: float | None = 0.0, posinf=None, neginf=None) -> Tensor:
    """`nan_to_num`, in place."""
    if input._layout.dtype.category < 2:
        return input
    return apply_(OPS["nan_to_num"], input, (), _repairs(input, nan, posinf, neginf))


def _repairs(input: Tensor, nan, posinf, neginf) -> tuple[float, float, float]:
    info = np.finfo(input._layout.dtype.np)
    return (0.0 if nan is None else float(nan), float(info.max if posinf is None else posinf),
            float(info.min if neginf is None else neginf))


def logit(input: Tensor, eps: float | None = None) -> Tensor:
    """log(x / (1 - x)); with `eps`, x is first clamped to [eps, 1 - eps]."""
    if eps is None:
        return OPS["logit"].one(input)
    return OPS["logit_eps"].one(input, (float(eps),))


def lerp(input: Tensor, end: Tensor, weight) -> Tensor:
    """input + weight * (end - input)."""
    if isinstance(weight, Tensor):
        return apply(OPS["lerp"], (input, end, weight))
    return apply(with_number("lerp", "w"), (input, end), (float(weight),))


def lerp_(input: Tensor, end: Tensor, weight) -> Tensor:
    """`lerp`, in place."""
    if isinstance(weight, Tensor):
        return apply_(OPS["lerp"], input, (end, weight))
    return apply_(with_number("lerp", "w"), input, (end,), (float(weight),))


def addcmul(input: Tensor, tensor1: Tensor, tensor2: Tensor, *, value=1) -> Tensor:
    """input + value * tensor1 * tensor2."""
    return apply(OPS["addcmul"], (input, tensor1, tensor2), (value,))


def addcdiv(input: Tensor, tensor1: Tensor, tensor2: Tensor, *, value=1) -> Tensor:
    """input + value * tensor1 / tensor2."""
    return apply(OPS["addcdiv"], (input, tensor1, tensor2), (value,))


def addcmul_(input: Tensor, tensor1: Tensor, tensor2: Tensor, *, value=1) -> Tensor:
    """`addcmul`, in place."""
    return apply_(OPS["addcmul"], input, (tensor1, tensor2), (value,))


def addcdiv_(input: Tensor, tensor1: Tensor, tensor2: Tensor, *, value=1) -> Tensor:
    """`addcdiv`, in place."""
    return apply_(OPS["addcdiv"], input, (tensor1, tensor2), (value,))


def float_power(input, exponent) -> Tensor:
    """input ** exponent computed in float64."""
    input = input.to(dtypes.float64) if isinstance(input, Tensor) else input
    exponent = exponent.to(dtypes.float64) if isinstance(exponent, Tensor) else exponent
    return pow_(input, exponent)


def bitwise_not(input: Tensor) -> Tensor:
    """~input; the logical not of a bool tensor."""
    return apply(OPS["logical_not" if input.dtype is dtypes.bool_ else "bitwise_not"], (input,))


def bitwise_not_(input: Tensor) -> Tensor:
    """`bitwise_not`, in place."""
    return apply_(OPS["logical_not" if input.dtype is dtypes.bool_ else "bitwise_not"], input)


def isclose(input: Tensor, other: Tensor, rtol: float = 1e-5, atol: float = 1e-8,
            equal_nan: bool = False) -> Tensor:
    """|input - other| <= atol + rtol * |other|."""
    if input.dtype is not other.dtype:
        raise RuntimeError(f"{input.dtype.name} did not match {other.dtype.name}")
    close = apply(OPS["isclose"], (input, other), (float(rtol), float(atol)))
    if equal_nan:
        both = PLAIN["logical_and"](PLAIN["isnan"](input), PLAIN["isnan"](other))
        close = PLAIN["logical_or"](close, both)
    return close


def allclose(input: Tensor, other: Tensor, rtol: float = 1e-5, atol: float = 1e-8,
             equal_nan: bool = False) -> bool:
    """Whether all entries are close."""
    return all_nonzero(isclose(input, other, rtol, atol, equal_nan))


def equal(input: Tensor, other: Tensor) -> bool:
    """Whether two tensors have one shape and the same entries."""
    return input._layout.shape == other._layout.shape and bool(
        np.array_equal(input._array(), other._array()))


def result_type(*operands) -> DType:
    """The dtype that arithmetic on these tensors and numbers gives."""
    tensors = tuple(v._layout for v in operands if isinstance(v, Tensor))
    plain = tuple(v for v in operands if not isinstance(v, Tensor))
    if tensors:
        return promote(tensors, plain)
    return max((dtypes.of_number(v) for v in plain), key=lambda d: d.category)


FUNCTIONS |= {f.__name__: f for f in (
    rsub, clamp, clamp_, clamp_min, clamp_min_, clamp_max, clamp_max_, nan_to_num, nan_to_num_,
    logit, lerp, lerp_, addcmul, addcdiv, addcmul_, addcdiv_, float_power, bitwise_not,
    bitwise_not_, isclose, allclose, equal)}
FUNCTIONS |= {"pow": pow_, "pow_": pow_in_place, "true_divide": PLAIN["div"]}
