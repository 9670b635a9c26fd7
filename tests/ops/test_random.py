"""Random numbers: reproducible, of the right distribution, and with gradients."""

import numpy as np
import pytest

import nbgrad

N = 20000


def draws(library):
    """Every way to draw N numbers, with the mean and variance they should have."""
    return {
        "rand": (lambda: library.rand(N), 1 / 2, 1 / 12),
        "rand64": (lambda: library.rand(N, dtype=library.float64), 1 / 2, 1 / 12),
        "randn": (lambda: library.randn(N), 0, 1),
        "randn64": (lambda: library.randn((N,), dtype=library.float64), 0, 1),
        "rand_like": (lambda: library.rand_like(library.zeros(N)), 1 / 2, 1 / 12),
        "randn_like": (lambda: library.randn_like(library.zeros(N)), 0, 1),
        "randint": (lambda: library.randint(-2, 4, (N,)), 0.5, 35 / 12),
        "randint_like": (lambda: library.randint_like(library.zeros(N), 4), 1.5, 15 / 12),
        "randperm": (lambda: library.randperm(N) / N, 1 / 2, 1 / 12),
        "normal": (lambda: library.normal(1.0, 2.0, (N,)), 1, 4),
        "normal_of_tensors": (lambda: library.normal(library.ones(N), library.ones(N) * 2), 1, 4),
        "normal_": (lambda: library.normal_(library.zeros(N), -1, 3), -1, 9),
        "uniform_": (lambda: library.uniform_(library.zeros(N), -1, 3), 1, 16 / 12),
        "random_": (lambda: library.random_(library.zeros(N), 3, 9), 5.5, 35 / 12),
        "bernoulli_": (lambda: library.bernoulli_(library.zeros(N), 0.2), 0.2, 0.16),
        "bernoulli_bool": (lambda: library.bernoulli_(library.zeros(N).bool(), 0.2), 0.2, 0.16),
        "bernoulli": (lambda: library.bernoulli(library.full((N,), 0.3)), 0.3, 0.21),
        "bernoulli_p": (lambda: library.bernoulli(library.zeros(N), 0.7), 0.7, 0.21),
        "dropout": (lambda: library.dropout(library.ones(N), 0.2), 1, 0.25),
        "multinomial": (lambda: library.multinomial(library.tensor([1.0, 0.0, 3.0]), N, True), 1.5,
                        0.75),
    }


NAMES = list(draws(nbgrad))


@pytest.mark.parametrize("name", NAMES)
def test_distribution_and_seed(library, name):
    draw, mean, variance = draws(library)[name]
    library.manual_seed(3)
    first = draw().numpy().astype(np.float64)
    second = draw().numpy()
    library.manual_seed(3)
    assert np.array_equal(first, draw().numpy())
    assert not np.array_equal(first, second)
    assert abs(first.mean() - mean) < 5 * np.sqrt(variance / N)
    assert abs(first.var() - variance) < 0.08 * variance


def test_generator(library):
    g = library.Generator()
    assert g.manual_seed(5) is g and g.initial_seed() == 5
    state = g.get_state()
    assert state.dtype is library.uint8
    a = library.rand(7, generator=g)
    b = library.rand(7, generator=g)
    g.set_state(state)
    assert library.rand(7, generator=g).tolist() == a.tolist() != b.tolist()
    before = library.get_rng_state()
    c = library.randn(3)
    library.set_rng_state(before)
    assert library.randn(3).tolist() == c.tolist()
    assert g.seed() == g.initial_seed() != 5
    assert library.manual_seed(1) is library.default_generator and library.initial_seed() == 1


def test_shapes(library):
    for size in ((2, 3), ((2, 3),), ([2, 3],)):
        assert library.rand(*size).shape == (2, 3) == library.randn(*size).shape
    assert library.randint(5, (2, 0)).shape == (2, 0)
    assert library.randn(()).shape == () == library.rand([]).shape
    assert library.randn(2, requires_grad=True).is_leaf
    assert sorted(library.randperm(63).tolist()) == list(range(63))
    assert library.multinomial(library.ones(2, 5), 3).shape == (2, 3)
    assert sorted(library.multinomial(library.tensor([0.0, 1, 2, 3]), 3).tolist()) == [1, 2, 3]


@pytest.mark.parametrize("write", [
    lambda lib, t: lib.normal_(t), lambda lib, t: lib.uniform_(t), lambda lib, t: lib.bernoulli_(t),
    lambda lib, t: lib.random_(t), lambda lib, t: lib.dropout(t, 0.5, True, True)])
def test_in_place(library, write):
    t = library.ones(4)
    version = t._version
    assert write(library, t) is t and t._version == version + 1
    leaf = library.ones(3, requires_grad=True)
    with pytest.raises(RuntimeError, match="leaf Variable that requires grad"):
        write(library, leaf)
    with library.no_grad():
        write(library, leaf)
    x = library.ones(3, requires_grad=True)
    view = (x * 2).t()
    write(library, view)
    y = x.exp()
    write(library, y)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        y.sum().backward()


@pytest.mark.parametrize("write", [lambda lib, t: lib.normal_(t), lambda lib, t: lib.uniform_(t),
                                   lambda lib, t: lib.bernoulli_(t)])
def test_overwritten_gets_no_gradient(library, write):
    x = library.ones(3, requires_grad=True)
    write(library, x * 2).sum().backward()
    assert x.grad.tolist() == [0, 0, 0]
    p = library.full((3,), 0.5, requires_grad=True)
    library.bernoulli(p).sum().backward()
    assert p.grad.tolist() == [0, 0, 0]


@pytest.mark.parametrize("shape", [(5,), (3, 7), (1000,), (), (0, 3)], ids=str)
@pytest.mark.parametrize("p", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("inplace", [False, True])
def test_dropout_gradient_is_its_mask(library, shape, p, inplace):
    x = library.ones(shape, requires_grad=True)
    y = library.dropout(x * 1, p, True, inplace)
    (g,) = library.autograd.grad(y.sum(), x, create_graph=True)
    assert np.array_equal(g.detach().numpy(), y.detach().numpy())
    kept = y.detach().numpy()[y.detach().numpy() != 0]
    np.testing.assert_allclose(kept, 1 / (1 - p) if p < 1 else 0)


def test_dropout_twice_differentiable(library):
    x = library.randn(50, dtype=library.float64).requires_grad_()
    y = library.dropout(x, 0.4)
    (g,) = library.autograd.grad((y * y).sum(), x, create_graph=True)
    (gg,) = library.autograd.grad(g.sum(), x)
    mask = y.detach().numpy() / x.detach().numpy()
    np.testing.assert_allclose(gg.numpy(), 2 * mask**2)


def test_dropout_saves_nothing_and_follows_strides(library):
    x = library.randn(4, 6, requires_grad=True)
    y = library.dropout(x, 0.5)
    assert y.grad_fn.saved == ()
    turned = x.detach().t().requires_grad_()
    z = library.dropout(turned, 0.5)
    (g,) = library.autograd.grad(z.sum(), turned)
    np.testing.assert_allclose((g * turned).detach().numpy(), z.detach().numpy())


def test_dropout_is_off_in_evaluation(library):
    x = library.ones(3)
    assert library.dropout(x, 0.5, False) is x


@pytest.mark.parametrize("shape", [(4, 50, 3, 2), (50, 3, 2)], ids=str)
@pytest.mark.parametrize("inplace", [False, True])
def test_dropout2d_drops_channels(library, shape, inplace):
    x = library.ones(shape, requires_grad=True)
    y = library.dropout2d(x * 1, 0.5, True, inplace)
    channels = y.detach().numpy().reshape(-1, 6)
    assert ((channels == 0).all(1) | (channels == 2).all(1)).all()
    assert 0 < (channels == 0).all(1).mean() < 1
    y.sum().backward()
    assert np.array_equal(x.grad.numpy(), y.detach().numpy())


ERRORS = [
    "dropout(z(2), 1.5)", "bernoulli(z(2) + 2)", "bernoulli(z(2).long())", "randint(5, 5, (2,))",
    "randperm(-1)", "rand(2, dtype=int64)", "randn(-1)", "rand_like(z(2).long())",
    "normal(z(2), -z(2) - 1)", "multinomial(z(3), 1)", "multinomial(z(3) - 1, 1)",
    "multinomial(z(3) + 1, 4)", "multinomial(z(3) + 1, 0)",
]


@pytest.mark.parametrize("text", ERRORS)
def test_errors(same_error, text):
    same_error(lambda lib: eval(text, vars(lib) | {"z": lib.zeros}))


@pytest.mark.parametrize("call, kind, text", [
    (lambda lib: lib.bernoulli_(lib.zeros(2), 2.0), RuntimeError, "bernoulli_ expects p to be in"),
    (lambda lib: lib.normal_(lib.zeros(2), 0, -1), RuntimeError, "normal expects std >= 0.0"),
    (lambda lib: lib.uniform_(lib.zeros(2), 2, 1), RuntimeError, "uniform_ expects to return a"),
    (lambda lib: lib.normal_(lib.zeros(2).long()), NotImplementedError, "normal_kernel_cpu"),
    (lambda lib: lib.randint(0, 300, (2,), dtype=lib.uint8), RuntimeError, "to - 1 is out"),
    (lambda lib: lib.Generator().set_state(lib.zeros(2)), TypeError, "ByteTensor"),
])
def test_other_errors(library, call, kind, text):
    with pytest.raises(kind, match=text):
        call(library)
