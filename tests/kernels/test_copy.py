"""Arrays written on all threads against NumPy."""

import numpy as np
import pytest

from nbgrad.kernels import options
from nbgrad.kernels.cpu import copy


@pytest.mark.parametrize("dtype", [np.bool_, np.float32, np.int64])
@pytest.mark.parametrize("shape", [(), (0, 3), (70_001,), (3, 65_536), (300, 301)])
def test_write(shape, dtype):
    x = np.random.default_rng(0).integers(0, 2, shape).astype(dtype)
    for threads in (1, 64):
        options.set_num_threads(threads)
        for source in (x, x.T.copy().T, x.astype(np.int16)):
            y = np.full(shape, 7, dtype)
            copy.write(y, source)
            np.testing.assert_array_equal(y, x)
            turned = np.full(shape, 7, dtype).T
            copy.write(turned, source.T)
            np.testing.assert_array_equal(turned, x.T)
