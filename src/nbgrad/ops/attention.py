"""Attention: means of values, weighted by how well their keys fit a query."""

from __future__ import annotations

import math

import numpy as np

from nbgrad.dtypes import float64
from nbgrad.engine.mode import state
from nbgrad.kernels import attention as kernels
from nbgrad.kernels.backend import Twins
from nbgrad.kernels.layout import Layout, broadcast_shapes, layout
from nbgrad.ops.apply import apply
from nbgrad.ops.create import beside
from nbgrad.ops.dropout import dropout
from nbgrad.ops.family import expect_tensor, present, saved
from nbgrad.ops.mask import where
from nbgrad.ops.matmul import linear, matmul
from nbgrad.ops.op import Op, wrap
from nbgrad.ops.shape import cat, expand, reshape, transpose, unsqueeze
from nbgrad.ops.softmax import softmax
from nbgrad.tensor import Tensor


class Attention(Op):
    """softmax(scale q k^T + mask) v for q (..., L, E), k (..., S, E), v (..., S, D); the logsumexp.

    attrs (causal, scale, which): `which` of the masks (M, L, S) is for each of the N matrices that
    the leading axes stand for, as a tuple.
    """

    name = "ScaledDotProductFlashAttentionForCpu"
    outputs = 2

    def run(self, inputs, attrs):
        arrays = _arrays(inputs, attrs)
        out, logsumexp = kernels.attend(*arrays)
        own = inputs[0]._layout
        lead, place = own.shape[:-1], own.device
        return (Tensor(out.reshape(-1), layout(own.dtype, (*lead, out.shape[2]), device=place)),
                Tensor(logsumexp.reshape(-1), layout(float64, lead, device=place)))

    def saves(self, needs, attrs):
        return (*range(len(needs)), -1, -2)

    def backward(self, node, grad, _):
        kept = saved(node)
        q, k, v, mask = kept[0], kept[1], kept[2], kept.get(3)
        causal, scale, which = node.attrs
        rest = (None,) * (len(node.next) - 3)
        if not state.grad:
            found = apply(BACKWARD, present(grad, q, k, v, kept[-1], kept[-2], mask), node.attrs)
            return *[g.to(q.dtype) for g in found], *rest  # the logsumexp has more bits
        each = None
        if mask is not None:
            each = reshape(mask[beside(mask, np.array(which))], (*q._layout.shape[:-1], -1))
        p = _weights(q * scale, k, each, causal)
        gp = matmul(grad, _turned(v))
        gs = p * (gp - (gp * p).sum(-1, True)) * scale
        return (matmul(gs, k), matmul(_turned(gs), q), matmul(_turned(p), grad), *rest)


class AttentionBackward(Op):
    """The gradients to q, k and v."""

    name = "ScaledDotProductFlashAttentionForCpuBackward"
    outputs = 3

    def run(self, inputs, attrs):
        grad, q, k, v, out, logsumexp, *mask = inputs
        q, k, v, *how = _arrays((q, k, v, *mask), attrs)
        found = kernels.attend_backward(_three(grad), q, k, v, _three(out),
                                        logsumexp._array().reshape(q.shape[:2]), *how)
        return wrap(tuple([g.reshape(t._layout.shape) for g, t in zip(found, inputs[1:])]))


def _three(t: Tensor):
    """Contiguous matrices (N, L, E) of a tensor (..., L, E)."""
    array = contiguous(t._array())
    return array if array.ndim == 3 else array.reshape(-1, *array.shape[-2:])


def _arrays(inputs, attrs):
    """What the kernels take: contiguous arrays, the mask, whether it is causal, the scale."""
    causal, scale, which = attrs
    mask = (inputs[3]._array(), which) if len(inputs) == 4 else None
    return *[_three(t) for t in inputs[:3]], mask, causal, scale


contiguous = Twins("layouts").contiguous
ATTENTION, BACKWARD = Attention(), AttentionBackward()


def _turned(t: Tensor) -> Tensor:
    return transpose(t, -2, -1)


def _weights(q: Tensor, k: Tensor, mask: Tensor | None, causal: bool) -> Tensor:
    """The probabilities (..., L, S) by plain ops; zeros in a row that sees nothing."""
    scores = matmul(q, _turned(k))
    if causal:
        length, seen = scores._layout.shape[-2:]
        scores = scores.masked_fill(beside(scores, ~np.tri(length, seen, dtype=bool)), -math.inf)
    if mask is None:
        return softmax(scores, -1)
    scores = scores + mask
    blind = (scores == -math.inf).all(-1, True)
    return where(blind, 0.0, softmax(where(blind, 0.0, scores), -1))


def _check(q: Layout, k: Layout, v: Layout) -> None:
    if not q.dtype is k.dtype is v.dtype or q.dtype.category != 2:
        raise RuntimeError("Expected query, key, and value to have the same floating point dtype, "
                           f"but got query.dtype: {q.dtype.name} key.dtype: {k.dtype.name} and "
                           f"value.dtype: {v.dtype.name} instead.")
    ranks = [len(own.shape) for own in (q, k, v)]
    if min(ranks) < 2:
        raise RuntimeError("Expected query, key, and value to all be  at least 2 dimensional, but "
                           f"got query.dim: {ranks[0]} key.dim: {ranks[1]} and value.dim: "
                           f"{ranks[2]} instead.")
    if q.shape[-1] != k.shape[-1] or k.shape[-2] != v.shape[-2]:
        raise RuntimeError(
            "scaled_dot_product_attention: query (..., L, E), key (..., S, E) and value (..., S, D) "
            f"cannot be multiplied, got {list(q.shape)}, {list(k.shape)} and {list(v.shape)}")


def _repeated(x: Tensor, times: int) -> Tensor:
    """Every head of (..., heads, S, E) several times in a row."""
    *lead, heads, length, width = x._layout.shape
    spread = expand(unsqueeze(x, -3), (*lead, heads, times, length, width))
    return reshape(spread, (*lead, heads * times, length, width))


def _additive(mask: Tensor, like: Tensor) -> Tensor:
    """A mask as it is added to scores: 0 where a bool mask is true, else -inf."""
    dtype = mask._layout.dtype
    if dtype.category == 0:
        return where(mask, like.new_zeros(()), like.new_full((), -math.inf))
    if dtype.category != 2 or dtype.itemsize > like._layout.dtype.itemsize:
        raise RuntimeError("Expected attn_mask dtype to be bool or float or to match query dtype, "
                           f"but got attn_mask.dtype: {dtype.name} and  query.dtype: "
                           f"{like._layout.dtype.name} instead.")
    return mask.to(like._layout.dtype)


def scaled_dot_product_attention(query: Tensor, key: Tensor, value: Tensor,
                                 attn_mask: Tensor | None = None, dropout_p: float = 0.0,
                                 is_causal: bool = False, *, scale: float | None = None,
                                 enable_gqa: bool = False) -> Tensor:
    """softmax(scale query key^T + mask) value, without ever holding all scores.

    Args:
        query, key, value: (..., L, E), (..., S, E), (..., S, D); the leading axes broadcast.
        attn_mask: broadcasts to (..., L, S): bool, true where a key is seen, or added to scores.
        dropout_p: the share of weights that is dropped, also outside of training.
        is_causal: query i sees keys 0 to i only.
        scale: 1 / sqrt(E) where None.
        enable_gqa: every head (the third axis from the end) of key and value is for several heads
            of the query.
    """
    expect_tensor("scaled_dot_product_attention", query=query, key=key, value=value)
    _check(query._layout, key._layout, value._layout)
    if attn_mask is not None and is_causal:
        raise RuntimeError("_scaled_dot_product_attention: Explicit attn_mask should not be set when "
                           "is_causal=True")
    if not 0 <= dropout_p <= 1:
        raise RuntimeError("dropout probability has to be between 0 and 1, but got "
                           f"{dropout_p}")
    if enable_gqa:
        heads = [t._layout.shape[-3] if t.dim() > 2 else 0 for t in (query, key, value)]
        if 0 in heads[1:] or heads[0] % heads[1] or heads[0] % heads[2]:
            raise RuntimeError("Number of heads in key and value must divide the number of heads in "
                               f"query, got {heads[1]}, {heads[2]} and {heads[0]}")
        key, value = _repeated(key, heads[0] // heads[1]), _repeated(value, heads[0] // heads[2])
    mask = None if attn_mask is None else _additive(attn_mask, query)
    width = query._layout.shape[-1]
    scale = 1 / math.sqrt(max(width, 1)) if scale is None else float(scale)
    shapes = [t._layout.shape[:-2] for t in present(query, key, value, mask)]
    lead: tuple[int, ...] | None = shapes[0]
    for shape in shapes[1:]:
        if shape != lead and lead is not None:
            lead = broadcast_shapes(lead, shape)
    if lead is None:
        raise RuntimeError("The size of tensor a must match the size of tensor b at non-singleton "
                           f"dimensions: the leading axes {shapes} do not broadcast")
    empty = 0 in (query._layout.numel, value._layout.numel)
    composed = dropout_p or empty or (mask is not None and mask.requires_grad)
    if composed or not kernels.takes(query._layout.device, math.prod(lead), query._layout.shape[-2],
                                     width, value._layout.shape[-1]):
        weights = _weights(query * scale, key, mask, is_causal)
        return matmul(dropout(weights, dropout_p), value)
    return _blocked(query, key, value, mask, lead, is_causal, scale)


def _blocked(query, key, value, mask, lead, causal, scale) -> Tensor:
    q, k, v = [t if t._layout.shape[:-2] == lead else expand(t, lead + t._layout.shape[-2:])
               for t in (query, key, value)]
    which: tuple[int, ...] = ()
    if mask is not None:
        rows = (q._layout.shape[-2], k._layout.shape[-2])
        own = mask._layout.shape
        if broadcast_shapes(own[-2:], rows) != rows:
            raise RuntimeError(f"The size of tensor a {list(rows)} must match the size of tensor b "
                               f"{list(own[-2:])}: attn_mask must broadcast to (..., L, S)")
        count = math.prod(own[:-2])
        which = tuple(np.broadcast_to(np.arange(count).reshape(own[:-2]), lead).reshape(-1).tolist())
        mask = expand(reshape(mask, (count, *((1, 1) + own)[-2:])), (count, *rows))
    return apply(ATTENTION, present(q, k, v, mask), (causal, scale, which))[0]


# Multi-head attention


def _join_masks(padding: Tensor | None, mask: Tensor | None, like: Tensor, heads: int,
                batch: int) -> Tensor | None:
    """What is added to scores (N, heads, L, S), of masks that are true where nothing is seen."""
    total = None
    for m, name in ((padding, "key_padding_mask"), (mask, "attn_mask")):
        if m is None:
            continue
        if m._layout.dtype.category == 0:
            m = where(m, like.new_full((), -math.inf), like.new_zeros(()))
        elif m._layout.dtype.category != 2:
            raise AssertionError(f"only bool and floating types of {name} are supported")
        if name == "key_padding_mask":
            m = reshape(m, (batch, 1, 1, m._layout.shape[-1]))
        elif m.dim() == 3:
            m = reshape(m, (batch, heads, *m._layout.shape[1:]))
        total = m if total is None else total + m
    return total


def _projected(query, key, value, weights, bias) -> list[Tensor]:
    """query, key and value through their matrices, in one product where they are one tensor."""
    if len(weights) == 1 and query is key and key is value:
        return list(linear(query, weights[0], bias).chunk(3, -1))
    parts = weights if len(weights) == 3 else weights[0].chunk(3)
    biases = (None,) * 3 if bias is None else bias.chunk(3)
    return [linear(x, w, b) for x, w, b in zip((query, key, value), parts, biases)]


def multi_head_attention_forward(
        query: Tensor, key: Tensor, value: Tensor, embed_dim_to_check: int, num_heads: int,
        in_proj_weight: Tensor | None, in_proj_bias: Tensor | None, bias_k: Tensor | None,
        bias_v: Tensor | None, add_zero_attn: bool, dropout_p: float, out_proj_weight: Tensor,
        out_proj_bias: Tensor | None, training: bool = True,
        key_padding_mask: Tensor | None = None, need_weights: bool = True,
        attn_mask: Tensor | None = None, use_separate_proj_weight: bool = False,
        q_proj_weight: Tensor | None = None, k_proj_weight: Tensor | None = None,
        v_proj_weight: Tensor | None = None, static_k: Tensor | None = None,
        static_v: Tensor | None = None, average_attn_weights: bool = True,
        is_causal: bool = False) -> tuple[Tensor, Tensor | None]:
    """The attention of `num_heads` heads side by side, and the weights (N, L, S) if wanted.

    Args:
        query, key, value: (L, N, E), (S, N, Ek), (S, N, Ev), or all without N.
        in_proj_weight, in_proj_bias: (3 E, E) and (3 E,), for query, key and value; or the three
            `q_proj_weight`, ... if `use_separate_proj_weight`.
        bias_k, bias_v: (1, 1, E), one more key and value for all.
        add_zero_attn: one more key and value of zeros.
        key_padding_mask: (N, S), bool, true where a key is not seen, or added to the scores.
        attn_mask: (L, S) or (N * num_heads, L, S), of the same kinds.
        average_attn_weights: the mean of the heads' weights, else all, (N, num_heads, L, S).
        is_causal: a hint that `attn_mask` is causal.
    """
    batched = query.dim() == 3
    _check_heads(query, key, value, key_padding_mask, attn_mask, num_heads, embed_dim_to_check)
    if is_causal and attn_mask is None:
        raise RuntimeError("Need attn_mask if specifying the is_causal hint.")
    if not batched:
        own = unsqueeze(query, 1)
        key = own if key is query else unsqueeze(key, 1)
        value = own if value is query else unsqueeze(value, 1)
        query = own
        key_padding_mask = None if key_padding_mask is None else unsqueeze(key_padding_mask, 0)
    length, batch, width = query._layout.shape
    weights = [q_proj_weight, k_proj_weight, v_proj_weight] if use_separate_proj_weight \
        else [in_proj_weight]
    q, k, v = _projected(query, key, value, weights, in_proj_bias)
    if static_k is not None or static_v is not None:
        raise NotImplementedError("multi_head_attention_forward: static_k and static_v are not "
                                  "supported")
    extra = [t for t in (bias_k,) if t is not None]
    k = cat([k, *[expand(t, (1, batch, width)) for t in extra]]) if extra else k
    if bias_v is not None:
        v = cat([v, expand(bias_v, (1, batch, width))])
    if add_zero_attn:
        k, v = [cat([t, t.new_zeros((1, batch, width))]) for t in (k, v)]
    added = k._layout.shape[0] - key._layout.shape[0]
    # (L, N, E) -> (N, heads, L, E / heads)
    q, k, v = [t.reshape(-1, batch, num_heads, width // num_heads).permute(1, 2, 0, 3)
               for t in (q, k, v)]
    if is_causal and key_padding_mask is None and not need_weights and not added:
        mask = None
    else:
        mask, is_causal = _join_masks(key_padding_mask, attn_mask, q, num_heads, batch), False
        if mask is not None and added:
            shape = (*mask._layout.shape[:-1], added)
            mask = cat([mask, mask.new_zeros(shape)], -1)
    dropped = dropout_p if training else 0.0
    if need_weights:
        scores = _weights(q * (1 / math.sqrt(width // num_heads)), k, mask, is_causal)
        scores = dropout(scores, dropped)
        out = matmul(scores, v)
    else:
        out = scaled_dot_product_attention(q, k, v, mask, dropped, is_causal)
    out = linear(out.permute(2, 0, 1, 3).reshape(length, batch, width), out_proj_weight,
                 out_proj_bias)
    if not batched:
        out = out.squeeze(1)
    if not need_weights:
        return out, None
    shown = scores.mean(1) if average_attn_weights else scores
    return out, shown if batched else shown.squeeze(0)


def _check_heads(query, key, value, padding, mask, heads: int, embed: int) -> None:
    expect_tensor("multi_head_attention_forward", query=query, key=key, value=value)
    ranks = [t.dim() for t in (query, key, value)]
    if ranks[0] not in (2, 3):
        raise AssertionError("query should be unbatched 2D or batched 3D tensor but received "
                             f"{ranks[0]}-D query tensor")
    if len(set(ranks)) > 1:
        raise AssertionError(f"For {ranks[0]}-D `query`, expected `key` and `value` to be "
                             f"{ranks[0]}-D but found {ranks[1]}-D and {ranks[2]}-D tensors "
                             "respectively")
    width = query._layout.shape[-1]
    if width != embed:
        raise AssertionError(f"was expecting embedding dimension of {embed}, but got {width}")
    if embed % heads:
        raise AssertionError(f"embed_dim {embed} not divisible by num_heads {heads}")
    if key._layout.shape[:-1] != value._layout.shape[:-1]:
        raise AssertionError(f"key's sequence and batch dims {key._layout.shape[:-1]} do not match "
                             f"value's {value._layout.shape[:-1]}")
    length, seen = query._layout.shape[0], key._layout.shape[0]
    batch = query._layout.shape[1] if ranks[0] == 3 else 1
    if padding is not None:
        wanted = (batch, seen) if ranks[0] == 3 else (seen,)
        if padding._layout.shape != wanted:
            raise AssertionError(f"expecting key_padding_mask shape of {wanted}, but got "
                                 f"{padding._layout.shape}")
    if mask is not None and mask._layout.shape not in ((length, seen),
                                                       (batch * heads, length, seen)):
        raise RuntimeError(f"The shape of the {mask.dim()}D attn_mask is {mask._layout.shape}, but "
                           f"should be {(length, seen)} or {(batch * heads, length, seen)}.")
