"""Every layer against PyTorch's: how it prints, what it keeps, its values and its gradients."""

import numpy as np
import pytest

import nbgrad as nb
from nbgrad import nn

torch = pytest.importorskip("torch")
tnn = torch.nn

LAYERS = [
    ("Linear(5, 3)", (4, 5)),
    ("Linear(5, 3, bias=False)", (2, 4, 5)),
    ("Linear(5, 3)", (0, 5)),
    ("Identity(3, a=1)", (2, 3)),
    ("Flatten()", (2, 3, 4)),
    ("Flatten(0, 1)", (2, 3, 4)),
    ("Unflatten(1, (2, -1))", (3, 6)),
    ("Conv2d(2, 3, 3)", (2, 2, 7, 6)),
    ("Conv2d(4, 6, (3, 2), stride=2, padding=(1, 0), dilation=(1, 2), groups=2)", (2, 4, 8, 9)),
    ("Conv2d(2, 4, 3, padding='same', dilation=2, bias=False)", (1, 2, 7, 5)),
    ("Conv2d(2, 4, 3, padding='valid')", (1, 2, 7, 5)),
    ("Conv2d(2, 2, 3, padding=1, padding_mode='reflect')", (1, 2, 5, 6)),
    ("Conv2d(2, 2, 3, padding=(0, 1), padding_mode='replicate')", (1, 2, 5, 6)),
    ("Conv2d(2, 2, 3, padding='same', padding_mode='circular')", (1, 2, 5, 6)),
    ("Conv1d(2, 3, 3, stride=2, padding=1)", (2, 2, 9)),
    ("BatchNorm2d(3)", (4, 3, 5, 2)),
    ("BatchNorm2d(3, momentum=None)", (4, 3, 5, 2)),
    ("BatchNorm2d(3, affine=False)", (4, 3, 5, 2)),
    ("BatchNorm2d(3, track_running_stats=False)", (4, 3, 5, 2)),
    ("BatchNorm2d(3, bias=False)", (4, 3, 5, 2)),
    ("BatchNorm2d(3).eval()", (4, 3, 5, 2)),
    ("BatchNorm2d(3, track_running_stats=False).eval()", (4, 3, 5, 2)),
    ("BatchNorm1d(3, eps=0.1, momentum=0.5)", (4, 3)),
    ("BatchNorm1d(3)", (4, 3, 7)),
    ("LayerNorm(5)", (2, 3, 5)),
    ("LayerNorm((3, 5), eps=0.1)", (2, 3, 5)),
    ("LayerNorm(5, bias=False)", (2, 5)),
    ("LayerNorm(5, elementwise_affine=False)", (2, 5)),
    ("GroupNorm(2, 4)", (2, 4, 3, 3)),
    ("GroupNorm(1, 4, affine=False)", (2, 4, 3)),
    ("MaxPool2d(2)", (2, 3, 5, 6)),
    ("MaxPool2d(3, 2, padding=1, dilation=2, ceil_mode=True)", (2, 3, 9, 8)),
    ("AvgPool2d((2, 3), stride=1)", (2, 3, 5, 6)),
    ("AvgPool2d(3, 2, padding=1, count_include_pad=False, ceil_mode=True)", (2, 3, 6, 6)),
    ("AvgPool2d(2, divisor_override=3)", (1, 1, 4, 4)),
    ("AdaptiveAvgPool2d(1)", (2, 3, 5, 6)),
    ("AdaptiveAvgPool2d((3, None))", (2, 3, 5, 6)),
    ("Dropout(0.3).eval()", (3, 4)),
    ("ReLU()", (3, 4)), ("ReLU6()", (3, 4)), ("LeakyReLU(0.2)", (3, 4)), ("ELU(1.5)", (3, 4)),
    ("SELU()", (3, 4)), ("CELU(alpha=0.5)", (3, 4)), ("GELU()", (3, 4)), ("GELU('tanh')", (3, 4)),
    ("SiLU()", (3, 4)), ("Mish()", (3, 4)), ("Sigmoid()", (3, 4)), ("Tanh()", (3, 4)),
    ("Softplus(2, threshold=1)", (3, 4)), ("Softsign()", (3, 4)), ("Hardtanh(-0.5, 2)", (3, 4)),
    ("Hardswish()", (3, 4)), ("Hardsigmoid()", (3, 4)), ("Hardshrink(0.3)", (3, 4)),
    ("Softshrink()", (3, 4)), ("Tanhshrink()", (3, 4)), ("Threshold(0.1, -3)", (3, 4)),
    ("LogSigmoid()", (3, 4)), ("PReLU()", (3, 4)), ("PReLU(4, init=0.1)", (3, 4, 2)),
    ("Softmax(dim=1)", (3, 4)), ("LogSoftmax(-1)", (3, 4)),
    ("Sequential(Linear(4, 3), ReLU(), Linear(3, 2))", (5, 4)),
]  # fmt: skip


def make(library, text):
    return eval(text, dict(vars(library)))


def pair(text):
    """The layer of both libraries with PyTorch's weights, each moved a little from its default."""
    theirs, ours = make(tnn, text), make(nn, text)
    with torch.no_grad():
        for p in theirs.parameters():
            p += 0.1 * torch.randn_like(p)
    ours.load_state_dict({k: nb.tensor(v.numpy()) for k, v in theirs.state_dict().items()})
    return theirs, ours


def close(ours, theirs, tolerance=2e-5):
    assert tuple(ours.shape) == tuple(theirs.shape)
    np.testing.assert_allclose(ours.detach().numpy(), theirs.detach().numpy(), tolerance, tolerance)


@pytest.mark.parametrize("text, shape", LAYERS, ids=[f"{t} {s}" for t, s in LAYERS])
def test_layer(text, shape):
    torch.manual_seed(0)
    theirs, ours = pair(text)
    assert repr(ours) == repr(theirs)
    x = torch.randn(shape, requires_grad=True)
    mine = nb.tensor(x.detach().numpy(), requires_grad=True)
    for _ in range(2):
        y = theirs(x)
        found = ours(mine)
        close(found, y)
        g = torch.randn_like(y)
        y.backward(g)
        found.backward(nb.tensor(g.numpy()))
    close(mine.grad, x.grad)
    for p, q in zip(ours.parameters(), theirs.parameters(), strict=True):
        close(p.grad, q.grad, 1e-4)
    for name, value in theirs.state_dict().items():
        close(ours.state_dict()[name], value)


PRINTED = [
    "ReLU(inplace=True)", "ReLU6(True)", "LeakyReLU(0.1, inplace=True)", "Hardtanh(-2, 2, True)",
    "Threshold(1, 2, True)", "CELU(1, True)", "Hardswish(True)", "Softmax()",
    "Dropout(inplace=True)", "Embedding(3, 4)", "Embedding(3, 4, padding_idx=-1)",
    "CrossEntropyLoss()", "HuberLoss(delta=2)", "KLDivLoss(reduction='batchmean')", "Sequential()",
    "ModuleList()", "ModuleDict({'a': ReLU(), 'b': Linear(1, 2)})",
    "ModuleList([Linear(2, 2), Linear(2, 2), ReLU(), Sequential(Tanh()), Sequential(Tanh())])",
    "Sequential(ModuleList([Conv2d(1, 1, 1)] * 3), Sequential(ReLU()))",
]  # fmt: skip


@pytest.mark.parametrize("text", PRINTED)
def test_printed_as_pytorch(text):
    assert repr(make(nn, text)) == repr(make(tnn, text))


INPLACE = ["ReLU", "ReLU6", "LeakyReLU", "ELU", "SELU", "CELU", "SiLU", "Mish", "Hardtanh",
           "Hardswish", "Hardsigmoid"]  # fmt: skip


@pytest.mark.parametrize("name", INPLACE)
def test_inplace_writes_to_its_input(name):
    x = nb.tensor([-2.0, -0.5, 0.5, 7.0])
    expected = getattr(nn, name)()(x).tolist()
    y = getattr(nn, name)(inplace=True)(x)
    assert y is x and x.tolist() == expected


def test_activation_options_are_checked():
    for wrong in (lambda: nn.ReLU(1, 2), lambda: nn.ELU(beta=1), lambda: nn.Threshold(1),
                  lambda: nn.ELU(1.0, alpha=2.0)):
        with pytest.raises(TypeError):
            wrong()


LOSSES = [
    ("MSELoss({})", (3, 4), "real"), ("L1Loss({})", (3, 4), "real"),
    ("SmoothL1Loss({}, beta=0.5)", (3, 4), "real"), ("HuberLoss({}, delta=0.5)", (3, 4), "real"),
    ("BCELoss({})", (3, 4), "probability"),
    ("BCELoss(weight({w4}), {})", (3, 4), "probability"),
    ("BCEWithLogitsLoss({})", (3, 4), "probability"),
    ("BCEWithLogitsLoss(weight({w4}), {}, pos_weight=weight({w4}))", (3, 4), "probability"),
    ("KLDivLoss({})", (3, 4), "probability"), ("KLDivLoss({}, log_target=True)", (3, 4), "real"),
    ("NLLLoss({})", (5, 4), "class"),
    ("NLLLoss(weight({w4}), {}, ignore_index=1)", (5, 4), "class"),
    ("CrossEntropyLoss({})", (5, 4), "class"), ("CrossEntropyLoss({})", (5, 4), "probability"),
    ("CrossEntropyLoss(weight({w4}), {}, ignore_index=2, label_smoothing=0.2)", (5, 4), "class"),
    ("CrossEntropyLoss({})", (2, 4, 3, 2), "class"),
]  # fmt: skip


@pytest.mark.filterwarnings("ignore:reduction")
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("text, shape, kind", LOSSES)
def test_loss(text, shape, kind, reduction):
    torch.manual_seed(0)
    x = torch.rand(shape) if text.startswith("BCELoss") else torch.randn(shape)
    if kind == "class":
        y = torch.randint(0, shape[1], (shape[0], *shape[2:]))
    else:
        y = torch.randn(shape) if kind == "real" else torch.rand(shape)
    text = text.format(f"reduction={reduction!r}", w4=[0.5, 1.0, 2.0, 3.0])
    values = []
    for library, tensor in ((tnn, torch.tensor), (nn, nb.tensor)):
        loss = eval(text, {**vars(library), "weight": tensor})
        a = tensor(x.numpy(), requires_grad=True)
        value = loss(a, tensor(y.numpy()))
        value.sum().backward()
        values.append((value, a.grad, list(loss.state_dict())))
    (theirs, grad, keys), (ours, own_grad, own_keys) = values
    close(ours, theirs)
    close(own_grad, grad)
    assert own_keys == keys


def test_legacy_reductions():
    for options in ({"reduce": False}, {"size_average": False}, {"size_average": True}):
        with pytest.warns(UserWarning, match="deprecated"):
            expected = tnn.MSELoss(**options).reduction
        assert nn.MSELoss(**options).reduction == expected
    with pytest.raises(ValueError, match="avg is not a valid value for reduction"):
        nn.MSELoss(reduction="avg")


def test_embedding():
    weight = np.arange(12, dtype=np.float32).reshape(4, 3)
    index = np.array([[0, 3], [3, 1]])
    theirs = tnn.Embedding.from_pretrained(torch.tensor(weight), freeze=False, padding_idx=1)
    ours = nn.Embedding.from_pretrained(nb.tensor(weight), freeze=False, padding_idx=1)
    y = theirs(torch.tensor(index))
    found = ours(nb.tensor(index))
    close(found, y)
    y.pow(2).sum().backward()
    found.pow(2).sum().backward()
    close(ours.weight.grad, theirs.weight.grad)
    assert not nn.Embedding.from_pretrained(nb.tensor(weight)).weight.requires_grad
    drawn = nn.Embedding(50, 40, padding_idx=-2).weight.detach().numpy()
    assert not drawn[48].any() and abs(drawn.std() - 1) < 0.05
    with pytest.raises(NotImplementedError, match="max_norm"):
        nn.Embedding(2, 3, max_norm=1)


def test_max_pool_returns_indices():
    x = np.random.default_rng(0).standard_normal((1, 2, 4, 4)).astype(np.float32)
    y, at = nn.MaxPool2d(2, return_indices=True)(nb.tensor(x))
    expected, expected_at = tnn.MaxPool2d(2, return_indices=True)(torch.tensor(x))
    close(y, expected)
    assert at.tolist() == expected_at.tolist()


ERRORS = [
    "Conv2d(3, 4, 1, groups=2)", "Conv2d(4, 3, 1, groups=2)", "Conv2d(4, 4, 1, groups=0)",
    "Conv2d(1, 1, 3, stride=(1, 2), padding='same')", "Conv2d(1, 1, 3, padding_mode='twist')",
    "Dropout(-0.1)",
]  # fmt: skip


@pytest.mark.parametrize("text", ERRORS)
def test_a_wrong_option_is_refused(text):
    with pytest.raises(ValueError) as expected:
        make(tnn, text)
    with pytest.raises(ValueError) as found:
        make(nn, text)
    assert str(found.value)[:28] == str(expected.value)[:28]


@pytest.mark.parametrize("text, shape", [("BatchNorm2d(2)", (1, 2, 3)), ("BatchNorm1d(2)", (2,))])
def test_batch_norm_wants_its_rank(text, shape):
    with pytest.raises(ValueError) as expected:
        make(tnn, text)(torch.ones(shape))
    with pytest.raises(ValueError) as found:
        make(nn, text)(nb.ones(shape))
    assert str(found.value) == str(expected.value)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_layers_take_a_dtype(dtype):
    kind = getattr(nb, dtype)
    for layer in (nn.Linear(2, 3, dtype=kind), nn.Conv2d(1, 2, 3, dtype=kind),
                  nn.LayerNorm(3, dtype=kind), nn.BatchNorm2d(3, dtype=kind)):
        assert all(p.dtype is kind for p in layer.parameters())
