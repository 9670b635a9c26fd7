"""searchsorted, bucketize and unique against torch."""

import numpy as np
import pytest

N = np.random.default_rng(6).standard_normal
BOUNDS = np.array([-1.0, 0.0, 0.0, 2.0, 5.0])
VALUES = np.array([[0.0, 5.0, 9.0], [-3.0, 1.0, np.nan]])


@pytest.mark.parametrize("options", [{}, {"right": True}, {"side": "right"}, {"out_int32": True}])
def test_searchsorted(same, options):
    def among(lib, bounds, values):
        return lib.searchsorted(bounds, values, **options)

    for values in (VALUES, VALUES[0], np.array(2.0), VALUES[:0]):
        same(among, BOUNDS, values, grad=[])
    same(among, BOUNDS[:0], VALUES, grad=[])
    same(among, np.sort(N((2, 3, 7)), -1), N((2, 3, 4)), grad=[])
    same(among, np.sort(N(1000)), N(5000), grad=[])
    same(lambda lib, bounds: lib.searchsorted(bounds, 0.5, **options), BOUNDS, grad=[])
    same(among, np.arange(5), np.array([2, 7, -1]))
    same(among, np.arange(5), VALUES, grad=[])


def test_sorter_and_bucketize(same):
    shuffled = np.array([5.0, -1.0, 2.0, 0.0, 0.0])
    same(lambda lib, b, o, v: lib.searchsorted(b, v, sorter=o), shuffled, np.argsort(shuffled),
         VALUES, grad=[])
    same(lambda lib, b, v: lib.bucketize(v, b, right=True), BOUNDS, VALUES, grad=[])
    same(lambda lib, b: lib.bucketize(0.0, b), BOUNDS, grad=[])


@pytest.mark.parametrize("x", [
    np.array([3, 1, 2, 1]), np.array([[3, 1], [3, 1], [2, 1]]), np.array(4), np.array([], int),
    np.array([True, False, True]), np.array([1.0, np.nan, 0.0, np.nan, -0.0, 1.0]),
    np.array([[1.0, 1, 2, 2], [1, 1, 2, 3]])], ids=str)
def test_unique(same, x):
    for options in ({}, {"return_inverse": True}, {"return_counts": True},
                    {"return_inverse": True, "return_counts": True}):
        for dim in (None, *range(x.ndim if not np.isnan(x).any() and x.size else 0)):
            for name in ("unique", "unique_consecutive"):
                same(lambda lib, x: getattr(lib, name)(x, dim=dim, **options), x, grad=[])  # noqa: B023
    same(lambda lib, x: x.unique(), x, grad=[])


ERRORS = [
    "searchsorted(z(2, 3), 1.0)", "searchsorted(z(2, 3), z(2))", "searchsorted(z(3), z(1), side='up')",
    "searchsorted(z(3), z(1), side='left', right=True)", "searchsorted(z(()), z(1))",
    "searchsorted(z(3), z(1), sorter=z(2).long())", "bucketize(z(1), z(2, 2))", "unique(z(2), dim=1)",
    *[f"{name}({x}, dim={d})" for name in ("unique", "unique_consecutive")
      for x, d in (("z(())", 0), ("z(3, 0)", 0), ("z(0, 3)", 1))],
]


@pytest.mark.parametrize("text", ERRORS)
def test_errors(same_error, text):
    same_error(lambda lib: eval(text, vars(lib) | {"z": lib.zeros}),
               "must have the same size" if "sorter" in text else None)
