"""How gradients are added up and handed on: hooks, accumulation, aliasing, user functions."""

import pytest


def leaf(torch, *values):
    return torch.tensor(list(values) or [1.0, 2.0], requires_grad=True)


ERRORS = [
    ("list_of_lists", TypeError, "gradients can be either Tensors or None, but got list",
     lambda t, x: t.autograd.backward(x * 2, [[1.0, 1.0]])),
    ("list_of_numbers", TypeError, "gradients can be either Tensors or None, but got float",
     lambda t, x: (x * 2).backward([1.0, 1.0])),
    ("shape", RuntimeError,
     "Mismatch in shape: grad_output[0] has a shape of torch.Size([3]) and output[0] has a shape "
     "of torch.Size([2]).", lambda t, x: t.autograd.grad(x * 2, x, t.ones(3))),
    ("no_inputs", RuntimeError, "`inputs` argument to `backward()` cannot be empty.",
     lambda t, x: x.sum().backward(inputs=[])),
    ("plain_input", RuntimeError, "One of the differentiated Tensors does not require grad",
     lambda t, x: t.autograd.grad(x.sum(), t.ones(2))),
    ("two_names", RuntimeError,
     "`grad_tensors` and `grad_variables` (deprecated) arguments both passed to `backward()`. "
     "Please only use `grad_tensors`.",
     lambda t, x: t.autograd.backward(x.sum(), t.tensor(1.0), grad_variables=t.tensor(1.0))),
    ("retain_plain", RuntimeError, "can't retain_grad on Tensor that has requires_grad=False",
     lambda t, x: t.ones(1).retain_grad()),
    ("hook_on_plain", RuntimeError,
     "cannot register a hook on a tensor that doesn't require gradient",
     lambda t, x: t.ones(1).register_hook(lambda g: g)),
    ("post_hook_on_result", RuntimeError,
     "post accumulate grad hooks cannot be registered on non-leaf tensors",
     lambda t, x: (x * 2).register_post_accumulate_grad_hook(lambda p: None)),
    ("assigned_shape", RuntimeError,
     "attempting to assign a gradient of size '[3]' to a tensor of size '[2]'.",
     lambda t, x: setattr(x, "grad", t.ones(3))),
    ("assigned_type", TypeError,
     "assigned grad expected to be a Tensor or None but got grad of type int",
     lambda t, x: setattr(x, "grad", 1)),
    ("graph_not_created", RuntimeError,
     "element 0 of tensors does not require grad and does not have a grad_fn",
     lambda t, x: t.autograd.grad(x.exp().sum(), x)[0].sum().backward()),
]  # fmt: skip


@pytest.mark.filterwarnings("ignore:.*grad_variables.*:FutureWarning")
@pytest.mark.parametrize("kind, text, act", [c[1:] for c in ERRORS], ids=[c[0] for c in ERRORS])
def test_error(torch, raises, kind, text, act):
    with raises(kind, text):
        act(torch, leaf(torch))


# ---- hooks ----


def test_tensor_hooks_run_in_order_and_may_replace_the_gradient(torch, same):
    seen = []
    x = leaf(torch)
    y = x * 2
    y.register_hook(lambda g: seen.append(("first", g.tolist())))
    y.register_hook(lambda g: g * 10)
    y.register_hook(lambda g: seen.append(("third", g.tolist())))
    (y * 3).sum().backward()
    assert seen == [("first", [3, 3]), ("third", [30, 30])]
    same(x.grad, [60, 60])


def test_a_hook_sees_the_whole_sum_once(torch):
    seen = []
    x = leaf(torch, 1.0)
    y = x * 2
    y.register_hook(lambda g: seen.append(g.item()))
    (y * 3 + y * 4 + y.sum()).backward()
    assert seen == [8]


def test_a_removed_hook_is_silent(torch, same):
    x = leaf(torch)
    handle = x.register_hook(lambda g: g * 100)
    x.sum().backward()
    handle.remove()
    x.sum().backward()
    same(x.grad, [101, 101])


def test_a_hook_may_not_change_the_shape(torch):
    y = leaf(torch) * 1
    y.register_hook(lambda g: g[:1])
    with pytest.raises(RuntimeError, match="has changed the size of value"):
        y.sum().backward()


def test_retained_grad_is_taken_after_all_hooks(torch, same):
    y = leaf(torch) * 2
    y.register_hook(lambda g: g * 2)
    y.retain_grad()
    y.retain_grad()
    y.register_hook(lambda g: g * 5)
    assert y.retains_grad and y.grad is None
    y.sum().backward(retain_graph=True)
    same(y.grad, [10, 10])
    y.sum().backward()
    same(y.grad, [20, 20])


@pytest.mark.parametrize("retain", [True, False])
def test_inputs_that_are_no_leaves_add_up_their_grad(torch, same, retain):
    y = leaf(torch) * 1
    if retain:
        y.retain_grad()
    total = y.sum()
    for times in (1, 2):
        total.backward(inputs=[y], retain_graph=True)
        same(y.grad, [times, times])


def test_retain_grad_after_a_grad_was_set(torch, same):
    y = leaf(torch) * 2
    y.grad = torch.ones(2)
    assert not y.retains_grad
    z = y.clone()
    z.grad = torch.ones(2)
    z.mul_(2)
    y.retain_grad()
    (y * 3).sum().backward()
    same(y.grad, [4, 4])


def test_grad_fires_the_hooks_of_its_inputs(torch, same):
    x = leaf(torch)
    y = x * 3
    y.register_hook(lambda g: g + 1)
    x.register_hook(lambda g: g * 2)
    total = y.sum()
    same(torch.autograd.grad(total, y, retain_graph=True), [[2, 2]])
    same(torch.autograd.grad(total, x), [[12, 12]])
    assert x.grad is None


def test_post_accumulate_grad_hook(torch, same):
    x = leaf(torch)
    seen = []

    def step(p):
        assert p is x and not torch.is_grad_enabled()
        seen.append(p.grad.tolist())
        p.grad = None

    x.register_post_accumulate_grad_hook(step)
    (x * x + 3 * x).sum().backward()
    assert seen == [[5, 7]] and x.grad is None


def test_hooks_of_a_created_graph_are_differentiated(torch, same):
    x = leaf(torch, 3.0)
    y = x * x
    y.register_hook(lambda g: 2 * g * g)
    (gx,) = torch.autograd.grad(y * x, x, create_graph=True)
    same(gx, [2 * 9 * 6 + 9])  # hook(x) * 2x + y
    same(torch.autograd.grad(gx, x), [[12 * 9 + 2 * 6]])  # the hook runs again where y is reached


# ---- accumulation ----


def test_later_gradients_are_added_in_place(torch, same):
    x = leaf(torch)
    x.sum().backward()
    first = x.grad
    (x * x).sum().backward()
    assert x.grad is first and not first.requires_grad
    same(first, [3, 5])


def test_with_create_graph_a_new_object_is_made(torch, same):
    always = getattr(torch, "set_warn_always", lambda flag: None)
    always(True)
    x = leaf(torch)
    x.sum().backward()
    first = x.grad
    with pytest.warns(UserWarning, match="create_graph=True will create a reference cycle"):
        (x * x).sum().backward(create_graph=True)
    always(False)
    assert x.grad is not first and x.grad.requires_grad
    same([first, x.grad], [[1, 1], [3, 5]])
    x.grad = None


def test_retain_graph_follows_create_graph(torch, same):
    x = leaf(torch)
    y = (x**3).sum()
    torch.autograd.grad(y, x, create_graph=True)
    same(torch.autograd.grad(y, x), [[3, 12]])


def test_leaves_do_not_share_a_gradient(torch, same):
    x, y, given = leaf(torch), leaf(torch), torch.ones(2)
    (x + y).backward(given)
    x.grad.mul_(5)
    given.zero_()
    same([x.grad, y.grad, given], [[5, 5], [1, 1], [0, 0]])


def test_a_gradient_given_to_a_leaf_is_copied(torch, same):
    x, given = leaf(torch), torch.ones(2)
    x.backward(given)
    assert x.grad is not given
    given.zero_()
    same(x.grad, [1, 1])


def test_a_gradient_has_the_shape_and_dtype_of_its_leaf(torch, same):
    for shape, other in [((3, 1), (1, 4)), ((), (2, 3)), ((1,), (2, 3)), ((2, 1, 3), (5, 3))]:
        x = torch.ones(shape, requires_grad=True)
        y = torch.full(other, 2.0, dtype=torch.float64, requires_grad=True)
        out = x * y
        out.sum().backward()
        assert x.grad.shape == shape and y.grad.shape == other
        assert x.grad.dtype is torch.float32 and y.grad.dtype is torch.float64
        assert x.grad.sum().item() == 2 * out.numel()


def test_a_set_gradient_is_added_to(torch, same):
    x = leaf(torch)
    x.grad = torch.full((2,), 10.0)
    x.sum().backward()
    same(x.grad, [11, 11])


def test_undefined_gradients_are_zeros(torch, same):
    x = torch.tensor([[1.0, 2.0], [3.0, 4.0]], requires_grad=True)
    first, _ = x.unbind()
    values, _ = x.max(1)
    (first.sum() + values.sum()).backward()
    same(x.grad, [[1, 2], [0, 1]])


def test_a_diamond_is_walked_in_order(torch, same):
    """A node runs only when all its gradients have come, however long the paths."""
    x = leaf(torch, 2.0)
    a = x * x
    b = a
    for _ in range(20):
        b = b * 1
    (a * b).backward()
    same(x.grad, [32])


# ---- user functions ----


def functions(torch):
    class Cube(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x, scale=1):
            ctx.save_for_backward(x)
            ctx.scale = scale
            return scale * x**3

        @staticmethod
        def backward(ctx, gy):
            (x,) = ctx.saved_tensors
            return gy * 3 * ctx.scale * x * x, None

    class Product(torch.autograd.Function):
        needs = None

        @staticmethod
        def forward(ctx, x, y):
            ctx.save_for_backward(x, y)
            return x * y

        @staticmethod
        def backward(ctx, g):
            Product.needs = ctx.needs_input_grad
            x, y = ctx.saved_tensors
            return g * y, g * x

    class Split(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            rounded = x.round()
            ctx.mark_non_differentiable(rounded)
            return x * 2, x * 3, rounded

        @staticmethod
        def backward(ctx, g2, g3, g_rounded):
            assert g2 is not None and g3.tolist() == [0, 0] and g_rounded.tolist() == [0, 0]
            return g2 * 2 + g3 * 3

    class AddOne(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            ctx.mark_dirty(x)
            x.add_(1)
            return x

        @staticmethod
        def backward(ctx, g):
            return g * 7

    class Short(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x, y):
            return x * y

        @staticmethod
        def backward(ctx, g):
            return g[:1]

    class Cut(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x * 2

        @staticmethod
        def backward(ctx, g):
            return g[:0]

    return Cube, Product, Split, AddOne, Short, Cut


def test_function(torch, same):
    cube = functions(torch)[0]
    x = leaf(torch, 1.0, 2.0)
    y = cube.apply(x, 2)
    same(y, [2, 16])
    assert type(y.grad_fn).__name__ == "CubeBackward" and y.requires_grad
    assert str(cube.apply(leaf(torch, 1.0))).endswith("grad_fn=<CubeBackward>)")
    (first,) = torch.autograd.grad(y.sum(), x, create_graph=True)
    same(first, [6, 24])
    same(torch.autograd.grad(first.sum(), x), [[12, 24]])
    assert not cube.apply(torch.ones(2)).requires_grad


def test_function_knows_which_gradients_are_needed(torch, same):
    product = functions(torch)[1]
    x, y = leaf(torch), torch.tensor([3.0, 4.0])
    product.apply(x, y).sum().backward()
    assert tuple(product.needs) == (True, False)
    same([x.grad, y.grad], [[3, 4], None])


def test_function_with_outputs_that_have_no_gradient(torch, same):
    split = functions(torch)[2]
    x = leaf(torch, 1.25, 2.75)
    double, triple, rounded = split.apply(x)
    assert triple.requires_grad and not rounded.requires_grad and rounded.is_leaf
    double.sum().backward()
    same([x.grad, rounded], [[2, 2], [1, 3]])


def test_function_that_writes_to_its_input(torch, same):
    add_one = functions(torch)[3]
    x = leaf(torch)
    y = x * 1
    out = add_one.apply(y)
    assert out is y and y._version >= 1 and y.tolist() == [2, 3]
    y.sum().backward()
    same(x.grad, [7, 7])


def test_function_returning_the_wrong_gradients(torch, raises):
    *_, short, cut = functions(torch)
    x = leaf(torch)
    with raises(
        RuntimeError,
        "function ShortBackward returned an incorrect number of gradients (expected 2, got 1)",
    ):
        short.apply(x, x).sum().backward()
    with raises(
        RuntimeError,
        "Function CutBackward returned an invalid gradient at index 0 - got [0] but expected shape "
        "compatible with [2]",
    ):
        cut.apply(x).sum().backward()


def test_function_frees_what_it_saved(torch, raises):
    y = functions(torch)[0].apply(leaf(torch)).sum()
    y.backward()
    with raises(RuntimeError, "Trying to backward through the graph a second time"):
        y.backward()
