"""What everyday autograd code relies on: one numbered row a requirement, with its golden values."""

import gc
import importlib
import threading

import numpy as np
import pytest

# ---- a table: id, expression, what it must be ----

FACTS = [
    ("row_01_data_kinds", lambda t: [t.tensor(d).dtype for d in (3, 3.5, True, [1, 2.5], [])],
     lambda t: [t.int64, t.float32, t.bool, t.float32, t.float32]),
    ("row_01_numpy_keeps_dtype", lambda t: t.tensor(np.ones(2)).dtype, lambda t: t.float64),
    ("row_01_dtype", lambda t: t.tensor([1, 2], dtype=t.float64).tolist(), [1.0, 2.0]),
    ("row_01_nested", lambda t: t.tensor([[1.0, 2.0], [3.0, 4.0]]).tolist(), [[1, 2], [3, 4]]),
    ("row_01_device", lambda t: t.tensor(1.0, device="cpu").device.type, "cpu"),
    ("row_01_flag_default", lambda t: t.tensor([1.0]).requires_grad, False),
    ("row_01_flag", lambda t: t.tensor([1.0], requires_grad=True).requires_grad, True),
    ("row_02_like", lambda t: t.ones_like(t.tensor([[1, 2]])).tolist(), [[1, 1]]),
    ("row_02_like_keeps_dtype", lambda t: t.zeros_like(t.tensor([1])).dtype, lambda t: t.int64),
    ("row_02_randn_is_normal", lambda t: abs(t.randn(4000).mean().item()) < 0.1, True),
    ("row_02_rand_is_in_0_1", lambda t: 0 <= t.rand(500).min() <= t.rand(500).max() < 1, True),
    ("row_03_int", lambda t: t.IntTensor([1, 2]).dtype, lambda t: t.int32),
    ("row_03_float", lambda t: t.FloatTensor([1, 2]).dtype, lambda t: t.float32),
    ("row_03_tensor", lambda t: t.Tensor([[1, 2]]).dtype, lambda t: t.float32),
    ("row_03_sizes", lambda t: tuple(t.Tensor(2, 3).shape), (2, 3)),
    ("row_04_sum", lambda t: (t.IntTensor([1, 2]) + t.IntTensor([3, 4])).dtype, lambda t: t.int32),
    ("row_04_grad", lambda t: (t.IntTensor([1]) + t.IntTensor([3])).grad, None),
    ("row_04_grad_fn", lambda t: (t.IntTensor([1]) + t.IntTensor([3])).grad_fn, None),
    ("row_05_shape", lambda t: tuple((t.tensor(3.0) ** 2).shape), ()),
    ("row_05_item", lambda t: (t.tensor(3.0) ** 2).item(), 9.0),
    ("row_06_size_is_a_tuple", lambda t: t.ones(2, 3).size() == (2, 3), True),
    ("row_06_size_subclasses_tuple", lambda t: isinstance(t.ones(2).size(), tuple), True),
    ("row_06_size_of_axis", lambda t: (t.ones(2, 3).size(0), t.ones(2, 3).shape[-1]), (2, 3)),
    ("row_06_type", lambda t: type(t.ones(1)) is t.Tensor, True),
    ("row_06_float", lambda t: t.float is t.float32, True),
    ("row_06_device", lambda t: t.ones(1).device == t.device("cpu"), True),
    ("row_06_version", lambda t: isinstance(t.__version__, str), True),
    ("row_07_is_a_tensor", lambda t: isinstance(t.autograd.Variable(t.ones(1)), t.Tensor), True),
    ("row_07_both_ways", lambda t: isinstance(t.ones(1), t.autograd.Variable), True),
    ("row_07_default", lambda t: t.autograd.Variable(t.ones(1)).requires_grad, False),
    ("row_10_before", lambda t: t.ones(1, requires_grad=True).grad, None),
    ("row_14_user_made", lambda t: t.ones(1, requires_grad=True).grad_fn, None),
    ("row_17_method", lambda t: t.ones(1).requires_grad_().requires_grad, True),
    ("row_17_method_off",
     lambda t: t.ones(1, requires_grad=True).requires_grad_(False).requires_grad, False),
    ("row_18_any", lambda t: (t.ones(1) * t.ones(1, requires_grad=True)).requires_grad, True),
    ("row_18_none", lambda t: (t.ones(1) * t.ones(1)).requires_grad, False),
    ("row_19_plain", lambda t: t.ones(1).is_leaf, True),
    ("row_19_with_flag", lambda t: t.ones(1, requires_grad=True).is_leaf, True),
    ("row_19_result", lambda t: (t.ones(1, requires_grad=True) + 1).is_leaf, False),
    ("row_19_plain_result", lambda t: (t.ones(1) + 1).is_leaf, True),
    ("row_19_detached", lambda t: (t.ones(1, requires_grad=True) + 1).detach().is_leaf, True),
    ("row_21_view_at_creation", lambda t: t.ones(4, requires_grad=True).view(2, 2).is_leaf, False),
    ("row_21_to_dtype_at_creation", lambda t: t.ones(4, requires_grad=True).to(t.float64).is_leaf,
     False),
    ("row_21_same_device_is_itself", lambda t: (lambda x: x.to("cpu") is x)(t.ones(1)), True),
    ("row_34_flag", lambda t: (t.ones(1, requires_grad=True) * 2).detach().requires_grad, False),
    ("row_34_grad_fn", lambda t: (t.ones(1, requires_grad=True) * 2).detach().grad_fn, None),
    ("row_55_scalar_left", lambda t: (2 - t.tensor([1.0, 4.0])).tolist(), [1, -2]),
    ("row_55_scalar_divided", lambda t: (2 / t.tensor([1.0, 4.0])).tolist(), [2, 0.5]),
    ("row_55_scalar_power", lambda t: (2 ** t.tensor([1.0, 3.0])).tolist(), [2, 8]),
    ("row_55_broadcast", lambda t: (t.tensor([[1.0], [2.0]]) * t.tensor([3.0, 4.0])).tolist(),
     [[3, 4], [6, 8]]),
    ("row_55_mm", lambda t: t.mm(t.tensor([[1.0, 2.0]]), t.tensor([[3.0], [4.0]])).tolist(),
     [[11]]),
    ("row_55_relu", lambda t: t.nn.functional.relu(t.tensor([-1.0, 2.0])).tolist(), [0, 2]),
    ("row_55_view", lambda t: tuple(t.ones(2, 16, 5, 5).view(-1, 16 * 5 * 5).shape), (2, 400)),
]  # fmt: skip


@pytest.mark.parametrize("make, expected", [c[1:] for c in FACTS], ids=[c[0] for c in FACTS])
def test_fact(torch, make, expected):
    assert make(torch) == (expected(torch) if callable(expected) else expected)


PRINTED = [
    ("row_05", lambda t: t.tensor(1.0), "tensor(1.)"),
    ("row_06_size", lambda t: t.ones(2, 3).size(), "torch.Size([2, 3])"),
    ("row_06_empty_size", lambda t: t.tensor(1.0).size(), "torch.Size([])"),
    ("row_06_type", lambda t: type(t.ones(1)), "<class 'torch.Tensor'>"),
    ("row_06_dtype", lambda t: t.ones(1).dtype, "torch.float32"),
    ("row_06_device", lambda t: t.device("cpu"), "cpu"),
    ("row_06_device_repr", lambda t: repr(t.device("cuda:1")), "device(type='cuda', index=1)"),
    ("row_07", lambda t: t.autograd.Variable(t.ones(2), requires_grad=True),
     "tensor([1., 1.], requires_grad=True)"),
    ("row_56", lambda t: t.ones(2, 2, requires_grad=True),
     "tensor([[1., 1.],\n        [1., 1.]], requires_grad=True)"),
    ("row_57_sum", lambda t: t.ones(2, 2, requires_grad=True).sum(),
     "tensor(4., grad_fn=<SumBackward0>)"),
    ("row_57_mean", lambda t: (t.tensor([[1.0, 2.0], [3.0, 4.0]], requires_grad=True) ** 2).mean(),
     "tensor(7.5000, grad_fn=<MeanBackward0>)"),
    ("row_57_matrix", lambda t: t.ones(2, 2, requires_grad=True) + 2,
     "tensor([[3., 3.],\n        [3., 3.]], grad_fn=<AddBackward0>)"),
    ("row_58_int32", lambda t: t.IntTensor([2, 3, 4]), "tensor([2, 3, 4], dtype=torch.int32)"),
    ("row_58_int64", lambda t: t.tensor([2, 3, 4]), "tensor([2, 3, 4])"),
    ("row_58_double", lambda t: t.zeros(2, dtype=t.float64),
     "tensor([0., 0.], dtype=torch.float64)"),
    ("row_58_bool", lambda t: t.tensor([1.0, 2.0]) > 1, "tensor([False,  True])"),
    ("row_58_empty_int", lambda t: t.tensor([], dtype=t.int64), "tensor([], dtype=torch.int64)"),
    ("row_59", lambda t: t.tensor([20, 2, 0.1, 0.01]),
     "tensor([2.0000e+01, 2.0000e+00, 1.0000e-01, 1.0000e-02])"),
    ("row_60", lambda t: t.tensor([-104.8324, 3.5, 0.25, 27.125]).view(1, 2, 2, 1),
     "tensor([[[[-104.8324],\n          [   3.5000]],\n\n"
     "         [[   0.2500],\n          [  27.1250]]]])"),
    ("row_61", lambda t: f"z:{t.tensor(2.564429759979248)}", "z:2.564429759979248"),
    ("row_61_spec", lambda t: f"{t.tensor(2.5):.3f} {t.tensor(7):d}", "2.500 7"),
    ("row_61_matrix", lambda t: f"{t.tensor([1.0, 2.0])}", "tensor([1., 2.])"),
]  # fmt: skip


@pytest.mark.parametrize("make, text", [c[1:] for c in PRINTED], ids=[c[0] for c in PRINTED])
def test_printed(torch, words, make, text):
    assert words(make(torch)) == text


ERRORS = [
    ("row_04", RuntimeError,
     "element 0 of tensors does not require grad and does not have a grad_fn",
     lambda t: (t.IntTensor([1]) + t.IntTensor([2])).sum().backward()),
    ("row_04_flag", RuntimeError,
     "Only Tensors of floating point and complex dtype can require gradients",
     lambda t: t.tensor([1, 2], requires_grad=True)),
    ("row_24_shape", RuntimeError,
     "Mismatch in shape: grad_output[0] has a shape of torch.Size([3]) and output[0] has a shape "
     "of torch.Size([2]).",
     lambda t: (t.ones(2, requires_grad=True) * 2).backward(t.ones(3))),
    ("row_25", RuntimeError, "grad can be implicitly created only for scalar outputs",
     lambda t: (t.ones(2, requires_grad=True) * 2).backward()),
    ("row_26", RuntimeError,
     "element 0 of tensors does not require grad and does not have a grad_fn",
     lambda t: t.ones(2, requires_grad=True).sum().detach().backward()),
    ("row_28", RuntimeError,
     "Trying to backward through the graph a second time (or directly access saved tensors after "
     "they have already been freed). Saved intermediate values of the graph are freed when you "
     "call .backward() or autograd.grad(). Specify retain_graph=True if you need to backward "
     "through the graph a second time or if you need to access saved tensors after calling "
     "backward.",
     lambda t: (lambda y: (y.backward(), y.backward()))(t.ones(2, requires_grad=True).exp().sum())),
    ("row_70_parameters", TypeError,
     "SGD.__init__() got an unexpected keyword argument 'parameters'",
     lambda t: t.optim.SGD(parameters=[t.ones(1, requires_grad=True)], lr=0.1)),
    ("row_70_backend", AttributeError, "'Tensor' object has no attribute 'backend'",
     lambda t: t.ones(1, requires_grad=True).backend()),
]  # fmt: skip


@pytest.mark.parametrize("kind, text, make", [c[1:] for c in ERRORS], ids=[c[0] for c in ERRORS])
def test_error(torch, raises, kind, text, make):
    with raises(kind, text):
        make(torch)


# id, leaves, function, upstream (None: scalar), value, gradients of the leaves

GOLDEN = [
    ("row_05_square", [3.0], lambda t, x: x**2, None, 9, [6]),
    ("row_24_vjp", [[1.0, 2.0, 3.0]], lambda t, x: x * x, [1.0, 0.1, 0.01], [1, 4, 9],
     [[2, 0.4, 0.06]]),
    ("row_63", [[[1.0, 1.0], [1.0, 1.0]]], lambda t, x: (3 * (x + 2) ** 2).mean(), None, 27,
     [[[4.5, 4.5], [4.5, 4.5]]]),
    ("row_64", [[[2.0, 1.0]], [[1.0, 2.0], [3.0, 4.0]]], lambda t, x, y: t.mm(x, y), [[1.0, 0.0]],
     [[5, 8]], [[[1, 3]], [[2, 0], [1, 0]]]),
    ("row_65", [[[1.0, 2.0], [3.0, 4.0]]], lambda t, v: (v**2).mean(), None, 7.5,
     [[[0.5, 1], [1.5, 2]]]),
    ("row_66", [[1.0, 2.0, 3.0, 4.0]], lambda t, x: (2 * x).view(2, 2), [[2.0, 0.2], [0.01, 0.001]],
     [[2, 4], [6, 8]], [[4, 0.4, 0.02, 0.002]]),
    ("row_67_tracked", [1.0], lambda t, x: x**2 + x**3, None, 2, [5]),
    ("row_68", [[1.0, 1.0], [1.0, 1.0]], lambda t, x, y: x**2 + y**3, [1.0, 1.0], [2, 2],
     [[2, 2], [3, 3]]),
    ("row_69", [[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]], lambda t, x, w: (t.sigmoid(x) * w).sum(), None,
     13.043657,
     [[0.7864477, 0.5249679, 0.2710599], [0.7310586, 0.8807971, 0.9525741]]),
    ("row_55_scalars", [[1.0, 2.0]], lambda t, x: ((3 * x - 1) / (x + 1) + 2 / x).sum(), None,
     5.666667, [[-1, -0.0555556]]),
    ("row_55_broadcast", [[[1.0], [2.0]], [1.0, 2.0, 3.0]], lambda t, x, y: (x * y).sum(), None, 18,
     [[[6], [6]], [3, 3, 3]]),
]  # fmt: skip


@pytest.mark.parametrize(
    "leaves, function, upstream, value, grads", [c[1:] for c in GOLDEN], ids=[c[0] for c in GOLDEN]
)
def test_golden(torch, same, leaves, function, upstream, value, grads):
    leaves = [torch.tensor(leaf, requires_grad=True) for leaf in leaves]
    out = function(torch, *leaves)
    same(out, value)
    out.backward(None if upstream is None else torch.tensor(upstream))
    same([leaf.grad for leaf in leaves], grads)


# ---- stories ----


def leaf(torch, *values):
    return torch.tensor(list(values), requires_grad=True)


@pytest.mark.parametrize("maker", ["ones", "zeros", "rand", "randn", "empty"])
def test_row_02_sizes(torch, maker):
    make = getattr(torch, maker)
    for made in (make(2, 3), make((2, 3)), make([2, 3]), make(size=(2, 3))):
        assert made.shape == (2, 3) and made.dtype is torch.float32
    made = make((2, 3, 4), dtype=torch.float64, device="cpu", requires_grad=True)
    assert made.shape == (2, 3, 4) and made.dtype is torch.float64 and made.requires_grad


def test_row_07_variable_is_imported_from_autograd(torch):
    variable = importlib.import_module(f"{torch.__name__}.autograd").Variable
    assert str(variable(torch.ones(2))) == "tensor([1., 1.])"


def test_row_08_numpy_shares_the_memory(torch):
    x = torch.autograd.Variable(torch.zeros(2, 2), requires_grad=True)
    array = x.data.numpy()
    array[0, 1] = 7
    assert isinstance(array, np.ndarray) and x.tolist() == [[0, 7], [0, 0]]
    x.data[1, 0] = 5
    assert array[1, 0] == 5


def test_row_08_numpy_of_a_tensor_that_needs_grad(torch, raises):
    with raises(
        RuntimeError,
        "Can't call numpy() on Tensor that requires grad. Use tensor.detach().numpy() instead.",
    ):
        torch.ones(2, requires_grad=True).numpy()


def test_row_09_data_is_outside_the_graph(torch):
    y = leaf(torch, 1.0, 2.0) * 2
    assert not y.data.requires_grad and y.data.grad_fn is None and y.data.is_leaf
    assert y.data.data_ptr() == y.data_ptr()


def test_row_10_and_12_gradients_accumulate(torch, same):
    x = leaf(torch, 1.0, 1.0)
    for time in (1, 2, 3):
        (3 * x).sum().backward()
        same(x.grad, [3 * time, 3 * time])
    assert isinstance(x.grad, torch.Tensor) and x.grad.shape == x.shape


def test_row_11_grad_of_a_non_leaf_warns(torch, words):
    y = leaf(torch, 1.0) * 2
    text = (
        "The .grad attribute of a Tensor that is not a leaf Tensor is being accessed. Its .grad "
        "attribute won't be populated during autograd.backward(). If you indeed want the .grad "
        "field to be populated for a non-leaf Tensor, use .retain_grad() on the non-leaf Tensor. "
        "If you access the non-leaf Tensor by mistake, make sure you access the leaf Tensor "
        "instead."
    )
    with pytest.warns(UserWarning) as warned:
        assert y.grad is None
    assert words(warned[0].message).startswith(text)
    y.retain_grad()
    assert y.grad is None


def test_row_12_interleaved_powers(torch, same):
    x = leaf(torch, 2.0)
    (x * 3).backward()
    same(x.grad, [3])
    (x * 5).backward()
    same(x.grad, [8])


def test_row_13_grad_zero(torch, words):
    x = torch.ones(2, 2, requires_grad=True)
    x.sum().backward()
    grad = x.grad
    assert words(x.grad.zero_()) == "tensor([[0., 0.],\n        [0., 0.]])"
    assert x.grad is grad
    x.sum().backward()
    assert x.grad is grad and grad.tolist() == [[1, 1], [1, 1]]


NODES = {
    "Sigmoid": lambda t, x: x.sigmoid(),
    "Sum": lambda t, x: x.sum(),
    "Pow": lambda t, x: x**2,
    "Add": lambda t, x: x + 2,
    "Sub": lambda t, x: x - 2,
    "Mul": lambda t, x: x * 3,
    "Div": lambda t, x: x / 3,
    "Neg": lambda t, x: -x,
    "Exp": lambda t, x: x.exp(),
    "Log": lambda t, x: x.log(),
    "Mean": lambda t, x: x.mean(),
    "Mm": lambda t, x: t.mm(x, x),
    "View": lambda t, x: x.view(4),
    "Relu": lambda t, x: t.nn.functional.relu(x),
    "Clone": lambda t, x: x.clone(),
    "T": lambda t, x: x.t(),
    "Transpose": lambda t, x: x.transpose(0, 1),
    "Select": lambda t, x: x[0],
    "Slice": lambda t, x: x[:, 1:],
    "Cat": lambda t, x: t.cat([x, x]),
    "Stack": lambda t, x: t.stack([x, x]),
    "Unbind": lambda t, x: x.unbind()[0],
    "LogSoftmax": lambda t, x: x.log_softmax(1),
    "Softmax": lambda t, x: x.softmax(1),
}


@pytest.mark.parametrize("name", NODES)
def test_rows_14_15_62_grad_fn_is_named_after_the_op(torch, name):
    node = NODES[name](torch, torch.ones(2, 2, requires_grad=True)).grad_fn
    assert type(node).__name__ == node.name() == f"{name}Backward0"
    assert str(node).startswith(f"<{name}Backward0 object at 0x") and str(node).endswith(">")


def test_row_16_next_functions(torch):
    x = leaf(torch, 1.0)
    (accumulate, index), rest = (x + 2).grad_fn.next_functions
    assert str(accumulate).startswith("<AccumulateGrad object at 0x")
    assert (index, rest) == (0, (None, 0)) and accumulate.variable is x
    first, second = (x.exp() * x.sin()).grad_fn.next_functions
    assert (first[0].name(), second[0].name()) == ("ExpBackward0", "SinBackward0")
    assert first[0].next_functions == ((accumulate, 0),)


def test_row_17_flag_is_set_on_leaves_only(torch, raises):
    a = torch.ones(2)
    a.requires_grad = True
    assert a.requires_grad and a.is_leaf
    with raises(
        RuntimeError,
        "you can only change requires_grad flags of leaf variables. If you want to use a computed "
        "variable in a subgraph that doesn't require differentiation use var_no_grad = "
        "var.detach().",
    ):
        (a * 2).requires_grad = False


def test_row_20_a_result_of_untracked_ops_becomes_a_leaf(torch, same):
    a = torch.tensor([2.0, 3.0])
    a = (a * 3) / (a - 1)
    a.requires_grad = True
    out = (a * a).sum()
    assert a.is_leaf and out.grad_fn.name() == "SumBackward0"
    out.backward()
    same(a.grad, [12, 9])


def test_row_21_the_original_gets_the_gradient(torch, same):
    source = torch.ones(4, requires_grad=True)
    x = source.view(2, 2)
    x.sum().backward()
    with pytest.warns(UserWarning, match="not a leaf"):
        assert x.grad is None
    same(source.grad, [1, 1, 1, 1])


def test_row_22_control_flow_may_differ_each_step(torch, same):
    w = leaf(torch, 2.0)
    for step, expected in enumerate([1, 4, 12]):
        y = w
        for _ in range(step):
            y = y * w
        (grad,) = torch.autograd.grad(y, w)
        same(grad, [expected])


@pytest.mark.parametrize("shape", [(), (1,), (1, 1)], ids=str)
def test_row_23_one_element_needs_no_gradient(torch, shape):
    x = torch.full(shape, 3.0, requires_grad=True)
    (x * 2).backward()
    (x * 2).backward(torch.full(shape, 1.0))
    assert x.grad.item() == 4 and x.grad.shape == shape


def test_row_27_autograd_backward(torch, same):
    x, y = leaf(torch, 1.0, 2.0), leaf(torch, 3.0)
    torch.autograd.backward([(x * x), (y * 2)], grad_tensors=[torch.tensor([1.0, 10.0]), None])
    same([x.grad, y.grad], [[2, 40], [2]])
    torch.autograd.backward((y * 2).sum())
    same(y.grad, [4])


def test_row_27_backward_into_named_inputs_only(torch, same):
    x, y = leaf(torch, 2.0), leaf(torch, 3.0)
    torch.autograd.backward((x * y).sum(), inputs=[x])
    same([x.grad, y.grad], [[3], None])
    (x * y).backward(inputs=[y])
    same([x.grad, y.grad], [[3], [2]])


def test_row_27_grad_variables_is_a_deprecated_name(torch, same):
    x = leaf(torch, 1.0, 2.0)
    with pytest.warns(FutureWarning, match="`grad_variables` is deprecated"):
        torch.autograd.backward(x * x, grad_variables=torch.tensor([1.0, 1.0]))
    same(x.grad, [2, 4])


def test_row_28_retain_graph(torch, same):
    v = torch.tensor([[1.0, 2.0], [3.0, 4.0]], requires_grad=True)
    out = (v**2).mean()
    for _ in range(3):
        out.backward(retain_graph=True)
    same(v.grad, [[1.5, 3], [4.5, 6]])


def test_row_29_create_graph(torch, same):
    x = leaf(torch, 2.0)
    (first,) = torch.autograd.grad(x**4, x, create_graph=True)
    (second,) = torch.autograd.grad(first, x, create_graph=True)
    (third,) = torch.autograd.grad(second, x)
    same([first, second, third], [[32], [48], [48]])
    assert first.requires_grad and not third.requires_grad


def test_row_29_gradient_penalty(torch, same):
    x, w = leaf(torch, 1.0, 2.0), leaf(torch, 3.0, -1.0)
    (gx,) = torch.autograd.grad((w * x * x).sum(), x, create_graph=True)
    (gx**2).sum().backward()
    same(w.grad, [24, -32])


def test_row_30_grad_leaves_dot_grad_alone(torch, same):
    x, y = leaf(torch, 1.0, 2.0), leaf(torch, 3.0, 4.0)
    grads = torch.autograd.grad(x * y, [x, y], grad_outputs=torch.tensor([1.0, 10.0]))
    assert isinstance(grads, tuple)
    same(grads, [[3, 40], [1, 20]])
    assert x.grad is None and y.grad is None
    same(torch.autograd.grad([x.sum(), (2 * x).sum()], x), [[3, 3]])


def test_row_30_grad_of_an_intermediate(torch, same):
    x = leaf(torch, 3.0)
    y = x * x
    same(torch.autograd.grad((y * 5).sum(), [y, x]), [[5], [30]])


def test_row_31_only_inputs_warns(torch, same):
    x, y = leaf(torch, 1.0), leaf(torch, 2.0)
    with pytest.warns(FutureWarning, match="only_inputs argument is deprecated and is ignored now"):
        same(torch.autograd.grad(x * y, x, only_inputs=False), [[2]])
    assert y.grad is None


def test_row_32_unused_inputs(torch, same):
    x, other = leaf(torch, 1.0), leaf(torch, 1.0)
    with pytest.raises(RuntimeError, match="appears to not have been used in the graph"):
        torch.autograd.grad(x * 2, [x, other])
    same(torch.autograd.grad(x * 2, [x, other], allow_unused=True), [[2], None])


def test_row_33_grad_tensors_are_weights(torch, same):
    """v^T J with J written out: y = (x0 x1, x0 + x1)."""
    x = leaf(torch, 3.0, 5.0)
    y = torch.stack([x[0] * x[1], x[0] + x[1]])
    (vjp,) = torch.autograd.grad(y, x, grad_outputs=torch.tensor([2.0, 7.0]))
    same(vjp, [2 * 5 + 7, 2 * 3 + 7])


def test_row_35_a_change_of_the_detached_is_seen_in_its_source(torch):
    z = leaf(torch, 1.0, 2.0) * 2
    z_d = z.detach()
    z_d.zero_()
    assert z.data.tolist() == [0, 0] and z.requires_grad


def test_row_36_detach_in_place_cuts_the_history(torch):
    y = leaf(torch, 1.0) * 2
    assert y.detach_() is y
    assert y.is_leaf and y.grad_fn is None and not y.requires_grad


def test_row_37_detach_between_two_layers(torch):
    layer1, layer2 = torch.nn.Conv2d(3, 1, (3, 3)), torch.nn.Conv2d(1, 2, 2)
    layer2(layer1(torch.randn(1, 3, 6, 6)).detach()).sum().backward()
    assert layer1.weight.grad is None and layer1.bias.grad is None
    assert layer2.weight.grad.shape == (2, 1, 2, 2) and layer2.bias.grad.tolist() == [9, 9]


def test_row_38_data_bypasses_the_version(torch, same, words):
    x = torch.ones(1, requires_grad=True)
    y = 2 * x
    version = x._version
    x.data *= 100
    y.backward()
    assert words(x) == "tensor([100.], requires_grad=True)" and x._version == version
    same(x.grad, [2])


def test_row_38_a_saved_value_changed_through_data_goes_unnoticed(torch, same):
    x = torch.tensor([3.0], requires_grad=True)
    y = x**2
    x.data *= 100
    y.backward()
    same(x.grad, [600])


def test_row_39_in_place_methods(torch):
    x = torch.ones(2)
    alias = x
    x *= 3
    assert alias is x and x.mul_(2) is x and x.tolist() == [6, 6]
    assert x.zero_() is x and x.tolist() == [0, 0] and x._version == 3


def test_row_40_no_grad(torch):
    x = leaf(torch, 1.0)
    with torch.no_grad():
        assert not torch.is_grad_enabled()
        y = x * 2
    assert torch.is_grad_enabled()
    assert not y.requires_grad and y.grad_fn is None and y.is_leaf and x.requires_grad


def test_row_40_no_grad_as_decorator(torch):
    @torch.no_grad()
    def double(x):
        return x * 2

    assert not double(leaf(torch, 1.0)).requires_grad and double.__name__ == "double"
    with torch.no_grad(), torch.enable_grad():
        assert (leaf(torch, 1.0) * 2).requires_grad


def test_row_40_an_error_restores_grad_mode(torch):
    with pytest.raises(KeyError), torch.no_grad():
        raise KeyError
    assert torch.is_grad_enabled()


def test_row_40_grad_mode_is_of_the_thread(torch):
    seen = []
    with torch.no_grad():
        thread = threading.Thread(target=lambda: seen.append(torch.is_grad_enabled()))
        thread.start()
        thread.join()
    assert seen == [True]


def test_row_41_no_grad_does_not_touch_dropout_and_batch_norm(torch):
    drop, norm = torch.nn.Dropout(0.5), torch.nn.BatchNorm2d(2)
    with torch.no_grad():
        assert (drop(torch.ones(1000)) == 0).any()
        norm(torch.full((2, 2, 3, 3), 5.0))
    assert norm.running_mean.tolist() == [0.5, 0.5] and drop.training
    drop.eval()
    assert drop(torch.ones(3)).tolist() == [1, 1, 1]


def test_rows_42_67_gradient_flows_through_the_tracked_term(torch, same):
    x = torch.tensor(1.0, requires_grad=True)
    y1 = x**2
    with torch.no_grad():
        y2 = x**3
    y3 = y1 + y2
    assert y1.requires_grad and not y2.requires_grad and y3.requires_grad
    y3.backward()
    same([y3, x.grad], [2, 2])


def test_row_43_set_grad_enabled(torch):
    x = leaf(torch, 1.0)
    with torch.set_grad_enabled(False):
        assert not (x * 2).requires_grad
    assert (x * 2).requires_grad
    torch.set_grad_enabled(False)
    try:
        assert not (x * 2).requires_grad
    finally:
        torch.set_grad_enabled(True)
    assert (x * 2).requires_grad


def test_row_44_volatile_is_gone(torch):
    with pytest.warns(UserWarning, match="no_grad"):
        x = torch.autograd.Variable(torch.ones(1), volatile=True)
    assert not x.requires_grad


def test_row_45_eval_and_train(torch):
    model = torch.nn.Sequential(torch.nn.Dropout(0.5), torch.nn.BatchNorm2d(1))
    assert model.training and model.eval() is model
    assert [m.training for m in model.modules()] == [False] * 3
    x = torch.ones(1, 1, 4, 4)
    assert (model(x) - x).abs().max().item() < 1e-4
    assert model.train() is model and model[0].training
    assert not model.train(False)[1].training


def net(torch):
    nn = torch.nn

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv1 = nn.Conv2d(3, 6, 5)
            self.pool = nn.MaxPool2d(2, 2)
            self.fc = nn.Linear(6 * 2 * 2, 4)

        def forward(self, x):
            x = self.pool(nn.functional.relu(self.conv1(x)))
            return self.fc(x.view(-1, 6 * 2 * 2))

    return Net()


def test_rows_46_48_49_52_module(torch):
    model = net(torch)
    assert model(torch.randn(2, 3, 8, 8)).shape == (2, 4)
    assert [name for name, _ in model.named_children()] == ["conv1", "pool", "fc"]
    names = ["conv1.weight", "conv1.bias", "fc.weight", "fc.bias"]
    assert [name for name, _ in model.named_parameters()] == names
    assert [tuple(p.shape) for p in model.parameters()] == [(6, 3, 5, 5), (6,), (4, 24), (4,)]
    assert all(p.requires_grad and p.is_leaf for p in model.parameters())


def test_row_47_parameters_are_registered_on_assignment(torch, words):
    class Scale(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = torch.nn.Parameter(torch.ones(2))
            self.frozen = torch.nn.Parameter(torch.ones(1), requires_grad=False)
            self.plain = torch.ones(3)
            self.register_buffer("seen", torch.zeros(1))

    scale = Scale()
    assert [name for name, _ in scale.named_parameters()] == ["weight", "frozen"]
    assert isinstance(scale.weight, torch.Tensor) and scale.weight.requires_grad
    assert not scale.frozen.requires_grad
    assert list(scale.state_dict()) == ["weight", "frozen", "seen"]
    assert words(scale.weight) == "Parameter containing:\ntensor([1., 1.], requires_grad=True)"
    with pytest.raises(TypeError, match=r"cannot assign '.*' as parameter 'weight'"):
        scale.weight = torch.ones(2)


def test_rows_49_50_freezing(torch):
    model = net(torch)
    state = model.state_dict()
    assert list(state) == ["conv1.weight", "conv1.bias", "fc.weight", "fc.bias"]
    for _, value in state.items():
        assert not value.requires_grad
        value.requires_grad = False
    assert all(p.requires_grad for p in model.parameters())
    for name, p in model.named_parameters():
        p.requires_grad = not name.startswith("conv1")
    model(torch.randn(1, 3, 8, 8)).sum().backward()
    assert model.conv1.weight.grad is None and model.fc.weight.grad is not None


def test_row_51_a_new_head_on_a_frozen_body(torch):
    model = net(torch)
    for p in model.parameters():
        p.requires_grad = False
    model.fc = torch.nn.Linear(24, 2)
    assert [n for n, p in model.named_parameters() if p.requires_grad] == ["fc.weight", "fc.bias"]
    assert [name for name, _ in model.named_children()] == ["conv1", "pool", "fc"]
    features = model.conv1(torch.randn(1, 3, 8, 8))
    assert features.grad_fn is None
    before = model.conv1.weight.tolist()
    optimizer = torch.optim.SGD(filter(lambda p: p.requires_grad, model.parameters()), lr=0.1)
    model(torch.randn(2, 3, 8, 8)).sum().backward()
    optimizer.step()
    assert model.conv1.weight.tolist() == before


def test_row_53_resnet18():
    nbgrad = pytest.importorskip("nbgrad")
    model = nbgrad.models.resnet18()
    shapes = {name: tuple(value.shape) for name, value in model.state_dict().items()}
    assert len(shapes) == 122 and len(list(model.parameters())) == 62
    expected = {
        "conv1.weight": (64, 3, 7, 7),
        "bn1.running_mean": (64,),
        "bn1.num_batches_tracked": (),
        "layer1.0.conv1.weight": (64, 64, 3, 3),
        "layer2.0.downsample.0.weight": (128, 64, 1, 1),
        "layer2.0.downsample.1.running_var": (128,),
        "layer4.1.conv2.weight": (512, 512, 3, 3),
        "fc.weight": (1000, 512),
        "fc.bias": (1000,),
    }
    assert {name: shapes[name] for name in expected} == expected
    assert sum(p.numel() for p in model.parameters()) == 11_689_512


def test_row_54_sgd_takes_any_iterable(torch, same):
    model = net(torch)
    sgd = torch.optim.SGD
    sgd(model.parameters(), lr=0.1, momentum=0.9, weight_decay=1e-4, nesterov=True)
    sgd(model.fc.parameters(), lr=0.1)
    biases = sgd(filter(lambda p: p.ndim == 1, model.parameters()), 0.1)
    assert len(biases.param_groups[0]["params"]) == 2
    p = leaf(torch, 1.0, 2.0)
    optimizer = sgd([p], lr=0.5, momentum=0.9)
    for expected in ([0, 0], [-1.9, -3.8]):
        optimizer.zero_grad()
        (p.detach() * 0 + p).backward(torch.tensor([2.0, 4.0]))
        optimizer.step()
        same(p, expected)


def test_row_59_five_calls_print_in_scientific_mode(torch, words):
    x = torch.tensor([1.0, 2.0, 3.0, 4.0], requires_grad=True)
    for _ in range(5):
        (2 * x).view(2, 2).backward(torch.tensor([[2.0, 0.2], [0.01, 0.001]]))
    assert words(x.grad) == "tensor([2.0000e+01, 2.0000e+00, 1.0000e-01, 1.0000e-02])"


def test_row_60_four_dimensional_gradient(torch, words):
    layer = torch.nn.Conv2d(1, 1, 2, bias=False)
    x = torch.tensor([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0], [7.0, 8.0, 9.5]]).view(1, 1, 3, 3)
    layer(-x).sum().backward()
    assert words(layer.weight.grad) == (
        "tensor([[[[-12.0000, -16.0000],\n          [-24.0000, -28.5000]]]])"
    )


def test_row_70_farward_is_a_missing_forward(torch, raises):
    class Net(torch.nn.Module):
        def farward(self, x):
            return x

    with raises(NotImplementedError, 'Module [Net] is missing the required "forward" function'):
        Net()(torch.ones(1))


def test_row_70_a_grad_fn_means_requires_grad(torch):
    x = leaf(torch, 1.0)
    with torch.no_grad():
        made = [x * 2, x.detach(), x.data, x.view(1), x.clone()]
    for tensor in [*made, x, x * 2, x.view(1), (x * 2).detach(), torch.ones(1) * 2]:
        assert (tensor.grad_fn is None) or tensor.requires_grad
        assert tensor.is_leaf == (tensor.grad_fn is None)


def test_row_70_a_leaf_is_not_a_result(torch):
    a = leaf(torch, 1.0)
    b = a * 2
    assert a.is_leaf and not b.is_leaf
    del b
    gc.collect()
