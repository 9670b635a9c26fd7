"""The calls of tests/ops/cases once more on the device: the values and gradients of the CPU."""

import re
from pathlib import Path

import numpy as np
import pytest

import nbgrad
from nbgrad.testing.cases import arrays, evaluate, tables

CASES = [c for table in tables(Path(__file__).parents[1] / "ops" / "cases") for c in table.CASES]


#: what PyTorch leaves on the host, too: lengths of packed sequences, memory that lies there
ON_HOST = re.compile("cpu|pack_|packed_|frombuffer")
TOLERANCE = {nbgrad.float32: 3e-6, nbgrad.float16: 2e-3, nbgrad.bfloat16: 2e-2}


def results(case, device):
    """Outputs, first gradients, and gradients of those, as arrays; all on the device."""
    with nbgrad.device(device):
        leaves = [nbgrad.tensor(a) for a in arrays(case)]
        for t in leaves:
            if case.differentiable and t.is_floating_point():
                t.requires_grad_(True)
        outputs = [t for t in evaluate(nbgrad, case.call, leaves) if isinstance(t, nbgrad.Tensor)]
        found = list(outputs)
        for number in (3, 4) if case.twice else (3,):
            wanted = [t for t in leaves if t.requires_grad]
            outputs = [t for t in outputs if t.requires_grad]
            if not outputs or not wanted:
                break
            draw = np.random.default_rng(number).standard_normal
            seeds = [nbgrad.tensor(draw(tuple(t.shape))).to(t.dtype) for t in outputs]
            grads = nbgrad.autograd.grad(outputs, wanted, seeds, allow_unused=True,
                                         create_graph=case.twice)
            outputs = [g for g in grads if g is not None]
            found += outputs
    assert {t.device.type for t in found} <= {device} or ON_HOST.search(case.call)
    return [t.detach().cpu() for t in found]


@pytest.mark.parametrize("case", CASES, ids=[f"{c.call} {k}" for k, c in enumerate(CASES)])
def test_values_and_gradients(case):
    ours, expected = results(case, "cuda"), results(case, "cpu")
    assert len(ours) == len(expected)
    exact = any(a.dtype == np.float64 for a in arrays(case)) and "float32" not in case.call
    close = 1e-9 if exact else 3e-6
    for x, y in zip(ours, expected):
        assert x.dtype is y.dtype and x.shape == y.shape
        close = max(close, TOLERANCE.get(x.dtype, 0))
        np.testing.assert_allclose(x.double().numpy(), y.double().numpy(), rtol=close, atol=close)
