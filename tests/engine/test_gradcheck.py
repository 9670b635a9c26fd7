"""gradcheck and gradgradcheck: what passes, what does not and why, as in PyTorch."""

import itertools
import re
import sys
import warnings

import numpy as np
import pytest

import nbgrad

torch = pytest.importorskip("torch")


def leaf(T, *shape, dtype="float64", requires_grad=True):
    values = np.asarray(np.random.default_rng(shape).uniform(0.3, 1.5, shape))
    made = T.empty(shape, dtype=getattr(T, dtype)).copy_(T.from_numpy(values))
    return made.requires_grad_(requires_grad)


def function(T, forward, backward, materialize=True):
    """A function of one's own: `backward(*saved inputs, *gradients)`."""

    class Own(T.autograd.Function):
        @staticmethod
        def forward(ctx, *xs):
            ctx.save_for_backward(*xs)
            ctx.set_materialize_grads(materialize)
            return forward(*xs)

        @staticmethod
        def backward(ctx, *grads):
            return backward(*ctx.saved_tensors, *grads)

    return Own.apply


def drifting(T):
    """A function whose gradients are never the same."""
    count = itertools.count()
    return function(T, lambda x: x * 1, lambda x, g: g * (1 + 1e-12 * next(count)))


def growing():
    """A function whose result is longer each time."""
    count = itertools.count(1)
    return lambda x: x.sum().expand(next(count))


def two(T, backward):
    return function(T, lambda x: (x * 2, x * 3), backward, materialize=False)


def three(T, with_one_missing):
    """Three outputs; what comes of backward where one gradient is missing."""
    def backward(x, *grads):
        there = [g * k for k, g in enumerate(grads, 1) if g is not None]
        return with_one_missing(x) if len(there) == 2 else sum(there) if there else None

    return function(T, lambda x: (x * 1, x * 2, x * 3), backward, materialize=False)


def _fail(x):
    raise RuntimeError("one is missing")


#: name -> function and inputs, given the library, and options
CASES = {
    "sin": lambda T: (lambda x: x.sin(), leaf(T, 3), {}),
    "0-d": lambda T: (lambda x: x.sin(), leaf(T), {}),
    "empty": lambda T: (lambda x: x.sin(), leaf(T, 0, 3), {}),
    "empty and not": lambda T: (lambda x, y: x.sum() + y.sin(), (leaf(T, 0, 3), leaf(T, 2)), {}),
    "two inputs": lambda T: (lambda x, y: x * y, [leaf(T, 2, 3), leaf(T, 3)], {}),
    "transposed": lambda T: (lambda x: x.exp() * x, leaf(T, 2, 3).t(), {}),
    "strided": lambda T: (lambda x: x.cumsum(0), leaf(T, 7)[1::2], {}),
    "some inputs": lambda T: (lambda x, y, n: x * y ** n, (leaf(T, 2, requires_grad=False),
                                                           leaf(T, 2), 3), {}),
    "two outputs": lambda T: (lambda x: (x.sin(), x.cos().sum()), leaf(T, 2), {}),
    "list of outputs": lambda T: (lambda x: [x.sin(), x.cos().sum()], leaf(T, 2), {}),
    "an output of integers": lambda T: (lambda x: (x.sin(), x.to(T.int64)), leaf(T, 2), {}),
    "several from one node": lambda T: (lambda x: x.sin().unbind(), leaf(T, 3), {}),
    "an input that does not matter": lambda T: (lambda x, y: x.exp(), (leaf(T, 2), leaf(T, 3)), {}),
    "in place": lambda T: (lambda x: (x * 1).mul_(x), leaf(T, 2), {}),
    "a constant": lambda T: (lambda x: T.ones(2, dtype=T.float64), leaf(T, 2), {}),
    "identity": lambda T: (lambda x: x, leaf(T, 2), {}),
    "float32, tolerant": lambda T: (lambda x: x * x, leaf(T, 2, dtype="float32"),
                                    {"eps": 1e-2, "atol": 1e-2}),
    "float32": lambda T: (lambda x: x.exp() * x, leaf(T, 3, dtype="float32"), {}),
    "expanded": lambda T: (lambda x: x.sin(), leaf(T, 3, 1).expand(3, 2), {}),
    "expanded by one": lambda T: (lambda x: x.sin(), leaf(T, 3).expand(1, 3), {}),
    "nothing requires grad": lambda T: (lambda x: x, leaf(T, 2, requires_grad=False), {}),
    "no tensor": lambda T: (lambda x: x, 3.0, {}),
    "detached": lambda T: (lambda x: x.detach() * 2, leaf(T, 2), {}),
    "wrong": lambda T: (function(T, lambda x: x * x, lambda x, g: g * x), leaf(T, 3), {}),
    "one wrong": lambda T: (function(T, lambda x, y: x * y, lambda x, y, g: (g * y, g * x * 1.1)),
                            (leaf(T, 3), leaf(T, 3)), {}),
    "the other wrong": lambda T: (function(T, lambda x: (x * 2, x * 3),
                                           lambda x, g, h: g * 2 + h * 4), leaf(T, 3), {}),
    "hardly wrong": lambda T: (function(T, lambda x: x * x, lambda x, g: g * 2.02 * x), leaf(T, 3), {}),
    "hardly wrong, tolerant": lambda T: (function(T, lambda x: x * x, lambda x, g: g * 2.02 * x),
                                         leaf(T, 3), {"rtol": 0.05}),
    "wrong sign": lambda T: (function(T, lambda x: x.sum(), lambda x, g: -g.expand(3)), leaf(T, 3), {}),
    "not scaled": lambda T: (function(T, lambda x: x.sum(), lambda x, g: T.ones_like(x)),
                             leaf(T, 3), {}),
    "drifting": lambda T: (drifting(T), leaf(T, 2), {}),
    "drifting, tolerant": lambda T: (drifting(T), leaf(T, 2), {"nondet_tol": 1e-6}),
    "None as gradients": lambda T: (two(T, lambda x, g, h: None if g is h is None else
                                        (0 if g is None else g * 2) + (0 if h is None else h * 3)),
                                    leaf(T, 2), {}),
    "first gradient needed": lambda T: (two(T, lambda x, g, h: _needed(g) * 2 +
                                            (0 if h is None else h * 3)), leaf(T, 2), {}),
    "first gradient needed, unchecked": lambda T: (
        two(T, lambda x, g, h: _needed(g) * 2 + _needed(h) * 3), leaf(T, 2),
        {"check_undefined_grad": False}),
    "something for None": lambda T: (two(T, lambda x, g, h: (x if g is None else g * 2) +
                                         (x * 0 if h is None else h * 3)), leaf(T, 2), {}),
    "one of three missing": lambda T: (three(T, _fail), leaf(T, 2), {}),
    "one of three missing, unchecked": lambda T: (three(T, _fail), leaf(T, 2),
                                                  {"check_undefined_grad": False}),
    "something for one of three": lambda T: (three(T, lambda x: x), leaf(T, 2), {}),
    "off by less than atol": lambda T: (function(
        T, lambda x: x.sum(), lambda x, g: (g * (1 + 9e-6)).expand(64)), leaf(T, 64), {"rtol": 0}),
    "another shape each time": lambda T: (growing(), leaf(T, 2), {}),
    "other options": lambda T: (lambda x: x.sin(), leaf(T, 2),
                                {"masked": True, "check_grad_dtypes": True}),
}


def _needed(g):
    """None is no number, and PyTorch takes only a RuntimeError for that."""
    if g is None:
        raise RuntimeError("no gradient")
    return g


def outcome(T, check, name, **more):
    """True, or the class and first words of the error, and the warnings."""
    func, inputs, options = CASES[name](T)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            found = getattr(T.autograd, check)(func, inputs, **{**options, **more})
        except Exception as error:
            name = type(error).__name__
            found = name, re.split(r"[,.\n]", str(error))[0][:60]
    said = {str(w.message)[:60] for w in caught if "Input #" in str(w.message)}
    return found, said


#: where gradgradcheck of PyTorch stumbles: there are no outputs to draw gradients for
NO_OUTPUTS = ("a constant", "detached", "no tensor")


@pytest.mark.parametrize("fast", [False, True], ids=["slow", "fast"])
@pytest.mark.parametrize("check", ["gradcheck", "gradgradcheck"])
@pytest.mark.parametrize("name", CASES)
def test_as_pytorch(name, check, fast):
    mine = outcome(nbgrad, check, name, fast_mode=fast)
    if check == "gradgradcheck" and name in NO_OUTPUTS:
        assert mine[0] is True or mine[0][0] == "ValueError"
        return
    other = outcome(torch, check, name, fast_mode=fast)
    assert mine == other
    if isinstance(other[0], tuple) and other[0][0] == "GradcheckError":
        assert outcome(nbgrad, check, name, fast_mode=fast, raise_exception=False)[0] is False


WRONG_OPTIONS = {
    "gradcheck": [{"check_forward_ad": False, "check_backward_ad": False}],
    "gradgradcheck": [{"check_fwd_over_rev": False, "check_rev_over_rev": False}],
}


@pytest.mark.parametrize("T", [nbgrad, torch], ids=["nbgrad", "torch"])
@pytest.mark.parametrize("check", WRONG_OPTIONS)
def test_options_that_leave_nothing_to_check(check, T):
    for options in WRONG_OPTIONS[check]:
        with pytest.raises(AssertionError, match="Expected at least one of"):
            getattr(T.autograd, check)(lambda x: x, leaf(T, 2), **options)


@pytest.mark.parametrize(("check", "option"), [
    ("gradcheck", "check_batched_grad"), ("gradcheck", "check_forward_ad"),
    ("gradcheck", "check_batched_forward_grad"), ("gradgradcheck", "check_batched_grad"),
    ("gradgradcheck", "check_fwd_over_rev")])
def test_options_that_there_are_not(check, option):
    assert getattr(nbgrad.autograd, check)(lambda x: x.sin(), leaf(nbgrad, 2), **{option: False})
    with pytest.raises(NotImplementedError, match=f"{check}: {option}=True is not available"):
        getattr(nbgrad.autograd, check)(lambda x: x.sin(), leaf(nbgrad, 2), **{option: True})


def test_the_message_names_output_and_input_and_shows_both_jacobians():
    wrong = function(nbgrad, lambda x, y: x * y, lambda x, y, g: (g * y, g * 0))
    y = nbgrad.tensor([2.0, 3.0], dtype=nbgrad.float64, requires_grad=True)
    x = nbgrad.tensor([5.0, 7.0], dtype=nbgrad.float64)
    for fast in (False, True):
        with pytest.raises(nbgrad.autograd.GradcheckError) as caught:
            nbgrad.autograd.gradcheck(lambda x, y: (x * 2, x.exp() * y, wrong(x, y)), (x, y),
                                      fast_mode=fast)
        text = str(caught.value)
        assert text.startswith("Jacobian mismatch for output 2 with respect to input 1,\nnumerical:")
        numerical, analytical = text.split("numerical:")[-1].split("analytical:")
        assert "5.0000, 0.0000" in numerical and "0.0000, 7.0000" in numerical
        assert analytical.startswith("tensor([[0., 0.],\n        [0., 0.]]")
        assert ("Their greatest difference is 7.0" in text) == fast


def test_a_product_may_fail_where_its_jacobian_passes():
    """Errors within rtol of each element add up, while the elements cancel."""
    def almost(x, g):
        return g * nbgrad.tensor([1.001, -0.999], dtype=nbgrad.float64)

    wrong = function(nbgrad, lambda x: x[0] - x[1], almost)
    with pytest.raises(nbgrad.autograd.GradcheckError, match="within the tolerances: try fast_mode"):
        nbgrad.autograd.gradcheck(wrong, leaf(nbgrad, 2), rtol=1.1e-3, atol=0, fast_mode=True)


def test_inputs_are_put_back_also_after_an_error():
    x, seen = leaf(nbgrad, 3), []
    before, version = x.tolist(), x._version

    def fails(x):
        seen.append(x.tolist())
        if len(seen) == 3:
            raise ArithmeticError
        return x.sin()

    with pytest.raises(ArithmeticError):
        nbgrad.autograd.gradcheck(fails, x)
    assert seen[2] != before == x.tolist() and x._version == version
    assert x.grad is None and nbgrad.autograd.gradcheck(lambda x: x.sin(), x) and x.grad is None


def test_a_function_may_know_its_inputs_otherwise():
    """As a module knows its parameters."""
    layer = nbgrad.nn.Linear(2, 2).double()
    x = leaf(nbgrad, 3, 2)
    for fast in (False, True):
        for check in (nbgrad.autograd.gradcheck, nbgrad.autograd.gradgradcheck):
            assert check(lambda *_: layer(x).tanh(), (x, *layer.parameters()), fast_mode=fast)


@pytest.mark.parametrize(("change", "message"), [
    (lambda g: g.float(), "Gradient has dtype mismatch"),
    (lambda g: g[:1], "Analytical gradient has incorrect size")])
def test_gradients_unlike_their_inputs(change, message, monkeypatch):
    """The engine lets none through; were it to fail, this would be noticed."""
    def wrong(*args, **options):
        return tuple(map(change, nbgrad.autograd.grad(*args, **options)))

    monkeypatch.setattr(sys.modules["nbgrad.autograd.gradcheck"], "grad", wrong)
    with pytest.raises(nbgrad.autograd.GradcheckError, match=message):
        nbgrad.autograd.gradcheck(lambda x: x * 2, leaf(nbgrad, 2), check_grad_dtypes=True)


@pytest.mark.parametrize("gaps", [False, True])
def test_gradients_drawn_for_the_second_order(gaps):
    seen = []

    def watched(x):
        y = x.exp()
        y.register_hook(lambda g: seen.append((g.is_contiguous(), g.dtype, g.requires_grad)))
        return y

    assert nbgrad.autograd.gradgradcheck(watched, leaf(nbgrad, 2, 3), gen_non_contig_grad_outputs=gaps)
    assert seen[0] == (not gaps, nbgrad.float64, True)


def test_gradients_given_for_the_second_order():
    x, g = leaf(nbgrad, 3), leaf(nbgrad, 3)
    assert nbgrad.autograd.gradgradcheck(lambda x: x.sin(), x, g)
    assert nbgrad.autograd.gradgradcheck(lambda x: x.sin(), x, (leaf(nbgrad, 3, requires_grad=False),))
    with pytest.raises(RuntimeError, match="Mismatch in shape"):
        nbgrad.autograd.gradgradcheck(lambda x: x.sin(), x, leaf(nbgrad, 2))


def test_random_numbers_of_the_user_are_left_alone():
    nbgrad.manual_seed(3)
    expected = nbgrad.rand(2).tolist()
    nbgrad.manual_seed(3)
    assert nbgrad.autograd.gradgradcheck(lambda x: x.sin(), leaf(nbgrad, 2), fast_mode=True)
    assert nbgrad.rand(2).tolist() == expected


def test_the_warning_points_at_the_caller():
    with pytest.warns(UserWarning, match="Input #1 requires gradient and is not a double") as caught:
        nbgrad.autograd.gradcheck(lambda n, x: x * 0, (3, leaf(nbgrad, 2, dtype="float32")))
    assert caught[0].filename == __file__


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_floats(dtype):
    x = nbgrad.tensor([0.5, 1.0], dtype=getattr(nbgrad, dtype), requires_grad=True)
    with pytest.warns(UserWarning, match="Input #0"):
        assert nbgrad.autograd.gradcheck(lambda x: x * x, x, eps=0.125, atol=0.05)
    assert x.tolist() == [0.5, 1.0]
