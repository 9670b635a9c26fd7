"""`python -m nbgrad`: what a user reads when something is slow or broken."""

import os
import re
import subprocess
import sys

import pytest

import nbgrad
from nbgrad.cli import doctor, main, warm


def run(*arguments, check=True, **env):
    return subprocess.run([sys.executable, "-m", "nbgrad", *arguments], env=os.environ | env, text=True,
                          capture_output=True, timeout=280, check=check)


def report(**env):
    """The doctor's lines by their names."""
    found = run("doctor", **{"NUMBA_NUM_THREADS": "2"} | env)
    assert found.stderr == ""
    return dict(re.split(r"  +", line, maxsplit=1) for line in found.stdout.splitlines())


def test_the_doctor_s_report(tmp_path):
    lines = report(NBGRAD_CACHE_DIR=str(tmp_path))
    assert list(lines) == ["versions", "system", "CPU", "vectors", "threads", "memory pool",
                           "CUDA", "gradient", "kernel cache"]
    assert f"nbgrad {nbgrad.__version__}, Python" in lines["versions"]
    assert re.match(r"(128|256|512) bits", lines["vectors"])
    assert re.match(rf"\d+ on \w+, for work of {nbgrad.config.PARALLEL_THRESHOLD} or more",
                    lines["threads"])
    assert lines["kernel cache"].startswith(f"{tmp_path}: ")
    assert re.search(r"\d+ kernels, [\d.]+ MB; this process found 0 and compiled \d",
                     lines["kernel cache"])
    assert re.match(r"right, after [\d.]+ s", lines["gradient"])
    again = report(NBGRAD_CACHE_DIR=str(tmp_path))
    assert re.search(r"this process found \d and compiled 0", again["kernel cache"])


@pytest.mark.parametrize("name, env, expected", [
    ("kernel cache", {"NBGRAD_CACHE_DIR": "/proc/nowhere"}, "none: no folder can be written"),
    ("memory pool", {"NBGRAD_POOL_MB": "0"}, "off"),
    ("threads", {"NUMBA_NUM_THREADS": "1"}, "one"),
    ("threads", {"NUMBA_THREADING_LAYER": "workqueue"}, "2 on workqueue"),
    ("threads", {"NUMBA_THREADING_LAYER": "nonsense"}, "error: ValueError"),
    ("CPU", {"NUMBA_CPU_NAME": "haswell", "NUMBA_CPU_FEATURES": ""}, "haswell"),
    ("vectors", {"NUMBA_CPU_NAME": "haswell", "NUMBA_CPU_FEATURES": ""}, "256 bits"),
    ("vectors", {"NUMBA_DISABLE_JIT": "1"}, "off"),
])
def test_the_doctor_of_the_broken(name, env, expected):
    lines = report(**env)
    assert len(lines) == 9 and expected in lines[name]


def test_an_error_in_a_line_is_told_in_it(monkeypatch, capsys):
    def broken():
        raise OSError("unplugged\nfor good")

    monkeypatch.setitem(doctor.LINES, "CPU", broken)
    assert main(["doctor"]) == 0
    assert "CPU           error: OSError: unplugged for good\n" in capsys.readouterr().out


@pytest.mark.parametrize("name", warm.PIECES)
def test_a_piece_of_ordinary_training(name):
    warm.PIECES[name](2)


def test_what_was_warmed_is_found(tmp_path):
    env = {"NBGRAD_CACHE_DIR": str(tmp_path), "NUMBA_NUM_THREADS": "1"}
    cold, second = (run("warm", "linear", **env).stdout for _ in range(2))
    line = r"linear +(\d+) kernels compiled, +(\d+) found +[\d.]+ s\n"
    compiled, found = map(int, re.search(line, cold).groups())
    assert compiled > 10 and found == 0
    again, found = map(int, re.search(line, second).groups())
    assert again == 0 and 10 < found <= compiled  # a kernel that another calls is part of that one
    code = """
from nbgrad.cli import warm
from nbgrad.kernels import cache
warm.PIECES["linear"](64)  # another size, and so other plans
assert cache.stats()["misses"] == 0, cache.stats()
"""
    subprocess.run([sys.executable, "-c", code], env=os.environ | env, check=True, timeout=60)


def test_nothing_to_warm():
    found = run("warm", "linear", check=False, NBGRAD_CACHE_DIR="/proc/nowhere")
    assert found.returncode == 1 and "no folder can be written" in found.stderr


def test_usage():
    assert run("--help").stdout.startswith("usage: python -m nbgrad")
    assert run(check=False).returncode == run("warm", "nonsense", check=False).returncode == 2
