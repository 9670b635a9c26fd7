"""Matrix products.

One op multiplies matrices, or stacks of them, either of which it may read transposed; its
gradients are again such products. Everything else is this op, or shapes around it.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from nbgrad.devices import CPU
from nbgrad.engine.backward import sum_for
from nbgrad.engine.mode import state
from nbgrad.engine.node import LEAVES, Node
from nbgrad.engine.saved import unpack
from nbgrad.kernels import matmul as kernels
from nbgrad.kernels.launch import remember
from nbgrad.kernels.layout import Layout, broadcast_shapes
from nbgrad.kernels.matmul import Plan
from nbgrad.kernels.memory import maker
from nbgrad.ops.apply import apply
from nbgrad.ops.dims import axis
from nbgrad.ops.elementwise import reduce_to
from nbgrad.ops.family import expect_tensor, number
from nbgrad.ops.op import Op
from nbgrad.ops.shape import expand, reshape, squeeze, unsqueeze
from nbgrad.tensor import Tensor


class Planned(Op):
    """An op of two tensors whose launches are kept by its operands' layouts."""

    def __init__(self, name: str, plan: Callable[..., Plan]) -> None:
        self.name, self.plan = name, plan
        self.plans: dict[tuple, Plan] = {}
        super().__init__()

    def run(self, inputs, attrs):
        a, b = inputs
        key = (a._layout, b._layout, attrs)
        found = self.plans.get(key)
        if found is None:
            found = remember(self.plans, key, self.plan(a._layout, b._layout, *attrs))
        run, own, size, np_dtype = found
        out = maker(size, own.device)(size, np_dtype)
        run(out, a._data, b._data)
        return Tensor(out, own)

    def saves(self, needs, attrs):
        return _OTHER[needs]


#: Gradients of so many numbers are worth adding in the product's kernel.
_LARGE = 1 << 15
#: An operand is saved only if the other one wants a gradient.
_OTHER = {(True, True): (0, 1), (True, False): (1,), (False, True): (0,)}


def _operands(node: Node) -> tuple[Tensor | None, Tensor | None]:
    """The saved ones of the last two inputs of a node."""
    values = unpack(node)
    if len(values) == 2:
        return values
    value = values[0] if values else None
    return (None, value) if node.next[-1] is None else (value, None)


class Product(Planned):
    """A B for A (..., m, k) and B (..., k, n); A is given transposed if `ta`, B if `tb`."""

    def __init__(self, name: str) -> None:
        super().__init__(name, kernels.product)
        self.sums: dict[tuple, Plan | None] = {}  # None where it is not added in the kernel

    def backward(self, node, grad):
        return self.gradients(node, grad, *_operands(node), *node.attrs)

    def gradients(self, node: Node, g: Tensor, a: Tensor | None, b: Tensor | None,
                  ta: bool, tb: bool):
        """The gradient to a where b is at hand, to b where a is, in the operand's own layout."""
        # dA = G B^T and dB = A^T G; each is turned round where the operand was given transposed
        ga = gb = None
        if b is not None:
            x, y, attrs = (b, g, (tb, True)) if ta else (g, b, (False, not tb))
            if node.layouts[-2].numel < _LARGE or not self.added(node, -2, x, y, attrs):
                ga = apply(self, (x, y), attrs)
        if a is not None:
            x, y, attrs = (g, a, (True, ta)) if tb else (a, g, (not ta, False))
            if node.layouts[-1].numel < _LARGE or not self.added(node, -1, x, y, attrs):
                gb = apply(self, (x, y), attrs)
        return ga, gb

    def added(self, node: Node, k: int, a: Tensor, b: Tensor, attrs: tuple) -> bool:
        """Let the kernel add the gradient of input k to the sum it is part of; False if it cannot."""
        nxt = node.next[k]
        if nxt is None or state.grad or node.hooks is not None:
            return False
        with LEAVES:
            total = sum_for(nxt)
            return total is not None and self._add(total, a, b, attrs)

    def _add(self, total: Tensor, a: Tensor, b: Tensor, attrs: tuple) -> bool:
        key = (a._layout, b._layout, attrs)
        found = self.sums.get(key, ...)
        if found is ...:
            found = remember(self.sums, key, kernels.added_product(a._layout, b._layout, *attrs))
        if found is None or found.layout is not total._layout:
            return False
        out = total._data
        if total._counter is not None:
            if total.is_cuda or np.may_share_memory(out, a._data) or np.may_share_memory(
                    out, b._data):
                return False
            total._counter.bump("add_")
        found.run(out, a._data, b._data)
        return True


class AddProduct(Op):
    """beta C + alpha A B, where C broadcasts; a vector C rides along in the product's kernel."""

    def __init__(self, name: str, product: Product) -> None:
        self.name, self.product = name, product
        self.plans: dict[tuple, Plan | None] = {}  # None where the product is made by itself
        super().__init__()

    def run(self, inputs, attrs):
        c, a, b = inputs
        key = (c._layout, a._layout, b._layout, attrs)
        found = self.plans.get(key, ...)
        if found is ...:
            found = remember(self.plans, key, self._plan(*key))
        if found is None:
            return self._apart(c, a, b, *attrs)
        run, own, size, np_dtype = found
        out = maker(size, own.device)(size, np_dtype)
        run(c._data, out, a._data, b._data)
        return Tensor(out, own)

    def _plan(self, c: Layout, a: Layout, b: Layout, attrs: tuple) -> Plan | None:
        ta, tb, beta, alpha = attrs
        rides = beta == 1 and alpha == 1 and c.shape == b.shape[-2 if tb else -1:][:1]
        return kernels.product(a, b, ta, tb, c) if rides and c.contiguous else None

    def _apart(self, c: Tensor, a: Tensor, b: Tensor, ta, tb, beta, alpha) -> Tensor:
        for name, v in (("beta", beta), ("alpha", alpha)):
            if number(v) is None:
                raise TypeError(f"argument '{name}' must be Number, not {type(v).__name__}")
            if isinstance(v, float) and a._layout.dtype.category < 2:
                raise RuntimeError(f"For integral input tensors, argument {name} must not be a "
                                   "floating point number.")
        out = self.product.run((a, b), (ta, tb))
        if out._layout.device is not CPU:
            scaled = out if alpha == 1 else out * alpha
            return scaled if beta == 0 else scaled + (c if beta == 1 else c * beta)
        y = out._array()
        if alpha != 1:
            y *= alpha
        if beta != 0:
            y += c._array() if beta == 1 else beta * c._array()
        return out

    def saves(self, needs, attrs):
        return _ADDED[needs[1:]]

    def backward(self, node, grad):
        ta, tb, beta, alpha = node.attrs
        gc = None
        if node.next[0] is not None:
            gc = reduce_to(grad if beta == 1 else grad * beta, node.layouts[0])
        scaled = grad if alpha == 1 else grad * alpha
        return gc, *self.product.gradients(node, scaled, *_operands(node), ta, tb)


#: The same for the last two of three operands.
_ADDED = {(True, True): (1, 2), (True, False): (2,), (False, True): (1,), (False, False): ()}


class Mv(Planned):
    """A v for A (m, k), given transposed if `ta`, and v (k,)."""

    def backward(self, node, grad):
        (ta,) = node.attrs
        a, v = _operands(node)
        ga = gv = None
        if v is not None:
            ga = apply(OUTER, (v, grad) if ta else (grad, v))
        if a is not None:
            gv = apply(self, (a, grad), (not ta,))
        return ga, gv


class Outer(Planned):
    """All products of two vectors, as a matrix."""

    def backward(self, node, grad):
        a, b = _operands(node)
        return (apply(MV, (grad, b), (False,)) if b is not None else None,
                apply(MV, (grad, a), (True,)) if a is not None else None)


class Dot(Planned):
    """The sum of the products of two vectors."""

    def backward(self, node, grad):
        a, b = _operands(node)
        return (grad * b if b is not None else None, grad * a if a is not None else None)


MM, BMM = Product("Mm"), Product("Bmm")
MV, OUTER, DOT = Mv("Mv", kernels.matvec), Outer("Outer", kernels.outer), Dot("Dot", kernels.dot)
ADDMM, BADDBMM = AddProduct("Addmm", MM), AddProduct("Baddbmm", BMM)
_PLAIN, _LINEAR = (False, False), (False, True, 1, 1)


def forget_plans() -> None:
    """Let launches be chosen anew; who is choosing one meanwhile keeps it in the old table."""
    for op in (MM, BMM, MV, OUTER, DOT, ADDMM, BADDBMM):
        op.plans = {}


_C_NAMES = {"float32": "float", "float64": "double", "int64": "long int", "int32": "int",
            "int16": "short int", "int8": "signed char", "uint8": "unsigned char", "bool": "bool",
            "float16": "c10::Half", "bfloat16": "c10::BFloat16"}


def _check_depth(m: int, k: int, k2: int, n: int) -> None:
    if k != k2:
        raise RuntimeError(f"mat1 and mat2 shapes cannot be multiplied ({m}x{k} and {k2}x{n})")


def _check_dtype(a: Layout, b: Layout) -> None:
    if a.dtype is not b.dtype:
        raise RuntimeError("expected m1 and m2 to have the same dtype, but got: "
                           f"{_C_NAMES[a.dtype.name]} != {_C_NAMES[b.dtype.name]}")
    if a.dtype.category == 0:
        raise NotImplementedError("\"addmm_impl_cpu_\" not implemented for 'Bool'")


def _known(op: Planned | AddProduct, attrs: tuple, *tensors: Tensor) -> bool:
    """True if tensors of these layouts were multiplied before: they need no check."""
    try:
        return (*[t._layout for t in tensors], attrs) in op.plans
    except AttributeError:
        return False


def mm(input: Tensor, mat2: Tensor) -> Tensor:
    """The product of two matrices, (m, k) and (k, n).

    Example:
        >>> import nbgrad
        >>> nbgrad.mm(nbgrad.tensor([[2., 1.]]), nbgrad.tensor([[1., 2.], [3., 4.]]))
        tensor([[5., 8.]])
    """
    if _known(MM, _PLAIN, input, mat2):
        return apply(MM, (input, mat2), _PLAIN)
    expect_tensor("mm", input=input, mat2=mat2)
    a, b = input._layout, mat2._layout
    if len(a.shape) != 2:
        raise RuntimeError("self must be a matrix")
    if len(b.shape) != 2:
        raise RuntimeError("mat2 must be a matrix")
    _check_depth(*a.shape, *b.shape)
    _check_dtype(a, b)
    return apply(MM, (input, mat2), _PLAIN)


def _check_batches(a: Layout, b: Layout) -> None:
    count = math.prod(a.shape[:-2])
    if a.shape[:-2] != b.shape[:-2] or a.shape[-1] != b.shape[-2]:
        raise RuntimeError(
            f"Expected size for first two dimensions of batch2 tensor to be: [{count}, "
            f"{a.shape[-1]}] but got: [{math.prod(b.shape[:-2])}, {b.shape[-2]}].")
    if a.dtype is not b.dtype:
        raise RuntimeError(f"expected scalar type {a.dtype.legacy} but found {b.dtype.legacy}")
    _check_dtype(a, b)


def _check_stacks(batch1: Tensor, batch2: Tensor, added: bool = False) -> None:
    for name, t in (("batch1", batch1), ("batch2", batch2)):
        if len(t._layout.shape) != 3:
            if added:
                axis(batch1, 1)
                axis(batch2, 2)
            raise RuntimeError(f"{name} must be a 3D tensor")
    _check_batches(batch1._layout, batch2._layout)


def bmm(input: Tensor, mat2: Tensor) -> Tensor:
    """The products of two stacks of matrices, (b, m, k) and (b, k, n)."""
    expect_tensor("bmm", input=input, mat2=mat2)
    _check_stacks(input, mat2)
    return apply(BMM, (input, mat2), _PLAIN)


def check_addmv(c: Layout, a: Layout, v: Layout) -> None:
    """The dtypes of c + a v must be one."""
    if not (c.dtype is a.dtype is v.dtype):
        raise RuntimeError("addmv input tensors must have the same dtype, but got "
                           f"{c.dtype.legacy}, {a.dtype.legacy}, and {v.dtype.legacy}")


def mv(input: Tensor, vec: Tensor) -> Tensor:
    """The product of a matrix (m, k) and a vector (k,)."""
    expect_tensor("mv", input=input, vec=vec)
    a, v = input._layout, vec._layout
    if len(a.shape) != 2 or len(v.shape) != 1:
        raise RuntimeError(f"vector + matrix @ vector expected, got 1, {len(a.shape)}, "
                           f"{len(v.shape)}")
    if a.shape[1] != v.shape[0]:
        raise RuntimeError(f"size mismatch, got input ({a.shape[0]}), mat "
                           f"({a.shape[0]}x{a.shape[1]}), vec ({v.shape[0]})")
    check_addmv(v, a, v)
    _check_dtype(a, v)
    return apply(MV, (input, vec), (False,))


def dot(input: Tensor, tensor: Tensor) -> Tensor:
    """The sum of the products of two vectors, as a 0-dim tensor."""
    expect_tensor("dot", input=input, tensor=tensor)
    a, b = input._layout, tensor._layout
    if len(a.shape) != 1 or len(b.shape) != 1:
        raise RuntimeError(f"1D tensors expected, but got {len(a.shape)}D and {len(b.shape)}D "
                           "tensors")
    if a.dtype is not b.dtype:
        raise RuntimeError("dot : expected both vectors to have same dtype, but found "
                           f"{a.dtype.legacy} and {b.dtype.legacy}")
    if a.shape != b.shape:
        raise RuntimeError(
            f"inconsistent tensor size, expected tensor [{a.numel}] and src [{b.numel}] to have "
            f"the same number of elements, but got {a.numel} and {b.numel} elements respectively")
    _check_dtype(a, b)
    return apply(DOT, (input, tensor))


def matmul(input: Tensor, other: Tensor) -> Tensor:
    """The matrix product; leading axes are a stack of matrices and broadcast.

    A vector is taken as a row on the left and as a column on the right, and its axis goes away:
    (k,) (k,) -> (); (..., m, k) (k,) -> (..., m); (k,) (..., k, n) -> (..., n);
    (..., m, k) (..., k, n) -> (..., m, n).

    Example:
        >>> import nbgrad
        >>> nbgrad.matmul(nbgrad.ones(2, 3, 4), nbgrad.ones(4, 5)).shape
        nbgrad.Size([2, 3, 5])
    """
    try:
        key = input._layout, other._layout
    except AttributeError:
        expect_tensor("matmul", input=input, other=other)
        raise
    found = _routes.get(key) or remember(_routes, key, _route(*key))
    op, attrs, turned = found
    if op is not None:
        return apply(op, (other, input) if turned else (input, other), attrs)
    a, b = key[0].shape, key[1].shape
    da, db = len(a), len(b)
    if da == 2 and db == 2:
        return mm(input, other)
    if not (da and db):
        raise RuntimeError("both arguments to matmul need to be at least 1D, but they are "
                           f"{da}D and {db}D")
    if da == 1 and db == 1:
        return dot(input, other)
    if da == 1:
        return squeeze(matmul(unsqueeze(input, 0), other), -2)
    if da == 2 and db == 1:
        return mv(input, other)
    if db <= 2:
        rows = reshape(input, (math.prod(a[:-1]), a[-1]))
        return reshape(mv(rows, other) if db == 1 else mm(rows, other), a[:-1] + b[1:])
    return _stacked(input, other)


_routes: dict[tuple, tuple] = {}


def _route(a: Layout, b: Layout) -> tuple[Op | None, tuple, bool]:
    """The op of matmul for operands that fit as they are, its attributes, and if they change places.

    No op for those that must be shaped first, or refused.
    """
    da, db = len(a.shape), len(b.shape)
    alike = a.dtype is b.dtype and a.dtype.category != 0
    if not (alike and da and db and a.shape[-1] == b.shape[max(db - 2, 0)]):
        return None, (), False
    if da == db == 1:
        return DOT, (), False
    if da == 2 and db == 1:
        return MV, (False,), False
    if da == 1 and db == 2:
        return MV, (True,), True
    if da == db and a.shape[:-2] == b.shape[:-2]:
        return MM if da == 2 else BMM, _PLAIN, False
    return None, (), False


def _stacked(a: Tensor, b: Tensor) -> Tensor:
    """The products of two stacks whose leading axes broadcast."""
    first, second = a._layout.shape[:-2], b._layout.shape[:-2]
    if first != second:
        common = broadcast_shapes(first, second)
        if common is None:
            raise RuntimeError(_mismatch(first, second))
        a = expand(a, common + a._layout.shape[-2:])
        b = expand(b, common + b._layout.shape[-2:])
    _check_batches(a._layout, b._layout)
    return apply(BMM, (a, b), _PLAIN)


def _mismatch(a: tuple[int, ...], b: tuple[int, ...]) -> str:
    rank = max(len(a), len(b))
    k = next(k for k in range(1, rank + 1) if a[-k] != b[-k] and 1 not in (a[-k], b[-k]))
    return (f"The size of tensor a ({a[-k]}) must match the size of tensor b ({b[-k]}) at "
            f"non-singleton dimension {rank - k}")


def _check_addend(c: Layout, a: Layout, b: Layout, shape: tuple[int, ...]) -> None:
    """The added tensor must have the product's dtype and broadcast to its shape."""
    for first, second, names in ((a, b, "mat1 and mat2"), (c, b, "self and mat2")):
        if first.dtype is not second.dtype:
            raise RuntimeError(f"{names} must have the same dtype, but got {first.dtype.legacy} "
                               f"and {second.dtype.legacy}")
    lead = len(shape) - len(c.shape)
    if lead < 0:
        raise RuntimeError(
            f"expand(torch.{c.dtype.legacy}Tensor{{{list(c.shape)}}}, size={list(shape)}): the "
            f"number of sizes provided ({len(shape)}) must be greater or equal to the number of "
            f"dimensions in the tensor ({len(c.shape)})")
    for k, n in enumerate(c.shape):
        if n not in (1, shape[lead + k]):
            raise RuntimeError(
                f"The expanded size of the tensor ({shape[lead + k]}) must match the existing size "
                f"({n}) at non-singleton dimension {lead + k}.  Target sizes: {list(shape)}.  "
                f"Tensor sizes: {list(c.shape)}")


def addmm(input: Tensor, mat1: Tensor, mat2: Tensor, *, beta=1, alpha=1) -> Tensor:
    """beta * input + alpha * mat1 @ mat2; `input` broadcasts to (m, n)."""
    expect_tensor("addmm", input=input, mat1=mat1, mat2=mat2)
    a, b = mat1._layout, mat2._layout
    if len(a.shape) != 2 or len(b.shape) != 2:
        raise RuntimeError(f"mat{1 if len(a.shape) != 2 else 2} must be a matrix, got "
                           f"{len(a.shape) if len(a.shape) != 2 else len(b.shape)}-D tensor")
    _check_depth(*a.shape, *b.shape)
    _check_addend(input._layout, a, b, (a.shape[0], b.shape[1]))
    _check_dtype(a, b)
    return apply(ADDMM, (input, mat1, mat2), (False, False, beta, alpha))


def baddbmm(input: Tensor, batch1: Tensor, batch2: Tensor, *, beta=1, alpha=1) -> Tensor:
    """beta * input + alpha * batch1 @ batch2 for stacks (b, m, k) and (b, k, n)."""
    expect_tensor("baddbmm", input=input, batch1=batch1, batch2=batch2)
    _check_stacks(batch1, batch2, added=True)
    a, b = batch1._layout, batch2._layout
    _check_addend(input._layout, a, b, (*a.shape[:2], b.shape[2]))
    return apply(BADDBMM, (input, batch1, batch2), (False, False, beta, alpha))


def outer(input: Tensor, vec2: Tensor) -> Tensor:
    """All products of two vectors, (m,) and (n,), as a matrix (m, n)."""
    expect_tensor("outer", input=input, vec2=vec2)
    for name, t in (("self", input), ("vec2", vec2)):
        if len(t._layout.shape) != 1:
            raise RuntimeError(f"outer: Expected 1-D argument {name}, but got "
                               f"{len(t._layout.shape)}-D")
    return unsqueeze(input, 1) * vec2


def inner(input: Tensor, other: Tensor) -> Tensor:
    """Sums of products over the last axes, (..., k) and (***, k) -> (..., ***)."""
    expect_tensor("inner", input=input, other=other)
    a, b = input._layout.shape, other._layout.shape
    if not a or not b:
        return input * other
    if a[-1] != b[-1]:
        raise RuntimeError("inner() the last dimension must match on both input tensors but got "
                           f"shapes {list(a)} and {list(b)}")
    if len(a) == 1 and len(b) == 1:
        return dot(input, other)
    rows = reshape(input, (math.prod(a[:-1]), a[-1]))
    columns = reshape(other, (math.prod(b[:-1]), b[-1]))
    _check_dtype(rows._layout, columns._layout)
    return reshape(apply(MM, (rows, columns), (False, True)), a[:-1] + b[:-1])


def linear(input: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """input @ weight.T + bias, for input (..., k), weight (n, k) and bias (n,) -> (..., n).

    Example:
        >>> import nbgrad
        >>> linear(nbgrad.ones(2, 3), nbgrad.ones(4, 3), nbgrad.ones(4)).shape
        nbgrad.Size([2, 4])
    """
    if bias is not None and _known(ADDMM, _LINEAR, bias, input, weight):
        return apply(ADDMM, (bias, input, weight), _LINEAR)
    expect_tensor("linear", input=input, weight=weight)
    if bias is not None:
        expect_tensor("linear", bias=bias)
    x, w = input._layout, weight._layout
    if len(w.shape) == 1:
        product = matmul(input, weight)
        return product if bias is None else product + bias
    if len(w.shape) != 2:
        raise RuntimeError("t() expects a tensor with <= 2 dimensions, but self is "
                           f"{len(w.shape)}D")
    if len(x.shape) != 2:
        rows = reshape(input, (math.prod(x.shape[:-1]), x.shape[-1] if x.shape else 1))
        return reshape(linear(rows, weight, bias), x.shape[:-1] + w.shape[:1])
    _check_depth(*x.shape, *reversed(w.shape))
    if bias is None or x.dtype is w.dtype:
        _check_dtype(x, w)
    if bias is None:
        return apply(MM, (input, weight), (False, True))
    c = bias._layout
    if not (x.dtype is w.dtype is c.dtype and c.shape == w.shape[:1]):
        _check_addend(c, x, w, (x.shape[0], w.shape[0]))
    return apply(ADDMM, (bias, input, weight), _LINEAR)


FUNCTIONS = {f.__name__: f for f in (
    mm, bmm, mv, dot, matmul, addmm, baddbmm, outer, inner)}
FUNCTIONS["ger"] = outer
