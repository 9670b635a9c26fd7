"""Checkpoints: each script is run with PyTorch too, which must log the same."""

import contextlib
import gc
import weakref

import pytest

import nbgrad
from nbgrad.testing.scripts import logged
from nbgrad.utils.checkpoint import CheckpointError, checkpoint, set_checkpoint_debug_enabled

SCRIPTS = []


def script(function):
    SCRIPTS.append(function)
    return function


def both_ways(function):
    """A script that takes `run`, a checkpoint of either kind."""
    for reentrant in (False, True):
        def with_kind(torch, log, reentrant=reentrant):
            def run(*args, **kwargs):
                return torch.utils.checkpoint.checkpoint(*args, use_reentrant=reentrant, **kwargs)
            function(torch, log, run)

        with_kind.__name__ = f"{function.__name__}-{'reentrant' if reentrant else 'default'}"
        SCRIPTS.append(with_kind)
    return function


def leaf(torch, *values):
    return torch.tensor(values or (0.5, 1.0), requires_grad=True)


def again(torch, *args, **kwargs):
    return torch.utils.checkpoint.checkpoint(*args, use_reentrant=False, **kwargs)


@both_ways
def gradients(torch, log, run):
    x, w = leaf(torch), leaf(torch, 2.0, 3.0)

    def f(x, scale, w):
        log("run", torch.is_grad_enabled(), scale)
        return (x * w).exp() * scale, x.sin(), 3

    y, z, n = run(f, x * 1, 2, w)
    log(y, z, n, y.requires_grad)
    (y * z).sum().backward()
    log(x.grad, w.grad)


@both_ways
def modules_and_closures(torch, log, run):
    layer, x = torch.nn.Linear(2, 2), leaf(torch)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([[1.0, 2.0], [3.0, 4.0]]))
        layer.bias.fill_(0.5)
    layer.register_forward_hook(lambda m, args, out: log("forward", args, out))
    layer.register_full_backward_hook(lambda m, gx, gy: log("backward", gx, gy))
    run(lambda x: layer(x).tanh().cos(), x).sum().backward()
    log(x.grad, layer.weight.grad, layer.bias.grad)


@both_ways
def random_numbers(torch, log, run):
    for preserve in (True, False):
        x = torch.ones(64, requires_grad=True)
        torch.manual_seed(3)
        y = run(lambda x: x.exp() * torch.rand(64), x, preserve_rng_state=preserve)
        drawn = torch.rand(2)
        y.sum().backward()
        log(torch.allclose(x.grad, y))
        rest = torch.rand(3)
        torch.manual_seed(3)
        torch.rand(64)
        log(torch.equal(torch.rand(2), drawn), torch.equal(torch.rand(3), rest))


@both_ways
def batch_statistics_move_twice(torch, log, run):
    norm, x = torch.nn.BatchNorm1d(1), torch.tensor([[1.0], [3.0], [7.0]], requires_grad=True)
    run(lambda x: norm(x) ** 3, x).sum().backward()
    log(norm.running_mean, norm.running_var, norm.num_batches_tracked, x.grad)


@both_ways
def writes_within(torch, log, run):
    x = leaf(torch)

    def f(x):
        y = x * 3
        y += 1
        return y.sigmoid().mul(x).sin_()

    run(f, x).sum().backward()
    log(x.grad)


@both_ways
def a_write_to_an_argument(torch, log, run):
    x = leaf(torch) * 1
    y = run(lambda x: x.exp().exp(), x)
    x += 1
    try:
        y.sum().backward()
    except RuntimeError as error:
        log("has been modified by an inplace operation" in str(error))


@both_ways
def freed_graphs(torch, log, run):
    x = leaf(torch)
    y = run(lambda x: log("run") or x.exp().sin(), x).sum()
    y.backward(retain_graph=True)
    y.backward()
    log(x.grad)
    y.backward()


@both_ways
def without_gradients(torch, log, run):
    x = leaf(torch)
    with torch.no_grad():
        log(run(lambda x: log("run", torch.is_grad_enabled()) or x.exp(), x).requires_grad)
    log(run(lambda x: x * 2, torch.ones(2)).requires_grad)


@both_ways
def an_error_in_the_function(torch, log, run):
    def f(x):
        raise ValueError("in f")

    run(f, leaf(torch))


@both_ways
def results_that_are_arguments(torch, log, run):
    x = leaf(torch)
    y = run(lambda x: x, x)
    z, w = run(lambda x, y: (y, x.exp()), x, y)
    (z * w).sum().backward()
    log(x.grad)


@both_ways
def an_operation_of_ones_own(torch, log, run):
    class Cube(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            ctx.save_for_backward(x, x * x)
            return x ** 3

        @staticmethod
        def backward(ctx, g):
            x, square = ctx.saved_tensors
            log("backward", x, square)
            return 3 * square * g

    x = leaf(torch)
    run(lambda x: Cube.apply(x.exp()), x).sum().backward()
    log(x.grad)


@both_ways
def nested(torch, log, run):
    def inner(x):
        log("inner")
        return x.exp().sin()

    def middle(x):
        log("middle")
        y = run(inner, x.cos())
        log("after inner")
        return y.tanh()

    def outer(x):
        log("outer")
        y = run(middle, x.sigmoid())
        log("after middle")
        return run(inner, y).exp()

    x = leaf(torch)
    y = run(outer, x)
    log("backward")
    y.sum().backward()
    log(x.grad)


@both_ways
def functions_in_a_row(torch, log, run):
    layers = [lambda x, k=k: log(k) or (x * k).sin() for k in range(1, 6)]
    reentrant = run.__closure__[0].cell_contents
    for segments in (1, 2, 3, 5):
        x = leaf(torch)
        torch.utils.checkpoint.checkpoint_sequential(
            layers, segments, x, use_reentrant=reentrant).sum().backward()
        log(x.grad)
    x = leaf(torch)
    model = torch.nn.Sequential(torch.nn.Tanh(), torch.nn.Sigmoid(), torch.nn.Tanh())
    torch.utils.checkpoint.checkpoint_sequential(
        model, 3, x, use_reentrant=reentrant, preserve_rng_state=False).sum().backward()
    log(x.grad)


@both_ways
def under_anomaly_detection(torch, log, run):
    x = leaf(torch)
    with torch.autograd.set_detect_anomaly(True):
        run(lambda x: x.exp().sin(), x).sum().backward()
    log(x.grad)


@script
def one_kind_within_the_other(torch, log):
    check = torch.utils.checkpoint.checkpoint
    for outside in (True, False):
        def inner(x):
            log("inner")
            return x.exp().sin()

        def outer(x, outside=outside, inner=inner):
            log("outer")
            return check(inner, x.cos(), use_reentrant=not outside).tanh()

        x = leaf(torch)
        y = check(outer, x, use_reentrant=outside)
        log("backward")
        y.sum().backward()
        log(x.grad)


@script
def segments_that_do_not_divide(torch, log):
    for segments in (0, 4):
        try:
            torch.utils.checkpoint.checkpoint_sequential([torch.exp] * 3, segments, leaf(torch),
                                                         use_reentrant=False)
        except Exception as error:
            log(type(error).__name__)


# the default


@script
def keywords_and_nested_arguments(torch, log):
    x, w, v = leaf(torch), leaf(torch, 3.0, 4.0), leaf(torch, 5.0, 6.0)

    def f(x, pair, *, v, scale):
        return {"y": (x * pair[0]).exp() * v * scale}

    again(torch, f, x, [w, 1], v=v, scale=0.1)["y"].sum().backward()
    log(x.grad, w.grad, v.grad)


@script
def parts_of_a_graph(torch, log):
    x, w = leaf(torch), leaf(torch)
    y = again(torch, lambda x: log("run") or (x * w).exp().sin(), x).sum()
    log(torch.autograd.grad(y, x, retain_graph=True))
    log(torch.autograd.grad(y, [w, x], retain_graph=True))
    y.backward(inputs=[w])
    log(x.grad, w.grad)


@script
def several_results_one_by_one(torch, log):
    def f(x):
        log("run")
        y = x.exp()
        return y.sin(), y.cos(), x.tanh()

    x = leaf(torch)
    a, b, c = again(torch, f, x)
    for y, keep in ((c, False), (a, True), (b, False)):
        y.sum().backward(retain_graph=keep)
        log(x.grad)


@script
def tensors_within_that_are_watched(torch, log):
    x, seen = leaf(torch), []

    def f(x):
        seen.append(x.exp())
        seen[-1].register_hook(lambda g: log("hook", g))
        seen[-1].retain_grad()
        return seen[-1].sin()

    again(torch, f, x).sum().backward()
    log(x.grad, seen[0].grad, seen[1].grad)


@script
def in_inference_mode_or_without_hooks(torch, log):
    with torch.inference_mode():
        log(again(torch, torch.exp, torch.ones(2)))
    with torch.autograd.graph.disable_saved_tensors_hooks("no hooks here"):
        again(torch, torch.exp, leaf(torch))


@script
def higher_derivatives(torch, log):
    x = leaf(torch)
    y = again(torch, lambda x: log("run") or (x.exp() * x).sin(), x).sum()
    (gx,) = torch.autograd.grad(y, x, create_graph=True)
    (ggx,) = torch.autograd.grad(gx.sum(), x, create_graph=True)
    log(gx, ggx)
    ggx.sum().backward()
    log(x.grad)


def stages(log):
    def f(x):
        log("first")
        y = x.exp()
        log("second")
        z = y.sin()
        log("third")
        return z + 1
    return f


@script
def early_stop(torch, log):
    for stop in (True, False):
        again(torch, stages(log), leaf(torch), early_stop=stop).sum().backward()
    for stop in (True, False, None):
        with torch.utils.checkpoint.set_checkpoint_early_stop(stop):
            y = again(torch, stages(log), leaf(torch), early_stop=False)
        y.sum().backward()


@script
def backward_within(torch, log):
    for keep in (True, False):
        for stop in (True, False):
            x = leaf(torch)

            def f(x, keep=keep):
                log("run")
                y = x.sin()
                z = y.cos()
                (gx,) = torch.autograd.grad(z.sum(), x, retain_graph=keep)
                log("within", gx)
                return x.cos() * gx, z

            y, z = again(torch, f, x * 1, early_stop=stop)
            (y + (z if keep else 0)).sum().backward()
            log(x.grad)


@script
def what_the_function_is_given_again(torch, log):
    x = leaf(torch)

    def f(x, y):
        log(x.requires_grad, x.is_leaf, y.requires_grad, y.is_leaf, torch.is_grad_enabled())
        return x.exp() * y

    again(torch, f, x * 2, x).sum().backward()
    again(torch, f, torch.ones(2), x).sum().backward()


@script
def saved_values_from_outside(torch, log):
    y = again(torch, lambda x: log("run") or x.exp(), leaf(torch))
    log(y.grad_fn._saved_result)
    log(y.grad_fn._saved_result)
    y.sum().backward()


@script
def values_taken_twice(torch, log):
    class Careless(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            ctx.save_for_backward(x)
            return x * 1

        @staticmethod
        def backward(ctx, g):
            return ctx.saved_tensors[0] * ctx.saved_tensors[0] * g

    y = again(torch, Careless.apply, leaf(torch)).sum()
    try:
        y.backward()
    except RuntimeError as error:
        log(type(error).__name__, "already unpacked once" in str(error))


@script
def hooks_on_what_is_saved(torch, log):
    x = leaf(torch)

    def pack(t):
        log("pack", t)
        return t

    def unpack(t):
        log("unpack", t)
        return t

    hooks = torch.autograd.graph.saved_tensors_hooks
    with hooks(pack, unpack):
        y = again(torch, lambda x: x.exp().sin(), x)
    y.sum().backward()

    def f(x):
        with hooks(pack, unpack):
            y = x.exp()
        return y.sin()

    again(torch, f, x).sum().backward()
    log(x.grad)


@script
def contexts(torch, log):
    @contextlib.contextmanager
    def told(name):
        log("enter", name)
        yield
        log("leave", name)

    y = again(torch, stages(log), leaf(torch), context_fn=lambda: (told("at first"), told("again")))
    log("backward")
    with contextlib.suppress(Exception):
        y.sum().backward()


@script
def a_context_that_hides_an_error(torch, log):
    def f(x):
        raise ValueError("hidden")

    again(torch, f, leaf(torch), context_fn=lambda: (contextlib.suppress(ValueError),
                                                     contextlib.nullcontext()))


def changing(first, second):
    """A function that is another one from its second call on."""
    calls = []

    def f(x):
        calls.append(None)
        return (first if len(calls) == 1 else second)(x)
    return f


CHANGES = {
    "fewer": (lambda x: x.exp().sin(), lambda x: x.exp()),
    "more": (lambda x: x.exp(), lambda x: x.exp().exp()),
    "shape": (lambda x: x.exp(), lambda x: x[:1].exp()),
    "dtype": (lambda x: x.exp(), lambda x: x.double().exp()),
    "values": (lambda x: x.exp(), lambda x: (x * 2).exp()),
    "nothing": (lambda x: x.exp(), lambda x: x + 1),
}


@script
def functions_that_change(torch, log):
    for name, (first, second) in CHANGES.items():
        for check in ("default", "none"):
            if name in ("shape", "dtype") and check == "none":
                continue  # refused here, where PyTorch goes on with a saved value of another kind
            for stop in (True, False):
                x = leaf(torch)
                y = again(torch, changing(first, second), x, determinism_check=check,
                          early_stop=stop)
                try:
                    y.sum().backward()
                    log(name, check, stop, x.grad)
                except RuntimeError as error:
                    log(name, check, stop, type(error).__name__, str(error).split("\n")[0])


@script
def arguments_that_do_not_go_together(torch, log):
    x, module = leaf(torch), torch.utils.checkpoint
    for options in (
            {"use_reentrant": False, "determinism_check": "strict"},
            {"use_reentrant": False, "debug": True, "context_fn": lambda: (None, None)},
            {"use_reentrant": True, "scale": 1, "more": 2},
            {"use_reentrant": True, "debug": True},
            {"use_reentrant": True, "context_fn": lambda: (None, None)},
            {"use_reentrant": False, "unknown": 1}):
        try:
            module.checkpoint(lambda x: x.exp(), x, **options)
        except Exception as error:
            log(type(error).__name__, isinstance(error, TypeError) or str(error))


# use_reentrant=True


def old(torch, *args):
    return torch.utils.checkpoint.checkpoint(*args, use_reentrant=True)


@script
def not_for_grad(torch, log):
    x = leaf(torch)
    torch.autograd.grad(old(torch, lambda x: x.exp(), x).sum(), x)


@script
def not_for_some_inputs(torch, log):
    x = leaf(torch)
    old(torch, lambda x: x.exp(), x).sum().backward(inputs=[x])


@script
def not_for_constants(torch, log):
    old(torch, lambda x: x.detach().exp(), leaf(torch)).sum().backward()


@script
def helpers(torch, log):
    module = torch.utils.checkpoint
    x = leaf(torch) * 2
    y, z, n = module.detach_variable((x, x.detach(), 3))
    log(y, y.is_leaf, y.requires_grad, z.requires_grad, n)
    module.check_backward_validity([x])
    module.check_backward_validity([z, 1])
    module.detach_variable([x])


@pytest.mark.parametrize("run", SCRIPTS, ids=lambda f: f.__name__)
def test_script(run):
    torch = pytest.importorskip("torch")
    pytest.importorskip("torch.utils.checkpoint")
    assert logged(run, nbgrad) == logged(run, torch)


#: what saves inputs, outputs, integers, statistics, random numbers or nothing
OPERATIONS = [
    lambda x, F: F.conv2d(x.reshape(1, 1, 6, 6), x[:3, :3].reshape(1, 1, 3, 3)),
    lambda x, F: F.max_pool2d(x.reshape(1, 1, 6, 6), 2),
    lambda x, F: F.batch_norm(x, None, None, training=True),
    lambda x, F: F.layer_norm(x, (6,)).softmax(1).log_softmax(0),
    lambda x, F: F.dropout(x.relu(), 0.3) + F.gelu(x),
    lambda x, F: F.cross_entropy(x, nbgrad.tensor([0, 1, 2, 3, 4, 5])),
    lambda x, F: F.embedding(nbgrad.tensor([1, 1, 4]), x),
    lambda x, F: F.scaled_dot_product_attention(x[None], x[None].sin(), x[None].cos()),
    lambda x, F: (x @ x.T + 9 * nbgrad.eye(6)).inverse() * x.sort(1)[0],
    lambda x, F: x.cumprod(1)[1:].max(0)[0] * x.var(0) / x.std(1),
    lambda x, F: nbgrad.einsum("ij,jk->ik", x, x).gather(1, nbgrad.zeros(6, 2, dtype=nbgrad.int64)),
    lambda x, F: nbgrad.where(x > 0, x.exp(), x.sin())[2:].mul_(2).add_(1).mul(x[2:]),
]  # fmt: skip


@pytest.mark.parametrize("number", range(len(OPERATIONS)))
def test_gradients_are_those_without_a_checkpoint(number):
    def run(wrap):
        nbgrad.manual_seed(number)
        x = (nbgrad.randn(6, 6) + 0.5).requires_grad_()
        function = OPERATIONS[number]
        y = wrap(function, x * 1, nbgrad.nn.functional)
        (gx,) = nbgrad.autograd.grad((y * y).sum(), x, create_graph=True)
        return gx, *nbgrad.autograd.grad(gx.cos().sum(), x)

    plain = run(lambda function, *args: function(*args))
    for wrapped in run(checkpoint), run(
            lambda function, x, F: checkpoint(lambda x: checkpoint(function, x, F), x)):
        assert [t.tolist() for t in wrapped] == [t.tolist() for t in plain]


def alive(references):
    return sum(r() is not None for r in references)


@pytest.mark.parametrize("reentrant", [False, True])
def test_activations_are_forgotten(reentrant):
    depth, segments = 24, 4
    layers = [nbgrad.nn.Sequential(nbgrad.nn.Linear(4, 4), nbgrad.nn.Tanh()) for _ in range(depth)]
    made, most = [], 0

    def note(module, args, out):
        nonlocal most
        made.append(weakref.ref(out._data))
        most = max(most, alive(made))

    for layer in layers:
        layer.register_forward_hook(note)
    x = nbgrad.ones(2, 4, requires_grad=True)
    y = nbgrad.utils.checkpoint.checkpoint_sequential(layers, segments, x, use_reentrant=reentrant)
    size = depth // segments
    assert alive(made) <= size + segments
    y.sum().backward()
    assert len(made) > depth and most <= 2 * size + segments
    made.clear()
    y = nbgrad.nn.Sequential(*layers)(x)
    assert alive(made) == depth


def test_what_nobody_waits_for_is_not_kept():
    x, made = nbgrad.ones(3, requires_grad=True), []

    def f(x):
        unused = x.exp()
        made.append(weakref.ref(unused._data))
        return x.sin().cos()

    y = checkpoint(f, x).sum()
    y.backward(retain_graph=True)
    assert len(made) == 2 and alive(made) == 0


def test_a_stop_is_no_error():
    caught = []

    def f(x):
        try:
            return x.exp()
        except Exception as error:
            caught.append(error)
            raise

    x = nbgrad.ones(3, requires_grad=True)
    checkpoint(f, x).sum().backward()
    assert not caught and x.grad is not None


@pytest.mark.parametrize("backward", [True, False])
def test_nothing_is_left_behind(backward):
    x = nbgrad.ones(3, requires_grad=True)
    gc.disable()
    try:
        y = checkpoint(lambda x: checkpoint(lambda x: x.exp().sin(), x * 2).tanh(), x)
        kept = [weakref.ref(x._data)]
        if backward:
            y.sum().backward()
        for node in (y.grad_fn, *(n for n, _ in y.grad_fn.next_functions)):
            kept.append(weakref.ref(node))
        del x, y, node
        assert alive(kept) == 0
    finally:
        gc.enable()


def test_messages_name_lines_on_demand():
    x = nbgrad.ones(2, requires_grad=True)
    first, second = CHANGES["shape"]
    line = f"{__file__}:{first.__code__.co_firstlineno}"
    with pytest.raises(CheckpointError, match="set_checkpoint_debug_enabled") as caught:
        checkpoint(changing(first, second), x).sum().backward()
    assert line not in str(caught.value)
    with pytest.raises(CheckpointError) as caught:
        checkpoint(changing(first, second), x, debug=True).sum().backward()
    assert f"saved at {line}" in str(caught.value)
    assert "{'shape': nbgrad.Size([1]), 'dtype': nbgrad.float32" in str(caught.value)
    assert "recomputed at" in str(caught.value)
    with set_checkpoint_debug_enabled(True):
        y = checkpoint(changing(first, CHANGES["nothing"][1]), x)
    with pytest.raises(CheckpointError, match=r"forward: 1\n.*recomputation: 0\.\nfirst saved"):
        y.sum().backward()
    with set_checkpoint_debug_enabled(False):
        y = checkpoint(changing(*CHANGES["more"]), x, debug=True, early_stop=False)
    with pytest.raises(CheckpointError, match="Tip"):
        y.sum().backward()
