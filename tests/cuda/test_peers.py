"""benchmarks.peers --device cuda in small: what it times is right, and done when the clock stops."""

import sys
from pathlib import Path

import pytest

import nbgrad

sys.path.insert(0, str(Path(__file__).parents[2]))

from benchmarks.peers import report
from benchmarks.peers.agreement import difference
from benchmarks.peers.results import Row
from benchmarks.peers.worker import Worker
from benchmarks.peers.workloads import elementwise, workloads

from nbgrad.kernels.cuda.provider import SIMULATED, machine

MODULE = "benchmarks.peers.workloads"
GROUPS = ("elementwise", "reductions", "norms", "indexing/embedding", "indexing/gather")


@pytest.fixture
def ours():
    threads = nbgrad.get_num_threads()
    try:
        yield Worker("nbgrad", 1, "cuda", MODULE, True)
    finally:
        nbgrad.set_default_device("cpu")
        nbgrad.set_num_threads(threads)


@pytest.mark.parametrize("group", GROUPS)
def test_workloads_are_right(ours, group):
    pytest.importorskip("torch")
    theirs = Worker("torch", 1, "cpu", MODULE, True)
    keys = [w.key for w in workloads(True) if w.key.startswith(group)]
    assert keys
    for key in keys:
        (state, found), (_, expected) = ours.prepare(key), theirs.prepare(key)
        assert state == "ready", (key, found)
        w = ours.workloads[key]
        assert difference(found, expected, w.tolerance, w.drawn) is None, key


@pytest.mark.skipif(not SIMULATED, reason="a device does its work when it likes")
@pytest.mark.parametrize("mode", ["forward", "backward", "both"])
def test_work_is_done_when_the_clock_stops_and_none_is_left_when_it_starts(ours, monkeypatch, mode):
    key = next(w.key for w in workloads(True) if w.mode == mode)
    ours.prepare(key)
    seen = []
    monkeypatch.setattr(machine, "late", True)
    monkeypatch.setattr("benchmarks.peers.worker.perf_counter",
                        lambda: seen.append(machine.finished(0)) or float(len(seen)))
    assert ours.round(5) > 0 and ours.calibrate(0.1)[0] == 1
    assert seen and all(seen)


def test_the_device_is_named_and_no_limits_of_the_cpu_are_compared_with(ours):
    assert ours.library.version.endswith(nbgrad.cuda.get_device_name())
    assert ours.limits() == {} and "at most" not in report.machine({}, 1)
    row = Row(elementwise.ELEMENTWISE, "row", 1, flops=1, bytes=1, measured={"nbgrad": [1.0]})
    assert row.share("nbgrad", {}) is None and "1 s" in report.line(row, [], {})


def test_a_library_without_a_device_says_so():
    torch = pytest.importorskip("torch")
    if torch.cuda.is_available():
        pytest.skip("this PyTorch has one")
    with pytest.raises(SystemExit, match=r"this torch \(.*\) finds no CUDA device"):
        Worker("torch", 1, "cuda", MODULE, True)
