"""Registration, names, modes, hooks, states and copies of modules."""

import copy
import pickle
from collections import OrderedDict

import pytest


def words(text):
    return str(text).replace("nbgrad", "torch")


def net(nn):
    """A net with a shared layer, a buffer that is saved and one that is not."""

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.body = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3))
            self.head = nn.Linear(3, 2, bias=False)
            self.again = self.head
            self.scale = nn.Parameter(self.head.weight.detach()[0].clone())
            self.register_buffer("kept", self.scale.detach().clone())
            self.register_buffer("passing", self.scale.detach().clone(), persistent=False)
            self.register_buffer("none", None)
            self.plain = self.scale.detach().clone()

        def forward(self, x):
            return self.head(self.body(x) * self.scale) + self.kept.sum()

    return Net()


def test_names(nn):
    model = net(nn)
    body = ["body.0.weight", "body.0.bias", "body.1.weight", "body.1.bias"]
    assert [n for n, _ in model.named_parameters()] == ["scale", *body, "head.weight"]
    assert [n for n, _ in model.named_parameters(recurse=False)] == ["scale"]
    assert [n for n, _ in model.named_parameters("a", remove_duplicate=False)] == [
        f"a.{n}" for n in ("scale", *body, "head.weight", "again.weight")]
    assert [n for n, _ in model.named_modules()] == ["", "body", "body.0", "body.1", "head"]
    assert [n for n, _ in model.named_modules(prefix="x", remove_duplicate=False)] == [
        "x", "x.body", "x.body.0", "x.body.1", "x.head", "x.again"]
    assert [n for n, _ in model.named_children()] == ["body", "head"]
    assert [type(m).__name__ for m in model.children()] == ["Sequential", "Linear"]
    stats = ["body.1.running_mean", "body.1.running_var", "body.1.num_batches_tracked"]
    assert [n for n, _ in model.named_buffers()] == ["kept", "passing", *stats]
    assert len(list(model.buffers(recurse=False))) == 2
    assert list(model.state_dict()) == ["scale", "kept", *body, *stats, "head.weight",
                                        "again.weight"]
    assert list(model.head.state_dict(prefix="x.")) == ["x.weight"]
    assert {"body", "scale", "kept", "forward"} <= set(dir(model))
    assert model.plain is model.__dict__["plain"]


def test_get(nn):
    model = net(nn)
    assert model.get_submodule("") is model and model.get_submodule("body.0") is model.body[0]
    assert model.get_parameter("body.1.bias") is model.body[1].bias
    assert model.get_buffer("body.1.running_mean") is model.body[1].running_mean
    for call, text in [
        (lambda: model.get_submodule("body.7"), "Sequential has no attribute `7`"),
        (lambda: model.get_submodule("scale"), "`scale` is not an nn.Module"),
        (lambda: model.get_parameter("body.1.running_mean"),
         "`running_mean` is not an nn.Parameter"),
        (lambda: model.get_buffer("scale"), "`scale` is not a buffer"),
    ]:
        with pytest.raises(AttributeError) as caught:
            call()
        assert str(caught.value) == text


def test_assignment(nn):
    model = net(nn)
    model.kept = model.plain
    assert model._buffers["kept"] is model.plain
    model.scale = None
    assert model.scale is None and "scale" not in model.state_dict()
    model.scale = nn.Parameter(model.plain)
    assert "scale" in model.state_dict()
    model.kept = nn.Parameter(model.plain)
    assert "kept" in dict(model.named_parameters()) and "kept" not in dict(model.named_buffers())
    model.plain = nn.Linear(1, 1)
    assert "plain" in dict(model.named_children())
    model.extra = nn.Buffer(model.kept.detach(), persistent=False)
    assert "extra" in dict(model.named_buffers()) and "extra" not in model.state_dict()
    del model.kept, model.plain, model.extra
    assert not hasattr(model, "kept") and not hasattr(model, "plain")
    model.number = 3
    assert model.number == 3
    del model.number


ERRORS = [
    (TypeError, "cannot assign 'torch.FloatTensor' as parameter 'scale'",
     lambda nn, m: setattr(m, "scale", m.plain)),
    (TypeError, "cannot assign 'int' as child module 'head'",
     lambda nn, m: setattr(m, "head", 3)),
    (TypeError, "cannot assign 'str' as buffer 'kept'", lambda nn, m: setattr(m, "kept", "a")),
    (TypeError, "cannot assign 'torch.FloatTensor' object to parameter 'a'",
     lambda nn, m: m.register_parameter("a", m.plain)),
    (TypeError, "cannot assign 'int' object to buffer 'a'",
     lambda nn, m: m.register_buffer("a", 1)),
    (TypeError, "int is not a Module subclass", lambda nn, m: m.add_module("a", 1)),
    (KeyError, "parameter name can't contain", lambda nn, m: m.register_parameter("a.b", None)),
    (KeyError, "module name can't be empty string", lambda nn, m: m.add_module("", m.head)),
    (KeyError, "attribute 'forward' already exists",
     lambda nn, m: m.register_buffer("forward", None)),
    (KeyError, "attribute 'plain' already exists", lambda nn, m: m.add_module("plain", m.head)),
    (AttributeError, "cannot assign parameters before Module.__init__() call",
     lambda nn, m: setattr(nn.Module.__new__(nn.Module), "a", m.scale)),
    (AttributeError, "cannot assign buffer before Module.__init__() call",
     lambda nn, m: nn.Module.__new__(nn.Module).register_buffer("a", None)),
    (ValueError, "training mode is expected to be boolean", lambda nn, m: m.train("yes")),
    (TypeError, "Expected state_dict to be dict-like", lambda nn, m: m.load_state_dict([])),
    (TypeError, "nn.Module.to only accepts floating point or complex dtypes",
     lambda nn, m: m.to(m.body[1].num_batches_tracked.dtype)),
    (IndexError, "index 2 is out of range", lambda nn, m: m.body[2]),
]  # fmt: skip


@pytest.mark.parametrize("kind, text, act", ERRORS, ids=[e[1] for e in ERRORS])
def test_error(nn, kind, text, act):
    with pytest.raises(kind) as caught:
        act(nn, net(nn))
    assert words(caught.value.args[0]).startswith(text)


def test_modes_reach_all_modules(nn):
    model = net(nn)
    assert model.eval() is model and not any(m.training for m in model.modules())
    assert model.train() is model and all(m.training for m in model.modules())
    assert model.requires_grad_(False) is model
    assert not any(p.requires_grad for p in model.parameters())


def test_apply_goes_from_the_leaves_up(nn):
    seen = []
    model = net(nn)
    assert model.apply(lambda m: seen.append(type(m).__name__)) is model
    assert seen == ["Linear", "BatchNorm1d", "Sequential", "Linear", "Net"]


def test_hooks(library, nn):
    layer, x, log = nn.Identity(), library.ones(2), []
    handles = [
        layer.register_forward_pre_hook(lambda m, args: log.append("pre")),
        layer.register_forward_pre_hook(lambda m, args: args[0] * 2),
        layer.register_forward_pre_hook(lambda m, args: log.append("first"), prepend=True),
        layer.register_forward_hook(lambda m, args, y: log.append("post")),
        layer.register_forward_hook(lambda m, args, y: y + args[0]),
        layer.register_forward_hook(lambda m, args, kwargs, y: log.append(kwargs),
                                    with_kwargs=True, prepend=True),
    ]
    assert layer(x).tolist() == [4, 4]
    assert log == ["first", "pre", {}, "post"]
    for handle in handles:
        handle.remove()
    assert layer(x) is x


def test_hooks_with_keywords_and_failures(library, nn):
    class Add(nn.Module):
        def forward(self, x, *, more=0):
            if more is None:
                raise ValueError("no more")
            return x + more

    layer, log = Add(), []
    layer.register_forward_pre_hook(lambda m, args, kwargs: (args, {"more": kwargs["more"]}),
                                    with_kwargs=True)
    layer.register_forward_hook(lambda m, args, y: log.append(y), always_call=True)
    assert layer(library.ones(1), more=2).tolist() == [3]
    with pytest.raises(ValueError, match="no more"):
        layer(library.ones(1), more=None)
    assert log[1] is None and len(log) == 2


def test_to_changes_floating_values_only(library, nn):
    model = net(nn)
    model(library.ones(2, 2)).sum().backward()
    parameters = list(model.parameters())
    assert model.double() is model
    assert all(p is q for p, q in zip(parameters, model.parameters(), strict=True))
    assert all(p.dtype is library.float64 and p.grad.dtype is library.float64 for p in parameters)
    assert model.body[1].running_mean.dtype is library.float64
    assert model.body[1].num_batches_tracked.dtype is library.int64
    assert model(library.ones(2, 2, dtype=library.float64)).dtype is library.float64
    assert model.to(library.ones(1)).scale.dtype is library.float32
    assert model.to("cpu", library.float64).scale.dtype is library.float64
    assert model.to(device="cpu", dtype=library.float32).scale.dtype is library.float32
    assert model.float().cpu() is model


def test_zero_grad(library, nn):
    model = net(nn)
    model(library.ones(3, 2)).sum().backward()
    kept = model.scale.grad
    model.zero_grad(set_to_none=False)
    assert model.scale.grad is kept and kept.tolist() == [0, 0, 0]
    model.zero_grad()
    assert all(p.grad is None for p in model.parameters())


def test_copies_are_independent_and_keep_what_is_shared(library, nn):
    model = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
    model.append(model[0])
    model[1](library.ones(3, 2))
    model[0].weight.requires_grad = False
    for twin in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert twin[0] is twin[2] and twin[0].weight is not model[0].weight
        assert isinstance(twin[0].weight, nn.Parameter) and not twin[0].weight.requires_grad
        assert {k: v.tolist() for k, v in twin.state_dict().items()} == {
            k: v.tolist() for k, v in model.state_dict().items()}
        with library.no_grad():
            twin[0].bias += 1
        assert twin[0].bias.tolist() != model[0].bias.tolist()
        twin.eval()
        assert model.training


def test_parameter(library, nn):
    data = library.ones(2)
    p = nn.Parameter(data)
    assert p.requires_grad and p.is_leaf and isinstance(p, library.Tensor)
    data.fill_(3)
    assert p.tolist() == [3, 3]
    assert words(p) == "Parameter containing:\ntensor([3., 3.], requires_grad=True)"
    assert nn.Parameter().shape == (0,)
    assert not nn.Parameter(library.tensor([1]), requires_grad=False).requires_grad
    assert type(p.data) is library.Tensor and type(p + 1) is library.Tensor
    assert type(copy.deepcopy(p)) is nn.Parameter
    version = p._version
    with library.no_grad():
        p.add_(1)
    assert p._version == version + 1 and data.tolist() == [4, 4]


def test_a_write_through_the_data_given_is_noticed(library, nn):
    data = library.ones(2)
    p = nn.Parameter(data)
    loss = (p * p).sum()
    data.zero_()
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


def test_sequential(library, nn):
    layers = [nn.Linear(1, 2), nn.ReLU(), nn.Linear(2, 3)]
    model = nn.Sequential(OrderedDict(a=layers[0], b=layers[1]))
    assert list(model.state_dict()) == ["a.weight", "a.bias"] and model.a is layers[0]
    model = nn.Sequential(*layers)
    assert len(model) == 3 and list(model) == layers and model[-1] is layers[2]
    assert isinstance(model[:2], nn.Sequential) and list(model[1:]) == layers[1:]
    assert model.append(nn.Tanh()) is model and list(model.state_dict())[-1] == "2.bias"
    model[1] = nn.Sigmoid()
    assert isinstance(model[1], nn.Sigmoid)
    del model[1]
    assert [n for n, _ in model.named_children()] == ["0", "1", "2"]
    assert list(model + nn.Sequential(nn.ReLU()))[:2] == [layers[0], layers[2]]
    model.insert(1, nn.ReLU())
    assert len(model) == 4 and isinstance(model[1], nn.ReLU)
    assert model.pop(-1).__class__.__name__ == "Tanh" and len(model) == 3
    assert model(library.ones(5, 1)).shape == (5, 3)


def test_module_list_and_dict(nn):
    modules = nn.ModuleList([nn.Linear(1, 1)])
    modules += [nn.ReLU()]
    modules.append(nn.Linear(1, 2))
    assert list(modules.state_dict()) == ["0.weight", "0.bias", "2.weight", "2.bias"]
    assert len(modules[1:]) == 2 and isinstance(modules[:1], nn.ModuleList)
    assert len(modules + [nn.ReLU()]) == 4
    with pytest.raises(NotImplementedError):
        modules(1)
    table = nn.ModuleDict({"a": nn.Linear(1, 1)})
    table["b"] = nn.ReLU()
    table.update({"c": nn.Tanh()})
    assert list(table) == list(table.keys()) == ["a", "b", "c"] and "b" in table
    assert [n for n, _ in table.items()] == ["a", "b", "c"] and len(list(table.values())) == 3
    assert isinstance(table.pop("b"), nn.ReLU) and len(table) == 2
    del table["c"]
    table.clear()
    assert len(table) == 0


def test_parameter_list(library, nn):
    values = nn.ParameterList([nn.Parameter(library.ones(2)), library.zeros(3)])
    assert list(values.state_dict()) == ["0", "1"] and len(values) == 2
    assert isinstance(values[1], nn.Parameter) and [len(p) for p in values] == [2, 3]
    values.append(nn.Parameter(library.ones(4)))
    assert len(values[2]) == 4
