"""Products of vectors, matrices and stacks of them."""

import numpy as np

from nbgrad.testing.cases import case, ints

_MATMUL = [
    ((5,), (5,)),
    ((3, 5), (5,)),
    ((5,), (5, 2)),
    ((3, 5), (5, 2)),
    ((4, 3, 5), (5, 2)),
    ((4, 3, 5), (5,)),
    ((5,), (4, 5, 2)),
    ((4, 3, 5), (4, 5, 2)),
    ((1, 3, 5), (4, 5, 2)),
    ((2, 1, 3, 5), (4, 5, 2)),
    ((3, 5), (2, 4, 5, 2)),
    ((0, 5), (5, 2)),
    ((3, 0), (0, 2)),
    ((4, 0, 5), (4, 5, 2)),
    ((1, 1), (1, 1)),
    ((63, 7), (7, 63)),
    ((0,), (0,)),
    ((0, 3, 5), (5, 2)),
]
CASES = [case("torch.matmul(a, b)", *shapes, dtypes=False) for shapes in _MATMUL]
CASES += [case("a @ b", *shapes, dtypes=False) for shapes in _MATMUL[:8]]
CASES += [
    case("torch.matmul(a, b)", *shapes)
    for shapes in (((3, 5), (5, 2)), ((5,), (5,)), ((4, 3, 5), (4, 5, 2)), ((3, 5), (5,)))
]
CASES += [
    case("torch.matmul(input=a, other=b)", (3, 5), (5, 2)),
    case("a.__rmatmul__(b)", (5, 2), (3, 5)),
    case("torch.mm(a, b)", (3, 5), (5, 2)),
    case("torch.mm(a, b)", (0, 5), (5, 2)),
    case("torch.mm(a, b)", (3, 0), (0, 2)),
    case("torch.mm(input=a, mat2=b)", (1, 1), (1, 1)),
    case("torch.mm(a, b.t())", (3, 5), (2, 5)),
    case("a.t().mm(b)", (5, 3), (5, 2)),
    case("torch.mm(a, a.t())", (3, 5)),
    case("torch.bmm(a, b)", (4, 3, 5), (4, 5, 2)),
    case("torch.bmm(a, b)", (0, 3, 5), (0, 5, 2)),
    case("torch.bmm(a, b.transpose(1, 2))", (4, 3, 5), (4, 2, 5)),
    case("torch.bmm(input=a, mat2=b)", (1, 1, 2), (1, 2, 1)),
    case("torch.mv(a, b)", (3, 5), (5,)),
    case("torch.mv(a, b)", (0, 5), (5,)),
    case("torch.mv(a, b)", (3, 0), (0,)),
    case("torch.mv(input=a, vec=b)", (3, 5), (5,)),
    case("a.t().mv(b)", (5, 3), (5,)),
    case("torch.dot(a, b)", (5,), (5,)),
    case("torch.dot(a, b)", (0,), (0,)),
    case("torch.dot(a, tensor=b)", (63,), (63,)),
    case("torch.dot(a, a)", (5,)),
    case("torch.vdot(a, b)", (5,), (5,)),
    case("torch.outer(a, b)", (3,), (4,)),
    case("torch.outer(a, b)", (0,), (4,)),
    case("torch.ger(a, b)", (3,), (4,)),
    case("torch.outer(input=a, vec2=b)", (1,), (1,)),
    case("torch.inner(a, b)", (5,), (5,)),
    case("torch.inner(a, b)", (3, 5), (2, 5)),
    case("torch.inner(a, b)", (2, 3, 5), (4, 5)),
    case("torch.inner(a, b)", (), (3,)),
    case("torch.inner(a, b)", (3, 5), (5,)),
    case("torch.inner(a, b)", (3, 0), (2, 0)),
    case("F.linear(a, b)", (3, 5), (2, 5)),
    case("F.linear(a, b, c)", (3, 5), (2, 5), (2,)),
    case("F.linear(a, b, c)", (5,), (2, 5), (2,)),
    case("F.linear(a, b, c)", (4, 3, 5), (2, 5), (2,)),
    case("F.linear(a, b)", (3, 5), (5,)),
    case("F.linear(a, b, bias=None)", (0, 5), (2, 5)),
    case("F.linear(input=a, weight=b, bias=c)", (1, 5), (1, 5), (1,)),
    case("F.linear(a, b, c)", (3, 0), (2, 0), (2,)),
]
_SCALES = ["", ", beta=0.5", ", alpha=2", ", beta=0", ", alpha=0", ", beta=2, alpha=-1.5"]
_ADDED = {
    "addmm": [
        ((3, 2), (3, 5), (5, 2)),
        ((2,), (3, 5), (5, 2)),
        ((3, 1), (3, 5), (5, 2)),
        ((), (3, 5), (5, 2)),
        ((3, 2), (3, 0), (0, 2)),
        ((0, 2), (0, 5), (5, 2)),
    ],
    "addmv": [((3,), (3, 5), (5,)), ((), (3, 5), (5,)), ((1,), (3, 5), (5,)), ((3,), (3, 0), (0,))],
    "addbmm": [
        ((3, 2), (4, 3, 5), (4, 5, 2)),
        ((2,), (4, 3, 5), (4, 5, 2)),
        ((3, 2), (0, 3, 5), (0, 5, 2)),
    ],
    "baddbmm": [
        ((4, 3, 2), (4, 3, 5), (4, 5, 2)),
        ((2,), (4, 3, 5), (4, 5, 2)),
        ((4, 1, 2), (4, 3, 5), (4, 5, 2)),
        ((4, 3, 2), (4, 3, 0), (4, 0, 2)),
    ],
    "addr": [((3, 4), (3,), (4,)), ((4,), (3,), (4,)), ((), (3,), (4,)), ((0, 4), (0,), (4,))],
}
# (a sum with a vector has no in-place form: by a sign in front it is tried as a function alone)
CASES += [
    case(
        f"{'+' if name == 'addbmm' and k == 1 else ''}torch.{name}(a, b, c{scale})",
        *shapes,
        dtypes=False,
        strided=not scale,
    )
    for name, table in _ADDED.items()
    for k, shapes in enumerate(table)
    for scale in (_SCALES if k == 0 else ["", ", beta=0.5, alpha=2"])
]
#: in dtypes of every kind (bools are an accident of PyTorch's kernels)
CASES += [
    case(f"torch.{name}(a, b, c)", *[ints(*s) for s in table[0]]) for name, table in _ADDED.items()
]
CASES += [
    case(f"torch.{name}(a, b, c, beta=2, alpha=3)", *[ints(*s) for s in table[0]])
    for name, table in _ADDED.items()
]
CASES += [
    case(
        "torch.addmm(a, b, c, beta=0)",
        np.full((3, 2), np.nan),
        (3, 5),
        (5, 2),
        differentiable=False,
        dtypes=False,
    ),
    case(
        "torch.addmv(a, b, c, beta=0)",
        np.full(3, np.nan),
        (3, 5),
        (5,),
        differentiable=False,
        dtypes=False,
    ),
    case(
        "torch.baddbmm(a, b, c, beta=0)",
        np.full((4, 3, 2), np.nan),
        (4, 3, 5),
        (4, 5, 2),
        differentiable=False,
        dtypes=False,
    ),
    case("a.clone().addmm_(b, c, alpha=2)", (3, 2), (3, 5), (5, 2)),
    case("a.addmm(mat1=b, mat2=c)", (3, 2), (3, 5), (5, 2)),
    case("a.clone().addmv_(b, c, beta=2)", (3,), (3, 5), (5,)),
    case("a.clone().addbmm_(b, c)", (3, 2), (4, 3, 5), (4, 5, 2)),
    case("a.clone().baddbmm_(b, c, beta=0.5)", (4, 3, 2), (4, 3, 5), (4, 5, 2), dtypes=False),
    case("a.clone().addr_(b, c, alpha=0.5)", (3, 4), (3,), (4,), dtypes=False),
    case("torch.addmv_(a.clone(), b, c)", (3,), (3, 5), (5,)),
]

# what PyTorch says of bools depends on the sizes
CASES = [
    c._replace(dtypes=False) if any(0 in o for o in c.operands if isinstance(o, tuple)) else c
    for c in CASES
]

ERRORS = [
    case("torch.matmul(a, b)", (3, 4), (3, 4)),
    case("torch.matmul(a, b)", (3,), (4,)),
    case("torch.matmul(a, b)", (), (3,)),
    case("torch.matmul(a, b)", (2, 3, 4), (3, 4, 5)),
    case("torch.matmul(a, 2)", (3,)),
    case("torch.matmul(a, b)", (3, 3), ints(3, 3)),
    case("torch.matmul(a)", (3, 3)),
    case("a @ 1.5", (3,)),
    case("a @ [1.0]", (3,)),
    case("torch.matmul(a > 0, b > 0)", (3, 3), (3, 3)),
    case("torch.mm(a, b)", (3, 4), (3, 4)),
    case("torch.mm(a, b)", (3,), (3, 4)),
    case("torch.mm(a, b)", (3, 4), (4,)),
    case("torch.mm(a, 1)", (3, 3)),
    case("torch.mm(a, b)", (3, 3), np.ones((3, 3), np.float32)),
    case("torch.bmm(a, b)", (3, 4), (4, 5)),
    case("torch.bmm(a, b)", (2, 3, 4), (3, 4, 5)),
    case("torch.bmm(a, b)", (2, 3, 4), (2, 3, 5)),
    case("torch.bmm(a, b)", (2, 3, 4), np.ones((2, 4, 5), np.float32)),
    case("torch.bmm(a, None)", (2, 3, 4)),
    case("torch.mv(a, b)", (3, 4), (3,)),
    case("torch.mv(a, b)", (3,), (3,)),
    case("torch.mv(a, b)", (3, 4), ints(4)),
    case("torch.mv(a, 1)", (3, 4)),
    case("torch.dot(a, b)", (3,), (4,)),
    case("torch.dot(a, b)", (3, 1), (3,)),
    case("torch.dot(a, b)", (3,), ints(3)),
    case("torch.dot(a, 1)", (3,)),
    case("torch.outer(a, b)", (3, 1), (3,)),
    case("torch.outer(a, b)", (), (3,)),
    case("torch.outer(a, 1)", (3,)),
    case("torch.inner(a, b)", (3,), (4,)),
    case("torch.inner(a, b)", (3, 4), (3, 5)),
    case("torch.inner(a, b)", (3,), ints(3)),
    case("torch.addmm(a, b, c)", (3, 3), (3, 5), (5, 2)),
    case("torch.addmm(a, b, c)", (3, 2), (3, 5), (4, 2)),
    case("torch.addmm(a, b, c)", (3, 2), (3,), (5, 2)),
    case("torch.addmm(a, b, c)", ints(3, 2), (3, 5), (5, 2)),
    case("torch.addmm(a, b, c, beta='x')", (3, 2), (3, 5), (5, 2)),
    case("torch.addmm(a, b)", (3, 2), (3, 5)),
    case("torch.addmm(a, b, c, gamma=1)", (3, 2), (3, 5), (5, 2)),
    case("a.addmm_(b, c)", (2,), (3, 5), (5, 2)),
    case("torch.addmv(a, b, c)", (4,), (3, 5), (5,)),
    case("torch.addmv(a, b, c)", (3,), (3, 5), (4,)),
    case("torch.addmv(a, b, c)", (3,), (3,), (3,)),
    case("torch.addmv(a, b, c)", ints(3), (3, 5), (5,)),
    case("a.addmv_(b, c)", (), (3, 5), (5,)),
    case("torch.addbmm(a, b, c)", (3, 3), (4, 3, 5), (4, 5, 2)),
    case("torch.addbmm(a, b, c)", (3, 2), (4, 3, 5), (3, 5, 2)),
    case("torch.baddbmm(a, b, c)", (3, 3, 2), (4, 3, 5), (4, 5, 2)),
    case("torch.baddbmm(a, b, c)", (4, 3, 2), (4, 3, 5), (4, 4, 2)),
    case("a.baddbmm_(b, c)", (3, 2), (4, 3, 5), (4, 5, 2)),
    case("torch.addr(a, b, c)", (3, 4), (4,), (3,)),
    case("torch.addr(a, b, c)", (3, 4), (3, 1), (4,)),
    case("a.addr_(b, c)", (4,), (3,), (4,)),
    case("F.linear(a, b)", (3, 4), (2, 5)),
    case("F.linear(a, b, c)", (3, 5), (2, 5), (3,)),
    case("F.linear(a, b)", (3, 5), (2, 5, 5)),
    case("F.linear(a, b)", (3, 5), np.ones((2, 5), np.float32)),
    case("F.linear(a, 1)", (3, 5)),
    case("F.linear(a, b, 1)", (3, 5), (2, 5)),
]
