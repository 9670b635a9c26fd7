"""The kernel cache: found again by the next process, never stale, never fatal."""

import ctypes
import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

import llvmlite
import numba
import numpy as np
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


def start(folder, script=WORK, before=None, **more):
    return subprocess.Popen([sys.executable, "-c", script], text=True, stdout=subprocess.PIPE,
                            env=os.environ | {"NBGRAD_CACHE_DIR": str(folder)} | more,
                            preexec_fn=before)


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


def signed(content):
    return hashlib.sha256(content).digest() + content


@pytest.mark.parametrize("damage", ["truncated", "flipped", "empty", "nonsense"])
def test_a_damaged_file_is_made_anew(filled, damage):
    victim = kernels(filled)[0]
    content = victim.read_bytes()
    middle = len(content) // 2
    victim.write_bytes({"truncated": content[:100], "empty": b"", "flipped": content[:middle]
                        + bytes([content[middle] ^ 255]) + content[middle + 1:],
                        "nonsense": signed(b"no pickle")}[damage])
    finish(start(filled))
    made = victim.read_bytes()
    assert made == signed(made[32:]) and len(made) > 100
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


HOMELESS = {"HOME": "/nonexistent", "XDG_CACHE_HOME": "/proc/nowhere", "NBGRAD_CACHE_DIR": ""}


def test_no_home_is_no_error(tmp_path):
    assert finish(start("", **HOMELESS, TMPDIR=str(tmp_path)))[0].startswith(str(tmp_path))


@pytest.mark.skipif(not hasattr(os, "getuid"), reason="no owners")
@pytest.mark.parametrize("kind", ["open to all", "link"])
def test_a_temporary_folder_of_others_is_not_trusted(tmp_path, kind):
    """Loading a kernel runs what the file says."""
    folder = tmp_path / f"nbgrad-{os.getuid()}"
    if kind == "link":
        (tmp_path / "elsewhere").mkdir(mode=0o700)
        folder.symlink_to(tmp_path / "elsewhere")
    else:
        folder.mkdir()
        folder.chmod(0o777)
    assert finish(start("", **HOMELESS, TMPDIR=str(tmp_path))) == ["None"]


def as_anyone():
    """Even root may not write where the mode forbids it."""
    if os.getuid() == 0:
        drop_from_bounding_set, dac_override = 24, 1
        ctypes.CDLL(None).prctl(drop_from_bounding_set, dac_override)


@pytest.fixture
def sealed(filled, tmp_path):
    """A copy of the filled folder that nobody may write to; give the copy's files a treatment."""
    if not sys.platform.startswith("linux"):
        pytest.skip("modes of Linux")
    copy = tmp_path / "sealed"
    shutil.copytree(filled, copy)
    folders = [copy, *(p for p in copy.rglob("*") if p.is_dir())]

    def seal(damage=lambda copy: None):
        damage(copy)
        for folder in folders:
            if folder.exists():
                folder.chmod(0o555)
        return copy

    yield seal
    for folder in folders:
        if folder.exists():
            folder.chmod(0o755)


def test_a_sealed_folder_is_read(sealed):
    copy = sealed()
    before = sorted(copy.rglob("*"))
    assert finish(start(copy, COUNT, as_anyone)) == [str(copy), "0"]
    assert sorted(copy.rglob("*")) == before


def test_what_a_sealed_folder_lacks_is_compiled(sealed):
    copy = sealed(lambda copy: kernels(copy)[0].unlink())
    some = int(finish(start(copy, COUNT, as_anyone))[1])
    assert 0 < some < len(kernels(copy))


def test_a_sealed_empty_folder_is_no_error(sealed):
    copy = sealed(lambda copy: [shutil.rmtree(p) for p in copy.iterdir()])
    assert finish(start(copy, WORK, as_anyone)) == ["None"]


@pytest.mark.skipif(not hasattr(os, "umask"), reason="no modes")
def test_others_may_read_what_the_umask_lets_them(tmp_path):
    """A cache may be filled by one user, as an image is built, and read by others."""
    finish(start(tmp_path / "shared", before=lambda: os.umask(0o022)))
    for path in (tmp_path / "shared").rglob("*.*"):
        assert path.stat().st_mode & 0o044 == 0o044, path


def test_processes_that_fill_one_folder_together(tmp_path):
    running = [start(tmp_path) for _ in range(3)]
    for process in running:
        finish(process)
    assert finish(start(tmp_path, COUNT))[1] == "0"
    kinds = {p.suffix for p in tmp_path.rglob("*") if p.is_file()}
    assert kinds <= {".bin", ".py", ".pyc"}  # no temporary file is left


CLOSURES = """
import sys
import numpy as np
from nbgrad.kernels.options import inline, kernel

def made(number):
    @inline
    def step(x, i):
        {steps}
        return x[i] + number
    return step

one, two = made(1.0), made(2.0)

@kernel
def first(x):
    for i in range(x.size):
        x[i] = one(x, i) + one(x, x.size - 1 - i)

@kernel
def second(x):
    for i in range(x.size):
        x[i] = two(x, i) + two(x, x.size - 1 - i)
""".format(steps="\n        ".join(f"x[(i * {k}) % x.size] = np.sqrt(x[i % {k + 3}]) / x[{k} % x.size]"
                                  for k in range(40)))


def test_closures_of_one_name_do_not_meet(tmp_path):
    file = tmp_path / "closures.py"
    file.write_text(CLOSURES)
    run = (f"import sys; sys.path.insert(0, {str(tmp_path)!r}); import numpy as np, closures\n"
           "for name in {names!r}:\n"
           "    x = np.full(9, 2.0); getattr(closures, name)(x); print(float(x[0]).hex())")
    alone = [finish(start(tmp_path / "cache", run.format(names=[name])))
             for name in ("first", "second")]
    together = finish(start(tmp_path / "cache", run.format(names=["first", "second"])))
    assert together == [*alone[0], *alone[1]]
    assert alone[0] != alone[1]


def test_hits_are_counted(filled):
    script = WORK + "from nbgrad.kernels import cache; print(*cache.stats().values())"
    _, hits, misses = finish(start(filled, script))
    assert int(hits) > 3 and misses == "0"


# What a kernel's name depends on

def test_another_cpu_compiles_anew(filled):
    """A cache on a shared disk never gives wide vectors to a CPU without them."""
    before = set(kernels(filled))
    other = "x86-64" if os.environ.get("NUMBA_CPU_NAME") == "haswell" else "haswell"
    cold = finish(start(filled, COUNT, NUMBA_CPU_NAME=other, NUMBA_CPU_FEATURES=""))
    assert int(cold[1]) >= len(before) and len(kernels(filled)) == 2 * len(before)
    assert finish(start(filled, COUNT)) == [str(filled), "0"]


@pytest.mark.parametrize("owner, name, value", [
    (numba, "__version__", "0.1"), (llvmlite, "__version__", "0.1"), (np, "__version__", "0.1"),
    (sys.implementation, "cache_tag", "cpython-1"), (numba.config, "OPT", 1),
    (numba.config, "BOUNDSCHECK", 2), (numba.config, "LOOP_VECTORIZE", 0),
    (numba.config, "DEBUGINFO_DEFAULT", 1)])
def test_versions_and_settings_change_the_name(tmp_path, monkeypatch, owner, name, value):
    files = cache._Files(str(tmp_path), "stem", "salt")
    before = files._path(("key",))
    assert files._path(("key",)) == before != files._path(("other",))
    monkeypatch.setattr(owner, name, value)
    cache.compiler.cache_clear()
    assert files._path(("key",)) != before
    monkeypatch.undo()
    cache.compiler.cache_clear()
    assert files._path(("key",)) == before


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
            if "nbgrad.kernels" in line and line.startswith(("from", "import")):
                assert cache._IMPORT.match(line) or line.endswith("("), (path.name, line)
