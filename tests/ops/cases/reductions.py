"""Reductions."""

from nbgrad.testing.cases import case

CASES = [
    case("torch.sum(a)", (3, 4)),
    case("torch.sum(a, 1, keepdim=True)", (3, 4)),
    case("torch.transpose(a, 0, 1)", (3, 4)),
    case("torch.relu(a)", (63,)),
    case("torch.mul(a, b)", (3, 1), (4,)),
]

ERRORS = [
    case("torch.sum(a, 2)", (3, 4)),
]
