"""Pooling against torch."""

import numpy as np
import pytest

N = np.random.default_rng(2).standard_normal

MAX = [
    ((2, 3, 8, 9), {"kernel_size": 2}), ((3, 8, 9), {"kernel_size": (3, 2), "stride": 2}),
    ((2, 3, 8, 9), {"kernel_size": 3, "stride": 1, "padding": 1}),
    ((0, 3, 4, 4), {"kernel_size": 2}),
    ((1, 2, 9, 7), {"kernel_size": 3, "stride": 2, "padding": 1, "dilation": 2, "ceil_mode": True}),
    ((1, 1, 1, 1), {"kernel_size": 1}), ((1, 2, 63, 5), {"kernel_size": (5, 2), "stride": (3, 1)}),
]
AVERAGE = [
    ((2, 3, 8, 9), {"kernel_size": 2}), ((3, 8, 9), {"kernel_size": (3, 2), "stride": 2}),
    ((1, 2, 9, 7), {"kernel_size": 3, "stride": 2, "padding": 1, "ceil_mode": True}),
    ((1, 2, 9, 7), {"kernel_size": 3, "stride": 2, "padding": 1, "count_include_pad": False}),
    ((1, 2, 9, 7), {"kernel_size": 3, "padding": 1, "divisor_override": 4}),
]
ADAPTIVE = [((2, 3, 8, 9), 1), ((2, 3, 8, 9), (3, 4)), ((3, 7, 5), (None, 2)),
            ((1, 1, 2, 3), (5, 7)),
            ((2, 3, 8, 9), (8, 9)), ((0, 3, 4, 4), 2)]


@pytest.mark.parametrize("shape, options", MAX, ids=str)
def test_max_pool2d(same, shape, options):
    same(lambda lib, x: lib.max_pool2d(x, return_indices=True, **options), N(shape))
    same(lambda lib, x: lib.max_pool2d(x, **options), N(shape))


def test_max_pool2d_takes_the_first_of_equals_and_nan(same):
    same(lambda lib, x: lib.max_pool2d(x, 2, 1, return_indices=True), np.ones((1, 1, 4, 4)))
    x = N((1, 1, 6, 6))
    x[0, 0, 2, 3] = np.nan
    same(lambda lib, x: lib.max_pool2d(x, 3, return_indices=True), x)


@pytest.mark.parametrize("shape, options", AVERAGE, ids=str)
def test_avg_pool2d(same, shape, options):
    same(lambda lib, x: lib.avg_pool2d(x, **options), N(shape))


@pytest.mark.parametrize("shape, size", ADAPTIVE, ids=str)
def test_adaptive_avg_pool2d(same, shape, size):
    same(lambda lib, x: lib.adaptive_avg_pool2d(x, size), N(shape))


def test_strides(same):
    x = N((2, 5, 6, 3)).transpose(0, 3, 1, 2)
    for call in (lambda lib, x: lib.max_pool2d(x, 2), lambda lib, x: lib.avg_pool2d(x, 2),
                 lambda lib, x: lib.adaptive_avg_pool2d(x, 2)):
        same(call, x)


def test_average_saves_nothing(saved):
    assert saved(lambda lib, x: lib.avg_pool2d(x, 2), N((1, 2, 4, 4))) == []
    assert saved(lambda lib, x: lib.max_pool2d(x, 2), N((1, 2, 4, 4))) == [(1, 2, 2, 2)]


ERRORS = [
    "max_pool2d(z(3, 2, 2), 3)", "max_pool2d(z(1, 3, 2, 2), 2, padding=2)",
    "max_pool2d(z(3, 2), 2)",
    "max_pool2d(z(1, 3, 4, 4), 2, stride=0)", "max_pool2d(z(1, 3, 4, 4), 2, dilation=0)",
    "max_pool2d(z(1, 0, 4, 4), 2)", "avg_pool2d(z(3, 2, 2), 3)",
    "avg_pool2d(z(1, 3, 2, 2), 2, padding=2)", "avg_pool2d(z(1, 3, 4, 4), 2, divisor_override=0)",
    "adaptive_avg_pool2d(z(3, 2), 2)", "adaptive_avg_pool2d(z(1, 3, 4, 4), (2, 2, 2))",
    "adaptive_avg_pool2d(z(1, 3, 4, 4), (-1, 2))", "adaptive_avg_pool2d(z(1, 3, 0, 4), (1, 2))",
]


@pytest.mark.parametrize("text", ERRORS)
def test_errors(same_error, text):
    same_error(lambda lib: eval(text, vars(lib) | {"z": lib.zeros}))
