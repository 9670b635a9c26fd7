"""float16 and bfloat16: stored in 16 bits, computed in float32, beside PyTorch."""

import copy
import pickle

import numpy as np
import pytest

import nbgrad

torch = pytest.importorskip("torch")

DTYPES = ["float16", "bfloat16"]
A = np.linspace(-2, 2, 12, dtype=np.float32).reshape(3, 4)
B = np.linspace(0.5, 3, 12, dtype=np.float32).reshape(3, 4)
CALLS = """
a + b; a * 2.5; a / b; a - 1; 2 / b; a.exp(); a.float() + b; a.double() + b; -a; a**2; a.abs()
a > b; a.isnan(); a.round(); a.clamp(-1, 1); torch.where(a > 0, a, b); F.relu(a); F.gelu(a)
a.sum(); a.mean(1); a.var(1); a.std(); a.norm(); a.prod(1); torch.logsumexp(a, 1); a.cumsum(0)
a.max(1).values; a.max(1).indices; a.argmax(); a.argmin(1); a.amax(0); a.sort(1).values; a.max()
a.topk(2).values; a @ b.t(); F.linear(a, b); torch.einsum("ij,kj->ik", a, b); a[0].dot(b[0])
F.softmax(a, 1); F.log_softmax(a, 0); F.layer_norm(a, (4,)); F.mse_loss(a, b)
F.cross_entropy(a, torch.tensor([0, 1, 2])); F.batch_norm(a, None, None, training=True)
F.conv2d(a.reshape(1, 1, 3, 4), b[:2, :2].reshape(1, 1, 2, 2)); F.max_pool2d(a[None], 2)
F.avg_pool2d(a[None], 2); F.embedding(torch.tensor([1, 0]), a); F.one_hot(torch.tensor([1]), 2).to(d)
a.t(); a[1]; a[a > 0]; a[[0, 2]]; a[..., None]; a.flatten(); a.unbind(0)[0]; a.repeat(2, 1); a.tril()
a.flip(0); a.roll(1, 0); a.expand(2, 3, 4).sum(0); torch.cat([a, b]); torch.stack([a, b])
a.gather(1, torch.zeros(3, 1).long()); a.index_select(0, torch.tensor([1])); a.masked_fill(a > 0, 0.0)
a.scatter(1, torch.zeros(3, 1).long(), 1.5); a.clone().index_add_(0, torch.tensor([0]), b[:1])
a.clone().add_(1); a.clone().mul_(b); a.clone().fill_(3); a.clone().zero_(); a.clone().copy_(b)
a.clone().masked_fill_(a > 0, 2); a.clone().clamp_(max=0.5)
a.int(); a.long(); a.bool(); a.float(); a.double(); a.half(); a.bfloat16(); torch.arange(5).to(d)
torch.zeros(2, dtype=d); torch.ones(2, dtype=d); torch.full((2,), 1.5, dtype=d); torch.eye(2, dtype=d)
torch.arange(3, dtype=d); torch.linspace(0, 1, 5, dtype=d); torch.zeros_like(a); a.new_full((2,), 7)
torch.ones_like(a); torch.full_like(a, 2); torch.tensor([1.5, 2, 1e-8, 7e4], dtype=d); a.new_zeros(2)
torch.tensor(3.14159, dtype=d) * 2; torch.tensor(2.0) * a; torch.ones(3, 1) * a
"""
CALLS = [call.strip() for line in CALLS.strip().splitlines() for call in line.split(";")]
LOSSES = """
(F.softmax(x * w, 1) @ w.t()).exp().sum(); (x * w + x / w).sum(); F.linear(x, w).tanh().sum()
F.layer_norm(x, (4,), w[0], w[1]).pow(2).sum(); x[[0, 1, 0]].sum() * 2 + x[1:].prod()
torch.cat([x, w]).cumsum(0).sum(); (x.t() @ w).abs().mean(); torch.where(x > 0, x * w, w).sum()
(x.float() * w).sum(); F.conv2d(x[None, None], w[None, None, :2, :2]).sum()
"""
LOSSES = [loss.strip() for line in LOSSES.strip().splitlines() for loss in line.split(";")]


def operands(library, dtype, grad=False):
    d = getattr(library, dtype)
    made = [library.from_numpy(array.copy()).to(d) for array in (A, B)]
    return d, *[t.requires_grad_(grad) for t in made]


def agree(ours, theirs, dtype, steps=1):
    if not isinstance(theirs, torch.Tensor):
        assert ours == theirs
        return
    assert str(ours.dtype).split(".")[1] == str(theirs.dtype).split(".")[1]
    assert tuple(ours.shape) == tuple(theirs.shape)
    step = (2e-2 if dtype == "bfloat16" else 3e-3) * steps
    np.testing.assert_allclose(ours.detach().double().numpy(), theirs.detach().double().numpy(),
                               rtol=step, atol=step)


def evaluate(library, text, dtype):
    d, a, b = operands(library, dtype)
    return eval(text, {"torch": library, "F": library.nn.functional, "a": a, "b": b, "d": d})


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("call", CALLS)
def test_values(call, dtype):
    agree(evaluate(nbgrad, call, dtype), evaluate(torch, call, dtype), dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("loss", LOSSES)
def test_gradients(loss, dtype):
    found = []
    for library in (nbgrad, torch):
        _, x, w = operands(library, dtype, grad=True)
        y = eval(loss, {"torch": library, "F": library.nn.functional, "x": x, "w": w})
        y.backward()
        found.append((y, x.grad, w.grad))
    for ours, theirs in zip(*found):
        assert (ours is None) == (theirs is None)
        if ours is not None:
            agree(ours, theirs, dtype)


@pytest.mark.parametrize("dtype", DTYPES)
def test_every_number_of_16_bits(dtype):
    bits = np.arange(1 << 16, dtype=np.uint16)
    theirs = torch.from_numpy(bits.view(np.int16)).view(getattr(torch, dtype))
    ours = nbgrad.from_dlpack(theirs) if dtype == "float16" else (
        nbgrad.from_numpy(theirs.float().numpy()).to(nbgrad.bfloat16))
    np.testing.assert_array_equal(ours.float().numpy(), theirs.float().numpy())
    back = ours.float().to(ours.dtype)
    np.testing.assert_array_equal(back.float().numpy(), theirs.float().numpy())


@pytest.mark.parametrize("dtype", DTYPES)
def test_rounding_to_16_bits(dtype):
    draw = np.random.default_rng(0)
    bits = np.concatenate([draw.integers(0, 1 << 32, 200_000, dtype=np.uint32),
                           np.arange(0x33000000 - 999, 0x33000000 + 999, dtype=np.uint32),
                           np.arange(0x38800000 - 9999, 0x38800000 + 9999, dtype=np.uint32),
                           np.arange(0x477FE000, 0x47801000, dtype=np.uint32),
                           np.arange(0x7F7F0000, 0x7F810000, 7, dtype=np.uint32)])
    x = bits.view(np.float32)
    ours = nbgrad.from_numpy(x).to(getattr(nbgrad, dtype)).float().numpy()
    theirs = torch.from_numpy(x).to(getattr(torch, dtype)).float().numpy()
    np.testing.assert_array_equal(ours, theirs)
    some = x[::5000].tolist()
    for value in some:
        one = nbgrad.full((1,), value, dtype=getattr(nbgrad, dtype)).item()
        assert one == torch.full((1,), value, dtype=getattr(torch, dtype)).item() or one != one


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_module_and_its_optimizers(dtype):
    found = []
    for library in (nbgrad, torch):
        d, a, _ = operands(library, dtype)
        linear = library.nn.Linear(4, 2)
        linear.weight.data.fill_(0.1)
        linear.bias.data.fill_(0.2)
        linear = linear.to(d)
        assert linear.weight.dtype is d
        seen = []
        for kind, options in (("SGD", {"momentum": 0.9}), ("AdamW", {}), ("Adam", {})):
            optimizer = getattr(library.optim, kind)(linear.parameters(), lr=0.1, **options)
            for _ in range(2):
                optimizer.zero_grad()
                out = linear(a)
                (out * out).sum().backward()
                optimizer.step()
            seen += [out, linear.weight, linear.bias, linear.weight.grad]
        found.append(seen)
    for ours, theirs in zip(*found):
        agree(ours, theirs, dtype, steps=6)


@pytest.mark.parametrize("dtype", DTYPES)
def test_assignment(dtype):
    found = []
    for library in (nbgrad, torch):
        _, a, b = operands(library, dtype)
        a[0] = 1.5
        a[:, 1] += 2
        a[a < 0] = 0
        a[[1, 2], 0] = b[0, :2]
        a[2] = library.ones(4)
        found.append(a)
    agree(*found, dtype)


def test_numpy_and_copies():
    array = np.linspace(0, 1, 6, dtype=np.float16).reshape(2, 3)
    x = nbgrad.from_numpy(array)
    assert x.dtype is nbgrad.float16 is nbgrad.half and (x.element_size(), x.nbytes) == (2, 12)
    x.add_(1)
    np.testing.assert_array_equal(x.numpy(), array)
    assert x.numpy().dtype == np.float16 and np.shares_memory(x.numpy(), array)
    assert nbgrad.tensor(array).tolist() == array.tolist()
    for y in (x, x.t(), x.bfloat16(), x.bfloat16()[:, 1:]):
        for other in (copy.deepcopy(y), pickle.loads(pickle.dumps(y))):
            assert other.dtype is y.dtype and other.tolist() == y.tolist()
    with pytest.raises(TypeError, match="BFloat16"):
        x.bfloat16().numpy()
    assert repr(x[0]) == "tensor([1.0000, 1.2002, 1.4004], dtype=nbgrad.float16)"


def test_promotion():
    half, brain = nbgrad.float16, nbgrad.bfloat16
    assert nbgrad.promote_types(half, brain) is nbgrad.float32
    assert nbgrad.promote_types(half, nbgrad.int64) is half
    assert nbgrad.promote_types(nbgrad.float64, brain) is nbgrad.float64
    for a in ("float16", "bfloat16", "float32", "float64", "int32", "bool"):
        for b in DTYPES:
            ours = nbgrad.promote_types(getattr(nbgrad, a), getattr(nbgrad, b))
            assert str(ours)[7:] == str(torch.promote_types(getattr(torch, a), getattr(torch, b)))[6:]
