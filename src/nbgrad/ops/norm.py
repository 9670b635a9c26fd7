"""Normalisation: by batch, layer, group and instance.

Forward and backward are one kernel each. Where the gradient itself is recorded, plain ops
compute it from the same saved values.
"""

from __future__ import annotations

import math

import numpy as np

from nbgrad.engine.mode import state
from nbgrad.kernels.backend import Twins
from nbgrad.kernels.cpu.norm import few_rows, partial_sums
from nbgrad.kernels.layout import layout
from nbgrad.ops.apply import apply
from nbgrad.ops.dims import Sizes, sizes
from nbgrad.ops.family import expect_float, needs, optional, present, saved
from nbgrad.ops.op import Op, Planned, wrap
from nbgrad.ops.shape import reshape
from nbgrad.tensor import Tensor

group_kernels = Twins("group_norm")
kernels = Twins("norm")

# attrs begin with `given`: whether there is a weight, and whether there is a bias.


def _gradients(g: Tensor, x: Tensor, w: Tensor | None, mean: Tensor | None, var: Tensor | None,
               eps: float, dims: tuple[int, ...], rest: tuple[int, ...]):
    """Gradients to x, w and b by plain ops; the statistics are those of x where None is given.

    With n = (x - mean) / std and h = g w: gx = (h - mean(h) - n mean(h n)) / std over the
    normalised axes `dims`, or h / std where the statistics are constants; gw = sum(g n) and
    gb = sum(g) over `rest`.
    """
    own = mean is None or var is None
    centred = x - (x.mean(dims, True) if mean is None else mean)
    spread = centred.square().mean(dims, True) if var is None else var
    inverse = (spread + eps).rsqrt()
    n = centred * inverse
    h = g if w is None else g * w
    gx = h - h.mean(dims, True) - n * (h * n).mean(dims, True) if own else h
    return gx * inverse, (g * n).sum(rest) if rest else g * n, g.sum(rest) if rest else g


def _saved_in_training(needs: tuple[bool, ...], given: tuple[bool, bool]) -> tuple[int, ...]:
    """x, the weight if x wants a gradient, and the statistics, which are outputs 1 and 2."""
    weight = given[0]
    if not (needs[0] or (weight and needs[1])):
        return ()
    return (0, 1, -2, -3) if weight and needs[0] else (0, -2, -3)


def where_given(given: tuple[bool, ...], *grads) -> tuple:
    """The gradients of the optional inputs that were given."""
    return tuple([g for g, there in zip(grads, given) if there])


def _wanted(grads: tuple, wanted: tuple[bool, ...]) -> tuple:
    return tuple([g if want else None for g, want in zip(grads, wanted)])


def _as_channels(v: Tensor, like: Tensor) -> Tensor:
    """A vector (C,) that broadcasts over (N, C, ...)."""
    return reshape(v, (-1,) + (1,) * (len(like._layout.shape) - 2))


def _batch_dims(t: Tensor) -> tuple[int, ...]:
    return (0, *range(2, len(t._layout.shape)))


class BatchNorm(Op):
    """x (N, C, ...) normalised over all but its channels; outputs (y, mean, biased variance)."""

    name = "NativeBatchNorm"
    outputs = 3

    def run(self, inputs, attrs):
        given, eps = attrs
        x = inputs[0]._array()
        w, b = [None if t is None else t._array() for t in optional(inputs[1:], given)]
        return wrap(kernels.batch_norm(x, w, b, eps))

    def saves(self, needs, attrs):
        return _saved_in_training(needs, attrs[0])

    def backward(self, node, grad, *_):
        given, eps = node.attrs
        kept, wanted, dims = saved(node), needs(node), _batch_dims(grad)
        if 0 not in kept:
            gx, gw, gb = None, None, grad.sum(dims)
        elif state.grad:
            w = None if 1 not in kept else _as_channels(kept[1], grad)
            gx, gw, gb = _gradients(grad, kept[0], w, None, None, eps, dims, dims)
        else:
            gx, gw, gb = apply(
                BATCH_NORM_BACKWARD, present(grad, kept[0], kept[-2], kept[-3], kept.get(1)),
                (True, wanted[0], eps))
        return _wanted((gx, *where_given(given, gw, gb)), wanted)


class BatchNormEval(Op):
    """x (N, C, ...) normalised by given means and variances (C,), which get no gradient."""

    name = "NativeBatchNorm"

    def run(self, inputs, attrs):
        given, eps = attrs
        x, mean, var = [t._array() for t in inputs[:3]]
        w, b = [None if t is None else t._array() for t in optional(inputs[3:], given)]
        return wrap(kernels.batch_norm_apply(x, mean, kernels.inverse(var, eps), w, b))

    def saves(self, needs, attrs):
        (weight, _), _ = attrs
        if weight and needs[3]:
            return (0, 1, 2, 3) if needs[0] else (0, 1, 2)
        return ((2, 3) if weight else (2,)) if needs[0] else ()

    def backward(self, node, grad):
        given, eps = node.attrs
        kept, wanted, dims = saved(node), needs(node), _batch_dims(grad)
        gx = gw = gb = None
        if 0 not in kept:
            if wanted[0]:
                scale = (kept[2] + eps).rsqrt()
                gx = grad * _as_channels(scale * kept[3] if 3 in kept else scale, grad)
            if given[1] and wanted[-1]:
                gb = grad.sum(dims)
        elif state.grad:
            w, mean, var = [_as_channels(kept[k], grad) if k in kept else None for k in (3, 1, 2)]
            gx, gw, gb = _gradients(grad, kept[0], w, mean, var, eps, dims, dims)
        else:
            gx, gw, gb = apply(
                BATCH_NORM_BACKWARD, present(grad, kept[0], kept[1], kept[2], kept.get(3)),
                (False, wanted[0], eps))
        return _wanted((gx, None, None, *where_given(given, gw, gb)), wanted)


class BatchNormBackward(Op):
    """All gradients of a batch norm in one kernel."""

    name = "NativeBatchNormBackward"
    outputs = 3

    def run(self, inputs, attrs):
        g, x, mean, var, *w = [t._array() for t in inputs]
        train, need_gx, eps = attrs
        found = kernels.batch_norm_backward(g, x, mean, kernels.inverse(var, eps), w[0] if w else None,
                                            train, need_gx)
        return tuple([None if a is None else wrap(a) for a in found])


class LayerNorm(Planned):
    """x normalised over its last `inner` axes; outputs (y, mean, 1 / std), a row each."""

    name = "NativeLayerNorm"
    outputs = 3

    def plan(self, attrs, x, *more):
        given, inner, eps = attrs
        if given == (False, True):
            return False
        n, dtype = math.prod(x.shape[-inner:]), x.dtype.storage
        each = layout(x.dtype, (x.numel // n,))
        results = layout(x.dtype, x.shape), each, each
        ones, zeros, launch = np.ones(n, dtype), np.zeros(n, dtype), few_rows(dtype, False)

        def run(x, w=ones, b=zeros):
            outs = [np.empty(own.numel, dtype) for own in results]
            launch(x, w, b, eps, *outs, n)
            return tuple(map(Tensor, outs, results))

        return run

    def run_any(self, inputs, attrs):
        given, inner, eps = attrs
        x = inputs[0]._array()
        n = math.prod(x.shape[-inner:])
        w, b = [None if t is None else t._array().reshape(n) for t in optional(inputs[1:], given)]
        y, mean, inverse = kernels.layer_norm(x.reshape(x.size // max(n, 1), n), w, b, eps)
        return wrap((y.reshape(x.shape), mean, inverse))

    def saves(self, needs, attrs):
        return _saved_in_training(needs, attrs[0])

    def backward(self, node, grad, *_):
        given, inner, eps = node.attrs
        kept, wanted = saved(node), needs(node)
        rank = len(grad._layout.shape)
        dims, rest = tuple(range(rank - inner, rank)), tuple(range(rank - inner))
        if 0 not in kept:
            gx = gw = None
            gb = grad.sum(rest) if rest else grad
        elif state.grad:
            gx, gw, gb = _gradients(grad, kept[0], kept.get(1), None, None, eps, dims, rest)
        else:
            gx, gw, gb = apply(
                LAYER_NORM_BACKWARD, present(grad, kept[0], kept[-2], kept[-3], kept.get(1)),
                (inner, wanted[0]))
        return _wanted((gx, *where_given(given, gw, gb)), wanted)


class LayerNormBackward(Planned):
    """All gradients of a layer norm in one kernel."""

    name = "NativeLayerNormBackward"
    outputs = 3

    def plan(self, attrs, grad, x, mean, inverse, *w):
        inner, need_gx = attrs
        own, each = layout(x.dtype, x.shape), layout(x.dtype, x.shape[-inner:])
        n, rows, dtype = each.numel, mean.numel, x.dtype.storage
        ones, launch = np.ones(n, dtype), few_rows(dtype, True)

        def run(grad, x, mean, inverse, w=ones):
            gx = np.empty(own.numel, dtype) if need_gx else x
            gw, gb = np.empty(n, dtype), np.empty(n, dtype)
            launch(grad, x, mean, inverse, w, need_gx, gx, partial_sums(rows, n), gw, gb, rows)
            return Tensor(gx, own) if need_gx else None, Tensor(gw, each), Tensor(gb, each)

        return run

    def run_any(self, inputs, attrs):
        g, x, mean, inverse, *w = [t._array() for t in inputs]
        inner, need_gx = attrs
        shape = x.shape[-inner:]
        n = math.prod(shape)
        rows = (x.size // max(n, 1), n)
        gx, gw, gb = kernels.layer_norm_backward(
            g.reshape(rows), x.reshape(rows), mean, inverse, w[0].reshape(n) if w else None,
            need_gx)
        return (None if gx is None else wrap(gx.reshape(x.shape)), wrap(gw.reshape(shape)),
                wrap(gb.reshape(shape)))


class GroupNorm(Op):
    """x (N, C, ...) normalised over groups of channels; outputs (y, mean, 1 / std), (N, groups)."""

    name = "NativeGroupNorm"
    outputs = 3

    def run(self, inputs, attrs):
        given, groups, eps = attrs
        x = inputs[0]._array()
        w, b = [None if t is None else t._array() for t in optional(inputs[1:], given)]
        return wrap(group_kernels.group_norm(x, groups, w, b, eps))

    def saves(self, needs, attrs):
        return _saved_in_training(needs, attrs[0])

    def backward(self, node, grad, *_):
        given, groups, eps = node.attrs
        kept, wanted = saved(node), needs(node)
        if 0 not in kept:
            gx, gw, gb = None, None, grad.sum(_batch_dims(grad))
        elif state.grad:
            gx, gw, gb = _group_gradients(grad, kept[0], kept.get(1), groups, eps)
        else:
            gx, gw, gb = apply(
                GROUP_NORM_BACKWARD, present(grad, kept[0], kept[-2], kept[-3], kept.get(1)),
                (groups, wanted[0]))
        return _wanted((gx, *where_given(given, gw, gb)), wanted)


def _group_gradients(g: Tensor, x: Tensor, w: Tensor | None, groups: int, eps: float):
    """Gradients to x, w and b of a group norm by plain ops."""
    shape, dims = x._layout.shape, _batch_dims(x)
    rows = shape[0], groups, math.prod(shape[1:]) // max(groups, 1)
    h = reshape(g if w is None else g * _as_channels(w, g), rows)
    x = reshape(x, rows)
    gx, _, _ = _gradients(h, x, None, None, None, eps, (2,), ())
    centred = x - x.mean(2, True)
    n = centred * (centred.square().mean(2, True) + eps).rsqrt()
    return reshape(gx, shape), (g * reshape(n, shape)).sum(dims), g.sum(dims)


class GroupNormBackward(Op):
    """All gradients of a group norm in one kernel."""

    name = "NativeGroupNormBackward"
    outputs = 3

    def run(self, inputs, attrs):
        g, x, mean, inverse, *w = [t._array() for t in inputs]
        found = group_kernels.group_norm_backward(g, x, mean, inverse, w[0] if w else None, *attrs)
        return tuple([None if a is None else wrap(a) for a in found])


BATCH_NORM, BATCH_NORM_EVAL, BATCH_NORM_BACKWARD = BatchNorm(), BatchNormEval(), BatchNormBackward()
LAYER_NORM, LAYER_NORM_BACKWARD = LayerNorm(), LayerNormBackward()
GROUP_NORM, GROUP_NORM_BACKWARD = GroupNorm(), GroupNormBackward()


def _check_channels(channels: int, **vectors: Tensor | None) -> None:
    for name, v in vectors.items():
        if v is not None and v._layout.shape != (channels,):
            raise RuntimeError(f"{name} should contain {channels} elements not {v._layout.numel}"
                               f", in the shape {list(v._layout.shape)}")


def _check_dtype(x: Tensor, *others: Tensor | None) -> None:
    if any(t._layout.dtype is not x._layout.dtype for t in others if t is not None):
        raise RuntimeError("mixed dtype (CPU): all inputs must share same datatype.")


def batch_norm(input: Tensor, running_mean: Tensor | None, running_var: Tensor | None,
               weight: Tensor | None = None, bias: Tensor | None = None, training: bool = False,
               momentum: float = 0.1, eps: float = 1e-5) -> Tensor:
    r"""(x - mean) / sqrt(var + eps) * weight + bias for every channel of (N, C, ...).

    In training, mean and biased variance are those of the batch, and the running ones move
    towards them in place: running = (1 - momentum) * running + momentum * new, where the new
    variance is the unbiased one. Otherwise the running ones are used.

    Example:
        >>> import nbgrad
        >>> x = nbgrad.tensor([[1.], [3.]])
        >>> batch_norm(x, None, None, training=True, eps=0.)
        tensor([[-1.],
                [ 1.]])
    """
    shape = input._layout.shape
    channels = shape[1] if len(shape) > 1 else 0
    count = math.prod(shape) // channels if channels else 0
    if training and count == 1:
        raise ValueError("Expected more than 1 value per channel when training, got input size "
                         f"torch.Size({list(shape)})")
    if not training and (running_mean is None or running_var is None):
        name = "running_mean" if running_mean is None else "running_var"
        raise RuntimeError(f"{name} must be defined in evaluation mode")
    _check_channels(channels, running_mean=running_mean, running_var=running_var, weight=weight,
                    bias=bias)
    expect_float("batch_norm", input._layout)
    _check_dtype(input, running_mean, running_var, weight, bias)
    given = weight is not None, bias is not None
    if not training:
        return apply(BATCH_NORM_EVAL, present(input, running_mean, running_var, weight, bias),
                     (given, float(eps)))
    y, mean, var = apply(BATCH_NORM, present(input, weight, bias), (given, float(eps)))
    if running_mean is not None:
        running_mean.lerp_(mean.detach(), momentum)
    if running_var is not None:
        running_var.lerp_(var.detach() * (count / (count - 1)), momentum)
    return y


def layer_norm(input: Tensor, normalized_shape: Sizes, weight: Tensor | None = None,
               bias: Tensor | None = None, eps: float = 1e-5) -> Tensor:
    """(x - mean) / sqrt(var + eps) * weight + bias over the last axes, of `normalized_shape`."""
    inner, shape = _normalized(input, normalized_shape, "layer_norm")
    for name, v in (("weight", weight), ("bias", bias)):
        if v is not None and v._layout.shape != shape:
            raise RuntimeError(f"Expected {name} to be of same shape as normalized_shape, but got "
                               f"{name} of shape {list(v._layout.shape)} and normalized_shape = "
                               f"{list(shape)}")
    own = input._layout.shape
    if own[len(own) - inner:] != shape:
        listed = ", ".join(["*", *map(str, shape)])
        raise RuntimeError(f"Given normalized_shape={list(shape)}, expected input with shape "
                           f"[{listed}], but got input of size{list(own)}")
    expect_float("LayerNormKernelImpl", input._layout)
    _check_dtype(input, weight, bias)
    given = weight is not None, bias is not None
    return apply(LAYER_NORM, present(input, weight, bias), (given, inner, float(eps)))[0]


def _normalized(input: Tensor, normalized_shape, function: str) -> tuple[int, tuple[int, ...]]:
    if not isinstance(normalized_shape, (tuple, list)):
        raise TypeError(f"{function}(): argument 'normalized_shape' (position 2) must be tuple of "
                        f"ints, not {type(normalized_shape).__name__}")
    shape = sizes((), normalized_shape)
    if not shape:
        raise RuntimeError("Expected normalized_shape to be at least 1-dimensional, i.e., "
                           "containing at least one element, but got normalized_shape = []")
    return len(shape), shape


def group_norm(input: Tensor, num_groups: int, weight: Tensor | None = None,
               bias: Tensor | None = None, eps: float = 1e-5) -> Tensor:
    """Every group of channels of (N, C, ...) normalised by itself, then scaled by channel."""
    shape = input._layout.shape
    if len(shape) < 2:
        raise RuntimeError("Expected at least 2 dimensions for input tensor but received "
                           f"{len(shape)}")
    c = shape[1]
    if num_groups <= 0:
        raise RuntimeError(f"Expected num groups to be greater than 0, got {num_groups}")
    if c % num_groups:
        raise RuntimeError("Expected number of channels in input to be divisible by num_groups, "
                           f"but got input of shape {list(shape)} and num_groups={num_groups}")
    for name, v in (("weight", weight), ("bias", bias)):
        if v is not None and v._layout.shape != (c,):
            raise RuntimeError(
                f"Expected {name} to be a vector of size equal to the number of channels in input, "
                f"but got {name} of shape {list(v._layout.shape)} and input of shape {list(shape)}")
    _check_dtype(input, weight, bias)
    expect_float("GroupNormKernelImpl", input._layout)
    given = weight is not None, bias is not None
    return apply(GROUP_NORM, present(input, weight, bias), (given, num_groups, float(eps)))[0]


def instance_norm(input: Tensor, running_mean: Tensor | None = None,
                  running_var: Tensor | None = None, weight: Tensor | None = None,
                  bias: Tensor | None = None, use_input_stats: bool = True, momentum: float = 0.1,
                  eps: float = 1e-5) -> Tensor:
    """`batch_norm` of every sample of (N, C, ...) by itself."""
    shape = input._layout.shape
    if use_input_stats and math.prod(shape[2:]) == 1:
        raise ValueError("Expected more than 1 spatial element when training, got input size "
                         f"torch.Size({list(shape)})")
    if not use_input_stats:
        return batch_norm(input, running_mean, running_var, weight, bias, False, momentum, eps)
    n, c = shape[:2]
    _check_channels(c, running_mean=running_mean, running_var=running_var, weight=weight, bias=bias)
    mean, var, w, b = [None if v is None else v.repeat(n)
                       for v in (running_mean, running_var, weight, bias)]
    rows = reshape(input, (1, n * c, *shape[2:]))
    y = batch_norm(rows, mean, var, w, b, True, momentum, eps)
    for old, new in ((running_mean, mean), (running_var, var)):
        if old is not None and new is not None:
            old.copy_(reshape(new, (n, c)).mean(0))
    return reshape(y, shape)


def rms_norm(input: Tensor, normalized_shape: Sizes, weight: Tensor | None = None,
             eps: float | None = None) -> Tensor:
    """x / sqrt(mean(x^2) + eps) * weight over the last axes, of `normalized_shape`.

    Args:
        eps: the machine epsilon of the dtype where None.
    """
    inner, shape = _normalized(input, normalized_shape, "rms_norm")
    own = input._layout.shape
    if weight is not None and weight._layout.shape != shape:
        raise RuntimeError("Expected weight to be of same shape as normalized_shape, but got weight "
                           f"of shape {list(weight._layout.shape)} and normalized_shape = "
                           f"{list(shape)}")
    if len(own) < inner:
        raise ValueError(f"Input tensor must have at least {inner} dimensions, but got {len(own)}")
    if own[len(own) - inner:] != shape:
        raise RuntimeError(f"Given normalized_shape={list(shape)}, expected input with shape [*"
                           f"{', '.join(map(str, shape))}], but got input of size{list(own)}")
    expect_float("rms_norm", input._layout)
    eps = float(input._layout.dtype.limits().eps) if eps is None else float(eps)
    dims = tuple(range(len(own) - inner, len(own)))
    y = input * (input.square().mean(dims, True) + eps).rsqrt()
    return y if weight is None else (y * weight).to(input.dtype)


FUNCTIONS = {f.__name__: f for f in (batch_norm, layer_norm, group_norm, instance_norm, rms_norm)}
