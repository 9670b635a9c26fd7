"""Activations that draw, where they do not: with one slope to draw from, or none drawn at all."""

from nbgrad.testing.cases import case, ints

CASES = [
    *[case(f"{name}", *shapes) for shapes in [((3, 4),), ((),), ((0, 3),), ((63,),)] for name in (
        "torch.rrelu(a)", "F.rrelu(a, 0.1, 0.2)", "F.rrelu(a, 0.25, 0.25, True)",
        "torch.rrelu(a, upper=0.5, lower=0.5, training=True)", "nn.RReLU(0.3, 0.4).eval()(a)")],
    case("F.rrelu_(a.clone(), 0.5, 0.5, training=True)", (3, 4)),
    case("F.rrelu(a.clone(), inplace=True)", (3, 4)),
    case("str(nn.RReLU()), str(nn.RReLU(0.1, 0.2, True))"),
    # one class: all its noise falls away
    case("F.gumbel_softmax(a, dim=1)", (3, 1)),
    case("F.gumbel_softmax(a, 0.5, True)", (3, 1)),
    case("F.gumbel_softmax(a, hard=True).sum(-1)", (3, 4), differentiable=False),
    case("F.gumbel_softmax(a, 2.0, dim=0).sum(0)", (3, 4), differentiable=False),
    case("F.upsample_nearest(a, scale_factor=2)", (1, 2, 3, 4)),
    case("F.upsample_bilinear(a, (5, 6))", (1, 2, 3, 4), dtypes=False),  # as interpolate: no bytes
]
ERRORS = [
    case("torch.rrelu(a, 0.5, 0.2)", (3,)), case("torch.rrelu(a, 0.5, 0.2, True)", (3,)),
    case("torch.rrelu(a, 'a')", (3,)), case("torch.rrelu(1.0)"), case("F.rrelu(a)", ints(3)),
    case("F.rrelu_(a)", (3,)), case("F.rrelu(a, training=True)", ints(3)),
    case("F.gumbel_softmax(a)", ints(3)), case("F.gumbel_softmax(a, dim=3)", (3,)),
    case("F.gumbel_softmax([1.0])"),
]
