"""Scans along an axis: running sums, products and extremes."""

from __future__ import annotations

import numpy as np

from nbgrad import dtypes
from nbgrad.kernels.backend import Twins
from nbgrad.kernels.cpu.softmax import split
from nbgrad.ops.apply import apply, apply_
from nbgrad.ops.family import expect_float, named, saved
from nbgrad.ops.op import Op
from nbgrad.ops.scatter import ADD_AT
from nbgrad.ops.shape import axis, cat
from nbgrad.tensor import Tensor

kernels, layouts = Twins("scan"), Twins("layouts")


def _three(x: np.ndarray, d: int) -> np.ndarray:
    """The array as contiguous (outer, n, inner), with axis d in the middle."""
    return layouts.contiguous(x).reshape(split(x.shape, d))


def _whole(scan, x: np.ndarray, d: int, back: bool) -> np.ndarray:
    """A scan of numbers of any dtype: ints are seen as int64."""
    wide = x if x.dtype.kind == "f" else layouts.cast(x, np.int64)
    return layouts.cast(scan(_three(wide, d), back).reshape(x.shape), x.dtype)


class Scan(Op):
    """An op whose result has the shape of its input; it may be written into the input."""

    def run_into(self, target, others, attrs) -> None:
        array = target._array()
        layouts.write(array, self.forward(array, *attrs))


class Cumsum(Scan):
    """Running sums, from the last entry on if `back`; the adjoint runs the other way."""

    name = "Cumsum"

    def forward(self, x, d, back):
        return _whole(kernels.cumsum, x, d, back)

    def backward(self, node, grad):
        d, back = node.attrs
        return apply(self, (grad,), (d, not back))


class Cumprod(Scan):
    """Running products."""

    name = "Cumprod"

    def forward(self, x, d):
        return _whole(kernels.cumprod, x, d, False)

    def saves(self, needs, attrs):
        return (0, -1)

    def backward(self, node, grad):
        """y[i - 1] times s[i] = g[i] + x[i + 1] s[i + 1], without a division."""
        (d,) = node.attrs
        values = saved(node)
        x, y = values[0], values[-1]
        if not x._layout.numel or not x._layout.shape:
            return grad
        before = _shifted(y, d, False, x.new_ones(x.narrow(d, 0, 1).shape))
        return before * apply(RECURRENCE, (grad, _shifted(x, d, True)), (d, True))


class Recurrence(Op):
    """s[i] = g[i] + a[i] s[i - 1], or s[i + 1] if `back`."""

    name = "LinearRecurrence"

    def forward(self, g, a, d, back):
        return kernels.recurrence(_three(g, d), _three(a, d), back).reshape(g.shape)

    def saves(self, needs, attrs):
        return (1, -1)

    def backward(self, node, grad):
        """The adjoint is a recurrence the other way, with each factor one place further."""
        d, back = node.attrs
        values = saved(node)
        gg = apply(self, (grad, _shifted(values[1], d, not back)), (d, not back))
        return gg, None if node.next[1] is None else gg * _shifted(values[-1], d, back)


def _shifted(t: Tensor, d: int, back: bool, first: Tensor | None = None) -> Tensor:
    """What stands one place before each entry in the order of a scan; zeros before the first."""
    rest = t.narrow(d, 1 if back else 0, t.size(d) - 1)
    first = t.new_zeros(t.narrow(d, 0, 1).shape) if first is None else first
    return cat([rest, first] if back else [first, rest], d)


class Logcumsumexp(Op):
    """log of the running sums of exp."""

    name = "Logcumsumexp"

    def forward(self, x, d):
        return kernels.logcumsumexp(_three(x, d)).reshape(x.shape)

    def saves(self, needs, attrs):
        return (0, -1)

    def backward(self, node, grad):
        """exp(x[i] - y[i]) s[i], where s[i] = g[i] + exp(y[i] - y[i + 1]) s[i + 1]."""
        (d,) = node.attrs
        values = saved(node)
        x, y = values[0], values[-1]
        if not x._layout.numel or not x._layout.shape:
            return grad
        after = _shifted(y, d, True, y.narrow(d, x.size(d) - 1, 1))
        step = (y - after).exp()
        return (x - y).exp() * apply(RECURRENCE, (grad, step), (d, True))


class CumulativeExtreme(Op):
    """The largest or smallest entries so far, and where they are."""

    outputs = 2

    def __init__(self, largest: bool) -> None:
        self.largest = largest
        self.name = "Cummax" if largest else "Cummin"
        super().__init__()

    def forward(self, x, d):
        found = kernels.cumulative_extreme(_three(x, d), self.largest)
        return tuple([a.reshape(x.shape) for a in found])

    def saves(self, needs, attrs):
        return (-2,)

    def backward(self, node, grad, _):
        return apply(ADD_AT, (grad, saved(node)[-2]), (*node.attrs, node.layouts[0].shape))


CUMSUM, CUMPROD, RECURRENCE, LOGCUMSUMEXP = Cumsum(), Cumprod(), Recurrence(), Logcumsumexp()
CUMMAX, CUMMIN = CumulativeExtreme(True), CumulativeExtreme(False)
_CUMMAX, _CUMMIN = named("cummax"), named("cummin")


def _asked(name: str, input: Tensor, dtype) -> Tensor:
    """The input in the dtype of the result."""
    if dtype is None and input._layout.dtype.category < 2:
        dtype = dtypes.int64
    return input if dtype is None else input.to(dtypes.as_dtype(dtype))


def _same(name: str, input: Tensor, dtype) -> Tensor:
    """The input of an in-place scan, whose dtype stays."""
    own = input._layout.dtype
    if dtype is not None and dtype is not own:
        raise RuntimeError(f"Bad in-place call: input tensor dtype {own.name} and output tensor "
                           f"dtype {dtype.name} should match")
    if own is dtypes.bool_:
        raise NotImplementedError(f'"{name}_out_cpu" not implemented for \'Bool\'')
    return input


def cumsum(input: Tensor, dim: int, *, dtype=None) -> Tensor:
    """Sums of the entries up to each along `dim`; ints and bools give int64.

    Example:
        >>> import nbgrad
        >>> nbgrad.cumsum(nbgrad.tensor([1.0, 2.0, 3.0]), 0)
        tensor([1., 3., 6.])
    """
    input = _asked("cumsum", input, dtype)
    return apply(CUMSUM, (input,), (axis(input, dim), False))


def cumprod(input: Tensor, dim: int, *, dtype=None) -> Tensor:
    """Products of the entries up to each along `dim`; ints and bools give int64."""
    input = _asked("cumprod", input, dtype)
    return apply(CUMPROD, (input,), (axis(input, dim),))


def cumsum_(input: Tensor, dim: int, *, dtype=None) -> Tensor:
    """`cumsum` in place."""
    return apply_(CUMSUM, _same("cumsum", input, dtype), (), (axis(input, dim), False))


def cumprod_(input: Tensor, dim: int, *, dtype=None) -> Tensor:
    """`cumprod` in place."""
    return apply_(CUMPROD, _same("cumprod", input, dtype), (), (axis(input, dim),))


def cummax(input: Tensor, dim: int):
    """(values, indices) of the largest entries up to each along `dim`."""
    return _CUMMAX(*apply(CUMMAX, (input,), (axis(input, dim),)))


def cummin(input: Tensor, dim: int):
    """(values, indices) of the smallest entries up to each along `dim`."""
    return _CUMMIN(*apply(CUMMIN, (input,), (axis(input, dim),)))


def logcumsumexp(input: Tensor, dim: int) -> Tensor:
    """log of the sums of exp of the entries up to each along `dim`, without overflow."""
    d = axis(input, dim)
    expect_float("logcumsumexp_out_cpu", input._layout)
    return apply(LOGCUMSUMEXP, (input,), (d,))


FUNCTIONS = {f.__name__: f for f in (
    cumsum, cumsum_, cumprod, cumprod_, cummax, cummin, logcumsumexp)}
