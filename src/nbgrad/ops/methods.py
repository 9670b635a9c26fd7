"""Which operations the package and Tensor have, under which names."""

from __future__ import annotations

from nbgrad import dtypes
from nbgrad.ops import (
    conv,
    create,
    embedding,
    index,
    interop,
    matmul,
    norm,
    pointwise,
    pool,
    protocols,
    random,
    reductions,
    scan,
    search,
    shape,
    softmax,
    sort,
    special,
    write,
)
from nbgrad.ops.elementwise import OPS, accumulate_
from nbgrad.tensor import Tensor


def clone(self: Tensor, *, memory_format=None) -> Tensor:
    """A copy with its own memory, through which gradients pass."""
    return OPS["clone"].one(self)


def ravel(self: Tensor) -> Tensor:
    """The elements as a vector, without a copy where possible."""
    return shape.reshape(self, -1)


#: rows that are steps of other functions, or whose function stands elsewhere
HIDDEN = {"cube", "cube_", "sqrt_pow", "sqrt_pow_", "clone_", "trunc_divide", "trunc_divide_",
          "hardsigmoid", "prelu"}

#: second names
ALIASES = {"multiply": "mul", "subtract": "sub", "divide": "div", "negative": "neg",
           "absolute": "abs", "fix": "trunc", "clip": "clamp", "greater": "gt", "less": "lt",
           "greater_equal": "ge", "less_equal": "le", "not_equal": "ne", "arccos": "acos",
           "arcsin": "asin", "arctan": "atan", "arctan2": "atan2", "arcsinh": "asinh",
           "arccosh": "acosh", "arctanh": "atanh"}

_rows = pointwise.FUNCTIONS | special.FUNCTIONS

#: name -> function, for `nbgrad.<name>` and `Tensor.<name>` alike
FUNCTIONS: dict = {
    **{name: function for name, function in _rows.items() if name not in HIDDEN},
    **{alias: _rows[name] for alias, name in ALIASES.items()},
    "fill": write.fill, "clone": clone, "ravel": ravel, "detach": Tensor.detach,
    "broadcast_to": shape.expand,
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
    **matmul.FUNCTIONS, **softmax.FUNCTIONS, **scan.FUNCTIONS, **sort.FUNCTIONS,
    **search.FUNCTIONS,
    "bernoulli": random.bernoulli, "multinomial": random.multinomial,
}

#: name -> function, for the package only
PACKAGE_ONLY: dict = {
    "cat": shape.cat, "concat": shape.cat, "stack": shape.stack,
    **{f.__name__: f for f in (
        create.tensor, create.from_numpy, create.as_tensor, create.zeros, create.ones, create.full,
        create.empty, create.eye, create.arange, create.linspace, create.scalar_tensor,
        create.full_like, create.is_tensor, special.result_type)},
    "zeros_like": create.zeros_like, "ones_like": create.ones_like, "empty_like": create.empty_like,
    **create.LEGACY,
    **random.PACKAGE_ONLY, "dropout": random.dropout,
    **conv.FUNCTIONS, **pool.FUNCTIONS, **norm.FUNCTIONS, **embedding.FUNCTIONS,
    **search.PACKAGE_ONLY, **interop.PACKAGE_ONLY,
}

interop.FUNCTIONS.update(PACKAGE_ONLY | FUNCTIONS)


def _as(make):
    """A method that takes its shape or dtype from another tensor."""
    def method(self: Tensor, other: Tensor) -> Tensor:
        return make(self, other)
    return method


def _cast(dtype):
    def method(self: Tensor) -> Tensor:
        return write.to(self, dtype)
    method.__doc__ = f"The tensor as {dtype.name}."
    return method


def _type(self: Tensor, dtype=None):
    """The name of the tensor's type, or the tensor as another dtype."""
    return f"torch.{self.dtype.legacy}Tensor" if dtype is None else write.to(self, dtype)


def _cuda(self: Tensor, device=None) -> Tensor:
    """The tensor on a CUDA device."""
    return write.to(self, device="cuda" if device is None else device)


_CASTS = {"float": dtypes.float32, "double": dtypes.float64, "int": dtypes.int32,
          "long": dtypes.int64, "bool": dtypes.bool_, "short": dtypes.int16, "byte": dtypes.uint8,
          "char": dtypes.int8}

#: name -> method, for Tensor only
METHODS: dict = {
    "accumulate_": accumulate_,
    "view": shape.view_, "expand": shape.expand, "contiguous": shape.contiguous,
    "repeat": shape.repeat, "unfold": shape.unfold, "split_with_sizes": shape.split,
    "view_as": _as(lambda t, other: shape.view_(t, other._layout.shape)),
    "reshape_as": _as(lambda t, other: shape.reshape(t, other._layout.shape)),
    "expand_as": _as(lambda t, other: shape.expand(t, other._layout.shape)),
    "type_as": _as(lambda t, other: write.to(t, other._layout.dtype)),
    "to": write.to, "type": _type, "cpu": lambda self: self, "cuda": _cuda,
    "copy_": write.copy_, "fill_": write.fill_, "zero_": write.zero_,
    "sum_to_size": reductions.sum_to_size, "normal_": random.normal_, "uniform_": random.uniform_,
    "bernoulli_": random.bernoulli_, "random_": random.random_,
    "where": lambda self, condition, other: index.where(condition, self, other),
    "masked_fill_": index.masked_fill_, "index_put_": index.index_put_,
    "T": property(lambda self: shape.permute(self, tuple(reversed(range(self.dim()))))),
    "mT": property(lambda self: shape.transpose(self, -2, -1)),
    "__getitem__": index.getitem, "__setitem__": index.setitem,
    "__neg__": FUNCTIONS["neg"], "__pos__": FUNCTIONS["positive"], "__abs__": FUNCTIONS["abs"],
    "__invert__": special.bitwise_not, "__matmul__": matmul.matmul,
    "__rmatmul__": lambda self, other: matmul.matmul(other, self),
    "__ipow__": FUNCTIONS["pow_"],
    **{name: _cast(dtype) for name, dtype in _CASTS.items()},
    **create.METHODS, **protocols.METHODS, **interop.METHODS,
}
for _dunder, _row in {"add": "add", "sub": "sub", "mul": "mul", "truediv": "div",
                      "and": "bitwise_and", "or": "bitwise_or", "xor": "bitwise_xor"}.items():
    METHODS[f"__{_dunder}__"] = pointwise.operator_of(_row)
    METHODS[f"__r{_dunder}__"] = pointwise.operator_of(_row, reflected=True)
    METHODS[f"__i{_dunder}__"] = FUNCTIONS[f"{_row}_"]
for _dunder, _row in {"floordiv": "floor_divide", "mod": "remainder", "pow": "pow"}.items():
    METHODS[f"__{_dunder}__"] = pointwise.operator_through(FUNCTIONS[_row])
    METHODS[f"__r{_dunder}__"] = pointwise.operator_through(FUNCTIONS[_row], reflected=True)
    METHODS[f"__i{_dunder}__"] = FUNCTIONS[f"{_row}_"]
METHODS["__rsub__"] = pointwise.operator_through(FUNCTIONS["rsub"])
for _row in ("lt", "le", "gt", "ge", "eq", "ne"):
    METHODS[f"__{_row}__"] = pointwise.operator_of(_row)

for _name, _function in (METHODS | FUNCTIONS).items():
    if _name not in Tensor.__dict__ or _name in METHODS:
        setattr(Tensor, _name, _function)
