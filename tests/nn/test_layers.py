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
    ("Conv3d(2, 3, 3)", (2, 2, 4, 5, 6)),
    ("Conv3d(4, 6, (3, 2, 1), stride=2, padding=(1, 0, 0), dilation=(1, 2, 1), groups=2)",
     (4, 5, 6, 4)),
    ("Conv3d(1, 2, 3, padding='same', bias=False)", (1, 1, 4, 3, 5)),
    ("Conv3d(1, 2, (1, 3, 2), padding=(0, 1, 1), padding_mode='circular')", (1, 1, 3, 4, 4)),
    ("ConvTranspose1d(2, 3, 3, stride=2)", (2, 2, 5)),
    ("ConvTranspose2d(4, 6, (3, 2), 2, 1, 1, 2, dilation=2)", (2, 4, 4, 5)),
    ("ConvTranspose2d(2, 3, 3, bias=False)", (2, 4, 5)),
    ("ConvTranspose3d(2, 3, (2, 3, 1), stride=(1, 2, 1), output_padding=(0, 1, 0))",
     (1, 2, 3, 2, 4)),
    ("BatchNorm2d(3)", (4, 3, 5, 2)),
    ("BatchNorm2d(3, momentum=None)", (4, 3, 5, 2)),
    ("BatchNorm2d(3, affine=False)", (4, 3, 5, 2)),
    ("BatchNorm2d(3, track_running_stats=False)", (4, 3, 5, 2)),
    ("BatchNorm2d(3, bias=False)", (4, 3, 5, 2)),
    ("BatchNorm2d(3).eval()", (4, 3, 5, 2)),
    ("BatchNorm2d(3, track_running_stats=False).eval()", (4, 3, 5, 2)),
    ("BatchNorm1d(3, eps=0.1, momentum=0.5)", (4, 3)),
    ("BatchNorm1d(3)", (4, 3, 7)),
    ("BatchNorm3d(3)", (4, 3, 2, 3, 2)),
    ("BatchNorm3d(3).eval()", (4, 3, 2, 3, 2)),
    ("InstanceNorm1d(3)", (4, 3, 7)),
    ("InstanceNorm1d(3, affine=True, track_running_stats=True)", (4, 3, 7)),
    ("InstanceNorm1d(3, affine=True, track_running_stats=True).eval()", (4, 3, 7)),
    ("InstanceNorm2d(3, eps=0.1, momentum=0.5, affine=True, bias=False)", (2, 3, 4, 5)),
    ("InstanceNorm2d(3, track_running_stats=True)", (3, 4, 5)),
    ("InstanceNorm3d(3, affine=True).eval()", (2, 3, 2, 3, 2)),
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
    ("MaxPool1d(2)", (2, 3, 7)), ("MaxPool1d(3, 2, 1, ceil_mode=True)", (3, 8)),
    ("MaxPool3d((1, 2, 3))", (2, 3, 2, 5, 6)), ("MaxPool3d(3, 2, 1)", (2, 5, 5, 4)),
    ("AvgPool1d(3, 2)", (2, 3, 7)), ("AvgPool1d(2, count_include_pad=False, padding=1)", (3, 7)),
    ("AvgPool3d(2, ceil_mode=True)", (2, 3, 3, 4, 5)), ("AvgPool3d((2, 1, 3), 1)", (2, 3, 4, 5)),
    ("AdaptiveAvgPool1d(3)", (2, 3, 7)), ("AdaptiveAvgPool3d((1, None, 2))", (2, 3, 3, 4, 5)),
    ("AdaptiveMaxPool1d(3)", (2, 3, 7)), ("AdaptiveMaxPool2d((2, None))", (2, 3, 5, 4)),
    ("AdaptiveMaxPool3d(2)", (2, 3, 3, 4, 5)),
    ("LPPool1d(2, 3)", (2, 3, 7)), ("LPPool2d(2, (2, 3), stride=1)", (2, 3, 4, 5)),
    ("LPPool3d(2, 2, ceil_mode=True)", (2, 2, 3, 4, 5)),
    ("Unfold((2, 3), padding=1)", (2, 3, 4, 5)), ("Fold((3, 4), 2, stride=1)", (2, 8, 6)),
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
        with pytest.warns(UserWarning, match="deprecated"):
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


@pytest.mark.parametrize("rank", [1, 2, 3])
def test_max_pool_returns_indices_and_unpool_takes_them(rank):
    x = np.random.default_rng(0).standard_normal((1, 2, *(5, 4, 6)[:rank])).astype(np.float32)
    found = []
    for library, t in ((nn, nb.tensor(x)), (tnn, torch.tensor(x))):
        pool, adaptive, unpool = (getattr(library, f"{name}{rank}d") for name in (
            "MaxPool", "AdaptiveMaxPool", "MaxUnpool"))
        y, at = pool(2, return_indices=True)(t)
        back = unpool(2)
        found.append((y, at, back(y, at), back(y, at, output_size=t.shape),
                      *adaptive(2, return_indices=True)(t), repr(back)))
    for ours, theirs in zip(found[0][:-1], found[1][:-1]):
        close(ours, theirs)
    assert found[0][-1] == found[1][-1]


SIZES = [("ConvTranspose1d(1, 1, 3, stride=2)", (1, 1, 4), (10,)),
         ("ConvTranspose2d(1, 1, 3, stride=2)", (1, 1, 4, 5), (1, 1, 9, 12)),
         ("ConvTranspose3d(1, 1, 2, stride=(1, 2, 3))", (1, 2, 2, 2), [3, 5, 7])]


@pytest.mark.parametrize("text, shape, size", SIZES)
def test_transposed_convolution_takes_a_size(text, shape, size):
    theirs, ours = pair(text)
    close(ours(nb.ones(shape), output_size=size), theirs(torch.ones(shape), output_size=size))
    for wrong in ([n + 5 for n in size], [*size, 1]):
        for layer, x in ((theirs, torch.ones(shape)), (ours, nb.ones(shape))):
            with pytest.raises(ValueError):
                layer(x, output_size=wrong)


def test_instance_norm_minds_its_channels():
    with pytest.raises(ValueError, match="expected input's size at dim=1"):
        nn.InstanceNorm1d(3, affine=True)(nb.ones(2, 4, 5))
    with pytest.warns(UserWarning, match="input's size at dim=0 does not match"):
        nn.InstanceNorm1d(3)(nb.ones(4, 5))


ERRORS = [
    "Conv2d(3, 4, 1, groups=2)", "Conv2d(4, 3, 1, groups=2)", "Conv2d(4, 4, 1, groups=0)",
    "Conv2d(1, 1, 3, stride=(1, 2), padding='same')", "Conv2d(1, 1, 3, padding_mode='twist')",
    "Dropout(-0.1)", "ConvTranspose2d(4, 3, 1, groups=2)",
    "ConvTranspose1d(1, 1, 3, padding_mode='reflect')",
]  # fmt: skip


@pytest.mark.parametrize("text", ERRORS)
def test_a_wrong_option_is_refused(text):
    with pytest.raises(ValueError) as expected:
        make(tnn, text)
    with pytest.raises(ValueError) as found:
        make(nn, text)
    assert str(found.value)[:28] == str(expected.value)[:28]


@pytest.mark.parametrize("text, shape", [
    ("BatchNorm2d(2)", (1, 2, 3)), ("BatchNorm1d(2)", (2,)), ("BatchNorm3d(2)", (1, 2, 3, 3)),
    ("InstanceNorm1d(2)", (1, 2, 3, 3)), ("InstanceNorm2d(2)", (2, 3)), ("InstanceNorm3d(2)", (2, 3)),
])
def test_norms_want_their_rank(text, shape):
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
