"""Groups, states and options of optimizers, on nbgrad and on PyTorch alike."""

import copy
import pickle

import pytest


@pytest.fixture(params=["nbgrad", "torch"])
def library(request):
    return pytest.importorskip(request.param)


@pytest.fixture
def optim(library):
    return pytest.importorskip(f"{library.__name__}.optim")


def parameters(library, count=2):
    made = [library.ones(2, requires_grad=True) for _ in range(count)]
    for p in made:
        p.grad = library.tensor([1.0, 2.0])
    return made


STATES = [
    ("SGD", {}, []), ("SGD", {"momentum": 0.9}, ["momentum_buffer"]),
    ("Adam", {}, ["step", "exp_avg", "exp_avg_sq"]),
    ("AdamW", {"amsgrad": True}, ["step", "exp_avg", "exp_avg_sq", "max_exp_avg_sq"]),
]  # fmt: skip
OPTIONS = {
    "SGD": ["lr", "momentum", "dampening", "weight_decay", "nesterov", "maximize", "foreach",
            "differentiable", "fused", "params"],
    "Adam": ["lr", "betas", "eps", "weight_decay", "amsgrad", "maximize", "foreach", "capturable",
             "differentiable", "fused", "decoupled_weight_decay", "params"],
}  # fmt: skip


@pytest.mark.parametrize("name, options, states", STATES)
def test_layout_of_the_state(library, optim, name, options, states):
    p, q = parameters(library)
    optimizer = getattr(optim, name)([{"params": [p]}, {"params": [q], "lr": 0.5}], **options)
    optimizer.step()
    found = optimizer.state_dict()
    assert set(found) == {"state", "param_groups"}
    assert list(found["state"]) == ([0, 1] if states else [])
    assert all(list(s) == states for s in found["state"].values())
    assert all(v.shape == (() if k == "step" else (2,)) for k, v in optimizer.state[p].items())
    groups = found["param_groups"]
    assert [g["params"] for g in groups] == [[0], [1]] and groups[1]["lr"] == 0.5
    assert [sorted(g) for g in groups] == [sorted(OPTIONS["SGD" if name == "SGD" else "Adam"])] * 2


@pytest.mark.parametrize("name, options, states", STATES)
def test_a_resumed_run_is_the_same_run(library, optim, name, options, states):
    def train(p, optimizer, steps):
        for k in steps:
            p.grad = library.tensor([0.5 * k, -1.0])
            optimizer.step()

    p = library.ones(2, requires_grad=True)
    whole = getattr(optim, name)([p], lr=0.1, **options)
    train(p, whole, range(3))
    saved, q = copy.deepcopy(whole.state_dict()), p.detach().clone().requires_grad_()
    train(p, whole, range(3, 6))
    resumed = getattr(optim, name)([q], lr=7.0, **options)
    resumed.load_state_dict(saved)
    train(q, resumed, range(3, 6))
    assert q.tolist() == p.tolist() and resumed.param_groups[0]["lr"] == 0.1


def test_loaded_states_take_the_dtype_of_their_parameter(library, optim):
    (p,) = parameters(library, 1)
    source = optim.AdamW([p])
    source.step()
    q = library.ones(2, dtype=library.float64, requires_grad=True)
    target = optim.AdamW([q])
    target.load_state_dict(source.state_dict())
    assert {k: v.dtype for k, v in target.state[q].items()} == {
        "step": library.float32, "exp_avg": library.float64, "exp_avg_sq": library.float64}
    q.grad = library.ones(2, dtype=library.float64)
    target.step()


def test_states_that_do_not_fit(library, optim):
    p, q = parameters(library)
    one, two = optim.SGD([p]), optim.SGD([p, q])
    for state, text in [(optim.SGD([{"params": [p]}, {"params": [q]}]).state_dict(),
                         "loaded state dict has a different number of parameter groups"),
                        (two.state_dict(), "loaded state dict contains a parameter group that "
                                           "doesn't match the size of optimizer's group")]:
        with pytest.raises(ValueError) as caught:
            one.load_state_dict(state)
        assert str(caught.value) == text


def test_closure(library, optim):
    p = library.ones(1, requires_grad=True)
    optimizer = optim.SGD([p], lr=0.1)

    def closure():
        optimizer.zero_grad()
        loss = (p * p).sum()
        loss.backward()
        return loss

    with library.no_grad():
        assert optimizer.step(closure).item() == 1
    assert p.item() == pytest.approx(0.8) and optimizer.step() is None


def test_names(library, optim):
    p, q = parameters(library)
    optimizer = optim.SGD([("a", p), ("b", q)])
    assert optimizer.param_groups[0]["param_names"] == ["a", "b"]
    optimizer.step()


def test_a_generator_and_a_lone_tensor_in_a_group(library, optim):
    p, q = parameters(library)
    optimizer = optim.SGD(x for x in (p,))
    optimizer.add_param_group({"params": q, "lr": 1.0})
    optimizer.step()
    assert q.tolist() == [0, -1]


def test_printed(library, optim):
    text = str(optim.SGD(parameters(library), lr=0.1))
    assert text == (
        "SGD (\nParameter Group 0\n    dampening: 0\n    differentiable: False\n"
        "    foreach: None\n    fused: None\n    lr: 0.1\n    maximize: False\n    momentum: 0\n"
        "    nesterov: False\n    weight_decay: 0\n)")


ERRORS = [
    (ValueError, "Invalid learning rate: -1", lambda o, p: o.AdamW([p], lr=-1)),
    (ValueError, "Invalid momentum value: -1", lambda o, p: o.SGD([p], momentum=-1)),
    (ValueError, "Invalid weight_decay value: -1", lambda o, p: o.SGD([p], weight_decay=-1)),
    (ValueError, "Invalid weight_decay value: -1", lambda o, p: o.Adam([p], weight_decay=-1)),
    (ValueError, "Invalid epsilon value: -1", lambda o, p: o.Adam([p], eps=-1)),
    (ValueError, "Invalid beta parameter at index 0: -1", lambda o, p: o.Adam([p], betas=(-1, 0))),
    (ValueError, "Invalid beta parameter at index 1: 1", lambda o, p: o.AdamW([p], betas=(0, 1))),
    (TypeError, "optimizer can only optimize Tensors, but one of the params is int",
     lambda o, p: o.SGD([1])),
    (TypeError, "param_group must be a dict, but got <class 'list'>",
     lambda o, p: o.SGD([p]).add_param_group([p])),
    (TypeError, "optimizer parameters need to be organized in ordered collections, but the "
                "ordering of tensors in sets will change between runs. Please use a list instead.",
     lambda o, p: o.SGD([{"params": {p}}])),
    (ValueError, "some parameters appear in more than one parameter group",
     lambda o, p: o.SGD([p]).add_param_group({"params": p})),
]  # fmt: skip


@pytest.mark.parametrize("kind, text, act", ERRORS)
def test_error(library, optim, kind, text, act):
    with pytest.raises(kind) as caught:
        act(optim, *parameters(library, 1))
    assert str(caught.value) == text


def test_duplicates_are_told(library, optim):
    (p,) = parameters(library, 1)
    with pytest.warns(UserWarning, match="parameter group with duplicate parameters"):
        optim.SGD([p, p])


def test_an_optimizer_can_be_copied(library, optim):
    (p,) = parameters(library, 1)
    optimizer = optim.SGD([p], lr=0.1, momentum=0.9)
    optimizer.step()
    for twin in (copy.deepcopy(optimizer), pickle.loads(pickle.dumps(optimizer))):
        (q,) = twin.param_groups[0]["params"]
        q.grad = library.ones(2)
        twin.step()
        assert q is not p and twin.state[q]["momentum_buffer"].tolist() != [1, 2]
    assert optimizer.state[p]["momentum_buffer"].tolist() == [1, 2]
