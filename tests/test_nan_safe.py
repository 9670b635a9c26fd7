"""set_nan_safe: a gradient of zero passes no infinity, and all other gradients are as without."""

import numpy as np
import pytest

import nbgrad
from nbgrad.autograd import grad, gradgradcheck, is_nan_safe, set_nan_safe
from nbgrad.formulas.row import TABLE
from nbgrad.testing.samples import PARAMS

INF = float("inf")
#: a branch that is not taken, and where its derivative is infinite or NaN
BRANCHES = [
    (lambda x: x.sqrt(), 0.0), (lambda x: x.log(), 0.0), (lambda x: 1 / x, 0.0),
    (lambda x: x**0.5, 0.0), (lambda x: x**-1.0, 0.0), (lambda x: x / (x * 0), 1.0),
    (lambda x: x.rsqrt(), 0.0), (lambda x: (x * x).log(), 0.0), (lambda x: x.asin(), 1.0),
    (lambda x: x.exp() * x, INF), (lambda x: x.log().sqrt(), 0.0), (lambda x: (x / x).tanh(), 0.0),
]


@pytest.mark.parametrize(("branch", "at"), BRANCHES)
def test_the_branch_not_taken_does_not_leak(branch, at):
    x = nbgrad.tensor([at, at], dtype=nbgrad.float64, requires_grad=True)
    y = nbgrad.where(nbgrad.tensor([False, False]), branch(x), x * 3).sum()
    (plain,) = grad(y, x, retain_graph=True)
    assert plain.isnan().all()
    with set_nan_safe(True):
        assert is_nan_safe()
        (safe,) = grad(y, x)
    assert not is_nan_safe() and safe.tolist() == [3, 3]


@pytest.mark.parametrize("name", sorted(n for n, r in TABLE.items() if r.differentiable
                                        and r.kind != "where" and len(r.inputs) <= 2))
def test_gradients_that_are_not_zero_stay(name):
    row = TABLE[name]
    from nbgrad.ops.elementwise import OPS

    draw = np.random.default_rng(3)
    domain = row.domain if isinstance(row.domain[0], tuple) else (row.domain,) * len(row.inputs)
    inputs = [nbgrad.tensor(draw.uniform(*d, 40), requires_grad=True) for d in domain]
    attrs = tuple(PARAMS[p] for p in row.params)
    y = OPS[name].of(*inputs, attrs=attrs)
    if not y.requires_grad:
        return
    seed = nbgrad.tensor(draw.standard_normal(40))
    seed[::4] = 0
    plain = grad(y, inputs, seed, retain_graph=True)
    with set_nan_safe(True):
        safe = grad(y, inputs, seed)
    for one, other in zip(plain, safe):
        np.testing.assert_allclose(other.numpy(), np.where(seed.numpy() == 0, 0, one.numpy()),
                                   rtol=1e-13)


def test_second_gradients_hold_where_the_first_is_zero():
    x = nbgrad.tensor([0.5, 2.0], dtype=nbgrad.float64, requires_grad=True)
    seed = nbgrad.tensor([0.0, 1.0], dtype=nbgrad.float64, requires_grad=True)
    with set_nan_safe(True):
        (gx,) = grad(x.log(), x, seed, create_graph=True)
        (to_seed,) = grad(gx.sum(), seed)
        assert to_seed.tolist() == [2.0, 0.5]
        assert gradgradcheck(lambda x: x.sqrt() * x.sin(), (x,))


def test_it_is_of_the_thread():
    import threading

    seen = []
    with set_nan_safe(True):
        thread = threading.Thread(target=lambda: seen.append(is_nan_safe()))
        thread.start()
        thread.join()
    assert seen == [False]
