"""What `freeze` holds still, and what it leaves alone."""

import copy

import numpy as np

import nbgrad as nb
from nbgrad import nn


def model():
    return nn.Sequential(nn.Conv2d(1, 2, 1), nn.BatchNorm2d(2), nn.Flatten(), nn.Linear(8, 3))


def images(scale=1.0):
    values = np.random.default_rng(0).standard_normal((4, 1, 2, 2)) * scale
    return nb.tensor(values.astype(np.float32))


def test_a_frozen_module_is_the_same_in_both_modes():
    net = model()
    net(images())
    net.freeze()
    before = {k: v.tolist() for k, v in net.state_dict().items()}
    trained = net.train()(images(3))
    assert {k: v.tolist() for k, v in net.state_dict().items()} == before
    assert trained.tolist() == net.eval()(images(3)).tolist()
    assert net.training is False and net.train().training


def test_a_part_is_frozen_and_a_new_head_trains():
    net = model()
    assert net[:2].freeze()[1] is net[1]
    net[3] = nn.Linear(8, 2)
    net(images()).sum().backward()
    grads = [p.grad is not None for p in net.parameters()]
    assert grads == [False] * 4 + [True] * 2
    assert net[1].num_batches_tracked.item() == 0


def test_unfreeze():
    net = model()
    net.freeze()
    net.unfreeze()
    net(images()).sum().backward()
    assert all(p.grad is not None for p in net.parameters())
    assert net[1].num_batches_tracked.item() == 1 and net[1].running_mean.tolist() != [0, 0]


def test_freezing_survives_copies_and_states():
    net = model()
    net.freeze()
    twin = copy.deepcopy(net)
    twin.load_state_dict(model().state_dict())
    twin(images())
    assert twin[1].num_batches_tracked.item() == 0
    assert not any(p.requires_grad for p in twin.parameters())


def test_without_statistics_a_frozen_norm_still_uses_the_batch():
    norm = nn.BatchNorm2d(1, track_running_stats=False).freeze()
    y = norm(images(5)).numpy()
    assert abs(y.mean()) < 1e-5 and abs(y.std() - 1) < 1e-3
