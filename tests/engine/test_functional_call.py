"""func.functional_call, run in both libraries: what comes out, what is restored, what is refused."""

import pytest

import nbgrad

torch = pytest.importorskip("torch")
both = pytest.mark.parametrize("T", [nbgrad, torch], ids=["nbgrad", "torch"])


def net(T):
    """A layer, one that shares its weight under another name, and statistics."""

    class Net(T.nn.Module):
        def __init__(self):
            super().__init__()
            self.first = T.nn.Linear(2, 2)
            self.second = T.nn.Linear(2, 2, bias=False)
            self.second.weight = self.first.weight
            self.norm = T.nn.BatchNorm1d(2)
            self.register_buffer("calls", T.zeros(()))
            self.plain = T.ones(2)
            self.word = "a word"

        def forward(self, x, scale=1.0):
            if scale == 0:
                raise ArithmeticError
            self.calls = self.calls + 1
            return self.norm(self.second(self.first(x))) * scale + self.plain

    T.manual_seed(0)
    made = Net()
    with T.no_grad():
        for p in made.parameters():
            p.copy_(T.arange(p.numel()).reshape(p.shape) * 0.1 + 0.1)
    return made


def x_of(T):
    return T.tensor([[1.0, 2.0], [3.0, -1.0], [0.5, 0.25]])


def held(module):
    """What the module holds, name by name, but for the buffer that every call replaces."""
    found = dict(module.named_parameters(remove_duplicate=False)) | {"plain": module.plain}
    found |= dict(module.named_buffers(remove_duplicate=False)) | vars(module.first)
    return [(name, value) for name, value in found.items() if name != "calls"]


def same(before, after):
    return all(a == b and x is y for (a, x), (b, y) in zip(before, after, strict=True))


def described(value):
    if isinstance(value, dict):
        return {name: described(t) for name, t in value.items()}
    if isinstance(value, tuple | list):
        return [described(v) for v in value]
    return value if value is None else [round(v, 4) for v in value.detach().reshape(-1).tolist()]


#: name -> what is given, from the library: the dict or dicts, and options of the call
CALLS = {
    "nothing": lambda T: ({}, {}),
    "a bias": lambda T: ({"first.bias": T.ones(2)}, {}),
    "a tied weight": lambda T: ({"first.weight": T.eye(2)}, {}),
    "by its other name": lambda T: ({"second.weight": T.eye(2)}, {}),
    "one of two that were tied": lambda T: ({"first.weight": T.eye(2)}, {"tie_weights": False}),
    "both": lambda T: ({"first.weight": T.eye(2), "second.weight": T.ones(2, 2)},
                       {"tie_weights": False}),
    "buffers": lambda T: ({"norm.running_mean": T.ones(2), "norm.num_batches_tracked": T.tensor(4),
                           "calls": T.tensor(7.0)}, {}),
    "an attribute": lambda T: ({"plain": T.zeros(2)}, {}),
    "a name that is not there": lambda T: ({"first.gain": T.zeros(2)}, {}),
    "None": lambda T: ({"first.bias": None}, {}),
    "two dicts": lambda T: (({"first.bias": T.ones(2)}, {"calls": T.tensor(3.0)}), {}),
    "a list of dicts": lambda T: ([{"first.bias": T.ones(2)}], {}),
    "kwargs": lambda T: ({"first.bias": T.ones(2)}, {"kwargs": {"scale": 3.0}}),
    "args": lambda T: ({"first.bias": T.ones(2)}, {"args": (x_of(T), 2.0)}),
    "all, strict": lambda T: ({n: t.detach() + 0 for n, t in (*net(T).named_parameters(),
                                                              *net(T).named_buffers())},
                              {"strict": True}),
}


@pytest.mark.parametrize("name", CALLS)
def test_calls(name):
    """The result, and the dict afterwards; the module holds what it held."""
    found = []
    for T in (nbgrad, torch):
        module = net(T)
        before = held(module)
        given, options = CALLS[name](T)
        y = T.func.functional_call(module, given, **{"args": x_of(T), **options})
        assert same(before, held(module))
        found.append([described(y), described(given)])
    assert found[0] == found[1]


@both
def test_gradients_reach_what_is_given(T):
    module = net(T)
    w = T.eye(2).requires_grad_()
    (T.func.functional_call(module, {"first.weight": w * 2}, x_of(T)) ** 2).sum().backward()
    assert w.grad is not None and module.first.weight.grad is None
    assert module.norm.weight.grad is not None


@both
def test_buffers_given_are_written_to(T):
    module = net(T)
    mean, calls = T.zeros(2), T.zeros(())
    given = {"norm.running_mean": mean, "calls": calls}
    T.func.functional_call(module, given, x_of(T))
    assert given["norm.running_mean"] is mean and mean.abs().sum().item() > 0
    assert given["calls"] is not calls and given["calls"].item() == 1 and calls.item() == 0
    assert module.norm.running_mean.tolist() == [0, 0] and module.calls.item() == 0


def failing(T):
    """Calls that fail: the class, and what was held before holds after."""
    w = T.eye(2)
    x = (x_of(T),)
    return {
        "in forward": (({"first.weight": w}, x, {"scale": 0}), {}),
        "too few arguments": (({"first.weight": w},), {}),
        "tied, unlike": (({"first.weight": w, "second.weight": T.ones(2, 2)}, x), {}),
        "unexpected": (({"first.weight": w, "third": w}, x), {"strict": True}),
        "missing": (({"first.weight": w}, x), {"strict": True}),
        "no tensor": (({"first.weight": w, "first.bias": [1, 2]}, x), {}),
        "no tensor there": (({"first.weight": w, "word": w}, x), {}),
        "a module": (({"first.weight": w, "norm": w}, x), {}),
        "no such module": (({"first.weight": w, "third.weight": w}, x), {}),
        "an empty name": (({"first.weight": w, "first.": w}, x), {}),
        "twice": ((({"first.weight": w}, {"first.weight": w}), x), {}),
        "no dicts": ((({"first.weight": w}, 3), x), {}),
        "a number": ((3, x), {}),
        "wrong shape": (({"first.weight": T.ones(5, 5)}, x), {}),
    }


@pytest.mark.parametrize("name", failing(nbgrad))
def test_errors_leave_everything_as_it_was(name):
    found = []
    for T in (nbgrad, torch):
        module = net(T)
        before = held(module)
        args, options = failing(T)[name]
        with pytest.raises(Exception) as caught:
            T.func.functional_call(module, *args, **options)
        assert same(before, held(module))
        found.append((caught.type, str(caught.value)[:40] if name != "wrong shape" else ""))
    assert found[0] == found[1]


@both
def test_same_tensor_for_tied_names(T):
    module, w = net(T), T.eye(2)
    y = T.func.functional_call(module, {"first.weight": w, "second.weight": w}, x_of(T))
    assert y.shape == (3, 2)


def test_a_module_known_by_two_names():
    """Its tensors are replaced twice, and restored."""
    shared = nbgrad.nn.Linear(2, 2)
    pair = nbgrad.nn.Sequential(shared, shared)
    held = shared.weight
    y = nbgrad.func.functional_call(pair, {"0.weight": nbgrad.eye(2), "0.bias": nbgrad.zeros(2)},
                                    x_of(nbgrad))
    assert y.tolist() == x_of(nbgrad).tolist() and shared.weight is held


def test_a_property_is_refused():
    class Doubled(nbgrad.nn.Linear):
        @property
        def gain(self):
            return self.weight * 2

    with pytest.raises(AttributeError, match="property 'gain' of 'Doubled' object"):
        nbgrad.func.functional_call(Doubled(2, 2), {"gain": nbgrad.eye(2)}, x_of(nbgrad))
