"""What Python itself asks of a tensor: truth, numbers, iteration, printing, copying."""

from __future__ import annotations

import copy

import numpy as np

from nbgrad import dtypes, printing
from nbgrad.engine.saved import Counter
from nbgrad.kernels import memory
from nbgrad.kernels.layout import Layout, layout
from nbgrad.ops import arrange, shape
from nbgrad.tensor import AccumulateGrad, Tensor


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
    if not isinstance(value, (Tensor, int, float, bool)):
        raise RuntimeError(f"Tensor.__contains__ only supports Tensor or scalar, but you passed in a "
                           f"{type(value)}.")
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
        self._values(), dtype_suffix=None if own in shown else f"dtype={own!r}",
        device_suffix=f"device='{self.device}'" if self.is_cuda else None,
        grad_fn=None if node is None else node.name(),
        requires_grad=self.requires_grad)


def _reduce(self: Tensor, protocol):
    stored = np.array(self.outside().cpu()._stored(), order="C").reshape(-1)
    own = self._layout
    more = (str(own.device),) if self.is_cuda else ()
    return _rebuild, (type(self), stored, own.dtype, tuple(own.shape), self.requires_grad, *more)


def _rebuild(cls, stored: np.ndarray, dtype, shape: tuple[int, ...], requires_grad: bool,
             device: str = "cpu") -> Tensor:
    made = Tensor(stored, layout(dtype, shape)).to(device)
    return _over(cls, made._data, made._layout).requires_grad_(requires_grad)


def _over(cls, data: np.ndarray, own: Layout) -> Tensor:
    """A leaf of a class over memory, whose own way of being made is not asked."""
    made = cls.__new__(cls)
    Tensor.__init__(made, data, own)
    return made


def _copy(self: Tensor) -> Tensor:
    made = _over(type(self), self._data, self._layout)
    made._counter = self._count()
    made.__dict__.update(self.__dict__)
    return made.requires_grad_(self.requires_grad)


def _deepcopy(self: Tensor, memo: dict) -> Tensor:
    if id(self) in memo:
        return memo[id(self)]
    if not self.is_leaf:
        raise RuntimeError(
            "Only Tensors created explicitly by the user (graph leaves) support the deepcopy "
            "protocol at the moment.  If you were attempting to deepcopy a module, this may be "
            "because of a torch.nn.utils.weight_norm usage, see "
            "https://github.com/pytorch/pytorch/pull/103001")
    # Tensors that share memory share it afterwards, and with it the counter of writes.
    data, counter = memo.get(id(self._data)) or memo.setdefault(
        id(self._data), (memory.on(self.device).copied(self._data), Counter()))
    made = memo[id(self)] = _over(type(self), data, self._layout)
    made._counter = counter
    made.requires_grad_(self.requires_grad)
    if isinstance(self._slot, AccumulateGrad) and self._slot.grad is not None:
        made.grad = copy.deepcopy(self._slot.grad, memo)
    made.__dict__.update(copy.deepcopy(self.__dict__, memo))
    return made


def _reversed(self: Tensor) -> Tensor:
    return arrange.flip(self, 0) if self._layout.shape else self


METHODS = {
    "__bool__": _bool, "__index__": _index, "__iter__": _iter, "__reversed__": _reversed,
    "__contains__": _contains,
    "__format__": _format, "__repr__": _repr, "__reduce_ex__": _reduce, "__copy__": _copy,
    "__deepcopy__": _deepcopy,
    "__hash__": object.__hash__,
    "__float__": lambda self: float(self.item()), "__int__": lambda self: int(self.item()),
}
