"""Which CUDA devices there are, and what they are. nbgrad uses the first one."""

from __future__ import annotations

import sys
from types import SimpleNamespace
from typing import Any

from nbgrad import devices
from nbgrad.kernels.backend import machine as _machine
from nbgrad.kernels.backend import resolve
from nbgrad.tensor import Tensor


def is_available() -> bool:
    """Whether a CUDA device can be used; `python -m nbgrad doctor` says why not."""
    try:
        _machine().check()
    except RuntimeError:
        return False
    return True


def device_count() -> int:
    """The number of CUDA devices that nbgrad uses: one, if there is any."""
    return 1 if is_available() else 0


def is_initialized() -> bool:
    """Whether a CUDA device has been used already."""
    return "nbgrad.kernels.cuda.memory" in sys.modules


def init() -> None:
    """Make the device ready, which its first use does otherwise."""
    machine()


def machine() -> Any:
    """The device, made ready.

    Raises:
        RuntimeError: there is none; the message says what is missing.
    """
    found = _machine()
    found.check()
    return found


def index_of(device) -> int:
    """The number of a device that is asked for; the current one for None.

    Raises:
        ValueError: it is no CUDA device.
        RuntimeError: it is not there.
    """
    if device is None or (type(device) is int and device < 0):
        return 0
    found = devices.device("cuda", device) if type(device) is int else devices.device(device)
    if found.type != "cuda":
        raise ValueError(f"Expected a cuda device, but got: {found}")
    return resolve(found).index or 0


def current_device() -> int:
    """The number of the device where `device="cuda"` is: 0."""
    machine()
    return 0


def set_device(device) -> None:
    """Choose the current device: 0 or "cuda:0", since there is one."""
    index_of(device)


class device:
    """A block in which a device is the current one: `with nbgrad.cuda.device(0):`.

    New tensors lie where they would without it; see `nbgrad.device` for a default place.
    """

    def __init__(self, device) -> None:
        self.idx = index_of(device)

    def __enter__(self) -> device:
        return self

    def __exit__(self, *error) -> None:
        pass


class device_of(device):
    """A block in which the device of a tensor is the current one."""

    def __init__(self, obj: Tensor) -> None:
        self.idx = 0 if obj.is_cuda else -1


def get_device_name(device=None) -> str:
    """The name of the device, such as "NVIDIA H100 80GB HBM3"."""
    index_of(device)
    return machine().name()


def get_device_capability(device=None) -> tuple[int, int]:
    """Its compute capability, such as (9, 0)."""
    index_of(device)
    return machine().capability()


_ATTRIBUTES = {
    "multi_processor_count": "MULTIPROCESSOR_COUNT", "warp_size": "WARP_SIZE",
    "max_threads_per_block": "MAX_THREADS_PER_BLOCK",
    "max_threads_per_multi_processor": "MAX_THREADS_PER_MULTIPROCESSOR",
    "regs_per_multiprocessor": "MAX_REGISTERS_PER_MULTIPROCESSOR",
    "shared_memory_per_block": "MAX_SHARED_MEMORY_PER_BLOCK",
    "shared_memory_per_block_optin": "MAX_SHARED_MEMORY_PER_BLOCK_OPTIN",
    "shared_memory_per_multiprocessor": "MAX_SHARED_MEMORY_PER_MULTIPROCESSOR",
    "L2_cache_size": "L2_CACHE_SIZE", "clock_rate": "CLOCK_RATE",
    "memory_clock_rate": "MEMORY_CLOCK_RATE", "memory_bus_width": "GLOBAL_MEMORY_BUS_WIDTH",
    "is_integrated": "INTEGRATED"}


def get_device_properties(device=None) -> SimpleNamespace:
    """Name, capability (`major`, `minor`), `total_memory`, `multi_processor_count` and others."""
    index_of(device)
    found = machine()
    major, minor = found.capability()
    return SimpleNamespace(
        name=found.name(), major=major, minor=minor, total_memory=found.memory()[1],
        **{name: found.attribute(which) for name, which in _ATTRIBUTES.items()})


def get_arch_list() -> list[str]:
    """The architectures that kernels are compiled for: that of the device, when they first run."""
    return ["sm_%d%d" % machine().capability()] if is_available() else []  # noqa: UP031


def is_bf16_supported(including_emulation: bool = True) -> bool:
    """Whether bfloat16 can be used: it is stored as such and computed in float32."""
    return is_available()


def is_tf32_supported() -> bool:
    """Whether the device knows TF32; nbgrad's own kernels multiply float32 as such."""
    return is_available() and machine().capability() >= (8, 0)


def can_device_access_peer(device, peer_device) -> bool:
    """Whether a device reads another one's memory; there is but one."""
    index_of(device), index_of(peer_device)
    return False


def ipc_collect() -> None:
    """Nothing: memory of a device is not shared with other processes."""
    init()


def synchronize(device=None) -> None:
    """Wait until the device has done all that it was given."""
    index_of(device)
    machine().synchronize()
