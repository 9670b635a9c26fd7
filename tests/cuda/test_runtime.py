"""Streams, events, copies, and tensors that behave on the device as on the CPU."""

import copy
import io
import os
import pickle
import re
import subprocess
import sys
import threading
from collections import namedtuple

import numpy as np
import pytest

import nbgrad as torch
from nbgrad import nn
from nbgrad.data import DataLoader
from nbgrad.kernels.backend import Twins
from nbgrad.kernels.cuda.array import Mixed
from nbgrad.kernels.cuda.driver import Driver, _packer
from nbgrad.kernels.cuda.launch import launch
from nbgrad.kernels.cuda.provider import SIMULATED, kernel, machine
from nbgrad.nn import functional as F
from nbgrad.ops.apply import apply
from nbgrad.ops.elementwise import OPS
from nbgrad.ops.write import COPY


def randn(*shape, **options):
    return torch.randn(*shape, device="cuda", **options)


# devices


def test_the_device_is_known():
    assert torch.cuda.is_available() and torch.cuda.device_count() == 1
    assert torch.cuda.current_device() == 0 and torch.cuda.get_device_name()
    assert torch.cuda.get_device_properties("cuda:0").major == torch.cuda.get_device_capability()[0]
    torch.cuda.set_device("cuda")
    with torch.cuda.device(0), torch.cuda.device_of(torch.ones(1, device="cuda")):
        torch.cuda.synchronize()
    with pytest.raises(ValueError, match="Expected a cuda device, but got: cpu"):
        torch.cuda.get_device_name("cpu")
    assert torch.device("cuda") != torch.device("cuda:0") == randn(1).device


@pytest.mark.parametrize(("call", "expected"), {
    "torch.device(0)": "cuda:0", "torch.device('cuda', 0).index": 0, "x.get_device()": 0,
    "torch.ones(1).get_device()": -1, "x.is_cpu": False, "x.cpu().is_cpu": True,
    "x.type()": "torch.cuda.FloatTensor", "x.cuda(0) is x": True, "x.to(0) is x": True,
    "torch.cuda.Stream.priority_range()[0]": 0, "torch.cuda.Stream(priority=3).priority": 0,
    "torch.cuda.get_stream_from_external(5).cuda_stream": 5,
    "torch.cuda.is_current_stream_capturing()": False, "torch.cuda.get_allocator_backend()": "native",
    "torch.cuda.is_tf32_supported() in (True, False)": True, "torch.cuda.ipc_collect()": None,
    "torch.cuda.can_device_access_peer(0, 'cuda:0')": False,
    "torch.cuda.memory_stats_as_nested_dict()['allocation']['all'].keys() > {'peak', 'freed'}": True,
    "torch.cuda.get_per_process_memory_fraction()": 1.0, "torch.cuda.Event().device": "cuda:0",
    "len(torch.cuda.default_generators)": 1, "torch.backends.cudnn.is_available()": False,
    "torch.backends.cuda.is_built()": True, "torch.backends.cuda.matmul.allow_tf32": False}.items())
def test_what_programs_ask(call, expected):
    found = eval(call, {"torch": torch, "x": randn(1)})
    assert (str(found) if isinstance(expected, str) else found) == expected


@pytest.mark.parametrize(("call", "words"), {
    "torch.device('cuda:a')": "Invalid device string: 'cuda:a'",
    "torch.device('cuda:')": "Invalid device string: 'cuda:'",
    "torch.device('cuda', -1)": "Device index must not be negative",
    "torch.device('cuda:0', 1)": "type (string) must not include an index",
    "torch.device('gpu')": "Expected one of cpu, cuda",
    "torch.ones(1).cuda('cpu')": "Invalid device, must be cuda device",
    "torch.ones(1, device='cuda', pin_memory=True)": "only dense CPU tensors can be pinned"}.items())
def test_devices_that_are_none(call, words):
    with pytest.raises(RuntimeError, match=re.escape(words)):
        eval(call)


@pytest.mark.parametrize("call", [
    lambda: torch.ones(2, device="cuda:1"), lambda: torch.ones(2).cuda(1), lambda: torch.ones(2).to(1),
    lambda: torch.set_default_device("cuda:1"), lambda: torch.cuda.set_device(1),
    lambda: nn.Linear(2, 2).cuda(1)])
def test_a_second_device_is_refused(call):
    with pytest.raises(RuntimeError, match="invalid device ordinal"):
        call()


# streams and events


def test_streams():
    side, other = torch.cuda.Stream(), torch.cuda.Stream(priority=-1)
    assert side != other and side.priority == 0 and other.priority == -1
    assert torch.cuda.current_stream() == torch.cuda.default_stream() != side
    x = torch.ones(1000, device="cuda")
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        assert torch.cuda.current_stream() == side
        y = x * 2
        with other:
            assert torch.cuda.current_stream() == other
        with torch.cuda.stream(None):
            assert torch.cuda.current_stream() == side
    assert torch.cuda.current_stream() == torch.cuda.default_stream()
    torch.cuda.current_stream().wait_stream(side)
    y.record_stream(torch.cuda.current_stream())
    assert (y == 2).all()
    side.synchronize()
    assert side.query()
    assert torch.cuda.ExternalStream(side.cuda_stream) == side


def test_a_stream_is_of_one_thread():
    found = []
    with torch.cuda.Stream():
        thread = threading.Thread(target=lambda: found.append(
            (torch.cuda.current_stream() == torch.cuda.default_stream(), (randn(3) * 0 + 1).tolist())))
        thread.start()
        thread.join()
    assert found == [(True, [1, 1, 1])]


def test_events():
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    assert start.query()
    with pytest.raises(ValueError, match="must be recorded"):
        start.elapsed_time(end)
    start.record()
    randn(10).sum()
    end.record()
    end.synchronize()
    assert start.query() and end.query() and start.elapsed_time(end) >= 0
    with pytest.raises(ValueError, match="enable_timing"):
        start.elapsed_time(torch.cuda.current_stream().record_event())
    end.wait(torch.cuda.Stream())


def test_record_stream_wants_a_stream_and_a_cuda_tensor():
    with pytest.raises(RuntimeError):
        torch.ones(2).record_stream(torch.cuda.current_stream())
    with pytest.raises(RuntimeError):
        randn(2).record_stream(None)


# copies


@pytest.mark.parametrize("make", [
    lambda: torch.arange(12.0).reshape(3, 4).pin_memory(), lambda: torch.ones(3, 4).t().pin_memory(),
    lambda: torch.ones(3, pin_memory=True), lambda: torch.tensor([1, 2], pin_memory=True),
    lambda: torch.empty(3, pin_memory=True).fill_(2), lambda: torch.ones(4).bfloat16().pin_memory(),
    lambda: torch.arange(8).pin_memory()[::2]])
def test_pinned_memory(make):
    x = make()
    assert x.is_pinned() and x[1:].is_pinned() and x.pin_memory() is x and not x.cuda().is_pinned()
    there = x.to("cuda", non_blocking=True)
    back = there.to("cpu", non_blocking=True)
    torch.cuda.synchronize()
    assert back.is_pinned() and back.tolist() == x.tolist() and back.stride() == x.cuda().stride()
    target = torch.empty_like(there)
    assert target.copy_(x, non_blocking=True) is target and target.tolist() == x.tolist()
    x.zero_()
    x.copy_(there, non_blocking=True)
    torch.cuda.synchronize()
    assert x.tolist() == back.tolist()


def test_pinning_refusals_and_gradient():
    with pytest.raises(RuntimeError, match="only dense CPU tensors can be pinned"):
        randn(2).pin_memory()
    with pytest.raises(RuntimeError):
        torch.ones(2, device="cuda", pin_memory=True)
    assert not torch.ones(2).is_pinned()
    x = torch.ones(3, requires_grad=True)
    (x.pin_memory().cuda() * 3).sum().backward()
    assert x.grad.tolist() == [3, 3, 3] and x.grad.device.type == "cpu"


def test_many_asynchronous_copies_keep_what_they_read():
    expected = [float(k) for k in range(50)]
    there = [torch.full((3000,), k).pin_memory().to("cuda", non_blocking=True) for k in expected]
    torch.cuda.synchronize()
    assert [t[-1].item() for t in there] == expected


@pytest.mark.parametrize("workers", [0, 2])
def test_batches_in_pinned_memory(workers):
    Pair = namedtuple("Pair", "image label")
    data = [Pair(np.full(3, k, np.float32), {"class": k}) for k in range(5)]
    found = []
    for batch in DataLoader(data, batch_size=2, num_workers=workers, pin_memory=True):
        assert batch.image.is_pinned() and batch.label["class"].is_pinned()
        found += batch.image.to("cuda", non_blocking=True)[:, 0].tolist()
    assert found == [0, 1, 2, 3, 4]
    on_device = [torch.ones(2, device="cuda") * k for k in range(2)]
    assert next(iter(DataLoader(on_device, batch_size=2, pin_memory=True))).is_cuda


@pytest.mark.parametrize("call", [
    "c.copy_(g)", "g.copy_(c)", "g.copy_(c.double())", "c.copy_(g[:1])", "g.t().copy_(c.t())",
    "c[1].copy_(g[0])", "g[:, 1].copy_(c[:, 0])", "g.fill_(torch.tensor(3.))",
    "c.fill_(torch.tensor(3., device='cuda'))"])
def test_copies_in_place_between_devices(call):
    results = []
    for device in ("cuda", "cpu"):
        c = torch.arange(9.0).reshape(3, 3)
        g = (c * 10).to(device)
        before = (c._version, g._version)
        eval(call)
        assert (c._version, g._version) != before
        results.append((c.tolist(), g.tolist()))
    assert results[0] == results[1]


# several devices in one call


MIXED = [
    "g + c", "c + g", "g * c", "g == c", "g.add_(c)", "c.add_(g)", "c0.add_(g0)", "torch.maximum(g, c)",
    "torch.where(c > 0, g, g)", "torch.addcmul(g, c, g)", "g.lerp(c, 0.5)", "torch.atan2(g, c)",
    "g @ c", "c @ g", "torch.dot(g[0], c[0])", "torch.bmm(g[None], c[None])", "torch.addmm(g, g, c)",
    "F.linear(g, c)", "torch.outer(g[0], c[0])", "torch.einsum('ij,jk->ik', g, c)",
    "F.conv2d(g[None, None], c[None, None])", "F.conv1d(g[None], g[:2, :, None], c[0, :2])",
    "torch.cat([g, c])", "torch.stack([c, g])", "torch.gather(g, 0, index)",
    "torch.index_select(g, 0, index[0])", "g.index_add(0, index[0], g)", "g.scatter(0, index, g)",
    "F.embedding(index, g)", "g.masked_fill(c > 0, 1.)", "torch.searchsorted(g[0], c)",
    "F.mse_loss(g, c)", "F.l1_loss(c, g)", "F.cross_entropy(g, index[0])", "F.nll_loss(g, index[0])",
    "F.binary_cross_entropy_with_logits(g, c)", "F.batch_norm(g, c[0], c[0])",
    "F.layer_norm(g, (3,), c[0])", "F.prelu(g, c[0])", "torch.exp(g, out=c)", "torch.equal(g, c)",
    "torch.meshgrid(g[0], c[0], indexing='ij')", "torch.isin(g, c)", "torch.allclose(g, c)",
    "torch.cdist(g, c)", "torch.linalg.solve(g, c)", "F.ctc_loss(g[:, None], index[:1], (3,), (1,))",
    "nn.Linear(3, 2)(g)", "nn.LSTM(3, 2)(g)", "nn.Linear(3, 2).cuda()(c)",
    "setattr(torch.ones(3, 3, requires_grad=True), 'grad', g)"]


@pytest.mark.parametrize("call", MIXED)
def test_tensors_of_two_devices_are_refused(call):
    scope = {"c": torch.ones(3, 3), "g": torch.ones(3, 3, device="cuda"), "c0": torch.tensor(1.0),
             "g0": torch.tensor(1.0, device="cuda"), "torch": torch, "F": F, "nn": nn,
             "index": torch.zeros(3, 3, dtype=torch.int64)}
    with pytest.raises(RuntimeError, match=r"same device|located on device"):
        eval(call, scope)


@pytest.mark.parametrize("call", [
    "g + c0", "c0 * g", "c0 - g0", "g.add_(c0)", "torch.where(g > 0, c0, g)", "g.clamp(min=c0)",
    "torch.maximum(g, c0)", "g.fill_(c0)", "g.masked_fill(g > 0, c0)", "g[index]", "g[c > 0]",
    "g[torch.tensor(1)]", "g.lerp(g, c0)", "g ** c0"])
def test_numbers_and_indices_of_the_host_go_with_tensors_of_the_device(call):
    scope = {"torch": torch, "c": torch.ones(3, 3), "c0": torch.tensor(2.0),
             "index": torch.tensor([0, 2])}
    host = eval(call, scope | {"g": torch.full((3, 3), 3.0), "g0": torch.tensor(3.0)})
    there = eval(call, scope | {"g": torch.full((3, 3), 3.0).cuda(), "g0": torch.tensor(3.0).cuda()})
    assert there.is_cuda and there.tolist() == host.tolist()


def test_errors_of_a_program_pass_as_they_are(monkeypatch):
    """A slip in an op is no reason to move tensors about, which would run it again."""
    runs = []

    def slip(*args):
        runs.append(args)
        return None.shape

    g, c0 = torch.ones(3, device="cuda"), torch.tensor(2.0)
    for op, method, call in ((OPS["mul"], "run", lambda: apply(OPS["mul"], (g, c0))),
                             (COPY, "run_into", lambda: g.copy_(c0))):
        runs.clear()
        monkeypatch.setattr(op, method, slip)
        with pytest.raises(AttributeError, match="'NoneType' object has no attribute 'shape'"):
            call()
        assert len(runs) == 1


def test_arrays_of_the_host_are_refused_by_kernels_of_the_device():
    x = torch.ones(3, 4, device="cuda")
    with pytest.raises(Mixed, match="at least two devices, cuda:0 and cpu!"):
        Twins("softmax").softmax_backward(x._array(), np.ones((3, 4), np.float32), 1)
    with pytest.raises(Mixed):
        launch(doubled, 3, (np.dtype(np.float32),))(np.ones(3, np.float32))
    pack = _packer(("7q", "q"))(lambda *args: None, None)
    pack(x._data, 3)
    with pytest.raises(Mixed):
        pack(np.ones(3), 3)
    with pytest.raises(AttributeError, match="fields"):
        pack(None, 3)


@kernel
def doubled(x):
    x[0] *= 2


def test_numpy_wants_a_copy():
    x = randn(3)
    for call in (x.numpy, lambda: np.asarray(x)):
        with pytest.raises(TypeError, match="can't convert cuda:0 device type tensor to numpy"):
            call()
    assert x.numpy(force=True).tolist() == x.tolist()


# tensors as on the CPU


def test_factories_lie_where_they_are_asked_to():
    calls = ["zeros(2)", "ones(2)", "empty(2)", "full((2,), 1.)", "tensor([1])", "arange(3)", "eye(2)",
             "linspace(0, 1, 3)", "logspace(0, 1, 3)", "rand(2)", "randn(2)", "randint(3, (2,))",
             "randperm(4)", "as_tensor([1.])", "tril_indices(2, 2)", "empty_strided((2,), (1,))"]
    for call in calls:
        assert eval(f"torch.{call[:-1]}, device='cuda')").is_cuda, call
        with torch.device("cuda"):
            assert eval(f"torch.{call}").is_cuda, call
            assert eval(f"torch.{call[:-1]}, device='cpu')").device.type == "cpu", call
        assert not eval(f"torch.{call}").is_cuda
    torch.set_default_device("cuda")
    try:
        assert torch.ones(1).is_cuda and nn.Linear(2, 2).weight.is_cuda
    finally:
        torch.set_default_device("cpu")
    x = randn(2, 3)
    for name in ("zeros", "ones", "empty", "rand", "randn"):
        assert getattr(torch, f"{name}_like")(x).is_cuda
    for made in (x.new_zeros(2), x.new_ones(2), x.new_empty(2), x.new_full((2,), 1), x.new_tensor([1])):
        assert made.is_cuda
    assert torch.zeros_like(x, device="cpu").device.type == "cpu"


def test_what_python_asks():
    x = torch.tensor([[1.5, -2.0], [0.25, 4.0]], device="cuda", dtype=torch.float64, requires_grad=True)
    assert x.tolist() == [[1.5, -2.0], [0.25, 4.0]] and x[0, 0].item() == 1.5 and bool((x > -3).all())
    assert f"{x[1, 1]:.3f}" == "4.000" and [r.tolist() for r in x] == x.tolist() and len(x) == 2
    assert repr(x.detach()[0]) == "tensor([ 1.5000, -2.0000], device='cuda:0', dtype=nbgrad.float64)"
    assert "device='cuda:0', dtype=nbgrad.float64, grad_fn=<SumBackward0>" in repr(x.sum())
    y = copy.deepcopy(x)
    assert y.is_cuda and y.requires_grad and y.data_ptr() != x.data_ptr() and (y == x).all()
    z = pickle.loads(pickle.dumps(x))
    assert z.device == x.device and z.requires_grad and z.tolist() == x.tolist()
    both = copy.deepcopy([x.detach(), x.detach().t()])
    assert both[0].data_ptr() == both[1].data_ptr()


def test_versions_views_and_in_place_errors():
    x = torch.arange(6.0, device="cuda")
    view = x.view(2, 3)[1]
    view.mul_(2)
    assert x.tolist() == [0, 1, 2, 6, 8, 10] and x._version == view._version == 1
    assert view._base is x and view.data_ptr() == x.data_ptr() + 12
    a = torch.ones(3, device="cuda", requires_grad=True)
    b = a * 2
    c = b * b
    b.add_(1)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        c.sum().backward()
    with pytest.raises(RuntimeError, match="a leaf Variable that requires grad"):
        a.add_(1)


def test_hooks_and_second_order():
    x = torch.tensor([1.0, 2.0], device="cuda", requires_grad=True)
    seen = []
    x.register_hook(lambda g: seen.append(g.device) or g * 10)
    y = x * x
    y.retain_grad()
    (g,) = torch.autograd.grad((y * x).sum(), x, create_graph=True)
    g.sum().backward()
    assert x.grad.tolist() == [600, 1200] and set(seen) == {x.device}
    (x * 1).sum().backward()
    assert x.grad.is_cuda


def test_gradients_cross_between_devices():
    x = torch.ones(3, requires_grad=True)
    ((x.cuda() * 2).cpu() * 3).cuda().sum().backward()
    assert x.grad.device.type == "cpu" and x.grad.tolist() == [6, 6, 6]


def test_saved_on_the_cpu():
    x = randn(4, requires_grad=True)
    with torch.autograd.graph.save_on_cpu(pin_memory=True):
        y = (x * x).sin().sum()
    y.backward()
    np.testing.assert_allclose(x.grad.tolist(), (2 * x * (x * x).cos()).tolist(), rtol=1e-5)


# modules and optimizers


def net():
    return nn.Sequential(nn.Linear(4, 5), nn.BatchNorm1d(5), nn.Tanh(), nn.Linear(5, 2))


@pytest.mark.parametrize("move", [lambda m: m.cuda(), lambda m: m.to("cuda"), lambda m: m.to(
    "cuda", torch.float64), lambda m: m.to(torch.ones(1, device="cuda")),
    lambda m: m.to(device="cuda", non_blocking=True)])
def test_a_module_moves_and_its_parameters_stay_the_same_objects(move):
    m = net()
    m(torch.ones(3, 4)).sum().backward()
    before = list(m.parameters())
    assert move(m) is m
    assert all(p is q for p, q in zip(m.parameters(), before, strict=True))
    assert all(t.is_cuda for t in (*m.parameters(), *m.buffers(), *[p.grad for p in m.parameters()]))
    assert all(p.is_leaf and p.requires_grad for p in m.parameters())
    m.cpu()
    grads = [p.grad for p in m.parameters()]
    assert not any(t.is_cuda for t in (*m.parameters(), *m.buffers(), *grads))


@pytest.mark.parametrize("optimizer", ["SGD", "Adam", "AdamW", "RMSprop", "Adagrad"])
def test_training_is_that_of_the_cpu(optimizer):
    x, t = torch.randn(6, 4), torch.tensor([0, 1, 0, 1, 1, 0])
    first, states = nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 2)), []
    for device in ("cpu", "cuda"):
        m = copy.deepcopy(first)
        if optimizer == "Adagrad":  # which makes its state at once, as in PyTorch
            m.to(device)
        options = {"momentum": 0.9} if optimizer == "SGD" else {}
        made = getattr(torch.optim, optimizer)(m.parameters(), lr=0.05, **options)
        m.to(device)  # others may be made before
        for _ in range(3):
            made.zero_grad()
            F.cross_entropy(m(x.to(device)), t.to(device)).backward()
            made.step()
        again = getattr(torch.optim, optimizer)(m.parameters(), lr=0.05, **options)
        again.load_state_dict(made.state_dict())
        again.step()
        states.append([v.cpu().numpy() for v in m.state_dict().values()])
    for a, b in zip(*states, strict=True):
        np.testing.assert_allclose(a, b, rtol=2e-4, atol=2e-5)


def test_states_move_between_devices():
    m = net().cuda()
    state = m.state_dict()
    assert all(v.is_cuda for v in state.values())
    other = net()
    other.load_state_dict(state)
    assert not any(p.is_cuda for p in other.parameters())
    assert other[0].weight.tolist() == m[0].weight.tolist()
    file = io.BytesIO()
    torch.save(state, file)
    for place, cuda in ((None, False), ("cuda", True), (torch.device("cuda:0"), True), ("cpu", False),
                        ({"cpu": "cuda:0"}, True), (lambda tensor, where: tensor.cuda(), True),
                        (lambda tensor, where: None, False)):
        file.seek(0)
        found = torch.load(file, map_location=place)
        assert {v.is_cuda for v in found.values()} == {cuda}
        m.load_state_dict(found)
    assert all(p.is_cuda for p in m.parameters())


@pytest.mark.parametrize("init", ["normal_", "uniform_", "xavier_uniform_", "kaiming_normal_",
                                  "trunc_normal_", "orthogonal_", "zeros_", "eye_"])
def test_initialisation_is_that_of_the_cpu(init):
    found = []
    for device in ("cpu", "cuda"):
        torch.manual_seed(3)
        found.append(getattr(nn.init, init)(torch.empty(4, 5, device=device)).tolist())
    np.testing.assert_allclose(*found, rtol=1e-6, atol=1e-6)


def test_random_numbers_are_seeded():
    torch.cuda.manual_seed(5)
    a, state = randn(7), torch.cuda.get_rng_state()
    b = randn(7)
    torch.cuda.set_rng_state(state)
    assert (randn(7) == b).all()
    torch.cuda.manual_seed_all(5)
    assert (randn(7) == a).all() and torch.cuda.initial_seed() == 5


# processes


@pytest.mark.skipif(not SIMULATED, reason="a device is there")
def test_without_a_driver_the_error_says_so():
    code = ("import nbgrad as t\nassert not t.cuda.is_available() and t.cuda.device_count() == 0\n"
            "assert t.cuda.memory_allocated() == 0 and not t.ones(2).is_pinned()\n"
            "t.cuda.manual_seed(1); t.cuda.empty_cache()\n"
            "for f in (lambda: t.ones(2).cuda(), t.cuda.Stream, t.cuda.synchronize,\n"
            "          t.cuda.current_device, lambda: t.ones(2, pin_memory=True),\n"
            "          t.ones(2).pin_memory):\n"
            "    try: f()\n"
            "    except RuntimeError as error: print(error)\n"
            "    else: raise SystemExit('no error')\n")
    env = os.environ | {"NUMBA_ENABLE_CUDASIM": "0", "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True,
                          env=env, timeout=120)
    assert done.returncode == 0, done.stderr
    assert "doctor" in done.stdout and "CUDA" in done.stdout


#: what is amiss, as code that brings it about, and what is said then
AMISS = {
    "no package": ("hide('numba.cuda', ImportError('gone'))", "CUDA needs numba-cuda: pip install"),
    "an old package": ("hide('numba.cuda', AttributeError('no NPDatetime'))",
                       "this numba-cuda does not work with the installed numba or NumPy: pip install"),
    "Numba's own": ("import numba.cuda\nnumba.cuda.implementation = 'Built-in'",
                    "CUDA needs numba-cuda, which Numba did not find: pip install"),
    "no bindings": ("hide('cuda', ImportError('gone'))", "pip install 'nbgrad[cuda]'"),
    "no driver": ("", "no CUDA driver: libcuda.so.1 cannot be loaded. Install NVIDIA's driver"),
}


@pytest.mark.skipif(not SIMULATED, reason="a device is there")
@pytest.mark.parametrize("state", AMISS)
def test_what_is_missing_is_said(state):
    break_it, said = AMISS[state]
    code = ("import sys\ndef hide(name, error):\n    class Finder:\n"
            "        def find_spec(self, module, path=None, target=None):\n"
            "            if module == name: raise error\n    sys.meta_path.insert(0, Finder())\n"
            f"{break_it}\nimport nbgrad\nassert 'nbgrad.kernels.cuda.provider' not in sys.modules\n"
            "from nbgrad.cli import doctor\nassert not nbgrad.cuda.is_available()\n"
            "try: nbgrad.ones(2).cuda()\nexcept RuntimeError as error: print(error)\n"
            "print('DOCTOR', doctor.LINES['CUDA']())\n")
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True,
                          env=os.environ | {"NUMBA_ENABLE_CUDASIM": "0"}, timeout=120)
    assert done.returncode == 0, done.stderr
    error, doctor = done.stdout.split("DOCTOR")
    assert said in error and said in doctor and doctor.startswith(" none, numba-cuda")


def test_a_forked_process_is_refused_the_device():
    there = Driver()
    there._context, there._open, there._do = 1, lambda: None, lambda *args: None
    there.check()
    read, write = os.pipe()
    if not os.fork():
        try:
            for use in (there.check, lambda: there.stream, lambda: there.allocate(8)):
                try:
                    use()
                except RuntimeError as error:
                    os.write(write, str(error)[:37].encode())
        finally:
            os._exit(0)
    os.wait()
    os.close(write)
    assert os.read(read, 1000) == b"Cannot re-initialize CUDA in forked s" * 3 and there.stream == 0


def test_memory_ends_quietly_with_the_process():
    code = ("import nbgrad as t\nx = t.ones(5, device='cuda')\ne = t.cuda.Event()\ne.record()\n"
            "p = t.ones(3).pin_memory()\nclass A: pass\na = A(); a.a = a; a.x = x * 2\n"
            "c = x.__dlpack__()\nb = t.from_dlpack(x.__dlpack__())\n")
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True,
                          timeout=120)
    assert done.returncode == 0 and not done.stderr, done.stderr


def test_launches_are_resolved_once(monkeypatch):
    """Steps on tensors of known layouts ask for no launch: all were resolved by the first ones."""
    torch.manual_seed(2)
    net = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.Flatten(), nn.Linear(8, 3)).to("cuda")
    optimizer = torch.optim.SGD(net.parameters(), 0.1, 0.9)
    images, labels = torch.randn(2, 1, 4, 4, device="cuda"), torch.tensor([0, 2], device="cuda")
    asked = []
    launcher = machine.launcher

    def counted(*args):
        asked.append(args)
        return launcher(*args)

    monkeypatch.setattr(machine, "launcher", counted)
    for number in range(4):
        optimizer.zero_grad()
        F.cross_entropy(net(images), labels).backward()
        optimizer.step()
        if number == 1:
            assert asked
            asked.clear()
    assert not asked


def test_a_norm_of_what_lies_across_stays_on_the_device(monkeypatch):
    def refuse(error, *args):
        raise error

    monkeypatch.setattr("nbgrad.ops.apply._run_on_host", refuse)
    found = []
    for device in ("cuda", "cpu"):
        x = torch.arange(24.0).reshape(2, 3, 4).sin().to(device).requires_grad_(True)
        y = F.layer_norm(x.transpose(0, 1), (4,)) * torch.arange(4.0, device=device)
        y.transpose(0, 1).sum(2).cos().sum().backward()
        found.append(x.grad.cpu().numpy())
    np.testing.assert_allclose(*found, rtol=1e-5, atol=1e-7)
