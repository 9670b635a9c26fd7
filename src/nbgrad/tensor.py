"""Tensor: a layout over a storage, its place in the graph, and its version counter."""

from __future__ import annotations

import sys
import warnings
import weakref
from typing import TYPE_CHECKING, Any

import numpy as np

from nbgrad import dtypes
from nbgrad.devices import CPU, device
from nbgrad.dtypes import InHalf
from nbgrad.engine import provenance
from nbgrad.engine.mode import inferring, state
from nbgrad.engine.node import LEAVES, Handle, Node, hooks_of, next_number
from nbgrad.engine.provenance import Cuts
from nbgrad.engine.saved import INFERENCE, Counter, counter_here
from nbgrad.engine.slot import GradSlot
from nbgrad.engine.window import View
from nbgrad.kernels import memory
from nbgrad.kernels.cpu.copy import write
from nbgrad.kernels.cuda.bounds import expose
from nbgrad.kernels.layout import Layout, layout
from nbgrad.size import Size

if TYPE_CHECKING:
    from nbgrad.stubs import Methods
else:
    Methods = object


class AccumulateGrad(Node):
    """The end of the graph at a leaf: adds what arrives to the leaf's `.grad`.

    The leaf owns this node and the graph refers to it, never to the leaf, so no cycle arises.
    """

    __slots__ = ("after", "grad", "layout", "leaf")

    def __init__(self, leaf: Tensor) -> None:
        self.number = next_number()
        self.next = self.ports = self.saved = ()
        self.hooks = self.place = None
        self.layout = leaf._layout
        self.leaf = weakref.ref(leaf)
        self.after: dict = {}
        self.grad: Tensor | None = None

    @property
    def variable(self) -> Tensor | None:
        return self.leaf()

    @staticmethod
    def back(node: AccumulateGrad, grad: Tensor):
        with LEAVES:
            old = node.grad
            if old is None:
                node.grad = _own(grad, node.layout)
            elif grad._node is None and old._node is None:
                old.add_(grad)
            else:
                node.grad = old + grad
        for hook in list(node.after.values()):
            hook(node.leaf())
        return ()

    def held(self) -> Tensor | None:
        grad = self.grad
        if grad is None or grad._node is not None or self.after or self.hooks is not None:
            return None
        grad._count()
        return grad


def _own(grad: Tensor, like: Layout) -> Tensor:
    """The gradient itself if nobody else can see its memory and it lies like the leaf, else a copy.

    Counted references: the engine's loop and the frames down to here hold the tensor, and
    the tensor alone holds its array.
    """
    if grad._node is not None:
        return grad.clone()
    alone = sys.getrefcount(grad) <= _ENGINE_REFERENCES and sys.getrefcount(grad._data) <= 2
    fits = grad._layout.strides == like.strides and grad._data.size == grad._layout.numel
    if alone and fits and like.device is CPU and grad._counter is None and grad._view is None:
        return grad
    if (alone and fits and like.device is not CPU and grad._view is None
            and sys.getrefcount(grad._data.block) <= 2):
        return grad
    own = layout(like.dtype, like.shape, like.strides if like.dense else None, 0, like.device)
    if like.device is not CPU:
        copy = Tensor(memory.on(like.device).empty(like.numel, like.dtype.storage), own)
        copy.data.copy_(grad)
        return copy
    copy = Tensor(memory.empty(like.numel, like.dtype.storage), own)
    write(copy._stored(), grad._stored())
    return copy


# the engine's `grads`, the arguments of back, _own and getrefcount
_ENGINE_REFERENCES = 4


class Saved:
    """An output kept for backward without owning the tensor, which owns its node."""

    __slots__ = ("_counter", "_data", "_layout", "port")

    def __init__(self, tensor: Tensor, port: int) -> None:
        if tensor._counter is None:
            tensor._counter = Counter()
        self._counter, self._data, self._layout = tensor._counter, tensor._data, tensor._layout
        self.port = port

    def tensor(self, node: Node) -> Tensor:
        made = Tensor(self._data, self._layout)
        made._counter = self._counter
        made._node, made._port = node, self.port
        return made

    def made_by(self, node: Node):
        return node, max(self.port, 0)

    def describe(self) -> str:
        return describe(self._layout)


def describe(own: Layout) -> str:
    return f"torch.{'cuda.' * (own.device is not CPU)}{own.dtype.legacy}Tensor {list(own.shape)}"


class Tensor(Methods):
    """An n-dimensional array that remembers how it was computed.

    Make one with `nbgrad.tensor`, `zeros`, `randn`, `from_numpy` and their kin. Inside the library
    `Tensor(storage, layout)` is a tensor over a vector of memory.
    """

    __slots__ = ("__dict__", "__weakref__", "_counter", "_data", "_layout", "_node", "_port",
                 "_slot", "_view")
    __array_priority__ = 1000

    def __init__(self, data: Any = (), own: Any = None, *more) -> None:
        if type(own) is not Layout:  # the user's Tensor([1., 2.]) or Tensor(2, 3)
            made = self._legacy(data, *(() if own is None else (own, *more)))
            data, own = made._data, made._layout
        self._data: Any = data  # a vector: np.ndarray, or DeviceArray
        self._layout: Layout = own
        self._node: Any = None  # Node | None
        self._counter: Any = counter_here() if inferring else None  # Counter | None
        self._view: View | None = None
        self._slot: AccumulateGrad | GradSlot | Cuts | None = None
        self._port = -1  # which of the node's outputs, -1 for the only one

    # shape and type

    @property
    def shape(self) -> Size:
        return Size(self._layout.shape)

    @property
    def dtype(self) -> dtypes.dtype:
        return self._layout.dtype

    @property
    def device(self) -> device:
        return self._layout.device

    @property
    def is_cuda(self) -> bool:
        return self._layout.device is not CPU

    @property
    def ndim(self) -> int:
        return len(self._layout.shape)

    @property
    def itemsize(self) -> int:
        return self._layout.dtype.itemsize

    @property
    def nbytes(self) -> int:
        return self._layout.numel * self._layout.dtype.itemsize

    is_sparse = is_quantized = is_meta = False
    layout = "strided"

    def dim(self) -> int:
        return len(self._layout.shape)

    ndimension = dim

    def numel(self) -> int:
        return self._layout.numel

    nelement = numel

    def size(self, dim: int | None = None):
        """The shape, or its extent along `dim`."""
        if dim is None:
            return self.shape
        return self._layout.shape[self._axis(dim)]

    def stride(self, dim: int | None = None):
        """Elements of storage from one index to the next, for every axis or for `dim`."""
        return self._layout.strides if dim is None else self._layout.strides[self._axis(dim)]

    def _axis(self, dim: int) -> int:
        rank = max(len(self._layout.shape), 1)
        if not -rank <= dim < rank:
            raise IndexError(f"Dimension out of range (expected to be in range of [{-rank}, "
                             f"{rank - 1}], but got {dim})")
        return dim % rank

    def storage_offset(self) -> int:
        return self._layout.offset

    def data_ptr(self) -> int:
        start = self._data.ctypes.data if self._layout.device is CPU else expose(self._data).ptr
        return start + self._layout.offset * self.itemsize

    def element_size(self) -> int:
        return self._layout.dtype.itemsize

    def is_floating_point(self) -> bool:
        return self._layout.dtype.is_floating_point

    def is_complex(self) -> bool:
        return False

    def __len__(self) -> int:
        if not self._layout.shape:
            raise TypeError("len() of a 0-d tensor")
        return self._layout.shape[0]

    # memory

    def _array(self) -> Any:
        """A view of the elements, for those who compute with them: an array of the tensor's device."""
        own = self._layout
        if own.dtype.half:
            raise InHalf(own.dtype)
        return self._stored()

    def _stored(self) -> Any:
        """A view of the elements as they lie in memory."""
        own = self._layout
        if own.device is not CPU:
            return self._data.window(own.shape, own.strides, own.offset)
        if own.contiguous:
            if own.offset == 0 and self._data.size == own.numel:
                return self._data.reshape(own.shape)
            return self._data[own.offset:own.offset + own.numel].reshape(own.shape)
        size = own.dtype.itemsize
        return np.ndarray(own.shape, own.dtype.storage, self._data, own.offset * size,
                          tuple(s * size for s in own.strides))

    def numpy(self, *, force: bool = False) -> np.ndarray:
        """The elements as a NumPy array over the same memory.

        Raises:
            RuntimeError: the tensor requires grad and this thread records
                (use `.detach().numpy()`).
        """
        if self.requires_grad and state.grad and not force:
            raise RuntimeError("Can't call numpy() on Tensor that requires grad. "
                               "Use tensor.detach().numpy() instead.")
        own = self._layout.dtype
        if self.is_cuda:
            if not force:
                raise TypeError(f"can't convert {self.device} device type tensor to numpy. Use "
                                "Tensor.cpu() to copy the tensor to host memory first.")
            return self.outside().cpu().numpy(force=True)
        if own is dtypes.bfloat16:
            raise TypeError("Got unsupported ScalarType BFloat16: NumPy has no such dtype; use "
                            ".float().numpy()")
        return self._stored().view(np.float16) if own is dtypes.float16 else self._array()

    def _values(self) -> np.ndarray:
        """The elements in a dtype that NumPy knows, for reading: float32 of 16-bit floats.

        Those of a tensor on another device are copied.
        """
        if self._layout.device is not CPU:
            return self.outside().cpu()._values()
        return self.float()._array() if self._layout.dtype.half else self._array()

    def __array__(self, dtype=None, copy=None) -> np.ndarray:
        array = self.numpy()
        if dtype is not None and array.dtype != dtype:
            return array.astype(dtype)
        return array.copy() if copy else array

    def tolist(self):
        """The elements as nested Python lists; a number for a 0-dim tensor."""
        return self._values().tolist()

    def item(self):
        """The Python number of a one-element tensor."""
        if self._layout.numel != 1:
            raise RuntimeError(f"a Tensor with {self._layout.numel} elements cannot be "
                               "converted to Scalar")
        if self._layout.dtype.half:
            return self.float().item()
        if self._layout.device is not CPU:
            return self._values().item()
        return self._data[self._layout.offset].item()

    def has_nan(self) -> bool:
        return self.is_floating_point() and bool(np.isnan(self._values()).any())

    @property
    def _version(self) -> int:
        if self._counter is INFERENCE:
            raise RuntimeError("Inference tensors do not track version counter.")
        return self._counter.count if self._counter is not None else 0

    def _count(self) -> Counter:
        if self._counter is None:
            self._counter = Counter()
        return self._counter

    def made_by(self, saver: Node):
        """The node this tensor is an output of and the output's number; None for a leaf."""
        return None if self.is_leaf else (self._node, max(self._port, 0))

    def describe(self) -> str:
        return describe(self._layout)

    # the graph

    @property
    def requires_grad(self) -> bool:
        view = self._view
        if view is not None and view.version != self._counter.count:
            if view.kind != "default":
                return self._node is not None or view.base._node is not None
            self._refresh()
        return self._node is not None

    @requires_grad.setter
    def requires_grad(self, value: bool) -> None:
        if value and not self.is_leaf:
            raise RuntimeError("you can only change requires_grad flags of leaf variables.")
        self.requires_grad_(value)

    def requires_grad_(self, requires_grad: bool = True) -> Tensor:
        """Say whether a leaf wants a gradient; returns the tensor itself."""
        if not self.is_leaf:
            if not requires_grad:
                raise RuntimeError(
                    "you can only change requires_grad flags of leaf variables. If you want to use "
                    "a computed variable in a subgraph that doesn't require differentiation use "
                    "var_no_grad = var.detach().")
            return self
        if not requires_grad:
            self._node = None
        elif self._node is None:
            if not self.is_floating_point():
                raise RuntimeError("only Tensors of floating point and complex dtype can require "
                                   f"gradients, not {self.dtype}: cast it first with .float()")
            if self._counter is INFERENCE and not state.inference:
                raise RuntimeError("Setting requires_grad=True on inference tensor outside "
                                   "InferenceMode is not allowed.")
            if not isinstance(self._slot, AccumulateGrad):
                self._slot = AccumulateGrad(self)
            self._node = self._slot
        return self

    @property
    def is_leaf(self) -> bool:
        if self._view is not None:
            self._refresh()
        return self._node is None or type(self._node) is AccumulateGrad

    @property
    def grad_fn(self) -> Node | None:
        return None if self.is_leaf else self._node

    @property
    def output_nr(self) -> int:
        return max(self._port, 0)

    def _refresh(self) -> None:
        """Renew the history of a view whose base was written to through another name."""
        view: Any = self._view
        if view.version == self._counter.count:
            return
        if view.base._node is not None or not (
                self._node is None or type(self._node) is AccumulateGrad):
            if view.kind != "default":
                if state.grad:
                    view.refuse(self._node, self._port, "its base or another view of its base has been")
                return
            self._rebase(view.base)
        view.version = self._counter.count

    def _rebase(self, base: Tensor) -> None:
        raise NotImplementedError  # given by ops.shape: the gradient of as_strided

    @property
    def _base(self) -> Tensor | None:
        return None if self._view is None else self._view.base

    def _is_view(self) -> bool:
        return self._view is not None

    @property
    def grad(self) -> Tensor | None:
        slot = self._slot
        if slot is None or isinstance(slot, tuple):
            if not self.is_leaf:
                warnings.warn(_NOT_LEAF, UserWarning, stacklevel=2)
            return None
        return slot.grad

    @grad.setter
    def grad(self, value: Tensor | None) -> None:
        if value is None:
            if self._slot is not None and not isinstance(self._slot, tuple):
                self._slot.grad = None
            return
        if not isinstance(value, Tensor):
            raise TypeError(f"assigned grad expected to be a Tensor or None but got grad of type "
                            f"{type(value).__name__}")
        if value is self:
            raise RuntimeError("can't assign Variable as its own grad")
        if value.dtype is not self.dtype:
            raise RuntimeError(f"attempting to assign a gradient with dtype '{value.dtype}' to a "
                               f"tensor with dtype '{self.dtype}': cast it first")
        if value._layout.device is not self._layout.device:
            raise RuntimeError(f"attempting to assign a gradient located on device '{value.device}' to "
                               f"a tensor located on device '{self.device}'. Please ensure that the "
                               "gradient and the tensor are on the same device")
        if value._layout.shape != self._layout.shape:
            raise RuntimeError(f"attempting to assign a gradient of size '{list(value.shape)}' to a "
                               f"tensor of size '{list(self.shape)}'. Please ensure that the gradient "
                               "and the tensor are the same size")
        if self._slot is None or isinstance(self._slot, tuple):
            self._slot = AccumulateGrad(self) if self.is_leaf else GradSlot()
        self._slot.grad = value

    @grad.deleter
    def grad(self) -> None:
        self.grad = None

    def retain_grad(self) -> None:
        """Keep the gradient of a tensor that is no leaf in its `.grad`."""
        if not self.requires_grad:
            raise RuntimeError("can't retain_grad on Tensor that has requires_grad=False")
        if self.is_leaf or self.retains_grad:
            return
        slot = self._slot if isinstance(self._slot, GradSlot) else GradSlot()
        self._slot, slot.retains = slot, True
        hooks_of(self._node).retained[self._port] = slot

    @property
    def retains_grad(self) -> bool:
        return isinstance(self._slot, GradSlot) and self._slot.retains

    def register_hook(self, hook) -> Handle:
        """Call `hook(grad)` when the tensor's gradient is known; what it returns replaces it."""
        if not self.requires_grad:
            raise RuntimeError("cannot register a hook on a tensor that doesn't require gradient")
        name = getattr(hook, "__name__", hook)

        def checked(grad: Tensor) -> Tensor | None:
            replaced = hook(grad)
            if replaced is None:
                return None
            if not isinstance(replaced, Tensor):
                raise TypeError("expected Variable, but hook returned "
                                f"'{type(replaced).__name__}' (hook {name})")
            for what in ("dtype", "shape"):
                if getattr(replaced._layout, what) != getattr(grad._layout, what):
                    raise RuntimeError(f"hook '{name}' has changed the "
                                       f"{'type' if what == 'dtype' else 'size'} of value")
            return replaced

        return hooks_of(self._node).add("tensor", self._port, checked)

    def register_post_accumulate_grad_hook(self, hook) -> Handle:
        """Call `hook(tensor)` after this leaf's `.grad` was added to."""
        if not self.requires_grad:
            raise RuntimeError("cannot register a hook on a tensor that doesn't require gradient")
        if not self.is_leaf:
            raise RuntimeError("post accumulate grad hooks cannot be registered on non-leaf tensors")
        key = next_number()
        self._node.after[key] = hook
        return Handle(self._node.after, key)

    def detach(self) -> Tensor:
        """The same memory and version counter, outside the graph."""
        made = self.outside()
        if self._node is not None:
            made._slot = (("detach", provenance.here(2), (weakref.ref(self._node),)),)
        elif isinstance(self._slot, tuple):
            made._slot = self._slot
        return made

    def outside(self) -> Tensor:
        """`detach` without a mark, for the library's own use."""
        made = Tensor(self._data, self._layout)
        made._counter = self._count()
        return made

    def detach_(self) -> Tensor:
        """Cut the tensor from its history, in place."""
        if self._view is not None:
            raise RuntimeError("Can't detach views in-place. Use detach() instead.")
        if not self.is_leaf:
            self._count()
            self._detached = True  # noticed where a node saved this tensor
        if self._node is not None:
            self._slot = (("detach_", provenance.here(2), (weakref.ref(self._node),)),)
        self._node, self._port = None, -1
        return self

    @property
    def data(self) -> Tensor:
        """The same memory, outside the graph and unseen by the version counter."""
        made = Tensor(self._data, self._layout)
        if self._node is not None:
            made._slot = ((".data", provenance.here(2), (weakref.ref(self._node),)),)
        return made

    @data.setter
    def data(self, value: Tensor) -> None:
        if not isinstance(value, Tensor):
            raise TypeError(f"data expects a Tensor, got {type(value).__name__}")
        if self.requires_grad and not value.is_floating_point():
            raise RuntimeError("data set to a tensor that requires gradients must be floating point or "
                               "complex dtype")
        self._data, self._layout = value._data, value._layout
        if isinstance(self._slot, AccumulateGrad):
            self._slot.layout = value._layout


_NOT_LEAF = (
    "The .grad attribute of a Tensor that is not a leaf Tensor is being accessed. Its .grad "
    "attribute won't be populated during autograd.backward(). If you indeed want the .grad "
    "field to be populated for a non-leaf Tensor, use .retain_grad() on the non-leaf Tensor. "
    "If you access the non-leaf Tensor by mistake, make sure you access the leaf Tensor "
    "instead. See github.com/pytorch/pytorch/pull/30531 for more informations."
)

Tensor.__module__ = "nbgrad"  # where users know it from
