"""Images made larger or smaller: along each axis, every entry is a weighted sum of a few."""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np

from nbgrad import dtypes
from nbgrad.kernels.backend import Twins
from nbgrad.ops.activations import real
from nbgrad.ops.apply import apply
from nbgrad.ops.family import expect_float, expect_tensor, users_line
from nbgrad.ops.op import Op
from nbgrad.tensor import Tensor

kernels = Twins("resample")


@dataclass(frozen=True, eq=False)
class Taps:
    """Which entries of an axis of `length` each result is a sum of, and their weights.

    places and weights are (taps, results); a place of -1 is none.
    """

    length: int
    places: np.ndarray
    weights: np.ndarray

    @cached_property
    def adjoint(self) -> Taps:
        """The taps that take the results' gradient back: which results each entry is in."""
        results = self.places.shape[1]
        to, of = self.places, np.broadcast_to(np.arange(results), self.places.shape)
        used = np.flatnonzero((to >= 0) & (self.weights != 0))
        used = used[np.argsort(to.ravel()[used], kind="stable")]
        to = to.ravel()[used]
        count = np.bincount(to, minlength=self.length)
        nth = np.arange(to.size) - (np.cumsum(count) - count)[to]
        places = np.full((max(1, count.max(initial=0)), self.length), -1)
        weights = np.zeros(places.shape)
        places[nth, to], weights[nth, to] = of.ravel()[used], self.weights.ravel()[used]
        return Taps(results, places, weights)


class Resample(Op):
    """Weighted sums along an axis; attrs (axis, taps)."""

    name = "Upsample"

    def forward(self, x, axis, taps):
        return kernels.gather(x, axis, taps)

    def backward(self, node, grad):
        axis, taps = node.attrs
        return apply(RESAMPLE, (grad,), (axis, taps.adjoint))


RESAMPLE = Resample()


# Taps of an axis of n entries for m results, `scale` entries apart


def _nearest(n: int, m: int, scale: float, shift: float) -> Taps:
    # in float32, as PyTorch has it for every dtype
    at = (np.arange(m, dtype=np.float32) + np.float32(shift)) * np.float32(scale)
    return _bounded(np.floor(at).astype(np.int64)[:, None], np.ones((m, 1)), n)


def _bounded(places: np.ndarray, weights: np.ndarray, n: int) -> Taps:
    """Taps of an axis of n; places before the first entry or behind the last are those entries."""
    return Taps(n, np.ascontiguousarray(np.clip(places, 0, n - 1).T), np.ascontiguousarray(weights.T))


def _centers(m: int, scale: float, align: bool) -> np.ndarray:
    return np.arange(m) * scale if align else (np.arange(m) + 0.5) * scale - 0.5


def _linear(n: int, m: int, scale: float, align: bool) -> Taps:
    at = np.maximum(_centers(m, scale, align), 0)
    first = np.minimum(at.astype(np.int64), n - 1)
    t = np.clip(at - first, 0, 1)
    return _bounded(np.stack([first, first + 1], 1), np.stack([1 - t, t], 1), n)


def _cubic_weight(x: np.ndarray, a: float) -> np.ndarray:
    """Keys' kernel, a cubic on [0, 1] and one on [1, 2]."""
    x = np.abs(x)
    near = ((a + 2) * x - (a + 3)) * x * x + 1
    far = ((x - 5) * x + 8) * x * a - 4 * a
    return np.where(x <= 1, near, np.where(x < 2, far, 0))


def _cubic(n: int, m: int, scale: float, align: bool) -> Taps:
    at = _centers(m, scale, align)
    first = np.floor(at)
    steps = np.arange(-1, 3)
    weights = _cubic_weight((at - first)[:, None] - steps, -0.75)
    return _bounded(first.astype(np.int64)[:, None] + steps, weights, n)


def _smooth(n: int, m: int, scale: float, cubic: bool) -> Taps:
    """As wide a kernel as the results are apart, so that no entry is passed over."""
    wide = max(scale, 1.0)
    reach = (2 if cubic else 1) * wide
    center = (np.arange(m) + 0.5) * scale
    first = np.maximum((center - reach + 0.5).astype(np.int64), 0)
    end = np.minimum((center + reach + 0.5).astype(np.int64), n)
    places = first[:, None] + np.arange(max(int((end - first).max(initial=1)), 1))
    x = (places - center[:, None] + 0.5) / wide
    weights = _cubic_weight(x, -0.5) if cubic else np.maximum(1 - np.abs(x), 0)
    weights = np.where(places < end[:, None], weights, 0)
    return _bounded(places, weights / weights.sum(1, keepdims=True), n)


def _mean(n: int, m: int) -> Taps:
    """The windows of adaptive average pooling."""
    first, end = np.arange(m) * n // m, -(-(np.arange(m) + 1) * n // m)
    places = first[:, None] + np.arange(int((end - first).max(initial=1)))
    return _bounded(places, (places < end[:, None]) / (end - first)[:, None], n)


@lru_cache(256)
def _taps(mode: str, n: int, m: int, factor: float | None, align: bool, antialias: bool) -> Taps:
    scale = 1 / factor if factor else n / m
    if mode == "nearest":
        return _nearest(n, m, scale, 0)
    if mode == "nearest-exact":
        return _nearest(n, m, scale, 0.5)
    if mode == "area":
        return _mean(n, m)
    if align:
        scale = (n - 1) / (m - 1) if m > 1 else 0.0
    if antialias:
        return _smooth(n, m, scale, mode == "bicubic")
    return (_cubic if mode == "bicubic" else _linear)(n, m, scale, align)


_RANKS = {"linear": 3, "bilinear": 4, "bicubic": 4, "trilinear": 5}
_MODES = ("nearest", "linear", "bilinear", "bicubic", "trilinear", "area", "nearest-exact")


def interpolate(input: Tensor, size=None, scale_factor=None, mode: str = "nearest",
                align_corners: bool | None = None, recompute_scale_factor: bool | None = None,
                antialias: bool = False) -> Tensor:
    """(N, C, L), (N, C, H, W) or (N, C, D, H, W) in another size.

    Args:
        size: of the result, a number or one for each axis.
        scale_factor: or by what the size is multiplied.
        mode: "nearest", "nearest-exact", "area" (means of windows), "linear" (three axes),
            "bilinear", "bicubic" (four), "trilinear" (five).
        align_corners: whether the centers of the first and last entries stay, rather than the
            borders.
        recompute_scale_factor: take the ratio of the sizes for the scale factor.
        antialias: when making smaller, weigh all entries that a result stands for.

    Example:
        >>> import nbgrad
        >>> interpolate(nbgrad.tensor([[[0., 1., 2.]]]), scale_factor=2)
        tensor([[[0., 0., 1., 1., 2., 2.]]])
    """
    expect_tensor("interpolate", input=input)
    own = input._layout.shape
    rank = len(own)
    if mode not in _MODES or rank not in (3, 4, 5):
        raise NotImplementedError("Input Error: Only 3D, 4D and 5D input Tensors supported (got "
                                  f"{rank}D) for the modes: {' | '.join(_MODES)} (got {mode})")
    if mode not in _RANKS and align_corners is not None:
        raise ValueError("align_corners option can only be set with the interpolating modes: "
                         "linear | bilinear | bicubic | trilinear")
    sizes, factors = _sizes(own, size, scale_factor, recompute_scale_factor)
    if _RANKS.get(mode, rank) != rank:
        raise NotImplementedError(f"Got {rank}D input, but {mode} mode needs {_RANKS[mode]}D input")
    if antialias and not (mode in ("bilinear", "bicubic") and rank == 4):
        raise ValueError("Anti-alias option is restricted to bilinear and bicubic modes and "
                         "requires a 4-D tensor as input")
    if min(*own[2:], *sizes) <= 0:
        raise RuntimeError("Input and output sizes should be greater than 0, but got input "
                           f"{list(own[2:])} and output {list(sizes)}")
    if own[1] == 0:
        raise RuntimeError(f"Non-empty {rank}D data tensor expected but got a tensor with sizes "
                           f"{list(own)}")
    dtype = input._layout.dtype
    if dtype.category < 2 and not (dtype is dtypes.uint8 and mode.startswith("nearest")):
        raise NotImplementedError(f'"upsample_{mode}" not implemented for \'{dtype.legacy}\'')
    for k in _order(own[2:], sizes):
        taps = _taps(mode, own[2 + k], sizes[k], factors[k], bool(align_corners), antialias)
        if sizes[k] != own[2 + k] or not _keeps(taps):
            input = apply(RESAMPLE, (input,), (2 + k, taps))
    return input if input._layout.shape != own else input.clone()


def _order(old, new) -> list[int]:
    """The axes, those that shrink most first, so that less is left for the others.

    Of two alike the outer one is first where they shrink, and last where they grow: along the last
    axis a result takes longest.
    """
    return sorted(range(len(old)), key=lambda k: (new[k] / old[k], k if new[k] < old[k] else -k))


def _keeps(taps: Taps) -> bool:
    """Whether every entry is only itself."""
    whole = np.arange(taps.places.shape[1])
    return bool(np.all((taps.places == whole) | (taps.weights == 0)))


def _sizes(own: tuple[int, ...], size, scale_factor, recompute: bool | None):
    """The sizes of the result, and the scale factors that count, or None."""
    rank = len(own) - 2
    if (size is None) == (scale_factor is None):
        raise ValueError("only one of size or scale_factor should be defined" if size is not None
                         else "either size or scale_factor should be defined")
    given = size if size is not None else scale_factor
    several = list(given) if isinstance(given, (list, tuple)) else [given] * rank
    if len(several) != rank:
        kind = "output size" if size is not None else "scale_factor"
        raise ValueError("Input and output must have the same number of spatial dimensions, but got "
                         f"input with spatial dimensions of {list(own[2:])} and {kind} of "
                         f"{tuple(several)}.")
    if size is not None:
        if recompute:
            raise ValueError("recompute_scale_factor is not meaningful with an explicit size.")
        for n in several:
            if not isinstance(n, int):
                raise TypeError("expected size to be one of int or Tuple[int] or Tuple[int, int] or "
                                f"Tuple[int, int, int], but got size with type {type(n).__name__}")
        return tuple(several), (None,) * rank
    factors = [real("interpolate", "scale_factor", f) for f in several]
    found = tuple([math.floor(n * f) for n, f in zip(own[2:], factors)])
    return found, (None,) * rank if recompute else tuple(factors)


def upsample(input: Tensor, size=None, scale_factor=None, mode: str = "nearest",
             align_corners: bool | None = None) -> Tensor:
    """`interpolate`, under its former name."""
    warnings.warn("`nn.functional.upsample` is deprecated. Use `nn.functional.interpolate` instead.",
                  UserWarning, stacklevel=users_line())
    return interpolate(input, size, scale_factor, mode, align_corners)


def upsample_nearest(input: Tensor, size=None, scale_factor=None) -> Tensor:
    """`interpolate`, in mode "nearest"."""
    return upsample(input, size, scale_factor)


def upsample_bilinear(input: Tensor, size=None, scale_factor=None) -> Tensor:
    """`interpolate`, in mode "bilinear" with aligned corners."""
    return upsample(input, size, scale_factor, "bilinear", True)


@lru_cache(64)
def _window(n: int, size: int) -> Taps:
    """Means of `size` neighbours, of which those outside count as 0."""
    places = np.arange(n)[:, None] + np.arange(-(size // 2), (size + 1) // 2)
    return _bounded(places, ((places >= 0) & (places < n)) / size, n)


def local_response_norm(input: Tensor, size: int, alpha: float = 1e-4, beta: float = 0.75,
                        k: float = 1.0) -> Tensor:
    """x / (k + alpha m)^beta, m the mean of squares of `size` neighbouring channels of (N, C, ...)."""
    expect_tensor("local_response_norm", input=input)
    if input.dim() < 3:
        raise ValueError("Expected 3D or higher dimensionality input (got "
                         f"{input.dim()} dimensions)")
    if input._layout.numel == 0:
        return input
    expect_float("avg_pool2d", input._layout)
    if size <= 0:
        raise RuntimeError(f"kernel size should be greater than zero, but got {size}")
    mean = apply(RESAMPLE, (input * input,), (1, _window(input._layout.shape[1], int(size))))
    return input / (mean * alpha + k) ** beta
