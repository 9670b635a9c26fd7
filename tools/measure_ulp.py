"""Measure the errors of the elementary functions on tensors and write docs/accuracy.md.

An error is |y - f(x)| in units in the last place of f(x), over a million arguments all over the range
where the result is a normal number. float32 is held against float64, float64 against mpmath where
the float is nearest to failing: 80-bit floats find those arguments first.

    python tools/measure_ulp.py             # on this machine's vectors, on AVX2 and without either
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import mpmath as mp
import numpy as np
from scipy import special

COUNT = 400_000
#: Arguments for float32 and for float64.
RANGES = {
    "exp": ((-87, 88.7), (-708, 709.7)), "exp2": ((-126, 128), (-1022, 1024)),
    "expm1": ((-20, 88.7), (-40, 709.7)), "log": ((0, 10), (0, 10)), "log2": ((0, 10), (0, 10)),
    "log10": ((0, 10), (0, 10)), "log1p": ((-1, 10), (-1, 10)), "tanh": ((-11, 11), (-23, 23)),
    "sigmoid": ((-87, 20), (-700, 40)), "erf": ((-4.5, 4.5), (-6.5, 6.5)),
    "sin": ((-1e6, 1e6), (-1e6, 1e6)), "cos": ((-1e6, 1e6), (-1e6, 1e6)), "pow": ((0, 10), (0, 10))}
WIDER = {
    "erf": special.erf, "sigmoid": lambda x: 1 / (1 + np.exp(-x)),
    "pow": lambda x, y: x**y}
EXACT = {
    "exp2": lambda x: mp.mpf(2) ** x, "log2": lambda x: mp.log(x, 2), "log1p": mp.log1p,
    "sigmoid": lambda x: 1 / (1 + mp.exp(-x)), "pow": lambda x, y: mp.mpf(x) ** mp.mpf(y)}
MACHINES = {
    "this machine": {},
    "AVX2": {"NUMBA_CPU_NAME": "haswell", "NUMBA_CPU_FEATURES": ""},
    "neither": {"NUMBA_CPU_NAME": "x86-64", "NUMBA_CPU_FEATURES": ""}}
PAGE = Path(__file__).parents[1] / "docs/accuracy.md"


def arguments(name, dtype):
    rng = np.random.default_rng(0)
    low, high = RANGES[name][dtype is np.float64]
    x = np.concatenate([rng.uniform(low, high, COUNT), rng.uniform(max(low, -1), 1, COUNT),
                        np.exp(rng.uniform(-20, np.log(high), COUNT))]).astype(dtype)
    x = x[x != 0]
    return (x, rng.uniform(-20, 20, x.size).astype(dtype)) if name == "pow" else (x,)


def largest_error(name, dtype) -> float:
    import nbgrad

    args = arguments(name, dtype)
    found = getattr(nbgrad, name)(*map(nbgrad.from_numpy, args)).numpy()
    wide = [a.astype(np.longdouble if dtype is np.float64 and name != "erf" else np.float64)
            for a in args]
    near = WIDER.get(name, getattr(np, name, None))(*wide)
    unit = np.spacing(np.abs(near.astype(dtype))).astype(near.dtype)
    normal = np.abs(near) >= np.finfo(dtype).tiny
    error = np.where(normal & np.isfinite(near.astype(dtype)), np.abs(found - near) / unit, 0)
    if dtype is np.float32:
        return float(error.max())
    exact = EXACT.get(name, getattr(mp, name, None))
    worst = np.argsort(error)[-300:]
    return max(float(abs(mp.mpf(float(found[k])) - exact(*(mp.mpf(float(a[k])) for a in args)))
                     / mp.mpf(float(unit[k]))) for k in worst)


def measure() -> dict:
    mp.mp.dps = 40
    with np.errstate(all="ignore"):
        return {name: [largest_error(name, dtype) for dtype in (np.float32, np.float64)]
                for name in RANGES}


def measured_as(settings: dict) -> dict:
    done = subprocess.run([sys.executable, __file__, "--one"], env={**os.environ, **settings},
                          check=True, capture_output=True, text=True)
    return json.loads(done.stdout)


def main() -> None:
    if "--one" in sys.argv:
        print(json.dumps(measure()))
        return
    columns = [measured_as(settings) for settings in MACHINES.values()]
    lines = [
        "# Accuracy of the elementary functions", "",
        "Largest errors found, in units in the last place, over a million arguments where the result",
        "is a normal number; sin and cos up to a million. In each field float32 / float64. Written",
        "by `python tools/measure_ulp.py`; `tests/kernels/test_maths.py` holds all of them to 2 and",
        "tests infinities, NaN, signed zeros and subnormal numbers.", "",
        f"| function | {' | '.join(MACHINES)} |", "| --- |" + " --- |" * len(MACHINES)]
    for name in RANGES:
        fields = (" / ".join(f"{e:.2f}" for e in column[name]) for column in columns)
        lines.append(f"| {name} | {' | '.join(fields)} |")
    PAGE.parent.mkdir(exist_ok=True)
    PAGE.write_text("\n".join(lines) + "\n")
    print(PAGE.read_text())


if __name__ == "__main__":
    main()
