"""Poison and seal: fresh memory holds NaN in every test, and no test may leave a setting changed."""

import gc

import numpy as np
import pytest

import nbgrad
from nbgrad import printing
from nbgrad.devices import CPU
from nbgrad.engine.mode import state
from nbgrad.kernels import memory
from nbgrad.ops import elementwise, matmul, pair, reductions, special


def poisoned(shape, dtype=float, *args, **kwargs):
    """As np.empty, filled with NaN, or with a large number for ints."""
    made = np.empty(shape, dtype, *args, **kwargs)
    if made.dtype.kind in "fiu":
        made.fill(np.nan if made.dtype.kind == "f" else 77)
    return made


@pytest.fixture(autouse=True)
def poison(monkeypatch):
    monkeypatch.setattr(memory, "empty", poisoned)
    # A launch keeps what it was given: poison, from here on.
    for module in (elementwise, matmul, pair, reductions, special):
        monkeypatch.setattr(module, "maker", lambda size, place=CPU, make=module.maker: (
            poisoned if place is CPU else make(size, place)))


def settings():
    return {"grad mode": state.grad, "anomaly mode": (state.anomaly, state.check_nan),
            "default dtype": nbgrad.get_default_dtype(), "print options": printing.get_printoptions(),
            "threads": nbgrad.get_num_threads()}


@pytest.fixture(autouse=True)
def seal():
    before = settings()
    yield
    after = settings()
    state.grad, (state.anomaly, state.check_nan) = before["grad mode"], before["anomaly mode"]
    nbgrad.set_default_dtype(before["default dtype"])
    nbgrad.set_num_threads(before["threads"])
    printing.set_printoptions(**before["print options"])
    leaked = [name for name in before if before[name] != after[name]]
    assert not leaked, f"the test left {', '.join(leaked)} changed"


def pytest_collection_finish() -> None:
    settle()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item, nextitem):
    found = yield
    if nextitem is None or nextitem.path != item.path:
        settle()
    return found


def settle() -> None:
    """Tens of thousands of tests, and what was compiled, are never garbage: nobody need look there."""
    gc.collect()
    gc.freeze()
