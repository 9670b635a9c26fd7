"""Tensors in pinned memory of the host, and tensors that several streams use."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import numpy as np

from nbgrad.devices import CPU, gpu
from nbgrad.kernels import memory
from nbgrad.kernels.backend import machine
from nbgrad.kernels.layout import layout
from nbgrad.ops.apply import apply
from nbgrad.ops.op import Op
from nbgrad.ops.views import CONTIGUOUS
from nbgrad.tensor import Tensor


def available() -> bool:
    """Whether there is a CUDA device, for which memory can be pinned."""
    try:
        machine().check()
    except RuntimeError:
        return False
    return True


def _host() -> Any:
    """The module of pinned memory."""
    return import_module("nbgrad.kernels.cuda.host")


class Pin(Op):
    """A copy of the elements in pinned memory; the gradient passes as it is."""

    name = "PinMemory"

    def run(self, inputs, attrs) -> Tensor:
        (t,) = inputs
        own = t._layout
        if not own.dense:
            return self.run((CONTIGUOUS.run((t,), ()),), attrs)
        made: np.ndarray = _host().empty((own.numel,), own.dtype.storage)
        made[...] = t._data[own.offset:own.offset + own.numel]
        return Tensor(made, layout(own.dtype, own.shape, own.strides))

    def backward(self, node, grad):
        return grad


PIN = Pin()


def pin_memory(input: Tensor, device=None) -> Tensor:
    """The tensor in pinned memory of the host; itself if it is there.

    From such memory `.to("cuda", non_blocking=True)` copies while Python goes on.

    Raises:
        RuntimeError: the tensor is not on the CPU, or there is no CUDA device.
    """
    if input._layout.device is not CPU:
        raise RuntimeError(f"cannot pin 'torch.cuda.{input._layout.dtype.legacy}Tensor' only dense CPU "
                           "tensors can be pinned")
    if not available():
        raise RuntimeError("Cannot access accelerator device when none is available: memory is pinned "
                           "for a CUDA device (`python -m nbgrad doctor` says why there is none)")
    return input if is_pinned(input) else apply(PIN, (input,))


def is_pinned(input: Tensor, device=None) -> bool:
    """Whether the tensor lies in pinned memory of the host."""
    own = input._layout
    return own.device is CPU and own.numel > 0 and available() and _host().pinned(input._data)


def record_stream(input: Tensor, s) -> None:
    """Say that a stream uses the tensor, so that its memory is not used again before that work is done.

    Args:
        s: a stream other than that under which the tensor was made.

    Raises:
        RuntimeError: the tensor is not on a CUDA device.
    """
    if input._layout.device is CPU:
        raise RuntimeError("record_stream(): the tensor is on the CPU, whose memory no stream uses")
    handle = getattr(s, "cuda_stream", None)
    if handle is None:
        raise RuntimeError(f"record_stream(): unknown parameter type {type(s).__name__}; a "
                           "nbgrad.cuda.Stream is wanted")
    memory.on(gpu(0)).record(input._data, handle)


METHODS = {"pin_memory": pin_memory, "is_pinned": is_pinned, "record_stream": record_stream}
