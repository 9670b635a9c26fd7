"""Programs on several streams: the simulator does their work only when it is waited for.

A wait that is forgotten shows as NaN, or as numbers that memory held before.
"""

import threading
from contextlib import contextmanager

import numpy as np
import pytest

import nbgrad as torch
from nbgrad import nn
from nbgrad.kernels.cuda import memory
from nbgrad.kernels.cuda.provider import SIMULATED, machine
from nbgrad.nn import functional as F
from nbgrad.utils.checkpoint import checkpoint


@pytest.fixture(autouse=True)
def late(monkeypatch):
    torch.cuda.synchronize()
    torch.cuda.empty_cache()
    if SIMULATED:
        monkeypatch.setattr(machine, "late", True)
    yield
    torch.cuda.synchronize()


class Sides:
    """Streams beside the current one."""

    device = "cuda"

    def __init__(self):
        self.streams = [torch.cuda.Stream() for _ in range(3)]

    @contextmanager
    def __call__(self, k):
        """Work on a side that comes after what was done so far."""
        self.streams[k].wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(self.streams[k]):
            yield

    def join(self, *ks):
        for k in ks:
            torch.cuda.current_stream().wait_stream(self.streams[k])


class Nowhere:
    """The same on the CPU, where all is done at once."""

    device = "cpu"

    @contextmanager
    def __call__(self, k):
        yield

    def join(self, *ks):
        pass


def branches(on, x, w):
    with on(0):
        a = (x * 2).exp()
    with on(1):
        b = (x @ w).sin()
    on.join(0, 1)
    return a.sum() * b.sum()


def chain(on, x, w):
    y = x * w
    with on(0):
        y = y.tanh()
        with on(1):
            y = y @ w
        with on(2):
            on.join(1)
            y = y.exp()
    on.join(2)
    return (y * x).mean()


def shared_leaf(on, x, w):
    total = (x * w).sum()
    parts = []
    for k in range(3):
        with on(k):
            parts.append((x * w).sin() * (k + 1))
            parts.append((w @ x).cos())
    on.join(0, 1, 2)
    for part in parts:
        total = total + part.sum()
    return total


def shared_middle(on, x, w):
    y = (x * w).sin()
    with on(0):
        a = y * 2 + y.exp()
    b = y.cos() * y
    with on(1):
        c = y @ w
        d = y * y
    on.join(0, 1)
    return (a * b).sum() + (c * d).sum()


def several_outputs(on, x, w):
    first, second, *_ = x.unbind(0)
    low, high = (w * 2).split(2)
    with on(0):
        a = first * low.sum()
    with on(1):
        b = second * high.sum()
        largest, _ = w.max(dim=0)
    on.join(0, 1)
    return (a * b).sum() + (largest * x).sum()


def in_place(on, x, w):
    with on(0):
        y = x * 1
        y[1].mul_(w[0])
        y[:, 0] = w[:, 1]
    with on(1):
        on.join(0)
        z = y.t() * 2
        z.add_(w)
    on.join(1)
    return (z * z).sum()


def modules(on, x, w):
    m = nn.Sequential(nn.Linear(4, 4), nn.LayerNorm(4), nn.GELU()).to(on.device)
    parameters = dict(zip(dict(m.named_parameters()), (w, w[0], w[1], w[2]), strict=True))
    with on(0):
        a = torch.func.functional_call(m, parameters, (x,))
    with on(1):
        b = torch.func.functional_call(m, parameters, (w.t(),))
    on.join(0, 1)
    return F.cross_entropy(a, torch.tensor([0, 1, 2, 3], device=on.device)) + b.sum()


def checkpointed(on, x, w):
    def region(x, w):
        y = (x * w).sin()
        with on(1):
            z = (y * w).exp()
        on.join(1)
        return y * z

    with on(0):
        a = checkpoint(region, x, w, use_reentrant=False)
        b = checkpoint(lambda t: (t * w).cos().exp(), a, use_reentrant=False)
    on.join(0)
    return (a * b).sum()


def checkpoint_that_a_side_asks_for(on, x, w):
    """What it saves is first wanted by a node of another stream than its own."""
    def region(x, w):
        y = w.sin().cos()
        with on(1):
            return y, (x * 2).exp()

    a, b = checkpoint(region, x, w, use_reentrant=False)
    on.join(1)
    return (a + b).sum()


def handed_over(on, x, w):
    """A side is the last to use memory that the other stream uses again at once."""
    y = x * 2
    z = ((w * 2).sin() * w).cos() * w
    with on(0):
        a = y.sin()
    on.join(0)
    return (a + z).sum()


class Cube(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x * x * x

    @staticmethod
    def backward(ctx, g):
        (x,) = ctx.saved_tensors
        return g * 3 * x * x


def functions(on, x, w):
    with on(0):
        a = Cube.apply(x)
    with on(1):
        b = Cube.apply(w * x)
    on.join(0, 1)
    return (a * b).sum()


def hooks(on, x, w):
    with on(0):
        a = x.sin()
        a.register_hook(lambda g: g * w.detach())
    with on(1):
        b = (w * 2).cos()
        b.register_hook(lambda g: g * 2 + x.detach())
        b.retain_grad()
    on.join(0, 1)
    return (a * b).sum()


def layers(on, x, w):
    with on(0):
        a = F.conv2d(x[None, None], w[None, None, :2, :2], padding=1).relu()
    with on(1):
        b = F.embedding(torch.tensor([0, 2, 2], device=on.device), w).softmax(-1)
    on.join(0, 1)
    return F.max_pool2d(a, 2).sum() + (b * x[0]).sum()


PROGRAMS = [branches, chain, shared_leaf, shared_middle, several_outputs, in_place, modules,
            checkpointed, checkpoint_that_a_side_asks_for, handed_over, functions, hooks, layers]


def plainly(on, loss, x, w):
    loss.backward()
    return x.grad, w.grad


def from_the_side(on, loss, x, w):
    with on(2):
        loss.backward(torch.full((), 3.0, device=on.device) * 2)
        found = x.grad * 1, w.grad * 2
    on.join(2)
    return found


def twice(on, loss, x, w):
    loss.backward(retain_graph=True)
    with on(0):
        loss.backward()
        kept = x.grad.clone()
    on.join(0)
    return kept, w.grad


def asked_for(on, loss, x, w):
    return torch.autograd.grad(loss, (x, w))


def second_order(on, loss, x, w):
    gx, gw = torch.autograd.grad(loss, (x, w), create_graph=True)
    with on(1):
        more = (gx * gw).sum() + gx.sin().sum()
    on.join(1)
    return (gx, gw, *torch.autograd.grad(more, (x, w), allow_unused=True))


def in_a_thread(on, loss, x, w):
    torch.cuda.current_stream().synchronize()
    thread = threading.Thread(target=loss.backward)
    thread.start()
    thread.join()
    torch.cuda.default_stream().synchronize()
    return x.grad, w.grad


def watched(on, loss, x, w):
    with torch.autograd.set_detect_anomaly(True):
        loss.backward()
    return x.grad, w.grad


BACKWARDS = [plainly, from_the_side, twice, asked_for, second_order, in_a_thread, watched]


def result(on, program, backward):
    draw = np.random.default_rng(3)
    x, w = (torch.tensor(draw.normal(size=(4, 4))).to(on.device).requires_grad_() for _ in range(2))
    loss = program(on, x, w)
    x.grad = w.grad = None
    return [None if t is None else t.cpu().detach().numpy() for t in (loss, *backward(on, loss, x, w))]


@pytest.mark.parametrize("backward", BACKWARDS)
@pytest.mark.parametrize("program", PROGRAMS)
def test_backward_of_programs_on_streams(program, backward):
    found, expected = result(Sides(), program, backward), result(Nowhere(), program, backward)
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-9)
    assert torch.cuda.current_stream() == torch.cuda.default_stream()


# where backward runs


def test_nodes_and_hooks_run_on_the_stream_of_forward():
    on, seen = Sides(), {}

    def note(name):
        return lambda g: seen.update({name: torch.cuda.current_stream()})

    x = torch.ones(4, device="cuda", requires_grad=True)
    w = torch.ones(4, device="cuda", requires_grad=True)
    with on(0):
        a = x.sin()
        a.register_hook(note("a"))
        (a2 := a.exp()).register_hook(note("a2"))
    b = w.cos()
    b.register_hook(note("b"))
    on.join(0)
    x.register_post_accumulate_grad_hook(note("x"))
    w.register_post_accumulate_grad_hook(note("w"))
    with on(2):
        (a2.sum() + b.sum()).backward()
        assert torch.cuda.current_stream() == on.streams[2]
    first, default = on.streams[0], torch.cuda.default_stream()
    assert seen == {"a": first, "a2": first, "b": default, "x": first, "w": default}


@pytest.mark.skipif(not SIMULATED, reason="a device does its work when it likes")
def test_branches_do_not_wait_for_each_other():
    on, idle = Sides(), []
    x, w = (torch.ones(4, device="cuda", requires_grad=True) for _ in range(2))
    b = w.cos()

    def look(g):
        torch.cuda.current_stream().synchronize()
        idle.append(on.streams[0].query())
        return g

    b.register_hook(look)
    with on(0):
        a = x.sin().exp()
    on.join(0)
    loss = a.sum() + b.sum()  # backward comes to a's branch first
    loss.backward()
    assert idle == [False] and x.grad.isfinite().all()


def test_the_stream_is_the_callers_again_after_an_error():
    on = Sides()
    x = torch.ones(4, device="cuda", requires_grad=True)
    with on(0):
        y = x.sin()
        y.register_hook(lambda g: 1 / 0)
        y = y * 2
    on.join(0)
    with on(1), pytest.raises(ZeroDivisionError):
        try:
            y.sum().backward()
        finally:
            assert torch.cuda.current_stream() == on.streams[1]


def test_training_on_streams_is_that_on_one():
    """Memory is used again from step to step, and gradients end on whatever stream."""
    found = []
    for on in (Nowhere(), Sides()):
        draw = np.random.default_rng(1)
        w, v = (torch.tensor(draw.normal(size=(4, 4))).to(on.device).requires_grad_() for _ in range(2))
        made = torch.optim.Adam([w, v], lr=0.1)
        for _ in range(4):
            x = torch.tensor(draw.normal(size=(4, 4))).to(on.device)
            with on(0):
                a = (x @ w).tanh()
            with on(1):
                b = (x @ v).sigmoid()
            on.join(0, 1)
            made.zero_grad()
            ((a - b) ** 2).mean().backward()
            made.step()
        found.append([w.tolist(), v.tolist()])
    np.testing.assert_allclose(*found, rtol=1e-9)


def test_threads_with_streams_of_their_own():
    torch.cuda.synchronize()
    before, found = torch.cuda.memory_allocated(), {}

    def work(k):
        with torch.cuda.Stream():
            for step in range(6):
                x = torch.full((40,), float(k + step), device="cuda", requires_grad=True)
                (x * x).sin().sum().backward()
                found[k, step] = x.grad[0].item()
                shared = x.grad  # ends in whichever thread comes next
                found["last"] = shared

    threads = [threading.Thread(target=work, args=(k,)) for k in range(3)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    del found["last"]
    for (k, step), value in found.items():
        n = k + step
        np.testing.assert_allclose(value, 2 * n * np.cos(n * n), rtol=1e-5)
    assert torch.cuda.memory_allocated() == before


def test_a_graph_of_before_the_first_stream_has_none():
    x = torch.ones(3, device="cuda", requires_grad=True)
    assert not hasattr((x * 2).grad_fn, "stream")
    with torch.cuda.Stream() as side:
        assert (x * 2).grad_fn.stream == side
        with torch.cuda.stream(torch.cuda.default_stream()):
            assert not hasattr((x * 2).grad_fn, "stream")


def test_saved_on_the_cpu():
    on = Sides()
    x = torch.arange(5.0, device="cuda", requires_grad=True)
    with on(0), torch.autograd.graph.save_on_cpu(pin_memory=True):
        y = (x * x).sin()
    on.join(0)
    y.sum().backward()
    expected = 2 * x.detach() * (x.detach() ** 2).cos()
    np.testing.assert_allclose(x.grad.tolist(), expected.tolist(), rtol=1e-5)


# copies, memory, other libraries


class Shown:
    """An object of another library."""

    def __init__(self, interface):
        self.__cuda_array_interface__ = interface


def test_who_takes_memory_waits_for_who_gave_it():
    x, side = torch.ones(5, device="cuda"), torch.cuda.Stream()
    shown = Shown(x.__cuda_array_interface__)
    with side:
        y = torch.as_tensor(shown, device="cuda") * 2
        side.synchronize()
        assert y.tolist() == [2] * 5
        assert x.__cuda_array_interface__["stream"] == side.cuda_stream


@pytest.mark.parametrize(("stream", "waits"), [
    (lambda s: None, "default"), (lambda s: 1, "default"), (lambda s: s.cuda_stream, "side"),
    (lambda s: -1, None)])
def test_who_gives_memory_lets_the_taker_wait(stream, waits):
    side, other = torch.cuda.Stream(), torch.cuda.Stream()
    with other:
        x = torch.full((5,), 3.0, device="cuda")
        capsule = x.__dlpack__(stream=stream(side))
    taker = {"default": torch.cuda.default_stream(), "side": side, None: side}[waits]
    with taker:
        y = torch.from_dlpack(capsule) * 2
        taker.synchronize()
        found = memory.download(y._data).tolist()
    if SIMULATED:
        assert (found == [6] * 5) == (waits is not None)
    torch.cuda.synchronize()


def test_pinned_copies_are_in_the_order_of_their_stream():
    x = torch.arange(5.0).pin_memory()
    side = torch.cuda.Stream()
    with side:
        y = x.to("cuda", non_blocking=True) * 2
        back = y.to("cpu", non_blocking=True)
        done = side.record_event()
    if SIMULATED:
        assert not done.query() and back.tolist() != [0, 2, 4, 6, 8]
    done.synchronize()
    assert done.query() and back.tolist() == [0, 2, 4, 6, 8]


def test_a_strided_copy_to_the_host_is_waited_for():
    x, there = torch.zeros(3, 4).pin_memory(), torch.arange(12.0, device="cuda").reshape(4, 3)
    assert x.t().copy_(there, non_blocking=True).tolist() == there.tolist()


@pytest.mark.parametrize("said", [True, False])
def test_record_stream_keeps_memory_from_being_lent_too_early(said):
    side = torch.cuda.Stream()
    x = torch.full((1000,), 3.0, device="cuda")
    side.wait_stream(torch.cuda.current_stream())
    with side:
        y = x * 2
    if said:
        x.record_stream(side)
    ptr = x.data_ptr()
    del x
    z = torch.full((1000,), 5.0, device="cuda")
    assert (z.data_ptr() == ptr) != said
    torch.cuda.default_stream().synchronize()
    torch.cuda.default_stream().wait_stream(side)
    if said or SIMULATED:
        assert y[0].item() == (6 if said else 10)  # the race that it is for
