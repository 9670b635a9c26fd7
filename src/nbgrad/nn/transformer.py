"""Transformers: layers of attention and of a small network, each added to what it is given."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from typing import Any

from nbgrad.nn import functional as F
from nbgrad.nn import init
from nbgrad.nn.attention import MultiheadAttention
from nbgrad.nn.containers import ModuleList
from nbgrad.nn.dropout import Dropout
from nbgrad.nn.linear import Linear
from nbgrad.nn.module import Module
from nbgrad.nn.norm import LayerNorm
from nbgrad.ops.create import full
from nbgrad.tensor import Tensor

__all__ = ["Transformer", "TransformerDecoder", "TransformerDecoderLayer", "TransformerEncoder",
           "TransformerEncoderLayer"]


def _causal_mask(size: int, device=None, dtype=None) -> Tensor:
    return full((size, size), -math.inf, device=device, dtype=dtype).triu(1)


def _is_causal(mask: Tensor | None, hint: bool | None) -> bool:
    """The hint; without one, whether the mask hides from each place those after it, and no more."""
    if hint is not None or mask is None:
        return bool(hint)
    if mask.dim() != 2 or mask.shape[0] != mask.shape[1] or mask.requires_grad:
        return False
    expected = _causal_mask(mask.shape[0], mask.device)
    return bool((mask == (expected if mask.is_floating_point() else expected != 0)).all())


class _Layer(Module):
    """What both kinds of layers are made of: attentions, two linear maps, norms and dropouts."""

    attentions: tuple[str, ...]

    def __init__(self, d_model: int, nhead: int, dim_feedforward: int = 2048, dropout: float = 0.1,
                 activation: str | Callable[[Tensor], Tensor] = F.relu, layer_norm_eps: float = 1e-5,
                 batch_first: bool = False, norm_first: bool = False, bias: bool = True, device=None,
                 dtype=None) -> None:
        super().__init__()
        for name in self.attentions:
            setattr(self, name, MultiheadAttention(d_model, nhead, dropout, bias, device=device,
                                                   batch_first=batch_first, dtype=dtype))
        self.linear1 = Linear(d_model, dim_feedforward, bias, device, dtype)
        self.dropout = Dropout(dropout)
        self.linear2 = Linear(dim_feedforward, d_model, bias, device, dtype)
        blocks = range(1, len(self.attentions) + 2)
        for k in blocks:
            setattr(self, f"norm{k}", LayerNorm(d_model, layer_norm_eps, bias=bias, device=device,
                                                dtype=dtype))
        for k in blocks:
            setattr(self, f"dropout{k}", Dropout(dropout))
        self.norm_first = norm_first
        if isinstance(activation, str):
            if activation not in ("relu", "gelu"):
                raise RuntimeError(f"activation should be relu/gelu, not {activation}")
            activation = getattr(F, activation)
        self.activation: Any = activation

    def _added(self, k: int, x: Tensor, block: Callable, *args) -> Tensor:
        """x + block(x), with the k-th norm over what the block is given, or over the sum."""
        norm = getattr(self, f"norm{k}")
        return x + block(norm(x), *args) if self.norm_first else norm(x + block(x, *args))

    def _sa_block(self, x: Tensor, attn_mask: Tensor | None, key_padding_mask: Tensor | None,
                  is_causal: bool = False) -> Tensor:
        y, _ = self.self_attn(x, x, x, key_padding_mask, False, attn_mask, is_causal=is_causal)
        return self.dropout1(y)

    def _network(self, x: Tensor) -> Tensor:
        return self.linear2(self.dropout(self.activation(self.linear1(x))))


class TransformerEncoderLayer(_Layer):
    """Self-attention, then a network of one hidden layer (Vaswani et al. 2017).

    Args:
        d_model: features of each place of the sequence.
        nhead: heads of the attention, which divide the features.
        dim_feedforward: features of the hidden layer.
        dropout: the share dropped of attention weights, hidden features and of each block's results.
        activation: "relu", "gelu" or a function, of the hidden layer.
        layer_norm_eps: added to the variances of the norms.
        batch_first: (N, S, E) instead of (S, N, E).
        norm_first: normalise what a block is given instead of the sum with its results.
        bias: whether the linear maps and the norms add a bias.

    Shape: src (S, N, E), src_mask (S, S) or (N * nhead, S, S), src_key_padding_mask (N, S) ->
    (S, N, E); src and the padding mask may lack N. `is_causal`: src_mask is known to be causal.
    """

    attentions = ("self_attn",)

    def forward(self, src: Tensor, src_mask: Tensor | None = None,
                src_key_padding_mask: Tensor | None = None, is_causal: bool = False) -> Tensor:
        x = self._added(1, src, self._sa_block, src_mask, src_key_padding_mask, is_causal)
        return self._added(2, x, self._ff_block)

    def _ff_block(self, x: Tensor) -> Tensor:
        return self.dropout2(self._network(x))


class TransformerDecoderLayer(_Layer):
    """Self-attention, attention to an encoder's results, then a network of one hidden layer.

    Args: those of `TransformerEncoderLayer`.

    Shape: tgt (T, N, E), memory (S, N, E), tgt_mask (T, T), memory_mask (T, S),
    tgt_key_padding_mask (N, T), memory_key_padding_mask (N, S) -> (T, N, E). `tgt_is_causal`,
    `memory_is_causal`: the mask is known to be causal.
    """

    attentions = ("self_attn", "multihead_attn")

    def forward(self, tgt: Tensor, memory: Tensor, tgt_mask: Tensor | None = None,
                memory_mask: Tensor | None = None, tgt_key_padding_mask: Tensor | None = None,
                memory_key_padding_mask: Tensor | None = None, tgt_is_causal: bool = False,
                memory_is_causal: bool = False) -> Tensor:
        x = self._added(1, tgt, self._sa_block, tgt_mask, tgt_key_padding_mask, tgt_is_causal)
        x = self._added(2, x, self._mha_block, memory, memory_mask, memory_key_padding_mask,
                        memory_is_causal)
        return self._added(3, x, self._ff_block)

    def _mha_block(self, x: Tensor, mem: Tensor, attn_mask: Tensor | None,
                   key_padding_mask: Tensor | None, is_causal: bool = False) -> Tensor:
        y, _ = self.multihead_attn(x, mem, mem, key_padding_mask, False, attn_mask,
                                   is_causal=is_causal)
        return self.dropout2(y)

    def _ff_block(self, x: Tensor) -> Tensor:
        return self.dropout3(self._network(x))


class _Stack(Module):
    """Copies of a layer, one after the other, and perhaps a norm at the end."""

    def __init__(self, layer: Module, num_layers: int, norm: Module | None) -> None:
        super().__init__()
        self.layers = ModuleList([copy.deepcopy(layer) for _ in range(num_layers)])
        self.num_layers, self.norm = num_layers, norm

    def _through(self, x: Tensor, *args: Any, **options: Any) -> Tensor:
        for layer in self.layers:
            x = layer(x, *args, **options)
        return x if self.norm is None else self.norm(x)


class TransformerEncoder(_Stack):
    """Copies of an encoder layer, one after the other.

    Args:
        encoder_layer: copied, with its weights.
        num_layers: how many copies.
        norm: called with the last layer's results.
        enable_nested_tensor, mask_check: kept for code that passes them; they change nothing.

    Shape: that of the layer; `is_causal` is found out from the mask where None.
    """

    def __init__(self, encoder_layer: Module, num_layers: int, norm: Module | None = None,
                 enable_nested_tensor: bool = True, mask_check: bool = True) -> None:
        super().__init__(encoder_layer, num_layers, norm)
        self.enable_nested_tensor, self.mask_check = enable_nested_tensor, mask_check

    def forward(self, src: Tensor, mask: Tensor | None = None,
                src_key_padding_mask: Tensor | None = None, is_causal: bool | None = None) -> Tensor:
        return self._through(src, src_mask=mask, src_key_padding_mask=src_key_padding_mask,
                             is_causal=_is_causal(mask, is_causal))


class TransformerDecoder(_Stack):
    """Copies of a decoder layer, one after the other.

    Args:
        decoder_layer: copied, with its weights.
        num_layers: how many copies.
        norm: called with the last layer's results.

    Shape: that of the layer; `tgt_is_causal` is found out from the mask where None.
    """

    def __init__(self, decoder_layer: Module, num_layers: int, norm: Module | None = None) -> None:
        super().__init__(decoder_layer, num_layers, norm)

    def forward(self, tgt: Tensor, memory: Tensor, tgt_mask: Tensor | None = None,
                memory_mask: Tensor | None = None, tgt_key_padding_mask: Tensor | None = None,
                memory_key_padding_mask: Tensor | None = None, tgt_is_causal: bool | None = None,
                memory_is_causal: bool = False) -> Tensor:
        return self._through(tgt, memory, tgt_mask=tgt_mask, memory_mask=memory_mask,
                             tgt_key_padding_mask=tgt_key_padding_mask,
                             memory_key_padding_mask=memory_key_padding_mask,
                             tgt_is_causal=_is_causal(tgt_mask, tgt_is_causal),
                             memory_is_causal=memory_is_causal)


class Transformer(Module):
    """An encoder, and a decoder that attends to its results (Vaswani et al. 2017).

    Args:
        num_encoder_layers, num_decoder_layers: how many layers each has.
        custom_encoder, custom_decoder: modules to take instead.
        d_model, …: those of `TransformerEncoderLayer`.

    Shape: src (S, N, E), tgt (T, N, E) -> (T, N, E), or (N, …, E) if `batch_first`; all may lack N.
    Masks as in `TransformerDecoderLayer`.

    Example:
        >>> model = Transformer(d_model=16, nhead=4, dim_feedforward=32)
        >>> model(nbgrad.randn(10, 2, 16), nbgrad.randn(7, 2, 16)).shape
        nbgrad.Size([7, 2, 16])
    """

    def __init__(self, d_model: int = 512, nhead: int = 8, num_encoder_layers: int = 6,
                 num_decoder_layers: int = 6, dim_feedforward: int = 2048, dropout: float = 0.1,
                 activation: str | Callable[[Tensor], Tensor] = F.relu,
                 custom_encoder: Module | None = None, custom_decoder: Module | None = None,
                 layer_norm_eps: float = 1e-5, batch_first: bool = False, norm_first: bool = False,
                 bias: bool = True, device=None, dtype=None) -> None:
        super().__init__()
        options = (d_model, nhead, dim_feedforward, dropout, activation, layer_norm_eps, batch_first,
                   norm_first, bias, device, dtype)

        def norm() -> LayerNorm:
            return LayerNorm(d_model, layer_norm_eps, bias=bias, device=device, dtype=dtype)

        self.encoder = custom_encoder if custom_encoder is not None else TransformerEncoder(
            TransformerEncoderLayer(*options), num_encoder_layers, norm())
        self.decoder = custom_decoder if custom_decoder is not None else TransformerDecoder(
            TransformerDecoderLayer(*options), num_decoder_layers, norm())
        self._reset_parameters()
        self.d_model, self.nhead, self.batch_first = d_model, nhead, batch_first

    def _reset_parameters(self) -> None:
        for p in self.parameters():
            if p.dim() > 1:
                init.xavier_uniform_(p)

    def forward(self, src: Tensor, tgt: Tensor, src_mask: Tensor | None = None,
                tgt_mask: Tensor | None = None, memory_mask: Tensor | None = None,
                src_key_padding_mask: Tensor | None = None,
                tgt_key_padding_mask: Tensor | None = None,
                memory_key_padding_mask: Tensor | None = None, src_is_causal: bool | None = None,
                tgt_is_causal: bool | None = None, memory_is_causal: bool = False) -> Tensor:
        batch = 0 if self.batch_first else 1
        if src.dim() == 3 and src.shape[batch] != tgt.shape[batch]:
            raise RuntimeError("the batch number of src and tgt must be equal, got "
                               f"{src.shape[batch]} and {tgt.shape[batch]}")
        if not src.shape[-1] == tgt.shape[-1] == self.d_model:
            raise RuntimeError("the feature number of src and tgt must be equal to d_model, got "
                               f"{src.shape[-1]}, {tgt.shape[-1]} and {self.d_model}")
        memory = self.encoder(src, mask=src_mask, src_key_padding_mask=src_key_padding_mask,
                              is_causal=src_is_causal)
        return self.decoder(tgt, memory, tgt_mask=tgt_mask, memory_mask=memory_mask,
                            tgt_key_padding_mask=tgt_key_padding_mask,
                            memory_key_padding_mask=memory_key_padding_mask,
                            tgt_is_causal=tgt_is_causal, memory_is_causal=memory_is_causal)

    @staticmethod
    def generate_square_subsequent_mask(sz: int, device=None, dtype=None) -> Tensor:
        """The mask (sz, sz) that hides from each place those after it: -inf there, else 0."""
        return _causal_mask(sz, device, dtype)
