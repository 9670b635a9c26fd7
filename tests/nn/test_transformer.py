"""Transformers against PyTorch's: what they keep and print, values, gradients, masks and refusals."""

import copy
import math

import numpy as np
import pytest

import nbgrad
from nbgrad import nn

torch = pytest.importorskip("torch")
LIBRARIES = nbgrad, torch
INF = math.inf

#: d_model, nhead, and what keeps the others small and the results sure.
SMALL = "8, 2, dim_feedforward=12, dropout=0.0"
LAYERS = [
    f"TransformerEncoderLayer({SMALL}{{}})",
    f"TransformerDecoderLayer({SMALL}{{}})",
    f"TransformerEncoder(TransformerEncoderLayer({SMALL}{{}}), 2)",
    f"TransformerEncoder(TransformerEncoderLayer({SMALL}{{}}), 1, LayerNorm(8), False, False)",
    f"TransformerDecoder(TransformerDecoderLayer({SMALL}{{}}), 2, norm=LayerNorm(8))",
    f"Transformer({SMALL}, num_encoder_layers=2, num_decoder_layers=1{{}})",
]
OPTIONS = [
    "", ", batch_first=True", ", norm_first=True", ", activation='gelu', batch_first=True",
    ", bias=False", ", layer_norm_eps=0.1", ", activation=SiLU(), norm_first=True",
    ", activation=functional.silu, norm_first=True",
]
pytestmark = pytest.mark.filterwarnings("ignore:enable_nested_tensor", "ignore:Support for mism",
                                        "ignore:The PyTorch API of nested")


def make(library, text):
    return eval(text, {**vars(library.nn), "torch": library, "inf": INF})


def pair(text):
    """The module of both libraries in float64, with PyTorch's weights moved a little."""
    theirs, ours = make(torch, text).double(), make(nbgrad, text).double()
    with torch.no_grad():
        for p in theirs.parameters():
            p += 0.1 * torch.randn_like(p)
    state = {k: nbgrad.from_numpy(v.numpy().copy()) for k, v in theirs.state_dict().items()}
    assert str(ours.load_state_dict(state)) == "<All keys matched successfully>"
    return ours, theirs


def sequences(text, batch, lengths=(5, 4)):
    """(N, S, 8) or (S, N, 8), and for a decoder a second sequence."""
    count = 1 if "TransformerEncoder" in text else 2
    shapes = [(n, 8) if not batch else (batch, n, 8) if "batch_first=True" in text else (n, batch, 8)
              for n in lengths[:count]]
    return [torch.randn(shape, dtype=torch.float64).numpy() for shape in shapes]


def results(library, module, arrays, masks, keep=None):
    """Results, and the gradients to the sequences and to the weights."""
    given = [library.tensor(a, requires_grad=True) for a in arrays]
    y = module(*given, **{k: eval(m, {"torch": library, "inf": INF, "nn": library.nn})
                          for k, m in masks.items()})
    y = y if keep is None else y[keep]
    torch.manual_seed(1)
    g = torch.randn(y.shape, dtype=torch.float64).numpy()
    y.backward(library.from_numpy(g))
    return [y.detach().numpy(), *[t.grad.numpy() for t in (*given, *module.parameters())]]


def assert_close(ours, theirs):
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("batch", [0, 3])
@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("text", LAYERS)
def test_as_pytorch(text, options, batch):
    torch.manual_seed(0)
    text = text.format(options)
    ours, theirs = pair(text)
    assert repr(ours) == repr(theirs)
    if "SiLU" in options:  # PyTorch's copies of a decoder layer fall back to relu, whatever they print
        for module in theirs.modules():
            if isinstance(module, torch.nn.TransformerDecoderLayer):
                vars(module).pop("activation", None)
    assert list(ours.state_dict()) == list(theirs.state_dict())
    arrays = sequences(text, batch)
    assert_close(*[results(library, m, arrays, {}) for library, m in zip(LIBRARIES, (ours, theirs))])
    back = {k: torch.from_numpy(v.numpy().copy()) for k, v in ours.state_dict().items()}
    theirs.load_state_dict(back)
    again = [m.eval()(*[library.from_numpy(a) for a in arrays]).detach().numpy()
             for library, m in zip(LIBRARIES, (ours, theirs))]
    assert_close(again[:1], again[1:])


def floats(rows):
    return f"torch.tensor({rows}, dtype=torch.float64)"


CAUSAL = "nn.Transformer.generate_square_subsequent_mask({}, dtype=torch.float64)"
LATER = "torch.ones({0}, {0}).triu(1) == 1"
PADDED = "torch.tensor([[False, False, False, True, True], [False] * 5, [False] * 4 + [True]])"
PADDED_TARGET = "torch.tensor([[False] * 4, [False] * 4, [False] * 3 + [True]])"
PER_HEAD = "torch.arange(6. * 5 * 5, dtype=torch.float64).sin().reshape(6, 5, 5)"
ENCODED = [
    {"src_mask": LATER.format(5)},
    {"src_mask": CAUSAL.format(5)},
    {"src_mask": CAUSAL.format(5), "is_causal": "True"},
    {"src_mask": "torch.ones(5, 5) == 0", "is_causal": "True"},  # a hint is trusted
    {"src_mask": CAUSAL.format(5), "is_causal": "False"},
    {"src_mask": PER_HEAD},
    {"src_key_padding_mask": PADDED},
    {"src_key_padding_mask": f"torch.where({PADDED}, -inf, 0.0).double()"},
    {"src_mask": LATER.format(5), "src_key_padding_mask": PADDED},
    {"src_mask": CAUSAL.format(5), "src_key_padding_mask": PADDED, "is_causal": "True"},
    {"src_mask": "torch.arange(25.).double().cos().reshape(5, 5)", "src_key_padding_mask": PADDED},
]
DECODED = [
    {"tgt_mask": LATER.format(4)},
    {"tgt_mask": CAUSAL.format(4), "tgt_is_causal": "True"},
    {"tgt_mask": CAUSAL.format(4), "tgt_key_padding_mask": PADDED_TARGET},
    {"memory_mask": "torch.arange(20).reshape(4, 5) % 3 == 1"},
    {"memory_mask": "torch.arange(20.).double().cos().reshape(4, 5)",
     "memory_key_padding_mask": PADDED},
    {"memory_mask": "torch.ones(4, 5) == 0", "memory_is_causal": "True"},
]
MASKED = [(LAYERS[0], masks) for masks in ENCODED]
MASKED += [(LAYERS[2], {k.replace("src_mask", "mask"): v for k, v in masks.items()})
           for masks in ENCODED]
MASKED += [(text, masks) for text in (LAYERS[1], LAYERS[4], LAYERS[5]) for masks in DECODED]
MASKED += [(LAYERS[5], {k.replace("is_c", "src_is_c"): v for k, v in masks.items()})
           for masks in ENCODED]


@pytest.mark.parametrize("options", ["", ", batch_first=True, norm_first=True"])
@pytest.mark.parametrize("text, masks", MASKED)
def test_masks(text, masks, options):
    torch.manual_seed(0)
    text = text.format(options)
    ours, theirs = pair(text)
    # Transformer takes the source first, a decoder the target
    lengths = (4, 5) if "TransformerDecoder" in text else (5, 4)
    arrays = sequences(text, 3, lengths)
    assert_close(*[results(library, m, arrays, masks)
                   for library, m in zip(LIBRARIES, (ours, theirs))])


def test_what_is_not_padding_is_as_pytorch_where_its_fast_path_runs():
    text = LAYERS[2].format(", batch_first=True")
    ours, theirs = [m.eval() for m in pair(text)]
    x = sequences(text, 3)[0]
    with torch.no_grad(), nbgrad.no_grad():
        found = [m(library.from_numpy(x), src_key_padding_mask=eval(PADDED, {"torch": library}))
                 for library, m in zip(LIBRARIES, (ours, theirs))]
    seen = ~eval(PADDED, {"torch": torch}).numpy()
    assert_close(*[[y.numpy()[seen]] for y in found])


@pytest.mark.parametrize("norm_first", [False, True])
def test_dropout_draws_in_training_alone(norm_first):
    model = nn.Transformer(8, 2, 1, 1, 12, dropout=0.5, norm_first=norm_first)
    x = nbgrad.randn(5, 3, 8)
    assert not nbgrad.equal(model(x, x), model(x, x))
    nbgrad.manual_seed(0)
    first = model(x, x)
    nbgrad.manual_seed(0)
    assert nbgrad.equal(first, model(x, x))
    model.eval()
    assert nbgrad.equal(model(x, x), model(x, x))
    places = [m.p for m in model.modules() if isinstance(m, nn.Dropout)]
    assert places == [0.5] * 7 and model.decoder.layers[0].multihead_attn.dropout == 0.5


def test_first_weights():
    model = nn.Transformer(64, 2, 2, 1, 128)
    for name, p in model.named_parameters():
        if p.dim() > 1:
            bound = math.sqrt(6 / sum(p.shape))
            assert 0.95 * bound < p.abs().max() <= bound
            assert abs(p.std() / bound * math.sqrt(3) - 1) < 0.05
        elif "norm" in name and name.endswith("weight"):
            assert (p == 1).all()
        elif "norm" in name or "attn" in name:
            assert (p == 0).all()
    layers = model.encoder.layers
    assert not nbgrad.equal(layers[0].linear1.weight, layers[1].linear1.weight)


def test_layers_are_copies_with_their_weights():
    layer = nn.TransformerEncoderLayer(8, 2, 12)
    layers = nn.TransformerEncoder(layer, 2).layers
    for own in layers:
        assert own is not layer
        for p, q in zip(own.parameters(), layer.parameters(), strict=True):
            assert p is not q and nbgrad.equal(p, q)
    assert layers[0].linear1.weight is not layers[1].linear1.weight


def test_dtype_and_copies():
    model = nn.Transformer(8, 2, 1, 1, 12, dtype=nbgrad.float64).eval()
    assert {p.dtype for p in model.parameters()} == {nbgrad.float64}
    x = nbgrad.randn(3, 2, 8, dtype=nbgrad.float64)
    assert nbgrad.equal(copy.deepcopy(model)(x, x), model(x, x))


def test_custom_halves():
    class Encoder(nn.Module):
        def forward(self, src, mask, src_key_padding_mask, is_causal):
            return src * 2

    model = nn.Transformer(8, 2, 1, 1, 12, 0.0, custom_encoder=Encoder())
    x = nbgrad.randn(3, 2, 8)
    assert nbgrad.equal(model(x, x), model.decoder(x, x * 2))


def test_a_block_may_be_replaced():
    class Layer(nn.TransformerEncoderLayer):
        def _sa_block(self, x, attn_mask, key_padding_mask, is_causal=False):
            return x * 0

        def _ff_block(self, x):
            return x * 0

    x = nbgrad.randn(3, 2, 8)
    assert nbgrad.equal(Layer(8, 2, norm_first=True)(x), x)


def test_a_mask_that_learns_is_not_taken_for_a_causal_one():
    mask = nn.Transformer.generate_square_subsequent_mask(3).requires_grad_()
    layers = nn.TransformerEncoder(nn.TransformerEncoderLayer(8, 2, 12), 1)
    layers(nbgrad.randn(3, 2, 8), mask).square().sum().backward()
    assert mask.grad.tril().abs().sum() > 0


def test_squares_of_masks():
    for size in (0, 1, 4):
        own, their = [library.nn.Transformer.generate_square_subsequent_mask(size)
                      for library in LIBRARIES]
        np.testing.assert_array_equal(own.numpy(), their.numpy())
        assert own.dtype is nbgrad.float32
    assert nn.Transformer.generate_square_subsequent_mask(
        2, dtype=nbgrad.float64).dtype is nbgrad.float64
    assert nn.modules.transformer.TransformerEncoder is nn.TransformerEncoder


WRONG = [
    "TransformerEncoderLayer(8, 3)", "TransformerEncoderLayer(0, 1)", "TransformerEncoderLayer(8)",
    "TransformerEncoderLayer(8, 2, activation='tanh')", "TransformerDecoderLayer(8, 2, dropout=2.0)",
    "TransformerDecoderLayer(8, 2, activation='')", "Transformer(8, 3)",
    "TransformerEncoderLayer(8, 2, 4, activation=3)(torch.ones(3, 2, 8))",
    "TransformerEncoder(torch.ones(2), 2)",
    "TransformerEncoderLayer(8, 2)(torch.ones(8))",
    "TransformerEncoderLayer(8, 2)(torch.ones(3, 2, 6))",
    "TransformerEncoderLayer(8, 2)(torch.ones(3, 2, 8).double())",
    "TransformerEncoderLayer(8, 2)(torch.ones(3, 2, 8), is_causal=True)",
    "TransformerEncoderLayer(8, 2)(torch.ones(3, 2, 8), torch.ones(3, 4))",
    "TransformerEncoderLayer(8, 2)(torch.ones(3, 2, 8), torch.ones(3, 3).long())",
    "TransformerEncoderLayer(8, 2)(torch.ones(3, 2, 8), None, torch.ones(3, 2))",
    "TransformerEncoderLayer(8, 2)(torch.ones(3, 2, 8), None, torch.ones(2, 3).long())",
    "TransformerEncoder(TransformerEncoderLayer(8, 2), 2)(torch.ones(3, 2, 8), is_causal=True)",
    "TransformerDecoderLayer(8, 2)(torch.ones(3, 2, 8))",
    "TransformerDecoderLayer(8, 2)(torch.ones(3, 2, 8), torch.ones(3, 8))",
    "TransformerDecoderLayer(8, 2)(torch.ones(3, 2, 8), torch.ones(3, 3, 8))",
    "TransformerDecoderLayer(8, 2)(torch.ones(3, 2, 8), torch.ones(4, 2, 8), "
    "memory_mask=torch.ones(4, 3))",
    "TransformerDecoderLayer(8, 2)(torch.ones(3, 2, 8), torch.ones(4, 2, 8), memory_is_causal=True)",
    "Transformer(8, 2, 1, 1)(torch.ones(3, 2, 8), torch.ones(3, 3, 8))",
    "Transformer(8, 2, 1, 1, batch_first=True)(torch.ones(3, 2, 8), torch.ones(2, 2, 8))",
    "Transformer(8, 2, 1, 1)(torch.ones(3, 2, 6), torch.ones(3, 2, 6))",
    "Transformer(8, 2, 1, 1)(torch.ones(3, 2, 8), torch.ones(3, 2, 6))",
    "Transformer(8, 2, 1, 1)(torch.ones(3, 8), torch.ones(3, 2, 8))",
]


@pytest.mark.parametrize("text", WRONG)
def test_refused(text):
    found = []
    for library in LIBRARIES:
        with pytest.raises(Exception) as error:
            make(library, text)
        found.append(error.value)
    assert type(found[0]).__name__ == type(found[1]).__name__, found
    if "must be equal" in str(found[1]) or "activation should" in str(found[1]):
        assert str(found[0]).startswith(str(found[1]))
