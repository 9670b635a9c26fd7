"""Pooling over lines, planes and volumes, unpooling, and windows as columns."""

from functools import partial

import numpy as np

from nbgrad.testing.cases import case, distinct, ints

# Some of PyTorch's average pools take int64, as do powers of integers; others do not.
floats = partial(case, dtypes=False)
# PyTorch refuses to differentiate where the operand is no contiguous one.
unpool = partial(case, strided=False)


def ties(*shape):
    """Whole numbers with many equal ones, minus infinity and NaN."""
    def draw(random):
        x = random.integers(-2, 3, shape).astype(float)
        x[random.random(shape) < 0.2] = -np.inf
        x[random.random(shape) < 0.1] = np.nan
        return x

    return draw


def places(*shape, count):
    """Different places below `count` in each plane or volume."""
    def draw(random):
        n = int(np.prod(shape[2:]))
        drawn = [random.permutation(count)[:n] for _ in range(shape[0] * shape[1])]
        return np.array(drawn, np.int64).reshape(shape)

    return draw


CASES = [
    case("torch.max_pool1d(a, 2)", (2, 3, 7)),
    case("F.max_pool1d(a, 3, 2, 1, return_indices=True)", (3, 9)),
    case("torch.max_pool1d_with_indices(a, (3,), [1], 1, 2)", (2, 2, 63)),
    case("F.max_pool1d(a, 2, ceil_mode=True)", (1, 1, 5)),
    case("F.max_pool1d(a, 1)", (0, 3, 4)),
    case("F.max_pool1d(a.detach(), 3, 1, 1)", (2, 70), differentiable=False),
    case("F.max_pool1d(a.detach(), 3, 2, 1, 2, ceil_mode=True)", (2, 70), differentiable=False),
    case("F.max_pool1d(a.detach() / 0, 3, 3)", (2, 7), differentiable=False),
    case("F.max_pool1d(a, 2, return_indices=True)", ties(2, 3, 9), differentiable=False),
    case("torch.max_pool2d(a, 2)", (2, 3, 5, 6)),
    case("F.max_pool2d(a, (3, 2), 1, (1, 0), (1, 2), True, True)", (2, 5, 7)),
    case("F.max_pool2d_with_indices(a, 3, 2, 1)", (1, 2, 6, 5)),
    case("F.max_pool2d(a, 2, 2, 1, return_indices=True)", ties(2, 2, 6, 7), differentiable=False),
    case("F.max_pool2d(a, 3, dilation=2, padding=1)", ints(1, 2, 9, 8)),
    case("torch.max_pool3d(a, 2)", (2, 2, 4, 5, 6)),
    case("F.max_pool3d(a, 3, 2, 1, return_indices=True)", (1, 2, 5, 4, 6)),
    case("F.max_pool3d_with_indices(a, (2, 1, 3), 1, (1, 0, 1), (2, 1, 1), True)", (2, 4, 3, 5)),
    case("F.max_pool3d(a, (1, 2, 2), ceil_mode=True)", (1, 2, 3, 3, 5)),
    case("F.max_pool3d(a, (3, 1, 1), 1, (1, 0, 0))", (1, 2, 4, 2, 3)),
    case("F.max_pool3d(a, 2, 1, 1, return_indices=True)", ties(2, 2, 4, 5, 4),
         differentiable=False),
    case("F.max_pool3d(a, 2)", (0, 1, 3, 3, 3)),
    floats("torch.avg_pool1d(a, 2)", (2, 3, 7)),
    floats("F.avg_pool1d(a, (3,), 2, 1, True, False)", (3, 8)),
    floats("F.avg_pool1d(a, 4, stride=1, padding=2, count_include_pad=True)", (1, 1, 63)),
    floats("F.avg_pool2d(a, 2)", (2, 3, 5, 6)),
    floats("F.avg_pool2d(a, (3, 2), (2, 1), 1, True, False)", (2, 5, 7)),
    floats("F.avg_pool3d(a, 2)", (2, 2, 4, 5, 6)),
    floats("F.avg_pool3d(a, 3, 2, 1, True)", (1, 2, 5, 4, 6)),
    floats("F.avg_pool3d(a, (2, 3, 1), 1, (1, 1, 0), count_include_pad=False)", (2, 3, 4, 2)),
    floats("F.avg_pool3d(a, 2, padding=1, divisor_override=3)", (1, 2, 3, 4, 3)),
    floats("F.avg_pool3d(a, 2)", (0, 1, 3, 3, 3)),
    case("torch.adaptive_avg_pool1d(a, 3)", (2, 3, 7)),
    case("F.adaptive_avg_pool1d(a, (1,))", (3, 5)),
    case("F.adaptive_avg_pool1d(a, 5)", (1, 2, 3)),
    floats("F.adaptive_avg_pool1d(a, 0)", (1, 2, 3), differentiable=False),
    case("F.adaptive_avg_pool2d(a, (3, None))", (2, 3, 5, 4)),
    case("F.adaptive_avg_pool2d(a, 1)", (3, 5, 4)),
    case("F.adaptive_avg_pool3d(a, (2, 3, None))", (2, 2, 5, 4, 3)),
    case("F.adaptive_avg_pool3d(a, 1)", (2, 3, 2, 4, 3)),
    case("F.adaptive_avg_pool3d(a, (2, 1, 5))", (3, 3, 2, 4)),
    case("F.adaptive_avg_pool3d(a, 2)", (0, 2, 3, 3, 3)),
    case("torch.adaptive_max_pool1d(a, 3)", (2, 3, 7)),
    case("F.adaptive_max_pool1d(a, 5)", (2, 3)),
    case("F.adaptive_max_pool1d_with_indices(a, (4,))", (1, 2, 63)),
    case("F.adaptive_max_pool2d(a, (3, None), return_indices=True)", (2, 3, 5, 4)),
    case("F.adaptive_max_pool2d(a, 1)", (3, 5, 4)),
    case("F.adaptive_max_pool2d_with_indices(a, (4, 3))", ties(2, 2, 7, 5), differentiable=False),
    case("F.adaptive_max_pool2d(a, 2)", (0, 2, 3, 3)),
    case("F.adaptive_max_pool3d(a, (2, 3, None))", (2, 2, 5, 4, 3)),
    case("F.adaptive_max_pool3d(a, 2, True)", (2, 3, 4, 3)),
    case("F.adaptive_max_pool3d_with_indices(a, (3, 2, 4))", ties(1, 2, 5, 4, 7),
         differentiable=False),
    case("F.adaptive_max_pool3d(a, (0, 2, 2))", (1, 2, 3, 3, 3), differentiable=False),
    unpool("F.max_unpool1d(a, b, 2)", (2, 3, 4), places(2, 3, 4, count=8)),
    unpool("F.max_unpool1d(a, b[0], 3, 2, 1, (8,))", (1, 4), places(1, 1, 4, count=8)),
    unpool("F.max_unpool2d(a, b, 2)", (2, 3, 2, 3), places(2, 3, 2, 3, count=24)),
    unpool("F.max_unpool2d(a, b, (2, 3), output_size=[1, 1, 5, 8])", (1, 1, 2, 3),
           places(1, 1, 2, 3, count=40)),
    unpool("F.max_unpool2d(*F.max_pool2d(a, 3, 2, 1, return_indices=True), 3, 2, 1)", (2, 5, 7)),
    unpool("F.max_unpool2d(a, b, 2)", (0, 1, 2, 2), ints(0, 1, 2, 2), dtypes=False),
    unpool("F.max_unpool3d(a, b, 2)", (2, 1, 2, 2, 3), places(2, 1, 2, 2, 3, count=96)),
    unpool("F.max_unpool3d(a, b[0], 2, output_size=(5, 4, 3))", (1, 2, 2, 2),
           places(1, 1, 2, 2, 2, count=60)),
    floats("F.lp_pool1d(a, 2, 3)", (2, 3, 7)),
    floats("F.lp_pool1d(a, 3.0, 2, 1, True)", distinct(3, 6)),
    floats("F.lp_pool2d(a, 2, (2, 3), stride=1)", (2, 3, 4, 5)),
    floats("F.lp_pool3d(a, 2, 2, ceil_mode=True)", (1, 2, 3, 4, 5)),
    case("F.unfold(a, 2)", (2, 3, 5, 4)),
    case("F.unfold(a, (3, 2), (1, 2), (2, 1), (2, 1))", (3, 5, 6)),
    case("F.unfold(a, (1, 63))", (1, 1, 2, 63)),
    case("F.unfold(a, 2)", (0, 2, 3, 3)),
    case("F.fold(a, (4, 5), 2)", (2, 8, 12)),
    case("F.fold(a, (5, 6), (3, 2), (1, 2), (2, 1), (2, 1))", (18, 24)),
    case("F.fold(a, 3, kernel_size=[2, 2])", (0, 8, 4)),
    case("F.fold(a, (9, 12), 3, stride=3)", (2, 18, 12)),
    case("F.fold(F.unfold(a, 3, padding=1), (4, 5), 3, padding=1)", (1, 2, 4, 5)),
]

ERRORS = [
    case("F.max_pool1d(a, 2)", (3,)),
    case("F.max_pool1d(a, 4)", (1, 2, 3)),
    case("F.max_pool1d(a, 2, stride=0)", (1, 2, 3)),
    case("F.max_pool1d(a, 2, padding=2)", (1, 2, 3)),
    case("F.max_pool1d(a, 2, padding=-1)", (1, 2, 3)),
    case("F.max_pool1d(a, (2, 2))", (1, 2, 3)),
    case("F.max_pool1d(a, 'x')", (1, 2, 3)),
    case("F.max_pool1d(a, 2)", (1, 0, 3)),
    case("F.max_pool2d(a, 2.5)", (1, 2, 3, 3)),
    case("F.max_pool2d(a, 2, stride='x')", (1, 2, 3, 3)),
    case("F.max_pool2d(1, 2)"),
    case("F.max_pool3d(a, 2)", (3, 3, 3)),
    case("F.max_pool3d(a, 4)", (1, 2, 3, 3, 3)),
    case("F.max_pool3d(a, 2, padding=2)", (1, 2, 3, 3, 3)),
    case("F.max_pool3d(a, 2, dilation=0)", (1, 2, 3, 3, 3)),
    case("F.max_pool3d(a, (2, 2))", (1, 2, 3, 3, 3)),
    case("F.max_pool3d(a, 2)", (1, 2, 3, 0, 3)),
    case("F.avg_pool1d(a, 2)", (3,)),
    case("F.avg_pool1d(a, 4)", (1, 2, 3)),
    case("F.avg_pool1d(a, (2, 2))", (1, 2, 3)),
    case("F.avg_pool1d(a, None)", (1, 2, 3)),
    case("F.avg_pool3d(a, 2)", (3, 3, 3)),
    case("F.avg_pool3d(a, 4)", (1, 2, 3, 3, 3)),
    case("F.avg_pool3d(a, 2, stride=0)", (1, 2, 3, 3, 3)),
    case("F.avg_pool3d(a, 2, divisor_override=0)", (1, 2, 3, 3, 3)),
    case("F.avg_pool3d(a, 2)", (1, 0, 3, 3, 3)),
    case("F.adaptive_avg_pool1d(a, 2)", (3,)),
    case("F.adaptive_avg_pool1d(a, (2, 2))", (1, 2, 3)),
    case("F.adaptive_avg_pool1d(a, None)", (1, 2, 3)),
    case("F.adaptive_avg_pool1d(a, -1)", (1, 2, 3)),
    case("F.adaptive_avg_pool2d(a, 2.5)", (1, 2, 3, 3)),
    case("F.adaptive_avg_pool3d(a, 2)", (3, 3, 3)),
    case("F.adaptive_avg_pool3d(a, (2, 2))", (1, 2, 3, 3, 3)),
    case("F.adaptive_avg_pool3d(a, -1)", (1, 2, 3, 3, 3)),
    case("F.adaptive_avg_pool3d(a, 2)", (1, 2, 3, 0, 3)),
    case("F.adaptive_max_pool1d(a, 2)", (3,)),
    case("F.adaptive_max_pool1d(a, -1)", (1, 2, 3)),
    case("F.adaptive_max_pool1d(a, 1)", (1, 2, 0)),
    case("F.adaptive_max_pool2d(a, None)", (1, 2, 3, 3)),
    case("F.adaptive_max_pool2d(a, (2, 2, 2))", (1, 2, 3, 3)),
    case("F.adaptive_max_pool2d(a, 1)", (1, 2, 3, 0)),
    case("F.adaptive_max_pool3d(a, 2)", (3, 3, 3)),
    case("F.adaptive_max_pool3d(a, -1)", (1, 2, 3, 3, 3)),
    case("F.adaptive_max_pool3d(a, (2, 2))", (1, 2, 3, 3, 3)),
    case("F.max_unpool1d(a, b, 2)", (1, 2, 3), (1, 2, 3)),
    case("F.max_unpool1d(a, b + 9, 2)", (1, 2, 3), ints(1, 2, 3)),
    case("F.max_unpool1d(a, b - 9, 2)", (1, 2, 3), ints(1, 2, 3)),
    case("F.max_unpool1d(a, b, 2)", (1, 2, 3), ints(1, 2, 2)),
    case("F.max_unpool1d(a, b, 2)", (3,), ints(3)),
    case("F.max_unpool1d(a, b, 2, output_size=(20,))", (1, 2, 3), ints(1, 2, 3)),
    case("F.max_unpool1d(a, b, 2, output_size=(1, 20))", (1, 2, 3), ints(1, 2, 3)),
    case("F.max_unpool2d(a, b.int(), 2)", (1, 2, 3, 3), ints(1, 2, 3, 3)),
    case("F.max_unpool2d(a, b + 99, 2)", (1, 2, 3, 3), ints(1, 2, 3, 3)),
    case("F.max_unpool2d(a, b, 2, output_size=(20, 3))", (1, 2, 3, 3), ints(1, 2, 3, 3)),
    case("F.max_unpool2d(a, b, 2)", (1, 0, 3, 3), ints(1, 0, 3, 3)),
    case("F.max_unpool3d(a, b + 999, 2)", (1, 2, 3, 3, 3), ints(1, 2, 3, 3, 3)),
    case("F.max_unpool3d(a, b, 2)", (3, 3, 3), ints(3, 3, 3)),
    case("F.max_unpool3d(a, b, (2, 2))", (1, 2, 3, 3, 3), ints(1, 2, 3, 3, 3)),
    case("F.max_unpool3d(a, b, 2, stride=0)", (1, 2, 3, 3, 3), ints(1, 2, 3, 3, 3)),
    case("F.lp_pool1d(a, 2, 2)", (3,)),
    case("F.lp_pool1d(a, 2, 5)", (1, 2, 3)),
    case("F.lp_pool2d(a, 2, 2, stride=0)", (1, 3, 3, 3)),
    case("F.unfold(a, 4)", (1, 2, 3, 3)),
    case("F.unfold(a, 2, stride=0)", (1, 2, 3, 3)),
    case("F.unfold(a, 2, dilation=0)", (1, 2, 3, 3)),
    case("F.unfold(a, 2, padding=-1)", (1, 2, 3, 3)),
    case("F.unfold(a, (2, 2, 2))", (1, 2, 3, 3)),
    case("F.unfold(a, 2)", (3, 3)),
    case("F.unfold(a, 2)", (1, 0, 3, 3)),
    case("F.unfold(a, 'x')", (1, 2, 3, 3)),
    case("F.fold(a, (3, 3), 2)", (1, 8, 5)),
    case("F.fold(a, (3, 3), 2)", (1, 7, 4)),
    case("F.fold(a, (3, 3, 3), 2)", (1, 8, 4)),
    case("F.fold(a, (1, 1), 2)", (1, 8, 4)),
    case("F.fold(a, (3, 3), 0)", (1, 8, 4)),
    case("F.fold(a, 3, 2)", (3,)),
    case("F.fold(a, None, 2)", (1, 8, 4)),
]
