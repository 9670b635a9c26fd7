"""Memory of a CUDA device shared with other libraries: DLPack capsules and `__cuda_array_interface__`.

The capsule that goes out is NumPy's, over an array that nobody reads, changed to name the device:
NumPy's own functions, in C, then free it in whatever thread it ends. What is in a capsule that comes in
is taken out of it, and deleted when the tensor ends.
"""

from __future__ import annotations

import ctypes
from threading import RLock
from typing import Any

import numpy as np

from nbgrad import devices, dtypes
from nbgrad.kernels import memory
from nbgrad.kernels.backend import machine, resolve
from nbgrad.kernels.cuda.array import DeviceArray
from nbgrad.kernels.layout import contiguous_strides, layout
from nbgrad.tensor import Tensor

#: DLPack's numbers: devices, kinds of numbers, and flags
CUDA, _BFLOAT, _SEALED, _COPIED = 2, 4, 1, 2
_KINDS = {0: "i", 1: "u", 2: "f", 6: "b"}
_VOID = "<V2"  # what `__cuda_array_interface__` calls bfloat16, here and in PyTorch
_DEFAULT_STREAM, _OF_THREAD = 1, 2  # how both protocols write stream 0, and that of each thread


class _DLTensor(ctypes.Structure):
    _fields_ = [("data", ctypes.c_void_p), ("device_type", ctypes.c_int32),
                ("device_id", ctypes.c_int32), ("ndim", ctypes.c_int32), ("code", ctypes.c_uint8),
                ("bits", ctypes.c_uint8), ("lanes", ctypes.c_uint16),
                ("shape", ctypes.POINTER(ctypes.c_int64)),
                ("strides", ctypes.POINTER(ctypes.c_int64)), ("byte_offset", ctypes.c_uint64)]


_Deleter = ctypes.PYFUNCTYPE(None, ctypes.c_void_p)


class _Managed(ctypes.Structure):
    _fields_ = [("tensor", _DLTensor), ("manager", ctypes.c_void_p), ("deleter", _Deleter)]
    major, flags = 0, 0
    used = b"used_dltensor"


class _Versioned(ctypes.Structure):
    _fields_ = [("major", ctypes.c_uint32), ("minor", ctypes.c_uint32),
                ("manager", ctypes.c_void_p), ("deleter", _Deleter),
                ("flags", ctypes.c_uint64), ("tensor", _DLTensor)]
    used = b"used_dltensor_versioned"


# ctypes.pythonapi of our own: the types of its functions are shared by all who use it
_python = ctypes.PyDLL("pythonapi", handle=ctypes.pythonapi._handle)
_python.PyCapsule_GetPointer.restype = ctypes.c_void_p
for _name in "PyCapsule_GetPointer", "PyCapsule_IsValid", "PyCapsule_SetName":
    getattr(_python, _name).argtypes = [ctypes.py_object, ctypes.c_char_p]
for _kind in _Managed, _Versioned:
    _python.Py_IncRef(ctypes.py_object(_kind.used))  # capsules that have this name may end last


_TAKING = RLock()  # one thread at a time looks at a capsule and takes what is in it


def _inside(capsule) -> _Managed | _Versioned:
    """What is in a capsule that nobody has used."""
    for kind in _Managed, _Versioned:
        name = kind.used.removeprefix(b"used_")
        with _TAKING:
            if _python.PyCapsule_IsValid(capsule, name):
                return kind.from_address(_python.PyCapsule_GetPointer(capsule, name))
    raise RuntimeError("from_dlpack received an invalid capsule. Note that DLTensor capsules can be "
                       "consumed only once, so you might have already constructed a tensor from it "
                       "once.")


class _Held:
    """Memory of another library: once it is taken out of a capsule, it is deleted when this ends."""

    deleter: Any = None
    address = 0

    def take(self, capsule, found: _Managed | _Versioned) -> None:
        _python.PyCapsule_SetName(capsule, found.used)
        self.deleter, self.address = found.deleter, ctypes.addressof(found)

    def __del__(self) -> None:
        if self.deleter:
            self.deleter(self.address)


def _shell(t: Tensor) -> np.ndarray:
    """An array with the tensor's address, shape and strides, which must not be read."""
    own = t._layout
    size = own.dtype.itemsize
    raw: Any = (ctypes.c_char * max(own.span * size, 1)).from_address(t.data_ptr())
    raw.memory = t._data
    dtype = np.dtype(np.float16) if own.dtype is dtypes.float16 else own.dtype.storage
    return np.ndarray(own.shape, dtype, raw, 0, [s * size for s in own.strides])


def dlpack(t: Tensor, stream, max_version, copy) -> Any:
    """A capsule over a tensor of a CUDA device, for work on the consumer's stream."""
    if stream is not None and type(stream) is not int:
        raise TypeError("stream must be ``int`` or ``none``")
    if stream is not None and (stream == 0 or stream < -1):
        raise BufferError(f"__dlpack__: stream {stream} is none of CUDA's, whose default one is 1")
    if copy:
        t = t.clone()
    there = _DEFAULT_STREAM if stream is None else stream
    if there != -1:
        _join(machine().stream, there)
        if there != _OF_THREAD:
            memory.on(t.device).record(t._data, _handle(there))
    shell = _shell(t)
    versioned = max_version is not None and max_version[0] >= 1
    capsule = shell.__dlpack__(max_version=max_version) if versioned else shell.__dlpack__()
    made = _inside(capsule)
    made.tensor.device_type, made.tensor.device_id = CUDA, 0
    if t._layout.dtype is dtypes.bfloat16:
        made.tensor.code = _BFLOAT
    if not t._layout.numel:
        made.tensor.data = None
    if versioned and copy:
        made.flags |= _COPIED
    return capsule


def from_dlpack(source, copy: bool | None = None) -> Tensor:
    """A tensor over the memory of an object of a CUDA device with `__dlpack__`, or over a copy."""
    place = resolve(devices.device("cuda", source.__dlpack_device__()[1]))
    stream = machine().stream or _DEFAULT_STREAM
    try:
        capsule = source.__dlpack__(stream=stream, max_version=(1, 0))
    except TypeError:  # a library that does not know of versions
        capsule = source.__dlpack__(stream=stream)
    made = from_capsule(capsule, place, copy)
    return made.clone() if copy else made


def is_capsule(value) -> bool:
    """Whether it is a capsule itself, and not an object that makes one."""
    return type(value).__name__ == "PyCapsule"


class Unwrapped:
    """A capsule as an object that makes it."""

    def __init__(self, capsule) -> None:
        self.capsule = capsule
        told = _inside(capsule).tensor
        self.device = (told.device_type, told.device_id)

    def __dlpack__(self, **options) -> Any:
        return self.capsule

    def __dlpack_device__(self) -> tuple[int, int]:
        return self.device


def from_capsule(capsule, place, copy: bool | None = None) -> Tensor:
    """A tensor over the memory that a capsule describes, or over a copy if that may be needed."""
    with _TAKING:
        made, sealed = _taken(capsule, place, copy)
    return made.clone() if sealed and not copy else made


def _taken(capsule, place, copy: bool | None) -> tuple[Tensor, bool]:
    """A tensor over the memory that a capsule describes, and whether that may not be written to."""
    found = _inside(capsule)
    told, sealed = found.tensor, bool(found.flags & _SEALED)
    if found.major > 1:
        raise BufferError(f"from_dlpack: DLPack {found.major} is not known here")
    if sealed and copy is False:
        raise BufferError("from_dlpack: memory that may not be written to is copied")
    if told.lanes != 1:
        raise RuntimeError("from_dlpack: elements of several lanes are not supported")
    if told.code == _BFLOAT and told.bits == 16:
        dtype: dtypes.dtype = dtypes.bfloat16
    elif told.code in _KINDS and told.bits % 8 == 0:
        dtype = _known(f"{_KINDS[told.code]}{told.bits // 8}")
    else:
        raise RuntimeError(f"from_dlpack: no dtype has code {told.code} and {told.bits} bits")
    shape = tuple(told.shape[:told.ndim])
    strides = tuple(told.strides[:told.ndim]) if told.strides else contiguous_strides(shape)
    held = _Held()
    made = _over(held, (told.data or 0) + told.byte_offset, dtype, shape, strides, place)
    held.take(capsule, found)
    return made, sealed


def interface(t: Tensor) -> dict[str, Any]:
    """`__cuda_array_interface__`, version 3: address, shape, strides, dtype and stream."""
    own = t._layout
    if own.device is devices.CPU:
        raise AttributeError(
            f"Can't get __cuda_array_interface__ on non-CUDA tensor type: "
            f"torch.{own.dtype.legacy}Tensor: use tensor.cuda() to copy the tensor to the device")
    if t.requires_grad:
        raise RuntimeError("Can't get __cuda_array_interface__ on Variable that requires grad. If "
                           "gradients aren't required, use var.detach() to get Variable that doesn't "
                           "require grad.")
    size = own.dtype.itemsize
    kind = _VOID if own.dtype is dtypes.bfloat16 else (
        np.dtype(np.float16) if own.dtype is dtypes.float16 else own.dtype.storage).str
    return {"shape": tuple(own.shape), "typestr": kind, "version": 3,
            "data": (t.data_ptr() if own.numel else 0, False),
            "strides": None if own.contiguous else tuple([s * size for s in own.strides]),
            "stream": machine().stream or _DEFAULT_STREAM}


def from_interface(owner, place) -> Tensor:
    """A tensor over the memory of an object with `__cuda_array_interface__`, which is kept."""
    told = owner.__cuda_array_interface__
    if told.get("mask") is not None:
        raise TypeError("as_tensor: masked arrays are not supported")
    dtype = _known(told["typestr"])
    address, sealed = told["data"]
    shape = tuple(told["shape"])
    strides = told.get("strides")
    if strides is None:
        steps = contiguous_strides(shape)
    elif any(s % dtype.itemsize for s in strides):
        raise ValueError("as_tensor: strides that are no multiple of the element's size")
    else:
        steps = tuple([s // dtype.itemsize for s in strides])
    if told.get("stream") is not None:
        _join(told["stream"], machine().stream)
    made = _over(owner, address or 0, dtype, shape, steps, place)
    return made.clone() if sealed else made


def _known(typestr: str) -> dtypes.dtype:
    if typestr == _VOID:
        return dtypes.bfloat16
    found = np.dtype(typestr)
    if not found.isnative:
        raise TypeError(f"elements in another byte order: {typestr}")
    return dtypes.from_numpy(found)


def _handle(stream: int) -> int:
    return 0 if stream == _DEFAULT_STREAM else stream


def _join(earlier: int, later: int) -> None:
    """Let a stream wait for what another one was given so far."""
    first, then = _handle(earlier), _handle(later)
    if first != then:
        here = machine()
        event = here.make_event()
        here.record(event, first)
        here.wait(then, event)
        here.drop_event(event)


def _over(owner, address: int, dtype, shape, strides, place) -> Tensor:
    """A tensor over memory that an object keeps."""
    # CuPy's capsules have negative strides as numbers without a sign, divided by the element's size
    steps = tuple([s if 0 <= s < 2**63 // dtype.itemsize else 0 for s in strides])
    if any(n > 1 and s != step for n, s, step in zip(shape, strides, steps)):
        raise ValueError("tensors with negative strides are not supported: copy the array first")
    own = layout(dtype, shape, steps, 0, place)
    if address % dtype.itemsize:
        raise ValueError("memory that is not aligned to its elements: copy the array first")
    return Tensor(DeviceArray(owner, address, dtype.storage, (own.span,)), own)


def is_interface(data) -> bool:
    """Whether an object that is no Tensor has `__cuda_array_interface__`."""
    return not isinstance(data, (Tensor, np.ndarray, list, tuple, float, int)) and hasattr(
        data, "__cuda_array_interface__")
