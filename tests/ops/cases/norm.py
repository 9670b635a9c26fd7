"""Norms by group and by instance."""

from nbgrad.testing.cases import case

CASES = [
    case("F.group_norm(a, 2)", (2, 4, 3)),
    case("torch.group_norm(a, 3, b, c, 0.1)", (2, 6, 3, 2), (6,), (6,)),
    case("F.instance_norm(a)", (2, 3, 5)),
    case("F.instance_norm(a, weight=b, bias=c, eps=0.1)", (2, 3, 2, 4), (3,), (3,)),
    case("F.group_norm(a, 1, weight=b)", (1, 3, 1, 63), (3,)),
    # PyTorch's own gradient fails where there is a bias and no weight.
    case("F.group_norm(a, 4, bias=b)", (3, 4, 5), (4,), differentiable=False),
    case("F.group_norm(a, 2, b, c)", (3, 4), (4,), (4,)),
    case("F.group_norm(a, 2, b)", (0, 4, 3), (4,)),
    case("F.instance_norm(a)", (1, 1, 2, 3, 2)),
]

ERRORS = [
    case("F.group_norm(a, 2)", (2, 3)),
    case("F.group_norm(a, 2)", (2,)),
    case("F.group_norm(a, 2, b)", (2, 4, 3), (3,)),
    case("F.instance_norm(a)", (1, 2, 1)),
    case("F.instance_norm(a, use_input_stats=False)", (1, 2, 3)),
    case("F.group_norm(a, 2, None, b)", (2, 4, 3), (2, 2)),
    case("F.group_norm(a, 2, b.float())", (2, 4, 3), (4,)),
    case("F.instance_norm(a, weight=b)", (2, 3, 4), (2,)),
    case("F.instance_norm(a, running_mean=b)", (2, 3, 4), (2,)),
]
