"""Attention on the device: the CPU's values and gradients, by kernels that keep scores in registers."""

import numpy as np
import pytest

import nbgrad
from nbgrad.autograd import gradcheck, gradgradcheck
from nbgrad.kernels.cuda import attention
from nbgrad.nn.functional import scaled_dot_product_attention

RNG = np.random.default_rng(0)
NOTHING = -np.inf


@pytest.fixture
def launched(monkeypatch):
    """The names of the kernels that are launched."""
    names, run = [], attention._Call.run
    monkeypatch.setattr(attention._Call, "run",
                        lambda call, name, *given: (names.append(name), run(call, name, *given)))
    return names


def drawn(*shape):
    return RNG.standard_normal(shape)


def hiding(*shape):
    """A mask to be added, with a row that sees nothing."""
    mask = np.where(RNG.random(shape) < 0.3, NOTHING, drawn(*shape))
    mask[..., 0, :] = NOTHING
    return mask


def results(device, dtype, arrays, mask, how):
    leaves = [nbgrad.tensor(a, device=device).to(dtype).requires_grad_() for a in arrays[:3]]
    if mask is not None:
        mask = nbgrad.tensor(mask, device=device)
        how = how | {"attn_mask": mask if mask.dtype is nbgrad.bool else mask.to(dtype)}
    out = scaled_dot_product_attention(*leaves, **how)
    seed = nbgrad.tensor(np.cos(np.arange(out.numel())).reshape(out.shape), device=device).to(dtype)
    found = [out, *nbgrad.autograd.grad(out, leaves, seed)]
    assert {t.device.type for t in found} == {device} and {t.dtype for t in found} == {dtype}
    return [t.detach().cpu().double().numpy() for t in found]


def same(arrays, mask=None, dtype=nbgrad.float64, close=1e-12, **how):
    for ours, expected in zip(*[results(device, dtype, arrays, mask, how)
                                for device in ("cuda", "cpu")], strict=True):
        np.testing.assert_allclose(ours, expected, rtol=close, atol=close)


LENGTHS = [(5, 5), (4, 8), (9, 17), (17, 3), (2, 1), (3, 63), (12, 16)]


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("length, seen", LENGTHS)
@pytest.mark.parametrize("width, depth", [(8, 8), (4, 4), (3, 7), (16, 16), (12, 12)])
def test_lengths_and_widths(launched, length, seen, width, depth, causal):
    same((drawn(2, length, width), drawn(2, seen, width), drawn(2, seen, depth)), is_causal=causal)
    assert launched == ["forward", "queries", "keys"]


@pytest.mark.parametrize("mask", [
    RNG.random((9, 11)) < 0.5, RNG.random((1, 11)) < 0.5, RNG.random((9, 1)) < 0.5,
    RNG.random((2, 1, 9, 11)) < 0.7, hiding(3, 9, 11), hiding(2, 3, 9, 11), drawn(11),
    hiding(9, 11)[::-1].copy(),
], ids=["of all", "of keys", "of queries", "of batches", "of heads", "of each", "a row", "added"])
@pytest.mark.parametrize("width, depth", [(4, 4), (3, 5)])
def test_masks(launched, width, depth, mask):
    same((drawn(2, 3, 9, width), drawn(2, 3, 11, width), drawn(2, 3, 11, depth)), mask)
    assert launched == ["forward", "queries", "keys"]


@pytest.mark.parametrize("how", [
    {"scale": 0.3}, {"scale": -2.0}, {"scale": 0.0}, {"scale": 1.5, "is_causal": True},
    {"enable_gqa": True}, {"enable_gqa": True, "is_causal": True}], ids=str)
def test_scales_and_groups(launched, how):
    heads = 2 if "enable_gqa" in how else 4
    same((drawn(4, 6, 5), drawn(heads, 6, 5), drawn(heads, 6, 5)), **how)
    assert launched == ["forward", "queries", "keys"]


@pytest.mark.parametrize("dtype, close", [
    (nbgrad.float32, 3e-6), (nbgrad.float16, 4e-3), (nbgrad.bfloat16, 4e-2)], ids=str)
def test_dtypes(launched, dtype, close):
    same((drawn(2, 9, 6), drawn(2, 13, 6), drawn(2, 13, 6)), dtype=dtype, close=close)
    assert launched == ["forward", "queries", "keys"]


@pytest.mark.parametrize("shapes", [
    ((2, 1, 4), (2, 9, 4), (2, 9, 4)), ((2, 5, 20), (2, 9, 20), (2, 9, 3)),
    ((2, 5, 3), (2, 9, 3), (2, 9, 20)), ((2, 0, 4), (2, 3, 4), (2, 3, 4)),
    ((2, 3, 4), (2, 0, 4), (2, 0, 4))], ids=["one query", "wide", "deep", "no query", "no key"])
def test_what_is_left_to_products(launched, shapes):
    same([drawn(*shape) for shape in shapes])
    assert launched == []


def test_views_and_broadcast_heads(launched):
    same((drawn(2, 5, 3, 4).transpose(0, 2, 1, 3), drawn(3, 7, 4), drawn(1, 1, 7, 4)))
    assert launched == ["forward", "queries", "keys"]


def test_large_scores_and_late_maxima():
    q, k, v = drawn(1, 5, 4), drawn(1, 40, 4), drawn(1, 40, 4)
    k *= np.linspace(1, 60, 40)[:, None]
    same((30 * q, k, v), close=1e-9)


def test_nan_stays_in_its_row_and_an_infinite_value_is_read_once():
    q, k, v = [nbgrad.tensor(drawn(2, 9, 4)) for _ in range(3)]
    q[0, 1, 2] = np.nan
    v[1, 8] = np.inf
    expected = scaled_dot_product_attention(q, k, v)
    found = scaled_dot_product_attention(q.to("cuda"), k.to("cuda"), v.to("cuda")).cpu()
    np.testing.assert_allclose(found.numpy(), expected.numpy(), rtol=1e-12)
    assert np.isnan(found[0, 1].numpy()).all() and np.isnan(found.numpy()).sum() == 4
    assert np.isinf(found[1].numpy()).all()


def test_second_gradients():
    leaves = [nbgrad.tensor(drawn(1, *shape), device="cuda", requires_grad=True)
              for shape in ((3, 2), (5, 2), (5, 3))]
    mask = nbgrad.tensor(RNG.random((3, 5)) < 0.7, device="cuda")
    for how in ({"is_causal": True}, {"attn_mask": mask}):
        def attend(q, k, v, how=how):
            return scaled_dot_product_attention(q, k, v, **how)
        assert gradcheck(attend, leaves) and gradgradcheck(attend, leaves)


@pytest.mark.parametrize("masked", [False, True])
def test_a_layer_of_a_transformer(launched, masked):
    found = []
    for device in ("cpu", "cuda"):
        nbgrad.manual_seed(0)
        layer = nbgrad.nn.TransformerEncoderLayer(8, 2, 8, 0.0, batch_first=True).double()
        x = nbgrad.tensor(np.cos(np.arange(80.0)).reshape(2, 5, 8), device=device, requires_grad=True)
        how = {"src_mask": nbgrad.nn.Transformer.generate_square_subsequent_mask(
            5, device=device, dtype=nbgrad.float64), "is_causal": True} if masked else {}
        y = layer.to(device)(x, **how)
        y.sin().sum().backward()
        found.append([t.detach().cpu().numpy()
                      for t in (y, x.grad, *[p.grad for p in layer.parameters()])])
    for ours, expected in zip(*found, strict=True):
        np.testing.assert_allclose(ours, expected, rtol=1e-9, atol=1e-11)
    assert launched == ["forward", "queries", "keys"]
