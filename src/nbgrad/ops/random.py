"""Tensors of random numbers."""

from __future__ import annotations

import math

import numpy as np

from nbgrad import dtypes
from nbgrad.kernels import memory
from nbgrad.kernels.backend import Twins
from nbgrad.kernels.layout import Layout, layout
from nbgrad.ops import draw
from nbgrad.ops.apply import apply
from nbgrad.ops.axis_order import like
from nbgrad.ops.create import here, shape_of
from nbgrad.ops.dims import whole
from nbgrad.ops.factory import default, factory
from nbgrad.ops.family import expect_float, expect_tensor
from nbgrad.ops.generator import Generator, take
from nbgrad.ops.join import broadcast_tensors
from nbgrad.ops.op import Op, wrap
from nbgrad.ops.out import with_out
from nbgrad.ops.search import searchsorted
from nbgrad.tensor import Tensor

kernels, events = Twins("random"), Twins("events")
contiguous, copied = Twins("layouts").contiguous, Twins("layouts").copied
spread = Twins("layouts").spread


def _filled(fill, own: Layout, *arguments) -> Tensor:
    """A tensor of a layout whose memory is filled with random numbers."""
    data = memory.maker(own.numel, own.device)(own.numel, own.dtype.np)
    fill(data, *arguments)
    return Tensor(data, own)


def _made(fill, kernel: str, own: Layout, generator) -> Tensor:
    expect_float(kernel, own)
    return _filled(fill, own, generator)


@factory
def rand(*shape, size=None, generator: Generator | None = None, dtype=None) -> Tensor:
    """Uniform numbers in [0, 1), in a shape given as numbers, a tuple or a list."""
    own = here(default(dtype), shape_of(shape, size, "rand"))
    return _made(draw.uniform, "check_uniform_bounds", own, generator)


@factory
def randn(*shape, size=None, generator: Generator | None = None, dtype=None) -> Tensor:
    """Normal numbers with mean 0 and variance 1, in a shape.

    Example:
        >>> import nbgrad
        >>> nbgrad.randn(2, 3, requires_grad=True).shape
        nbgrad.Size([2, 3])
    """
    own = here(default(dtype), shape_of(shape, size, "randn"))
    return _made(draw.normal, "normal_kernel_cpu", own, generator)


@factory
def rand_like(input: Tensor, *, generator: Generator | None = None, dtype=None,
              memory_format=None) -> Tensor:
    """Uniform numbers in [0, 1), in the shape and dtype of another tensor."""
    expect_tensor("rand_like", input=input)
    own = like(input._layout, dtype or input._layout.dtype, memory_format)
    return _made(draw.uniform, "check_uniform_bounds", own, generator)


@factory
def randn_like(input: Tensor, *, generator: Generator | None = None, dtype=None,
               memory_format=None) -> Tensor:
    """Normal numbers, in the shape and dtype of another tensor."""
    expect_tensor("randn_like", input=input)
    own = like(input._layout, dtype or input._layout.dtype, memory_format)
    return _made(draw.normal, "normal_kernel_cpu", own, generator)


def _integers(own: Layout, low, high, generator) -> Tensor:
    if not type(low) is type(high) is int:
        low, high = whole(low, "low"), whole(high, "high")
    draw.check_integers(own.dtype, low, high)
    return _filled(draw.integers, own, generator, low, high)


@factory
def randint(*args, low=None, high=None, size=None, generator: Generator | None = None,
            dtype=None) -> Tensor:
    """Integers in [low, high): `randint(high, size)` or `randint(low, high, size)`."""
    given = list(args)
    if size is None and given:
        size = given.pop()
    if high is None and given:
        high = given.pop()
    if low is None and given:
        low = given.pop()
    elif low is not None and args and high is args[0]:
        raise TypeError("randint() received an invalid combination of arguments: name `high` too")
    if given or high is None or not isinstance(size, (tuple, list)):
        raise TypeError("randint() takes (high, size) or (low, high, size), with a tuple as size")
    own = here(dtype or dtypes.int64, shape_of((), size, "randint"))
    return _integers(own, 0 if low is None else low, high, generator)


@factory
def randint_like(input: Tensor, low, high=None, *, generator: Generator | None = None, dtype=None,
                 memory_format=None) -> Tensor:
    """Integers in [low, high), or [0, low), in the shape and dtype of another tensor."""
    expect_tensor("randint_like", input=input)
    low, high = (0, low) if high is None else (low, high)
    own = like(input._layout, dtype or input._layout.dtype, memory_format)
    return _integers(own, low, high, generator)


@factory
def randperm(n: int, *, generator: Generator | None = None, dtype=None) -> Tensor:
    """The integers from 0 to n - 1 in random order."""
    count = whole(n, "n")
    if count < 0:
        raise RuntimeError(f"Trying to create tensor with negative dimension {count}: [{count}]")
    found = dtype or dtypes.int64
    narrow = found.category == 1 and found is not dtypes.int64
    if narrow and count - 1 > np.iinfo(found.name).max:
        raise RuntimeError(f"value cannot be converted to type {found.name} without overflow")
    # numbers in half the memory are shuffled sooner, where they are many
    own = here(dtypes.int32 if 2**15 < count <= 2**31 else dtypes.int64, (count,))
    return _filled(kernels.permutation, own, *take(generator, count)).to(found)


class Sample(Op):
    """Numbers drawn with parameters that are tensors; no gradient passes."""

    def __init__(self, name: str) -> None:
        self.name = name
        super().__init__()

    def forward(self, *arrays_and_attrs):
        *arrays, make = arrays_and_attrs
        return make(*arrays)

    def backward(self, node, grad):
        return tuple([grad.new_zeros(own.shape, dtype=own.dtype) for own in node.layouts])


NORMAL, BERNOULLI, POISSON, BINOMIAL = (Sample(name) for name in (
    "Normal", "Bernoulli", "Poisson", "Binomial"))


def normal(mean, std=1.0, size=None, *, generator: Generator | None = None, **options) -> Tensor:
    """Normal numbers with a mean and a standard deviation: numbers with `size`, or tensors."""
    given = [t for t in (mean, std) if isinstance(t, Tensor)]
    if not isinstance(std, Tensor):
        draw.check_deviation(std)
    if not given:
        if size is None:
            raise TypeError("normal() received an invalid combination of arguments: two numbers need a "
                            "size")
        return _normal_of_numbers(size, mean, std, generator=generator, **options)
    if size is not None:
        raise TypeError("normal() received an invalid combination of arguments: tensors have a size")
    return _normal_of_tensors(given, mean, std, generator, **options)


@factory
def _normal_of_numbers(size, mean, std, *, generator=None, dtype=None) -> Tensor:
    made = randn(size, generator=generator, dtype=dtype)
    return made.mul_(std).add_(mean)


@with_out
def _normal_of_tensors(given: list[Tensor], mean, std, generator) -> Tensor:
    expect_float("normal_kernel_cpu", given[0]._layout)
    if isinstance(std, Tensor) and (std < 0).any().item():
        raise RuntimeError("normal expects all elements of std >= 0.0")
    own = broadcast_tensors(*[t.detach() for t in given])[0]._layout
    dtype = dtypes.float32 if own.dtype.half else own.dtype
    found = _filled(draw.normal, layout(dtype, own.shape, device=own.device), generator)
    for change, by in ((found.mul_, std), (found.add_, mean)):
        change(by.detach() if isinstance(by, Tensor) else by)
    return apply(NORMAL, tuple(given), (lambda *arrays: found._stored(),))


@with_out
def bernoulli(input: Tensor, p: float | None = None, *,
              generator: Generator | None = None) -> Tensor:
    """Ones with the probabilities `input`, or `p` everywhere, and zeros."""
    expect_tensor("bernoulli", input=input)
    if p is not None:
        return input.detach().clone().bernoulli_(p, generator=generator)
    expect_float("bernoulli_tensor_cpu_p_", input._layout)
    draw.check_probabilities(input)
    place = take(generator, input._layout.numel)

    def make(x):
        found = copied(x)
        kernels.coins(found.reshape(-1), contiguous(x).reshape(-1), *place)
        return found

    return apply(BERNOULLI, (input,), (make,))


def poisson(input: Tensor, generator: Generator | None = None) -> Tensor:
    """Counts of events that come at the rates `input`."""
    expect_tensor("poisson", input=input)
    expect_float("poisson_cpu", input._layout)
    if (~(input >= 0)).any().item():
        raise RuntimeError("invalid Poisson rate, expected rate to be non-negative")
    place = take(generator, input._layout.numel)
    return apply(POISSON, (input,), (lambda rates: events.poisson(rates, *place),))


def binomial(count: Tensor, prob: Tensor, generator: Generator | None = None) -> Tensor:
    """How many of `count` trials succeed, each with probability `prob`."""
    expect_tensor("binomial", count=count, prob=prob)
    for name, t in (("count", count), ("prob", prob)):
        if t._layout.dtype.category != 2:
            raise ValueError(f"binomial only supports floating-point dtypes for {name}, got: "
                             f"{t._layout.dtype.legacy}")
    if count._layout.dtype is not prob._layout.dtype:
        raise RuntimeError("Binomial expects count and prob to have the same dtype")
    draw.check_probabilities(prob)
    if (~(count >= 0)).any().item():
        raise RuntimeError("binomial: counts must not be negative")
    own = broadcast_tensors(count.detach(), prob.detach())[0]._layout
    place = take(generator, own.numel)
    return apply(BINOMIAL, (count, prob), (lambda *both: events.binomial(
        *[spread(a, own.shape) for a in both], *place),))


@with_out
def multinomial(input: Tensor, num_samples: int, replacement: bool = False, *,
                generator: Generator | None = None) -> Tensor:
    """Indices drawn with the weights `input` (n,) or (rows, n), `num_samples` a row."""
    expect_tensor("multinomial", input=input)
    count = whole(num_samples, "num_samples")
    if input._layout.dtype.category != 2:
        raise RuntimeError("multinomial only supports floating-point dtypes for input, got: "
                           f"{input._layout.dtype.legacy}")
    weights = input.detach()
    _check_weights(weights, count, replacement)
    shape = weights._layout.shape
    rows = weights.double().reshape(math.prod(shape[:-1]), shape[-1])
    places = (_repeated if replacement else _different)(rows, count, generator)
    return places.reshape(*shape[:-1], count)


def _repeated(rows: Tensor, count: int, generator) -> Tensor:
    """`count` places in each row, drawn with its weights."""
    steps = rows.cumsum(-1)
    own = layout(dtypes.float64, (len(rows), count), device=rows.device)
    u = _filled(draw.uniform, own, generator)
    return searchsorted(steps, u * steps[:, -1:], right=True)


def _different(rows: Tensor, count: int, generator) -> Tensor:
    """The same without repeats: the first arrivals of Poisson processes with these rates."""
    rates = contiguous(rows._stored())
    times = wrap(kernels.arrivals(rates.reshape(-1), *take(generator, rates.size))).reshape(rows.shape)
    return times.topk(count, -1, largest=False)[1] if count > 1 else times.argmin(-1, keepdim=True)


def _check_weights(weights: Tensor, count: int, replacement: bool) -> None:
    shape = weights._layout.shape
    if len(shape) not in (1, 2):
        raise RuntimeError("prob_dist must be 1 or 2 dim")
    if count <= 0:
        raise RuntimeError("cannot sample n_sample <= 0 samples")
    if not replacement and count > shape[-1]:
        raise RuntimeError("cannot sample n_sample > prob_dist.size(-1) samples without "
                           "replacement")
    if 0 in shape:
        if shape[-1] == 0:
            raise RuntimeError("invalid multinomial distribution (sum of probabilities <= 0)")
        return
    if not (weights.amin().item() >= 0 and weights.amax().item() < math.inf):
        raise RuntimeError("probability tensor contains either `inf`, `nan` or element < 0")
    if (weights.sum(-1) <= 0).any().item():
        raise RuntimeError("invalid multinomial distribution (sum of probabilities <= 0)")


FUNCTIONS = {f.__name__: f for f in (bernoulli, multinomial)}
PACKAGE_ONLY = {f.__name__: f for f in (
    rand, randn, rand_like, randn_like, randint, randint_like, randperm, normal, poisson, binomial)}
