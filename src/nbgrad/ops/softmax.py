"""Softmax and log-softmax, from their results alone."""

from __future__ import annotations

from nbgrad.dtypes import dtype as DType
from nbgrad.engine.mode import state
from nbgrad.kernels.backend import Twins
from nbgrad.kernels.cpu.softmax import rows_launch, split
from nbgrad.kernels.layout import layout
from nbgrad.ops.apply import apply
from nbgrad.ops.family import expect_float, expect_tensor, saved
from nbgrad.ops.op import Op, Planned, planned
from nbgrad.ops.shape import axis
from nbgrad.tensor import Tensor

kernels = Twins("softmax")


class AlongAxis(Planned):
    """An op along an axis with kernels for rows."""

    logarithm = False

    def plan(self, attrs, *layouts):
        own = layouts[0]
        _, n, inner = split(own.shape, *attrs)
        if inner > 1:
            return False
        launch = rows_launch(own.dtype.storage, len(layouts) > 1)
        return planned(launch, layout(own.dtype, own.shape), numbers=(n, self.logarithm))


class Softmax(AlongAxis):
    """exp(x) / sum(exp(x)) along an axis."""

    name = "Softmax"

    def forward(self, x, dim):
        return kernels.softmax(x, dim)

    def saves(self, needs, attrs):
        return (-1,)

    def backward(self, node, grad):
        (dim,) = node.attrs
        y = saved(node)[-1]
        if state.grad:
            return y * (grad - (grad * y).sum(dim, True))
        return apply(SOFTMAX_BACKWARD, (grad, y), (dim,))


class SoftmaxBackward(AlongAxis):
    """The gradient of softmax in one kernel; where it must be recorded, plain ops compute it."""

    name = "SoftmaxBackwardData"

    def forward(self, grad, y, dim):
        return kernels.softmax_backward(grad, y, dim)


class LogSoftmax(AlongAxis):
    """x - log(sum(exp(x))) along an axis."""

    name = "LogSoftmax"
    logarithm = True

    def forward(self, x, dim):
        return kernels.log_softmax(x, dim)

    def saves(self, needs, attrs):
        return (-1,)

    def backward(self, node, grad):
        (dim,) = node.attrs
        y = saved(node)[-1]
        if state.grad:
            return grad - y.exp() * grad.sum(dim, True)
        return apply(LOG_SOFTMAX_BACKWARD, (grad, y), (dim,))


class LogSoftmaxBackward(AlongAxis):
    """The gradient of log-softmax in one kernel."""

    name = "LogSoftmaxBackwardData"
    logarithm = True

    def forward(self, grad, y, dim):
        return kernels.log_softmax_backward(grad, y, dim)


SOFTMAX, SOFTMAX_BACKWARD = Softmax(), SoftmaxBackward()
LOG_SOFTMAX, LOG_SOFTMAX_BACKWARD = LogSoftmax(), LogSoftmaxBackward()


def _run(op: Op, name: str, input: Tensor, dim: int, dtype) -> Tensor:
    expect_tensor(name, input=input)
    input = input if dtype is None else input.to(dtype=dtype)
    dim = axis(input, dim)
    expect_float(f"{name}_lastdim_kernel_impl", input._layout)
    return apply(op, (input,), (dim,))


def softmax(input: Tensor, dim: int, dtype: DType | None = None) -> Tensor:
    """exp(x) / sum(exp(x)) along `dim`, in `dtype` where given.

    Example:
        >>> import nbgrad
        >>> softmax(nbgrad.zeros(2, 4), 1)
        tensor([[0.2500, 0.2500, 0.2500, 0.2500],
                [0.2500, 0.2500, 0.2500, 0.2500]])
    """
    return _run(SOFTMAX, "softmax", input, dim, dtype)


def log_softmax(input: Tensor, dim: int, dtype: DType | None = None) -> Tensor:
    """log(softmax(x)) along `dim`, without overflow."""
    return _run(LOG_SOFTMAX, "log_softmax", input, dim, dtype)


FUNCTIONS = {"softmax": softmax, "log_softmax": log_softmax}
