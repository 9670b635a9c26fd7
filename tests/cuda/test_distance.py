"""cdist on the device, over more than one tile of rows, and not on the host."""

import numpy as np
import pytest

import nbgrad


@pytest.fixture(autouse=True)
def on_the_device(monkeypatch):
    def refuse(error, *args):
        raise error

    monkeypatch.setattr("nbgrad.ops.apply._run_on_host", refuse)


@pytest.mark.parametrize("shapes", [((1, 1), (1, 1)), ((8, 2), (8, 2)), ((2, 11, 5), (2, 9, 5)),
                                    ((3, 0), (4, 0)), ((0, 3), (4, 3)), ((17, 3), (1, 3))], ids=str)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("p", [1, 2])
def test_against_numpy(p, dtype, shapes):
    draw = np.random.default_rng(p).standard_normal
    x, y = [draw(shape).astype(dtype) for shape in shapes]
    apart = x[..., :, None, :] - y[..., None, :, :]
    expected = np.abs(apart).sum(-1) if p == 1 else np.sqrt((apart * apart).sum(-1))
    a, b = [nbgrad.tensor(v, device="cuda", requires_grad=True) for v in (x, y)]
    found = nbgrad.cdist(a, b, p)
    close = 1e-5 if dtype is np.float32 else 1e-12
    np.testing.assert_allclose(found.detach().cpu().numpy(), expected, rtol=close, atol=close)
    weight = draw(expected.shape).astype(dtype)
    found.backward(nbgrad.tensor(weight, device="cuda"))
    slope = np.sign(apart) if p == 1 else apart / expected[..., None]
    for leaf, axis, sign in ((a, -2, 1), (b, -3, -1)):
        gradient = sign * (weight[..., None] * slope).sum(axis)
        np.testing.assert_allclose(leaf.grad.cpu().numpy(), gradient, rtol=close, atol=close)


def test_second_gradients():
    draw = np.random.default_rng(0).standard_normal
    x, y = [nbgrad.tensor(draw((n, 3)), device="cuda", requires_grad=True) for n in (5, 4)]
    for p in (1, 2):
        assert nbgrad.autograd.gradcheck(lambda a, b, p=p: nbgrad.cdist(a, b, p), (x, y))
        assert nbgrad.autograd.gradgradcheck(lambda a, b, p=p: nbgrad.cdist(a, b, p), (x, y))
