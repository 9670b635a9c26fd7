"""Tensors among NumPy functions, other libraries' arrays and notebooks."""

from __future__ import annotations

import html
from typing import Any

import numpy as np

from nbgrad import printing
from nbgrad.devices import CPU
from nbgrad.kernels.backend import resolve
from nbgrad.ops import create, foreign
from nbgrad.tensor import Tensor

#: NumPy's names for what has another name here.
_RENAMED = {
    "absolute": "abs", "arctan2": "atan2", "astype": "to", "clip": "clamp", "concatenate": "cat",
    "conjugate": "positive", "copy": "clone", "degrees": "rad2deg", "dot": "matmul", "equal": "eq",
    "expand_dims": "unsqueeze", "invert": "bitwise_not", "left_shift": "bitwise_left_shift",
    "max": "amax", "min": "amin", "mod": "remainder", "moveaxis": "movedim", "power": "pow",
    "radians": "deg2rad", "right_shift": "bitwise_right_shift", "rint": "round"}
_REDUCED = {"add": "sum", "multiply": "prod", "maximum": "amax", "minimum": "amin",
            "logical_and": "all", "logical_or": "any"}
_KEYWORDS = {"axis": "dim", "keepdims": "keepdim", "ddof": "correction", "a_min": "min",
             "a_max": "max"}
#: NumPy functions that mean something else than the function of the same name here.
_DIFFERENT = {
    "diag", "flip", "meshgrid", "roll", "rot90", "row_stack", "trace", "tril", "triu",
    "allclose", "array_equal", "copyto", "corrcoef", "cov", "empty_like", "full_like", "histc",
    "interp", "isclose", "may_share_memory", "median", "ndim", "nonzero", "ones_like", "pad",
    "quantile", "repeat", "result_type", "round", "save", "searchsorted", "shape", "shares_memory",
    "size", "sort", "split", "take", "tile", "transpose", "unique", "where", "zeros_like"}

#: What a NumPy name may stand for: all of the package's functions, filled in by ops.methods.
FUNCTIONS: dict[str, Any] = {}


def _function(name: str) -> Any:
    return FUNCTIONS.get(_RENAMED.get(name, name))


def _lists(value, leaf) -> Any:
    """The same nest of lists and tuples with `leaf` applied to what is in it."""
    if isinstance(value, list | tuple):
        return type(value)([_lists(v, leaf) for v in value])
    return leaf(value)


def _tensor(value):
    if isinstance(value, np.generic):
        return value.item()
    return create.as_tensor(value) if isinstance(value, np.ndarray) else value


def _array(value):
    return value.numpy() if isinstance(value, Tensor) else value


def _here(function, args, kwargs):
    named = {_KEYWORDS.get(k, k): _lists(v, _tensor) for k, v in kwargs.items()}
    return function(*[_lists(a, _tensor) for a in args], **named)


def array_ufunc(self: Tensor, ufunc, method: str, *inputs, out=None, **kwargs):
    """A NumPy ufunc of tensors is the function of that name here, recorded as any other.

    One without a counterpart, and one that writes to `out`, is NumPy's own on the values, which
    must not require grad.
    """
    name = ufunc.__name__ if method == "__call__" else None
    if method == "reduce":
        name, kwargs = _REDUCED.get(ufunc.__name__), {"axis": 0} | kwargs
        if kwargs["axis"] is None:
            del kwargs["axis"]
    function = None if name is None or out is not None else _function(name)
    if function is not None and set(kwargs) <= set(_KEYWORDS):
        return _here(function, inputs, kwargs)
    given = [_array(x) for x in inputs]
    if out is None:
        return create.from_numpy(np.asarray(getattr(ufunc, method)(*given, **kwargs)))
    getattr(ufunc, method)(*given, out=tuple(_array(x) for x in out), **kwargs)
    for x in out:
        if isinstance(x, Tensor):
            x._count().bump(f"numpy.{ufunc.__name__}")
    return out[0] if len(out) == 1 else out


def array_function(self: Tensor, func, types, args, kwargs):
    """A NumPy function of tensors is the function of that name here where both mean the same.

    Others are NumPy's own on the values, which must not require grad, and return its arrays.
    """
    name = func.__name__
    function = None if name in _DIFFERENT or "linalg" in func.__module__ else _function(name)
    if function is not None:
        if name in ("var", "std"):
            kwargs = {"ddof": 0} | kwargs
        return _here(function, args, kwargs)
    return func(*_lists(list(args), _array), **{k: _lists(v, _array) for k, v in kwargs.items()})


def dlpack(self: Tensor, *, stream=None, max_version=None, dl_device=None, copy=None):
    """A DLPack capsule over the tensor's memory, for `from_dlpack` of another library.

    Args:
        stream: of a tensor on a CUDA device: the consumer's stream, None or 1 for the default one, 2
            for the default one of this thread, -1 for none that would have to wait.

    Raises:
        BufferError: the tensor requires grad.
    """
    if self.requires_grad:
        raise BufferError("Can't export tensors that require gradient, use tensor.detach()")
    if self.is_cuda:
        return _from_cuda(self, stream, max_version, dl_device, copy)
    if stream is not None:
        raise BufferError(f"stream must be None on cpu, got {stream}")
    array = self.numpy()
    if max_version is None:
        return array.__dlpack__()
    return array.__dlpack__(max_version=max_version, dl_device=dl_device, copy=copy)


def _from_cuda(t: Tensor, stream, max_version, dl_device, copy):
    if dl_device in (None, (foreign.CUDA, 0)):
        return foreign.dlpack(t, stream, max_version, copy)
    if copy is False or dl_device[0] != 1:
        raise BufferError(f"__dlpack__: no memory of device {dl_device} without a copy")
    return dlpack(t.cpu(), max_version=max_version, dl_device=dl_device)


def from_dlpack(ext_tensor, *, device=None, copy: bool | None = None) -> Tensor:
    """A tensor over the memory of an object with `__dlpack__`, or of a capsule that one made.

    Such an object is a NumPy array, or PyTorch's or CuPy's on a CUDA device.

    Args:
        device: where the tensor is to be; where the object is, if nothing is said.
        copy: True for memory of its own, False for none.

    Raises:
        ValueError: its strides are negative, or it had to be copied and `copy` is False.
        BufferError: it is on no device that nbgrad uses.
    """
    if foreign.is_capsule(ext_tensor):
        if device is not None or copy is not None:
            raise AssertionError("device and copy kwargs not supported when ext_tensor is already a "
                                 "DLPack capsule.")
        ext_tensor = foreign.Unwrapped(ext_tensor)
    if not hasattr(ext_tensor, "__dlpack__"):
        raise RuntimeError(f"from_dlpack: a capsule or an object with __dlpack__ is wanted, not "
                           f"{type(ext_tensor).__name__}")
    place = None if device is None else resolve(device)
    there = ext_tensor.__dlpack_device__()
    moves = place is not None and (place is not CPU) != (there[0] == foreign.CUDA)
    if moves and copy is False:
        raise ValueError(f"cannot move DLPack tensor from device {tuple(there)} to {place} without "
                         "copying. Set copy=None or copy=True.")
    if moves:
        copy = None  # the move is one
    if isinstance(ext_tensor, Tensor):
        made = ext_tensor.detach()
        made = made.clone() if copy else made
    elif there[0] == foreign.CUDA:
        made = foreign.from_dlpack(ext_tensor, copy)
    else:
        array = np.from_dlpack(ext_tensor)
        made = create.from_numpy(array.copy() if copy else array)
    return made.to(place) if moves else made


def repr_html(self: Tensor) -> str:
    """What a notebook shows: dtype, shape, and the values, a matrix as a table."""
    notes = [f"Tensor {list(self.shape)}", str(self.dtype).removeprefix("nbgrad."),
             *([f"grad_fn={self.grad_fn.name()}"] if self.grad_fn is not None else
               ["requires_grad"] if self.requires_grad else [])]
    head = f"<code>{html.escape(' · '.join(notes))}</code>"
    if self.dim() not in (1, 2) or not self.numel():
        return f"<div>{head}<pre>{html.escape(printing.values(self._values()))}</pre></div>"
    rows = "".join("<tr>" + "".join(f"<td>{html.escape(text)}</td>" for text in row) + "</tr>"
                   for row in printing.table(self._values().reshape(-1, self.shape[-1])))
    return f"<div>{head}<table>{rows}</table></div>"


METHODS = {
    "__array_ufunc__": array_ufunc, "__array_function__": array_function, "__dlpack__": dlpack,
    "__dlpack_device__": lambda self: (foreign.CUDA, 0) if self.is_cuda else (1, 0),
    "__cuda_array_interface__": property(foreign.interface), "_repr_html_": repr_html,
    "share_memory_": lambda self: self, "is_cpu": property(lambda self: not self.is_cuda),
}
PACKAGE_ONLY = {"from_dlpack": from_dlpack}
