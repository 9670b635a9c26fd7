"""Attention."""

from nbgrad.testing.cases import bools, case, ints

#: A module whose parameters are numbers that both libraries agree on.
SAME = ("(lambda m: ([p.data.copy_(torch.arange(p.numel(), dtype=torch.float64).cos()"
        ".reshape(p.shape) / 2) for p in m.parameters()], m)[1])")
ATTEND = "F.scaled_dot_product_attention"


def sees_some(*shape):
    """A bool mask whose every row but the first is somewhere true."""
    def draw(random):
        mask = random.random(shape) < 0.5
        mask[..., 0] = True
        mask[..., 0, :] = False
        return mask
    return draw


# PyTorch refuses integers in the kernel of the product that it happens to use, and has second
# gradients where it does not use its fused kernel for four axes
CASES = [case(*call, dtypes=False, twice=len(call[1]) < 4 and "need_weights" not in call[0])
         for call in (
    (f"{ATTEND}(a, b, c)", (2, 3, 5, 4), (2, 3, 6, 4), (2, 3, 6, 7)),
    (f"{ATTEND}(a, b, c)", (5, 4), (6, 4), (6, 3)),
    (f"{ATTEND}(a, b, c)", (3, 5, 4), (6, 4), (6, 4)),
    (f"{ATTEND}(a, b, c)", (2, 1, 5, 4), (3, 6, 4), (1, 3, 6, 4)),
    (f"{ATTEND}(a, a, a)", (1, 1, 63, 4)),
    (f"{ATTEND}(a, b, c, is_causal=True)", (2, 2, 5, 4), (2, 2, 5, 4), (2, 2, 5, 4)),
    (f"{ATTEND}(a, b, c, is_causal=True)", (2, 7, 4), (2, 5, 4), (2, 5, 4)),
    (f"{ATTEND}(a, b, c, is_causal=True)", (2, 3, 4), (2, 5, 4), (2, 5, 4)),
    (f"{ATTEND}(a, b, c, scale=0.3)", (2, 5, 4), (2, 6, 4), (2, 6, 4)),
    (f"{ATTEND}(a, b, c, d)", (2, 2, 5, 4), (2, 2, 6, 4), (2, 2, 6, 4), sees_some(5, 6)),
    (f"{ATTEND}(a, b, c, d)", (2, 2, 5, 4), (2, 2, 6, 4), (2, 2, 6, 4), sees_some(2, 1, 5, 6)),
    (f"{ATTEND}(a, b, c, attn_mask=d)", (2, 5, 4), (2, 6, 4), (2, 6, 4), bools(1, 6)),
    (f"{ATTEND}(a, b, c, d)", (2, 2, 5, 4), (2, 2, 6, 4), (2, 2, 6, 4), (5, 6)),
    (f"{ATTEND}(a, b, c, d.detach())", (2, 2, 5, 4), (2, 2, 6, 4), (2, 2, 6, 4), (2, 2, 5, 6)),
    (f"{ATTEND}(a, b, c, d.detach(), 0.0, False, scale=0.5)", (2, 5, 4), (2, 6, 4), (2, 6, 4), (6,)),
    (f"{ATTEND}(a, b, c, enable_gqa=True)", (2, 4, 5, 4), (2, 2, 6, 4), (2, 2, 6, 4)),
    (f"{ATTEND}(a, b, c, enable_gqa=True, is_causal=True)", (2, 6, 5, 4), (2, 3, 5, 4),
     (2, 1, 5, 4)),
    (f"{ATTEND}(a, b, c)", (2, 0, 4), (2, 6, 4), (2, 6, 4)),
    (f"{ATTEND}(a, b, c)", (2, 5, 4), (2, 0, 4), (2, 0, 4)),
    (f"{ATTEND}(a, b, c)", (0, 5, 4), (0, 6, 4), (0, 6, 4)),
    (f"{ATTEND}(a, b, c, dropout_p=1.0)", (2, 5, 4), (2, 6, 4), (2, 6, 4)),
    (f"{SAME}(nn.MultiheadAttention(6, 2).double())(a, a, a)", (5, 3, 6)),
    (f"{SAME}(nn.MultiheadAttention(6, 3).double())(a, b, b, need_weights=False)[0]",
     (5, 3, 6), (4, 3, 6)),
    (f"{SAME}(nn.MultiheadAttention(6, 2, kdim=4, vdim=5).double())(a, b, c)",
     (5, 3, 6), (4, 3, 4), (4, 3, 5)),
    (f"{SAME}(nn.MultiheadAttention(6, 2, bias=False, batch_first=True).double())(a, b, b)",
     (3, 5, 6), (3, 4, 6)),
    (f"{SAME}(nn.MultiheadAttention(6, 2, add_bias_kv=True, add_zero_attn=True).double())"
     "(a, b, b, attn_mask=c, average_attn_weights=False)", (5, 3, 6), (4, 3, 6), bools(5, 4)),
    (f"{SAME}(nn.MultiheadAttention(6, 2).double())(a, b, b, c, attn_mask=d)",
     (5, 3, 6), (4, 3, 6), lambda random: random.random((3, 4)) < 0.2, (5, 4)),
    (f"{SAME}(nn.MultiheadAttention(6, 2).double())(a, b, b, attn_mask=c.detach(), "
     "need_weights=False)[0]", (5, 3, 6), (4, 3, 6), (6, 5, 4)),
    # A causal hint is trusted: PyTorch then looks at no mask either
    (f"{SAME}(nn.MultiheadAttention(6, 2).double())(a, a, a, is_causal=True, need_weights=False, "
     "attn_mask=torch.ones(4, 4).tril() == 0)[0]", (4, 3, 6)),
    (f"{SAME}(nn.MultiheadAttention(6, 2).double())(a, b, b)", (5, 6), (4, 6)),
)]

ERRORS = [
    case(f"{ATTEND}(a, b, c, d, is_causal=True)", (5, 4), (6, 4), (6, 4), (5, 6)),
    case(f"{ATTEND}(a, b, c, d)", (5, 4), (6, 4), (6, 4), (5, 5)),
    case(f"{ATTEND}(a, b, c, d)", (5, 4), (6, 4), (6, 4), ints(5, 6)),
    case(f"{ATTEND}(a, b, c)", (4,), (6, 4), (6, 4)),
    case(f"{ATTEND}(a, b, c)", (5, 4), (6, 3), (6, 4)),
    case(f"{ATTEND}(a, b, c)", (5, 4), (6, 4), (5, 4)),
    case(f"{ATTEND}(a, b.float(), c)", (5, 4), (6, 4), (6, 4)),
    case(f"{ATTEND}(a, b, c)", (4, 5, 4), (2, 6, 4), (2, 6, 4)),
    case(f"{ATTEND}(a, b, c, enable_gqa=True)", (1, 4, 5, 4), (1, 3, 6, 4), (1, 3, 6, 4)),
    case(f"{ATTEND}(a, b, c, dropout_p=1.5)", (5, 4), (6, 4), (6, 4)),
    case(f"{ATTEND}(a, 3, c)", (5, 4), (6, 4), (6, 4)),
    case("nn.MultiheadAttention(6, 4)"),
    case("nn.MultiheadAttention(0, 4)"),
    case("nn.MultiheadAttention(6, 2)(a, a, a)", (6,)),
    case("nn.MultiheadAttention(6, 2).double()(a, b, b)", (5, 3, 6), (4, 6)),
    case("nn.MultiheadAttention(4, 2).double()(a, a, a)", (5, 3, 6)),
    case("nn.MultiheadAttention(6, 2).double()(a, a, a, attn_mask=b)", (5, 3, 6), (5, 4)),
    case("nn.MultiheadAttention(6, 2).double()(a, a, a, b)", (5, 3, 6), (5, 4)),
    case("nn.MultiheadAttention(6, 2).double()(a, a, a, is_causal=True)", (5, 3, 6)),
]
