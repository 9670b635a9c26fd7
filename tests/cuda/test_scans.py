"""Scans, sorts and searches on the device in sizes that take several blocks, chunks and passes."""

import numpy as np
import pytest

import nbgrad

SHAPES = [((1, 70), 1), ((70,), 0), ((3, 41), 1), ((2, 19, 2), 1), ((2, 50, 5), 1), ((40, 3), 0),
          ((2, 2, 7), 2), ((1, 200), 1), ((9, 17), 0)]
SCANS = {
    "cumsum": (lambda x, d: x.cumsum(d), nbgrad.float32),
    "cumsum, int8": (lambda x, d: (x * 9).to(nbgrad.int8).cumsum(d), nbgrad.float32),
    "cumsum, backward": (lambda x, d: nbgrad.autograd.grad(
        (y := x.clone().requires_grad_()).cumsum(d).sum(), y)[0], nbgrad.float64),
    "cumprod": (lambda x, d: x.cumprod(d), nbgrad.float64),
    "cumprod, backward": (lambda x, d: nbgrad.autograd.grad(
        (y := x.clone().requires_grad_()).cumprod(d).sum(), y)[0], nbgrad.float64),
    "logcumsumexp": (lambda x, d: x.logcumsumexp(d), nbgrad.float32),
    "cummax": (lambda x, d: nbgrad.stack([t.double() for t in x.mul(3).round().cummax(d)]),
               nbgrad.float32),
    "cummin": (lambda x, d: nbgrad.stack([t.double() for t in x.mul(3).long().cummin(d)]),
               nbgrad.float32),
}


@pytest.mark.parametrize("shape, dim", SHAPES)
@pytest.mark.parametrize("name", SCANS)
def test_scans(name, shape, dim):
    call, dtype = SCANS[name]
    x = nbgrad.tensor(np.random.default_rng(1).normal(0.2, 1, shape)).to(dtype)
    ours, expected = call(x.cuda(), dim), call(x, dim)
    assert ours.dtype is expected.dtype
    np.testing.assert_allclose(ours.cpu().numpy(), expected.numpy(), 1e-5, 1e-5)


SORTED = [(1, 1), (3, 2), (5, 3), (2, 4), (3, 11), (4, 16), (2, 17), (1, 70), (3, 33), (9, 8)]


@pytest.mark.parametrize("shape", SORTED)
@pytest.mark.parametrize("dtype", ["float32", "float64", "int64", "uint8"])
@pytest.mark.parametrize("down", [False, True])
def test_sorts(shape, dtype, down):
    x = np.random.default_rng(2).integers(-5, 9, shape).astype(np.float64)
    x[0, :1], x[-1, -1:] = (np.nan, -np.inf) if dtype[0] == "f" else (2**62, -2**63)
    with np.errstate(invalid="ignore"):  # of what uint8 does not hold
        x = nbgrad.tensor(x.astype(dtype))
    ours, expected = (t.sort(-1, down, stable=True) for t in (x.cuda(), x))
    for a, b in zip(ours, expected):
        np.testing.assert_array_equal(a.cpu().numpy(), b.numpy())


#: rows that are sorted, that one block searches, and that are cut into parts; entries found that are
#: put in order by a block, and by sorting
SELECTED = [(2, 5, 1), (3, 8, 2), (2, 16, 4), (1, 17, 1), (2, 40, 4), (1, 70, 17), (1, 37, 3)]


@pytest.mark.parametrize("shape", SELECTED)
@pytest.mark.parametrize("dtype", ["float32", "float64", "int64", "int32", "int8", "uint8"])
@pytest.mark.parametrize("alike", [False, True])
def test_selections(shape, dtype, alike):
    rows, n, k = shape
    draw = np.random.default_rng(3)
    x = draw.normal(0, 1 if alike else 50, (rows, n))
    x = x.round() if alike else x
    if dtype[0] == "f":
        x[:, 1], x[:, 2], x[0, ::3] = -0.0, np.inf, np.nan if alike else -np.inf
    else:
        x = abs(x) if dtype[0] == "u" else x
        x = x * (1 if alike or dtype[-1] == "8" else 1e6)
    x = nbgrad.tensor(x.astype(dtype))
    for call in (lambda t: t.topk(k), lambda t: t.topk(k, largest=False), lambda t: t.kthvalue(k),
                 lambda t: t.kthvalue(n - k + 1), lambda t: t.median(-1), lambda t: t.topk(1),
                 *[lambda t: t.nanmedian(-1)] * x.is_floating_point()):
        for a, b in zip(call(x.cuda()), call(x)):
            np.testing.assert_array_equal(a.cpu().numpy(), b.numpy())
