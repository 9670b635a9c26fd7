"""Every benchmark runs: set up and called once with its first parameters."""

import importlib.util
import inspect
import subprocess
import sys
from pathlib import Path

import pytest

SUITES = Path(__file__).parents[1] / "benchmarks" / "suites"
TIMED = ("time_", "peakmem_", "timeraw_")


def _module(path: Path):
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _benchmarks():
    for path in sorted(SUITES.glob("bench_*.py")):
        for name, suite in inspect.getmembers(_module(path), inspect.isclass):
            if any(method.startswith(TIMED) for method in dir(suite)):
                yield pytest.param(suite, id=f"{path.stem}.{name}")


def _first(suite) -> tuple:
    """The first value of each parameter; as asv has it, a plain list is that of a single one."""
    params = getattr(suite, "params", ())
    if params and not isinstance(params[0], list | tuple):
        params = (params,)
    return tuple(values[0] for values in params)


@pytest.mark.parametrize("suite", list(_benchmarks()))
def test_benchmark_runs(suite):
    made, params = suite(), _first(suite)
    if hasattr(made, "setup"):
        made.setup(*params)
    for name in dir(suite):
        if name.startswith("timeraw_"):
            subprocess.run([sys.executable, "-W", "error", "-c", getattr(made, name)()], check=True)
        elif name.startswith(TIMED):
            getattr(made, name)(*params)
