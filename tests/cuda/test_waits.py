"""Indices whose bounds are known are not looked at again: a training step does not wait for the device.

And what is known is given up whenever somebody may have written to the memory.
"""

import pytest

import nbgrad as torch
from nbgrad import nn, optim
from nbgrad.kernels.cuda.provider import machine
from nbgrad.nn import functional as F


@pytest.fixture
def waits(monkeypatch):
    """The waits for the device so far; call it for the number since the last call."""
    found, inside = [], []
    for name in ("download", "synchronize", "wait_for"):
        run = getattr(machine, name)

        def counted(*args, run=run, name=name):
            found.extend([] if inside else [name])
            inside.append(name)
            try:
                return run(*args)
            finally:
                inside.pop()

        monkeypatch.setattr(machine, name, counted)

    def since() -> int:
        count = len(found)
        found.clear()
        return count

    return since


def host(n: int, *shape: int) -> torch.Tensor:
    return torch.randint(0, n, shape)


STEPS = {
    "classes of the host": lambda s: F.cross_entropy(s.net(s.x), host(5, 4).cuda()),
    "ignored classes": lambda s: F.cross_entropy(
        s.net(s.x), torch.tensor([3, -100, 0, -100]).to("cuda")),
    "nothing but ignored classes": lambda s: F.cross_entropy(
        s.net(s.x), torch.full((4,), -100).to("cuda"), reduction="sum"),
    "an ignored class above": lambda s: F.nll_loss(
        s.net(s.x).log_softmax(1), torch.tensor([3, 255, 0, 2]).to("cuda"), ignore_index=255),
    "classes in bytes": lambda s: F.cross_entropy(
        s.net(s.x), host(5, 4).to(torch.uint8).cuda().long()),
    "narrow classes": lambda s: F.cross_entropy(s.net(s.x), host(5, 4).int().cuda().long()),
    "pinned classes": lambda s: F.cross_entropy(
        s.net(s.x), host(5, 4).pin_memory().to("cuda", non_blocking=True)),
    "classes of pixels": lambda s: F.cross_entropy(
        s.w.expand(2, 5, 6).reshape(2, 5, 2, 3), host(5, 2, 2, 3).cuda()),
    "margins": lambda s: F.multi_margin_loss(s.net(s.x), host(5, 4).cuda()),
    "one hot": lambda s: (s.net(s.x) * F.one_hot(host(5, 4).cuda(), 5)).sum(),
    "embedding": lambda s: F.embedding(host(5, 2, 3).cuda(), s.w).sum(),
    "narrow embedding": lambda s: F.embedding(host(5, 2, 3).int().cuda(), s.w).sum(),
    "slices": lambda s: F.embedding(s.labels[1:5], s.w).sum(),
    "strides": lambda s: F.embedding(s.labels.reshape(2, 4).t()[1:], s.w).sum(),
    "embedding bag": lambda s: F.embedding_bag(host(5, 2, 3).cuda(), s.w).sum(),
    "by key": lambda s: s.w[host(5, 3).cuda()].sum(),
    "from the end": lambda s: s.w[(host(5, 3) - 5).cuda()].sum(),
    "second axis": lambda s: s.w[:, host(6, 3).cuda()].sum(),
    "two keys": lambda s: s.w[host(5, 3).cuda(), host(6, 3).cuda()].sum(),
    "a batch by key": lambda s: F.embedding(s.labels[torch.randperm(8, device="cuda")[:4]], s.w).sum(),
    "index_select": lambda s: s.w.index_select(1, host(6, 3).int().cuda()).sum(),
    "gather": lambda s: s.w.gather(1, host(6, 5, 2).cuda()).sum(),
    "argmax": lambda s: s.w.gather(1, s.w.argmax(1, keepdim=True)).sum(),
    "max": lambda s: s.w.gather(0, s.w.max(0, keepdim=True)[1]).sum(),
    "topk": lambda s: s.w.gather(1, s.w.topk(2)[1]).sum(),
    "sort": lambda s: s.w.gather(1, s.w.sort()[1]).sum(),
    "randint": lambda s: s.w[torch.randint(5, (3,), device="cuda")].sum(),
    "arange": lambda s: F.embedding(torch.arange(5, device="cuda"), s.w).sum(),
    "take": lambda s: s.w.take(host(30, 3).cuda()).sum(),
    "index_add": lambda s: torch.zeros(5, 6).cuda().index_add(0, host(5, 5).cuda(), s.w).sum(),
    "scatter": lambda s: torch.zeros(5, 6).cuda().scatter(1, host(6, 5, 6).cuda(), s.w).sum(),
    "written by key": lambda s: torch.zeros(5, 6).cuda().index_put(
        (host(5, 3).cuda(),), s.w[:3]).sum(),
}


class Scene:
    def __init__(self) -> None:
        self.x = torch.randn(4, 3, device="cuda")
        self.net = nn.Linear(3, 5).cuda()
        self.w = torch.randn(5, 6, device="cuda", requires_grad=True)
        self.labels = host(5, 8).cuda()


@pytest.mark.parametrize("step", STEPS)
def test_a_step_does_not_wait(step, waits):
    scene = Scene()
    optimizer = optim.SGD([*scene.net.parameters(), scene.w], 0.1)
    waits()
    for _ in range(2):
        optimizer.zero_grad()
        STEPS[step](scene).backward()
        optimizer.step()
    assert waits() == 0


def test_inference_does_not_wait(waits):
    w = torch.randn(5, 6, device="cuda")
    waits()
    with torch.inference_mode():
        F.embedding(host(5, 4).cuda(), w).sum(1).argmax()
        assert waits() == 0
        idx = host(5, 4).cuda()
        idx.add_(3)
        F.embedding(idx % 5, w)
        assert waits() == 1


def test_what_is_found_is_remembered(waits):
    w = torch.randn(5, 6, device="cuda")
    idx = host(5, 4).cuda() + 0
    for use in (lambda: F.embedding(idx, w), lambda: w[idx], lambda: w[:, idx],
                lambda: F.cross_entropy(w[:4], idx)):
        waits()
        use()
        assert waits() == 1
        for _ in range(3):
            use()
        assert waits() == 0
        idx.add_(0)


def test_only_what_is_not_skipped_is_remembered(waits):
    x = torch.randn(4, 5, device="cuda")
    t = torch.tensor([1, -7, 2, 4]).cuda() + 0
    waits()
    F.cross_entropy(x, t, ignore_index=-7)
    F.cross_entropy(x, t, ignore_index=-7)
    assert waits() == 1
    with pytest.raises(IndexError, match="Target -7 is out of bounds"):
        F.cross_entropy(x, t)
    F.cross_entropy(x, t, ignore_index=-7)
    with pytest.raises(IndexError):
        F.cross_entropy(x, t, ignore_index=4)


WRITES = {
    "in place": lambda t: t.add_(9), "a slice": lambda t: t[1:].fill_(9),
    "an entry": lambda t: set_one(t), "copy_": lambda t: t.copy_(torch.full((4,), 9).cuda()),
    "the same memory outside": lambda t: t.data.add_(9), "detached": lambda t: t.detach().add_(9),
    "given data": lambda t: setattr(t, "data", torch.full((4,), 9).cuda()),
    "shared data": lambda t: shared(t), "another dtype": lambda t: t.view(torch.int32).fill_(9),
    "as a float": lambda t: t.view(torch.float64).fill_(9),
    "out=": lambda t: torch.add(t, 9, out=t), "index_put_": lambda t: t.index_put_((t,), t + 9),
    "scatter_": lambda t: t.scatter_(0, t.clone(), torch.full((4,), 9).cuda()),
    "random_": lambda t: t.random_(8, 10), "optimizer": lambda t: stepped(t),
    "interface": lambda t: from_outside(t, t.__cuda_array_interface__["data"][0]),
    "address": lambda t: from_outside(t, t.data_ptr()),
    "dlpack": lambda t: torch.from_dlpack(t).fill_(9),
    "inference": lambda t: inference(t)}


def set_one(t):
    t[2] = 9


def shared(t):
    other = torch.zeros(1, dtype=torch.int64).cuda()
    other.data = t
    other.add_(9)


def stepped(t):
    p = t.view(torch.float64).requires_grad_()
    p.grad = torch.full((4,), -9.0, dtype=torch.float64).cuda()
    optim.SGD([p], 1.0).step()


def from_outside(t, address):
    machine.upload(address, torch.full((4,), 9).numpy())


def inference(t):
    with torch.inference_mode():
        t.add_(9)


@pytest.mark.parametrize("write", WRITES)
def test_writes_are_seen(write):
    w = torch.randn(4, 2, device="cuda")
    t = torch.tensor([0, 3, 1, 2]).to("cuda")
    rows, same = t.view(2, 2), t.data
    F.embedding(t, w)
    F.embedding(rows, w)
    WRITES[write](t)
    for _ in range(2):
        for use in (t,) if write == "given data" else (t, rows, same):
            with pytest.raises(IndexError):
                F.embedding(use, w)
            with pytest.raises(IndexError):
                w[use]


def test_what_others_may_write_to_is_never_known(waits):
    w = torch.randn(4, 2, device="cuda")
    t = torch.tensor([0, 3, 1, 2]).to("cuda")
    taken = torch.from_dlpack(t)
    for idx in (t, taken):
        for value in (1, 2, 9):
            from_outside_one(t, value)
            if value < 9:
                F.embedding(idx, w)
            else:
                with pytest.raises(IndexError):
                    F.embedding(idx, w)


def from_outside_one(t, value):
    machine.upload(t._data.ptr, torch.full((4,), value).numpy())


def test_pinned_memory_that_is_written_to_at_once_is_not_read_later(monkeypatch):
    """A copy that is not waited for may run after its source has changed."""
    delayed, run = [], machine.upload
    monkeypatch.setattr(machine, "upload", lambda *args: delayed.append(args))
    source = torch.tensor([0, 3, 1, 2]).pin_memory()
    t = source.to("cuda", non_blocking=True)
    source.fill_(99)
    for args in delayed:
        run(*args)
    assert t.tolist() == [0, 3, 1, 2]
