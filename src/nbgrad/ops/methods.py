"""Which operations the package and Tensor have, under which names."""

from __future__ import annotations

from inspect import isfunction

from nbgrad import dtypes
from nbgrad.ops import (
    activations,
    arrange,
    conv,
    copies,
    count,
    create,
    diagonals,
    distance,
    draw,
    dropout,
    einsum,
    embedding,
    generator,
    getitem,
    index,
    inquiry,
    interop,
    join,
    keywords,
    linalg,
    mask,
    matmul,
    noise,
    norm,
    overwrite,
    pad,
    pin,
    pointwise,
    pool,
    pool_adaptive,
    product_sums,
    protocols,
    random,
    ranges,
    rearrange,
    reductions,
    scan,
    scatter,
    search,
    shape,
    shape_inplace,
    softmax,
    sort,
    special,
    statistics,
    vector_norm,
    write,
)
from nbgrad.ops.axis_order import in_rows
from nbgrad.ops.elementwise import OPS, accumulate_
from nbgrad.ops.family import expect_tensor
from nbgrad.tensor import Tensor


def clone(input: Tensor, *, memory_format=None) -> Tensor:
    """A copy with its own memory, through which gradients pass."""
    expect_tensor("clone", input=input)
    if memory_format is not None:
        return shape.clone(input, in_rows(input._layout, memory_format))
    return OPS["clone"].one(input)


#: rows that are steps of other functions, or whose function stands elsewhere
HIDDEN = {"cube", "cube_", "sqrt_pow", "sqrt_pow_", "clone_", "trunc_divide", "trunc_divide_",
          "hardsigmoid", "clamp_above", "clamp_above_", "clamp_below", "clamp_below_"}

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
    **{f"{alias}_": _rows[f"{name}_"] for alias, name in ALIASES.items()},
    "fill": write.fill, "fill_": write.fill_, "zero_": write.zero_, "clone": clone,
    "detach": Tensor.detach,
    "broadcast_to": shape.expand,
    **reductions.FUNCTIONS, **vector_norm.FUNCTIONS, **statistics.FUNCTIONS, **activations.FUNCTIONS,
    "reshape": shape.reshape, "permute": shape.permute, "transpose": shape.transpose,
    "swapaxes": shape.transpose, "t": shape.t_, "movedim": shape.movedim, "squeeze": shape.squeeze,
    "unsqueeze": shape.unsqueeze, "narrow": shape.narrow, "select": shape.select,
    "diagonal": shape.diagonal, "flatten": shape.flatten, "unflatten": shape.unflatten,
    "as_strided": shape.as_strided, "unbind": shape.unbind, "split": shape.split,
    "chunk": shape.chunk, **getitem.FUNCTIONS, **index.FUNCTIONS, **scatter.FUNCTIONS,
    **mask.FUNCTIONS, **overwrite.FUNCTIONS, **count.FUNCTIONS,
    **matmul.FUNCTIONS, **product_sums.FUNCTIONS,
    **softmax.FUNCTIONS, **scan.FUNCTIONS, **sort.FUNCTIONS,
    **search.FUNCTIONS, **einsum.FUNCTIONS, **linalg.FUNCTIONS, "vdot": matmul.dot,
    **shape.FUNCTIONS, **shape_inplace.FUNCTIONS, **arrange.FUNCTIONS, **diagonals.FUNCTIONS,
    **join.FUNCTIONS,
    **random.FUNCTIONS,
}

#: name -> function, for the package only
PACKAGE_ONLY: dict = {
    **join.PACKAGE_ONLY, **copies.PACKAGE_ONLY, **diagonals.PACKAGE_ONLY, **arrange.PACKAGE_ONLY,
    **create.PACKAGE_ONLY, **ranges.PACKAGE_ONLY, **inquiry.PACKAGE_ONLY,
    "result_type": special.result_type, **special.PACKAGE_ONLY, **statistics.PACKAGE_ONLY,
    **activations.PACKAGE_ONLY, **noise.FUNCTIONS,
    **random.PACKAGE_ONLY, **generator.PACKAGE_ONLY, **dropout.PACKAGE_ONLY,
    **einsum.PACKAGE_ONLY, **linalg.PACKAGE_ONLY, **distance.PACKAGE_ONLY, **rearrange.FUNCTIONS,
    **pad.PACKAGE_ONLY, **conv.FUNCTIONS, **pool.FUNCTIONS, **pool_adaptive.FUNCTIONS, **norm.FUNCTIONS,
    **embedding.FUNCTIONS,
    **search.PACKAGE_ONLY, **count.PACKAGE_ONLY, **interop.PACKAGE_ONLY,
}

#: functions that write into `out=`, which only the package's form does
_WRITING = {name for name in (
    *_rows, *ALIASES, *reductions.FUNCTIONS, *vector_norm.FUNCTIONS, *statistics.FUNCTIONS,
    *matmul.FUNCTIONS, *product_sums.FUNCTIONS,
    *softmax.FUNCTIONS, *scan.FUNCTIONS, *sort.FUNCTIONS) if not name.endswith("_")} - {
    "relu", "isnan", "isinf", "isfinite", "isclose", "allclose", "equal", "rsub", "isreal",
    "count_nonzero", "conj", "resolve_conj", "resolve_neg", "var_mean", "std_mean"} | {
    name for name in PACKAGE_ONLY if name.endswith("_copy")} | keywords.EXACT | {
    "cholesky", "cholesky_inverse", "cholesky_solve", "kron", "matrix_power", "polygamma",
    "threshold"}


#: modules whose functions take so long that their arguments are looked at before every call
_SLOW = {"arrange", "decompose", "diagonals", "join", "product_sums", "scan", "search", "solve", "sort",
         "statistics"}


def _flexible(name: str, function, package: bool = False):
    """A function that takes NumPy's names and `out=`, and tells which argument is wrong.

    Methods without arguments that have such names, rows and generators, which tell for themselves,
    stay as they are: a frame more would be felt.
    """
    if not isfunction(function):
        return function
    module = function.__module__.rpartition(".")[2]
    into, slow = package and name in _WRITING, module in _SLOW
    if into or slow or "dim" in function.__code__.co_varnames or (
            package and (module not in ("pointwise", "generator") or name.endswith("_"))):
        return keywords.flexible(name, function, into, slow)
    return function


#: name -> function as `nbgrad.<name>`
PACKAGE = {name: _flexible(name, f, True) for name, f in (PACKAGE_ONLY | FUNCTIONS).items()}
interop.FUNCTIONS.update(PACKAGE)


def _as(make):
    """A method that takes its shape or dtype from another tensor."""
    def method(self: Tensor, other: Tensor) -> Tensor:
        expect_tensor(method.__name__, other=other)
        return make(self, other)
    return method


def _cast(dtype):
    def method(self: Tensor, *, memory_format=None) -> Tensor:
        return write.to(self, dtype, memory_format=memory_format)
    method.__doc__ = f"The tensor as {dtype.name}."
    return method


def _type(self: Tensor, dtype=None):
    """The name of the tensor's type, or the tensor as another dtype."""
    if dtype is None:
        return f"torch.{'cuda.' * self.is_cuda}{self.dtype.legacy}Tensor"
    named = {f"torch.{d.legacy}Tensor": d for d in dtypes.ALL}
    if isinstance(dtype, str) and dtype not in named:
        raise ValueError(f"invalid type: '{dtype}'")
    return write.to(self, named.get(dtype, dtype))


_CASTS = {"float": dtypes.float32, "double": dtypes.float64, "int": dtypes.int32,
          "long": dtypes.int64, "bool": dtypes.bool_, "short": dtypes.int16, "byte": dtypes.uint8,
          "char": dtypes.int8, "half": dtypes.float16, "bfloat16": dtypes.bfloat16}

#: name -> method, for Tensor only
METHODS: dict = {
    "accumulate_": accumulate_,
    "view": shape.view_, "expand": shape.expand, "contiguous": shape.contiguous,
    "is_contiguous": shape.is_contiguous,
    "repeat": shape.repeat, "unfold": shape.unfold,
    "view_as": _as(lambda t, other: shape.view_(t, other._layout.shape)),
    "reshape_as": _as(lambda t, other: shape.reshape(t, other._layout.shape)),
    "expand_as": _as(lambda t, other: shape.expand(t, other._layout.shape)),
    "type_as": _as(lambda t, other: write.to(t, other._layout.dtype)),
    "to": write.to, "type": _type, "cpu": write.cpu, "cuda": write.cuda,
    "copy_": write.copy_,
    "sum_to_size": reductions.sum_to_size,
    **draw.METHODS,
    **getitem.METHODS, **index.METHODS, **scatter.METHODS, **mask.METHODS,
    "T": property(lambda self: shape.permute(self, tuple(reversed(range(self.dim()))))),
    **shape.METHODS, **shape_inplace.METHODS, **diagonals.METHODS, **arrange.METHODS, **copies.METHODS,
    **inquiry.METHODS,
    "__neg__": FUNCTIONS["neg"], "__pos__": FUNCTIONS["positive"], "__abs__": FUNCTIONS["abs"],
    **product_sums.METHODS, **special.METHODS, "__matmul__": matmul.matmul,
    "__rmatmul__": lambda self, other: matmul.matmul(other, self),
    "__ipow__": FUNCTIONS["pow_"],
    **{name: _cast(dtype) for name, dtype in _CASTS.items()},
    **create.METHODS, **protocols.METHODS, **interop.METHODS,
    **pin.METHODS,
}

for _dunder, _row in {"add": "add", "sub": "sub", "mul": "mul", "truediv": "div",
                      "and": "bitwise_and", "or": "bitwise_or", "xor": "bitwise_xor",
                      "lshift": "bitwise_left_shift", "rshift": "bitwise_right_shift"}.items():
    METHODS[f"__{_dunder}__"] = pointwise.operator_of(_row)
    METHODS[f"__r{_dunder}__"] = pointwise.operator_of(_row, reflected=True)
    METHODS[f"__i{_dunder}__"] = FUNCTIONS[f"{_row}_"]
for _dunder, _row in {"floordiv": "floor_divide", "mod": "remainder", "pow": "pow"}.items():
    METHODS[f"__{_dunder}__"] = pointwise.operator_through(FUNCTIONS[_row])
    METHODS[f"__r{_dunder}__"] = pointwise.operator_through(FUNCTIONS[_row], reflected=True)
    METHODS[f"__i{_dunder}__"] = FUNCTIONS[f"{_row}_"]
for _dunder in ("__div__", "__rdiv__", "__idiv__"):
    METHODS[_dunder] = METHODS[_dunder.replace("div", "truediv")]
METHODS["__rsub__"] = pointwise.operator_through(FUNCTIONS["rsub"])
for _row in ("lt", "le", "gt", "ge", "eq", "ne"):
    METHODS[f"__{_row}__"] = pointwise.operator_of(_row)

for _name, _function in (FUNCTIONS | METHODS).items():
    if _name not in Tensor.__dict__ or _name in METHODS:
        setattr(Tensor, _name, _flexible(_name, _function))
