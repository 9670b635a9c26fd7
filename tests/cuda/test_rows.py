"""Every row of the table on the device: forward and backward, flat and strided, as on the CPU."""

import numpy as np
import pytest

import nbgrad
from nbgrad.formulas.elementwise import TABLE
from nbgrad.ops.elementwise import OPS
from nbgrad.testing.samples import draw, params

FLOATS = [name for name, row in TABLE.items() if row.kind in ("arith", "float", "bool", "logical")
          and "bitwise" not in name and name not in ("gcd", "lcm")]


def computed(name, dtype, device, lie):
    """The result and the gradients of a row for operands that lie as `lie` makes them."""
    row = TABLE[name]
    leaves = [nbgrad.tensor(draw(row, k, (5, 7))).to(dtype).to(device)
              .requires_grad_(row.differentiable) for k in range(len(row.inputs))]
    with np.errstate(all="ignore"):
        y = OPS[name].of(*[lie(t, k) for k, t in enumerate(leaves)], attrs=params(row))
        if not y.requires_grad:
            return [y]
        grads = nbgrad.autograd.grad(y, leaves, nbgrad.ones_like(y), allow_unused=True)
    return [y.detach(), *[g for g in grads if g is not None]]


@pytest.mark.parametrize("dtype", [nbgrad.float32, nbgrad.bfloat16])
@pytest.mark.parametrize("name", FLOATS)
def test_a_row(name, dtype):
    close = 2e-5 if dtype is nbgrad.float32 else 2e-2
    for lie in (lambda t, k: t, lambda t, k: t.t() if k else t.t().contiguous()):
        pairs = zip(computed(name, dtype, "cuda", lie), computed(name, dtype, "cpu", lie), strict=True)
        for ours, expected in pairs:
            assert ours.is_cuda and ours.dtype is expected.dtype
            np.testing.assert_allclose(ours.cpu().double().numpy(), expected.double().numpy(),
                                       rtol=close, atol=close)
