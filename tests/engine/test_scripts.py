"""Small programs that both libraries run, and that must say the same at every step."""

import asyncio
import sys
import threading
import time
import warnings

import pytest

import nbgrad

torch = pytest.importorskip("torch")
SCRIPTS = []


def script(function):
    """A test: `function(torch, say)`, run with either library for `torch`."""
    SCRIPTS.append(function)
    return function


class Say(list):
    """What a script said: numbers rounded, errors by class and first words."""

    def __call__(self, *values):
        self.append([self.plain(v) for v in values])

    def plain(self, value):
        if hasattr(value, "tolist"):
            value = value.tolist()
        if isinstance(value, (list, tuple)):
            return [self.plain(v) for v in value]
        return round(value, 9) if isinstance(value, float) else value

    def outcome(self, function, *args):
        try:
            self(function(*args))
        except Exception as error:
            self(type(error).__name__, str(error).split()[:5])


@pytest.mark.parametrize("run", SCRIPTS, ids=lambda f: f.__name__)
def test_both_say_the_same(run):
    said = Say(), Say()
    for library, say in zip((nbgrad, torch), said):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            run(library, say)
    assert said[0] == said[1] and said[1]


def leaf(torch, *numbers):
    return torch.tensor(numbers or (1.0, 2.0, 3.0), dtype=torch.float64, requires_grad=True)


# saved_tensors_hooks


@script
def what_hooks_are_given_comes_back(torch, say):
    x, w = leaf(torch), leaf(torch, 2.0, 0.5, 1.0)
    log = []

    def pack(t):
        log.append(("packed", t.tolist()))
        return t.tolist()

    def unpack(kept):
        log.append(("unpacked", kept))
        return torch.tensor(kept, dtype=torch.float64)

    with torch.autograd.graph.saved_tensors_hooks(pack, unpack):
        y = (x * w).exp().sum()
    say(sorted(log))
    y.backward(retain_graph=True)
    y.backward()
    say(sorted(log), x.grad, w.grad)
    say.outcome(y.backward)


@script
def gradients_of_gradients_pass_packed_values(torch, say):
    x = leaf(torch)
    with torch.autograd.graph.saved_tensors_hooks(lambda t: t * 1, lambda t: t):
        y = (x.exp() * x.sin() * x ** 3 / x.sum()).sum()
        z = torch.nn.functional.softmax(x, 0) @ x.tanh()
    for f in (y, z):
        (g,) = torch.autograd.grad(f, x, create_graph=True)
        say(g, *torch.autograd.grad(g.sum(), x))


@script
def the_innermost_hooks_hold(torch, say):
    x, log = leaf(torch), []

    def noting(name):
        return torch.autograd.graph.saved_tensors_hooks(
            lambda t: (log.append(name), t)[1], lambda t: t)

    with noting("outer"):
        x.exp()
        with noting("inner"):
            x.exp()
        x.exp()
    x.exp()
    say(log)


@script
def hooks_that_misbehave(torch, say):
    x, hooks = leaf(torch), torch.autograd.graph.saved_tensors_hooks
    with hooks(lambda t: t.mul_(2), lambda t: t):
        say.outcome(lambda: x * x)
    with hooks(lambda t: t, lambda t: 1):
        y = (x * x).sum()
    say.outcome(y.backward)
    with hooks(lambda t: 1 / 0, lambda t: t):
        say.outcome(lambda: x * x)
    y = (x * x).sum()
    y.backward()
    say(x.grad)


@script
def hooks_disabled(torch, say):
    graph = torch.autograd.graph

    def enter():
        with graph.saved_tensors_hooks(lambda t: t, lambda t: t):
            pass

    def disable():
        with graph.saved_tensors_hooks(lambda t: t, lambda t: t), \
                graph.disable_saved_tensors_hooks("not among hooks"):
            pass

    with graph.disable_saved_tensors_hooks("no hooks here"):
        say.outcome(enter)
    say.outcome(enter)
    say.outcome(disable)


@script
def writes_after_packing_go_unnoticed(torch, say):
    x = leaf(torch)
    with torch.autograd.graph.saved_tensors_hooks(lambda t: t.clone(), lambda t: t):
        a = x * 1
        y = a.exp() * a
        a.mul_(2)
        b = x * 1
        b.exp_()
        b.pow_(2)
    (y.sum() + b.sum()).backward()
    say(x.grad)


@script
def values_of_a_function_are_packed(torch, say):
    class Cube(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            y = x ** 3
            ctx.save_for_backward(x, None, y)
            return y

        @staticmethod
        def backward(ctx, g):
            x, nothing, y = ctx.saved_tensors
            return g * (3 * x * x + 0 * y) if nothing is None else None

    x, log = leaf(torch), []
    with torch.autograd.graph.saved_tensors_hooks(
            lambda t: (log.append(t.tolist()), t)[1], lambda t: t):
        y = Cube.apply(x)
    (g,) = torch.autograd.grad(y.sum(), x, create_graph=True)
    say(log, g, *torch.autograd.grad(g.sum(), x))


@script
def saving_on_the_cpu(torch, say):
    x = leaf(torch)
    with torch.autograd.graph.save_on_cpu():
        y = (x * x.exp()).sum()
    y.backward()
    say(x.grad)


# several gradients, edges, versions


@script
def a_hook_on_all_gradients(torch, say):
    p, q, r = [leaf(torch, float(k + 1)) for k in range(3)]
    log = []
    handle = torch.autograd.graph.register_multi_grad_hook(
        [p, q, r], lambda grads: log.append([None if g is None else g.tolist() for g in grads]))
    (p * 2 + q).sum().backward()
    (p * p + q * r).sum().backward()
    handle.remove()
    (p + q).sum().backward()
    say(log)


@script
def a_hook_on_any_gradient(torch, say):
    p, q = leaf(torch, 1.0), leaf(torch, 2.0)
    log = []
    with torch.autograd.graph.register_multi_grad_hook([p, q], lambda g: log.append(g.tolist()),
                                                       mode="any"):
        (p + q).sum().backward()
        (3 * q).sum().backward()
    q.sum().backward()
    say(log)
    say.outcome(lambda: torch.autograd.graph.register_multi_grad_hook([p], print, mode="some"))


@script
def edges_stand_for_tensors(torch, say):
    edge, x = torch.autograd.graph.get_gradient_edge, leaf(torch)
    y = x.exp()
    say(torch.autograd.grad((y * 2).sum(), edge(y), retain_graph=True))
    say(torch.autograd.grad(edge(y), edge(x), torch.ones(3, dtype=torch.float64)))
    parts = (x * 1).unbind(0)
    say(edge(parts[1]).output_nr, torch.autograd.grad(parts[1] * 3, edge(parts[1])))
    say.outcome(lambda: edge(torch.ones(1)))


@script
def a_version_raised_by_hand(torch, say):
    x = leaf(torch)
    a = x * 1
    y = a * a
    torch.autograd.graph.increment_version(a)
    say(a._version)
    say.outcome(y.sum().backward)


# grad modes


@script
def inference_tensors(torch, say):
    x = leaf(torch)
    with torch.inference_mode():
        y, view, own = x * 2, x[:2], torch.zeros(2, requires_grad=True)
        say([t.is_inference() for t in (x, y, view, own, y[0], y.clone(), x.detach(), x.sum())])
        say(y.requires_grad, own.requires_grad, torch.is_inference_mode_enabled(),
            torch.is_grad_enabled())
        y.add_(1)
        with torch.inference_mode(False):
            say((x * 2).requires_grad, (x * 2).is_inference(), torch.is_grad_enabled())
        with torch.enable_grad():
            say((x * 2).requires_grad)
        say.outcome(lambda: y._version)
    say(torch.is_inference_mode_enabled(), torch.is_grad_enabled(), y)
    for use in (lambda: y.add_(1), lambda: y * x, lambda: (y + x).requires_grad, lambda: x @ y,
                lambda: y.requires_grad_(), lambda: y.view(3).is_inference(), lambda: y.mul_(x),
                lambda: (y * 2).is_inference(), lambda: y.view(3).add_(1), lambda: y._version,
                lambda: y.detach().is_inference(), lambda: (y.clone() * x).sum().backward()):
        say.outcome(use)


@script
def inference_mode_as_a_decorator(torch, say):
    x = leaf(torch)

    @torch.inference_mode()
    def called(t):
        return t * 2

    @torch.inference_mode
    def bare(t):
        return t * 2

    @torch.inference_mode(mode=False)
    def off(t):
        return t * 2

    @torch.inference_mode()
    def generated():
        yield x * 2
        yield x * 3

    say([f(x).is_inference() for f in (called, bare, off)])
    for made in generated():
        say(made.is_inference(), torch.is_inference_mode_enabled())


@script
def modes_belong_to_a_thread(torch, say):
    x, seen = leaf(torch), []

    def look():
        seen.append((torch.is_grad_enabled(), (x * 2).is_inference(), (x * 2).requires_grad))

    for mode in (torch.no_grad, torch.inference_mode):
        with mode():
            thread = threading.Thread(target=look)
            thread.start()
            thread.join()
    say(seen)


@script
def modes_end_with_an_error(torch, say):
    for mode in (torch.no_grad, torch.inference_mode, lambda: torch.set_grad_enabled(False),
                 torch.autograd.detect_anomaly):
        try:
            with mode():
                raise KeyError
        except KeyError:
            say(torch.is_grad_enabled(), torch.is_inference_mode_enabled(),
                torch.is_anomaly_enabled() if hasattr(torch, "is_anomaly_enabled") else False)


def test_a_mode_does_not_last_while_a_coroutine_waits():
    """PyTorch's decorators do not know coroutines."""
    x = leaf(nbgrad)

    @nbgrad.no_grad()
    async def quiet():
        before = (x * 2).requires_grad
        await asyncio.sleep(0)
        return before, (x * 2).requires_grad

    async def loud():
        return [((x * 2).requires_grad, await asyncio.sleep(0))[0] for _ in range(3)]

    async def both():
        return await asyncio.gather(quiet(), loud())

    assert asyncio.run(both()) == [(False, False), [True] * 3]


def test_no_gradient_of_several_threads_is_lost(monkeypatch):
    """A thread is made to dawdle between looking at `.grad` and writing to it."""
    tensor = sys.modules["nbgrad.tensor"]
    own = tensor._own
    monkeypatch.setattr(tensor, "_own", lambda *args: (time.sleep(0.02), own(*args))[1])
    x = leaf(nbgrad)
    threads = [threading.Thread(target=lambda k=k: (x * k).sum().backward()) for k in range(1, 5)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert x.grad.tolist() == [10.0] * 3


@pytest.mark.parametrize("change", [lambda t: t[:1], lambda t: t + 100, lambda t: t - 100,
                                    lambda t: t.int(), lambda t: t.reshape(1, -1)])
@pytest.mark.parametrize("use", [
    lambda x, i: nbgrad.nn.functional.cross_entropy(x, i),
    lambda x, i: x.gather(0, i[:, None]).sum(), lambda x, i: x.sort(0)[0].sum()])
def test_what_is_unpacked_must_fit(change, use):
    x, i = nbgrad.randn(4, 5, requires_grad=True), nbgrad.tensor([0, 3, 1, 2])
    hooks = nbgrad.autograd.graph.saved_tensors_hooks(
        lambda t: t, lambda t: t if t.is_floating_point() else change(t))
    with hooks:
        y = use(x, i)
    with pytest.raises(RuntimeError, match="unpack_hook"):
        y.backward()


def test_a_second_backward_names_the_first():
    x = leaf(nbgrad)
    y = x.exp().sum()
    y.backward()
    with pytest.raises(RuntimeError, match=r"ExpBackward0 was first run backward at .*test_scripts"):
        y.backward()


@pytest.mark.parametrize(("cut", "words"), [
    (lambda x: x.exp().detach(), "cut by detach at .*test_scripts.py:"),
    (lambda x: (x * 2).long().double(), "cut by a cast to int64 at .*test_scripts.py:")])
def test_an_unused_input_is_told_where_it_was_cut(cut, words):
    x, w, never = leaf(nbgrad), leaf(nbgrad), leaf(nbgrad)
    with pytest.raises(RuntimeError, match=rf"at index 1 appears to not (.|\n)*{words}"):
        nbgrad.autograd.grad([w.sum(), (cut(x) * w).sum()], [w, x])
    with pytest.raises(RuntimeError, match=r"at index 0 appears .* behavior\.$"):
        nbgrad.autograd.grad((x * w).sum(), [never])


# hooks on tensors and nodes


@script
def hooks_in_their_order(torch, say):
    x, log = leaf(torch), []

    def noting(name, change=None):
        def hook(*grads):
            log.append((name, [g.tolist() for g in grads if hasattr(g, "tolist")]))
            return change(*grads) if change else None
        return hook

    y = x * 2
    y.register_hook(noting("tensor 1", lambda g: g * 10))
    y.register_hook(noting("tensor 2"))
    y.retain_grad()
    y.register_hook(noting("tensor 3", lambda g: g + 1))
    y.grad_fn.register_prehook(noting("pre", lambda grads: (grads[0] - 1,)))
    y.grad_fn.register_hook(noting("post", lambda inputs, outputs: (inputs[0] * 2, *inputs[1:])))
    x.register_hook(noting("leaf", lambda g: g * 3))
    x.register_post_accumulate_grad_hook(lambda t: log.append(("after", t.grad.tolist())))
    (y * y).sum().backward()
    say(log, y.grad, x.grad)


@script
def handles(torch, say):
    x, log = leaf(torch), []
    first = x.register_hook(lambda g: log.append("first"))
    with x.register_hook(lambda g: log.append("second")):
        (x * 2).sum().backward()
    first.remove()
    first.remove()
    (x * 2).sum().backward()
    say(log, x.grad)


@script
def hooks_that_are_refused(torch, say):
    x = leaf(torch)
    y = x * 2
    say.outcome(lambda: torch.ones(2).register_hook(print))
    say.outcome(lambda: torch.ones(2).retain_grad())
    say.outcome(lambda: y.register_post_accumulate_grad_hook(print))
    say.outcome(lambda: torch.ones(2).register_post_accumulate_grad_hook(print))
    for result in (1, "g", (x,), torch.ones(7, dtype=torch.float64), torch.ones(3)):
        y = x * 2
        y.register_hook(lambda g, result=result: result)
        say.outcome(y.sum().backward)


@script
def a_hook_that_fails_leaves_all_usable(torch, say):
    x = leaf(torch)
    y = x * 2
    handle = y.register_hook(lambda g: 1 / 0)
    z = (y * y).sum()
    say.outcome(lambda: z.backward(retain_graph=True))
    handle.remove()
    z.backward()
    say(x.grad)
    y = x * 2

    def interrupted(g):
        raise KeyboardInterrupt

    handle = y.register_hook(interrupted)
    try:
        y.sum().backward()
    except KeyboardInterrupt:
        say("interrupted", torch.is_grad_enabled())
    handle.remove()
    (x * 3).sum().backward()
    say(x.grad)


@script
def backward_within_backward(torch, say):
    x, inner = leaf(torch), leaf(torch, 5.0)

    def again(g):
        with torch.enable_grad():
            (inner * inner).sum().backward()
        return g * inner.grad

    y = x * 2
    y.register_hook(again)
    (y * y).sum().backward()
    say(x.grad, inner.grad)

    class Inside(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            with torch.enable_grad():
                ctx.x = x.detach().requires_grad_()
                ctx.y = ctx.x.exp() * ctx.x
            return ctx.y.detach()

        @staticmethod
        def backward(ctx, g):
            return torch.autograd.grad(ctx.y, ctx.x, g)[0]

    x.grad = None
    Inside.apply(x).sum().backward()
    say(x.grad)


@script
def retained_gradients(torch, say):
    x = leaf(torch)
    y = x * 2
    y.retain_grad()
    y.retain_grad()
    z = y * y
    z.retain_grad()
    z.sum().backward(retain_graph=True)
    say(y.grad, z.grad, y.retains_grad, x.retains_grad)
    z.sum().backward()
    say(y.grad, z.grad)
    a = x * 1
    a.retain_grad()
    a.mul_(3)
    (a * a).sum().backward()
    say(a.grad, x.grad)


# what backward and grad take


@script
def inputs_of_backward_and_grad(torch, say):
    x, w, unused = leaf(torch), leaf(torch, 2.0, 0.5, 1.0), leaf(torch)
    y = x * w
    z = (y * y).sum()
    z.backward(inputs=[x], retain_graph=True)
    say(x.grad, w.grad)
    z.backward(inputs=y, retain_graph=True)
    say(y.grad if hasattr(y, "grad") else None)
    say.outcome(lambda: z.backward(inputs=[], retain_graph=True))
    say.outcome(lambda: torch.autograd.grad(z, unused, retain_graph=True))
    say(torch.autograd.grad(z, [unused, w], allow_unused=True, retain_graph=True))
    say(torch.autograd.grad(z, [unused, w], materialize_grads=True, retain_graph=True))
    say(torch.autograd.grad([y, z], [w, w], [torch.ones_like(y), None], retain_graph=True))
    say.outcome(lambda: torch.autograd.grad(y, x, retain_graph=True))
    say.outcome(lambda: torch.autograd.grad(y, x, torch.ones(2), retain_graph=True))
    say.outcome(lambda: torch.autograd.grad(torch.ones(1), x))
    say.outcome(lambda: torch.autograd.grad(z, torch.ones(1)))
    torch.autograd.backward([y, z], [torch.ones_like(y), None])
    say(w.grad)


@script
def gradients_are_the_users_own(torch, say):
    x = leaf(torch)
    seed = torch.ones(3, dtype=torch.float64)
    x.clone().backward(seed)
    seed.zero_()
    say(x.grad)
    a, b = leaf(torch), leaf(torch)
    (a + b).sum().backward()
    a.grad.add_(1)
    say(a.grad, b.grad)
    before = a.grad
    (a * 2).sum().backward()
    say(before is a.grad, before)
    wide = torch.ones(2, 3, dtype=torch.float64, requires_grad=True)
    (wide.t() * 2).sum().backward()
    say(wide.grad.stride())
    tall = torch.ones(3, 2, dtype=torch.float64).t().requires_grad_()
    (tall * 2).sum().backward()
    say(tall.stride(), tall.grad.stride())
    row = leaf(torch)
    row.expand(4, 3).sum().backward()
    say(row.grad, row.grad.stride())


@script
def assigning_a_gradient(torch, say):
    x = leaf(torch)
    for value in (torch.ones(2, dtype=torch.float64), torch.ones(3), 1, x):
        say.outcome(lambda value=value: setattr(x, "grad", value))
    x.grad = torch.ones(3, dtype=torch.float64)
    (x * 2).sum().backward()
    say(x.grad)
    x.grad = None
    say(x.grad)


# Function


@script
def a_function_in_full(torch, say):
    log = []

    class Pair(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x, scale, w, words=None):
            ctx.set_materialize_grads(False)
            ctx.save_for_backward(x, w)
            ctx.scale = scale
            top, index = (x * scale).max(0)
            ctx.mark_non_differentiable(index)
            return x * scale * w, index, top, words

        @staticmethod
        def backward(ctx, g, g_index, g_top, g_words):
            log.append([ctx.needs_input_grad, g is None, g_index is None, g_top is None])
            x, w = ctx.saved_tensors
            g = torch.zeros_like(x) if g is None else g
            gw = g * ctx.scale * x if ctx.needs_input_grad[2] else None
            return g * ctx.scale * w, None, gw, None

    x, w = leaf(torch), leaf(torch, 2.0, 0.5, 1.0)
    y, index, top, words = Pair.apply(x, 3.0, w, "words")
    say(y, index, top, words, index.requires_grad, top.requires_grad)
    y.sum().backward()
    say(x.grad, w.grad)
    y, index, top, words = Pair.apply(x, 3.0, w.detach())
    (g,) = torch.autograd.grad(y.sum(), x, create_graph=True)
    say(log, g.requires_grad)


@script
def a_function_that_writes(torch, say):
    class Double(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            x.mul_(2)
            ctx.mark_dirty(x)
            return x

        @staticmethod
        def backward(ctx, g):
            return g * 2

    x = leaf(torch)
    y = x * 1
    z = Double.apply(y)
    say(z is y, y._version)
    (z * y).sum().backward()
    say(x.grad)
    say.outcome(lambda: Double.apply(x))
    y = x * 1
    part = y[:2]
    Double.apply(part)
    x.grad = None
    (y * y).sum().backward()
    say(x.grad)


@script
def the_newer_form_of_a_function(torch, say):
    class Power(torch.autograd.Function):
        @staticmethod
        def forward(x, n=2):
            return x ** n

        @staticmethod
        def setup_context(ctx, inputs, output):
            x, ctx.n = inputs
            ctx.save_for_backward(x, output)

        @staticmethod
        def backward(ctx, g):
            x, y = ctx.saved_tensors
            return g * ctx.n * y / x, None

    x = leaf(torch)
    say(Power.apply(x), Power.apply(x, n=4), Power.apply(x=x, n=1))
    (g,) = torch.autograd.grad(Power.apply(x).sum(), x)
    say(g)
    y = Power.apply(x, 3)
    (g,) = torch.autograd.grad(y.sum(), x, create_graph=True)
    (h,) = torch.autograd.grad(g.sum(), x, create_graph=True)
    say(y, g, h, *torch.autograd.grad(h.sum(), x))


@script
def functions_that_misbehave(torch, say):
    x = leaf(torch)

    def with_backward(result):
        class Odd(torch.autograd.Function):
            @staticmethod
            def forward(ctx, x, y):
                return x * 1

            @staticmethod
            def backward(ctx, g):
                return result(g)

        return Odd.apply(x, 2).sum()

    for result in (lambda g: g, lambda g: (g, None, None), lambda g: (g, None, g), lambda g: (1, None),
                   lambda g: (g[:2], None), lambda g: (g.sum(), None), lambda g: None,
                   lambda g: (g.float(), None), lambda g: (torch.cat([g, g]), None), lambda g: 1 / 0):
        x.grad = None
        say.outcome(with_backward(result).backward)
        say(x.grad)

    class Nothing(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x * 1

    say.outcome(Nothing.apply(x).sum().backward)
    say.outcome(lambda: torch.autograd.Function.apply(x))


@script
def once_differentiable_functions(torch, say):
    class Once(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            ctx.save_for_backward(x)
            return x * x

        @staticmethod
        @torch.autograd.function.once_differentiable
        def backward(ctx, g):
            (x,) = ctx.saved_tensors
            return 2 * x * g

    x = leaf(torch)
    Once.apply(x).sum().backward()
    say(x.grad)
    (g,) = torch.autograd.grad(Once.apply(x).sum(), x, create_graph=True)
    say.outcome(lambda: torch.autograd.grad(g.sum(), x))


@script
def inputs_returned_as_they_are(torch, say):
    class Same(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x, y):
            return x, y * 2, x

        @staticmethod
        def backward(ctx, a, b, c):
            return a + 10 * c, 2 * b

    x, y = leaf(torch), leaf(torch)
    outs = Same.apply(x, y)
    say([o is x for o in outs], [o.requires_grad for o in outs])
    (outs[0] + 2 * outs[1] + 3 * outs[2]).sum().backward()
    say(x.grad, y.grad)


@script
def functions_that_return_windows(torch, say):
    def made(forward, backward):
        class Odd(torch.autograd.Function):
            pass
        Odd.forward, Odd.backward = staticmethod(forward), staticmethod(backward)
        return lambda x: (y := Odd.apply(x), y[0] if isinstance(y, tuple) else y)[1]

    def first_two(g):
        return torch.cat([g, 0 * g[:1]])

    functions = [
        made(lambda ctx, x: x, lambda ctx, g: g),
        made(lambda ctx, x: (x, x * 2), lambda ctx, g, h: g + 2 * h),
        made(lambda ctx, x: x[:2], lambda ctx, g: first_two(g)),
        made(lambda ctx, x: (x[:2], x * 2), lambda ctx, g, h: first_two(g) + 2 * h),
        made(lambda ctx, x: x.detach(), lambda ctx, g: g),
        made(lambda ctx, x: (ctx.mark_non_differentiable(x), x)[1], lambda ctx, g: g)]
    inputs = [leaf, lambda torch: leaf(torch) * 1, lambda torch: leaf(torch).detach()]
    for function in functions:
        for given in inputs:
            x = given(torch)
            y = function(x)
            say(y is x, y.requires_grad, y._is_view(), y._base is x)
            for write in (lambda y: y.mul_(2), lambda y: y[:1].mul_(2),
                          lambda y: torch.no_grad()(y.mul_)(2)):
                y = function(x)
                say.outcome(lambda y=y, write=write: write(y).tolist())
                say.outcome(lambda y=y: y.grad_fn is None)
            y = function(x)
            say.outcome(lambda x=x: x.mul_(2).tolist())
            say.outcome(lambda y=y: (y * 2).requires_grad)
        with torch.no_grad():
            x = leaf(torch)
            y = function(x)
        say(y is x)
        say.outcome(lambda y=y: y.mul_(2).tolist())


@script
def more_of_a_function(torch, say):
    def made(forward, backward, **more):
        methods = {"forward": staticmethod(forward), "backward": staticmethod(backward), **more}
        return type("Odd", (torch.autograd.Function,), methods).apply

    def marked(ctx, x):
        ctx.mark_dirty(x)
        return x.mul_(2)

    def of_two(ctx, x):
        return marked(ctx, x), x * 3

    for function in (made(of_two, lambda ctx, g, h: 2 * g + 3 * h),
                     made(lambda ctx, x: marked(ctx, x) * 1, lambda ctx, g: g)):
        for given in (lambda x: x * 1, lambda x: (x * 1)[:2], lambda x: x.detach(), lambda x: x):
            say.outcome(lambda function=function, given=given: function(given(leaf(torch))))
    words = made(lambda ctx, x, words: (x * 1, words, None, 3), lambda ctx, *grads: (grads[0], None))
    say([type(o).__name__ == "Tensor" or o for o in words(leaf(torch), [1, 2])])
    listed = made(lambda ctx, x: [x * 1, x * 2], lambda ctx, *grads: grads[0])(leaf(torch))
    say(type(listed).__name__, [o.requires_grad for o in listed])

    def keeping(ctx, x):
        ctx.save_for_backward(x)
        ctx.factor = 5
        return x * 1

    x = leaf(torch)
    y = made(keeping, lambda ctx, g: g * ctx.saved_tensors[0] * ctx.factor)(x)
    node = y.grad_fn
    say(node.factor, node.needs_input_grad, node.name(), node.saved_tensors, node.next_functions[0][1])
    y.sum().backward()
    say(x.grad)
    say.outcome(lambda: node.saved_tensors)
    say.outcome(y.sum().backward)
    say.outcome(lambda: made(lambda ctx, x: ctx.save_for_backward(x, 3), None)(x))
    y = made(lambda ctx, x: (2 * x).int(), lambda ctx, g: g)(x)
    say(y, y.requires_grad)
    made(lambda ctx, x: x.sum(), lambda ctx, g: g.expand(3))(x).backward()
    say(x.grad, x.grad.stride())

    class Other(torch.autograd.Function):
        forward = staticmethod(lambda ctx, x: x * 3)
        vjp = staticmethod(lambda ctx, g: 3 * g)

    say(torch.autograd.grad(Other.apply(x).sum(), x))

    def both():
        class Both(Other):
            backward = staticmethod(lambda ctx, g: g)
        Both.apply(x).sum().backward()

    say.outcome(both)


@script
def windows_whose_base_is_written(torch, say):
    def under(mode):
        return lambda a: mode()(lambda: a[:2])()

    windows = [under(torch.no_grad), under(torch.inference_mode), lambda a: a.unbind(0)[1],
               lambda a: a.split(2)[0], lambda a: a[:2]]
    for window in windows:
        for write in (lambda a: a.mul_(2), lambda a: torch.no_grad()(a.mul_)(2)):
            a = leaf(torch) * 1
            v = window(a)
            write(a)
            say(v.requires_grad, v.detach())
            for use in (lambda v: v.is_leaf, lambda v: v.grad_fn is None,
                        lambda v: (v * 2).requires_grad, lambda v: v.view(-1).requires_grad,
                        lambda v: v.mul_(2).requires_grad):
                say.outcome(lambda v=v, use=use: use(v))


@script
def allowed_writes_to_saved_tensors(torch, say):
    x, allow = leaf(torch), torch.autograd.graph.allow_mutation_on_saved_tensors
    with allow():
        a = x * 1
        y = a.exp() * a
        a.sin_()
        y.sum().backward()
        say(a, x.grad)
        a = x * 1
        y, part = a * a, a[:2]
        part.mul_(5)
        a.mul_(2)
        say(a, *torch.autograd.grad(y.sum(), x))
        b = x.exp()
        c = b.tanh()
        b.zero_()
        c.add_(1)
        say(b, c, *torch.autograd.grad(c.sum(), x))
        say.outcome(lambda: allow().__enter__())
        z = (a * a).sum()
    say.outcome(z.backward)
    with allow():
        say.outcome(z.backward)
        a = x * 1
        (a * a).sum().backward()
        a.mul_(2)
    say(a._version)


@script
def batches_of_gradients(torch, say):
    x, w, grad = leaf(torch), leaf(torch, 2.0, 1.0), torch.autograd.grad
    y = x ** 2

    def batched(outputs, inputs, grads, **options):
        return grad(outputs, inputs, grads, is_grads_batched=True, retain_graph=True, **options)

    eye, ones = torch.eye(3, dtype=torch.float64), torch.ones(4, dtype=torch.float64)
    say(batched(y, x, eye), batched(y, [x, w], eye, allow_unused=True),
        batched([y, y.sum()], x, [eye, ones[:3]]), batched(y, [x, w], eye, materialize_grads=True))
    (g,) = batched(y, x, eye, create_graph=True)
    say(g.requires_grad, *grad((g ** 2).sum(), x))
    for grads in (ones, ones.expand(2, 4), None, torch.ones(0, 3, dtype=torch.float64)):
        say.outcome(lambda grads=grads: batched(y, x, grads))
    for outputs, grads in ((y.sum(), None), ([y, y.sum()], [eye, None]), ([y, y.sum()], [eye, ones])):
        try:
            batched(outputs, x, grads)
        except ValueError:
            say("ValueError")
    say.outcome(lambda: batched(y, w, eye))
    grad(y, x, eye, is_grads_batched=True)
    say.outcome(lambda: y.sum().backward())


# anomaly mode


@script
def the_whole_way_to_a_failure(torch, say):
    def inner(x):
        return x.sqrt()

    def outer(x):
        return inner(x)

    x = leaf(torch, -1.0, 4.0)
    for recorded in (True, False):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            with torch.autograd.set_detect_anomaly(recorded):
                y = outer(x).sum()
            with torch.autograd.detect_anomaly():
                say.outcome(y.backward)
        said = [str(w.message) for w in caught if "Error detected" in str(w.message)]
        lines = said[0].replace(" (Triggered internally", "\n (Triggered internally").splitlines()
        ends = [k for k, line in enumerate(lines) if "Triggered internally" in line]
        say(len(said), [line for line in lines[:ends[0] if ends else None] if line.strip()][-8:])


@script
def the_node_that_induced_a_failure(torch, say):
    x = leaf(torch, 0.0, 4.0)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        with torch.autograd.detect_anomaly(check_nan=False):
            (g,) = torch.autograd.grad((x.exp() * 1).sum(), x, create_graph=True)
            g.grad_fn.register_hook(lambda inputs, outputs: 1 / 0)
            say.outcome(g.sum().backward)
    (said,) = [str(w.message) for w in caught if "Previous" in str(w.message)]
    said = said[said.index("Previous"):].split(" (Triggered")[0]
    say([line for line in said.splitlines() if line.strip()][-3:], said.splitlines()[0])


@script
def nan_in_backward(torch, say):
    x = leaf(torch, -1.0, 0.0, 1.0)
    for check in (True, False):
        with torch.autograd.detect_anomaly(check_nan=check):
            say.outcome(lambda: torch.where(x > 0, x.sqrt(), x * 0).sum().backward())


@script
def modes_nest(torch, say):
    x = leaf(torch)
    with torch.no_grad():
        with torch.enable_grad():
            say((x * 2).requires_grad)
            with torch.set_grad_enabled(False):
                say((x * 2).requires_grad)
            say((x * 2).requires_grad)
        say((x * 2).requires_grad)
    torch.set_grad_enabled(False)
    say(torch.is_grad_enabled())
    torch.set_grad_enabled(True)

    @torch.no_grad()
    def counted(n):
        for k in range(n):
            sent = yield (x * k).requires_grad
            if sent:
                yield sent

    made = counted(3)
    say(next(made), torch.is_grad_enabled(), made.send("word"), list(made))


@script
def many_threads_one_graph(torch, say):
    x = leaf(torch)
    y = (x * x).exp().sum()
    threads = [threading.Thread(target=lambda: y.backward(retain_graph=True)) for _ in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    say(x.grad)
