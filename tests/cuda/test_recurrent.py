"""Recurrent layers on the device, and there alone: the CPU's numbers, however the work is cut."""

import numpy as np
import pytest

import nbgrad
from nbgrad import nn
from nbgrad.nn.utils.rnn import pack_padded_sequence
from nbgrad.ops import apply

KINDS = [("RNN", {}), ("RNN", {"nonlinearity": "relu"}), ("GRU", {}), ("LSTM", {}),
         ("GRU", {"bias": False}), ("LSTM", {"bias": False})]
#: Steps, sequences, inputs, units: what one block does, and what is cut into steps, tiles and slabs.
SIZES = [(3, 5, 2, 2), (1, 1, 3, 1), (3, 4, 3, 5), (2, 3, 1, 11), (2, 1, 2, 11)]


@pytest.fixture(autouse=True)
def only_there(monkeypatch):
    def refuse(error, *args):
        raise AssertionError(f"it went to the host: {error}")

    monkeypatch.setattr(apply, "_run_on_host", refuse)


def results(device, kind, options, sizes, dtype, lengths=None, wanted=(True, True)):
    """Outputs, the last states, and the gradients to the input, the states and the weights."""
    steps, n, inputs, units = sizes
    rng = np.random.default_rng(7)

    def draw(*shape):
        drawn = nbgrad.tensor(rng.standard_normal(shape) / np.sqrt(units))
        return drawn.to(device, dtype).requires_grad_()

    model = getattr(nn, kind)(inputs, units, bidirectional=True, **options).to(device, dtype)
    with nbgrad.no_grad():
        for p in model.parameters():
            p.copy_(draw(*p.shape))
    x, states = draw(steps, n, inputs), [draw(2, n, units) for _ in range(1 + (kind == "LSTM"))]
    given = x if lengths is None else pack_padded_sequence(x, lengths, enforce_sorted=False)
    out, last = model(given, states[0] if len(states) == 1 else tuple(states))
    ends = list(last) if isinstance(last, tuple) else [last]
    outputs = [*([out if lengths is None else out.data] if wanted[0] else []),
               *(ends if wanted[1] else [])]
    leaves = [x, *states, *model.parameters()]
    grads = nbgrad.autograd.grad(outputs, leaves, [draw(*t.shape).detach() for t in outputs])
    return [t.detach().cpu().numpy() for t in (*outputs, *grads)]


def same(*args, **options):
    for ours, expected in zip(results("cuda", *args, **options), results("cpu", *args, **options),
                              strict=True):
        close = 1e-12 if expected.dtype == np.float64 else 2e-6
        np.testing.assert_allclose(ours, expected, close, close)


@pytest.mark.parametrize(("kind", "options"), KINDS)
@pytest.mark.parametrize("sizes", SIZES)
def test_layers(kind, options, sizes):
    same(kind, options, sizes, nbgrad.float64)


@pytest.mark.parametrize(("kind", "options"), KINDS)
def test_float32(kind, options):
    same(kind, options, SIZES[3], nbgrad.float32)


@pytest.mark.parametrize(("kind", "options"), KINDS[:4])
@pytest.mark.parametrize(("sizes", "lengths"), [
    ((3, 5, 2, 2), [2, 1, 3, 1, 1]), ((3, 5, 2, 11), [2, 3, 1, 2, 1])])
def test_sequences_of_unlike_lengths(kind, options, sizes, lengths):
    same(kind, options, sizes, nbgrad.float64, lengths)


@pytest.mark.parametrize("wanted", [(True, False), (False, True)])
def test_some_of_the_outputs(wanted):
    same("LSTM", {}, SIZES[2], nbgrad.float64, wanted=wanted)


@pytest.mark.parametrize(("kind", "options"), KINDS[:4])
def test_gradients_are_those_of_differences(kind, options):
    model = getattr(nn, kind)(2, 2, **options).to("cuda", nbgrad.float64)
    x = nbgrad.tensor(np.random.default_rng(3).standard_normal((3, 2, 2)), device="cuda",
                      requires_grad=True)
    assert nbgrad.autograd.gradcheck(lambda x: model(x)[0], (x,))
    assert nbgrad.autograd.gradgradcheck(lambda x: model(x)[0], (x,))


def test_16_bits():
    model, x = nn.LSTM(2, 3).to("cuda", nbgrad.bfloat16), nbgrad.ones(2, 2, 2, device="cuda")
    out, _ = model(x.bfloat16())
    out.sum().backward()
    expected, _ = model.float()(x)
    np.testing.assert_allclose(out.detach().float().cpu().numpy(), expected.detach().cpu().numpy(), 0,
                               0.02)
