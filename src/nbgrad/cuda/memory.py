"""How much of the device's memory tensors hold, and how much is kept for later ones."""

from __future__ import annotations

from typing import Any

from nbgrad.cuda.device import index_of, is_available, is_initialized, machine


def _allocator() -> Any:
    from nbgrad.kernels.cuda.memory import allocator
    return allocator


def memory_stats(device=None) -> dict[str, int]:
    """Bytes and counts by PyTorch's names, such as "allocated_bytes.all.peak"."""
    if not is_initialized():
        return {}
    from nbgrad.kernels.cuda.memory import stats
    return stats()


def memory_stats_as_nested_dict(device=None) -> dict[str, Any]:
    """The same with a dict for each part of a name."""
    nested: dict[str, Any] = {}
    for name, value in memory_stats(device).items():
        *path, last = name.split(".")
        inner = nested
        for part in path:
            inner = inner.setdefault(part, {})
        inner[last] = value
    return nested


def _stat(name: str, device) -> int:
    if not is_initialized():
        return 0
    index_of(device)
    return memory_stats()[name]


def memory_allocated(device=None) -> int:
    """Bytes that tensors hold."""
    return _stat("allocated_bytes.all.current", device)


def max_memory_allocated(device=None) -> int:
    """The most bytes that tensors held at once, since the start or `reset_peak_memory_stats`."""
    return _stat("allocated_bytes.all.peak", device)


def memory_reserved(device=None) -> int:
    """Bytes taken from the device, those of tensors and those kept for later ones."""
    return _stat("reserved_bytes.all.current", device)


def max_memory_reserved(device=None) -> int:
    """The most bytes taken from the device, since the start or `reset_peak_memory_stats`."""
    return _stat("reserved_bytes.all.peak", device)


def reset_peak_memory_stats(device=None) -> None:
    """Let the most be counted anew, from what is held now."""
    if is_initialized():
        _allocator().reset_peaks()


reset_max_memory_allocated = reset_peak_memory_stats


def mem_get_info(device=None) -> tuple[int, int]:
    """Bytes of the device that are free for anyone, and bytes in all."""
    index_of(device)
    return machine().memory()


def empty_cache() -> None:
    """Give memory that no tensor holds back to the device, for other programs."""
    if is_initialized():
        from nbgrad.kernels.cuda.memory import empty_cache
        empty_cache()


def get_allocator_backend() -> str:
    """The allocator's kind, "native": nbgrad's own."""
    return "native"


def get_per_process_memory_fraction(device=None) -> float:
    """What `set_per_process_memory_fraction` was told."""
    limit = _allocator().limit
    return 1.0 if limit is None else limit / mem_get_info(device)[1]


def set_per_process_memory_fraction(fraction: float, device=None) -> None:
    """Let this process take no more than a fraction of the device's memory, 0 to 1."""
    if not isinstance(fraction, float):
        raise TypeError("Invalid type for fraction argument, must be `float`")
    if not 0 <= fraction <= 1:
        raise ValueError(f"Invalid fraction value: {fraction}. Allowed range: 0~1")
    _allocator().limit = None if fraction == 1 else int(mem_get_info(device)[1] * fraction)


_ROWS = {"tensors": "allocated_bytes", "taken from the device": "reserved_bytes",
         "tensors (number)": "allocation", "segments (number)": "segment"}


def memory_summary(device=None, abbreviated: bool = False) -> str:
    """A table of what `memory_stats` says."""
    found = memory_stats()
    lines = [f"{'CUDA memory, device 0':<24}{'now':>14}{'at most':>14}{'in all':>14}"]
    for title, name in _ROWS.items():
        numbers = [found.get(f"{name}.all.{key}", 0) for key in ("current", "peak", "allocated")]
        lines.append(f"{title:<24}" + "".join([
            f"{n / 2**20:>10,.1f} MiB" if "bytes" in name else f"{n:>14,}" for n in numbers]))
    lines.append(f"{'out of memory':<24}{found.get('num_ooms', 0):>14,}   "
                 f"(cache emptied {found.get('num_alloc_retries', 0):,} times)")
    if is_available():
        free, whole = mem_get_info()
        lines.append(f"{'free on the device':<24}{free / 2**20:>10,.1f} MiB"
                     f" of {whole / 2**20:,.1f} MiB")
    return "\n".join(lines)
