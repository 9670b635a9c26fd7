"""What single calls cost: the parts of an op, from the bare kernel to the recorded call."""

import numpy as np
import pytest

import nbgrad
from nbgrad.kernels.options import kernel

nbgrad.manual_seed(0)
A = nbgrad.rand(4, 8)
W = nbgrad.rand(4, 8, requires_grad=True)
SQUARE = nbgrad.rand(8, 8)
LINEAR = nbgrad.nn.Linear(8, 8)


@kernel
def product(out, a, b):
    for i in range(out.size):
        out[i] = a[i] * b[i]


def no_grad():
    with nbgrad.no_grad():
        A * W


CALLS = {
    "op": lambda: A * A,
    "recorded op": lambda: A * W,
    "op under no_grad": no_grad,
    "scalar operand": lambda: A * 2.0,
    "broadcast": lambda: A + A[0],
    "in place": lambda: A.clamp_(0.0, 1.0),
    "view": lambda: A.view(32),
    "transpose": lambda: A.T,
    "index": lambda: A[1],
    "sum": lambda: A.sum(),
    "matmul": lambda: A @ SQUARE,
    "layer": lambda: LINEAR(A),
    "tensor of a list": lambda: nbgrad.tensor([1.0, 2.0]),
    "from_numpy": lambda: nbgrad.from_numpy(ARRAY),
    "item": lambda: A[0, 0].item(),
    "backward of one op": lambda: (A * W).backward(A),
    "grad of one op": lambda: nbgrad.autograd.grad(A * W, W, A),
}
ARRAY = np.ones(32, np.float32)


@pytest.mark.parametrize("name", CALLS)
def test_call(benchmark, name):
    benchmark(CALLS[name])


def test_bare_kernel(benchmark):
    out = np.empty_like(ARRAY)
    benchmark(product, out, ARRAY, ARRAY)
