"""Random numbers: reproducible, of the right distribution, and with gradients."""

import copy
import math
import pickle

import numpy as np
import pytest
from scipy import stats

import nbgrad
from nbgrad.nn import functional as F

torch = pytest.importorskip("torch")

N = 20000
Z = nbgrad.zeros

#: how N numbers are drawn, and the distribution they should have
DRAWS = {
    "rand": (lambda g: nbgrad.rand(N, generator=g), stats.uniform()),
    "rand64": (lambda g: nbgrad.rand(N, dtype=nbgrad.float64, generator=g), stats.uniform()),
    "randn": (lambda g: nbgrad.randn(N, generator=g), stats.norm()),
    "randn64": (lambda g: nbgrad.randn((N,), dtype=nbgrad.float64, generator=g), stats.norm()),
    "rand_like": (lambda g: nbgrad.rand_like(Z(N), generator=g), stats.uniform()),
    "randn_like": (lambda g: nbgrad.randn_like(Z(N // 2, 2).t(), generator=g), stats.norm()),
    "randint": (lambda g: nbgrad.randint(-2, 4, (N,), generator=g), stats.randint(-2, 4)),
    "randint_names": (lambda g: nbgrad.randint(high=7, low=3, size=(N,), generator=g),
                      stats.randint(3, 7)),
    "randint_floats": (lambda g: nbgrad.randint(5, size=(N,), dtype=nbgrad.float32, generator=g),
                       stats.randint(0, 5)),
    "randint_like": (lambda g: nbgrad.randint_like(Z(N), 4, generator=g), stats.randint(0, 4)),
    "randperm": (lambda g: nbgrad.randperm(N, generator=g) / N, stats.uniform()),
    "normal": (lambda g: nbgrad.normal(1.0, 2.0, (N,), generator=g), stats.norm(1, 2)),
    "normal_mean": (lambda g: nbgrad.normal(Z(N) + 1, 2.0, generator=g), stats.norm(1, 2)),
    "normal_std": (lambda g: nbgrad.normal(-1.0, Z(N) + 2, generator=g), stats.norm(-1, 2)),
    "normal_both": (lambda g: nbgrad.normal(nbgrad.ones(N), nbgrad.ones(1) * 2, generator=g),
                    stats.norm(1, 2)),
    "normal_": (lambda g: Z(N).normal_(-1, 3, generator=g), stats.norm(-1, 3)),
    "uniform_": (lambda g: Z(N).uniform_(-1, 3, generator=g), stats.uniform(-1, 4)),
    "log_normal_": (lambda g: Z(N).log_normal_(0.5, 0.25, generator=g),
                    stats.lognorm(0.25, scale=math.exp(0.5))),
    "exponential_": (lambda g: Z(N).exponential_(2.0, generator=g), stats.expon(scale=0.5)),
    "cauchy_": (lambda g: Z(N).cauchy_(1.0, 2.0, generator=g), stats.cauchy(1, 2)),
    "geometric_": (lambda g: Z(N).geometric_(0.3, generator=g), stats.geom(0.3)),
    "geometric_ints": (lambda g: Z(N).long().geometric_(0.9, generator=g), stats.geom(0.9)),
    "random_": (lambda g: Z(N).random_(3, 9, generator=g), stats.randint(3, 9)),
    "random_below": (lambda g: Z(N).int().random_(6, generator=g), stats.randint(0, 6)),
    "bernoulli_": (lambda g: Z(N).bernoulli_(0.2, generator=g), stats.bernoulli(0.2)),
    "bernoulli_bool": (lambda g: Z(N).bool().bernoulli_(0.2, generator=g), stats.bernoulli(0.2)),
    "bernoulli_tensor": (lambda g: Z(N).bernoulli_(nbgrad.tensor([0.6]), generator=g),
                         stats.bernoulli(0.6)),
    "bernoulli": (lambda g: nbgrad.bernoulli(Z(N) + 0.3, generator=g), stats.bernoulli(0.3)),
    "bernoulli_p": (lambda g: nbgrad.bernoulli(Z(N), 0.7, generator=g), stats.bernoulli(0.7)),
    "poisson": (lambda g: nbgrad.poisson(Z(N) + 3, generator=g), stats.poisson(3)),
    "poisson, many": (lambda g: nbgrad.poisson(Z(N) + 40, generator=g), stats.poisson(40)),
    "binomial, many": (lambda g: nbgrad.binomial(Z(N) + 100, Z(N) + 0.3, generator=g),
                       stats.binom(100, 0.3)),
    "binomial, most": (lambda g: nbgrad.binomial(Z(N) + 60, nbgrad.tensor(0.75), generator=g),
                       stats.binom(60, 0.75)),
    "binomial": (lambda g: nbgrad.binomial(Z(N) + 9, Z(N) + 0.4, generator=g), stats.binom(9, 0.4)),
    "multinomial": (lambda g: nbgrad.multinomial(nbgrad.tensor([1.0, 1.0, 1.0]), N, True, generator=g),
                    stats.randint(0, 3)),
}
#: what draws from the default generator alone
DEFAULT = {
    "dropout": (lambda: F.dropout(nbgrad.ones(N), 0.2) / 1.25, 0.8),
    "alpha_dropout": (lambda: (F.alpha_dropout(nbgrad.ones(N), 0.25, True) > 0).float(), 0.75),
    "dropout1d": (lambda: F.dropout1d(nbgrad.ones(N, 1, 2), 0.2)[:, 0, 0] / 1.25, 0.8),
    "dropout2d": (lambda: F.dropout2d(nbgrad.ones(1, N, 2, 1), 0.5)[0, :, 1, 0] / 2, 0.5),
    "dropout3d": (lambda: F.dropout3d(nbgrad.ones(N, 1, 1, 2), 0.5)[:, 0, 0, 1] / 2, 0.5),
    "feature_alpha": (lambda: (F.feature_alpha_dropout(nbgrad.ones(N, 1, 2), 0.25, True)[:, 0, 0]
                               > 0).float(), 0.75),
}


def fits(sample, distribution):
    """That the largest distance to the distribution is one of the 999 in 1000 smallest."""
    points, counts = np.unique(sample, return_counts=True)
    reached = counts.cumsum() / sample.size
    before = distribution.cdf(points)
    if isinstance(distribution.dist, stats.rv_continuous):
        gap = max(np.abs(reached - before).max(), np.abs(reached - counts / sample.size - before).max())
    else:
        gap = np.abs(reached - before).max()
    return gap < 1.95 / math.sqrt(sample.size)


@pytest.mark.parametrize("name", DRAWS)
def test_distribution_and_seed(name):
    draw, distribution = DRAWS[name]
    g = nbgrad.Generator().manual_seed(3)
    first, second = (draw(g).numpy().astype(np.float64).reshape(-1) for _ in range(2))
    again = draw(g.manual_seed(3)).numpy().reshape(-1)
    assert np.array_equal(first, again) and not np.array_equal(first, second)
    assert fits(first, distribution) and fits(second, distribution)
    assert abs(np.corrcoef(first[1:], first[:-1])[0, 1]) < 4 / math.sqrt(N)


@pytest.mark.parametrize("name", DEFAULT)
def test_dropout_keeps_with_its_probability(name):
    draw, keep = DEFAULT[name]
    nbgrad.manual_seed(5)
    first = draw().numpy()
    assert set(np.unique(first.round(5))) <= {0.0, 1.0} and fits(first.round(), stats.bernoulli(keep))
    nbgrad.manual_seed(5)
    assert np.array_equal(first, draw().numpy()) and not np.array_equal(first, draw().numpy())


@pytest.mark.parametrize("name", [*DRAWS, *DEFAULT])
def test_the_same_numbers_for_any_number_of_threads(name):
    found = []
    most = nbgrad.get_num_threads()
    for count in (1, 2):
        nbgrad.set_num_threads(count)
        nbgrad.manual_seed(8)
        draw = (lambda: DRAWS[name][0](None)) if name in DRAWS else DEFAULT[name][0]
        try:
            found.append(draw().numpy())
        finally:
            nbgrad.set_num_threads(most)
    assert np.array_equal(*found)


def test_alpha_dropout_keeps_mean_and_variance():
    nbgrad.manual_seed(1)
    x = nbgrad.randn(N * 4, dtype=nbgrad.float64)
    for p in (0.1, 0.5):
        y = F.alpha_dropout(x, p, True)
        assert abs(y.mean().item()) < 0.015 and abs(y.var().item() - 1) < 0.03


def test_generator():
    g = nbgrad.Generator(device="cpu")
    assert g.manual_seed(5) is g and g.initial_seed() == 5 and g.device == nbgrad.device("cpu")
    state, twin = g.get_state(), g.clone_state()
    assert state.dtype is nbgrad.uint8
    a = nbgrad.rand(7, generator=g)
    b = nbgrad.rand(7, generator=g)
    assert nbgrad.rand(7, generator=twin).tolist() == a.tolist()
    g.set_state(state)
    assert nbgrad.rand(7, generator=copy.deepcopy(g)).tolist() == a.tolist()
    assert nbgrad.rand(7, generator=pickle.loads(pickle.dumps(g))).tolist() == a.tolist()
    assert nbgrad.rand(7, generator=g).tolist() == a.tolist() != b.tolist()
    before = nbgrad.get_rng_state()
    c = nbgrad.randn(3)
    nbgrad.set_rng_state(before)
    assert nbgrad.randn(3).tolist() == c.tolist()
    assert g.seed() == g.initial_seed() != 5
    assert nbgrad.manual_seed(1) is nbgrad.default_generator and nbgrad.initial_seed() == 1
    assert nbgrad.manual_seed(-1).initial_seed() == 2**64 - 1
    assert nbgrad.seed() == nbgrad.initial_seed()


def test_a_fork_leaves_the_generator_as_it_was():
    before = nbgrad.random.get_rng_state()
    with nbgrad.random.fork_rng():
        nbgrad.rand(5)
        nbgrad.manual_seed(9)
    assert nbgrad.random.get_rng_state().tolist() == before.tolist()
    with nbgrad.random.fork_rng(enabled=False):
        nbgrad.rand(5)
    assert nbgrad.random.get_rng_state().tolist() != before.tolist()


def test_shapes():
    for size in ((2, 3), ((2, 3),), ([2, 3],)):
        assert nbgrad.rand(*size).shape == (2, 3) == nbgrad.randn(*size).shape
    assert nbgrad.randint(5, (2, 0)).shape == (2, 0) == nbgrad.rand(size=(2, 0)).shape
    assert nbgrad.randn(()).shape == () == nbgrad.rand([]).shape
    assert nbgrad.randn(2, requires_grad=True).is_leaf
    assert sorted(nbgrad.randperm(63).tolist()) == list(range(63))
    assert nbgrad.multinomial(nbgrad.ones(2, 5), 3).shape == (2, 3)
    assert nbgrad.multinomial(nbgrad.ones(0, 5), 3).shape == (0, 3)
    assert nbgrad.multinomial(nbgrad.ones(0, 5), 3, True).shape == (0, 3)
    assert sorted(nbgrad.multinomial(nbgrad.tensor([0.0, 1, 2, 3]), 3).tolist()) == [1, 2, 3]
    assert nbgrad.rand_like(Z(2, 3).t()).stride() == (1, 3)


OPTIONS = [
    "rand(2, 3, dtype=float64)", "rand(2, out=zeros(2, dtype=float64))",
    "randn(2, device='cpu', layout=strided)",
    "randn(2, requires_grad=True)", "randint(3, (2,))", "randint(0, 2, (2,), dtype=bool)",
    "randint(0, 9, [], dtype=uint8)",
    "randint(9, (2,), out=zeros(2, dtype=int32))", "randperm(4, dtype=float32)", "randperm(0)",
    "rand_like(zeros(2), dtype=float64)",
    "randn_like(zeros(2, 3), requires_grad=True)", "randint_like(zeros(2), low=1, high=5)",
    "randint_like(zeros(2), 5, dtype=int64)",
    "normal(0, 1, (2,))", "normal(0., 1., size=(2,), dtype=float64)", "normal(zeros(2, 3), ones(3))",
    "normal(zeros(2), ones(2).double())",
    "normal(zeros(2).double(), ones(2))", "normal(2.0, ones(2).double())",
    "normal(mean=ones(2, requires_grad=True))",
    "normal(zeros(2), out=zeros(2))", "bernoulli(ones(2))", "bernoulli(ones(2), p=0.5)",
    "bernoulli(ones(2).long(), 0.5)",
    "ones(2).bernoulli(0.5)", "bernoulli(ones(2), out=zeros(0))", "multinomial(ones(3), 2)",
    "multinomial(ones(3, requires_grad=True), 2)",
    "multinomial(input=ones(2, 3), num_samples=4, replacement=True)", "poisson(ones(2, 3))",
    "binomial(ones(2), ones(2) / 2)",
    "zeros(2).uniform_(0, 1)", "zeros(2).uniform_(to=2)", "zeros(2).random_(to=5, **{'from': 2})",
    "zeros(2).int().random_()",
    "zeros(2, dtype=uint8).random_()", "zeros(2).bool().random_()", "zeros(2, 2).t().normal_()",
    "zeros(2).bernoulli_(ones(2).double())",
    "dropout(ones(2), 0.5, True)", "dropout(ones(2), p=0.5, train=False)",
    "alpha_dropout(ones(2), 0.5, True)",
    "alpha_dropout(ones(2), 1.0, True)", "feature_alpha_dropout(ones(2, 3), 0.5, True)",
    "feature_alpha_dropout(ones(2, 3), 1.0, True)",
    "dropout_(ones(2), 0.5, True)", "alpha_dropout_(ones(2), 0.5, True)",
    "feature_alpha_dropout_(ones(2, 3), 0.5, True)",
    "nn.functional.dropout1d(ones(2, 3))", "nn.functional.dropout1d(ones(4, 2, 3), inplace=True)",
    "nn.functional.dropout2d(ones(2, 3, 2, 2))",
    "nn.functional.dropout3d(ones(1, 2, 3, 2, 2))",
    "nn.functional.dropout3d(ones(2, 3, 2, 2), 0.5, True, True)",
    "nn.functional.dropout(ones(2).long(), 0.5, False)", "nn.functional.alpha_dropout(ones(2))",
    "nn.Dropout2d(0.1)(ones(2, 3, 1, 1))",
    "nn.Dropout1d()(ones(2, 3))", "nn.Dropout3d(p=0.2, inplace=True)(ones(1, 2, 3, 1, 1))",
    "nn.AlphaDropout(0.3)(ones(3))",
    "nn.FeatureAlphaDropout()(ones(2, 3))",
]


@pytest.mark.parametrize("text", OPTIONS)
def test_what_is_made_is_as_in_pytorch(text):
    found = [eval(text, dict(vars(library))) for library in (nbgrad, torch)]
    shown = [(tuple(t.shape), str(t.dtype).split(".")[1], t.stride(), t.requires_grad) for t in found]
    assert shown[0] == shown[1]


IN_PLACE = ["normal_()", "uniform_()", "bernoulli_()", "random_()", "exponential_()", "log_normal_()",
    "cauchy_()",
            "geometric_(0.5)"]


@pytest.mark.parametrize("call", [*IN_PLACE, "dropout"])
def test_in_place(call):
    def write(t):
        return F.dropout(t, 0.5, True, True) if call == "dropout" else eval(f"t.{call}", {"t": t})

    t = nbgrad.ones(4)
    version = t._version
    assert write(t) is t and t._version == version + 1
    leaf = nbgrad.ones(3, requires_grad=True)
    with pytest.raises(RuntimeError, match="leaf Variable that requires grad"):
        write(leaf)
    with nbgrad.no_grad():
        write(leaf)
    x = nbgrad.ones(3, requires_grad=True)
    write((x * 2).t())
    y = x.exp()
    write(y)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        y.sum().backward()
    if call != "dropout":
        x.grad = None
        write(x * 2).sum().backward()
        assert x.grad.tolist() == [0, 0, 0]


@pytest.mark.parametrize("call",
    ["bernoulli(p)", "normal(p)", "normal(p, p)", "normal(0.0, p)", "poisson(p)",
                                  "binomial(p * 0 + 3, p)"])
def test_no_gradient_passes_through_a_sample(call):
    p = nbgrad.full((3,), 0.5, requires_grad=True)
    made = eval(call, {**vars(nbgrad), "p": p})
    assert made.requires_grad
    made.sum().backward()
    assert p.grad.tolist() == [0, 0, 0]


@pytest.mark.parametrize("shape", [(5,), (3, 7), (1000,), (), (0, 3)], ids=str)
@pytest.mark.parametrize("p", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("inplace", [False, True])
def test_dropout_gradient_is_its_mask(shape, p, inplace):
    x = nbgrad.ones(shape, requires_grad=True)
    y = F.dropout(x * 1, p, True, inplace)
    (g,) = nbgrad.autograd.grad(y.sum(), x, create_graph=True)
    assert np.array_equal(g.detach().numpy(), y.detach().numpy())
    kept = y.detach().numpy()[y.detach().numpy() != 0]
    np.testing.assert_allclose(kept, 1 / (1 - p) if p < 1 else 0)


@pytest.mark.parametrize("name, shape", [
    ("dropout", (50,)), ("alpha_dropout", (50,)), ("alpha_dropout", (5, 9)), ("dropout1d", (4, 9, 3)),
    ("dropout1d", (40, 3)),
    ("dropout2d", (4, 9, 2, 3)), ("dropout3d", (4, 9, 2, 1, 2)), ("dropout3d", (40, 2, 1, 2)),
    ("feature_alpha_dropout", (4, 9, 3))])
@pytest.mark.parametrize("inplace", [False, True])
def test_second_gradients(name, shape, inplace):
    nbgrad.manual_seed(7)
    x = nbgrad.randn(*shape, dtype=nbgrad.float64).requires_grad_()
    y = getattr(F, name)(x * 1, 0.4, True, inplace)
    (slope,) = nbgrad.autograd.grad(y.sum(), x, retain_graph=True)
    shift = y.detach() - slope * x.detach()
    (g,) = nbgrad.autograd.grad((y * y).sum(), x, create_graph=True)
    np.testing.assert_allclose(g.detach().numpy(), (2 * slope * (slope * x.detach() + shift)).numpy(),
                               rtol=1e-6, atol=1e-7)
    (gg,) = nbgrad.autograd.grad(g.sum(), x)
    np.testing.assert_allclose(gg.numpy(), 2 * slope.numpy()**2, rtol=1e-6)
    if name != "dropout":
        levels = np.unique(slope.numpy().round(9))
        assert len(levels) == 2 and levels[0] == 0


@pytest.mark.parametrize("name, shape, channels", [
    ("dropout1d", (4, 50, 3), 2), ("dropout1d", (50, 3), 1), ("dropout2d", (4, 50, 3, 2), 2),
    ("dropout3d", (4, 9, 2, 2, 2), 2), ("dropout3d", (50, 2, 2, 2), 1),
    ("feature_alpha_dropout", (4, 50, 3), 2)])
@pytest.mark.parametrize("inplace", [False, True])
def test_channels_are_dropped_as_one(name, shape, channels, inplace):
    x = nbgrad.ones(shape, requires_grad=True)
    y = getattr(F, name)(x * 1, 0.5, True, inplace).detach().numpy()
    each = y.reshape(math.prod(shape[:channels]), -1)
    assert (each == each[:, :1]).all() and len(np.unique(each.round(5))) == 2


def test_dropout2d_takes_three_axes_for_samples_channels_length():
    with pytest.warns(UserWarning, match="3D input to dropout2d"):
        y = F.dropout2d(nbgrad.ones(9, 9, 50))
    assert (y == y[:, :, :1]).all() and not (y[:, :1] == y[:, :1, :1]).logical_not().any()
    with pytest.warns(UserWarning, match="2-D input to dropout2d"):
        F.dropout2d(nbgrad.ones(3, 4))


def test_dropout_saves_nothing_and_follows_strides():
    x = nbgrad.randn(4, 6, requires_grad=True)
    for name in ("dropout", "alpha_dropout"):
        assert getattr(F, name)(x, 0.5, True).grad_fn.saved == ()
    turned = x.detach().t().requires_grad_()
    z = nbgrad.dropout(turned, 0.5, True)
    (g,) = nbgrad.autograd.grad(z.sum(), turned)
    np.testing.assert_allclose((g * turned).detach().numpy(), z.detach().numpy())


@pytest.mark.parametrize("name", ["dropout", "alpha_dropout", "dropout1d", "dropout2d", "dropout3d",
                                  "feature_alpha_dropout"])
def test_dropout_is_off_in_evaluation(name):
    x = nbgrad.ones(2, 3, 1, 1) if name != "dropout1d" else nbgrad.ones(2, 3)
    assert getattr(F, name)(x, 0.5, False) is x
    module = nbgrad.nn.Dropout(0.5).eval()
    assert module(x) is x


ERRORS = [
    "dropout(z(2), 1.5, True)", "bernoulli(z(2) + 2)", "bernoulli(z(2).long())", "randint(5, 5, (2,))",
    "randperm(-1)", "rand(2, dtype=int64)", "randn(-1)", "rand_like(z(2).long())", "rand(2.0)",
    "rand('a')", "rand(2, generator=5)",
    "rand()", "rand(True)", "randn(2, 1.5)", "rand_like(2)", "randn_like()", "randint_like(2, 3)",
    "randint_like(z(2))",
    "randint_like(z(2), 2.5)", "randint_like(z(2), 3, 3)", "randint(5, 2)", "randint(5.5, (2,))",
    "randint(5, (2,), low=1)",
    "randint(5)", "randint(0, 300, (2,), dtype=uint8)", "randint(-1, 3, (2,), dtype=uint8)",
    "randint(0, 3, (2,), dtype=bool)",
    "randint(5, (-1,))", "randperm(3.)", "randperm('a')", "randperm(300, dtype=uint8)",
    "normal(0., 1.)", "normal(z(2).long(), 1.0)",
    "normal(z(2, 3), z(2))", "normal(0., -1., (2,))", "normal(z(2), -1.0)", "normal('a', 1.0, (2,))",
    "bernoulli(z(2), 2.0)",
    "bernoulli(2)", "bernoulli(z(2), -0.5)",
    "normal(z(2), -z(2) - 1)", "multinomial(z(3), 1)", "multinomial(z(3) - 1, 1)",
    "multinomial(z(3).long() + 1, 1)",
    "multinomial(z(3) + 1, 4)", "multinomial(z(3) + 1, 0)", "multinomial(z(2, 2, 2) + 1, 1)",
    "multinomial(z(0), 1)",
    "multinomial(z(3) + float('nan'), 1)", "multinomial(z(3) + 1, 1.5)", "multinomial(2, 1)",
    "poisson(z(2).long())",
    "poisson(z(2) - 1)", "poisson(2)", "binomial(z(2).long(), z(2))", "binomial(z(2), 2)",
    "z(2).bernoulli_(2.0)",
    "z(2).bernoulli_(z(3))", "z(2).bernoulli_(z(2).long())", "z(2).bernoulli_(z(2) + 2)",
    "z(2).normal_(0, -1)",
    "z(2).long().normal_()", "z(2).normal_('a')", "z(2).uniform_(2, 1)", "z(2).long().uniform_()",
    "z(2).uniform_(0, float('inf'))",
    "z(2).uniform_('a')", "z(2).uniform_(-3e38, 3e38)", "z(2).random_(5, 2)", "z(2).random_(0)",
    "z(2).random_('a')",
    "z(2, dtype=uint8).random_(300)", "z(2, dtype=uint8).random_(-1, 3)", "z(2).exponential_(0)",
    "z(2).exponential_(-1)",
    "z(2).long().exponential_()", "z(2).cauchy_(0, -1)", "z(2).long().cauchy_()", "z(2).cauchy_('a')",
    "z(2).log_normal_(0, -1)",
    "z(2).long().log_normal_()", "z(2).log_normal_(0, 0)", "z(2).geometric_(1.0)",
    "z(2).geometric_(0)", "z(2).bool().geometric_(0.5)",
    "z(2).geometric_()", "nn.functional.dropout(z(2), -0.1)", "nn.functional.dropout('a')",
    "nn.functional.dropout(z(2).long())",
    "nn.functional.alpha_dropout(z(2), 2)", "nn.functional.alpha_dropout(2)",
    "nn.functional.alpha_dropout(z(2).long(), 0.5, True)",
    "nn.functional.dropout1d(z(2))", "nn.functional.dropout1d(z(1, 1, 1, 1))",
    "nn.functional.dropout1d(z(2, 2), 1.5)",
    "nn.functional.dropout2d(z(2), 0.5)", "nn.functional.dropout2d(z(2, 2).long())",
    "nn.functional.dropout2d(z(2, 2), -1)",
    "nn.functional.dropout3d(z(2, 2), 3)", "nn.functional.dropout3d(z(2, 2).long())",
    "nn.functional.feature_alpha_dropout(z(3), 0.5, True)",
    "nn.functional.feature_alpha_dropout(z(2, 2), 2)",
    "nn.functional.feature_alpha_dropout(z(2, 2).long(), 0.5, True)", "nn.Dropout2d(1.5)",
    "nn.AlphaDropout(-1)", "nn.Dropout1d('a')",
    "manual_seed('a')", "manual_seed(2**70)", "manual_seed(None)",
    "Generator().set_state(z(3, dtype=uint8))", "Generator().set_state(z(2))",
    "Generator().set_state(3)", "Generator('meh')", "dropout(z(2))", "alpha_dropout(z(2), 0.5)",
]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("text", ERRORS)
def test_errors(text):
    raised = []
    for library in (nbgrad, torch):
        with pytest.raises(Exception) as caught:
            eval(text, vars(library) | {"z": library.zeros})
        raised.append(caught.value)
    assert type(raised[0]) is type(raised[1]), raised
    assert str(raised[0])
