"""Products and convolutions on the device: the CPU's, at sizes that leave tiles and slabs unfilled."""

from itertools import product

import numpy as np
import pytest

import nbgrad
from nbgrad.nn import functional as F

RNG = np.random.default_rng(0)
FLOATS = {nbgrad.float32: 1e-5, nbgrad.float64: 1e-12, nbgrad.bfloat16: 3e-2}


def same(f, *shapes, dtype=nbgrad.float64):
    """`f` of tensors of these shapes, on both devices."""
    operands = [nbgrad.tensor(RNG.standard_normal(s)).to(dtype) for s in shapes]
    expected, found = f(*operands), f(*[t.to("cuda") for t in operands])
    assert found.device.type == "cuda" and found.dtype is expected.dtype
    assert found.shape == expected.shape
    np.testing.assert_allclose(found.cpu().double().numpy(), expected.double().numpy(),
                               rtol=FLOATS[dtype], atol=FLOATS[dtype])


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
@pytest.mark.parametrize(("m", "n", "k"), [*product((1, 9), repeat=3), (3, 17, 5), (9, 9, 40)])
def test_matrices_read_both_ways(m, n, k, dtype):
    same(lambda a, b: a @ b, (m, k), (k, n), dtype=dtype)
    same(lambda a, b: a.t() @ b.t(), (k, m), (n, k), dtype=dtype)
    same(lambda a, b, c: F.linear(a, b, c), (m, k), (n, k), (n,), dtype=dtype)


@pytest.mark.parametrize("f", [
    lambda a, b: a @ b.transpose(-1, -2),
    lambda a, b: a.permute(1, 0, 2, 3) @ b.permute(1, 0, 3, 2),
    lambda a, b: a @ b[:1, :2].transpose(-1, -2)[0, 0],
    lambda a, b: a[:, :, :1] @ b.transpose(-1, -2),
    lambda a, b: nbgrad.outer(a[0, 0, 0, ::2], b[0, :, 0, 1]),
    lambda a, b: (10 * a).int() @ (10 * b.transpose(-1, -2)).int(),
    lambda a, b: a[..., :0] @ b.transpose(-1, -2)[..., :0, :],
], ids=["stack", "permuted", "one for all", "rows", "outer", "integers", "empty sums"])
def test_stacks(f):
    same(lambda a, b: f(a, b).double(), (2, 3, 5, 7), (2, 3, 4, 7))


@pytest.mark.parametrize(("x", "w", "how"), [
    ((2, 3, 6, 7), (5, 3, 3, 3), {"padding": 1}),
    ((2, 3, 7, 5), (4, 3, 1, 1), {"stride": 2}),
    ((1, 4, 7, 6), (6, 4, 3, 2), {"stride": (2, 1), "padding": (1, 2), "dilation": (1, 2)}),
    ((1, 6, 5, 5), (9, 2, 2, 2), {"groups": 3, "stride": 2}),
    ((2, 4, 5, 5), (8, 1, 3, 3), {"groups": 4, "padding": 1}),
    ((1, 2, 4, 4), (3, 2, 2, 2), {"padding": "same"}),
], ids=["padded", "thinned", "uneven", "groups", "depthwise", "same"])
def test_convolutions(x, w, how):
    shape = F.conv2d(nbgrad.zeros(x), nbgrad.zeros(w), **how).shape

    def gradients(x, w, b, g):
        x, w, b = (t.detach().requires_grad_() for t in (x, w, b))
        y = F.conv2d(x, w, b, **how)
        y.backward(g)
        return nbgrad.cat([t.detach().reshape(-1) for t in (y, x.grad, w.grad, b.grad)])

    same(gradients, x, w, w[:1], shape)
