"""Ten steps of every optimizer beside PyTorch's, from the same point with the same gradients."""

import numpy as np
import pytest

import nbgrad as nb
from nbgrad import optim

torch = pytest.importorskip("torch")

CASES = [
    ("SGD", {"lr": 0.1}),
    ("SGD", {"lr": 0.1, "weight_decay": 0.3, "maximize": True}),
    ("SGD", {"lr": 0.1, "momentum": 0.9}),
    ("SGD", {"lr": 0.1, "momentum": 0.9, "dampening": 0.3, "weight_decay": 0.01}),
    ("SGD", {"lr": 0.1, "momentum": 0.9, "nesterov": True, "weight_decay": 0.01}),
    ("SGD", {"lr": 0.1, "momentum": 0.5, "nesterov": True, "maximize": True}),
    ("Adam", {}),
    ("Adam", {"lr": 0.1, "betas": (0.8, 0.9), "eps": 1e-3, "weight_decay": 0.1}),
    ("Adam", {"lr": 0.1, "amsgrad": True, "maximize": True}),
    ("Adam", {"lr": 0.1, "weight_decay": 0.1, "decoupled_weight_decay": True}),
    ("AdamW", {}),
    ("AdamW", {"lr": 0.1, "betas": (0.5, 0.99), "weight_decay": 0.5}),
    ("AdamW", {"lr": 0.05, "weight_decay": 0.0, "amsgrad": True, "maximize": True}),
    ("RMSprop", {}),
    ("RMSprop", {"lr": 0.1, "alpha": 0.8, "eps": 1e-3, "weight_decay": 0.1, "maximize": True}),
    ("RMSprop", {"lr": 0.05, "momentum": 0.9}),
    ("RMSprop", {"lr": 0.05, "centered": True, "eps": 1e-2}),
    ("RMSprop", {"lr": 0.05, "centered": True, "momentum": 0.5, "weight_decay": 0.1, "eps": 1e-2}),
    ("Adagrad", {}),
    ("Adagrad", {"lr": 0.1, "lr_decay": 0.1, "weight_decay": 0.1, "initial_accumulator_value": 0.5,
                 "eps": 1e-3, "maximize": True}),
    ("Adadelta", {}),
    ("Adadelta", {"lr": 0.5, "rho": 0.8, "eps": 1e-3, "weight_decay": 0.1, "maximize": True}),
    ("Adamax", {}),
    ("Adamax", {"lr": 0.1, "betas": (0.8, 0.9), "eps": 1e-3, "weight_decay": 0.1, "maximize": True}),
    ("NAdam", {}),
    ("NAdam", {"lr": 0.1, "betas": (0.8, 0.9), "weight_decay": 0.1, "momentum_decay": 0.1}),
    ("NAdam", {"lr": 0.1, "weight_decay": 0.1, "decoupled_weight_decay": True, "maximize": True}),
    ("RAdam", {}),
    ("RAdam", {"lr": 0.1, "betas": (0.8, 0.9), "eps": 1e-3, "weight_decay": 0.1}),
    ("RAdam", {"lr": 0.1, "betas": (0.5, 0.7), "weight_decay": 0.1, "decoupled_weight_decay": True,
               "maximize": True}),
]
SHAPES = [(), (0,), (1,), (63,), (3, 5), (70001,)]


def both(array, view):
    """A parameter of each library over a copy of `array`, made by `view` from a plain tensor."""
    theirs = view(torch.tensor(array)).detach().requires_grad_()
    ours = view(nb.tensor(array)).detach().requires_grad_()
    return theirs, ours


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name, options", CASES, ids=[f"{n} {o}" for n, o in CASES])
def test_trajectory(name, options, dtype):
    rng = np.random.default_rng(0)
    arrays = [np.asarray(rng.standard_normal(s), dtype) for s in SHAPES]
    views = [lambda t: t] * len(arrays)
    arrays += [np.asarray(rng.standard_normal((6, 8)), dtype)] * 2
    views += [lambda t: t.t(), lambda t: t[1:5, ::2]]
    pairs = [both(a, v) for a, v in zip(arrays, views, strict=True)]
    theirs = getattr(torch.optim, name)([p for p, _ in pairs], **options)
    ours = getattr(optim, name)([q for _, q in pairs], **options)
    tolerance = 2e-5 if dtype == "float32" else 1e-9
    for _ in range(10):
        for p, q in pairs:
            g = np.asarray(rng.standard_normal(tuple(p.shape)), dtype)
            p.grad, q.grad = torch.tensor(g), nb.tensor(g)
        theirs.step()
        ours.step()
        for p, q in pairs:
            np.testing.assert_allclose(
                q.detach().numpy(), p.detach().numpy(), tolerance, tolerance)
    for (_, q), kept in zip(pairs, theirs.state_dict()["state"].values()):
        assert {k for k, v in kept.items() if v is not None} == {
            k for k, v in ours.state[q].items() if v is not None}
    assert set(theirs.state_dict()["param_groups"][0]) == set(ours.state_dict()["param_groups"][0])


def test_the_rest_of_a_shared_storage_is_left_alone():
    whole = nb.ones(4, 4)
    p = whole[1:3, ::2].detach().requires_grad_()
    p.grad = nb.ones(2, 2)
    optim.SGD([p], lr=1.0).step()
    expected = np.ones((4, 4))
    expected[1:3, ::2] = 0
    assert whole.tolist() == expected.tolist()


def test_a_transposed_gradient():
    p = nb.zeros(2, 3, requires_grad=True)
    p.grad = nb.tensor([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]).t()
    optim.SGD([p], lr=1.0, momentum=0.9).step()
    assert p.tolist() == [[-1, -3, -5], [-2, -4, -6]]


@pytest.mark.parametrize("value", [np.inf, -np.inf, np.nan])
def test_without_decay_an_infinite_parameter_stays(value):
    p = nb.tensor([value], requires_grad=True)
    p.grad = nb.ones(1)
    optim.SGD([p], lr=0.1).step()
    np.testing.assert_array_equal(p.detach().numpy(), np.float32([value]))


def test_a_view_of_a_parameter_sees_the_version_move():
    p = nb.ones(2, requires_grad=True)
    loss = (p.detach().requires_grad_() * p).sum()
    p.grad = nb.ones(2)
    optim.AdamW([p]).step()
    assert p._version == 1
    with pytest.raises(RuntimeError, match=r"AdamW\.step at .*test_trajectories"):
        loss.backward()
