"""The pool of large blocks: reused when nobody looks any more, and never before."""

import os
import queue
import subprocess
import sys
import threading
from types import SimpleNamespace

import numpy as np
import pytest

from nbgrad.kernels import memory
from nbgrad.kernels.memory import empty, empty_cache, stats, zeros  # before conftest's poison

N = 1 << 18
F4 = np.dtype(np.float32)


@pytest.fixture(autouse=True)
def fresh():
    empty_cache()
    yield
    empty_cache()


def place(array):
    return array.__array_interface__["data"][0]


@pytest.mark.parametrize("shape", [N, (N,), (4, N // 4), (2, 3, N // 4), memory.LARGE,
                                   np.int64(N), (np.int64(4), np.int32(N // 4))])
@pytest.mark.parametrize("dtype", [F4, np.float64, "float32", np.int64, np.bool_])
def test_a_block_is_lent_again(shape, dtype):
    a = empty(shape, dtype)
    plain = np.empty(shape, dtype)
    assert (a.shape, a.dtype, a.strides) == (plain.shape, plain.dtype, plain.strides)
    assert a.flags.c_contiguous and a.flags.aligned and a.flags.writeable
    a.fill(1)
    where = place(a)
    if a.nbytes < memory.WORTH:
        return
    assert where % 64 == 0
    del a
    assert stats()["held"] >= plain.nbytes
    b = empty(shape, dtype)
    assert place(b) == where
    assert stats()["held"] == 0


class Subclass(np.ndarray):
    pass


VIEWS = {
    "itself": lambda a: a,
    "slice": lambda a: a[5:9],
    "every other": lambda a: a[::2],
    "one element": lambda a: a[3:4].reshape(()),
    "view of a view": lambda a: a[5:].reshape(-1, 1)[3:].T[:, :2],
    "other dtype": lambda a: a.view(np.int8)[7:],
    "subclass": lambda a: a.view(Subclass)[1:],
    "view of a subclass": lambda a: np.asarray(a.view(Subclass)[1:]),
    "broadcast": lambda a: np.broadcast_to(a[:1], (3, 3)),
    "strided": lambda a: np.lib.stride_tricks.as_strided(a, (3, 3), (4, 4)),
    "memoryview": memoryview,
    "from a memoryview": lambda a: np.frombuffer(memoryview(a)[8:], np.uint8),
    "from an interface": lambda a: np.asarray(SimpleNamespace(
        __array_interface__=a.__array_interface__, kept=a)),
    "dlpack": np.from_dlpack,
    "flat": lambda a: a.flat,
    "the block": lambda a: a.base,
    "array over the block": lambda a: np.frombuffer(a.base, np.uint8),
}


@pytest.mark.parametrize("name", VIEWS)
def test_what_a_view_holds_is_not_lent(name):
    a = empty(N, F4)
    where = place(a)
    view = VIEWS[name](a)
    del a
    others = [empty(N, F4) for _ in range(3)]
    assert where not in map(place, others)
    del view, others
    empty_cache()
    assert stats() | {"hits": 0, "misses": 0} == {"lent": 0, "held": 0, "hits": 0, "misses": 0}


def test_small_arrays_are_numpys_own():
    for a in (empty(memory.LARGE - 1, F4), empty((3, 4), F4), empty((), F4), empty(0, F4),
              empty((N, 0), F4), zeros(5, F4)):
        assert a.flags.owndata
    assert stats()["lent"] == 0


def test_zeros_are_zero_in_a_used_block():
    a = empty(N, F4)
    a.fill(np.nan)
    where = place(a)
    del a
    b = zeros((2, N // 2), F4)
    assert place(b) == where and not b.any() and not zeros(3, np.int64).any()


def test_similar_sizes_share_blocks():
    a = empty(N, F4)
    where = place(a)
    del a
    assert place(empty(N - 1000, F4)) == where
    assert place(empty(N // 2, F4)) != where


def test_the_pool_is_bounded(monkeypatch):
    size = 4 * N
    monkeypatch.setattr(memory, "LIMIT", 4 * size)
    held = [empty(N, F4) for _ in range(10)]
    held.clear()
    assert 0 < stats()["held"] <= 4 * size
    for n in range(1, 20):  # sizes that never come back
        empty(n * N // 4, F4)
        assert stats()["held"] <= 4 * size
    assert stats()["lent"] == 0


def test_emptied():
    empty(N, F4)
    assert stats()["held"] > 0
    empty_cache()
    assert stats()["held"] == 0


def test_no_memory_is_a_memory_error():
    with pytest.raises(MemoryError):
        empty(1 << 60, F4)


def test_off_by_an_environment_variable():
    code = ("from nbgrad.kernels.memory import empty, zeros, stats\n"
            "assert empty(1 << 22, 'f4').flags.owndata and zeros(1 << 22, 'f4').flags.owndata\n"
            "assert stats()['lent'] == stats()['held'] == 0")
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60,
                   env=os.environ | {"NBGRAD_POOL_MB": "0"})


def test_threads_share_the_pool():
    """Arrays made in one thread, checked and dropped in another."""
    made, wrong = queue.SimpleQueue(), []

    def produce(k):
        rng = np.random.default_rng(k)
        for i in range(200):
            a = empty(int(rng.integers(memory.LARGE, 8 * memory.LARGE)), F4)
            a.fill(k * 1000 + i)
            made.put((k * 1000 + i, a))
        made.put(None)

    def consume():
        while (item := made.get()) is not None:
            value, a = item
            if not (a == value).all():
                wrong.append(value)
            del item, a

    threads = [threading.Thread(target=produce, args=(k,)) for k in range(4)]
    threads += [threading.Thread(target=consume) for _ in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert wrong == [] and stats()["lent"] == 0


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_forked_child_has_its_own_memory():
    a = empty(N, F4)
    a.fill(1)
    empty(N, F4)
    child = os.fork()
    if child == 0:
        a.fill(2)
        empty(N, F4).fill(3)
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    assert (a == 1).all()
