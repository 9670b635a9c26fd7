"""Samples of a row: values it may be tested at, read off its domain, kinks and params."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from nbgrad.formulas.row import Row

Shape = tuple[int, ...]

#: What params are set to, unless SPECIAL_PARAMS says otherwise for a row.
PARAMS = {"alpha": 1.5, "atol": 0.5, "beta": 2.0, "eps": 0.1, "hi": 1.0, "inf": 9.0, "limit": 0.5,
          "lo": -1.0, "nan": 0.25, "ninf": -9.0, "rtol": 0.25, "slope": 0.1, "value": 0.7,
          "up": 10.0, "down": 1.0, "order": 2.0}
SPECIAL_PARAMS = {"softplus": {"limit": 20.0}}

#: Values at which formulas go wrong: kinks, signed zeros, infinities, NaN, extremes.
AWKWARD = np.array([np.nan, np.inf, -np.inf, 0.0, -0.0, 1.0, -1.0, 0.5, -0.5, 2.0, -2.0, 3.0, -3.0,
                    1e-30, 1e30, -1e30, 20.5, -88.0, 100.0, 1e-5])


class Lie(NamedTuple):
    """How an operand lies in memory: the shape to draw, and the view of it that is used."""

    shape: Shape
    view: str = "itself"


VIEWS = {
    "itself": lambda t: t,
    "transposed": lambda t: t.transpose(0, -1),
    "every third": lambda t: t[1::3],
    "column": lambda t: t[:, 2],
    "inner": lambda t: t[1:-1, 1:-1],
    "expanded": lambda t: t.expand(*t.shape[:-1], 4),
    "permuted": lambda t: t.permute(1, 2, 0),
}

#: name -> how the operands of an op lie; an op with more operands goes round.
LAYOUTS: dict[str, tuple[Lie, ...]] = {
    "0-d": (Lie(()),),
    "empty": (Lie((0,)),),
    "one": (Lie((1,)),),
    "odd": (Lie((63,)),),
    "long": (Lie((1000,)),),
    "transposed": (Lie((7, 3), "transposed"),),
    "permuted": (Lie((2, 3, 5), "permuted"),),
    "strided": (Lie((40,), "every third"), Lie((13,))),
    "column": (Lie((7, 5), "column"),),
    "inner": (Lie((6, 9), "inner"),),
    "expanded": (Lie((5, 1), "expanded"), Lie((5, 4))),
}
#: and for ops with several operands, shapes that broadcast
BROADCAST: dict[str, tuple[Lie, ...]] = {
    "outer": (Lie((3, 1)), Lie((1, 4))),
    "row": (Lie((5, 4)), Lie((4,))),
    "column added": (Lie((4, 1)), Lie((2, 1, 3))),
    "scalar": (Lie((63,)), Lie(())),
    "scalar first": (Lie(()), Lie((63,))),
    "one element": (Lie((1, 1)), Lie((5,))),
    "nothing": (Lie((0, 3)), Lie((1, 3))),
    "order": (Lie((7, 3), "transposed"), Lie((3, 7))),
}


def params(row: Row) -> tuple[float, ...]:
    """Values of a row's params."""
    chosen = PARAMS | SPECIAL_PARAMS.get(row.name, {})
    return tuple(chosen[p] for p in row.params)


def layouts(row: Row) -> dict[str, tuple[Lie, ...]]:
    """The layouts a row is to be tested in."""
    return LAYOUTS | BROADCAST if len(row.inputs) > 1 else LAYOUTS


def draw(row: Row, k: int, shape: Shape, dtype=np.float64, seed: int = 0) -> np.ndarray:
    """Input `k` of a row: numbers of its domain that keep away from its kinks."""
    rng = np.random.default_rng([seed, k, len(row.name), ord(row.name[0]), *shape])
    dtype = np.dtype(dtype)
    if (row.kind == "where" and k == 0) or dtype.kind == "b":
        return np.asarray(rng.random(shape) < 0.5)
    if dtype.kind in "iu":
        low = 1 if row.domain != (-3.0, 3.0) else 0 if dtype.kind == "u" else -5
        return np.asarray(rng.integers(low, 6, shape), dtype)
    low, high = row.domain[k] if isinstance(row.domain[0], tuple) else row.domain
    values = np.asarray(rng.uniform(low, high, shape))
    for kink in row.kinks:
        values = np.where(abs(values - kink) < 0.05, kink + 0.1, values)
    return np.asarray(values, dtype)


def awkward(inputs: int, dtype=np.float64) -> list[np.ndarray]:
    """Every awkward value for one input; for several, every pair, the others in a cycle."""
    values = AWKWARD.astype(dtype)
    if inputs == 1:
        return [values]
    first, second = (g.reshape(-1) for g in np.meshgrid(values, values, indexing="ij"))
    return [first, second, np.resize(values[::-1], first.size)][:inputs]
