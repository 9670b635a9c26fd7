"""Random numbers: generators that count what they gave out, and what is drawn from them."""

from __future__ import annotations

import math
import os
import threading

import numpy as np

from nbgrad import dtypes
from nbgrad.devices import resolve
from nbgrad.kernels.cpu import random as kernels
from nbgrad.kernels.layout import layout
from nbgrad.ops.apply import apply, apply_
from nbgrad.ops.create import from_numpy, shape_of
from nbgrad.ops.family import expect_float, expect_tensor
from nbgrad.ops.op import Op, wrap
from nbgrad.tensor import Tensor

_DEFAULT_SEED = 67280421310721


class Generator:
    """A seed, and how many blocks of random words were drawn from it.

    A number depends on the seed and its place alone, never on threads.

    Example:
        >>> import nbgrad
        >>> g = nbgrad.Generator().manual_seed(1)
        >>> a = nbgrad.rand(3, generator=g)
        >>> bool((a == nbgrad.rand(3, generator=g.manual_seed(1))).all())
        True
    """

    def __init__(self, device="cpu") -> None:
        self.device = resolve(device)
        self._seed, self._offset = _DEFAULT_SEED, 0
        self._lock = threading.Lock()

    def manual_seed(self, seed: int) -> Generator:
        """Start anew from `seed`; returns the generator."""
        self._seed, self._offset = int(seed) & (2**64 - 1), 0
        return self

    def seed(self) -> int:
        """Start anew from a seed of the operating system, and return it."""
        self.manual_seed(int.from_bytes(os.urandom(7), "little"))
        return self._seed

    def initial_seed(self) -> int:
        """The seed it was started from."""
        return self._seed

    def get_state(self) -> Tensor:
        """Seed and offset, as bytes."""
        state = np.array([self._seed, self._offset], np.uint64)
        return from_numpy(state.view(np.uint8).copy())

    def set_state(self, new_state: Tensor) -> Generator:
        """Go back to where `get_state` was called."""
        if not isinstance(new_state, Tensor) or new_state.dtype is not dtypes.uint8:
            raise TypeError("RNG state must be a torch.ByteTensor")
        if new_state.numel() != 16:
            raise RuntimeError("RNG state is wrong size: it must come from get_state()")
        state = np.ascontiguousarray(new_state._array()).view(np.uint64)
        self._seed, self._offset = (int(v) for v in state)
        return self

    def take(self, n: int) -> tuple[int, int]:
        """Seed and offset for a draw of n numbers, which nobody else will get."""
        with self._lock:
            offset = self._offset
            self._offset += kernels.advance(n)
        return self._seed, offset

    def __repr__(self) -> str:
        return f"<nbgrad.Generator seed={self._seed} offset={self._offset}>"


default_generator = Generator()


def manual_seed(seed: int) -> Generator:
    """Seed the default generator; returns it."""
    return default_generator.manual_seed(seed)


def seed() -> int:
    """Seed the default generator from the operating system; returns the seed."""
    return default_generator.seed()


def initial_seed() -> int:
    """The seed of the default generator."""
    return default_generator.initial_seed()


def get_rng_state() -> Tensor:
    """The state of the default generator, as bytes."""
    return default_generator.get_state()


def set_rng_state(new_state: Tensor) -> None:
    """Put the default generator back to a state."""
    default_generator.set_state(new_state)


def _take(generator: Generator | None, n: int) -> tuple[int, int]:
    return (default_generator if generator is None else generator).take(n)


def _floating(dtype, kernel: str) -> dtypes.dtype:
    found = dtypes.get_default_dtype() if dtype is None else dtypes.as_dtype(dtype)
    expect_float(kernel, layout(found, ()))
    return found


def _uniform(n: int, np_dtype, generator) -> np.ndarray:
    return kernels.uniform(n, np_dtype, *_take(generator, n))


def _normal(n: int, np_dtype, generator) -> np.ndarray:
    return kernels.normal(n, np_dtype, *_take(generator, n))


def _made(draw, kernel: str, shape: tuple[int, ...], generator, dtype, device,
          requires_grad) -> Tensor:
    resolve(device)
    own = layout(_floating(dtype, kernel), shape)
    return Tensor(draw(own.numel, own.dtype.np, generator), own).requires_grad_(requires_grad)


def rand(*shape, size=None, generator: Generator | None = None, dtype=None, device=None,
         requires_grad: bool = False) -> Tensor:
    """Uniform numbers in [0, 1), in a shape given as numbers, a tuple or a list."""
    return _made(_uniform, "check_uniform_bounds", shape_of(shape, size), generator, dtype, device,
                 requires_grad)


def randn(*shape, size=None, generator: Generator | None = None, dtype=None, device=None,
          requires_grad: bool = False) -> Tensor:
    """Normal numbers with mean 0 and variance 1, in a shape.

    Example:
        >>> import nbgrad
        >>> nbgrad.randn(2, 3, requires_grad=True).shape
        nbgrad.Size([2, 3])
    """
    return _made(_normal, "normal_kernel_cpu", shape_of(shape, size), generator, dtype, device,
                 requires_grad)


def rand_like(input: Tensor, *, generator: Generator | None = None, dtype=None, device=None,
              requires_grad: bool = False) -> Tensor:
    """Uniform numbers in [0, 1), in the shape and dtype of another tensor."""
    return rand(input._layout.shape, generator=generator, dtype=dtype or input._layout.dtype,
                device=device, requires_grad=requires_grad)


def randn_like(input: Tensor, *, generator: Generator | None = None, dtype=None, device=None,
               requires_grad: bool = False) -> Tensor:
    """Normal numbers, in the shape and dtype of another tensor."""
    return randn(input._layout.shape, generator=generator, dtype=dtype or input._layout.dtype,
                 device=device, requires_grad=requires_grad)


def randint(*args, generator: Generator | None = None, dtype=None, device=None,
            requires_grad: bool = False) -> Tensor:
    """Integers in [low, high): `randint(high, size)` or `randint(low, high, size)`."""
    resolve(device)
    low, high, size = (0, *args) if len(args) == 2 else args
    low, high = int(low), int(high)
    found = dtypes.int64 if dtype is None else dtypes.as_dtype(dtype)
    if low >= high:
        raise RuntimeError("random_ expects 'from' to be less than 'to', but got from="
                           f"{low} >= to={high}")
    info = np.iinfo(found.name) if found.category == 1 else None
    if info is not None and not (info.min <= low and high - 1 <= info.max):
        raise RuntimeError(f"{'from' if low < info.min else 'to - 1'} is out of bounds for "
                           f"{found.name}")
    shape = shape_of((size,))
    n = math.prod(shape)
    values = kernels.randint(n, low, high, *_take(generator, n))
    made = wrap(values.astype(found.np, copy=False).reshape(shape))
    return made.requires_grad_(requires_grad)


def randint_like(input: Tensor, low: int, high: int | None = None, *, dtype=None,
                 **options) -> Tensor:
    """Integers in [low, high), or [0, low), in the shape and dtype of another tensor."""
    low, high = (0, low) if high is None else (low, high)
    return randint(low, high, input._layout.shape, dtype=dtype or input._layout.dtype, **options)


def randperm(n: int, *, generator: Generator | None = None, dtype=None, device=None,
             requires_grad: bool = False) -> Tensor:
    """The integers from 0 to n - 1 in random order."""
    resolve(device)
    if n < 0:
        raise RuntimeError(f"Trying to create tensor with negative dimension {n}: [{n}]")
    found = dtypes.int64 if dtype is None else dtypes.as_dtype(dtype)
    values = kernels.permutation(n, *_take(generator, n))
    return wrap(values.astype(found.np, copy=False)).requires_grad_(requires_grad)


def normal(mean, std=1.0, size=None, *, generator: Generator | None = None, dtype=None,
           device=None, requires_grad: bool = False) -> Tensor:
    """Normal numbers with a mean and a standard deviation: numbers with `size`, or tensors."""
    if isinstance(std, Tensor) and std._layout.numel and std._array().min() < 0:
        raise RuntimeError("normal expects all elements of std >= 0.0")
    if not isinstance(std, Tensor):
        _check_deviation(std)
    if size is None:
        like = mean + std * 0 if isinstance(mean, Tensor) else std
        return randn_like(like, generator=generator) * std + mean
    made = randn(size, generator=generator, dtype=dtype, device=device) * std + mean
    return made.requires_grad_(requires_grad)


def _check_deviation(std: float) -> None:
    if not std >= 0:
        raise RuntimeError(f"normal expects std >= 0.0, but found std {std}")


class Draw(Op):
    """In place: fresh random numbers, made by attrs[0] with the other attrs."""

    def __init__(self, name: str) -> None:
        self.name = name
        super().__init__()

    def run_into(self, target, others, attrs) -> None:
        make, *rest = attrs
        own = target._layout
        target._array()[...] = make(own.numel, own.dtype.np, *rest).reshape(own.shape)

    def backward(self, node, grad):
        return grad.new_zeros(grad._layout.shape)


NORMAL, UNIFORM, BERNOULLI_ = Draw("Normal"), Draw("Uniform"), Draw("Bernoulli")
RANDOM = Draw("Random")


def _scaled_normal(n, np_dtype, generator, mean, std):
    values = _normal(n, np_dtype, generator)
    values *= std
    values += mean
    return values


def normal_(input: Tensor, mean: float = 0.0, std: float = 1.0, *,
            generator: Generator | None = None) -> Tensor:
    """Write normal numbers, in place."""
    expect_float("normal_kernel_cpu", input._layout)
    _check_deviation(std)
    return apply_(NORMAL, input, (), (_scaled_normal, generator, float(mean), float(std)))


def _scaled_uniform(n, np_dtype, generator, low, high):
    values = _uniform(n, np_dtype, generator)
    values *= high - low
    values += low
    return values


def uniform_(input: Tensor, a: float = 0.0, b: float = 1.0, *,
             generator: Generator | None = None) -> Tensor:
    """Write uniform numbers of [a, b), in place."""
    expect_float("check_uniform_bounds", input._layout)
    if a > b:
        raise RuntimeError(f"uniform_ expects to return a [from, to) range, but found from={a:g} > "
                           f"to={b:g}")
    return apply_(UNIFORM, input, (), (_scaled_uniform, generator, float(a), float(b)))


def _below(n, np_dtype, generator, low, high):
    return kernels.randint(n, low, high, *_take(generator, n)).astype(np_dtype, copy=False)


def random_(input: Tensor, low: int | None = None, high: int | None = None, *,
            generator: Generator | None = None) -> Tensor:
    """Write integers of [low, high) or [0, low), in place; all that the dtype holds by default."""
    if low is None:
        start, stop = 0, _range_of(input._layout.dtype)
    else:
        start, stop = (0, int(low)) if high is None else (int(low), int(high))
    if start >= stop:
        raise RuntimeError("random_ expects 'from' to be less than 'to', but got from="
                           f"{start} >= to={stop}")
    return apply_(RANDOM, input, (), (_below, generator, start, stop))


def _range_of(dtype: dtypes.dtype) -> int:
    """One more than the largest integer up to which a dtype holds them all."""
    if dtype.category == 2:
        return 2**24 + 1 if dtype is dtypes.float32 else 2**53 + 1
    return 2 if dtype.category == 0 else int(np.iinfo(dtype.name).max) + 1


def _coins(n, np_dtype, generator, p):
    if isinstance(p, np.ndarray):
        return (_uniform(n, np.float64, generator) < p.reshape(-1)).astype(np_dtype)
    return kernels.bernoulli_mask(n, p, *_take(generator, n), np_dtype)


def bernoulli_(input: Tensor, p=0.5, *, generator: Generator | None = None) -> Tensor:
    """Write ones with probability `p` (a number or a tensor) and zeros, in place."""
    if isinstance(p, Tensor):
        p = np.broadcast_to(_probabilities(p), input._layout.shape)
    elif not 0 <= p <= 1:
        raise RuntimeError(f"bernoulli_ expects p to be in [0, 1], but got p={p:g}")
    return apply_(BERNOULLI_, input, (), (_coins, generator, p))


def _probabilities(p: Tensor) -> np.ndarray:
    found = p._array()
    if found.size and not (found.min() >= 0 and found.max() <= 1):
        raise RuntimeError("Expected p_in >= 0 && p_in <= 1 to be true, but got false.")
    return found


class Bernoulli(Op):
    """Ones with the probabilities x, and zeros; no gradient passes."""

    name = "Bernoulli"

    def forward(self, x, generator):
        return _coins(x.size, x.dtype, generator, x).reshape(x.shape)

    def backward(self, node, grad):
        return grad.new_zeros(grad._layout.shape)


BERNOULLI = Bernoulli()


def bernoulli(input: Tensor, p: float | None = None, *,
              generator: Generator | None = None) -> Tensor:
    """Ones with the probabilities `input`, or `p` everywhere, and zeros."""
    expect_tensor("bernoulli", input=input)
    if p is not None:
        return bernoulli_(input.detach().clone(), p, generator=generator)
    expect_float("bernoulli_tensor_cpu_p_", input._layout)
    _probabilities(input)
    return apply(BERNOULLI, (input,), (generator,))


def multinomial(input: Tensor, num_samples: int, replacement: bool = False, *,
                generator: Generator | None = None) -> Tensor:
    """Indices drawn with the weights `input` (n,) or (rows, n), `num_samples` a row."""
    expect_tensor("multinomial", input=input)
    weights = input._array().astype(np.float64)
    if weights.ndim not in (1, 2):
        raise RuntimeError("prob_dist must be 1 or 2 dim")
    if num_samples <= 0:
        raise RuntimeError("cannot sample n_sample <= 0 samples")
    if not replacement and num_samples > weights.shape[-1]:
        raise RuntimeError("cannot sample n_sample > prob_dist.size(-1) samples without "
                           "replacement")
    if not np.isfinite(weights).all() or weights.min() < 0:
        raise RuntimeError("probability tensor contains either `inf`, `nan` or element < 0")
    if (weights.sum(-1) <= 0).any():
        raise RuntimeError("invalid multinomial distribution (sum of probabilities <= 0)")
    rows = np.atleast_2d(weights)
    if replacement:
        steps = rows.cumsum(-1)
        u = _uniform(len(rows) * num_samples, np.float64, generator).reshape(len(rows), -1)
        found = np.stack([np.searchsorted(s, v * s[-1], "right") for s, v in zip(steps, u)])
    else:
        # the first arrivals of Poisson processes with these rates
        waits = -np.log1p(-_uniform(rows.size, np.float64, generator)).reshape(rows.shape)
        with np.errstate(divide="ignore", invalid="ignore"):
            times = np.where(rows > 0, waits / rows, np.inf)
        found = np.argsort(times, -1, kind="stable")[:, :num_samples]
    return wrap(found.astype(np.int64).reshape(weights.shape[:-1] + (num_samples,)))


class Dropout(Op):
    """Entries zeroed with probability p, the others scaled by 1 / (1 - p).

    The mask is made anew from (seed, offset) wherever it is needed, so the gradient is the op.
    """

    name = "NativeDropout"
    label = "dropout_"

    def forward(self, x, p, seed, offset):
        scale = 1 / (1 - p) if p < 1 else 0.0
        return kernels.dropout(x.reshape(-1), p, scale, seed, offset).reshape(x.shape)

    def run_into(self, target, others, attrs) -> None:
        x = target._array()
        x[...] = self.forward(x, *attrs)

    def backward(self, node, grad):
        return apply(DROPOUT, (grad,), node.attrs)


DROPOUT = Dropout()


def _check_probability(p: float) -> None:
    if not 0 <= p <= 1:
        raise ValueError(f"dropout probability has to be between 0 and 1, but got {p}")


def dropout(input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
    """In training, entries zeroed with probability `p` and the others scaled by 1 / (1 - p).

    Example:
        >>> import nbgrad
        >>> dropout(nbgrad.ones(3), 0.5, training=False)
        tensor([1., 1., 1.])
    """
    expect_tensor("dropout", input=input)
    _check_probability(p)
    if not training or p == 0:
        return input
    attrs = (float(p), *default_generator.take(input._layout.numel))
    return apply_(DROPOUT, input, (), attrs) if inplace else apply(DROPOUT, (input,), attrs)


def dropout2d(input: Tensor, p: float = 0.5, training: bool = True,
              inplace: bool = False) -> Tensor:
    """`dropout` of whole channels of (N, C, H, W) or (C, H, W)."""
    expect_tensor("dropout2d", input=input)
    _check_probability(p)
    if not training or p == 0:
        return input
    shape = input._layout.shape
    channels = shape[:1] if len(shape) == 3 else shape[:2]
    kept = input.new_ones(channels + (1,) * (len(shape) - len(channels)))
    mask = apply(DROPOUT, (kept,), (float(p), *default_generator.take(kept._layout.numel)))
    return input.mul_(mask) if inplace else input * mask


FUNCTIONS = {f.__name__: f for f in (bernoulli, bernoulli_, normal_, uniform_, random_,
                                     multinomial)}
PACKAGE_ONLY = {f.__name__: f for f in (
    manual_seed, seed, initial_seed, get_rng_state, set_rng_state, rand, randn, rand_like,
    randn_like, randint, randint_like, randperm, normal)} | {
    "Generator": Generator, "default_generator": default_generator}
