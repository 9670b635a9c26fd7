"""Loops on several threads: the same bits as on one, wherever they are called from."""

import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from textwrap import indent

import numba
import numpy as np
import pytest

import nbgrad
from nbgrad import config
from nbgrad.kernels.options import use_threads

LAYOUTS = {
    "contiguous": lambda a: (a, a),
    "row": lambda a: (a, a[0]),
    "column": lambda a: (a, a[:, :1]),
    "transposed": lambda a: (a, a.T),
    "both transposed": lambda a: (a.T, a.T),
    "every other": lambda a: (a[:, ::2], a[:, 1::2]),
    "scalar": lambda a: (a, a[0, 0]),
    "three axes": lambda a: (a.reshape(60, 10, 600).transpose(1, 0, 2), a[:60, None, :][:10]),
}


@pytest.fixture
def threads():
    before = nbgrad.get_num_threads()
    yield
    nbgrad.set_num_threads(before)


@pytest.mark.parametrize("name", LAYOUTS)
def test_elementwise_on_large_arrays(threads, name):
    array = np.random.default_rng(0).standard_normal((600, 600)).astype(np.float32)
    a, b = LAYOUTS[name](array)
    found = {}
    for count in (1, 2):
        nbgrad.set_num_threads(count)
        x = nbgrad.from_numpy(a).detach().requires_grad_()
        y = nbgrad.from_numpy(np.array(b)).requires_grad_()
        out = x * y
        out.sum().backward()
        found[count] = out.detach().numpy(), x.grad.numpy(), y.grad.numpy()
    for one, two in zip(found[1], found[2]):
        assert one.tobytes() == two.tobytes()
    np.testing.assert_array_equal(found[1][0], a * b)
    np.testing.assert_array_equal(found[1][1], np.broadcast_to(b, np.shape(a)))


# The number of threads

LARGE = config.PARALLEL_THRESHOLD
several = pytest.mark.skipif(numba.config.NUMBA_NUM_THREADS < 2, reason="one thread")


def elsewhere(function):
    """What `function` returns in a new Python thread that asked for the number of threads."""
    found = []
    thread = threading.Thread(target=lambda: found.append((nbgrad.get_num_threads(), function())[1]))
    thread.start()
    thread.join()
    return found[0]


@several
def test_the_number_of_threads_is_the_process_s(threads):
    with ThreadPoolExecutor(1) as pool:  # a Python thread that stays
        for count in (1, 2, 1):
            nbgrad.set_num_threads(count)
            for call in (lambda f: f(), elsewhere, lambda f: pool.submit(f).result()):
                assert call(nbgrad.get_num_threads) == call(numba.get_num_threads) == count
                assert call(lambda: use_threads(LARGE)) == (count > 1)
    nbgrad.set_num_threads(2)
    assert use_threads(LARGE) and not use_threads(LARGE - 1)


@several
def test_numba_s_own_mask_counts(threads):
    nbgrad.set_num_threads(2)
    numba.set_num_threads(1)
    assert nbgrad.get_num_threads() == 1 and not use_threads(LARGE)


def test_more_threads_than_there_are(threads):
    nbgrad.set_num_threads(1 << 20)
    assert nbgrad.get_num_threads() == numba.config.NUMBA_NUM_THREADS
    with pytest.raises(RuntimeError, match="set_num_threads expects a positive integer"):
        nbgrad.set_num_threads(0)


# Python threads, forks, and machines without OpenMP

WORK = """
import os, sys, threading
sys.modules |= dict.fromkeys({hidden!r})
import numba, numpy as np, nbgrad

def work(seed):
    a = np.random.default_rng(seed).standard_normal((300, 500)).astype(np.float32)
    x = nbgrad.from_numpy(a).requires_grad_()
    y = (x * x.T.contiguous().T).sum(1).reshape(-1, 1) * x @ x.T
    y.sum().backward()
    return y.detach().numpy().tobytes() + x.grad.numpy().tobytes()

def check(seed, times=1):
    for _ in range(times):
        if work(seed) != right[seed]:
            wrong.append(seed)

def run(*threads):
    for t in threads: t.start()
    for t in threads: t.join()

right, wrong = {{k: work(k) for k in range(8)}}, []
assert numba.threading_layer() == {layer!r}, numba.threading_layer()
{story}
assert wrong == []
"""
THREADS = "run(*[threading.Thread(target=check, args=(k, 6)) for k in range(8)])"
FORK = """
child = os.fork()
if child == 0:
    check(0, 3)
    nbgrad.set_num_threads(2)
    check(1)
    if nbgrad.get_num_threads() == 1 and not wrong:
        if os.fork() == 0:  # a grandchild
            check(2)
            os._exit(len(wrong))
        os._exit(os.wait()[1] != 0)
    os._exit(1)
assert os.waitpid(child, 0)[1] == 0
check(3)
"""
POOL = """
import multiprocessing
if __name__ == "__main__":
    with multiprocessing.get_context("fork").Pool(2) as pool:
        assert pool.map(work, range(4)) == [right[k] for k in range(4)]
"""
STORIES = {
    "threads": THREADS,
    "fork": FORK,
    "fork from a thread": f"def story():{indent(FORK, '    ')}run(threading.Thread(target=story))",
    "process pool": POOL,
    "threads in a child": f"if os.fork() == 0:\n    {THREADS}\n    os._exit(len(wrong))\n"
                          f"assert os.wait()[1] == 0\n{THREADS}",
}
LAYERS = {
    "omp": ("omp", {"NUMBA_THREADING_LAYER": "omp"}, []),
    "workqueue": ("workqueue", {"NUMBA_THREADING_LAYER": "workqueue"}, []),
    "no OpenMP": ("workqueue", {}, ["numba.np.ufunc.omppool", "numba.np.ufunc.tbbpool"]),
}


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.parametrize("story", STORIES)
def test_called_from_anywhere(story, layer):
    name, env, hidden = LAYERS[layer]
    if name == "omp" and find_spec("numba.np.ufunc.omppool") is None:
        pytest.skip("no OpenMP")
    code = WORK.format(hidden=hidden, layer=name, story=STORIES[story])
    env = os.environ | {"NUMBA_NUM_THREADS": "2"} | env
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120, env=env)
