"""Initial weights: their distribution, and PyTorch's gains and texts."""

import math

import numpy as np
import pytest

import nbgrad as nb
from nbgrad.nn import init

torch = pytest.importorskip("torch")

SHAPE = (60, 40, 3, 3)

FILLS = [
    ("uniform_", (-1.0, 3.0), 1.0, 4 / math.sqrt(12)),
    ("normal_", (2.0, 0.5), 2.0, 0.5),
    ("xavier_uniform_", (), 0.0, math.sqrt(2 / (100 * 9))),
    ("xavier_normal_", (2.0,), 0.0, 2 * math.sqrt(2 / (100 * 9))),
    ("kaiming_uniform_", (), 0.0, math.sqrt(2 / 360)),
    ("kaiming_uniform_", (math.sqrt(5),), 0.0, math.sqrt(1 / 3 / 360)),
    ("kaiming_normal_", (0, "fan_out", "relu"), 0.0, math.sqrt(2 / 540)),
    ("kaiming_normal_", (0, "fan_in", "tanh"), 0.0, 5 / 3 / math.sqrt(360)),
]


@pytest.mark.parametrize("name, args, mean, std", FILLS)
def test_mean_and_deviation(name, args, mean, std):
    nb.manual_seed(1)
    t = nb.empty(SHAPE, requires_grad=True)
    assert getattr(init, name)(t, *args) is t and t.is_leaf
    values = t.detach().numpy()
    assert abs(values.mean() - mean) < 5 * std / math.sqrt(values.size)
    assert abs(values.std() / std - 1) < 0.02
    if "uniform" in name:
        assert np.abs(values - mean).max() <= std * math.sqrt(3) * (1 + 1e-6)
    torch.manual_seed(1)
    expected = getattr(torch.nn.init, name)(torch.empty(SHAPE), *args)
    assert abs(values.std() / expected.std().item() - 1) < 0.03


def test_trunc_normal():
    t = init.trunc_normal_(nb.empty(20000), mean=1.0, std=2.0, a=0.0, b=2.0).numpy()
    expected = torch.nn.init.trunc_normal_(torch.empty(20000), 1.0, 2.0, 0.0, 2.0).numpy()
    assert 0 <= t.min() < 0.01 and 1.99 < t.max() <= 2
    assert abs(t.mean() - 1) < 0.02 and abs(t.std() / expected.std() - 1) < 0.03
    with pytest.raises(ValueError, match="trunc_normal_: only"):
        init.trunc_normal_(nb.empty(1), a=9, b=10)


@pytest.mark.parametrize("shape", [(5, 5), (3, 7), (7, 3), (4, 2, 3)])
def test_orthogonal(shape):
    q = init.orthogonal_(nb.empty(shape), gain=2.0).numpy().reshape(shape[0], -1)
    small = q @ q.T if q.shape[0] <= q.shape[1] else q.T @ q
    np.testing.assert_allclose(small, 4 * np.eye(len(small)), atol=1e-5)


@pytest.mark.parametrize("name, shape, args", [
    ("eye_", (3, 4), ()), ("dirac_", (4, 3, 3), ()), ("dirac_", (4, 3, 3, 2), (2,)),
    ("dirac_", (2, 5, 1, 3, 3), ()), ("ones_", (2,), ()), ("zeros_", (2, 1), ()),
    ("constant_", (3,), (0.25,)),
])  # fmt: skip
def test_fixed_values(name, shape, args):
    found = getattr(init, name)(nb.full(shape, 9.0), *args)
    assert found.tolist() == getattr(torch.nn.init, name)(torch.full(shape, 9.0), *args).tolist()


@pytest.mark.parametrize("name, param", [
    ("linear", None), ("conv2d", None), ("sigmoid", None), ("tanh", None), ("relu", None),
    ("selu", None), ("leaky_relu", None), ("leaky_relu", 0.3),
])  # fmt: skip
def test_gain(name, param):
    expected = torch.nn.init.calculate_gain(name, param)
    assert init.calculate_gain(name, param) == pytest.approx(expected)


ERRORS = [
    lambda i, t: i.calculate_gain("step"), lambda i, t: i.calculate_gain("leaky_relu", "a"),
    lambda i, t: i.xavier_normal_(t.zeros(3)), lambda i, t: i.eye_(t.zeros(3)),
    lambda i, t: i.dirac_(t.zeros(3)), lambda i, t: i.dirac_(t.zeros(3, 2, 1), groups=2),
    lambda i, t: i.orthogonal_(t.zeros(3)),
    lambda i, t: i.kaiming_normal_(t.zeros(3, 3), mode="fan"),
]  # fmt: skip


@pytest.mark.parametrize("act", ERRORS)
def test_error(act):
    with pytest.raises(ValueError) as expected:
        act(torch.nn.init, torch)
    with pytest.raises(ValueError) as found:
        act(init, nb)
    assert str(found.value)[:30] == str(expected.value)[:30]


@pytest.mark.filterwarnings("ignore:Initializing zero-element tensors")
def test_empty_tensors():
    for name in ("kaiming_uniform_", "kaiming_normal_", "orthogonal_"):
        assert getattr(init, name)(nb.empty(0, 3)).shape == (0, 3)
