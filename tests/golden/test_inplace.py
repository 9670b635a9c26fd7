"""Writing in place: what is allowed, what the version counter finds, how history is rebased."""

import gc
import inspect
import re
import warnings
import weakref

import pytest

MODIFIED = (
    "one of the variables needed for gradient computation has been modified by an inplace "
    "operation: [torch.{kind}Tensor {shape}]{source} is at version {now}; expected version {then} "
    "instead. Hint: enable anomaly detection to find the operation that failed to compute its "
    "gradient, with torch.autograd.set_detect_anomaly(True)."
)
MULTIPLE = (
    "Output 0 of {} is a view and is being modified inplace. This view is the output of a function "
    "that returns multiple views. Such functions do not allow the output views to be modified "
    "inplace. You should replace the inplace operation by an out-of-place one."
)
LEAF = "a leaf Variable that requires grad is being used in an in-place operation."


def modified(shape="[2]", now=1, then=0, node=None, kind="Float"):
    source = f", which is output 0 of {node}," if node else ""
    return MODIFIED.format(shape=shape, now=now, then=then, source=source, kind=kind)


def leaf(torch, *values):
    return torch.tensor(list(values) or [1.0, 2.0], requires_grad=True)


def inner(torch, *values):
    """A result that needs grad, whose own node has saved nothing."""
    return leaf(torch, *values) * 1


def setitem(x, key, value):
    x[key] = value


LEAF_WRITES = {
    "add_": (lambda x: x.add_(1), LEAF),
    "mul_": (lambda x: x.mul_(2), LEAF),
    "zero_": (lambda x: x.zero_(), LEAF),
    "fill_": (lambda x: x.fill_(3), LEAF),
    "exp_": (lambda x: x.exp_(), LEAF),
    "copy_": (lambda x: x.copy_(x.detach() * 2), LEAF),
    "setitem": (lambda x: setitem(x, 0, 5.0), "a view of " + LEAF),
    "view": (lambda x: x.view(2, 1).add_(1), "a view of " + LEAF),
    "select": (lambda x: x[0].mul_(3), "a view of " + LEAF),
}


@pytest.mark.parametrize("name", LEAF_WRITES)
def test_a_leaf_that_needs_grad_is_not_written(torch, raises, name):
    write, text = LEAF_WRITES[name]
    x = leaf(torch)
    with raises(RuntimeError, text):
        write(x)
    assert x.tolist() == [1, 2] and x._version == 0
    with torch.no_grad():
        write(x)
    assert x.tolist() != [1, 2] and x._version == 1 and x.is_leaf and x.requires_grad
    write(x.detach())
    assert x._version == 2


def test_a_plain_tensor_joins_the_graph_when_it_is_written_with_a_tracked_value(torch, same):
    w = leaf(torch)
    total, slots = torch.zeros(2), torch.zeros(3)
    total += w * 3
    slots[1:] = w
    slots[0] = w[1] * w[1]
    assert total.requires_grad and not total.is_leaf and slots.requires_grad
    (total.sum() + (slots * torch.tensor([1.0, 10.0, 100.0])).sum()).backward()
    same(w.grad, [13, 107])


# id, the write of y after z was made of it: does backward see it?

COUNTERS = {
    "in_place": (lambda t, x: x.mul_(2), 1),
    "augmented": (lambda t, x: x.__imul__(2), 1),
    "twice": (lambda t, x: x.mul_(2).add_(1), 2),
    "view": (lambda t, x: x.view(2, 1).mul_(2), 1),
    "select": (lambda t, x: x[1].zero_(), 1),
    "setitem": (lambda t, x: setitem(x, 0, 4.0), 1),
    "setitem_mask": (lambda t, x: setitem(x, x.detach() > 1, 4.0), 1),
    "narrow_of_transpose": (lambda t, x: x.view(1, 2).t().narrow(0, 0, 1).add_(1), 1),
    "detach": (lambda t, x: x.detach().mul_(2), 1),
    "detach_of_view": (lambda t, x: x.view(2, 1).detach().zero_(), 1),
    "view_of_detach": (lambda t, x: x.detach()[0].zero_(), 1),
    "no_grad": (lambda t, x: t.no_grad()(lambda: x.mul_(2))(), 1),
    "data": (lambda t, x: x.data.mul_(2), 0),
    "data_setitem": (lambda t, x: setitem(x.data, 0, 4.0), 0),
    "clone": (lambda t, x: x.clone().mul_(2), 0),
    "read": (lambda t, x: (x.detach(), x.view(2, 1), x[0].item(), x + 1), 0),
}


@pytest.mark.parametrize("name", COUNTERS)
def test_who_shares_the_version_counter(torch, raises, name):
    write, bumps = COUNTERS[name]
    x = inner(torch)
    z = (x.sin() + x.detach().cos()).sum()
    write(torch, x)
    assert x._version == bumps
    if not bumps:
        z.backward()
    else:
        with raises(RuntimeError, "one of the variables needed for gradient") as caught:
            z.backward()
        assert f" is at version {bumps}; expected version 0 instead." in str(caught.value)


def test_set_data_keeps_the_own_counter(torch):
    x, other = torch.ones(2), torch.zeros(2)
    x.mul_(2)
    x.data = other
    assert x._version == 1 and x.tolist() == [0, 0]
    other.add_(5)
    assert x._version == 1 and x.tolist() == [5, 5]


def test_views_show_one_version(torch):
    x = torch.zeros(2, 3)
    row, flat, apart = x[0], x.view(6), x.detach()
    row.add_(1)
    flat[3] = 2
    assert [v._version for v in (x, row, flat, apart)] == [2] * 4
    assert apart.tolist() == [[1, 1, 1], [2, 0, 0]]


# name: (writing the input is found, writing the output is found)

SAVED = {
    "exp": (False, True),
    "sigmoid": (False, True),
    "tanh": (False, True),
    "sqrt": (False, True),
    "tan": (False, True),
    "relu": (False, True),
    "reciprocal": (False, True),
    "rsqrt": (False, True),
    "sin": (True, False),
    "cos": (True, False),
    "abs": (True, False),
    "log": (True, False),
    "neg": (False, False),
    "clone": (False, False),
    "sum": (False, False),
    "mean": (False, False),
    "floor": (False, False),
    "pow(2)": (True, False),
    "clamp(0, 1.5)": (True, False),
    "norm()": (True, True),
    "softmax(0)": (False, True),
    "log_softmax(0)": (False, True),
    "add(3)": (False, False),
    "sub(3)": (False, False),
    "mul(3)": (False, False),
    "div(3)": (False, False),
    "view(2, 1)": (False, None),
    "unsqueeze(0)": (False, None),
    "expand(3, 2)": (False, None),
}


@pytest.mark.parametrize("call", SAVED)
def test_what_each_op_saves(torch, raises, call):
    """None: the output is a view, a write to it is recorded instead."""
    name, _, rest = call.partition("(")
    arguments = [float(a) if "." in a else int(a) for a in rest.rstrip(")").split(",") if a]
    for which, found in zip(("input", "output"), SAVED[call]):
        if found is None:
            continue
        x = inner(torch)
        y = getattr(x, name)(*arguments)
        loss = y.clone().sum()
        (x if which == "input" else y).mul_(2)
        if found:
            with raises(RuntimeError, "one of the variables needed for gradient computation"):
                loss.backward()
        else:
            loss.backward()


def test_version_message_of_an_output(torch, raises):
    y = torch.ones(2, 3, requires_grad=True).sigmoid()
    y.mul_(2)
    with raises(RuntimeError, modified("[2, 3]", node="SigmoidBackward0")):
        y.sum().backward()


def test_version_message_of_a_leaf(torch, raises):
    a, b = torch.ones(2, 3, requires_grad=True), torch.ones(2, 3, dtype=torch.float64)
    y = a * b
    b.add_(1).add_(1)
    with raises(RuntimeError, modified("[2, 3]", now=2, kind="Double")):
        y.sum().backward()


def test_version_message_counts_from_where_it_was_saved(torch, raises):
    y = inner(torch).add_(1).mul_(2)
    z = y.sin().sum()
    y.zero_()
    with raises(RuntimeError, modified(now=3, then=2, node="ZeroBackward0")):
        z.backward()


def test_version_message_of_a_view(torch, raises):
    base = torch.ones(3, 2)
    x = leaf(torch)
    z = (x * base[1]).sum()
    base[2].zero_()
    with raises(RuntimeError, modified("[2]")):
        z.backward()


def test_anomaly_mode_changes_the_hint(torch, raises):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with torch.autograd.detect_anomaly():
            y = leaf(torch).sigmoid()
            y.mul_(2)
            hint = (
                " Hint: the backtrace further above shows the operation that failed to compute its "
                "gradient. The variable in question was changed in there or anywhere later. "
                "Good luck!"
            )
            text = modified(node="SigmoidBackward0").split(" Hint:")[0] + hint
            with raises(RuntimeError, text):
                y.sum().backward()


def test_an_error_is_raised_at_backward_and_a_fresh_forward_is_fine(torch, same):
    w = leaf(torch)
    x = torch.ones(2)
    (x * w).sum().backward()
    x.mul_(3)
    (x * w).sum().backward()
    same(w.grad, [4, 4])


def test_mul_saves_an_operand_only_for_the_other(torch, raises):
    for left, right, written, found in [
        (True, False, 0, False),
        (True, False, 1, True),
        (False, True, 0, True),
        (False, True, 1, False),
        (True, True, 0, True),
        (True, True, 1, True),
    ]:
        for product in (torch.mul, torch.mm):
            operands = [
                (torch.eye(2, requires_grad=True) * 1) if needs else torch.eye(2)
                for needs in (left, right)
            ]
            loss = product(*operands).sum()
            operands[written].add_(1)
            if found:
                with raises(RuntimeError, "one of the variables needed"):
                    loss.backward()
            else:
                loss.backward()


@pytest.mark.parametrize("bias", [True, False])
def test_a_frozen_linear_weight_does_not_keep_its_input(torch, raises, bias):
    linear = torch.nn.Linear(2, 3, bias=bias)
    linear.weight.requires_grad_(False)
    x = torch.ones(4, 2, requires_grad=True) * 1
    loss = linear(x).sum()
    x.mul_(2)
    loss.backward()
    plain, trained = torch.ones(4, 2), torch.nn.Linear(2, 3, bias=bias)
    loss = trained(plain).sum()
    with torch.no_grad():
        trained.weight.mul_(2)
    loss.backward()
    loss = trained(plain).sum()
    plain.mul_(2)
    with raises(RuntimeError, modified("[4, 2]")):
        loss.backward()


def test_a_frozen_conv_weight_does_not_keep_its_input():
    torch = pytest.importorskip("nbgrad")
    conv = torch.nn.Conv2d(1, 2, 3)
    conv.weight.requires_grad_(False)
    x = torch.ones(1, 1, 5, 5, requires_grad=True) * 1
    loss = conv(x).sum()
    x.mul_(2)
    loss.backward()


def test_saved_tensors_are_checked_when_they_are_unpacked(torch):
    where = []

    class Square(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            ctx.save_for_backward(x)
            return x.detach() * x.detach()

        @staticmethod
        def backward(ctx, gy):
            with pytest.raises(RuntimeError, match="modified by an inplace operation"):
                where.append(ctx.saved_tensors)
            where.append("caught")
            return gy

    x = inner(torch)
    y = Square.apply(x)
    x.add_(1)
    y.sum().backward()
    assert where == ["caught"]


def test_saved_values_are_attributes_of_the_node(torch, raises):
    x = inner(torch)
    y = x.exp()
    assert y.grad_fn._saved_result.tolist() == y.tolist()
    y.mul_(2)
    node = x.sin().grad_fn
    assert node._saved_self.tolist() == x.tolist()
    x.mul_(2)
    with raises(RuntimeError, modified(node="MulBackward0")):
        _ = node._saved_self


def test_detached_in_place_while_saved(torch, raises):
    z = inner(torch)
    loss = z.sin().sum()
    z.detach_()
    with raises(
        RuntimeError,
        "Trying to use a saved tensor that has been detached in-place, i.e. with .detach_()."
        "This is not supported, please use out-of-place `.detach()` instead",
    ):
        loss.backward()


def test_graphs_that_save_nothing_may_be_walked_twice(torch, same):
    x = leaf(torch)
    total = (x.view(2, 1) + 1).sum()
    total.backward()
    total.backward()
    same(x.grad, [2, 2])


# ---- in-place ops have gradients ----

TWINS = {
    "add_": lambda x, w: x.add_(w),
    "sub_": lambda x, w: x.sub_(w),
    "mul_": lambda x, w: x.mul_(w),
    "div_": lambda x, w: x.div_(w),
    "neg_": lambda x, w: x.neg_(),
    "exp_": lambda x, w: x.exp_(),
    "log_": lambda x, w: x.log_(),
    "sin_": lambda x, w: x.sin_(),
    "abs_": lambda x, w: x.abs_(),
    "sqrt_": lambda x, w: x.sqrt_(),
    "tanh_": lambda x, w: x.tanh_(),
    "sigmoid_": lambda x, w: x.sigmoid_(),
    "relu_": lambda x, w: x.relu_(),
    "pow_": lambda x, w: x.pow_(3),
    "clamp_": lambda x, w: x.clamp_(0.2, 0.7),
}


@pytest.mark.parametrize("name", TWINS)
def test_in_place_ops_have_the_gradient_of_their_twin(torch, same, name):
    results = []
    for strip in ("_", ""):
        x, w = leaf(torch, 0.25, 0.5, 0.75), leaf(torch, 2.0, 3.0, 4.0)
        y = x * 1

        class Twin:
            def __getattr__(self, method, y=y, strip=strip):
                return getattr(y, method if strip else method.rstrip("_"))

        out = TWINS[name](Twin(), w)
        assert (out is y) == (strip == "_")
        gx, gw = torch.autograd.grad((out * out).sum(), [x, w], allow_unused=True)
        results.append([gx.tolist(), None if gw is None else gw.tolist()])
    same(results[0], results[1])


REBASED = {
    "setitem_number": (lambda y, w: setitem(y, 0, 9.0), [0, 1, 1], [0, 0]),
    "setitem_tracked": (lambda y, w: setitem(y, slice(1, None), w), [1, 0, 0], [1, 1]),
    "setitem_mask": (lambda y, w: setitem(y, y.detach() > 2.5, 9.0), [1, 1, 0], [0, 0]),
    "setitem_index": (lambda y, w: setitem(y, [2, 0], w), [0, 1, 0], [1, 1]),
    "view_mul": (lambda y, w: y[:2].mul_(w), [3, 4, 1], [1, 2]),
    "view_of_view": (lambda y, w: y.view(1, 3).t()[1:, 0].mul_(5), [1, 5, 5], [0, 0]),
    "view_add": (lambda y, w: y[1:].add_(w), [1, 1, 1], [1, 1]),
    "zero": (lambda y, w: y.zero_(), [0, 0, 0], [0, 0]),
    "zero_part": (lambda y, w: y[1].zero_(), [1, 0, 1], [0, 0]),
    "fill": (lambda y, w: y.fill_(3.0), [0, 0, 0], [0, 0]),
    "copy": (lambda y, w: y[1:].copy_(w), [1, 0, 0], [1, 1]),
    "broadcast": (lambda y, w: y.mul_(w[0]), [3, 3, 3], [6, 0]),
    "two_writes": (lambda y, w: (y[0].mul_(2), y.mul_(3), y[0].mul_(4)), [24, 3, 3], [0, 0]),
}


@pytest.mark.parametrize("name", REBASED)
def test_a_write_rewrites_history(torch, same, name):
    write, gx, gw = REBASED[name]
    x, w = leaf(torch, 1.0, 2.0, 3.0), leaf(torch, 3.0, 4.0)
    y = x * 1
    write(y, w)
    (y.sum() + 0 * w.sum()).backward()
    same([x.grad, w.grad], [gx, gw])


def test_other_views_notice_the_write(torch, same):
    x = leaf(torch, 1.0, 2.0, 3.0, 4.0)
    base = x * 1
    whole, last, first = base.view(2, 2), base[3], base[0]
    old = whole.grad_fn
    first.mul_(10)
    assert base.grad_fn.name().endswith("CopySlices")
    assert whole.grad_fn is not old and whole.tolist() == [[10, 2], [3, 4]]
    same(torch.autograd.grad(whole.sum(), x, retain_graph=True), [[10, 1, 1, 1]])
    same(torch.autograd.grad(first + last, x), [[10, 0, 0, 1]])


def test_results_made_before_the_write_keep_their_history(torch, same):
    x = leaf(torch, 1.0, 2.0)
    y = x * 2
    before = y + 1
    y.mul_(5)
    same(torch.autograd.grad(before.sum(), x, retain_graph=True), [[2, 2]])
    same(torch.autograd.grad(y.sum(), x), [[10, 10]])


def test_a_plain_base_joins_the_graph_through_its_view(torch, same):
    base, w = torch.zeros(2, 2), leaf(torch)
    row = base[1]
    row.copy_(w * w)
    assert base.requires_grad and row.requires_grad and not base.is_leaf
    base.sum().backward()
    same(w.grad, [2, 4])


def test_writing_a_value_into_its_own_product_is_found(torch, raises):
    y = inner(torch)
    y *= y
    with raises(RuntimeError, "one of the variables needed for gradient computation"):
        y.sum().backward()


FORBIDDEN = {
    "unbind": (lambda y: y.unbind()[0].mul_(2), MULTIPLE.format("UnbindBackward0")),
    "split": (lambda y: y.split(1)[0].zero_(), MULTIPLE.format("SplitBackward0")),
    "chunk": (lambda y: y.chunk(2)[0].add_(1), MULTIPLE.format("SplitBackward0")),
}


@pytest.mark.parametrize("name", FORBIDDEN)
def test_outputs_of_multi_view_ops_are_not_written(torch, raises, name):
    write, text = FORBIDDEN[name]
    y = inner(torch)
    with raises(RuntimeError, text):
        write(y)
    assert y.tolist() == [1, 2]
    write(torch.ones(2))


def test_a_view_made_under_no_grad_is_not_written_with_grad_mode_on(torch, raises):
    for base in (leaf(torch), inner(torch)):
        with torch.no_grad():
            view = base.view(2, 1)
        with raises(
            RuntimeError,
            "A view was created in no_grad mode and is being modified inplace with grad mode "
            "enabled. Given that this use case is ambiguous and error-prone, it is forbidden.",
        ):
            view.mul_(2)
        with torch.no_grad():
            view.mul_(2)
        assert base.tolist() == [2, 4]


def test_out_has_no_gradient(torch, raises):
    x = leaf(torch)
    with raises(
        RuntimeError,
        "add(): functions with out=... arguments don't support automatic differentiation, but one "
        "of the arguments requires grad.",
    ):
        torch.add(x, 1, out=torch.empty(2))
    out = torch.empty(2)
    assert torch.add(x.detach(), 1, out=out) is out and out.tolist() == [2, 3]


def test_flags_of_results_do_not_change(torch, raises):
    y = inner(torch)
    text = "you can only change requires_grad flags of leaf variables."
    for flag in (True, False):
        with raises(RuntimeError, text):
            y.requires_grad = flag
    with raises(RuntimeError, text):
        y.requires_grad_(False)
    assert y.requires_grad_() is y


def test_hooks_stay_with_the_value_they_were_put_on(torch, same):
    seen = []
    y = inner(torch)
    y.register_hook(lambda g: seen.append(g.tolist()))
    y.mul_(3)
    y.register_hook(lambda g: seen.append(g.tolist()))
    y.sum().backward()
    same(seen, [[1, 1], [3, 3]])


def test_retain_grad_follows_the_tensor(torch, same):
    y = inner(torch)
    y.retain_grad()
    y.mul_(3)
    y.sum().backward()
    same(y.grad, [1, 1])


def test_nothing_stays_alive(torch):
    """With the collector off, also when ops save their own output or input."""
    gc.collect()
    gc.disable()
    try:
        x = leaf(torch)
        y = x.exp()
        z = (y.sin() * y).tanh()
        z[0].mul_(2)
        loss = (z * z).sum()
        alive = [weakref.ref(t) for t in (y, z, loss)]
        del y, z, loss
        assert [ref() for ref in alive] == [None] * 3
        y = x.exp()
        node, alive = y.grad_fn, weakref.ref(y)
        del y
        assert alive() is None and node is not None
    finally:
        gc.enable()


def test_a_deep_graph_is_walked_and_freed(torch):
    x = leaf(torch, 1.0)
    y = x
    for _ in range(50_000):
        y = y + 1
    y.backward()
    assert x.grad.item() == 1
    del y


# ---- what nbgrad adds to the message: who wrote, and where ----


def line():
    """The line of the caller."""
    return inspect.currentframe().f_back.f_lineno


def add_one_elsewhere(y):
    y.add_(1)
    return line() - 1


class Blame:
    """Each method writes to `y` and returns the names the op may have and the line it is on."""

    def method(self, nb, y):
        y.mul_(2); at = line()  # noqa: E702  # fmt: skip
        return "mul_", at

    def augmented(self, nb, y):
        y += 1; at = line()  # noqa: E702  # fmt: skip
        return "add_", at

    def setitem(self, nb, y):
        y[0] = 5.0; at = line()  # noqa: E702  # fmt: skip
        return "__setitem__|setitem|index_put_|copy_|fill_", at

    def unary(self, nb, y):
        y.exp_(); at = line()  # noqa: E702  # fmt: skip
        return "exp_", at

    def zero(self, nb, y):
        y.zero_(); at = line()  # noqa: E702  # fmt: skip
        return "zero_", at

    def copy(self, nb, y):
        y.copy_(nb.zeros(2)); at = line()  # noqa: E702  # fmt: skip
        return "copy_", at

    def through_a_view(self, nb, y):
        view = y.view(2, 1)
        view[1:].sub_(1); at = line()  # noqa: E702  # fmt: skip
        return "sub_", at

    def through_detach(self, nb, y):
        apart = y.detach()
        apart.neg_(); at = line()  # noqa: E702  # fmt: skip
        return "neg_", at

    def under_no_grad(self, nb, y):
        with nb.no_grad():
            y.mul_(0); at = line()  # noqa: E702  # fmt: skip
        return "mul_", at

    def in_a_helper(self, nb, y):
        return "add_", add_one_elsewhere(y)

    def the_last_of_two(self, nb, y):
        y.mul_(3)
        y.add_(1); at = line()  # noqa: E702  # fmt: skip
        return "add_", at


@pytest.mark.parametrize("how", [name for name in vars(Blame) if name[0] != "_"])
@pytest.mark.parametrize("anomaly", [False, True], ids=["plain", "anomaly"])
def test_the_message_names_the_op_and_line_that_wrote(how, anomaly):
    nb = pytest.importorskip("nbgrad")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with nb.autograd.set_detect_anomaly(anomaly):
            y = leaf(nb) * 1
            loss = y.sin().sum(); saved = line()  # noqa: E702  # fmt: skip
            names, written = getattr(Blame(), how)(nb, y)
            with pytest.raises(RuntimeError) as caught:
                loss.backward()
    first, *rest = str(caught.value).split("\n")
    text = "one of the variables needed for gradient computation has been modified by an inplace"
    assert first.startswith(text)
    place = re.escape(f"{__file__}:{written}")
    assert any(re.search(rf"\b({names})(?!\w)", r) and re.search(place + r"\b", r) for r in rest)
    assert any(re.search(re.escape(f"{__file__}:{saved}") + r"\b", r) for r in rest) == anomaly


def test_the_message_blames_the_line_that_called_the_library():
    nb = pytest.importorskip("nbgrad")
    p, x = leaf(nb), leaf(nb)
    optimizer = nb.optim.SGD([p], lr=0.1)
    p.sum().backward()
    loss = (p * x).sum()
    optimizer.step(); written = line()  # noqa: E702  # fmt: skip
    with pytest.raises(RuntimeError) as caught:
        loss.backward()
    assert re.search(re.escape(f"{__file__}:{written}") + r"\b", str(caught.value))
