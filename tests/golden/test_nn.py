"""Layers, losses and module bookkeeping: defaults, edge cases and texts."""

import math

import numpy as np
import pytest


def numbers(torch, *shape):
    """Distinct, unsorted values that float32 holds exactly."""
    count = math.prod(shape)
    return torch.tensor([((7 * i) % 23 - 11) / 4 for i in range(count)]).view(*shape)


# ---- convolution, linear, pooling ----


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel")
@pytest.mark.parametrize("kernel, dilation", [(1, 1), (2, 1), (3, 1), (4, 1), (2, 3), (3, 2)])
def test_same_padding_puts_the_odd_pixel_right(torch, same, kernel, dilation):
    functional = torch.nn.functional
    x, w = numbers(torch, 1, 1, 6, 7), numbers(torch, 1, 1, kernel, kernel)
    total = dilation * (kernel - 1)
    left = total // 2
    padded = functional.pad(x, (left, total - left, left, total - left))
    y = functional.conv2d(x, w, padding="same", dilation=dilation)
    assert y.shape == x.shape
    same(y, functional.conv2d(padded, w, dilation=dilation).tolist())


def test_valid_padding_is_none(torch):
    x = torch.ones(1, 1, 5, 5)
    assert torch.nn.Conv2d(1, 1, 3, padding="valid")(x).shape == (1, 1, 3, 3)


@pytest.mark.parametrize("layer, fan_in", [("conv", 3 * 25), ("grouped", 2 * 9), ("linear", 40)])
def test_default_init_is_uniform_in_the_fan(torch, layer, fan_in):
    nn = torch.nn
    module = {
        "conv": lambda: nn.Conv2d(3, 64, 5),
        "grouped": lambda: nn.Conv2d(4, 64, 3, groups=2),
        "linear": lambda: nn.Linear(40, 200),
    }[layer]()
    bound = 1 / math.sqrt(fan_in)
    for parameter in (module.weight, module.bias):
        largest = parameter.detach().abs().max().item()
        assert 0.9 * bound < largest <= bound * (1 + 1e-6)
    assert abs(module.weight.detach().mean().item()) < bound / 10


def test_max_pool_pads_with_minus_infinity_and_takes_the_first(torch, same):
    x = torch.full((1, 1, 4, 4), -5.0, requires_grad=True)
    y = torch.nn.functional.max_pool2d(x, 3, stride=2, padding=1)
    same(y, np.full((1, 1, 2, 2), -5.0))
    y.sum().backward()
    same(x.grad, [[[[1, 1, 0, 0], [1, 1, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0]]]])


def test_avg_pool_counts_padding(torch, same):
    x = torch.ones(1, 1, 2, 2)
    functional = torch.nn.functional
    same(functional.avg_pool2d(x, 2, padding=1), np.full((1, 1, 2, 2), 0.25))
    uncounted = functional.avg_pool2d(x, 2, padding=1, count_include_pad=False)
    same(uncounted, np.ones((1, 1, 2, 2)))


def test_adaptive_pool_bins_overlap(torch, same):
    x = torch.tensor([[[[1.0, 2.0, 3.0, 4.0, 6.0]]]])
    same(torch.nn.AdaptiveAvgPool2d((1, 3))(x), [[[[1.5, 3, 5]]]])


# ---- batch norm, dropout ----


def test_batch_norm_normalises_with_the_biased_and_stores_the_unbiased_variance(torch, same):
    x = numbers(torch, 3, 2, 2, 2)
    norm = torch.nn.BatchNorm2d(2)
    y = norm(x)
    array = x.numpy().transpose(1, 0, 2, 3).reshape(2, -1)
    expected = (array - array.mean(1, keepdims=True)) / np.sqrt(array.var(1, keepdims=True) + 1e-5)
    same(y.detach().transpose(0, 1).reshape(2, -1), expected, 1e-4)
    same(norm.running_mean, 0.1 * array.mean(1))
    same(norm.running_var, 0.9 + 0.1 * array.var(1, ddof=1))
    assert norm.num_batches_tracked.item() == 1
    norm.eval()
    same(norm(torch.zeros(1, 2, 1, 1)).flatten(), [
        -m / math.sqrt(v + 1e-5)
        for m, v in zip(norm.running_mean.tolist(), norm.running_var.tolist())
    ])  # fmt: skip


def test_batch_norm_without_momentum_averages_all_batches(torch, same):
    norm = torch.nn.BatchNorm2d(1, momentum=None)
    for value in (1.0, 2.0, 6.0):
        norm(torch.full((2, 1, 2, 2), value))
    same([norm.running_mean, norm.running_var], [[3], [0]])


def test_batch_norm_in_train_mode_moves_even_when_frozen(torch, same):
    norm = torch.nn.BatchNorm2d(1)
    for parameter in norm.parameters():
        parameter.requires_grad = False
    norm(torch.ones(2, 1, 2, 2))
    with torch.no_grad():
        norm(torch.ones(2, 1, 2, 2))
    same(norm.running_mean, [0.19])
    norm.eval()
    norm(torch.full((2, 1, 2, 2), 50.0))
    same(norm.running_mean, [0.19])


def test_freeze_also_stops_the_statistics():
    torch = pytest.importorskip("nbgrad")
    model = torch.nn.Sequential(torch.nn.Conv2d(1, 1, 1), torch.nn.BatchNorm2d(1))
    model.freeze()
    model.train()
    model(torch.ones(2, 1, 3, 3))
    assert not any(p.requires_grad for p in model.parameters())
    assert model[1].running_mean.tolist() == [0] and model[1].running_var.tolist() == [1]
    model.unfreeze()
    model.train()
    model(torch.ones(2, 1, 3, 3) * 3)
    assert all(p.requires_grad for p in model.parameters())
    assert model[1].running_mean.tolist() != [0]


def test_dropout_scales_what_it_keeps(torch):
    torch.manual_seed(0)
    drop = torch.nn.Dropout(0.25)
    x = torch.ones(4000, requires_grad=True)
    y = drop(x)
    y.sum().backward()
    assert {round(value, 5) for value in y.tolist()} == {0.0, 1.33333}
    assert x.grad.tolist() == y.tolist()
    assert abs((y.detach() == 0).to(torch.float32).mean().item() - 0.25) < 0.05
    assert drop.eval()(x) is x or drop(x).tolist() == x.tolist()
    zero = torch.nn.functional.dropout(x, 1.0)
    assert zero.tolist() == [0] * 4000
    assert torch.nn.functional.dropout(x, 0.9, training=False).tolist() == x.tolist()


def test_eval_does_not_touch_grad_mode(torch):
    model = torch.nn.Linear(2, 2).eval()
    assert model(torch.ones(1, 2)).requires_grad and torch.is_grad_enabled()


# ---- cross entropy ----

LOGITS = [[1.0, 2.0, 3.0], [1.0, 1.0, 1.0], [0.0, 5.0, 0.0]]


def log_softmax(logits):
    shifted = np.array(logits) - np.max(logits, 1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(1, keepdims=True))


def test_cross_entropy_mean_divides_by_the_weights_of_the_counted(torch, same):
    cross_entropy = torch.nn.functional.cross_entropy
    log_p, weight = log_softmax(LOGITS), np.array([1.0, 2.0, 4.0])
    x, target = torch.tensor(LOGITS), torch.tensor([2, 0, -100])
    counted = np.array([log_p[0, 2], log_p[1, 0]])
    same(cross_entropy(x, target), -counted.mean())
    w = torch.tensor([1.0, 2.0, 4.0])
    same(cross_entropy(x, target, weight=w), -(4 * counted[0] + counted[1]) / 5)
    same(cross_entropy(x, target, reduction="sum"), -counted.sum())
    same(cross_entropy(x, target, reduction="none"), [*-counted, 0])
    same(cross_entropy(x, torch.tensor([2, 0, 1]), ignore_index=1), -counted.mean())
    assert math.isnan(cross_entropy(x, torch.tensor([-100] * 3)).item())
    smooth = 0.1
    classes = -(1 - smooth) * log_p[[0, 1], [2, 0]] - smooth * log_p[:2].mean(1)
    same(cross_entropy(x, target, label_smoothing=smooth), classes.mean())
    weighted = -(1 - smooth) * np.array([4, 1]) * counted - smooth / 3 * (log_p[:2] * weight).sum(1)
    same(cross_entropy(x, target, weight=w, label_smoothing=smooth), weighted.sum() / 5)


def test_cross_entropy_of_probabilities_divides_by_the_batch(torch, same):
    cross_entropy = torch.nn.functional.cross_entropy
    log_p = log_softmax(LOGITS)
    p = np.array([[0.5, 0.5, 0.0], [0.0, 0.0, 1.0], [0.2, 0.3, 0.5]])
    x, target = torch.tensor(LOGITS), torch.tensor(p, dtype=torch.float32)
    same(cross_entropy(x, target), -(p * log_p).sum() / 3)
    w = torch.tensor([1.0, 2.0, 4.0])
    same(cross_entropy(x, target, weight=w), -(p * log_p * [1, 2, 4]).sum() / 3)
    smooth = 0.9 * p + 0.1 / 3
    same(cross_entropy(x, target, label_smoothing=0.1), -(smooth * log_p).sum() / 3)


def test_cross_entropy_gradient(torch, same):
    x = torch.tensor(LOGITS, requires_grad=True)
    torch.nn.CrossEntropyLoss()(x, torch.tensor([2, -100, 1])).backward()
    expected = np.exp(log_softmax(LOGITS)) - np.eye(3)[[2, 0, 1]]
    expected[1] = 0
    same(x.grad, expected / 2)


def test_cross_entropy_over_pixels(torch, same):
    x = numbers(torch, 2, 3, 2, 2)
    target = torch.tensor([[[0, 1], [2, 0]], [[1, 1], [2, 2]]])
    flat = torch.nn.functional.cross_entropy(x.permute(0, 2, 3, 1).reshape(-1, 3), target.view(-1))
    same(torch.nn.functional.cross_entropy(x, target), flat.item())


# ---- modules ----


def small(torch):
    nn = torch.nn
    return nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Flatten(), nn.Linear(2, 3))


KEYS = [
    "0.weight", "0.bias",
    "1.weight", "1.bias", "1.running_mean", "1.running_var", "1.num_batches_tracked",
    "3.weight", "3.bias",
]  # fmt: skip


def test_state_dict_aliases_the_parameters(torch):
    model = small(torch)
    state = model.state_dict()
    assert list(state) == KEYS
    assert not any(value.requires_grad for value in state.values())
    state["3.bias"].fill_(7.0)
    assert model[3].bias.tolist() == [7, 7, 7]
    assert state["1.num_batches_tracked"].dtype is torch.int64


def test_load_state_dict_copies_in_place(torch):
    model, other = small(torch), small(torch)
    parameters = list(model.parameters())
    pointers = [p.data_ptr() for p in parameters]
    result = model.load_state_dict(other.state_dict())
    assert str(result) == "<All keys matched successfully>"
    assert [p.data_ptr() for p in model.parameters()] == pointers
    assert all(p is q for p, q in zip(parameters, model.parameters()))
    assert all(p.tolist() == q.tolist() for p, q in zip(parameters, other.parameters()))
    with torch.no_grad():
        other[0].weight.zero_()
    assert model[0].weight.detach().abs().sum().item() > 0
    assert all(p.requires_grad for p in parameters)


def test_load_state_dict_reports(torch, raises):
    linear = torch.nn.Linear(2, 2)
    with raises(
        RuntimeError,
        "Error(s) in loading state_dict for Linear:\n"
        '\tMissing key(s) in state_dict: "bias". \n'
        '\tUnexpected key(s) in state_dict: "foo". ',
    ):
        linear.load_state_dict({"weight": torch.ones(2, 2), "foo": torch.ones(1)})
    with raises(
        RuntimeError,
        "Error(s) in loading state_dict for Linear:\n"
        "\tsize mismatch for weight: copying a param with shape torch.Size([2, 3]) from "
        "checkpoint, the shape in current model is torch.Size([2, 2]).",
    ):
        linear.load_state_dict({"weight": torch.ones(2, 3)}, strict=False)
    missing, unexpected = linear.load_state_dict({"weight": torch.ones(2, 2)}, strict=False)
    assert (missing, unexpected) == (["bias"], [])
    assert linear.weight.tolist() == [[1, 1], [1, 1]]


def test_a_module_replaced_keeps_its_place(torch):
    class Net(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.second = torch.nn.Linear(1, 2), torch.nn.Linear(2, 3)

    net = Net()
    net.first = torch.nn.Identity()
    assert [name for name, _ in net.named_children()] == ["first", "second"]
    assert list(net.state_dict()) == ["second.weight", "second.bias"]
    net.second = None
    assert net.second is None and list(net.state_dict()) == []


def test_submodules_need_init_first(torch, raises):
    class Net(torch.nn.Module):
        def __init__(self):
            self.first = torch.nn.Linear(1, 2)

    with raises(AttributeError, "cannot assign module before Module.__init__() call"):
        Net()


def test_shared_parameters_are_listed_once(torch):
    layer = torch.nn.Linear(2, 2)
    model = torch.nn.Sequential(layer, torch.nn.ReLU(), layer)
    assert len(list(model.parameters())) == 2 and len(list(model.modules())) == 3
    assert list(model.state_dict()) == ["0.weight", "0.bias", "2.weight", "2.bias"]


def test_zero_grad_sets_none(torch):
    model = torch.nn.Linear(2, 2)
    model(torch.ones(1, 2)).sum().backward()
    model.zero_grad()
    assert model.weight.grad is None and model.bias.grad is None


def test_repr(torch):
    nn = torch.nn
    model = nn.Sequential(
        nn.Conv2d(3, 6, 5, padding=1, bias=False),
        nn.ReLU(),
        nn.MaxPool2d(2, 2),
        nn.Flatten(),
        nn.Sequential(nn.Dropout(0.2), nn.Linear(3, 4)),
    )
    assert str(model) == (
        "Sequential(\n"
        "  (0): Conv2d(3, 6, kernel_size=(5, 5), stride=(1, 1), padding=(1, 1), bias=False)\n"
        "  (1): ReLU()\n"
        "  (2): MaxPool2d(kernel_size=2, stride=2, padding=0, dilation=1, ceil_mode=False)\n"
        "  (3): Flatten(start_dim=1, end_dim=-1)\n"
        "  (4): Sequential(\n"
        "    (0): Dropout(p=0.2, inplace=False)\n"
        "    (1): Linear(in_features=3, out_features=4, bias=True)\n"
        "  )\n"
        ")"
    )


ERRORS = [
    ("same_with_stride", ValueError, "padding='same' is not supported for strided convolutions",
     lambda t: t.nn.Conv2d(1, 1, 3, stride=2, padding="same")),
    ("missing_forward", NotImplementedError,
     'Module [Module] is missing the required "forward" function',
     lambda t: t.nn.Module()(1)),
    ("dropout", ValueError, "dropout probability has to be between 0 and 1, but got 1.5",
     lambda t: t.nn.Dropout(1.5)),
    ("one_value_a_channel", ValueError,
     "Expected more than 1 value per channel when training, got input size torch.Size([1, 2, 1, 1]",
     lambda t: t.nn.BatchNorm2d(2)(t.ones(1, 2, 1, 1))),
    ("attribute", AttributeError, "'Linear' object has no attribute 'foo'",
     lambda t: t.nn.Linear(1, 1).foo),
    ("integer_parameter", RuntimeError,
     "Only Tensors of floating point and complex dtype can require gradients",
     lambda t: t.nn.Parameter(t.tensor([1]))),
    ("target_out_of_range", IndexError, "Target 3 is out of bounds.",
     lambda t: t.nn.functional.cross_entropy(t.ones(1, 3), t.tensor([3]))),
]  # fmt: skip


@pytest.mark.parametrize("kind, text, act", [c[1:] for c in ERRORS], ids=[c[0] for c in ERRORS])
def test_error(torch, raises, kind, text, act):
    with raises(kind, text):
        act(torch)
