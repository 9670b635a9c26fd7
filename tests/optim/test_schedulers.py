"""Learning rates over epochs beside PyTorch's; states; the order of steps."""

import warnings

import pytest

import nbgrad as nb
from nbgrad import optim

torch = pytest.importorskip("torch")

CASES = [
    ("StepLR", (3,), {}), ("StepLR", (1, 0.5), {}),
    ("MultiStepLR", ([2, 5, 5, 7],), {"gamma": 0.3}), ("MultiStepLR", ([0],), {}),
    ("ExponentialLR", (0.9,), {}),
    ("CosineAnnealingLR", (5,), {}), ("CosineAnnealingLR", (4,), {"eta_min": 0.02}),
    ("CosineAnnealingLR", (1,), {}), ("LambdaLR", (lambda epoch: 0.95 ** epoch,), {}),
    ("LambdaLR", ([lambda epoch: 1 / (1 + epoch), lambda epoch: epoch],), {}),
]  # fmt: skip


def make(library, optimizers, name, args, options):
    p, q = library.ones(1, requires_grad=True), library.ones(1, requires_grad=True)
    optimizer = optimizers.SGD([{"params": [p]}, {"params": [q], "lr": 0.7}], lr=0.1)
    return optimizer, getattr(optimizers.lr_scheduler, name)(optimizer, *args, **options)


def rates(optimizer, scheduler, epochs=13):
    found = [scheduler.get_last_lr()]
    for _ in range(epochs):
        optimizer.step()
        scheduler.step()
        assert [g["lr"] for g in optimizer.param_groups] == scheduler.get_last_lr()
        found.append(scheduler.get_last_lr())
    return found


@pytest.mark.parametrize("name, args, options", CASES)
def test_rates(name, args, options):
    expected = rates(*make(torch, torch.optim, name, args, options))
    assert rates(*make(nb, optim, name, args, options)) == [pytest.approx(r) for r in expected]


@pytest.mark.parametrize("name, args, options", CASES)
def test_resumed(name, args, options):
    whole = rates(*make(nb, optim, name, args, options), 9)
    optimizer, scheduler = make(nb, optim, name, args, options)
    rates(optimizer, scheduler, 4)
    again, resumed = make(nb, optim, name, args, options)
    again.load_state_dict(optimizer.state_dict())
    resumed.load_state_dict(scheduler.state_dict())
    assert rates(again, resumed, 5) == whole[4:]
    third = make(nb, optim, name, args, {})[0]
    third.load_state_dict(optimizer.state_dict())
    from_epoch = getattr(optim.lr_scheduler, name)(third, *args, **options, last_epoch=4)
    assert from_epoch.last_epoch == 5


def test_a_rate_set_by_hand_stays():
    for library, optimizers in ((torch, torch.optim), (nb, optim)):
        optimizer, scheduler = make(library, optimizers, "StepLR", (2,), {})
        optimizer.param_groups[0]["lr"] = 3.0
        assert rates(optimizer, scheduler, 2)[1:] == [
            [3.0, 0.7], [pytest.approx(0.3), pytest.approx(0.07)]]


def test_state_has_pytorchs_names():
    theirs = make(torch, torch.optim, "CosineAnnealingLR", (5,), {})[1].state_dict()
    ours = make(nb, optim, "CosineAnnealingLR", (5,), {})[1].state_dict()
    assert set(ours) <= set(theirs)
    assert {k: theirs[k] for k in ours} == ours


def test_callable_objects_keep_their_attributes():
    class Decay:
        rate = 0.5

        def __call__(self, epoch):
            return self.rate**epoch

    decay = Decay()
    decay.rate = 0.25
    state = make(nb, optim, "LambdaLR", (decay,), {})[1].state_dict()
    assert state["lr_lambdas"] == [{"rate": 0.25}] * 2
    fresh = Decay()
    make(nb, optim, "LambdaLR", (fresh,), {})[1].load_state_dict(state)
    assert fresh.rate == 0.25
    assert make(nb, optim, "LambdaLR", (abs,), {})[1].state_dict()["lr_lambdas"] == [{}, {}]


def test_a_schedule_before_the_optimizer_is_told():
    for library, optimizers in ((torch, torch.optim), (nb, optim)):
        optimizer, scheduler = make(library, optimizers, "StepLR", (2,), {})
        with pytest.warns(UserWarning, match=r"`lr_scheduler.step\(\)` before `optimizer"):
            scheduler.step()
        optimizer, scheduler = make(library, optimizers, "StepLR", (2,), {})
        optimizer.step()
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            scheduler.step()


ERRORS = [
    (TypeError, "int is not an Optimizer", lambda o, s: o.lr_scheduler.StepLR(1, 2)),
    (ValueError, "Expected 2 lr_lambdas, but got 1",
     lambda o, s: o.lr_scheduler.LambdaLR(s, [abs])),
    (KeyError, "param 'initial_lr' is not specified in param_groups[0] when resuming scheduler",
     lambda o, s: o.lr_scheduler.StepLR(s, 2, last_epoch=3)),
]  # fmt: skip


@pytest.mark.parametrize("kind, text, act", ERRORS)
def test_error(kind, text, act):
    for library, optimizers in ((torch, torch.optim), (nb, optim)):
        p, q = library.ones(1, requires_grad=True), library.ones(1, requires_grad=True)
        with pytest.raises(kind) as caught:
            act(optimizers, optimizers.SGD([{"params": [p]}, {"params": [q]}]))
        assert caught.value.args[0].startswith(text)
