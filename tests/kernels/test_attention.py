"""Blocked attention against plain NumPy, whatever the blocks and the threads."""

import numpy as np
import pytest

from nbgrad import get_num_threads, set_num_threads
from nbgrad.kernels import attention


def plain(q, k, v, mask, causal):
    s = q @ np.swapaxes(k, 1, 2)
    if mask is not None:
        s = s + mask[0][mask[1]]
    if causal:
        s = np.where(np.tri(*s.shape[1:], dtype=bool), s, -np.inf)
    with np.errstate(invalid="ignore"):
        p = np.nan_to_num(np.exp(s - s.max(-1, keepdims=True)))
    p = p / np.maximum(p.sum(-1, keepdims=True), 1e-300)
    return p, p @ v


def gradients(g, q, k, v, p):
    gp = g @ np.swapaxes(v, 1, 2)
    gs = p * (gp - (gp * p).sum(-1, keepdims=True))
    return gs @ k, np.swapaxes(gs, 1, 2) @ q, np.swapaxes(p, 1, 2) @ g


@pytest.mark.parametrize("block, rows", [(1 << 18, 64), (200, 4), (1, 3), (70, 64)])
@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("shape", [(3, 9, 7, 4, 5), (2, 17, 17, 3, 3), (1, 5, 33, 8, 2)])
@pytest.mark.parametrize("masked, few", [(False, 0), (False, 1 << 40), (True, 1 << 40)])
def test_against_plain(monkeypatch, block, rows, causal, shape, masked, few):
    monkeypatch.setattr(attention, "FEW", few)
    monkeypatch.setattr(attention, "BLOCK", block)
    monkeypatch.setattr(attention, "ROWS", rows)
    n, length, seen, width, depth = shape
    random = np.random.default_rng(3)
    q, k, v, g = [random.standard_normal(s) for s in (
        (n, length, width), (n, seen, width), (n, seen, depth), (n, length, depth))]
    mask = None
    if masked:
        mask = np.where(random.random((2, length, seen)) < 0.3, -np.inf, 0.5), np.arange(n) % 2
        mask[0][0, 1] = -np.inf
    p, expected = plain(q, k, v, mask, causal)
    out, logsumexp = attention.attend(q, k, v, mask, causal)
    np.testing.assert_allclose(out, expected, atol=1e-12)
    found = attention.attend_backward(g, q, k, v, out, logsumexp, mask, causal)
    for ours, theirs in zip(found, gradients(g, q, k, v, p)):
        np.testing.assert_allclose(ours, theirs, atol=1e-11)


def test_same_bits_for_any_number_of_threads():
    random = np.random.default_rng(4)
    q, k, v, g = [random.standard_normal((4, 300, 32)).astype(np.float32) for _ in range(4)]
    most, found = get_num_threads(), []
    try:
        for threads in (1, most):
            set_num_threads(threads)
            out, logsumexp = attention.attend(q, k, v, None, True)
            found.append([out, *attention.attend_backward(g, q, k, v, out, logsumexp, None, True)])
    finally:
        set_num_threads(most)
    for one, other in zip(*found):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("few", [0, 1 << 40])
def test_nan_stays_in_its_head(monkeypatch, few):
    monkeypatch.setattr(attention, "FEW", few)
    random = np.random.default_rng(5)
    q, k, v = [random.standard_normal((2, 5, 4)).astype(np.float32) for _ in range(3)]
    q[0, 1, 2] = np.nan
    out, _ = attention.attend(q, k, v, None, False)
    assert np.isnan(out[0, 1]).all() and not np.isnan(out[1]).any() and not np.isnan(out[0, 0]).any()


@pytest.mark.parametrize("few", [0, 1 << 40])
def test_a_row_that_sees_nothing_is_zero(monkeypatch, few):
    monkeypatch.setattr(attention, "FEW", few)
    q, k, v = [np.ones((1, 3, 2), np.float32) for _ in range(3)]
    q[0, 1, 0] = -np.inf
    out, logsumexp = attention.attend(q, k, v, None, False)
    assert out.tolist() == [[[1, 1], [0, 0], [1, 1]]] and logsumexp[0, 1] == np.inf
    _, _, gv = attention.attend_backward(v, q, k, v, out, logsumexp, None, False)
    np.testing.assert_allclose(gv, np.full((1, 3, 2), 2 / 3), rtol=1e-6)
