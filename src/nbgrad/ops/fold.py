"""Windows of planes as columns, and columns added back: each is the other's gradient."""

from __future__ import annotations

from nbgrad.kernels.backend import Twins
from nbgrad.ops.apply import apply
from nbgrad.ops.conv import each_axis
from nbgrad.ops.family import expect_float, expect_tensor
from nbgrad.ops.op import Op
from nbgrad.ops.shape import squeeze, unsqueeze
from nbgrad.tensor import Tensor

kernels = Twins("columns")

# attrs are kernel, stride, padding and dilation, and before them the size of the planes for FOLD.


class Unfold(Op):
    name = "Im2Col"

    def forward(self, x, *rules):
        return kernels.unfold(x, *rules)

    def backward(self, node, grad):
        return apply(FOLD, (grad,), (node.layouts[0].shape[2:], *node.attrs))


class Fold(Op):
    name = "Col2Im"

    def forward(self, columns, size, *rules):
        return kernels.fold(columns, size, *rules)

    def backward(self, node, grad):
        return apply(UNFOLD, (grad,), node.attrs[1:])


UNFOLD, FOLD = Unfold(), Fold()


def _pair(value, name: str) -> tuple[int, int]:
    found = each_axis(value, 2)
    if len(found) != 2:
        raise RuntimeError(f"It is expected {name} equals to 2, but got size {len(found)}")
    return found


def _rules(kernel, stride, padding, dilation) -> tuple[tuple[int, int], ...]:
    """The options as checked pairs."""
    pairs = {"kernel size": _pair(kernel, "kernel_size"), "stride": _pair(stride, "stride"),
             "padding": _pair(padding, "padding"), "dilation": _pair(dilation, "dilation")}
    for name, (h, w) in pairs.items():
        if min(h, w) < (0 if name == "padding" else 1):
            rule = "non-negative" if name == "padding" else "greater than zero"
            raise RuntimeError(f"{name} should be {rule}, but got height: {h} width: {w}")
    return tuple(pairs.values())


def _windows(size, rules) -> list[int]:
    return [kernels.window_count(*rule) for rule in zip(size, *rules)]


def _check_dtype(kernel: str, x: Tensor) -> None:
    if x._layout.dtype.category != 0:
        expect_float(kernel, x._layout)


def unfold(input: Tensor, kernel_size, dilation=1, padding=0, stride=1) -> Tensor:
    """The windows of (N, C, H, W) or (C, H, W) as columns: (N, C * kh * kw, windows).

    Args:
        padding: zeros on each side.
    """
    expect_tensor("unfold", input=input)
    rules = _rules(kernel_size, stride, padding, dilation)
    shape = input._layout.shape
    if len(shape) not in (3, 4) or 0 in shape[-3:]:
        error = IndexError if len(shape) < 3 else RuntimeError
        raise error("Expected 3D or 4D (batch mode) tensor with possibly 0 batch size and other "
                    f"non-zero dimensions for input, but got: {list(shape)}")
    windows = _windows(shape[-2:], rules)
    if min(windows) < 1:
        kernel, _, pad, apart = rules
        raise RuntimeError(f"Given input with spatial size {shape[-2:]}, kernel_size={kernel}, "
                           f"dilation={apart}, padding={pad}, calculated shape of the array of "
                           f"sliding blocks as {tuple(windows)}, but its components must be at "
                           "least one.")
    _check_dtype("im2col_out_cpu", input)
    if len(shape) == 4:
        return apply(UNFOLD, (input,), rules)
    return squeeze(apply(UNFOLD, (unsqueeze(input, 0),), rules), 0)


def fold(input: Tensor, output_size, kernel_size, dilation=1, padding=0, stride=1) -> Tensor:
    """Planes (N, C, *output_size) from columns (N, C * kh * kw, windows) or without the N.

    Entries of windows that overlap are added: fold(unfold(x)) is x times the number of windows
    that each entry is in.
    """
    expect_tensor("fold", input=input)
    size = _pair(output_size, "output_size")
    rules = _rules(kernel_size, stride, padding, dilation)
    shape = input._layout.shape
    if len(shape) not in (2, 3) or 0 in shape[-2:]:
        raise RuntimeError("Expected 2D or 3D (batch mode) tensor for input with possibly 0 batch "
                           f"size and non-zero dimensions for input, but got: {list(shape)}")
    kernel, step, pad, apart = rules
    if shape[-2] % (kernel[0] * kernel[1]):
        raise RuntimeError("Expected size of input's dimension 1 to be divisible by the product of "
                           f"kernel_size, but got input.size(1)={shape[-2]} and "
                           f"kernel_size={kernel}.")
    h, w = _windows(size, rules)
    if min(h, w) < 1 or h * w != shape[-1]:
        raise RuntimeError(f"Given output_size={size}, kernel_size={kernel}, dilation={apart}, "
                           f"padding={pad}, stride={step}, expected size of input's dimension 2 to "
                           f"match the calculated number of sliding blocks {h} * {w} = {h * w}, but "
                           f"got input.size(2)={shape[-1]}.")
    _check_dtype("col2im_out_cpu", input)
    if len(shape) == 3:
        return apply(FOLD, (input,), (size, *rules))
    return squeeze(apply(FOLD, (unsqueeze(input, 0),), (size, *rules)), 0)
