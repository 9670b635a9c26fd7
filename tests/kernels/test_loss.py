"""Classification loss kernels against torch."""

import itertools

import numpy as np
import pytest

from nbgrad import config
from nbgrad.kernels.cpu import loss

torch = pytest.importorskip("torch")
F = torch.nn.functional

SHAPES = [(7, 5), (1, 1), (3, 4, 9), (2, 63, 200), (6, 1, 1)]
DTYPES, REDUCTIONS = (np.float32, np.float64), ("none", "mean", "sum")
CASES = list(itertools.product(SHAPES, (False, True), REDUCTIONS, DTYPES))
CLOSE = {np.float32: {"rtol": 2e-6, "atol": 2e-6}, np.float64: {"rtol": 1e-12, "atol": 1e-13}}
IGNORE = -100


def sample(shape, dtype, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


def problem(shape, weighted, dtype):
    x = sample(shape, dtype) * dtype(3)
    target = np.random.default_rng(1).integers(0, shape[1], (shape[0], *shape[2:]))
    if target.size > 2:
        target.reshape(-1)[1::3] = IGNORE
    weight = np.abs(sample(shape[1], dtype, 2)) + dtype(0.1) if weighted else None
    return x, target, weight


def torch_answer(function, x, target, weight, reduction, ignore=IGNORE):
    tx = torch.tensor(x, requires_grad=True)
    tw = None if weight is None else torch.tensor(weight)
    y = function(tx, torch.tensor(target), tw, ignore_index=ignore, reduction=reduction)
    gy = sample(tuple(y.shape), x.dtype, 3) if y.ndim else np.array(1.7, x.dtype)
    y.backward(torch.tensor(gy))
    return y.detach().numpy(), gy, tx.grad.numpy()


@pytest.mark.parametrize("shape, weighted, reduction, dtype", CASES)
def test_nll_loss(shape, weighted, reduction, dtype):
    x, target, weight = problem(shape, weighted, dtype)
    expected, gy, expected_gx = torch_answer(F.nll_loss, x, target, weight, reduction)
    rule = target, weight, IGNORE, reduction
    y, total = loss.nll_loss(x, *rule)
    gx = loss.nll_loss_backward(gy, *rule, total, x.shape)
    kept = target[target != IGNORE]
    np.testing.assert_allclose(total, kept.size if weight is None else weight[kept].sum(), 1e-6)
    assert y.dtype == total.dtype == gx.dtype == dtype and total.shape == ()
    assert isinstance(y, np.ndarray) and y.shape == expected.shape and gx.shape == x.shape
    np.testing.assert_allclose(y, expected, **CLOSE[dtype])
    np.testing.assert_allclose(gx, expected_gx, **CLOSE[dtype])


@pytest.mark.parametrize("shape, weighted, reduction, dtype", CASES)
def test_cross_entropy(shape, weighted, reduction, dtype):
    x, target, weight = problem(shape, weighted, dtype)
    expected, gy, expected_gx = torch_answer(F.cross_entropy, x, target, weight, reduction)
    rule = target, weight, IGNORE, reduction
    y, total, logsumexp = loss.cross_entropy(x, *rule)
    gx = loss.cross_entropy_backward(gy, x, logsumexp, *rule, total)
    assert y.dtype == total.dtype == gx.dtype == dtype and logsumexp.shape == target.shape
    assert isinstance(y, np.ndarray) and y.shape == expected.shape and gx.shape == x.shape
    np.testing.assert_allclose(y, expected, **CLOSE[dtype])
    np.testing.assert_allclose(gx, expected_gx, **CLOSE[dtype])


@pytest.mark.parametrize("special", [np.inf, -np.inf, np.nan, 3e4])
@pytest.mark.parametrize("shape", [(3, 4), (3, 4, 2)])
def test_cross_entropy_of_special_values(shape, special):
    x, target, _ = problem(shape, False, np.float32)
    x[0, 1], x[1] = special, special
    x[0, 0] = 3e4 + 1
    target[:] = 1
    target[2] = 3  # a class that may also be the ignored one
    expected, gy, expected_gx = torch_answer(F.cross_entropy, x, target, None, "none", ignore=3)
    y, total, logsumexp = loss.cross_entropy(x, target, None, 3, "none")
    gx = loss.cross_entropy_backward(gy, x, logsumexp, target, None, 3, "none", total)
    np.testing.assert_allclose(y, expected, rtol=1e-6)
    np.testing.assert_allclose(gx, expected_gx, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("shape", [(4, 3), (0, 3), (2, 3, 0), (2, 3, 5)])
@pytest.mark.parametrize("reduction", ["none", "mean", "sum"])
def test_nothing_to_count(shape, reduction):
    x = sample(shape, np.float32)
    target = np.full((shape[0], *shape[2:]), IGNORE)
    expected = F.nll_loss(torch.tensor(x), torch.tensor(target), reduction=reduction).numpy()
    rule = target, None, IGNORE, reduction
    y, total = loss.nll_loss(x, *rule)
    z, _, logsumexp = loss.cross_entropy(x, *rule)
    np.testing.assert_array_equal(y, expected)
    np.testing.assert_array_equal(z, expected)
    gy = np.ones(expected.shape, np.float32)
    assert not loss.nll_loss_backward(gy, *rule, total, shape).any()
    assert not loss.cross_entropy_backward(gy, x, logsumexp, *rule, total).any()


@pytest.mark.parametrize(
    "target, position",
    [([], -1), ([0, 4, -100], -1), ([0, 5, 9], 1), ([[1, 2], [-1, 7]], 2), ([-100, 0, -101], 2)],
)
def test_check_targets(target, position):
    assert loss.check_targets(np.array(target, np.int64), 5, IGNORE) == position


def test_any_strides():
    x, target, weight = problem((9, 8, 6), True, np.float32)
    x, target, weight = x[::2].transpose(2, 1, 0)[:, ::-1], target[::2].T, weight[::-1]
    copies = x.copy(), target.copy(), weight.copy()
    for run in loss.nll_loss, loss.cross_entropy:
        found, expected = (run(*arrays, IGNORE, "none") for arrays in ((x, target, weight), copies))
        for a, b in zip(found, expected, strict=True):
            np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("shape", [(40, 33), (3, 9, 333)])
def test_same_bits_for_any_thread_count(shape, monkeypatch):
    x, target, weight = problem(shape, True, np.float32)
    rule = target, weight, IGNORE, "mean"

    def everything():
        y, total = loss.nll_loss(x, *rule)
        yield from (y, total, loss.nll_loss_backward(y, *rule, total, shape))
        y, total, logsumexp = loss.cross_entropy(x, *rule)
        yield from (y, logsumexp, loss.cross_entropy_backward(y, x, logsumexp, *rule, total))

    results = []
    for threshold in (1, 10**9):
        monkeypatch.setattr(config, "PARALLEL_THRESHOLD", threshold)
        results.append([array.tobytes() for array in everything()])
    assert results[0] == results[1]
