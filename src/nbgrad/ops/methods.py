"""Hangs the operations on Tensor, and lists them for the package."""

from __future__ import annotations

import copy
from types import SimpleNamespace

import numpy as np

from nbgrad import devices, dtypes, printing
from nbgrad.kernels.elementwise import Spec, plan
from nbgrad.ops import (
    conv,
    create,
    embedding,
    index,
    loss,
    matmul,
    norm,
    pointwise,
    pool,
    random,
    reductions,
    shape,
    softmax,
)
from nbgrad.ops.apply import apply
from nbgrad.ops.elementwise import OPS
from nbgrad.tensor import AccumulateGrad, Tensor

#: name -> function, for `nbgrad.<name>` and `Tensor.<name>` alike
FUNCTIONS: dict = dict(pointwise.FUNCTIONS)
FUNCTIONS |= {
    "sum": reductions.sum_, "mean": reductions.mean, "prod": reductions.prod,
    "amax": reductions.amax, "amin": reductions.amin, "max": reductions.max_,
    "min": reductions.min_, "argmax": reductions.argmax, "argmin": reductions.argmin,
    "all": reductions.all_, "any": reductions.any_, "var": reductions.var_, "std": reductions.std,
    "var_mean": reductions.var_mean, "std_mean": reductions.std_mean,
    "logsumexp": reductions.logsumexp, "norm": reductions.norm,
    "count_nonzero": reductions.count_nonzero,
    "reshape": shape.reshape, "permute": shape.permute, "transpose": shape.transpose,
    "swapaxes": shape.transpose, "t": shape.t_, "movedim": shape.movedim, "squeeze": shape.squeeze,
    "unsqueeze": shape.unsqueeze, "narrow": shape.narrow, "select": shape.select,
    "diagonal": shape.diagonal, "flatten": shape.flatten, "unflatten": shape.unflatten,
    "as_strided": shape.as_strided, "unbind": shape.unbind, "split": shape.split,
    "chunk": shape.chunk, "gather": index.gather, "scatter": index.scatter,
    "scatter_add": index.scatter_add, "index_select": index.index_select,
    "index_add": index.index_add, "take": index.take, "nonzero": index.nonzero,
    "masked_fill": index.masked_fill, "masked_select": index.masked_select, "where": index.where,
    "bernoulli": random.bernoulli, "multinomial": random.multinomial,
    "softmax": softmax.softmax, "log_softmax": softmax.log_softmax,
    **{f.__name__: f for f in (
        matmul.mm, matmul.bmm, matmul.mv, matmul.dot, matmul.matmul, matmul.addmm, matmul.addmv,
        matmul.addbmm, matmul.baddbmm, matmul.addr, matmul.outer, matmul.inner)},
}

#: name -> function, for the package only
PACKAGE_ONLY: dict = {
    "cat": shape.cat, "concat": shape.cat, "stack": shape.stack,
    **{f.__name__: f for f in (
        create.tensor, create.from_numpy, create.as_tensor, create.zeros, create.ones, create.full,
        create.empty, create.eye, create.arange, create.linspace, create.scalar_tensor,
        create.full_like, create.is_tensor, pointwise.result_type)},
    "zeros_like": create.zeros_like, "ones_like": create.ones_like, "empty_like": create.empty_like,
    **create.LEGACY,
    **{f.__name__: f for f in (
        random.Generator, random.manual_seed, random.seed, random.initial_seed,
        random.get_rng_state, random.set_rng_state, random.rand, random.randn, random.rand_like,
        random.randn_like, random.randint, random.randint_like, random.randperm, random.normal,
        random.dropout, conv.conv1d, conv.conv2d, conv.conv_transpose2d, pool.max_pool2d,
        pool.adaptive_avg_pool2d, norm.batch_norm, norm.layer_norm, norm.group_norm,
        embedding.embedding, loss.nll_loss)},
}

_METHODS_ONLY = {
    "view": shape.view_, "expand": shape.expand, "contiguous": shape.contiguous,
    "repeat": shape.tile_, "unfold": shape.unfold, "split_with_sizes": shape.split,
    "to": pointwise.to, "copy_": pointwise.copy_, "fill_": pointwise.fill_,
    "zero_": pointwise.zero_, "sum_to_size": reductions.sum_to_size,
    "normal_": random.normal_, "uniform_": random.uniform_, "bernoulli_": random.bernoulli_,
    "random_": random.random_,
    "masked_fill_": index.masked_fill_, "index_put_": index.index_put_,
    **create.METHODS,
}


def _attach(methods: dict) -> None:
    for name, function in methods.items():
        if name not in Tensor.__dict__:
            setattr(Tensor, name, function)


_attach(FUNCTIONS)
_attach(_METHODS_ONLY)


def _clone(self: Tensor, *, memory_format=None) -> Tensor:
    """A copy with its own memory, through which gradients pass."""
    return apply(OPS["clone"], (self,))


Tensor.clone = _clone
FUNCTIONS["clone"] = _clone


def _view_as(self: Tensor, other: Tensor) -> Tensor:
    return shape.view_(self, other._layout.shape)


def _reshape_as(self: Tensor, other: Tensor) -> Tensor:
    return shape.reshape(self, other._layout.shape)


def _expand_as(self: Tensor, other: Tensor) -> Tensor:
    return shape.expand(self, other._layout.shape)


def _type_as(self: Tensor, other: Tensor) -> Tensor:
    return self.to(other.dtype)


def _ravel(self: Tensor) -> Tensor:
    return shape.reshape(self, -1)


Tensor.view_as, Tensor.reshape_as, Tensor.expand_as = _view_as, _reshape_as, _expand_as
Tensor.type_as, Tensor.ravel = _type_as, _ravel
FUNCTIONS["ravel"] = _ravel
FUNCTIONS["detach"] = Tensor.detach
FUNCTIONS["broadcast_to"] = shape.expand
Tensor.broadcast_to = shape.expand


def _cast(dtype):
    def method(self: Tensor) -> Tensor:
        return pointwise.to(self, dtype)
    method.__doc__ = f"The tensor as {dtype.name}."
    return method


for _name, _dtype in {"float": dtypes.float32, "double": dtypes.float64, "int": dtypes.int32,
                      "long": dtypes.int64, "bool": dtypes.bool_, "short": dtypes.int16,
                      "byte": dtypes.uint8, "char": dtypes.int8}.items():
    setattr(Tensor, _name, _cast(_dtype))


def _type(self: Tensor, dtype=None):
    if dtype is None:
        return f"torch.{self.dtype.legacy}Tensor"
    return self.to(dtype)


def _cpu(self: Tensor) -> Tensor:
    return self


def _cuda(self: Tensor, device=None) -> Tensor:
    return pointwise.to(self, device="cuda" if device is None else device)


Tensor.type, Tensor.cpu, Tensor.cuda = _type, _cpu, _cuda
Tensor.T = property(lambda self: shape.permute(self, tuple(reversed(range(self.dim())))))
Tensor.mT = property(lambda self: shape.transpose(self, -2, -1))


# operators

for _dunder, _row in {"add": "add", "sub": "sub", "mul": "mul", "truediv": "div",
                      "floordiv": "floor_divide", "mod": "remainder", "and": "bitwise_and",
                      "or": "bitwise_or", "xor": "bitwise_xor"}.items():
    setattr(Tensor, f"__{_dunder}__", pointwise.operator_of(_row))
    setattr(Tensor, f"__r{_dunder}__", pointwise.operator_of(_row, reflected=True))
    setattr(Tensor, f"__i{_dunder}__", pointwise.FUNCTIONS[f"{_row}_"])
for _row in ("lt", "le", "gt", "ge", "eq", "ne"):
    setattr(Tensor, f"__{_row}__", pointwise.operator_of(_row))
_rsub = pointwise.with_number("rsub", "b")


def _reflected_sub(self: Tensor, other):
    value = pointwise.number(other)
    return NotImplemented if value is None else apply(_rsub, (self,), (value,))


def _checked_divide(name: str, reflected: bool = False):
    plain = pointwise.FUNCTIONS[name]

    def method(self: Tensor, other):
        if not isinstance(other, Tensor) and pointwise.number(other) is None:
            return NotImplemented
        return plain(other, self) if reflected else plain(self, other)

    return method


for _dunder, _row in {"floordiv": "floor_divide", "mod": "remainder", "pow": "pow"}.items():
    setattr(Tensor, f"__{_dunder}__", _checked_divide(_row))
    setattr(Tensor, f"__r{_dunder}__", _checked_divide(_row, reflected=True))
Tensor.__rsub__ = _reflected_sub
Tensor.__ipow__ = pointwise.FUNCTIONS["pow_"]
Tensor.__neg__ = FUNCTIONS["neg"]
Tensor.__pos__ = FUNCTIONS["positive"]
Tensor.__abs__ = FUNCTIONS["abs"]
Tensor.__invert__ = pointwise.bitwise_not
Tensor.__matmul__ = matmul.matmul
Tensor.__rmatmul__ = lambda self, other: matmul.matmul(other, self)
Tensor.__hash__ = object.__hash__
Tensor.__getitem__ = index.getitem
Tensor.__setitem__ = index.setitem

_sums: dict = {}


def _accumulate(self: Tensor, other: Tensor) -> None:
    """Add in place to a sum that nobody else sees: no version, no history."""
    key = (self._layout, other._layout)
    run = _sums.get(key)
    if run is None:
        own, row = self._layout, OPS["add"].row
        spec = Spec("add", (row.formula,), ("a", "b"), (), "arith", own.dtype, (own.dtype,))
        if len(_sums) > 4096:
            _sums.clear()
        whole = self._data.size == own.numel
        run = _sums[key] = plan(spec, own.shape, key, (own,), whole).run
    run(self._data, self._data, other._data)


Tensor.accumulate_ = _accumulate


# conversions to Python

def _bool(self: Tensor) -> bool:
    if self._layout.numel != 1:
        some = "more than one value" if self._layout.numel else "no values"
        raise RuntimeError(f"Boolean value of Tensor with {some} is ambiguous")
    return bool(self.item())


def _index(self: Tensor) -> int:
    if self._layout.numel != 1 or self._layout.dtype.category == 2:
        raise TypeError("only integer tensors of a single element can be converted to an index")
    return int(self.item())


def _iter(self: Tensor):
    if not self._layout.shape:
        raise TypeError("iteration over a 0-d tensor")
    return iter(shape.unbind(self, 0))


def _contains(self: Tensor, value) -> bool:
    return bool((self == value).any())


def _format(self: Tensor, spec: str) -> str:
    if not self._layout.shape:
        return format(self.item(), spec)
    return object.__format__(self, spec)


def _repr(self: Tensor) -> str:
    own = self.dtype
    shown = (dtypes.get_default_dtype(), *((dtypes.int64, dtypes.bool_) if self.numel() else ()))
    node = self.grad_fn
    return printing.format_tensor(
        self._array(), dtype_suffix=None if own in shown else f"dtype={own!r}",
        device_suffix=None, grad_fn=None if node is None else node.name(),
        requires_grad=self.requires_grad)


def _reduce(self: Tensor, protocol):
    if self.grad_fn is not None:
        raise RuntimeError("Only Tensors created explicitly by the user (graph leaves) support the "
                           "pickle protocol: detach() the tensor first")
    return _rebuild, (type(self), np.ascontiguousarray(self._array()), self.requires_grad)


def _rebuild(cls, array: np.ndarray, requires_grad: bool) -> Tensor:
    made = cls.__new__(cls)
    plain = create.from_numpy(array)
    Tensor.__init__(made, plain._data, plain._layout)
    return made.requires_grad_(requires_grad)


def _deepcopy(self: Tensor, memo: dict) -> Tensor:
    if id(self) in memo:
        return memo[id(self)]
    if not self.is_leaf:
        raise RuntimeError(
            "Only Tensors created explicitly by the user (graph leaves) support the deepcopy "
            "protocol at the moment.  If you were attempting to deepcopy a module, this may be "
            "because of a torch.nn.utils.weight_norm usage, see "
            "https://github.com/pytorch/pytorch/pull/103001")
    made = memo[id(self)] = _rebuild(type(self), self._array().copy(), self.requires_grad)
    if isinstance(self._slot, AccumulateGrad) and self._slot.grad is not None:
        made.grad = copy.deepcopy(self._slot.grad, memo)
    made.__dict__.update(copy.deepcopy(self.__dict__, memo))
    return made


for _name, _function in SimpleNamespace(
        __bool__=_bool, __index__=_index, __iter__=_iter, __contains__=_contains,
        __format__=_format, __repr__=_repr, __reduce_ex__=_reduce, __deepcopy__=_deepcopy,
        __float__=lambda self: float(self.item()), __int__=lambda self: int(self.item()),
        __reversed__=lambda self: create.from_numpy(self.numpy()[::-1].copy())).__dict__.items():
    setattr(Tensor, _name, _function)
