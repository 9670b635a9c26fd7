"""The simulator runs kernels as a GPU does, and refuses what a GPU would answer with anything."""

import threading

import numpy as np
import pytest

from nbgrad.kernels.cuda.memory import download, upload, zeros
from nbgrad.kernels.cuda.provider import SIMULATED, cuda, kernel, machine

pytestmark = pytest.mark.skipif(not SIMULATED, reason="a device is there")
N = 4


def launched(function, *arrays, blocks=1, threads=N):
    """The arrays after a launch."""
    there = [upload(np.asarray(a, np.float64)) for a in arrays]
    machine.launcher(kernel(function), ((np.float64, 1),) * len(there))(blocks, threads)(*there)
    return [download(a).tolist() for a in there]


def meets(x):
    shared = cuda.shared.array(N, x.dtype)
    shared[cuda.threadIdx.x] = cuda.threadIdx.x
    cuda.syncthreads()
    x[cuda.grid(1)] = shared[N - 1 - cuda.threadIdx.x]


def meets_too_late(x):
    shared = cuda.shared.array(N, x.dtype)
    shared[cuda.threadIdx.x] = cuda.threadIdx.x
    x[cuda.grid(1)] = shared[N - 1 - cuda.threadIdx.x]


def meets_too_seldom(x):
    shared = cuda.shared.array(1, x.dtype)
    for k in range(2):
        if cuda.threadIdx.x == k:
            shared[0] = k
        cuda.syncthreads()
        x[cuda.threadIdx.x] += shared[0]


def test_threads_of_a_block_share_memory():
    assert launched(meets, [9.0] * 8, blocks=2) == [[3, 2, 1, 0] * 2]


@pytest.mark.parametrize("function", [meets_too_late, meets_too_seldom])
def test_races_show(function):
    (found,) = launched(function, [0.0] * N)
    assert found not in ([3, 2, 1, 0], [1] * N)


def exchanges(x):
    if cuda.threadIdx.x < 2:  # a warp, and not the other
        x[cuda.threadIdx.x] = cuda.shfl_xor_sync(0xFFFFFFFF, x[cuda.threadIdx.x], 1)


def test_a_warp_exchanges_values_by_itself():
    assert launched(exchanges, [5.0, 6.0, 7.0, 8.0]) == [[6, 5, 7, 8]]


def ends_early(x):
    if cuda.threadIdx.x:
        cuda.syncthreads()


def at_two_lines(x):
    if cuda.threadIdx.x % 2:
        cuda.syncthreads()
    else:
        cuda.syncthreads()


def in_half_a_warp(x):
    if cuda.threadIdx.x == 0:
        x[0] = cuda.shfl_xor_sync(0xFFFFFFFF, x[0], 1)


def before(x):
    x[cuda.threadIdx.x - 1] = 0


def behind(x):
    x[0] = x[x.size]


@pytest.mark.parametrize(("function", "error", "words"), [
    (ends_early, RuntimeError, "do not meet: they are at the end, line"),
    (at_two_lines, RuntimeError, "do not meet"), (in_half_a_warp, RuntimeError, "do not meet"),
    (before, IndexError, "index -1 is negative"), (behind, IndexError, "out of bounds")])
def test_mistakes_are_told(function, error, words):
    with pytest.raises(error, match=words) as caught:
        launched(function, [1.0] * N)
    assert f"in {function.__name__}, block (0, 0, 0), thread" in caught.value.__notes__[0]
    assert launched(meets, [9.0] * 4) == [[3, 2, 1, 0]]


def test_dtypes_are_those_of_the_launch():
    with pytest.raises(TypeError, match="for float64 is given float32"):
        machine.launcher(kernel(meets), ((np.float64, 1),))(1, N)(zeros(N, np.float32))


def test_new_memory_holds_no_number():
    def reads(x):
        x[0] = cuda.shared.array(2, x.dtype)[1]
        x[1] = cuda.local.array(2, x.dtype)[1]

    assert np.isnan(launched(reads, [1.0, 1.0])).all()


def places(x, y, z):
    k = cuda.grid(3)
    x[k[0]] += 1
    y[k[1]] += 1
    z[k[2]] += 1


def test_blocks_and_threads_have_three_axes():
    assert launched(places, [0.0] * 2, [0.0] * 6, [0.0] * 3, blocks=(2, 3), threads=(1, 2, 3)) == [
        [18] * 2, [6] * 6, [12] * 3]


def test_one_launch_runs_at_a_time():
    found = []
    threads = [threading.Thread(target=lambda: found.append(launched(meets, [9.0] * 40, blocks=10)))
               for _ in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert found == [[[3, 2, 1, 0] * 10]] * 4
