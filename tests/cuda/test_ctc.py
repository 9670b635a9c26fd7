"""ctc_loss on the device, and there alone: the CPU's losses and gradients."""

import numpy as np
import pytest

import nbgrad
from nbgrad.nn import functional as F
from nbgrad.ops import apply

#: Steps, classes, blank, targets, times, lengths of targets.
CASES = {
    "a batch": (6, 4, 0, [[1, 1, 3], [2, 3, 1]], (6, 5), (2, 3)),
    "long targets": (19, 3, 2, [[0, 1, 0, 0, 1, 1, 0, 1, 0]], (19,), (9,)),
    "in one vector": (5, 5, 1, [0, 2, 3, 4, 4], (5, 4, 5), (2, 0, 3)),
    "no labels": (3, 2, 0, [[], []], (3, 1), (0, 0)),
    "no steps": (3, 3, 0, [[1], [2]], (0, 0), (1, 0)),
    "no alignment": (3, 3, 0, [[1, 1, 2], [1, 2, 1]], (3, 3), (3, 3)),
    "blanks among labels": (7, 3, 1, [[0, 1, 2, 1], [1, 1, 0, 0]], (7, 7), (4, 3)),
}


@pytest.fixture(autouse=True)
def only_there(monkeypatch):
    def refuse(error, *args):
        raise AssertionError(f"it went to the host: {error}")

    monkeypatch.setattr(apply, "_run_on_host", refuse)


def results(device, case, dtype, zero_infinity, reduction):
    steps, classes, blank, targets, times, lengths = case
    draw = np.random.default_rng(5).standard_normal((steps, len(times), classes))
    x = nbgrad.tensor(draw, dtype=dtype, device=device, requires_grad=True)
    targets = nbgrad.tensor(targets, dtype=nbgrad.int64, device=device)
    loss = F.ctc_loss(x.log_softmax(-1), targets, times, lengths, blank, reduction, zero_infinity)
    weights = nbgrad.arange(1, loss.numel() + 1, device=device).to(dtype).reshape(loss.shape)
    (grad,) = nbgrad.autograd.grad(loss, x, weights)
    assert {t.device.type for t in (loss, grad)} == {device} and grad.dtype is dtype
    return loss.detach().cpu().numpy(), grad.cpu().numpy()


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("dtype", [nbgrad.float64, nbgrad.float32])
@pytest.mark.parametrize("zero_infinity", [False, True])
def test_losses_and_gradients(name, dtype, zero_infinity):
    for reduction in ("none", "mean"):
        ours, expected = (results(device, CASES[name], dtype, zero_infinity, reduction)
                          for device in ("cuda", "cpu"))
        close = 1e-12 if dtype is nbgrad.float64 else 2e-6
        for a, b in zip(ours, expected):
            np.testing.assert_allclose(a, b, close, close)


def test_gradients_are_those_of_differences():
    x = nbgrad.tensor(np.random.default_rng(6).standard_normal((4, 2, 3)), device="cuda",
                      requires_grad=True)
    targets = nbgrad.tensor([[1, 1], [2, 1]], device="cuda")
    assert nbgrad.autograd.gradcheck(
        lambda x: F.ctc_loss(x.log_softmax(-1), targets, (4, 3), (2, 2)), (x,))
