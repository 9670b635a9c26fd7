"""The errors of elementwise kernels on a GPU, found without one: part of `make cuda-compile`.

Rows of the table run as cuda_on_host computes them and as the CPU does, on numbers of every size and
on awkward ones. An error is |y - f(x)| in units in the last place of f(x), which is had in double
precision, and by mpmath where the error is largest; for float64 by mpmath always, on fewer numbers.
A function may be wrong by two units or by as much as the CPU's, a formula of several steps by four
times as much as the CPU's, and no float32 may become a float64 unseen.

    python tools/cuda_accuracy.py --only tanh
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import lru_cache
from multiprocessing import get_context
from types import SimpleNamespace

import cuda_on_host
import mpmath as mp
import numpy as np
from scipy import special

from nbgrad.formulas.elementwise import TABLE
from nbgrad.formulas.expr import SELECT, Expr, topological
from nbgrad.formulas.row import Row
from nbgrad.testing.samples import params

COUNT = {np.float32: 35_000, np.float64: 150}
#: Shares of the error of approximate instructions; 2 draws them.
SKEWS = (0.0, 1.0, -1.0, 2.0)
SIZES = [0, 1, 0.5, 2, 3, 20.5, 88, 89, 100, 104, 1e-5, 1e-30, 1e30, 1e38, 1e-38, 1e-45, 2**-126,
         2**-149, 2**23, 2**24 + 2, 2**31, 2**62, 710, 745, 3.4e38, math.inf]
#: Rows that compute in double precision what is float32, and their gradients.
DOUBLE = ("tan", "erfc", "erfinv", "lgamma", "digamma", "polygamma")
AWKWARD = np.array([*SIZES, *(-x for x in SIZES), math.nan])


def arguments(row: Row, dtype) -> list[np.ndarray]:
    """Numbers of every size, of the row's domain, near whole numbers and turns; awkward ones."""
    rng, count = np.random.default_rng(len(row.name)), COUNT[dtype]
    bits = np.uint32 if dtype is np.float32 else np.uint64

    def drawn(k: int) -> np.ndarray:
        low, high = row.domain[k] if isinstance(row.domain[0], tuple) else row.domain
        whole = rng.integers(-40, 40, count) * rng.choice([1, 0.5, math.pi / 4], count)
        return np.concatenate([
            rng.integers(0, np.iinfo(bits).max, count, bits, endpoint=True).view(dtype),
            rng.uniform(low, high, count), rng.uniform(-100, 100, count), rng.uniform(-12, 12, count),
            rng.uniform(-1, 1, count), whole + rng.choice([0, 1e-6, -1e-3], count) * rng.random(count),
            1 + rng.uniform(-1e-3, 1e-3, count)]).astype(dtype)

    columns = [drawn(k) for k in range(len(row.inputs))]
    for column in columns[1:]:  # of like size, and of any
        column[::3] = columns[0][::3] * rng.uniform(-3, 3, column[::3].size).astype(dtype)
        column[1::3] = rng.permutation(column[1::3])
    awkward = np.meshgrid(*[AWKWARD.astype(dtype)] * min(2, len(columns)), indexing="ij")
    ends = [a.reshape(-1) for a in awkward]
    ends += [np.resize(AWKWARD[::-1].astype(dtype), ends[0].size)] * (len(columns) - len(ends))
    return [np.append(c, e) for c, e in zip(columns, ends)]


# exact values

_INVERSE = ("sin", "cos", "tan", "sinh", "cosh", "tanh")
_SAME = ("exp", "expm1", "log", "log10", "log1p", "sqrt", "hypot", *_INVERSE)
WIDE = SimpleNamespace(
    **{n: getattr(np, n) for n in (*_SAME, "exp2", "log2", "copysign", "fmod")},
    **{f"a{n}": getattr(np, f"arc{n}") for n in (*_INVERSE, "tan2")},
    **{n: getattr(special, n) for n in ("erf", "erfc", "erfinv")},
    lgamma=lambda x: np.where(x == -np.inf, np.inf, special.gammaln(x)),
    digamma=lambda x: np.where(x == 0, np.copysign(np.inf, -x), special.psi(x)),
    polygamma=lambda n, x: np.where(x > 0, special.polygamma(int(n), x), np.nan),
    pow=np.power, normal_cdf=special.ndtr, remainder=np.remainder, floor_divide=np.floor_divide)


def _remainder(a, b):
    with mp.workdps(700):  # a / b has up to 2000 bits
        return a - b * mp.floor(a / b)


def _rest(a, b):
    return mp.sign(a) * _remainder(abs(a), abs(b))


def _polygamma(n, x):
    """To the left of zero by reflection, where mpmath would go by steps of 1."""
    n = int(n)
    if x >= 0:
        return mp.polygamma(n, x)
    terms = [0, 1]  # of powers of the cotangent
    for _ in range(n):
        slope = [-mp.pi * k * c for k, c in enumerate(terms)][1:]
        terms = [p + q for p, q in zip([*slope, 0, 0], [0, 0, *slope])]
    turned = mp.polyval(terms[::-1], mp.cot(mp.pi * (x - mp.nint(x))))
    return (-1) ** n * mp.polygamma(n, 1 - x) - mp.pi * turned


EXACT = SimpleNamespace(
    **{n: getattr(mp, n) for n in (*_SAME, *(f"a{n}" for n in (*_INVERSE, "tan2")), "erf", "erfc",
                                   "erfinv", "digamma")},
    exp2=lambda x: mp.mpf(2) ** x, log2=lambda x: mp.log(x, 2),
    lgamma=lambda x: mp.log(abs(mp.gamma(x))), pow=mp.power, normal_cdf=mp.ncdf, fmod=_rest,
    copysign=lambda a, b: -abs(a) if b < 0 else abs(a),
    remainder=_remainder, floor_divide=lambda a, b: mp.floor(a / b),
    polygamma=_polygamma)
_ROUNDING = SimpleNamespace(floor=mp.floor, ceil=mp.ceil, trunc=lambda x: mp.sign(x) * mp.floor(abs(x)),
                            rint=mp.nint, fmod=_rest)


def value(formula: Expr, given: dict, scope: dict):
    """A formula in other numbers than the kernels'.

    `scope` says what `math` and `np` are, and has `select`, `negate` and `number`, of a constant.
    """
    values: dict[Expr, object] = {}
    for node in topological([formula]):
        args = [values[a] for a in node.args]
        if node.op is None:
            values[node] = given[node.value] if node.is_var else scope["number"](node.value)
        elif node.op is SELECT:
            values[node] = scope["select"](*args)
        elif node.op.formula is not None and not hasattr(scope["math"], node.op.name):
            values[node] = value(node.op.formula, dict(zip(node.op.args, args)), scope)
        else:
            names = [f"v{k}" for k in range(len(args))]
            text = node.op.source.format(*names).replace("(not ", "negate(")
            values[node] = eval(text, scope, dict(zip(names, args)))
    return values[formula]


def wide(row: Row, args, numbers) -> np.ndarray:
    """The row in double precision."""
    scope = {"math": WIDE, "np": np, "select": np.where, "negate": np.logical_not, "number": np.float64}
    given = dict(zip((*row.inputs, *row.params), (*(a.astype(np.float64) for a in args), *numbers)))
    return np.broadcast_to(np.asarray(value(row.formula, given, scope), np.float64), args[0].shape)


@lru_cache(10_000)  # asked for the CPU's result and for the device's
def exact(row: Row, point: tuple[float, ...], numbers):
    """The row at finite numbers in 40 digits; None where it is no real number."""
    scope = {"math": EXACT, "np": _ROUNDING, "select": lambda c, p, q: p if c else q,
             "negate": lambda x: not x, "number": mp.mpf}
    given = dict(zip((*row.inputs, *row.params), map(mp.mpf, (*point, *numbers))))
    try:
        y = value(row.formula, given, scope)
    except (ZeroDivisionError, ValueError, OverflowError, TypeError, mp.libmp.NoConvergence):
        return None
    return mp.re(y) if mp.im(y) == 0 and mp.isfinite(y) else None


# errors


def unit(y: float, dtype) -> float:
    return float(np.spacing(dtype(max(abs(y), float(np.finfo(dtype).tiny)))))


def error_at(row: Row, k: int, found: np.ndarray, args, numbers) -> float | None:
    """The error of one result by mpmath; None where that knows no better."""
    dtype, point = found.dtype.type, tuple(float(a[k]) for a in args)
    y = exact(row, point, numbers) if all(map(math.isfinite, point)) else None
    if y is None or abs(y) > float(np.finfo(dtype).max):
        return None
    return float(abs(mp.mpf(float(found[k])) - y) / unit(float(y), dtype)) if np.isfinite(found[k]) \
        else math.inf


def errors(row: Row, found: np.ndarray, right: np.ndarray | None, args, numbers) -> np.ndarray:
    """The error of each result; infinite where one is a number and the other is none."""
    dtype = found.dtype.type
    if right is None:
        return np.array([error_at(row, k, found, args, numbers) or 0 for k in range(found.size)])
    rounded = right.astype(dtype)
    units = np.spacing(np.maximum(np.abs(rounded), np.finfo(dtype).tiny)).astype(np.float64)
    error = np.abs(found.astype(np.float64) - right) / units
    same = (found == rounded) | (np.isnan(found) & np.isnan(rounded))
    error = np.where(np.isfinite(rounded), error, np.where(same, 0, np.inf))
    return np.where(np.isnan(error), np.inf, error)


def largest(row: Row, found, error: np.ndarray, args, numbers) -> tuple[float, tuple]:
    """The largest error, and the arguments and the result there."""
    worst: tuple[float, tuple] = (0.0, ())
    for k in np.argsort(error)[:-40:-1]:
        if error[k] <= worst[0]:
            break
        better = error_at(row, k, found, args, numbers)
        worst = max(worst, (float(error[k]) if better is None else better,
                            (*[float(a[k]) for a in args], float(found[k]))))
    return worst


def measured(row: Row, dtype) -> dict:
    """The largest errors of a row on the device, for each skew, and on the CPU."""
    import nbgrad
    from nbgrad.ops.elementwise import Elementwise
    op, numbers, args = Elementwise(row), params(row), arguments(row, dtype)
    right = wide(row, args, numbers) if dtype is np.float32 else None

    def found(device: str) -> np.ndarray:
        return op.of(*[nbgrad.from_numpy(a).to(device) for a in args], attrs=numbers).cpu().numpy()

    cpu = found("cpu")
    own = errors(row, cpu, right, args, numbers)
    aside = np.isinf(own)  # where steps of the formula overflow
    device = []
    cuda_on_host.traits.clear()
    for amount in SKEWS:
        cuda_on_host.skew(amount)
        y = found("cuda")
        error = np.where(aside, 0, errors(row, y, right, args, numbers))
        device.append(largest(row, y, error, args, numbers))
        if "approximate" not in cuda_on_host.traits:
            break
    doubles = dtype is np.float32 and "double" in cuda_on_host.traits
    return {"row": row, "device": device[0], "skewed": max(device),
            "doubles": doubles and not row.name.startswith(DOUBLE),
            "cpu": largest(row, cpu, np.where(aside, 0, own), args, numbers)}


def bound(row: Row, cpu: float) -> float:
    is_function = row.formula.op is not None and (row.formula.op.source or "").startswith("math.")
    return max(2.0, cpu if is_function else 4 * cpu)


def rows(only: str, backward: bool) -> Iterator[Row]:
    for row in TABLE.values():
        if row.kind not in ("arith", "float") or row.name == "nextafter" or only not in row.name:
            continue
        yield row
        if backward and row.differentiable:
            yield from (r for k in range(len(row.inputs)) if (r := row.vjp(k)[0]).inputs)


_rows: list[Row] = []  # of this process, given to its forks


def _one(k: int, name: str) -> dict:
    np.seterr(all="ignore")
    mp.mp.dps = 40
    return {**measured(_rows[k], np.dtype(name).type), "row": k}


def table(pool: ProcessPoolExecutor, dtype: str) -> int:
    """Print the errors of all rows as they are found; how many are worse than allowed."""
    print(f"{dtype:24} {'device':>12} {'at worst':>12} {'CPU':>12}  arguments and result at the worst")
    failed = 0
    for found in pool.map(_one, range(len(_rows)), [dtype] * len(_rows)):
        row, cpu = _rows[found["row"]], found["cpu"][0]
        wrong = found["skewed"][0] > bound(row, cpu)
        failed += wrong or found["doubles"]
        print(f"{row.name:24} {found['device'][0]:12.2f} {found['skewed'][0]:12.2f} {cpu:12.2f}  "
              f"{', '.join(f'{x:.9g}' for x in found['skewed'][1])}{'  TOO LARGE' if wrong else ''}"
              f"{'  COMPUTES IN DOUBLE' if found['doubles'] else ''}", flush=True)
    print(f"{len(_rows)} rows in {dtype}, {failed} worse than allowed")
    return failed


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--only", default="", help="rows whose name contains this")
    parser.add_argument("--dtype", choices=("float32", "float64"), help="this one alone, not both")
    parser.add_argument("--backward", action="store_true", help="the rows of the gradients too")
    parser.add_argument("--jobs", type=int, default=2)
    options = parser.parse_args()
    cuda_on_host.install()
    _rows.extend({repr(row): row for row in rows(options.only, options.backward)}.values())
    with ProcessPoolExecutor(options.jobs, get_context("fork")) as pool:
        failed = [table(pool, name) for name in ("float32", "float64") if options.dtype in (None, name)]
    return 1 if any(failed) else 0


if __name__ == "__main__":
    sys.exit(main())
