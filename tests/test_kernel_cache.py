"""The kernel cache: found again by the next process, never stale, never fatal."""

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

from nbgrad.kernels import cache

WORK = """
import nbgrad
x = nbgrad.ones(5, requires_grad=True)
(x * 3 + x.sum()).sum().backward()
assert x.grad.tolist() == [8] * 5, x.grad
from nbgrad import config
print(config.CACHE_DIR)
"""
COUNT = """
import numba.core.compiler as c
made = []
compile_extra = c.compile_extra
def counted(*args, **kwargs):
    made.append(1)
    return compile_extra(*args, **kwargs)
c.compile_extra = counted
import numba.core.dispatcher
""" + WORK + "print(len(made))\n"


def start(folder, script=WORK, **more):
    return subprocess.Popen([sys.executable, "-c", script], text=True, stdout=subprocess.PIPE,
                            env=os.environ | {"NBGRAD_CACHE_DIR": str(folder)} | more)


def finish(process):
    printed, _ = process.communicate(timeout=120)
    assert process.returncode == 0
    return printed.split()


def kernels(folder):
    return sorted((Path(folder) / "compiled").glob("*.bin"))


@pytest.fixture(scope="module")
def filled(tmp_path_factory):
    """A folder that a first process filled."""
    folder = tmp_path_factory.mktemp("cache")
    assert finish(start(folder, COUNT))[1] != "0"
    return folder


def test_the_next_process_compiles_nothing(filled):
    before = {p: p.stat().st_mtime_ns for p in kernels(filled)}
    assert before and finish(start(filled, COUNT)) == [str(filled), "0"]
    assert {p: p.stat().st_mtime_ns for p in kernels(filled)} == before


@pytest.mark.parametrize("damage", ["truncated", "flipped", "empty"])
def test_a_damaged_file_is_made_anew(filled, damage):
    victim = kernels(filled)[0]
    content = victim.read_bytes()
    middle = len(content) // 2
    victim.write_bytes({"truncated": content[:100], "empty": b"", "flipped": content[:middle]
                        + bytes([content[middle] ^ 255]) + content[middle + 1:]}[damage])
    finish(start(filled))
    made = victim.read_bytes()
    assert hashlib.sha256(made[32:]).digest() == made[:32] and len(made) > 100
    assert finish(start(filled, COUNT))[1] == "0"


def test_a_damaged_source_is_written_anew(filled):
    victim = sorted((filled / "generated").glob("mul*.py"))[0]
    text = victim.read_text()
    victim.write_text("raise SystemExit('stale')")
    finish(start(filled))
    assert victim.read_text() == text


def test_a_folder_that_cannot_be_made_is_no_error(tmp_path):
    (tmp_path / "file").write_text("")
    assert finish(start(tmp_path / "file" / "cache")) == ["None"]


def test_a_folder_that_is_gone_later_is_no_error(tmp_path):
    script = f"import nbgrad, shutil; shutil.rmtree({str(tmp_path / 'c')!r})\n" + WORK
    finish(start(tmp_path / "c", script))


def test_no_home_is_no_error(tmp_path):
    env = {"HOME": "/nonexistent", "XDG_CACHE_HOME": "/proc/nowhere", "TMPDIR": str(tmp_path)}
    script = "import os; del os.environ['NBGRAD_CACHE_DIR']\n" + WORK
    assert finish(start("", script, **env))[0].startswith(str(tmp_path))


def test_processes_that_fill_one_folder_together(tmp_path):
    running = [start(tmp_path) for _ in range(3)]
    for process in running:
        finish(process)
    assert finish(start(tmp_path, COUNT))[1] == "0"
    kinds = {p.suffix for p in tmp_path.rglob("*") if p.is_file()}
    assert kinds <= {".bin", ".py", ".pyc"}  # no temporary file is left


# What a kernel's name depends on

USER = "from nbgrad.kernels.{module} import helper\n\ndef f():\n    return helper()\n"


@pytest.fixture
def tree(tmp_path, monkeypatch):
    """A package of kernels: user imports helper, which imports base."""
    folder = tmp_path / "kernels"
    (folder / "cpu").mkdir(parents=True)
    for name, text in {"cache.py": "", "cpu/user.py": USER.format(module="cpu.helper"),
                       "cpu/helper.py": "from nbgrad.kernels.cpu import (\n    base,\n    other,\n)\n",
                       "cpu/base.py": "x = 1\n", "cpu/other.py": "x = 2\n"}.items():
        (folder / name).write_text(text)
    monkeypatch.setattr(cache, "__file__", str(folder / "cache.py"))
    cache.fingerprint.cache_clear()
    yield folder / "cpu"
    cache.fingerprint.cache_clear()


def key(folder):
    cache.fingerprint.cache_clear()
    return cache.fingerprint(folder / "user.py")


@pytest.mark.parametrize("name", ["user", "helper", "base", "other"])
def test_an_edit_of_a_callee_changes_the_key(tree, name):
    before = key(tree)
    assert key(tree) == before
    file = tree / f"{name}.py"
    file.write_text(file.read_text() + "\n# edited\n")
    assert key(tree) != before


def test_an_edit_elsewhere_does_not(tree):
    before = key(tree)
    (tree / "stranger.py").write_text("x = 3\n")
    assert key(tree) == before


def test_every_kernel_file_is_read_by_the_fingerprint():
    """Kernel files import each other in the forms that the fingerprint finds."""
    folder = Path(cache.__file__).parent
    for path in folder.rglob("*.py"):
        for line in path.read_text().splitlines():
            if "nbgrad.kernels" in line and line.lstrip().startswith(("from", "import")):
                assert cache._IMPORT.match(line) or line.endswith("("), (path.name, line)
