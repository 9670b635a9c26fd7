"""Convolution: three ops, each of whose gradients are the other two."""

from __future__ import annotations

from nbgrad.kernels.cpu import conv as kernels
from nbgrad.kernels.launch import remember
from nbgrad.kernels.layout import Layout
from nbgrad.ops.apply import apply
from nbgrad.ops.family import expect_float, expect_tensor, present, saved
from nbgrad.ops.op import Op, wrap
from nbgrad.ops.shape import expand, reshape, squeeze, unsqueeze
from nbgrad.tensor import Tensor

# attrs are always (..., stride, padding, dilation, groups): pairs (vertical, horizontal), and
# four sides (top, bottom, left, right) for a padding that differs on them.


class Convolution(Op):
    """y = x * w + b, for x (N, C, H, W), w (O, C / groups, kh, kw) and optionally b (O,)."""

    name = "Convolution"

    def run(self, inputs, attrs) -> Tensor:
        x, w, *b = [t._array() for t in inputs]
        return wrap(kernels.conv2d(x, w, b[0] if b else None, *attrs))

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
        return kernels.conv2d_input(gy, w, x_shape, *attrs)

    def saves(self, needs, attrs):
        return ((0,) if needs[1] else ()) + ((1,) if needs[0] else ())

    def backward(self, node, ggx):
        _, *attrs = node.attrs
        kept = saved(node)
        ggy = gw = None
        if 1 in kept:
            ggy = apply(CONVOLUTION, (ggx, kept[1]), tuple(attrs))
        if 0 in kept:
            gw = apply(CONVOLUTION_WEIGHT, (kept[0], ggx), (node.layouts[1].shape, *attrs))
        return ggy, gw


class ConvolutionWeight(Op):
    """The gradient to w, from that of y and x."""

    name = "ConvolutionBackward"

    def forward(self, gy, x, w_shape, *attrs):
        return kernels.conv2d_weight(gy, x, w_shape, *attrs)

    def saves(self, needs, attrs):
        return ((0,) if needs[1] else ()) + ((1,) if needs[0] else ())

    def backward(self, node, ggw):
        _, *attrs = node.attrs
        kept = saved(node)
        ggy = gx = None
        if 1 in kept:
            ggy = apply(CONVOLUTION, (kept[1], ggw), tuple(attrs))
        if 0 in kept:
            gx = apply(CONVOLUTION_INPUT, (kept[0], ggw), (node.layouts[1].shape, *attrs))
        return ggy, gx


class ChannelSum(Op):
    """The sum over all but the channels of (N, C, H, W): the gradient to a bias."""

    name = "SumBackward1"

    def forward(self, gy):
        return kernels.conv2d_bias(gy)

    def backward(self, node, grad):
        return expand(reshape(grad, (-1, 1, 1)), node.layouts[0].shape)


class TransposedConvolution(ConvolutionInput):
    name = "Convolution"


CONVOLUTION, CONVOLUTION_INPUT = Convolution(), ConvolutionInput()
CONVOLUTION_WEIGHT, CHANNEL_SUM = ConvolutionWeight(), ChannelSum()
TRANSPOSED_CONVOLUTION = TransposedConvolution()


def _numbers(value, rank: int, name: str) -> tuple[int, ...]:
    """One number an axis."""
    found = (value,) * rank if isinstance(value, int) else tuple(map(int, value))
    if len(found) == 1:
        found *= rank
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


def _check_dtypes(x: Layout, w: Layout, bias: Tensor | None) -> None:
    expect_float("conv2d", x)
    if x.dtype is not w.dtype:
        raise RuntimeError(f"Input type (torch.{x.dtype.legacy}Tensor) and weight type "
                           f"(torch.{w.dtype.legacy}Tensor) should be the same")
    if bias is not None and bias._layout.dtype is not x.dtype:
        names = {"Float": "float", "Double": "double"}
        raise RuntimeError(f"Input type ({names[x.dtype.legacy]}) and bias type "
                           f"({names.get(bias.dtype.legacy, bias.dtype.name)}) should be the same")


def _check_bias(w: Layout, bias: Tensor | None, channels: int) -> None:
    if bias is not None and bias._layout.shape != (channels,):
        raise RuntimeError(
            f"Given weight of size {list(w.shape)}, expected bias to be 1-dimensional with "
            f"{channels} elements, but got bias of size {list(bias._layout.shape)} instead")


def _check_shapes(x: Layout, w: Layout, bias: Tensor | None, sides, dilation, groups: int) -> None:
    o, c = w.shape[:2]
    if o % groups:
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
    try:
        key: tuple | None = (input._layout, weight._layout, None if bias is None else bias._layout,
                             stride, padding, dilation, groups)
        attrs = _checked.get(key)
    except (AttributeError, TypeError):  # no tensors, or numbers in a list
        key = attrs = None
    if attrs is None:
        expect_tensor("conv2d", input=input, weight=weight)
        x, batched = _batched(input, 2, "conv2d")
        attrs = _attrs(x._layout, weight._layout, bias, stride, padding, dilation, groups)
        if not batched:
            return squeeze(apply(CONVOLUTION, present(x, weight, bias), attrs), 0)
        if key is not None:
            remember(_checked, key, attrs)
    return apply(CONVOLUTION, present(input, weight, bias), attrs)


#: Arguments of conv2d that were found to be right: the attrs of its op.
_checked: dict[tuple | None, tuple] = {}


def _attrs(own: Layout, w: Layout, bias: Tensor | None, stride, padding, dilation, groups) -> tuple:
    stride, dilation = _numbers(stride, 2, "stride"), _numbers(dilation, 2, "dilation")
    if len(w.shape) != 4:
        raise RuntimeError("expected stride to be a single integer value or a list of "
                           f"{len(w.shape) - 2} values to match the convolution dimensions, but "
                           f"got stride={list(stride)}: conv2d takes a weight "
                           f"(O, C / groups, kh, kw), not {list(w.shape)}")
    padding = _padding(padding, w.shape[2:], stride, dilation)
    _check_attrs(stride, padding, dilation, groups)
    sides = padding if len(padding) == 4 else (padding[0],) * 2 + (padding[1],) * 2
    _check_shapes(own, w, bias, sides, dilation, groups)
    _check_dtypes(own, w, bias)
    return stride, padding, dilation, groups


def conv1d(input: Tensor, weight: Tensor, bias: Tensor | None = None, stride=1, padding=0,
           dilation=1, groups: int = 1) -> Tensor:
    """Convolution of input (N, C, L) or (C, L) with weight (O, C / groups, k)."""
    expect_tensor("conv1d", input=input, weight=weight)
    x, batched = _batched(input, 1, "conv1d")
    (s,), (d,) = _numbers(stride, 1, "stride"), _numbers(dilation, 1, "dilation")
    p = padding if isinstance(padding, str) else (0, *_numbers(padding, 1, "padding"))
    y = conv2d(unsqueeze(x, 2), unsqueeze(weight, 2), bias, (1, s), p, (1, d), groups)
    return squeeze(y, 2) if batched else squeeze(y, (0, 2))


def conv_transpose2d(input: Tensor, weight: Tensor, bias: Tensor | None = None, stride=1, padding=0,
                     output_padding=0, groups: int = 1, dilation=1) -> Tensor:
    """Transposed convolution: the gradient of `conv2d` to its input, as a function of its output.

    Args:
        input: (N, C, H, W) or (C, H, W).
        weight: (C, O / groups, kh, kw).
        output_padding: rows and columns added at the bottom and right of the result.
    """
    expect_tensor("conv_transpose2d", input=input, weight=weight)
    x, batched = _batched(input, 2, "conv_transpose2d")
    own, w = x._layout, weight._layout
    stride, dilation = _numbers(stride, 2, "stride"), _numbers(dilation, 2, "dilation")
    padding, extra = _numbers(padding, 2, "padding"), _numbers(output_padding, 2, "output_padding")
    _check_attrs(stride, padding, dilation, groups)
    if own.shape[1] != w.shape[0]:
        raise RuntimeError(
            f"Given transposed=1, weight of size {list(w.shape)}, expected input{list(own.shape)} "
            f"to have {w.shape[0]} channels, but got {own.shape[1]} channels instead")
    if any(e >= s for e, s in zip(extra, stride)):
        raise RuntimeError(
            "output padding must be smaller than either stride or dilation, but got "
            f"output_padding_height: {extra[0]} output_padding_width: {extra[1]} stride_height: "
            f"{stride[0]} stride_width: {stride[1]} dilation_height: {dilation[0]} dilation_width: "
            f"{dilation[1]}")
    _check_bias(w, bias, w.shape[1] * groups)
    _check_dtypes(own, w, bias)
    size = tuple((n - 1) * s - 2 * p + d * (k - 1) + e + 1 for n, s, p, d, k, e in zip(
        own.shape[2:], stride, padding, dilation, w.shape[2:], extra))
    y = apply(TRANSPOSED_CONVOLUTION, (x, weight), (
        (own.shape[0], w.shape[1] * groups, *size), stride, padding, dilation, groups))
    if bias is not None:
        y = y + reshape(bias, (-1, 1, 1))
    return y if batched else squeeze(y, 0)


FUNCTIONS = {"conv2d": conv2d, "conv1d": conv1d, "conv_transpose2d": conv_transpose2d}
