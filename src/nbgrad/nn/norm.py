"""Normalisation layers."""

from __future__ import annotations

import warnings
from typing import Any

from nbgrad.engine.mode import no_grad
from nbgrad.nn import functional as F
from nbgrad.nn import init
from nbgrad.nn.module import Module
from nbgrad.nn.parameter import Parameter
from nbgrad.ops.create import empty, ones, tensor, zeros
from nbgrad.tensor import Tensor


class _ChannelNorm(Module):
    """Options, weights, running values and printing of norms that have a scale for each channel."""

    _version = 2
    ranks: tuple[int, ...]

    def __init__(self, num_features: int, eps: float = 1e-5, momentum: float | None = 0.1,
                 affine: bool = True, track_running_stats: bool = True, device=None, dtype=None, *,
                 bias: bool = True) -> None:
        super().__init__()
        self.num_features, self.eps, self.momentum = num_features, eps, momentum
        self.affine, self.track_running_stats = affine, track_running_stats
        options = {"device": device, "dtype": dtype}
        scale = Parameter(empty(num_features, **options)) if affine else None
        self.register_parameter("weight", scale)
        shift = Parameter(empty(num_features, **options)) if affine and bias else None
        self.register_parameter("bias", shift)
        tracked = track_running_stats
        self.register_buffer("running_mean", zeros(num_features, **options) if tracked else None)
        self.register_buffer("running_var", ones(num_features, **options) if tracked else None)
        self.register_buffer("num_batches_tracked", tensor(0) if tracked else None)
        self.reset_parameters()

    def reset_running_stats(self) -> None:
        """Forget the batches seen."""
        if self.track_running_stats:
            init.zeros_(self.running_mean)
            init.ones_(self.running_var)
            init.zeros_(self.num_batches_tracked)

    def reset_parameters(self) -> None:
        """Forget the batches seen, and scale by 1 and shift by 0."""
        self.reset_running_stats()
        _reset(self.weight, self.bias)

    def _check_input_dim(self, x: Tensor) -> None:
        if x.dim() not in self.ranks:
            expected = " or ".join(f"{r}D" for r in self.ranks)
            raise ValueError(f"expected {expected} input (got {x.dim()}D input)")

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str,
                              local_metadata: dict[str, Any], strict: bool,
                              missing_keys: list[str], unexpected_keys: list[str],
                              error_msgs: list[str]) -> None:
        """States of version 1 (PyTorch before 0.4.1) did not count batches."""
        super()._load_from_state_dict(state_dict, prefix, local_metadata, strict, missing_keys,
                                      unexpected_keys, error_msgs)
        key = f"{prefix}num_batches_tracked"
        if key in missing_keys and (local_metadata.get("version") or 1) < 2:
            missing_keys.remove(key)

    def extra_repr(self) -> str:
        return (f"{self.num_features}, eps={self.eps}, momentum={self.momentum}, "
                f"affine={self.affine}, bias={self.bias is not None}, "
                f"track_running_stats={self.track_running_stats}")


class _BatchNorm(_ChannelNorm):
    """Makes every channel of a batch have mean 0 and variance 1, then scales and shifts it.

    Running means of both take over in eval mode, and in a frozen module (see `Module.freeze`).

    Args:
        num_features: channels.
        eps: added to the variance.
        momentum: the weight of the newest batch in the running values; None for the mean of all.
        affine: whether a scale and a shift are learnt.
        track_running_stats: without, batch values are used in eval mode too.
        bias: with affine, whether a shift is learnt.
    """

    def forward(self, x: Tensor) -> Tensor:
        self._check_input_dim(x)
        tracked = self.running_mean is not None
        learning = self.training and not (self._frozen and tracked)
        factor = 0.0 if self.momentum is None else self.momentum
        if learning and self.track_running_stats and self.num_batches_tracked is not None:
            with no_grad():
                self.num_batches_tracked.add_(1)
            if self.momentum is None:
                factor = 1.0 / self.num_batches_tracked.item()
        kept = self.track_running_stats or not self.training
        return F.batch_norm(x, self.running_mean if kept else None,
                            self.running_var if kept else None, self.weight, self.bias,
                            learning or not tracked, factor, self.eps)


class BatchNorm1d(_BatchNorm):
    """Batch norm over (N, C) or (N, C, L)."""

    ranks = (2, 3)


class BatchNorm2d(_BatchNorm):
    """Batch norm over (N, C, H, W)."""

    ranks = (4,)


class BatchNorm3d(_BatchNorm):
    """Batch norm over (N, C, D, H, W)."""

    ranks = (5,)


class _InstanceNorm(_ChannelNorm):
    """Makes every channel of every sample have mean 0 and variance 1, then scales and shifts it.

    Args:
        num_features: channels.
        eps: added to the variance.
        momentum: the weight of the newest batch in the running values.
        affine: whether a scale and a shift are learnt.
        track_running_stats: whether running values, means over the samples, are kept and used in
            eval mode.
        bias: with affine, whether a shift is learnt.
    """

    def __init__(self, num_features: int, eps: float = 1e-5, momentum: float | None = 0.1,
                 affine: bool = False, track_running_stats: bool = False, device=None, dtype=None, *,
                 bias: bool = True) -> None:
        super().__init__(num_features, eps, momentum, affine, track_running_stats, device, dtype,
                         bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        self._check_input_dim(x)
        unbatched = x.dim() == self.ranks[0]
        dim = x.dim() - self.ranks[0]
        if x.shape[dim] != self.num_features:
            self._refuse_channels(dim, x.shape[dim])
        tracked = self.track_running_stats
        own = self.training and not (self._frozen and tracked)
        y = F.instance_norm(x.unsqueeze(0) if unbatched else x, self.running_mean, self.running_var,
                            self.weight, self.bias, own or not tracked, self.momentum or 0.0,
                            self.eps)
        return y.squeeze(0) if unbatched else y

    def _refuse_channels(self, dim: int, found: int) -> None:
        """Wrong with a scale for each channel; without, only worth a word."""
        if self.affine:
            raise ValueError(f"expected input's size at dim={dim} to match num_features "
                             f"({self.num_features}), but got: {found}.")
        warnings.warn(f"input's size at dim={dim} does not match num_features. You can silence "
                      "this warning by not passing in num_features, which is not used because "
                      "affine=False", UserWarning, stacklevel=4)


class InstanceNorm1d(_InstanceNorm):
    """Instance norm over (N, C, L) or (C, L)."""

    ranks = (2, 3)


class InstanceNorm2d(_InstanceNorm):
    """Instance norm over (N, C, H, W) or (C, H, W)."""

    ranks = (3, 4)


class InstanceNorm3d(_InstanceNorm):
    """Instance norm over (N, C, D, H, W) or (C, D, H, W)."""

    ranks = (4, 5)


class LayerNorm(Module):
    """Makes the last axes of each sample have mean 0 and variance 1, then scales and shifts.

    Args:
        normalized_shape: the sizes of these axes.
        eps: added to the variance.
        elementwise_affine: whether a scale and a shift are learnt for each element.
        bias: with elementwise_affine, whether a shift is learnt.
    """

    def __init__(self, normalized_shape: int | tuple[int, ...], eps: float = 1e-5,
                 elementwise_affine: bool = True, bias: bool = True, device=None,
                 dtype=None) -> None:
        super().__init__()
        if isinstance(normalized_shape, int):
            normalized_shape = (normalized_shape,)
        shape = tuple(normalized_shape)
        self.normalized_shape, self.eps, self.elementwise_affine = shape, eps, elementwise_affine
        options = {"device": device, "dtype": dtype}
        scale = Parameter(empty(shape, **options)) if elementwise_affine else None
        self.register_parameter("weight", scale)
        shift = Parameter(empty(shape, **options)) if elementwise_affine and bias else None
        self.register_parameter("bias", shift)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Scale by 1 and shift by 0."""
        _reset(self.weight, self.bias)

    def forward(self, x: Tensor) -> Tensor:
        return F.layer_norm(x, self.normalized_shape, self.weight, self.bias, self.eps)

    def extra_repr(self) -> str:
        return (f"{self.normalized_shape}, eps={self.eps}, "
                f"elementwise_affine={self.elementwise_affine}, bias={self.bias is not None}")


class GroupNorm(Module):
    """Makes each of `num_groups` groups of channels have mean 0 and variance 1 in each sample.

    Args:
        num_groups: groups the channels are split into.
        num_channels: channels, each with a scale and a shift of its own.
        eps: added to the variance.
        affine: whether these are learnt.
        bias: with affine, whether the shift is.
    """

    def __init__(self, num_groups: int, num_channels: int, eps: float = 1e-5, affine: bool = True,
                 device=None, dtype=None, *, bias: bool = True) -> None:
        super().__init__()
        if num_channels % num_groups:
            raise ValueError(f"num_channels ({num_channels}) must be divisible by num_groups "
                             f"({num_groups})")
        self.num_groups, self.num_channels, self.eps = num_groups, num_channels, eps
        self.affine = affine
        options = {"device": device, "dtype": dtype}
        scale = Parameter(empty(num_channels, **options)) if affine else None
        self.register_parameter("weight", scale)
        shift = Parameter(empty(num_channels, **options)) if affine and bias else None
        self.register_parameter("bias", shift)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Scale by 1 and shift by 0."""
        _reset(self.weight, self.bias)

    def forward(self, x: Tensor) -> Tensor:
        return F.group_norm(x, self.num_groups, self.weight, self.bias, self.eps)

    def extra_repr(self) -> str:
        return (f"{self.num_groups}, {self.num_channels}, eps={self.eps}, "
                f"affine={self.affine}, bias={self.bias is not None}")


def _reset(scale: Tensor | None, shift: Tensor | None) -> None:
    if scale is not None:
        init.ones_(scale)
    if shift is not None:
        init.zeros_(shift)
