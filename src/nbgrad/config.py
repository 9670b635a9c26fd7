"""Settings, read once from the environment."""

import gc
import os
import tempfile
from pathlib import Path


def _cache_candidates() -> list[Path]:
    named = os.environ.get("NBGRAD_CACHE_DIR")
    if named:
        return [Path(named)]
    home = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    user = f"nbgrad-{os.getuid()}" if hasattr(os, "getuid") else "nbgrad"
    return [Path(home) / "nbgrad", Path(tempfile.gettempdir()) / user]


def _first_writable(candidates: list[Path]) -> Path | None:
    for folder in candidates:
        try:
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            with tempfile.TemporaryFile(dir=folder):
                return folder
        except OSError:
            continue
    return None


#: Folder of compiled kernels and generated sources; None where no folder can be written.
CACHE_DIR: Path | None = _first_writable(_cache_candidates())

#: Elements below which a kernel runs on one thread.
PARALLEL_THRESHOLD: int = int(os.environ.get("NBGRAD_PARALLEL_THRESHOLD", 65536))


def quiet_collector() -> None:
    """Keep Python's garbage collector from slowing down every recorded operation.

    A graph is many small objects, which make the collector run often, and each full pass walks the
    60,000 objects of the compiler: about 1.5 us an operation. So what exists after the import is
    frozen, and if the thresholds are Python's own, young objects are looked at every 10,000
    allocations. NBGRAD_KEEP_GC=1 leaves the collector alone.
    """
    if os.environ.get("NBGRAD_KEEP_GC"):
        return
    gc.freeze()
    if gc.get_threshold()[0] in (700, 2000):
        gc.set_threshold(10_000, *gc.get_threshold()[1:])
