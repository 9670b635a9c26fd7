"""Softmax and losses against torch."""

import numpy as np
import pytest

import nbgrad
from nbgrad.nn import functional as F

N = np.random.default_rng(6).standard_normal
DRAW = np.random.default_rng(7)


@pytest.mark.parametrize("name", ["softmax", "log_softmax", "softmin"])
@pytest.mark.parametrize("shape, dim", [
    ((2, 5), 1), ((2, 5), 0), ((3, 4, 63), -2), ((), 0), ((1,), 0), ((0, 3), 1), ((3, 1000), 1)],
    ids=str)
def test_softmax(same, name, shape, dim):
    same(lambda lib, x: getattr(lib, name)(x, dim), np.array(N(shape)) * 3)


def test_softmax_of_another_dtype(same):
    same(lambda lib, x: lib.softmax(x, 1, dtype=lib.float64), np.arange(6).reshape(2, 3))
    same(lambda lib, x: lib.log_softmax(x, 1, dtype=lib.float64), N((2, 3)))


def test_softmax_of_infinities(same):
    x = np.array([[1.0, -np.inf, 2.0], [300.0, 800.0, -900.0]])
    same(lambda lib, x: lib.softmax(x, 1), x)
    same(lambda lib, x: lib.softmax(x, 1), np.array([[np.nan, 1.0]]))


def test_softmax_strides(same):
    same(lambda lib, x: lib.softmax(x, 1), N((5, 4, 3)).transpose(2, 0, 1))


LOGITS = [(4, 5), (1, 1), (2, 5, 3), (2, 5, 3, 4), (5,), (0, 3), (70, 130)]


def classes(shape, ignored=True):
    size = shape[:1] + shape[2:] if len(shape) > 1 else ()
    count = shape[1] if len(shape) > 1 else shape[0]
    target = np.array(DRAW.integers(0, count, size))
    if ignored and target.size > 1:
        target.reshape(-1)[0] = -100
    return target


@pytest.mark.parametrize("shape", LOGITS, ids=str)
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("name", ["cross_entropy", "nll_loss"])
def test_class_losses(same, name, shape, reduction, weighted):
    weight = np.abs(N(shape[1] if len(shape) > 1 else shape[0])) + 0.1
    same(lambda lib, x, t, w: getattr(lib, name)(x, t, w if weighted else None,
                                                 reduction=reduction),
         N(shape), classes(shape), weight, grad=[0])


@pytest.mark.parametrize("shape", [s for s in LOGITS if 0 not in s], ids=str)
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("weighted", [False, True])
def test_label_smoothing(same, shape, reduction, weighted):
    weight = np.abs(N(shape[1] if len(shape) > 1 else shape[0])) + 0.1
    same(lambda lib, x, t, w: lib.cross_entropy(x, t, w if weighted else None, reduction=reduction,
                                                label_smoothing=0.3),
         N(shape), classes(shape), weight, grad=[0])


@pytest.mark.parametrize("shape", [(4, 5), (2, 5, 3), (5,)], ids=str)
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_probability_targets(same, shape, reduction, smoothing):
    target = np.abs(N(shape))
    weight = np.abs(N(shape[1] if len(shape) > 1 else shape[0])) + 0.1
    for weighted in (False, True):
        same(lambda lib, x, t, w, weighted=weighted: lib.cross_entropy(
            x, t, w if weighted else None, reduction=reduction, label_smoothing=smoothing),
            N(shape), target, weight, grad=[0, 1])


def test_all_ignored_is_nan(same):
    same(lambda lib, x, t: lib.cross_entropy(x, t), N((2, 3)), np.array([-100, -100]), second=False)
    same(lambda lib, x, t: lib.cross_entropy(x, t, ignore_index=1, reduction="sum"), N((2, 3)),
         np.array([1, 1]))


def test_large_logits(same):
    same(lambda lib, x, t: lib.cross_entropy(x, t), N((3, 4)) * 1000, np.array([0, 1, 2]))


def test_byte_targets(library):
    x = library.from_numpy(N((2, 3)))
    target = library.tensor([0, 2])
    assert library.cross_entropy(x, target.to(library.uint8)) == library.cross_entropy(x, target)


PAIRS = [((3, 4), (3, 4)), ((5,), (5,)), ((), ()), ((0, 2), (0, 2))]
SMOOTH = [("mse_loss", {}), ("l1_loss", {}), ("smooth_l1_loss", {}),
          ("smooth_l1_loss", {"beta": 0.3}),
          ("smooth_l1_loss", {"beta": 0}), ("huber_loss", {}), ("huber_loss", {"delta": 0.4}),
          ("binary_cross_entropy_with_logits", {})]


@pytest.mark.parametrize("a, b", PAIRS, ids=str)
@pytest.mark.parametrize("name, options", SMOOTH, ids=str)
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_elementwise_losses(same, name, options, a, b, reduction):
    same(lambda lib, x, y: getattr(lib, name)(x, y, reduction=reduction, **options),
         np.array(N(a)), np.array(N(b)), second=0 not in a)


@pytest.mark.parametrize("name", ["mse_loss", "l1_loss", "smooth_l1_loss", "huber_loss"])
def test_other_shapes_warn(library, name):
    with pytest.warns(UserWarning, match="Using a target size"):
        getattr(library, name)(library.zeros(2, 3), library.zeros(2, 1))


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_binary_cross_entropy(same, reduction):
    x, t, w = DRAW.uniform(0.1, 0.9, (3, 4)), DRAW.uniform(0, 1, (3, 4)), np.abs(N((3, 4)))
    same(lambda lib, x, t, w: lib.binary_cross_entropy(x, t, w, reduction=reduction), x, t, w,
         grad=[0])
    same(lambda lib, x, t: lib.binary_cross_entropy(x, t, reduction=reduction), x, t, second=False)


def test_binary_cross_entropy_at_the_ends(same):
    x, t = np.array([0.0, 1.0, 0.0, 1.0, 0.5]), np.array([0.0, 0.0, 1.0, 1.0, 1.0])
    same(lambda lib, x, t: lib.binary_cross_entropy(x, t, reduction="none"), x, t, grad=[0],
         second=False)


def test_logits_at_zero_and_far_out(same):
    x, t = np.array([0.0, 0.0, 500.0, -500.0, 3.0]), np.array([0.0, 1.0, 0.0, 1.0, 0.5])
    w, p = np.abs(N(5)), np.abs(N(5))
    same(lambda lib, x, t, w, p: lib.binary_cross_entropy_with_logits(x, t, w, pos_weight=p),
         x, t, w, p, grad=[0])


@pytest.mark.filterwarnings("ignore:reduction")
@pytest.mark.parametrize("reduction", ["mean", "sum", "none", "batchmean"])
@pytest.mark.parametrize("log_target", [False, True])
def test_kl_div(same, reduction, log_target):
    t = np.abs(N((3, 4))) + 0.1
    same(lambda lib, x, t: lib.kl_div(x, t, reduction=reduction, log_target=log_target),
         N((3, 4)), t)
    t[0, 0] = 0
    same(lambda lib, x, t: lib.kl_div(x, t, reduction="sum"), N((3, 4)), t, grad=[0])


def test_node_names(library):
    x = library.from_numpy(N((2, 3))).requires_grad_()
    target = library.tensor([0, 1])
    assert library.softmax(x, 1).grad_fn.name() == "SoftmaxBackward0"
    assert library.log_softmax(x, 1).grad_fn.name() == "LogSoftmaxBackward0"
    assert library.cross_entropy(x, target).grad_fn.name() == "NllLossBackward0"


def test_targets_are_guarded(library):
    x, target = library.zeros(2, 3, requires_grad=True), library.tensor([0, 1])
    loss = library.cross_entropy(x, target)
    target.add_(1)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


ERRORS = [
    "softmax(z(2, 3), 2)", "softmax(z(2, 3).long(), 1)", "softmax(z(2, 3))",
    "cross_entropy(z(2, 3), t([1, 7]))", "cross_entropy(z(2, 3), t([1, -1]))",
    "cross_entropy(z(2, 3), t([1, 1, 1]))", "cross_entropy(z(2, 3), t([1., 1]))",
    "cross_entropy(z(2, 3), t([1, 1], dtype=int32))", "cross_entropy(z(2, 3), t([1, 1]), z(4))",
    "cross_entropy(z(2, 3), t([1, 1]), z(3, dtype=float64))", "cross_entropy(z(2, 3), z(2, 4))",
    "cross_entropy(z(2, 3), t([1, 1]), reduction='foo')", "cross_entropy(z(2, 3, 4), t([1, 1]))",
    "cross_entropy(z(2, 3), t([1, 1]), label_smoothing=2.)", "cross_entropy(z(()), t(1))",
    "cross_entropy(z(2, 3).long(), t([1, 1]))", "nll_loss(z(2, 3), t([1, 7]))",
    "nll_loss(z(2, 3), t([1, 1, 1]))", "nll_loss(z(2, 3), t([1., 1]))",
    "nll_loss(z(2, 3), t([1, 1]), z(4))", "nll_loss(z(2, 3, 4, 5), z(2, 4, 4).long())",
    "nll_loss(z(2, 3), z(2, 4).long())", "mse_loss(z(2, 3), z(2, 3), reduction='x')",
    "mse_loss(z(2, 3).long(), z(2, 3).long())", "smooth_l1_loss(z(2), z(2), beta=-1.)",
    "huber_loss(z(2), z(2), delta=0)", "binary_cross_entropy(z(2) + 2, z(2))",
    "binary_cross_entropy(z(2), z(3))", "binary_cross_entropy_with_logits(z(2), z(3))",
    "kl_div(z(2), z(2))", "kl_div(z(2), z(2), reduction='x')",
]


@pytest.mark.parametrize("text", ERRORS)
def test_errors(same_error, text):
    same_error(lambda lib: eval(text, vars(lib) | {"z": lib.zeros, "t": lib.tensor}))


@pytest.mark.parametrize("p", [1, 2])
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("weighted", [False, True])
def test_second_gradients_of_multi_margin_loss(p, reduction, weighted):
    nbgrad.manual_seed(3)
    x = nbgrad.randn(4, 5, dtype=nbgrad.float64, requires_grad=True)
    target = nbgrad.tensor([1, 0, 4, 2])
    weight = nbgrad.tensor([0.5, 1, 2, 3, 4], dtype=nbgrad.float64) if weighted else None

    def loss(x):
        return F.multi_margin_loss(x, target, p, 0.7, weight, reduction=reduction)

    assert nbgrad.autograd.gradcheck(loss, (x,)) and nbgrad.autograd.gradgradcheck(loss, (x,))
    (one,) = nbgrad.autograd.grad(loss(x).sum(), x)
    (other,) = nbgrad.autograd.grad(loss(x).sum(), x, create_graph=True)
    np.testing.assert_allclose(one.numpy(), other.detach().numpy(), rtol=1e-12)
