"""Loops over tasks: every task once, on one thread or on all, and no error lost."""

import numpy as np
import pytest

from nbgrad.kernels.cpu.tasks import each, launch
from nbgrad.kernels.options import inline, kernel


@inline
def doubled(t, x, y):
    if x[t] < 0:
        raise ValueError("negative")
    y[t] += 2 * x[t]


@kernel
def double(loop, count, x, y):
    each(loop, count, doubled, (x, y))


@pytest.mark.parametrize("threads", [False, True])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("count", [0, 1, 1000])
def test_every_task_once(count, dtype, threads):
    x, y = np.arange(1000, dtype=dtype), np.zeros(1000, dtype)
    launch(double, threads, count, x, y)
    np.testing.assert_array_equal(y, np.where(x < count, 2 * x, 0))


@pytest.mark.parametrize("threads", [False, True])
def test_an_error_is_raised_when_all_are_done(threads):
    x, y = np.arange(1000.0), np.zeros(1000)
    x[5] = -1
    with pytest.raises(RuntimeError, match="a part of a kernel failed"):
        launch(double, threads, 1000, x, y)
    assert y[999] == 1998 and y[5] == 0
    launch(double, threads, 5, x, y)
