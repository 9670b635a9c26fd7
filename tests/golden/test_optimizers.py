"""The order of operations of SGD and AdamW, and which parameters a step leaves alone."""

import numpy as np
import pytest

GRADS = [[0.5, -1.0], [2.0, 0.0], [-0.25, 1.0], [0.0, 3.0]]


def run(torch, optimizer_of, start=(1.0, -2.0)):
    p = torch.tensor(list(start), requires_grad=True)
    optimizer = optimizer_of([p])
    for grad in GRADS:
        optimizer.zero_grad()
        p.backward(torch.tensor(grad))
        optimizer.step()
    return p


def naive_sgd(p, lr, momentum=0.0, dampening=0.0, weight_decay=0.0, nesterov=False):
    p, buffer = np.array(p), None
    for g in GRADS:
        g = np.array(g) + weight_decay * p
        if momentum:
            buffer = g if buffer is None else momentum * buffer + (1 - dampening) * g
            g = g + momentum * buffer if nesterov else buffer
        p = p - lr * g
    return p


@pytest.mark.parametrize(
    "options",
    [
        {"lr": 0.1},
        {"lr": 0.1, "weight_decay": 0.3},
        {"lr": 0.1, "momentum": 0.9},
        {"lr": 0.1, "momentum": 0.9, "dampening": 0.4},
        {"lr": 0.1, "momentum": 0.9, "nesterov": True},
        {"lr": 0.1, "momentum": 0.5, "nesterov": True, "weight_decay": 0.2},
    ],
    ids=str,
)
def test_sgd(torch, same, options):
    p = run(torch, lambda ps: torch.optim.SGD(ps, **options))
    same(p, naive_sgd((1.0, -2.0), **options))


def naive_adamw(p, lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=1e-2):
    p, m, v = np.array(p), 0, 0
    for t, g in enumerate(np.array(GRADS), 1):
        p = p * (1 - lr * weight_decay)
        m = betas[0] * m + (1 - betas[0]) * g
        v = betas[1] * v + (1 - betas[1]) * g * g
        p = p - lr * m / (1 - betas[0] ** t) / (np.sqrt(v) / np.sqrt(1 - betas[1] ** t) + eps)
    return p


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"lr": 0.1},
        {"lr": 0.1, "weight_decay": 0.0},
        {"lr": 0.1, "weight_decay": 0.5, "betas": (0.5, 0.9)},
        {"lr": 0.1, "eps": 1.0},
    ],
    ids=str,
)
def test_adamw(torch, same, options):
    p = run(torch, lambda ps: torch.optim.AdamW(ps, **options))
    same(p, naive_adamw((1.0, -2.0), **options))


@pytest.mark.parametrize("name", ["SGD", "AdamW"])
def test_no_gradient_skips_and_a_zero_gradient_does_not(torch, name):
    options = {"lr": 0.1, "weight_decay": 0.5} | ({"momentum": 0.9} if name == "SGD" else {})
    p, q, frozen = (torch.ones(1, requires_grad=flag) for flag in (True, True, False))
    optimizer = getattr(torch.optim, name)([p, q, frozen], **options)
    q.grad = torch.zeros(1)
    optimizer.step()
    assert p.item() == 1 and frozen.item() == 1 and abs(q.item() - 0.95) < 1e-6
    assert p not in optimizer.state


def test_a_zero_gradient_is_moved_by_momentum(torch, same):
    p = torch.ones(1, requires_grad=True)
    optimizer = torch.optim.SGD([p], lr=0.1, momentum=0.5)
    for grad, expected in [(1.0, 0.9), (0.0, 0.85), (None, 0.85), (0.0, 0.825)]:
        p.grad = None if grad is None else torch.tensor([grad])
        optimizer.step()
        same(p, [expected])


def test_zero_grad_sets_none_by_default(torch):
    p = torch.ones(1, requires_grad=True)
    optimizer = torch.optim.SGD([p], lr=0.1)
    p.sum().backward()
    kept = p.grad
    optimizer.zero_grad(set_to_none=False)
    assert p.grad is kept and kept.tolist() == [0]
    optimizer.zero_grad()
    assert p.grad is None


def test_a_step_is_not_recorded_and_bumps_the_version(torch):
    p = torch.ones(1, requires_grad=True)
    p.sum().backward()
    torch.optim.SGD([p], lr=0.1).step()
    assert p.is_leaf and p.requires_grad and p.grad_fn is None and p._version == 1


def test_parameter_groups(torch, same):
    p, q = torch.ones(1, requires_grad=True), torch.ones(1, requires_grad=True)
    optimizer = torch.optim.SGD([{"params": [p]}, {"params": q, "lr": 0.5}], lr=0.1)
    (p + q).backward()
    optimizer.step()
    same([p, q], [[0.9], [0.5]])
    optimizer.param_groups[0]["lr"] = 1.0
    optimizer.step()
    same([p, q], [[-0.1], [0.0]])
    extra = torch.ones(1, requires_grad=True)
    optimizer.add_param_group({"params": [extra], "lr": 2.0})
    assert [group["lr"] for group in optimizer.param_groups] == [1.0, 0.5, 2.0]


@pytest.mark.parametrize("name", ["SGD", "AdamW"])
def test_a_loaded_state_goes_on_with_the_same_numbers(torch, name):
    options = {"lr": 0.1} | ({"momentum": 0.9} if name == "SGD" else {})

    def steps(p, optimizer, grads):
        for grad in grads:
            p.grad = torch.tensor(grad)
            optimizer.step()

    def start(values):
        p = torch.tensor(values, requires_grad=True)
        return p, getattr(torch.optim, name)([p], **options)

    whole, optimizer = start([1.0, -2.0])
    steps(whole, optimizer, GRADS)
    half, optimizer = start([1.0, -2.0])
    steps(half, optimizer, GRADS[:2])
    state = optimizer.state_dict()
    resumed, optimizer = start(half.tolist())
    optimizer.load_state_dict(state)
    steps(resumed, optimizer, GRADS[2:])
    assert resumed.tolist() == whole.tolist()
    assert set(state) == {"state", "param_groups"} and state["param_groups"][0]["params"] == [0]


ERRORS = [
    ("nesterov", ValueError, "Nesterov momentum requires a momentum and zero dampening",
     lambda t, p: t.optim.SGD([p], lr=0.1, nesterov=True)),
    ("nesterov_damped", ValueError, "Nesterov momentum requires a momentum and zero dampening",
     lambda t, p: t.optim.SGD([p], lr=0.1, momentum=0.9, dampening=0.1, nesterov=True)),
    ("empty", ValueError, "optimizer got an empty parameter list",
     lambda t, p: t.optim.SGD([], lr=0.1)),
    ("non_leaf", ValueError, "can't optimize a non-leaf Tensor",
     lambda t, p: t.optim.AdamW([p * 2])),
    ("one_tensor", TypeError,
     "params argument given to the optimizer should be an iterable of Tensors or dicts",
     lambda t, p: t.optim.SGD(p, lr=0.1)),
    ("negative_lr", ValueError, "Invalid learning rate: -1", lambda t, p: t.optim.SGD([p], lr=-1)),
    ("no_group_twice", ValueError, "some parameters appear in more than one parameter group",
     lambda t, p: t.optim.SGD([{"params": [p]}, {"params": [p]}], lr=0.1)),
]  # fmt: skip


@pytest.mark.parametrize("kind, text, act", [c[1:] for c in ERRORS], ids=[c[0] for c in ERRORS])
def test_error(torch, raises, kind, text, act):
    with raises(kind, text):
        act(torch, torch.ones(1, requires_grad=True))
