"""Random numbers written into a tensor that is there: `normal_`, `uniform_` and their kin."""

from __future__ import annotations

import math
from functools import cache

import numpy as np

from nbgrad import dtypes
from nbgrad.kernels.backend import Twins
from nbgrad.kernels.layout import common
from nbgrad.ops.apply import apply_
from nbgrad.ops.family import expect_float
from nbgrad.ops.generator import Generator, take
from nbgrad.ops.op import Op
from nbgrad.ops.shape import expand
from nbgrad.tensor import Tensor

kernels = Twins("random")
changed, contiguous = Twins("layouts").changed, Twins("layouts").contiguous


def real(name: str, value) -> float:
    """A float from a number or a 0-dim tensor."""
    if isinstance(value, (str, bytes, list, tuple)):
        raise TypeError(f"{name}(): a parameter must be float, not {type(value).__name__}")
    return float(value)


class Draw(Op):
    """In place: fresh random numbers; attrs[0] fills a vector with them, given it and the others."""

    def __init__(self, name: str) -> None:
        self.name = name
        super().__init__()

    def run_into(self, target, others, attrs) -> None:
        (fill, *rest), own = attrs, target._layout
        if own.contiguous and own.numel == target._data.size and not own.dtype.half:
            fill(target._data, *rest)
        else:
            changed(target._array(), -1, lambda y: fill(y, *rest))

    def backward(self, node, grad):
        return grad.new_zeros(grad._layout.shape)


NORMAL, UNIFORM, BERNOULLI, RANDOM = Draw("Normal"), Draw("Uniform"), Draw("Bernoulli"), Draw("Random")
LOG_NORMAL, CAUCHY = Draw("LogNormal"), Draw("Cauchy")
EXPONENTIAL, GEOMETRIC = Draw("Exponential"), Draw("Geometric")


def _fill(name: str):
    """What fills a vector y by a kernel: fill(y, generator, ...)."""
    kernel = getattr(kernels, name)

    def fill(y, generator, *rest) -> None:
        kernel(y, *take(generator, y.size), *rest)

    fill.__name__ = name
    return fill


uniform, normal, log_normal, exponential, cauchy, geometric = map(
    _fill, ("uniform", "normal", "log_normal", "exponential", "cauchy", "geometric"))


def coins(y, generator, p) -> None:
    """Ones with probability `p`, a number or a vector of them, and zeros."""
    if isinstance(p, float):
        kernels.bernoulli(y, p, *take(generator, y.size))
    else:
        kernels.coins(y, p, *take(generator, y.size))


def integers(y, generator, low: int, high: int) -> None:
    """Integers in [low, high)."""
    kernels.randint(y, low, high, *take(generator, y.size))


def check_deviation(std: float) -> None:
    """Refuse a negative standard deviation."""
    if not std >= 0:
        raise RuntimeError(f"normal expects std >= 0.0, but found std {std:g}")


def check_integers(dtype: dtypes.dtype, low: int, high: int) -> None:
    """Refuse an empty range of integers, or one that the dtype does not hold."""
    if low >= high:
        raise RuntimeError("random_ expects 'from' to be less than 'to', but got from="
                           f"{low} >= to={high}")
    least, most = _held(dtype)
    if low < least or high - 1 > most:
        raise RuntimeError(f"{'from' if low < least else 'to - 1'} is out of bounds for {dtype.name}")


@cache
def _held(dtype: dtypes.dtype) -> tuple[float, float]:
    """The least and the largest of the integers that a dtype holds."""
    if dtype.category == 1:
        return np.iinfo(dtype.name).min, np.iinfo(dtype.name).max
    return (0, 1) if dtype is dtypes.bool_ else (-math.inf, math.inf)


def normal_(input: Tensor, mean: float = 0.0, std: float = 1.0, *,
            generator: Generator | None = None) -> Tensor:
    """Write normal numbers, in place."""
    mean, std = real("normal_", mean), real("normal_", std)
    expect_float("normal_kernel_cpu", input._layout)
    check_deviation(std)
    return apply_(NORMAL, input, (), (normal, generator, mean, std))


def log_normal_(input: Tensor, mean: float = 1.0, std: float = 2.0, *,
                generator: Generator | None = None) -> Tensor:
    """Write numbers whose logarithm is normal with this mean and standard deviation, in place."""
    mean, std = real("log_normal_", mean), real("log_normal_", std)
    expect_float("log_normal_cpu", input._layout)
    if not std > 0:
        raise RuntimeError(f"log_normal_ expects std > 0.0, but found std={std:g}")
    return apply_(LOG_NORMAL, input, (), (log_normal, generator, mean, std))


_NUMBERS = {int, float}


def _bounds(name: str, given: tuple, named: dict, first, second) -> tuple:
    """The two bounds of a range; the first is called `from`, which Python cannot name."""
    if len(given) == 2 and not named and _NUMBERS.issuperset(map(type, given)):
        return given
    found = dict(zip(("from", "to"), given)) | named
    if len(given) > 2 or set(found) - {"from", "to"} or set(named) & set(("from", "to")[:len(given)]):
        raise TypeError(f"{name}() takes from, to and generator, not {(*given, *named)}")
    for bound in found.values():
        if isinstance(bound, (str, list, tuple)):
            raise TypeError(f"{name}(): bounds must be numbers, not {type(bound).__name__}")
    return found.get("from", first), found.get("to", second)


def uniform_(input: Tensor, *bounds, generator: Generator | None = None, **named) -> Tensor:
    """Write uniform numbers of [from, to), by default [0, 1), in place."""
    expect_float("check_uniform_bounds", input._layout)
    low, high = _bounds("uniform_", bounds, named, 0.0, 1.0)
    if not -_SURE <= low <= high <= _SURE:
        _check_range(input._layout.dtype, low, high)
    return apply_(UNIFORM, input, (), (uniform, generator, float(low), float(high)))


#: bounds up to here are fine in any dtype of floats
_SURE = 30_000


def _check_range(dtype: dtypes.dtype, low: float, high: float) -> None:
    limit = float(dtype.limits().max)
    for name, bound in (("from", low), ("to", high)):
        if not -limit <= bound <= limit:
            raise RuntimeError(f"{name} is out of bounds for {dtype.name}")
    if low > high:
        raise RuntimeError(f"uniform_ expects to return a [from, to) range, but found from={low:g} > "
                           f"to={high:g}")
    if high - low > limit:
        raise RuntimeError("uniform_ expects to-from <= std::numeric_limits<"
                           f"{dtype.name}>::max(), but found to={high:g} and "
                           f"from={low:g} which result in to-from to exceed the limit")


def random_(input: Tensor, *bounds, generator: Generator | None = None, **named) -> Tensor:
    """Write integers of [from, to) or [0, to), in place; all that the dtype holds by default."""
    dtype = input._layout.dtype
    low, high = _bounds("random_", bounds, named, None, None)
    if low is None and high is None:
        return apply_(RANDOM, input, (), (integers, generator, 0, _range_of(dtype)))
    if high is None:  # one bound is the upper one, unless it is named
        low, high = (low, _range_of(dtype)) if "from" in named or len(bounds) == 2 else (0, low)
    start, stop = int(low or 0), int(high)
    check_integers(dtype, start, stop)
    return apply_(RANDOM, input, (), (integers, generator, start, stop))


def _range_of(dtype: dtypes.dtype) -> int:
    """One more than the largest integer up to which a dtype holds them all."""
    if dtype.category == 2:
        return 2**24 + 1 if dtype is dtypes.float32 else 2**53 + 1
    return 2 if dtype.category == 0 else int(np.iinfo(dtype.name).max) + 1


def bernoulli_(input: Tensor, p=0.5, *, generator: Generator | None = None) -> Tensor:
    """Write ones with probability `p` (a number or a tensor) and zeros, in place."""
    if isinstance(p, Tensor):
        expect_float("bernoulli_tensor_cpu_p_", p._layout)
        check_probabilities(p)
        common(input._layout, p._layout)
        p = expand(p.detach().to(input.device), input._layout.shape)
        return apply_(BERNOULLI, input, (), (coins, generator, contiguous(p._array()).reshape(-1)))
    if not 0 <= p <= 1:
        raise RuntimeError(f"bernoulli_ expects p to be in [0, 1], but got p={p:g}")
    return apply_(BERNOULLI, input, (), (coins, generator, float(p)))


def check_probabilities(t: Tensor) -> None:
    """Refuse what does not lie between 0 and 1."""
    p = t.detach()
    if p._layout.numel and not (p.min().item() >= 0 and p.max().item() <= 1):
        raise RuntimeError("Expected p_in >= 0 && p_in <= 1 to be true, but got false.")


def _continuous(name: str, input: Tensor) -> None:
    if input._layout.dtype.category != 2:
        raise RuntimeError(f"{name} distribution is a continuous probability distribution. dtype must "
                           f"be a floating point but you specified {input._layout.dtype.legacy}")


def exponential_(input: Tensor, lambd: float = 1.0, *, generator: Generator | None = None) -> Tensor:
    """Write numbers with the density lambd * exp(-lambd * x), in place."""
    lambd = real("exponential_", lambd)
    _continuous("Exponential", input)
    if not lambd > 0:
        raise RuntimeError(f"exponential_ expects lambda > 0.0, but found lambda={lambd:g}")
    return apply_(EXPONENTIAL, input, (), (exponential, generator, lambd))


def cauchy_(input: Tensor, median: float = 0.0, sigma: float = 1.0, *,
            generator: Generator | None = None) -> Tensor:
    """Write numbers with the density sigma / pi / (sigma**2 + (x - median)**2), in place."""
    median, sigma = real("cauchy_", median), real("cauchy_", sigma)
    _continuous("Cauchy", input)
    if not sigma > 0:
        raise RuntimeError(f"cauchy_ expects sigma > 0.0, but found sigma={sigma:g}")
    return apply_(CAUCHY, input, (), (cauchy, generator, median, sigma))


def geometric_(input: Tensor, p: float, *, generator: Generator | None = None) -> Tensor:
    """Write how many trials of probability `p` it takes to the first success, in place."""
    p = real("geometric_", p)
    if input._layout.dtype is dtypes.bool_:
        raise NotImplementedError("\"geometric_cpu\" not implemented for 'Bool'")
    if not 0 < p < 1:
        raise RuntimeError(f"geometric_ expects p to be in (0, 1), but got p={p:g}")
    return apply_(GEOMETRIC, input, (), (geometric, generator, p))


METHODS = {f.__name__: f for f in (normal_, log_normal_, uniform_, random_, bernoulli_, exponential_,
                                   cauchy_, geometric_)}
