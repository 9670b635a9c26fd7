"""Hooks of modules: each script is run with PyTorch too, which must log the same."""

import copy
import gc
import weakref
from collections import namedtuple

import pytest

import nbgrad
from nbgrad.testing.scripts import logged

SCRIPTS = []


def script(function):
    SCRIPTS.append(function)
    return function


def leaf(torch, *values):
    return torch.tensor(values or (1.0, 2.0), requires_grad=True)


def mixed(torch):
    """Two tensors and a number in, two tensors out."""
    class Mixed(torch.nn.Module):
        def forward(self, x, y, k=3, *, sign=1):
            if sign is None:
                raise ValueError("no sign")
            return sign * (x * k + y), x * y

    return Mixed()


def stack(torch):
    class Scale(torch.nn.Module):
        def __init__(self, by):
            super().__init__()
            self.by = torch.nn.Parameter(torch.tensor([by]))

        def forward(self, x):
            return x * self.by

    return torch.nn.Sequential(Scale(2.0), torch.nn.Sequential(Scale(3.0), torch.nn.ReLU()))


# around forward


@script
def order_and_replacement(torch, log):
    module, x = mixed(torch), leaf(torch)
    module.register_forward_pre_hook(lambda m, args: log("pre", m, args))
    module.register_forward_pre_hook(lambda m, args: (args[0] * 2, *args[1:]))
    module.register_forward_pre_hook(lambda m, args: log("first", args), prepend=True)
    module.register_forward_hook(lambda m, args, out: log("post", args, out))
    module.register_forward_hook(lambda m, args, out: out[0])
    module.register_forward_hook(lambda m, args, out: log("last", out))
    module.register_forward_hook(lambda m, args, out: log("before", out), prepend=True)
    log(module(x, x, 4))


@script
def keywords(torch, log):
    module, x = mixed(torch), leaf(torch)
    module.register_forward_pre_hook(lambda m, args, kwargs: (args, kwargs | {"sign": -1}),
                                     with_kwargs=True)
    module.register_forward_pre_hook(lambda m, args, kwargs: log(args, kwargs), with_kwargs=True)
    module.register_forward_pre_hook(lambda m, args: log(args))
    module.register_forward_hook(lambda m, args, kwargs, out: log(kwargs, out), with_kwargs=True)
    log(module(x, x, k=1))


@script
def a_single_value_becomes_the_arguments(torch, log):
    module = torch.nn.Identity()
    module.register_forward_pre_hook(lambda m, args: args[0] + 1)
    log(module(leaf(torch)))


@script
def keyword_hooks_return_both(torch, log):
    module = torch.nn.Identity()
    module.register_forward_pre_hook(lambda m, args, kwargs: args, with_kwargs=True)
    module(leaf(torch))


@script
def always_called(torch, log):
    module, x = mixed(torch), leaf(torch)

    def broken(m, args, out):
        log("broken")
        raise KeyError("hook")

    module.register_forward_hook(lambda m, args, out: log("not called"))
    module.register_forward_hook(lambda m, args, out: log(args, out), always_call=True)
    module.register_forward_hook(broken, always_call=True)
    module.register_forward_hook(lambda m, args, kwargs, out: log(kwargs, out), always_call=True,
                                 with_kwargs=True)
    module(x, x, sign=None)


@script
def always_called_once(torch, log):
    module = torch.nn.Identity()

    def broken(m, args, out):
        raise KeyError("hook")

    module.register_forward_hook(lambda m, args, out: log("once"), always_call=True)
    module.register_forward_hook(broken)
    module.register_forward_hook(lambda m, args, out: log("not yet"), always_call=True)
    module(leaf(torch))


@script
def handles(torch, log):
    module, x = torch.nn.Identity(), leaf(torch)
    with module.register_forward_hook(lambda m, args, out: log("inside")) as handle:
        log(module(x) is x)
    log(module(x) is x)
    handle.remove()
    handles = [module.register_forward_pre_hook(lambda m, args: log("a")),
               module.register_forward_pre_hook(lambda m, args: log("b"))]
    handles[0].remove()
    module(x)
    module._forward_pre_hooks.clear()
    module(x)
    module._forward_hooks = {}
    log(len(module._backward_hooks))


@script
def a_hook_added_by_forward_or_by_a_hook(torch, log):
    class Adding(torch.nn.Module):
        def forward(self, x):
            self.register_forward_hook(lambda m, args, out: log("added"))
            return x

    module = Adding()
    module(leaf(torch))
    log("second")
    module(leaf(torch))
    with torch.nn.modules.module.register_module_forward_pre_hook(
            lambda m, args: m.register_forward_pre_hook(lambda m, args: log("own")) and None):
        torch.nn.Identity()(leaf(torch))


@script
def copies_keep_hooks(torch, log):
    module = torch.nn.Linear(1, 1)
    module.register_forward_hook(lambda m, args, out: log(m is module))
    module.register_full_backward_hook(lambda m, gx, gy: log(m is module))
    twin = copy.deepcopy(module)
    twin(torch.ones(1, 1, requires_grad=True)).sum().backward()
    twin._forward_hooks.clear()
    module(torch.ones(1, 1))


@script
def of_all_modules(torch, log):
    everywhere = torch.nn.modules.module
    model, x = stack(torch), leaf(torch)
    model[0].register_forward_pre_hook(lambda m, args: log("own pre"))
    model[0].register_forward_hook(lambda m, args, out: log("own"))
    model[0].register_full_backward_pre_hook(lambda m, gy: log("own back pre"))
    model[0].register_full_backward_hook(lambda m, gx, gy: log("own back"))
    handles = [
        everywhere.register_module_forward_pre_hook(lambda m, args: log("pre", m, args)),
        everywhere.register_module_forward_hook(lambda m, args, out: log("post", m, args, out)),
        everywhere.register_module_forward_hook(
            lambda m, args, kwargs, out: log(kwargs), with_kwargs=True, always_call=True),
        everywhere.register_module_full_backward_pre_hook(lambda m, gy: log("back pre", m, gy)),
        everywhere.register_module_full_backward_hook(lambda m, gx, gy: log("back", m, gx, gy)),
    ]
    try:
        model(x).sum().backward()
    finally:
        for handle in handles:
            handle.remove()
    log(x.grad)
    model(x).sum().backward()


# backward


def full(log, name="full"):
    return lambda m, gx, gy: log(name, m, gx, gy)


@script
def full_backward(torch, log):
    module, x, y = mixed(torch), leaf(torch), leaf(torch, 3.0, 4.0)
    module.register_full_backward_hook(full(log))
    module.register_full_backward_pre_hook(lambda m, gy: log("pre", gy))
    module.register_full_backward_hook(full(log, "first"), prepend=True)
    module.register_full_backward_pre_hook(lambda m, gy: log("first pre", gy), prepend=True)
    a, b = module(x, y, 5, sign=-1)
    (a.sum() + (b * b).sum()).backward()
    log(x.grad, y.grad)
    module(x, y)[1].sum().backward()
    module(x, y.detach())[0].sum().backward()
    log(x.grad, y.grad)


@script
def integers_among_the_inputs(torch, log):
    module, x = mixed(torch), leaf(torch)
    module.register_full_backward_hook(full(log))
    module(x, torch.tensor([1, 2]), 2)[0].sum().backward()


@script
def nested_modules(torch, log):
    model, x = stack(torch), leaf(torch)
    for module in model.modules():
        module.register_full_backward_hook(full(log))
        module.register_full_backward_pre_hook(lambda m, gy: log("pre", m, gy))
    model(x).sum().backward()
    log(x.grad, [p.grad for p in model.parameters()])


@script
def gradients_replaced(torch, log):
    module, x, y = mixed(torch), leaf(torch), leaf(torch)
    module.register_full_backward_pre_hook(lambda m, gy: (gy[0] * 10, None))
    module.register_full_backward_hook(lambda m, gx, gy: (gx[0] + 1, *gx[1:]))
    module.register_full_backward_hook(lambda m, gx, gy: [gx[0] * 2, None, None])
    module.register_full_backward_hook(full(log))
    a, b = module(x, y, 3)
    (a + b).sum().backward()
    log(x.grad, y.grad)


@script
def a_missing_gradient_replaced(torch, log):
    module, x = mixed(torch), leaf(torch)
    module.register_full_backward_pre_hook(lambda m, gy: (gy[0], gy[0]))
    module(x, x)[0].sum().backward()
    log(x.grad)


@script
def too_few_gradients(torch, log):
    module, x = mixed(torch), leaf(torch)
    module.register_full_backward_hook(lambda m, gx, gy: gx[:1])
    module(x, x)[0].sum().backward()


@script
def too_few_output_gradients(torch, log):
    module, x = mixed(torch), leaf(torch)
    module.register_full_backward_pre_hook(lambda m, gy: gy[:1])
    module(x, x)[0].sum().backward()


@script
def a_gradient_of_another_size(torch, log):
    module, x = mixed(torch), leaf(torch)
    module.register_full_backward_hook(lambda m, gx, gy: (torch.ones(3), *gx[1:]))
    module(x, x)[0].sum().backward()


@script
def a_gradient_of_another_dtype(torch, log):
    module, x = mixed(torch), leaf(torch)
    module.register_full_backward_pre_hook(lambda m, gy: (gy[0].double(), gy[1]))
    module(x, x)[0].sum().backward()


@script
def no_input_wants_a_gradient(torch, log):
    module = stack(torch)[0]
    module.register_full_backward_hook(full(log))
    module.register_full_backward_pre_hook(lambda m, gy: (gy[0] * 2,))
    module(torch.ones(2)).sum().backward()
    log(module.by.grad)
    module.register_full_backward_hook(lambda m, gx, gy: (gy[0],))
    module(torch.ones(2)).sum().backward()


@script
def nothing_wants_a_gradient(torch, log):
    module, x = torch.nn.Identity(), torch.ones(2)
    module.register_full_backward_hook(full(log))
    log(module(x) is x)
    with torch.no_grad():
        log(module(leaf(torch)).requires_grad)


@script
def inputs_in_keywords_are_not_seen(torch, log):
    module, x, y = mixed(torch), leaf(torch), leaf(torch)
    module.register_full_backward_hook(full(log))
    module(x, y=y)[1].sum().backward()
    log(x.grad, y.grad)


@script
def outputs_of_other_kinds(torch, log):
    class Other(torch.nn.Module):
        def forward(self, x, wrap):
            return wrap(x * 2)

    module, x = Other(), leaf(torch)
    module.register_full_backward_hook(full(log))
    log(module(x, lambda y: [y]))
    log(module(x, lambda y: {"a": y}))
    pair = namedtuple("pair", ["number", "tensor"])
    out = module(x, lambda y: pair(1, y))
    log(type(out) is pair, out.number)
    out.tensor.sum().backward()


@script
def twice_backward(torch, log):
    module, x = torch.nn.ReLU(), leaf(torch)
    module.register_full_backward_hook(full(log))
    y = module(x).sum()
    y.backward(retain_graph=True)
    y.backward()
    log(x.grad)
    (gx,) = torch.autograd.grad((module(x) ** 3).sum(), x, create_graph=True)
    log(gx)
    log(torch.autograd.grad(gx.sum(), x))


@script
def a_backward_that_comes_past_the_outputs(torch, log):
    class Cube(torch.nn.Module):
        def forward(self, x):
            return x * x * x

    module, x = Cube(), leaf(torch)
    module.register_full_backward_hook(full(log))
    module.register_full_backward_pre_hook(lambda m, gy: log("pre", gy))
    (gx,) = torch.autograd.grad(module(x).sum(), x, create_graph=True)
    gx.sum().backward()
    log(x.grad)


@script
def gradients_of_parameters_only(torch, log):
    module = stack(torch)[0]
    module.register_full_backward_hook(full(log))
    module.register_full_backward_pre_hook(lambda m, gy: log("pre", gy))
    log(torch.autograd.grad(module(leaf(torch)).sum(), module.by))


@script
def writes_in_place(torch, log):
    class Writing(torch.nn.Module):
        def forward(self, x):
            return x.mul_(2)

    for module in Writing(), torch.nn.Identity():
        module.register_full_backward_hook(full(log))
        try:
            module(leaf(torch) * 1).add_(1)
        except RuntimeError as error:
            log("is a view and is being modified inplace" in str(error))


@script
def older_backward_hooks(torch, log):
    class Product(torch.nn.Module):
        def forward(self, x, y):
            return x * y

    module, x, y = Product(), leaf(torch), leaf(torch, 3.0, 4.0)
    handle = module.register_backward_hook(lambda m, gx, gy: log(m, gx, gy) or (gx[0] * 2, gx[1]))
    module(x * 1, y * 1).sum().backward()
    log(x.grad, y.grad)
    module(x, y)
    handle.remove()
    module(x, y).sum().backward()


@script
def kinds_do_not_mix(torch, log):
    one, other = torch.nn.Identity(), torch.nn.Identity()
    one.register_backward_hook(full(log))
    other.register_full_backward_hook(full(log))
    for act in (lambda: one.register_full_backward_hook(full(log)),
                lambda: other.register_backward_hook(full(log))):
        try:
            act()
        except RuntimeError as error:
            log(str(error))


# states


@script
def state_dict_hooks(torch, log):
    model = stack(torch)
    for module in (model, model[0]):
        module.register_state_dict_pre_hook(
            lambda m, prefix, keep_vars: log("pre", m, prefix, keep_vars))
        module.register_state_dict_post_hook(
            lambda m, state, prefix, metadata: log("post", m, list(state), prefix, metadata))
    handle = model[0].register_state_dict_post_hook(
        lambda m, state, prefix, metadata: state.update({prefix + "more": torch.ones(1)}))
    log(dict(model.state_dict()))
    handle.remove()
    log(dict(model.state_dict(prefix="a.", keep_vars=True)))
    model._register_state_dict_hook(lambda m, state, prefix, metadata: {"only": 1})
    log(model.state_dict())
    model.register_state_dict_post_hook(lambda m, state, prefix, metadata: state)
    model.state_dict()


@script
def load_state_dict_pre_hooks(torch, log):
    model = stack(torch)

    def rename(module, state, prefix, metadata, strict, missing, unexpected, errors):
        log(module, list(state), prefix, metadata.get("version"), strict, missing, unexpected, errors)
        state[prefix + "by"] = state.pop(prefix + "old")

    model[1][0].register_load_state_dict_pre_hook(rename)
    model._register_load_state_dict_pre_hook(lambda state, prefix, *rest: log(list(state), prefix))
    state = model.state_dict()
    state["1.0.old"] = state.pop("1.0.by") * 7
    given = dict(state)
    log(str(model.load_state_dict(state)), model[1][0].by)
    model.register_load_state_dict_pre_hook(lambda m, state, *rest: state.pop("unknown", None))
    state["unknown"] = 1
    model.load_state_dict(state)
    log(list(state) == [*given, "unknown"])
    model[0]._register_load_state_dict_pre_hook(
        lambda m, state, prefix, *rest: rest[-1].append("refused"), with_module=True)
    model.load_state_dict(state)


@script
def load_state_dict_post_hooks(torch, log):
    model = stack(torch)
    for module in (model[1][0], model):
        module.register_load_state_dict_post_hook(
            lambda m, keys: log(m, keys.missing_keys, keys.unexpected_keys))
    state = {"0.by": torch.ones(1), "0.unknown": torch.ones(1), "2.by": torch.ones(1)}
    log(*model.load_state_dict(state, strict=False))
    try:
        model.load_state_dict(state)
    except RuntimeError as error:
        log(str(error))
    model.register_load_state_dict_post_hook(
        lambda m, keys: keys.missing_keys.clear() or keys.unexpected_keys.clear())
    log(str(model.load_state_dict(state)))
    model.register_load_state_dict_post_hook(lambda m, keys: keys)
    model.load_state_dict(state)


@script
def extra_state(torch, log):
    class Counting(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.calls = 0

        def get_extra_state(self):
            return {"calls": self.calls}

        def set_extra_state(self, state):
            self.calls = state["calls"]

    model, twin = torch.nn.Sequential(Counting()), torch.nn.Sequential(Counting())
    model[0].calls = 5
    log(dict(model.state_dict()))
    log(str(twin.load_state_dict(model.state_dict())), twin[0].calls)
    log(*twin.load_state_dict({}, strict=False))
    log(*torch.nn.Sequential(torch.nn.ReLU()).load_state_dict(model.state_dict(), strict=False))
    twin.load_state_dict({"_extra_state": 1})


@script
def unexpected_keys(torch, log):
    class Odd(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.none = None
            self.register_module("empty", None)
            self.register_parameter("nothing", None)
            self.register_buffer("passing", torch.ones(1), persistent=False)
            self.register_buffer("number", torch.tensor(1.0))

    state = {"empty.weight": 1, "nothing": 1, "passing": 1, "number": torch.tensor([2.0]), "x.y": 1}
    module = Odd()
    log(*module.load_state_dict(state, strict=False), module.number)


# the rest of what a module can do


@script
def submodules_set(torch, log):
    model = stack(torch)
    model.set_submodule("1.1", torch.nn.Tanh())
    model.set_submodule("1.new", torch.nn.Tanh())
    log(str(model[1]).count("Tanh"))
    for act in (lambda: model.set_submodule("", torch.nn.Tanh()),
                lambda: model.set_submodule("0", 3),
                lambda: model.set_submodule("1.2", torch.nn.Tanh(), strict=True),
                lambda: model.set_submodule("0.by", torch.nn.Tanh()),
                lambda: model.set_submodule("7.a", torch.nn.Tanh())):
        try:
            act()
        except (AttributeError, ValueError) as error:
            log(type(error).__name__, str(error))


@script
def dtypes(torch, log):
    norm = torch.nn.BatchNorm1d(2)
    for change in (lambda: norm.half(), lambda: norm.bfloat16(), lambda: norm.type(torch.float64),
                   lambda: norm.type("torch.FloatTensor"), lambda: norm.float()):
        log(change() is norm, [str(v.dtype) for v in norm.state_dict().values()])
    norm.type(torch.int64)


@script
def empty_memory(torch, log):
    model = stack(torch)
    old = list(model.parameters())
    pointers = [p.data_ptr() for p in old]
    log(model.to_empty(device="cpu") is model, [p.shape for p in model.parameters()])
    log([p is q for p, q in zip(old, model.parameters())],
        [p.data_ptr() == q for p, q in zip(old, pointers)], [p.requires_grad for p in old])
    pointers = [p.data_ptr() for p in old]
    model.to_empty(device="cpu", recurse=False)
    log([p.data_ptr() == q for p, q in zip(old, pointers)])


@script
def overridden_apply(torch, log):
    class Watching(torch.nn.Module):
        def _apply(self, fn):
            log("moved")
            return super()._apply(fn)

    torch.nn.Sequential(torch.nn.Sequential(Watching())).double()


@pytest.mark.parametrize("run", SCRIPTS, ids=lambda f: f.__name__)
def test_script(run):
    torch = pytest.importorskip("torch")
    assert logged(run, nbgrad) == logged(run, torch)


def test_without_hooks_a_call_looks_at_one_attribute():
    module = nbgrad.nn.Identity()
    handle = nbgrad.nn.modules.module.register_module_forward_hook(lambda m, args, out: None)
    handle.remove()
    assert module._hooks is None
    module.register_forward_hook(lambda m, args, out: None).remove()
    assert not module._hooks


def test_hooks_keep_nothing_alive():
    module, x = nbgrad.nn.ReLU(), nbgrad.ones(2, requires_grad=True)
    module.register_full_backward_hook(lambda m, gx, gy: None)
    y = module(x * 2)
    node = weakref.ref(y.grad_fn)
    gc.disable()
    try:
        y.sum().backward()
        del y
        assert node() is None
    finally:
        gc.enable()


def test_memory_is_not_shared_with_processes():
    with pytest.raises(NotImplementedError, match="shares no tensors between processes"):
        nbgrad.nn.Linear(1, 1).share_memory()
