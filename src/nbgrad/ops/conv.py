"""Convolution: three ops, each of whose gradients are the other two."""

from __future__ import annotations

from operator import index

from nbgrad.kernels.backend import Twins
from nbgrad.kernels.launch import remember
from nbgrad.kernels.layout import Layout
from nbgrad.ops.apply import apply
from nbgrad.ops.family import expect_float, expect_tensor, present, saved
from nbgrad.ops.op import Op, wrap
from nbgrad.ops.shape import expand, narrow, reshape, squeeze, unsqueeze
from nbgrad.tensor import Tensor

kernels = Twins("conv")
volumes = Twins("conv_volume")

# attrs are always (..., stride, padding, dilation, groups): pairs (vertical, horizontal), or triples
# with the depth before them, and twice as many sides (top, bottom, left, right) for a padding that
# differs on them. One dimension is two, of which one has size 1.


class Convolution(Op):
    """y = x * w + b, for x (N, C, ...), w (O, C / groups, ...) and optionally b (O,)."""

    name = "Convolution"

    def run(self, inputs, attrs) -> Tensor:
        x, w, *b = [t._array() for t in inputs]
        convolve = kernels.conv2d if x.ndim == 4 else volumes.conv3d
        return wrap(convolve(x, w, b[0] if b else None, *attrs))

    def saves(self, needs, attrs):
        return ((0,) if needs[1] else ()) + ((1,) if needs[0] else ())

    def backward(self, node, grad):
        x, w = node.layouts[:2]
        kept = saved(node)
        gx = gw = gb = None
        if 1 in kept:
            gx = apply(CONVOLUTION_INPUT, (grad, kept[1]), (x.shape, *node.attrs))
        if 0 in kept:
            gw = apply(CONVOLUTION_WEIGHT, (grad, kept[0]), (w.shape, *node.attrs))
        if node.next[2:] and node.next[2] is not None:
            gb = apply(CHANNEL_SUM, (grad,))
        return gx, gw, gb


class ConvolutionInput(Op):
    """The gradient to x, from that of y and w; the transposed convolution of y."""

    name = "ConvolutionBackward"

    def forward(self, gy, w, x_shape, *attrs):
        convolve = kernels.conv2d_input if w.ndim == 4 else volumes.conv3d_input
        return convolve(gy, w, x_shape, *attrs)

    def saves(self, needs, attrs):
        return ((0,) if needs[1] else ()) + ((1,) if needs[0] else ())

    def backward(self, node, ggx):
        _, *attrs = node.attrs
        kept = saved(node)
        ggy = gw = None
        if 1 in kept:
            ggy = _first(apply(CONVOLUTION, (ggx, kept[1]), tuple(attrs)), node.layouts[0].shape)
        if 0 in kept:
            gw = apply(CONVOLUTION_WEIGHT, (kept[0], ggx), (node.layouts[1].shape, *attrs))
        return ggy, gw


class ConvolutionWeight(Op):
    """The gradient to w, from that of y and x."""

    name = "ConvolutionBackward"

    def forward(self, gy, x, w_shape, *attrs):
        convolve = kernels.conv2d_weight if x.ndim == 4 else volumes.conv3d_weight
        return convolve(gy, x, w_shape, *attrs)

    def saves(self, needs, attrs):
        return ((0,) if needs[1] else ()) + ((1,) if needs[0] else ())

    def backward(self, node, ggw):
        _, *attrs = node.attrs
        kept = saved(node)
        ggy = gx = None
        if 1 in kept:
            ggy = _first(apply(CONVOLUTION, (kept[1], ggw), tuple(attrs)), node.layouts[0].shape)
        if 0 in kept:
            gx = apply(CONVOLUTION_INPUT, (kept[0], ggw), (node.layouts[1].shape, *attrs))
        return ggy, gx


class ChannelSum(Op):
    """The sum over all but the channels of (N, C, ...): the gradient to a bias."""

    name = "SumBackward1"

    def forward(self, gy):
        return kernels.conv2d_bias(gy)

    def backward(self, node, grad):
        shape = node.layouts[0].shape
        return expand(_as_channels(grad, len(shape) - 2), shape)


def _first(y: Tensor, shape: tuple[int, ...]) -> Tensor:
    """The first results, where an output padding of a stride and more leaves room for others."""
    for d, n in enumerate(shape):
        if y._layout.shape[d] > n:
            y = narrow(y, d, 0, n)
    return y


class TransposedConvolution(ConvolutionInput):
    name = "Convolution"


CONVOLUTION, CONVOLUTION_INPUT = Convolution(), ConvolutionInput()
CONVOLUTION_WEIGHT, CHANNEL_SUM = ConvolutionWeight(), ChannelSum()
TRANSPOSED_CONVOLUTION = TransposedConvolution()


def _as_channels(bias: Tensor, rank: int) -> Tensor:
    """A vector (C,) that broadcasts over (N, C, ...)."""
    return reshape(bias, (-1,) + (1,) * rank)


def each_axis(value, rank: int) -> tuple[int, ...]:
    """An option as a number for each axis: one for all, or as many as were given."""
    found = (value,) if isinstance(value, int) else tuple(map(index, value))
    return found * rank if len(found) == 1 else found


def _numbers(value, rank: int, name: str) -> tuple[int, ...]:
    found = each_axis(value, rank)
    if len(found) != rank:
        raise RuntimeError(f"expected {name} to be a single integer value or a list of {rank} "
                           "values to match the convolution dimensions, but got "
                           f"{name}={list(found)}")
    return found


def _padding(padding, size, stride, dilation) -> tuple[int, ...]:
    """A number an axis, or two where "same" needs one more on the far side."""
    rank = len(size)
    if not isinstance(padding, str):
        return _numbers(padding, rank, "padding")
    if padding == "valid":
        return (0,) * rank
    if padding != "same":
        raise RuntimeError(f"Invalid padding string: '{padding}'")
    if any(s != 1 for s in stride):
        raise RuntimeError("padding='same' is not supported for strided convolutions")
    totals = [d * (k - 1) for d, k in zip(dilation, size)]
    if all(t % 2 == 0 for t in totals):
        return tuple(t // 2 for t in totals)
    return tuple(side for t in totals for side in (t // 2, t - t // 2))


def _batched(x: Tensor, rank: int, name: str) -> tuple[Tensor, bool]:
    """The input with a batch axis, and whether it had one."""
    got = len(x._layout.shape)
    if got not in (rank + 1, rank + 2):
        raise RuntimeError(f"Expected {rank + 1}D (unbatched) or {rank + 2}D (batched) input to "
                           f"{name}, but got input of size: {list(x._layout.shape)}")
    return (x, True) if got == rank + 2 else (unsqueeze(x, 0), False)


def _check_attrs(stride, padding, dilation, groups: int) -> None:
    if min(padding) < 0:
        raise RuntimeError("negative padding is not supported")
    if min(stride) <= 0:
        raise RuntimeError("non-positive stride is not supported")
    if min(dilation) <= 0:
        raise RuntimeError("non-positive dilation is not supported")
    if groups <= 0:
        raise RuntimeError("non-positive groups is not supported")


def _check_dtypes(name: str, x: Layout, w: Layout, bias: Tensor | None) -> None:
    if x.dtype is not w.dtype and (x.dtype.category or bias is not None):
        raise RuntimeError(f"Input type (torch.{x.dtype.legacy}Tensor) and weight type "
                           f"(torch.{w.dtype.legacy}Tensor) should be the same")
    if bias is not None and bias._layout.dtype is not x.dtype:
        raise RuntimeError(f"Input type ({x.dtype.name}) and bias type ({bias.dtype.name}) should be "
                           "the same")
    expect_float(name, x)


def _check_bias(w: Layout, bias: Tensor | None, channels: int) -> None:
    if bias is not None and bias._layout.shape != (channels,):
        raise RuntimeError(
            f"Given weight of size {list(w.shape)}, expected bias to be 1-dimensional with "
            f"{channels} elements, but got bias of size {list(bias._layout.shape)} instead")


def _check_shapes(x: Layout, w: Layout, bias: Tensor | None, sides, dilation, groups: int) -> None:
    o, c = w.shape[:2]
    if o % groups or o < groups:
        raise RuntimeError(f"Given groups={groups}, expected weight to be divisible by {groups} at "
                           f"dimension 0, but got weight of size [{list(w.shape)}] instead")
    if x.shape[1] != c * groups:
        raise RuntimeError(
            f"Given groups={groups}, weight of size {list(w.shape)}, expected input{list(x.shape)} "
            f"to have {c * groups} channels, but got {x.shape[1]} channels instead")
    _check_bias(w, bias, o)
    padded = [n + a + b for n, a, b in zip(x.shape[2:], sides[::2], sides[1::2])]
    reach = [d * (k - 1) + 1 for d, k in zip(dilation, w.shape[2:])]
    if any(p < r for p, r in zip(padded, reach)) or 0 in x.shape[2:]:
        raise RuntimeError(
            f"Calculated padded input size per channel: ({' x '.join(map(str, padded))}). Kernel "
            f"size: ({' x '.join(map(str, reach))}). Kernel size can't be greater than actual "
            "input size")


def _attrs(name: str, own: Layout, w: Layout, bias: Tensor | None, stride, padding, dilation,
           groups) -> tuple:
    """The attrs of a convolution, checked."""
    rank = len(own.shape) - 2
    stride, dilation = _numbers(stride, rank, "stride"), _numbers(dilation, rank, "dilation")
    if len(w.shape) != rank + 2:
        raise RuntimeError("expected stride to be a single integer value or a list of "
                           f"{len(w.shape) - 2} values to match the convolution dimensions, but "
                           f"got stride={list(stride)}: {name} takes a weight (O, C / groups, "
                           f"{', '.join(('kd', 'kh', 'kw')[-rank:])}), not {list(w.shape)}")
    padding = _padding(padding, w.shape[2:], stride, dilation)
    _check_attrs(stride, padding, dilation, groups)
    sides = padding if len(padding) > rank else tuple(p for p in padding for _ in range(2))
    _check_shapes(own, w, bias, sides, dilation, groups)
    _check_dtypes(name, own, w, bias)
    return stride, padding, dilation, groups


def conv2d(input: Tensor, weight: Tensor, bias: Tensor | None = None, stride=1, padding=0,
           dilation=1, groups: int = 1) -> Tensor:
    r"""Convolution in two dimensions (cross-correlation, as usual).

    y[n, o, i, j] = bias[o] + sum over c, u, v of
    weight[o, c, u, v] * x[n, c, i * stride + u * dilation - padding, ...]

    Args:
        input: (N, C, H, W) or (C, H, W).
        weight: (O, C / groups, kh, kw).
        bias: (O,).
        padding: zeros on each side: a number, a pair, "valid" (none) or "same" (the result has
            the size of the input; an odd total pads one more at the bottom and right).

    Example:
        >>> import nbgrad
        >>> conv2d(nbgrad.ones(1, 3, 8, 8), nbgrad.ones(4, 3, 3, 3), padding=1).shape
        nbgrad.Size([1, 4, 8, 8])
    """
    return _convolution("conv2d", 2, input, weight, bias, stride, padding, dilation, groups)


def conv3d(input: Tensor, weight: Tensor, bias: Tensor | None = None, stride=1, padding=0,
           dilation=1, groups: int = 1) -> Tensor:
    """Convolution of input (N, C, D, H, W) or (C, D, H, W) with weight (O, C / groups, kd, kh, kw).

    Options are those of `conv2d`, one number or three.
    """
    return _convolution("conv3d", 3, input, weight, bias, stride, padding, dilation, groups)


#: Arguments of convolutions that were found to be right: the attrs of their op.
_checked: dict[tuple | None, tuple] = {}


def _convolution(name: str, rank: int, input: Tensor, weight: Tensor, bias: Tensor | None, stride,
                 padding, dilation, groups: int) -> Tensor:
    try:
        key: tuple | None = (rank, input._layout, weight._layout,
                             None if bias is None else bias._layout, stride, padding, dilation,
                             groups)
        attrs = _checked.get(key)
    except (AttributeError, TypeError):  # no tensors, or numbers in a list
        key = attrs = None
    if attrs is None:
        expect_tensor(name, input=input, weight=weight)
        x, batched = _batched(input, rank, name)
        attrs = _attrs(name, x._layout, weight._layout, bias, stride, padding, dilation, groups)
        if not batched:
            return squeeze(apply(CONVOLUTION, present(x, weight, bias), attrs), 0)
        if key is not None:
            remember(_checked, key, attrs)
    return apply(CONVOLUTION, present(input, weight, bias), attrs)


def _lines(name: str, input: Tensor, weight: Tensor) -> tuple[Tensor, Tensor, int | tuple[int, int]]:
    """Input and weight of one dimension as of two, and the axes that the result then has too many."""
    expect_tensor(name, input=input, weight=weight)
    x, batched = _batched(input, 1, name)
    if len(weight._layout.shape) != 3:
        raise RuntimeError(f"{name}: expected a weight of three dimensions, but got "
                           f"{list(weight._layout.shape)}")
    return unsqueeze(x, 2), unsqueeze(weight, 2), 2 if batched else (0, 2)


def conv1d(input: Tensor, weight: Tensor, bias: Tensor | None = None, stride=1, padding=0,
           dilation=1, groups: int = 1) -> Tensor:
    """Convolution of input (N, C, L) or (C, L) with weight (O, C / groups, k).

    Options are those of `conv2d`, one number each.
    """
    x, w, more = _lines("conv1d", input, weight)
    (s,), (d,) = _numbers(stride, 1, "stride"), _numbers(dilation, 1, "dilation")
    p = padding if isinstance(padding, str) else (0, *_numbers(padding, 1, "padding"))
    return squeeze(conv2d(x, w, bias, (1, s), p, (1, d), groups), more)


def conv_transpose2d(input: Tensor, weight: Tensor, bias: Tensor | None = None, stride=1, padding=0,
                     output_padding=0, groups: int = 1, dilation=1) -> Tensor:
    """Transposed convolution: the gradient of `conv2d` to its input, as a function of its output.

    Args:
        input: (N, C, H, W) or (C, H, W).
        weight: (C, O / groups, kh, kw).
        output_padding: rows and columns added at the bottom and right of the result.
    """
    return _transposed("conv_transpose2d", 2, input, weight, bias, stride, padding, output_padding,
                       groups, dilation)


def conv_transpose3d(input: Tensor, weight: Tensor, bias: Tensor | None = None, stride=1, padding=0,
                     output_padding=0, groups: int = 1, dilation=1) -> Tensor:
    """Transposed convolution of (N, C, D, H, W) or (C, D, H, W) with (C, O / groups, kd, kh, kw)."""
    return _transposed("conv_transpose3d", 3, input, weight, bias, stride, padding, output_padding,
                       groups, dilation)


def conv_transpose1d(input: Tensor, weight: Tensor, bias: Tensor | None = None, stride=1, padding=0,
                     output_padding=0, groups: int = 1, dilation=1) -> Tensor:
    """Transposed convolution of (N, C, L) or (C, L) with (C, O / groups, k)."""
    x, w, more = _lines("conv_transpose1d", input, weight)
    (s,), (d,) = _numbers(stride, 1, "stride"), _numbers(dilation, 1, "dilation")
    (p,), (e,) = _numbers(padding, 1, "padding"), _numbers(output_padding, 1, "output_padding")
    y = conv_transpose2d(x, w, bias, (1, s), (0, p), (0, e), groups, (1, d))
    return squeeze(y, more)


def _check_transposed(own: Layout, w: Layout, size, stride, extra, dilation, groups: int) -> None:
    rank = len(own.shape) - 2
    if len(w.shape) != rank + 2:
        raise RuntimeError(f"expected a weight of {rank + 2} dimensions, but got {list(w.shape)}")
    if w.shape[0] % groups:
        raise RuntimeError(f"Given groups={groups}, expected weight to be divisible by {groups} at "
                           f"dimension 0, but got weight of size [{list(w.shape)}] instead")
    if own.shape[1] != w.shape[0]:
        raise RuntimeError(
            f"Given transposed=1, weight of size {list(w.shape)}, expected input{list(own.shape)} "
            f"to have {w.shape[0]} channels, but got {own.shape[1]} channels instead")
    if any(e >= max(s, d) for e, s, d in zip(extra, stride, dilation)):
        rules = " ".join(f"{name}_{axis}: {n}" for name, numbers in (
            ("output_padding", extra), ("stride", stride), ("dilation", dilation))
            for axis, n in zip(("depth", "height", "width")[-rank:], numbers))
        raise RuntimeError("output padding must be smaller than either stride or dilation, but got "
                           f"{rules}")
    if min(extra) < 0:
        raise RuntimeError("negative output_padding is not supported")
    if min(size) < 1:
        given, made = (" x ".join(map(str, n)) for n in (own.shape[2:], size))
        raise RuntimeError(f"Given input size per channel: ({given}). Calculated output size per "
                           f"channel: ({made}). Output size is too small")


def _transposed(name: str, rank: int, input: Tensor, weight: Tensor, bias: Tensor | None, stride,
                padding, output_padding, groups: int, dilation) -> Tensor:
    expect_tensor(name, input=input, weight=weight)
    x, batched = _batched(input, rank, name)
    own, w = x._layout, weight._layout
    stride, dilation = _numbers(stride, rank, "stride"), _numbers(dilation, rank, "dilation")
    padding = _numbers(padding, rank, "padding")
    extra = _numbers(output_padding, rank, "output_padding")
    _check_attrs(stride, padding, dilation, groups)
    size = tuple((n - 1) * s - 2 * p + d * (k - 1) + e + 1 for n, s, p, d, k, e in zip(
        own.shape[2:], stride, padding, dilation, w.shape[2:], extra))
    _check_transposed(own, w, size, stride, extra, dilation, groups)
    _check_bias(w, bias, w.shape[1] * groups)
    _check_dtypes(name, own, w, bias)
    y = apply(TRANSPOSED_CONVOLUTION, (x, weight), (
        (own.shape[0], w.shape[1] * groups, *size), stride, padding, dilation, groups))
    if bias is not None:
        y = y + _as_channels(bias, rank)
    return y if batched else squeeze(y, 0)


FUNCTIONS = {f.__name__: f for f in (conv1d, conv2d, conv3d, conv_transpose1d, conv_transpose2d,
                                     conv_transpose3d)}
