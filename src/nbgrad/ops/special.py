"""Functions of rows that have cases of their own, beyond what the rule of ops/pointwise.py gives."""

from __future__ import annotations

import numpy as np

from nbgrad import dtypes
from nbgrad.dtypes import dtype as DType
from nbgrad.formulas.elementwise import EXPONENT, MANTISSA
from nbgrad.formulas.expr import var
from nbgrad.kernels.elementwise import Plan, Spec, plan
from nbgrad.kernels.launch import remember
from nbgrad.kernels.layout import Layout
from nbgrad.kernels.memory import maker
from nbgrad.ops.apply import apply, apply_
from nbgrad.ops.elementwise import OPS, Elementwise, promote, refuse_cast, with_number
from nbgrad.ops.family import expect_tensor, named, number, saved
from nbgrad.ops.op import Op
from nbgrad.ops.pointwise import FUNCTIONS as PLAIN
from nbgrad.ops.pointwise import check_factor, document
from nbgrad.ops.refusals import refuse
from nbgrad.tensor import Tensor

FUNCTIONS: dict = {}
_pow, _pow_, _rsub = (PLAIN[name] for name in ("pow", "pow_", "rsub"))


def _check_divisor(name: str, input, other) -> None:
    """Integers may not be divided by zero with rounding."""
    whole = all(v.dtype.category < 2 if isinstance(v, Tensor) else not isinstance(v, float)
                for v in (input, other))
    if isinstance(input, Tensor) and not input._layout.numel:
        return
    if whole and (not bool(all_nonzero(other)) if isinstance(other, Tensor) else other == 0):
        raise RuntimeError("ZeroDivisionError")


def all_nonzero(t: Tensor) -> bool:
    return bool(np.all(t._values()))


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
        if not isinstance(rounding_mode, str | None):
            raise TypeError("div(): argument 'rounding_mode' must be str, not "
                            f"{type(rounding_mode).__name__}")
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
    if alpha != 1:
        check_factor(alpha, input, other)
        refuse("rsub", input.dtype, (input.dtype,))
        input = input * alpha
    return _rsub(input, other)


def clamp(input: Tensor, min: Tensor | float | None = None,
          max: Tensor | float | None = None) -> Tensor:
    """Values below `min` become `min`, above `max` become `max`; both may be tensors."""
    op, others, bounds = _clamp(input, min, max)
    if bounds and input._layout.dtype.category < 2:
        common = result_type(input, *bounds)
        input = input if input._layout.dtype.category == common.category else input.to(common)
    return op.of(input, *others, attrs=bounds)


def clamp_(input: Tensor, min: Tensor | float | None = None,
           max: Tensor | float | None = None) -> Tensor:
    """`clamp`, in place."""
    op, others, bounds = _clamp(input, min, max)
    common = result_type(input, *others, *bounds)
    refuse_cast(common, input._layout.dtype)
    return apply_(op, input, others, bounds)


#: the rows for bounds (both, below, above) given as numbers, and as tensors
_CLAMPS = {False: ("clamp", "clamp_min", "clamp_max"),
           True: ("clamp_between", "clamp_above", "clamp_below")}


def _clamp(input: Tensor, low, high) -> tuple[Elementwise, tuple, tuple]:
    """The op, its other inputs and its params."""
    bounds = tuple(v for v in (low, high) if v is not None)
    if not isinstance(input, Tensor):
        raise TypeError("clamp(): argument 'input' (position 1) must be Tensor, not "
                        f"{type(input).__name__}")
    if not bounds:
        raise RuntimeError("torch.clamp: At least one of 'min' or 'max' must not be None")
    tensors = isinstance(bounds[0], Tensor)
    for v in bounds:
        if isinstance(v, Tensor) is not tensors or not (tensors or number(v) is not None):
            raise TypeError("clamp(): the bounds must be two numbers or two tensors, not "
                            f"{' and '.join(type(v).__name__ for v in bounds)}")
    op = OPS[_CLAMPS[tensors][0 if len(bounds) == 2 else 1 if high is None else 2]]
    return (op, bounds, ()) if tensors else (op, (), tuple(map(number, bounds)))


def clamp_min(input: Tensor, min: Tensor | float) -> Tensor:
    """Values below `min` become `min`."""
    return clamp(input, min)


def clamp_min_(input: Tensor, min: Tensor | float) -> Tensor:
    """`clamp_min`, in place."""
    return clamp_(input, min)


def clamp_max(input: Tensor, max: Tensor | float) -> Tensor:
    """Values above `max` become `max`."""
    return clamp(input, None, max)


def clamp_max_(input: Tensor, max: Tensor | float) -> Tensor:
    """`clamp_max`, in place."""
    return clamp_(input, None, max)


def nan_to_num(input: Tensor, nan: float | None = 0.0, posinf=None, neginf=None) -> Tensor:
    """NaN and infinities replaced, by 0 and the dtype's extremes by default."""
    repairs = _repairs(input, nan, posinf, neginf)
    return input.clone() if repairs is None else apply(OPS["nan_to_num"], (input,), repairs)


def nan_to_num_(input: Tensor, nan: float | None = 0.0, posinf=None, neginf=None) -> Tensor:
    """`nan_to_num`, in place."""
    repairs = _repairs(input, nan, posinf, neginf)
    return input if repairs is None else apply_(OPS["nan_to_num"], input, (), repairs)


def _repairs(input: Tensor, nan, posinf, neginf) -> tuple[float, ...] | None:
    """What takes the places of NaN and the infinities; None for integers, which have none."""
    own = input._layout.dtype
    info = (own if own.category == 2 else dtypes.float64).limits()
    found = tuple([_real_number("nan_to_num", name, default if value is None else value)
                   for name, value, default in (("nan", nan, 0.0), ("posinf", posinf, info.max),
                                                ("neginf", neginf, info.min))])
    return found if own.category == 2 else None


def _real_number(name: str, argument: str, value) -> float:
    found = number(value)
    if found is None:
        raise TypeError(f"{name}(): argument '{argument}' must be float, not {type(value).__name__}")
    return float(found)


def logit(input: Tensor, eps: float | None = None) -> Tensor:
    """log(x / (1 - x)); with `eps`, x is first clamped to [eps, 1 - eps]."""
    if eps is None:
        return PLAIN["logit"](input)
    return OPS["logit_eps"].one(input, (_real_number("logit", "eps", eps),))


def logit_(input: Tensor, eps: float | None = None) -> Tensor:
    """`logit`, in place."""
    if eps is None:
        return PLAIN["logit_"](input)
    return apply_(OPS["logit_eps"], input, (), (_real_number("logit_", "eps", eps),))


def round_(input: Tensor, *, decimals: int | None = None) -> Tensor:
    """The nearest integer, halves to the even one, or the nearest number with so many decimals."""
    if decimals is None:
        return PLAIN["round"](input)
    return OPS["round_decimals"].one(input, _scales(decimals))


def round_in_place(input: Tensor, *, decimals: int | None = None) -> Tensor:
    """`round`, in place."""
    if decimals is None:
        return PLAIN["round_"](input)
    return apply_(OPS["round_decimals"], input, (), _scales(decimals))


def _scales(decimals: int) -> tuple[float, float]:
    if not isinstance(decimals, int):
        raise TypeError(f"round(): argument 'decimals' must be int, not {type(decimals).__name__}")
    return 10.0 ** max(decimals, 0), 10.0 ** max(-decimals, 0)


def polygamma(n: int, input: Tensor) -> Tensor:
    """The n-th derivative of digamma."""
    if not isinstance(n, int) or not isinstance(input, Tensor):
        raise TypeError(f"polygamma(): n must be int and input Tensor, not {type(n).__name__} and "
                        f"{type(input).__name__}")
    if n < 0:
        raise RuntimeError("polygamma(n, x) does not support negative n.")
    return OPS["polygamma"].one(input, (float(n),))


def ldexp(input: Tensor, other: Tensor) -> Tensor:
    """input * 2 ** other."""
    made = input * pow_(2.0, other)
    return made.to(input.dtype) if input.dtype.half and other.dtype.category < 2 else made


def ldexp_(input: Tensor, other: Tensor) -> Tensor:
    """`ldexp`, in place."""
    return PLAIN["mul_"](input, pow_(2.0, other))


def heaviside(input: Tensor, values: Tensor) -> Tensor:
    """0 where negative, 1 where positive, and `values` where the input is 0."""
    _one_dtype(input, values)
    return PLAIN["heaviside"](input, values)


def heaviside_(input: Tensor, values: Tensor) -> Tensor:
    """`heaviside`, in place."""
    _one_dtype(input, values)
    return PLAIN["heaviside_"](input, values)


def _one_dtype(input: Tensor, values: Tensor) -> None:
    expect_tensor("heaviside", input=input, values=values)
    if input.dtype is not values.dtype:
        raise RuntimeError("heaviside is not yet implemented for tensors with different dtypes.")


def isreal(input: Tensor) -> Tensor:
    """Whether each entry is real: all are."""
    expect_tensor("isreal", input=input)
    return input.new_ones(input.shape, dtype=dtypes.bool_)


def itself(input: Tensor) -> Tensor:
    """The tensor itself, which is what this is of real numbers."""
    expect_tensor("conj", input=input)
    return input


class Frexp(Op):
    """x = mantissa * 2 ** exponent, 1/2 <= |mantissa| < 1."""

    name = "Frexp"
    outputs = 2

    def __init__(self) -> None:
        self.plans: dict[Layout, Plan] = {}
        super().__init__()

    def run(self, inputs, attrs):
        x, = inputs
        own = x._layout
        made = self.plans.get(own) or remember(self.plans, own, plan(
            Spec("frexp", (MANTISSA(var("x")), EXPONENT(var("x"))), ("x",), (), "float", own.dtype,
                 (own.dtype, dtypes.int32)), own.shape, (own,)))
        outs = [maker(made.size, own.device)(made.size, d) for d in made.np_dtypes]
        made.run(*outs, x._data)
        return tuple(map(Tensor, outs, made.layouts))

    def saves(self, needs, attrs):
        return (-2,)

    def backward(self, node, grad, _):
        return ldexp(grad, -saved(node)[-2].detach())


FREXP = Frexp()
_FREXP = named("frexp", "mantissa", "exponent")


def frexp(input: Tensor):
    """(mantissa, exponent) with input = mantissa * 2 ** exponent."""
    expect_tensor("frexp", input=input)
    if input._layout.dtype.category < 2:
        raise RuntimeError("torch.frexp() only supports floating-point dtypes")
    return _FREXP(*apply(FREXP, (input,)))


def lerp(input: Tensor, end: Tensor, weight: Tensor | float) -> Tensor:
    """input + weight * (end - input)."""
    _one_float(input, end, weight)
    if isinstance(weight, Tensor):
        return apply(OPS["lerp"], (input, end, weight))
    return apply(with_number("lerp", "w"), (input, end), (_real_number("lerp", "weight", weight),))


def lerp_(input: Tensor, end: Tensor, weight: Tensor | float) -> Tensor:
    """`lerp`, in place."""
    _one_float(input, end, weight)
    if isinstance(weight, Tensor):
        return apply_(OPS["lerp"], input, (end, weight))
    return apply_(with_number("lerp", "w"), input, (end,),
                  (_real_number("lerp_", "weight", weight),))


def _one_float(input: Tensor, end: Tensor, weight) -> None:
    """The operands of `lerp` must be of one dtype."""
    expect_tensor("lerp", input=input, end=end)
    if input.dtype.category < 2 and end.dtype is input.dtype:
        kernel = "lerp_kernel_tensor" if isinstance(weight, Tensor) else "lerp_kernel_scalar"
        raise NotImplementedError(f'"{kernel}" not implemented for \'{input.dtype.legacy}\'')
    for name, t in (("end", end), ("weight", weight)):
        if isinstance(t, Tensor) and t.dtype is not input.dtype:
            raise RuntimeError(f"expected dtype {_C_NAMES.get(input.dtype.name, input.dtype.name)} "
                               f"for `{name}` but got dtype "
                               f"{_C_NAMES.get(t.dtype.name, t.dtype.name)}")


_C_NAMES = {"float32": "float", "float64": "double"}


def _three_operands(name: str, suffix: str):
    op = OPS[name]

    def function(input: Tensor, tensor1: Tensor, tensor2: Tensor, *, value=1) -> Tensor:
        expect_tensor(name + suffix, input=input, tensor1=tensor1, tensor2=tensor2)
        common = result_type(input, tensor1, tensor2)
        if name == "addcdiv" and result_type(tensor1, tensor2).category < 2:
            raise RuntimeError(
                "Integer division with addcdiv is no longer supported, and in a future  release "
                "addcdiv will perform a true division of tensor1 and tensor2.")
        if common.category == 1:
            value = _whole(value, common)
        if suffix:
            return apply_(op, input, (tensor1, tensor2), (value,))
        return apply(op, (input, tensor1, tensor2), (value,))

    function.__name__ = function.__qualname__ = name + suffix
    function.__doc__ = (f"input + value * tensor1 {'*' if name == 'addcmul' else '/'} tensor2"
                        f"{', in place' if suffix else ''}.")
    return function


def _whole(value, dtype: DType):
    """A factor among integers loses its fraction; an unsigned dtype takes none below zero."""
    if value < 0 and not dtype.is_signed:
        raise RuntimeError(f"value cannot be converted to type {dtype.name} without overflow")
    return int(value)


addcmul, addcmul_ = _three_operands("addcmul", ""), _three_operands("addcmul", "_")
addcdiv, addcdiv_ = _three_operands("addcdiv", ""), _three_operands("addcdiv", "_")


def float_power(input, exponent) -> Tensor:
    """input ** exponent computed in float64."""
    return pow_(*[v.to(dtypes.float64) if isinstance(v, Tensor) else v for v in (input, exponent)])


def float_power_(input: Tensor, exponent) -> Tensor:
    """`float_power`, in place, of a float64 tensor."""
    if input.dtype is not dtypes.float64:
        raise RuntimeError(f"the base given to float_power_ has dtype {input.dtype.legacy} but the "
                           "operation's result requires dtype Double")
    return pow_in_place(input, exponent)


def bitwise_not(input: Tensor) -> Tensor:
    """~input; the logical not of a bool tensor."""
    expect_tensor("bitwise_not", input=input)
    return apply(OPS["logical_not" if input.dtype is dtypes.bool_ else "bitwise_not"], (input,))


def bitwise_not_(input: Tensor) -> Tensor:
    """`bitwise_not`, in place."""
    return apply_(OPS["logical_not" if input.dtype is dtypes.bool_ else "bitwise_not"], input)


def invert(input: Tensor) -> Tensor:
    """The operator `~`."""
    if input.dtype.category == 2:
        raise TypeError("~ (operator.invert) is only implemented on integer and Boolean-type tensors")
    return bitwise_not(input)


def isclose(input: Tensor, other: Tensor, rtol: float = 1e-5, atol: float = 1e-8,
            equal_nan: bool = False) -> Tensor:
    """|input - other| <= atol + rtol * |other|."""
    expect_tensor("isclose", input=input, other=other)
    if input.dtype is not other.dtype:
        raise RuntimeError(f"{input.dtype.legacy} did not match {other.dtype.legacy}")
    for name, value in (("rtol", rtol), ("atol", atol)):
        if value < 0:
            raise RuntimeError(f"{name} must be greater than or equal to zero, but got {value:g}")
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
    expect_tensor("equal", input=input, other=other)
    if input._layout.device is not other._layout.device:
        raise RuntimeError("Expected all tensors to be on the same device, but found at least two "
                           f"devices, {input.device} and {other.device}!")
    return input._layout.shape == other._layout.shape and bool(
        np.array_equal(input._values(), other._values()))


def result_type(*operands) -> DType:
    """The dtype that arithmetic on these tensors and numbers gives."""
    tensors = tuple(v._layout for v in operands if isinstance(v, Tensor))
    plain = tuple(v for v in operands if not isinstance(v, Tensor))
    for v in plain:
        if number(v) is None:
            raise TypeError("result_type(): an operand must be Tensor or Number, not "
                            f"{type(v).__name__}")
    if tensors:
        return promote(tensors, plain)
    return max((dtypes.of_number(v) for v in plain), key=lambda d: d.category)


FUNCTIONS |= {f.__name__: f for f in (
    rsub, clamp, clamp_, clamp_min, clamp_min_, clamp_max, clamp_max_, nan_to_num, nan_to_num_,
    logit, logit_, lerp, lerp_, addcmul, addcdiv, addcmul_, addcdiv_, float_power, float_power_,
    bitwise_not, bitwise_not_, isclose, allclose, equal, ldexp, ldexp_, heaviside, heaviside_,
    isreal, frexp)}
FUNCTIONS |= {"pow": pow_, "pow_": pow_in_place, "round": round_, "round_": round_in_place,
              "true_divide": PLAIN["div"], "true_divide_": PLAIN["div_"]}
FUNCTIONS |= dict.fromkeys(("conj", "resolve_conj", "resolve_neg", "conj_physical",
                            "conj_physical_"), itself)
PACKAGE_ONLY = {"polygamma": polygamma, "real": itself}


def _polygamma_method(self: Tensor, n: int) -> Tensor:
    """The n-th derivative of digamma."""
    return polygamma(n, self)


def _imag(self: Tensor):
    raise RuntimeError("imag is not implemented for tensors with non-complex dtypes.")


def _polygamma_in_place(self: Tensor, n: int) -> Tensor:
    """`polygamma`, in place."""
    return apply_(OPS["polygamma"], self, (), (float(n),))


METHODS = {"polygamma": _polygamma_method, "polygamma_": _polygamma_in_place, "__invert__": invert,
           "real": property(itself),
           "imag": property(_imag)}
