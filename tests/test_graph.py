"""The graph: deep graphs, what is kept alive and for how long, threads, hooks that fail, Function."""

import gc
import math
import threading
import weakref

import numpy as np
import pytest

import nbgrad
from nbgrad.autograd import Function, grad, once_differentiable
from nbgrad.engine.saved import Freed

DEEP = 1_000_000


def leaf(*values):
    return nbgrad.tensor(list(values or (1.0, 2.0)), requires_grad=True)


# sums


@pytest.mark.parametrize("op", ["mul", "div", "atan2", "hypot"])
@pytest.mark.parametrize("n", [1, 32, 1000])
def test_a_gradient_added_to_the_sum_that_waits(op, n):
    """An operand used many times: its gradients are added where they wait."""
    torch = pytest.importorskip("torch")
    start = np.linspace(1, 2, n)
    grads = []
    for library in (nbgrad, torch):
        x, w = (library.tensor(start + k, requires_grad=True) for k in (0, 1))
        y = x
        for _ in range(5):
            y = getattr(library, op)(y, w)
        y.backward(library.ones_like(y))
        grads.append((x.grad.numpy(), w.grad.numpy()))
    for ours, theirs in zip(*grads):
        np.testing.assert_allclose(ours, theirs, rtol=1e-12)


def test_a_post_hook_sees_every_gradient_of_its_node():
    x, w = leaf(), leaf(3.0, 4.0)
    middle = x * w
    y = middle * w * w
    seen = []
    middle.grad_fn.register_hook(lambda inputs, outputs: seen.append([g.tolist() for g in inputs]))
    y.backward(nbgrad.ones(2))
    assert seen == [[[27, 64], [9, 32]]]
    assert w.grad.tolist() == [27, 96]


# into a `.grad` that is there already

SIZES = [(5, 6, 7), (16, 256, 160), (300, 256, 160), (16, 1024, 40)]  # rows, columns in, columns out


def numbers(library, *shape):
    values = np.random.default_rng(sum(shape)).standard_normal(shape).astype(np.float32)
    return library.tensor(values)


def weight(rows, inner, columns):
    return numbers(nbgrad, columns, inner).requires_grad_()


def passes(library, w, rows, inner, columns):
    """Two backward passes to one weight, which the second uses twice."""
    linear = library.nn.functional.linear
    x, bias = numbers(library, rows, inner), numbers(library, columns)
    linear(x, w, bias).sum().backward()
    first = w.grad
    (linear(x + 1, w) * linear(x, w, bias)).sum().backward()
    return first


@pytest.mark.parametrize("sizes", SIZES)
def test_later_products_are_added_to_the_same_gradient(sizes):
    torch = pytest.importorskip("torch")
    ours = weight(*sizes)
    theirs = torch.tensor(ours.tolist(), requires_grad=True)
    assert passes(nbgrad, ours, *sizes) is ours.grad
    passes(torch, theirs, *sizes)
    scale = theirs.grad.abs().max().item()
    np.testing.assert_allclose(ours.grad.numpy(), theirs.grad.numpy(), rtol=1e-5, atol=1e-6 * scale)


@pytest.mark.parametrize("sizes", SIZES)
@pytest.mark.parametrize("turned", [False, True])
def test_the_bits_are_those_of_adding_afterwards(sizes, turned):
    rows, inner, columns = sizes
    w, old = weight(*sizes), numbers(nbgrad, columns, inner)
    x, gy = numbers(nbgrad, rows, inner), numbers(nbgrad, rows, columns)

    def go():
        if turned:
            (w @ x.t()).backward(gy.t())
        else:
            nbgrad.nn.functional.linear(x, w).backward(gy)

    go()
    plain, w.grad = w.grad, old.clone()
    kept, view, version = w.grad, w.grad.view(-1), w.grad._version
    go()
    assert w.grad is kept and w.grad._version == version + 1
    np.testing.assert_array_equal(w.grad.numpy(), (old + plain).numpy())
    np.testing.assert_array_equal(view.numpy(), w.grad.numpy().reshape(-1))


HELD = {
    "turned": lambda g: g.t().contiguous().t(),
    "spread": lambda g: nbgrad.zeros(g.shape[0], 2 * g.shape[1])[:, ::2].copy_(g),
    "a part": lambda g: nbgrad.cat([g, g])[g.shape[0]:],
    "a view": lambda g: g.clone().view(-1).view(*g.shape),
    "recorded": lambda g: g.clone().requires_grad_() * 1,
}


@pytest.mark.parametrize("sizes", SIZES[:2])
@pytest.mark.parametrize("held", HELD)
def test_any_tensor_may_be_added_to(held, sizes):
    rows, inner, columns = sizes
    w, x, gy = weight(*sizes), numbers(nbgrad, rows, inner), numbers(nbgrad, rows, columns)
    given = w.grad = HELD[held](numbers(nbgrad, columns, inner))
    before = w.grad.detach().clone()
    nbgrad.nn.functional.linear(x, w).backward(gy)
    np.testing.assert_array_equal(w.grad.detach().numpy(), (before + gy.t() @ x).numpy())
    if held == "recorded":
        assert w.grad is not given and given.eq(before).all()
    else:
        assert w.grad is given
    w.grad = nbgrad.ones(1, 1).expand(columns, inner)
    with pytest.raises(RuntimeError, match="more than one element of the written-to tensor"):
        nbgrad.nn.functional.linear(x, w).backward(gy)


@pytest.mark.parametrize("n", [6, 200])
def test_a_gradient_may_be_an_operand(n):
    w, x, g = (numbers(nbgrad, k, k)[:n, :n].clone() for k in (n, n + 1, n + 2))
    for place in "grad", "operand", "memory":
        w.requires_grad_().grad = g.clone()
        gy = {"grad": w.grad, "operand": x, "memory": nbgrad.from_numpy(w.grad.numpy())}[place]
        expected = g + (w.grad if place == "operand" else x).t() @ gy
        ((w.grad if place == "operand" else x) @ w).backward(gy)
        np.testing.assert_array_equal(w.grad.numpy(), expected.numpy())


WATCHED = {
    "tensor hook": lambda w, y, see: w.register_hook(see),
    "pre-hook of the leaf": lambda w, y, see: (
        y.grad_fn.next_functions[1][0].register_prehook(lambda grads: see(grads[0]))),
    "hook of the node": lambda w, y, see: y.grad_fn.register_hook(lambda ins, outs: see(ins[1])),
    "hook after it": lambda w, y, see: (
        w.register_post_accumulate_grad_hook(lambda t: see(t.grad - 1))),
}


@pytest.mark.parametrize("n", [6, 200])
@pytest.mark.parametrize("hook", WATCHED)
def test_a_hook_sees_the_gradient_without_what_is_there(hook, n):
    x, w, gy = (numbers(nbgrad, n + k, n)[:n].clone() for k in range(3))
    w.requires_grad_().grad = nbgrad.ones(n, n)
    y, seen = x @ w, []
    WATCHED[hook](w, y, seen.append)
    y.backward(gy)
    (found,) = seen
    np.testing.assert_allclose(found.numpy(), x.numpy().T @ gy.numpy(), atol=1e-4)
    np.testing.assert_array_equal(w.grad.numpy(), (x.t() @ gy + 1).numpy())


@pytest.mark.parametrize("n", [6, 200])
def test_only_what_is_asked_for_is_added_to(n):
    x, w = (numbers(nbgrad, n + k, n)[:n].clone().requires_grad_() for k in range(2))
    w.grad, x.grad, ones = nbgrad.ones(n, n), nbgrad.ones(n, n), nbgrad.ones(n, n)
    gw, gx = (x.detach().t() @ ones).numpy(), (ones @ w.detach().t()).numpy()
    np.testing.assert_array_equal(grad(x @ w, w, ones)[0].numpy(), gw)
    assert w.grad.eq(1).all() and x.grad.eq(1).all()
    (x @ w).backward(ones, inputs=[x])
    assert w.grad.eq(1).all()
    np.testing.assert_array_equal(x.grad.numpy(), 1 + gx)
    v = w * 1
    v.retain_grad()
    (x @ v).backward(ones)
    np.testing.assert_array_equal(v.grad.numpy(), gw)
    (x @ v).backward(ones)
    np.testing.assert_array_equal(v.grad.numpy(), gw + gw)


# memory


@pytest.mark.parametrize("n", [10, 100_000])
@pytest.mark.parametrize("several", [False, True])
@pytest.mark.parametrize("kept", [False, True])
def test_a_fresh_gradient_becomes_grad_uncopied(n, several, kept):
    made, places = [], []

    class Double(Function):
        @staticmethod
        def forward(ctx, x, y):
            return x * 2

        @staticmethod
        def backward(ctx, grad):
            mine = grad * 2
            places.append(mine.data_ptr())
            if kept:
                made.append(mine)
            return mine, (mine * 1 if several else None)

    x, y = nbgrad.ones(n, requires_grad=True), nbgrad.ones(n, requires_grad=True)
    Double.apply(x, y).backward(nbgrad.ones(n))
    assert (x.grad.data_ptr() == places[0]) is not kept
    assert x.grad[0] == 2


# orders


@pytest.mark.parametrize(("function", "derivative"), [
    (lambda x: x.sin(), lambda x, n: np.sin(x + n * np.pi / 2)),
    (lambda x: x.exp(), lambda x, n: np.exp(x)),
    (lambda x: x**6, lambda x, n: math.perm(6, n) * x ** (6 - n)),
    (lambda x: x**2.5, lambda x, n: math.prod(2.5 - k for k in range(n)) * x ** (2.5 - n)),
    (lambda x: 1 / x, lambda x, n: (-1) ** n * math.factorial(n) / x ** (n + 1)),
    (lambda x: x.log(), lambda x, n: -((-1) ** n) * math.factorial(n - 1) / x**n),
], ids=["sin", "exp", "x**6", "x**2.5", "1/x", "log"])
def test_derivatives_of_high_order(function, derivative):
    x = nbgrad.tensor(0.7, dtype=nbgrad.float64, requires_grad=True)
    y = function(x)
    for order in range(1, 7):
        y, = grad(y, x, create_graph=True)
        assert y.item() == pytest.approx(derivative(0.7, order), rel=1e-11)


# depth


def test_a_million_nodes_are_walked_and_freed():
    x = leaf()
    y = x
    for _ in range(DEEP):
        y = y + 1
    y.sum().backward()
    assert x.grad.tolist() == [1, 1]
    del y


def test_a_deep_graph_is_dropped_without_backward():
    y = leaf()
    for _ in range(DEEP):
        y = y * 1.0
    del y


def test_a_deep_graph_is_dropped_after_backward_of_a_part():
    x = leaf()
    y = middle = x
    for k in range(DEEP // 10):
        y = y * 1.0
        middle = y if k == 50_000 else middle
    middle.sum().backward()
    del y, middle
    assert x.grad.tolist() == [1, 1]


def test_a_long_chain_of_writes():
    x = leaf()
    y = x * 1
    for _ in range(DEEP // 10):
        y.add_(1)
    y.sum().backward()
    assert x.grad.tolist() == [1, 1] and y.tolist() == [100_001, 100_002]


def test_a_long_chain_of_writes_through_views():
    x = leaf()
    y = x * 1
    for _ in range(10_000):
        y[0].mul_(1.0)
    y.sum().backward()
    assert x.grad.tolist() == [1, 1]


def test_a_long_chain_of_views():
    x = leaf()
    y = x
    for _ in range(DEEP // 10):
        y = y.view(2)
    y.sum().backward()
    assert x.grad.tolist() == [1, 1]


def test_a_wide_and_deep_diamond():
    x = leaf()
    y = x
    for _ in range(1000):
        y = 0.25 * (y + y) + 0.5 * y
    y.sum().backward()
    assert x.grad.tolist() == [1, 1]


def test_a_deep_graph_is_differentiated_twice():
    x = leaf(1.0)
    y = x
    for _ in range(20_000):
        y = y * x
    (g,) = grad(y, x, create_graph=True)
    (gg,) = grad(g, x)
    assert g.item() == 20_001 and gg.item() == pytest.approx(20_000 * 20_001, rel=1e-3)


# life


class Cube(Function):
    @staticmethod
    def forward(ctx, x):
        y = x * x * x
        ctx.save_for_backward(x, y)
        ctx.kept = y.detach()
        return y

    @staticmethod
    def backward(ctx, g):
        x, _ = ctx.saved_tensors
        return 3 * x * x * g


def _in_place_on_a_view(x):
    y = x * 1
    y[0].mul_(3)
    return y


def _in_place(x):
    y = x * 1
    return y.sin_().add_(1).exp_()


def _written_view(x):
    y = x * 1
    v = y[1:]
    v.mul_(2)
    return v * y[:1]


MAKE = {
    "result saved": lambda x: x.exp(),
    "input saved": lambda x: (x * 1).sin(),
    "both saved": lambda x: (x * 2) * (x * 3),
    "reduction": lambda x: (x * 2).max(0)[0],
    "norm": lambda x: (x * 2).norm(),
    "logsumexp": lambda x: (x * 2).logsumexp(0),
    "prod": lambda x: (x * 2).prod(),
    "views": lambda x: (x * 2).view(1, 2).t().unsqueeze(0)[0, :1],
    "unbind": lambda x: (x * 2).unbind(0)[1],
    "index": lambda x: (x * 2)[nbgrad.tensor([0, 0])],
    "cat": lambda x: nbgrad.cat([x * 2, x * 3]),
    "where": lambda x: nbgrad.where(x > 1, x * 2, x * 3),
    "in place": _in_place,
    "in place on a view": _in_place_on_a_view,
    "written view": _written_view,
    "function": lambda x: Cube.apply(x * 2),
}


def plain(x, y):
    pass


def backward(x, y):
    y.sum().backward()


def kept_graph(x, y):
    y.sum().backward(retain_graph=True)
    y.sum().backward(retain_graph=True)


def retained(x, y):
    if y.requires_grad:
        y.retain_grad()
    y.sum().backward()


def hooked(x, y):
    y.register_hook(lambda g: g * 2)
    y.grad_fn.register_hook(lambda gx, gy: None)
    x.register_hook(lambda g: g)
    y.sum().backward()


def created(x, y):
    (g,) = grad(y.sum(), x, create_graph=True)
    if g.requires_grad:
        grad(g.sum(), x, allow_unused=True)


def failing(x, y):
    def fail(g):
        raise ZeroDivisionError

    y.register_hook(fail)
    with pytest.raises(ZeroDivisionError):
        y.sum().backward()


def anomalous(x, y):
    with nbgrad.autograd.detect_anomaly():
        (y * 2).sum().backward()


@pytest.mark.parametrize("use", [plain, backward, kept_graph, retained, hooked, created, failing,
                                 anomalous], ids=lambda f: f.__name__)
@pytest.mark.parametrize("make", MAKE.values(), ids=list(MAKE))
def test_nothing_outlives_its_last_reference(make, use):
    MAKE["result saved"](leaf()).sum().backward()  # kernels and plans exist before counting
    gc.disable()
    try:
        x = leaf(1.0, 2.0)
        y = make(x)
        use(x, y)
        alive = [weakref.ref(v) for v in (x, y, y.grad_fn)]
        if x.grad is not None:
            alive.append(weakref.ref(x.grad))
        memory = weakref.ref(y._data)
        del x, y
        assert [a() for a in alive] == [None] * len(alive)
        assert memory() is None
    finally:
        gc.enable()


def test_the_graph_does_not_keep_a_leaf_alive():
    x = leaf()
    alive = weakref.ref(x)
    y = x + 1
    del x
    assert alive() is None
    y.sum().backward()


def test_backward_frees_what_was_saved_as_it_goes():
    x = leaf()
    h = x * 2
    y = h.exp()
    alive = weakref.ref(h)
    del h
    (y * y).sum().backward()
    assert alive() is None


def test_freed_while_a_node_further_up_is_still_held():
    x = leaf()
    a = x.exp()
    b = a.exp()
    node = b.grad_fn
    alive = weakref.ref(a._data)
    b.sum().backward()
    del a, b
    assert alive() is None and type(node.saved[0]) is Freed


# failures


def test_a_hook_that_fails_leaves_the_graph_usable():
    x = leaf()
    y = x * x
    handle = y.register_hook(lambda g: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        y.sum().backward(retain_graph=True)
    assert nbgrad.is_grad_enabled() and x.grad is None
    handle.remove()
    y.sum().backward()
    assert x.grad.tolist() == [2, 4]


def test_a_backward_that_fails_restores_grad_mode():
    class Bad(Function):
        @staticmethod
        def forward(ctx, x):
            return x.clone()

        @staticmethod
        def backward(ctx, g):
            raise ValueError("bad")

    for mode in (True, False):
        x = leaf()
        y = Bad.apply(x).sum()
        with nbgrad.set_grad_enabled(mode), pytest.raises(ValueError, match="bad"):
            y.backward()
        assert nbgrad.is_grad_enabled()


def test_backward_within_backward():
    class Inner(Function):
        @staticmethod
        def forward(ctx, x):
            ctx.save_for_backward(x)
            return x * x

        @staticmethod
        def backward(ctx, g):
            (x,) = ctx.saved_tensors
            z = x.detach().requires_grad_(True)
            with nbgrad.enable_grad():
                (gz,) = grad((z * z).sum(), z)
            return g * gz

    x = leaf()
    Inner.apply(x).sum().backward()
    assert x.grad.tolist() == [2, 4]


# threads


def in_threads(count, work):
    errors = []

    def run(k):
        try:
            work(k)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=run, args=(k,)) for k in range(count)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert not errors, errors


def test_backward_on_graphs_of_two_threads():
    def work(k):
        for _ in range(50):
            x = nbgrad.full((300,), float(k + 1)).requires_grad_(True)
            y = x
            for _ in range(10):
                y = (y * x).sqrt()
            y.sum().backward()
            np.testing.assert_allclose(x.grad.numpy(), np.ones(300), rtol=1e-4)

    in_threads(4, work)


def test_large_kernels_in_two_threads():
    a = np.random.default_rng(0).standard_normal(200_000).astype(np.float32)

    def work(k):
        for _ in range(5):
            x = nbgrad.tensor(a, requires_grad=True)
            (x * x).sum().backward()
            np.testing.assert_array_equal(x.grad.numpy(), 2 * a)

    in_threads(3, work)


def test_two_threads_add_to_one_leaf_in_turn():
    x = leaf()
    lock = threading.Lock()

    def work(k):
        for _ in range(100):
            y = (x * 3).sum()
            with lock:
                y.backward()

    in_threads(3, work)
    assert x.grad.tolist() == [900, 900]


def test_grad_mode_is_of_the_thread():
    with nbgrad.no_grad():
        seen = []
        in_threads(1, lambda k: seen.append((nbgrad.is_grad_enabled(), (leaf() * 2).requires_grad)))
        assert seen == [(True, True)] and not nbgrad.is_grad_enabled()


def test_anomaly_mode_is_of_the_thread():
    with nbgrad.autograd.detect_anomaly():
        seen = []
        in_threads(1, lambda k: seen.append(nbgrad.autograd.is_anomaly_enabled()))
        assert seen == [False] and nbgrad.autograd.is_anomaly_enabled()


# Function: the same story told to both libraries


@pytest.fixture(params=["nbgrad", "torch"])
def torch(request):
    return pytest.importorskip(request.param)


def test_function_saves_inputs_outputs_and_none(torch):
    class Exp(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            y = x.exp()
            ctx.save_for_backward(x, None, y)
            return y

        @staticmethod
        def backward(ctx, g):
            x, nothing, y = ctx.saved_tensors
            assert nothing is None and ctx.needs_input_grad == (True,)
            return g * y + 0 * x

    x = torch.tensor([0.0, 1.0], requires_grad=True)
    y = Exp.apply(x)
    (g,) = torch.autograd.grad(y.sum(), x, create_graph=True)
    (gg,) = torch.autograd.grad(g.sum(), x)
    np.testing.assert_allclose(gg.numpy(), np.exp([0, 1]), rtol=1e-6)


@pytest.mark.parametrize("which", ["input", "output"])
def test_function_finds_writes_to_what_it_saved(torch, which):
    class Square(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            y = x * x
            ctx.save_for_backward(x, y)
            return y

        @staticmethod
        def backward(ctx, g):
            x, _ = ctx.saved_tensors
            return 2 * x * g

    x = torch.ones(2, requires_grad=True) * 1
    y = Square.apply(x)
    (x if which == "input" else y).add_(1)
    with pytest.raises(RuntimeError, match="modified by an inplace"):
        y.sum().backward()


def test_function_marks_dirty(torch):
    class Double(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            x.mul_(2)
            ctx.mark_dirty(x)
            return x

        @staticmethod
        def backward(ctx, g):
            return 2 * g

    w = torch.ones(3, requires_grad=True)
    x = w * 1
    y = Double.apply(x)
    assert y is x and x._version == 2 and "Double" in type(x.grad_fn).__name__
    y.sum().backward()
    assert w.grad.tolist() == [2, 2, 2]
    with pytest.raises(RuntimeError, match="a leaf Variable that requires grad"):
        Double.apply(torch.ones(3, requires_grad=True))


def test_function_marks_dirty_a_view(torch):
    class Double(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            x.mul_(2)
            ctx.mark_dirty(x)
            return x

        @staticmethod
        def backward(ctx, g):
            return 2 * g

    w = torch.ones(3, requires_grad=True)
    x = w * 1
    Double.apply(x[:2])
    (x * torch.tensor([1.0, 10.0, 100.0])).sum().backward()
    assert w.grad.tolist() == [2, 20, 100]


def test_function_marks_non_differentiable(torch):
    class Split(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            small, large = x * 2, x * 3
            ctx.mark_non_differentiable(small)
            return small, large, (x > 1)

        @staticmethod
        def backward(ctx, gs, gl, gb):
            assert gs is not None and gs.tolist() == [0, 0]
            return 3 * gl

    x = torch.tensor([1.0, 2.0], requires_grad=True)
    small, large, mask = Split.apply(x)
    assert [t.requires_grad for t in (small, large, mask)] == [False, True, False]
    large.sum().backward()
    assert x.grad.tolist() == [3, 3]


def test_function_gets_zeros_or_none_for_unused_outputs(torch):
    class Two(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x, materialize):
            ctx.set_materialize_grads(materialize)
            ctx.materialize = materialize
            return x * 1, x * 2

        @staticmethod
        def backward(ctx, ga, gb):
            assert (gb is None) is not ctx.materialize
            return ga, None

    for materialize in (True, False):
        x = torch.ones(2, requires_grad=True)
        Two.apply(x, materialize)[0].sum().backward()
        assert x.grad.tolist() == [1, 1]


def test_function_returns_none_for_what_needs_no_gradient(torch):
    class Scale(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x, k, w):
            ctx.k = k
            ctx.save_for_backward(w)
            assert ctx.needs_input_grad == (True, False, False)
            return x * k * w

        @staticmethod
        def backward(ctx, g):
            (w,) = ctx.saved_tensors
            return g * ctx.k * w, None, None

    x = torch.ones(2, requires_grad=True)
    Scale.apply(x, 3, torch.tensor([1.0, 2.0])).sum().backward()
    assert x.grad.tolist() == [3, 6]


def test_function_sets_up_its_context_apart(torch):
    class Mul(torch.autograd.Function):
        @staticmethod
        def forward(x, y):
            return x * y

        @staticmethod
        def setup_context(ctx, inputs, output):
            ctx.save_for_backward(*inputs)

        @staticmethod
        def backward(ctx, g):
            x, y = ctx.saved_tensors
            return g * y, g * x

    x, y = (torch.tensor([v], requires_grad=True) for v in (3.0, 4.0))
    (gx,) = torch.autograd.grad(Mul.apply(x, y), x, create_graph=True)
    (gy,) = torch.autograd.grad(gx, y)
    assert gx.item() == 4 and gy.item() == 1


def test_function_once_differentiable(torch):
    once = once_differentiable if torch is nbgrad else torch.autograd.function.once_differentiable

    class Square(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            ctx.save_for_backward(x)
            return x * x

        @staticmethod
        @once
        def backward(ctx, g):
            (x,) = ctx.saved_tensors
            return 2 * x * g

    x = torch.tensor([3.0], requires_grad=True)
    (g,) = torch.autograd.grad(Square.apply(x) ** 2, x, create_graph=True)
    assert g.item() == 108 and g.requires_grad
    with pytest.raises(RuntimeError, match="once_differentiable"):
        g.backward()


def test_function_returns_its_input(torch):
    class Same(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x

        @staticmethod
        def backward(ctx, g):
            return g * 5

    x = torch.ones(2, requires_grad=True)
    y = Same.apply(x)
    assert y is not x and not y.is_leaf
    y.sum().backward()
    assert x.grad.tolist() == [5, 5]


def test_function_under_no_grad_records_nothing(torch):
    class Neg(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return -x

        @staticmethod
        def backward(ctx, g):
            return -g

    x = torch.ones(2, requires_grad=True)
    with torch.no_grad():
        assert not Neg.apply(x).requires_grad
    assert Neg.apply(x).requires_grad and not Neg.apply(x.detach()).requires_grad


def test_function_returns_a_view_of_its_input(torch):
    class Row(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x[0]

        @staticmethod
        def backward(ctx, g):
            return torch.stack([g, g * 0])

    x = torch.ones(2, 3, requires_grad=True)
    y = Row.apply(x * 2)
    y.sum().backward()
    assert x.grad.tolist() == [[2, 2, 2], [0, 0, 0]]
