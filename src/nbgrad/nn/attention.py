"""Multi-head attention."""

from __future__ import annotations

from nbgrad.nn import functional as F
from nbgrad.nn import init
from nbgrad.nn.linear import NonDynamicallyQuantizableLinear
from nbgrad.nn.module import Module
from nbgrad.nn.parameter import Parameter
from nbgrad.ops.create import empty
from nbgrad.tensor import Tensor


class MultiheadAttention(Module):
    """Attention of several heads side by side, each on its part of the projected features.

    Args:
        embed_dim: features of queries and results.
        num_heads: heads, which divide the features.
        dropout: the share of attention weights dropped in training.
        bias: whether the projections add a bias.
        add_bias_kv: learn one more key and value.
        add_zero_attn: add a key and a value of zeros.
        kdim, vdim: features of keys and of values; as `embed_dim` where None.
        batch_first: (N, L, E) instead of (L, N, E).

    Shape: queries (L, N, E), keys (S, N, kdim), values (S, N, vdim) -> results (L, N, E) and, if
    `need_weights`, weights (N, L, S); all may lack N.
    """

    def __init__(self, embed_dim: int, num_heads: int, dropout: float = 0.0, bias: bool = True,
                 add_bias_kv: bool = False, add_zero_attn: bool = False, kdim: int | None = None,
                 vdim: int | None = None, batch_first: bool = False, device=None,
                 dtype=None) -> None:
        super().__init__()
        if embed_dim <= 0 or num_heads <= 0:
            raise ValueError("embed_dim and num_heads must be greater than 0, got "
                             f"embed_dim={embed_dim} and num_heads={num_heads} instead")
        if embed_dim % num_heads:
            raise AssertionError("embed_dim must be divisible by num_heads")
        self.embed_dim, self.num_heads, self.dropout = embed_dim, num_heads, dropout
        self.kdim, self.vdim = kdim or embed_dim, vdim or embed_dim
        self.batch_first, self.add_zero_attn = batch_first, add_zero_attn
        self.head_dim = embed_dim // num_heads
        self._qkv_same_embed_dim = self.kdim == self.vdim == embed_dim

        def parameter(*shape: int) -> Parameter:
            return Parameter(empty(*shape, device=device, dtype=dtype))

        shared = self._qkv_same_embed_dim
        for name, width in (("q", embed_dim), ("k", self.kdim), ("v", self.vdim)):
            self.register_parameter(f"{name}_proj_weight",
                                    None if shared else parameter(embed_dim, width))
        self.register_parameter("in_proj_weight",
                                parameter(3 * embed_dim, embed_dim) if shared else None)
        self.register_parameter("in_proj_bias", parameter(3 * embed_dim) if bias else None)
        self.out_proj = NonDynamicallyQuantizableLinear(embed_dim, embed_dim, bias, device=device,
                                                        dtype=dtype)
        for name in ("bias_k", "bias_v"):
            self.register_parameter(name, parameter(1, 1, embed_dim) if add_bias_kv else None)
        self._reset_parameters()

    def _reset_parameters(self) -> None:
        for name, p in self.named_parameters():
            if name == "in_proj_bias" or name == "out_proj.bias":
                init.zeros_(p)
            elif name.endswith("proj_weight"):
                init.xavier_uniform_(p)
            elif name.startswith("bias_"):
                init.xavier_normal_(p)

    def forward(self, query: Tensor, key: Tensor, value: Tensor,
                key_padding_mask: Tensor | None = None, need_weights: bool = True,
                attn_mask: Tensor | None = None, average_attn_weights: bool = True,
                is_causal: bool = False) -> tuple[Tensor, Tensor | None]:
        turned = self.batch_first and query.dim() == 3
        if turned:
            own = query.transpose(0, 1)
            key = own if key is query else key.transpose(0, 1)
            value = own if value is query else value.transpose(0, 1)
            query = own
        out, weights = F.multi_head_attention_forward(
            query, key, value, self.embed_dim, self.num_heads, self.in_proj_weight,
            self.in_proj_bias, self.bias_k, self.bias_v, self.add_zero_attn, self.dropout,
            self.out_proj.weight, self.out_proj.bias, self.training, key_padding_mask, need_weights,
            attn_mask, not self._qkv_same_embed_dim, self.q_proj_weight, self.k_proj_weight,
            self.v_proj_weight, average_attn_weights=average_attn_weights, is_causal=is_causal)
        return out.transpose(0, 1) if turned else out, weights
