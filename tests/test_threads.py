"""Loops on several threads: the same bits as on one, for every layout."""

import numpy as np
import pytest

import nbgrad

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
