"""One comparison with PyTorch for every family: values, gradients, second gradients, errors."""

import warnings
from types import SimpleNamespace

import numpy as np
import pytest

import nbgrad
from nbgrad.nn import functional
from nbgrad.ops import conv, embedding, loss, matmul, norm, pad, pool, random, softmax

torch = pytest.importorskip("torch")

FAMILIES = (matmul, conv, pool, norm, softmax, loss, random, embedding, pad)
OURS = SimpleNamespace(**{name: value for module in (*FAMILIES, nbgrad, functional)
                          for name, value in vars(module).items() if not name.startswith("_")})
THEIRS = SimpleNamespace(**{name: value for module in (torch, torch.nn.functional)
                            for name, value in vars(module).items() if not name.startswith("_")})
TOLERANCE = {np.float64: {"rtol": 1e-8, "atol": 1e-9}, np.float32: {"rtol": 5e-4, "atol": 5e-4}}


def leaves(library, arrays, grad):
    """Tensors over copies of the arrays that keep their strides; floats want a gradient."""
    made = [library.from_numpy(np.array(a, order="K")) for a in arrays]
    for k, t in enumerate(made):
        if arrays[k].dtype.kind == "f" and (grad is None or k in grad):
            t.requires_grad_(True)
    return made


def outcome(library, call, arrays, grad, second):
    """Outputs, ordinary gradients, recorded gradients and their gradients, as lists of arrays."""
    draw = np.random.default_rng(5).standard_normal

    def like(t):
        array = np.array(draw(tuple(t.shape)))
        return library.from_numpy(array.astype(t.detach().numpy().dtype))

    inputs = leaves(library, arrays, grad)
    outputs = call(library, *inputs)
    outputs = outputs if isinstance(outputs, tuple) else (outputs,)
    found = [[t.detach().numpy() for t in outputs]]
    wanted = [t for t in inputs if t.requires_grad]
    tracked = [t for t in outputs if t.requires_grad]
    if not wanted or not tracked:
        return found
    seeds = [like(t) for t in tracked]

    def grads(of, wrt, seeds=None, **options):
        return library.autograd.grad(of, wrt, seeds, allow_unused=True, **options)

    def arrays_of(values, likes):
        return [np.zeros(tuple(t.shape)) if g is None else g.detach().numpy(force=True)
                for g, t in zip(values, likes)]

    found.append(arrays_of(grads(tracked, wanted, seeds, retain_graph=True), wanted))
    if not second:
        return found
    for s in seeds:
        s.requires_grad_(True)
    firsts = grads(tracked, wanted, seeds, create_graph=True)
    found.append(arrays_of(firsts, wanted))
    weights = [like(t) for t in wanted]
    total = sum((g * w).sum() for g, w in zip(firsts, weights) if g is not None)
    if total.requires_grad:
        found.append(arrays_of(grads(total, wanted + seeds), wanted + seeds))
    return found


@pytest.fixture(params=[np.float64, np.float32], ids=["f64", "f32"])
def same(request):
    """same(call, *arrays): nbgrad and torch agree on call(library, *tensors) to second order."""

    def check(call, *arrays, grad=None, second=True):
        given = [a.astype(request.param) if a.dtype.kind == "f" else a for a in arrays]
        ours = outcome(OURS, call, given, grad, second)
        theirs = outcome(THEIRS, call, given, grad, second)
        assert len(ours) == len(theirs)
        for order, (mine, other) in enumerate(zip(ours, theirs)):
            assert len(mine) == len(other)
            for a, b in zip(mine, other):
                assert a.shape == b.shape
                np.testing.assert_allclose(a, b, **TOLERANCE[request.param], err_msg=str(order))
                if order == 0:
                    assert a.dtype == b.dtype

    return check


@pytest.fixture
def same_error():
    """same_error(call): both raise the same class, and ours begins with (or has) torch's text."""

    def check(call, text=None):
        messages = []
        for library in (THEIRS, OURS):
            with warnings.catch_warnings():
                warnings.simplefilter("error")
                with pytest.raises(Exception) as caught:
                    call(library)
            messages.append((type(caught.value), str(caught.value)))
        (theirs, expected), (ours, message) = messages
        assert ours is theirs, (message, expected)
        key = text or expected.split("\n")[0].split("  (Could")[0]
        assert key[:150] in message.replace("nbgrad.", "torch."), (message, expected)

    return check


@pytest.fixture
def saved():
    """saved(call, *arrays, grad): shapes of what the node of nbgrad's result keeps."""

    def shapes(call, *arrays, grad=None):
        y = call(OURS, *leaves(OURS, arrays, grad))
        y = y[0] if isinstance(y, tuple) else y
        return [v._layout.shape for v in y._node.saved]

    return shapes


@pytest.fixture
def library():
    return OURS
