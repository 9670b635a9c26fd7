"""Optimizers on the device: the steps of the CPU, whose rows they run."""

import copy

import numpy as np
import pytest

import nbgrad
from nbgrad import optim

CASES = [
    ("SGD", {"lr": 0.1, "weight_decay": 0.3, "maximize": True}),
    ("SGD", {"lr": 0.1, "momentum": 0.9, "nesterov": True}),
    ("Adam", {"lr": 0.1, "weight_decay": 0.1}),
    ("Adam", {"amsgrad": True}),
    ("AdamW", {"lr": 0.1, "weight_decay": 0.5}),
    ("RMSprop", {"lr": 0.05, "centered": True, "momentum": 0.5, "eps": 1e-2}),
    ("Adagrad", {"lr": 0.1, "initial_accumulator_value": 0.5}),
    ("Adadelta", {"lr": 0.5, "rho": 0.8, "eps": 1e-3}),
    ("Adamax", {"lr": 0.1}),
    ("NAdam", {"lr": 0.1}),
    ("RAdam", {"lr": 0.1, "betas": (0.5, 0.7)}),
]
#: more than a launch takes, and one longer than a chunk; () and (0,) too
SHAPES = [(), (0,), (1,), (3, 5), (41,), (2, 2, 2), (7,)]


def stepped(name, options, device, dtype, steps=2, halve=False):
    """Parameters and states after some steps from the same point with the same gradients."""
    rng = np.random.default_rng(0)
    params = [nbgrad.tensor(rng.standard_normal(s), dtype=dtype, device=device) for s in SHAPES]
    params[3] = params[3].T  # dense, in another order
    params = [p.requires_grad_() for p in params]
    optimizer = getattr(optim, name)([{"params": params[:2]}, {"params": params[2:]}], **options)
    for k in range(steps):
        for p in params:
            p.grad = nbgrad.tensor(rng.standard_normal(p.shape), dtype=dtype, device=device)
        if k:
            fresh = getattr(optim, name)([{"params": params[:2]}, {"params": params[2:]}], **options)
            fresh.load_state_dict(copy.deepcopy(optimizer.state_dict()))
            optimizer = fresh
        optimizer.step()
    found = [*params, *[v for p in params for n, v in sorted(optimizer.state[p].items())
                        if isinstance(v, nbgrad.Tensor) and n not in ("step", "mu_product")]]
    assert {t.device.type for t in found} == {device}
    assert all(p._version == steps for p in params)
    return [t.detach().float().cpu().numpy() if t.dtype.half else t.detach().cpu().numpy()
            for t in found]


@pytest.mark.parametrize("name, options", CASES, ids=[f"{n} {o}" for n, o in CASES])
@pytest.mark.parametrize("dtype", [nbgrad.float32, nbgrad.bfloat16])
def test_the_steps_of_the_cpu(name, options, dtype):
    ours, expected = (stepped(name, options, d, dtype) for d in ("cuda", "cpu"))
    for x, y in zip(ours, expected, strict=True):
        rounding = 4e-7 if dtype is nbgrad.float32 else 1e-2
        np.testing.assert_allclose(x, y, rtol=rounding, atol=rounding)


def test_one_step_is_exact_to_a_few_units():
    """The GPU fuses products and sums that the CPU rounds apart."""
    ours, expected = (stepped("AdamW", {"lr": 0.1}, d, nbgrad.float64, 1) for d in ("cuda", "cpu"))
    for x, y in zip(ours, expected, strict=True):
        np.testing.assert_array_max_ulp(x, y, 4)


def test_states_follow_the_parameters_device():
    p = nbgrad.ones(3, requires_grad=True)
    p.grad = nbgrad.ones(3)
    there = optim.Adam([p])
    there.step()
    q = nbgrad.ones(3, device="cuda", requires_grad=True)
    here = optim.Adam([q])
    here.load_state_dict(there.state_dict())
    state = here.state[q]
    assert state["exp_avg"].device.type == "cuda" and state["step"].device.type == "cpu"
    with nbgrad.device("cuda"):
        q.grad = nbgrad.ones(3)
        here.step()
        assert optim.Adam([q]).state == {}
    assert state["step"].item() == 2


@pytest.mark.parametrize("norm", [2.0, 1.0, float("inf")])
def test_clipping_of_gradients(norm):
    found = []
    for device in ("cuda", "cpu"):
        grads = [nbgrad.linspace(-1, 2, n, device=device) for n in (5, 7)]
        params = [nbgrad.zeros(len(g), device=device, requires_grad=True) for g in grads]
        for p, g in zip(params, grads):
            p.grad = g
        total = nbgrad.nn.utils.clip_grad_norm_(params, 0.5, norm)
        assert total.device.type == device
        nbgrad.nn.utils.clip_grad_value_(params[:1], 0.1)
        found.append([total.item(), *[p.grad.cpu().numpy() for p in params]])
    for x, y in zip(*found):
        np.testing.assert_allclose(x, y, rtol=1e-6)
