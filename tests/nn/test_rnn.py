"""Recurrent layers against PyTorch where they are cut into blocks; their bits, and their memory."""

import numpy as np
import pytest

import nbgrad
from nbgrad.kernels import memory
from nbgrad.kernels.cpu import recurrent as kernels

torch = pytest.importorskip("torch")

KINDS = [("RNN", {}), ("RNN", {"nonlinearity": "relu"}), ("GRU", {}), ("LSTM", {})]
#: Steps, sequences, inputs, units.
SIZES = [(3, 17, 5, 70), (4, 1, 3, 130), (2, 33, 3, 8), (2, 3, 1, 300)]


@pytest.fixture(autouse=True)
def poison_here(poison, monkeypatch):
    monkeypatch.setattr(kernels, "empty", memory.empty)


def results(library, kind, options, sizes, dtype, lengths=None):
    """Outputs, the last states, and the gradients to the input, the states and the weights."""
    steps, n, inputs, units = sizes
    rng = np.random.default_rng(7)

    def draw(*shape):
        drawn = rng.standard_normal(shape) / np.sqrt(units)
        return library.from_numpy(drawn.astype(dtype)).requires_grad_()

    model = getattr(library.nn, kind)(inputs, units, bidirectional=True, **options)
    model = model.double() if dtype == np.float64 else model
    with library.no_grad():
        for p in model.parameters():
            p.copy_(draw(*p.shape))
    x, states = draw(steps, n, inputs), [draw(2, n, units) for _ in range(1 + (kind == "LSTM"))]
    given = x
    if lengths is not None:
        given = library.nn.utils.rnn.pack_padded_sequence(x, lengths, enforce_sorted=False)
    y, last = model(given, tuple(states) if kind == "LSTM" else states[0])
    y = y if lengths is None else y.data
    found = [y, *(last if kind == "LSTM" else [last])]
    wanted = [x, *states, *model.parameters()]
    found += library.autograd.grad(found, wanted, [draw(*t.shape).detach() for t in found])
    return [t.detach().numpy() for t in found]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("sizes", SIZES)
@pytest.mark.parametrize("kind, options", KINDS)
def test_blocks(kind, options, sizes, dtype):
    ours, theirs = [results(library, kind, options, sizes, dtype) for library in (nbgrad, torch)]
    tolerance = 2e-5 if dtype == np.float32 else 1e-12
    for a, b in zip(ours, theirs, strict=True):
        assert a.dtype == dtype
        np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance * max(1, np.abs(b).max()))


@pytest.mark.parametrize("lengths", [None, "unlike"])
@pytest.mark.parametrize("sizes", [(3, 17, 5, 200), (4, 3, 3, 130)])
@pytest.mark.parametrize("kind, options", KINDS)
def test_same_bits_however_the_work_is_cut(kind, options, sizes, lengths, monkeypatch):
    lengths = lengths and [1 + k % sizes[0] for k in range(sizes[1])]
    found = []
    for threads in (1, 2, 3, 40):
        monkeypatch.setattr(kernels, "get_num_threads", lambda threads=threads: threads)
        monkeypatch.setattr(kernels, "use_threads", lambda work, threads=threads: threads > 1)
        own = results(nbgrad, kind, options, sizes, np.float32, lengths)
        found.append([a.tobytes() for a in own])
    assert all(other == found[0] for other in found)


def test_gradients_have_memory_of_their_own():
    model = nbgrad.nn.LSTM(2, 3)
    model(nbgrad.ones(4, 2, 2))[0].sum().backward()
    expected = model.bias_hh_l0.grad.clone()
    model.bias_ih_l0.grad.zero_()
    assert (model.bias_hh_l0.grad == expected).all()


def test_a_write_into_the_outputs_is_noticed():
    y, _ = nbgrad.nn.LSTM(2, 3)(nbgrad.ones(4, 2, 2))
    y.mul_(2)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        y.sum().backward()


def test_the_last_state_may_be_written_to():
    model = nbgrad.nn.GRU(2, 3)
    x = nbgrad.ones(4, 2, 2)
    y, last = model(x)
    last.mul_(0)
    y.sum().backward()
    found, model.weight_hh_l0.grad = model.weight_hh_l0.grad, None
    model(x)[0].sum().backward()
    assert (found == model.weight_hh_l0.grad).all()


@pytest.mark.parametrize("name", ["weight_ih_l0", "weight_hh_l0", "bias_ih_l0"])
def test_weights_of_other_shapes_are_refused(name):
    model = nbgrad.nn.GRU(4, 4)
    setattr(model, name, nbgrad.nn.Parameter(nbgrad.ones(6, 3) if "weight" in name else nbgrad.ones(5)))
    with pytest.raises(RuntimeError):
        model(nbgrad.ones(3, 2, 4))


@pytest.mark.parametrize("sizes", [[2, 3, 1], [3, 3, 0], [1, 2, 3]])
def test_sizes_that_do_not_fall_are_refused(sizes):
    packed = nbgrad.nn.utils.rnn.PackedSequence(nbgrad.ones(6, 4), nbgrad.tensor(sizes))
    with pytest.raises(RuntimeError):
        nbgrad.nn.GRU(4, 4)(packed)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half(dtype):
    found = []
    for library in (nbgrad, torch):
        model = library.nn.GRU(3, 4).to(getattr(library, dtype))
        with library.no_grad():
            for p in model.parameters():
                p.fill_(0.25)
        x = library.ones(3, 2, 3, dtype=getattr(library, dtype))
        found.append(model(x)[0].float().detach().numpy())
    np.testing.assert_allclose(*found, atol=2e-2)
