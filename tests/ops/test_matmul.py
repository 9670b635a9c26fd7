"""Matrix products against torch."""

import numpy as np
import pytest

N = np.random.default_rng(0).standard_normal

PRODUCTS = [
    ("mm", (2, 3), (3, 4)), ("mm", (1, 1), (1, 1)), ("mm", (63, 17), (17, 5)),
    ("mm", (0, 3), (3, 2)),
    ("mm", (2, 0), (0, 3)), ("bmm", (3, 2, 4), (3, 4, 5)), ("bmm", (1, 1, 3), (1, 3, 1)),
    ("bmm", (0, 2, 3), (0, 3, 2)), ("mv", (4, 3), (3,)), ("mv", (1, 7), (7,)), ("dot", (5,), (5,)),
    ("dot", (0,), (0,)), ("outer", (3,), (4,)), ("inner", (2, 3, 4), (5, 4)),
    ("inner", (4,), (2, 4)),
    ("inner", (4,), (4,)), ("matmul", (3,), (3,)), ("matmul", (2, 3), (3,)),
    ("matmul", (3,), (3, 4)),
    ("matmul", (2, 3), (3, 4)), ("matmul", (5, 2, 3), (3,)), ("matmul", (5, 2, 3), (3, 4)),
    ("matmul", (3,), (5, 3, 4)), ("matmul", (2, 3), (5, 3, 4)), ("matmul", (5, 2, 3), (5, 3, 4)),
    ("matmul", (5, 1, 2, 3), (6, 3, 4)), ("matmul", (1, 2, 3), (7, 3, 1)),
    ("matmul", (2, 1, 63, 5), (1, 3, 5, 33)), ("linear", (2, 3), (4, 3)),
    ("linear", (2, 5, 3), (4, 3)),
    ("linear", (3,), (4, 3)), ("linear", (5, 3), (3,)), ("linear", (0, 3), (4, 3)),
]
ADDED = [
    ("addmm", (4,), (2, 3), (3, 4)), ("addmm", (2, 4), (2, 3), (3, 4)),
    ("addmm", (1,), (2, 3), (3, 4)),
    ("addmm", (2, 1), (2, 3), (3, 4)), ("addmv", (2,), (2, 3), (3,)), ("addmv", (1,), (2, 3), (3,)),
    ("baddbmm", (4, 2, 5), (4, 2, 3), (4, 3, 5)), ("baddbmm", (5,), (4, 2, 3), (4, 3, 5)),
    ("addbmm", (2, 5), (4, 2, 3), (4, 3, 5)), ("addr", (2, 3), (2,), (3,)),
]


@pytest.mark.parametrize("name, a, b", PRODUCTS, ids=str)
def test_product(same, name, a, b):
    same(lambda lib, x, y: getattr(lib, name)(x, y), N(a), N(b))


@pytest.mark.parametrize("name, a, b", [p for p in PRODUCTS if len(p[1]) > 1 and len(p[2]) > 1],
                         ids=str)
def test_strides(same, name, a, b):
    """Transposed and sliced operands."""
    flipped = N((*a[:-2], a[-1], a[-2])).swapaxes(-1, -2)
    sliced = N((*b[:-1], 2 * b[-1]))[..., ::2]
    same(lambda lib, x, y: getattr(lib, name)(x, y), flipped, sliced)


@pytest.mark.parametrize("text", [
    "x @ y[:, 2]", "x.T @ y[1, :3]", "y[:, 2] @ x.T", "y[1, :3] @ x", "y[:, 1] @ y[:, 3]",
    "y[:, 1] @ y[:, 1]", "x @ y[0, 0].expand(7)", "y[0, 0].expand(3) @ x", "x[:, ::2] @ y[:4, 0]",
    "y[::2, 0] @ x[:, :4].T.contiguous()", "x[:1] @ y[:, 2:3]", "x[:1, ::3] @ y[::3].T[:, :3].T",
])
def test_vectors_with_gaps(same, text):
    same(lambda lib, x, y: eval(text, {"x": x, "y": y}), N((3, 7)), N((7, 5)))


def test_known_layouts_are_checked_for_every_function(same_error):
    """A product of tensors that was right lets no other function skip its checks."""
    def call(lib):
        a, b = lib.zeros(2, 2, 3, 4), lib.zeros(2, 2, 4, 3)
        assert (a @ b).shape == (2, 2, 3, 3)
        return lib.bmm(a, b)

    same_error(call)


@pytest.mark.parametrize("name, c, a, b", ADDED, ids=str)
@pytest.mark.parametrize("beta, alpha", [(1, 1), (0.5, -2.0), (0, 1)])
def test_added_product(same, name, c, a, b, beta, alpha):
    same(lambda lib, x, y, z: getattr(lib, name)(x, y, z, beta=beta, alpha=alpha), N(c), N(a), N(b))


@pytest.mark.parametrize("x", [(2, 3), (2, 5, 3), (3,), (0, 3)], ids=str)
def test_linear_with_bias(same, x):
    same(lambda lib, x, w, b: lib.linear(x, w, b), N(x), N((4, 3)), N(4))


@pytest.mark.parametrize("dtype", [np.int64, np.int32, np.uint8])
@pytest.mark.parametrize("name, a, b", [("mm", (2, 3), (3, 4)), ("matmul", (5, 2, 3), (3,)),
                                        ("dot", (3,), (3,)), ("bmm", (2, 2, 3), (2, 3, 2))])
def test_integers(same, name, a, b, dtype):
    draw = np.random.default_rng(0).integers
    x, y = draw(0, 9, a).astype(dtype), draw(0, 9, b).astype(dtype)
    same(lambda lib, x, y: getattr(lib, name)(x, y), x, y)


@pytest.mark.parametrize("name, a, b", [("mm", (2, 3), (3, 4)), ("bmm", (2, 2, 3), (2, 3, 2)),
                                        ("mv", (2, 3), (3,)), ("dot", (3,), (3,)),
                                        ("linear", (2, 3), (4, 3))])
def test_only_what_is_needed_is_saved(saved, name, a, b):
    def call(lib, x, y):
        return getattr(lib, name)(x, y)

    assert saved(call, N(a), N(b), grad=[0]) == [b]
    assert saved(call, N(a), N(b), grad=[1]) == [a]
    assert sorted(saved(call, N(a), N(b))) == sorted([a, b])


def test_linear_saves_nothing_of_x_under_a_frozen_weight(saved):
    def call(lib, x, w, b):
        return lib.linear(x, w, b)

    assert saved(call, N((2, 3)), N((4, 3)), N(4), grad=[0]) == [(4, 3)]
    assert saved(call, N((2, 3)), N((4, 3)), N(4), grad=[2]) == []


@pytest.mark.parametrize("name, shapes, node", [
    ("mm", [(2, 3), (3, 4)], "MmBackward0"), ("bmm", [(1, 2, 3), (1, 3, 4)], "BmmBackward0"),
    ("mv", [(2, 3), (3,)], "MvBackward0"), ("dot", [(3,), (3,)], "DotBackward0"),
    ("addmm", [(4,), (2, 3), (3, 4)], "AddmmBackward0"),
    ("linear", [(2, 3), (4, 3)], "MmBackward0"),
    ("baddbmm", [(4,), (1, 2, 3), (1, 3, 4)], "BaddbmmBackward0"),
    ("linear", [(2, 3), (4, 3), (4,)], "AddmmBackward0"),
])
def test_node_names(library, name, shapes, node):
    inputs = [library.from_numpy(N(s)).requires_grad_() for s in shapes]
    assert getattr(library, name)(*inputs).grad_fn.name() == node


ERRORS = [
    "mm(z(2, 3), z(4, 5))", "mm(z(2, 3), z(3))", "mm(z(3), z(3, 2))",
    "mm(z(2, 3), z(3, 2, dtype=d))",
    "mm(z(2, 3).bool(), z(3, 2).bool())", "mm(z(2, 3).long(), z(3, 2))", "bmm(z(2, 3), z(3, 2))",
    "bmm(z(2, 3, 4), z(2, 5, 4))", "bmm(z(2, 3, 4), z(3, 4, 4))", "mv(z(2, 3), z(4))",
    "bmm(z(2, 3, 4), z(2, 4, 4, dtype=d))", "mv(z(2, 3), z(3, 1))", "mv(z(2, 3), z(3, dtype=d))",
    "dot(z(3), z(4))", "dot(z(3, 1), z(4))", "dot(z(3), z(3, dtype=d))", "matmul(z(()), z(4))",
    "matmul(z(2, 3, 4), z(3, 4, 5))", "matmul(z(2, 3, 4), z(2, 5, 4))", "matmul(z(2, 3, 4), z(5))",
    "matmul(z(2, 3), z(4))", "matmul(z(3), z(4, 2))", "matmul(z(3), z(4))",
    "matmul(z(2, 3, 4), z(5, 4))", "matmul(z(2, 3), z(3, 2, dtype=d))",
    "addmm(z(3), z(2, 3), z(4, 5))", "addmm(z(3), z(2, 3), z(3, 5))",
    "addmm(z(2, 2, 2), z(2, 3), z(3, 5))", "addmm(z(5, dtype=d), z(2, 3), z(3, 5))",
    "addmv(z(3), z(2, 3), z(3))", "addr(z(3), z(2, 3), z(3))", "outer(z(2, 2), z(2))",
    "baddbmm(z(3), z(2, 3, 4), z(2, 4, 6))", "inner(z(2, 3), z(2, 4))", "linear(z(2, 3), z(4, 5))",
    "linear(z(2, 3), z(4, 5), z(4))", "linear(z(2, 3), z(4, 3), z(5))", "linear(z(3), z(4, 5))",
    "linear(z(2, 3, dtype=d), z(4, 3), z(4))", "linear(z(2, 3), z(2, 2, 2))",
    "linear(z(2, 3).long(), z(4, 3), z(4))",
]


@pytest.mark.parametrize("text", ERRORS)
def test_errors(same_error, text):
    same_error(lambda lib: eval(text, vars(lib) | {"z": lib.zeros, "d": lib.float64}))
